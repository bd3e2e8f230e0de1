/* Characters: valid and broken UTF-8, classes, normal forms. */
#include "support.h"

static void check_sequence(const char *text, size_t left, size_t length, bool valid)
{
    bool found;
    assert_int_equal(rlhfi_utf8_sequence(text, left, &found), length);
    assert_int_equal(found, valid);
}

static void sequences(void **state)
{
    (void)state;
    check_sequence("a", 1, 1, true);
    check_sequence("\xC3\xA9", 2, 2, true);
    check_sequence("\xE4\xBD\xA0", 3, 3, true);
    check_sequence("\xF0\x9F\x98\x80", 4, 4, true);
    check_sequence("\x80", 1, 1, false);             /* stray */
    check_sequence("\xC0\x80", 2, 1, false);         /* overlong */
    check_sequence("\xE0\x9F\xBF", 3, 1, false);     /* overlong */
    check_sequence("\xED\xA0\x80", 3, 1, false);     /* surrogate */
    check_sequence("\xF4\x90\x80\x80", 4, 1, false); /* over U+10FFFF */
    check_sequence("\xF5\x80\x80\x80", 4, 1, false);
    check_sequence("\xC3", 1, 1, false); /* cut off */
    check_sequence("\xE4\xBD", 2, 2, false);
    check_sequence("\xF0\x9F\x98", 3, 3, false);
    check_sequence("\xF0\x9F\x98x", 4, 3, false);
}

/* Every code point survives being written and read, from both sides. */
static void code_points(void **state)
{
    (void)state;
    for (uint32_t code = 0; code <= 0x10FFFF; code++) {
        char text[4];
        uint32_t forward, backward;
        bool valid;
        if (code >= 0xD800 && code < 0xE000)
            continue;
        size_t bytes = rlhfi_utf8_put(code, text);
        assert_int_equal(rlhfi_utf8_sequence(text, bytes, &valid), bytes);
        assert_true(valid);
        assert_int_equal(rlhfi_utf8_next(text, &forward), bytes);
        assert_int_equal(rlhfi_utf8_previous(text, bytes, &backward), bytes);
        assert_int_equal(forward, code);
        assert_int_equal(backward, code);
    }
}

static void repairs(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    rlhfi_string text;
    rlhfi_string_init(&text, context);
    rlhfi_utf8_add_lossy(&text, "a\xF0\x9F\x98|\xFF\xFE", 7); /* a broken part is one mark ... */
    assert_string_equal(text.data, "a\uFFFD|\uFFFD\uFFFD");
    text.size = 0;
    rlhfi_utf8_add_cleaned(&text, "a\xF0\x9F\x98|\xC3\xA9", 7); /* ... and here each of its bytes */
    assert_string_equal(text.data, "a\uFFFD\uFFFD\uFFFD|\u00E9");
    rlhfi_string_free(&text);
    end_context(context, &memory);
}

static void classes(void **state)
{
    (void)state;
    size_t spaces = 0;
    for (uint32_t code = 0; code <= 0x10FFFF; code++)
        spaces += rlhfi_is_space(code);
    assert_int_equal(spaces, 25);
    assert_false(rlhfi_is_space(0x180E));
    assert_true(rlhfi_is_word('_') && rlhfi_is_word('z') && rlhfi_is_word('7') && rlhfi_is_word(0x4F60));
    assert_true(rlhfi_is_word(0x301) && rlhfi_is_word(0x2167) && rlhfi_is_word(0x200D) && rlhfi_is_word(0x24B6));
    assert_false(rlhfi_is_word(' ') || rlhfi_is_word('-') || rlhfi_is_word(0xBD) || rlhfi_is_word(0x1F600));
    assert_true(rlhfi_is_numeric('0') && rlhfi_is_numeric(0xBD) && rlhfi_is_numeric(0x2167));
    assert_true(rlhfi_is_numeric(0x11DE5) && rlhfi_is_numeric(0x16FF4));
    assert_false(rlhfi_is_numeric('a') || rlhfi_is_numeric(0x4E00));
    assert_true(rlhfi_is_punctuation('$') && rlhfi_is_punctuation('`') && rlhfi_is_punctuation(0x3002));
    assert_false(rlhfi_is_punctuation('a') || rlhfi_is_punctuation(' ') || rlhfi_is_punctuation(0x20AC));
    assert_true(rlhfi_is_mark(0x301) && rlhfi_is_mark(0x903) && rlhfi_is_mark(0x20DD));
    assert_false(rlhfi_is_mark('a'));
}

static void check_form(rlhf_context *context, enum rlhfi_normal_form form, const char *text, const char *expected)
{
    rlhfi_string out;
    rlhfi_string_init(&out, context);
    check_ok(context, rlhfi_normal_form_add(&out, form, text, strlen(text)));
    assert_string_equal(out.data, expected);
    rlhfi_string_free(&out);
}

static void normal_forms(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    check_form(context, RLHFI_NFC, "", "");
    check_form(context, RLHFI_NFC, "plain", "plain");
    check_form(context, RLHFI_NFC, "e\u0301", "\u00E9");
    check_form(context, RLHFI_NFD, "\u00E9", "e\u0301");
    check_form(context, RLHFI_NFC, "q\u0307\u0323", "q\u0323\u0307"); /* marks in the order of their classes */
    check_form(context, RLHFI_NFC, "\u1100\u1161\u11A8", "\uAC01");   /* Hangul */
    check_form(context, RLHFI_NFD, "\uAC01", "\u1100\u1161\u11A8");
    check_form(context, RLHFI_NFC, "\uFB01\u00BD", "\uFB01\u00BD");
    check_form(context, RLHFI_NFKC, "\uFB01\u00BD", "fi1\u20442");
    check_form(context, RLHFI_NFKD, "\u00E9\u2460", "e\u03011");
    check_form(context, RLHFI_NFC, "\u0344", "\u0308\u0301"); /* excluded from composition */
    end_context(context, &memory);
}

/* A long run of marks in alternating classes takes linear time, and comes out sorted and in its old order per class. */
static void many_marks(void **state)
{
    (void)state;
    enum { PAIRS = 200000 };
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    rlhfi_string text, out;
    rlhfi_string_init(&text, context);
    rlhfi_string_init(&out, context);
    rlhfi_string_add(&text, "a");
    for (int i = 0; i < PAIRS; i++)
        rlhfi_string_add(&text, i % 3 == 0 ? "\u0308\u0323" : "\u0307\u0323"); /* classes 230 and 220 */
    double start = processor_seconds();
    check_ok(context, rlhfi_normal_form_add(&out, RLHFI_NFD, text.data, text.size));
    assert_true(processor_seconds() - start < 10);
    assert_int_equal(out.size, text.size);
    for (int i = 0; i < PAIRS; i++) {
        assert_memory_equal(out.data + 1 + 2 * i, "\u0323", 2);
        assert_memory_equal(out.data + 1 + 2 * (PAIRS + i), i % 3 == 0 ? "\u0308" : "\u0307", 2);
    }
    rlhfi_string_free(&text);
    rlhfi_string_free(&out);
    end_context(context, &memory);
}

static void lower_case(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    rlhfi_string out;
    static const char text[] = "ABC \u00C4\u03A3\u0130\u4F60";
    rlhfi_string_init(&out, context);
    rlhfi_lowercase_add(&out, text, strlen(text));
    assert_string_equal(out.data, "abc \u00E4\u03C3i\u0307\u4F60"); /* no final sigma: character by character */
    rlhfi_string_free(&out);
    end_context(context, &memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sequences),  cmocka_unit_test(code_points),  cmocka_unit_test(repairs),
        cmocka_unit_test(classes),    cmocka_unit_test(normal_forms), cmocka_unit_test(many_marks),
        cmocka_unit_test(lower_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
