/* Products of few rows with weights as they stand, [n,k] row-major: 16 of its rows are turned into columns in
 * registers, 16 k at a time (whole cache lines: strides of weights like to be powers of two, and then the lines of 16
 * rows do not stay in a first-level cache). The first rows of A are multiplied at once; what was turned is also written
 * down as a panel for the rest of them. So weights stream once, and no packed copy of them exists.
 *
 * The includer has included tiles_template.h and says how many rows of A at most are multiplied at once (DIRECT_ROWS),
 * and lists the shapes (DIRECT_TABLE). */
#ifndef RLHFI_DIRECT_TEMPLATE_H
#define RLHFI_DIRECT_TEMPLATE_H

/* rows x 16 columns of C for one chunk of k, a multiple of 16. panel: where to keep the columns, or NULL. The same
 * place 32 rows further on is fetched meanwhile: all of a task but its beginning waits in the second-level cache. */
INLINE void direct_tile(const int rows, const bool keep, const rlhfi_block *work, float *panel)
{
    const int64_t stride = work->a_row, ld = work->ldb, ld3 = 3 * ld;
    const float *a[(DIRECT_ROWS + 2) / 3]; /* one pointer for three rows: fewer registers */
    const float *from[4], *later[4];       /* likewise for four */
    v16 sum[DIRECT_ROWS];

    UNROLLED for (int r = 0; r < rows; r += 3)
        a[r / 3] = work->a + r * stride;
    UNROLLED for (int g = 0; g < 4; g++) {
        from[g] = work->b + 4 * g * ld;
        later[g] = work->b + (32 + 4 * g) * ld;
    }
    UNROLLED for (int r = 0; r < rows; r++)
        sum[r] = v16_zero();
    for (int64_t p = 0; p < work->k; p += 16) {
        v16 x[16], column[16];
        UNROLLED for (int g = 0; g < 4; g++) {
            x[4 * g] = v16_load(from[g]);
            x[4 * g + 1] = v16_load(from[g] + ld);
            x[4 * g + 2] = v16_load(from[g] + 2 * ld);
            x[4 * g + 3] = v16_load(from[g] + ld3);
            __builtin_prefetch(later[g], 0, 2);
            __builtin_prefetch(later[g] + ld, 0, 2);
            __builtin_prefetch(later[g] + 2 * ld, 0, 2);
            __builtin_prefetch(later[g] + ld3, 0, 2);
            v16_transpose_quarters(x + 4 * g);
            from[g] += 16;
            later[g] += 16;
        }
        UNROLLED for (int i = 0; i < 4; i++) {
            v16 four[4] = {x[i], x[4 + i], x[8 + i], x[12 + i]};
            v16_exchange_quarters(four);
            UNROLLED for (int q = 0; q < 4; q++)
                column[4 * q + i] = four[q];
        }
        UNROLLED for (int i = 0; i < 16; i++) {
            if (keep)
                v16_store(panel + (p + i) * RLHFI_PANEL, column[i]);
            UNROLLED for (int r = 0; r < rows; r++)
                sum[r] = v16_fma(v16_set(a[r / 3][r % 3 * stride + i]), column[i], sum[r]);
        }
        UNROLLED for (int r = 0; r < rows; r += 3)
            a[r / 3] += 16;
    }
    UNROLLED for (int r = 0; r < rows; r++) {
        float *to = work->c + r * work->ldc;
        v16 x = sum[r];
        if (work->accumulate)
            x = v16_add(v16_load(to), x);
        if (work->bias != NULL)
            x = v16_add(x, v16_load(work->bias));
        v16_store(to, x);
    }
}

#define DIRECT_SHAPE(rows)                                                                                             \
    static void direct_##rows(const rlhfi_block *work, float *panel)                                                  \
    {                                                                                                                  \
        if (panel != NULL)                                                                                             \
            direct_tile(rows, true, work, panel);                                                                      \
        else                                                                                                           \
            direct_tile(rows, false, work, panel);                                                                     \
    }

typedef void direct_function(const rlhfi_block *, float *);
DIRECT_TABLE /* the includer's list: direct[rows <= DIRECT_ROWS] */

/* A panel of 32 columns for the first rows of A, in two halves. */
static void direct_panel(int64_t rows, const rlhfi_block *work, float *panel)
{
    rlhfi_block half = *work;

    direct[rows](&half, panel);
    half.b += 16 * half.ldb;
    half.c += 16;
    if (half.bias != NULL)
        half.bias += 16;
    direct[rows](&half, panel == NULL ? NULL : panel + 16);
}

static void k_product_direct(const rlhfi_block *work, float *panel)
{
    const int64_t most = work->m <= DIRECT_ROWS       ? work->m
                         : work->m < 2 * DIRECT_ROWS ? (work->m + 1) / 2 /* no thin rest */
                                                      : DIRECT_ROWS;

    for (int64_t p = 0; p < work->k; p += RLHFI_CHUNK) {
        rlhfi_block part = *work;
        int64_t first = 0;

        part.k = work->k - p < RLHFI_CHUNK ? work->k - p : RLHFI_CHUNK;
        part.a += p * work->a_step;
        part.b += p;
        part.accumulate = work->accumulate || p > 0;
        part.bias = p + part.k == work->k ? work->bias : NULL;
        if (work->n == RLHFI_PANEL && part.k % 16 == 0) {
            first = most;
            direct_panel(first, &part, first < work->m ? panel : NULL);
        } else {
            pack_columns(part.k, work->n, part.b, work->ldb, panel);
        }
        if (first == work->m)
            continue;
        part.m -= first;
        part.a += first * work->a_row;
        part.c += first * work->ldc;
        part.b = panel;
        part.ldb = RLHFI_PANEL;
        part.panel_stride = RLHFI_PANEL * RLHFI_CHUNK;
        k_product(&part);
    }
}

#endif
