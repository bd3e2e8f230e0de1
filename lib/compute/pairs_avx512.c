/* Products of bf16 with AVX-512 where the machine has no instruction for them. */
#include "compute/simd_avx512.h"
#include "compute/shapes_avx512.h"

#define PAIRS_NAME avx512
#define PAIRS_FLUSH 0x8040 /* MXCSR: denormals are zeros, flush to zero */
#include "compute/pairs_template.h"
