/* v16 as two AVX2 registers of 8 lanes. simd_scalar.h says what each operation means. */
#ifndef RLHFI_SIMD_H
#define RLHFI_SIMD_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

typedef struct v16 {
    __m256 low, high;
} v16;
typedef struct v16i {
    __m256i low, high;
} v16i;
typedef v16 v16m; /* all bits of a lane set or none */
typedef struct v16d {
    __m256d a, b, c, d;
} v16d;

#define V16_BOTH(type, low, high) ((type){low, high})
#define V16_EACH(operation, a, b) V16_BOTH(v16, operation((a).low, (b).low), operation((a).high, (b).high))
#define V16I_EACH(operation, a, b) V16_BOTH(v16i, operation((a).low, (b).low), operation((a).high, (b).high))

static inline v16 v16_set(float x) { return V16_BOTH(v16, _mm256_set1_ps(x), _mm256_set1_ps(x)); }
static inline v16 v16_zero(void) { return V16_BOTH(v16, _mm256_setzero_ps(), _mm256_setzero_ps()); }
static inline v16 v16_load(const float *p) { return V16_BOTH(v16, _mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)); }

/* Masks of the lanes j < n of each half. */
static inline v16i v16i_first(int n)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return V16_BOTH(v16i, _mm256_cmpgt_epi32(_mm256_set1_epi32(n), lane),
                    _mm256_cmpgt_epi32(_mm256_set1_epi32(n - 8), lane));
}

static inline v16 v16_load_first(const float *p, int n)
{
    v16i mask = v16i_first(n);
    return V16_BOTH(v16, _mm256_maskload_ps(p, mask.low), _mm256_maskload_ps(p + 8, mask.high));
}

static inline void v16_store(float *p, v16 x)
{
    _mm256_storeu_ps(p, x.low);
    _mm256_storeu_ps(p + 8, x.high);
}

static inline void v16_store_first(float *p, v16 x, int n)
{
    v16i mask = v16i_first(n);
    _mm256_maskstore_ps(p, mask.low, x.low);
    _mm256_maskstore_ps(p + 8, mask.high, x.high);
}

static inline v16 v16_load_bf16(const uint16_t *p)
{
    __m256i halves = _mm256_loadu_si256((const void *)p);
    __m256i low = _mm256_cvtepu16_epi32(_mm256_castsi256_si128(halves));
    __m256i high = _mm256_cvtepu16_epi32(_mm256_extracti128_si256(halves, 1));
    return V16_BOTH(v16, _mm256_castsi256_ps(_mm256_slli_epi32(low, 16)),
                    _mm256_castsi256_ps(_mm256_slli_epi32(high, 16)));
}

static inline v16 v16_load_bf16_first(const uint16_t *p, int n)
{
    uint16_t all[16] = {0};
    for (int j = 0; j < 16 && j < n; j++)
        all[j] = p[j];
    return v16_load_bf16(all);
}

static inline void v16i_store_upper(void *p, v16i x, int n)
{
    /* packing works by halves of 128 bits: the middle quarters change places */
    __m256i packed = _mm256_packus_epi32(_mm256_srli_epi32(x.low, 16), _mm256_srli_epi32(x.high, 16));
    uint16_t all[16];
    packed = _mm256_permute4x64_epi64(packed, 0xd8);
    if (n >= 16) {
        _mm256_storeu_si256(p, packed);
        return;
    }
    _mm256_storeu_si256((void *)all, packed);
    memcpy(p, all, (size_t)(n > 0 ? n : 0) * sizeof all[0]);
}

static inline v16 v16_swap_neighbours(v16 a)
{
    return V16_BOTH(v16, _mm256_permute_ps(a.low, 0xb1), _mm256_permute_ps(a.high, 0xb1));
}

static inline v16 v16_add(v16 a, v16 b) { return V16_EACH(_mm256_add_ps, a, b); }
static inline v16 v16_sub(v16 a, v16 b) { return V16_EACH(_mm256_sub_ps, a, b); }
static inline v16 v16_mul(v16 a, v16 b) { return V16_EACH(_mm256_mul_ps, a, b); }
static inline v16 v16_div(v16 a, v16 b) { return V16_EACH(_mm256_div_ps, a, b); }
static inline v16 v16_sqrt(v16 a) { return V16_BOTH(v16, _mm256_sqrt_ps(a.low), _mm256_sqrt_ps(a.high)); }

static inline v16 v16_fma(v16 a, v16 b, v16 c)
{
    return V16_BOTH(v16, _mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high));
}

static inline v16 v16_fnma(v16 a, v16 b, v16 c)
{
    return V16_BOTH(v16, _mm256_fnmadd_ps(a.low, b.low, c.low), _mm256_fnmadd_ps(a.high, b.high, c.high));
}

static inline v16 v16_max(v16 a, v16 b) { return V16_EACH(_mm256_max_ps, a, b); }
static inline v16 v16_min(v16 a, v16 b) { return V16_EACH(_mm256_min_ps, a, b); }

static inline v16i v16_bits(v16 a)
{
    return V16_BOTH(v16i, _mm256_castps_si256(a.low), _mm256_castps_si256(a.high));
}

static inline v16 v16_from_bits(v16i a)
{
    return V16_BOTH(v16, _mm256_castsi256_ps(a.low), _mm256_castsi256_ps(a.high));
}

static inline v16i v16i_set(int32_t x) { return V16_BOTH(v16i, _mm256_set1_epi32(x), _mm256_set1_epi32(x)); }
static inline v16i v16i_add(v16i a, v16i b) { return V16I_EACH(_mm256_add_epi32, a, b); }
static inline v16i v16i_sub(v16i a, v16i b) { return V16I_EACH(_mm256_sub_epi32, a, b); }
static inline v16i v16i_and(v16i a, v16i b) { return V16I_EACH(_mm256_and_si256, a, b); }
static inline v16i v16i_or(v16i a, v16i b) { return V16I_EACH(_mm256_or_si256, a, b); }

static inline v16i v16i_shift_left(v16i a, int n)
{
    return V16_BOTH(v16i, _mm256_slli_epi32(a.low, n), _mm256_slli_epi32(a.high, n));
}

static inline v16i v16i_shift_right(v16i a, int n)
{
    return V16_BOTH(v16i, _mm256_srli_epi32(a.low, n), _mm256_srli_epi32(a.high, n));
}

static inline v16i v16i_xor(v16i a, v16i b) { return V16I_EACH(_mm256_xor_si256, a, b); }

static inline v16i v16i_count(void)
{
    return V16_BOTH(v16i, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15));
}

static inline __m256i v16i_multiply_high(__m256i a, __m256i factor)
{
    __m256i even = _mm256_mul_epu32(a, factor), odd = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), factor);
    return _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
}

static inline void v16i_multiply(v16i a, uint32_t by, v16i *high, v16i *low)
{
    __m256i factor = _mm256_set1_epi32((int32_t)by);
    *high = V16_BOTH(v16i, v16i_multiply_high(a.low, factor), v16i_multiply_high(a.high, factor));
    *low = V16_BOTH(v16i, _mm256_mullo_epi32(a.low, factor), _mm256_mullo_epi32(a.high, factor));
}

static inline v16 v16_from_int(v16i a)
{
    return V16_BOTH(v16, _mm256_cvtepi32_ps(a.low), _mm256_cvtepi32_ps(a.high));
}

#define V16_COMPARE(a, b, how) V16_BOTH(v16m, _mm256_cmp_ps(a.low, b.low, how), _mm256_cmp_ps(a.high, b.high, how))
static inline v16m v16_less(v16 a, v16 b) { return V16_COMPARE(a, b, _CMP_LT_OQ); }
static inline v16m v16_less_equal(v16 a, v16 b) { return V16_COMPARE(a, b, _CMP_LE_OQ); }
static inline v16m v16_equal(v16 a, v16 b) { return V16_COMPARE(a, b, _CMP_EQ_OQ); }

static inline v16 v16_select(v16m m, v16 yes, v16 no)
{
    return V16_BOTH(v16, _mm256_blendv_ps(no.low, yes.low, m.low), _mm256_blendv_ps(no.high, yes.high, m.high));
}

static inline v16 v16_keep(v16 x, int first, int end, float fill)
{
    v16i before = v16i_first(first), until = v16i_first(end);
    v16i kept = V16I_EACH(_mm256_andnot_si256, before, until);
    return v16_select(v16_from_bits(kept), x, v16_set(fill));
}

static inline uint32_t v16m_bits(v16m m)
{
    return (uint32_t)_mm256_movemask_ps(m.low) | (uint32_t)_mm256_movemask_ps(m.high) << 8;
}

static inline float v16_sum(v16 a)
{
    __m256 eight = _mm256_add_ps(a.low, a.high);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

static inline float v16_highest(v16 a)
{
    __m256 eight = _mm256_max_ps(a.low, a.high);
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}

static inline __m256 v16_load_halves(const float *a, const float *b)
{
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(a)), _mm_loadu_ps(b), 1);
}

static inline v16 v16_load_quarters(const float *a, const float *b, const float *c, const float *d)
{
    return V16_BOTH(v16, v16_load_halves(a, b), v16_load_halves(c, d));
}

static inline void v16_store_quarters(float *a, float *b, float *c, float *d, v16 x)
{
    _mm_storeu_ps(a, _mm256_castps256_ps128(x.low));
    _mm_storeu_ps(b, _mm256_extractf128_ps(x.low, 1));
    _mm_storeu_ps(c, _mm256_castps256_ps128(x.high));
    _mm_storeu_ps(d, _mm256_extractf128_ps(x.high, 1));
}

static inline void v16_transpose_quarters(v16 row[4])
{
    v16 low = V16_EACH(_mm256_unpacklo_ps, row[0], row[1]), high = V16_EACH(_mm256_unpackhi_ps, row[0], row[1]);
    v16 low2 = V16_EACH(_mm256_unpacklo_ps, row[2], row[3]), high2 = V16_EACH(_mm256_unpackhi_ps, row[2], row[3]);

    row[0] = V16_BOTH(v16, _mm256_shuffle_ps(low.low, low2.low, 0x44), _mm256_shuffle_ps(low.high, low2.high, 0x44));
    row[1] = V16_BOTH(v16, _mm256_shuffle_ps(low.low, low2.low, 0xee), _mm256_shuffle_ps(low.high, low2.high, 0xee));
    row[2] = V16_BOTH(v16, _mm256_shuffle_ps(high.low, high2.low, 0x44),
                      _mm256_shuffle_ps(high.high, high2.high, 0x44));
    row[3] = V16_BOTH(v16, _mm256_shuffle_ps(high.low, high2.low, 0xee),
                      _mm256_shuffle_ps(high.high, high2.high, 0xee));
}

static inline void v16_exchange_quarters(v16 row[4])
{
    v16 a = row[0], b = row[1], c = row[2], d = row[3];

    row[0] = V16_BOTH(v16, _mm256_permute2f128_ps(a.low, b.low, 0x20), _mm256_permute2f128_ps(c.low, d.low, 0x20));
    row[1] = V16_BOTH(v16, _mm256_permute2f128_ps(a.low, b.low, 0x31), _mm256_permute2f128_ps(c.low, d.low, 0x31));
    row[2] = V16_BOTH(v16, _mm256_permute2f128_ps(a.high, b.high, 0x20), _mm256_permute2f128_ps(c.high, d.high, 0x20));
    row[3] = V16_BOTH(v16, _mm256_permute2f128_ps(a.high, b.high, 0x31), _mm256_permute2f128_ps(c.high, d.high, 0x31));
}

static inline v16d v16d_zero(void)
{
    __m256d zero = _mm256_setzero_pd();
    return (v16d){zero, zero, zero, zero};
}

static inline __m256d v16d_square(__m128 x, __m256d sum)
{
    __m256d wide = _mm256_cvtps_pd(x);
    return _mm256_fmadd_pd(wide, wide, sum);
}

static inline v16d v16d_add_square(v16d sum, v16 x)
{
    return (v16d){
        v16d_square(_mm256_castps256_ps128(x.low), sum.a), v16d_square(_mm256_extractf128_ps(x.low, 1), sum.b),
        v16d_square(_mm256_castps256_ps128(x.high), sum.c), v16d_square(_mm256_extractf128_ps(x.high, 1), sum.d)};
}

static inline double v16d_sum(v16d a)
{
    __m256d low = _mm256_add_pd(a.a, a.c), high = _mm256_add_pd(a.b, a.d);
    __m256d four = _mm256_add_pd(low, high);
    __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

#endif
