/* Examples against TRL: every recorded micro-batch must hold the ids, and the borders of the answers, that we make of
 * the same data with the same tokenizer (golden/trl). */
#include "data/data.h"
#include "text_fixtures.h"

#include <math.h>

enum { MASK_LABELS, MASK_ALL_LABELS, MASK_COMPLETION, MASK_NONE };

struct run {
    const char *name;
    int32_t chat_template;
    rlhfi_examples_options options;
    int mask; /* which tensor says where answers are */
};

static const struct run runs[] = {
    {"sft_prompt_completion", 0, {.tokenize_flags = RLHF_TOKENIZE_EOS, .max_length = 64}, MASK_LABELS},
    {"sft_prompt_completion_all", 0, {.tokenize_flags = RLHF_TOKENIZE_EOS, .max_length = 64}, MASK_ALL_LABELS},
    {"sft_label_smoothing", 0, {.tokenize_flags = RLHF_TOKENIZE_EOS, .max_length = 64}, MASK_LABELS},
    {"sft_dft", 0, {.tokenize_flags = RLHF_TOKENIZE_EOS, .max_length = 64}, MASK_LABELS},
    {"sft_lora", 0, {.tokenize_flags = RLHF_TOKENIZE_EOS, .max_length = 64}, MASK_LABELS},
    {"sft_full_text", 0, {.tokenize_flags = RLHF_TOKENIZE_EOS, .max_length = 24}, MASK_LABELS},
    {"sft_assistant_only", RLHF_TEMPLATE_CHATML, {.tokenize_flags = RLHF_TOKENIZE_EOS, .max_length = 128}, MASK_NONE},
    {"reward", 0, {.tokenize_flags = RLHF_TOKENIZE_EOS, .max_length = 96, .drop_long = 1}, MASK_NONE},
    {"reward_margin_center", 0, {.tokenize_flags = RLHF_TOKENIZE_EOS, .max_length = 96, .drop_long = 1}, MASK_NONE},
    {"dpo_sigmoid", 0, {.tokenize_flags = RLHF_TOKENIZE_EOS, .max_length = 96}, MASK_COMPLETION},
    {"dpo_sigmoid_sft", 0, {.tokenize_flags = RLHF_TOKENIZE_EOS, .max_length = 96}, MASK_COMPLETION},
    {"dpo_lora", 0, {.tokenize_flags = RLHF_TOKENIZE_EOS, .max_length = 96}, MASK_COMPLETION},
    {"dpo_chat_ipo", RLHF_TEMPLATE_CHATML, {.tokenize_flags = RLHF_TOKENIZE_EOS, .max_length = 96}, MASK_COMPLETION},
    {"kto", 0, {.tokenize_flags = RLHF_TOKENIZE_EOS, .max_length = 96}, MASK_COMPLETION},
    {"kto_weights", 0, {.tokenize_flags = RLHF_TOKENIZE_EOS, .max_length = 96}, MASK_COMPLETION},
};

static const char *const prompt_runs[] = {"grpo_default", "grpo_gspo", "rloo_default", "distill_reverse_kl"};

/* ---- what TRL has recorded ------------------------------------------------------------------------------------------
 */

struct record {
    rlhf_context *context;
    rlhfi_json *run;
    rlhfi_safetensors *tensors;
    rlhf_tokenizer *tokenizer;
    rlhf_dataset *dataset;
    rlhfi_examples *examples;
};

static void open_record(struct record *record, const char *name, int32_t chat_template,
                        const rlhfi_examples_options *options)
{
    char path[4096], relative[512];
    rlhf_context_options context_options;
    rlhf_dataset_options dataset_options;
    snprintf(relative, sizeof relative, "trl/%s/run.json", name);
    if (!rlhfi_path_exists(golden_path(relative, path)))
        SKIP("%s is not there", path);
    rlhf_context_options_init(&context_options, sizeof context_options);
    context_options.threads = 1;
    assert_int_equal(rlhf_context_create(&record->context, &context_options), RLHF_OK);
    rlhf_context *context = record->context;
    check_ok(context, rlhfi_json_load(&record->run, context, path, 1 << 24), path);
    snprintf(relative, sizeof relative, "trl/%s/run.safetensors", name);
    check_ok(context, rlhfi_safetensors_open(&record->tensors, context, golden_path(relative, path)), path);
    check_ok(context, rlhf_tokenizer_load(&record->tokenizer, context, golden_path("trl/base_model", path)), path);
    snprintf(relative, sizeof relative, "trl/%s", rlhfi_json_text(rlhfi_json_get(record->run, "dataset"), NULL));
    rlhf_dataset_options_init(&dataset_options, sizeof dataset_options);
    dataset_options.chat_template = chat_template;
    check_ok(context, rlhf_dataset_load(&record->dataset, context, golden_path(relative, path), &dataset_options),
             path);
    check_ok(context, rlhfi_examples_build(&record->examples, record->tokenizer, record->dataset, options), name);
    assert_int_equal(record->examples->dropped, 0);
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
static void check_mask(const rlhfi_sequence *sequence, int kind, const int64_t *ids, const int64_t *mask,
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
    float margins[16];
    snprintf(name, sizeof name, "micro%02zu.margin", batch);
    const rlhfi_tensor_info *info = rlhfi_safetensors_find(record->tensors, name);
    for (int64_t i = 0; i < pairs && !info; i++)
        assert_true(isnan(record->examples->margin[start + i]));
    if (!info)
        return;
    assert_int_equal(info->elements, pairs);
    check_ok(record->context, rlhfi_safetensors_read_float(record->tensors, info, margins), name);
    for (int64_t i = 0; i < pairs; i++)
        assert_true(margins[i] == (float)record->examples->margin[start + i]);
}

/* KTO's labels come through in the other columns. */
static void check_labels(struct record *record, size_t batch, int64_t start, int64_t rows)
{
    int64_t *labels = read_field(record, batch, "label", NULL, NULL);
    for (int64_t i = 0; labels && i < rows; i++) {
        rlhf_row row = {.struct_size = sizeof row};
        check_ok(record->context, rlhf_dataset_row(record->dataset, record->examples->source[start + i], &row), "row");
        assert_string_equal(row.extra, labels[i] ? "{\"label\": true}" : "{\"label\": false}");
    }
    rlhfi_free(record->context, labels);
}

static void check_run(void **state)
{
    static const char *const mask_names[] = {"labels", "labels", "completion_mask", "attention_mask"};
    const struct run *run = *state;
    struct record record = {0};
    int64_t start = 0;
    open_record(&record, run->name, run->chat_template, &run->options);
    size_t batches = rlhfi_json_size(rlhfi_json_get(record.run, "micro_batches"));
    assert_true(batches > 0);
    for (size_t batch = 0; batch < batches; batch++) {
        int64_t rows, columns;
        int64_t *ids = read_field(&record, batch, "input_ids", &rows, &columns);
        int64_t *attention = read_field(&record, batch, "attention_mask", &rows, &columns);
        int64_t *mask = read_field(&record, batch, mask_names[run->mask], &rows, &columns);
        int64_t examples = record.examples->kind == RLHF_ROW_PREFERENCE ? rows / 2 : rows;
        assert_true(ids && attention && mask);
        for (int64_t row = 0; row < rows; row++) {
            const rlhfi_sequence *sequence = sequence_of(record.examples, start, row, rows);
            check_ids(sequence, ids + row * columns, attention + row * columns, columns);
            if (run->mask != MASK_NONE)
                check_mask(sequence, run->mask, ids + row * columns, mask + row * columns, columns);
        }
        if (record.examples->kind == RLHF_ROW_PREFERENCE)
            check_margins(&record, batch, start, examples);
        check_labels(&record, batch, start, rows);
        start += examples;
        rlhfi_free(record.context, ids);
        rlhfi_free(record.context, attention);
        rlhfi_free(record.context, mask);
    }
    assert_int_equal(start, record.examples->rows); /* one epoch, in the order of the file */
    close_record(&record);
}

/* Trainers that sample shuffle their rows: each recorded prompt must be one of ours, and each of ours in an epoch. */
static void check_prompts(void **state)
{
    const rlhfi_examples_options options = {.tokenize_flags = RLHF_TOKENIZE_EOS};
    struct record record = {0};
    open_record(&record, *state, 0, &options);
    size_t batches = rlhfi_json_size(rlhfi_json_get(record.run, "micro_batches")), found = 0;
    for (size_t batch = 0; batch < batches; batch++) {
        int64_t rows, columns;
        int64_t *ids = read_field(&record, batch, "prompt_ids", &rows, &columns);
        int64_t *mask = read_field(&record, batch, "prompt_mask", &rows, &columns);
        for (int64_t row = 0; row < rows; row++) {
            int64_t pad = 0;
            bool match = false;
            while (mask[row * columns + pad] == 0)
                pad++;
            for (uint64_t i = 0; i < record.examples->rows && !match; i++) {
                const rlhfi_sequence *prompt = &record.examples->first[i];
                assert_int_equal(prompt->prompt_length, prompt->length);
                match = prompt->length == columns - pad;
                for (int64_t t = pad; t < columns && match; t++)
                    match = ids[row * columns + t] == prompt->tokens[t - pad];
            }
            assert_true(match);
            found++;
        }
        rlhfi_free(record.context, ids);
        rlhfi_free(record.context, mask);
    }
    assert_true(found > 0);
    close_record(&record);
}

int main(void)
{
    enum { RUNS = sizeof runs / sizeof runs[0], PROMPT_RUNS = sizeof prompt_runs / sizeof prompt_runs[0] };
    struct CMUnitTest tests[RUNS + PROMPT_RUNS];
    for (size_t i = 0; i < RUNS; i++)
        tests[i] = (struct CMUnitTest){runs[i].name, check_run, NULL, NULL, (void *)(uintptr_t)&runs[i]};
    for (size_t i = 0; i < PROMPT_RUNS; i++)
        tests[RUNS + i] =
            (struct CMUnitTest){prompt_runs[i], check_prompts, NULL, NULL, (void *)(uintptr_t)prompt_runs[i]};
    return _cmocka_run_group_tests("trl_examples", tests, RUNS + PROMPT_RUNS, NULL, NULL);
}
