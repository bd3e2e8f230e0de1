/* Characters: UTF-8 step by step, the character classes that tokenizers ask for, normal forms. */
#ifndef RLHFI_TEXT_UNICODE_H
#define RLHFI_TEXT_UNICODE_H

#include "core/core.h"

#define RLHFI_REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD */

/* Length of the sequence at text[0..left): a whole valid character (*valid true), or the longest part of one that is
 * broken off (*valid false, at least 1). left must not be 0. */
size_t rlhfi_utf8_sequence(const char *text, size_t left, bool *valid);

/* The character at text, which must be valid UTF-8; returns its bytes. */
static inline size_t rlhfi_utf8_next(const char *text, uint32_t *code)
{
    const unsigned char *byte = (const unsigned char *)text;
    if (byte[0] < 0x80) {
        *code = byte[0];
        return 1;
    }
    if (byte[0] < 0xE0) {
        *code = (uint32_t)(byte[0] & 0x1F) << 6 | (byte[1] & 0x3F);
        return 2;
    }
    if (byte[0] < 0xF0) {
        *code = (uint32_t)(byte[0] & 0x0F) << 12 | (uint32_t)(byte[1] & 0x3F) << 6 | (byte[2] & 0x3F);
        return 3;
    }
    *code = (uint32_t)(byte[0] & 0x07) << 18 | (uint32_t)(byte[1] & 0x3F) << 12 | (uint32_t)(byte[2] & 0x3F) << 6 |
            (byte[3] & 0x3F);
    return 4;
}

/* The character that ends in front of text[end], end > 0; returns its bytes. */
size_t rlhfi_utf8_previous(const char *text, size_t end, uint32_t *code);
size_t rlhfi_utf8_put(uint32_t code, char out[4]); /* returns the bytes written */

/* Appends bytes with every broken part replaced by one U+FFFD, as decoders do. */
void rlhfi_utf8_add_lossy(rlhfi_string *out, const char *bytes, size_t count);
/* Appends text with every bad byte replaced by one U+FFFD: what encoders do with input that is not UTF-8. */
void rlhfi_utf8_add_cleaned(rlhfi_string *out, const char *text, size_t bytes);

bool rlhfi_is_space(uint32_t code);       /* the 25 characters with White_Space */
bool rlhfi_is_word(uint32_t code);        /* letters, marks, decimal digits, connectors, joiners */
bool rlhfi_is_numeric(uint32_t code);     /* categories Nd, Nl, No */
bool rlhfi_is_punctuation(uint32_t code); /* categories P*, and ASCII's symbols */
bool rlhfi_is_mark(uint32_t code);        /* categories M* */

enum rlhfi_normal_form { RLHFI_NFC, RLHFI_NFD, RLHFI_NFKC, RLHFI_NFKD };
/* Appends the normal form of valid UTF-8. Linear time, also for long runs of combining marks. */
rlhf_status rlhfi_normal_form_add(rlhfi_string *out, enum rlhfi_normal_form form, const char *text, size_t bytes);
/* Appends text in lower case, character by character (no context, as the reference tokenizers do it). */
void rlhfi_lowercase_add(rlhfi_string *out, const char *text, size_t bytes);

#endif
