/* What the buffers of a context grow to: the same sizes that the kernels reserve, for plans of memory. */
#include "compute/attention.h"

static void at_least(size_t *most, size_t count)
{
    if (count > *most)
        *most = count;
}

uint64_t rlhfi_compute_plan(const rlhfi_compute_work *work)
{
    const int64_t head_rows = work->head_rows < RLHFI_HEAD_ROWS ? work->head_rows : RLHFI_HEAD_ROWS;
    const size_t row_blocks = (size_t)((work->rows + RLHFI_CHUNK - 1) / RLHFI_CHUNK);
    const size_t part = sizeof(rlhfi_head_part) / sizeof(float);
    size_t packed = 0, partial = 0, tile = 0, gathered = 0, index = 0, scratch = 0, joined = 0;
    size_t rounded = 0;

    for (int64_t i = 0; i < work->products && work->rows > 0; i++) {
        const int64_t in = work->product[i][0], out = work->product[i][1];
        if (!work->packed_weights)
            at_least(&packed, rlhfi_product_packed(out, in));
        if (work->rounded)
            at_least(&rounded, rlhfi_bf16_rounded(work->rows, in));
        if (!work->backward)
            continue;
        if (work->rounded) {
            at_least(&rounded, rlhfi_bf16_rounded(work->rows, out));
            at_least(&rounded, rlhfi_bf16_rounded(in > out ? in : out, work->rows));
        }
        if (!work->packed_weights)
            at_least(&packed, rlhfi_product_packed(in, out));
        at_least(&packed, rlhfi_product_packed(work->transposed_weights ? in : out, work->rows));
        at_least(&partial, row_blocks * (size_t)in);
        if (work->biases)
            at_least(&partial, row_blocks * (size_t)out);
        at_least(&scratch, rlhfi_product_scratch());
    }
    if (work->rows > 0) {
        joined = (2 * (size_t)work->joined * (size_t)work->head_dim + 15) / 16 * 16;
        at_least(&scratch, joined + rlhfi_attend_columns_scratch(work->keys, work->head_dim));
        at_least(&scratch, joined + rlhfi_attend_rows_scratch(15, work->keys, work->head_dim));
        at_least(&index, 2 * ((size_t)work->sequences + 1));
        if (work->backward)
            at_least(&scratch, rlhfi_attend_backward_scratch(work->head_dim, work->keys, work->joined));
    }
    if (head_rows > 0) {
        at_least(&scratch, rlhfi_head_scratch(work->width));
        if (work->rounded)
            at_least(&rounded, (size_t)head_rows * (size_t)(work->width + 1));
        at_least(&tile, (size_t)head_rows * (1 + (size_t)rlhfi_head_blocks(work->vocabulary) * part));
        at_least(&gathered, (size_t)head_rows * (size_t)work->width * (work->backward ? 2 : 1));
        if (work->backward) {
            int64_t block = work->vocabulary < RLHFI_HEAD_BLOCK ? work->vocabulary : RLHFI_HEAD_BLOCK;
            at_least(&tile, (size_t)head_rows * RLHFI_HEAD_BLOCK);
            at_least(&index, 2 * (size_t)head_rows);
            if (work->rounded)
                at_least(&rounded, rlhfi_bf16_rounded(block, head_rows));
            at_least(&packed, rlhfi_product_packed(block, work->width));
            at_least(&packed, rlhfi_product_packed(work->width, block));
            at_least(&packed, rlhfi_product_packed(work->width, head_rows));
            at_least(&scratch, rlhfi_product_scratch());
        }
    }
    return sizeof(float) * ((uint64_t)rlhfi_buffer_size(packed) + rlhfi_buffer_size(partial) + rlhfi_buffer_size(tile) +
                            rlhfi_buffer_size(rounded) + rlhfi_buffer_size(gathered) + rlhfi_buffer_size(index) +
                            (uint64_t)work->workers * rlhfi_buffer_size(scratch));
}
