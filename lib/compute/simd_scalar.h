/* The vector type v16 in plain C: the specification of what the AVX2 and AVX-512 headers do. Every operation is IEEE
 * single precision, lane by lane. math.c includes this with V16_LANES 1 to get the same functions for one number. */
#ifndef RLHFI_SIMD_H
#define RLHFI_SIMD_H

#include <stdint.h>
#include <string.h>

#ifndef V16_LANES
#define V16_LANES 16
#endif

typedef struct v16 {
    float lane[V16_LANES];
} v16;
typedef struct v16i {
    int32_t lane[V16_LANES];
} v16i;
typedef struct v16m { /* a truth value per lane: 0 or 1 */
    uint8_t lane[V16_LANES];
} v16m;
typedef struct v16d {
    double lane[V16_LANES];
} v16d;

#define V16_MAKE(type, expression)                                                                                     \
    type made;                                                                                                         \
    for (int j = 0; j < V16_LANES; j++)                                                                                \
        made.lane[j] = (expression);                                                                                   \
    return made

static inline v16 v16_set(float x) { V16_MAKE(v16, x); }
static inline v16 v16_zero(void) { V16_MAKE(v16, 0.0f); }
static inline v16 v16_load(const float *p) { V16_MAKE(v16, p[j]); }
static inline v16 v16_load_first(const float *p, int n) { V16_MAKE(v16, j < n ? p[j] : 0.0f); }

static inline void v16_store(float *p, v16 x)
{
    memcpy(p, x.lane, sizeof x.lane);
}

static inline void v16_store_first(float *p, v16 x, int n)
{
    for (int j = 0; j < V16_LANES && j < n; j++)
        p[j] = x.lane[j];
}

/* bf16: the upper half of a float */
static inline v16 v16_load_bf16_first(const uint16_t *p, int n)
{
    v16 made;
    for (int j = 0; j < V16_LANES; j++) {
        uint32_t bits = j < n ? (uint32_t)p[j] << 16 : 0;
        memcpy(&made.lane[j], &bits, sizeof bits);
    }
    return made;
}

static inline v16 v16_load_bf16(const uint16_t *p) { return v16_load_bf16_first(p, V16_LANES); }

/* The upper halves of the first n lanes, one behind the other. */
static inline void v16i_store_upper(void *p, v16i x, int n)
{
    for (int j = 0; j < V16_LANES && j < n; j++) {
        uint16_t upper = (uint16_t)((uint32_t)x.lane[j] >> 16);
        memcpy((char *)p + 2 * j, &upper, sizeof upper);
    }
}

/* Lanes 1, 0, 3, 2, ... */
static inline v16 v16_swap_neighbours(v16 a) { V16_MAKE(v16, a.lane[j ^ 1]); }

static inline v16 v16_add(v16 a, v16 b) { V16_MAKE(v16, a.lane[j] + b.lane[j]); }
static inline v16 v16_sub(v16 a, v16 b) { V16_MAKE(v16, a.lane[j] - b.lane[j]); }
static inline v16 v16_mul(v16 a, v16 b) { V16_MAKE(v16, a.lane[j] * b.lane[j]); }
static inline v16 v16_div(v16 a, v16 b) { V16_MAKE(v16, a.lane[j] / b.lane[j]); }
static inline v16 v16_sqrt(v16 a) { V16_MAKE(v16, __builtin_sqrtf(a.lane[j])); }
/* a*b + c and c - a*b, rounded once */
static inline v16 v16_fma(v16 a, v16 b, v16 c) { V16_MAKE(v16, __builtin_fmaf(a.lane[j], b.lane[j], c.lane[j])); }
static inline v16 v16_fnma(v16 a, v16 b, v16 c) { V16_MAKE(v16, __builtin_fmaf(-a.lane[j], b.lane[j], c.lane[j])); }
/* As MAXPS and MINPS: the second operand if either is NaN. */
static inline v16 v16_max(v16 a, v16 b) { V16_MAKE(v16, a.lane[j] > b.lane[j] ? a.lane[j] : b.lane[j]); }
static inline v16 v16_min(v16 a, v16 b) { V16_MAKE(v16, a.lane[j] < b.lane[j] ? a.lane[j] : b.lane[j]); }

static inline v16i v16_bits(v16 a)
{
    v16i made;
    memcpy(&made, &a, sizeof made);
    return made;
}

static inline v16 v16_from_bits(v16i a)
{
    v16 made;
    memcpy(&made, &a, sizeof made);
    return made;
}

static inline v16i v16i_set(int32_t x) { V16_MAKE(v16i, x); }
static inline v16i v16i_add(v16i a, v16i b) { V16_MAKE(v16i, (int32_t)((uint32_t)a.lane[j] + (uint32_t)b.lane[j])); }
static inline v16i v16i_sub(v16i a, v16i b) { V16_MAKE(v16i, (int32_t)((uint32_t)a.lane[j] - (uint32_t)b.lane[j])); }
static inline v16i v16i_and(v16i a, v16i b) { V16_MAKE(v16i, a.lane[j] & b.lane[j]); }
static inline v16i v16i_or(v16i a, v16i b) { V16_MAKE(v16i, a.lane[j] | b.lane[j]); }
static inline v16i v16i_shift_left(v16i a, int n) { V16_MAKE(v16i, (int32_t)((uint32_t)a.lane[j] << n)); }
static inline v16i v16i_shift_right(v16i a, int n) { V16_MAKE(v16i, (int32_t)((uint32_t)a.lane[j] >> n)); }
static inline v16i v16i_xor(v16i a, v16i b) { V16_MAKE(v16i, a.lane[j] ^ b.lane[j]); }
static inline v16i v16i_count(void) { V16_MAKE(v16i, j); }
/* both halves of the 64-bit products of unsigned numbers */
static inline void v16i_multiply(v16i a, uint32_t by, v16i *high, v16i *low)
{
    for (int j = 0; j < V16_LANES; j++) {
        uint64_t product = (uint64_t)(uint32_t)a.lane[j] * by;
        high->lane[j] = (int32_t)(uint32_t)(product >> 32);
        low->lane[j] = (int32_t)(uint32_t)product;
    }
}

static inline v16 v16_from_int(v16i a) { V16_MAKE(v16, (float)a.lane[j]); } /* only for |a| <= 2^24 */

static inline v16m v16_less(v16 a, v16 b) { V16_MAKE(v16m, a.lane[j] < b.lane[j]); }
static inline v16m v16_less_equal(v16 a, v16 b) { V16_MAKE(v16m, a.lane[j] <= b.lane[j]); }
static inline v16m v16_equal(v16 a, v16 b) { V16_MAKE(v16m, a.lane[j] == b.lane[j]); }
/* yes where the mask is true, else no */
static inline v16 v16_select(v16m m, v16 yes, v16 no) { V16_MAKE(v16, m.lane[j] ? yes.lane[j] : no.lane[j]); }
/* lanes first <= j < end keep x, others become fill */
static inline v16 v16_keep(v16 x, int first, int end, float fill)
{
    V16_MAKE(v16, j >= first && j < end ? x.lane[j] : fill);
}


static inline uint32_t v16m_bits(v16m m)
{
    uint32_t bits = 0;
    for (int j = 0; j < V16_LANES; j++)
        bits |= (uint32_t)m.lane[j] << j;
    return bits;
}

#if V16_LANES == 16
/* The fixed tree: lanes l and l+8, then l+4, l+2, l+1. */
static inline float v16_sum(v16 a)
{
    for (int half = 8; half > 0; half /= 2)
        for (int j = 0; j < half; j++)
            a.lane[j] = a.lane[j] + a.lane[j + half];
    return a.lane[0];
}

static inline float v16_highest(v16 a)
{
    for (int half = 8; half > 0; half /= 2)
        for (int j = 0; j < half; j++)
            a.lane[j] = a.lane[j] > a.lane[j + half] ? a.lane[j] : a.lane[j + half];
    return a.lane[0];
}

/* Four floats from each of four places, one quarter of the lanes each. */
static inline v16 v16_load_quarters(const float *a, const float *b, const float *c, const float *d)
{
    V16_MAKE(v16, j < 4 ? a[j] : j < 8 ? b[j - 4] : j < 12 ? c[j - 8] : d[j - 12]);
}

static inline void v16_store_quarters(float *a, float *b, float *c, float *d, v16 x)
{
    memcpy(a, x.lane, 4 * sizeof *a);
    memcpy(b, x.lane + 4, 4 * sizeof *b);
    memcpy(c, x.lane + 8, 4 * sizeof *c);
    memcpy(d, x.lane + 12, 4 * sizeof *d);
}

/* In each quarter: row[i] lane j becomes row[j] lane i. */
static inline void v16_transpose_quarters(v16 row[4])
{
    for (int quarter = 0; quarter < 16; quarter += 4) {
        for (int i = 0; i < 4; i++) {
            for (int j = 0; j < i; j++) {
                float kept = row[i].lane[quarter + j];
                row[i].lane[quarter + j] = row[j].lane[quarter + i];
                row[j].lane[quarter + i] = kept;
            }
        }
    }
}

/* Quarter j of row[i] becomes quarter i of row[j]. */
static inline void v16_exchange_quarters(v16 row[4])
{
    v16 before[4] = {row[0], row[1], row[2], row[3]};

    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++)
            memcpy(row[i].lane + 4 * j, before[j].lane + 4 * i, 4 * sizeof(float));
}

static inline v16d v16d_zero(void) { V16_MAKE(v16d, 0.0); }
/* sum + x*x in double: the product of two floats is exact there, so one rounding */
static inline v16d v16d_add_square(v16d sum, v16 x)
{
    V16_MAKE(v16d, sum.lane[j] + (double)x.lane[j] * (double)x.lane[j]);
}

static inline double v16d_sum(v16d a)
{
    for (int half = 8; half > 0; half /= 2)
        for (int j = 0; j < half; j++)
            a.lane[j] = a.lane[j] + a.lane[j + half];
    return a.lane[0];
}
#endif

#endif
