/* Decoders: each type, sequences, refusals. */
#include "support.h"

/* Tokens are given as one text, divided by |. */
static void check(rlhf_context *context, const char *json, const char *tokens, const char *expected)
{
    struct rlhfi_decoders list = {0};
    struct rlhfi_pieces pieces[2] = {{{0}, NULL, 0, 0}, {{0}, NULL, 0, 0}};
    rlhfi_string out;
    rlhfi_json *node;
    rlhfi_string_init(&out, context);
    for (int i = 0; i < 2; i++)
        rlhfi_string_init(&pieces[i].text, context);
    check_ok(context, rlhfi_json_parse(&node, context, json, strlen(json), "decoder"));
    check_ok(context, rlhfi_decoders_parse(&list, context, node));
    for (const char *at = tokens, *bar; *at; at = bar + (*bar == '|')) {
        bar = strchr(at, '|') ? strchr(at, '|') : at + strlen(at);
        check_ok(context, rlhfi_pieces_add(&pieces[0], at, (size_t)(bar - at)));
    }
    check_ok(context, rlhfi_decode_pieces(&list, pieces, &out));
    assert_string_equal(out.data ? out.data : "", expected);
    for (int i = 0; i < 2; i++) {
        rlhfi_string_free(&pieces[i].text);
        rlhfi_free(context, pieces[i].ends);
    }
    rlhfi_string_free(&out);
    rlhfi_decoders_free(&list);
    rlhfi_json_release(&node);
}

static const char llama[] =
    "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"\u2581\"},\"content\":\" \"},"
    "{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]}";

static void byte_level(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    static const char json[] = "{\"type\":\"ByteLevel\"}";
    check(context, json, "a|\u0120b\u010A", "a b\n");
    check(context, json, "\u00E4\u00BD|\u0142", "\u4F60"); /* one character over two tokens */
    check(context, json, "a|\u00E4\u00BD|b", "a\uFFFDb");
    check(context, json, "<\u4F60>", "<\u4F60>"); /* not in the alphabet: as it is */
    check(context, json, "", "");
    end_context(context, &memory);
}

static void sentencepiece(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    check(context, llama, "\u2581Hello|\u2581world", "Hello world");
    check(context, llama, "<s>|\u2581hi", "<s> hi"); /* only the very first space goes */
    check(context, llama, "\u2581\u2581a", " a");
    check(context, llama, "x|<0xE4>|<0xBD>|<0xA0>|y", "x\u4F60y");
    check(context, llama, "x|<0xE4>|<0xBD>|y", "x\uFFFD\uFFFDy"); /* one mark for each byte */
    check(context, llama, "<0xe4>|<0xBD>|<0xA0>", "\u4F60");
    check(context, llama, "<0xG0>|<0x1>", "<0xG0><0x1>"); /* no byte tokens */
    check(context, llama, "<0xFF>", "\uFFFD");
    end_context(context, &memory);
}

static void others(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    check(context, "null", "a|b|c", "a b c");
    check(context, "{\"type\":\"Fuse\"}", "a|b", "ab");
    check(context, "{\"type\":\"Metaspace\"}", "\u2581a|\u2581b\u2581", "a b ");
    check(context, "{\"type\":\"Metaspace\",\"prepend_scheme\":\"never\"}", "\u2581a|\u2581b", " a b");
    check(context, "{\"type\":\"Metaspace\",\"replacement\":\"_\",\"add_prefix_space\":false}", "_a|_b", " a b");
    check(context, "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"_+\"},\"content\":\" \"}", "__a|b_c", " ab c");
    check(context, "{\"type\":\"BPEDecoder\",\"suffix\":\"</w>\"}", "a|b</w>|c</w>", "ab c");
    check(context, "{\"type\":\"Strip\",\"content\":\"_\",\"start\":2,\"stop\":1}", "___a__|_|b", "_a_b");
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
        {"{\"type\":\"WordPiece\"}", RLHF_E_UNSUPPORTED, "WordPiece"},
        {"{\"type\":\"CTC\"}", RLHF_E_UNSUPPORTED, "CTC"},
        {"{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"}}", RLHF_E_FORMAT, "content"},
        {"{\"type\":\"Strip\",\"content\":\"ab\",\"start\":0,\"stop\":0}", RLHF_E_FORMAT, "content"},
        {"{\"type\":\"Strip\",\"content\":\"\",\"start\":0,\"stop\":0}", RLHF_E_FORMAT, "content"},
        {"{\"type\":\"Strip\",\"content\":\"a\",\"start\":-1,\"stop\":0}", RLHF_E_FORMAT, "start"},
        {"{\"type\":\"Strip\",\"content\":\"a\",\"start\":0}", RLHF_E_FORMAT, "stop"},
        {"{\"type\":\"BPEDecoder\"}", RLHF_E_FORMAT, "suffix"},
        {"{\"type\":\"Metaspace\",\"replacement\":\"\"}", RLHF_E_FORMAT, "replacement"},
        {"{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},{\"type\":\"Odd\"}]}", RLHF_E_UNSUPPORTED,
         "decoders[1]"},
    };
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rlhfi_decoders list = {0};
        rlhfi_json *node;
        check_ok(context, rlhfi_json_parse(&node, context, cases[i].json, strlen(cases[i].json), "decoder"));
        assert_int_equal(rlhfi_decoders_parse(&list, context, node), cases[i].status);
        assert_non_null(strstr(error_of(context), cases[i].words));
        rlhfi_decoders_free(&list);
        rlhfi_json_release(&node);
    }
    end_context(context, &memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(byte_level),
        cmocka_unit_test(sentencepiece),
        cmocka_unit_test(others),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
