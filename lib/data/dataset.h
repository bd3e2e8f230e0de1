/* How a dataset keeps its rows: shared by the store and the readers of this room. */
#ifndef RLHFI_DATASET_H
#define RLHFI_DATASET_H

#include "data/data.h"

enum { RLHFI_ROW_TEXTS = 6 }; /* text prompt completion chosen rejected extra */

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

/* Lines of a file, plain or gzipped, one at a time in bounded memory (gzip.c). RLHF_E_END after the last; a line over
 * 64 MiB is an error. *line is NUL-terminated, without its newline, and may be changed until the next call. */
typedef struct rlhfi_lines rlhfi_lines;
rlhf_status rlhfi_lines_open(rlhfi_lines **out, rlhf_context *context, const char *path);
rlhf_status rlhfi_lines_next(rlhfi_lines *lines, char **line, size_t *bytes, int64_t *number);
void rlhfi_lines_close(rlhfi_lines **lines);
/* Compressed copy (gzip format, no time stamp); free with rlhfi_free. */
rlhf_status rlhfi_gzip(rlhf_context *context, const void *bytes, size_t count, char **out, size_t *out_bytes);

/* The columns of a JSON object as a row (rows.c). The row's texts lie in the builder until its next use. */
typedef struct rlhfi_row_builder {
    rlhf_context *context;
    rlhfi_string text[RLHFI_ROW_TEXTS];
} rlhfi_row_builder;
void rlhfi_row_builder_init(rlhfi_row_builder *builder, rlhf_context *context);
rlhf_status rlhfi_row_from_json(rlhfi_row_builder *builder, const rlhfi_json *object, int32_t chat_template,
                                rlhf_row *row);
void rlhfi_row_builder_free(rlhfi_row_builder *builder);

/* Reads a file into an empty dataset; text documents or JSON lines, by the file's name (jsonl.c). */
rlhf_status rlhfi_dataset_read(rlhf_dataset *dataset, const char *path, const rlhf_dataset_options *options);
/* All rows as JSON lines. */
rlhf_status rlhfi_dataset_lines(const rlhf_dataset *dataset, rlhfi_string *out);

/* A row's one or two sequences (second: rejected answers only); flags RLHF_TOKENIZE_*. */
rlhf_status rlhfi_tokenize_row(const rlhf_tokenizer *tokenizer, const rlhf_row *row, uint32_t flags,
                               rlhfi_sequence *first, rlhfi_sequence *second);

#endif
