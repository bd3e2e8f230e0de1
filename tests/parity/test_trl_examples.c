/* Examples against TRL: every recorded micro-batch must hold the ids, and the borders of the answers, that we make of
 * the same data with the same tokenizer (golden/trl). */
#include "data/data.h"
#include "text_fixtures.h"

#include <dirent.h>
#include <math.h>

enum answers_in { MASK_LABELS, MASK_ALL_LABELS, MASK_COMPLETION, MASK_NONE, MASK_PROMPTS };

/* ---- what TRL has recorded ------------------------------------------------------------------------------------------
 */

struct record {
    rlhf_context *context;
    rlhfi_json *run;
    rlhfi_safetensors *tensors;
    rlhf_tokenizer *tokenizer;
    rlhf_dataset *dataset;
    rlhfi_examples *examples;
    enum answers_in mask; /* which tensor says where answers are */
    char reason[256];     /* why the run cannot be compared; empty: it can */
};

/* What the data's first row tells of all of them. */
struct form {
    bool conversational, has_prompt;
};

static struct form form_of(rlhf_context *context, const char *path)
{
    static const char *const columns[] = {"messages", "prompt", "chosen", "completion"};
    size_t bytes = 0, size = 0;
    char *text = need_text(path, &bytes), *at = text, *line = text;
    struct form form = {false, false};
    rlhfi_json *row;
    while (size == 0 && next_line(&at, text + bytes, &line, &size))
        continue;
    check_ok(context, rlhfi_json_parse(&row, context, line, size, path), path);
    for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++)
        form.conversational |= rlhfi_json_type(rlhfi_json_get(row, columns[i])) == RLHFI_JSON_ARRAY;
    form.has_prompt = rlhfi_json_get(row, "prompt") != NULL;
    rlhfi_json_release(&row);
    free(text);
    return form;
}

static bool is_set(const rlhfi_json *config, const char *key)
{
    bool value = false;
    return rlhfi_json_boolean(rlhfi_json_get(config, key), &value) && value;
}

/* Whether the model's own template is the one that we know by the name of ChatML. */
static bool speaks_chatml(const char *base)
{
    char path[8192];
    size_t bytes = 0;
    snprintf(path, sizeof path, "%s/chat_template.jinja", base);
    char *text = load_text(path, &bytes);
    bool found = text != NULL && strstr(text, "<|im_start|>") != NULL;
    free(text);
    return found;
}

static enum answers_in sft_answers(const rlhfi_json *config, struct form form)
{
    bool completion_only = form.has_prompt || !form.conversational; /* TRL's default */
    if (is_set(config, "assistant_only_loss"))
        return MASK_NONE;
    rlhfi_json_boolean(rlhfi_json_get(config, "completion_only_loss"), &completion_only);
    return completion_only ? MASK_LABELS : MASK_ALL_LABELS;
}

/* The rules of the run's trainer and arguments; a reason if they are not ours. */
static rlhfi_examples_options rules_of(struct record *record, const char *trainer, struct form form)
{
    rlhfi_examples_options options = {.tokenize_flags = RLHF_TOKENIZE_EOS};
    const rlhfi_json *config = rlhfi_json_get(record->run, "config");
    const char *truncation = rlhfi_json_text(rlhfi_json_get(config, "truncation_mode"), NULL);
    const char *order = rlhfi_json_text(rlhfi_json_get(config, "train_sampling_strategy"), NULL);
    record->mask = MASK_PROMPTS;
    if (strcmp(trainer, "SFTTrainer") == 0)
        record->mask = sft_answers(config, form);
    else if (strcmp(trainer, "RewardTrainer") == 0)
        record->mask = MASK_NONE;
    else if (strcmp(trainer, "DPOTrainer") == 0 || strcmp(trainer, "KTOTrainer") == 0)
        record->mask = MASK_COMPLETION;
    else if (!rlhfi_safetensors_find(record->tensors, "micro00.prompt_ids"))
        snprintf(record->reason, sizeof record->reason, "%.100s is not there", trainer);
    if (record->mask == MASK_PROMPTS)
        return options;
    if (is_set(config, "packing") || is_set(config, "padding_free"))
        snprintf(record->reason, sizeof record->reason, "sequences in one row are not there");
    if (is_set(config, "shuffle_dataset") || (order && strcmp(order, "sequential") != 0))
        snprintf(record->reason, sizeof record->reason, "the run is not in the order of the file");
    rlhfi_json_integer(rlhfi_json_get(config, "max_length"), &options.max_length); /* null: no limit */
    options.drop_long = strcmp(trainer, "RewardTrainer") == 0;
    if (truncation && strcmp(truncation, "keep_end") == 0)
        options.truncation = RLHFI_TRUNCATE_KEEP_END;
    return options;
}

/* Path below golden/trl that the run names. */
static const char *named_path(const struct record *record, const char *key, char out[4096])
{
    char relative[512];
    const char *name = rlhfi_json_text(rlhfi_json_get(record->run, key), NULL);
    if (!name)
        fail_msg("the run names no %s", key);
    snprintf(relative, sizeof relative, "trl/%.500s", name);
    return golden_path(relative, out);
}

static void open_record(struct record *record, const char *name)
{
    char path[4096], base[4096], relative[512];
    rlhf_context_options context_options;
    rlhf_dataset_options dataset_options;
    rlhf_context_options_init(&context_options, sizeof context_options);
    context_options.threads = 1;
    assert_int_equal(rlhf_context_create(&record->context, &context_options), RLHF_OK);
    rlhf_context *context = record->context;
    snprintf(relative, sizeof relative, "trl/%s/run.json", name);
    check_ok(context, rlhfi_json_load(&record->run, context, golden_path(relative, path), 1 << 26), path);
    snprintf(relative, sizeof relative, "trl/%s/run.safetensors", name);
    check_ok(context, rlhfi_safetensors_open(&record->tensors, context, golden_path(relative, path)), path);
    const char *trainer = rlhfi_json_text(rlhfi_json_get(record->run, "trainer"), NULL);
    assert_non_null(trainer);
    named_path(record, "base", base);
    named_path(record, "dataset", path);
    if (!rlhfi_path_exists(base) || !rlhfi_path_exists(path)) {
        snprintf(record->reason, sizeof record->reason, "its base model or its data is not there");
        return;
    }
    struct form form = form_of(context, path);
    rlhfi_examples_options options = rules_of(record, trainer, form);
    if (form.conversational && !speaks_chatml(base))
        snprintf(record->reason, sizeof record->reason, "its chat template is not ChatML");
    if (record->reason[0])
        return;
    check_ok(context, rlhf_tokenizer_load(&record->tokenizer, context, base), base);
    rlhf_dataset_options_init(&dataset_options, sizeof dataset_options);
    if (form.conversational)
        dataset_options.chat_template = RLHF_TEMPLATE_CHATML;
    check_ok(context, rlhf_dataset_load(&record->dataset, context, path, &dataset_options), path);
    check_ok(context, rlhfi_examples_build(&record->examples, record->tokenizer, record->dataset, &options), name);
    assert_true(record->examples->rows > 0);
}

static void close_record(struct record *record)
{
    rlhfi_examples_release(&record->examples);
    rlhf_dataset_release(&record->dataset);
    rlhf_tokenizer_release(&record->tokenizer);
    rlhfi_safetensors_close(&record->tensors);
    rlhfi_json_release(&record->run);
    rlhf_context_release(&record->context);
}

/* Tensor microKK.FIELD as int64; NULL if it isn't there. Free with rlhfi_free. */
static int64_t *read_field(struct record *record, size_t batch, const char *field, int64_t *rows, int64_t *columns)
{
    char name[64];
    snprintf(name, sizeof name, "micro%02zu.%s", batch, field);
    const rlhfi_tensor_info *info = rlhfi_safetensors_find(record->tensors, name);
    if (!info)
        return NULL;
    int64_t *values = rlhfi_alloc_array(record->context, (size_t)info->elements, sizeof *values);
    assert_non_null(values);
    check_ok(record->context, rlhfi_safetensors_read_int64(record->tensors, info, values), name);
    if (rows) {
        assert_int_equal(info->rank, 2);
        *rows = info->shape[0];
        *columns = info->shape[1];
    }
    return values;
}

/* ---- comparing ------------------------------------------------------------------------------------------------------
 */

/* The row's real tokens, between padding on either side, are the sequence's. */
static void check_ids(const rlhfi_sequence *sequence, const int64_t *ids, const int64_t *mask, int64_t columns)
{
    int32_t length = 0;
    for (int64_t t = 0; t < columns; t++) {
        if (mask[t] == 0)
            continue;
        assert_true(length < sequence->length);
        assert_int_equal(ids[t], sequence->tokens[length]);
        length++;
    }
    assert_int_equal(length, sequence->length);
}

/* Rows are padded on the right here, so column t is token t. */
static void check_mask(const rlhfi_sequence *sequence, enum answers_in kind, const int64_t *ids, const int64_t *mask,
                       int64_t columns)
{
    for (int64_t t = 0; t < columns; t++) {
        bool inside = t < sequence->length,
             answer = inside && (t >= sequence->prompt_length || kind == MASK_ALL_LABELS);
        if (kind == MASK_COMPLETION)
            assert_int_equal(mask[t], answer);
        else
            assert_int_equal(mask[t], answer ? ids[t] : -100);
    }
}

static const rlhfi_sequence *sequence_of(const rlhfi_examples *examples, int64_t start, int64_t row, int64_t rows)
{
    if (examples->kind != RLHF_ROW_PREFERENCE) {
        assert_true((uint64_t)(start + row) < examples->rows);
        return &examples->first[start + row];
    }
    int64_t pairs = rows / 2; /* all chosen, then all rejected */
    assert_true((uint64_t)(start + row % pairs) < examples->rows);
    return row < pairs ? &examples->first[start + row] : &examples->second[start + row - pairs];
}

static void check_margins(struct record *record, size_t batch, int64_t start, int64_t pairs)
{
    char name[64];
    snprintf(name, sizeof name, "micro%02zu.margin", batch);
    const rlhfi_tensor_info *info = rlhfi_safetensors_find(record->tensors, name);
    for (int64_t i = 0; i < pairs && !info; i++)
        assert_true(isnan(record->examples->margin[start + i]));
    if (!info)
        return;
    assert_int_equal(info->elements, pairs);
    float *margins = rlhfi_alloc_array(record->context, (size_t)pairs, sizeof *margins);
    assert_non_null(margins);
    check_ok(record->context, rlhfi_safetensors_read_float(record->tensors, info, margins), name);
    for (int64_t i = 0; i < pairs; i++)
        assert_true(margins[i] == (float)record->examples->margin[start + i]);
    rlhfi_free(record->context, margins);
}

/* KTO's labels come through in the other columns. */
static void check_labels(struct record *record, size_t batch, int64_t start, int64_t rows)
{
    int64_t *labels = read_field(record, batch, "label", NULL, NULL);
    for (int64_t i = 0; labels && i < rows; i++) {
        rlhf_row row = {.struct_size = sizeof row};
        check_ok(record->context, rlhf_dataset_row(record->dataset, record->examples->source[start + i], &row), "row");
        assert_non_null(row.extra);
        rlhfi_json *extra;
        check_ok(record->context, rlhfi_json_parse(&extra, record->context, row.extra, strlen(row.extra), "extra"),
                 row.extra);
        bool label = false;
        assert_true(rlhfi_json_boolean(rlhfi_json_get(extra, "label"), &label));
        assert_int_equal(label, labels[i] != 0);
        rlhfi_json_release(&extra);
    }
    rlhfi_free(record->context, labels);
}

/* One epoch after the other, in the order of the file; a batch ends with the epoch. */
static void check_batches(struct record *record, size_t batches)
{
    static const char *const mask_names[] = {"labels", "labels", "completion_mask", "attention_mask"};
    const rlhfi_json *config = rlhfi_json_get(record->run, "config");
    const int64_t all = (int64_t)record->examples->rows;
    int64_t seen = 0, steps = 0, accumulation = 1;
    for (size_t batch = 0; batch < batches; batch++) {
        int64_t rows, columns, start = seen % all;
        int64_t *ids = read_field(record, batch, "input_ids", &rows, &columns);
        int64_t *attention = read_field(record, batch, "attention_mask", &rows, &columns);
        int64_t *mask = read_field(record, batch, mask_names[record->mask], &rows, &columns);
        int64_t examples = record->examples->kind == RLHF_ROW_PREFERENCE ? rows / 2 : rows;
        assert_true(ids && attention && mask);
        for (int64_t row = 0; row < rows; row++) {
            const rlhfi_sequence *sequence = sequence_of(record->examples, start, row, rows);
            check_ids(sequence, ids + row * columns, attention + row * columns, columns);
            if (record->mask != MASK_NONE)
                check_mask(sequence, record->mask, ids + row * columns, mask + row * columns, columns);
        }
        if (record->examples->kind == RLHF_ROW_PREFERENCE)
            check_margins(record, batch, start, examples);
        check_labels(record, batch, start, rows);
        seen += examples;
        rlhfi_free(record->context, ids);
        rlhfi_free(record->context, attention);
        rlhfi_free(record->context, mask);
    }
    /* Less than an epoch only where the run's steps were over. */
    rlhfi_json_integer(rlhfi_json_get(config, "max_steps"), &steps);
    rlhfi_json_integer(rlhfi_json_get(config, "gradient_accumulation_steps"), &accumulation);
    if (seen < all)
        assert_int_equal(batches, steps * accumulation);
}

/* Trainers that sample shuffle their rows: each recorded prompt must be one of ours. */
static void check_prompts(struct record *record, size_t batches)
{
    size_t found = 0;
    for (size_t batch = 0; batch < batches; batch++) {
        int64_t rows, columns;
        int64_t *ids = read_field(record, batch, "prompt_ids", &rows, &columns);
        int64_t *mask = read_field(record, batch, "prompt_mask", &rows, &columns);
        assert_true(ids && mask);
        for (int64_t row = 0; row < rows; row++) {
            int64_t pad = 0;
            bool match = false;
            while (pad < columns && mask[row * columns + pad] == 0)
                pad++;
            for (uint64_t i = 0; i < record->examples->rows && !match; i++) {
                const rlhfi_sequence *prompt = &record->examples->first[i];
                assert_int_equal(prompt->prompt_length, prompt->length);
                match = prompt->length == columns - pad;
                for (int64_t t = pad; t < columns && match; t++)
                    match = ids[row * columns + t] == prompt->tokens[t - pad];
            }
            assert_true(match);
            found++;
        }
        rlhfi_free(record->context, ids);
        rlhfi_free(record->context, mask);
    }
    assert_true(found > 0);
}

static void check_run(void **state)
{
    struct record record = {0};
    char reason[256];
    open_record(&record, *state);
    if (record.reason[0]) {
        snprintf(reason, sizeof reason, "%s", record.reason);
        close_record(&record);
        SKIP("trl/%s: %s", (const char *)*state, reason);
    }
    size_t batches = rlhfi_json_size(rlhfi_json_get(record.run, "micro_batches"));
    assert_true(batches > 0);
    if (record.mask == MASK_PROMPTS)
        check_prompts(&record, batches);
    else
        check_batches(&record, batches);
    close_record(&record);
}

/* ---- discovery ------------------------------------------------------------------------------------------------------
 */

static void no_fixtures(void **state)
{
    (void)state;
    char path[4096];
    SKIP("no runs in %s", golden_path("trl", path));
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

int main(void)
{
    enum { MOST_RUNS = 256, NAME = 256 };
    static char names[MOST_RUNS][NAME];
    static struct CMUnitTest tests[MOST_RUNS];
    char directory[4096], path[8192];
    size_t count = 0;
    DIR *listing = opendir(golden_path("trl", directory));
    for (struct dirent *entry; listing && count < MOST_RUNS && (entry = readdir(listing)) != NULL;) {
        snprintf(path, sizeof path, "%s/%s/run.json", directory, entry->d_name);
        if (rlhfi_path_exists(path))
            snprintf(names[count++], NAME, "%s", entry->d_name);
    }
    if (listing)
        closedir(listing);
    qsort(names, count, sizeof names[0], by_name);
    for (size_t i = 0; i < count; i++)
        tests[i] = (struct CMUnitTest){names[i], check_run, NULL, NULL, names[i]};
    if (count == 0)
        tests[count++] = (struct CMUnitTest){"trl", no_fixtures, NULL, NULL, NULL};
    return _cmocka_run_group_tests("trl_examples", tests, count, NULL, NULL);
}
