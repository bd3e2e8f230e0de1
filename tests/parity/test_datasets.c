/* Real datasets: HH-RLHF's test splits with the traps that algorithms.md 14 measured, TinyStories, Alpaca, messages;
 * what was loaded is saved and loaded again. Files that people publish, not made for us. */
#include "data/data.h"
#include "text_fixtures.h"

#include <unistd.h>

static rlhf_context *context;

static int begin(void **state)
{
    (void)state;
    rlhf_context_options options;
    rlhf_context_options_init(&options, sizeof options);
    options.threads = 1;
    return rlhf_context_create(&context, &options) == RLHF_OK ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    rlhf_context_release(&context);
    return 0;
}

static rlhf_status load(rlhf_dataset **out, const char *name, int32_t bad_row, int32_t chat_template)
{
    char path[4096];
    rlhf_dataset_options options;
    if (!rlhfi_path_exists(shared_path(name, path)))
        SKIP("%s is not there", path);
    rlhf_dataset_options_init(&options, sizeof options);
    options.bad_row = bad_row;
    options.chat_template = chat_template;
    return rlhf_dataset_load(out, context, path, &options);
}

static rlhf_row row_of(const rlhf_dataset *dataset, uint64_t index)
{
    rlhf_row row = {.struct_size = sizeof row};
    check_ok(context, rlhf_dataset_row(dataset, index, &row), "row");
    return row;
}

static bool ends_in(const char *text, const char *suffix)
{
    size_t bytes = strlen(text), length = strlen(suffix);
    return bytes >= length && strcmp(text + bytes - length, suffix) == 0;
}

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static void check_round_trip(const rlhf_dataset *dataset)
{
    char path[] = "/tmp/rlhf_dataset_XXXXXX.jsonl.gz";
    int descriptor = mkstemps(path, 9);
    rlhf_dataset *again;
    assert_true(descriptor >= 0);
    close(descriptor);
    check_ok(context, rlhf_dataset_save(dataset, path), path);
    check_ok(context, rlhf_dataset_load(&again, context, path, NULL), path);
    unlink(path);
    assert_int_equal(rlhf_dataset_rows(again), rlhf_dataset_rows(dataset));
    for (uint64_t i = 0; i < rlhf_dataset_rows(again); i++) {
        rlhf_row a = row_of(dataset, i), b = row_of(again, i);
        assert_true(a.kind == b.kind && a.conversational == b.conversational);
        assert_true(same_text(a.text, b.text) && same_text(a.prompt, b.prompt) && same_text(a.chosen, b.chosen));
        assert_true(same_text(a.rejected, b.rejected) && same_text(a.completion, b.completion));
        assert_true(same_text(a.extra, b.extra));
    }
    rlhf_dataset_release(&again);
}

static void check_transcripts(const char *name, uint64_t rows, uint64_t skipped)
{
    rlhf_dataset *dataset;
    /* By default the first bad row stops the reading, and says which it is. */
    assert_int_equal(load(&dataset, name, RLHF_BAD_ROW_STOP, 0), RLHF_E_FORMAT);
    check_ok(context, load(&dataset, name, RLHF_BAD_ROW_SKIP, 0), name);
    assert_int_equal(rlhf_dataset_rows(dataset), rows);
    assert_int_equal(rlhf_dataset_skipped(dataset), skipped);
    for (uint64_t i = 0; i < rows; i++) {
        rlhf_row row = row_of(dataset, i);
        assert_int_equal(row.kind, RLHF_ROW_PREFERENCE);
        assert_true(strncmp(row.prompt, "\n\nHuman:", 8) == 0 && ends_in(row.prompt, "\n\nAssistant:"));
        assert_true(row.chosen[0] == ' ' && row.rejected[0] == ' ');
        assert_null(strstr(row.chosen, "\n\nAssistant:"));
        assert_null(strstr(row.rejected, "\n\nAssistant:"));
        assert_string_not_equal(row.chosen, row.rejected);
    }
    check_round_trip(dataset);
    rlhf_dataset_release(&dataset);
}

/* Of 2312 rows, 4 have an empty answer and 5 part before the last turn. */
static void harmless(void **state)
{
    (void)state;
    check_transcripts("data/preferences/hh_harmless_base_test.jsonl.gz", 2312 - 9, 9);
}

/* Of 2354 rows, 4 have an empty answer, 9 part before the last turn, 2 are the same twice. */
static void helpful(void **state)
{
    (void)state;
    check_transcripts("data/preferences/hh_helpful_base_test.jsonl.gz", 2354 - 15, 15);
}

static void stories(void **state)
{
    (void)state;
    rlhf_dataset *dataset;
    check_ok(context, load(&dataset, "data/text/tinystories_1800.txt.gz", 0, 0), "stories");
    assert_int_equal(rlhf_dataset_rows(dataset), 1800);
    for (uint64_t i = 0; i < 1800; i++) {
        rlhf_row row = row_of(dataset, i);
        assert_int_equal(row.kind, RLHF_ROW_TEXT);
        assert_null(strstr(row.text, "<|endoftext|>"));
        assert_true(row.text[0] && row.text[0] != '\n' && !ends_in(row.text, "\n"));
    }
    assert_int_equal(strncmp(row_of(dataset, 0).text, "One day, a little girl named Lily", 33), 0);
    assert_true(ends_in(row_of(dataset, 1799).text, "the bad ending to the story."));
    check_round_trip(dataset);
    rlhf_dataset_release(&dataset);
}

/* A text without separators is one document; C4 has a column text and others. */
static void texts(void **state)
{
    (void)state;
    rlhf_dataset *dataset;
    check_ok(context, load(&dataset, "data/text/tinyshakespeare.txt.gz", 0, 0), "shakespeare");
    assert_int_equal(rlhf_dataset_rows(dataset), 1);
    assert_int_equal(strlen(row_of(dataset, 0).text), 1115393); /* without the last newline */
    rlhf_dataset_release(&dataset);
    check_ok(context, load(&dataset, "data/text/c4_demo.jsonl.gz", 0, 0), "c4");
    assert_int_equal(rlhf_dataset_rows(dataset), 300);
    check_round_trip(dataset);
    rlhf_dataset_release(&dataset);
}

static void instructions(void **state)
{
    (void)state;
    rlhf_dataset *dataset;
    check_ok(context, load(&dataset, "data/instructions/alpaca_3000.jsonl.gz", 0, 0), "alpaca");
    assert_int_equal(rlhf_dataset_rows(dataset), 3000);
    for (uint64_t i = 0; i < 3000; i++) {
        rlhf_row row = row_of(dataset, i);
        assert_int_equal(row.kind, RLHF_ROW_PROMPT_COMPLETION);
        assert_true(strncmp(row.prompt, "Below is an instruction", 23) == 0 && ends_in(row.prompt, "### Response:"));
        assert_non_null(strstr(row.extra, "\"index\": "));
    }
    check_round_trip(dataset);
    rlhf_dataset_release(&dataset);
}

/* Lists of ShareGPT's turns with two answers, and messages with a label. */
static void conversations(void **state)
{
    (void)state;
    rlhf_dataset *dataset;
    for (int32_t chat_template = RLHF_TEMPLATE_CHATML; chat_template <= RLHF_TEMPLATE_PLAIN; chat_template++) {
        check_ok(context,
                 load(&dataset, "data/preferences/llamafactory_dpo_en_demo.json.gz", RLHF_BAD_ROW_STOP, chat_template),
                 "pairs");
        assert_int_equal(rlhf_dataset_rows(dataset), 300);
        for (uint64_t i = 0; i < 300; i++) {
            rlhf_row row = row_of(dataset, i);
            assert_int_equal(row.kind, RLHF_ROW_PREFERENCE);
            assert_true(ends_in(row.prompt, chat_template == RLHF_TEMPLATE_PLAIN ? "Assistant:" : "assistant\n"));
            assert_int_equal(row.conversational, chat_template == RLHF_TEMPLATE_CHATML);
        }
        check_round_trip(dataset);
        rlhf_dataset_release(&dataset);
    }
    check_ok(context, load(&dataset, "data/preferences/llamafactory_kto_en_demo.json.gz", 0, RLHF_TEMPLATE_CHATML),
             "labels");
    assert_int_equal(rlhf_dataset_rows(dataset), 300);
    assert_non_null(strstr(row_of(dataset, 0).extra, "\"label\": "));
    rlhf_dataset_release(&dataset);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(harmless, begin, end),
        cmocka_unit_test_setup_teardown(helpful, begin, end),
        cmocka_unit_test_setup_teardown(stories, begin, end),
        cmocka_unit_test_setup_teardown(texts, begin, end),
        cmocka_unit_test_setup_teardown(instructions, begin, end),
        cmocka_unit_test_setup_teardown(conversations, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
