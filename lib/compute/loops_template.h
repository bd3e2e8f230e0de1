/* What the kernel templates need to write a loop over v16. */
#ifndef RLHFI_LOOPS_TEMPLATE_H
#define RLHFI_LOOPS_TEMPLATE_H

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

#endif
