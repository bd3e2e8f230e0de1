/* Pull reader of JSON (RFC 8259), in place. */
#include "formats/scan.h"

rlhfi_scan rlhfi_scan_begin(char *text, size_t bytes)
{
    return (rlhfi_scan){.text = text, .bytes = bytes};
}

bool rlhfi_scan_fail(rlhfi_scan *scan, const char *problem)
{
    if (scan->problem == NULL)
        scan->problem = problem;
    return false;
}

/* The next byte, or NUL at the end: NUL starts nothing in JSON. */
static char peek(const rlhfi_scan *scan)
{
    return scan->at < scan->bytes ? scan->text[scan->at] : '\0';
}

static char peek_token(rlhfi_scan *scan)
{
    while (peek(scan) == ' ' || peek(scan) == '\t' || peek(scan) == '\n' || peek(scan) == '\r')
        scan->at++;
    return peek(scan);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* ---- strings ----------------------------------------------------------------------------------------------------- */

/* The four hexadecimal digits of \uXXXX at the current place. */
static bool take_code_unit(rlhfi_scan *scan, uint32_t *unit)
{
    *unit = 0;
    for (int i = 0; i < 4; i++, scan->at++) {
        char c = peek(scan);
        uint32_t digit;
        if (is_digit(c))
            digit = (uint32_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            digit = (uint32_t)(c - 'a') + 10;
        else if (c >= 'A' && c <= 'F')
            digit = (uint32_t)(c - 'A') + 10;
        else
            return rlhfi_scan_fail(scan, "four hexadecimal digits must follow \\u");
        *unit = *unit * 16 + digit;
    }
    return true;
}

static size_t encode_utf8(uint32_t point, char out[4])
{
    if (point < 0x80) {
        out[0] = (char)point;
        return 1;
    }
    if (point < 0x800) {
        out[0] = (char)(0xc0 | point >> 6);
        out[1] = (char)(0x80 | (point & 0x3f));
        return 2;
    }
    if (point < 0x10000) {
        out[0] = (char)(0xe0 | point >> 12);
        out[1] = (char)(0x80 | (point >> 6 & 0x3f));
        out[2] = (char)(0x80 | (point & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | point >> 18);
    out[1] = (char)(0x80 | (point >> 12 & 0x3f));
    out[2] = (char)(0x80 | (point >> 6 & 0x3f));
    out[3] = (char)(0x80 | (point & 0x3f));
    return 4;
}

/* An escape from its backslash on; gives the bytes that it means, 0 after a problem. */
static size_t take_escape(rlhfi_scan *scan, char out[4])
{
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    uint32_t point, low;
    const char *letter;

    scan->at++;
    if (peek(scan) != 'u') {
        letter = peek(scan) != '\0' ? strchr(letters, peek(scan)) : NULL;
        if (letter == NULL) {
            rlhfi_scan_fail(scan, "unknown escape in a string");
            return 0;
        }
        scan->at++;
        out[0] = meanings[letter - letters];
        return 1;
    }
    scan->at++;
    if (!take_code_unit(scan, &point))
        return 0;
    if (point >= 0xd800 && point < 0xdc00 && scan->bytes - scan->at >= 2 &&
        memcmp(scan->text + scan->at, "\\u", 2) == 0) {
        scan->at += 2;
        if (!take_code_unit(scan, &low))
            return 0;
        if (low >= 0xdc00 && low < 0xe000)
            return encode_utf8(0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00), out);
    }
    if (point >= 0xd800 && point < 0xe000) {
        rlhfi_scan_fail(scan, "half a surrogate pair in a string");
        return 0;
    }
    return encode_utf8(point, out);
}

/* Goes over a string; with keep, its decoded bytes and a NUL replace its spelling. */
static bool take_string(rlhfi_scan *scan, bool keep, char **text, size_t *bytes)
{
    size_t start, to;

    if (peek_token(scan) != '"')
        return rlhfi_scan_fail(scan, "a string is expected");
    start = to = ++scan->at;
    for (;;) {
        char decoded[4];
        size_t count = 1;
        if (scan->at >= scan->bytes)
            return rlhfi_scan_fail(scan, "a string does not end");
        decoded[0] = scan->text[scan->at];
        if (decoded[0] == '"')
            break;
        if ((unsigned char)decoded[0] < 0x20)
            return rlhfi_scan_fail(scan, "control character in a string");
        if (decoded[0] != '\\')
            scan->at++;
        else if ((count = take_escape(scan, decoded)) == 0)
            return false;
        if (keep)
            memcpy(scan->text + to, decoded, count);
        to += count;
    }
    scan->at++;
    if (keep) {
        scan->text[to] = '\0';
        *text = scan->text + start;
        *bytes = to - start;
    }
    return true;
}

bool rlhfi_scan_string(rlhfi_scan *scan, char **text, size_t *bytes)
{
    return take_string(scan, true, text, bytes);
}

/* ---- containers -------------------------------------------------------------------------------------------------- */

bool rlhfi_scan_open(rlhfi_scan *scan, char bracket)
{
    if (peek_token(scan) != bracket)
        return rlhfi_scan_fail(scan, bracket == '{' ? "an object is expected" : "a list is expected");
    scan->at++;
    return true;
}

/* Before an item: the comma if it is not the first; or the closing bracket. */
static int next_item(rlhfi_scan *scan, size_t *taken, char closing)
{
    char c = peek_token(scan);

    if (c == closing) {
        scan->at++;
        return RLHFI_SCAN_END;
    }
    if (*taken > 0) {
        if (c != ',') {
            rlhfi_scan_fail(scan, closing == '}' ? "a comma or } is expected" : "a comma or ] is expected");
            return RLHFI_SCAN_BAD;
        }
        scan->at++;
    }
    ++*taken;
    return RLHFI_SCAN_ITEM;
}

static int next_member(rlhfi_scan *scan, size_t *taken, bool keep, char **key, size_t *bytes)
{
    int got = next_item(scan, taken, '}');

    if (got != RLHFI_SCAN_ITEM)
        return got;
    if (!take_string(scan, keep, key, bytes))
        return RLHFI_SCAN_BAD;
    if (peek_token(scan) != ':') {
        rlhfi_scan_fail(scan, "a colon is expected");
        return RLHFI_SCAN_BAD;
    }
    scan->at++;
    return RLHFI_SCAN_ITEM;
}

int rlhfi_scan_member(rlhfi_scan *scan, size_t *taken, char **key, size_t *bytes)
{
    return next_member(scan, taken, key != NULL, key, bytes);
}

int rlhfi_scan_element(rlhfi_scan *scan, size_t *taken)
{
    return next_item(scan, taken, ']');
}

/* ---- other values ------------------------------------------------------------------------------------------------ */

bool rlhfi_scan_unsigned(rlhfi_scan *scan, uint64_t *value)
{
    static const char problem[] = "a whole number of plain digits is expected";
    char first = peek_token(scan), c;
    uint64_t sum = 0;

    if (!is_digit(first))
        return rlhfi_scan_fail(scan, problem);
    for (; is_digit(peek(scan)); scan->at++) {
        uint64_t digit = (uint64_t)(peek(scan) - '0');
        if (sum > (UINT64_MAX - digit) / 10)
            return rlhfi_scan_fail(scan, "a number is larger than 18446744073709551615");
        sum = sum * 10 + digit;
        if (first == '0' && scan->at + 1 < scan->bytes && is_digit(scan->text[scan->at + 1]))
            return rlhfi_scan_fail(scan, "a number begins with 0");
    }
    c = peek(scan);
    if (c == '.' || c == 'e' || c == 'E')
        return rlhfi_scan_fail(scan, problem);
    *value = sum;
    return true;
}

static bool take_word(rlhfi_scan *scan, const char *word)
{
    size_t length = strlen(word);

    if (scan->bytes - scan->at < length || memcmp(scan->text + scan->at, word, length) != 0)
        return false;
    scan->at += length;
    return true;
}

bool rlhfi_scan_null(rlhfi_scan *scan)
{
    return peek_token(scan) == 'n' && take_word(scan, "null");
}

static bool take_digits(rlhfi_scan *scan)
{
    if (!is_digit(peek(scan)))
        return rlhfi_scan_fail(scan, "a digit is expected");
    while (is_digit(peek(scan)))
        scan->at++;
    return true;
}

static bool skip_number(rlhfi_scan *scan)
{
    if (peek(scan) == '-')
        scan->at++;
    if (peek(scan) == '0')
        scan->at++;
    else if (!take_digits(scan))
        return false;
    if (peek(scan) == '.') {
        scan->at++;
        if (!take_digits(scan))
            return false;
    }
    if (peek(scan) == 'e' || peek(scan) == 'E') {
        scan->at++;
        if (peek(scan) == '+' || peek(scan) == '-')
            scan->at++;
        return take_digits(scan);
    }
    return true;
}

bool rlhfi_scan_skip(rlhfi_scan *scan, int levels)
{
    char c = peek_token(scan);
    size_t taken = 0;
    int got;

    switch (c) {
    case '"':
        return take_string(scan, false, NULL, NULL);
    case '{':
    case '[':
        if (levels <= 0)
            return rlhfi_scan_fail(scan, "nested too deep");
        scan->at++;
        while ((got = c == '{' ? next_member(scan, &taken, false, NULL, NULL) : next_item(scan, &taken, ']')) ==
               RLHFI_SCAN_ITEM)
            if (!rlhfi_scan_skip(scan, levels - 1))
                return false;
        return got == RLHFI_SCAN_END;
    case 't':
        return take_word(scan, "true") || rlhfi_scan_fail(scan, "a value is expected");
    case 'f':
        return take_word(scan, "false") || rlhfi_scan_fail(scan, "a value is expected");
    case 'n':
        return take_word(scan, "null") || rlhfi_scan_fail(scan, "a value is expected");
    default:
        if (c == '-' || is_digit(c))
            return skip_number(scan);
        return rlhfi_scan_fail(scan, "a value is expected");
    }
}

bool rlhfi_scan_finish(rlhfi_scan *scan)
{
    peek_token(scan);
    return scan->at == scan->bytes || rlhfi_scan_fail(scan, "nothing may follow the value");
}
