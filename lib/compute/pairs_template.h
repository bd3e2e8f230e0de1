/* The product of pairs of bf16, one instance per file. The includer has chosen the vector type, the tile shapes,
 * PAIRS_NAME and, with TILE_MULTIPLY and TILE_ADD, the arithmetic; or it takes the one below: two fused multiply-adds,
 * because the product of two bf16 numbers is exact in a float. */
#ifndef TILE_MULTIPLY
#define TILE_MULTIPLY multiply_pairs
#define TILE_ADD v16_add

static inline v16 multiply_pairs(v16 a, v16 b, v16 sum)
{
    const v16i upper = v16i_set((int32_t)0xffff0000), x = v16_bits(a), y = v16_bits(b);

    sum = v16_fma(v16_from_bits(v16i_and(x, upper)), v16_from_bits(v16i_and(y, upper)), sum);
    return v16_fma(v16_from_bits(v16i_shift_left(x, 16)), v16_from_bits(v16i_shift_left(y, 16)), sum);
}
#endif
#define TILE_CHUNK (RLHFI_CHUNK / 2)

#include "compute/tiles_template.h"

#define JOINED_OF(a, b) a##b
#define JOINED(a, b) JOINED_OF(a, b)

#ifdef PAIRS_FLUSH
/* A call that is not inlined keeps arithmetic between the two settings. */
static __attribute__((noinline)) void product_between(const rlhfi_block *work) { k_product(work); }

void JOINED(rlhfi_product_pairs_, PAIRS_NAME)(const rlhfi_block *work)
{
    const unsigned before = _mm_getcsr();

    _mm_setcsr(before | PAIRS_FLUSH);
    product_between(work);
    _mm_setcsr(before);
}
#else
void JOINED(rlhfi_product_pairs_, PAIRS_NAME)(const rlhfi_block *work) { k_product(work); }
#endif
