/* The reward model's loss: -log sigmoid(chosen - rejected - margin), averaged over pairs (Bradley & Terry 1952). Only
 * differences of scores are identified, so a centering term may hold their sum near 0 (2312.09244). algorithms.md 3. */
#include "objectives/builtin.h"

typedef struct bradley_terry {
    rlhfi_builtin builtin;
    double center_rewards_coefficient;
} bradley_terry;

static const rlhfi_builtin_key keys[] = {
    {"center_rewards_coefficient", offsetof(bradley_terry, center_rewards_coefficient), 0, 0, 1e6, 0},
};

static rlhf_status pair_loss(void *user_data, const rlhf_pair_loss_input *in, rlhf_pair_loss_output *out)
{
    const bradley_terry *self = user_data;
    double center = self->center_rewards_coefficient;

    for (int64_t i = 0; i < in->pairs; i++) {
        double difference = in->chosen[i] - in->rejected[i] - (in->margin != NULL ? in->margin[i] : 0);
        double sum = in->chosen[i] + in->rejected[i];
        double slope = rlhfi_sigmoid(-difference);

        out->loss += (rlhfi_softplus(-difference) + center * sum * sum) / in->denominator;
        out->d_chosen[i] = (2 * center * sum - slope) / in->denominator;
        out->d_rejected[i] = (2 * center * sum + slope) / in->denominator;
    }
    return RLHF_OK;
}

const rlhfi_builtin_kind rlhfi_bradley_terry = {
    .vtable = {RLHFI_BUILTIN_VTABLE("bradley_terry"), .pair_loss = pair_loss},
    .size = sizeof(bradley_terry),
    .keys = keys,
    .key_count = sizeof keys / sizeof keys[0],
};
