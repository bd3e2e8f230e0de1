/* The public tokenizer: arguments, capacities, broken input, special tokens around a text, files. */
#include "support.h"

#include <sys/stat.h>
#include <unistd.h>

static void arguments(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    rlhf_tokenizer *tokenizer = NULL, *none = NULL;
    int32_t ids[8];
    char text[8];
    size_t needed = 7;
    const char *token;
    assert_int_equal(rlhf_tokenizer_create(NULL, context, "{}", 2, NULL, 0), RLHF_E_INVAL);
    assert_int_equal(rlhf_tokenizer_create(&tokenizer, NULL, "{}", 2, NULL, 0), RLHF_E_INVAL);
    assert_int_equal(rlhf_tokenizer_create(&tokenizer, context, NULL, 0, NULL, 0), RLHF_E_INVAL);
    assert_int_equal(rlhf_tokenizer_load(NULL, context, "x"), RLHF_E_INVAL);
    assert_int_equal(rlhf_tokenizer_load(&tokenizer, NULL, "x"), RLHF_E_INVAL);
    assert_int_equal(rlhf_tokenizer_load(&tokenizer, context, NULL), RLHF_E_INVAL);
    assert_null(tokenizer);
    tokenizer = make_tokenizer(context, (struct parts){0}, NULL);
    assert_int_equal(rlhf_tokenizer_encode(NULL, "a", 1, 0, ids, 8, &needed), RLHF_E_INVAL);
    assert_int_equal(needed, 0);
    assert_int_equal(rlhf_tokenizer_encode(tokenizer, NULL, 1, 0, ids, 8, &needed), RLHF_E_INVAL);
    assert_int_equal(rlhf_tokenizer_encode(tokenizer, "a", 1, 0, NULL, 8, &needed), RLHF_E_INVAL);
    assert_int_equal(rlhf_tokenizer_encode(tokenizer, "a", 1, 0, ids, 8, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_tokenizer_encode(tokenizer, "a", 1, 1u << 30, ids, 8, &needed), RLHF_E_INVAL);
    assert_int_equal(rlhf_tokenizer_decode(NULL, ids, 0, 0, text, 8, &needed), RLHF_E_INVAL);
    assert_int_equal(rlhf_tokenizer_decode(tokenizer, NULL, 1, 0, text, 8, &needed), RLHF_E_INVAL);
    assert_int_equal(rlhf_tokenizer_decode(tokenizer, ids, 0, 0, NULL, 8, &needed), RLHF_E_INVAL);
    assert_int_equal(rlhf_tokenizer_decode(tokenizer, ids, 0, 0, text, 8, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_tokenizer_decode(tokenizer, ids, 0, 2, text, 8, &needed), RLHF_E_INVAL);
    assert_int_equal(rlhf_tokenizer_token(tokenizer, 0, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_tokenizer_token(NULL, 0, &token), RLHF_E_INVAL);
    assert_int_equal(rlhf_tokenizer_save(NULL, "."), RLHF_E_INVAL);
    assert_int_equal(rlhf_tokenizer_save(tokenizer, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_tokenizer_vocabulary(NULL), 0);
    assert_int_equal(rlhf_tokenizer_special(NULL, RLHF_TOKEN_EOS), -1);
    assert_int_equal(rlhf_tokenizer_special(tokenizer, 0), -1);
    assert_int_equal(rlhf_tokenizer_special(tokenizer, 5), -1);
    assert_int_equal(rlhf_tokenizer_find(NULL, "a"), -1);
    assert_int_equal(rlhf_tokenizer_find(tokenizer, NULL), -1);
    rlhf_tokenizer_release(&none);
    rlhf_tokenizer_release(NULL);
    rlhf_tokenizer_release(&tokenizer);
    assert_null(tokenizer);
    end_context(context, &memory);
}

static void capacities(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    rlhf_tokenizer *tokenizer = make_tokenizer(context, (struct parts){.decoder = "{\"type\":\"Fuse\"}"}, NULL);
    int32_t ids[3] = {-7, -7, -7};
    char text[4] = "xyz";
    size_t needed;
    assert_int_equal(rlhf_tokenizer_encode(tokenizer, "aba", 3, 0, NULL, 0, &needed), RLHF_E_RANGE);
    assert_int_equal(needed, 2);
    assert_int_equal(rlhf_tokenizer_encode(tokenizer, "aba", 3, 0, ids, 1, &needed), RLHF_E_RANGE);
    assert_int_equal(ids[0], -7);
    check_ok(context, rlhf_tokenizer_encode(tokenizer, "aba", 3, 0, ids, 2, &needed));
    assert_true(ids[0] == 5 && ids[1] == 0 && ids[2] == -7 && needed == 2);
    check_ok(context, rlhf_tokenizer_encode(tokenizer, NULL, 0, 0, NULL, 0, &needed));
    assert_int_equal(needed, 0);
    assert_int_equal(rlhf_tokenizer_decode(tokenizer, ids, 2, 0, text, 2, &needed), RLHF_E_RANGE);
    assert_int_equal(needed, 3);
    assert_string_equal(text, "xyz");
    check_ok(context, rlhf_tokenizer_decode(tokenizer, ids, 2, 0, text, 3, &needed));
    assert_string_equal(text, "aba");
    check_ok(context, rlhf_tokenizer_decode(tokenizer, NULL, 0, 0, NULL, 0, &needed));
    for (size_t i = 0; i < 3; i++) {
        static const int32_t bad[] = {-1, 9, INT32_MAX};
        assert_int_equal(rlhf_tokenizer_decode(tokenizer, &bad[i], 1, 0, text, 3, &needed), RLHF_E_RANGE);
        assert_int_equal(needed, 0);
        assert_non_null(strstr(error_of(context), "no token"));
    }
    rlhf_tokenizer_release(&tokenizer);
    end_context(context, &memory);
}

static void spellings(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    rlhf_tokenizer *tokenizer =
        make_tokenizer(context, (struct parts){.model = "{\"vocab\":{\"a\":0,\"b\":5},\"merges\":[]}"}, NULL);
    const char *token;
    assert_int_equal(rlhf_tokenizer_vocabulary(tokenizer), 6);
    check_ok(context, rlhf_tokenizer_token(tokenizer, 5, &token));
    assert_string_equal(token, "b");
    assert_int_equal(rlhf_tokenizer_token(tokenizer, 3, &token), RLHF_E_RANGE); /* a gap */
    assert_null(token);
    assert_int_equal(rlhf_tokenizer_token(tokenizer, -1, &token), RLHF_E_RANGE);
    assert_int_equal(rlhf_tokenizer_token(tokenizer, 6, &token), RLHF_E_RANGE);
    assert_int_equal(rlhf_tokenizer_find(tokenizer, "b"), 5);
    assert_int_equal(rlhf_tokenizer_find(tokenizer, "c"), -1);
    assert_int_equal(rlhf_tokenizer_find(tokenizer, ""), -1);
    assert_int_equal(rlhf_tokenizer_special(tokenizer, RLHF_TOKEN_BOS), -1);
    assert_null(rlhfi_tokenizer_eos_text(tokenizer));
    rlhf_tokenizer_release(&tokenizer);
    end_context(context, &memory);
}

/* Bad bytes become U+FFFD, one each; NUL is a character like others. */
static void broken_input(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    struct parts parts = {.model = "{\"vocab\":{\"a\":0,\"\uFFFD\":1,\"\u0100\":2},\"merges\":[],\"unk_token\":\"a\"}"};
    rlhf_tokenizer *tokenizer = make_tokenizer(context, parts, NULL);
    assert_string_equal(ids_of(tokenizer, "a\xFF\xC3", 0), "0 1 1");
    assert_string_equal(ids_of(tokenizer, "\xF0\x9F\x98", 0), "1 1 1");
    rlhf_tokenizer_release(&tokenizer);
    parts.pre = "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}";
    tokenizer = make_tokenizer(context, parts, NULL);
    int32_t ids[2];
    size_t needed;
    check_ok(context, rlhf_tokenizer_encode(tokenizer, "\0", 1, 0, ids, 2, &needed));
    assert_true(needed == 1 && ids[0] == 2);
    rlhf_tokenizer_release(&tokenizer);
    end_context(context, &memory);
}

static const char specials[] = "[{\"id\":9,\"content\":\"<s>\",\"special\":true},{\"id\":10,\"content\":\"</s>\","
                               "\"special\":true}]";
static const char bos_template[] =
    "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"B\"}},{\"Sequence\":{\"id\":\"A\"}}],"
    "\"special_tokens\":{\"B\":{\"id\":\"B\",\"ids\":[9],\"tokens\":[\"<s>\"]}}}";

static void check_framed(rlhf_context *context, const char *post, const char *config, const char *expected)
{
    rlhf_tokenizer *tokenizer = make_tokenizer(context, (struct parts){.added = specials, .post = post}, config);
    assert_string_equal(ids_of(tokenizer, "a", RLHF_ENCODE_SPECIAL), expected);
    assert_string_equal(ids_of(tokenizer, "a", 0), "0");
    rlhf_tokenizer_release(&tokenizer);
}

static void frames(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    check_framed(context, NULL, NULL, "0");
    check_framed(context, bos_template, NULL, "9 0");
    check_framed(context, "{\"type\":\"ByteLevel\"}", NULL, "0");
    check_framed(context, "{\"type\":\"RobertaProcessing\",\"cls\":[\"<s>\",9],\"sep\":[\"</s>\",10]}", NULL, "9 0 10");
    check_framed(context,
                 "{\"type\":\"Sequence\",\"processors\":[{\"type\":\"ByteLevel\"},"
                 "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"B\"}},"
                 "{\"Sequence\":{\"id\":\"A\"}},{\"SpecialToken\":{\"id\":\"B\"}}],"
                 "\"special_tokens\":{\"B\":{\"ids\":[1,2]}}},"
                 "{\"type\":\"BertProcessing\",\"cls\":[\"<s>\",9],\"sep\":[\"</s>\",10]}]}",
                 NULL, "9 1 2 0 1 2 10");
    /* The configuration decides over the post-processor. */
    check_framed(context, NULL, "{\"bos_token\":\"<s>\",\"add_bos_token\":true}", "9 0");
    check_framed(context, bos_template, "{\"bos_token\":\"<s>\",\"add_bos_token\":true}", "9 0");
    check_framed(context, bos_template, "{\"bos_token\":\"<s>\",\"add_bos_token\":false}", "0");
    check_framed(context, bos_template, "{\"bos_token\":\"<s>\",\"add_bos_token\":null}", "9 0");
    check_framed(context, bos_template, "{\"eos_token\":\"</s>\",\"add_eos_token\":true}", "9 0 10");
    check_framed(context, NULL, "{\"bos_token\":null,\"add_bos_token\":false}", "0");
    rlhf_tokenizer *tokenizer = make_tokenizer(
        context, (struct parts){.added = specials},
        "{\"bos_token\":\"<s>\",\"eos_token\":{\"content\":\"</s>\"},\"pad_token\":\"<pad>\",\"unk_token\":\"a\"}");
    assert_int_equal(rlhf_tokenizer_special(tokenizer, RLHF_TOKEN_BOS), 9);
    assert_int_equal(rlhf_tokenizer_special(tokenizer, RLHF_TOKEN_EOS), 10);
    assert_int_equal(rlhf_tokenizer_special(tokenizer, RLHF_TOKEN_PAD), -1); /* named, but not in the vocabulary */
    assert_int_equal(rlhf_tokenizer_special(tokenizer, RLHF_TOKEN_UNKNOWN), 0);
    assert_string_equal(rlhfi_tokenizer_eos_text(tokenizer), "</s>");
    rlhf_tokenizer_release(&tokenizer);
    end_context(context, &memory);
}

static void clean_up(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    struct parts parts = {.model =
                              "{\"vocab\":{\"a\":0,\" .\":1,\" n't\":2,\" 's\":3,\" ' \":4,\" ,\":5},\"merges\":[]}",
                          .decoder = "{\"type\":\"Fuse\"}"};
    const int32_t ids[] = {0, 1, 0, 2, 3, 4, 0, 5};
    rlhf_tokenizer *tokenizer = make_tokenizer(context, parts, NULL);
    assert_string_equal(text_of(tokenizer, ids, 8, 0), "a .a n't 's ' a ,");
    rlhf_tokenizer_release(&tokenizer);
    tokenizer = make_tokenizer(context, parts, "{\"clean_up_tokenization_spaces\":true}");
    assert_string_equal(text_of(tokenizer, ids, 8, 0), "a.an't's'a,");
    rlhf_tokenizer_release(&tokenizer);
    end_context(context, &memory);
}

/* A tokenizer keeps its context alive. */
static void lifetime(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    rlhf_tokenizer *tokenizer = make_tokenizer(context, (struct parts){0}, NULL), *second;
    rlhf_context_release(&context);
    second = rlhfi_tokenizer_retain(tokenizer);
    rlhf_tokenizer_release(&tokenizer);
    assert_string_equal(ids_of(second, "abc", 0), "6");
    rlhf_tokenizer_release(&second);
    assert_int_equal(memory.live, 0);
}

/* ---- files ------------------------------------------------------------------------------------------------------ */

static void write_text(const char *directory, const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
}

static void check_text(const char *directory, const char *name, const char *expected)
{
    char path[512], text[4096];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "rb");
    if (!expected) {
        assert_null(file);
        return;
    }
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    assert_string_equal(text, expected);
}

static void files(void **state)
{
    (void)state;
    static const char json[] = "{\"version\":\"1.0\",  \"model\":{\"vocab\":{\"a\":0,\"</s>\":1},\"merges\":[]}}\n";
    static const char config[] = "{\"eos_token\": \"</s>\"}\n", jinja[] = "{{ messages }}";
    char from[] = "/tmp/rlhf_tokenizer_XXXXXX", to[] = "/tmp/rlhf_tokenizer_XXXXXX", path[512];
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    rlhf_tokenizer *tokenizer;
    assert_non_null(mkdtemp(from));
    assert_non_null(mkdtemp(to));
    assert_int_equal(rlhf_tokenizer_load(&tokenizer, context, from), RLHF_E_IO); /* empty directory */
    assert_null(tokenizer);
    assert_non_null(strstr(error_of(context), "tokenizer.json"));
    write_text(from, "tokenizer.json", json);
    write_text(from, "special_tokens_map.json", config);
    write_text(from, "chat_template.jinja", jinja);
    /* Without tokenizer_config.json, special_tokens_map.json says which tokens are special. */
    check_ok(context, rlhf_tokenizer_load(&tokenizer, context, from));
    assert_int_equal(rlhf_tokenizer_special(tokenizer, RLHF_TOKEN_EOS), 1);
    check_ok(context, rlhf_tokenizer_save(tokenizer, to));
    check_text(to, "tokenizer.json", json);
    check_text(to, "tokenizer_config.json", config);
    check_text(to, "chat_template.jinja", jinja);
    check_text(to, "special_tokens_map.json", NULL);
    rlhf_tokenizer_release(&tokenizer);
    check_ok(context, rlhf_tokenizer_load(&tokenizer, context, to));
    assert_int_equal(rlhf_tokenizer_special(tokenizer, RLHF_TOKEN_EOS), 1);
    assert_int_equal(rlhf_tokenizer_save(tokenizer, "/nonexistent/directory"), RLHF_E_IO);
    rlhf_tokenizer_release(&tokenizer);
    /* The file alone: nobody says what EOS is. */
    snprintf(path, sizeof path, "%s/tokenizer.json", to);
    check_ok(context, rlhf_tokenizer_load(&tokenizer, context, path));
    assert_int_equal(rlhf_tokenizer_special(tokenizer, RLHF_TOKEN_EOS), -1);
    rlhf_tokenizer_release(&tokenizer);
    /* Errors name the place. */
    write_text(to, "tokenizer.json", "{\"model\":\n 3,}");
    assert_int_equal(rlhf_tokenizer_load(&tokenizer, context, to), RLHF_E_FORMAT);
    assert_non_null(strstr(error_of(context), "tokenizer.json:2:"));
    write_text(to, "tokenizer.json", json);
    write_text(to, "tokenizer_config.json", "[]");
    assert_int_equal(rlhf_tokenizer_load(&tokenizer, context, to), RLHF_E_FORMAT);
    assert_non_null(strstr(error_of(context), "tokenizer_config.json"));
    assert_int_equal(rlhf_tokenizer_load(&tokenizer, context, "/nonexistent"), RLHF_E_IO);
    static const char *const names[] = {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                                        "chat_template.jinja"};
    for (size_t i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", from, names[i]);
        unlink(path);
        snprintf(path, sizeof path, "%s/%s", to, names[i]);
        unlink(path);
    }
    assert_int_equal(rmdir(from), 0);
    assert_int_equal(rmdir(to), 0);
    end_context(context, &memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arguments),    cmocka_unit_test(capacities), cmocka_unit_test(spellings),
        cmocka_unit_test(broken_input), cmocka_unit_test(frames),     cmocka_unit_test(clean_up),
        cmocka_unit_test(lifetime),     cmocka_unit_test(files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
