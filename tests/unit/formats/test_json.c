/* JSON: what is accepted and refused, numbers, the spellings that jansson does not know, places of errors, writing. */
#include "support.h"

#include <math.h>

static rlhfi_json *parse(const char *text)
{
    rlhfi_json *root;

    assert_success(group_context, rlhfi_json_parse(&root, group_context, text, strlen(text), "t.json"));
    assert_non_null(root);
    return root;
}

static void refuses(const char *text, const char *words)
{
    rlhfi_json *root = (rlhfi_json *)(uintptr_t)1;
    rlhf_status status = rlhfi_json_parse(&root, group_context, text, strlen(text), "t.json");

    assert_null(root);
    assert_failure(group_context, status, RLHF_E_FORMAT, words);
}

static void reads_all_types(void **state)
{
    rlhfi_json *root =
        parse("{\"n\":null,\"b\":true,\"i\":-3,\"r\":2.5,\"s\":\"h\\u00e9\",\"a\":[1,[],{}],\"o\":{\"x\":false}}");
    const rlhfi_json *list = rlhfi_json_get(root, "a");
    int64_t integer = 0;
    double number = 0;
    bool truth = false;
    size_t bytes = 0;

    (void)state;
    assert_int_equal(rlhfi_json_type(root), RLHFI_JSON_OBJECT);
    assert_int_equal(rlhfi_json_size(root), 7);
    assert_int_equal(rlhfi_json_type(rlhfi_json_get(root, "n")), RLHFI_JSON_NULL);
    assert_int_equal(rlhfi_json_type(rlhfi_json_get(root, "b")), RLHFI_JSON_BOOLEAN);
    assert_true(rlhfi_json_boolean(rlhfi_json_get(root, "b"), &truth) && truth);
    assert_true(rlhfi_json_boolean(rlhfi_json_get(rlhfi_json_get(root, "o"), "x"), &truth) && !truth);
    assert_int_equal(rlhfi_json_type(rlhfi_json_get(root, "i")), RLHFI_JSON_INTEGER);
    assert_true(rlhfi_json_integer(rlhfi_json_get(root, "i"), &integer) && integer == -3);
    assert_true(rlhfi_json_number(rlhfi_json_get(root, "i"), &number) && number == -3.0);
    assert_int_equal(rlhfi_json_type(rlhfi_json_get(root, "r")), RLHFI_JSON_REAL);
    assert_true(rlhfi_json_number(rlhfi_json_get(root, "r"), &number) && number == 2.5);
    assert_false(rlhfi_json_integer(rlhfi_json_get(root, "r"), &integer));
    assert_int_equal(rlhfi_json_type(rlhfi_json_get(root, "s")), RLHFI_JSON_STRING);
    assert_string_equal(rlhfi_json_text(rlhfi_json_get(root, "s"), &bytes), "h\xc3\xa9");
    assert_int_equal(bytes, 3);
    assert_int_equal(rlhfi_json_type(list), RLHFI_JSON_ARRAY);
    assert_int_equal(rlhfi_json_size(list), 3);
    assert_int_equal(rlhfi_json_type(rlhfi_json_at(list, 1)), RLHFI_JSON_ARRAY);
    assert_int_equal(rlhfi_json_size(rlhfi_json_at(list, 2)), 0);
    rlhfi_json_release(&root);
    assert_null(root);
    rlhfi_json_release(&root);
}

/* No accessor minds NULL or a node of another type. */
static void answers_wrong_questions(void **state)
{
    rlhfi_json *root = parse("[1, \"x\", {\"a\":1}, true, null]");
    const char *key;
    const rlhfi_json *value;

    (void)state;
    for (size_t i = 0; i <= 6; i++) {
        const rlhfi_json *node = i == 6 ? root : rlhfi_json_at(root, i); /* number 5 is behind the end: NULL */
        bool is_object = rlhfi_json_type(node) == RLHFI_JSON_OBJECT,
             is_array = rlhfi_json_type(node) == RLHFI_JSON_ARRAY;
        int64_t integer;
        double number;
        bool truth;
        size_t bytes = 9;
        void *iterator = NULL;
        assert_true((rlhfi_json_get(node, "a") != NULL) == is_object);
        assert_null(rlhfi_json_get(node, "b"));
        assert_true((rlhfi_json_at(node, 0) != NULL) == is_array);
        assert_true((rlhfi_json_text(node, &bytes) != NULL) == (rlhfi_json_type(node) == RLHFI_JSON_STRING));
        assert_true(i == 1 ? bytes == 1 : bytes == 0);
        assert_true(rlhfi_json_integer(node, &integer) == (i == 0));
        assert_true(rlhfi_json_number(node, &number) == (i == 0));
        assert_true(rlhfi_json_boolean(node, &truth) == (i == 3));
        assert_true(rlhfi_json_next(node, &iterator, &key, &value) == is_object);
        assert_true(is_object || is_array || rlhfi_json_size(node) == 0);
    }
    rlhfi_json_release(&root);
}

static void keeps_numbers(void **state)
{
    static const struct {
        const char *text;
        int type;
        double number;
        bool whole;
        int64_t integer;
    } cases[] = {
        {"0", RLHFI_JSON_INTEGER, 0.0, true, 0},
        {"9007199254740993", RLHFI_JSON_INTEGER, 9007199254740992.0, true, 9007199254740993},
        {"9223372036854775807", RLHFI_JSON_INTEGER, 9223372036854775808.0, true, INT64_MAX},
        {"-9223372036854775808", RLHFI_JSON_INTEGER, -9223372036854775808.0, true, INT64_MIN},
        {"9223372036854775808", RLHFI_JSON_REAL, 9223372036854775808.0, true, INT64_MAX},
        {"-9223372036854775809", RLHFI_JSON_REAL, -9223372036854775808.0, true, INT64_MIN},
        {"18446744073709551616", RLHFI_JSON_REAL, 18446744073709551616.0, true, INT64_MAX},
        {"1000000000000000019884624838656", RLHFI_JSON_REAL, 1e30, true, INT64_MAX},
        {"-1000000000000000019884624838656", RLHFI_JSON_REAL, -1e30, true, INT64_MIN},
        {"8.0", RLHFI_JSON_REAL, 8.0, true, 8},
        {"1e3", RLHFI_JSON_REAL, 1000.0, true, 1000},
        {"1E400", -1, 0, false, 0},
        {"1e-05", RLHFI_JSON_REAL, 1e-5, false, 0},
        {"0.1", RLHFI_JSON_REAL, 0.1, false, 0},
        {"-0.0", RLHFI_JSON_REAL, 0.0, true, 0},
        {"2.2250738585072011e-308", RLHFI_JSON_REAL, 2.2250738585072011e-308, false, 0},
        {"123456789012345678901.5", RLHFI_JSON_REAL, 123456789012345678901.5, true, INT64_MAX},
        {"12345678901234567890e2", RLHFI_JSON_REAL, 12345678901234567890e2, true, INT64_MAX},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[128];
        rlhfi_json *root;
        const rlhfi_json *node;
        double number;
        int64_t integer = 77;
        snprintf(text, sizeof text, "[%s]", cases[i].text);
        if (cases[i].type < 0) {
            refuses(text, "overflow");
            continue;
        }
        root = parse(text);
        node = rlhfi_json_at(root, 0);
        assert_int_equal(rlhfi_json_type(node), cases[i].type);
        assert_true(rlhfi_json_number(node, &number) && number == cases[i].number);
        assert_true(rlhfi_json_integer(node, &integer) == cases[i].whole);
        assert_true(!cases[i].whole || integer == cases[i].integer);
        rlhfi_json_release(&root);
    }
}

static void reads_what_python_writes(void **state)
{
    rlhfi_json *root =
        parse("{\"a\": NaN, \"b\": [Infinity,-Infinity], \"c\": \"NaN\", \"Infinity\": \"-Infinity\", \"d\": NaN}");
    double number;
    int64_t integer;

    (void)state;
    assert_int_equal(rlhfi_json_type(rlhfi_json_get(root, "a")), RLHFI_JSON_REAL);
    assert_true(rlhfi_json_number(rlhfi_json_get(root, "a"), &number) && isnan(number));
    assert_false(rlhfi_json_integer(rlhfi_json_get(root, "a"), &integer));
    assert_null(rlhfi_json_text(rlhfi_json_get(root, "a"), NULL));
    assert_true(rlhfi_json_number(rlhfi_json_at(rlhfi_json_get(root, "b"), 0), &number) && number == INFINITY);
    assert_true(rlhfi_json_number(rlhfi_json_at(rlhfi_json_get(root, "b"), 1), &number) && number == -INFINITY);
    assert_false(rlhfi_json_integer(rlhfi_json_at(rlhfi_json_get(root, "b"), 1), &integer));
    assert_string_equal(rlhfi_json_text(rlhfi_json_get(root, "c"), NULL), "NaN");
    assert_string_equal(rlhfi_json_text(rlhfi_json_get(root, "Infinity"), NULL), "-Infinity");
    assert_true(rlhfi_json_number(rlhfi_json_get(root, "d"), &number) && isnan(number));
    rlhfi_json_release(&root);
    root = parse("-Infinity");
    assert_true(rlhfi_json_number(root, &number) && number == -INFINITY);
    rlhfi_json_release(&root);
    refuses("{NaN: 1}", "t.json:1:");
    refuses("[NaN1]", "t.json:1:");
    refuses("[-NaN]", "t.json:1:");
    refuses("[nan]", "t.json:1:");
    refuses("[+Infinity]", "t.json:1:");
    refuses("[Infinit]", "t.json:1:");
}

/* No text may be taken for one of those numbers, whatever it holds. */
static void is_not_fooled_by_text(void **state)
{
    rlhfi_json *root =
        parse("[\"\\u0000NaN\", \"\\u0000\", \"\\u0000\\u0000NaN\", \"a\\u0000b\", \"\", \"\\u0000Infinity\", NaN]");
    static const struct {
        const char *bytes;
        size_t count;
    } wanted[] = {{"\0NaN", 4}, {"\0", 1}, {"\0\0NaN", 5}, {"a\0b", 3}, {"", 0}, {"\0Infinity", 9}};
    char *text;
    size_t bytes;

    (void)state;
    for (size_t i = 0; i < 6; i++) {
        const rlhfi_json *node = rlhfi_json_at(root, i);
        const char *got = rlhfi_json_text(node, &bytes);
        double number;
        assert_int_equal(rlhfi_json_type(node), RLHFI_JSON_STRING);
        assert_int_equal(bytes, wanted[i].count);
        assert_memory_equal(got, wanted[i].bytes, bytes + 1);
        assert_false(rlhfi_json_number(node, &number));
    }
    text = rlhfi_json_dump(group_context, root, 0);
    assert_string_equal(
        text, "[\"\\u0000NaN\", \"\\u0000\", \"\\u0000\\u0000NaN\", \"a\\u0000b\", \"\", \"\\u0000Infinity\", NaN]");
    rlhfi_free(group_context, text);
    rlhfi_json_release(&root);
}

static void refuses_what_is_no_json(void **state)
{
    (void)state;
    refuses("", "t.json:1:1: ");
    refuses("{\"a\":1,\"b\":2,\"a\":3}", "t.json:1:16: duplicate object key");
    refuses("{\"a\":{\"b\":1,\"\\u0062\":2}}", "duplicate object key");
    refuses("[1] 2", "t.json:1:5: end of file expected");
    refuses("{\"a\\u0000b\":1}", "NUL byte in object key");
    refuses("[\"\\ud800\"]", "invalid Unicode");
    refuses("[\"\xff\"]", "unable to decode byte 0xff");
    refuses("[\"\xc0\xaf\"]", "unable to decode byte");
    refuses("[\"\xed\xa0\x80\"]", "unable to decode byte");
    refuses("[01]", "t.json:1:");
    refuses("[1,]", "t.json:1:4: ");
    refuses("['a']", "t.json:1:2: ");
    refuses("\xef\xbb\xbf{}", "t.json:1:");
    refuses("[\"a\nb\"]", "t.json:1:"); /* the text of the error stays one line */
}

static void tells_line_and_column(void **state)
{
    (void)state;
    refuses("{\n  \"a\": 1,\n  \"b\": x\n}", "t.json:3:8: ");
    refuses("{\n\"\xc3\xa9\xc3\xa9\": !}", "t.json:2:7: "); /* columns are characters */
    /* The same place with respelled values before it. */
    refuses("{\n  \"a\": NaN, \"k\": 123456789012345678901234567890,\n  \"b\": [-Infinity, \"\\u0000\"],  x}",
            "t.json:3:32: ");
    refuses("[NaN, NaN, NaN x]", "t.json:1:16: ");
    refuses("[99999999999999999999 x]", "t.json:1:23: ");
}

static void bounds_the_depth(void **state)
{
    char text[512];
    rlhfi_json *root;

    (void)state;
    memset(text, '[', 64);
    memset(text + 64, ']', 64);
    text[128] = '\0';
    root = parse(text);
    rlhfi_json_release(&root);
    memset(text, '[', 65);
    memset(text + 65, ']', 65);
    text[130] = '\0';
    refuses(text, "t.json:1:65: nested deeper than 64 levels");
    root =
        parse("[\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[[[[[[[[[[[[[[[[[[[\"]");
    rlhfi_json_release(&root);
}

/* A NUL outside of text is no white space: jansson would overlook one behind a number. */
static void refuses_nul_bytes(void **state)
{
    static const struct {
        const char *text;
        size_t bytes;
        const char *words;
    } cases[] = {
        {"-1\0", 3, "t.json:1:3: a NUL byte"},        {"[1\0,2]", 6, "t.json:1:3: a NUL byte"},
        {"{\"a\":\n1.5\0}", 10, "t.json:2:4: a NUL"}, {"\0[]", 3, "t.json:1:1: a NUL byte"},
        {"[]\0", 3, "t.json:1:3: a NUL byte"},        {"[\"a\0b\"]", 7, "control character 0x0"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        rlhfi_json *root;
        rlhf_status status = rlhfi_json_parse(&root, group_context, cases[i].text, cases[i].bytes, "t.json");
        assert_null(root);
        assert_failure(group_context, status, RLHF_E_FORMAT, cases[i].words);
    }
}

/* 10^5 levels: refused before jansson sees them. */
static void survives_extreme_depth(void **state)
{
    enum { LEVELS = 100000 };
    char *text = need(LEVELS);
    rlhfi_json *root;

    (void)state;
    memset(text, '[', LEVELS);
    assert_failure(group_context, rlhfi_json_parse(&root, group_context, text, LEVELS, "t.json"), RLHF_E_FORMAT,
                   "nested deeper");
    free(text);
}

static void keeps_the_order_of_keys(void **state)
{
    rlhfi_json *root = parse("{\"z\":1,\"a\":2,\"m\":{\"q\":1,\"b\":2},\"0\":3}");
    static const char *const keys[] = {"z", "a", "m", "0"};
    const char *key;
    const rlhfi_json *value;
    size_t count = 0;
    char *text;

    (void)state;
    for (void *i = NULL; rlhfi_json_next(root, &i, &key, &value); count++)
        assert_string_equal(key, keys[count]);
    assert_int_equal(count, 4);
    text = rlhfi_json_dump(group_context, root, 0);
    assert_string_equal(text, "{\"z\": 1, \"a\": 2, \"m\": {\"q\": 1, \"b\": 2}, \"0\": 3}");
    rlhfi_free(group_context, text);
    text = rlhfi_json_dump(group_context, root, 2);
    assert_string_equal(text,
                        "{\n  \"0\": 3,\n  \"a\": 2,\n  \"m\": {\n    \"b\": 2,\n    \"q\": 1\n  },\n  \"z\": 1\n}");
    rlhfi_free(group_context, text);
    rlhfi_json_release(&root);
}

/* Text as Python's json.dumps writes it. */
static void writes_as_python_does(void **state)
{
    rlhfi_json *root =
        parse("[1e-05, 1e16, 1e15, 0.0001, 10000.0, -0.0, 1e22, 0.1, 5e-324, 1.7976931348623157e308, -2, NaN, "
              "-Infinity, \"\\u007f\\u00e9\\ud83d\\ude00\\n\\u001f\\\"\\\\/\", [], {}, true, null]");
    char *text = rlhfi_json_dump(group_context, root, 0);

    (void)state;
    assert_string_equal(text, "[1e-05, 1e+16, 1000000000000000.0, 0.0001, 10000.0, -0.0, 1e+22, 0.1, 5e-324, "
                              "1.7976931348623157e+308, -2, NaN, -Infinity, "
                              "\"\x7f\xc3\xa9\xf0\x9f\x98\x80\\n\\u001f\\\"\\\\/\", [], {}, true, null]");
    rlhfi_free(group_context, text);
    rlhfi_json_release(&root);
    root = parse("{\"\\u00e9\": [\"\\u007f\\u00e9\\ud83d\\ude00\\b\\f\"], \"e\": [], \"o\": {}}");
    text = rlhfi_json_dump(group_context, root, 2);
    assert_string_equal(
        text, "{\n  \"e\": [],\n  \"o\": {},\n  \"\\u00e9\": [\n    \"\\u007f\\u00e9\\ud83d\\ude00\\b\\f\"\n  ]\n}");
    rlhfi_free(group_context, text);
    rlhfi_json_release(&root);
}

static void writes_changes(void **state)
{
    rlhfi_json *base = parse("{\"b\": 1, \"a\": [1, 2], \"c\": NaN}"),
               *changes = parse("{\"a\": \"x\", \"d\": {\"e\": 1}}");
    char *text = rlhfi_json_dump_changed(group_context, base, changes, 0);

    (void)state;
    assert_string_equal(text, "{\"b\": 1, \"a\": \"x\", \"c\": NaN, \"d\": {\"e\": 1}}");
    rlhfi_free(group_context, text);
    rlhfi_json_release(&base);
    rlhfi_json_release(&changes);
}

static void writes_the_other_members(void **state)
{
    static const char *const all[] = {"a", "b", "c", NULL}, *const some[] = {"b", "x", NULL}, *const none[] = {NULL};
    rlhfi_json *root = parse("{\"a\": 1, \"b\": {\"a\": 2}, \"c\": [3]}");
    char *text;

    (void)state;
    assert_success(group_context, rlhfi_json_dump_others(group_context, root, some, &text));
    assert_string_equal(text, "{\"a\": 1, \"c\": [3]}");
    rlhfi_free(group_context, text);
    assert_success(group_context, rlhfi_json_dump_others(group_context, root, none, &text));
    assert_string_equal(text, "{\"a\": 1, \"b\": {\"a\": 2}, \"c\": [3]}");
    rlhfi_free(group_context, text);
    assert_success(group_context, rlhfi_json_dump_others(group_context, root, all, &text));
    assert_null(text);
    rlhfi_json_release(&root);
}

static void loads_files(void **state)
{
    rlhfi_json *root;

    (void)state;
    write_file(scratch_path("a.json"), "{\"a\": [1, 2]}", 13);
    assert_success(group_context, rlhfi_json_load(&root, group_context, scratch_path("a.json"), 13));
    assert_int_equal(rlhfi_json_size(rlhfi_json_get(root, "a")), 2);
    rlhfi_json_release(&root);
    assert_failure(group_context, rlhfi_json_load(&root, group_context, scratch_path("a.json"), 12), RLHF_E_RANGE,
                   "a.json: 13 bytes");
    assert_null(root);
    assert_failure(group_context, rlhfi_json_load(&root, group_context, scratch_path("no.json"), 100), RLHF_E_IO,
                   "no.json");
    write_file(scratch_path("bad.json"), "{\n]", 3);
    assert_failure(group_context, rlhfi_json_load(&root, group_context, scratch_path("bad.json"), 100), RLHF_E_FORMAT,
                   "bad.json:2:1: ");
    remove_scratch();
}

/* Every beginning of a text is an error, and leaves nothing behind. */
static void survives_every_cut(void **state)
{
    static const char text[] = "{\"a\": [1, -2.5, NaN, \"\\u0000x\", {\"b\": null}], \"c\": 123456789012345678901}";
    rlhfi_json *root;

    (void)state;
    for (size_t bytes = 0; bytes < sizeof text - 1; bytes++) {
        char *copy = need(bytes);
        memcpy(copy, text, bytes);
        assert_failure(group_context, rlhfi_json_parse(&root, group_context, copy, bytes, "t.json"), RLHF_E_FORMAT,
                       "t.json:1:");
        free(copy);
    }
    root = parse(text);
    rlhfi_json_release(&root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_all_types),          cmocka_unit_test(answers_wrong_questions),
        cmocka_unit_test(keeps_numbers),            cmocka_unit_test(reads_what_python_writes),
        cmocka_unit_test(is_not_fooled_by_text),    cmocka_unit_test(refuses_what_is_no_json),
        cmocka_unit_test(tells_line_and_column),    cmocka_unit_test(bounds_the_depth),
        cmocka_unit_test(refuses_nul_bytes),
        cmocka_unit_test(survives_extreme_depth),   cmocka_unit_test(keeps_the_order_of_keys),
        cmocka_unit_test(writes_as_python_does),    cmocka_unit_test(writes_changes),
        cmocka_unit_test(writes_the_other_members), cmocka_unit_test(loads_files),
        cmocka_unit_test(survives_every_cut),
    };

    return cmocka_run_group_tests_name("json", tests, group_setup, group_teardown);
}
