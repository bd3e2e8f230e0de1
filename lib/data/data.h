/* Datasets, ragged batches, and the order in which a run draws rows. Public: rlhf/dataset.h, rlhf/batch.h. */
#ifndef RLHFI_DATA_H
#define RLHFI_DATA_H

#include "core/core.h"
#include "formats/formats.h"
#include "text/text.h"
#include <rlhf/batch.h>
#include <rlhf/dataset.h>

rlhf_dataset *rlhfi_dataset_retain(rlhf_dataset *dataset);
rlhf_context *rlhfi_dataset_context(const rlhf_dataset *dataset);
rlhf_batch *rlhfi_batch_retain(rlhf_batch *batch);
rlhf_context *rlhfi_batch_context(const rlhf_batch *batch);

/* One tokenised sequence. */
typedef struct rlhfi_sequence {
    int32_t *tokens;
    int32_t length, prompt_length;
} rlhfi_sequence;

/* A dataset made into token sequences once, at the start of a run, in the dataset's order. */
typedef struct rlhfi_examples {
    rlhf_context *context;
    int32_t kind;           /* RLHF_ROW_* */
    uint64_t rows;          /* rows kept */
    rlhfi_sequence *first;  /* [rows] the text; prompt+completion; prompt alone; prompt+chosen */
    rlhfi_sequence *second; /* [rows] prompt+rejected, preference rows only, else NULL */
    double *margin;         /* [rows] NaN where there is none; NULL unless preference */
    uint64_t *source;       /* [rows] index in the dataset */
    uint64_t dropped;       /* rows left out: too long, empty response, or equal answers */
} rlhfi_examples;

enum { RLHFI_TRUNCATE_KEEP_START = 0, RLHFI_TRUNCATE_KEEP_END = 1 };
typedef struct rlhfi_examples_options {
    uint32_t tokenize_flags; /* RLHF_TOKENIZE_* */
    int64_t max_length;      /* tokens of a sequence; 0 = no limit */
    int32_t drop_long;       /* 1: rows over max_length are dropped (reward models), 0: cut as truncation says */
    int32_t truncation;      /* RLHFI_TRUNCATE_* */
    int32_t split_long;      /* text rows over max_length become several rows (pretraining) */
} rlhfi_examples_options;
/* TRL's rules (golden README 12-14): EOS is appended as text to non-conversational rows unless the text ends in it;
 * rows without any response token (texts: without a token that another one predicts) are dropped and counted. */
rlhf_status rlhfi_examples_build(rlhfi_examples **out, const rlhf_tokenizer *tokenizer, const rlhf_dataset *dataset,
                                 const rlhfi_examples_options *options);
void rlhfi_examples_release(rlhfi_examples **examples);

/* Where a run stands in its data: row number position of the order of epoch. Saved in checkpoints. */
typedef struct rlhfi_cursor {
    uint64_t epoch, position;
} rlhfi_cursor;
typedef struct rlhfi_order rlhfi_order;
/* Draws row numbers: each epoch is a permutation that depends only on (seed, epoch), or 0..rows-1 when shuffle is 0. */
rlhf_status rlhfi_order_create(rlhfi_order **out, rlhf_context *context, uint64_t rows, uint64_t seed, int32_t shuffle);
/* Writes count row numbers from the cursor on and moves it; wrap 0: stops at the epoch's end (*got may be smaller, then
 * the cursor stands at the next epoch's beginning), wrap 1: goes on into the next epoch. */
rlhf_status rlhfi_order_draw(rlhfi_order *order, rlhfi_cursor *cursor, uint64_t count, int32_t wrap, uint64_t *rows,
                             uint64_t *got);
void rlhfi_order_release(rlhfi_order **order);

/* A batch from sequences (tokens are copied). */
rlhf_status rlhfi_batch_from_sequences(rlhf_batch **out, rlhf_context *context, const rlhfi_sequence *const *sequences,
                                       int64_t count);

#endif
