/* Kernels for AVX2 and FMA: 16 registers of 8 floats, so 6 rows by one 16-lane vector. */
#include "compute/simd_avx2.h"
#include "compute/shapes_avx2.h"

#define KERNELS_NAME avx2
#define KERNELS_FLUSH 0x8040 /* MXCSR: denormals are zeros, flush to zero */
#include "compute/kernels_template.h"
