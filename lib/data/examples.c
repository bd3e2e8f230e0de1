/* A whole dataset as token sequences, made once at the start of a run. */
#include "data/dataset.h"

/* ---- a whole dataset ------------------------------------------------------------------------------------------------
 */

typedef struct builder {
    rlhfi_examples *examples;
    uint64_t capacity;
} builder;

static rlhf_status grow(builder *builder)
{
    rlhfi_examples *e = builder->examples;
    if (e->rows < builder->capacity)
        return RLHF_OK;
    uint64_t capacity = builder->capacity * 2 + 64;
    bool pairs = e->kind == RLHF_ROW_PREFERENCE;
    rlhfi_sequence *first = rlhfi_realloc_array(e->context, e->first, (size_t)capacity, sizeof *first);
    if (first != NULL)
        e->first = first;
    uint64_t *source = rlhfi_realloc_array(e->context, e->source, (size_t)capacity, sizeof *source);
    if (source != NULL)
        e->source = source;
    rlhfi_sequence *second = NULL;
    double *margin = NULL;
    if (pairs) {
        second = rlhfi_realloc_array(e->context, e->second, (size_t)capacity, sizeof *second);
        if (second != NULL)
            e->second = second;
        margin = rlhfi_realloc_array(e->context, e->margin, (size_t)capacity, sizeof *margin);
        if (margin != NULL)
            e->margin = margin;
    }
    if (first == NULL || source == NULL || (pairs && (second == NULL || margin == NULL)))
        return RLHF_E_NOMEM;
    builder->capacity = capacity;
    return RLHF_OK;
}

static void cut(rlhfi_sequence *sequence, const rlhfi_examples_options *options)
{
    int64_t excess = sequence->length - options->max_length;
    if (options->max_length <= 0 || excess <= 0)
        return;
    if (options->truncation == RLHFI_TRUNCATE_KEEP_END) {
        memmove(sequence->tokens, sequence->tokens + excess, (size_t)options->max_length * sizeof *sequence->tokens);
        sequence->prompt_length = sequence->prompt_length > excess ? sequence->prompt_length - (int32_t)excess : 0;
    }
    sequence->length = (int32_t)options->max_length;
    if (sequence->prompt_length > sequence->length)
        sequence->prompt_length = sequence->length;
}

static bool same(const rlhfi_sequence *a, const rlhfi_sequence *b)
{
    return a->length == b->length && memcmp(a->tokens, b->tokens, (size_t)a->length * sizeof *a->tokens) == 0;
}

/* A document over max_length becomes pieces of max_length; the first piece takes over the tokens' memory. */
static rlhf_status split(builder *builder, rlhfi_sequence *sequence, int64_t piece, uint64_t source)
{
    rlhfi_examples *e = builder->examples;
    for (int64_t at = piece; at < sequence->length; at += piece) {
        int64_t length = sequence->length - at < piece ? sequence->length - at : piece;
        if (length < 2)
            break; /* one token alone predicts nothing */
        RLHFI_TRY(grow(builder));
        int32_t *tokens = rlhfi_alloc_array(e->context, (size_t)length, sizeof *tokens);
        if (tokens == NULL)
            return RLHF_E_NOMEM;
        memcpy(tokens, sequence->tokens + at, (size_t)length * sizeof *tokens);
        e->source[e->rows] = source;
        e->first[e->rows++] = (rlhfi_sequence){tokens, (int32_t)length, 0};
    }
    return RLHF_OK;
}

/* True if the row has something to learn from. */
static bool usable(const rlhfi_examples *e, const rlhfi_sequence *first, const rlhfi_sequence *second,
                   const rlhfi_examples_options *options)
{
    bool limited = options->drop_long && options->max_length > 0;
    if (limited && (first->length > options->max_length || second->length > options->max_length))
        return false;
    switch (e->kind) {
    case RLHF_ROW_TEXT:
        return first->length >= 2;
    case RLHF_ROW_PROMPT:
        return first->length >= 1;
    case RLHF_ROW_PROMPT_COMPLETION:
        return first->length > first->prompt_length &&
               (options->max_length <= 0 || options->truncation == RLHFI_TRUNCATE_KEEP_END ||
                first->prompt_length < options->max_length);
    default:
        return first->length > 0 && second->length > 0 && !same(first, second);
    }
}

rlhf_status rlhfi_examples_build(rlhfi_examples **out, const rlhf_tokenizer *tokenizer, const rlhf_dataset *dataset,
                                 const rlhfi_examples_options *options)
{
    rlhf_context *context = rlhfi_tokenizer_context(tokenizer);
    builder builder = {0};
    rlhf_status status = RLHF_OK;
    *out = NULL;
    rlhfi_examples *e = builder.examples = rlhfi_calloc(context, 1, sizeof *e);
    if (e == NULL)
        return RLHF_E_NOMEM;
    e->context = rlhfi_context_retain(context);
    uint64_t rows = rlhf_dataset_rows(dataset);
    for (uint64_t i = 0; i < rows && status == RLHF_OK; i++) {
        rlhf_row row = {.struct_size = sizeof row};
        rlhfi_sequence first = {0}, second = {0};
        RLHFI_GOTO(rlhf_dataset_row(dataset, i, &row));
        if (i > 0 && row.kind != e->kind)
            RLHFI_GOTO(rlhfi_fail(context, RLHF_E_INVAL, "row %llu is of another kind than the rows before it",
                                  (unsigned long long)i));
        e->kind = row.kind;
        status = grow(&builder);
        if (status == RLHF_OK)
            status = rlhfi_tokenize_row(tokenizer, &row, options->tokenize_flags, &first, &second);
        if (status == RLHF_OK && usable(e, &first, &second, options)) {
            uint64_t kept = e->rows++;
            e->source[kept] = i;
            e->first[kept] = first;
            if (e->kind == RLHF_ROW_PREFERENCE) {
                e->second[kept] = second;
                e->margin[kept] = row.margin;
                cut(&e->second[kept], options);
            } else if (options->split_long && options->max_length > 1) {
                status = split(&builder, &first, options->max_length, i);
            }
            cut(&e->first[kept], options);
            continue;
        }
        rlhfi_free(context, first.tokens);
        rlhfi_free(context, second.tokens);
        if (status == RLHF_OK)
            e->dropped++;
        else
            rlhfi_fail_prefix(context, status, "row %llu", (unsigned long long)i);
    }
done:
    if (status == RLHF_OK)
        *out = e;
    else
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
