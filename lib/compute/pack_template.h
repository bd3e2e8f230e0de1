/* Packing: one panel of at most RLHFI_PANEL columns. What stands in the missing ones does not matter. */
#ifndef RLHFI_PACK_TEMPLATE_H
#define RLHFI_PACK_TEMPLATE_H

#include "compute/loops_template.h"

static void pack_rows(int64_t k, int64_t n, const float *source, int64_t ld, float *panel)
{
    for (int64_t p = 0; p < k; p++) {
        v16_store(panel + p * RLHFI_PANEL, load_up_to(source + p * ld, n));
        if (n > 16)
            v16_store(panel + p * RLHFI_PANEL + 16, load_up_to(source + p * ld + 16, n - 16));
    }
}

static void pack_columns(int64_t k, int64_t n, const float *source, int64_t ld, float *panel)
{
    for (int64_t half = 0; half < n; half += 16, panel += 16) {
        const float *row[16]; /* a missing column repeats the last one */
        int64_t p = 0;
        for (int64_t j = 0; j < 16; j++)
            row[j] = source + (half + j < n ? half + j : n - 1) * ld;
        for (; p + 4 <= k; p += 4) {
            v16 four[4];
            UNROLLED for (int i = 0; i < 4; i++)
                four[i] = v16_load_quarters(row[i] + p, row[i + 4] + p, row[i + 8] + p, row[i + 12] + p);
            v16_transpose_quarters(four);
            UNROLLED for (int i = 0; i < 4; i++)
                v16_store(panel + (p + i) * RLHFI_PANEL, four[i]);
        }
        for (; p < k; p++)
            for (int j = 0; j < 16; j++)
                panel[p * RLHFI_PANEL + j] = row[j][p];
    }
}

static void k_pack(int transposed, int64_t k, int64_t n, const float *source, int64_t ld, float *panel)
{
    if (transposed)
        pack_columns(k, n, source, ld, panel);
    else
        pack_rows(k, n, source, ld, panel);
}

/* ---- rounding to bf16: see rlhfi_form for the two forms that a product can read ---------------------------------- */

/* Elements of a row that are rounded before they are transposed: 16 rows stay in the cache. */
enum { PACK_SLICE = 256 };

INLINE v16 load_number(const rlhfi_array *source, int64_t at, int64_t n)
{
    if (source->f32 != NULL)
        return load_up_to(source->f32 + at, n);
    return n >= 16 ? v16_load_bf16(source->bf16 + at) : v16_load_bf16_first(source->bf16 + at, (int)n);
}

/* To the nearest bf16, ties to even, in the upper half of a lane. Subnormal numbers become 0 and keep their sign, as
 * the products would treat them; a NaN stays one. */
INLINE v16i rounded(v16 x)
{
    const v16i upper = v16i_set((int32_t)0xffff0000), bits = v16_bits(x);
    v16i last = v16i_and(v16i_shift_right(bits, 16), v16i_set(1));
    v16i nearest = v16i_and(v16i_add(v16i_add(bits, v16i_set(0x7fff)), last), upper);
    v16 magnitude = v16_from_bits(v16i_and(bits, v16i_set(0x7fffffff)));
    v16 sign = v16_from_bits(v16i_and(bits, v16i_set(INT32_MIN)));
    v16 quiet = v16_from_bits(v16i_and(v16i_or(bits, v16i_set(0x400000)), upper));

    x = v16_select(v16_equal(x, x), v16_from_bits(nearest), quiet);
    return v16_bits(v16_select(v16_less(magnitude, v16_set(0x1p-126f)), sign, x));
}

static void k_round_numbers(int64_t n, const float *source, uint16_t *to)
{
    for (int64_t i = 0; i < n; i += 16)
        v16i_store_upper(to + i, rounded(load_up_to(source + i, n - i)), (int)(n - i < 16 ? n - i : 16));
}

static void k_widen(int64_t n, const uint16_t *source, float *to)
{
    for (int64_t i = 0; i < n; i += 16)
        store_up_to(to + i, n - i >= 16 ? v16_load_bf16(source + i) : v16_load_bf16_first(source + i, (int)(n - i)),
                    n - i);
}

/* Rows [rows,k], k the elements of a product: neighbours in a row become a pair. */
static void k_round_rows(enum rlhfi_form form, int64_t rows, int64_t k, const rlhfi_array *source, int64_t ld,
                         float *to, int64_t ldto)
{
    const int64_t even = k + (k & 1);

    for (int64_t r = 0; r < rows; r++) {
        float *row = to + r * ldto;
        for (int64_t i = 0; i < k; i += 16) {
            v16i x = rounded(load_number(source, r * ld + i, k - i));
            int64_t left = even - i;
            if (form == RLHFI_SWAPPED)
                store_up_to(row + i, v16_swap_neighbours(v16_from_bits(x)), left);
            else
                v16i_store_upper(row + i / 2, x, (int)(left < 16 ? left : 16));
        }
    }
}

/* Columns [k,n]: the numbers of a column in two neighbouring rows become a pair. */
static void k_round_columns(enum rlhfi_form form, int64_t k, int64_t n, const rlhfi_array *source, int64_t ld,
                            float *to, int64_t ldto)
{
    for (int64_t p = 0; p < k; p += 2) {
        float *row = to + (form == RLHFI_SWAPPED ? p : p / 2) * ldto;
        for (int64_t j = 0; j < n; j += 16) {
            v16i even = rounded(load_number(source, p * ld + j, n - j));
            v16i odd = p + 1 < k ? rounded(load_number(source, (p + 1) * ld + j, n - j)) : v16i_set(0);
            if (form == RLHFI_SWAPPED) {
                store_up_to(row + j, v16_from_bits(odd), n - j);
                store_up_to(row + ldto + j, v16_from_bits(even), n - j);
            } else {
                store_up_to(row + j, v16_from_bits(v16i_or(v16i_shift_right(even, 16), odd)), n - j);
            }
        }
    }
}

static void k_pack_rounded(enum rlhfi_form form, int transposed, int64_t k, int64_t n, const rlhfi_array *source,
                           int64_t ld, float *panel)
{
    const int64_t numbers = form == RLHFI_SWAPPED ? PACK_SLICE : 2 * PACK_SLICE; /* of k in a slice */

    if (!transposed) {
        k_round_columns(form, k, n, source, ld, panel, RLHFI_PANEL);
        return;
    }
    for (int64_t p = 0; p < k; p += numbers)
        for (int64_t j = 0; j < n; j += 16) {
            float slice[16 * PACK_SLICE];
            const int64_t here = k - p < numbers ? k - p : numbers, rows = n - j < 16 ? n - j : 16;
            const int64_t steps = rlhfi_form_steps(form, here), at = j * ld + p;
            const rlhfi_array from = {source->f32 != NULL ? source->f32 + at : NULL,
                                        source->f32 != NULL ? NULL : source->bf16 + at};
            k_round_rows(form, rows, here, &from, ld, slice, PACK_SLICE);
            pack_columns(steps, rows, slice, PACK_SLICE, panel + rlhfi_form_steps(form, p) * RLHFI_PANEL + j);
        }
}

/* rlhfi_philox on 16 counters side by side. */
static void k_draw(uint64_t seed, uint64_t number, int64_t group, uint16_t halves[RLHFI_DRAW_GROUP])
{
    const uint64_t first = (uint64_t)group * 16; /* the lower half of 16 neighbours does not overflow */
    uint32_t key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
    v16i word[4] = {v16i_add(v16i_set((int32_t)(uint32_t)first), v16i_count()),
                    v16i_set((int32_t)(uint32_t)(first >> 32)), v16i_set((int32_t)(uint32_t)number),
                    v16i_set(RLHFI_RANDOM_ROUND)};

    for (int round = 0; round < 10; round++) {
        v16i a_high, a_low, b_high, b_low;
        v16i_multiply(word[0], 0xD2511F53u, &a_high, &a_low);
        v16i_multiply(word[2], 0xCD9E8D57u, &b_high, &b_low);
        word[0] = v16i_xor(v16i_xor(b_high, word[1]), v16i_set((int32_t)key0));
        word[1] = b_low;
        word[2] = v16i_xor(v16i_xor(a_high, word[3]), v16i_set((int32_t)key1));
        word[3] = a_low;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    for (int i = 0; i < 4; i++) {
        v16i_store_upper(halves + 32 * i, v16i_shift_left(word[i], 16), 16);
        v16i_store_upper(halves + 32 * i + 16, word[i], 16);
    }
}

static void k_round_stochastic(int64_t n, const float *x, const uint16_t *draws, uint16_t *to)
{
    for (int64_t i = 0; i < n; i += 16) {
        const int64_t left = n - i;
        v16 value = load_up_to(x + i, left);
        v16 draw = left >= 16 ? v16_load_bf16(draws + i) : v16_load_bf16_first(draws + i, (int)left);
        v16i bits = v16_bits(value), magnitude = v16i_and(bits, v16i_set(0x7fffffff));
        v16 moved = v16_from_bits(v16i_add(bits, v16i_shift_right(v16_bits(draw), 16)));
        v16 sign = v16_from_bits(v16i_and(bits, v16i_set(INT32_MIN)));
        v16 quiet = v16_from_bits(v16i_or(bits, v16i_set(0x400000)));
        moved = v16_select(v16_less(v16_from_bits(magnitude), v16_set(__builtin_inff())), moved, value);
        moved = v16_select(v16_equal(value, value), moved, quiet);
        moved = v16_select(v16_less(v16_from_bits(magnitude), v16_set(0x1p-126f)), sign, moved);
        v16i_store_upper(to + i, v16_bits(moved), (int)(left < 16 ? left : 16));
    }
}

/* Panels of pairs [steps][32] to the other form, [2*steps][32]. */
static void k_spread_pairs(int64_t steps, const float *pairs, float *to)
{
    const v16i upper = v16i_set((int32_t)0xffff0000);

    for (int64_t p = 0; p < steps; p++, pairs += RLHFI_PANEL, to += 2 * RLHFI_PANEL)
        UNROLLED for (int half = 0; half < RLHFI_PANEL; half += 16) {
            v16i both = v16_bits(v16_load(pairs + half));
            v16_store(to + half, v16_from_bits(v16i_and(both, upper)));
            v16_store(to + RLHFI_PANEL + half, v16_from_bits(v16i_shift_left(both, 16)));
        }
}

#endif
