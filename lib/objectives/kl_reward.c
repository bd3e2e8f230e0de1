/* Reward per token: the score on the last token, minus kl_coef times an estimate of the KL to the reference on every
 * token (1909.08593). With estimator 1 the sum over a response is score - kl_coef * (LP - LP_ref), whose policy
 * gradient is the gradient of the KL-penalised objective. The estimate comes from the log-probabilities of sampling and
 * carries no gradient. algorithms.md 6. */
#include "objectives/builtin.h"

#include <math.h>

/* Where the controller may move kl_coef: a runaway stops here. */
#define LEAST_KL_COEF 1e-6
#define GREATEST_KL_COEF 1e3

typedef struct kl_reward {
    rlhfi_builtin builtin;
    double kl_coef; /* state too: the controller moves it */
    double kl_estimator;
    double missing_eos_penalty;
    double reward_clip;
    double adaptive_kl;
    double target_kl;
    double horizon;
    double whiten_rewards;
} kl_reward;

static const rlhfi_builtin_key keys[] = {
    {"kl_coef", offsetof(kl_reward, kl_coef), 0.05, 0, GREATEST_KL_COEF, 0},
    {"kl_estimator", offsetof(kl_reward, kl_estimator), 1, 1, 3, RLHFI_KEY_WHOLE},
    {"missing_eos_penalty", offsetof(kl_reward, missing_eos_penalty), NAN, 0, 1e6, RLHFI_KEY_NAN},
    {"reward_clip", offsetof(kl_reward, reward_clip), 0, 0, 1e6, 0},
    {"adaptive_kl", offsetof(kl_reward, adaptive_kl), 0, 0, 1, RLHFI_KEY_WHOLE},
    {"target_kl", offsetof(kl_reward, target_kl), 6, 0, 1e6, RLHFI_KEY_POSITIVE},
    {"horizon", offsetof(kl_reward, horizon), 10000, 0, 1e12, RLHFI_KEY_POSITIVE},
    {"whiten_rewards", offsetof(kl_reward, whiten_rewards), 0, 0, 1, RLHFI_KEY_WHOLE},
};

static uint32_t current_need(void *user_data)
{
    const kl_reward *self = user_data;

    return self->kl_coef > 0 ? RLHF_NEED_REFERENCE : 0;
}

/* Clipping first, so that the penalty still shows on a score that was clipped. */
static double shaped_score(const kl_reward *self, double score, bool terminated)
{
    if (self->reward_clip > 0)
        score = rlhfi_clamp(score, -self->reward_clip, self->reward_clip);
    return terminated || isnan(self->missing_eos_penalty) ? score : score - self->missing_eos_penalty;
}

static rlhf_status reward(void *user_data, const rlhf_reward_input *in, rlhf_reward_output *out)
{
    const kl_reward *self = user_data;
    int64_t count = in->offset[in->rows];

    if (self->kl_coef > 0) {
        if (in->log_prob_ref == NULL && count > 0)
            return rlhfi_builtin_refuse(&self->builtin, "log_prob_ref is NULL, and kl_coef is not 0");
        for (int64_t i = 0; i < count; i++)
            out->reward[i] = -self->kl_coef * rlhfi_kl_estimate((int)self->kl_estimator,
                                                                in->log_prob[i] - in->log_prob_ref[i]);
    }
    for (int64_t row = 0; row < in->rows; row++)
        if (in->offset[row + 1] > in->offset[row])
            out->reward[in->offset[row + 1] - 1] += shaped_score(self, in->score[row], in->terminated[row] != 0);
    if (self->whiten_rewards != 0)
        rlhfi_whiten(out->reward, count, false, false);
    return RLHF_OK;
}

/* A proportional controller in log space, with the error cut so that one odd batch cannot move it far. */
static rlhf_status observe_kl(void *user_data, double mean_sequence_kl, int64_t episodes)
{
    kl_reward *self = user_data;
    double error = rlhfi_clamp(mean_sequence_kl / self->target_kl - 1, -0.2, 0.2);

    /* A coefficient of 0 was set on purpose. */
    if (self->adaptive_kl == 0 || self->kl_coef == 0)
        return RLHF_OK;
    self->kl_coef = rlhfi_clamp(self->kl_coef * (1 + error * (double)episodes / self->horizon), LEAST_KL_COEF,
                                GREATEST_KL_COEF);
    return RLHF_OK;
}

static rlhf_status save(void *user_data, void *buffer, size_t capacity, size_t *needed)
{
    const kl_reward *self = user_data;

    return rlhfi_builtin_save(&self->builtin, &self->kl_coef, 1, buffer, capacity, needed);
}

/* Without a controller kl_coef is a setting, and the setting of now holds. */
static rlhf_status load(void *user_data, const void *buffer, size_t bytes)
{
    kl_reward *self = user_data;
    double kl_coef;

    RLHFI_TRY(rlhfi_builtin_load(&self->builtin, buffer, bytes, &kl_coef, 1));
    if (self->adaptive_kl != 0)
        self->kl_coef = kl_coef;
    return RLHF_OK;
}

const rlhfi_builtin_kind rlhfi_kl_reward = {
    .vtable = {RLHFI_BUILTIN_VTABLE("kl_reward"), .current_need = current_need, .reward = reward,
               .observe_kl = observe_kl, .save = save, .load = load},
    .size = sizeof(kl_reward),
    .keys = keys,
    .key_count = sizeof keys / sizeof keys[0],
};
