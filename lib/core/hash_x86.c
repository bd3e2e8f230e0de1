/* SHA-256 blocks by the processor's own instructions (about 6 times the plain code): hashes of weights stand before the
 * first step and in every checkpoint. The same function of its input, so no setting chooses. */
#include "core/internal.h"
#include "rlhf_config.h"

#if RLHFI_HAVE_X86_SIMD

#include <cpuid.h>
#include <immintrin.h>

bool rlhfi_sha256_has_instructions(void)
{
    unsigned a, b, c, d;

    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & bit_SSE4_1) == 0 || (c & bit_SSSE3) == 0)
        return false;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & bit_SHA) != 0;
}

/* The instructions keep the state as (a b e f) and (c d g h) and take two rounds each, four words of the schedule a
 * time. */
__attribute__((target("sha,sse4.1,ssse3"))) void
rlhfi_sha256_instructions(uint32_t state[8], const uint8_t *next, size_t blocks, const uint32_t constants[64])
{
    const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i low = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(const void *)state), 0xb1);        /* c d a b */
    __m128i high = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(const void *)(state + 4)), 0x1b); /* e f g h */
    __m128i abef = _mm_alignr_epi8(low, high, 8), cdgh = _mm_blend_epi16(high, low, 0xf0);

    for (; blocks > 0; blocks--, next += 64) {
        __m128i abef_before = abef, cdgh_before = cdgh, w[4];
        for (int i = 0; i < 4; i++)
            w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)(next + 16 * i)), big_endian);
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) {
            __m128i words;
            if (i >= 4) { /* words 4i..4i+3 of the schedule take the place of those 16 before */
                __m128i sum = _mm_add_epi32(_mm_sha256msg1_epu32(w[i & 3], w[(i + 1) & 3]),
                                            _mm_alignr_epi8(w[(i + 3) & 3], w[(i + 2) & 3], 4));
                w[i & 3] = _mm_sha256msg2_epu32(sum, w[(i + 3) & 3]);
            }
            words = _mm_add_epi32(w[i & 3], _mm_loadu_si128((const __m128i *)(const void *)(constants + 4 * i)));
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, words);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(words, 0x0e));
        }
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    low = _mm_shuffle_epi32(abef, 0x1b);  /* f e b a, from the lowest on: a b e f */
    high = _mm_shuffle_epi32(cdgh, 0xb1); /* d c h g */
    _mm_storeu_si128((__m128i *)(void *)state, _mm_blend_epi16(low, high, 0xf0));
    _mm_storeu_si128((__m128i *)(void *)(state + 4), _mm_alignr_epi8(high, low, 8));
}

#else

bool rlhfi_sha256_has_instructions(void)
{
    return false;
}

/* Nobody calls it: there are none. */
void rlhfi_sha256_instructions(uint32_t state[8], const uint8_t *next, size_t blocks, const uint32_t constants[64])
{
    (void)state;
    (void)next;
    (void)blocks;
    (void)constants;
}

#endif
