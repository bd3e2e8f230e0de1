/* Kernels for AVX-512 (F, BW, VL, DQ): 32 registers of 16 floats, so 12 rows by two vectors. */
#include "compute/simd_avx512.h"
#include "compute/shapes_avx512.h"

#define KERNELS_NAME avx512
#define KERNELS_FLUSH 0x8040 /* MXCSR: denormals are zeros, flush to zero */
#include "compute/kernels_template.h"
