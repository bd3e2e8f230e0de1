/* Kernels for AVX2 and FMA: 16 registers of 8 floats, so 6 rows by one 16-lane vector. */
#include "compute/simd_avx2.h"

#define KERNELS_NAME avx2
enum { TILE_ROWS = 6, TILE_VECTORS = 1, TILE_WIDE_1 = 4, TILE_WIDE_2 = 2, TILE_WIDE_3 = 2 };
#define TILE_TABLE                                                                                                     \
    TILE_SHAPE(1, 1) TILE_SHAPE(2, 1) TILE_SHAPE(3, 1) TILE_SHAPE(4, 1) TILE_SHAPE(5, 1) TILE_SHAPE(6, 1)              \
    TILE_SHAPE(1, 4) TILE_SHAPE(2, 2) TILE_SHAPE(3, 2)                                                                 \
    static tile_function *const tile_narrow[] = {NULL, tile_1x1, tile_2x1, tile_3x1, tile_4x1, tile_5x1, tile_6x1};    \
    static tile_function *const *const tile_broad = tile_narrow;                                                       \
    static tile_function *const tile_wide[] = {NULL, tile_1x4, tile_2x2, tile_3x2};

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
