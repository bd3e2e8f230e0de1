/* tokenizer.json and a text behind it, divided by a NUL: whatever the file says, encoding and decoding must end, stay
 * within their memory, give ids that exist, and give the same ones again. */
#include "fuzz.h"

#include "text/text.h"

static void check_text(rlhf_context *context, const rlhf_tokenizer *tokenizer, const char *text, size_t bytes,
                       uint32_t flags)
{
    rlhfi_ids ids = {0}, again = {0};
    rlhfi_string decoded;
    rlhf_status status;

    rlhfi_string_init(&decoded, context);
    status = rlhfi_tokenizer_encode_append(tokenizer, text, bytes, flags, &ids);
    PROMISE(status == RLHF_OK || status == RLHF_E_FORMAT); /* a regex may hit its limit */
    if (status != RLHF_OK)
        fuzz_check_failure(context);
    PROMISE(status == RLHF_OK || ids.count == 0);
    for (size_t i = 0; i < ids.count; i++) {
        const char *token;
        PROMISE(rlhf_tokenizer_token(tokenizer, ids.data[i], &token) == RLHF_OK && token != NULL);
    }
    PROMISE(rlhfi_tokenizer_encode_append(tokenizer, text, bytes, flags, &again) == status);
    PROMISE(ids.count == again.count &&
            (ids.count == 0 || memcmp(ids.data, again.data, ids.count * sizeof *ids.data) == 0));
    status = rlhfi_tokenizer_decode_append(tokenizer, ids.data, ids.count, 0, &decoded);
    PROMISE(status == RLHF_OK || status == RLHF_E_FORMAT);
    PROMISE(status != RLHF_OK || rlhfi_utf8_valid(decoded.data != NULL ? decoded.data : "", decoded.size, NULL));
    rlhfi_string_free(&decoded);
    rlhfi_free(context, ids.data);
    rlhfi_free(context, again.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char sample[] = "Hello  w\xC3\xB6rld 123\n<s>ab\xFF\xF0\x9F\x98\x80 <|endoftext|>";
    const uint8_t *end = size > 0 ? memchr(data, 0, size) : NULL;
    size_t json_bytes = end != NULL ? (size_t)(end - data) : size, before;
    rlhf_context *context = fuzz_context();
    rlhf_tokenizer *tokenizer;

    before = fuzz_peak = fuzz_live;
    if (rlhf_tokenizer_create(&tokenizer, context, (const char *)data, json_bytes, NULL, 0) == RLHF_OK) {
        PROMISE(tokenizer != NULL && rlhf_tokenizer_vocabulary(tokenizer) >= 0);
        check_text(context, tokenizer, sample, sizeof sample - 1, RLHF_ENCODE_SPECIAL);
        check_text(context, tokenizer, sample, sizeof sample - 1, RLHF_ENCODE_IGNORE_SPECIAL);
        if (end != NULL)
            check_text(context, tokenizer, (const char *)end + 1, size - json_bytes - 1, 0);
        rlhf_tokenizer_release(&tokenizer);
    } else {
        PROMISE(tokenizer == NULL);
        fuzz_check_failure(context);
    }
    PROMISE(fuzz_live == before);
    /* The cache is a mebibyte; what a regex compiles to is bounded, and there are at most 64 of them. */
    PROMISE(fuzz_peak - before < 4096 * size + (16u << 20));
    return 0;
}
