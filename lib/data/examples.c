/* Rows of text to token sequences, by TRL's rules: prompt and prompt + completion are encoded as whole texts, and the
 * completion begins at the first id that differs; EOS is appended as text, unless it is there or the row brings its own
 * end-of-turn tokens. */
#include "data/data.h"

/* Encodes text (+ EOS) behind what ids already holds. */
static rlhf_status encode(const rlhf_tokenizer *tokenizer, const char *text, const char *end, uint32_t flags, rlhfi_ids *ids)
{
    rlhf_context *context = rlhfi_tokenizer_context(tokenizer);
    size_t bytes = strlen(text), end_bytes = end != NULL ? strlen(end) : 0;
    if (end_bytes == 0 || (bytes >= end_bytes && memcmp(text + bytes - end_bytes, end, end_bytes) == 0))
        return rlhfi_tokenizer_encode_append(tokenizer, text, bytes, flags, ids);
    rlhfi_string whole;
    rlhfi_string_init(&whole, context);
    rlhfi_string_add_bytes(&whole, text, bytes);
    rlhfi_string_add_bytes(&whole, end, end_bytes);
    rlhf_status status = whole.failed ? RLHF_E_NOMEM
                                      : rlhfi_tokenizer_encode_append(tokenizer, whole.data, whole.size, flags, ids);
    rlhfi_string_free(&whole);
    return status;
}

/* prompt + answer to one sequence; answer NULL: a prompt alone; prompt NULL: a text alone. */
static rlhf_status make_sequence(const rlhf_tokenizer *tokenizer, const char *prompt, const char *answer, const char *end,
                                 uint32_t flags, rlhfi_sequence *out)
{
    rlhf_context *context = rlhfi_tokenizer_context(tokenizer);
    rlhfi_ids prompt_ids = {0}, ids = {0};
    rlhfi_string whole;
    rlhf_status status = RLHF_OK;
    size_t common = 0;
    rlhfi_string_init(&whole, context);
    if (prompt == NULL) {
        RLHFI_GOTO(encode(tokenizer, answer, end, RLHF_ENCODE_SPECIAL, &ids));
    } else if (answer == NULL) {
        RLHFI_GOTO(encode(tokenizer, prompt, NULL, RLHF_ENCODE_SPECIAL, &ids));
        common = ids.count;
    } else if ((flags & RLHF_TOKENIZE_SEPARATE) != 0) {
        RLHFI_GOTO(encode(tokenizer, prompt, NULL, RLHF_ENCODE_SPECIAL, &ids));
        common = ids.count;
        RLHFI_GOTO(encode(tokenizer, answer, end, 0, &ids));
    } else {
        rlhfi_string_add(&whole, prompt);
        rlhfi_string_add(&whole, answer);
        if (whole.failed)
            RLHFI_GOTO(RLHF_E_NOMEM);
        RLHFI_GOTO(encode(tokenizer, prompt, NULL, RLHF_ENCODE_SPECIAL, &prompt_ids));
        RLHFI_GOTO(encode(tokenizer, whole.data, end, RLHF_ENCODE_SPECIAL, &ids));
        while (common < prompt_ids.count && common < ids.count && prompt_ids.data[common] == ids.data[common])
            common++;
    }
    if (ids.count > INT32_MAX)
        RLHFI_GOTO(rlhfi_fail(context, RLHF_E_RANGE, "%zu tokens are too many for one row", ids.count));
    *out = (rlhfi_sequence){ids.data, (int32_t)ids.count, (int32_t)common};
    ids.data = NULL;
done:
    rlhfi_free(context, prompt_ids.data);
    rlhfi_free(context, ids.data);
    rlhfi_string_free(&whole);
    return status;
}

/* A row's one or two sequences. */
static rlhf_status tokenize_row(const rlhf_tokenizer *tokenizer, const rlhf_row *row, uint32_t flags, rlhfi_sequence *first,
                                rlhfi_sequence *second)
{
    const char *end = (flags & RLHF_TOKENIZE_EOS) != 0 && !row->conversational ? rlhfi_tokenizer_eos_text(tokenizer) : NULL;
    switch (row->kind) {
    case RLHF_ROW_TEXT:
        return make_sequence(tokenizer, NULL, row->text, end, flags, first);
    case RLHF_ROW_PROMPT:
        return make_sequence(tokenizer, row->prompt, NULL, NULL, flags, first);
    case RLHF_ROW_PROMPT_COMPLETION:
        return make_sequence(tokenizer, row->prompt, row->completion, end, flags, first);
    default:
        RLHFI_TRY(make_sequence(tokenizer, row->prompt, row->chosen, end, flags, first));
        return make_sequence(tokenizer, row->prompt, row->rejected, end, flags, second);
    }
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
    RLHFI_REQUIRE(context, out != NULL && dataset != NULL && (flags & ~3u) == 0);
    uint64_t rows = rlhf_dataset_rows(dataset);
    if (first > rows || count > rows - first)
        return rlhfi_fail(context, RLHF_E_RANGE, "rows %llu to %llu of %llu", (unsigned long long)first,
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
            status = rlhfi_fail(context, RLHF_E_INVAL, "row %llu is of another kind than the rows before it",
                                (unsigned long long)(first + i));
        kind = row.kind;
        if (status == RLHF_OK) {
            status = tokenize_row(tokenizer, &row, flags, &sequences[i], &sequences[count + i]);
            if (status != RLHF_OK)
                rlhfi_fail_prefix(context, status, "row %llu", (unsigned long long)(first + i));
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

/* ---- a whole dataset ------------------------------------------------------------------------------------------------ */

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
            status = tokenize_row(tokenizer, &row, options->tokenize_flags, &first, &second);
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
