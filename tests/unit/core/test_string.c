#include "helper.h"

#include <math.h>
#include <stdio.h>

static rlhf_context *context;

static int make(void **state)
{
    return rlhf_context_create(&context, NULL);
}

static int drop(void **state)
{
    rlhf_context_release(&context);
    return 0;
}

static void grows_from_nothing(void **state)
{
    rlhfi_string string;
    char expected[3001] = "";

    rlhfi_string_init(&string, context);
    assert_null(string.data);
    rlhfi_string_add(&string, "");
    assert_string_equal(string.data, "");
    for (int i = 0; i < 1000; i++) {
        rlhfi_string_add_format(&string, "%03d", i);
        snprintf(expected + 3 * i, 4, "%03d", i);
        assert_int_equal(string.size, 3 * (i + 1));
        assert_int_equal(string.data[string.size], '\0');
    }
    assert_string_equal(string.data, expected);
    rlhfi_string_add_bytes(&string, "a\0b", 3);
    assert_int_equal(string.size, 3003);
    assert_memory_equal(string.data + 3000, "a\0b", 4);
    assert_false(string.failed);
    rlhfi_string_free(&string);
    assert_null(string.data);
    rlhfi_string_add(&string, "again");
    assert_string_equal(string.data, "again");
    rlhfi_string_free(&string);
    rlhfi_string_free(&string);
}

static void long_formats(void **state)
{
    rlhfi_string string;
    char text[5000];

    memset(text, 'z', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    rlhfi_string_init(&string, context);
    rlhfi_string_add_format(&string, "[%s]", text);
    assert_int_equal(string.size, sizeof text + 1);
    assert_int_equal(string.data[sizeof text], ']');
    rlhfi_string_free(&string);
}

static void doubles(void **state)
{
    rlhfi_string string;

    rlhfi_string_init(&string, context);
    rlhfi_string_add_double(&string, 0.1);
    rlhfi_string_add(&string, " ");
    rlhfi_string_add_double(&string, -INFINITY);
    rlhfi_string_add(&string, " ");
    rlhfi_string_add_double(&string, NAN);
    assert_string_equal(string.data, "0.1 -inf nan");
    rlhfi_string_free(&string);
}

static void check_json(const char *text, size_t bytes, const char *expected)
{
    rlhfi_string string;

    rlhfi_string_init(&string, context);
    rlhfi_string_add_json(&string, text, bytes);
    assert_string_equal(string.data, expected);
    rlhfi_string_free(&string);
}

static void json_is_escaped_and_utf8(void **state)
{
    check_json("", 0, "\"\"");
    check_json("a\"b\\c/d", 7, "\"a\\\"b\\\\c/d\"");
    check_json("\n\t\r\b\x1f\x7f", 6, "\"\\n\\t\\r\\u0008\\u001f\x7f\"");
    check_json("\0", 1, "\"\\u0000\"");
    check_json("\xc3\xa9\xf0\x9f\x98\x80", 6, "\"\xc3\xa9\xf0\x9f\x98\x80\"");
    /* Half a character at the end, as a model that stops in the middle of one writes; and bytes that start nothing. */
    check_json("x\xf0\x9f\x98", 4, "\"x\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
    check_json("\xff\xc3\xa9\xff\"", 5, "\"\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd\\\"\"");
    check_json("\xff", 1, "\"\xef\xbf\xbd\"");
}

static rlhf_status write_much(rlhf_context *where)
{
    rlhfi_string string;
    rlhf_status status;

    rlhfi_string_init(&string, where);
    for (int i = 0; i < 500; i++) {
        rlhfi_string_add_format(&string, "line %d: ", i);
        rlhfi_string_add_json(&string, "some \"text\"", 11);
        rlhfi_string_add_double(&string, i / 7.0);
        rlhfi_string_add(&string, "\n");
    }
    status = string.failed ? RLHF_E_NOMEM : RLHF_OK;
    if (string.data != NULL)
        assert_int_equal(strlen(string.data), string.size); /* what is there is whole, also after a failure */
    rlhfi_string_free(&string);
    return status;
}

static void each_allocation_may_fail(void **state)
{
    assert_true(fail_each(write_much) >= 5);
}

static void impossible_sizes_fail(void **state)
{
    rlhfi_string string;

    rlhfi_string_init(&string, context);
    rlhfi_string_add(&string, "abc");
    rlhfi_string_add_bytes(&string, "x", SIZE_MAX - 2);
    assert_true(string.failed);
    assert_string_equal(string.data, "abc");
    rlhfi_string_add(&string, "def");
    assert_string_equal(string.data, "abc");
    rlhfi_string_free(&string);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(grows_from_nothing, make, drop),
        cmocka_unit_test_setup_teardown(long_formats, make, drop),
        cmocka_unit_test_setup_teardown(doubles, make, drop),
        cmocka_unit_test_setup_teardown(json_is_escaped_and_utf8, make, drop),
        cmocka_unit_test_setup_teardown(impossible_sizes_fail, make, drop),
        cmocka_unit_test(each_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
