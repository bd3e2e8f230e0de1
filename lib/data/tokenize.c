/* Rows of text to token sequences, by TRL's rules: prompt and prompt + completion are encoded as whole texts, and the
 * completion begins at the first id that differs; EOS is appended as text, unless it is there or the row brings its own
 * end-of-turn tokens. */
#include "data/dataset.h"

/* Encodes text (+ EOS) behind what ids already holds. */
static rlhf_status encode(const rlhf_tokenizer *tokenizer, const char *text, const char *end, uint32_t flags,
                          rlhfi_ids *ids)
{
    rlhf_context *context = rlhfi_tokenizer_context(tokenizer);
    size_t bytes = strlen(text), end_bytes = end != NULL ? strlen(end) : 0;
    if (end_bytes == 0 || (bytes >= end_bytes && memcmp(text + bytes - end_bytes, end, end_bytes) == 0))
        return rlhfi_tokenizer_encode_append(tokenizer, text, bytes, flags, ids);
    rlhfi_string whole;
    rlhfi_string_init(&whole, context);
    rlhfi_string_add_bytes(&whole, text, bytes);
    rlhfi_string_add_bytes(&whole, end, end_bytes);
    rlhf_status status =
        whole.failed ? RLHF_E_NOMEM : rlhfi_tokenizer_encode_append(tokenizer, whole.data, whole.size, flags, ids);
    rlhfi_string_free(&whole);
    return status;
}

/* prompt + answer to one sequence; answer NULL: a prompt alone; prompt NULL: a text alone. */
static rlhf_status make_sequence(const rlhf_tokenizer *tokenizer, const char *prompt, const char *answer,
                                 const char *end, uint32_t flags, rlhfi_sequence *out)
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
rlhf_status rlhfi_tokenize_row(const rlhf_tokenizer *tokenizer, const rlhf_row *row, uint32_t flags,
                               rlhfi_sequence *first, rlhfi_sequence *second)
{
    const char *end =
        (flags & RLHF_TOKENIZE_EOS) != 0 && !row->conversational ? rlhfi_tokenizer_eos_text(tokenizer) : NULL;
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
