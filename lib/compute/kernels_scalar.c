/* Kernels in plain C: the reference for the others, and what runs with cpu_mask 0. */
#include "compute/simd_scalar.h"
#include "compute/shapes_scalar.h"

#define KERNELS_NAME scalar

enum { DIRECT_ROWS = 2 };
#define DIRECT_TABLE                                                                                                   \
    DIRECT_SHAPE(1) DIRECT_SHAPE(2)                                                                                    \
    static direct_function *const direct[] = {NULL, direct_1, direct_2};

enum { PAGED_ROWS = 2, DOUBLE_LANES = 2 };
#define PAGED_TABLE                                                                                                    \
    PAGED_SHAPE(1) PAGED_SHAPE(2)                                                                                      \
    static page_scores_function *const page_scores_of[] = {NULL, page_scores_1, page_scores_2};                        \
    static page_values_function *const page_wide[] = {NULL, page_wide_1, page_wide_2};                                 \
    static page_values_function *const page_four[] = {NULL, page_four_1, page_four_2};                                 \
    static page_values_function *const page_one[] = {NULL, page_one_1, page_one_2};

#include "compute/kernels_template.h"
