/* Scorer: anything that gives a completion a number. A reward model is one, your callback is another. */
#ifndef RLHF_SCORER_H
#define RLHF_SCORER_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rlhf_score_input {
    uint32_t struct_size;
    int32_t reserved;
    int64_t rows;
    const int64_t *offset;         /* [rows+1] into tokens */
    const int32_t *tokens;         /* prompt and response */
    const int32_t *prompt_length;  /* [rows] */
    const char *const *prompt;     /* [rows] text as the dataset has it, else decoded */
    const char *const *completion; /* [rows] decoded without special tokens */
    const char *const *extra;      /* [rows] the dataset row's other columns as JSON, or NULL entries */
    const int32_t *terminated;     /* [rows] 1 if the response ended with a stop token */
} rlhf_score_input;

/* Writes one score per row, higher is better; NaN = "cannot be scored" (the row then takes no part in training). */
typedef rlhf_status (*rlhf_score_fn)(void *user_data, const rlhf_score_input *in, double *score);

/** Makes a scorer from a callback, called on the thread that calls the library.
 *  owner *out is yours, user_data goes to destroy exactly once, also on failure
 *  null out, context, name, score: INVAL
 *  errors INVAL, NOMEM    threads the context's    since 0.1 */
RLHF_API rlhf_status rlhf_scorer_create(rlhf_scorer **out, rlhf_context *context, const char *name, rlhf_score_fn score,
                                        void *user_data, rlhf_destroy_fn destroy);

/** Makes a scorer from a reward model.  owner *out is yours, the model is retained    null INVAL    errors NOMEM
 *  threads the context's    since 0.1 */
RLHF_API rlhf_status rlhf_scorer_from_reward_model(rlhf_scorer **out, rlhf_reward_model *model);

/** Gives up a scorer.  owner *scorer becomes NULL    null fine    errors none    threads the context's    since 0.1 */
RLHF_API void rlhf_scorer_release(rlhf_scorer **scorer);

/** Scores rows: fills in texts from tokens where in->prompt, in->completion or one of their entries are NULL (needs
 *  tokenizer then). The callback sees every array: in->extra NULL becomes NULL entries, in->terminated NULL becomes 1.
 *  shapes score [rows]; a score that the callback does not write is NaN
 *  owner yours    null scorer, in, score: INVAL; tokenizer: texts must be given
 *  errors the callback's, BUSY, INVAL (offsets, a text is missing), NONFINITE (an infinite score, NaN from a reward
 *         model), what rlhf_reward_model_score returns, NOMEM    threads the context's    since 0.1 */
RLHF_API rlhf_status rlhf_scorer_run(rlhf_scorer *scorer, const rlhf_tokenizer *tokenizer, const rlhf_score_input *in,
                                     double *score);

#ifdef __cplusplus
}
#endif
#endif
