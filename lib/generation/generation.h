/* Sampling, rollouts, best-of-n, scorers. Public: rlhf/rollout.h, rlhf/scorer.h. */
#ifndef RLHFI_GENERATION_H
#define RLHFI_GENERATION_H

#include "core/core.h"
#include "model/model.h"
#include "text/text.h"
#include <rlhf/rollout.h>
#include <rlhf/scorer.h>

/* Draws a token from one row of logits with the uniform number u in (0,1): inverse of the cumulative distribution over
 * ids ascending after the filters of options. Greedy when temperature is 0 (smallest id among equals). scratch:
 * vocabulary doubles and int32s. Sets no error text (rows are drawn in parallel): the statuses are those of
 * rlhfi_sampler_weights. */
typedef struct rlhfi_sampler_scratch {
    double *probability;
    int32_t *order;
} rlhfi_sampler_scratch;
rlhf_status rlhfi_sample(const rlhf_context *context, const float *logits, int64_t vocabulary,
                         const rlhf_rollout_options *options, double u, const rlhfi_sampler_scratch *scratch,
                         int32_t *token);

rlhf_scorer *rlhfi_scorer_retain(rlhf_scorer *scorer);
const char *rlhfi_scorer_name(const rlhf_scorer *scorer);
rlhf_rollout *rlhfi_rollout_retain(rlhf_rollout *rollout);
/* Scores all rows of a rollout; prompt_text and extra are per prompt (may be NULL), tokenizer decodes the rest. */
rlhf_status rlhfi_score_rollout(rlhf_scorer *scorer, const rlhf_tokenizer *tokenizer, const rlhf_rollout *rollout,
                                const char *const *prompt_text, const char *const *extra, double *score);

#endif
