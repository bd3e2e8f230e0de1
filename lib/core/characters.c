/* Checks on text as characters. */
#include "core/core.h"

/* Length of the well-formed UTF-8 sequence at text, 0 if there is none: no overlong forms, no surrogates, nothing above
 * U+10FFFF (Unicode, table 3-7). */
static size_t sequence_length(const unsigned char *text, size_t bytes)
{
    unsigned char first = text[0], low = 0x80, high = 0xbf;
    size_t length;

    if (first < 0x80)
        return 1;
    if (first < 0xc2 || first > 0xf4)
        return 0;
    length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (first == 0xe0)
        low = 0xa0;
    else if (first == 0xed)
        high = 0x9f;
    else if (first == 0xf0)
        low = 0x90;
    else if (first == 0xf4)
        high = 0x8f;
    if (length > bytes || text[1] < low || text[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    return length;
}

bool rlhfi_utf8_valid(const char *text, size_t bytes, size_t *bad_offset)
{
    for (size_t i = 0, length; i < bytes; i += length) {
        length = sequence_length((const unsigned char *)text + i, bytes - i);
        if (length == 0) {
            if (bad_offset != NULL)
                *bad_offset = i;
            return false;
        }
    }
    return true;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Damerau's distance in the "optimal string alignment" form, row by row: row[0] is the one being made. Keys are short;
 * words that are longer than the rows count as having nothing in common. */
size_t rlhfi_edit_distance(const char *a, const char *b)
{
    enum { LONGEST = 127 };
    size_t rows[3][LONGEST + 1], *row[3] = {rows[0], rows[1], rows[2]};
    size_t length_a = strlen(a), length_b = strlen(b);

    if (length_a > LONGEST || length_b > LONGEST)
        return strcmp(a, b) == 0 ? 0 : length_a > length_b ? length_a : length_b;
    for (size_t j = 0; j <= length_b; j++)
        row[0][j] = j;
    for (size_t i = 1; i <= length_a; i++) {
        size_t *oldest = row[2];
        row[2] = row[1];
        row[1] = row[0];
        row[0] = oldest;
        row[0][0] = i;
        for (size_t j = 1; j <= length_b; j++) {
            size_t best = smaller(row[1][j], row[0][j - 1]) + 1;
            best = smaller(best, row[1][j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = smaller(best, row[2][j - 2] + 1);
            row[0][j] = best;
        }
    }
    return row[0][length_b];
}
