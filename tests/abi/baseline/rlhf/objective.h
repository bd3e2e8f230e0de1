/* Objectives: arrays in, loss and gradients out. The built-in ones and yours stand on the same v-table, and neither
 * sees a model: the library owns every backward pass. All arrays are double and ragged, one entry per response token
 * (offset[rows + 1]); what does not count is simply not there.
 *
 * An objective implements one or more pieces; a trainer has a slot for each piece it needs:
 *   token loss      supervised fine-tuning             log-probabilities -> loss
 *   pair loss       reward models                      scores of chosen and rejected -> loss
 *   reward          KL-penalised reward                score and log-probabilities -> reward per token
 *   advantage       baselines, GAE                     rewards and values -> advantage and return per token
 *   policy loss     REINFORCE, PPO clip, pairwise      log-probabilities and advantages -> loss
 *   value loss      clipped squares                    values and returns -> loss */
#ifndef RLHF_OBJECTIVE_H
#define RLHF_OBJECTIVE_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* In every input: struct_size is set by the caller, unknown later fields read as absent. Inputs are borrowed for the
 * call. Outputs (d_... and others) are zeroed before the call. Losses are minimised, in nats unless said otherwise. */

typedef struct rlhf_token_loss_input {
    uint32_t struct_size;
    int32_t reserved;
    int64_t rows;
    const int64_t *offset;         /* [rows+1] */
    const double *log_prob;        /* [offset[rows]] log p(token) */
    const double *mean_log_prob;   /* mean over the vocabulary of log p; NULL unless RLHF_NEED_MEAN_LOG_PROB */
    double denominator;            /* tokens that count in the whole optimizer step (all its micro-batches) */
} rlhf_token_loss_input;

typedef struct rlhf_token_loss_output {
    uint32_t struct_size;
    int32_t reserved;
    double loss;                   /* this micro-batch's share of the step's loss */
    double *d_log_prob;            /* [offset[rows]] */
    double *d_mean_log_prob;       /* [offset[rows]] or NULL */
} rlhf_token_loss_output;

typedef struct rlhf_pair_loss_input {
    uint32_t struct_size;
    int32_t reserved;
    int64_t pairs;
    const double *chosen;          /* [pairs] scores */
    const double *rejected;        /* [pairs] */
    const double *margin;          /* [pairs] or NULL */
    double denominator;            /* divides the sum over pairs (pairs of the micro-batch times micro-batches) */
} rlhf_pair_loss_input;

typedef struct rlhf_pair_loss_output {
    uint32_t struct_size;
    int32_t reserved;
    double loss;
    double *d_chosen;              /* [pairs] */
    double *d_rejected;            /* [pairs] */
} rlhf_pair_loss_output;

typedef struct rlhf_reward_input {
    uint32_t struct_size;
    int32_t reserved;
    int64_t rows;
    const int64_t *offset;         /* [rows+1] */
    const double *score;           /* [rows], finite */
    const double *log_prob;        /* at the time of sampling */
    const double *log_prob_ref;    /* under the reference; NULL without one */
    const int32_t *terminated;     /* [rows] 1 if the response ended with a stop token */
} rlhf_reward_input;

typedef struct rlhf_reward_output {
    uint32_t struct_size;
    int32_t reserved;
    double *reward;                /* [offset[rows]] */
} rlhf_reward_output;

typedef struct rlhf_advantage_input {
    uint32_t struct_size;
    int32_t samples_per_prompt;    /* rows g*samples .. g*samples+samples-1 belong to one prompt */
    int64_t rows;
    const int64_t *offset;         /* [rows+1] */
    const double *reward;          /* [offset[rows]] */
    const double *value;           /* [offset[rows]] or NULL without a value model */
} rlhf_advantage_input;

typedef struct rlhf_advantage_output {
    uint32_t struct_size;
    int32_t reserved;
    double *advantage;             /* [offset[rows]] */
    double *value_target;          /* [offset[rows]] the return; NULL without a value model */
} rlhf_advantage_output;

typedef struct rlhf_policy_loss_input {
    uint32_t struct_size;
    int32_t samples_per_prompt;    /* rows of one prompt stand together if > 1 and RLHF_NEED_GROUPS was asked */
    int64_t rows;
    const int64_t *offset;         /* [rows+1] */
    const double *log_prob;        /* under the policy that is trained */
    const double *log_prob_old;    /* at the time of sampling */
    const double *log_prob_ref;    /* NULL unless RLHF_NEED_REFERENCE */
    const double *advantage;       /* [offset[rows]] */
    const double *entropy;         /* [offset[rows]] NULL unless RLHF_NEED_ENTROPY */
    const double *score;           /* [rows] raw scores; NULL where the objective does not look at them */
    double denominator;            /* rows or tokens of the step, as aggregation says; see the objective's keys */
    double denominator_rows;       /* rows of the whole optimizer step */
} rlhf_policy_loss_input;

typedef struct rlhf_policy_loss_output {
    uint32_t struct_size;
    int32_t reserved;
    double loss;
    double *d_log_prob;            /* [offset[rows]] */
    double *d_entropy;             /* [offset[rows]] or NULL */
    double clipped;                /* how many tokens were clipped (for metrics) */
} rlhf_policy_loss_output;

typedef struct rlhf_value_loss_input {
    uint32_t struct_size;
    int32_t reserved;
    int64_t count;
    const double *value;           /* [count] */
    const double *value_old;       /* [count] at the time of sampling */
    const double *value_target;    /* [count] */
    double denominator;            /* tokens of the step */
} rlhf_value_loss_input;

typedef struct rlhf_value_loss_output {
    uint32_t struct_size;
    int32_t reserved;
    double loss;                   /* already multiplied by the objective's coefficient */
    double *d_value;               /* [count] */
    double clipped;
} rlhf_value_loss_output;

/* What an objective wants to be computed for it. */
enum {
    RLHF_NEED_REFERENCE = 1, RLHF_NEED_VALUE = 2, RLHF_NEED_ENTROPY = 4, RLHF_NEED_MEAN_LOG_PROB = 8,
    RLHF_NEED_GROUPS = 16
};

/* A NULL function is a piece that the objective does not have. Every function returns 0 or a status that stops the
 * training step, and is called on the thread that called the library. save and load keep state (baselines,
 * controllers) across checkpoints: save with buffer NULL only sets *needed. */
typedef struct rlhf_objective_vtable {
    uint32_t struct_size;
    uint32_t need;                 /* RLHF_NEED_* */
    const char *name;              /* copied */
    rlhf_status (*token_loss)(void *user_data, const rlhf_token_loss_input *in, rlhf_token_loss_output *out);
    rlhf_status (*pair_loss)(void *user_data, const rlhf_pair_loss_input *in, rlhf_pair_loss_output *out);
    rlhf_status (*reward)(void *user_data, const rlhf_reward_input *in, rlhf_reward_output *out);
    rlhf_status (*advantage)(void *user_data, const rlhf_advantage_input *in, rlhf_advantage_output *out);
    rlhf_status (*policy_loss)(void *user_data, const rlhf_policy_loss_input *in, rlhf_policy_loss_output *out);
    rlhf_status (*value_loss)(void *user_data, const rlhf_value_loss_input *in, rlhf_value_loss_output *out);
    rlhf_status (*observe_kl)(void *user_data, double mean_sequence_kl, int64_t episodes); /* may be NULL */
    rlhf_status (*save)(void *user_data, void *buffer, size_t capacity, size_t *needed);
    rlhf_status (*load)(void *user_data, const void *buffer, size_t bytes);
    rlhf_status (*set)(void *user_data, const char *key, double value);                    /* may be NULL: no keys */
    rlhf_status (*get)(void *user_data, const char *key, double *value);
    rlhf_destroy_fn destroy;
    uint32_t (*current_need)(void *user_data); /* RLHF_NEED_* as the keys stand now; may be NULL: always need */
} rlhf_objective_vtable;

/** Makes an objective of your own from a v-table.
 *  owner    *out is yours; the v-table is copied; user_data goes to destroy exactly once, also on failure
 *  null     out, context, vtable: INVAL    errors INVAL, NOMEM, UNSUPPORTED (v-table longer than known)
 *  threads  the context's    since 0.1 */
RLHF_API rlhf_status rlhf_objective_create(rlhf_objective **out, rlhf_context *context,
                                           const rlhf_objective_vtable *vtable, void *user_data);

/** Makes a built-in objective with its defaults. Names and their keys:
 *    sft              token loss: label_smoothing_factor
 *    bradley_terry    pair loss: center_rewards_coefficient
 *    kl_reward        reward: kl_coef, kl_estimator (1 2 3), missing_eos_penalty (NaN = off), reward_clip (0 = off),
 *                     adaptive_kl (0 1), target_kl, horizon, whiten_rewards (0 1)
 *    gae              advantage: gamma, lam, whiten (0 1), whiten_population (0 1)
 *    reinforce        advantage and policy loss: baseline (0 none, 1 moving average, 2 batch mean, 3 leave one out,
 *                     4 running mean of all history), baseline_momentum, reward_to_go (0 whole response, 1 from the
 *                     token on), whiten (0 1), whiten_population (0 1), entropy_coef; to read: baseline_value
 *    pairwise         advantage and policy loss: form (0 linear, 1 regularised, 2 logistic soft, 3 clipped linear,
 *                     4 fixed target), beta, soft_label_temperature, cliprange
 *    ppo              policy loss and value loss: cliprange, cliprange_value (0 = off), vf_coef, entropy_coef,
 *                     dual_clip (0 = off)
 *  owner    *out is yours    null  INVAL    errors  INVAL (unknown name: the nearest is named), NOMEM
 *  threads  the context's    since 0.1
 *  source   Williams 1992; Bradley & Terry 1952; 1707.06347; 1506.02438; 1909.08593; 2310.00212; 2310.12036 */
RLHF_API rlhf_status rlhf_objective_builtin(rlhf_objective **out, rlhf_context *context, const char *name);

/** Gives up an objective.
 *  owner *objective becomes NULL    null fine    errors none    threads the context's    since 0.1 */
RLHF_API void rlhf_objective_release(rlhf_objective **objective);

/** Sets a number by key.  owner -    null INVAL    errors INVAL (unknown key: the nearest is named), RANGE
 *  threads the context's    since 0.1 */
RLHF_API rlhf_status rlhf_objective_set(rlhf_objective *objective, const char *key, double value);

/** Reads a number by key (also state: kl_coef as the controller left it).  owner -    null INVAL    errors INVAL
 *  threads the context's    since 0.1 */
RLHF_API rlhf_status rlhf_objective_get(const rlhf_objective *objective, const char *key, double *value);

/** Tells an objective, behind its iteration's updates, what the KL to the reference was: mean over the sampled
 *  responses of the sum over tokens of log_prob - log_prob_ref, in nats. The built-in kl_reward moves kl_coef by it if
 *  adaptive_kl is on; an objective without observe_kl ignores it.
 *  owner -    null INVAL    errors NONFINITE, INVAL (episodes below 0), BUSY, the callback's
 *  threads the context's    since 0.1    source 1909.08593, section 2.2 */
RLHF_API rlhf_status rlhf_objective_observe_kl(rlhf_objective *objective, double mean_sequence_kl, int64_t episodes);

/** Returns the objective's RLHF_NEED_* bits.  owner -    null 0    errors none    threads safe    since 0.1 */
RLHF_API uint32_t rlhf_objective_need(const rlhf_objective *objective);

/** Evaluates the token loss.  shapes see the structs    owner your arrays    null INVAL
 *  errors   UNSUPPORTED (the objective has no such piece), INVAL (offsets), NONFINITE (loss or a gradient), BUSY, and
 *           what the callback returns    threads the context's    repeat always the same    since 0.1 */
RLHF_API rlhf_status rlhf_objective_token_loss(rlhf_objective *objective, const rlhf_token_loss_input *in,
                                               rlhf_token_loss_output *out);
/** Evaluates the pair loss.  owner, null, errors, threads as rlhf_objective_token_loss    since 0.1 */
RLHF_API rlhf_status rlhf_objective_pair_loss(rlhf_objective *objective, const rlhf_pair_loss_input *in,
                                              rlhf_pair_loss_output *out);
/** Makes rewards per token.  owner, null, errors, threads as rlhf_objective_token_loss    since 0.1 */
RLHF_API rlhf_status rlhf_objective_reward(rlhf_objective *objective, const rlhf_reward_input *in,
                                           rlhf_reward_output *out);
/** Makes advantages (and returns); baselines are updated after their use.
 *  owner, null, errors, threads as rlhf_objective_token_loss    since 0.1 */
RLHF_API rlhf_status rlhf_objective_advantage(rlhf_objective *objective, const rlhf_advantage_input *in,
                                              rlhf_advantage_output *out);
/** Evaluates the policy loss.  owner, null, errors, threads as rlhf_objective_token_loss    since 0.1 */
RLHF_API rlhf_status rlhf_objective_policy_loss(rlhf_objective *objective, const rlhf_policy_loss_input *in,
                                                rlhf_policy_loss_output *out);
/** Evaluates the value loss.  owner, null, errors, threads as rlhf_objective_token_loss    since 0.1 */
RLHF_API rlhf_status rlhf_objective_value_loss(rlhf_objective *objective, const rlhf_value_loss_input *in,
                                               rlhf_value_loss_output *out);

#ifdef __cplusplus
}
#endif
#endif
