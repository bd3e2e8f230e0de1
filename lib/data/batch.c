/* Ragged batches: one block of memory per batch. Public: rlhf/batch.h. */
#include "data/dataset.h"

struct rlhf_batch {
    int64_t references;
    rlhf_context *context;
    int64_t rows;
    int64_t *offset, *response_offset;
    int32_t *tokens, *prompt_length;
};

static rlhf_status check_layout(rlhf_context *context, int64_t rows, const int64_t *offset, const int32_t *tokens,
                                const int32_t *prompt_length)
{
    if (rows < 0 || offset == NULL || offset[0] != 0)
        return rlhfi_fail(context, RLHF_E_INVAL, "batch: rows must be 0 or more and offset begin with 0");
    for (int64_t r = 0; r < rows; r++) {
        if (offset[r + 1] < offset[r] || offset[r + 1] - offset[r] > INT32_MAX)
            return rlhfi_fail(context, RLHF_E_INVAL, "batch row %lld: offsets %lld, %lld do not ascend by at most %d",
                              (long long)r, (long long)offset[r], (long long)offset[r + 1], INT32_MAX);
        if (prompt_length != NULL && (prompt_length[r] < 0 || prompt_length[r] > offset[r + 1] - offset[r]))
            return rlhfi_fail(context, RLHF_E_INVAL, "batch row %lld: prompt_length %d, but the row has %lld tokens",
                              (long long)r, prompt_length[r], (long long)(offset[r + 1] - offset[r]));
    }
    if (tokens == NULL && offset[rows] > 0)
        return rlhfi_fail(context, RLHF_E_INVAL, "batch: tokens is NULL, but %lld are announced",
                          (long long)offset[rows]);
    return RLHF_OK;
}

static rlhf_status allocate(rlhf_batch **out, rlhf_context *context, int64_t rows, int64_t tokens)
{
    rlhf_batch *batch = rlhfi_calloc(context, 1, sizeof *batch);
    if (batch == NULL)
        return RLHF_E_NOMEM;
    batch->references = 1;
    batch->context = rlhfi_context_retain(context);
    batch->rows = rows;
    batch->offset = rlhfi_calloc(context, (size_t)rows + 1, sizeof *batch->offset);
    batch->response_offset = rlhfi_calloc(context, (size_t)rows + 1, sizeof *batch->response_offset);
    batch->tokens = rlhfi_alloc_array(context, (size_t)tokens, sizeof *batch->tokens);
    batch->prompt_length = rlhfi_calloc(context, (size_t)rows, sizeof *batch->prompt_length);
    if (batch->offset == NULL || batch->response_offset == NULL || batch->tokens == NULL ||
        batch->prompt_length == NULL) {
        rlhf_batch_release(&batch);
        return RLHF_E_NOMEM;
    }
    *out = batch;
    return RLHF_OK;
}

static void count_responses(rlhf_batch *batch)
{
    for (int64_t r = 0; r < batch->rows; r++)
        batch->response_offset[r + 1] =
            batch->response_offset[r] + (batch->offset[r + 1] - batch->offset[r]) - batch->prompt_length[r];
}

rlhf_status rlhf_batch_create(rlhf_batch **out, rlhf_context *context, int64_t rows, const int64_t *offset,
                              const int32_t *tokens, const int32_t *prompt_length)
{
    if (out != NULL)
        *out = NULL;
    RLHFI_TRY(rlhfi_enter(context));
    RLHFI_REQUIRE(context, out != NULL);
    RLHFI_TRY(check_layout(context, rows, offset, tokens, prompt_length));
    RLHFI_TRY(allocate(out, context, rows, offset[rows]));
    memcpy((*out)->offset, offset, ((size_t)rows + 1) * sizeof *offset);
    if (offset[rows] > 0)
        memcpy((*out)->tokens, tokens, (size_t)offset[rows] * sizeof *tokens);
    if (prompt_length != NULL && rows > 0)
        memcpy((*out)->prompt_length, prompt_length, (size_t)rows * sizeof *prompt_length);
    count_responses(*out);
    return RLHF_OK;
}

rlhf_status rlhfi_batch_from_sequences(rlhf_batch **out, rlhf_context *context, const rlhfi_sequence *const *sequences,
                                       int64_t count)
{
    int64_t tokens = 0;
    *out = NULL;
    for (int64_t r = 0; r < count; r++)
        tokens += sequences[r]->length;
    RLHFI_TRY(allocate(out, context, count, tokens));
    rlhf_batch *batch = *out;
    for (int64_t r = 0; r < count; r++) {
        const rlhfi_sequence *sequence = sequences[r];
        if (sequence->length > 0)
            memcpy(batch->tokens + batch->offset[r], sequence->tokens,
                   (size_t)sequence->length * sizeof *sequence->tokens);
        batch->offset[r + 1] = batch->offset[r] + sequence->length;
        batch->prompt_length[r] = sequence->prompt_length;
    }
    count_responses(batch);
    return RLHF_OK;
}

rlhf_status rlhf_batch_select(rlhf_batch **out, const rlhf_batch *batch, const int64_t *row, int64_t count)
{
    int64_t tokens = 0;

    if (out != NULL)
        *out = NULL;
    if (batch == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(rlhfi_enter(batch->context));
    RLHFI_REQUIRE(batch->context, out != NULL && count >= 0 && (row != NULL || count == 0));
    for (int64_t r = 0; r < count; r++) {
        int64_t length;
        if (row[r] < 0 || row[r] >= batch->rows)
            return rlhfi_fail(batch->context, RLHF_E_RANGE, "batch: row %lld was asked for, there are %lld",
                              (long long)row[r], (long long)batch->rows);
        length = batch->offset[row[r] + 1] - batch->offset[row[r]];
        if (length > INT64_MAX - tokens)
            return rlhfi_out_of_memory(batch->context);
        tokens += length;
    }
    RLHFI_TRY(allocate(out, batch->context, count, tokens));
    for (int64_t r = 0; r < count; r++) {
        int64_t from = batch->offset[row[r]], length = batch->offset[row[r] + 1] - from, to = (*out)->offset[r];
        if (length > 0)
            memcpy((*out)->tokens + to, batch->tokens + from, (size_t)length * sizeof *batch->tokens);
        (*out)->offset[r + 1] = to + length;
        (*out)->prompt_length[r] = batch->prompt_length[row[r]];
    }
    count_responses(*out);
    return RLHF_OK;
}

rlhf_batch *rlhfi_batch_retain(rlhf_batch *batch)
{
    batch->references++;
    return batch;
}

rlhf_context *rlhfi_batch_context(const rlhf_batch *batch)
{
    return batch->context;
}

void rlhf_batch_release(rlhf_batch **batch)
{
    if (batch == NULL || *batch == NULL)
        return;
    rlhf_batch *b = *batch;
    *batch = NULL;
    if (--b->references > 0)
        return;
    rlhf_context *context = b->context;
    rlhfi_free(context, b->offset);
    rlhfi_free(context, b->response_offset);
    rlhfi_free(context, b->tokens);
    rlhfi_free(context, b->prompt_length);
    rlhfi_free(context, b);
    rlhf_context_release(&context);
}

rlhf_status rlhf_batch_get(const rlhf_batch *batch, rlhf_batch_view *view)
{
    if (batch == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(rlhfi_enter(batch->context));
    RLHFI_REQUIRE(batch->context, view != NULL && view->struct_size >= sizeof *view);
    view->rows = batch->rows;
    view->offset = batch->offset;
    view->tokens = batch->tokens;
    view->prompt_length = batch->prompt_length;
    view->response_offset = batch->response_offset;
    return RLHF_OK;
}

rlhf_status rlhf_batch_tokenize(rlhf_batch **out, const rlhf_tokenizer *tokenizer, const rlhf_dataset *dataset,
                                uint64_t first, uint64_t count, uint32_t flags)
{
    if (out != NULL)
        *out = NULL;
    if (tokenizer == NULL)
        return RLHF_E_INVAL;
    rlhf_context *context = rlhfi_tokenizer_context(tokenizer);
    RLHFI_TRY(rlhfi_enter(context));
    RLHFI_REQUIRE(context, out != NULL);
    RLHFI_REQUIRE(context, dataset != NULL);
    RLHFI_REQUIRE(context, (flags & ~(uint32_t)(RLHF_TOKENIZE_EOS | RLHF_TOKENIZE_SEPARATE)) == 0);
    uint64_t rows = rlhf_dataset_rows(dataset);
    if (first > rows || count > rows - first)
        return rlhfi_fail(context, RLHF_E_RANGE, "dataset: rows %llu to %llu of %llu", (unsigned long long)first,
                          (unsigned long long)(first + count), (unsigned long long)rows);
    rlhf_status status = RLHF_OK;
    rlhfi_sequence *sequences = rlhfi_calloc(context, (size_t)count * 2 + 1, sizeof *sequences);
    const rlhfi_sequence **pointers = rlhfi_calloc(context, (size_t)count * 2 + 1, sizeof *pointers);
    int32_t kind = 0;
    if (sequences == NULL || pointers == NULL)
        status = RLHF_E_NOMEM;
    for (uint64_t i = 0; status == RLHF_OK && i < count; i++) {
        rlhf_row row = {.struct_size = sizeof row};
        status = rlhf_dataset_row(dataset, first + i, &row);
        if (status == RLHF_OK && i > 0 && row.kind != kind)
            status = rlhfi_fail(context, RLHF_E_INVAL, "dataset: row %llu is of another kind than the rows before it",
                                (unsigned long long)(first + i));
        kind = row.kind;
        if (status == RLHF_OK) {
            status = rlhfi_tokenize_row(tokenizer, &row, flags, &sequences[i], &sequences[count + i]);
            if (status != RLHF_OK)
                rlhfi_fail_prefix(context, status, "dataset: row %llu", (unsigned long long)(first + i));
        }
    }
    uint64_t total = kind == RLHF_ROW_PREFERENCE ? 2 * count : count;
    for (uint64_t i = 0; status == RLHF_OK && i < total; i++)
        pointers[i] = &sequences[i];
    if (status == RLHF_OK)
        status = rlhfi_batch_from_sequences(out, context, pointers, (int64_t)total);
    for (uint64_t i = 0; sequences != NULL && i < 2 * count; i++)
        rlhfi_free(context, sequences[i].tokens);
    rlhfi_free(context, sequences);
    rlhfi_free(context, pointers);
    return status;
}
