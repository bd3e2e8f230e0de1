/* Characters by utf8proc's tables. The normal forms use its decomposition and composition, but not its ordering of
 * combining marks: that is a bubble sort, quadratic in the length of a run, and texts come from anybody. */
#include "text/unicode.h"

#include <utf8proc.h>

size_t rlhfi_utf8_sequence(const char *text, size_t left, bool *valid)
{
    const unsigned char *byte = (const unsigned char *)text;
    unsigned char low = 0x80, high = 0xBF; /* bounds of the second byte */
    size_t length;
    if (byte[0] < 0x80) {
        *valid = true;
        return 1;
    }
    *valid = false;
    if (byte[0] >= 0xC2 && byte[0] <= 0xDF) {
        length = 2;
    } else if (byte[0] >= 0xE0 && byte[0] <= 0xEF) {
        length = 3;
        if (byte[0] == 0xE0)
            low = 0xA0;
        if (byte[0] == 0xED)
            high = 0x9F;
    } else if (byte[0] >= 0xF0 && byte[0] <= 0xF4) {
        length = 4;
        if (byte[0] == 0xF0)
            low = 0x90;
        if (byte[0] == 0xF4)
            high = 0x8F;
    } else {
        return 1;
    }
    if (left < 2 || byte[1] < low || byte[1] > high)
        return 1;
    for (size_t i = 2; i < length; i++)
        if (i >= left || (byte[i] & 0xC0) != 0x80)
            return i;
    *valid = true;
    return length;
}

size_t rlhfi_utf8_previous(const char *text, size_t end, uint32_t *code)
{
    size_t start = end - 1;
    while (start > 0 && ((unsigned char)text[start] & 0xC0) == 0x80)
        start--;
    rlhfi_utf8_next(text + start, code);
    return end - start;
}

size_t rlhfi_utf8_put(uint32_t code, char out[4])
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xC0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xE0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3F));
        out[2] = (char)(0x80 | (code & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3F));
    out[2] = (char)(0x80 | (code >> 6 & 0x3F));
    out[3] = (char)(0x80 | (code & 0x3F));
    return 4;
}

static void add_repaired(rlhfi_string *out, const char *text, size_t bytes, bool per_byte)
{
    size_t good = 0; /* start of the valid stretch that is not written yet */
    for (size_t at = 0; at < bytes;) {
        bool valid;
        size_t length = rlhfi_utf8_sequence(text + at, bytes - at, &valid);
        if (!valid) {
            rlhfi_string_add_bytes(out, text + good, at - good);
            for (size_t i = 0; i < (per_byte ? length : 1); i++)
                rlhfi_string_add(out, RLHFI_REPLACEMENT);
            good = at + length;
        }
        at += length;
    }
    rlhfi_string_add_bytes(out, text + good, bytes - good);
}

void rlhfi_utf8_add_lossy(rlhfi_string *out, const char *bytes, size_t count)
{
    add_repaired(out, bytes, count, false);
}

void rlhfi_utf8_add_cleaned(rlhfi_string *out, const char *text, size_t bytes)
{
    add_repaired(out, text, bytes, true);
}

/* ---- classes -------------------------------------------------------------------------------------------------- */

bool rlhfi_is_space(uint32_t code)
{
    return (code >= 0x9 && code <= 0xD) || code == 0x20 || code == 0x85 || code == 0xA0 || code == 0x1680 ||
           (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F ||
           code == 0x3000;
}

bool rlhfi_is_mark(uint32_t code)
{
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
    return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC || category == UTF8PROC_CATEGORY_ME;
}

bool rlhfi_is_word(uint32_t code)
{
    switch (utf8proc_category((utf8proc_int32_t)code)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default: /* joiners, and the circled and squared letters, which are alphabetic symbols */
        return code == 0x200C || code == 0x200D || (code >= 0x24B6 && code <= 0x24E9) ||
               (code >= 0x1F130 && code <= 0x1F149) || (code >= 0x1F150 && code <= 0x1F169) ||
               (code >= 0x1F170 && code <= 0x1F189);
    }
}

bool rlhfi_is_numeric(uint32_t code)
{
    switch (utf8proc_category((utf8proc_int32_t)code)) {
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return true;
    default: /* numerals that are younger than utf8proc 2.8's tables and that the reference knows */
        return (code >= 0x11DE0 && code <= 0x11DE9) || (code >= 0x16FF4 && code <= 0x16FF6);
    }
}

bool rlhfi_is_punctuation(uint32_t code)
{
    if (code < 0x80)
        return (code >= '!' && code <= '/') || (code >= ':' && code <= '@') || (code >= '[' && code <= '`') ||
               (code >= '{' && code <= '~');
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
    return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
}

/* ---- normal forms --------------------------------------------------------------------------------------------- */

/* True if the form cannot change the text: ASCII never changes, and composed text below U+0300 stays as it is. */
static bool is_unchanged(enum rlhfi_normal_form form, const char *text, size_t bytes)
{
    unsigned char limit = form == RLHFI_NFC ? 0xCC : 0x80;
    for (size_t i = 0; i < bytes; i++)
        if ((unsigned char)text[i] >= limit)
            return false;
    return true;
}

static uint32_t combining_class(int32_t code)
{
    return (uint32_t)utf8proc_get_property(code)->combining_class;
}

/* Stable sort of a run of combining marks by class: by insertion when short, by counting when long. */
static rlhf_status sort_marks(rlhf_context *context, int32_t *marks, size_t count)
{
    if (count <= 24) {
        for (size_t i = 1; i < count; i++) {
            int32_t mark = marks[i];
            uint32_t key = combining_class(mark);
            size_t at = i;
            for (; at > 0 && combining_class(marks[at - 1]) > key; at--)
                marks[at] = marks[at - 1];
            marks[at] = mark;
        }
        return RLHF_OK;
    }
    size_t start[257] = {0};
    int32_t *sorted = rlhfi_alloc_array(context, count, sizeof *sorted);
    if (!sorted)
        return rlhfi_out_of_memory(context);
    for (size_t i = 0; i < count; i++)
        start[(combining_class(marks[i]) & 0xFF) + 1]++;
    for (size_t i = 1; i < 257; i++)
        start[i] += start[i - 1];
    for (size_t i = 0; i < count; i++)
        sorted[start[combining_class(marks[i]) & 0xFF]++] = marks[i];
    memcpy(marks, sorted, count * sizeof *marks);
    rlhfi_free(context, sorted);
    return RLHF_OK;
}

static rlhf_status order_marks(rlhf_context *context, int32_t *codes, size_t count)
{
    for (size_t at = 0; at < count;) {
        size_t end = at;
        while (end < count && combining_class(codes[end]) != 0)
            end++;
        if (end - at > 1)
            RLHFI_TRY(sort_marks(context, codes + at, end - at));
        at = end > at ? end : at + 1;
    }
    return RLHF_OK;
}

rlhf_status rlhfi_normal_form_add(rlhfi_string *out, enum rlhfi_normal_form form, const char *text, size_t bytes)
{
    if (is_unchanged(form, text, bytes)) {
        rlhfi_string_add_bytes(out, text, bytes);
        return out->failed ? rlhfi_out_of_memory(out->context) : RLHF_OK;
    }
    rlhf_context *context = out->context;
    rlhf_status status = RLHF_OK;
    int options = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;
    if (form == RLHFI_NFKC || form == RLHFI_NFKD)
        options |= UTF8PROC_COMPAT;

    size_t capacity = bytes + 64, count = 0;
    int32_t *codes = rlhfi_alloc_array(context, capacity, sizeof *codes);
    if (!codes)
        return rlhfi_out_of_memory(context);
    for (size_t at = 0; at < bytes;) {
        uint32_t code;
        at += rlhfi_utf8_next(text + at, &code);
        if (capacity - count < 32) { /* no character decomposes into more than 18 */
            int32_t *larger = rlhfi_realloc_array(context, codes, capacity * 2, sizeof *codes);
            if (!larger) {
                status = rlhfi_out_of_memory(context);
                goto done;
            }
            codes = larger;
            capacity *= 2;
        }
        utf8proc_ssize_t written = utf8proc_decompose_char((utf8proc_int32_t)code, codes + count,
                                                           (utf8proc_ssize_t)(capacity - count), options, NULL);
        if (written < 0 || (size_t)written > capacity - count) { /* a code point without tables keeps itself */
            codes[count] = (int32_t)code;
            written = 1;
        }
        count += (size_t)written;
    }
    RLHFI_GOTO(order_marks(context, codes, count));
    if (form == RLHFI_NFC || form == RLHFI_NFKC) {
        utf8proc_ssize_t composed =
            utf8proc_normalize_utf32(codes, (utf8proc_ssize_t)count, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
        if (composed >= 0)
            count = (size_t)composed;
    }
    for (size_t i = 0; i < count; i++) {
        char encoded[4];
        rlhfi_string_add_bytes(out, encoded, rlhfi_utf8_put((uint32_t)codes[i], encoded));
    }
    if (out->failed)
        status = rlhfi_out_of_memory(context);
done:
    rlhfi_free(context, codes);
    return status;
}

void rlhfi_lowercase_add(rlhfi_string *out, const char *text, size_t bytes)
{
    for (size_t at = 0; at < bytes;) {
        uint32_t code;
        char encoded[4];
        at += rlhfi_utf8_next(text + at, &code);
        if (code == 0x130) { /* the only character whose lower case is two: i and a dot above */
            rlhfi_string_add(out, "i\xCC\x87");
            continue;
        }
        uint32_t lower = (uint32_t)utf8proc_tolower((utf8proc_int32_t)code);
        rlhfi_string_add_bytes(out, encoded, rlhfi_utf8_put(lower, encoded));
    }
}
