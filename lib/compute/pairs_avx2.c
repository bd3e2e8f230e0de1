/* Products of bf16 with AVX2 and FMA. */
#include "compute/simd_avx2.h"
#include "compute/shapes_avx2.h"

#define PAIRS_NAME avx2
#define PAIRS_FLUSH 0x8040 /* MXCSR: denormals are zeros, flush to zero */
#include "compute/pairs_template.h"
