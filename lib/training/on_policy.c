/* Policy gradients on the policy's own samples: REINFORCE, pairwise contrast and PPO are one loop with different
 * objectives. Log-probabilities of sampling are those of training bit for bit, so they are never computed again, and
 * the first ratio of new to old is exactly 1. */
#include "training/training.h"

#include <math.h>

/* One iteration: the samples, what the objectives made of them, and what the updates measured. */
typedef struct iteration {
    rlhfi_trainer *trainer;
    rlhfi_samples samples;
    double *reward, *advantage, *value_target; /* [tokens]; value_target NULL without a value model */
    double *loss_score;                        /* [rows] what the policy loss gets as score */
    bool grouped;                              /* rows of a prompt stay together */
    const int64_t *order;                      /* [epochs][rows] given order of updates; NULL: shuffled */
    double kl_coef;                            /* as used; NaN if the reward has none */

    int64_t updates, tokens_seen; /* over all updates */
    double policy_loss, value_loss, norm, rate;
    double entropy, squares, clipped, value_clipped, ratio, ratio_squares; /* sums over tokens */
} iteration;

/* One micro-batch: rows of the samples, gathered. */
typedef struct micro_batch {
    iteration *iteration;
    const int64_t *row;
    rlhf_batch_view view;
    int64_t tokens;
    double denominator, denominator_rows;
    double policy_loss, value_loss;
} micro_batch;

/* ---- plan -------------------------------------------------------------------------------------------------------- */

static int64_t setting(const rlhfi_trainer *trainer, const char *key)
{
    return rlhfi_recipe_has(trainer->recipe, key) ? rlhfi_recipe_integer(trainer->recipe, key) : 1;
}

static int64_t rows_per_update(const rlhfi_trainer *trainer)
{
    return setting(trainer, "per_device_train_batch_size") * setting(trainer, "gradient_accumulation_steps");
}

static bool keeps_groups(const rlhfi_trainer *trainer)
{
    return setting(trainer, "num_generations") > 1 && (rlhf_objective_need(trainer->loss) & RLHF_NEED_GROUPS) != 0;
}

/* Whether advantages are made of whole groups, so that a group with an unscorable row is of no use. */
static bool compares_groups(const rlhfi_trainer *trainer)
{
    enum { LEAVE_ONE_OUT = 3 };
    bool leaves_one_out = trainer->method == RLHFI_REINFORCE &&
                          strcmp(rlhfi_objective_name(trainer->advantage), "reinforce") == 0 &&
                          rlhfi_recipe_choice(trainer->recipe, "baseline") == LEAVE_ONE_OUT;

    return setting(trainer, "num_generations") > 1 &&
           (leaves_one_out || (rlhf_objective_need(trainer->advantage) & RLHF_NEED_GROUPS) != 0);
}

static rlhf_status check_divisible(rlhfi_trainer *trainer, const char *what, int64_t rows)
{
    int64_t samples = setting(trainer, "num_generations");

    if (rows % samples == 0)
        return RLHF_OK;
    return rlhfi_fail(trainer->context, RLHF_E_INVAL, "num_generations: %lld does not divide %s, %lld",
                      (long long)samples, what, (long long)rows);
}

static rlhf_status plan(rlhfi_trainer *trainer)
{
    uint64_t rows = (uint64_t)(rows_per_update(trainer) * setting(trainer, "num_mini_batches"));
    uint64_t updates = (uint64_t)(setting(trainer, "num_ppo_epochs") * setting(trainer, "num_mini_batches"));
    int64_t most = rlhfi_recipe_integer(trainer->recipe, "max_steps");
    double episodes = (double)rlhfi_recipe_integer(trainer->recipe, "total_episodes");

    if (rows > 1000000000)
        return rlhfi_fail(trainer->context, RLHF_E_RANGE, "num_mini_batches: an iteration would have %llu completions",
                          (unsigned long long)rows);
    RLHFI_TRY(check_divisible(trainer, "the completions of an iteration (batch size, accumulation, mini-batches)",
                              (int64_t)rows));
    if (keeps_groups(trainer))
        RLHFI_TRY(
            check_divisible(trainer, "per_device_train_batch_size", setting(trainer, "per_device_train_batch_size")));
    if (episodes == 0)
        episodes = rlhfi_recipe_number(trainer->recipe, "num_train_epochs") * (double)trainer->examples->rows *
                   (double)setting(trainer, "num_generations");
    trainer->total_steps = most > 0 ? (uint64_t)most : (uint64_t)ceil(episodes / (double)rows);
    trainer->planned_updates = trainer->total_steps * updates;
    return RLHF_OK;
}

static rlhf_status prepare(rlhfi_trainer *trainer)
{
    if (trainer->method == RLHFI_PAIRWISE && setting(trainer, "num_generations") % 2 != 0)
        return rlhfi_fail(trainer->context, RLHF_E_INVAL,
                          "num_generations: %lld is odd, completions are compared in pairs",
                          (long long)setting(trainer, "num_generations"));
    RLHFI_TRY(rlhfi_prepare_prompts(trainer));
    RLHFI_TRY(plan(trainer));
    RLHFI_TRY(rlhfi_setup_role(trainer, "policy", trainer->policy->model));
    return trainer->value_model != NULL && !rlhfi_shares_trunk(trainer)
               ? rlhfi_setup_role(trainer, "value_model", trainer->value_model->model)
               : RLHF_OK;
}

/* ---- rewards and advantages -------------------------------------------------------------------------------------- */

static rlhf_status shape_rewards(iteration *self)
{
    const rlhfi_samples *samples = &self->samples;
    rlhf_reward_input in = {.struct_size = sizeof in,
                            .rows = samples->rows,
                            .offset = samples->view.response_offset,
                            .score = samples->score,
                            .log_prob = samples->log_prob,
                            .log_prob_ref = samples->log_prob_ref,
                            .terminated = samples->terminated};
    rlhf_reward_output out = {.struct_size = sizeof out};

    out.reward = self->reward = rlhfi_doubles(self->trainer, samples->tokens);
    if (self->reward == NULL)
        return RLHF_E_NOMEM;
    return rlhf_objective_reward(self->trainer->reward, &in, &out);
}

static rlhf_status make_advantages(iteration *self)
{
    const rlhfi_samples *samples = &self->samples;
    rlhf_advantage_input in = {.struct_size = sizeof in,
                               .samples_per_prompt = samples->samples_per_prompt,
                               .rows = samples->rows,
                               .offset = samples->view.response_offset,
                               .reward = self->reward,
                               .value = samples->value};
    rlhf_advantage_output out = {.struct_size = sizeof out};

    out.advantage = self->advantage = rlhfi_doubles(self->trainer, samples->tokens);
    if (samples->value != NULL)
        out.value_target = self->value_target = rlhfi_doubles(self->trainer, samples->tokens);
    if (self->advantage == NULL || (samples->value != NULL && self->value_target == NULL))
        return RLHF_E_NOMEM;
    return rlhf_objective_advantage(self->trainer->advantage, &in, &out);
}

/* Pairs that hold the reference in the loss take the score without KL, but with the rules of the reward for clipping
 * and missing ends: that is what the reward sums up to when its kl_coef is 0. */
static rlhf_status choose_loss_scores(iteration *self)
{
    const rlhfi_samples *samples = &self->samples;

    self->loss_score = samples->score;
    if (!rlhfi_loss_holds_reference(self->trainer) || self->kl_coef != 0)
        return RLHF_OK;
    self->loss_score = rlhfi_doubles(self->trainer, samples->rows);
    if (self->loss_score == NULL)
        return RLHF_E_NOMEM;
    for (int64_t row = 0; row < samples->rows; row++)
        for (int64_t i = samples->view.response_offset[row]; i < samples->view.response_offset[row + 1]; i++)
            self->loss_score[row] += self->reward[i];
    return RLHF_OK;
}

/* ---- one micro-batch --------------------------------------------------------------------------------------------- */

/* The micro-batch's entries of an array per response token. */
static double *gather(const micro_batch *self, const double *from)
{
    const int64_t *offset = self->iteration->samples.view.response_offset;
    double *out = rlhfi_doubles(self->iteration->trainer, self->tokens);
    int64_t next = 0;

    for (int64_t r = 0; out != NULL && r < self->view.rows; r++)
        for (int64_t i = offset[self->row[r]]; i < offset[self->row[r] + 1]; i++)
            out[next++] = from[i];
    return out;
}

static double *widen(const micro_batch *self, const float *from)
{
    double *out = rlhfi_doubles(self->iteration->trainer, self->tokens);

    for (int64_t i = 0; out != NULL && i < self->tokens; i++)
        out[i] = from[i];
    return out;
}

static void meter_update(micro_batch *self, const rlhf_policy_loss_input *in, const float *entropy, double clipped)
{
    iteration *sums = self->iteration;

    for (int64_t i = 0; i < self->tokens; i++) {
        double difference = in->log_prob[i] - in->log_prob_old[i];
        double ratio = rlhfi_exp_double(difference > 20 ? 20 : difference < -20 ? -20 : difference);
        sums->entropy += entropy[i];
        sums->squares += difference * difference;
        sums->ratio += ratio;
        sums->ratio_squares += ratio * ratio;
    }
    sums->clipped += clipped;
    sums->tokens_seen += self->tokens;
}

static rlhf_status value_loss(void *user_data, int64_t count, const float *raw, float *d_raw)
{
    micro_batch *self = user_data;
    iteration *all = self->iteration;
    const rlhfi_model *model = all->trainer->value_model->model;
    double *value = widen(self, raw);
    rlhf_value_loss_input in = {.struct_size = sizeof in,
                                .count = count,
                                .value = value,
                                .value_old = gather(self, all->samples.value),
                                .value_target = gather(self, all->value_target),
                                .denominator = self->denominator};
    rlhf_value_loss_output out = {.struct_size = sizeof out, .d_value = rlhfi_doubles(all->trainer, count)};

    if (value == NULL || in.value_old == NULL || in.value_target == NULL || out.d_value == NULL)
        return RLHF_E_NOMEM;
    for (int64_t i = 0; i < count; i++)
        value[i] = (float)(model->score_gain * value[i] + model->score_bias); /* float32 where the public API is */
    RLHFI_TRY(rlhf_objective_value_loss(all->trainer->value_loss, &in, &out));
    for (int64_t i = 0; i < count; i++)
        d_raw[i] = (float)(model->score_gain * (float)out.d_value[i]);
    self->value_loss = out.loss;
    all->value_clipped += out.clipped;
    return RLHF_OK;
}

static rlhf_status policy_loss(void *user_data, const rlhfi_train_arrays *arrays)
{
    micro_batch *self = user_data;
    iteration *all = self->iteration;
    rlhfi_trainer *trainer = all->trainer;
    uint32_t need = rlhf_objective_need(trainer->loss);
    rlhf_policy_loss_input in = {.struct_size = sizeof in,
                                 .samples_per_prompt = all->grouped ? all->samples.samples_per_prompt : 1,
                                 .rows = self->view.rows,
                                 .offset = self->view.response_offset,
                                 .log_prob = widen(self, arrays->log_prob),
                                 .log_prob_old = gather(self, all->samples.log_prob),
                                 .advantage = gather(self, all->advantage),
                                 .denominator = self->denominator,
                                 .denominator_rows = self->denominator_rows};
    rlhf_policy_loss_output out = {.struct_size = sizeof out, .d_log_prob = rlhfi_doubles(trainer, self->tokens)};
    double *score = rlhfi_doubles(trainer, self->view.rows);

    if (in.log_prob == NULL || in.log_prob_old == NULL || in.advantage == NULL || out.d_log_prob == NULL ||
        score == NULL)
        return RLHF_E_NOMEM;
    for (int64_t r = 0; r < self->view.rows; r++)
        score[r] = all->loss_score[self->row[r]];
    in.score = score;
    if ((need & RLHF_NEED_REFERENCE) != 0 && (in.log_prob_ref = gather(self, all->samples.log_prob_ref)) == NULL)
        return RLHF_E_NOMEM;
    if ((need & RLHF_NEED_ENTROPY) != 0) {
        in.entropy = widen(self, arrays->entropy);
        out.d_entropy = rlhfi_doubles(trainer, self->tokens);
        if (in.entropy == NULL || out.d_entropy == NULL)
            return RLHF_E_NOMEM;
    }
    RLHFI_TRY(rlhf_objective_policy_loss(trainer->loss, &in, &out));
    for (int64_t i = 0; i < self->tokens; i++) {
        arrays->d_log_prob[i] = (float)out.d_log_prob[i];
        if (out.d_entropy != NULL)
            arrays->d_entropy[i] = (float)out.d_entropy[i];
    }
    self->policy_loss = out.loss;
    meter_update(self, &in, arrays->entropy, out.clipped);
    return rlhfi_shares_trunk(trainer) ? value_loss(self, arrays->count, arrays->value, arrays->d_value) : RLHF_OK;
}

static rlhf_status train_micro_batch(iteration *self, const int64_t *row, int64_t count, double tokens, double rows,
                                     double *policy, double *value)
{
    const rlhf_batch_view *all = &self->samples.view;
    micro_batch micro = {.iteration = self, .row = row, .denominator = tokens, .denominator_rows = rows};
    size_t mark = rlhfi_arena_mark(self->trainer->arena);
    rlhfi_sequence *sequence = rlhfi_arena_alloc(self->trainer->arena, (size_t)count, sizeof *sequence);
    const rlhfi_sequence **pointer = rlhfi_arena_alloc(self->trainer->arena, (size_t)count, sizeof *pointer);

    if (sequence == NULL || pointer == NULL)
        return RLHF_E_NOMEM;
    for (int64_t r = 0; r < count; r++) {
        sequence[r] = (rlhfi_sequence){.tokens = (int32_t *)all->tokens + all->offset[row[r]],
                                       .length = (int32_t)(all->offset[row[r] + 1] - all->offset[row[r]]),
                                       .prompt_length = all->prompt_length[row[r]]};
        pointer[r] = &sequence[r];
    }
    RLHFI_TRY(rlhfi_view_from_sequences(self->trainer->arena, pointer, count, &micro.view));
    micro.tokens = micro.view.response_offset[count];
    RLHFI_TRY(rlhfi_model_train(self->trainer->policy->model, &micro.view, rlhfi_inverse_temperature(self->trainer),
                                true, false, false, policy_loss, &micro));
    if (self->trainer->value_model != NULL && !rlhfi_shares_trunk(self->trainer))
        RLHFI_TRY(rlhfi_model_train_scalars(self->trainer->value_model->model, &micro.view, true, value_loss, &micro));
    *policy += micro.policy_loss;
    *value += micro.value_loss;
    rlhfi_arena_rewind(self->trainer->arena, mark);
    return rlhfi_trainer_report(self->trainer);
}

/* ---- updates ----------------------------------------------------------------------------------------------------- */

static rlhf_status update(iteration *self, const int64_t *row, int64_t count)
{
    rlhfi_trainer *trainer = self->trainer;
    const int64_t *offset = self->samples.view.response_offset;
    int64_t micro = setting(trainer, "per_device_train_batch_size");
    double tokens = 0, policy = 0, value = 0, norm, rate;

    for (int64_t r = 0; r < count; r++)
        tokens += (double)(offset[row[r] + 1] - offset[row[r]]);
    for (int64_t from = 0; from < count; from += micro)
        RLHFI_TRY(train_micro_batch(self, row + from, count - from < micro ? count - from : micro, tokens,
                                    (double)count, &policy, &value));
    RLHFI_TRY(rlhfi_optimizer_step_joint(trainer->state.role[0].optimizer,
                                         trainer->state.roles > 1 ? trainer->state.role[1].optimizer : NULL, &norm,
                                         &rate));
    self->updates++;
    self->policy_loss += policy;
    self->value_loss += value;
    self->norm += norm;
    self->rate = rate;
    return RLHF_OK;
}

/* A new order of the rows, or of the groups with their rows side by side. */
static rlhf_status shuffle(iteration *self, uint64_t epoch, int64_t *row)
{
    rlhfi_trainer *trainer = self->trainer;
    uint64_t unit = self->grouped ? (uint64_t)self->samples.samples_per_prompt : 1;
    uint64_t units = (uint64_t)self->samples.rows / unit;
    uint64_t stream = trainer->state.step * (uint64_t)setting(trainer, "num_ppo_epochs") + epoch;
    uint64_t *order = rlhfi_arena_alloc(trainer->arena, (size_t)units + 1, sizeof *order);

    if (self->order != NULL) {
        memcpy(row, self->order + (int64_t)epoch * self->samples.rows, (size_t)self->samples.rows * sizeof *row);
        return RLHF_OK;
    }
    if (order == NULL)
        return RLHF_E_NOMEM;
    rlhfi_permutation((uint64_t)rlhfi_recipe_integer(trainer->recipe, "seed"), RLHFI_RANDOM_MINIBATCH, (uint32_t)stream,
                      order, units);
    for (uint64_t u = 0; u < units; u++)
        for (uint64_t i = 0; i < unit; i++)
            *row++ = (int64_t)(order[u] * unit + i);
    return RLHF_OK;
}

static rlhf_status train(iteration *self)
{
    rlhfi_trainer *trainer = self->trainer;
    int64_t rows = self->samples.rows, size = rows_per_update(trainer);
    int64_t epochs = setting(trainer, "num_ppo_epochs");
    int64_t *row = rlhfi_arena_alloc(trainer->arena, (size_t)rows + 1, sizeof *row);

    if (row == NULL)
        return RLHF_E_NOMEM;
    RLHFI_TRY(rlhfi_trainer_phase(trainer, RLHF_PHASE_UPDATE));
    for (int64_t epoch = 0; epoch < epochs; epoch++) {
        size_t mark = rlhfi_arena_mark(trainer->arena);
        RLHFI_TRY(shuffle(self, (uint64_t)epoch, row));
        for (int64_t from = 0; from < rows; from += size)
            RLHFI_TRY(update(self, row + from, rows - from < size ? rows - from : size));
        rlhfi_arena_rewind(trainer->arena, mark);
    }
    return RLHF_OK;
}

/* ---- meters ------------------------------------------------------------------------------------------------------ */

static double explained_variance(const iteration *self)
{
    int64_t count = self->samples.tokens;
    double *rest = rlhfi_doubles(self->trainer, count), whole;

    if (rest == NULL)
        return NAN;
    for (int64_t i = 0; i < count; i++)
        rest[i] = self->value_target[i] - self->samples.value[i];
    whole = rlhfi_variance(self->value_target, count, true);
    return whole > 0 ? 1 - rlhfi_variance(rest, count, true) / whole : NAN;
}

/* TRL's PPO keys. Where TRL averages over padding too, these are means over real tokens. */
static void meter_ppo(const iteration *self)
{
    const rlhfi_samples *samples = &self->samples;
    rlhfi_meters *meters = &self->trainer->state.meters;
    double rows = (double)samples->rows, tokens = (double)self->tokens_seen, updates = (double)self->updates;
    double score = rlhfi_mean(samples->score, samples->rows), reward = 0, entropy = 0, ended = 0, coefficient = 1;
    double ratio = self->ratio / tokens, variance = self->ratio_squares / tokens - ratio * ratio;

    for (int64_t i = 0; i < samples->tokens; i++) {
        reward += self->reward[i];
        entropy -= samples->log_prob[i];
    }
    for (int64_t row = 0; row < samples->rows; row++)
        ended += samples->terminated[row] != 0;
    if (samples->log_prob_ref != NULL)
        rlhfi_meter_mean(meters, "objective/kl", rlhfi_sum_of_differences(samples) / rows);
    rlhfi_meter_mean(meters, "objective/entropy", entropy / rows);
    rlhfi_meter_mean(meters, "objective/non_score_reward", reward / rows - score);
    rlhfi_meter_mean(meters, "objective/rlhf_reward", reward / rows);
    rlhfi_meter_mean(meters, "objective/scores", score);
    rlhfi_meter_mean(meters, "policy/approxkl_avg", self->squares / tokens / 2);
    rlhfi_meter_mean(meters, "policy/clipfrac_avg", self->clipped / tokens);
    rlhfi_meter_mean(meters, "policy/entropy_avg", self->entropy / tokens);
    rlhfi_meter_mean(meters, "loss/policy_avg", self->policy_loss / updates);
    if (rlhf_objective_get(self->trainer->value_loss, "vf_coef", &coefficient) != RLHF_OK || coefficient == 0)
        coefficient = 1;
    rlhfi_meter_mean(meters, "loss/value_avg", self->value_loss / updates / coefficient);
    rlhfi_meter_mean(meters, "val/clipfrac_avg", self->value_clipped / tokens);
    rlhfi_meter_mean(meters, "val/ratio", ratio);
    rlhfi_meter_mean(meters, "val/ratio_var", variance > 0 ? variance : 0);
    rlhfi_meter_mean(meters, "val/num_eos_tokens", ended);
    rlhfi_meter_last(meters, "lr", self->rate);
    rlhfi_meter_last(meters, "episode", (double)self->trainer->state.episodes);
    rlhfi_meter_mean(meters, "grad_norm", self->norm / updates);
    rlhfi_meter_mean(meters, "rlhf/value_mean", rlhfi_mean(samples->value, samples->tokens));
    rlhfi_meter_mean(meters, "rlhf/explained_variance", explained_variance(self));
}

static void meter_policy_gradient(const iteration *self)
{
    rlhfi_meters *meters = &self->trainer->state.meters;
    double tokens = (double)self->tokens_seen, updates = (double)self->updates;

    rlhfi_meter_mean(meters, "loss", self->policy_loss / updates);
    rlhfi_meter_mean(meters, "grad_norm", self->norm / updates);
    rlhfi_meter_last(meters, "learning_rate", self->rate);
    rlhfi_meter_mean(meters, "entropy", self->entropy / tokens);
    if (rlhfi_recipe_has(self->trainer->recipe, "cliprange"))
        rlhfi_meter_mean(meters, "clip_ratio/region_mean", self->clipped / tokens);
}

/* ---- the step ---------------------------------------------------------------------------------------------------- */

static rlhf_status learn(iteration *self)
{
    rlhfi_trainer *trainer = self->trainer;
    int64_t rows = self->samples.rows;

    if (rlhf_objective_get(trainer->reward, "kl_coef", &self->kl_coef) != RLHF_OK)
        self->kl_coef = NAN;
    RLHFI_TRY(shape_rewards(self));
    RLHFI_TRY(make_advantages(self));
    RLHFI_TRY(choose_loss_scores(self));
    RLHFI_TRY(train(self));
    if (self->samples.log_prob_ref != NULL)
        RLHFI_TRY(
            rlhfi_objective_observe_kl(trainer->reward, rlhfi_sum_of_differences(&self->samples) / (double)rows, rows));
    return RLHF_OK;
}

rlhf_status rlhfi_learn_from_samples(rlhfi_trainer *trainer, const rlhfi_samples *samples, const int64_t *order)
{
    iteration self = {.trainer = trainer, .samples = *samples, .grouped = keeps_groups(trainer), .order = order};
    rlhfi_objective_states before;
    rlhf_status status;

    RLHFI_TRY(rlhfi_objective_states_keep(trainer, &before));
    status = learn(&self);
    if (status != RLHF_OK && self.updates == 0)
        rlhfi_objective_states_restore(trainer, &before);
    trainer->torn = trainer->torn || (status != RLHF_OK && self.updates > 0);
    RLHFI_TRY(status);
    if (trainer->method == RLHFI_PPO)
        meter_ppo(&self);
    else
        meter_policy_gradient(&self);
    if (!isnan(self.kl_coef) && trainer->reference != NULL)
        rlhfi_meter_last(&trainer->state.meters, "rlhf/kl_coef", self.kl_coef);
    return RLHF_OK;
}

static rlhf_status step(rlhfi_trainer *trainer)
{
    int64_t per_prompt = setting(trainer, "num_generations");
    int64_t rows = rows_per_update(trainer) * setting(trainer, "num_mini_batches");
    rlhfi_samples samples;

    RLHFI_TRY(rlhfi_draw_samples(trainer, rows / per_prompt, (int32_t)per_prompt,
                                 keeps_groups(trainer) || compares_groups(trainer), &samples));
    if (samples.rows > 0)
        RLHFI_TRY(rlhfi_learn_from_samples(trainer, &samples, NULL));
    rlhfi_meter_samples(trainer, &samples);
    return RLHF_OK;
}

const rlhfi_method_table rlhfi_on_policy = {prepare, step, rlhfi_sample_evaluate};
