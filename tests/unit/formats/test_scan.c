/* The pull reader of JSON: grammar, decoding in place, exact numbers, problems with their places. */
#include "formats/scan.h"
#include "support.h"

static char text_buffer[4096];

static rlhfi_scan scan_of(const char *text)
{
    assert_true(strlen(text) < sizeof text_buffer);
    strcpy(text_buffer, text);
    return rlhfi_scan_begin(text_buffer, strlen(text));
}

static bool skips(const char *text, int levels)
{
    rlhfi_scan scan = scan_of(text);
    bool good = rlhfi_scan_skip(&scan, levels) && rlhfi_scan_finish(&scan);

    assert_string_equal(text_buffer, text); /* checking changes nothing */
    assert_true(good == (scan.problem == NULL));
    return good;
}

static void checks_the_grammar(void **state)
{
    static const char *const good[] = {
        "{}", "[]", "0", "-0", "12", "-1.5e+10", "1E5", "0.25", "true", "false", "null", "\"\"", " [ 1 , 2 ] ",
        "{\"a\":{\"b\":[null,true]}}", "\"\\u00e9\\ud83d\\ude00\\n\\/\"", "[[],[[]]]", "\t{\r\n}",
    };
    static const char *const bad[] = {
        "",
        " ",
        "{",
        "}",
        "[",
        "]",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{1:1}",
        "{,}",
        "01",
        "-",
        "+1",
        "1.",
        ".5",
        "1e",
        "1e+",
        "--1",
        "0x10",
        "tru",
        "nul",
        "nulll",
        "True",
        "NaN",
        "Infinity",
        "\"",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\\ud800\"",
        "\"\\ude00\"",
        "\"\\ud800\\u0041\"",
        "\"\\ud800\\ud800\"",
        "\"a\nb\"",
        "[] []",
        "{}x",
        "\"a\"\"b\"",
        "'a'",
        "[1,2",
        "{\"a\":1",
        "/**/1",
    };

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        if (!skips(good[i], 8))
            fail_msg("refused: %s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (skips(bad[i], 8))
            fail_msg("accepted: %s", bad[i]);
}

static void bounds_the_depth(void **state)
{
    (void)state;
    assert_true(skips("1", 0));
    assert_false(skips("[]", 0));
    assert_true(skips("[[[1]]]", 3));
    assert_false(skips("[[[1]]]", 2));
    assert_false(skips("{\"a\":{\"b\":{}}}", 2));
}

static void decodes_in_place(void **state)
{
    rlhfi_scan scan = scan_of("\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\u00e9\\u20ac\\ud83d\\ude00z\"");
    char *text;
    size_t bytes;

    (void)state;
    assert_true(rlhfi_scan_string(&scan, &text, &bytes));
    assert_string_equal(text, "a\"\\/\b\f\n\r\tA\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z");
    assert_int_equal(bytes, strlen(text));
    assert_true(rlhfi_scan_finish(&scan));
    scan = scan_of("\"a\\u0000b\"");
    assert_true(rlhfi_scan_string(&scan, &text, &bytes));
    assert_int_equal(bytes, 3);
    assert_memory_equal(text, "a\0b", 4);
}

static bool whole(const char *text, uint64_t *value)
{
    rlhfi_scan scan = scan_of(text);

    return rlhfi_scan_unsigned(&scan, value) && rlhfi_scan_finish(&scan);
}

static void reads_exact_whole_numbers(void **state)
{
    static const char *const bad[] = {"-1",    "-0",   "1.0",  "1e3",
                                      "1E3",   "01",   "00",   "18446744073709551616",
                                      "+1",    "",     "a",    "99999999999999999999999",
                                      "\"1\"", "true", "null", "1x"};
    uint64_t value;

    (void)state;
    assert_true(whole("0", &value) && value == 0);
    assert_true(whole(" 7 ", &value) && value == 7);
    assert_true(whole("9007199254740993", &value) && value == 9007199254740993u); /* no double can */
    assert_true(whole("9223372036854775808", &value) && value == 9223372036854775808u);
    assert_true(whole("18446744073709551615", &value) && value == UINT64_MAX);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (whole(bad[i], &value))
            fail_msg("accepted: %s", bad[i]);
}

static void walks_containers(void **state)
{
    rlhfi_scan scan = scan_of("{ \"one\" : [ 1, 2 ,3 ] , \"two\":null, \"three\":\"x\"}"), ahead;
    size_t members = 0, elements = 0, bytes;
    uint64_t value;
    char *text;

    (void)state;
    ahead = scan;
    assert_true(rlhfi_scan_open(&ahead, '{'));
    while (rlhfi_scan_member(&ahead, &members, NULL, NULL) == RLHFI_SCAN_ITEM)
        assert_true(rlhfi_scan_skip(&ahead, 1));
    assert_int_equal(members, 3);
    assert_true(rlhfi_scan_finish(&ahead));

    members = 0;
    assert_true(rlhfi_scan_open(&scan, '{'));
    assert_int_equal(rlhfi_scan_member(&scan, &members, &text, &bytes), RLHFI_SCAN_ITEM);
    assert_string_equal(text, "one");
    assert_true(rlhfi_scan_open(&scan, '['));
    while (rlhfi_scan_element(&scan, &elements) == RLHFI_SCAN_ITEM) {
        assert_true(rlhfi_scan_unsigned(&scan, &value));
        assert_int_equal(value, elements);
    }
    assert_int_equal(elements, 3);
    assert_int_equal(rlhfi_scan_member(&scan, &members, &text, &bytes), RLHFI_SCAN_ITEM);
    assert_string_equal(text, "two");
    assert_true(rlhfi_scan_null(&scan));
    assert_int_equal(rlhfi_scan_member(&scan, &members, &text, &bytes), RLHFI_SCAN_ITEM);
    assert_false(rlhfi_scan_null(&scan));
    assert_true(rlhfi_scan_string(&scan, &text, &bytes));
    assert_string_equal(text, "x");
    assert_int_equal(rlhfi_scan_member(&scan, &members, &text, &bytes), RLHFI_SCAN_END);
    assert_true(rlhfi_scan_finish(&scan));
}

static void tells_the_place(void **state)
{
    rlhfi_scan scan = scan_of("[10, 20, x]");

    (void)state;
    assert_false(rlhfi_scan_skip(&scan, 4));
    assert_int_equal(scan.at, 9);
    assert_string_equal(scan.problem, "a value is expected");
    assert_false(rlhfi_scan_fail(&scan, "later"));
    assert_string_equal(scan.problem, "a value is expected");
}

/* Cut anywhere, a text is an error, and no byte behind its end is looked at (the sanitizer watches). */
static void survives_every_cut(void **state)
{
    static const char text[] = "{\"a\\u00e9\\ud83d\\ude00\":[1,-2.5e-3,true,null,{\"b\":\"\\\\\"}],\"c\":false}";

    (void)state;
    for (size_t bytes = 0; bytes < sizeof text - 1; bytes++) {
        char *copy = need(bytes);
        rlhfi_scan scan;
        memcpy(copy, text, bytes);
        scan = rlhfi_scan_begin(copy, bytes);
        assert_false(rlhfi_scan_skip(&scan, 8) && rlhfi_scan_finish(&scan));
        free(copy);
    }
    assert_true(skips(text, 8));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checks_the_grammar),     cmocka_unit_test(bounds_the_depth),
        cmocka_unit_test(decodes_in_place),       cmocka_unit_test(reads_exact_whole_numbers),
        cmocka_unit_test(walks_containers),       cmocka_unit_test(tells_the_place),
        cmocka_unit_test(survives_every_cut),
    };

    return cmocka_run_group_tests_name("scan", tests, NULL, NULL);
}
