/* Pipelines: several recipes in one file. Every mistake is named with its line, and nothing half-read comes out. */
#include "runs.h"

#include <rlhf/pipeline.h>

static rlhf_context *context;
static char folder[64], path[128];

static int setup(void **state)
{
    (void)state;
    context = make_context(1, ~0u, 0);
    make_directory(folder);
    snprintf(path, sizeof path, "%s/pipeline.yaml", folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    remove_directory(context, folder);
    rlhf_context_release(&context);
    return 0;
}

static void write_text(const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
}

static rlhf_pipeline *load(const char *text)
{
    rlhf_pipeline *pipeline;

    write_text(text);
    CHECK(context, rlhf_pipeline_load(&pipeline, context, path, folder));
    return pipeline;
}

/* The file is refused; place is its line, part what the error says. */
static void refuse(const char *text, rlhf_status status, int line, const char *part)
{
    rlhf_pipeline *pipeline = (rlhf_pipeline *)&path;
    char place[160];

    write_text(text);
    assert_int_equal(rlhf_pipeline_load(&pipeline, context, path, folder), status);
    assert_null(pipeline);
    snprintf(place, sizeof place, "pipeline.yaml:%d:", line);
    assert_error(context, place);
    assert_error(context, part);
}

static rlhf_pipeline_stage stage_of(const rlhf_pipeline *pipeline, int64_t index)
{
    rlhf_pipeline_stage view = {.struct_size = sizeof view};

    CHECK(context, rlhf_pipeline_get(pipeline, index, &view));
    assert_int_equal(view.struct_size, sizeof view);
    return view;
}

static void has(const rlhf_recipe *recipe, const char *key, const char *expected)
{
    char text[256];
    size_t needed;

    CHECK(context, rlhf_recipe_get(recipe, key, text, sizeof text, &needed));
    assert_string_equal(text, expected);
}

/* A path inside the folder of the runs. */
static const char *inside(const char *rest)
{
    static char text[160];

    snprintf(text, sizeof text, "%s/%s", folder, rest);
    return text;
}

static const char good[] = "# from words to wishes\n"
                           "stages:\n"
                           "  - name: sft\n"
                           "    method: sft\n"
                           "    model_name_or_path: base\n"
                           "    learning_rate: 3e-5\n"
                           "  - method: reward\n"
                           "    name: reward-1.b_C\n"
                           "    model_name_or_path: stage:sft\n"
                           "  - name: ppo\n"
                           "    method: ppo\n"
                           "    model_name_or_path: stage:sft\n"
                           "    reward_model_path: 'stage:reward-1.b_C'\n"
                           "    scorer: lexicon:words.txt\n"
                           "    gold: stage:reward-1.b_C\n";

static void test_good_file(void **state)
{
    rlhf_pipeline *pipeline = load(good);
    rlhf_pipeline_stage stage;

    (void)state;
    assert_int_equal(rlhf_pipeline_stages(pipeline), 3);
    stage = stage_of(pipeline, 0);
    assert_string_equal(stage.name, "sft");
    assert_string_equal(rlhf_recipe_method(stage.recipe), "sft");
    assert_null(stage.scorer);
    assert_null(stage.gold);
    has(stage.recipe, "model_name_or_path", "base");
    has(stage.recipe, "learning_rate", "3e-05");
    has(stage.recipe, "output_dir", inside("sft"));
    stage = stage_of(pipeline, 1);
    assert_string_equal(stage.name, "reward-1.b_C");
    assert_string_equal(rlhf_recipe_method(stage.recipe), "reward");
    has(stage.recipe, "model_name_or_path", inside("sft/model"));
    has(stage.recipe, "output_dir", inside("reward-1.b_C"));
    stage = stage_of(pipeline, 2);
    assert_string_equal(rlhf_recipe_method(stage.recipe), "ppo");
    has(stage.recipe, "model_name_or_path", inside("sft/model"));
    has(stage.recipe, "reward_model_path", inside("reward-1.b_C/model"));
    assert_string_equal(stage.scorer, "lexicon:words.txt");
    assert_string_equal(stage.gold, inside("reward-1.b_C/model"));
    rlhf_pipeline_release(&pipeline);
    assert_null(pipeline);
}

static void test_null_in_the_file(void **state)
{
    rlhf_pipeline *pipeline = load("stages:\n- {name: a, method: reinforce, model_name_or_path: null, baseline: none,\n"
                                   "   missing_eos_penalty: ~, scorer: null, gold: 'null'}\n");
    rlhf_pipeline_stage stage = stage_of(pipeline, 0);

    (void)state;
    has(stage.recipe, "model_name_or_path", "");
    has(stage.recipe, "baseline", "none"); /* a word to choose */
    has(stage.recipe, "missing_eos_penalty", "");
    assert_null(stage.scorer);
    assert_string_equal(stage.gold, "null"); /* quoted: a name */
    rlhf_pipeline_release(&pipeline);
}

#define ONE(rest) "stages:\n  - name: one\n    method: sft\n" rest

static void test_references(void **state)
{
    rlhf_pipeline *pipeline;
    rlhf_pipeline_stage stage;

    (void)state;
    /* Not itself, not a later one, not outside the folder. */
    refuse(ONE("    model_name_or_path: stage:one\n"), RLHF_E_INVAL, 4, "\"stage:one\" names no earlier stage");
    refuse(ONE("    model_name_or_path: stage:two\n  - name: two\n    method: sft\n"), RLHF_E_INVAL, 4, "stage:two");
    refuse(ONE("    model_name_or_path: 'stage:'\n"), RLHF_E_INVAL, 4, "names no earlier stage");
    refuse(ONE("    scorer: 'stage:'\n"), RLHF_E_INVAL, 4, "names no earlier stage");
    refuse(ONE("    model_name_or_path: stage:../done\n"), RLHF_E_INVAL, 4, "stage:../done");
    refuse(ONE("    model_name_or_path: stage:done\n"), RLHF_E_INVAL, 4, folder);

    /* Begun is not finished; a run with a model is. */
    assert_int_equal(mkdir(inside("done"), 0777), 0);
    refuse(ONE("    model_name_or_path: stage:done\n"), RLHF_E_INVAL, 4, "stage:done");
    assert_int_equal(mkdir(inside("done/model"), 0777), 0);
    pipeline = load(ONE("    model_name_or_path: stage:done\n"));
    stage = stage_of(pipeline, 0);
    has(stage.recipe, "model_name_or_path", inside("done/model"));
    rlhf_pipeline_release(&pipeline);
    refuse(ONE("    model_name_or_path: stage:../done\n"), RLHF_E_INVAL, 4, "stage:../done");
}

static void test_keys(void **state)
{
    (void)state;
    refuse(ONE("    seed: 1\n    learing_rate: 1\n"), RLHF_E_INVAL, 5,
           "learing_rate: sft has no such key; did you mean learning_rate?");
    refuse(ONE("    learning_rate: -1\n"), RLHF_E_RANGE, 4, "learning_rate");
    refuse(ONE("    seed: many\n"), RLHF_E_INVAL, 4, "seed");
    refuse(ONE("    cliprange: 0.2\n"), RLHF_E_INVAL, 4, "sft has no such key"); /* ppo's */
    refuse(ONE("    output_dir: elsewhere\n"), RLHF_E_INVAL, 4, "output_dir");
    refuse(ONE("    seed: [1, 2]\n"), RLHF_E_FORMAT, 4, "seed: a single value is expected");
    refuse(ONE("    scorer:\n      kind: lexicon\n"), RLHF_E_FORMAT, 4, "scorer: a single value is expected");
    refuse(ONE("    seed: 1\n    seed: 2\n"), RLHF_E_FORMAT, 5, "seed");
}

static void test_names(void **state)
{
    static const char *const bad[] = {"../x", ".", "..", ".hidden", "a/b", "a b", "''", "b\xc3\xa4r", "a:b"};
    char text[256], longest[66];
    rlhf_pipeline *pipeline;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        snprintf(text, sizeof text, "stages:\n  - method: sft\n    name: %s\n", bad[i]);
        refuse(text, RLHF_E_FORMAT, 3, "letters, digits");
    }
    memset(longest, 'n', 65);
    longest[65] = '\0';
    snprintf(text, sizeof text, "stages:\n- name: %s\n  method: sft\n", longest);
    refuse(text, RLHF_E_FORMAT, 2, "letters, digits");
    snprintf(text, sizeof text, "stages:\n- name: %s\n  method: sft\n", longest + 1); /* 64 */
    pipeline = load(text);
    rlhf_pipeline_release(&pipeline);

    refuse(ONE("  - name: two\n    method: sft\n  - method: ppo\n    name: one\n"), RLHF_E_FORMAT, 7,
           "name \"one\" stands twice");
}

static void test_stages(void **state)
{
    (void)state;
    refuse("stages:\n  - name: one\n", RLHF_E_FORMAT, 2, "needs the keys name and method");
    refuse("stages:\n  - method: sft\n", RLHF_E_FORMAT, 2, "needs the keys name and method");
    refuse("stages:\n  - name: one\n    method: [sft]\n", RLHF_E_FORMAT, 2, "needs the keys name and method");
    refuse("stages:\n  - name: {a: b}\n    method: sft\n", RLHF_E_FORMAT, 2, "needs the keys name and method");
    refuse("stages:\n  - name: one\n    method: pro\n", RLHF_E_INVAL, 3, "method pro: not known; did you mean ppo?");
    refuse("stages:\n  - sft\n", RLHF_E_FORMAT, 2, "a stage must be a mapping");
    refuse(ONE("  - [sft]\n"), RLHF_E_FORMAT, 4, "a stage must be a mapping");
    refuse("stages: []\n", RLHF_E_FORMAT, 1, "no stages");
    refuse("stages:\n", RLHF_E_FORMAT, 1, "only the key stages, a list");
    refuse("stages: {name: one, method: sft}\n", RLHF_E_FORMAT, 1, "only the key stages, a list");
    refuse(ONE("seed: 1\n"), RLHF_E_FORMAT, 4, "only the key stages, a list");
    refuse("- name: one\n  method: sft\n", RLHF_E_FORMAT, 1, "only the key stages, a list");
    refuse("{}\n", RLHF_E_FORMAT, 1, "no stages");
    refuse("words\n", RLHF_E_FORMAT, 1, "no stages");
    refuse("stages:\n  - {name: one, method: sft\n", RLHF_E_FORMAT, 3, "pipeline.yaml");
}

static void test_arguments(void **state)
{
    rlhf_pipeline_stage stage = {.struct_size = sizeof stage};
    rlhf_pipeline *pipeline = (rlhf_pipeline *)&path;
    struct {
        rlhf_pipeline_stage known;
        int64_t more;
    } longer;

    (void)state;
    write_text(good);
    assert_int_equal(rlhf_pipeline_load(NULL, context, path, folder), RLHF_E_INVAL);
    assert_int_equal(rlhf_pipeline_load(&pipeline, NULL, path, folder), RLHF_E_INVAL);
    assert_null(pipeline);
    assert_int_equal(rlhf_pipeline_load(&pipeline, context, NULL, folder), RLHF_E_INVAL);
    assert_int_equal(rlhf_pipeline_load(&pipeline, context, path, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_pipeline_load(&pipeline, context, inside("absent.yaml"), folder), RLHF_E_IO);
    assert_error(context, "absent.yaml");
    assert_null(pipeline);
    assert_int_equal(rlhf_pipeline_stages(NULL), 0);
    assert_int_equal(rlhf_pipeline_get(NULL, 0, &stage), RLHF_E_INVAL);

    pipeline = load(good);
    assert_int_equal(rlhf_pipeline_get(pipeline, 0, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_pipeline_get(pipeline, -1, &stage), RLHF_E_RANGE);
    assert_int_equal(rlhf_pipeline_get(pipeline, 3, &stage), RLHF_E_RANGE);
    assert_error(context, "stage 3 of 3");
    stage.struct_size = sizeof stage - 8;
    assert_int_equal(rlhf_pipeline_get(pipeline, 0, &stage), RLHF_E_INVAL);
    longer.known.struct_size = sizeof longer; /* a program that was built with a later header */
    CHECK(context, rlhf_pipeline_get(pipeline, 0, &longer.known));
    assert_int_equal(longer.known.struct_size, sizeof longer);
    assert_string_equal(longer.known.name, "sft");
    rlhf_pipeline_release(&pipeline);
    rlhf_pipeline_release(&pipeline);
    rlhf_pipeline_release(NULL);
}

/* The pipeline keeps its context alive. */
static void test_release_order(void **state)
{
    rlhf_context *own = make_context(1, ~0u, 0);
    rlhf_pipeline_stage stage = {.struct_size = sizeof stage};
    rlhf_pipeline *pipeline;

    (void)state;
    write_text(good);
    CHECK(own, rlhf_pipeline_load(&pipeline, own, path, folder));
    rlhf_context_release(&own);
    assert_int_equal(rlhf_pipeline_get(pipeline, 2, &stage), RLHF_OK);
    assert_string_equal(rlhf_recipe_method(stage.recipe), "ppo");
    rlhf_pipeline_release(&pipeline);
}

/* ---- without memory ---------------------------------------------------------------------------------------------- */

struct counter {
    int64_t calls, live, fail_at; /* this call and all later ones return NULL; 0 = none */
};

static void *counter_alloc(void *user_data, size_t size, size_t alignment)
{
    struct counter *counter = user_data;
    void *pointer;

    if (++counter->calls >= counter->fail_at && counter->fail_at > 0)
        return NULL;
    pointer = aligned_alloc(alignment, size);
    assert_non_null(pointer);
    memset(pointer, 0xA5, size); /* nobody may rely on zeros */
    counter->live++;
    return pointer;
}

static void counter_free(void *user_data, void *pointer, size_t size)
{
    struct counter *counter = user_data;

    (void)size;
    counter->live--;
    free(pointer);
}

static void test_every_allocation_may_fail(void **state)
{
    struct counter counter = {0};
    rlhf_context_options options;
    rlhf_context *poor;
    rlhf_pipeline *pipeline;
    int64_t before, live, calls;

    (void)state;
    write_text(good);
    rlhf_context_options_init(&options, sizeof options);
    options.threads = 1;
    options.allocator = (rlhf_allocator){counter_alloc, counter_free, &counter};
    assert_int_equal(rlhf_context_create(&poor, &options), RLHF_OK);
    before = counter.calls;
    live = counter.live;
    CHECK(poor, rlhf_pipeline_load(&pipeline, poor, path, folder));
    calls = counter.calls - before;
    assert_true(calls > 20);
    rlhf_pipeline_release(&pipeline);
    assert_int_equal(counter.live, live);
    for (int64_t n = 1; n <= calls; n++) {
        counter.fail_at = counter.calls + n;
        pipeline = (rlhf_pipeline *)&path;
        assert_int_equal(rlhf_pipeline_load(&pipeline, poor, path, folder), RLHF_E_NOMEM);
        assert_null(pipeline);
        assert_int_equal(counter.live, live);
    }
    counter.fail_at = 0;
    CHECK(poor, rlhf_pipeline_load(&pipeline, poor, path, folder));
    rlhf_pipeline_release(&pipeline);
    rlhf_context_release(&poor);
    assert_int_equal(counter.live, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_file),
        cmocka_unit_test(test_null_in_the_file),
        cmocka_unit_test(test_references),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_stages),
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_release_order),
        cmocka_unit_test(test_every_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
