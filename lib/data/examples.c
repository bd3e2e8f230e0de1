/* A whole dataset as token sequences, made once at the start of a run. */
#include "data/dataset.h"

struct building {
    rlhfi_examples *examples;
    const rlhfi_examples_options *options;
    uint64_t capacity;
};

static void *grow_array(rlhf_context *context, void *array, uint64_t capacity, size_t size, bool *failed)
{
    void *larger = rlhfi_realloc_array(context, array, (size_t)capacity, size);
    *failed = *failed || larger == NULL;
    return larger != NULL ? larger : array;
}

/* Room for one more example. */
static rlhf_status reserve(struct building *building)
{
    rlhfi_examples *e = building->examples;
    bool failed = false;
    if (e->rows < building->capacity)
        return RLHF_OK;
    uint64_t capacity = building->capacity * 2 + 64;
    e->first = grow_array(e->context, e->first, capacity, sizeof *e->first, &failed);
    e->source = grow_array(e->context, e->source, capacity, sizeof *e->source, &failed);
    if (e->kind == RLHF_ROW_PREFERENCE) {
        e->second = grow_array(e->context, e->second, capacity, sizeof *e->second, &failed);
        e->margin = grow_array(e->context, e->margin, capacity, sizeof *e->margin, &failed);
    }
    if (failed)
        return rlhfi_out_of_memory(e->context);
    building->capacity = capacity;
    return RLHF_OK;
}

static void cut(rlhfi_sequence *sequence, const rlhfi_examples_options *options)
{
    int64_t excess = sequence->length - options->max_length;
    if (options->max_length <= 0 || excess <= 0)
        return;
    sequence->length = (int32_t)options->max_length;
    if (options->truncation == RLHFI_TRUNCATE_KEEP_END) {
        memmove(sequence->tokens, sequence->tokens + excess, (size_t)sequence->length * sizeof *sequence->tokens);
        sequence->prompt_length = sequence->prompt_length > excess ? sequence->prompt_length - (int32_t)excess : 0;
    } else if (sequence->prompt_length > sequence->length) {
        sequence->prompt_length = sequence->length;
    }
}

static bool is_too_long(const rlhfi_sequence *sequence, const rlhfi_examples_options *options)
{
    return options->drop_long && options->max_length > 0 && sequence->length > options->max_length;
}

/* True if the row, as cut, has something to learn from: a text a token that another one predicts, an answer any. */
static bool is_usable(int32_t kind, const rlhfi_sequence *first, const rlhfi_sequence *second)
{
    switch (kind) {
    case RLHF_ROW_TEXT:
        return first->length >= 2;
    case RLHF_ROW_PROMPT:
        return first->length >= 1;
    case RLHF_ROW_PROMPT_COMPLETION:
        return first->length > first->prompt_length;
    default:
        return first->length > first->prompt_length && second->length > second->prompt_length &&
               (first->length != second->length ||
                memcmp(first->tokens, second->tokens, (size_t)first->length * sizeof *first->tokens) != 0);
    }
}

/* Takes over the sequences' tokens on success. */
static rlhf_status keep(struct building *building, const rlhfi_sequence *first, const rlhfi_sequence *second,
                        double margin, uint64_t source)
{
    rlhfi_examples *e = building->examples;
    RLHFI_TRY(reserve(building));
    e->first[e->rows] = *first;
    e->source[e->rows] = source;
    if (e->kind == RLHF_ROW_PREFERENCE) {
        e->second[e->rows] = *second;
        e->margin[e->rows] = margin;
    }
    e->rows++;
    return RLHF_OK;
}

/* A text over max_length becomes several; a piece of one token predicts nothing and is left out. */
static rlhf_status keep_pieces(struct building *building, const rlhfi_sequence *whole, uint64_t source)
{
    int64_t most = building->options->max_length;
    for (int64_t at = 0; whole->length - at >= 2; at += most) {
        rlhfi_sequence piece = {.length = (int32_t)(whole->length - at < most ? whole->length - at : most)};
        piece.tokens = rlhfi_alloc_array(building->examples->context, (size_t)piece.length, sizeof *piece.tokens);
        if (piece.tokens == NULL)
            return RLHF_E_NOMEM;
        memcpy(piece.tokens, whole->tokens + at, (size_t)piece.length * sizeof *piece.tokens);
        rlhf_status status = keep(building, &piece, NULL, 0, source);
        if (status != RLHF_OK) {
            rlhfi_free(building->examples->context, piece.tokens);
            return status;
        }
    }
    return RLHF_OK;
}

static rlhf_status add_row(struct building *building, const rlhf_tokenizer *tokenizer, const rlhf_row *row,
                           uint64_t source)
{
    const rlhfi_examples_options *options = building->options;
    rlhfi_examples *e = building->examples;
    rlhfi_sequence first = {0}, second = {0};
    rlhf_status status = rlhfi_tokenize_row(tokenizer, row, options->tokenize_flags, &first, &second);
    if (status == RLHF_OK && e->kind == RLHF_ROW_TEXT && options->split_long && options->max_length >= 2 &&
        first.length > options->max_length) {
        status = keep_pieces(building, &first, source);
    } else if (status == RLHF_OK) {
        bool good = !is_too_long(&first, options) && !is_too_long(&second, options);
        cut(&first, options);
        cut(&second, options);
        if (good && is_usable(e->kind, &first, &second)) {
            status = keep(building, &first, &second, row->margin, source);
            if (status == RLHF_OK)
                return RLHF_OK;
        } else {
            e->dropped++;
        }
    }
    rlhfi_free(e->context, first.tokens);
    rlhfi_free(e->context, second.tokens);
    return status;
}

rlhf_status rlhfi_examples_build(rlhfi_examples **out, const rlhf_tokenizer *tokenizer, const rlhf_dataset *dataset,
                                 const rlhfi_examples_options *options)
{
    rlhf_context *context = rlhfi_tokenizer_context(tokenizer);
    rlhf_status status = RLHF_OK;
    *out = NULL;
    rlhfi_examples *e = rlhfi_calloc(context, 1, sizeof *e);
    if (e == NULL)
        return RLHF_E_NOMEM;
    struct building building = {.examples = e, .options = options};
    e->context = rlhfi_context_retain(context);
    for (uint64_t i = 0; i < rlhf_dataset_rows(dataset); i++) {
        rlhf_row row = {.struct_size = sizeof row};
        RLHFI_GOTO(rlhfi_check_cancel(context));
        RLHFI_GOTO(rlhf_dataset_row(dataset, i, &row));
        if (i > 0 && row.kind != e->kind) {
            status = rlhfi_fail(context, RLHF_E_INVAL, "dataset: row %llu is of another kind than the rows before it",
                                (unsigned long long)i);
            goto done;
        }
        e->kind = row.kind;
        status = add_row(&building, tokenizer, &row, i);
        if (status != RLHF_OK) {
            rlhfi_fail_prefix(context, status, "dataset: row %llu", (unsigned long long)i);
            goto done;
        }
    }
    *out = e;
    return RLHF_OK;
done:
    rlhfi_examples_release(&e);
    return status;
}

void rlhfi_examples_release(rlhfi_examples **examples)
{
    if (examples == NULL || *examples == NULL)
        return;
    rlhfi_examples *e = *examples;
    rlhf_context *context = e->context;
    for (uint64_t i = 0; i < e->rows; i++) {
        rlhfi_free(context, e->first[i].tokens);
        if (e->second != NULL)
            rlhfi_free(context, e->second[i].tokens);
    }
    rlhfi_free(context, e->first);
    rlhfi_free(context, e->second);
    rlhfi_free(context, e->margin);
    rlhfi_free(context, e->source);
    rlhfi_free(context, e);
    rlhf_context_release(&context);
    *examples = NULL;
}
