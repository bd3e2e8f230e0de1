/* Tokenizers (formats.md 4). Public interface: rlhf/tokenizer.h. */
#ifndef RLHFI_TEXT_H
#define RLHFI_TEXT_H

#include "core/core.h"
#include "formats/formats.h"
#include <rlhf/tokenizer.h>

rlhf_tokenizer *rlhfi_tokenizer_retain(rlhf_tokenizer *tokenizer);
rlhf_context *rlhfi_tokenizer_context(const rlhf_tokenizer *tokenizer);

typedef struct rlhfi_ids {
    int32_t *data;
    size_t count, capacity;
} rlhfi_ids;
rlhf_status rlhfi_ids_push(rlhf_context *context, rlhfi_ids *ids, const int32_t *values, size_t count);
/* Appends the ids of text to *ids (grown with the context's allocator; free data with rlhfi_free). */
rlhf_status rlhfi_tokenizer_encode_append(const rlhf_tokenizer *tokenizer, const char *text, size_t bytes,
                                          uint32_t flags, rlhfi_ids *ids);
/* Appends the text of the ids to *text. */
rlhf_status rlhfi_tokenizer_decode_append(const rlhf_tokenizer *tokenizer, const int32_t *ids, size_t count,
                                          uint32_t flags, rlhfi_string *text);
/* Spelling of the EOS token, or NULL. */
const char *rlhfi_tokenizer_eos_text(const rlhf_tokenizer *tokenizer);
/* Ids that RLHF_ENCODE_SPECIAL puts in front of a text and behind it. */
const rlhfi_ids *rlhfi_tokenizer_prefix(const rlhf_tokenizer *tokenizer);
const rlhfi_ids *rlhfi_tokenizer_suffix(const rlhf_tokenizer *tokenizer);

#endif
