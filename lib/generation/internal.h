/* What only the files of this room share. */
#ifndef RLHFI_GENERATION_INTERNAL_H
#define RLHFI_GENERATION_INTERNAL_H

#include "generation/generation.h"

/* ---- sampler.c --------------------------------------------------------------------------------------------------- */

/* Writes to scratch->probability the weights that are sampled from: exp((z - maximum) / temperature), 0 where a filter
 * of options dropped the token. They are not divided by their sum. Sets no error text: NONFINITE for NaN or +infinity
 * among the logits, INVAL if every logit is -infinity. */
rlhf_status rlhfi_sampler_weights(const rlhf_context *context, const float *logits, int64_t vocabulary,
                                  const rlhf_rollout_options *options, const rlhfi_sampler_scratch *scratch);
/* Sum of the weights in the order in which a draw walks over them. */
double rlhfi_sampler_total(const double *weight, int64_t vocabulary);
/* Makes tokens impossible. */
void rlhfi_sampler_forbid(float *logits, const int32_t *tokens, int32_t count);
/* What went wrong, for the two statuses of rlhfi_sampler_weights. */
const char *rlhfi_sampler_problem(rlhf_status status);

/* ---- continuous_batching.c --------------------------------------------------------------------------------------- */

/* One run: what is asked for, and the rows as they grow. Row p * samples + s is sample s of prompt p. */
typedef struct rlhfi_generation {
    rlhf_context *context;
    rlhfi_model *model;
    rlhfi_arena *arena;            /* scratch of the run */
    const rlhf_batch_view *prompts;
    rlhf_rollout_options options;  /* checked; stop_tokens filled in from the model where none were given */
    float inverse_temperature;     /* of the distribution that log_prob is under */
    rlhf_token_fn on_token;
    void *user_data;
    int64_t rows;
    const int64_t *start;          /* [rows+1] into tokens and log_prob: a row's place has room for its limit */
    int32_t *length;               /* [rows] tokens so far */
    int32_t *tokens;
    float *log_prob;
    int32_t *terminated;           /* [rows] */
} rlhfi_generation;

/* Samples all rows. */
rlhf_status rlhfi_generate(rlhfi_generation *run);

/* ---- scorer.c ---------------------------------------------------------------------------------------------------- */

/* Hands a callback's status through. The text is the callback's own if its last call into the library failed with this
 * status, with "who: " in front. */
rlhf_status rlhfi_callback_failed(rlhf_context *context, rlhf_status status, const char *who);

#endif
