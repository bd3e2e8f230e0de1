/* Shapes of tiles for 16 registers of 8 floats: 6 rows by one 16-lane vector. */
#ifndef RLHFI_SHAPES_H
#define RLHFI_SHAPES_H

enum { TILE_ROWS = 6, TILE_VECTORS = 1, TILE_WIDE_1 = 4, TILE_WIDE_2 = 2, TILE_WIDE_3 = 2 };
#define TILE_TABLE                                                                                                     \
    TILE_SHAPE(1, 1) TILE_SHAPE(2, 1) TILE_SHAPE(3, 1) TILE_SHAPE(4, 1) TILE_SHAPE(5, 1) TILE_SHAPE(6, 1)              \
    TILE_SHAPE(1, 4) TILE_SHAPE(2, 2) TILE_SHAPE(3, 2)                                                                 \
    static tile_function *const tile_narrow[] = {NULL, tile_1x1, tile_2x1, tile_3x1, tile_4x1, tile_5x1, tile_6x1};    \
    static tile_function *const *const tile_broad = tile_narrow;                                                       \
    static tile_function *const tile_wide[] = {NULL, tile_1x4, tile_2x2, tile_3x2};

#endif
