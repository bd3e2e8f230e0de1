/* Register tiles of the dense products.
 *
 * A tile keeps rows x vectors sums in registers, runs k upwards and then stores: that is the chain of compute.h. The
 * includer says how many registers there are: TILE_ROWS rows by TILE_VECTORS vectors for many rows; for 1, 2 and 3 rows
 * TILE_WIDE_1, _2, _3 vectors, because a chain needs several independent neighbours to hide the latency of an FMA.
 *
 * An element is a float; or a pair of bf16, if the includer has defined what TILE_MULTIPLY(a, b, sum) and TILE_ADD do
 * with it and how many of them are a TILE_CHUNK. */
#ifndef RLHFI_TILES_TEMPLATE_H
#define RLHFI_TILES_TEMPLATE_H

#include "compute/loops_template.h"

#ifndef TILE_MULTIPLY
#define TILE_MULTIPLY v16_fma
#define TILE_ADD v16_add
#define TILE_CHUNK RLHFI_CHUNK
#endif

enum { TILE_WIDEST = TILE_WIDE_1, TILE_MOST_ROWS = TILE_ROWS };

/* Where a tile stands: rows from i, columns from j, the chunk of k from p. */
struct tile_place {
    int64_t i, j, p, chunk;
    int last_lanes; /* columns of the last vector, 16 unless partial */
};

INLINE const float *tile_columns(const rlhfi_block *work, const struct tile_place *place)
{
    return work->b + place->j / RLHFI_PANEL * work->panel_stride + place->j % RLHFI_PANEL + place->p * work->ldb;
}

/* rows, vectors and partial are constants at every call, so that the sums live in registers. */
INLINE void tile(const int rows, const int vectors, const bool partial, const rlhfi_block *work,
                 const struct tile_place *place)
{
    const int64_t stride = work->a_row, step = work->a_step, ldb = work->ldb;
    const float *b = tile_columns(work, place);
    const float *a[(TILE_MOST_ROWS + 2) / 3]; /* one pointer for three rows: fewer registers */
    v16 sum[TILE_MOST_ROWS * TILE_VECTORS > TILE_WIDE_1 * 3 ? TILE_MOST_ROWS * TILE_VECTORS : TILE_WIDE_1 * 3];

    UNROLLED for (int r = 0; r < rows; r += 3)
        a[r / 3] = work->a + (place->i + r) * stride + place->p * step;
    UNROLLED for (int s = 0; s < rows * vectors; s++)
        sum[s] = v16_zero();
    for (int64_t p = 0; p < place->chunk; p++) {
        v16 column[TILE_WIDEST];
        UNROLLED for (int v = 0; v < vectors; v++) {
            const float *from = b + v / 2 * work->panel_stride + v % 2 * 16;
            column[v] = partial && v == vectors - 1 ? v16_load_first(from, place->last_lanes) : v16_load(from);
        }
        UNROLLED for (int r = 0; r < rows; r++) {
            v16 x = v16_set(a[r / 3][r % 3 * stride]);
            UNROLLED for (int v = 0; v < vectors; v++)
                sum[r * vectors + v] = TILE_MULTIPLY(x, column[v], sum[r * vectors + v]);
        }
        UNROLLED for (int r = 0; r < rows; r += 3)
            a[r / 3] += step;
        b += ldb;
    }

    const bool add = place->p > 0 || work->accumulate;
    const float *bias = place->p + place->chunk == work->k ? work->bias : NULL;
    UNROLLED for (int r = 0; r < rows; r++) {
        UNROLLED for (int v = 0; v < vectors; v++) {
            float *to = work->c + (place->i + r) * work->ldc + place->j + v * 16;
            const bool cut = partial && v == vectors - 1;
            v16 x = sum[r * vectors + v];
            if (add)
                x = TILE_ADD(cut ? v16_load_first(to, place->last_lanes) : v16_load(to), x);
            if (bias != NULL) {
                const float *from = bias + place->j + v * 16;
                x = TILE_ADD(x, cut ? v16_load_first(from, place->last_lanes) : v16_load(from));
            }
            if (cut)
                v16_store_first(to, x, place->last_lanes);
            else
                v16_store(to, x);
        }
    }
}

/* One function per shape: the constants above become real ones. */
#define TILE_SHAPE(rows, vectors)                                                                                      \
    static void tile_##rows##x##vectors(const rlhfi_block *work, const struct tile_place *place)                      \
    {                                                                                                                  \
        if (place->last_lanes == 16)                                                                                   \
            tile(rows, vectors, false, work, place);                                                                   \
        else                                                                                                           \
            tile(rows, vectors, true, work, place);                                                                    \
    }

typedef void tile_function(const rlhfi_block *, const struct tile_place *);
TILE_TABLE /* the includer's list of shapes: tile_narrow[rows], tile_broad[rows], tile_wide[rows <= 3] */

/* All row tiles of one chunk in `vectors` vectors of columns. Rows are dealt out evenly, since a thin rest would leave
 * most of the machine idle. */
static void run_rows(tile_function *const *shape, const rlhfi_block *work, struct tile_place *place)
{
    int64_t tiles = (work->m + TILE_ROWS - 1) / TILE_ROWS, rows = work->m / tiles, more = work->m % tiles;

    place->i = 0;
    for (int64_t t = 0; t < tiles; t++) {
        int64_t here = rows + (t < more);
        shape[here](work, place);
        place->i += here;
    }
}

static void run_columns(tile_function *const *shape, const rlhfi_block *work, struct tile_place *place)
{
    for (place->p = 0; place->p < work->k; place->p += TILE_CHUNK) {
        place->chunk = work->k - place->p < TILE_CHUNK ? work->k - place->p : TILE_CHUNK;
        run_rows(shape, work, place);
    }
}

static void k_product(const rlhfi_block *work)
{
    struct tile_place place = {.last_lanes = 16};
    int64_t left = work->n;

    if (work->m <= 3) {
        const int64_t width = 16 * (work->m == 1 ? TILE_WIDE_1 : work->m == 2 ? TILE_WIDE_2 : TILE_WIDE_3);
        for (; left >= width; left -= width, place.j += width)
            run_columns(tile_wide, work, &place);
    }
    for (; left >= 16 * TILE_VECTORS; left -= 16 * TILE_VECTORS, place.j += 16 * TILE_VECTORS)
        run_columns(tile_broad, work, &place);
    if (left > 0) {
        place.last_lanes = left % 16 == 0 ? 16 : (int)(left % 16);
        run_columns(left > 16 ? tile_broad : tile_narrow, work, &place);
    }
}

#endif
