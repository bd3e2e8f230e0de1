/* A dataset as examples: cutting, splitting, dropping, margins, sources. */
#include "support.h"

static rlhf_tokenizer *make_letters(rlhf_context *context)
{
    struct parts parts = {
        .model = "{\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"d\":3,\" \":4},\"merges\":[]}",
        .added = "[{\"id\":5,\"content\":\"<e>\",\"special\":true}]",
    };
    return make_tokenizer(context, parts, "{\"eos_token\":\"<e>\"}");
}

static void show(char *out, size_t capacity, const rlhfi_sequence *sequence)
{
    size_t used = 0;
    for (int32_t t = 0; t <= sequence->length; t++)
        used += (size_t)snprintf(out + used, capacity - used, t == sequence->prompt_length ? "|" : "") +
                (t < sequence->length ? (size_t)snprintf(out + strlen(out), 2, "%d", sequence->tokens[t]) : 0);
}

/* Builds examples and compares them, "|" where the response begins, "row" or "first:second" each. */
static void check(const char *lines, rlhfi_examples_options options, uint64_t dropped, const char *expected)
{
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    rlhf_tokenizer *tokenizer = make_letters(context);
    rlhf_dataset *dataset = load(context, write_text("e.jsonl", lines), 0, 0);
    rlhfi_examples *examples;
    char shown[1024] = "";
    check_ok(context, rlhfi_examples_build(&examples, tokenizer, dataset, &options));
    for (uint64_t i = 0; i < examples->rows; i++) {
        char first[128] = "", second[128] = "";
        show(first, sizeof first, &examples->first[i]);
        if (examples->second)
            show(second, sizeof second, &examples->second[i]);
        snprintf(shown + strlen(shown), sizeof shown - strlen(shown), "%s%s%s%s", i > 0 ? " " : "", first,
                 examples->second ? ":" : "", second);
    }
    assert_string_equal(shown, expected);
    assert_int_equal(examples->dropped, dropped);
    rlhfi_examples_release(&examples);
    assert_null(examples);
    rlhf_dataset_release(&dataset);
    rlhf_tokenizer_release(&tokenizer);
    end_context(context, &memory);
}

static void texts(void **state)
{
    (void)state;
    static const char lines[] = "{\"text\":\"abcd\"}\n{\"text\":\"a\"}\n{\"text\":\"\"}\n{\"text\":\"abcabca\"}";
    check(lines, (rlhfi_examples_options){0}, 2, "|0123 |0120120");
    check(lines, (rlhfi_examples_options){.tokenize_flags = RLHF_TOKENIZE_EOS}, 1, "|01235 |05 |01201205");
    check(lines, (rlhfi_examples_options){.max_length = 3}, 2, "|012 |012");
    check(lines, (rlhfi_examples_options){.max_length = 3, .truncation = RLHFI_TRUNCATE_KEEP_END}, 2, "|123 |120");
    check(lines, (rlhfi_examples_options){.max_length = 4, .drop_long = 1}, 3, "|0123");
    check(lines, (rlhfi_examples_options){.max_length = 3, .split_long = 1}, 2, "|012 |012 |012"); /* rests of 1 go */
    check(lines, (rlhfi_examples_options){.max_length = 5, .split_long = 1}, 2, "|0123 |01201 |20");
    check("", (rlhfi_examples_options){0}, 0, "");
}

static void answers(void **state)
{
    (void)state;
    static const char lines[] =
        "{\"prompt\":\"aa\",\"completion\":\" bb\"}\n{\"prompt\":\"aaaa\",\"completion\":\" b\"}\n"
        "{\"prompt\":\"a\",\"completion\":\"\"}";
    check(lines, (rlhfi_examples_options){.tokenize_flags = RLHF_TOKENIZE_EOS}, 0, "00|4115 0000|415 0|5");
    check(lines, (rlhfi_examples_options){0}, 1, "00|411 0000|41"); /* an answer of nothing */
    /* Cutting the end loses EOS, then the row. */
    check(lines, (rlhfi_examples_options){.tokenize_flags = RLHF_TOKENIZE_EOS, .max_length = 4}, 1, "00|41 0|5");
    check(lines,
          (rlhfi_examples_options){
              .tokenize_flags = RLHF_TOKENIZE_EOS, .max_length = 4, .truncation = RLHFI_TRUNCATE_KEEP_END},
          0, "|4115 0|415 0|5");
    check(lines, (rlhfi_examples_options){.max_length = 5, .drop_long = 1}, 2, "00|411");
}

static void prompts(void **state)
{
    (void)state;
    static const char lines[] = "{\"prompt\":\"abc\"}\n{\"prompt\":\"\"}\n{\"prompt\":\"d\"}";
    check(lines, (rlhfi_examples_options){.tokenize_flags = RLHF_TOKENIZE_EOS}, 1, "012| 3|");
    check(lines, (rlhfi_examples_options){.max_length = 2, .truncation = RLHFI_TRUNCATE_KEEP_END}, 1, "12| 3|");
}

static void pairs(void **state)
{
    (void)state;
    static const char lines[] = "{\"prompt\":\"a\",\"chosen\":\" b\",\"rejected\":\" cc\",\"margin\":2}\n"
                                "{\"prompt\":\"a\",\"chosen\":\" b\",\"rejected\":\" b\"}\n"
                                "{\"prompt\":\"aa\",\"chosen\":\" d\",\"rejected\":\"\"}";
    check(lines, (rlhfi_examples_options){.tokenize_flags = RLHF_TOKENIZE_EOS}, 1, "0|415:0|4225 00|435:00|5");
    check(lines, (rlhfi_examples_options){0}, 2, "0|41:0|422"); /* an answer of nothing */
    check(lines, (rlhfi_examples_options){.max_length = 3, .drop_long = 1}, 3, "");
    check(lines, (rlhfi_examples_options){.max_length = 2}, 3, ""); /* cut, both answers begin alike */
    check(lines, (rlhfi_examples_options){.tokenize_flags = RLHF_TOKENIZE_EOS, .max_length = 2}, 3, "");
}

static void sources_and_margins(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    rlhf_tokenizer *tokenizer = make_letters(context);
    rlhfi_examples_options options = {.tokenize_flags = RLHF_TOKENIZE_EOS};
    rlhfi_examples *examples;
    rlhf_dataset *dataset =
        load(context,
             write_text("p.jsonl", "{\"prompt\":\"a\",\"chosen\":\"b\",\"rejected\":\"b\"}\n"
                                   "{\"prompt\":\"a\",\"chosen\":\"b\",\"rejected\":\"c\",\"margin\":2.5}\n"
                                   "{\"prompt\":\"a\",\"chosen\":\"b\",\"rejected\":\"d\"}"),
             0, 0);
    check_ok(context, rlhfi_examples_build(&examples, tokenizer, dataset, &options));
    assert_int_equal(examples->kind, RLHF_ROW_PREFERENCE);
    assert_int_equal(examples->rows, 2);
    assert_true(examples->source[0] == 1 && examples->source[1] == 2);
    assert_true(examples->margin[0] == 2.5 && examples->margin[1] != examples->margin[1]);
    rlhfi_examples_release(&examples);
    rlhf_dataset_release(&dataset);
    /* Rows of one kind only; the row is named. */
    dataset = load(context, write_text("m.jsonl", "{\"text\":\"ab\"}\n{\"prompt\":\"a\"}"), 0, 0);
    assert_int_equal(rlhfi_examples_build(&examples, tokenizer, dataset, &options), RLHF_E_INVAL);
    assert_null(examples);
    assert_non_null(strstr(error_of(context), "row 1"));
    rlhf_context_cancel(context);
    assert_int_equal(rlhfi_examples_build(&examples, tokenizer, dataset, &options), RLHF_E_CANCELED);
    rlhf_dataset_release(&dataset);
    rlhf_tokenizer_release(&tokenizer);
    end_context(context, &memory);
}

static void out_of_memory(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    rlhf_tokenizer *tokenizer = make_letters(context);
    rlhf_dataset *pairs_set, *texts_set;
    check_ok(context, rlhf_dataset_create(&pairs_set, context));
    check_ok(context, rlhf_dataset_create(&texts_set, context));
    for (int i = 0; i < 70; i++) { /* more than the arrays begin with */
        rlhf_row row = {
            .struct_size = sizeof row, .kind = RLHF_ROW_PREFERENCE, .prompt = "a", .chosen = "b", .rejected = "c"};
        check_ok(context, rlhf_dataset_append(pairs_set, &row));
    }
    rlhf_row row = {.struct_size = sizeof row, .kind = RLHF_ROW_TEXT, .text = "abcdabcdabcd"};
    check_ok(context, rlhf_dataset_append(texts_set, &row));
    for (int which = 0; which < 2; which++) {
        const rlhf_dataset *dataset = which ? texts_set : pairs_set;
        const rlhfi_examples_options options = {.max_length = which ? 5 : 0, .split_long = 1};
        for (size_t n = 1;; n++) {
            rlhfi_examples *examples;
            memory.calls = 0;
            memory.fail_at = n;
            rlhf_status status = rlhfi_examples_build(&examples, tokenizer, dataset, &options);
            memory.fail_at = 0;
            if (status == RLHF_OK) {
                assert_int_equal(examples->rows, which ? 3 : 70);
                rlhfi_examples_release(&examples);
                break;
            }
            assert_int_equal(status, RLHF_E_NOMEM);
            assert_null(examples);
        }
    }
    rlhf_dataset_release(&pairs_set);
    rlhf_dataset_release(&texts_set);
    rlhf_tokenizer_release(&tokenizer);
    end_context(context, &memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts),
        cmocka_unit_test(answers),
        cmocka_unit_test(prompts),
        cmocka_unit_test(pairs),
        cmocka_unit_test(sources_and_margins),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
