/* What the files of this room share about JSON. */
#ifndef RLHFI_FORMATS_JSON_H
#define RLHFI_FORMATS_JSON_H

#include "formats/formats.h"

enum { RLHFI_JSON_DEPTH = 64 };

/* Appends text (valid UTF-8) in quotes, escaped as Python's and Rust's encoders do; ascii also spells everything beyond
 * ASCII as \uXXXX, which is Python's default. */
void rlhfi_json_quote(rlhfi_string *out, const char *text, size_t bytes, bool ascii);

#endif
