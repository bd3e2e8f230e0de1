/* Batches: token sequences of different lengths, one behind the other. Each is a prompt and a response behind it. */
#ifndef RLHF_BATCH_H
#define RLHF_BATCH_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Row r is tokens[offset[r] .. offset[r+1]); its first prompt_length[r] tokens are the prompt. Response token number
 * t of row r has index response_offset[r] + t in arrays "per response token". */
typedef struct rlhf_batch_view {
    uint32_t struct_size;
    int32_t reserved;
    int64_t rows;
    const int64_t *offset;          /* [rows + 1] */
    const int32_t *tokens;          /* [offset[rows]] */
    const int32_t *prompt_length;   /* [rows] */
    const int64_t *response_offset; /* [rows + 1] */
} rlhf_batch_view;

/** Makes a batch from copies of the arrays (layout as rlhf_batch_view).
 *  shapes   offset [rows+1] ascending from 0; tokens [offset[rows]]; prompt_length [rows], 0..row length
 *  owner    *out is yours, arrays are copied    null  INVAL; prompt_length NULL: 0 for every row
 *  errors   INVAL (offsets, lengths), NOMEM; *out is NULL then    threads the context's    since 0.1 */
RLHF_API rlhf_status rlhf_batch_create(rlhf_batch **out, rlhf_context *context, int64_t rows, const int64_t *offset,
                                       const int32_t *tokens, const int32_t *prompt_length);

/** Makes a batch of some rows of another, in the order given; a row may come several times.
 *  shapes   row [count], each 0..rows-1    owner *out is yours (shares nothing)    null INVAL; row with count 0: fine
 *  errors   INVAL (count below 0), RANGE (a row), NOMEM; *out is NULL then    threads the context's    since 0.1 */
RLHF_API rlhf_status rlhf_batch_select(rlhf_batch **out, const rlhf_batch *batch, const int64_t *row, int64_t count);

/** Gives up a batch. owner *batch becomes NULL    null fine    errors none    threads the context's    since 0.1 */
RLHF_API void rlhf_batch_release(rlhf_batch **batch);

/** Fills *view (set view->struct_size).
 *  owner arrays borrowed until the batch goes    null INVAL    errors INVAL    threads safe    since 0.1 */
RLHF_API rlhf_status rlhf_batch_get(const rlhf_batch *batch, rlhf_batch_view *view);

enum {
    RLHF_TOKENIZE_EOS = 1,      /* append the tokenizer's EOS to rows that do not end in it */
    RLHF_TOKENIZE_SEPARATE = 2  /* encode prompt and completion separately (no merge across the border) */
};

/** Tokenises rows [first, first+count) of a dataset. TEXT rows have no prompt; PROMPT rows no response; preference rows
 *  give 2*count sequences, all chosen first, then all rejected. Without RLHF_TOKENIZE_SEPARATE, prompt and
 *  prompt+completion are encoded as whole texts and the response begins at the first id that differs (as TRL does).
 *  Special tokens of the post-processor (BOS) stand around every row; conversational rows get neither these nor EOS,
 *  because they bring their own.
 *  owner    *out is yours    null  INVAL
 *  errors   RANGE (rows), INVAL (rows of different kinds; EOS asked for, but the tokenizer has none), FORMAT (row
 *           named), NOMEM; *out is NULL then
 *  threads  the context's    since 0.1 */
RLHF_API rlhf_status rlhf_batch_tokenize(rlhf_batch **out, const rlhf_tokenizer *tokenizer, const rlhf_dataset *dataset,
                                         uint64_t first, uint64_t count, uint32_t flags);

#ifdef __cplusplus
}
#endif
#endif
