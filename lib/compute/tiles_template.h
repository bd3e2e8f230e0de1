/* Register tiles of the dense products, and the packing of panels.
 *
 * A tile keeps rows x vectors sums in registers, runs k upwards and then stores: that is the chain of compute.h. The
 * includer says how many registers there are: TILE_ROWS rows by TILE_VECTORS vectors for many rows; for 1, 2 and 3 rows
 * TILE_WIDE_1, _2, _3 vectors, because a chain needs several independent neighbours to hide the latency of an FMA. */
#ifndef RLHFI_TILES_TEMPLATE_H
#define RLHFI_TILES_TEMPLATE_H

#include "compute/kernels.h"

#if defined(__clang__)
#define UNROLLED _Pragma("unroll")
#else
#define UNROLLED _Pragma("GCC unroll 16")
#endif
#define INLINE static inline __attribute__((always_inline))

/* 16 floats, or the n that are left with zeros behind them. */
INLINE v16 load_up_to(const float *p, int64_t n)
{
    return n >= 16 ? v16_load(p) : v16_load_first(p, (int)n);
}

INLINE void store_up_to(float *p, v16 x, int64_t n)
{
    if (n >= 16)
        v16_store(p, x);
    else
        v16_store_first(p, x, (int)n);
}

enum { TILE_WIDEST = TILE_WIDE_1, TILE_MOST_ROWS = TILE_ROWS };

/* Where a tile stands: rows from i, columns from j, the chunk of k from p. */
struct tile_place {
    int64_t i, j, p, chunk;
    int last_lanes; /* columns of the last vector, 16 unless partial */
};

INLINE const float *tile_columns(const rlhfi_block *work, const struct tile_place *place)
{
    return work->b + place->j / RLHFI_PANEL * work->panel_stride + place->j % RLHFI_PANEL + place->p * work->ldb;
}

/* rows, vectors and partial are constants at every call, so that the sums live in registers. */
INLINE void tile(const int rows, const int vectors, const bool partial, const rlhfi_block *work,
                 const struct tile_place *place)
{
    const int64_t stride = work->a_row, step = work->a_step, ldb = work->ldb;
    const float *b = tile_columns(work, place);
    const float *a[(TILE_MOST_ROWS + 2) / 3]; /* one pointer for three rows: fewer registers */
    v16 sum[TILE_MOST_ROWS * TILE_VECTORS > TILE_WIDE_1 * 3 ? TILE_MOST_ROWS * TILE_VECTORS : TILE_WIDE_1 * 3];

    UNROLLED for (int r = 0; r < rows; r += 3)
        a[r / 3] = work->a + (place->i + r) * stride + place->p * step;
    UNROLLED for (int s = 0; s < rows * vectors; s++)
        sum[s] = v16_zero();
    for (int64_t p = 0; p < place->chunk; p++) {
        v16 column[TILE_WIDEST];
        UNROLLED for (int v = 0; v < vectors; v++) {
            const float *from = b + v / 2 * work->panel_stride + v % 2 * 16;
            column[v] = partial && v == vectors - 1 ? v16_load_first(from, place->last_lanes) : v16_load(from);
        }
        UNROLLED for (int r = 0; r < rows; r++) {
            v16 x = v16_set(a[r / 3][r % 3 * stride]);
            UNROLLED for (int v = 0; v < vectors; v++)
                sum[r * vectors + v] = v16_fma(x, column[v], sum[r * vectors + v]);
        }
        UNROLLED for (int r = 0; r < rows; r += 3)
            a[r / 3] += step;
        b += ldb;
    }

    const bool add = place->p > 0 || work->accumulate;
    const float *bias = place->p + place->chunk == work->k ? work->bias : NULL;
    UNROLLED for (int r = 0; r < rows; r++) {
        UNROLLED for (int v = 0; v < vectors; v++) {
            float *to = work->c + (place->i + r) * work->ldc + place->j + v * 16;
            const bool cut = partial && v == vectors - 1;
            v16 x = sum[r * vectors + v];
            if (add)
                x = v16_add(cut ? v16_load_first(to, place->last_lanes) : v16_load(to), x);
            if (bias != NULL) {
                const float *from = bias + place->j + v * 16;
                x = v16_add(x, cut ? v16_load_first(from, place->last_lanes) : v16_load(from));
            }
            if (cut)
                v16_store_first(to, x, place->last_lanes);
            else
                v16_store(to, x);
        }
    }
}

/* One function per shape: the constants above become real ones. */
#define TILE_SHAPE(rows, vectors)                                                                                      \
    static void tile_##rows##x##vectors(const rlhfi_block *work, const struct tile_place *place)                      \
    {                                                                                                                  \
        if (place->last_lanes == 16)                                                                                   \
            tile(rows, vectors, false, work, place);                                                                   \
        else                                                                                                           \
            tile(rows, vectors, true, work, place);                                                                    \
    }

typedef void tile_function(const rlhfi_block *, const struct tile_place *);
TILE_TABLE /* the includer's list of shapes: tile_narrow[rows], tile_broad[rows], tile_wide[rows <= 3] */

/* All row tiles of one chunk in `vectors` vectors of columns. Rows are dealt out evenly, since a thin rest would leave
 * most of the machine idle. */
static void run_rows(tile_function *const *shape, const rlhfi_block *work, struct tile_place *place)
{
    int64_t tiles = (work->m + TILE_ROWS - 1) / TILE_ROWS, rows = work->m / tiles, more = work->m % tiles;

    place->i = 0;
    for (int64_t t = 0; t < tiles; t++) {
        int64_t here = rows + (t < more);
        shape[here](work, place);
        place->i += here;
    }
}

static void run_columns(tile_function *const *shape, const rlhfi_block *work, struct tile_place *place)
{
    for (place->p = 0; place->p < work->k; place->p += RLHFI_CHUNK) {
        place->chunk = work->k - place->p < RLHFI_CHUNK ? work->k - place->p : RLHFI_CHUNK;
        run_rows(shape, work, place);
    }
}

static void k_product(const rlhfi_block *work)
{
    struct tile_place place = {.last_lanes = 16};
    int64_t left = work->n;

    if (work->m <= 3) {
        const int64_t width = 16 * (work->m == 1 ? TILE_WIDE_1 : work->m == 2 ? TILE_WIDE_2 : TILE_WIDE_3);
        for (; left >= width; left -= width, place.j += width)
            run_columns(tile_wide, work, &place);
    }
    for (; left >= 16 * TILE_VECTORS; left -= 16 * TILE_VECTORS, place.j += 16 * TILE_VECTORS)
        run_columns(tile_broad, work, &place);
    if (left > 0) {
        place.last_lanes = left % 16 == 0 ? 16 : (int)(left % 16);
        run_columns(left > 16 ? tile_broad : tile_narrow, work, &place);
    }
}

/* ---- packing: one panel of at most RLHFI_PANEL columns. What stands in the missing ones does not matter. --------- */

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

#endif
