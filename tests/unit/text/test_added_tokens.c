/* Added tokens: the examples of formats.md 4.3, their flags, their order in the pipeline, their ids. */
#include "support.h"

/* One character, one id: a..z from 0, then a few signs; added tokens begin at 32. */
static const char *letters(void)
{
    static char json[4096];
    size_t used = (size_t)snprintf(json, sizeof json, "{\"type\":\"BPE\",\"merges\":[],\"vocab\":{");
    static const char *const more[] = {" ", "<", ">", "\u2581", "-", "/"};
    for (int i = 0; i < 26; i++)
        used += (size_t)snprintf(json + used, sizeof json - used, "\"%c\":%d,", 'a' + i, i);
    for (int i = 0; i < 6; i++)
        used += (size_t)snprintf(json + used, sizeof json - used, "\"%s\":%d%s", more[i], 26 + i, i < 5 ? "," : "}}");
    assert_true(used < sizeof json);
    return json;
}

static void documented_examples(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    struct parts parts = {
        .normalizer = "{\"type\":\"Lowercase\"}",
        .model = letters(),
        .added = "[{\"id\":32,\"content\":\"<x>\",\"normalized\":false},"
                 "{\"id\":33,\"content\":\"<x>y\",\"normalized\":false},"
                 "{\"id\":34,\"content\":\"cat\",\"single_word\":true,\"normalized\":false},"
                 "{\"id\":35,\"content\":\"<l>\",\"lstrip\":true,\"normalized\":false},"
                 "{\"id\":36,\"content\":\"<r>\",\"rstrip\":true,\"normalized\":false},"
                 "{\"id\":37,\"content\":\"AB\",\"normalized\":true}]",
    };
    rlhf_tokenizer *tokenizer = make_tokenizer(context, parts, NULL);
    assert_string_equal(ids_of(tokenizer, "a<x>yb", 0), "0 33 1");        /* the longest wins */
    assert_string_equal(ids_of(tokenizer, "acat b", 0), "0 2 0 19 26 1"); /* not a word of its own */
    assert_string_equal(ids_of(tokenizer, "a cat b", 0), "0 26 34 26 1");
    assert_string_equal(ids_of(tokenizer, "cat", 0), "34");
    assert_string_equal(ids_of(tokenizer, "a <l> b", 0), "0 35 26 1");
    assert_string_equal(ids_of(tokenizer, "a<r>  b", 0), "0 36 1");
    assert_string_equal(ids_of(tokenizer, "xABy", 0), "23 37 24");
    assert_string_equal(ids_of(tokenizer, "xaby", 0), "23 37 24"); /* the content is normalised, too */
    assert_string_equal(ids_of(tokenizer, "<X>", 0), "27 23 28");  /* these are not */
    assert_string_equal(ids_of(tokenizer, "<x><x><x>y", 0), "32 32 33");
    assert_string_equal(ids_of(tokenizer, "<x", 0), "27 23");
    rlhf_tokenizer_release(&tokenizer);
    end_context(context, &memory);
}

/* Each piece between tokens is a text of its own for the normaliser. */
static void pieces_are_texts(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    struct parts parts = {
        .normalizer = "{\"type\":\"Prepend\",\"prepend\":\"\u2581\"}",
        .model = letters(),
        .added = "[{\"id\":32,\"content\":\"<s>\",\"special\":true,\"normalized\":false}]",
    };
    rlhf_tokenizer *tokenizer = make_tokenizer(context, parts, NULL);
    assert_string_equal(ids_of(tokenizer, "a<s>b", 0), "29 0 32 29 1");
    assert_string_equal(ids_of(tokenizer, "<s><s>", 0), "32 32");
    assert_string_equal(ids_of(tokenizer, "", 0), "");
    /* Special tokens in text that nobody vouches for stay text. */
    assert_string_equal(ids_of(tokenizer, "<s>", RLHF_ENCODE_IGNORE_SPECIAL), "29 27 18 28");
    rlhf_tokenizer_release(&tokenizer);
    end_context(context, &memory);
}

/* Swallowed white space can be taken back by a token that is white space, as the reference has it. */
static void white_space_tokens(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    struct parts parts = {
        .model = letters(),
        .added = "[{\"id\":32,\"content\":\"<r>\",\"rstrip\":true,\"normalized\":false},"
                 "{\"id\":26,\"content\":\" \",\"normalized\":false},"
                 "{\"id\":33,\"content\":\"<l>\",\"lstrip\":true,\"normalized\":false}]",
    };
    rlhf_tokenizer *tokenizer = make_tokenizer(context, parts, NULL);
    assert_string_equal(ids_of(tokenizer, "<r> a", 0), "32 26 0");
    assert_string_equal(ids_of(tokenizer, "a <l>", 0), "0 26 33"); /* not beyond the match before */
    assert_string_equal(ids_of(tokenizer, "<r>\n<l>", 0), "32 33");
    rlhf_tokenizer_release(&tokenizer);
    end_context(context, &memory);
}

/* An added token is none of the model's: pieces that spell it stay pieces. */
static void not_in_the_model(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    struct parts parts = {
        .model = "{\"type\":\"BPE\",\"ignore_merges\":true,\"vocab\":{\"a\":0,\"b\":1},\"merges\":[]}",
        .added = "[{\"id\":2,\"content\":\"ab\",\"special\":true,\"normalized\":false}]",
    };
    rlhf_tokenizer *tokenizer = make_tokenizer(context, parts, NULL);
    assert_string_equal(ids_of(tokenizer, "ab", 0), "2");
    assert_string_equal(ids_of(tokenizer, "ab", RLHF_ENCODE_IGNORE_SPECIAL), "0 1");
    rlhf_tokenizer_release(&tokenizer);
    end_context(context, &memory);
}

static void ids(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    /* A spelling that the model has keeps the model's id, whatever the list says. */
    struct parts parts = {.added = "[{\"id\":77,\"content\":\"ab\",\"special\":true,\"normalized\":false},"
                                   "{\"id\":9,\"content\":\"<e>\",\"special\":true,\"normalized\":false}]"};
    rlhf_tokenizer *tokenizer = make_tokenizer(context, parts, NULL);
    assert_int_equal(rlhf_tokenizer_find(tokenizer, "ab"), 5);
    assert_int_equal(rlhf_tokenizer_find(tokenizer, "<e>"), 9);
    assert_int_equal(rlhf_tokenizer_vocabulary(tokenizer), 10);
    assert_string_equal(ids_of(tokenizer, "abc<e>", 0), "5 2 9");
    const int32_t all[] = {5, 2, 9};
    assert_string_equal(text_of(tokenizer, all, 3, 0), "ab c <e>");
    assert_string_equal(text_of(tokenizer, all, 3, RLHF_DECODE_SKIP_SPECIAL), "c");
    rlhf_tokenizer_release(&tokenizer);

    /* added_tokens_decoder of the configuration brings what the list lacks. */
    tokenizer = make_tokenizer(context, (struct parts){0},
                               "{\"added_tokens_decoder\":{\"9\":{\"content\":\"<e>\",\"special\":true}},"
                               "\"eos_token\":{\"content\":\"<e>\"}}");
    assert_int_equal(rlhf_tokenizer_special(tokenizer, RLHF_TOKEN_EOS), 9);
    assert_string_equal(ids_of(tokenizer, "a<e>", 0), "0 9");
    rlhf_tokenizer_release(&tokenizer);
    end_context(context, &memory);
}

/* Decoders get the normalised spelling of a token that normalisers change. */
static void rewritten_spelling(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    struct parts parts = {
        .normalizer = "{\"type\":\"Lowercase\"}",
        .model = letters(),
        .decoder = "{\"type\":\"Fuse\"}",
        .added = "[{\"id\":32,\"content\":\"TOK\",\"normalized\":true}]",
    };
    rlhf_tokenizer *tokenizer = make_tokenizer(context, parts, NULL);
    const char *spelling;
    check_ok(context, rlhf_tokenizer_token(tokenizer, 32, &spelling));
    assert_string_equal(spelling, "TOK");
    assert_string_equal(ids_of(tokenizer, "Tok", 0), "32");
    assert_string_equal(text_of(tokenizer, &(int32_t){32}, 1, 0), "tok");
    rlhf_tokenizer_release(&tokenizer);
    end_context(context, &memory);
}

/* Thousands of tokens, a long text: the trie keeps it linear. */
static void many_tokens(void **state)
{
    (void)state;
    enum { TOKENS = 5000, LONG = 2000000 };
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    rlhfi_string json;
    rlhf_tokenizer *tokenizer;
    rlhfi_ids found = {0};
    rlhfi_string_init(&json, context);
    rlhfi_string_add(&json, "{\"added_tokens\":[");
    for (int i = 0; i < TOKENS; i++)
        rlhfi_string_add_format(&json, "%s{\"id\":%d,\"content\":\"<unused%d>\",\"normalized\":false}", i ? "," : "",
                                1 + i, i);
    rlhfi_string_add(&json, "],\"model\":{\"vocab\":{\"<\":0},\"merges\":[]}}");
    check_ok(context, rlhf_tokenizer_create(&tokenizer, context, json.data, json.size, NULL, 0));
    assert_string_equal(ids_of(tokenizer, "<unused4999><unused49><", 0), "5000 50 0");
    char *text = malloc(LONG);
    assert_non_null(text);
    memset(text, '<', LONG);
    double start = processor_seconds();
    check_ok(context, rlhfi_tokenizer_encode_append(tokenizer, text, LONG, 0, &found));
    assert_int_equal(found.count, LONG);
    assert_true(processor_seconds() - start < 20);
    free(text);
    rlhfi_free(context, found.data);
    rlhfi_string_free(&json);
    rlhf_tokenizer_release(&tokenizer);
    end_context(context, &memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documented_examples),
        cmocka_unit_test(pieces_are_texts),
        cmocka_unit_test(white_space_tokens),
        cmocka_unit_test(not_in_the_model),
        cmocka_unit_test(ids),
        cmocka_unit_test(rewritten_spelling),
        cmocka_unit_test(many_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
