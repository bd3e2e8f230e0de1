/* Datasets: rows of text in the formats that people have (JSONL, .jsonl.gz, HH-RLHF transcripts), or made in memory. */
#ifndef RLHF_DATASET_H
#define RLHF_DATASET_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    RLHF_ROW_TEXT = 1,              /* language modelling: text */
    RLHF_ROW_PROMPT = 2,            /* prompt only */
    RLHF_ROW_PROMPT_COMPLETION = 3, /* prompt, completion */
    RLHF_ROW_PREFERENCE = 4         /* prompt, chosen, rejected */
};
enum { RLHF_BAD_ROW_STOP = 0, RLHF_BAD_ROW_SKIP = 1 };
/* How conversational rows (lists of role and content) become text. */
enum {
    RLHF_TEMPLATE_NONE = 0,    /* conversational rows are refused */
    RLHF_TEMPLATE_CHATML = 1,  /* <|im_start|>role\ncontent<|im_end|>\n */
    RLHF_TEMPLATE_PLAIN = 2    /* "Role: content", one turn a line; a prompt ends in "Assistant:" */
};

typedef struct rlhf_dataset_options {
    uint32_t struct_size;
    int32_t bad_row;      /* RLHF_BAD_ROW_*: stop at the first (default), or skip and count */
    int32_t chat_template; /* RLHF_TEMPLATE_*, default NONE */
    int32_t reserved;     /* must be 0 */
    uint64_t max_rows;    /* stop reading after so many good rows; 0 = all (default) */
} rlhf_dataset_options;

/* One row. Text fields are UTF-8, NUL-terminated, NULL where the kind has none. */
typedef struct rlhf_row {
    uint32_t struct_size;
    int32_t kind;            /* RLHF_ROW_* */
    const char *text;
    const char *prompt;
    const char *completion;
    const char *chosen;
    const char *rejected;
    const char *extra;       /* the row's other columns as the text of a JSON object, NULL if none */
    double margin;           /* preference strength, NaN if the row has none */
    int32_t conversational;  /* 1 if the texts were rendered from messages: they carry their own end-of-turn tokens */
    int32_t reserved;
} rlhf_row;

/** Fills defaults. owner -    null nothing happens    errors none    threads safe    since 0.1 */
RLHF_API void rlhf_dataset_options_init(rlhf_dataset_options *options, size_t size);

/** Reads a file of JSON lines; if its name ends in .json (or .json.gz), one list of objects, too; if it ends in .txt
 *  (or .txt.gz), text documents, which end at a line that is exactly <|endoftext|>. Zipped files are recognised by
 *  their content. Each row's kind is told from its columns: chosen and rejected with or without prompt (without:
 *  transcripts of HH-RLHF are split at the last "\n\nAssistant:", other texts and message lists where their common
 *  beginning ends); prompt and completion; prompt; messages (or ShareGPT's conversations); text; instruction, input
 *  and output (Alpaca's prompt is made of them). Other columns are kept in extra. A bad row is bad JSON, a column
 *  missing or of the wrong type, NUL in a text, two answers that are the same or whose transcripts part too early; if
 *  all rows are bad, skipping them is an error, too.
 *  owner    *out is yours    null  out, context, path: INVAL; options: defaults
 *  errors   IO, FORMAT ("file:line: what"; lines over 64 MiB and broken gzip data always stop), CANCELED, NOMEM;
 *           *out is NULL then    threads the context's    since 0.1 */
RLHF_API rlhf_status rlhf_dataset_load(rlhf_dataset **out, rlhf_context *context, const char *path,
                                       const rlhf_dataset_options *options);

/** Makes an empty dataset to append rows to.
 *  owner *out is yours    null INVAL    errors NOMEM    threads the context's    since 0.1 */
RLHF_API rlhf_status rlhf_dataset_create(rlhf_dataset **out, rlhf_context *context);

/** Appends a copy of a row (set row->struct_size). Texts must be UTF-8, extra a JSON object without the names of our
 *  columns, margin a number or NaN.
 *  owner copies    null INVAL    errors INVAL (fields missing for the kind), FORMAT (not UTF-8, not JSON), NOMEM;
 *  the dataset is as before then    threads the context's    since 0.1 */
RLHF_API rlhf_status rlhf_dataset_append(rlhf_dataset *dataset, const rlhf_row *row);

/** Gives up a dataset. owner *dataset becomes NULL    null fine    errors none    threads the context's    since 0.1 */
RLHF_API void rlhf_dataset_release(rlhf_dataset **dataset);

/** Returns the number of rows.  owner -    null 0    errors none    threads safe    since 0.1 */
RLHF_API uint64_t rlhf_dataset_rows(const rlhf_dataset *dataset);

/** Returns how many bad rows were skipped.  owner -    null 0    errors none    threads safe    since 0.1 */
RLHF_API uint64_t rlhf_dataset_skipped(const rlhf_dataset *dataset);

/** Fills *row (set row->struct_size) with row number index.
 *  owner texts borrowed until the next append or the dataset's end    null INVAL    errors RANGE    threads safe
 *  since 0.1 */
RLHF_API rlhf_status rlhf_dataset_row(const rlhf_dataset *dataset, uint64_t index, rlhf_row *row);

/** Writes all rows as JSONL in TRL's columns (gzipped if the path ends in .gz); reading the file gives the same rows.
 *  Texts that were rendered from messages stay text and are marked by the column rlhf_rendered.
 *  owner -    null INVAL    errors IO, NOMEM; the file is old or new, never half    threads the context's  since 0.1 */
RLHF_API rlhf_status rlhf_dataset_save(const rlhf_dataset *dataset, const char *path);

#ifdef __cplusplus
}
#endif
#endif
