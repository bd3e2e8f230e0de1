#include "helper.h"

static bool valid(const char *text, size_t *bad)
{
    return rlhfi_utf8_valid(text, strlen(text), bad);
}

/* Every sequence of up to four bytes around the borders, against a decoder that works by arithmetic. */
static bool valid_by_value(const unsigned char *text, size_t bytes)
{
    size_t i = 0;

    while (i < bytes) {
        uint32_t value = text[i];
        size_t length = value < 0x80 ? 1 : value < 0xe0 ? 2 : value < 0xf0 ? 3 : 4;
        static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
        if ((value >= 0x80 && value < 0xc0) || value >= 0xf8)
            return false;
        if (i + length > bytes)
            return false;
        value &= length == 1 ? 0x7f : (0xffu >> (length + 1));
        for (size_t j = 1; j < length; j++) {
            if (text[i + j] >> 6 != 2)
                return false;
            value = value << 6 | (text[i + j] & 0x3f);
        }
        if (value < least[length] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
            return false;
        i += length;
    }
    return true;
}

static void utf8_by_arithmetic(void **state)
{
    static const unsigned char borders[] = {0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2,
                                            0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5,
                                            0xff};
    enum { COUNT = sizeof borders };
    unsigned char text[4];
    int accepted = 0;

    for (int code = 0; code < COUNT * COUNT * COUNT * COUNT; code++) {
        int rest = code;
        for (int i = 0; i < 4; i++, rest /= COUNT)
            text[i] = borders[rest % COUNT];
        for (size_t bytes = 1; bytes <= 4; bytes++) {
            bool expected = valid_by_value(text, bytes);
            if (rlhfi_utf8_valid((const char *)text, bytes, NULL) != expected)
                fail_msg("%02x %02x %02x %02x, %zu bytes", text[0], text[1], text[2], text[3], bytes);
            accepted += expected;
        }
    }
    assert_true(accepted > 1000);
}

static void the_first_bad_byte_is_told(void **state)
{
    size_t bad = 99;

    assert_true(rlhfi_utf8_valid(NULL, 0, &bad));
    assert_true(valid("Gr\xc3\xbc\xc3\x9f Gott \xe2\x82\xac \xf0\x9f\x98\x80", &bad));
    assert_int_equal(bad, 99);
    assert_false(valid("ab\xc3", &bad));
    assert_int_equal(bad, 2);
    assert_false(valid("\xc3\xbc\xed\xa0\x80", &bad));
    assert_int_equal(bad, 2);
}

static void edits(void **state)
{
    char longer[200];

    assert_int_equal(rlhfi_edit_distance("", ""), 0);
    assert_int_equal(rlhfi_edit_distance("abc", ""), 3);
    assert_int_equal(rlhfi_edit_distance("", "abc"), 3);
    assert_int_equal(rlhfi_edit_distance("kitten", "sitting"), 3);
    assert_int_equal(rlhfi_edit_distance("learning_rate", "learning_rate"), 0);
    assert_int_equal(rlhfi_edit_distance("learnign_rate", "learning_rate"), 1);
    assert_int_equal(rlhfi_edit_distance("ab", "ba"), 1);
    assert_int_equal(rlhfi_edit_distance("beta", "theta"), 2);
    assert_int_equal(rlhfi_edit_distance("flaw", "lawn"), 2);
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_int_equal(rlhfi_edit_distance(longer, longer), 0);
    assert_int_equal(rlhfi_edit_distance(longer, "x"), 199);
    longer[127] = '\0';
    assert_int_equal(rlhfi_edit_distance(longer, "x"), 126);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(utf8_by_arithmetic),
        cmocka_unit_test(the_first_bad_byte_is_told),
        cmocka_unit_test(edits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
