/* Kernels for AVX2 and FMA: 16 registers of 8 floats, so 6 rows by one 16-lane vector. */
#include "compute/simd_avx2.h"
#include "compute/shapes_avx2.h"

#define KERNELS_NAME avx2
#define KERNELS_FLUSH 0x8040 /* MXCSR: denormals are zeros, flush to zero */

enum { DIRECT_ROWS = 3 };
#define DIRECT_TABLE                                                                                                   \
    DIRECT_SHAPE(1) DIRECT_SHAPE(2) DIRECT_SHAPE(3)                                                                    \
    static direct_function *const direct[] = {NULL, direct_1, direct_2, direct_3};

enum { PAGED_ROWS = 2, DOUBLE_LANES = 4 };
#define PAGED_TABLE                                                                                                    \
    PAGED_SHAPE(1) PAGED_SHAPE(2)                                                                                      \
    static page_scores_function *const page_scores_of[] = {NULL, page_scores_1, page_scores_2};                        \
    static page_values_function *const page_wide[] = {NULL, page_wide_1, page_wide_2};                                 \
    static page_values_function *const page_four[] = {NULL, page_four_1, page_four_2};                                 \
    static page_values_function *const page_one[] = {NULL, page_one_1, page_one_2};

#include "compute/kernels_template.h"
