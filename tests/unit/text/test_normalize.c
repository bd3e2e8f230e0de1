/* Normalisers: each type, sequences, refusals. */
#include "support.h"

static void check(rlhf_context *context, const char *json, const char *text, const char *expected)
{
    struct rlhfi_normalizers list = {0};
    rlhfi_string buffers[2];
    rlhfi_json *node;
    const char *out;
    size_t bytes;
    rlhfi_string_init(&buffers[0], context);
    rlhfi_string_init(&buffers[1], context);
    check_ok(context, rlhfi_json_parse(&node, context, json, strlen(json), "normalizer"));
    check_ok(context, rlhfi_normalizers_parse(&list, context, node));
    check_ok(context, rlhfi_normalize(&list, buffers, text, strlen(text), &out, &bytes));
    assert_int_equal(bytes, strlen(expected));
    assert_memory_equal(out, expected, bytes);
    rlhfi_string_free(&buffers[0]);
    rlhfi_string_free(&buffers[1]);
    rlhfi_normalizers_free(&list);
    rlhfi_json_release(&node);
}

static void types(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    check(context, "null", "a b", "a b");
    check(context, "{\"type\":\"NFC\"}", "e\u0301", "\u00E9");
    check(context, "{\"type\":\"NFKD\"}", "\uFB01", "fi");
    check(context, "{\"type\":\"Prepend\",\"prepend\":\"\u2581\"}", "a", "\u2581a");
    check(context, "{\"type\":\"Prepend\",\"prepend\":\"\u2581\"}", "", "");
    check(context, "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\u2581\"}", " a  b",
          "\u2581a\u2581\u2581b");
    check(context, "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" +\"},\"content\":\"_\"}", " a  b", "_a_b");
    check(context, "{\"type\":\"Replace\",\"pattern\":{\"String\":\"aa\"},\"content\":\"a\"}", "aaaaa", "aaa");
    check(context, "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"x*\"},\"content\":\"-\"}", "abxc", "-a-b-c-");
    check(context, "{\"type\":\"Lowercase\"}", "AbC \u0130", "abc i\u0307");
    check(context, "{\"type\":\"Strip\"}", " \u3000a b\n", "a b");
    check(context, "{\"type\":\"Strip\",\"strip_left\":false,\"strip_right\":true}", " a ", " a");
    check(context, "{\"type\":\"Strip\",\"strip_left\":true,\"strip_right\":true}", " \n ", "");
    check(context, "{\"type\":\"StripAccents\"}", "e\u0301\u20DD\u00E9", "e\u00E9");
    check(context, "{\"type\":\"ByteLevel\"}", "a \u00E9", "a\u0120\u00C3\u00A9");
    end_context(context, &memory);
}

static void sequences(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    check(context,
          "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"\u2581\"},"
          "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\u2581\"}]}",
          "a b", "\u2581a\u2581b");
    check(context,
          "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFD\"},{\"type\":\"Sequence\",\"normalizers\":["
          "{\"type\":\"StripAccents\"},{\"type\":\"Lowercase\"}]},{\"type\":\"NFC\"}]}",
          "\u00C9a", "ea");
    end_context(context, &memory);
}

static void refusals(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        rlhf_status status;
        const char *words;
    } cases[] = {
        {"{\"type\":\"Nmt\"}", RLHF_E_UNSUPPORTED, "Nmt"},
        {"{\"type\":\"BertNormalizer\"}", RLHF_E_UNSUPPORTED, "BertNormalizer"},
        {"{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"\"}", RLHF_E_UNSUPPORTED, "Precompiled"},
        {"{\"type\":\"Prepend\"}", RLHF_E_FORMAT, "prepend"},
        {"{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"}}", RLHF_E_FORMAT, "content"},
        {"{\"type\":\"Replace\",\"content\":\"a\"}", RLHF_E_FORMAT, "pattern"},
        {"{\"type\":\"Strip\",\"strip_left\":\"yes\"}", RLHF_E_FORMAT, "strip_left"},
        {"{\"type\":\"Sequence\",\"normalizers\":{}}", RLHF_E_FORMAT, "must be a list"},
    };
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rlhfi_normalizers list = {0};
        rlhfi_json *node;
        check_ok(context, rlhfi_json_parse(&node, context, cases[i].json, strlen(cases[i].json), "normalizer"));
        assert_int_equal(rlhfi_normalizers_parse(&list, context, node), cases[i].status);
        assert_non_null(strstr(error_of(context), cases[i].words));
        rlhfi_normalizers_free(&list);
        rlhfi_json_release(&node);
    }
    end_context(context, &memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types),
        cmocka_unit_test(sequences),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
