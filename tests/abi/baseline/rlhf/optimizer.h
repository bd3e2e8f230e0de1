/* Optimizer: the update rule of one set of parameters, with global-norm clipping and a learning-rate schedule. */
#ifndef RLHF_OPTIMIZER_H
#define RLHF_OPTIMIZER_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { RLHF_SCHEDULE_CONSTANT = 0, RLHF_SCHEDULE_LINEAR = 1, RLHF_SCHEDULE_COSINE = 2 };

/* Parameter groups see: weight decay acts on parameters with two or more dimensions, not on biases and norm gains. */
typedef struct rlhf_optimizer_options {
    uint32_t struct_size;
    int32_t schedule;        /* RLHF_SCHEDULE_*, default LINEAR */
    double learning_rate;    /* default 2e-5 */
    double beta1;            /* default 0.9 */
    double beta2;            /* default 0.999 */
    double epsilon;          /* default 1e-8, added outside the root (PyTorch's placement) */
    double weight_decay;     /* default 0 */
    double max_grad_norm;    /* global norm; 0 = no clipping; default 1 */
    uint64_t warmup_steps;   /* default 0 */
    uint64_t total_steps;    /* steps of the schedule, for LINEAR and COSINE; default 0 = constant */
    double min_lr_rate;      /* COSINE and LINEAR end at this fraction of the learning rate, default 0 */
} rlhf_optimizer_options;

/** Fills defaults.  owner -    null nothing happens    errors none    threads safe    since 0.1 */
RLHF_API void rlhf_optimizer_options_init(rlhf_optimizer_options *options, size_t size);

/** Makes AdamW for the parameters of a policy.
 *  owner    *out is yours, the policy is retained    null  out, policy: INVAL; options: defaults
 *  errors   INVAL, RANGE, UNSUPPORTED (options longer than known), NOMEM; *out is NULL then
 *  threads  the context's    since 0.1    source  Loshchilov & Hutter 2017 (1711.05101) */
RLHF_API rlhf_status rlhf_optimizer_create_policy(rlhf_optimizer **out, rlhf_policy *policy,
                                                  const rlhf_optimizer_options *options);
/** Makes AdamW for a reward model.  owner, null, errors, threads as rlhf_optimizer_create_policy    since 0.1 */
RLHF_API rlhf_status rlhf_optimizer_create_reward_model(rlhf_optimizer **out, rlhf_reward_model *model,
                                                        const rlhf_optimizer_options *options);
/** Makes AdamW for a value model.  owner, null, errors, threads as rlhf_optimizer_create_policy    since 0.1 */
RLHF_API rlhf_status rlhf_optimizer_create_value_model(rlhf_optimizer **out, rlhf_value_model *model,
                                                       const rlhf_optimizer_options *options);

/** Gives up an optimizer.
 *  owner *optimizer becomes NULL    null fine    errors none    threads the context's    since 0.1 */
RLHF_API void rlhf_optimizer_release(rlhf_optimizer **optimizer);

/** Takes one step with the gradients gathered by the model's backward calls, then zeroes them: global norm, clipping,
 *  AdamW, schedule.  *gradient_norm (may be NULL): before clipping; *learning_rate (may be NULL): the one used.
 *  owner    -    null  optimizer: INVAL
 *  errors   NONFINITE (the first bad parameter named), NOMEM (for gradients, or for a copy of shared weights); weights
 *           and moments are as before then
 *  threads  the context's    repeat equal bits for any threads    since 0.1 */
RLHF_API rlhf_status rlhf_optimizer_step(rlhf_optimizer *optimizer, double *gradient_norm, double *learning_rate);

/** Takes one step of two optimizers as if all their parameters were one model's: one gradient norm over both, clipped
 *  at the first's max_grad_norm. That is how PPO steps its policy and its value model. *gradient_norm and
 *  *learning_rate (the first's) as in rlhf_optimizer_step.
 *  owner    -    null  an optimizer: INVAL
 *  errors   INVAL (one model twice, different contexts), and as rlhf_optimizer_step: neither has stepped then
 *  threads  the context's    repeat equal bits for any threads    since 0.1 */
RLHF_API rlhf_status rlhf_optimizer_step_joint(rlhf_optimizer *first, rlhf_optimizer *second, double *gradient_norm,
                                               double *learning_rate);

/** Zeroes the gathered gradients without a step.  owner -    null INVAL    errors INVAL    threads the context's
 *  since 0.1 */
RLHF_API rlhf_status rlhf_optimizer_zero(rlhf_optimizer *optimizer);

/** Returns how many steps were taken.  owner -    null 0    errors none    threads the context's    since 0.1 */
RLHF_API uint64_t rlhf_optimizer_steps(const rlhf_optimizer *optimizer);

#ifdef __cplusplus
}
#endif
#endif
