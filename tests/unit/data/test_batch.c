/* Batches: layout, refusals, tokenised rows of every kind. */
#include "support.h"

static void layout(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    const int64_t offset[] = {0, 3, 3, 5};
    const int32_t tokens[] = {1, 2, 3, 4, 5}, prompt_length[] = {1, 0, 2};
    rlhf_batch *batch, *none = NULL;
    rlhf_batch_view view = {.struct_size = sizeof view};
    check_ok(context, rlhf_batch_create(&batch, context, 3, offset, tokens, prompt_length));
    check_ok(context, rlhf_batch_get(batch, &view));
    assert_int_equal(view.rows, 3);
    assert_memory_equal(view.offset, offset, sizeof offset);
    assert_memory_equal(view.tokens, tokens, sizeof tokens);
    assert_memory_equal(view.prompt_length, prompt_length, sizeof prompt_length);
    const int64_t responses[] = {0, 2, 2, 2};
    assert_memory_equal(view.response_offset, responses, sizeof responses);
    assert_ptr_not_equal(view.tokens, tokens);
    rlhf_batch_release(&batch);
    assert_null(batch);
    check_ok(context, rlhf_batch_create(&batch, context, 3, offset, tokens, NULL)); /* no prompts */
    check_ok(context, rlhf_batch_get(batch, &view));
    assert_int_equal(view.response_offset[3], 5);
    rlhf_batch_release(&batch);
    check_ok(context, rlhf_batch_create(&batch, context, 0, offset, NULL, NULL)); /* no rows */
    check_ok(context, rlhf_batch_get(batch, &view));
    assert_int_equal(view.rows, 0);
    assert_int_equal(view.offset[0], 0);
    view.struct_size = 8;
    assert_int_equal(rlhf_batch_get(batch, &view), RLHF_E_INVAL);
    assert_int_equal(rlhf_batch_get(NULL, &view), RLHF_E_INVAL);
    assert_int_equal(rlhf_batch_get(batch, NULL), RLHF_E_INVAL);
    rlhf_batch_release(&batch);
    rlhf_batch_release(&none);
    rlhf_batch_release(NULL);
    end_context(context, &memory);
}

static void selected(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    const int64_t offset[] = {0, 3, 3, 5}, row[] = {2, 0, 1, 2}, wrong[] = {0, 3}, below[] = {-1};
    const int32_t tokens[] = {1, 2, 3, 4, 5}, prompt_length[] = {1, 0, 2};
    const int64_t offsets[] = {0, 2, 5, 5, 7}, responses[] = {0, 0, 2, 2, 2};
    const int32_t chosen[] = {4, 5, 1, 2, 3, 4, 5}, prompts[] = {2, 1, 0, 2};
    rlhf_batch *batch, *part;
    rlhf_batch_view view = {.struct_size = sizeof view};
    check_ok(context, rlhf_batch_create(&batch, context, 3, offset, tokens, prompt_length));
    check_ok(context, rlhf_batch_select(&part, batch, row, 4));
    check_ok(context, rlhf_batch_get(part, &view));
    assert_int_equal(view.rows, 4);
    assert_memory_equal(view.offset, offsets, sizeof offsets);
    assert_memory_equal(view.tokens, chosen, sizeof chosen);
    assert_memory_equal(view.prompt_length, prompts, sizeof prompts);
    assert_memory_equal(view.response_offset, responses, sizeof responses);
    rlhf_batch_release(&part);
    check_ok(context, rlhf_batch_select(&part, batch, NULL, 0));
    check_ok(context, rlhf_batch_get(part, &view));
    assert_int_equal(view.rows, 0);
    rlhf_batch_release(&part);
    assert_int_equal(rlhf_batch_select(&part, batch, wrong, 2), RLHF_E_RANGE);
    assert_null(part);
    assert_int_equal(rlhf_batch_select(&part, batch, below, 1), RLHF_E_RANGE);
    assert_int_equal(rlhf_batch_select(&part, batch, row, -1), RLHF_E_INVAL);
    assert_int_equal(rlhf_batch_select(&part, batch, NULL, 1), RLHF_E_INVAL);
    assert_int_equal(rlhf_batch_select(&part, NULL, row, 1), RLHF_E_INVAL);
    assert_int_equal(rlhf_batch_select(NULL, batch, row, 1), RLHF_E_INVAL);
    rlhf_batch_release(&batch);
    end_context(context, &memory);
}

static void refusals(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    const int32_t tokens[] = {1, 2, 3}, negative[] = {-1}, too_long[] = {3};
    rlhf_batch *batch;
    assert_int_equal(rlhf_batch_create(NULL, context, 1, (int64_t[]){0, 1}, tokens, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_batch_create(&batch, NULL, 1, (int64_t[]){0, 1}, tokens, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_batch_create(&batch, context, -1, (int64_t[]){0, 1}, tokens, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_batch_create(&batch, context, 1, NULL, tokens, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_batch_create(&batch, context, 1, (int64_t[]){1, 2}, tokens, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_batch_create(&batch, context, 2, (int64_t[]){0, 2, 1}, tokens, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_batch_create(&batch, context, 1, (int64_t[]){0, INT64_MAX}, tokens, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_batch_create(&batch, context, 1, (int64_t[]){0, 2}, NULL, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_batch_create(&batch, context, 1, (int64_t[]){0, 2}, tokens, negative), RLHF_E_INVAL);
    assert_int_equal(rlhf_batch_create(&batch, context, 1, (int64_t[]){0, 2}, tokens, too_long), RLHF_E_INVAL);
    assert_null(batch);
    end_context(context, &memory);
}

/* Tokens a b c d, blank, EOS; "ab" merges. BOS comes from the post-processor. */
static rlhf_tokenizer *make_letters(rlhf_context *context)
{
    struct parts parts = {
        .model = "{\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"d\":3,\" \":4,\"ab\":5,\"<\":6,\">\":7},\"merges\":[\"a b\"]}",
        .added = "[{\"id\":8,\"content\":\"<s>\",\"special\":true},{\"id\":9,\"content\":\"<e>\",\"special\":true}]",
        .post = "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},"
                "{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"<s>\":{\"ids\":[8]}}}",
    };
    return make_tokenizer(context, parts, "{\"eos_token\":\"<e>\"}");
}

static void check_batch(rlhf_context *context, const char *lines, uint32_t flags, const char *expected)
{
    char shown[512] = "";
    size_t used = 0;
    rlhf_tokenizer *tokenizer = make_letters(context);
    rlhf_dataset *dataset = load(context, write_text("batch.jsonl", lines), 0, RLHF_TEMPLATE_CHATML);
    rlhf_batch *batch;
    rlhf_batch_view view = {.struct_size = sizeof view};
    check_ok(context, rlhf_batch_tokenize(&batch, tokenizer, dataset, 0, rlhf_dataset_rows(dataset), flags));
    check_ok(context, rlhf_batch_get(batch, &view));
    for (int64_t r = 0; r < view.rows; r++) {
        used += (size_t)snprintf(shown + used, sizeof shown - used, r > 0 ? " /" : "");
        for (int64_t t = view.offset[r]; t < view.offset[r + 1]; t++)
            used += (size_t)snprintf(shown + used, sizeof shown - used, "%s%d",
                                     t - view.offset[r] == view.prompt_length[r] ? "|" : " ", view.tokens[t]);
        if (view.prompt_length[r] == view.offset[r + 1] - view.offset[r])
            used += (size_t)snprintf(shown + used, sizeof shown - used, "|");
    }
    assert_string_equal(shown, expected);
    rlhf_batch_release(&batch);
    rlhf_dataset_release(&dataset);
    rlhf_tokenizer_release(&tokenizer);
}

static void tokenized(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    check_batch(context, "{\"text\":\"abc\"}\n{\"text\":\"d<e>\"}", 0, "|8 5 2 /|8 3 9");
    check_batch(context, "{\"text\":\"abc\"}\n{\"text\":\"d<e>\"}", RLHF_TOKENIZE_EOS, "|8 5 2 9 /|8 3 9");
    check_batch(context, "{\"prompt\":\"abc\"}", RLHF_TOKENIZE_EOS, " 8 5 2|"); /* a prompt has no end */
    check_batch(context, "{\"prompt\":\"ab\",\"completion\":\" c\"}", RLHF_TOKENIZE_EOS, " 8 5|4 2 9");
    check_batch(context, "{\"prompt\":\"ab\",\"completion\":\"\"}", RLHF_TOKENIZE_EOS, " 8 5|9");
    check_batch(context, "{\"prompt\":\"ab\",\"completion\":\"\"}", 0, " 8 5|");
    /* A merge across the border: whole texts have it, separate ones don't. */
    check_batch(context, "{\"prompt\":\"ca\",\"completion\":\"bc\"}", 0, " 8 2|5 2");
    check_batch(context, "{\"prompt\":\"ca\",\"completion\":\"bc\"}", RLHF_TOKENIZE_SEPARATE, " 8 2 0|1 2");
    check_batch(context, "{\"prompt\":\"ca\",\"completion\":\"bc\"}", RLHF_TOKENIZE_SEPARATE | RLHF_TOKENIZE_EOS,
                " 8 2 0|1 2 9");
    /* All chosen, then all rejected. */
    check_batch(context,
                "{\"prompt\":\"a\",\"chosen\":\" b\",\"rejected\":\" c\"}\n"
                "{\"prompt\":\"b\",\"chosen\":\" d\",\"rejected\":\"\"}",
                RLHF_TOKENIZE_EOS, " 8 0|4 1 9 / 8 1|4 3 9 / 8 0|4 2 9 / 8 1|9");
    /* Rendered rows: neither BOS nor EOS; what the letters don't know vanishes here. */
    check_batch(context,
                "{\"prompt\":[{\"role\":\"user\",\"content\":\"c\"}],"
                "\"completion\":[{\"role\":\"assistant\",\"content\":\"dd\"}]}",
                RLHF_TOKENIZE_EOS, " 6 0 7 2 6 3 7 6 0 7 0 0|3 3 6 3 7");
    end_context(context, &memory);
}

static void tokenizer_faults(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    rlhf_dataset *dataset = load(context, write_text("a.jsonl", "{\"text\":\"a\"}\n{\"prompt\":\"b\"}"), 0, 0);
    rlhf_tokenizer *letters = make_letters(context), *without = make_tokenizer(context, (struct parts){0}, NULL);
    rlhf_tokenizer *odd = make_tokenizer(context, (struct parts){0}, "{\"eos_token\":\"abc\"}");
    rlhf_batch *batch;
    assert_int_equal(rlhf_batch_tokenize(&batch, letters, dataset, 0, 2, 0), RLHF_E_INVAL);
    assert_non_null(strstr(error_of(context), "row 1 is of another kind"));
    assert_int_equal(rlhf_batch_tokenize(&batch, letters, dataset, 1, 2, 0), RLHF_E_RANGE);
    assert_int_equal(rlhf_batch_tokenize(&batch, letters, dataset, UINT64_MAX, 2, 0), RLHF_E_RANGE);
    assert_int_equal(rlhf_batch_tokenize(&batch, letters, dataset, 0, 1, 4), RLHF_E_INVAL);
    assert_int_equal(rlhf_batch_tokenize(&batch, without, dataset, 0, 1, RLHF_TOKENIZE_EOS), RLHF_E_INVAL);
    assert_non_null(strstr(error_of(context), "row 0: rows shall end in EOS"));
    /* An EOS that is no added token would become text. */
    rlhf_tokenizer *text_only =
        make_tokenizer(context, (struct parts){.model = "{\"vocab\":{\"a\":0,\"b\":1,\"ba\":2},\"merges\":[]}"},
                       "{\"eos_token\":\"ba\"}");
    assert_int_equal(rlhf_batch_tokenize(&batch, text_only, dataset, 0, 1, RLHF_TOKENIZE_EOS), RLHF_E_INVAL);
    assert_non_null(strstr(error_of(context), "must be an added token"));
    assert_null(batch);
    assert_int_equal(rlhf_batch_tokenize(NULL, letters, dataset, 0, 1, 0), RLHF_E_INVAL);
    assert_int_equal(rlhf_batch_tokenize(&batch, NULL, dataset, 0, 1, 0), RLHF_E_INVAL);
    assert_int_equal(rlhf_batch_tokenize(&batch, letters, NULL, 0, 1, 0), RLHF_E_INVAL);
    check_ok(context, rlhf_batch_tokenize(&batch, odd, dataset, 0, 1, RLHF_TOKENIZE_EOS)); /* one token by merges */
    rlhf_batch_release(&batch);
    check_ok(context, rlhf_batch_tokenize(&batch, letters, dataset, 2, 0, 0)); /* nothing */
    rlhf_batch_release(&batch);
    rlhf_tokenizer_release(&letters);
    rlhf_tokenizer_release(&without);
    rlhf_tokenizer_release(&odd);
    rlhf_tokenizer_release(&text_only);
    rlhf_dataset_release(&dataset);
    end_context(context, &memory);
}

/* A tokenizer that ends texts in EOS by itself doesn't get a second one. */
static void own_eos(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    struct parts parts = {.added = "[{\"id\":9,\"content\":\"<e>\",\"special\":true}]"};
    rlhf_tokenizer *tokenizer = make_tokenizer(context, parts, "{\"eos_token\":\"<e>\",\"add_eos_token\":true}");
    rlhf_dataset *dataset =
        load(context,
             write_text("a.jsonl", "{\"prompt\":\"a\",\"completion\":\"c\"}\n{\"prompt\":\"a\",\"completion\":\"d\"}"),
             0, 0);
    rlhf_batch_view view = {.struct_size = sizeof view};
    for (uint32_t flags = RLHF_TOKENIZE_EOS; flags <= (RLHF_TOKENIZE_EOS | RLHF_TOKENIZE_SEPARATE); flags += 2) {
        rlhf_batch *batch;
        check_ok(context, rlhf_batch_tokenize(&batch, tokenizer, dataset, 0, 2, flags));
        check_ok(context, rlhf_batch_get(batch, &view));
        const int32_t tokens[] = {0, 2, 9, 0, 3, 9};
        assert_int_equal(view.offset[2], 6);
        assert_memory_equal(view.tokens, tokens, sizeof tokens);
        assert_int_equal(view.prompt_length[0], 1);
        rlhf_batch_release(&batch);
    }
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
    rlhf_dataset *dataset = load(context,
                                 write_text("a.jsonl", "{\"prompt\":\"a\",\"chosen\":\" b\",\"rejected\":\" c\"}\n"
                                                       "{\"prompt\":\"b\",\"chosen\":\" d\",\"rejected\":\"a\"}"),
                                 0, 0);
    size_t before = memory.live;
    for (size_t n = 1;; n++) {
        rlhf_batch *batch;
        memory.calls = 0;
        memory.fail_at = n;
        rlhf_status status = rlhf_batch_tokenize(&batch, tokenizer, dataset, 0, 2, RLHF_TOKENIZE_EOS);
        memory.fail_at = 0;
        if (status == RLHF_OK) {
            rlhf_batch_release(&batch);
            assert_true(n > 10);
            break;
        }
        assert_int_equal(status, RLHF_E_NOMEM);
        assert_null(batch);
        assert_true(memory.live <= before + 65536); /* the tokenizer may keep small buffers */
    }
    rlhf_dataset_release(&dataset);
    rlhf_tokenizer_release(&tokenizer);
    end_context(context, &memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layout),
        cmocka_unit_test(selected),
        cmocka_unit_test(refusals),
        cmocka_unit_test(tokenized),
        cmocka_unit_test(own_eos),
        cmocka_unit_test(tokenizer_faults),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
