/* PPO runs on recorded rollouts: rewards, advantages, the losses of every minibatch and the final weights of policy and
 * value network. Objectives of our own that hand everything on to the built-in ones listen in. */
#include "model_fixtures.h"

#include <dirent.h>
#include <unistd.h>

#include "training/training.h"

enum { MOST_ROWS = 512, MOST_TOKENS = 16384, MOST_UPDATES = 256 };

struct listener { /* hands on and writes down */
    rlhf_objective *inner;
    double values[2][MOST_TOKENS]; /* rewards; advantages and returns */
    double policy_loss[MOST_UPDATES], value_loss[MOST_UPDATES];
    int policy_calls, value_calls, micro_batches; /* micro-batches per update */
};

/* ---- listeners --------------------------------------------------------------------------------------------------- */

static rlhf_status reward(void *user_data, const rlhf_reward_input *in, rlhf_reward_output *out)
{
    struct listener *self = user_data;

    RLHFI_TRY(rlhf_objective_reward(self->inner, in, out));
    memcpy(self->values[0], out->reward, (size_t)in->offset[in->rows] * sizeof(double));
    return RLHF_OK;
}

static rlhf_status advantage(void *user_data, const rlhf_advantage_input *in, rlhf_advantage_output *out)
{
    struct listener *self = user_data;

    RLHFI_TRY(rlhf_objective_advantage(self->inner, in, out));
    memcpy(self->values[0], out->advantage, (size_t)in->offset[in->rows] * sizeof(double));
    memcpy(self->values[1], out->value_target, (size_t)in->offset[in->rows] * sizeof(double));
    return RLHF_OK;
}

static rlhf_status policy_loss(void *user_data, const rlhf_policy_loss_input *in, rlhf_policy_loss_output *out)
{
    struct listener *self = user_data;

    RLHFI_TRY(rlhf_objective_policy_loss(self->inner, in, out));
    assert_true(self->policy_calls / self->micro_batches < MOST_UPDATES);
    self->policy_loss[self->policy_calls++ / self->micro_batches] += out->loss;
    return RLHF_OK;
}

static rlhf_status value_loss(void *user_data, const rlhf_value_loss_input *in, rlhf_value_loss_output *out)
{
    struct listener *self = user_data;

    RLHFI_TRY(rlhf_objective_value_loss(self->inner, in, out));
    assert_true(self->value_calls / self->micro_batches < MOST_UPDATES);
    self->value_loss[self->value_calls++ / self->micro_batches] += out->loss;
    return RLHF_OK;
}

static rlhf_objective *listen(rlhf_context *context, struct listener *self, const char *builtin,
                              rlhf_objective_vtable vtable)
{
    rlhf_objective *objective;

    memset(self, 0, sizeof *self);
    check_ok(context, rlhf_objective_builtin(&self->inner, context, builtin), builtin);
    vtable.struct_size = sizeof vtable;
    vtable.name = "listener";
    check_ok(context, rlhf_objective_create(&objective, context, &vtable, self), "listener");
    return objective;
}

/* ---- the recorded rollout ---------------------------------------------------------------------------------------- */

struct rollout {
    int64_t rows;
    rlhfi_sequence sequence[MOST_ROWS];
    const rlhfi_sequence *pointer[MOST_ROWS];
    int32_t terminated[MOST_ROWS];
    int64_t group[MOST_ROWS];
    double score[MOST_ROWS], old[MOST_TOKENS], reference[MOST_TOKENS], value[MOST_TOKENS], rewards[MOST_TOKENS],
        advantages[MOST_TOKENS], returns[MOST_TOKENS];
};

/* A list of rows of numbers, one behind the other; only as many of each row as the response has tokens. */
static void take_list(const rlhfi_json *rollout, const char *name, const struct rollout *rows, double *out)
{
    const rlhfi_json *list = rlhfi_json_get(rollout, name);

    assert_int_equal(rlhfi_json_size(list), rows->rows);
    for (int64_t r = 0; r < rows->rows; r++)
        for (int64_t t = 0; t < rows->sequence[r].length - rows->sequence[r].prompt_length; t++)
            assert_true(rlhfi_json_number(rlhfi_json_at(rlhfi_json_at(list, (size_t)r), (size_t)t), out++));
}

static void load_rollout(rlhf_context *context, const rlhfi_json *json, rlhfi_safetensors *file, int32_t eos,
                         struct rollout *out)
{
    struct integers prompt = load_integers(context, file, "prompt_ids"),
                    mask = load_integers(context, file, "prompt_mask");
    struct integers response = load_integers(context, file, "completion_ids");
    struct integers response_mask = load_integers(context, file, "completion_mask");
    const rlhfi_json *rollout = rlhfi_json_get(json, "rollout");

    out->rows = prompt.rows;
    assert_true(out->rows <= MOST_ROWS && out->rows * response.columns <= MOST_TOKENS);
    for (int64_t r = 0; r < out->rows; r++) {
        rlhfi_sequence *sequence = &out->sequence[r];
        sequence->tokens = calloc((size_t)(prompt.columns + response.columns), sizeof(int32_t));
        sequence->length = 0;
        for (int64_t c = 0; c < prompt.columns; c++)
            if (mask.data[r * prompt.columns + c] != 0)
                sequence->tokens[sequence->length++] = (int32_t)prompt.data[r * prompt.columns + c];
        sequence->prompt_length = sequence->length;
        for (int64_t c = 0; c < response.columns; c++)
            if (response_mask.data[r * response.columns + c] != 0)
                sequence->tokens[sequence->length++] = (int32_t)response.data[r * response.columns + c];
        out->terminated[r] = sequence->tokens[sequence->length - 1] == eos;
        out->pointer[r] = sequence;
        out->group[r] = r;
        assert_true(rlhfi_json_number(rlhfi_json_at(rlhfi_json_get(rollout, "score"), (size_t)r), &out->score[r]));
    }
    take_list(rollout, "old_lp", out, out->old);
    take_list(rollout, "ref_lp", out, out->reference);
    take_list(rollout, "old_values", out, out->value);
    take_list(rollout, "token_rewards", out, out->rewards);
    take_list(rollout, "advantages", out, out->advantages);
    take_list(rollout, "returns", out, out->returns);
    free(prompt.data);
    free(mask.data);
    free(response.data);
    free(response_mask.data);
}

static void close_to(const char *what, const double *got, const double *expected, int64_t count, double tolerance)
{
    for (int64_t i = 0; i < count; i++)
        if (!(fabs(got[i] - expected[i]) <= tolerance * fmax(1, fabs(expected[i]))))
            fail_msg("%s: entry %lld is %.12g, expected %.12g", what, (long long)i, got[i], expected[i]);
}

/* ---- the run ----------------------------------------------------------------------------------------------------- */

static void set_number(rlhf_context *context, rlhf_recipe *recipe, const char *key, const rlhfi_json *config,
                       const char *name)
{
    char text[40];

    rlhfi_format_double(number_at(config, name), text, sizeof text);
    check_ok(context, rlhf_recipe_set(recipe, key, text), key);
}

static rlhf_recipe *make_recipe(rlhf_context *context, const rlhfi_json *config, int64_t rows)
{
    static const char *const keys[][2] = {
        {"temperature", "temperature"},
        {"kl_coef", "kl_coef"},
        {"gamma", "gamma"},
        {"lam", "lam"},
        {"cliprange", "cliprange"},
        {"cliprange_value", "cliprange_value"},
        {"vf_coef", "vf_coef"},
        {"num_ppo_epochs", "epochs"},
        {"per_device_train_batch_size", "micro_batch_rows"},
        {"learning_rate", "lr"},
        {"adam_beta1", "beta1"},
        {"adam_beta2", "beta2"},
        {"adam_epsilon", "eps"},
        {"weight_decay", "weight_decay"},
        {"response_length", "max_completion_length"},
    };
    double minibatch = number_at(config, "minibatch_rows"), micro = number_at(config, "micro_batch_rows"), norm = 0;
    char text[40];
    rlhf_recipe *recipe;

    check_ok(context, rlhf_recipe_create(&recipe, context, "ppo"), "recipe");
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        set_number(context, recipe, keys[i][0], config, keys[i][1]);
    rlhfi_json_number(rlhfi_json_get(config, "max_grad_norm"), &norm); /* null: none */
    rlhfi_format_double(norm, text, sizeof text);
    check_ok(context, rlhf_recipe_set(recipe, "max_grad_norm", text), "max_grad_norm");
    snprintf(text, sizeof text, "%d", (int)(minibatch / micro));
    check_ok(context, rlhf_recipe_set(recipe, "gradient_accumulation_steps", text), text);
    snprintf(text, sizeof text, "%d", (int)((double)rows / minibatch));
    check_ok(context, rlhf_recipe_set(recipe, "num_mini_batches", text), text);
    check_ok(context, rlhf_recipe_set(recipe, "lr_scheduler_type", "constant"), "schedule");
    check_ok(context, rlhf_recipe_set(recipe, "max_steps", "1"), "max_steps");
    return recipe;
}

static void check_weights(rlhf_context *context, rlhfi_safetensors *file, const rlhfi_model *model, const char *prefix,
                          double tolerance)
{
    for (int64_t i = 0; i < model->parameter_count; i++) {
        const rlhfi_parameter *parameter = &model->parameters[i];
        char name[192];
        struct floats expected;
        snprintf(name, sizeof name, "final.%s.%s", prefix, parameter->name);
        expected = load_floats(context, file, name);
        assert_int_equal(expected.count, parameter->elements);
        check_close(name, model->weights->data + parameter->offset, expected.data, expected.count, tolerance);
        free(expected.data);
    }
}

static rlhf_status never(void *user_data, const rlhf_score_input *in, double *score)
{
    (void)user_data;
    (void)in;
    (void)score;
    return RLHF_E_UNSUPPORTED;
}

struct handles {
    rlhf_policy *policy;
    rlhf_value_model *value;
    rlhf_tokenizer *tokenizer;
    rlhf_dataset *dataset;
    rlhf_scorer *scorer;
};

static void load_handles(rlhf_context *context, struct handles *out)
{
    rlhf_row row = {.struct_size = sizeof row, .kind = RLHF_ROW_PROMPT, .prompt = "Lily", .margin = NAN};
    char path[4096];

    golden_path("trl/base_model", path);
    check_ok(context, rlhf_policy_load(&out->policy, context, path, NULL), path);
    check_ok(context, rlhf_tokenizer_load(&out->tokenizer, context, path), path);
    golden_path("trl/base_reward", path);
    check_ok(context, rlhf_value_model_load(&out->value, context, path, NULL), path);
    check_ok(context, rlhf_dataset_create(&out->dataset, context), "dataset");
    check_ok(context, rlhf_dataset_append(out->dataset, &row), "row");
    check_ok(context, rlhf_scorer_create(&out->scorer, context, "never", never, NULL, NULL), "scorer");
}

static void release_handles(struct handles *handles)
{
    rlhf_policy_release(&handles->policy);
    rlhf_value_model_release(&handles->value);
    rlhf_tokenizer_release(&handles->tokenizer);
    rlhf_dataset_release(&handles->dataset);
    rlhf_scorer_release(&handles->scorer);
}

static void compare_updates(const rlhfi_json *json, const struct listener *loss, const rlhfi_trainer *trainer)
{
    const rlhfi_json *steps = rlhfi_json_get(json, "steps");
    size_t updates = rlhfi_json_size(steps);
    double mean[4] = {0};
    const char *const names[4] = {"grad_norm", "policy/clipfrac_avg", "val/clipfrac_avg", "policy/approxkl_avg"};
    char what[64];

    assert_int_equal(loss->policy_calls, updates * (size_t)loss->micro_batches);
    for (size_t i = 0; i < updates; i++) {
        const rlhfi_json *step = rlhfi_json_at(steps, i);
        double tolerance = i == 0 ? 1e-5 : 1e-3, coefficient = number_at(rlhfi_json_get(json, "config"), "vf_coef");
        double policy = number_at(step, "policy_loss");
        snprintf(what, sizeof what, "policy loss of update %zu", i);
        close_to(what, &loss->policy_loss[i], &policy, 1, tolerance); /* a mean of whitened advantages: unit scale */
        snprintf(what, sizeof what, "value loss of update %zu", i);
        check_relative(what, loss->value_loss[i] / coefficient, number_at(step, "value_loss"), tolerance);
        mean[0] += number_at(step, "grad_norm") / (double)updates;
        mean[1] += number_at(step, "clipfrac") / (double)updates;
        mean[2] += number_at(step, "value_clipfrac") / (double)updates;
        mean[3] += number_at(step, "approxkl") / (double)updates;
    }
    for (int which = 0; which < 4; which++) {
        int32_t index = 0;
        while (index < trainer->state.meters.count && strcmp(trainer->state.meters.name[index], names[which]) != 0)
            index++;
        assert_true(index < trainer->state.meters.count);
        /* Ours weigh tokens, the recorded ones minibatches: equal up to the minibatches' lengths. */
        if (which == 0)
            check_relative(names[which], rlhfi_meter_value(&trainer->state.meters, index), mean[which], 2e-3);
        else
            assert_true(fabs(rlhfi_meter_value(&trainer->state.meters, index) - mean[which]) <=
                        0.1 * mean[which] + 1e-12);
    }
}

static void replay(void **state)
{
    static struct listener shaping, estimating, losing;
    static struct rollout rollout;
    char below[256], directory[4096], path[8192];
    rlhf_context *context;
    rlhf_trainer_options options;
    rlhfi_samples samples = {0};
    struct handles handles;
    rlhfi_safetensors *file;
    rlhfi_json *json, *steps;
    rlhf_recipe *recipe;
    rlhf_trainer *trainer;
    static int64_t order[MOST_UPDATES * MOST_ROWS];
    int64_t next = 0;

    if (!rlhfi_path_is_directory(golden_path("trl/base_model", directory)) ||
        !rlhfi_path_is_directory(golden_path("trl/base_reward", directory)))
        SKIP("%s is not there", directory);
    context = make_context(1, ~0u, 1);
    snprintf(below, sizeof below, "ppo/%s", (const char *)*state);
    golden_path(below, directory);
    snprintf(path, sizeof path, "%s/run.json", directory);
    check_ok(context, rlhfi_json_load(&json, context, path, 1 << 26), path);
    snprintf(path, sizeof path, "%s/run.safetensors", directory);
    check_ok(context, rlhfi_safetensors_open(&file, context, path), path);
    load_handles(context, &handles);
    load_rollout(context, json, file, rlhf_tokenizer_special(handles.tokenizer, RLHF_TOKEN_EOS), &rollout);
    recipe = make_recipe(context, rlhfi_json_get(json, "config"), rollout.rows);

    rlhf_trainer_options_init(&options, sizeof options);
    options.policy = handles.policy;
    options.value_model = handles.value;
    options.tokenizer = handles.tokenizer;
    options.dataset = handles.dataset;
    options.scorer = handles.scorer;
    options.objective =
        listen(context, &losing, "ppo", (rlhf_objective_vtable){.policy_loss = policy_loss, .value_loss = value_loss});
    options.reward_objective = listen(context, &shaping, "kl_reward", (rlhf_objective_vtable){.reward = reward});
    options.advantage_objective = listen(context, &estimating, "gae", (rlhf_objective_vtable){.advantage = advantage});
    losing.micro_batches = (int)rlhfi_recipe_integer(recipe, "gradient_accumulation_steps");
    check_ok(context, rlhf_trainer_create(&trainer, context, recipe, &options), "trainer");

    samples = (rlhfi_samples){.rows = rollout.rows,
                              .sampled = rollout.rows,
                              .samples_per_prompt = 1,
                              .log_prob = rollout.old,
                              .log_prob_ref = rollout.reference,
                              .value = rollout.value,
                              .score = rollout.score,
                              .terminated = rollout.terminated,
                              .group = rollout.group,
                              .groups = rollout.rows};
    check_ok(context, rlhfi_view_from_sequences(trainer->arena, rollout.pointer, rollout.rows, &samples.view), "view");
    samples.tokens = samples.view.response_offset[rollout.rows];
    steps = (rlhfi_json *)(uintptr_t)rlhfi_json_get(json, "steps");
    for (size_t i = 0; i < rlhfi_json_size(steps); i++) {
        const rlhfi_json *rows = rlhfi_json_get(rlhfi_json_at(steps, i), "rows");
        assert_true(next + (int64_t)rlhfi_json_size(rows) <= MOST_UPDATES * MOST_ROWS);
        for (size_t r = 0; r < rlhfi_json_size(rows); r++)
            assert_true(rlhfi_json_integer(rlhfi_json_at(rows, r), &order[next++]));
    }
    check_ok(context, rlhfi_learn_from_samples(trainer, &samples, order), "learn");

    close_to("rewards", shaping.values[0], rollout.rewards, samples.tokens, 1e-9);
    close_to("advantages", estimating.values[0], rollout.advantages, samples.tokens, 1e-9);
    close_to("returns", estimating.values[1], rollout.returns, samples.tokens, 1e-9);
    compare_updates(json, &losing, trainer);
    check_weights(context, file, handles.policy->model, "policy", 0.02 * rlhfi_recipe_number(recipe, "learning_rate"));
    check_weights(context, file, handles.value->model, "value", 0.02 * rlhfi_recipe_number(recipe, "learning_rate"));

    rlhf_trainer_release(&trainer);
    rlhf_objective_release(&options.objective);
    rlhf_objective_release(&options.reward_objective);
    rlhf_objective_release(&options.advantage_objective);
    rlhf_objective_release(&losing.inner);
    rlhf_objective_release(&shaping.inner);
    rlhf_objective_release(&estimating.inner);
    rlhf_recipe_release(&recipe);
    for (int64_t r = 0; r < rollout.rows; r++)
        free(rollout.sequence[r].tokens);
    release_handles(&handles);
    rlhfi_safetensors_close(&file);
    rlhfi_json_release(&json);
    rlhf_context_release(&context);
}

static void no_fixtures(void **state)
{
    (void)state;
    SKIP("ppo: no fixtures at %s", getenv("RLHF_GOLDEN") != NULL ? getenv("RLHF_GOLDEN") : "../shared/golden");
}

int main(void)
{
    enum { MOST_TESTS = 32 };
    struct CMUnitTest tests[MOST_TESTS];
    char directory[4096], path[8192], names[MOST_TESTS][128];
    DIR *listing = opendir(golden_path("ppo", directory));
    size_t count = 0;

    memset(tests, 0, sizeof tests);
    for (struct dirent *entry; listing != NULL && (entry = readdir(listing)) != NULL;) {
        snprintf(path, sizeof path, "%s/%s/run.json", directory, entry->d_name);
        if (access(path, R_OK) != 0 || count == MOST_TESTS)
            continue;
        snprintf(names[count], sizeof names[count], "%.127s", entry->d_name);
        tests[count] = (struct CMUnitTest){.name = names[count], .test_func = replay, .initial_state = names[count]};
        count++;
    }
    if (listing != NULL)
        closedir(listing);
    if (count == 0)
        tests[count++] = (struct CMUnitTest){.name = "ppo", .test_func = no_fixtures};
    return _cmocka_run_group_tests("ppo", tests, count, NULL, NULL);
}
