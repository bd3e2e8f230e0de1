/* Kernels in plain C: the reference for the others, and what runs with cpu_mask 0. */
#include "compute/simd_scalar.h"
#include "compute/shapes_scalar.h"

#define KERNELS_NAME scalar
#include "compute/kernels_template.h"
