/* Byte-pair encoding: order of merges, unknown characters, affixes, the long way and the cache. */
#include "support.h"

static void check(rlhf_context *context, const char *model, const char *text, const char *expected)
{
    rlhf_tokenizer *tokenizer = make_tokenizer(context, (struct parts){.model = model}, NULL);
    assert_string_equal(ids_of(tokenizer, text, 0), expected);
    assert_string_equal(ids_of(tokenizer, text, 0), expected); /* now from the cache */
    rlhf_tokenizer_release(&tokenizer);
}

static void ranks(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    check(context, letters_model, "abc", "6");   /* a b first, then ab c */
    check(context, letters_model, "bcd", "7 3"); /* b c before c d */
    check(context, letters_model, "xbc", "7");   /* unknown and no unk_token: dropped */
    /* Ties are settled from the left. */
    check(context, "{\"vocab\":{\"a\":0,\"aa\":1},\"merges\":[\"a a\"]}", "aaaaa", "1 1 0");
    /* A merge whose parts are made by later merges. */
    check(context, "{\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"abab\":3},\"merges\":[\"ab ab\",\"a b\"]}", "abab", "3");
    /* A stale pair in the queue must not merge. */
    check(context,
          "{\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"ab\":3,\"bc\":4,\"abc\":5},"
          "\"merges\":[\"b c\",\"a b\",\"ab c\",\"a bc\"]}",
          "abc", "5");
    /* A pair that stands twice has its last rank. */
    check(context, "{\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"ab\":3,\"bc\":4},\"merges\":[\"a b\",\"b c\",\"a b\"]}",
          "abc", "0 4");
    /* Merge cycles are harmless: each merge removes a symbol. */
    check(context, "{\"vocab\":{\"a\":0,\"\":1},\"merges\":[[\"a\",\"\"],[\"\",\"a\"]]}", "aaa", "0 0 0");
    check(context, "{\"vocab\":{\"a\":0},\"merges\":[]}", "", "");
    end_context(context, &memory);
}

static void unknown_characters(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    check(context, "{\"vocab\":{\"?\":0,\"a\":1},\"merges\":[],\"unk_token\":\"?\"}", "axya", "1 0 0 1");
    check(context, "{\"vocab\":{\"?\":0,\"a\":1},\"merges\":[],\"unk_token\":\"?\",\"fuse_unk\":true}", "axyax",
          "1 0 1 0");
    check(context, "{\"vocab\":{\"a\":1},\"merges\":[]}", "xax", "1");
    /* Bytes where all of a character's bytes have tokens, else the unknown token. */
    check(context,
          "{\"vocab\":{\"?\":0,\"a\":1,\"<0xC3>\":2,\"<0xA9>\":3},\"merges\":[],\"unk_token\":\"?\","
          "\"byte_fallback\":true}",
          "a\u00E9\u00E8", "1 2 3 0");
    /* Byte tokens merge like others; lower-case digits name no byte. */
    check(context,
          "{\"vocab\":{\"?\":0,\"<0xC3>\":2,\"<0xA9>\":3,\"<0xC3><0xA9>\":4},\"merges\":["
          "\"<0xC3> <0xA9>\"],\"unk_token\":\"?\",\"byte_fallback\":true}",
          "\u00E9", "4");
    check(context,
          "{\"vocab\":{\"?\":0,\"<0xc3>\":2,\"<0xa9>\":3},\"merges\":[],\"unk_token\":\"?\","
          "\"byte_fallback\":true}",
          "\u00E9", "0");
    end_context(context, &memory);
}

static void affixes(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    check(context,
          "{\"vocab\":{\"a\":0,\"##b\":1,\"ab\":2,\"##c\":3,\"abc\":4},\"merges\":[\"a ##b\",\"ab ##c\"],"
          "\"continuing_subword_prefix\":\"##\"}",
          "abc", "4");
    check(context,
          "{\"vocab\":{\"a\":0,\"b</w>\":1,\"ab</w>\":2,\"a</w>\":3},\"merges\":[\"a b</w>\"],"
          "\"end_of_word_suffix\":\"</w>\"}",
          "ab", "2");
    check(context,
          "{\"vocab\":{\"a\":0,\"b</w>\":1,\"ab</w>\":2,\"a</w>\":3},\"merges\":[\"a b</w>\"],"
          "\"end_of_word_suffix\":\"</w>\"}",
          "a", "3");
    check(context,
          "{\"vocab\":{\"a\":0,\"ab\":1,\"b\":2},\"merges\":[\"a b\"],\"continuing_subword_prefix\":\"\","
          "\"end_of_word_suffix\":\"\"}",
          "ab", "1");
    end_context(context, &memory);
}

static void whole_words(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    static const char with[] = "{\"vocab\":{\"a\":0,\"b\":1,\"aab\":2},\"merges\":[],\"ignore_merges\":true}";
    static const char without[] = "{\"vocab\":{\"a\":0,\"b\":1,\"aab\":2},\"merges\":[]}";
    check(context, with, "aab", "2");
    check(context, with, "aaba", "0 0 1 0");
    check(context, without, "aab", "0 0 1");
    end_context(context, &memory);
}

/* A vocabulary in which no merge crosses to U+2581 takes a text word by word: the same ids as in one piece. */
static void words(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    static const char apart[] = "{\"vocab\":{\"\u2581\":0,\"a\":1,\"\u2581a\":2,\"\u2581\u2581\":3,\"aa\":4,\"?\":5},"
                                "\"merges\":[\"\u2581 \u2581\",\"a a\",\"\u2581 a\"],\"unk_token\":\"?\","
                                "\"fuse_unk\":true}";
    /* The same with a merge that crosses, and so in one piece. */
    static const char across[] = "{\"vocab\":{\"\u2581\":0,\"a\":1,\"\u2581a\":2,\"\u2581\u2581\":3,\"aa\":4,\"?\":5,"
                                 "\"a\u2581\":6},\"merges\":[\"\u2581 \u2581\",\"a a\",\"\u2581 a\",\"a \u2581\"],"
                                 "\"unk_token\":\"?\",\"fuse_unk\":true}";
    check(context, apart, "\u2581a\u2581\u2581aa\u2581\u2581\u2581a", "2 3 4 3 2");
    check(context, apart, "xx\u2581xx", "5 0 5");
    check(context, apart, "\u2581\u2581\u2581", "3 0");
    check(context, across, "\u2581a\u2581\u2581aa\u2581\u2581\u2581a", "2 3 4 3 2");
    check(context, across, "aa\u2581", "4 0");
    check(context, across, "\u2581aa\u2581", "0 4 0");
    check(context, across, "xa\u2581", "5 6");
    end_context(context, &memory);
}

/* The cache must not change anything: many words, each encoded before and after many others. */
static void cache(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    struct parts parts = {.pre = "{\"type\":\"WhitespaceSplit\"}"};
    rlhf_tokenizer *tokenizer = make_tokenizer(context, parts, NULL);
    char word[32], expected[256];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 50000; i++) {
            size_t bytes = 0, used = 0;
            for (int value = i; bytes == 0 || value > 0; value /= 2) /* binary numbers in a and d: nothing merges */
                word[bytes++] = value % 2 ? 'd' : 'a';
            for (size_t j = 0; j < bytes; j++)
                used +=
                    (size_t)snprintf(expected + used, sizeof expected - used, j ? " %d" : "%d", word[j] == 'a' ? 0 : 3);
            word[bytes] = '\0';
            assert_string_equal(ids_of(tokenizer, word, 0), expected);
        }
    }
    rlhf_tokenizer_release(&tokenizer);
    end_context(context, &memory);
}

/* One very long piece: n log n, and the buffers are given back. */
static void long_pieces(void **state)
{
    (void)state;
    enum { LONG = 1 << 20 };
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    rlhfi_string model;
    rlhfi_string_init(&model, context);
    rlhfi_string_add(&model, "{\"vocab\":{\"a\":0");
    char spelling[17] = "a";
    for (int power = 1; power <= 4; power++) {
        memset(spelling, 'a', 16);
        spelling[1 << power] = '\0';
        rlhfi_string_add_format(&model, ",\"%s\":%d", spelling, power);
    }
    rlhfi_string_add(&model, "},\"merges\":[\"a a\",\"aa aa\",\"aaaa aaaa\",\"aaaaaaaa aaaaaaaa\"]}");
    rlhf_tokenizer *tokenizer = make_tokenizer(context, (struct parts){.model = model.data}, NULL);
    char *text = malloc(LONG + 7);
    rlhfi_ids ids = {0};
    assert_non_null(text);
    memset(text, 'a', LONG + 7);
    size_t before = memory.live;
    double start = processor_seconds();
    check_ok(context, rlhfi_tokenizer_encode_append(tokenizer, text, LONG + 7, 0, &ids));
    assert_true(processor_seconds() - start < 20);
    assert_int_equal(ids.count, LONG / 16 + 3);
    for (size_t i = 0; i < LONG / 16; i++)
        assert_int_equal(ids.data[i], 4);
    assert_int_equal(ids.data[LONG / 16], 2);
    assert_int_equal(ids.data[LONG / 16 + 1], 1);
    assert_int_equal(ids.data[LONG / 16 + 2], 0);
    rlhfi_free(context, ids.data);
    assert_true(memory.live < before + (1 << 20));
    free(text);
    rlhfi_string_free(&model);
    rlhf_tokenizer_release(&tokenizer);
    end_context(context, &memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks),       cmocka_unit_test(unknown_characters),
        cmocka_unit_test(affixes),     cmocka_unit_test(whole_words),
        cmocka_unit_test(words),       cmocka_unit_test(cache),
        cmocka_unit_test(long_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
