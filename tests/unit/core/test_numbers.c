#include "helper.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

static double from_bits(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint64_t to_bits(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static const char *format(double value)
{
    static char text[32];
    size_t bytes = rlhfi_format_double(value, text, sizeof text);

    assert_int_equal(strlen(text), bytes);
    return text;
}

static double parse(const char *text)
{
    double value = 77.0;

    if (!rlhfi_parse_double(text, strlen(text), &value))
        fail_msg("\"%s\" is refused", text);
    return value;
}

static void known_texts(void **state)
{
    assert_string_equal(format(0.0), "0");
    assert_string_equal(format(-0.0), "-0");
    assert_string_equal(format(1.0), "1");
    assert_string_equal(format(-1.5), "-1.5");
    assert_string_equal(format(0.1), "0.1");
    assert_string_equal(format(100.0), "100");
    assert_string_equal(format(123456789.25), "123456789.25");
    assert_string_equal(format(1.0 / 3.0), "0.3333333333333333");
    assert_string_equal(format(0.0001), "0.0001");
    assert_string_equal(format(0.00001), "1e-05");
    assert_string_equal(format(1.5e-7), "1.5e-07");
    assert_string_equal(format(1e15), "1000000000000000");
    assert_string_equal(format(9007199254740993.0), "9007199254740992");
    assert_string_equal(format(1e16), "1e+16");
    assert_string_equal(format(1e22), "1e+22");
    assert_string_equal(format(1e23), "1e+23");
    assert_string_equal(format(1e100), "1e+100");
    assert_string_equal(format(5e-324), "5e-324");
    assert_string_equal(format(2.2250738585072014e-308), "2.2250738585072014e-308");
    assert_string_equal(format(1.7976931348623157e308), "1.7976931348623157e+308");
    assert_string_equal(format(0x1p-44), "5.684341886080802e-14"); /* %.16g would not read back here */
    assert_string_equal(format(9.5367431640625e-07), "9.5367431640625e-07");
    assert_string_equal(format(INFINITY), "inf");
    assert_string_equal(format(-INFINITY), "-inf");
    assert_string_equal(format(NAN), "nan");
    assert_string_equal(format(-NAN), "nan");
}

static void format_respects_the_room(void **state)
{
    char text[8] = "xxxxxxx";

    assert_int_equal(rlhfi_format_double(-1.25e-100, text, 5), 10);
    assert_string_equal(text, "-1.2");
    assert_int_equal(text[5], 'x');
    assert_int_equal(rlhfi_format_double(1.5, NULL, 0), 3);
}

/* One number: it reads back, the C library agrees about what the text means, and a digit less would not do. */
static void check_number(double value)
{
    char text[32], shorter[64];
    size_t bytes = rlhfi_format_double(value, text, sizeof text);
    double back;
    int digits = 0;

    assert_in_range(bytes, 1, 24);
    if (!rlhfi_parse_double(text, bytes, &back) || to_bits(back) != to_bits(value) ||
        to_bits(strtod(text, NULL)) != to_bits(value))
        fail_msg("%a became %s", value, text);
    for (const char *c = text; *c != '\0' && *c != 'e'; c++)
        digits += *c >= '0' && *c <= '9' && (digits > 0 || *c != '0');
    if (strchr(text, 'e') == NULL && strchr(text, '.') == NULL)
        return; /* zeros at the end of a whole number are no digits */
    if (digits > 1) {
        snprintf(shorter, sizeof shorter, "%.*e", digits - 2, value);
        if (to_bits(strtod(shorter, NULL)) == to_bits(value))
            fail_msg("%s is shorter than %s", shorter, text);
    }
}

static void many_numbers_round_trip(void **state)
{
    for (uint32_t i = 0; i < 100000; i++) {
        uint32_t bits[4];
        double value;
        rlhfi_random4(1, RLHFI_RANDOM_USER, 0, 0, i, bits);
        value = from_bits((uint64_t)bits[1] << 32 | bits[0]);
        if (isfinite(value))
            check_number(value);
        check_number((double)bits[2] / (1 + bits[3] % 100000));
        check_number((double)(float)((double)bits[2] / bits[3]));
    }
    /* Every power of two and its neighbours: there the gaps change. */
    for (int power = -1074; power <= 1023; power++) {
        double value = ldexp(1.0, power);
        check_number(value);
        check_number(nextafter(value, 0.0));
        check_number(-nextafter(value, INFINITY));
    }
    check_number(0x1.fffffffffffffp1023);
}

static void check_parse(const char *text)
{
    double value = parse(text);

    if (to_bits(value) != to_bits(strtod(text, NULL)))
        fail_msg("%s became %a, not %a", text, value, strtod(text, NULL));
}

static void hard_texts_are_rounded_once(void **state)
{
    static const char *const texts[] = {
        "0", "-0", "0e999999999", "1e-999999999999999999999", "1e400", "-1e309", "1.7976931348623158e308",
        "1.7976931348623159e308", "1e308", "123456789012345678901234567890", "9007199254740993", "9007199254740992.5",
        "9007199254740993.00000000000000000000000000000000000000000000000001", "2.2250738585072011e-308",
        "2.2250738585072012e-308", "2.4703282292062327208e-324", "2.4703282292062328e-324", "4.9406564584124654e-324",
        "7.4109846876186981626485318930233205854758970392148714663837852375101326090531312779794975454245398856e-324",
        "0.000000000000000000000000000000000000000000001", "1e22", "1e23", "8.5e22", "123456789012345e22",
        "1.00000000000000011102230246251565404236316680908203125",
        "1.00000000000000011102230246251565404236316680908203124",
        "1.00000000000000011102230246251565404236316680908203126", "179769313486231580793e289", "000001.500000", "1.",
        ".5", "5e-1", "1E5", "1e+5", "6.02214076e23", "3.141592653589793238462643383279502884197",
        "0.1e-6", "1000000000000000000000e-21", "99999999999999974834176", "89255e-22", "104110013277974872254e-225",
    };
    char text[3000];

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        check_parse(texts[i]);

    /* The rest needs 64 bits of precision to make its texts; valgrind computes long doubles with 53. */
    volatile long double fine = 1.0L + 0x1p-60L;
    if (fine == 1.0L) {
        print_message("long double has no more precision than double here: half-way texts are not tried\n");
        return;
    }
    /* Exactly half-way between two doubles with all its 767 digits, a hair above and a hair below. */
    for (int power = -1022; power <= 1000; power += 37) {
        long double half = ldexpl(1.0L + 0x1p-53L, power);
        for (int tail = 0; tail < 3; tail++) {
            size_t bytes = (size_t)snprintf(text, sizeof text, "%.*Lf", power < 60 ? 1100 : 1, half);
            if (tail == 1) {
                snprintf(text + bytes, sizeof text - bytes, "000000000000000000000000000001");
                assert_true(to_bits(parse(text)) == to_bits(nextafter(ldexp(1.0, power), INFINITY)));
            } else if (tail == 0) {
                assert_true(to_bits(parse(text)) == to_bits(ldexp(1.0, power)));
            }
            check_parse(text);
        }
    }

    /* Very long texts: what lies behind the digits that are kept still counts; zeros may be moved by the exponent. */
    memset(text, '0', sizeof text);
    memcpy(text, "9007199254740993.", 17);
    text[2900] = '\0';
    assert_true(parse(text) == 9007199254740992.0);
    text[2899] = '1';
    assert_true(parse(text) == 9007199254740994.0);
    memset(text, '0', sizeof text);
    text[1] = '.';
    strcpy(text + 2000, "15e1999");
    assert_true(parse(text) == 1.5);
    memset(text, '0', sizeof text);
    text[0] = '1';
    strcpy(text + 2000, "e-2000");
    assert_true(parse(text) == 0.1);
    memset(text, '7', sizeof text);
    strcpy(text + 2000, "e-2000");
    check_parse(text);
    strcpy(text + 2000, "e-2300");
    check_parse(text);
    strcpy(text + 2000, "e-1700");
    check_parse(text);
}

static void random_texts(void **state)
{
    char text[64];

    for (uint32_t i = 0; i < 100000; i++) {
        uint32_t bits[4];
        rlhfi_random4(2, RLHFI_RANDOM_USER, 0, 0, i, bits);
        snprintf(text, sizeof text, "%u.%u%ue%d", bits[0] % 1000, bits[1], bits[2], (int)(bits[3] % 680) - 345);
        check_parse(text);
        snprintf(text, sizeof text, "%u.%05u", bits[0], bits[1] % 100000);
        check_parse(text);
    }
}

static void words(void **state)
{
    assert_true(isinf(parse("inf")) && parse("inf") > 0);
    assert_true(isinf(parse("-Infinity")) && parse("-Infinity") < 0);
    assert_true(isinf(parse("+INF")));
    assert_true(isnan(parse("nan")) && isnan(parse("NaN")) && isnan(parse("-nan")));
}

static void what_is_no_number_is_refused(void **state)
{
    static const char *const texts[] = {
        "",    " 1",  "1 ", "e5",   "1e",   "1e+", ".",    "-",   "+",   "--1",          "1.2.3", "1,5",
        "0x1", "1e5.", "in", "infi", "nanx", "1_0", "1e5e", "+-1", "\n1", "\xd9\xa3", "1f",    "infinit",
    };
    double value = 5.0;

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (rlhfi_parse_double(texts[i], strlen(texts[i]), &value))
            fail_msg("\"%s\" became %g", texts[i], value);
    assert_false(rlhfi_parse_double("1\0", 2, &value));
    assert_true(value == 5.0);
    /* The end is where bytes says. */
    assert_true(rlhfi_parse_double("12345", 2, &value));
    assert_true(value == 12.0);
}

static void integers(void **state)
{
    static const char *const wrong[] = {
        "", "-", "+", " 1", "1 ", "1.0", "0x1", "--1", "1e3", "9223372036854775808", "-9223372036854775809",
        "92233720368547758070", "999999999999999999999999999",
    };
    int64_t value = 5;

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        if (rlhfi_parse_int64(wrong[i], strlen(wrong[i]), &value))
            fail_msg("\"%s\" became %lld", wrong[i], (long long)value);
    assert_int_equal(value, 5);
    assert_true(rlhfi_parse_int64("9223372036854775807", 19, &value));
    assert_true(value == INT64_MAX);
    assert_true(rlhfi_parse_int64("-9223372036854775808", 20, &value));
    assert_true(value == INT64_MIN);
    assert_true(rlhfi_parse_int64("+007", 4, &value));
    assert_int_equal(value, 7);
    assert_true(rlhfi_parse_int64("-0", 2, &value));
    assert_int_equal(value, 0);
    assert_true(rlhfi_parse_int64("123", 2, &value));
    assert_int_equal(value, 12);
}

/* A locale with a decimal comma: one of the machine's, or one made for the occasion. */
static bool comma_locale(char directory[64])
{
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8",  "fr_FR.UTF-8",
                                        "es_ES.UTF-8", "pt_BR.UTF-8", "ru_RU.UTF-8"};
    char command[256];

    directory[0] = '\0';
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (setlocale(LC_ALL, names[i]) != NULL)
            return true;
    strcpy(directory, "/tmp/rlhf-locale-XXXXXX");
    if (mkdtemp(directory) == NULL) {
        directory[0] = '\0';
        return false;
    }
    snprintf(command, sizeof command, "localedef -i de_DE -f UTF-8 %s/de_DE.UTF-8 >%s/log 2>&1", directory, directory);
    if (system(command) == -1 || setenv("LOCPATH", directory, 1) != 0)
        return false;
    return setlocale(LC_ALL, "de_DE.UTF-8") != NULL;
}

static void a_decimal_comma_changes_nothing(void **state)
{
    rlhf_context *context;
    rlhfi_string string;
    char directory[64], text[64], command[256];
    bool comma = comma_locale(directory);

    snprintf(command, sizeof command, "rm -r %s", directory);
    if (directory[0] != '\0' && system(command) != 0)
        print_message("%s stays\n", directory);
    if (!comma) {
        print_message("skipped: no locale with a decimal comma, and localedef makes none\n");
        skip();
    }
    snprintf(text, sizeof text, "%.1f", 1.5);
    assert_string_equal(text, "1,5"); /* so the locale is at work */
    assert_string_equal(format(1.5), "1.5");
    assert_string_equal(format(1.5e-10), "1.5e-10");
    assert_true(parse("1.5") == 1.5);
    assert_true(parse("123456789012345678.5") == 123456789012345678.5);
    assert_false(rlhfi_parse_double("1,5", 3, &(double){0}));
    assert_int_equal(rlhf_context_create(&context, NULL), RLHF_OK);
    rlhfi_string_init(&string, context);
    rlhfi_string_add_double(&string, 0.25);
    assert_string_equal(string.data, "0.25");
    rlhfi_string_free(&string);
    rlhf_context_release(&context);
    setlocale(LC_ALL, "C");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_texts),
        cmocka_unit_test(format_respects_the_room),
        cmocka_unit_test(many_numbers_round_trip),
        cmocka_unit_test(hard_texts_are_rounded_once),
        cmocka_unit_test(random_texts),
        cmocka_unit_test(words),
        cmocka_unit_test(what_is_no_number_is_refused),
        cmocka_unit_test(integers),
        cmocka_unit_test(a_decimal_comma_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
