/* What a model needs in memory for a batch, computed before any of it is asked for. */
#ifndef RLHF_MEMORY_PLAN_H
#define RLHF_MEMORY_PLAN_H

#include "policy.h"
#include "value_model.h"
#include "reward_model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A batch of rows that are all alike. Rows that share their prompt need less than planned. */
typedef struct rlhf_memory_shape {
    uint32_t struct_size;
    int32_t training;      /* 1: a step with AdamW; 0: scoring only, default 1 */
    int64_t rows;          /* default 1 */
    int64_t row_tokens;    /* of a row, prompt and response; default 0: as many as the model takes */
    int64_t prompt_tokens; /* of these, the prompt; default 1 */
} rlhf_memory_shape;

/* In bytes. BLIS, if used, and the cache of a rollout come on top. With bfloat16 products scratch and panels are upper
 * bounds. */
typedef struct rlhf_memory_plan {
    uint32_t struct_size;
    int32_t reserved;
    uint64_t weights;
    uint64_t gradient;
    uint64_t moments;     /* of AdamW */
    uint64_t activations; /* what the forward pass keeps for the backward pass */
    uint64_t scratch;     /* everything that lives within the step */
    uint64_t panels;      /* weights packed for small models */
    uint64_t total;
} rlhf_memory_plan;

/** Fills defaults.  owner -    null nothing happens    errors none    threads safe    since 0.1 */
RLHF_API void rlhf_memory_shape_init(rlhf_memory_shape *shape, size_t size);

/** Plans the memory of a policy for a batch (set plan->struct_size). What is there already counts as well.
 *  owner    plan is yours    null  policy, plan: INVAL; shape NULL: defaults
 *  errors   INVAL (struct_size), RANGE (rows, tokens: the number is named), NOMEM    threads the context's
 *  since 0.1 */
RLHF_API rlhf_status rlhf_policy_memory_plan(const rlhf_policy *policy, const rlhf_memory_shape *shape,
                                             rlhf_memory_plan *plan);

/** The same for a value model, which reads every response token.
 *  owner as rlhf_policy_memory_plan    null as there    errors as there    threads the context's    since 0.1 */
RLHF_API rlhf_status rlhf_value_model_memory_plan(const rlhf_value_model *model, const rlhf_memory_shape *shape,
                                                  rlhf_memory_plan *plan);

/** The same for a reward model, which reads the last token of each row.
 *  owner as rlhf_policy_memory_plan    null as there    errors as there    threads the context's    since 0.1 */
RLHF_API rlhf_status rlhf_reward_model_memory_plan(const rlhf_reward_model *model, const rlhf_memory_shape *shape,
                                                   rlhf_memory_plan *plan);

#ifdef __cplusplus
}
#endif
#endif
