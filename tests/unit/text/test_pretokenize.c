/* Pre-tokenisers: the table of formats.md 4.5, and what each type does. */
#include "support.h"

struct collector {
    char shown[1024];
    size_t used;
};

static rlhf_status collect(void *user_data, const char *text, size_t bytes)
{
    struct collector *collector = user_data;
    assert_true(bytes > 0); /* empty pieces vanish */
    collector->used += (size_t)snprintf(collector->shown + collector->used, sizeof collector->shown - collector->used,
                                        "[%.*s]", (int)bytes, text);
    return RLHF_OK;
}

static void check(rlhf_context *context, const char *json, const char *text, const char *expected)
{
    struct rlhfi_pretokenizers list = {0};
    struct collector collector = {"", 0};
    rlhfi_string buffers[2 * RLHFI_MAX_COMPONENTS];
    rlhfi_json *node;
    for (size_t i = 0; i < 2 * RLHFI_MAX_COMPONENTS; i++)
        rlhfi_string_init(&buffers[i], context);
    check_ok(context, rlhfi_json_parse(&node, context, json, strlen(json), "pre_tokenizer"));
    check_ok(context, rlhfi_pretokenizers_parse(&list, context, node));
    check_ok(context, rlhfi_pretokenize(&list, buffers, text, strlen(text), true, collect, &collector));
    assert_string_equal(collector.shown, expected);
    for (size_t i = 0; i < 2 * RLHFI_MAX_COMPONENTS; i++)
        rlhfi_string_free(&buffers[i]);
    rlhfi_pretokenizers_free(&list);
    rlhfi_json_release(&node);
}

static void check_split(rlhf_context *context, const char *behavior, bool invert, const char *text,
                        const char *expected)
{
    char json[256];
    snprintf(json, sizeof json, "{\"type\":\"Split\",\"pattern\":{\"String\":\"-\"},\"behavior\":\"%s\",\"invert\":%s}",
             behavior, invert ? "true" : "false");
    check(context, json, text, expected);
}

static void behaviors(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    check_split(context, "Removed", false, "a--b", "[a][b]");
    check_split(context, "Removed", false, "-a--b-", "[a][b]");
    check_split(context, "Isolated", false, "a--b", "[a][-][-][b]");
    check_split(context, "Isolated", false, "-a--b-", "[-][a][-][-][b][-]");
    check_split(context, "MergedWithPrevious", false, "a--b", "[a-][-][b]");
    check_split(context, "MergedWithPrevious", false, "-a--b-", "[-][a-][-][b-]");
    check_split(context, "MergedWithNext", false, "a--b", "[a][-][-b]");
    check_split(context, "MergedWithNext", false, "-a--b-", "[-a][-][-b][-]");
    check_split(context, "Contiguous", false, "a--b", "[a][--][b]");
    check_split(context, "Contiguous", false, "-a--b-", "[-][a][--][b][-]");
    check_split(context, "Removed", true, "a--b", "[-][-]");
    check_split(context, "Isolated", true, "ab-c", "[ab][-][c]");
    check_split(context, "MergedWithPrevious", true, "-ab-c", "[-ab][-c]");
    check_split(context, "Isolated", false, "", "");
    check_split(context, "Removed", false, "---", "");
    end_context(context, &memory);
}

static void gpt2(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    check(context, "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}", "I'll go  12x\n",
          "[I]['ll][\u0120go][\u0120][\u012012][x][\u010A]");
    check(context, "{\"type\":\"ByteLevel\"}", "a b", "[\u0120a][\u0120b]");
    check(context, "{\"type\":\"ByteLevel\",\"add_prefix_space\":true}", " a", "[\u0120a]");
    check(context, "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}", "a \u00E9",
          "[a\u0120\u00C3\u00A9]");
    end_context(context, &memory);
}

/* The byte alphabet: 256 different characters below U+0144, and back. */
static void byte_alphabet(void **state)
{
    (void)state;
    bool seen[0x144] = {false};
    for (int byte = 0; byte < 256; byte++) {
        uint32_t code = rlhfi_byte_character((uint8_t)byte);
        assert_true(code < 0x144 && !seen[code]);
        seen[code] = true;
        assert_int_equal(rlhfi_character_byte(code), byte);
    }
    assert_int_equal(rlhfi_byte_character(' '), 0x120);
    assert_int_equal(rlhfi_byte_character('\n'), 0x10A);
    assert_int_equal(rlhfi_byte_character('\t'), 0x109);
    assert_int_equal(rlhfi_byte_character(173), 0x143);
    for (uint32_t code = 0; code < 0x200; code++)
        if (code >= 0x144 || !seen[code])
            assert_int_equal(rlhfi_character_byte(code), -1);
    assert_int_equal(rlhfi_character_byte(0x4F60), -1);
}

static void metaspace(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    check(context, "{\"type\":\"Metaspace\"}", "hi  you", "[\u2581hi][\u2581][\u2581you]");
    check(context, "{\"type\":\"Metaspace\"}", " hi", "[\u2581hi]");
    check(context, "{\"type\":\"Metaspace\",\"prepend_scheme\":\"never\"}", "hi you", "[hi][\u2581you]");
    check(context, "{\"type\":\"Metaspace\",\"add_prefix_space\":false}", "hi you", "[hi][\u2581you]");
    check(context, "{\"type\":\"Metaspace\",\"replacement\":\"_\",\"split\":false}", "hi you", "[_hi_you]");
    check(context,
          "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"CharDelimiterSplit\",\"delimiter\":\"|\"},"
          "{\"type\":\"Metaspace\",\"prepend_scheme\":\"first\"}]}",
          "a|b c", "[\u2581a][b][\u2581c]");
    end_context(context, &memory);
}

static void character_classes(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    check(context, "{\"type\":\"Digits\",\"individual_digits\":true}", "a12\u00BDb", "[a][1][2][\u00BD][b]");
    check(context, "{\"type\":\"Digits\"}", "a12b", "[a][12][b]");
    check(context, "{\"type\":\"Whitespace\"}", "a_1 --b!", "[a_1][--][b][!]");
    check(context, "{\"type\":\"WhitespaceSplit\"}", " a \u3000b!", "[a][b!]");
    check(context, "{\"type\":\"Punctuation\"}", "a,,b", "[a][,][,][b]");
    check(context, "{\"type\":\"Punctuation\",\"behavior\":\"Contiguous\"}", "a,,b", "[a][,,][b]");
    check(context, "{\"type\":\"CharDelimiterSplit\",\"delimiter\":\"\u00E9\"}", "a\u00E9b", "[a][b]");
    end_context(context, &memory);
}

static void sequences(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    check(context, "null", "a b", "[a b]");
    check(context, "{\"type\":\"Sequence\",\"pretokenizers\":[]}", "a b", "[a b]");
    check(context,
          "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\" "
          "?\\\\p{L}+|\\\\p{N}\"},"
          "\"behavior\":\"Isolated\"},{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"ByteLevel\","
          "\"add_prefix_space\":false,\"use_regex\":false}]}]}",
          "ab cd12", "[ab][\u0120cd][1][2]");
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
        {"{\"type\":\"BertPreTokenizer\"}", RLHF_E_UNSUPPORTED, "BertPreTokenizer"},
        {"{\"type\":\"UnicodeScripts\"}", RLHF_E_UNSUPPORTED, "UnicodeScripts"},
        {"{}", RLHF_E_FORMAT, "type"},
        {"3", RLHF_E_FORMAT, "type"},
        {"{\"type\":\"Split\",\"pattern\":{\"String\":\"a\"}}", RLHF_E_FORMAT, "behavior"},
        {"{\"type\":\"Split\",\"behavior\":\"Isolated\"}", RLHF_E_FORMAT, "pattern"},
        {"{\"type\":\"Split\",\"behavior\":\"Odd\",\"pattern\":{\"String\":\"a\"}}", RLHF_E_FORMAT, "behavior"},
        {"{\"type\":\"Metaspace\",\"replacement\":\"ab\"}", RLHF_E_FORMAT, "replacement"},
        {"{\"type\":\"Metaspace\",\"prepend_scheme\":\"odd\"}", RLHF_E_FORMAT, "prepend_scheme"},
        {"{\"type\":\"Metaspace\",\"prepend_scheme\":\"first\",\"add_prefix_space\":false}", RLHF_E_FORMAT,
         "contradicts"},
        {"{\"type\":\"ByteLevel\",\"use_regex\":3}", RLHF_E_FORMAT, "use_regex"},
        {"{\"type\":\"CharDelimiterSplit\"}", RLHF_E_FORMAT, "delimiter"},
        {"{\"type\":\"Sequence\"}", RLHF_E_FORMAT, "must be a list"},
        {"{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\"},null]}", RLHF_E_FORMAT, "pretokenizers[1]"},
    };
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rlhfi_pretokenizers list = {0};
        rlhfi_json *node;
        check_ok(context, rlhfi_json_parse(&node, context, cases[i].json, strlen(cases[i].json), "pre_tokenizer"));
        assert_int_equal(rlhfi_pretokenizers_parse(&list, context, node), cases[i].status);
        assert_non_null(strstr(error_of(context), cases[i].words));
        rlhfi_pretokenizers_free(&list);
        rlhfi_json_release(&node);
    }
    end_context(context, &memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(behaviors),         cmocka_unit_test(gpt2),
        cmocka_unit_test(byte_alphabet),     cmocka_unit_test(metaspace),
        cmocka_unit_test(character_classes), cmocka_unit_test(sequences),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
