/* v16 as one AVX-512 register. simd_scalar.h says what each operation means. */
#ifndef RLHFI_SIMD_H
#define RLHFI_SIMD_H

#include <immintrin.h>
#include <stdint.h>

typedef __m512 v16;
typedef __m512i v16i;
typedef __mmask16 v16m;
typedef struct v16d {
    __m512d low, high;
} v16d;

static inline v16m v16m_first(int n)
{
    return (v16m)_bzhi_u32(0xffff, (unsigned)(n < 0 ? 0 : n));
}

static inline v16 v16_set(float x) { return _mm512_set1_ps(x); }
static inline v16 v16_zero(void) { return _mm512_setzero_ps(); }
static inline v16 v16_load(const float *p) { return _mm512_loadu_ps(p); }
static inline v16 v16_load_first(const float *p, int n) { return _mm512_maskz_loadu_ps(v16m_first(n), p); }
static inline void v16_store(float *p, v16 x) { _mm512_storeu_ps(p, x); }
static inline void v16_store_first(float *p, v16 x, int n) { _mm512_mask_storeu_ps(p, v16m_first(n), x); }

static inline v16 v16_widen(__m256i halves)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

static inline v16 v16_load_bf16(const uint16_t *p) { return v16_widen(_mm256_loadu_si256((const void *)p)); }

static inline v16 v16_load_bf16_first(const uint16_t *p, int n)
{
    return v16_widen(_mm256_maskz_loadu_epi16(v16m_first(n), p));
}

static inline void v16i_store_upper(void *p, v16i x, int n)
{
    _mm256_mask_storeu_epi16(p, v16m_first(n), _mm512_cvtepi32_epi16(_mm512_srli_epi32(x, 16)));
}

static inline v16 v16_swap_neighbours(v16 a) { return _mm512_permute_ps(a, 0xb1); }

static inline v16 v16_add(v16 a, v16 b) { return _mm512_add_ps(a, b); }
static inline v16 v16_sub(v16 a, v16 b) { return _mm512_sub_ps(a, b); }
static inline v16 v16_mul(v16 a, v16 b) { return _mm512_mul_ps(a, b); }
static inline v16 v16_div(v16 a, v16 b) { return _mm512_div_ps(a, b); }
static inline v16 v16_sqrt(v16 a) { return _mm512_sqrt_ps(a); }
static inline v16 v16_fma(v16 a, v16 b, v16 c) { return _mm512_fmadd_ps(a, b, c); }
static inline v16 v16_fnma(v16 a, v16 b, v16 c) { return _mm512_fnmadd_ps(a, b, c); }
static inline v16 v16_max(v16 a, v16 b) { return _mm512_max_ps(a, b); }
static inline v16 v16_min(v16 a, v16 b) { return _mm512_min_ps(a, b); }

static inline v16i v16_bits(v16 a) { return _mm512_castps_si512(a); }
static inline v16 v16_from_bits(v16i a) { return _mm512_castsi512_ps(a); }
static inline v16i v16i_set(int32_t x) { return _mm512_set1_epi32(x); }
static inline v16i v16i_add(v16i a, v16i b) { return _mm512_add_epi32(a, b); }
static inline v16i v16i_sub(v16i a, v16i b) { return _mm512_sub_epi32(a, b); }
static inline v16i v16i_and(v16i a, v16i b) { return _mm512_and_si512(a, b); }
static inline v16i v16i_or(v16i a, v16i b) { return _mm512_or_si512(a, b); }
static inline v16i v16i_shift_left(v16i a, int n) { return _mm512_slli_epi32(a, (unsigned)n); }
static inline v16i v16i_shift_right(v16i a, int n) { return _mm512_srli_epi32(a, (unsigned)n); }
static inline v16i v16i_xor(v16i a, v16i b) { return _mm512_xor_si512(a, b); }

static inline v16i v16i_count(void)
{
    return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}

static inline void v16i_multiply(v16i a, uint32_t by, v16i *high, v16i *low)
{
    v16i factor = _mm512_set1_epi32((int32_t)by), even = _mm512_mul_epu32(a, factor);
    v16i odd = _mm512_mul_epu32(_mm512_srli_epi64(a, 32), factor);
    *high = _mm512_mask_blend_epi32(0xaaaa, _mm512_srli_epi64(even, 32), odd);
    *low = _mm512_mullo_epi32(a, factor);
}

static inline v16 v16_from_int(v16i a) { return _mm512_cvtepi32_ps(a); }

static inline v16m v16_less(v16 a, v16 b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
static inline v16m v16_less_equal(v16 a, v16 b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
static inline v16m v16_equal(v16 a, v16 b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
static inline v16 v16_select(v16m m, v16 yes, v16 no) { return _mm512_mask_blend_ps(m, no, yes); }

static inline v16 v16_keep(v16 x, int first, int end, float fill)
{
    return v16_select((v16m)(v16m_first(end) & ~v16m_first(first)), x, v16_set(fill));
}

static inline uint32_t v16m_bits(v16m m) { return m; }

static inline float v16_sum(v16 a)
{
    __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

static inline float v16_highest(v16 a)
{
    __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}

/* Masked broadcasts from memory need no shuffle unit. */
static inline v16 v16_load_quarters(const float *a, const float *b, const float *c, const float *d)
{
    v16 all = _mm512_castps128_ps512(_mm_loadu_ps(a));
    all = _mm512_mask_broadcast_f32x4(all, 0x00f0, _mm_loadu_ps(b));
    all = _mm512_mask_broadcast_f32x4(all, 0x0f00, _mm_loadu_ps(c));
    return _mm512_mask_broadcast_f32x4(all, 0xf000, _mm_loadu_ps(d));
}

static inline void v16_store_quarters(float *a, float *b, float *c, float *d, v16 x)
{
    _mm_storeu_ps(a, _mm512_castps512_ps128(x));
    _mm_storeu_ps(b, _mm512_extractf32x4_ps(x, 1));
    _mm_storeu_ps(c, _mm512_extractf32x4_ps(x, 2));
    _mm_storeu_ps(d, _mm512_extractf32x4_ps(x, 3));
}

static inline void v16_transpose_quarters(v16 row[4])
{
    v16 low = _mm512_unpacklo_ps(row[0], row[1]), high = _mm512_unpackhi_ps(row[0], row[1]);
    v16 low2 = _mm512_unpacklo_ps(row[2], row[3]), high2 = _mm512_unpackhi_ps(row[2], row[3]);

    row[0] = _mm512_shuffle_ps(low, low2, 0x44);
    row[1] = _mm512_shuffle_ps(low, low2, 0xee);
    row[2] = _mm512_shuffle_ps(high, high2, 0x44);
    row[3] = _mm512_shuffle_ps(high, high2, 0xee);
}

static inline void v16_exchange_quarters(v16 row[4])
{
    v16 low = _mm512_shuffle_f32x4(row[0], row[1], 0x44), high = _mm512_shuffle_f32x4(row[0], row[1], 0xee);
    v16 low2 = _mm512_shuffle_f32x4(row[2], row[3], 0x44), high2 = _mm512_shuffle_f32x4(row[2], row[3], 0xee);

    row[0] = _mm512_shuffle_f32x4(low, low2, 0x88);
    row[1] = _mm512_shuffle_f32x4(low, low2, 0xdd);
    row[2] = _mm512_shuffle_f32x4(high, high2, 0x88);
    row[3] = _mm512_shuffle_f32x4(high, high2, 0xdd);
}

static inline v16d v16d_zero(void) { return (v16d){_mm512_setzero_pd(), _mm512_setzero_pd()}; }

static inline v16d v16d_add_square(v16d sum, v16 x)
{
    __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(x)), high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));
    return (v16d){_mm512_fmadd_pd(low, low, sum.low), _mm512_fmadd_pd(high, high, sum.high)};
}

static inline double v16d_sum(v16d a)
{
    __m512d eight = _mm512_add_pd(a.low, a.high);
    __m256d four = _mm256_add_pd(_mm512_castpd512_pd256(eight), _mm512_extractf64x4_pd(eight, 1));
    __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

#endif
