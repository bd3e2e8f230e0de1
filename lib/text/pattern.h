/* What Split, Replace and the class splitters look for: a string, a regex, or characters of one class. */
#ifndef RLHFI_TEXT_PATTERN_H
#define RLHFI_TEXT_PATTERN_H

#include "formats/formats.h"
#include "text/regex.h"

struct rlhfi_pattern { /* exactly one of the three is set; a zeroed pattern is an empty string */
    rlhfi_regex *regex;
    bool (*member)(uint32_t code);
    char *literal;
    size_t literal_bytes;
};

/* From {"String": s}, {"Regex": r} or a plain string. */
rlhf_status rlhfi_pattern_parse(struct rlhfi_pattern *pattern, rlhf_context *context, const rlhfi_json *node);
rlhf_status rlhfi_pattern_set_literal(struct rlhfi_pattern *pattern, rlhf_context *context, const char *text,
                                      size_t bytes);
void rlhfi_pattern_free(struct rlhfi_pattern *pattern, rlhf_context *context);

/* Walks over a text cut into matches and what lies between them, without holes. A match may be empty: it cuts, too. */
struct rlhfi_segments {
    const struct rlhfi_pattern *pattern;
    const char *text;
    size_t bytes;
    size_t start, end; /* of the present segment */
    bool is_match;
    size_t search, done; /* where to look on; what was handed out already */
    size_t last_end;     /* end of the last match, SIZE_MAX before the first */
    size_t match_start, match_end;
    bool pending, exhausted;
};
void rlhfi_segments_begin(struct rlhfi_segments *segments, const struct rlhfi_pattern *pattern, const char *text,
                          size_t bytes);
rlhf_status rlhfi_segments_next(struct rlhfi_segments *segments, bool *more);

/* Appends text with every match replaced. */
rlhf_status rlhfi_pattern_replace_add(const struct rlhfi_pattern *pattern, const char *text, size_t bytes,
                                      const char *content, size_t content_bytes, rlhfi_string *out);

#endif
