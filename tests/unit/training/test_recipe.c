/* Recipes: every key of every method can be set, read, bounded and written as YAML and read back. */
#include "runs.h"

static rlhf_context *context;

static int setup(void **state)
{
    (void)state;
    context = make_context(1, ~0u, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rlhf_context_release(&context);
    return 0;
}

static rlhf_key_view key_of(const char *method, int64_t index)
{
    rlhf_key_view view = {.struct_size = sizeof view};

    assert_int_equal(rlhf_recipe_key(method, index, &view), RLHF_OK);
    return view;
}

static void get(rlhf_recipe *recipe, const char *key, char out[512])
{
    size_t needed;

    check_ok(context, rlhf_recipe_get(recipe, key, out, 512, &needed), key);
    assert_int_equal(needed, strlen(out) + 1);
}

/* A value that is not the default and stays in bounds. */
static void other_value(const rlhf_key_view *key, char out[64])
{
    switch (key->type) {
    case RLHF_KEY_TEXT:
        strcpy(out, "a: \"b\" # \\ \xc3\xa4");
        break;
    case RLHF_KEY_BOOLEAN:
        strcpy(out, strcmp(key->default_value, "true") == 0 ? "false" : "true");
        break;
    case RLHF_KEY_CHOICE: {
        const char *last = strrchr(key->choices, ' ');
        assert_non_null(last);
        strcpy(out, last + 1);
        if (strcmp(out, key->default_value) == 0)
            sprintf(out, "%.*s", (int)strcspn(key->choices, " "), key->choices);
        break;
    }
    case RLHF_KEY_INTEGER:
        sprintf(out, "%lld", (long long)(key->maximum < 1000 ? key->maximum : key->minimum + 7));
        break;
    default:
        assert_true(rlhfi_format_double(key->minimum + (key->maximum - key->minimum) / 8, out, 64) > 0);
    }
}

static void test_every_key(void **state)
{
    (void)state;
    for (int m = 0; m < ALL_METHODS; m++) {
        const char *method = all_methods[m];
        rlhf_recipe *recipe;
        char value[64], text[512];
        assert_true(rlhf_recipe_key_count(method) > 20);
        CHECK(context, rlhf_recipe_create(&recipe, context, method));
        assert_string_equal(rlhf_recipe_method(recipe), method);
        for (int64_t i = 0; i < rlhf_recipe_key_count(method); i++) {
            rlhf_key_view key = key_of(method, i);
            assert_non_null(strchr(key.help, ' '));
            get(recipe, key.name, text);
            assert_string_equal(text, key.default_value);
            other_value(&key, value);
            set(context, recipe, key.name, value);
            get(recipe, key.name, text);
            assert_string_equal(text, value);
            for (int64_t j = 0; j < i; j++)
                assert_string_not_equal(key_of(method, j).name, key.name);
        }
        rlhf_recipe_release(&recipe);
    }
}

static void refuse(rlhf_recipe *recipe, const char *key, const char *value, rlhf_status status)
{
    char before[512], after[512];

    get(recipe, key, before);
    assert_int_equal(rlhf_recipe_set(recipe, key, value), status);
    assert_error(context, key);
    get(recipe, key, after);
    assert_string_equal(before, after);
}

static void test_bounds(void **state)
{
    (void)state;
    for (int m = 0; m < ALL_METHODS; m++) {
        rlhf_recipe *recipe;
        CHECK(context, rlhf_recipe_create(&recipe, context, all_methods[m]));
        for (int64_t i = 0; i < rlhf_recipe_key_count(all_methods[m]); i++) {
            rlhf_key_view key = key_of(all_methods[m], i);
            char text[64];
            if (key.type == RLHF_KEY_TEXT) {
                refuse(recipe, key.name, "\xff", RLHF_E_INVAL);
                continue;
            }
            refuse(recipe, key.name, "banana", RLHF_E_INVAL);
            if (key.type != RLHF_KEY_NUMBER && key.type != RLHF_KEY_INTEGER)
                continue;
            refuse(recipe, key.name, "nan", RLHF_E_INVAL);
            refuse(recipe, key.name, "1 ", RLHF_E_INVAL);
            refuse(recipe, key.name, "inf", RLHF_E_RANGE);
            rlhfi_format_double(key.minimum - 1, text, sizeof text);
            refuse(recipe, key.name, text, RLHF_E_RANGE);
            rlhfi_format_double(key.maximum * 2 + 2, text, sizeof text);
            refuse(recipe, key.name, text, RLHF_E_RANGE);
            if (key.type == RLHF_KEY_INTEGER)
                refuse(recipe, key.name, "1.5", RLHF_E_INVAL);
            rlhfi_format_double(key.minimum, text, sizeof text);
            set(context, recipe, key.name, text);
            rlhfi_format_double(key.maximum, text, sizeof text);
            set(context, recipe, key.name, text);
        }
        rlhf_recipe_release(&recipe);
    }
}

static void test_unknown_names(void **state)
{
    rlhf_key_view view = {.struct_size = sizeof view};
    rlhf_recipe *recipe;
    char buffer[16], long_name[2048];
    size_t needed;

    (void)state;
    assert_int_equal(rlhf_recipe_create(&recipe, context, "reenforce"), RLHF_E_INVAL);
    assert_error(context, "did you mean reinforce?");
    assert_null(recipe);
    CHECK(context, rlhf_recipe_create(&recipe, context, "ppo"));
    assert_int_equal(rlhf_recipe_set(recipe, "learing_rate", "1"), RLHF_E_INVAL);
    assert_error(context, "did you mean learning_rate?");
    assert_int_equal(rlhf_recipe_set(recipe, "clip_range", "1"), RLHF_E_INVAL);
    assert_error(context, "did you mean cliprange?");
    /* A key of another method is none of this one's. */
    assert_int_equal(rlhf_recipe_set(recipe, "label_smoothing_factor", "0"), RLHF_E_INVAL);
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    assert_int_equal(rlhf_recipe_set(recipe, long_name, "0"), RLHF_E_INVAL);
    assert_int_equal(rlhf_recipe_get(recipe, "lamb", buffer, sizeof buffer, &needed), RLHF_E_INVAL);
    assert_error(context, "did you mean lam?");
    assert_int_equal(rlhf_recipe_get(recipe, "output_dir", buffer, 0, &needed), RLHF_E_RANGE);
    assert_int_equal(needed, 1);
    rlhf_recipe_release(&recipe);
    assert_int_equal(rlhf_recipe_key_count("nothing"), 0);
    assert_int_equal(rlhf_recipe_key("nothing", 0, &view), RLHF_E_INVAL);
    assert_int_equal(rlhf_recipe_key("sft", rlhf_recipe_key_count("sft"), &view), RLHF_E_RANGE);
    assert_int_equal(rlhf_recipe_key("sft", -1, &view), RLHF_E_RANGE);
}

static char *yaml_of(rlhf_recipe *recipe)
{
    size_t needed, again;
    char *text;

    assert_int_equal(rlhf_recipe_yaml(recipe, NULL, 0, &needed), RLHF_E_RANGE);
    text = malloc(needed);
    assert_non_null(text);
    CHECK(context, rlhf_recipe_yaml(recipe, text, needed, &again));
    assert_int_equal(again, needed);
    return text;
}

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    fclose(file);
}

static void test_yaml_round_trip(void **state)
{
    char directory[64], path[128];

    (void)state;
    make_directory(directory);
    snprintf(path, sizeof path, "%s/recipe.yaml", directory);
    for (int m = 0; m < ALL_METHODS; m++) {
        rlhf_recipe *recipe, *again;
        char *text, *text_again, value[64];
        CHECK(context, rlhf_recipe_create(&recipe, context, all_methods[m]));
        for (int round = 0; round < 2; round++) { /* defaults, then something else everywhere */
            text = yaml_of(recipe);
            write_text(path, text);
            CHECK(context, rlhf_recipe_create(&again, context, all_methods[m]));
            CHECK(context, rlhf_recipe_load(again, path));
            text_again = yaml_of(again);
            assert_string_equal(text, text_again);
            free(text);
            free(text_again);
            rlhf_recipe_release(&again);
            for (int64_t i = 0; i < rlhf_recipe_key_count(all_methods[m]); i++) {
                rlhf_key_view key = key_of(all_methods[m], i);
                other_value(&key, value);
                set(context, recipe, key.name, value);
            }
        }
        rlhf_recipe_release(&recipe);
    }
    remove_directory(context, directory);
}

static void test_yaml_of_people(void **state)
{
    char directory[64], path[128], text[512];
    rlhf_recipe *recipe;

    (void)state;
    make_directory(directory);
    snprintf(path, sizeof path, "%s/recipe.yaml", directory);
    CHECK(context, rlhf_recipe_create(&recipe, context, "ppo"));
    write_text(path,
               "# comment\nmethod: ppo\nlearning_rate: 1.0e-5\nwhiten_advantages: False\n"
               "missing_eos_penalty: null\nvalue_model_path: null\nkl_estimator: k3\ndataset_name: 'it''s here'\n");
    CHECK(context, rlhf_recipe_load(recipe, path));
    get(recipe, "learning_rate", text);
    assert_string_equal(text, "1e-05");
    get(recipe, "whiten_advantages", text);
    assert_string_equal(text, "false");
    get(recipe, "missing_eos_penalty", text);
    assert_string_equal(text, "");
    get(recipe, "dataset_name", text);
    assert_string_equal(text, "it's here");
    get(recipe, "value_model_path", text);
    assert_string_equal(text, "");

    /* One bad line and nothing is taken over; the line is named. */
    write_text(path, "learning_rate: 2.0e-5\ngamma: 3\n");
    assert_int_equal(rlhf_recipe_load(recipe, path), RLHF_E_RANGE);
    assert_error(context, "recipe.yaml:2: gamma");
    get(recipe, "learning_rate", text);
    assert_string_equal(text, "1e-05");
    write_text(path, "\nlearningrate: 2.0e-5\n");
    assert_int_equal(rlhf_recipe_load(recipe, path), RLHF_E_INVAL);
    assert_error(context, "recipe.yaml:2: learningrate: ppo has no such key; did you mean learning_rate?");
    write_text(path, "method: sft\n");
    assert_int_equal(rlhf_recipe_load(recipe, path), RLHF_E_INVAL);
    write_text(path, "gamma: [1]\n");
    assert_int_equal(rlhf_recipe_load(recipe, path), RLHF_E_INVAL);
    write_text(path, "- gamma\n");
    assert_int_equal(rlhf_recipe_load(recipe, path), RLHF_E_FORMAT);
    write_text(path, "");
    assert_int_equal(rlhf_recipe_load(recipe, path), RLHF_E_FORMAT);
    assert_int_equal(rlhf_recipe_load(recipe, "/nowhere/at.all"), RLHF_E_IO);
    rlhf_recipe_release(&recipe);
    remove_directory(context, directory);
}

static void test_null_arguments(void **state)
{
    rlhf_recipe *recipe = NULL;
    size_t needed;

    (void)state;
    assert_int_equal(rlhf_recipe_create(NULL, context, "sft"), RLHF_E_INVAL);
    assert_int_equal(rlhf_recipe_create(&recipe, context, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_recipe_create(&recipe, NULL, "sft"), RLHF_E_INVAL);
    assert_int_equal(rlhf_recipe_set(NULL, "seed", "1"), RLHF_E_INVAL);
    CHECK(context, rlhf_recipe_create(&recipe, context, "sft"));
    assert_int_equal(rlhf_recipe_set(recipe, NULL, "1"), RLHF_E_INVAL);
    assert_int_equal(rlhf_recipe_set(recipe, "seed", NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_recipe_load(recipe, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_recipe_get(recipe, "seed", NULL, 4, &needed), RLHF_E_INVAL);
    assert_int_equal(rlhf_recipe_get(recipe, "seed", NULL, 0, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_recipe_yaml(NULL, NULL, 0, &needed), RLHF_E_INVAL);
    assert_int_equal(rlhf_recipe_key("sft", 0, NULL), RLHF_E_INVAL);
    assert_string_equal(rlhf_recipe_method(NULL), "");
    rlhf_recipe_release(&recipe);
    rlhf_recipe_release(&recipe);
    rlhf_recipe_release(NULL);
}

/* Keys by which trainers read: each must exist for its methods, or the answer would silently be 0. */
static void test_keys_of_the_trainers(void **state)
{
    static const struct {
        const char *methods, *keys;
    } read[] = {
        {"pretrain sft reward raft reinforce pairwise ppo",
         "seed model_name_or_path tokenizer_name_or_path dataset_name eval_dataset_name dataset_bad_rows chat_template "
         "output_dir per_device_train_batch_size gradient_accumulation_steps gradient_checkpointing "
         "shuffle_dataset learning_rate "
         "lr_scheduler_type min_lr_rate warmup_steps warmup_ratio weight_decay adam_beta1 adam_beta2 adam_epsilon "
         "max_grad_norm logging_steps eval_steps save_steps save_total_limit max_steps"},
        {"pretrain sft reward", "max_length num_train_epochs"},
        {"pretrain", "init_from_config"},
        {"sft", "completion_only_loss"},
        {"pretrain sft raft", "label_smoothing_factor"},
        {"reward", "center_rewards_coefficient"},
        {"raft reinforce pairwise ppo",
         "response_length min_new_tokens temperature top_k top_p min_p reward_model_path "
         "missing_eos_penalty"},
        {"raft reinforce pairwise", "num_generations"},
        {"raft", "prompts_per_iteration num_iterations num_epochs_per_iteration selection selection_fraction beta"},
        {"reinforce pairwise ppo", "total_episodes num_train_epochs reward_clip"},
        {"reinforce ppo",
         "kl_coef kl_estimator adaptive_kl target_kl horizon whiten_rewards whiten_advantages entropy_coef"},
        {"reinforce", "baseline baseline_momentum reward_to_go"},
        {"pairwise", "loss_type beta soft_label_temperature"},
        {"pairwise ppo", "num_ppo_epochs num_mini_batches cliprange"},
        {"ppo", "value_model_path cliprange_value dual_clip vf_coef gamma lam"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof read / sizeof read[0]; i++) {
        char methods[128], *method, *rest;
        strcpy(methods, read[i].methods);
        for (method = strtok_r(methods, " ", &rest); method != NULL; method = strtok_r(NULL, " ", &rest)) {
            char keys[1024], *key, *more;
            rlhf_recipe *recipe;
            CHECK(context, rlhf_recipe_create(&recipe, context, method));
            strcpy(keys, read[i].keys);
            for (key = strtok_r(keys, " ", &more); key != NULL; key = strtok_r(NULL, " ", &more))
                if (!rlhfi_recipe_has(recipe, key))
                    fail_msg("%s has no key %s", method, key);
            rlhf_recipe_release(&recipe);
        }
    }
}

static void test_same_run(void **state)
{
    rlhf_recipe *recipe;
    rlhfi_json *json;
    rlhfi_string text;

    (void)state;
    CHECK(context, rlhf_recipe_create(&recipe, context, "sft"));
    rlhfi_string_init(&text, context);
    rlhfi_recipe_add_json(recipe, &text);
    assert_false(text.failed);
    CHECK(context, rlhfi_json_parse(&json, context, text.data, text.size, "recipe"));
    CHECK(context, rlhfi_recipe_same_run(recipe, json, "there"));
    set(context, recipe, "max_steps", "100");
    set(context, recipe, "output_dir", "elsewhere");
    CHECK(context, rlhfi_recipe_same_run(recipe, json, "there"));
    set(context, recipe, "learning_rate", "0.5");
    assert_int_equal(rlhfi_recipe_same_run(recipe, json, "there"), RLHF_E_INVAL);
    assert_error(context, "learning_rate: is 0.5, but the run in there has 2e-05");
    rlhfi_json_release(&json);
    rlhfi_string_free(&text);
    rlhf_recipe_release(&recipe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_key),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_unknown_names),
        cmocka_unit_test(test_yaml_round_trip),
        cmocka_unit_test(test_yaml_of_people),
        cmocka_unit_test(test_null_arguments),
        cmocka_unit_test(test_keys_of_the_trainers),
        cmocka_unit_test(test_same_run),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
