/* Shapes of tiles for 32 registers of 16 floats: 12 rows by two vectors. */
#ifndef RLHFI_SHAPES_H
#define RLHFI_SHAPES_H

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

#endif
