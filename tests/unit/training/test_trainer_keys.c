/* A key stands in the table of a method only if it does something there: changing it changes the result. */
#include "runs.h"

static rlhf_context *context;

static int setup(void **state)
{
    (void)state;
    context = make_context(1, ~0u, 1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rlhf_context_release(&context);
    return 0;
}

/* Where things come from and go to, and how often the run reports: tested elsewhere, and without effect on the weights.
 */
static const char *const silent[] = {
    "model_name_or_path", "init_from_config", "tokenizer_name_or_path", "reward_model_path",
    "value_model_path",   "dataset_name",     "eval_dataset_name",      "dataset_bad_rows",
    "chat_template",      "output_dir",       "logging_steps",          "eval_steps",
    "save_steps",         "save_total_limit", "objective",              "scorer",
    "bf16",               "dtype", /* of models that are read: test_run_directory */
};

/* Another value for each key ("method:key" comes before key), and what else must be set for the key to count:
 * "key=value key=value". */
static const struct {
    const char *key, *value, *needs;
} changes[] = {
    {"seed", "6", ""},
    {"pretrain:max_length", "8", ""},
    {"reward:max_length", "36", ""},
    {"max_length", "24", ""},
    {"completion_only_loss", "false", ""},
    {"label_smoothing_factor", "0.1", ""},
    {"center_rewards_coefficient", "0.1", ""},
    {"num_train_epochs", "0.5", "max_steps=-1"},
    {"num_iterations", "2", "max_steps=-1"},
    {"total_episodes", "8", "max_steps=-1"},
    {"max_steps", "3", ""},
    {"reinforce:per_device_train_batch_size", "8", ""}, /* groups of 4 */
    {"per_device_train_batch_size", "2", ""},
    {"gradient_accumulation_steps", "2", "prompts_per_iteration=8"},
    {"gradient_checkpointing", "true", ""}, /* the one key that must not be seen in the weights */
    {"shuffle_dataset", "false", ""},
    {"prompts_per_iteration", "5", ""},
    {"reinforce:num_generations", "2", "baseline=batch_mean"},
    {"num_generations", "4", "per_device_train_batch_size=8"},
    {"response_length", "5", ""},
    {"min_new_tokens", "6", ""},
    {"temperature", "0.8", ""},
    {"top_k", "3", ""},
    {"top_p", "0.5", ""},
    {"min_p", "0.5", ""},
    {"missing_eos_penalty", "5", "per_device_train_batch_size=16 prompts_per_iteration=16"},
    {"reward_clip", "0.5", ""},
    {"kl_coef", "0.9", ""},
    {"kl_estimator", "k3", ""},
    {"adaptive_kl", "true", "horizon=20"},
    {"target_kl", "0.5", "adaptive_kl=true horizon=20"},
    {"horizon", "30", "adaptive_kl=true target_kl=0.5"},
    {"whiten_rewards", "true", ""},
    {"beta", "0.4", ""},
    {"selection", "random", ""},
    {"selection_fraction", "0.5", "selection=top_fraction"},
    {"num_epochs_per_iteration", "2", ""},
    {"loss_type", "regularised", ""},
    {"soft_label_temperature", "0.3", "loss_type=logistic"},
    {"baseline", "none", ""},
    {"baseline_momentum", "0.5", "baseline=moving_average"},
    {"reward_to_go", "false", ""},
    {"num_ppo_epochs", "3", "loss_type=clipped"},
    {"num_mini_batches", "3", ""},
    {"cliprange", "0.001", "loss_type=clipped num_ppo_epochs=3"},
    {"share_value_trunk", "true", ""},
    {"cliprange_value", "0.0001", ""},
    {"dual_clip", "0.5", ""},
    {"vf_coef", "0.9", ""},
    {"entropy_coef", "0.5", ""},
    {"gamma", "0.5", ""},
    {"lam", "0.5", ""},
    {"whiten_advantages", "", ""}, /* the other way round */
    {"learning_rate", "0.005", ""},
    {"lr_scheduler_type", "constant", ""},
    {"min_lr_rate", "0.5", ""},
    {"warmup_steps", "2", ""},
    {"warmup_ratio", "0.5", ""},
    {"weight_decay", "0.5", ""},
    {"adam_beta1", "0.5", ""},
    {"adam_beta2", "0.9", ""},
    {"adam_epsilon", "0.1", ""},
    {"max_grad_norm", "0.001", ""},
};

static void set_needs(rlhf_recipe *recipe, const char *needs)
{
    char list[256], *pair, *rest;

    strcpy(list, needs);
    for (pair = strtok_r(list, " ", &rest); pair != NULL; pair = strtok_r(NULL, " ", &rest)) {
        char *value = strchr(pair, '=');
        *value++ = '\0';
        if (rlhfi_recipe_has(recipe, pair))
            set(context, recipe, pair, value);
    }
}

static void hash_with(const char *method, const char *needs, const char *key, const char *value, char hex[65])
{
    struct parts parts;
    rlhf_trainer *trainer;

    make_parts(&parts, context, method);
    if (rlhfi_recipe_has(parts.recipe, "kl_coef"))
        set(context, parts.recipe, "adaptive_kl", "false");
    set_needs(parts.recipe, needs);
    if (key != NULL && value[0] == '\0')
        value = rlhfi_recipe_boolean(parts.recipe, key) ? "false" : "true";
    if (key != NULL)
        set(context, parts.recipe, key, value);
    CHECK(context, rlhf_trainer_create(&trainer, context, parts.recipe, &parts.options));
    CHECK(context, rlhf_trainer_run(trainer));
    result_hash(context, trainer, hex);
    rlhf_trainer_release(&trainer);
    release_parts(&parts);
}

static bool is_silent(const char *key)
{
    for (size_t i = 0; i < sizeof silent / sizeof silent[0]; i++)
        if (strcmp(silent[i], key) == 0)
            return true;
    return false;
}

static size_t find_change(const char *method, const char *key)
{
    char special[96];
    size_t c;

    snprintf(special, sizeof special, "%s:%s", method, key);
    for (c = 0; c < sizeof changes / sizeof changes[0]; c++)
        if (strcmp(changes[c].key, key) == 0 || strcmp(changes[c].key, special) == 0)
            return c;
    fail_msg("the test knows no other value for %s", key);
    return 0;
}

static void every_key(void **state)
{
    const char *method = *state;

    for (int64_t i = 0; i < rlhf_recipe_key_count(method); i++) {
        rlhf_key_view key = {.struct_size = sizeof key};
        char before[65], after[65];
        size_t c;
        assert_int_equal(rlhf_recipe_key(method, i, &key), RLHF_OK);
        if (is_silent(key.name))
            continue;
        c = find_change(method, key.name);
        hash_with(method, changes[c].needs, NULL, NULL, before);
        hash_with(method, changes[c].needs, key.name, changes[c].value, after);
        if (strcmp(key.name, "gradient_checkpointing") == 0)
            assert_string_equal(before, after);
        else if (strcmp(before, after) == 0)
            fail_msg("%s: %s = %s changes nothing", method, key.name, changes[c].value);
    }
}

/* Choices that the walk above does not reach. */
static void every_choice(void **state)
{
    const char *method = *state;

    for (int64_t i = 0; i < rlhf_recipe_key_count(method); i++) {
        rlhf_key_view key = {.struct_size = sizeof key};
        char words[128], seen[8][65], *word, *rest;
        int count = 0;
        assert_int_equal(rlhf_recipe_key(method, i, &key), RLHF_OK);
        if (key.type != RLHF_KEY_CHOICE || is_silent(key.name) || strcmp(key.name, "completion_only_loss") == 0)
            continue;
        strcpy(words, key.choices);
        for (word = strtok_r(words, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
            /* Samples of two epochs, else clipping could not be seen. */
            hash_with(method, "num_ppo_epochs=2", key.name, word, seen[count]);
            for (int other = 0; other < count; other++)
                if (strcmp(seen[other], seen[count]) == 0)
                    fail_msg("%s: %s = %s gives what another choice gives", method, key.name, word);
            count++;
        }
    }
}

int main(void)
{
    struct CMUnitTest tests[2 * ALL_METHODS];
    char names[2 * ALL_METHODS][32];

    memset(tests, 0, sizeof tests);
    for (int m = 0; m < ALL_METHODS; m += (int)pace(3))
        for (int which = 0; which < 2; which++) {
            int i = 2 * m + which;
            snprintf(names[i], sizeof names[i], "%s %s", all_methods[m], which == 0 ? "keys" : "choices");
            tests[i] = (struct CMUnitTest){.name = names[i],
                                           .test_func = which == 0 ? every_key : every_choice,
                                           .initial_state = (void *)(uintptr_t)all_methods[m]};
        }
    return _cmocka_run_group_tests("keys", tests, 2 * ALL_METHODS, setup, teardown);
}
