/* Products of few rows with weights as they stand, [n,k] row-major: 32 of its rows are turned into 32 columns in
 * registers, four k at a time, on their way from memory. The first rows of A are multiplied at once; what was turned is
 * also written down as a panel for the rest of them. So weights stream once, and no packed copy of them exists.
 *
 * The includer has included tiles_template.h and says how many rows at most stay in registers (DIRECT_ROWS), with how
 * many vectors of columns (DIRECT_VECTORS: 1 or 2), and lists the shapes (DIRECT_TABLE). */
#ifndef RLHFI_DIRECT_TEMPLATE_H
#define RLHFI_DIRECT_TEMPLATE_H

/* rows x 16*vectors of C for one chunk of k, whose length is a multiple of 4; columns from j of the block. */
INLINE void direct_tile(const int rows, const int vectors, const bool keep, const rlhfi_block *work, int64_t j,
                        float *panel, const float *next)
{
    const int64_t stride = work->a_row, ld = work->ldb, ld3 = 3 * ld;
    const float *a[(DIRECT_ROWS + 2) / 3]; /* one pointer for three rows: fewer registers */
    const float *b = work->b + j * ld;
    v16 sum[DIRECT_ROWS * DIRECT_VECTORS];

    UNROLLED for (int r = 0; r < rows; r += 3)
        a[r / 3] = work->a + r * stride;
    UNROLLED for (int s = 0; s < rows * vectors; s++)
        sum[s] = v16_zero();
    for (int64_t p = 0; p < work->k; p += 4) {
        v16 column[4 * DIRECT_VECTORS];
        UNROLLED for (int v = 0; v < vectors; v++) {
            UNROLLED for (int i = 0; i < 4; i++) {
                const float *row = b + (v * 16 + i) * ld + p;
                column[4 * v + i] = v16_load_quarters(row, row + 4 * ld, row + 8 * ld, row + 4 * ld3);
            }
            v16_transpose_quarters(column + 4 * v);
            UNROLLED for (int line = 0; line < 4; line++) /* as much as has just been read */
                __builtin_prefetch(next + (p * vectors + v * 4 + line) * 16, 0, 2);
        }
        UNROLLED for (int i = 0; i < 4; i++) {
            UNROLLED for (int v = 0; v < vectors && keep; v++)
                v16_store(panel + (p + i) * RLHFI_PANEL + v * 16, column[4 * v + i]);
            UNROLLED for (int r = 0; r < rows; r++) {
                v16 x = v16_set(a[r / 3][r % 3 * stride + i]);
                UNROLLED for (int v = 0; v < vectors; v++)
                    sum[r * vectors + v] = v16_fma(x, column[4 * v + i], sum[r * vectors + v]);
            }
        }
        UNROLLED for (int r = 0; r < rows; r += 3)
            a[r / 3] += 4;
    }
    UNROLLED for (int r = 0; r < rows; r++) {
        UNROLLED for (int v = 0; v < vectors; v++) {
            float *to = work->c + r * work->ldc + j + v * 16;
            v16 x = sum[r * vectors + v];
            if (work->accumulate)
                x = v16_add(v16_load(to), x);
            if (work->bias != NULL)
                x = v16_add(x, v16_load(work->bias + j + v * 16));
            v16_store(to, x);
        }
    }
}

/* All 32 columns. */
#define DIRECT_SHAPE(rows)                                                                                             \
    static void direct_##rows(const rlhfi_block *work, float *panel, const float *next)                               \
    {                                                                                                                  \
        for (int64_t j = 0; j < RLHFI_PANEL; j += 16 * DIRECT_VECTORS)                                                 \
            if (panel != NULL)                                                                                         \
                direct_tile(rows, DIRECT_VECTORS, true, work, j, panel + j, next + j * work->k);                       \
            else                                                                                                       \
                direct_tile(rows, DIRECT_VECTORS, false, work, j, panel, next + j * work->k);                          \
    }

typedef void direct_function(const rlhfi_block *, float *, const float *);
DIRECT_TABLE /* the includer's list: direct[rows <= DIRECT_ROWS] */

static void k_product_direct(const rlhfi_block *work, float *panel, const float *next)
{
    for (int64_t p = 0; p < work->k; p += RLHFI_CHUNK) {
        rlhfi_block part = *work;
        int64_t first = work->m <= DIRECT_ROWS ? work->m : work->m < 2 * DIRECT_ROWS ? (work->m + 1) / 2 : DIRECT_ROWS;

        part.k = work->k - p < RLHFI_CHUNK ? work->k - p : RLHFI_CHUNK;
        part.a += p * work->a_step;
        part.b += p;
        part.accumulate = work->accumulate || p > 0;
        part.bias = p + part.k == work->k ? work->bias : NULL;
        if (work->n == RLHFI_PANEL && part.k % 4 == 0 && work->a_step == 1) {
            direct[first](&part, first < work->m ? panel : NULL, next + p * RLHFI_PANEL);
        } else {
            pack_columns(part.k, work->n, part.b, work->ldb, panel);
            first = 0;
        }
        part.m -= first;
        part.a += first * work->a_row;
        part.c += first * work->ldc;
        part.b = panel;
        part.ldb = RLHFI_PANEL;
        part.panel_stride = RLHFI_PANEL * RLHFI_CHUNK;
        if (part.m > 0)
            k_product(&part);
    }
}

#endif
