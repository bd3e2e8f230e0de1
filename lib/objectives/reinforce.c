/* REINFORCE (Williams 1992): raise the log-probability of what was sampled in proportion to its reward above a
 * baseline. The advantage of a token is the reward from it on, minus the baseline of its response; whatever the
 * baseline does not depend on the response itself, the gradient keeps its expectation. The loss is the sum over a
 * response, averaged over responses: each is one sample of the objective, however long. algorithms.md 7. */
#include "objectives/builtin.h"

enum { NO_BASELINE = 0, MOVING_AVERAGE = 1, BATCH_MEAN = 2, LEAVE_ONE_OUT = 3, RUNNING_MEAN = 4 };

typedef struct reinforce {
    rlhfi_builtin builtin;
    double baseline;
    double baseline_momentum;
    double reward_to_go;
    double whiten;
    double whiten_population;
    double entropy_coef;
    double baseline_value; /* what the next batch is compared with, once responses were seen */
    double seen;           /* responses behind it */
} reinforce;

static const rlhfi_builtin_key keys[] = {
    {"baseline", offsetof(reinforce, baseline), MOVING_AVERAGE, 0, 4, RLHFI_KEY_WHOLE},
    {"baseline_momentum", offsetof(reinforce, baseline_momentum), 0.9, 0, 1, 0},
    {"reward_to_go", offsetof(reinforce, reward_to_go), 1, 0, 1, RLHFI_KEY_WHOLE},
    {"whiten", offsetof(reinforce, whiten), 0, 0, 1, RLHFI_KEY_WHOLE},
    {"whiten_population", offsetof(reinforce, whiten_population), 1, 0, 1, RLHFI_KEY_WHOLE},
    {"entropy_coef", offsetof(reinforce, entropy_coef), 0, 0, 1e6, 0},
    {"baseline_value", offsetof(reinforce, baseline_value), 0, 0, 0, RLHFI_KEY_READ_ONLY},
};

static uint32_t current_need(void *user_data)
{
    const reinforce *self = user_data;

    return self->entropy_coef > 0 ? RLHF_NEED_ENTROPY : 0;
}

/* Sum of the rewards of all responses, and how many there are. One without tokens has no place for a reward: it is
 * none. */
static double total_reward(const rlhf_advantage_input *in, int64_t *responses)
{
    *responses = 0;
    for (int64_t row = 0; row < in->rows; row++)
        *responses += in->offset[row + 1] > in->offset[row];
    return rlhfi_range_sum(in->reward, 0, in->offset[in->rows]);
}

/* The mean of the other responses to the same prompt. */
static double others_mean(const rlhf_advantage_input *in, int64_t row)
{
    int64_t samples = in->samples_per_prompt, first = row - row % samples;
    double sum = rlhfi_range_sum(in->reward, in->offset[first], in->offset[row]) +
                 rlhfi_range_sum(in->reward, in->offset[row + 1], in->offset[first + samples]);

    return sum / (double)(samples - 1);
}

/* After use, so that no response is compared with itself - but for the first batch, which has nothing else. */
static void update_baseline(reinforce *self, double total, int64_t responses)
{
    double mean = total / (double)responses, momentum = self->baseline_momentum;

    if (self->baseline == MOVING_AVERAGE)
        self->baseline_value = momentum * self->baseline_value + (1 - momentum) * mean;
    else if (self->baseline == RUNNING_MEAN)
        self->baseline_value += (mean - self->baseline_value) * (double)responses / (self->seen + (double)responses);
    self->seen += (double)responses;
}

static rlhf_status advantage(void *user_data, const rlhf_advantage_input *in, rlhf_advantage_output *out)
{
    reinforce *self = user_data;
    int64_t responses, count = in->offset[in->rows];
    double total = total_reward(in, &responses), baseline = 0;
    bool remembers = self->baseline == MOVING_AVERAGE || self->baseline == RUNNING_MEAN;

    if (self->baseline == LEAVE_ONE_OUT && in->samples_per_prompt < 2)
        return rlhfi_builtin_refuse(&self->builtin, "baseline 3 (leave one out) needs 2 or more samples per prompt");
    if (responses == 0)
        return RLHF_OK;
    if (remembers && self->seen == 0)
        self->baseline_value = total / (double)responses;
    if (remembers)
        baseline = self->baseline_value;
    else if (self->baseline == BATCH_MEAN)
        baseline = total / (double)responses;

    for (int64_t row = 0; row < in->rows; row++) {
        int64_t from = in->offset[row], to = in->offset[row + 1];
        double whole = rlhfi_range_sum(in->reward, from, to), ahead = 0;
        if (self->baseline == LEAVE_ONE_OUT)
            baseline = others_mean(in, row);
        for (int64_t i = to - 1; i >= from; i--) {
            ahead += in->reward[i];
            out->advantage[i] = (self->reward_to_go != 0 ? ahead : whole) - baseline;
            if (out->value_target != NULL)
                out->value_target[i] = ahead;
        }
    }
    if (self->whiten != 0)
        rlhfi_whiten(out->advantage, count, true, self->whiten_population != 0);
    if (remembers)
        update_baseline(self, total, responses);
    return RLHF_OK;
}

static rlhf_status policy_loss(void *user_data, const rlhf_policy_loss_input *in, rlhf_policy_loss_output *out)
{
    const reinforce *self = user_data;
    int64_t count = in->offset[in->rows];
    double rows = in->denominator_rows, entropy = self->entropy_coef / rows;

    RLHFI_TRY(rlhfi_divisor_check(self->builtin.context, "reinforce", "denominator_rows", rows, count));
    for (int64_t i = 0; i < count; i++) {
        out->loss -= in->advantage[i] * in->log_prob[i] / rows;
        out->d_log_prob[i] = -in->advantage[i] / rows;
    }
    for (int64_t i = 0; self->entropy_coef > 0 && i < count; i++) {
        out->loss -= entropy * in->entropy[i];
        out->d_entropy[i] = -entropy;
    }
    return RLHF_OK;
}

static rlhf_status save(void *user_data, void *buffer, size_t capacity, size_t *needed)
{
    const reinforce *self = user_data;
    const double state[] = {self->baseline_value, self->seen};

    return rlhfi_builtin_save(&self->builtin, state, 2, buffer, capacity, needed);
}

static rlhf_status load(void *user_data, const void *buffer, size_t bytes)
{
    reinforce *self = user_data;
    double state[2];

    RLHFI_TRY(rlhfi_builtin_load(&self->builtin, buffer, bytes, state, 2));
    if (!(state[1] >= 0))
        return rlhfi_fail(self->builtin.context, RLHF_E_FORMAT, "objective reinforce: its state has a negative count");
    self->baseline_value = state[0];
    self->seen = state[1];
    return RLHF_OK;
}

const rlhfi_builtin_kind rlhfi_reinforce = {
    .vtable = {RLHFI_BUILTIN_VTABLE("reinforce"), .current_need = current_need, .advantage = advantage,
               .policy_loss = policy_loss, .save = save, .load = load},
    .size = sizeof(reinforce),
    .keys = keys,
    .key_count = sizeof keys / sizeof keys[0],
};
