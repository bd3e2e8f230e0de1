/* Tokenizers: text to token ids and back, from tokenizer.json (byte-level BPE, SentencePiece-like BPE). */
#ifndef RLHF_TOKENIZER_H
#define RLHF_TOKENIZER_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    RLHF_ENCODE_SPECIAL = 1,      /* run the post-processor (adds BOS where the tokenizer says so) */
    RLHF_ENCODE_IGNORE_SPECIAL = 2 /* text that looks like a special token stays text (for untrusted input) */
};
enum { RLHF_DECODE_SKIP_SPECIAL = 1 }; /* leave special tokens out of the text */

/** Loads a tokenizer from a directory with tokenizer.json (and tokenizer_config.json, if there) or from the file.
 *  owner    *out is yours    null  INVAL
 *  errors   IO, FORMAT (place and fact), UNSUPPORTED (component named), RANGE, NOMEM; *out is NULL then
 *  threads  the context's    since 0.1    source  formats.md 4 */
RLHF_API rlhf_status rlhf_tokenizer_load(rlhf_tokenizer **out, rlhf_context *context, const char *path);

/** Makes a tokenizer from the text of a tokenizer.json and, unless NULL, of a tokenizer_config.json.
 *  owner *out is yours, the texts are copied    null out, context, json: INVAL    errors as rlhf_tokenizer_load
 *  threads the context's    since 0.1 */
RLHF_API rlhf_status rlhf_tokenizer_create(rlhf_tokenizer **out, rlhf_context *context, const char *json,
                                           size_t json_bytes, const char *config_json, size_t config_bytes);

/** Gives up a tokenizer. owner *tokenizer becomes NULL    null fine    errors none    threads the context's
 *  since 0.1 */
RLHF_API void rlhf_tokenizer_release(rlhf_tokenizer **tokenizer);

/** Writes tokenizer.json and tokenizer_config.json (as they were read) into an existing directory; a tokenizer that was
 *  loaded from a directory brings its special_tokens_map.json and chat_template.jinja along.
 *  owner -    null INVAL    errors IO, NOMEM; each file is old or new, never half
 *  threads the context's  since 0.1 */
RLHF_API rlhf_status rlhf_tokenizer_save(const rlhf_tokenizer *tokenizer, const char *directory);

/** Encodes UTF-8 text (bad bytes become U+FFFD). flags: RLHF_ENCODE_*.
 *  shapes   ids: capacity entries, the first *needed are written if they all fit
 *  owner    your arrays    null  text only with bytes 0; ids only with capacity 0; needed: INVAL
 *  errors   RANGE if capacity is too small (*needed says how many, nothing written), FORMAT (a regex hit its limit),
 *           NOMEM    threads the context's    repeat always the same    since 0.1 */
RLHF_API rlhf_status rlhf_tokenizer_encode(const rlhf_tokenizer *tokenizer, const char *text, size_t bytes,
                                           uint32_t flags, int32_t *ids, size_t capacity, size_t *needed);

/** Decodes ids to UTF-8. flags: RLHF_DECODE_*. Text is not NUL-terminated.
 *  shapes   text: capacity bytes    owner  yours    null  ids only with count 0; text only with capacity 0
 *  errors   RANGE for an unknown id or too small a capacity (*needed is set for the latter), NOMEM
 *  threads  the context's    since 0.1 */
RLHF_API rlhf_status rlhf_tokenizer_decode(const rlhf_tokenizer *tokenizer, const int32_t *ids, size_t count,
                                           uint32_t flags, char *text, size_t capacity, size_t *needed);

/** Returns one more than the largest token id.
 *  owner -    null 0    errors none    threads safe    since 0.1 */
RLHF_API int32_t rlhf_tokenizer_vocabulary(const rlhf_tokenizer *tokenizer);

enum { RLHF_TOKEN_BOS = 1, RLHF_TOKEN_EOS = 2, RLHF_TOKEN_PAD = 3, RLHF_TOKEN_UNKNOWN = 4 };

/** Returns the id of a special token (RLHF_TOKEN_*), or -1 if the tokenizer has none.
 *  owner -    null -1    errors none    threads safe    since 0.1 */
RLHF_API int32_t rlhf_tokenizer_special(const rlhf_tokenizer *tokenizer, int32_t which);

/** Finds the id of a token by its spelling in the vocabulary or among the added tokens; -1 if there is none.
 *  owner -    null -1    errors none    threads safe    since 0.1 */
RLHF_API int32_t rlhf_tokenizer_find(const rlhf_tokenizer *tokenizer, const char *token);

/** Points *token at the spelling of id, NUL-terminated.
 *  owner borrowed until the tokenizer goes    null INVAL    errors RANGE    threads safe    since 0.1 */
RLHF_API rlhf_status rlhf_tokenizer_token(const rlhf_tokenizer *tokenizer, int32_t id, const char **token);

#ifdef __cplusplus
}
#endif
#endif
