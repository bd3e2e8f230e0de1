#include "helper.h"

#include <pthread.h>

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

static void codes_have_names(void **state)
{
    assert_string_equal(rlhf_status_name(RLHF_OK), "RLHF_OK");
    assert_string_equal(rlhf_status_name(RLHF_E_INVAL), "RLHF_E_INVAL");
    assert_string_equal(rlhf_status_name(RLHF_E_NOMEM), "RLHF_E_NOMEM");
    assert_string_equal(rlhf_status_name(RLHF_E_IO), "RLHF_E_IO");
    assert_string_equal(rlhf_status_name(RLHF_E_FORMAT), "RLHF_E_FORMAT");
    assert_string_equal(rlhf_status_name(RLHF_E_RANGE), "RLHF_E_RANGE");
    assert_string_equal(rlhf_status_name(RLHF_E_NONFINITE), "RLHF_E_NONFINITE");
    assert_string_equal(rlhf_status_name(RLHF_E_CANCELED), "RLHF_E_CANCELED");
    assert_string_equal(rlhf_status_name(RLHF_E_FORKED), "RLHF_E_FORKED");
    assert_string_equal(rlhf_status_name(RLHF_E_UNSUPPORTED), "RLHF_E_UNSUPPORTED");
    assert_string_equal(rlhf_status_name(RLHF_E_BUSY), "RLHF_E_BUSY");
    assert_string_equal(rlhf_status_name(RLHF_E_END), "RLHF_E_END");
    assert_string_equal(rlhf_status_name(RLHF_E_USER_FIRST), "user code");
    assert_string_equal(rlhf_status_name(INT32_MIN), "user code");
    assert_string_equal(rlhf_status_name(RLHF_E_USER_FIRST + 1), "unknown status");
    assert_string_equal(rlhf_status_name(1), "unknown status");
    assert_int_equal(rlhf_version(), RLHF_API_VERSION);
}

static void fail_keeps_the_text(void **state)
{
    char small[6], text[64];

    assert_int_equal(rlhfi_fail(NULL, RLHF_E_IO, "nowhere"), RLHF_E_IO);
    assert_int_equal(rlhfi_fail(context, RLHF_E_RANGE, "token: %d, at most %d", 7, 6), RLHF_E_RANGE);
    assert_int_equal(context->error_status, RLHF_E_RANGE);
    assert_int_equal(rlhf_context_error(context, text, sizeof text), strlen("token: 7, at most 6") + 1);
    assert_string_equal(text, "token: 7, at most 6");
    assert_int_equal(rlhf_context_error(context, small, sizeof small), strlen("token: 7, at most 6") + 1);
    assert_string_equal(small, "token");
    assert_int_equal(rlhf_context_error(context, NULL, 0), strlen("token: 7, at most 6") + 1);
    assert_int_equal(rlhf_context_error(context, small, 0), strlen("token: 7, at most 6") + 1);
    assert_int_equal(rlhf_context_error(NULL, text, sizeof text), 0);

    /* The arguments may be the old text itself. */
    rlhfi_fail(context, RLHF_E_IO, "again: %s", context->error);
    assert_string_equal(error_of(context), "again: token: 7, at most 6");

    assert_int_equal(rlhfi_fail_prefix(context, RLHF_E_FORMAT, "%s:%d", "file.yaml", 3), RLHF_E_FORMAT);
    assert_string_equal(error_of(context), "file.yaml:3: again: token: 7, at most 6");
    assert_int_equal(context->error_status, RLHF_E_FORMAT);

    assert_int_equal(rlhfi_out_of_memory(context), RLHF_E_NOMEM);
    assert_int_equal(rlhfi_fail_prefix(context, RLHF_E_NOMEM, "here"), RLHF_E_NOMEM);
    assert_string_equal(error_of(context), "out of memory");

    assert_int_equal(rlhfi_enter(context), RLHF_OK);
    assert_string_equal(error_of(context), "");
    assert_int_equal(rlhfi_fail_prefix(context, RLHF_E_IO, "a.yaml"), RLHF_E_IO); /* a caller's code has no text */
    assert_string_equal(error_of(context), "a.yaml");
    assert_int_equal(rlhfi_enter(context), RLHF_OK);
    assert_int_equal(rlhf_context_error(context, text, sizeof text), 1);
    assert_int_equal(rlhfi_enter(NULL), RLHF_E_INVAL);
}

static void the_text_is_one_line_of_utf8(void **state)
{
    char line[2000];

    rlhfi_fail(context, RLHF_E_IO, "%s", "two\nlines\rand\ttabs \x01\x7f.");
    assert_string_equal(error_of(context), "two lines and tabs   .");
    rlhfi_fail(context, RLHF_E_IO, "%s", "broken \xff\xc3 and whole \xc3\xa9\xf0\x9f\x98\x80");
    assert_string_equal(error_of(context), "broken ?? and whole \xc3\xa9\xf0\x9f\x98\x80");

    /* Cut at every possible place of a character of four bytes. */
    for (size_t shift = 0; shift < 4; shift++) {
        size_t bytes = shift;
        memset(line, 'x', shift);
        for (; bytes + 4 < sizeof line; bytes += 4)
            memcpy(line + bytes, "\xf0\x9f\x98\x80", 4);
        line[bytes] = '\0';
        rlhfi_fail(context, RLHF_E_IO, "%s", line);
        bytes = strlen(error_of(context));
        assert_in_range(bytes, sizeof context->error - 5, sizeof context->error - 1);
        assert_string_equal(error_of(context) + bytes - 3, "...");
        assert_true(rlhfi_utf8_valid(error_of(context), bytes, NULL));
        assert_null(strchr(error_of(context), '?'));
        rlhfi_fail_prefix(context, RLHF_E_IO, "prefix");
        assert_memory_equal(error_of(context), "prefix: ", 8);
        bytes = strlen(error_of(context));
        assert_string_equal(error_of(context) + bytes - 3, "...");
        assert_true(rlhfi_utf8_valid(error_of(context), bytes, NULL));
    }
    /* A text that just fits is not cut; one byte more is. */
    memset(line, 'y', sizeof line);
    line[sizeof context->error - 1] = '\0';
    rlhfi_fail(context, RLHF_E_IO, "%s", line);
    assert_string_equal(error_of(context), line);
    rlhfi_fail(context, RLHF_E_IO, "%sz", line);
    assert_string_equal(error_of(context) + sizeof context->error - 5, "y...");
    /* Copied out in pieces of any length it stays whole characters. */
    rlhfi_fail(context, RLHF_E_IO, "\xf0\x9f\x98\x80\xf0\x9f\x98\x80");
    for (size_t capacity = 1; capacity < 10; capacity++) {
        assert_int_equal(rlhf_context_error(context, line, capacity), 9);
        assert_int_equal(strlen(line), (capacity - 1) / 4 * 4);
    }
}

static rlhf_status needs(int value)
{
    RLHFI_REQUIRE(context, value > 3);
    return RLHF_OK;
}

static void require_names_the_condition(void **state)
{
    assert_int_equal(needs(4), RLHF_OK);
    assert_int_equal(needs(3), RLHF_E_INVAL);
    assert_string_equal(error_of(context), "needs: value > 3 must hold");
}

struct small {
    uint32_t struct_size;
    int32_t a, b, c;
};

static void options_of_every_size(void **state)
{
    struct {
        struct small known;
        int32_t tail[2];
    } given;

    for (uint32_t size = 0; size <= sizeof given; size += 4) {
        struct small known = {sizeof known, 1, 2, 3};
        rlhf_status status;
        memset(&given, 0, sizeof given);
        given.known = (struct small){size, 11, 12, 13};
        status = rlhfi_options_copy(context, &known, sizeof known, &given, 8, "small");
        assert_int_equal(status, size < 8 ? RLHF_E_INVAL : RLHF_OK);
        if (status == RLHF_OK) {
            assert_int_equal(known.struct_size, sizeof known);
            assert_int_equal(known.a, 11);
            assert_int_equal(known.b, size >= 12 ? 12 : 2);
            assert_int_equal(known.c, size >= 16 ? 13 : 3);
        }
    }
    for (size_t byte = sizeof given.known; byte < sizeof given; byte++) {
        struct small known = {sizeof known, 1, 2, 3};
        memset(&given, 0, sizeof given);
        given.known.struct_size = sizeof given;
        ((char *)&given)[byte] = 1;
        assert_int_equal(rlhfi_options_copy(context, &known, sizeof known, &given, 8, "small"), RLHF_E_UNSUPPORTED);
        assert_int_equal(known.a, 1);
        assert_non_null(strstr(error_of(context), "small"));
    }
    given.known.struct_size = 0xA5A5A5A5u; /* nobody called the init function */
    {
        struct small known = {sizeof known, 1, 2, 3};
        assert_int_equal(rlhfi_options_copy(context, &known, sizeof known, &given, 8, "small"), RLHF_E_INVAL);
        assert_int_equal(rlhfi_options_copy(context, &known, sizeof known, NULL, 8, "small"), RLHF_OK);
        assert_int_equal(known.b, 2);
    }
}

static void init_of_every_size(void **state)
{
    const struct small defaults = {sizeof defaults, 1, 2, 3};
    unsigned char given[24];

    rlhfi_options_init(NULL, 16, &defaults, sizeof defaults);
    for (size_t size = 0; size < sizeof given; size++) {
        struct small expected = defaults;
        uint32_t written = (uint32_t)size;
        memset(given, 0xA5, sizeof given);
        rlhfi_options_init(given, size, &defaults, sizeof defaults);
        expected.struct_size = written;
        if (size >= 4)
            assert_memory_equal(given, &expected, size < sizeof expected ? size : sizeof expected);
        for (size_t i = size < 4 ? 0 : size; i < sizeof given; i++)
            assert_int_equal(given[i], 0xA5);
        for (size_t i = sizeof expected; i < size; i++)
            assert_int_equal(given[i], 0);
    }
}

struct seen {
    int lines;
    int32_t level;
    char line[2000];
};

static void see(void *user_data, int32_t level, const char *line)
{
    struct seen *seen = user_data;

    seen->lines++;
    seen->level = level;
    strcpy(seen->line, line);
}

static void log_goes_to_the_context(void **state)
{
    struct seen one = {0}, two = {0};
    rlhf_context *loud, *quiet;
    rlhf_context_options options;
    char text[1500];

    rlhf_context_options_init(&options, sizeof options);
    options.log = see;
    options.log_user_data = &one;
    options.log_level = RLHF_LOG_DEBUG;
    assert_int_equal(rlhf_context_create(&loud, &options), RLHF_OK);
    options.log_user_data = &two;
    options.log_level = RLHF_LOG_WARNING;
    assert_int_equal(rlhf_context_create(&quiet, &options), RLHF_OK);
    rlhfi_log(loud, RLHF_LOG_DEBUG, "one\nline %d", 1);
    rlhfi_log(quiet, RLHF_LOG_INFO, "not made");
    assert_int_equal(one.lines, 1);
    assert_int_equal(one.level, RLHF_LOG_DEBUG);
    assert_string_equal(one.line, "one line 1");
    assert_int_equal(two.lines, 0);
    rlhfi_log(quiet, RLHF_LOG_WARNING, "made");
    assert_string_equal(two.line, "made");
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    rlhfi_log(quiet, RLHF_LOG_ERROR, "%s", text);
    assert_int_equal(strlen(two.line), 1023);
    rlhfi_log(context, RLHF_LOG_ERROR, "nobody listens");
    rlhfi_log(NULL, RLHF_LOG_ERROR, "nobody is there");
    rlhf_context_release(&loud);
    rlhf_context_release(&quiet);
}

static void *cancel(void *argument)
{
    rlhf_context_cancel(argument);
    return NULL;
}

static void cancel_is_consumed(void **state)
{
    pthread_t thread;

    rlhf_context_cancel(NULL);
    assert_int_equal(rlhfi_check_cancel(context), RLHF_OK);
    assert_int_equal(pthread_create(&thread, NULL, cancel, context), 0);
    pthread_join(thread, NULL);
    assert_int_equal(rlhfi_check_cancel(context), RLHF_E_CANCELED);
    assert_string_equal(error_of(context), "canceled on request");
    assert_int_equal(rlhfi_check_cancel(context), RLHF_OK);
}

static void fail_in_task(void *argument, int64_t index, int32_t worker)
{
    rlhfi_fail(argument, RLHF_E_FORMAT, "line %lld: the same text in each", (long long)(index % 1));
}

static void tasks_may_fail_together(void **state)
{
    struct counter counter = {0};
    rlhf_context *many;

    assert_int_equal(counted_context(&many, &counter, 4), RLHF_OK);
    rlhfi_parallel(many, 2000, fail_in_task, many);
    assert_string_equal(error_of(many), "line 0: the same text in each");
    rlhf_context_release(&many);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_have_names),
        cmocka_unit_test_setup_teardown(fail_keeps_the_text, make, drop),
        cmocka_unit_test_setup_teardown(the_text_is_one_line_of_utf8, make, drop),
        cmocka_unit_test_setup_teardown(require_names_the_condition, make, drop),
        cmocka_unit_test_setup_teardown(options_of_every_size, make, drop),
        cmocka_unit_test(init_of_every_size),
        cmocka_unit_test_setup_teardown(log_goes_to_the_context, make, drop),
        cmocka_unit_test_setup_teardown(cancel_is_consumed, make, drop),
        cmocka_unit_test(tasks_may_fail_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
