/* Kernels for AVX-512 (F, BW, VL, DQ): 32 registers of 16 floats, so 12 rows by two vectors. */
#include "compute/simd_avx512.h"

#define KERNELS_NAME avx512
enum { TILE_ROWS = 12, TILE_VECTORS = 2, TILE_WIDE_1 = 8, TILE_WIDE_2 = 4, TILE_WIDE_3 = 4 };
#define TILE_PAIR(rows) TILE_SHAPE(rows, 1) TILE_SHAPE(rows, 2)
#define TILE_TABLE                                                                                                     \
    TILE_PAIR(1) TILE_PAIR(2) TILE_PAIR(3) TILE_PAIR(4) TILE_PAIR(5) TILE_PAIR(6)                                      \
    TILE_PAIR(7) TILE_PAIR(8) TILE_PAIR(9) TILE_PAIR(10) TILE_PAIR(11) TILE_PAIR(12)                                   \
    TILE_SHAPE(1, 8) TILE_SHAPE(2, 4) TILE_SHAPE(3, 4)                                                                 \
    static tile_function *const tile_narrow[] = {NULL, tile_1x1, tile_2x1, tile_3x1, tile_4x1, tile_5x1, tile_6x1,     \
                                                 tile_7x1, tile_8x1, tile_9x1, tile_10x1, tile_11x1, tile_12x1};       \
    static tile_function *const tile_broad[] = {NULL, tile_1x2, tile_2x2, tile_3x2, tile_4x2, tile_5x2, tile_6x2,      \
                                                tile_7x2, tile_8x2, tile_9x2, tile_10x2, tile_11x2, tile_12x2};        \
    static tile_function *const tile_wide[] = {NULL, tile_1x8, tile_2x4, tile_3x4};

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
