/* Products of bf16 with VDPBF16PS. It flushes by itself; the additions between chunks need to be told. */
#include "compute/simd_avx512.h"
#include "compute/shapes_avx512.h"

#define PAIRS_NAME avx512_bf16
#define PAIRS_FLUSH 0x8040 /* MXCSR: denormals are zeros, flush to zero */
#define TILE_MULTIPLY multiply_pairs
#define TILE_ADD v16_add

static inline v16 multiply_pairs(v16 a, v16 b, v16 sum)
{
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
}

#include "compute/pairs_template.h"
