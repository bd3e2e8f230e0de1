/* PPO's two losses (1707.06347, in the form of 1909.08593): the ratio of new to old probability is clipped, so that a
 * token cannot be moved further than cliprange by one rollout, and so is the value's step. Both are means over the
 * tokens of the optimizer step. algorithms.md 8.3, 8.4. */
#include "objectives/builtin.h"

#include <math.h>

typedef struct ppo {
    rlhfi_builtin builtin;
    double cliprange;
    double cliprange_value;
    double vf_coef;
    double entropy_coef;
    double dual_clip;
} ppo;

static const rlhfi_builtin_key keys[] = {
    {"cliprange", offsetof(ppo, cliprange), 0.2, 0, 1, RLHFI_KEY_POSITIVE},
    {"cliprange_value", offsetof(ppo, cliprange_value), 0.2, 0, 1e6, 0},
    {"vf_coef", offsetof(ppo, vf_coef), 0.1, 0, 1e6, 0},
    {"entropy_coef", offsetof(ppo, entropy_coef), 0, 0, 1e6, 0},
    {"dual_clip", offsetof(ppo, dual_clip), 0, 0, 1e6, 0},
};

static uint32_t current_need(void *user_data)
{
    const ppo *self = user_data;

    return RLHF_NEED_VALUE | (self->entropy_coef > 0 ? RLHF_NEED_ENTROPY : 0);
}

/* Loss of one token; *slope is its derivative in log_prob. */
static double token_loss(const ppo *self, double log_prob, double log_prob_old, double advantage, double *slope,
                         double *clipped_tokens)
{
    bool inside;
    double ratio = rlhfi_ratio(log_prob, log_prob_old, &inside);
    double plain = -advantage * ratio;
    double clipped = -advantage * rlhfi_clamp(ratio, 1 - self->cliprange, 1 + self->cliprange);

    double loss = clipped > plain ? clipped : plain;

    *clipped_tokens += clipped > plain;
    *slope = clipped > plain || !inside ? 0 : plain;
    /* Dual clip (1912.09729): where the advantage is negative the plain branch grows without bound. */
    if (self->dual_clip > 0 && advantage < 0 && loss > -self->dual_clip * advantage) {
        loss = -self->dual_clip * advantage;
        *slope = 0;
    }
    return loss;
}

static rlhf_status policy_loss(void *user_data, const rlhf_policy_loss_input *in, rlhf_policy_loss_output *out)
{
    const ppo *self = user_data;
    int64_t count = in->offset[in->rows];
    double tokens = in->denominator, entropy = self->entropy_coef / tokens, slope;

    RLHFI_TRY(rlhfi_divisor_check(self->builtin.context, "ppo", "denominator", tokens, count));
    for (int64_t i = 0; i < count; i++) {
        out->loss += token_loss(self, in->log_prob[i], in->log_prob_old[i], in->advantage[i], &slope, &out->clipped) /
                     tokens;
        out->d_log_prob[i] = slope / tokens;
    }
    for (int64_t i = 0; self->entropy_coef > 0 && i < count; i++) {
        out->loss -= entropy * in->entropy[i];
        out->d_entropy[i] = -entropy;
    }
    return RLHF_OK;
}

static rlhf_status value_loss(void *user_data, const rlhf_value_loss_input *in, rlhf_value_loss_output *out)
{
    const ppo *self = user_data;
    double limit = self->cliprange_value, scale = self->vf_coef / in->denominator;

    for (int64_t i = 0; i < in->count; i++) {
        double error = in->value[i] - in->value_target[i], step = in->value[i] - in->value_old[i];
        double loss = error * error / 2, slope = error;
        if (limit > 0 && fabs(step) > limit) {
            double cut = in->value_old[i] + rlhfi_clamp(step, -limit, limit) - in->value_target[i];
            if (cut * cut / 2 > loss) {
                loss = cut * cut / 2;
                slope = 0;
                out->clipped += 1;
            }
        }
        out->loss += scale * loss;
        out->d_value[i] = scale * slope;
    }
    return RLHF_OK;
}

const rlhfi_builtin_kind rlhfi_ppo = {
    .vtable = {RLHFI_BUILTIN_VTABLE("ppo"), .current_need = current_need,
               .policy_loss = policy_loss, .value_loss = value_loss},
    .size = sizeof(ppo),
    .keys = keys,
    .key_count = sizeof keys / sizeof keys[0],
};
