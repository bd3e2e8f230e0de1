/* tokenizer.json files that must be refused, with words that say where and why (formats.md 4.14, 9.23 to 9.26), and
 * memory that runs out at any point. */
#include "support.h"

struct refusal {
    const char *json, *config;
    rlhf_status status;
    const char *words;
};

#define MODEL "\"model\":{\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[]}"

static const struct refusal refusals[] = {
    {"", NULL, RLHF_E_FORMAT, "tokenizer.json"},
    {"[]", NULL, RLHF_E_FORMAT, "must be an object"},
    {"{", NULL, RLHF_E_FORMAT, "tokenizer.json:1:"},
    {"{}", NULL, RLHF_E_FORMAT, "model: missing"},
    {"{\"model\":null}", NULL, RLHF_E_FORMAT, "model: missing"},
    {"{\"model\":[]}", NULL, RLHF_E_FORMAT, "model: missing"},
    {"{\"version\":\"2.0\"," MODEL "}", NULL, RLHF_E_UNSUPPORTED, "version"},
    {"{\"version\":1," MODEL "}", NULL, RLHF_E_UNSUPPORTED, "version"},
    {"{\"model\":{\"type\":\"WordPiece\",\"vocab\":{}}}", NULL, RLHF_E_UNSUPPORTED, "WordPiece"},
    {"{\"model\":{\"unk_id\":0,\"vocab\":[]}}", NULL, RLHF_E_UNSUPPORTED, "Unigram"},
    {"{\"model\":{\"vocab\":{}}}", NULL, RLHF_E_UNSUPPORTED, "WordPiece"},
    {"{\"model\":{\"type\":\"BPE\",\"merges\":[]}}", NULL, RLHF_E_FORMAT, "model: vocab"},
    {"{\"model\":{\"vocab\":[],\"merges\":[]}}", NULL, RLHF_E_FORMAT, "vocab: must be an object"},
    {"{\"model\":{\"vocab\":{\"a\":\"0\"},\"merges\":[]}}", NULL, RLHF_E_FORMAT, "\"a\": id is not"},
    {"{\"model\":{\"vocab\":{\"a\":0.5},\"merges\":[]}}", NULL, RLHF_E_FORMAT, "\"a\": id is not"},
    {"{\"model\":{\"vocab\":{\"a\":-1},\"merges\":[]}}", NULL, RLHF_E_FORMAT, "outside"},
    {"{\"model\":{\"vocab\":{\"a\":2147483648},\"merges\":[]}}", NULL, RLHF_E_FORMAT, "outside"},
    {"{\"model\":{\"vocab\":{\"a\":9223372036854775807},\"merges\":[]}}", NULL, RLHF_E_FORMAT, "outside"},
    {"{\"model\":{\"vocab\":{\"a\":100000000},\"merges\":[]}}", NULL, RLHF_E_FORMAT, "outside"}, /* a table of 800 MB */
    {"{\"model\":{\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}}", NULL, RLHF_E_FORMAT, "belongs to \"a\""},
    {"{\"model\":{\"vocab\":{\"a\":0,\"a\":1},\"merges\":[]}}", NULL, RLHF_E_FORMAT, "uplicate"},
    {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":{}}}", NULL, RLHF_E_FORMAT, "merges: must be a list"},
    {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"a\"]}}", NULL, RLHF_E_FORMAT, "merges[0]: must be two"},
    {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"a a a\"]}}", NULL, RLHF_E_FORMAT, "merges[0]: must be two"},
    {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[[\"a\"]]}}", NULL, RLHF_E_FORMAT, "merges[0]: must be two"},
    {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[[\"a\",0]]}}", NULL, RLHF_E_FORMAT, "merges[0]: must be two"},
    {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[7]}}", NULL, RLHF_E_FORMAT, "merges[0]: must be two"},
    {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"#version: 0.2\",\"a x\"]}}", NULL, RLHF_E_FORMAT,
     "merges[1]: \"x\" is not in vocab"},
    {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"a a\"]}}", NULL, RLHF_E_FORMAT, "\"aa\" is not in vocab"},
    {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"a a\"],\"continuing_subword_prefix\":\"##\"}}", NULL, RLHF_E_FORMAT,
     "shorter"},
    {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[],\"unk_token\":\"<unk>\"}}", NULL, RLHF_E_FORMAT, "unk_token"},
    {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[],\"unk_token\":3}}", NULL, RLHF_E_FORMAT, "unk_token"},
    {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[],\"dropout\":0.1}}", NULL, RLHF_E_UNSUPPORTED, "dropout"},
    {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[],\"byte_fallback\":1}}", NULL, RLHF_E_FORMAT, "byte_fallback"},
    {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[],\"end_of_word_suffix\":1}}", NULL, RLHF_E_FORMAT, "suffix"},
    {"{\"added_tokens\":{}," MODEL "}", NULL, RLHF_E_FORMAT, "added_tokens: must be a list"},
    {"{\"added_tokens\":[3]," MODEL "}", NULL, RLHF_E_FORMAT, "added_tokens[0]: content"},
    {"{\"added_tokens\":[{\"id\":3,\"content\":\"\"}]," MODEL "}", NULL, RLHF_E_FORMAT, "added_tokens[0]: content"},
    {"{\"added_tokens\":[{\"content\":\"x\"}]," MODEL "}", NULL, RLHF_E_FORMAT, "id: must be"},
    {"{\"added_tokens\":[{\"id\":-3,\"content\":\"x\"}]," MODEL "}", NULL, RLHF_E_FORMAT, "id: must be"},
    {"{\"added_tokens\":[{\"id\":2147483648,\"content\":\"x\"}]," MODEL "}", NULL, RLHF_E_FORMAT, "gap"},
    {"{\"added_tokens\":[{\"id\":4,\"content\":\"x\"}]," MODEL "}", NULL, RLHF_E_FORMAT, "gap"},
    {"{\"added_tokens\":[{\"id\":1,\"content\":\"x\"}]," MODEL "}", NULL, RLHF_E_FORMAT, "taken"},
    {"{\"added_tokens\":[{\"id\":3,\"content\":\"x\"},{\"id\":4,\"content\":\"x\"}]," MODEL "}", NULL, RLHF_E_FORMAT,
     "added_tokens[1]: content: \"x\" was added before"},
    {"{\"added_tokens\":[{\"id\":3,\"content\":\"x\\u0000\"}]," MODEL "}", NULL, RLHF_E_FORMAT, "NUL"},
    {"{\"added_tokens\":[{\"id\":3,\"content\":\"x\",\"lstrip\":\"no\"}]," MODEL "}", NULL, RLHF_E_FORMAT, "lstrip"},
    {"{\"normalizer\":{\"type\":\"Odd\"}," MODEL "}", NULL, RLHF_E_UNSUPPORTED, "normalizer: Odd"},
    {"{\"normalizer\":3," MODEL "}", NULL, RLHF_E_FORMAT, "normalizer: type"},
    {"{\"pre_tokenizer\":{\"type\":\"Odd\"}," MODEL "}", NULL, RLHF_E_UNSUPPORTED, "pre_tokenizer: Odd"},
    {"{\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":\"(a\"}}," MODEL "}",
     NULL, RLHF_E_FORMAT, "pre_tokenizer: Split: regex: byte"},
    {"{\"decoder\":{\"type\":\"Odd\"}," MODEL "}", NULL, RLHF_E_UNSUPPORTED, "decoder: Odd"},
    {"{\"post_processor\":{\"type\":\"Odd\"}," MODEL "}", NULL, RLHF_E_UNSUPPORTED, "post_processor: Odd"},
    {"{\"post_processor\":{\"type\":\"TemplateProcessing\"}," MODEL "}", NULL, RLHF_E_FORMAT, "exactly one sequence"},
    {"{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{\"id\":\"B\"}}]}," MODEL "}",
     NULL, RLHF_E_FORMAT, "exactly one sequence"},
    {"{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{\"id\":\"A\"}},"
     "{\"Sequence\":{\"id\":\"A\"}}]}," MODEL "}",
     NULL, RLHF_E_FORMAT, "exactly one sequence"},
    {"{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[3]}," MODEL "}", NULL, RLHF_E_FORMAT, "list of"},
    {"{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"B\"}},"
     "{\"Sequence\":{\"id\":\"A\"}}]}," MODEL "}",
     NULL, RLHF_E_FORMAT, "\"B\" has no ids"},
    {"{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"B\"}},"
     "{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"B\":{\"ids\":[99]}}}," MODEL "}",
     NULL, RLHF_E_FORMAT, "no token has this id"},
    {"{\"post_processor\":{\"type\":\"BertProcessing\",\"cls\":[\"x\",99],\"sep\":[\"a\",0]}," MODEL "}", NULL,
     RLHF_E_FORMAT, "no token has this id"},
    {"{" MODEL "}", "[]", RLHF_E_FORMAT, "tokenizer_config.json"},
    {"{" MODEL "}", "{\"add_bos_token\":true}", RLHF_E_FORMAT, "no bos_token"},
    {"{" MODEL "}", "{\"add_bos_token\":\"yes\",\"bos_token\":\"a\"}", RLHF_E_FORMAT, "add_bos_token"},
    {"{" MODEL "}", "{\"clean_up_tokenization_spaces\":2}", RLHF_E_FORMAT, "clean_up"},
    {"{" MODEL "}", "{\"added_tokens_decoder\":{\"x\":{\"content\":\"y\"}}}", RLHF_E_FORMAT, "\"x\" is no token"},
    {"{" MODEL "}", "{\"added_tokens_decoder\":{\"9\":{\"content\":\"y\"}}}", RLHF_E_FORMAT, "gap"},
};

static void malformed(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    size_t before = memory.live;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        const struct refusal *refusal = &refusals[i];
        rlhf_tokenizer *tokenizer = (rlhf_tokenizer *)&memory;
        rlhf_status status = rlhf_tokenizer_create(&tokenizer, context, refusal->json, strlen(refusal->json),
                                                   refusal->config, refusal->config ? strlen(refusal->config) : 0);
        if (status != refusal->status || !strstr(error_of(context), refusal->words))
            fail_msg("%s: %s: %s", refusal->json, rlhf_status_name(status), error_of(context));
        assert_null(tokenizer);
        assert_int_equal(memory.live, before);
    }
    end_context(context, &memory);
}

/* Sequences inside Sequences, and thousands of components: limits, not stack overflows. */
static void nesting(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    rlhf_tokenizer *tokenizer;
    rlhfi_string json;
    rlhfi_string_init(&json, context);
    for (int depth = 10; depth <= 22; depth += 6) {
        json.size = 0;
        rlhfi_string_add(&json, "{" MODEL ",\"normalizer\":");
        for (int i = 0; i < depth; i++)
            rlhfi_string_add(&json, "{\"type\":\"Sequence\",\"normalizers\":[");
        rlhfi_string_add(&json, "{\"type\":\"NFC\"}");
        for (int i = 0; i < depth; i++)
            rlhfi_string_add(&json, "]}");
        rlhfi_string_add(&json, "}");
        rlhf_status status = rlhf_tokenizer_create(&tokenizer, context, json.data, json.size, NULL, 0);
        assert_int_equal(status, depth <= RLHFI_MAX_NESTING ? RLHF_OK : RLHF_E_FORMAT);
        assert_true(depth <= RLHFI_MAX_NESTING || strstr(error_of(context), "inside one another"));
        rlhf_tokenizer_release(&tokenizer);
    }
    json.size = 0;
    rlhfi_string_add(&json, "{" MODEL ",\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[");
    for (int i = 0; i < 1000; i++)
        rlhfi_string_add(&json, i > 0 ? ",{\"type\":\"Digits\"}" : "{\"type\":\"Digits\"}");
    rlhfi_string_add(&json, "]}}");
    assert_int_equal(rlhf_tokenizer_create(&tokenizer, context, json.data, json.size, NULL, 0), RLHF_E_FORMAT);
    assert_non_null(strstr(error_of(context), "components"));
    rlhfi_string_free(&json);
    end_context(context, &memory);
}

/* A regex from a file that would take forever on a text is an error of the encoding; the tokenizer stays usable. */
static void catastrophic_regex(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    struct parts parts = {
        .pre = "{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":\"(?:a|aa)+[bc]\"}}"};
    rlhf_tokenizer *tokenizer = make_tokenizer(context, parts, NULL);
    char text[2000];
    int32_t ids[4];
    size_t needed;
    memset(text, 'a', sizeof text);
    assert_int_equal(rlhf_tokenizer_encode(tokenizer, text, sizeof text, 0, ids, 4, &needed), RLHF_E_FORMAT);
    assert_int_equal(needed, 0);
    assert_string_equal(ids_of(tokenizer, "ab", 0), "5");
    rlhf_tokenizer_release(&tokenizer);
    end_context(context, &memory);
}

/* ---- memory that runs out --------------------------------------------------------------------------------------- */

static const char everything[] =
    "{\"version\":\"1.0\",\"added_tokens\":[{\"id\":5,\"content\":\"<s>\",\"special\":true,\"normalized\":false},"
    "{\"id\":6,\"content\":\"TOK\",\"normalized\":true}],"
    "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFKC\"},{\"type\":\"Lowercase\"},"
    "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"x+\"},\"content\":\"a\"}]},"
    "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"String\":\"-\"},"
    "\"behavior\":\"Removed\"},{\"type\":\"Metaspace\"},{\"type\":\"ByteLevel\",\"use_regex\":true}]},"
    "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},"
    "{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"<s>\":{\"ids\":[5]}}},"
    "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"b\"},"
    "\"content\":\"c\"},{\"type\":\"ByteFallback\"},{\"type\":\"ByteLevel\"},{\"type\":\"Strip\",\"content\":\" \","
    "\"start\":1,\"stop\":0}]},"
    "\"model\":{\"type\":\"BPE\",\"unk_token\":\"?\",\"byte_fallback\":true,\"continuing_subword_prefix\":\"b\","
    "\"vocab\":{\"?\":0,\"a\":1,\"ba\":2,\"aa\":3,\"<0xC3>\":4},\"merges\":[\"a ba\"]}}";

/* Does all that a tokenizer can do; every step may run out of memory. */
static rlhf_status work(rlhf_context *context)
{
    static const char config[] = "{\"add_bos_token\":true,\"bos_token\":\"<s>\"}";
    static const char text[] = "xa\u00E9<s>ToK\xFF\uFB01-a a";
    rlhf_tokenizer *tokenizer = NULL;
    int32_t ids[64];
    char decoded[256];
    size_t count, bytes;
    rlhf_status status =
        rlhf_tokenizer_create(&tokenizer, context, everything, sizeof everything - 1, config, sizeof config - 1);
    if (status == RLHF_OK)
        status = rlhf_tokenizer_encode(tokenizer, text, sizeof text - 1, RLHF_ENCODE_SPECIAL, ids, 64, &count);
    if (status == RLHF_OK)
        status = rlhf_tokenizer_decode(tokenizer, ids, count, 0, decoded, sizeof decoded, &bytes);
    rlhf_tokenizer_release(&tokenizer);
    return status;
}

static void out_of_memory(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    size_t before = memory.live, failures = 0;
    rlhf_status status;
    check_ok(context, work(context));
    for (size_t n = 1;; n++) {
        memory.calls = 0;
        memory.fail_at = n;
        status = work(context);
        memory.fail_at = 0;
        assert_int_equal(memory.live, before);
        if (status == RLHF_OK)
            break;
        assert_int_equal(status, RLHF_E_NOMEM);
        assert_string_equal(error_of(context), "out of memory");
        failures++;
    }
    assert_true(failures > 50);
    end_context(context, &memory);
}

/* After an encoding that ran out of memory the same tokenizer works. */
static void usable_afterwards(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    for (size_t n = 1; n < 200; n++) {
        rlhf_tokenizer *tokenizer;
        int32_t ids[64];
        size_t count, bytes;
        char text[64];
        check_ok(context, rlhf_tokenizer_create(&tokenizer, context, everything, sizeof everything - 1, NULL, 0));
        memory.calls = 0;
        memory.fail_at = n;
        rlhf_status status = rlhf_tokenizer_encode(tokenizer, "\xFF-xx a", 7, 0, ids, 64, &count);
        if (status == RLHF_OK)
            status = rlhf_tokenizer_decode(tokenizer, ids, count, 0, text, sizeof text, &bytes);
        memory.fail_at = 0;
        if (status != RLHF_OK) {
            assert_int_equal(status, RLHF_E_NOMEM);
            check_ok(context, rlhf_tokenizer_encode(tokenizer, "\xFF-xx a", 7, 0, ids, 64, &count));
            check_ok(context, rlhf_tokenizer_decode(tokenizer, ids, count, 0, text, sizeof text, &bytes));
        }
        rlhf_tokenizer_release(&tokenizer);
        if (status == RLHF_OK)
            break;
        assert_true(n < 199);
    }
    end_context(context, &memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(malformed),     cmocka_unit_test(nesting),           cmocka_unit_test(catastrophic_regex),
        cmocka_unit_test(out_of_memory), cmocka_unit_test(usable_afterwards),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
