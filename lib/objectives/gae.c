/* Generalised advantage estimation (1506.02438), backwards over each response; the value behind its last token is 0.
 * The return, advantage + value, is what the value model learns; it is taken before whitening. algorithms.md 8.2. */
#include "objectives/builtin.h"

typedef struct gae {
    rlhfi_builtin builtin;
    double gamma;
    double lam;
    double whiten;
    double whiten_population;
} gae;

static const rlhfi_builtin_key keys[] = {
    {"gamma", offsetof(gae, gamma), 1, 0, 1, 0},
    {"lam", offsetof(gae, lam), 0.95, 0, 1, 0},
    {"whiten", offsetof(gae, whiten), 1, 0, 1, RLHFI_KEY_WHOLE},
    {"whiten_population", offsetof(gae, whiten_population), 0, 0, 1, RLHFI_KEY_WHOLE},
};

static rlhf_status advantage(void *user_data, const rlhf_advantage_input *in, rlhf_advantage_output *out)
{
    const gae *self = user_data;
    int64_t count = in->offset[in->rows];

    if (in->value == NULL && count > 0)
        return rlhfi_builtin_refuse(&self->builtin, "value is NULL: it needs a value model");
    for (int64_t row = 0; row < in->rows; row++) {
        double next_value = 0, next_advantage = 0;
        for (int64_t i = in->offset[row + 1] - 1; i >= in->offset[row]; i--) {
            double delta = in->reward[i] + self->gamma * next_value - in->value[i];
            next_advantage = delta + self->gamma * self->lam * next_advantage;
            next_value = in->value[i];
            out->advantage[i] = next_advantage;
            if (out->value_target != NULL)
                out->value_target[i] = next_advantage + next_value;
        }
    }
    if (self->whiten != 0)
        rlhfi_whiten(out->advantage, count, true, self->whiten_population != 0);
    return RLHF_OK;
}

const rlhfi_builtin_kind rlhfi_gae = {
    .vtable = {RLHFI_BUILTIN_VTABLE("gae"), .need = RLHF_NEED_VALUE, .advantage = advantage},
    .size = sizeof(gae),
    .keys = keys,
    .key_count = sizeof keys / sizeof keys[0],
};
