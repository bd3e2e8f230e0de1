/* Kernels for AVX-512 (F, BW, VL, DQ): 32 registers of 16 floats, so 12 rows by two vectors. */
#include "compute/simd_avx512.h"
#include "compute/shapes_avx512.h"

#define KERNELS_NAME avx512
#define KERNELS_FLUSH 0x8040 /* MXCSR: denormals are zeros, flush to zero */

enum { DIRECT_ROWS = 8 };
#define DIRECT_TABLE                                                                                                   \
    DIRECT_SHAPE(1) DIRECT_SHAPE(2) DIRECT_SHAPE(3) DIRECT_SHAPE(4)                                                    \
    DIRECT_SHAPE(5) DIRECT_SHAPE(6) DIRECT_SHAPE(7) DIRECT_SHAPE(8)                                                    \
    static direct_function *const direct[] = {NULL,     direct_1, direct_2, direct_3, direct_4,                        \
                                              direct_5, direct_6, direct_7, direct_8};

enum { PAGED_ROWS = 4, DOUBLE_LANES = 8 };
#define PAGED_TABLE                                                                                                    \
    PAGED_SHAPE(1) PAGED_SHAPE(2) PAGED_SHAPE(3) PAGED_SHAPE(4)                                                        \
    static page_scores_function *const page_scores_of[] =                                                              \
        {NULL, page_scores_1, page_scores_2, page_scores_3, page_scores_4};                                            \
    static page_values_function *const page_wide[] = {NULL, page_wide_1, page_wide_2, page_wide_3, page_wide_4};       \
    static page_values_function *const page_four[] = {NULL, page_four_1, page_four_2, page_four_3, page_four_4};       \
    static page_values_function *const page_one[] = {NULL, page_one_1, page_one_2, page_one_3, page_one_4};

#include "compute/kernels_template.h"
