/* What a run leaves on the disk, what it refuses to touch, and from what it goes on. */
#include "runs.h"

static rlhf_context *context;
static char root[64];

static int setup(void **state)
{
    (void)state;
    context = make_context(1, ~0u, 1);
    make_directory(root);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    remove_directory(context, root);
    rlhf_context_release(&context);
    return 0;
}

static const char *below_root(const char *name)
{
    enum { SLOTS = 64 }; /* a test has fewer paths than that */
    static char path[SLOTS][256];
    static int next;

    next = (next + 1) % SLOTS;
    snprintf(path[next], sizeof path[next], "%s/%s", root, name);
    return path[next];
}

static rlhf_trainer *create(struct parts *parts)
{
    rlhf_trainer *trainer;

    CHECK(context, rlhf_trainer_create(&trainer, context, parts->recipe, &parts->options));
    return trainer;
}

static void run_once(struct parts *parts)
{
    rlhf_trainer *trainer = create(parts);

    CHECK(context, rlhf_trainer_run(trainer));
    rlhf_trainer_release(&trainer);
}

/* ---- what is there afterwards ------------------------------------------------------------------------------------ */

static void test_files_of_a_run(void **state)
{
    struct parts parts;
    rlhf_policy *model;
    rlhf_recipe *recipe;
    rlhf_tokenizer *tokenizer;
    rlhfi_json *receipt;
    const char *hash;
    char *text, *line, hex[65];
    int lines = 0;

    (void)state;
    make_parts(&parts, context, "sft");
    set(context, parts.recipe, "save_steps", "2");
    parts.options.output_dir = below_root("files");
    run_once(&parts);
    assert_true(exists(below_root("files"), "checkpoints/step-2/manifest.json"));
    assert_true(exists(below_root("files"), "checkpoints/step-4/manifest.json"));
    assert_false(exists(below_root("files"), "checkpoints/reference"));

    CHECK(context, rlhf_recipe_create(&recipe, context, "sft"));
    CHECK(context, rlhf_recipe_load(recipe, below_root("files/config.yaml")));
    assert_string_equal(rlhfi_recipe_text(recipe, "output_dir"), parts.options.output_dir);
    assert_true(rlhfi_recipe_number(recipe, "learning_rate") == 0.01);
    text = read_whole(context, below_root("files"), "config.yaml");
    for (int64_t i = 0; i < rlhf_recipe_key_count("sft"); i++) {
        rlhf_key_view key = {.struct_size = sizeof key};
        assert_int_equal(rlhf_recipe_key("sft", i, &key), RLHF_OK);
        assert_non_null(strstr(text, key.name));
    }
    rlhfi_free(context, text);

    text = read_whole(context, below_root("files"), "metrics.jsonl");
    for (line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        rlhfi_json *json;
        int64_t step;
        CHECK(context, rlhfi_json_parse(&json, context, line, strlen(line), "metrics"));
        assert_true(rlhfi_json_integer(rlhfi_json_get(json, "step"), &step));
        assert_int_equal(step, ++lines);
        assert_non_null(rlhfi_json_get(json, "mean_token_accuracy"));
        rlhfi_json_release(&json);
    }
    assert_int_equal(lines, 4);
    rlhfi_free(context, text);

    CHECK(context, rlhfi_json_load(&receipt, context, below_root("files/receipt.json"), 1 << 20));
    hash = rlhfi_json_text(rlhfi_json_get(rlhfi_json_get(receipt, "result"), "policy"), NULL);
    CHECK(context, rlhf_policy_load(&model, context, below_root("files/model"), NULL));
    CHECK(context, rlhf_policy_hash(model, hex));
    assert_string_equal(hash, hex);
    rlhf_policy_release(&model);
    /* The last checkpoint is the same model. */
    CHECK(context, rlhf_policy_load(&model, context, below_root("files/checkpoints/step-4"), NULL));
    CHECK(context, rlhf_policy_hash(model, hex));
    assert_string_equal(hash, hex);
    rlhf_policy_release(&model);
    CHECK(context, rlhf_tokenizer_load(&tokenizer, context, below_root("files/model")));
    rlhf_tokenizer_release(&tokenizer);
    assert_non_null(rlhfi_json_get(rlhfi_json_get(receipt, "inputs"), "dataset"));
    assert_non_null(rlhfi_json_get(rlhfi_json_get(receipt, "inputs"), "model"));
    rlhfi_json_release(&receipt);
    rlhf_recipe_release(&recipe);
    release_parts(&parts);
}

static void test_nothing_in_memory(void **state)
{
    struct parts parts;
    rlhf_trainer *trainer;

    (void)state;
    make_parts(&parts, context, "sft");
    parts.options.output_dir = "";
    trainer = create(&parts);
    CHECK(context, rlhf_trainer_run(trainer));
    assert_int_equal(rlhf_trainer_save(trainer), RLHF_E_INVAL);
    assert_error(context, "output_dir");
    assert_int_equal(rlhf_trainer_finish(trainer), RLHF_E_INVAL);
    rlhf_trainer_release(&trainer);
    parts.options.resume = 1;
    assert_int_equal(rlhf_trainer_create(&trainer, context, parts.recipe, &parts.options), RLHF_E_INVAL);
    assert_null(trainer);
    release_parts(&parts);
}

static void test_nothing_written_when_wrong(void **state)
{
    struct parts parts;
    rlhf_trainer *trainer;

    (void)state;
    make_parts(&parts, context, "sft");
    parts.options.output_dir = below_root("wrong");
    parts.options.dataset = NULL;
    assert_int_equal(rlhf_trainer_create(&trainer, context, parts.recipe, &parts.options), RLHF_E_INVAL);
    assert_error(context, "dataset_name: is not set");
    set(context, parts.recipe, "dataset_name", below_root("missing.jsonl"));
    assert_int_equal(rlhf_trainer_create(&trainer, context, parts.recipe, &parts.options), RLHF_E_IO);
    parts.options.dataset = make_dataset(context, RLHF_ROW_PREFERENCE, 4);
    assert_int_equal(rlhf_trainer_create(&trainer, context, parts.recipe, &parts.options), RLHF_E_INVAL);
    assert_error(context, "sft needs rows");
    rlhf_dataset_release(&parts.options.dataset);
    parts.options.dataset = parts.dataset;
    parts.options.policy = NULL;
    assert_int_equal(rlhf_trainer_create(&trainer, context, parts.recipe, &parts.options), RLHF_E_INVAL);
    assert_error(context, "model_name_or_path: is not set");
    assert_false(rlhfi_path_exists(below_root("wrong")));
    release_parts(&parts);
}

static void test_refuses_a_directory_with_a_run(void **state)
{
    struct parts parts;
    rlhf_trainer *trainer;
    char *before, *after;

    (void)state;
    make_parts(&parts, context, "sft");
    parts.options.output_dir = below_root("taken");
    run_once(&parts);
    release_parts(&parts);
    before = read_whole(context, below_root("taken"), "metrics.jsonl");
    make_parts(&parts, context, "sft");
    set(context, parts.recipe, "max_steps", "2");
    parts.options.output_dir = below_root("taken");
    assert_int_equal(rlhf_trainer_create(&trainer, context, parts.recipe, &parts.options), RLHF_E_INVAL);
    assert_error(context, "holds a run already");
    after = read_whole(context, below_root("taken"), "metrics.jsonl");
    assert_string_equal(before, after);
    rlhfi_free(context, after);
    parts.options.overwrite = 1;
    run_once(&parts);
    assert_false(exists(below_root("taken"), "checkpoints/step-4"));
    after = read_whole(context, below_root("taken"), "metrics.jsonl");
    assert_true(strlen(after) < strlen(before));
    assert_memory_equal(before, after, 20);
    rlhfi_free(context, before);
    rlhfi_free(context, after);
    release_parts(&parts);
}

/* Overwriting removes what a run leaves, and nothing else. */
static void test_leaves_other_files_alone(void **state)
{
    struct parts parts;

    (void)state;
    CHECK(context, rlhfi_make_directory(context, below_root("shared/checkpoints")));
    CHECK(context, rlhfi_file_save(context, below_root("shared/checkpoints/mine"), "x", 1));
    CHECK(context, rlhfi_file_save(context, below_root("shared/notes.txt"), "x", 1));
    make_parts(&parts, context, "sft");
    parts.options.output_dir = below_root("shared");
    run_once(&parts);
    assert_true(exists(below_root("shared"), "checkpoints/mine"));
    release_parts(&parts);
    make_parts(&parts, context, "sft");
    parts.options.output_dir = below_root("shared");
    parts.options.overwrite = 1;
    run_once(&parts);
    assert_true(exists(below_root("shared"), "notes.txt"));
    release_parts(&parts);
}

static void test_save_total_limit(void **state)
{
    struct parts parts;

    (void)state;
    make_parts(&parts, context, "sft");
    set(context, parts.recipe, "save_steps", "1");
    set(context, parts.recipe, "save_total_limit", "2");
    set(context, parts.recipe, "max_steps", "12"); /* 9 and 10 differ in length: by number, not by letter */
    parts.options.output_dir = below_root("limit");
    run_once(&parts);
    assert_false(exists(below_root("limit"), "checkpoints/step-9"));
    assert_false(exists(below_root("limit"), "checkpoints/step-10"));
    assert_true(exists(below_root("limit"), "checkpoints/step-11"));
    assert_true(exists(below_root("limit"), "checkpoints/step-12"));
    release_parts(&parts);
}

/* ---- going on ---------------------------------------------------------------------------------------------------- */

/* Four steps with a checkpoint at each, stopped after `steps`. */
static void begin_run(const char *directory, const char *method, int steps)
{
    struct parts parts;
    rlhf_trainer *trainer;

    make_parts(&parts, context, method);
    parts.options.output_dir = directory;
    trainer = create(&parts);
    for (int i = 0; i < steps; i++) {
        CHECK(context, rlhf_trainer_step(trainer));
        CHECK(context, rlhf_trainer_save(trainer));
    }
    rlhf_trainer_release(&trainer);
    release_parts(&parts);
}

/* Step that a resumed run stands at. */
static uint64_t resumed_step(const char *directory, const char *method)
{
    struct parts parts;
    rlhf_trainer *trainer;
    uint64_t step;

    make_parts(&parts, context, method);
    parts.options.output_dir = directory;
    parts.options.resume = 1;
    trainer = create(&parts);
    step = trainer->state.step;
    rlhf_trainer_release(&trainer);
    release_parts(&parts);
    return step;
}

static void test_broken_checkpoints_are_passed_over(void **state)
{
    char *bytes;
    size_t count;

    (void)state;
    begin_run(below_root("broken"), "sft", 3);
    assert_int_equal(resumed_step(below_root("broken"), "sft"), 3);
    /* Half a checkpoint beside: never looked at. */
    CHECK(context, rlhfi_make_directory(context, below_root("broken/checkpoints/step-4.partial")));
    assert_int_equal(resumed_step(below_root("broken"), "sft"), 3);
    /* One wrong bit. */
    CHECK(context,
          rlhfi_file_load(context, below_root("broken/checkpoints/step-3/state.safetensors"), 1 << 24, &bytes, &count));
    bytes[count - 5] ^= 1;
    CHECK(context, rlhfi_file_save(context, below_root("broken/checkpoints/step-3/state.safetensors"), bytes, count));
    rlhfi_free(context, bytes);
    assert_int_equal(resumed_step(below_root("broken"), "sft"), 2);
    /* A file that ends early. */
    CHECK(context, rlhfi_file_truncate(context, below_root("broken/checkpoints/step-2/model.safetensors"), 100));
    assert_int_equal(resumed_step(below_root("broken"), "sft"), 1);
    /* No manifest: nothing is left, and the run begins again. */
    CHECK(context, rlhfi_remove_tree(context, below_root("broken/checkpoints/step-1/manifest.json")));
    assert_int_equal(resumed_step(below_root("broken"), "sft"), 0);
    assert_false(exists(below_root("broken"), "checkpoints/step-3"));
    assert_false(exists(below_root("broken"), "metrics.jsonl"));
}

/* A log that is shorter than the checkpoint remembers, or gone, does not end the run. */
static void test_log_that_lost_its_end(void **state)
{
    char *text;

    (void)state;
    begin_run(below_root("log"), "sft", 3);
    CHECK(context, rlhfi_file_truncate(context, below_root("log/metrics.jsonl"), 10));
    assert_int_equal(resumed_step(below_root("log"), "sft"), 3);
    text = read_whole(context, below_root("log"), "metrics.jsonl");
    assert_int_equal(strlen(text), 10);
    rlhfi_free(context, text);
    CHECK(context, rlhfi_remove_tree(context, below_root("log/metrics.jsonl")));
    assert_int_equal(resumed_step(below_root("log"), "sft"), 3);
}

static void test_tokenizer_of_another_model(void **state)
{
    struct parts parts;
    rlhf_trainer *trainer;
    char config[512];

    (void)state;
    make_parts(&parts, context, "sft");
    strcpy(config, model_config);
    memcpy(strstr(config, "44"), "20", 2);
    rlhf_policy_release(&parts.policy);
    CHECK(context, rlhf_policy_create(&parts.policy, context, config, strlen(config), 1, NULL));
    parts.options.policy = parts.policy;
    assert_int_equal(rlhf_trainer_create(&trainer, context, parts.recipe, &parts.options), RLHF_E_RANGE);
    assert_error(context, "they do not belong together");
    release_parts(&parts);
}

static void refuse_resume(struct parts *parts, const char *message)
{
    rlhf_trainer *trainer;

    parts->options.resume = 1;
    assert_int_equal(rlhf_trainer_create(&trainer, context, parts->recipe, &parts->options), RLHF_E_INVAL);
    assert_null(trainer);
    assert_error(context, message);
    release_parts(parts);
}

static void test_resume_is_the_same_run(void **state)
{
    struct parts parts;
    rlhf_dataset *other;
    rlhf_reference *reference;
    rlhf_trainer *trainer;
    char hex[65], again[65];

    (void)state;
    begin_run(below_root("same"), "ppo", 2);
    make_parts(&parts, context, "ppo");
    parts.options.output_dir = below_root("same");
    set(context, parts.recipe, "cliprange", "0.3");
    refuse_resume(&parts, "cliprange: is 0.3, but the run in");
    make_parts(&parts, context, "sft");
    parts.options.output_dir = below_root("same");
    refuse_resume(&parts, "ppo");
    make_parts(&parts, context, "ppo");
    parts.options.output_dir = below_root("same");
    other = make_dataset(context, RLHF_ROW_PROMPT, 9);
    parts.options.dataset = other;
    refuse_resume(&parts, "dataset: is another");
    rlhf_dataset_release(&other);
    make_parts(&parts, context, "ppo");
    parts.options.output_dir = below_root("same");
    rlhf_policy_release(&parts.policy);
    parts.policy = parts.options.policy = make_policy(context, 4);
    CHECK(context, rlhf_reference_freeze(&reference, parts.policy));
    parts.options.reference = reference;
    refuse_resume(&parts, "reference: is another");
    rlhf_reference_release(&reference);

    /* Another policy in memory is no matter: weights and reference come from the run. And it may go on for longer. */
    make_parts(&parts, context, "ppo");
    rlhf_policy_release(&parts.policy);
    parts.policy = parts.options.policy = make_policy(context, 4);
    parts.options.output_dir = below_root("same");
    parts.options.resume = 1;
    set(context, parts.recipe, "lr_scheduler_type", "linear");
    set(context, parts.recipe, "max_steps", "6");
    trainer = create(&parts);
    CHECK(context, rlhf_reference_hash(trainer->reference, hex));
    CHECK(context, rlhf_trainer_run(trainer));
    assert_int_equal(trainer->state.step, 6);
    rlhf_trainer_release(&trainer);
    release_parts(&parts);
    make_parts(&parts, context, "ppo");
    CHECK(context, rlhf_policy_hash(parts.policy, again));
    assert_string_equal(hex, again);
    release_parts(&parts);
    assert_true(exists(below_root("same"), "checkpoints/reference/model.safetensors"));
}

/* Everything by path, as the program does it: nothing is kept twice, and a resume gives the same bytes. */
static void test_run_from_paths(void **state)
{
    struct parts parts;
    rlhf_trainer_options options;
    rlhf_trainer *trainer;
    rlhf_reward_model *reward_model;
    char hash[2][65];

    (void)state;
    make_parts(&parts, context, "ppo");
    CHECK(context, rlhf_policy_save(parts.policy, below_root("base")));
    CHECK(context, rlhf_tokenizer_save(parts.tokenizer, below_root("base")));
    CHECK(context, rlhf_dataset_save(parts.dataset, below_root("prompts.jsonl")));
    reward_model = make_reward_model(context, 8);
    CHECK(context, rlhf_reward_model_set_normalisation(reward_model, 2, -0.5));
    CHECK(context, rlhf_reward_model_save(reward_model, below_root("judge")));
    rlhf_reward_model_release(&reward_model);
    set(context, parts.recipe, "model_name_or_path", below_root("base"));
    set(context, parts.recipe, "reward_model_path", below_root("judge"));
    set(context, parts.recipe, "dataset_name", below_root("prompts.jsonl"));
    set(context, parts.recipe, "eval_dataset_name", below_root("prompts.jsonl"));
    for (int stopped = 0; stopped < 2; stopped++) {
        set(context, parts.recipe, "output_dir", below_root(stopped == 0 ? "paths-a" : "paths-b"));
        rlhf_trainer_options_init(&options, sizeof options);
        CHECK(context, rlhf_trainer_create(&trainer, context, parts.recipe, &options));
        assert_true(trainer->value_model->model->score_gain == 2);
        if (stopped == 1) {
            CHECK(context, rlhf_trainer_step(trainer));
            CHECK(context, rlhf_trainer_step(trainer));
            CHECK(context, rlhf_trainer_save(trainer));
            rlhf_trainer_release(&trainer);
            options.resume = 1;
            CHECK(context, rlhf_trainer_create(&trainer, context, parts.recipe, &options));
            assert_int_equal(trainer->state.step, 2);
            assert_true(trainer->value_model->model->score_gain == 2);
        }
        CHECK(context, rlhf_trainer_run(trainer));
        assert_true(has_metric(context, trainer, "eval_reward"));
        result_hash(context, trainer, hash[stopped]);
        rlhf_trainer_release(&trainer);
    }
    assert_string_equal(hash[0], hash[1]);
    assert_false(exists(below_root("paths-b"), "checkpoints/reference"));
    release_parts(&parts);
}

/* bf16 and dtype decide how the models of a run's paths compute; a model that was given is what it is. */
static void test_number_formats(void **state)
{
    static const char *const settings[][2] = {{"bf16", "false"}, {"bf16", "true"}, {"dtype", "bfloat16"}};
    rlhf_trainer_options options;
    struct parts parts;
    rlhf_trainer *trainer;
    char hash[3][65];

    (void)state;
    make_parts(&parts, context, "sft");
    CHECK(context, rlhf_policy_save(parts.policy, below_root("formats-base")));
    CHECK(context, rlhf_tokenizer_save(parts.tokenizer, below_root("formats-base")));
    CHECK(context, rlhf_dataset_save(parts.dataset, below_root("formats.jsonl")));
    set(context, parts.recipe, "model_name_or_path", below_root("formats-base"));
    set(context, parts.recipe, "dataset_name", below_root("formats.jsonl"));
    for (int i = 0; i < 3; i++) {
        set(context, parts.recipe, settings[i][0], settings[i][1]);
        rlhf_trainer_options_init(&options, sizeof options);
        CHECK(context, rlhf_trainer_create(&trainer, context, parts.recipe, &options));
        assert_int_equal(trainer->policy->model->options.compute_format, i > 0 ? RLHF_BFLOAT16 : RLHF_FLOAT32);
        assert_int_equal(trainer->policy->model->options.weight_format, i > 1 ? RLHF_BFLOAT16 : RLHF_FLOAT32);
        CHECK(context, rlhf_trainer_run(trainer));
        result_hash(context, trainer, hash[i]);
        rlhf_trainer_release(&trainer);
        for (int j = 0; j < i; j++)
            assert_string_not_equal(hash[i], hash[j]);
    }
    assert_int_equal(rlhf_trainer_create(&trainer, context, parts.recipe, &parts.options), RLHF_E_INVAL);
    assert_error(context, "the policy that was given");
    set(context, parts.recipe, "dtype", "float16");
    assert_int_equal(rlhf_trainer_create(&trainer, context, parts.recipe, &options), RLHF_E_UNSUPPORTED);
    assert_error(context, "float16 weights are read");
    release_parts(&parts);
}

static void test_pretraining_from_a_config(void **state)
{
    struct parts parts;
    rlhf_trainer *trainer;
    char hex[65], again[65];

    (void)state;
    make_parts(&parts, context, "pretrain");
    parts.options.policy = NULL;
    CHECK(context, rlhfi_file_save(context, below_root("config.json"), model_config, strlen(model_config)));
    set(context, parts.recipe, "init_from_config", below_root("config.json"));
    set(context, parts.recipe, "max_length", "8");
    trainer = create(&parts);
    assert_true(trainer->examples->rows > 10); /* longer documents became several rows */
    for (uint64_t i = 0; i < trainer->examples->rows; i++)
        assert_true(trainer->examples->first[i].length <= 8);
    result_hash(context, trainer, hex);
    rlhf_policy_release(&parts.policy);
    parts.policy = make_policy(context, 5); /* the recipe's seed */
    CHECK(context, rlhf_policy_hash(parts.policy, again));
    assert_string_equal(hex, again);
    CHECK(context, rlhf_trainer_run(trainer));
    rlhf_trainer_release(&trainer);
    set(context, parts.recipe, "model_name_or_path", below_root("base"));
    assert_int_equal(rlhf_trainer_create(&trainer, context, parts.recipe, &parts.options), RLHF_E_INVAL);
    assert_error(context, "init_from_config");
    release_parts(&parts);
}

static void test_reward_model_from_each_source(void **state)
{
    struct parts parts;
    rlhf_trainer *trainer;
    rlhf_reward_model *model;
    char hex[65], again[65];

    (void)state;
    make_parts(&parts, context, "reward");
    CHECK(context, rlhf_policy_save(parts.policy, below_root("trunk")));
    trainer = create(&parts);
    result_hash(context, trainer, hex);
    CHECK(context, rlhf_trainer_run(trainer));
    rlhf_trainer_release(&trainer);
    /* The policy that lent its trunk is as before, and the same trunk from the disk gives the same start. */
    parts.options.policy = NULL;
    set(context, parts.recipe, "model_name_or_path", below_root("trunk"));
    trainer = create(&parts);
    result_hash(context, trainer, again);
    assert_string_equal(hex, again);
    CHECK(context, rlhf_trainer_reward_model(trainer, &model));
    CHECK(context, rlhf_reward_model_save(model, below_root("scores")));
    rlhf_reward_model_release(&model);
    rlhf_trainer_release(&trainer);
    /* A directory that has a head keeps it. */
    set(context, parts.recipe, "model_name_or_path", below_root("scores"));
    set(context, parts.recipe, "seed", "77");
    trainer = create(&parts);
    result_hash(context, trainer, again);
    assert_string_equal(hex, again);
    rlhf_trainer_release(&trainer);
    release_parts(&parts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files_of_a_run),
        cmocka_unit_test(test_nothing_in_memory),
        cmocka_unit_test(test_nothing_written_when_wrong),
        cmocka_unit_test(test_refuses_a_directory_with_a_run),
        cmocka_unit_test(test_leaves_other_files_alone),
        cmocka_unit_test(test_save_total_limit),
        cmocka_unit_test(test_broken_checkpoints_are_passed_over),
        cmocka_unit_test(test_log_that_lost_its_end),
        cmocka_unit_test(test_tokenizer_of_another_model),
        cmocka_unit_test(test_resume_is_the_same_run),
        cmocka_unit_test(test_run_from_paths),
        cmocka_unit_test(test_number_formats),
        cmocka_unit_test(test_pretraining_from_a_config),
        cmocka_unit_test(test_reward_model_from_each_source),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
