/* Datasets: appending, reading files with good and bad rows, saving and reading again, memory that runs out. */
#include "support.h"

static void arguments(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    rlhf_dataset *dataset = NULL, *none = NULL;
    rlhf_dataset_options options;
    rlhf_row row = {.struct_size = sizeof row, .kind = RLHF_ROW_TEXT, .text = "t"}, got = {.struct_size = 8};
    assert_int_equal(rlhf_dataset_create(NULL, context), RLHF_E_INVAL);
    assert_int_equal(rlhf_dataset_create(&dataset, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_dataset_load(NULL, context, "x", NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_dataset_load(&dataset, NULL, "x", NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_dataset_load(&dataset, context, NULL, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_dataset_load(&dataset, context, "/nonexistent.jsonl", NULL), RLHF_E_IO);
    assert_null(dataset);
    rlhf_dataset_options_init(&options, sizeof options);
    assert_int_equal(options.bad_row, RLHF_BAD_ROW_STOP);
    assert_int_equal(options.chat_template, RLHF_TEMPLATE_NONE);
    assert_int_equal(options.max_rows, 0);
    rlhf_dataset_options_init(NULL, 8);
    write_text("one.jsonl", "{\"text\":\"t\"}");
    options.bad_row = 2;
    assert_int_equal(rlhf_dataset_load(&dataset, context, in_folder("one.jsonl"), &options), RLHF_E_INVAL);
    options.bad_row = 0;
    options.chat_template = 3;
    assert_int_equal(rlhf_dataset_load(&dataset, context, in_folder("one.jsonl"), &options), RLHF_E_INVAL);
    options.chat_template = 0;
    options.reserved = 1;
    assert_int_equal(rlhf_dataset_load(&dataset, context, in_folder("one.jsonl"), &options), RLHF_E_INVAL);
    options.struct_size = 4;
    assert_int_equal(rlhf_dataset_load(&dataset, context, in_folder("one.jsonl"), &options), RLHF_E_INVAL);
    check_ok(context, rlhf_dataset_create(&dataset, context));
    assert_int_equal(rlhf_dataset_append(NULL, &row), RLHF_E_INVAL);
    assert_int_equal(rlhf_dataset_append(dataset, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_dataset_row(NULL, 0, &row), RLHF_E_INVAL);
    assert_int_equal(rlhf_dataset_row(dataset, 0, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_dataset_row(dataset, 0, &got), RLHF_E_INVAL); /* too small */
    got.struct_size = sizeof got;
    assert_int_equal(rlhf_dataset_row(dataset, 0, &got), RLHF_E_RANGE);
    assert_non_null(strstr(error_of(context), "row 0 of 0"));
    assert_int_equal(rlhf_dataset_save(NULL, "x"), RLHF_E_INVAL);
    assert_int_equal(rlhf_dataset_save(dataset, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_dataset_save(dataset, "/nonexistent/x"), RLHF_E_IO);
    assert_int_equal(rlhf_dataset_rows(NULL), 0);
    assert_int_equal(rlhf_dataset_skipped(NULL), 0);
    rlhf_dataset_release(&none);
    rlhf_dataset_release(NULL);
    rlhf_dataset_release(&dataset);
    assert_null(dataset);
    end_context(context, &memory);
}

static void appending(void **state)
{
    (void)state;
    static const struct {
        rlhf_row row;
        rlhf_status status;
    } cases[] = {
        {{.kind = RLHF_ROW_TEXT, .text = "t"}, RLHF_OK},
        {{.kind = RLHF_ROW_TEXT, .text = "t", .prompt = "ignored", .extra = "{\"a\":1}"}, RLHF_OK},
        {{.kind = RLHF_ROW_PROMPT, .prompt = "p"}, RLHF_OK},
        {{.kind = RLHF_ROW_PROMPT_COMPLETION, .prompt = "p", .completion = ""}, RLHF_OK},
        {{.kind = RLHF_ROW_PREFERENCE, .prompt = "p", .chosen = "c", .rejected = "r", .margin = -0.5}, RLHF_OK},
        {{.kind = 0, .text = "t"}, RLHF_E_INVAL},
        {{.kind = 5, .text = "t"}, RLHF_E_INVAL},
        {{.kind = RLHF_ROW_TEXT, .prompt = "p"}, RLHF_E_INVAL},
        {{.kind = RLHF_ROW_PROMPT_COMPLETION, .prompt = "p"}, RLHF_E_INVAL},
        {{.kind = RLHF_ROW_PREFERENCE, .prompt = "p", .chosen = "c"}, RLHF_E_INVAL},
        {{.kind = RLHF_ROW_PREFERENCE, .chosen = "c", .rejected = "r"}, RLHF_E_INVAL},
        {{.kind = RLHF_ROW_TEXT, .text = "t", .reserved = 1}, RLHF_E_INVAL},
        {{.kind = RLHF_ROW_TEXT, .text = "a\xFF"}, RLHF_E_FORMAT},
        {{.kind = RLHF_ROW_TEXT, .text = "t", .margin = (double)INFINITY}, RLHF_E_FORMAT},
        {{.kind = RLHF_ROW_TEXT, .text = "t", .extra = "not JSON"}, RLHF_E_FORMAT},
        {{.kind = RLHF_ROW_TEXT, .text = "t", .extra = "[1]"}, RLHF_E_FORMAT},
        {{.kind = RLHF_ROW_TEXT, .text = "t", .extra = "{\"text\":1}"}, RLHF_E_INVAL},
    };
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    rlhf_dataset *dataset;
    check_ok(context, rlhf_dataset_create(&dataset, context));
    uint64_t good = 0;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        rlhf_row row = cases[i].row;
        row.struct_size = sizeof row;
        assert_int_equal(rlhf_dataset_append(dataset, &row), cases[i].status);
        good += cases[i].status == RLHF_OK;
        assert_int_equal(rlhf_dataset_rows(dataset), good);
    }
    rlhf_row row = get_row(dataset, 1);
    assert_string_equal(row.text, "t");
    assert_null(row.prompt);
    assert_string_equal(row.extra, "{\"a\": 1}");
    row = get_row(dataset, 4);
    assert_string_equal(row.rejected, "r");
    assert_true(row.margin == -0.5);
    /* The copy is ours: the caller's text may change. */
    char text[] = "before";
    rlhf_row mine = {.struct_size = sizeof mine, .kind = RLHF_ROW_TEXT, .text = text};
    check_ok(context, rlhf_dataset_append(dataset, &mine));
    strcpy(text, "after!");
    assert_string_equal(get_row(dataset, 5).text, "before");
    for (int i = 0; i < 1000; i++)
        check_ok(context, rlhf_dataset_append(dataset, &mine));
    assert_string_equal(get_row(dataset, 5).text, "before");
    rlhf_dataset_release(&dataset);
    end_context(context, &memory);
}

static void reading(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    rlhf_dataset *dataset =
        load(context, write_text("a.jsonl", "{\"text\":\"one\"}\r\n\n  \t\n{\"prompt\":\"two\"}"), 0, 0);
    assert_int_equal(rlhf_dataset_rows(dataset), 2);
    assert_string_equal(get_row(dataset, 0).text, "one");
    assert_string_equal(get_row(dataset, 1).prompt, "two");
    rlhf_dataset_release(&dataset);
    dataset = load(context, write_text("empty.jsonl", ""), 0, 0);
    assert_int_equal(rlhf_dataset_rows(dataset), 0);
    rlhf_dataset_release(&dataset);
    rlhf_dataset_options options;
    rlhf_dataset_options_init(&options, sizeof options);
    options.max_rows = 2;
    write_text("many.jsonl", "{\"text\":\"1\"}\n{\"text\":\"2\"}\nbroken");
    check_ok(context, rlhf_dataset_load(&dataset, context, in_folder("many.jsonl"), &options));
    assert_int_equal(rlhf_dataset_rows(dataset), 2); /* what follows is not looked at */
    rlhf_dataset_release(&dataset);
    end_context(context, &memory);
}

static void bad_rows(void **state)
{
    (void)state;
    static const struct {
        const char *line, *words;
    } cases[] = {
        {"broken", "bad.jsonl:2: column "},
        {"{\"text\":}", "bad.jsonl:2: column 9: "},
        {"{\"text\":\"a\xFF\"}", "bad.jsonl:2: column "},
        {"{\"text\":\"a\tb\"}", "bad.jsonl:2: column "}, /* a control character */
        {"{\"text\":\"a\"} x", "bad.jsonl:2: column "},
        {"{\"text\":\"a\",\"text\":\"b\"}", "bad.jsonl:2: column "},
        {"{\"text\":\"a\\u0000b\"}", "bad.jsonl:2: \"text\" contains a NUL"},
        {"{\"body\":\"a\"}", "bad.jsonl:2: none of the columns"},
        {"{\"prompt\":\"p\",\"chosen\":\"c\"}", "bad.jsonl:2: \"rejected\" is missing"},
        {"{\"prompt\":\"p\",\"margin\":1e999}", "bad.jsonl:2: "},
        {"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
         "bad.jsonl:2: column 65: nested deeper"},
    };
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[512];
        rlhf_dataset *dataset = (rlhf_dataset *)&memory;
        snprintf(text, sizeof text, "{\"text\":\"good\"}\n%s\n{\"text\":\"also\"}\n", cases[i].line);
        write_text("bad.jsonl", text);
        if (rlhf_dataset_load(&dataset, context, in_folder("bad.jsonl"), NULL) != RLHF_E_FORMAT ||
            !strstr(error_of(context), cases[i].words))
            fail_msg("%s: %s", cases[i].line, error_of(context));
        assert_null(dataset);
        dataset = load(context, in_folder("bad.jsonl"), RLHF_BAD_ROW_SKIP, 0);
        assert_string_equal(error_of(context), "");
        assert_int_equal(rlhf_dataset_rows(dataset), 2);
        assert_int_equal(rlhf_dataset_skipped(dataset), 1);
        assert_string_equal(get_row(dataset, 1).text, "also");
        rlhf_dataset_release(&dataset);
    }
    /* Nothing but bad rows is an error, even when they may be skipped. */
    rlhf_dataset *dataset;
    rlhf_dataset_options options;
    rlhf_dataset_options_init(&options, sizeof options);
    options.bad_row = RLHF_BAD_ROW_SKIP;
    write_text("bad.jsonl", "{\"a\":1}\n{\"b\":1}\n");
    assert_int_equal(rlhf_dataset_load(&dataset, context, in_folder("bad.jsonl"), &options), RLHF_E_FORMAT);
    assert_non_null(strstr(error_of(context), "bad.jsonl:1: none of the columns"));
    assert_non_null(strstr(error_of(context), "no row is good"));
    end_context(context, &memory);
}

static void documents(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    rlhf_dataset *dataset = load(
        context, write_text("a.txt", "\n\nOne\n two \n\n<|endoftext|>\n<|endoftext|>\r\n\nThree <|endoftext|>\nx\n\n"),
        0, 0);
    assert_int_equal(rlhf_dataset_rows(dataset), 2);
    assert_string_equal(get_row(dataset, 0).text, "One\n two ");
    assert_string_equal(get_row(dataset, 1).text, "Three <|endoftext|>\nx");
    rlhf_dataset_release(&dataset);
    static const char broken[] = "one\n<|endoftext|>\ntw\0o\n<|endoftext|>\nth\xFFree\n<|endoftext|>\nfour";
    write_bytes("b.txt", broken, sizeof broken - 1);
    assert_int_equal(rlhf_dataset_load(&dataset, context, in_folder("b.txt"), NULL), RLHF_E_FORMAT);
    assert_non_null(strstr(error_of(context), "b.txt:3: the document contains a NUL"));
    dataset = load(context, in_folder("b.txt"), RLHF_BAD_ROW_SKIP, 0);
    assert_int_equal(rlhf_dataset_rows(dataset), 2);
    assert_int_equal(rlhf_dataset_skipped(dataset), 2);
    assert_string_equal(get_row(dataset, 1).text, "four");
    rlhf_dataset_release(&dataset);
    end_context(context, &memory);
}

/* A file .json may be a list, or lines after all. */
static void lists(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    rlhf_dataset *dataset =
        load(context, write_text("a.json", " \n[{\"text\":\"one\"},\n {\"prompt\":\"two\"}]\n"), 0, 0);
    assert_int_equal(rlhf_dataset_rows(dataset), 2);
    assert_string_equal(get_row(dataset, 1).prompt, "two");
    rlhf_dataset_release(&dataset);
    dataset = load(context, write_text("b.json", "{\"text\":\"one\"}\n{\"text\":\"two\"}\n"), 0, 0);
    assert_int_equal(rlhf_dataset_rows(dataset), 2);
    rlhf_dataset_release(&dataset);
    dataset = load(context, write_text("c.json", ""), 0, 0);
    assert_int_equal(rlhf_dataset_rows(dataset), 0);
    rlhf_dataset_release(&dataset);
    write_text("d.json", "[{\"text\":\"one\"},{\"body\":\"two\"},3]");
    assert_int_equal(rlhf_dataset_load(&dataset, context, in_folder("d.json"), NULL), RLHF_E_FORMAT);
    assert_non_null(strstr(error_of(context), "d.json:2: none of the columns"));
    dataset = load(context, in_folder("d.json"), RLHF_BAD_ROW_SKIP, 0);
    assert_true(rlhf_dataset_rows(dataset) == 1 && rlhf_dataset_skipped(dataset) == 2);
    rlhf_dataset_release(&dataset);
    write_text("e.json", "[{\"text\":\"one\"},\n{\"text\":}]");
    assert_int_equal(rlhf_dataset_load(&dataset, context, in_folder("e.json"), NULL), RLHF_E_FORMAT);
    assert_non_null(strstr(error_of(context), "e.json:2:9"));
    assert_int_equal(rlhf_dataset_load(&dataset, context, write_text("f.json", "[["), NULL), RLHF_E_FORMAT);
    assert_int_equal(rlhf_dataset_load(&dataset, context, in_folder("none.json"), NULL), RLHF_E_IO);
    end_context(context, &memory);
}

static const char all_kinds[] =
    "{\"text\": \"quote \\\" back \\\\ line \\n tab \\t \u00E9 \\u2028 \\u001f\"}\n"
    "{\"prompt\": \"\", \"id\": 7, \"nested\": {\"a\": [1, null, true, \"x\"]}}\n"
    "{\"prompt\": \"p\", \"completion\": \" c\", \"label\": false}\n"
    "{\"prompt\": \"p\", \"chosen\": \"c\", \"rejected\": \"\", \"margin\": 0.1}\n"
    "{\"prompt\": \"p\", \"chosen\": \"c\", \"rejected\": \"r\", \"margin\": -1e-300, \"who\": \"me\"}\n"
    "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]}\n"
    "{\"instruction\": \"i\", \"output\": \"o\"}\n";

static void check_same(const rlhf_dataset *a, const rlhf_dataset *b)
{
    assert_int_equal(rlhf_dataset_rows(a), rlhf_dataset_rows(b));
    for (uint64_t i = 0; i < rlhf_dataset_rows(a); i++) {
        rlhf_row x = get_row(a, i), y = get_row(b, i);
        assert_int_equal(x.kind, y.kind);
        assert_int_equal(x.conversational, y.conversational);
        check_text(x.text, y.text);
        check_text(x.prompt, y.prompt);
        check_text(x.completion, y.completion);
        check_text(x.chosen, y.chosen);
        check_text(x.rejected, y.rejected);
        check_text(x.extra, y.extra);
        assert_memory_equal(&x.margin, &y.margin, sizeof x.margin);
    }
}

static void round_trips(void **state)
{
    (void)state;
    static const char *const names[] = {"saved.jsonl", "saved.jsonl.gz"};
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    rlhf_dataset *dataset = load(context, write_text("all.jsonl", all_kinds), 0, RLHF_TEMPLATE_CHATML);
    char first[8192], second[8192];
    size_t sizes[2];
    assert_int_equal(rlhf_dataset_rows(dataset), 7);
    assert_int_equal(get_row(dataset, 5).conversational, 1);
    for (int i = 0; i < 2; i++) {
        check_ok(context, rlhf_dataset_save(dataset, in_folder(names[i])));
        rlhf_dataset *again = load(context, in_folder(names[i]), 0, 0);
        check_same(dataset, again);
        sizes[0] = read_bytes(names[i], first, sizeof first);
        check_ok(context, rlhf_dataset_save(again, in_folder(names[i])));
        sizes[1] = read_bytes(names[i], second, sizeof second);
        assert_true(sizes[0] == sizes[1] && sizes[0] < sizeof first);
        assert_memory_equal(first, second, sizes[0]); /* the same bytes every time, also zipped */
        rlhf_dataset_release(&again);
    }
    rlhf_dataset_release(&dataset);
    end_context(context, &memory);
}

/* Texts from models may be anything that is UTF-8. */
static void hostile_texts(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    rlhf_dataset *dataset, *again;
    check_ok(context, rlhf_dataset_create(&dataset, context));
    for (int code = 1; code < 0x3000; code++) {
        char text[16];
        rlhf_row row = {.struct_size = sizeof row, .kind = RLHF_ROW_TEXT, .text = text, .margin = (double)NAN};
        text[rlhfi_utf8_put((uint32_t)code, text)] = '\0';
        check_ok(context, rlhf_dataset_append(dataset, &row));
    }
    check_ok(context, rlhf_dataset_save(dataset, in_folder("hostile.jsonl")));
    again = load(context, in_folder("hostile.jsonl"), 0, 0);
    check_same(dataset, again);
    rlhf_dataset_release(&dataset);
    rlhf_dataset_release(&again);
    end_context(context, &memory);
}

static void canceling(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    rlhf_dataset *dataset;
    write_text("a.jsonl", "{\"text\":\"one\"}\n{\"text\":\"two\"}\n");
    rlhf_context_cancel(context);
    assert_int_equal(rlhf_dataset_load(&dataset, context, in_folder("a.jsonl"), NULL), RLHF_E_CANCELED);
    assert_null(dataset);
    check_ok(context, rlhf_dataset_load(&dataset, context, in_folder("a.jsonl"), NULL));
    rlhf_dataset_release(&dataset);
    end_context(context, &memory);
}

/* Reads, appends and writes; every step may run out of memory. */
static rlhf_status work(rlhf_context *context)
{
    rlhf_dataset *dataset = NULL;
    rlhf_dataset_options options;
    rlhf_row row = {.struct_size = sizeof row, .kind = RLHF_ROW_TEXT, .text = "t", .extra = "{\"a\":1}"};
    rlhf_dataset_options_init(&options, sizeof options);
    options.chat_template = RLHF_TEMPLATE_CHATML;
    rlhf_status status = rlhf_dataset_load(&dataset, context, in_folder("work.jsonl.gz"), &options);
    if (status == RLHF_OK)
        status = rlhf_dataset_append(dataset, &row);
    if (status == RLHF_OK)
        status = rlhf_dataset_save(dataset, in_folder("result.jsonl.gz"));
    rlhf_dataset_release(&dataset);
    return status;
}

static void out_of_memory(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    rlhf_dataset *dataset = load(context, write_text("all.jsonl", all_kinds), 0, RLHF_TEMPLATE_CHATML);
    check_ok(context, rlhf_dataset_save(dataset, in_folder("work.jsonl.gz")));
    rlhf_dataset_release(&dataset);
    size_t before = memory.live, failures = 0;
    rlhf_status status;
    for (size_t n = 1;; n++) {
        memory.calls = 0;
        memory.fail_at = n;
        status = work(context);
        memory.fail_at = 0;
        assert_int_equal(memory.live, before);
        if (status == RLHF_OK)
            break;
        assert_int_equal(status, RLHF_E_NOMEM);
        assert_string_equal(error_of(context), "out of memory");
        assert_int_equal(access(in_folder("result.jsonl.gz"), F_OK), -1);
        failures++;
    }
    assert_true(failures > 40);
    end_context(context, &memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arguments),     cmocka_unit_test(appending),     cmocka_unit_test(reading),
        cmocka_unit_test(bad_rows),      cmocka_unit_test(documents),     cmocka_unit_test(lists),
        cmocka_unit_test(round_trips),   cmocka_unit_test(hostile_texts), cmocka_unit_test(canceling),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
