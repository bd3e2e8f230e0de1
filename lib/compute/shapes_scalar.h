/* Shapes of tiles in plain C. */
#ifndef RLHFI_SHAPES_H
#define RLHFI_SHAPES_H

enum { TILE_ROWS = 4, TILE_VECTORS = 1, TILE_WIDE_1 = 1, TILE_WIDE_2 = 1, TILE_WIDE_3 = 1 };
#define TILE_TABLE                                                                                                     \
    TILE_SHAPE(1, 1) TILE_SHAPE(2, 1) TILE_SHAPE(3, 1) TILE_SHAPE(4, 1)                                                \
    static tile_function *const tile_narrow[] = {NULL, tile_1x1, tile_2x1, tile_3x1, tile_4x1};                        \
    static tile_function *const *const tile_broad = tile_narrow, *const *const tile_wide = tile_narrow;

#endif
