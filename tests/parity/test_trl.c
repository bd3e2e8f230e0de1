/* Training runs recorded from TRL: from the recorded micro-batches (replay), and from the JSONL file with a recipe made
 * of the run's own arguments. Runs that need what this version does not have are skipped by name. */
#include "model_fixtures.h"

#include <dirent.h>
#include <unistd.h>

#include "training/training.h"

enum { MOST_ROWS = 4096 };

struct run {
    rlhf_context *context;
    char name[128], directory[4096], base[4096], dataset[4096];
    rlhfi_json *json;
    rlhfi_safetensors *file;
    bool reward;
    rlhf_recipe *recipe;
    bool conversational; /* the data are messages */
    uint64_t data_rows;
};

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static bool is_set(const rlhfi_json *config, const char *key)
{
    bool value = false;

    return rlhfi_json_boolean(rlhfi_json_get(config, key), &value) && value;
}

/* Whether the run needs what this version does not do: another trainer, adapters, packing, masks inside a conversation,
 * DFT. */
static bool is_left_out(const struct run *run, const char *trainer)
{
    const rlhfi_json *config = rlhfi_json_get(run->json, "config");
    const char *loss = rlhfi_json_text(rlhfi_json_get(config, "loss_type"), NULL);

    if (!run->reward && strcmp(trainer, "SFTTrainer") != 0)
        return true;
    return rlhfi_json_type(rlhfi_json_get(run->json, "lora")) != RLHFI_JSON_NULL || is_set(config, "packing") ||
           is_set(config, "padding_free") || is_set(config, "assistant_only_loss") ||
           (loss != NULL && strcmp(loss, "nll") != 0);
}

/* How many rows the run's data have, and of which form. */
static void look_at_data(struct run *run)
{
    rlhf_dataset_options options;
    rlhf_dataset *dataset;
    rlhf_row row = {.struct_size = sizeof row};

    rlhf_dataset_options_init(&options, sizeof options);
    options.chat_template = RLHF_TEMPLATE_CHATML; /* does nothing to plain texts */
    check_ok(run->context, rlhf_dataset_load(&dataset, run->context, run->dataset, &options), run->dataset);
    run->data_rows = rlhf_dataset_rows(dataset);
    check_ok(run->context, rlhf_dataset_row(dataset, 0, &row), run->dataset);
    run->conversational = row.conversational != 0;
    rlhf_dataset_release(&dataset);
}

static bool open_run(struct run *run, const char *name)
{
    char path[4096 + 64], below[256];
    const char *trainer;

    memset(run, 0, sizeof *run);
    snprintf(run->name, sizeof run->name, "%s", name);
    snprintf(below, sizeof below, "trl/%s", name);
    golden_path(below, run->directory);
    run->context = make_context(1, ~0u, 1);
    snprintf(path, sizeof path, "%s/run.json", run->directory);
    check_ok(run->context, rlhfi_json_load(&run->json, run->context, path, 1 << 26), path);
    trainer = rlhfi_json_text(rlhfi_json_get(run->json, "trainer"), NULL);
    run->reward = strcmp(trainer, "RewardTrainer") == 0;
    if (is_left_out(run, trainer)) {
        rlhfi_json_release(&run->json);
        rlhf_context_release(&run->context);
        return false;
    }
    snprintf(path, sizeof path, "%s/run.safetensors", run->directory);
    check_ok(run->context, rlhfi_safetensors_open(&run->file, run->context, path), path);
    snprintf(below, sizeof below, "trl/%.200s", rlhfi_json_text(rlhfi_json_get(run->json, "base"), NULL));
    golden_path(below, run->base);
    snprintf(below, sizeof below, "trl/%.200s", rlhfi_json_text(rlhfi_json_get(run->json, "dataset"), NULL));
    golden_path(below, run->dataset);
    look_at_data(run);
    return true;
}

static void close_run(struct run *run)
{
    rlhf_recipe_release(&run->recipe);
    rlhfi_safetensors_close(&run->file);
    rlhfi_json_release(&run->json);
    rlhf_context_release(&run->context);
}

/* Every argument of the run that the recipe has a key for; null leaves the default. */
static void make_recipe(struct run *run)
{
    const rlhfi_json *config = rlhfi_json_get(run->json, "config"), *value;
    void *iterator = NULL;
    const char *key;
    char text[64];

    check_ok(run->context, rlhf_recipe_create(&run->recipe, run->context, run->reward ? "reward" : "sft"), "recipe");
    while (rlhfi_json_next(config, &iterator, &key, &value)) {
        const char *given = rlhfi_json_text(value, NULL);
        double number;
        bool boolean;
        if (!rlhfi_recipe_has(run->recipe, key))
            continue;
        if (rlhfi_json_boolean(value, &boolean))
            given = boolean ? "true" : "false";
        else if (rlhfi_json_number(value, &number))
            given = rlhfi_format_double(number, text, sizeof text) > 0 ? text : NULL;
        if (given != NULL)
            check_ok(run->context, rlhf_recipe_set(run->recipe, key, given), key);
    }
    if (strcmp(rlhfi_json_text(rlhfi_json_get(config, "train_sampling_strategy"), NULL), "sequential") != 0)
        fail_msg("the run is not in sequential order");
    if (run->conversational)
        check_ok(run->context, rlhf_recipe_set(run->recipe, "chat_template", "chatml"), "chat_template");
    check_ok(run->context, rlhf_recipe_set(run->recipe, "shuffle_dataset", "false"), "shuffle_dataset");
    check_ok(run->context, rlhf_recipe_set(run->recipe, "logging_steps", "1"), "logging_steps");
    check_ok(run->context, rlhf_recipe_set(run->recipe, "model_name_or_path", run->base), "model_name_or_path");
}

/* ---- recorded micro-batches as examples -------------------------------------------------------------------------- */

static rlhfi_sequence sequence_of(rlhf_context *context, const int64_t *ids, const int64_t *mask, const int64_t *labels,
                                  int64_t columns)
{
    rlhfi_sequence sequence = {.tokens = rlhfi_alloc_array(context, (size_t)columns, sizeof(int32_t))};

    assert_non_null(sequence.tokens);
    while (sequence.length < columns && mask[sequence.length] != 0) {
        sequence.tokens[sequence.length] = (int32_t)ids[sequence.length];
        sequence.length++;
    }
    /* Position 0 never counts; behind the first label every real token does. */
    while (labels != NULL && sequence.prompt_length < sequence.length && labels[sequence.prompt_length] == -100)
        sequence.prompt_length++;
    if (sequence.prompt_length == 0)
        sequence.prompt_length = 1;
    for (int64_t i = sequence.prompt_length; labels != NULL && i < sequence.length; i++)
        assert_int_equal(labels[i], sequence.tokens[i]);
    return sequence;
}

static void add_micro_batch(struct run *run, int index, rlhfi_examples *examples)
{
    char name[64];
    struct integers ids, mask, labels = {NULL, 0, 0};
    const rlhfi_tensor_info *margin;
    float *margins = NULL;

    snprintf(name, sizeof name, "micro%02d.input_ids", index);
    ids = load_integers(run->context, run->file, name);
    snprintf(name, sizeof name, "micro%02d.attention_mask", index);
    mask = load_integers(run->context, run->file, name);
    snprintf(name, sizeof name, "micro%02d.labels", index);
    if (!run->reward)
        labels = load_integers(run->context, run->file, name);
    snprintf(name, sizeof name, "micro%02d.margin", index);
    margin = rlhfi_safetensors_find(run->file, name);
    if (margin != NULL) {
        margins = calloc((size_t)margin->elements, sizeof *margins);
        assert_non_null(margins);
        check_ok(run->context, rlhfi_safetensors_read_float(run->file, margin, margins), name);
    }
    for (int64_t r = 0; r < ids.rows / (run->reward ? 2 : 1); r++) {
        int64_t at = r * ids.columns, other = (r + ids.rows / 2) * ids.columns;
        uint64_t row = examples->rows++;
        assert_true(row < MOST_ROWS);
        examples->source[row] = row;
        examples->first[row] = sequence_of(run->context, ids.data + at, mask.data + at,
                                           run->reward ? NULL : labels.data + at, ids.columns);
        if (!run->reward)
            continue;
        examples->second[row] = sequence_of(run->context, ids.data + other, mask.data + other, NULL, ids.columns);
        examples->margin[row] = margin != NULL ? (double)margins[r] : NAN;
    }
    free(ids.data);
    free(mask.data);
    free(labels.data);
    free(margins);
}

static rlhfi_examples *recorded_examples(struct run *run)
{
    size_t micro_batches = rlhfi_json_size(rlhfi_json_get(run->json, "micro_batches"));
    rlhfi_examples *examples = rlhfi_calloc(run->context, 1, sizeof *examples);

    examples->context = rlhfi_context_retain(run->context);
    examples->kind = run->reward ? RLHF_ROW_PREFERENCE : RLHF_ROW_PROMPT_COMPLETION;
    examples->first = rlhfi_calloc(run->context, MOST_ROWS, sizeof *examples->first);
    examples->source = rlhfi_calloc(run->context, MOST_ROWS, sizeof *examples->source);
    if (run->reward) {
        examples->second = rlhfi_calloc(run->context, MOST_ROWS, sizeof *examples->second);
        examples->margin = rlhfi_calloc(run->context, MOST_ROWS, sizeof *examples->margin);
    }
    for (size_t i = 0; i < micro_batches; i++)
        add_micro_batch(run, (int)i, examples);
    return examples;
}

/* ---- comparison -------------------------------------------------------------------------------------------------- */

static double logged(const rlhf_metrics *metrics, const char *name)
{
    for (int32_t i = 0; i < metrics->count; i++)
        if (strcmp(metrics->name[i], name) == 0)
            return metrics->value[i];
    fail_msg("%s is not logged", name);
    return NAN;
}

/* TRL's log line of one step, key by key: nothing that TRL logs may be missing. */
static void check_step(const struct run *run, const rlhf_trainer *trainer, size_t step)
{
    const rlhfi_json *record = rlhfi_json_at(rlhfi_json_get(run->json, "optimizer_steps"), step), *value;
    rlhf_metrics metrics = {.struct_size = sizeof metrics};
    void *iterator = NULL;
    const char *key;
    char what[320];

    check_ok(run->context, rlhf_trainer_metrics(trainer, &metrics), "metrics");
    while (rlhfi_json_next(rlhfi_json_get(record, "log"), &iterator, &key, &value)) {
        double expected, got = logged(&metrics, key);
        double tolerance = strcmp(key, "grad_norm") == 0 ? 2e-3 : step == 0 ? 1e-5 : 1e-3;
        assert_true(rlhfi_json_number(value, &expected));
        snprintf(what, sizeof what, "%s, step %zu, %s", run->name, step, key);
        if (strcmp(key, "num_tokens") == 0 || strcmp(key, "accuracy") == 0)
            tolerance = 0;
        if (strcmp(key, "learning_rate") == 0)
            tolerance = 1e-12;
        if (strcmp(key, "mean_token_accuracy") == 0)
            tolerance = step == 0 ? 1e-6 : 0.1; /* one token whose best two are as good as equal may go either way */
        check_relative(what, got, expected, tolerance);
    }
}

/* README: 95 % of each tensor within 1e-3 S, 99.8 % within 0.02 S, none beyond S, S the sum of the learning rates. */
static void check_weights(const struct run *run, const rlhfi_model *model)
{
    const rlhfi_json *steps = rlhfi_json_get(run->json, "optimizer_steps");
    double sum = 0;

    for (size_t i = 0; i < rlhfi_json_size(steps); i++)
        sum += number_at(rlhfi_json_at(steps, i), "lr");
    for (int64_t i = 0; i < model->parameter_count; i++) {
        const rlhfi_parameter *parameter = &model->parameters[i];
        const float *got = model->weights->data + parameter->offset;
        int64_t beyond[3] = {0, 0, 0};
        char name[160];
        struct floats expected;
        snprintf(name, sizeof name, "final.%s", parameter->name);
        expected = load_floats(run->context, run->file, name);
        assert_int_equal(expected.count, parameter->elements);
        for (int64_t j = 0; j < expected.count; j++) {
            double difference = fabs((double)got[j] - (double)expected.data[j]);
            beyond[0] += !(difference <= 1e-3 * sum);
            beyond[1] += !(difference <= 0.02 * sum);
            beyond[2] += !(difference <= sum);
        }
        free(expected.data);
        if ((double)beyond[0] > 0.05 * (double)parameter->elements ||
            (double)beyond[1] > 0.002 * (double)parameter->elements || beyond[2] > 0)
            fail_msg("%s: %s: of %lld entries %lld are off by more than 1e-3 S, %lld by 0.02 S, %lld by S", run->name,
                     parameter->name, (long long)parameter->elements, (long long)beyond[0], (long long)beyond[1],
                     (long long)beyond[2]);
    }
}

static void train_and_compare(const struct run *run, rlhf_trainer *trainer)
{
    size_t steps = rlhfi_json_size(rlhfi_json_get(run->json, "optimizer_steps"));

    assert_int_equal(trainer->total_steps, steps);
    for (size_t i = 0; i < steps; i++) {
        check_ok(run->context, rlhf_trainer_step(trainer), "step");
        check_step(run, trainer, i);
    }
    check_weights(run, trainer->state.role[0].model);
}

/* ---- the two ways ------------------------------------------------------------------------------------------------ */

static void replay(void **state)
{
    struct run run;
    rlhf_trainer_options options;
    rlhf_trainer *trainer;
    rlhfi_examples *examples;

    if (!open_run(&run, *state))
        SKIP("trl/%s: its trainer or one of its arguments is not in this version", (const char *)*state);
    make_recipe(&run);
    examples = recorded_examples(&run);
    while (examples->rows > run.data_rows) { /* further epochs: the trainer goes through the rows again */
        rlhfi_free(run.context, examples->first[--examples->rows].tokens);
        if (run.reward)
            rlhfi_free(run.context, examples->second[examples->rows].tokens);
    }
    rlhf_trainer_options_init(&options, sizeof options);
    check_ok(run.context, rlhf_dataset_create(&options.dataset, run.context), "dataset");
    for (uint64_t i = 0; i < examples->rows; i++) { /* as many rows; what is in them is replaced */
        rlhf_row row = {.struct_size = sizeof row,
                        .kind = RLHF_ROW_PROMPT_COMPLETION,
                        .prompt = "Q",
                        .completion = " A",
                        .margin = NAN};
        if (run.reward) {
            row = (rlhf_row){.struct_size = sizeof row,
                             .kind = RLHF_ROW_PREFERENCE,
                             .prompt = "Q",
                             .chosen = " A",
                             .rejected = " B",
                             .margin = NAN};
        }
        check_ok(run.context, rlhf_dataset_append(options.dataset, &row), "row");
    }
    check_ok(run.context, rlhf_trainer_create(&trainer, run.context, run.recipe, &options), "trainer");
    assert_int_equal(trainer->examples->rows, examples->rows);
    rlhfi_examples_release(&trainer->examples);
    trainer->examples = examples;
    train_and_compare(&run, trainer);
    rlhf_trainer_release(&trainer);
    rlhf_dataset_release(&options.dataset);
    close_run(&run);
}

static void check_sequence(const struct run *run, uint64_t row, const rlhfi_sequence *got,
                           const rlhfi_sequence *expected)
{
    if (got->length != expected->length ||
        memcmp(got->tokens, expected->tokens, (size_t)got->length * sizeof *got->tokens) != 0)
        fail_msg("%s: row %llu has other ids than the recorded batch", run->name, (unsigned long long)row);
    if (!run->reward)
        assert_int_equal(got->prompt_length, expected->prompt_length);
}

static void from_jsonl(void **state)
{
    struct run run;
    rlhf_trainer *trainer;
    rlhfi_examples *examples;

    if (!open_run(&run, *state))
        SKIP("trl/%s: its trainer or one of its arguments is not in this version", (const char *)*state);
    make_recipe(&run);
    check_ok(run.context, rlhf_recipe_set(run.recipe, "dataset_name", run.dataset), "dataset_name");
    check_ok(run.context, rlhf_trainer_create(&trainer, run.context, run.recipe, NULL), "trainer");
    examples = recorded_examples(&run);
    assert_true(trainer->examples->rows > 0);
    for (uint64_t i = 0; i < examples->rows; i++) { /* epochs go through the file again */
        uint64_t row = i % trainer->examples->rows;
        check_sequence(&run, i, &trainer->examples->first[row], &examples->first[i]);
        if (run.reward)
            check_sequence(&run, i, &trainer->examples->second[row], &examples->second[i]);
    }
    rlhfi_examples_release(&examples);
    train_and_compare(&run, trainer);
    rlhf_trainer_release(&trainer);
    close_run(&run);
}

static void no_fixtures(void **state)
{
    (void)state;
    SKIP("trl: no fixtures at %s", getenv("RLHF_GOLDEN") != NULL ? getenv("RLHF_GOLDEN") : "../shared/golden");
}

/* ---- discovery --------------------------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct CMUnitTest *)a)->name, ((const struct CMUnitTest *)b)->name);
}

int main(void)
{
    enum { MOST_TESTS = 256 };
    struct CMUnitTest tests[MOST_TESTS];
    size_t count = 0;
    char directory[4096], path[8192];
    DIR *listing = opendir(golden_path("trl", directory));
    int failed;

    memset(tests, 0, sizeof tests);
    for (struct dirent *entry; listing != NULL && (entry = readdir(listing)) != NULL;) {
        snprintf(path, sizeof path, "%s/%s/run.json", directory, entry->d_name);
        if (access(path, R_OK) != 0 || count + 2 > MOST_TESTS)
            continue;
        for (int way = 0; way < 2; way++) {
            char *name = malloc(strlen(entry->d_name) + 32), *run = strdup(entry->d_name);
            sprintf(name, "%s %s", entry->d_name, way == 0 ? "replay" : "from jsonl");
            tests[count++] =
                (struct CMUnitTest){.name = name, .test_func = way == 0 ? replay : from_jsonl, .initial_state = run};
        }
    }
    if (listing != NULL)
        closedir(listing);
    if (count == 0)
        tests[count++] = (struct CMUnitTest){.name = "trl", .test_func = no_fixtures};
    qsort(tests, count, sizeof tests[0], by_name);
    failed = _cmocka_run_group_tests("trl", tests, count, NULL, NULL);
    for (size_t i = 0; i < count; i++) {
        if (tests[i].initial_state != NULL)
            free((void *)(uintptr_t)tests[i].name);
        free(tests[i].initial_state);
    }
    return failed;
}
