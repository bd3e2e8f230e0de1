/* Supervised fine-tuning: the mean over all counted tokens of -log p, optionally with label smoothing, which mixes in
 * the mean of -log p over the vocabulary (as transformers' LabelSmoother). algorithms.md 2. */
#include "objectives/builtin.h"

typedef struct sft {
    rlhfi_builtin builtin;
    double label_smoothing_factor;
} sft;

static const rlhfi_builtin_key keys[] = {
    {"label_smoothing_factor", offsetof(sft, label_smoothing_factor), 0, 0, 1, 0},
};

static uint32_t current_need(void *user_data)
{
    const sft *self = user_data;

    return self->label_smoothing_factor > 0 ? RLHF_NEED_MEAN_LOG_PROB : 0;
}

static rlhf_status token_loss(void *user_data, const rlhf_token_loss_input *in, rlhf_token_loss_output *out)
{
    const sft *self = user_data;
    double smoothing = self->label_smoothing_factor;
    double on_token = (1 - smoothing) / in->denominator, on_mean = smoothing / in->denominator;
    int64_t count = in->offset[in->rows];

    for (int64_t i = 0; i < count; i++) {
        out->loss -= on_token * in->log_prob[i];
        out->d_log_prob[i] = -on_token;
    }
    for (int64_t i = 0; smoothing > 0 && i < count; i++) {
        out->loss -= on_mean * in->mean_log_prob[i];
        out->d_mean_log_prob[i] = -on_mean;
    }
    return RLHF_OK;
}

const rlhfi_builtin_kind rlhfi_sft = {
    .vtable = {RLHFI_BUILTIN_VTABLE("sft"), .current_need = current_need, .token_loss = token_loss},
    .size = sizeof(sft),
    .keys = keys,
    .key_count = sizeof keys / sizeof keys[0],
};
