/* Regular expressions as tokenizer.json writes them (Oniguruma, Ruby syntax), matched by PCRE2. */
#ifndef RLHFI_TEXT_REGEX_H
#define RLHFI_TEXT_REGEX_H

#include "core/core.h"

typedef struct rlhfi_regex rlhfi_regex;

enum { RLHFI_MAX_PATTERN = 4096 }; /* bytes */

/* Appends pattern rewritten so that PCRE2 gives it the meaning it has for the reference engine: \s, \w, \h, {n,m}+.
 * UNSUPPORTED for what cannot be said in PCRE2 (set operations inside brackets). */
rlhf_status rlhfi_regex_translate(rlhf_context *context, const char *pattern, size_t bytes, rlhfi_string *out);

/* FORMAT with the offset for an invalid pattern. */
rlhf_status rlhfi_regex_compile(rlhfi_regex **out, rlhf_context *context, const char *pattern, size_t bytes);
/* First match at or behind from, which must be at a character. text must be valid UTF-8: nothing checks it again, or a
 * long text would take quadratic time. FORMAT if a limit of the engine is hit. */
rlhf_status rlhfi_regex_find(rlhfi_regex *regex, const char *text, size_t bytes, size_t from, size_t *start,
                             size_t *end, bool *found);
void rlhfi_regex_release(rlhfi_regex **regex);

#endif
