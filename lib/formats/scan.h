/* A strict reader of JSON that walks the text once and keeps nothing: for headers whose size the file chooses.
 *
 * A tree would cost some forty times the text ("[],[],[],..."), and its numbers are not exact beyond 2^63. This one
 * allocates nothing: strings are decoded where they stand (an escape is never shorter than what it means), so the text
 * must be writable, and it must be checked for UTF-8 before. */
#ifndef RLHFI_FORMATS_SCAN_H
#define RLHFI_FORMATS_SCAN_H

#include "core/core.h"

typedef struct rlhfi_scan {
    char *text;
    size_t bytes;
    size_t at;           /* next byte; after a failure the place of the problem */
    const char *problem; /* NULL, or what was wrong first (static text) */
} rlhfi_scan;

enum { RLHFI_SCAN_BAD = -1, RLHFI_SCAN_END = 0, RLHFI_SCAN_ITEM = 1 };

rlhfi_scan rlhfi_scan_begin(char *text, size_t bytes);
bool rlhfi_scan_fail(rlhfi_scan *scan, const char *problem); /* keeps the first problem; returns false */

/* Containers: open, then take items until END. *taken counts them and must be 0 before the first call. A member's value
 * comes next; key NULL checks the key without decoding it, so that a copy of the scan can count ahead. */
bool rlhfi_scan_open(rlhfi_scan *scan, char bracket); /* '{' or '[' */
int rlhfi_scan_member(rlhfi_scan *scan, size_t *taken, char **key, size_t *bytes);
int rlhfi_scan_element(rlhfi_scan *scan, size_t *taken);

/* Values. A string is NUL-terminated in place and may hold NUL itself, so bytes counts. */
bool rlhfi_scan_string(rlhfi_scan *scan, char **text, size_t *bytes);
bool rlhfi_scan_unsigned(rlhfi_scan *scan, uint64_t *value); /* digits only: no sign, fraction, exponent, leading 0 */
bool rlhfi_scan_null(rlhfi_scan *scan);                      /* true and consumed if the next value is null */
/* Checks any value without changing the text; containers may nest levels deep. */
bool rlhfi_scan_skip(rlhfi_scan *scan, int levels);
bool rlhfi_scan_finish(rlhfi_scan *scan); /* nothing but white space is left */

#endif
