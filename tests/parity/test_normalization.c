/* The Unicode consortium's NormalizationTest.txt (15.0), every line in all four forms, and every character that it does
 * not list, which must stay as it is. */
#include "text/unicode.h"
#include "text_fixtures.h"

static rlhf_context *make_context(void)
{
    rlhf_context *context;
    rlhf_context_options options;
    rlhf_context_options_init(&options, sizeof options);
    options.threads = 1;
    assert_int_equal(rlhf_context_create(&context, &options), RLHF_OK);
    return context;
}

/* "0044 0307;..." to UTF-8; returns what stands behind the semicolon. */
static const char *take_column(const char *at, rlhfi_string *out)
{
    while (*at && *at != ';') {
        char *next, encoded[4];
        uint32_t code = (uint32_t)strtoul(at, &next, 16);
        assert_ptr_not_equal(next, at);
        rlhfi_string_add_bytes(out, encoded, rlhfi_utf8_put(code, encoded));
        at = next;
        while (*at == ' ')
            at++;
    }
    return *at ? at + 1 : at;
}

static bool is_form(enum rlhfi_normal_form form, const rlhfi_string *from, const rlhfi_string *expected)
{
    rlhfi_string out;
    rlhfi_string_init(&out, from->context);
    check_ok(from->context, rlhfi_normal_form_add(&out, form, from->data, from->size), "normal form");
    bool same = out.size == expected->size && memcmp(out.data, expected->data, out.size) == 0;
    rlhfi_string_free(&out);
    return same;
}

static bool check_line(rlhf_context *context, const char *line, bool *listed)
{
    rlhfi_string column[5];
    bool good = true;
    uint32_t code;
    for (int i = 0; i < 5; i++) {
        rlhfi_string_init(&column[i], context);
        line = take_column(line, &column[i]);
    }
    if (rlhfi_utf8_next(column[0].data, &code) == column[0].size)
        listed[code] = true;
    /* NFC: c2 of c1 to c3, c4 of c4 and c5; NFD: c3 and c5; the compatibility forms: c4 and c5 of all. */
    for (int i = 0; i < 5; i++) {
        good = good && is_form(RLHFI_NFC, &column[i], &column[i < 3 ? 1 : 3]);
        good = good && is_form(RLHFI_NFD, &column[i], &column[i < 3 ? 2 : 4]);
        good = good && is_form(RLHFI_NFKC, &column[i], &column[3]);
        good = good && is_form(RLHFI_NFKD, &column[i], &column[4]);
    }
    for (int i = 0; i < 5; i++)
        rlhfi_string_free(&column[i]);
    return good;
}

static void normalization_test(void **state)
{
    (void)state;
    char path[4096], *line;
    size_t bytes = 0, size, count = 0, differences = 0;
    rlhf_context *context = make_context();
    char *text = need_text(shared_path("data/unicode/ucd15/NormalizationTest.txt.gz", path), &bytes), *at = text;
    bool *listed = calloc(0x110000, sizeof *listed);
    assert_non_null(listed);
    while (next_line(&at, text + bytes, &line, &size)) {
        line[size] = '\0';
        if (size == 0 || line[0] == '#' || line[0] == '@')
            continue;
        count++;
        if (!check_line(context, line, listed)) {
            print_error("%s\n", line);
            differences++;
        }
    }
    assert_true(count > 18000);
    for (uint32_t code = 1; code < 0x110000; code++) {
        char encoded[4];
        rlhfi_string one;
        if (listed[code] || (code >= 0xD800 && code < 0xE000))
            continue;
        rlhfi_string_init(&one, context);
        rlhfi_string_add_bytes(&one, encoded, rlhfi_utf8_put(code, encoded));
        if (!is_form(RLHFI_NFC, &one, &one) || !is_form(RLHFI_NFKD, &one, &one)) {
            print_error("U+%04X changes\n", (unsigned)code);
            differences++;
        }
        rlhfi_string_free(&one);
    }
    free(listed);
    free(text);
    rlhf_context_release(&context);
    print_message("%zu lines\n", count);
    assert_int_equal(differences, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(normalization_test)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
