/* Rollouts: completions sampled from a policy, with the log-probabilities that training will compute again bit for
 * bit. */
#ifndef RLHF_ROLLOUT_H
#define RLHF_ROLLOUT_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { RLHF_MAX_STOP_TOKENS = 8 };

typedef struct rlhf_rollout_options {
    uint32_t struct_size;
    int32_t max_new_tokens;      /* default 64 */
    int32_t min_new_tokens;      /* stop tokens are impossible before; default 0. Changes what is sampled, see below */
    int32_t samples_per_prompt;  /* default 1 */
    int32_t batch_size;          /* sequences decoded side by side, default 64; never changes a result */
    int32_t top_k;               /* 0 = off (default) */
    double temperature;          /* 0 = greedy; else 1e-6 to 1e6, default 1 */
    double top_p;                /* 1 = off (default) */
    double min_p;                /* 0 = off (default) */
    uint64_t seed;               /* with prompt_index the only source of randomness; default 0 */
    uint64_t first_prompt;       /* number of the batch's first prompt in the stream of all prompts, default 0 */
    int32_t stop_token_count;    /* default 0: the model's EOS (generation_config.json, else config.json) are used */
    int32_t stop_tokens[8];
    int32_t ignore_stop;         /* 1: a stop token does not end the row: always max_new_tokens (default 0) */
} rlhf_rollout_options;

/* log_prob is under softmax(logits / temperature) over the whole vocabulary (temperature 1 when greedy), which is what
 * training scores. top_k, top_p, min_p and min_new_tokens sample from a restriction of it. */
typedef struct rlhf_rollout_view {
    uint32_t struct_size;
    int32_t samples_per_prompt;
    int64_t rows;                   /* prompts * samples_per_prompt, the samples of a prompt side by side */
    const int64_t *offset;          /* [rows+1] into tokens */
    const int32_t *tokens;          /* prompt and response, the stop token included */
    const int32_t *prompt_length;   /* [rows] */
    const int64_t *response_offset; /* [rows+1] into log_prob */
    const float *log_prob;          /* one per response token */
    const int32_t *terminated;      /* [rows] 1 = ended with a stop token, 0 = cut at the length */
} rlhf_rollout_view;

/** Fills defaults.  owner -    null nothing happens    errors none    threads safe    since 0.1 */
RLHF_API void rlhf_rollout_options_init(rlhf_rollout_options *options, size_t size);

/* Called after each token of a streamed rollout, in any order of rows; non-zero stops. */
typedef rlhf_status (*rlhf_token_fn)(void *user_data, int64_t row, int32_t token, double log_prob);

/** Samples completions of the prompts: of the first prompt_length tokens of each row. A response ends at a stop token,
 *  after max_new_tokens, or where the model's positions end.
 *  owner    *out is yours    null  out, policy, prompts: INVAL; options: defaults; on_token may be NULL
 *  errors   RANGE (a token, a prompt without room for one new token, prompt numbers beyond 2^32), INVAL (empty prompt,
 *           options), NONFINITE (NaN among the logits), CANCELED, NOMEM, the callback's    threads the context's
 *  repeat   sample s of prompt p depends on weights, prompt, seed, p and s only: not on batch, threads, n
 *  since 0.1 */
RLHF_API rlhf_status rlhf_rollout_run(rlhf_rollout **out, rlhf_policy *policy, const rlhf_batch *prompts,
                                      const rlhf_rollout_options *options, rlhf_token_fn on_token, void *user_data);

/** Gives up a rollout.  owner *rollout becomes NULL    null fine    errors none    threads the context's
 *  since 0.1 */
RLHF_API void rlhf_rollout_release(rlhf_rollout **rollout);

/** Fills *view (set view->struct_size).  owner borrowed until the rollout goes    null INVAL    errors INVAL
 *  threads safe    since 0.1 */
RLHF_API rlhf_status rlhf_rollout_get(const rlhf_rollout *rollout, rlhf_rollout_view *view);

/** Makes a batch of the rollout's sequences.  owner *out is yours (shares nothing)    null INVAL    errors NOMEM
 *  threads the context's    since 0.1 */
RLHF_API rlhf_status rlhf_rollout_batch(const rlhf_rollout *rollout, rlhf_batch **out);

/** Picks the best-scored sample of every prompt: best[p] is a row, the smallest among equals; -1 if all are NaN.
 *  shapes score [rows], best [rows / samples_per_prompt]    owner yours    null INVAL    errors INVAL
 *  threads safe    since 0.1 */
RLHF_API rlhf_status rlhf_rollout_best_of_n(const rlhf_rollout *rollout, const double *score, int64_t *best);

/** Filters one row of logits as transformers does (temperature, top-k, top-p, min-p in this order) and writes the
 *  probabilities that are sampled from.
 *  shapes logits, probability [vocabulary]    owner yours    null INVAL; options: defaults
 *  errors INVAL (no finite logit, options), NONFINITE (NaN or +infinity), NOMEM    threads the context's
 *  since 0.1 */
RLHF_API rlhf_status rlhf_rollout_distribution(rlhf_context *context, const float *logits, int64_t vocabulary,
                                               const rlhf_rollout_options *options, double *probability);

#ifdef __cplusplus
}
#endif
#endif
