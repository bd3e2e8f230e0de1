/* Rows of text to token sequences, by TRL's rules (golden README 12 and 13):
 *   prompt and prompt + answer are encoded as whole texts, and the answer begins at the first id that differs;
 *   EOS is appended as text, unless the text ends in it;
 *   rows rendered from messages bring their own markup: they get neither EOS nor what the post-processor adds. */
#include "data/dataset.h"

struct style {
    const rlhf_tokenizer *tokenizer;
    const char *end; /* spelling of EOS to append, or NULL */
    uint32_t encode; /* RLHF_ENCODE_* for whole texts */
    bool separate;
};

static bool ends_in(const char *text, size_t bytes, const char *end)
{
    size_t length = strlen(end);
    return bytes >= length && memcmp(text + bytes - length, end, length) == 0;
}

/* Appends the ids of text and EOS behind it. */
static rlhf_status encode_ending(const struct style *style, const char *text, size_t bytes, uint32_t flags,
                                 rlhfi_ids *ids)
{
    rlhf_context *context = rlhfi_tokenizer_context(style->tokenizer);
    if (style->end == NULL || ends_in(text, bytes, style->end))
        return rlhfi_tokenizer_encode_append(style->tokenizer, text, bytes, flags, ids);
    rlhfi_string whole;
    rlhfi_string_init(&whole, context);
    rlhfi_string_add_bytes(&whole, text, bytes);
    rlhfi_string_add(&whole, style->end);
    rlhf_status status = whole.failed
                             ? rlhfi_out_of_memory(context)
                             : rlhfi_tokenizer_encode_append(style->tokenizer, whole.data, whole.size, flags, ids);
    rlhfi_string_free(&whole);
    return status;
}

static rlhf_status push(const struct style *style, rlhfi_ids *ids, const rlhfi_ids *more)
{
    return rlhfi_ids_push(rlhfi_tokenizer_context(style->tokenizer), ids, more->data, more->count);
}

/* Prompt and answer each for itself; no merge crosses the border. */
static rlhf_status encode_separately(const struct style *style, const char *prompt, const char *answer, rlhfi_ids *ids,
                                     size_t *prompt_length)
{
    bool framed = (style->encode & RLHF_ENCODE_SPECIAL) != 0;
    const rlhfi_ids *suffix = rlhfi_tokenizer_suffix(style->tokenizer);
    if (framed)
        RLHFI_TRY(push(style, ids, rlhfi_tokenizer_prefix(style->tokenizer)));
    RLHFI_TRY(rlhfi_tokenizer_encode_append(style->tokenizer, prompt, strlen(prompt), 0, ids));
    *prompt_length = ids->count;
    RLHFI_TRY(encode_ending(style, answer, strlen(answer), 0, ids));
    return framed ? push(style, ids, suffix) : RLHF_OK;
}

/* Both as whole texts; what they have in common is the prompt. */
static rlhf_status encode_together(const struct style *style, const char *prompt, const char *answer, rlhfi_ids *ids,
                                   size_t *prompt_length)
{
    rlhf_context *context = rlhfi_tokenizer_context(style->tokenizer);
    rlhf_status status = RLHF_OK;
    rlhfi_ids prompt_ids = {0};
    rlhfi_string whole;
    size_t common = 0;
    rlhfi_string_init(&whole, context);
    rlhfi_string_add(&whole, prompt);
    rlhfi_string_add(&whole, answer);
    if (whole.failed) {
        status = rlhfi_out_of_memory(context);
        goto done;
    }
    RLHFI_GOTO(rlhfi_tokenizer_encode_append(style->tokenizer, prompt, strlen(prompt), style->encode, &prompt_ids));
    RLHFI_GOTO(encode_ending(style, whole.data, whole.size, style->encode, ids));
    while (common < prompt_ids.count && common < ids->count && prompt_ids.data[common] == ids->data[common])
        common++;
    *prompt_length = common;
done:
    rlhfi_string_free(&whole);
    rlhfi_free(context, prompt_ids.data);
    return status;
}

/* answer NULL: a prompt alone; prompt NULL: a text alone. */
static rlhf_status make_sequence(const struct style *style, const char *prompt, const char *answer, rlhfi_sequence *out)
{
    rlhf_context *context = rlhfi_tokenizer_context(style->tokenizer);
    rlhfi_ids ids = {0};
    size_t prompt_length = 0;
    rlhf_status status;
    if (prompt == NULL) {
        status = encode_ending(style, answer, strlen(answer), style->encode, &ids);
    } else if (answer == NULL) {
        status = rlhfi_tokenizer_encode_append(style->tokenizer, prompt, strlen(prompt), style->encode, &ids);
        prompt_length = ids.count;
    } else if (style->separate) {
        status = encode_separately(style, prompt, answer, &ids, &prompt_length);
    } else {
        status = encode_together(style, prompt, answer, &ids, &prompt_length);
    }
    if (status == RLHF_OK && ids.count > INT32_MAX)
        status = rlhfi_fail(context, RLHF_E_RANGE, "%zu tokens are too many for one row", ids.count);
    if (status != RLHF_OK) {
        rlhfi_free(context, ids.data);
        return status;
    }
    *out = (rlhfi_sequence){ids.data, (int32_t)ids.count, (int32_t)prompt_length};
    return RLHF_OK;
}

/* Spelling of the EOS to append; NULL if the tokenizer puts EOS behind texts by itself. */
static rlhf_status find_end(const rlhf_tokenizer *tokenizer, const char **end)
{
    rlhf_context *context = rlhfi_tokenizer_context(tokenizer);
    const rlhfi_ids *suffix = rlhfi_tokenizer_suffix(tokenizer);
    int32_t eos = rlhf_tokenizer_special(tokenizer, RLHF_TOKEN_EOS);
    const char *text = rlhfi_tokenizer_eos_text(tokenizer);
    rlhfi_ids ids = {0};
    *end = NULL;
    if (text == NULL)
        return rlhfi_fail(context, RLHF_E_INVAL,
                          "rows shall end in EOS, but tokenizer_config.json names no eos_token of the vocabulary");
    if (suffix->count > 0 && suffix->data[suffix->count - 1] == eos)
        return RLHF_OK;
    rlhf_status status = rlhfi_tokenizer_encode_append(tokenizer, text, strlen(text), 0, &ids);
    if (status == RLHF_OK && (ids.count != 1 || ids.data[0] != eos))
        status = rlhfi_fail(context, RLHF_E_INVAL,
                            "rows shall end in EOS, but \"%.40s\" in a text is not one token: "
                            "it must be an added token",
                            text);
    rlhfi_free(context, ids.data);
    *end = text;
    return status;
}

rlhf_status rlhfi_tokenize_row(const rlhf_tokenizer *tokenizer, const rlhf_row *row, uint32_t flags,
                               rlhfi_sequence *first, rlhfi_sequence *second)
{
    struct style style = {.tokenizer = tokenizer, .separate = (flags & RLHF_TOKENIZE_SEPARATE) != 0};
    if (!row->conversational) {
        style.encode = RLHF_ENCODE_SPECIAL;
        if ((flags & RLHF_TOKENIZE_EOS) != 0 && row->kind != RLHF_ROW_PROMPT)
            RLHFI_TRY(find_end(tokenizer, &style.end));
    }
    switch (row->kind) {
    case RLHF_ROW_TEXT:
        return make_sequence(&style, NULL, row->text, first);
    case RLHF_ROW_PROMPT:
        return make_sequence(&style, row->prompt, NULL, first);
    case RLHF_ROW_PROMPT_COMPLETION:
        return make_sequence(&style, row->prompt, row->completion, first);
    default:
        RLHFI_TRY(make_sequence(&style, row->prompt, row->chosen, first));
        return make_sequence(&style, row->prompt, row->rejected, second);
    }
}
