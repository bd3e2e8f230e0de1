/* What the files of this room share: stored rows, lines of files, message lists, tokenised rows. */
#ifndef RLHFI_DATASET_H
#define RLHFI_DATASET_H

#include "data/data.h"

/* ---- the store (dataset.c) -------------------------------------------------------------------------------------- */

enum { RLHFI_TEXT, RLHFI_PROMPT, RLHFI_COMPLETION, RLHFI_CHOSEN, RLHFI_REJECTED, RLHFI_EXTRA, RLHFI_ROW_TEXTS };

typedef struct rlhfi_row_store {
    char *block;                       /* one allocation for all texts of the row */
    const char *text[RLHFI_ROW_TEXTS]; /* into block, or NULL */
    double margin;
    int32_t kind, conversational;
} rlhfi_row_store;

struct rlhf_dataset {
    int64_t references;
    rlhf_context *context;
    rlhfi_row_store *rows;
    uint64_t count, capacity, skipped;
};

/* As rlhf_dataset_append, for rows whose extra columns come from our own JSON reader. */
rlhf_status rlhfi_dataset_store(rlhf_dataset *dataset, const rlhf_row *row);
/* Name of the column that holds a text; NULL for RLHFI_EXTRA. */
const char *rlhfi_column_name(int text);

/* ---- bytes of files (gzip.c) ------------------------------------------------------------------------------------ */

/* Reads a file from its beginning, unzipping it if its first bytes say so (also several members in a row). */
typedef struct rlhfi_source rlhfi_source;
rlhf_status rlhfi_source_open(rlhfi_source **out, rlhf_context *context, const char *path);
rlhf_status rlhfi_source_read(rlhfi_source *source, char *out, size_t capacity, size_t *got); /* got 0: the end */
void rlhfi_source_close(rlhfi_source **source);

/* Writes a file as rlhfi_writer does, zipped (without a time stamp) if compress says so. */
typedef struct rlhfi_sink rlhfi_sink;
rlhf_status rlhfi_sink_open(rlhfi_sink **out, rlhf_context *context, const char *path, bool compress);
rlhf_status rlhfi_sink_write(rlhfi_sink *sink, const char *bytes, size_t count);
rlhf_status rlhfi_sink_commit(rlhfi_sink **sink); /* sets *sink NULL, also on failure */
void rlhfi_sink_abandon(rlhfi_sink **sink);

/* ---- lines (lines.c) -------------------------------------------------------------------------------------------- */

enum { RLHFI_LONGEST_LINE = 64 * 1024 * 1024 }; /* also of a text document */

/* Lines of a file, plain or zipped, one at a time. RLHF_E_END after the last. *line is without its line end and
 * NUL-terminated (a NUL inside counts as a character of it), and may be changed until the next call. */
typedef struct rlhfi_lines rlhfi_lines;
rlhf_status rlhfi_lines_open(rlhfi_lines **out, rlhf_context *context, const char *path);
rlhf_status rlhfi_lines_next(rlhfi_lines *lines, char **line, size_t *bytes, int64_t *number);
void rlhfi_lines_close(rlhfi_lines **lines);

/* Reads a file into an empty dataset: text documents or JSON lines, by the file's name (jsonl.c). */
rlhf_status rlhfi_dataset_read(rlhf_dataset *dataset, const char *path, const rlhf_dataset_options *options);
/* Writes one row as a JSON line. */
void rlhfi_row_line(const rlhfi_row_store *row, rlhfi_string *out);
bool rlhfi_has_suffix(const char *path, const char *suffix);

/* ---- lists of messages (messages.c) ----------------------------------------------------------------------------- */

bool rlhfi_is_messages(const rlhfi_json *node); /* a list, or a single message */
size_t rlhfi_message_count(const rlhfi_json *messages);
/* Role of message index, ShareGPT's names translated; NULL if it has none. */
const char *rlhfi_message_role(const rlhfi_json *messages, size_t index);
bool rlhfi_messages_equal(const rlhfi_json *a, const rlhfi_json *b, size_t index);
/* Appends messages first..last-1 as chat_template has them. headless: without the first one's header, because it is an
 * answer and the header ends the prompt. */
rlhf_status rlhfi_messages_render(rlhf_context *context, const rlhfi_json *messages, size_t first, size_t last,
                                  int32_t chat_template, bool headless, rlhfi_string *out);
/* Appends the assistant's header behind a prompt. */
void rlhfi_messages_header(int32_t chat_template, rlhfi_string *out);

/* ---- rows of JSON (rows.c) -------------------------------------------------------------------------------------- */

/* The columns of a JSON object as a row. The row's texts lie in the builder until its next use. */
typedef struct rlhfi_row_builder {
    rlhf_context *context;
    rlhfi_string text[RLHFI_ROW_TEXTS];
    bool present[RLHFI_ROW_TEXTS];
    bool conversational;
} rlhfi_row_builder;
void rlhfi_row_builder_init(rlhfi_row_builder *builder, rlhf_context *context);
rlhf_status rlhfi_row_from_json(rlhfi_row_builder *builder, const rlhfi_json *object, int32_t chat_template,
                                rlhf_row *row);
void rlhfi_row_builder_free(rlhfi_row_builder *builder);

/* ---- tokens (tokenize.c) ---------------------------------------------------------------------------------------- */

/* A row's one or two sequences (second: rejected answers only); flags RLHF_TOKENIZE_*. Free their tokens. */
rlhf_status rlhfi_tokenize_row(const rlhf_tokenizer *tokenizer, const rlhf_row *row, uint32_t flags,
                               rlhfi_sequence *first, rlhfi_sequence *second);

#endif
