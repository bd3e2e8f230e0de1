/* Regexes: what is rewritten for PCRE2, what is refused, what is found; patterns and their segments. */
#include "support.h"

static void check_translation(rlhf_context *context, const char *pattern, const char *expected)
{
    rlhfi_string out;
    rlhfi_string_init(&out, context);
    check_ok(context, rlhfi_regex_translate(context, pattern, strlen(pattern), &out));
    assert_string_equal(out.data, expected);
    rlhfi_string_free(&out);
}

static void translations(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    check_translation(context, "a|[b-d]+?\\p{L}\\.\\x{41}", "a|[b-d]+?\\p{L}\\.\\x{41}");
    check_translation(context, "\\h[\\h_]", "[0-9a-fA-F][0-9a-fA-F_]");
    check_translation(context, "\\H", "[^0-9a-fA-F]");
    check_translation(context, "\\u00e9", "\\x{00e9}");
    check_translation(context, "[^\\S]", "[^\\S\\x{180e}]");
    check_translation(context, "[]a]", "[]a]");
    check_translation(context, "x{1,3}+", "(?:x{1,3})+");
    check_translation(context, "a(?:b[c]){2}+d", "a(?:(?:b[c]){2})+d");
    check_translation(context, "\\p{N}{1,3}+", "(?:\\p{N}{1,3})+");
    check_translation(context, "\u4F60{2}+", "(?:\u4F60{2})+");
    check_translation(context, "x{1,3}y{,}+", "x{1,3}y{,}+"); /* no interval: braces as they are */
    end_context(context, &memory);
}

static void check_refusal(rlhf_context *context, const char *pattern, rlhf_status expected, const char *words)
{
    rlhfi_regex *regex;
    assert_int_equal(rlhfi_regex_compile(&regex, context, pattern, strlen(pattern)), expected);
    assert_null(regex);
    assert_non_null(strstr(error_of(context), words));
}

static void refusals(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    rlhfi_regex *regex;
    static char deep[512], long_pattern[RLHFI_MAX_PATTERN + 2];
    check_refusal(context, "[a", RLHF_E_FORMAT, "byte");
    check_refusal(context, "(a", RLHF_E_FORMAT, "byte");
    check_refusal(context, "a)", RLHF_E_FORMAT, "byte");
    check_refusal(context, "*", RLHF_E_FORMAT, "byte");
    check_refusal(context, "\\p{Nonsense}", RLHF_E_FORMAT, "byte");
    check_refusal(context, "\\C", RLHF_E_FORMAT, "byte");
    check_refusal(context, "[a&&b]", RLHF_E_UNSUPPORTED, "set operations");
    check_refusal(context, "[a[b]]", RLHF_E_UNSUPPORTED, "set operations");
    check_refusal(context, "[[:alpha:]]", RLHF_E_UNSUPPORTED, "named classes");
    check_refusal(context, "[\\W]", RLHF_E_UNSUPPORTED, "\\W");
    memset(deep, '(', 200);
    check_refusal(context, deep, RLHF_E_UNSUPPORTED, "too deep");
    memset(long_pattern, 'a', sizeof long_pattern - 1);
    check_refusal(context, long_pattern, RLHF_E_FORMAT, "4096");
    assert_int_equal(rlhfi_regex_compile(&regex, context, "a\0b", 3), RLHF_E_FORMAT);
    end_context(context, &memory);
}

/* Matches of a pattern in text, as "start-end ...". */
static void check_matches(rlhf_context *context, const char *pattern, const char *text, const char *expected)
{
    rlhfi_regex *regex;
    char found_places[512] = "";
    size_t used = 0, start, end;
    bool found;
    check_ok(context, rlhfi_regex_compile(&regex, context, pattern, strlen(pattern)));
    for (size_t from = 0; from <= strlen(text);) {
        check_ok(context, rlhfi_regex_find(regex, text, strlen(text), from, &start, &end, &found));
        if (!found)
            break;
        used += (size_t)snprintf(found_places + used, sizeof found_places - used, used > 0 ? " %zu-%zu" : "%zu-%zu",
                                 start, end);
        from = end > start ? end : end + 1;
    }
    assert_string_equal(found_places, expected);
    rlhfi_regex_release(&regex);
    assert_null(regex);
}

static void matches(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    check_matches(context, "b+", "abbab", "1-3 4-5");
    check_matches(context, "\\s+(?!\\S)|\\s+", "a  b", "1-2 2-3");
    check_matches(context, "\\s", "a\u180Eb\u00A0c\xC2\x85", "5-7 8-10");
    check_matches(context, "\\w+", "\u0301x_\u00BD 5-\u2167", "0-6 7-8 9-12");
    check_matches(context, "[\\w]+", "x\u00BD\u2167", "0-1 3-6"); /* the reference drops ISO 8859-1 there */
    check_matches(context, "\\W", "a-\u00BD", "1-2");
    check_matches(context, "[\\s\\S]", "\u180E ", "0-3 3-4");
    check_matches(context, "\\p{N}{1,3}", "12345", "0-3 3-5");
    check_matches(context, "\\p{N}{1,3}+", "12345x1", "0-5 6-7");
    check_matches(context, "(?i:'s)", "'S '\u017F", "0-2 3-6");
    check_matches(context, "^b$", "a\nb\nc", "2-3");
    check_matches(context, "(?<=a)b", "bab", "2-3");
    check_matches(context, "x*", "axb", "0-0 1-2 2-2 3-3");
    end_context(context, &memory);
}

/* A match that would take exponential time is an error; long harmless texts are not. */
static void limits(void **state)
{
    (void)state;
    enum { LONG = 1000000 };
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    rlhfi_regex *regex;
    size_t start, end;
    bool found;
    char *text = malloc(LONG + 1);
    assert_non_null(text);
    memset(text, 'a', LONG);
    text[LONG] = '\0';
    double begin = processor_seconds();
    check_ok(context, rlhfi_regex_compile(&regex, context, "(?:a|aa)+[bc]", 13));
    assert_int_equal(rlhfi_regex_find(regex, text, LONG, 0, &start, &end, &found), RLHF_E_FORMAT);
    assert_non_null(strstr(error_of(context), "limit"));
    rlhfi_regex_release(&regex);
    memset(text, ' ', LONG);
    check_ok(context, rlhfi_regex_compile(&regex, context, "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+", 24));
    check_ok(context, rlhfi_regex_find(regex, text, LONG, 0, &start, &end, &found));
    assert_true(found && start == 0 && end == LONG);
    rlhfi_regex_release(&regex);
    assert_true(processor_seconds() - begin < 30);
    free(text);
    end_context(context, &memory);
}

/* Segments of a text: matches in brackets. */
static void check_segments(rlhf_context *context, const char *pattern_json, const char *text, const char *expected)
{
    struct rlhfi_pattern pattern = {0};
    struct rlhfi_segments segments;
    rlhfi_json *node;
    char shown[512] = "";
    bool more;
    check_ok(context, rlhfi_json_parse(&node, context, pattern_json, strlen(pattern_json), "pattern"));
    check_ok(context, rlhfi_pattern_parse(&pattern, context, node));
    rlhfi_segments_begin(&segments, &pattern, text, strlen(text));
    for (size_t used = 0;;) {
        check_ok(context, rlhfi_segments_next(&segments, &more));
        if (!more)
            break;
        used += (size_t)snprintf(shown + used, sizeof shown - used, segments.is_match ? "[%.*s]" : "(%.*s)",
                                 (int)(segments.end - segments.start), text + segments.start);
    }
    assert_string_equal(shown, expected);
    rlhfi_pattern_free(&pattern, context);
    rlhfi_json_release(&node);
}

static void segments(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    check_segments(context, "{\"String\":\"-\"}", "a--b-", "(a)[-][-](b)[-]");
    check_segments(context, "{\"String\":\"ab\"}", "xababy", "(x)[ab][ab](y)");
    check_segments(context, "\"b\"", "abc", "(a)[b](c)");
    check_segments(context, "{\"String\":\".\"}", "a.b", "(a)[.](b)"); /* literal, no regex */
    check_segments(context, "{\"String\":\"-\"}", "", "");
    check_segments(context, "{\"String\":\"-\"}", "abc", "(abc)");
    check_segments(context, "{\"Regex\":\"b*\"}", "abbc", "[](a)[bb](c)[]"); /* an empty match cuts, too */
    check_segments(context, "{\"Regex\":\"(?=b)\"}", "abbc", "(a)[](b)[](bc)");
    check_segments(context, "{\"String\":\"\"}", "\u00E9b", "[](\u00E9)[](b)[]");
    end_context(context, &memory);
}

static void bad_patterns(void **state)
{
    (void)state;
    static const char *const texts[] = {"null", "3", "{}", "{\"String\":3}", "{\"Regex\":\"(\"}", "[]"};
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct rlhfi_pattern pattern = {0};
        rlhfi_json *node;
        check_ok(context, rlhfi_json_parse(&node, context, texts[i], strlen(texts[i]), "pattern"));
        assert_int_equal(rlhfi_pattern_parse(&pattern, context, node), RLHF_E_FORMAT);
        rlhfi_pattern_free(&pattern, context);
        rlhfi_json_release(&node);
    }
    end_context(context, &memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(translations), cmocka_unit_test(refusals), cmocka_unit_test(matches),
        cmocka_unit_test(limits),       cmocka_unit_test(segments), cmocka_unit_test(bad_patterns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
