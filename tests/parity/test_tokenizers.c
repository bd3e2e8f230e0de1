/* Every string of the tokenizer fixtures, both ways and exactly: golden/tokenizers (whatever index.json lists),
 * shared/data/tokenizers/golden, the vectors of formats.md 4.13, the ids of stories260K. A file whose tokenizer cannot
 * be made here is skipped by name. */
#include "text/text.h"
#include "tokenizer_sources.h"

/* ---- tokenizers by source -----------------------------------------------------------------------------------------
 */

static rlhf_context *make_context(void)
{
    rlhf_context *context;
    rlhf_context_options options;
    rlhf_context_options_init(&options, sizeof options);
    options.threads = 1;
    assert_int_equal(rlhf_context_create(&context, &options), RLHF_OK);
    return context;
}

static rlhf_tokenizer *from_string(rlhf_context *context, rlhfi_string *json, const char *config)
{
    rlhf_tokenizer *tokenizer;
    assert_false(json->failed);
    check_ok(context,
             rlhf_tokenizer_create(&tokenizer, context, json->data, json->size, config, config ? strlen(config) : 0),
             "create");
    rlhfi_string_free(json);
    return tokenizer;
}

static rlhf_tokenizer *from_json_file(rlhf_context *context, const char *path)
{
    size_t bytes = 0;
    rlhf_tokenizer *tokenizer;
    char *text = need_text(path, &bytes);
    check_ok(context, rlhf_tokenizer_create(&tokenizer, context, text, bytes, NULL, 0), path);
    free(text);
    return tokenizer;
}

static rlhf_tokenizer *make_gpt2(rlhf_context *context, bool with_eos)
{
    char path[4096];
    size_t bytes = 0, merge_bytes = 0;
    rlhfi_string json;
    char *encoder = need_text(shared_path("data/tokenizers/gpt2/encoder.json.gz", path), &bytes);
    char *merges = need_text(shared_path("data/tokenizers/gpt2/vocab.bpe.gz", path), &merge_bytes);
    rlhfi_string_init(&json, context);
    gpt2_json(&json, encoder, merges, merge_bytes, with_eos);
    free(encoder);
    free(merges);
    return from_string(context, &json, NULL);
}

static rlhf_tokenizer *make_llama2(rlhf_context *context, bool with_special)
{
    char path[4096];
    size_t bytes = 0;
    rlhfi_string json;
    char *model = need_text(shared_path("data/tokenizers/llama2/tokenizer.model.gz", path), &bytes);
    struct pieces pieces = read_sentencepiece(model, bytes);
    assert_int_equal(pieces.count, 32000);
    rlhfi_string_init(&json, context);
    assert_int_equal(sentencepiece_json(context, &json, &pieces, with_special, false), 61249);
    free(pieces.items);
    free(model);
    return from_string(context, &json,
                       "{\"bos_token\":\"<s>\",\"eos_token\":\"</s>\",\"unk_token\":\"<unk>\","
                       "\"add_bos_token\":true,\"add_eos_token\":true}");
}

/* From a vocabulary-only GGUF file of golden. */
static rlhf_tokenizer *make_gguf(rlhf_context *context, const char *source)
{
    char path[4096];
    size_t bytes = 0;
    rlhfi_string json;
    char *file = need_text(golden_path(source, path), &bytes);
    struct gguf_vocabulary vocabulary = read_gguf(file);
    rlhfi_string_init(&json, context);
    if (vocabulary.byte_level)
        gguf_byte_level_json(&json, &vocabulary);
    else
        sentencepiece_json(context, &json, &vocabulary.pieces, true, strstr(source, "phi-3") != NULL);
    free(vocabulary.pieces.items);
    free(vocabulary.merges);
    free(file);
    return from_string(context, &json, NULL);
}

/* ---- comparing ----------------------------------------------------------------------------------------------------
 */

static void show(const char *name, size_t line, const char *what, const char *text, size_t bytes)
{
    print_error("%s, string %zu: %s differ for \"%.*s\"\n", name, line, what, (int)(bytes < 80 ? bytes : 80), text);
}

static bool same_ids(const rlhfi_json *expected, const rlhfi_ids *ids)
{
    if (rlhfi_json_size(expected) != ids->count)
        return false;
    for (size_t i = 0; i < ids->count; i++) {
        int64_t id;
        if (!rlhfi_json_integer(rlhfi_json_at(expected, i), &id) || id != ids->data[i])
            return false;
    }
    return true;
}

static void encode(rlhf_context *context, const rlhf_tokenizer *tokenizer, const char *text, size_t bytes,
                   uint32_t flags, rlhfi_ids *ids)
{
    ids->count = 0;
    check_ok(context, rlhfi_tokenizer_encode_append(tokenizer, text, bytes, flags, ids), "encode");
}

static bool decodes_to(rlhf_context *context, const rlhf_tokenizer *tokenizer, const rlhfi_ids *ids, uint32_t flags,
                       const char *text, size_t bytes)
{
    rlhfi_string decoded;
    rlhfi_string_init(&decoded, context);
    check_ok(context, rlhfi_tokenizer_decode_append(tokenizer, ids->data, ids->count, flags, &decoded), "decode");
    bool same = decoded.size == bytes && (bytes == 0 || memcmp(decoded.data, text, bytes) == 0);
    rlhfi_string_free(&decoded);
    return same;
}

enum { CHECK_IDS = 1, CHECK_SPECIAL = 2, CHECK_DECODED = 4, CHECK_ALL = 7 };

/* Compares one line of a fixture file; returns the number of differences. */
static size_t check_string(rlhf_context *context, const rlhf_tokenizer *tokenizer, const char *name, size_t line,
                           const rlhfi_json *row, int checks, rlhfi_ids *ids)
{
    size_t bytes, decoded_bytes, kept_bytes, differences = 0;
    const char *text = rlhfi_json_text(rlhfi_json_get(row, "text"), &bytes);
    const rlhfi_json *framed = rlhfi_json_get(row, "ids_with_special");
    assert_non_null(text);
    if (checks & CHECK_SPECIAL) {
        encode(context, tokenizer, text, bytes, RLHF_ENCODE_SPECIAL, ids);
        if (!same_ids(framed ? framed : rlhfi_json_get(row, "ids"), ids)) {
            show(name, line, "framed ids", text, bytes);
            differences++;
        }
    }
    encode(context, tokenizer, text, bytes, 0, ids);
    if (!same_ids(rlhfi_json_get(row, "ids"), ids)) {
        show(name, line, "ids", text, bytes);
        differences++;
    }
    if (checks & CHECK_DECODED) {
        const char *decoded = rlhfi_json_text(rlhfi_json_get(row, "decoded"), &decoded_bytes);
        const char *kept = rlhfi_json_text(rlhfi_json_get(row, "decoded_skip_special"), &kept_bytes);
        if (!decoded) {
            decoded = text;
            decoded_bytes = bytes;
        }
        if (!kept) {
            kept = decoded;
            kept_bytes = decoded_bytes;
        }
        if (!decodes_to(context, tokenizer, ids, 0, decoded, decoded_bytes) ||
            !decodes_to(context, tokenizer, ids, RLHF_DECODE_SKIP_SPECIAL, kept, kept_bytes)) {
            show(name, line, "decoded texts", text, bytes);
            differences++;
        }
    }
    return differences;
}

static void check_file(rlhf_context *context, const rlhf_tokenizer *tokenizer, const char *name, const char *path,
                       int checks)
{
    size_t bytes = 0, size, count = 0, differences = 0;
    char *text = need_text(path, &bytes), *at = text, *line;
    rlhfi_ids ids = {0};
    while (next_line(&at, text + bytes, &line, &size)) {
        rlhfi_json *row;
        if (size == 0)
            continue;
        check_ok(context, rlhfi_json_parse(&row, context, line, size, name), name);
        differences += check_string(context, tokenizer, name, ++count, row, checks, &ids);
        rlhfi_json_release(&row);
    }
    rlhfi_free(context, ids.data);
    free(text);
    assert_true(count > 0);
    print_message("%s: %zu strings\n", name, count);
    if (differences > 0)
        fail_msg("%s: %zu differences", name, differences);
}

/* ---- golden/tokenizers ----------------------------------------------------------------------------------------------
 */

static rlhfi_json *golden_index;

static bool ends_in(const char *text, const char *suffix)
{
    size_t bytes = strlen(text), length = strlen(suffix);
    return bytes >= length && strcmp(text + bytes - length, suffix) == 0;
}

/* The tokenizer that index.json names for a file; NULL if it cannot be made here. */
static rlhf_tokenizer *from_source(rlhf_context *context, const char *source, int *checks)
{
    static const char shared[] = "shared/";
    char path[4096];
    bool is_shared = strncmp(source, shared, strlen(shared)) == 0;
    if (ends_in(source, ".gguf.gz")) { /* llama.cpp: no decoded texts, it cuts long tokens off */
        *checks = CHECK_IDS;
        return strstr(source, "gpt-2") ? make_gpt2(context, true) : make_gguf(context, source);
    }
    if (strncmp(source, "shared/data/tokenizers/gpt2", 27) == 0)
        return make_gpt2(context, false);
    if (strcmp(source, "shared/data/tokenizers/llama2/tokenizer.model.gz") == 0)
        return make_llama2(context, false);
    if (ends_in(source, ".json") || ends_in(source, ".json.gz"))
        return from_json_file(context,
                              is_shared ? shared_path(source + strlen(shared), path) : golden_path(source, path));
    return NULL;
}

static void check_golden(void **state)
{
    const char *name = *state;
    char file[4096], relative[256];
    rlhf_context *context = make_context();
    const rlhfi_json *entry = rlhfi_json_get(rlhfi_json_get(golden_index, "files"), name);
    const char *source = rlhfi_json_text(rlhfi_json_get(entry, "source"), NULL);
    int checks = CHECK_ALL;
    assert_non_null(source);
    rlhf_tokenizer *tokenizer = from_source(context, source, &checks);
    if (!tokenizer) {
        rlhf_context_release(&context);
        SKIP("%s: its tokenizer, %s, comes in a format that this room does not read", name, source);
    }
    snprintf(relative, sizeof relative, "tokenizers/%.200s.jsonl.gz", name);
    check_file(context, tokenizer, name, golden_path(relative, file), checks);
    rlhf_tokenizer_release(&tokenizer);
    rlhf_context_release(&context);
}

/* ---- shared/data/tokenizers/golden ----------------------------------------------------------------------------------
 */

static void check_shared(void **state)
{
    const char *name = *state;
    char path[4096], file[4096], relative[256];
    rlhf_context *context = make_context();
    rlhf_tokenizer *tokenizer;
    snprintf(relative, sizeof relative, "data/tokenizers/golden/%s_hf.jsonl.gz", name);
    shared_path(relative, file);
    if (strcmp(name, "gpt2") == 0) {
        tokenizer = make_gpt2(context, false);
    } else {
        snprintf(relative, sizeof relative, "data/tokenizers/%s/tokenizer.json.gz", name);
        tokenizer = from_json_file(context, shared_path(relative, path));
    }
    check_file(context, tokenizer, name, file, CHECK_IDS | CHECK_DECODED);
    rlhf_tokenizer_release(&tokenizer);
    rlhf_context_release(&context);
}

/* llama.cpp's strings and ids: strings between lines __ggml_vocab_test__, one line of numbers each. */
static void check_llama_cpp(void **state)
{
    const char *name = *state;
    static const char separator[] = "\n__ggml_vocab_test__\n";
    char path[4096], relative[256];
    rlhf_context *context = make_context();
    rlhf_tokenizer *tokenizer;
    if (strcmp(name, "gpt-2") == 0)
        tokenizer = make_gpt2(context, true);
    else if (strcmp(name, "llama-spm") == 0)
        tokenizer = make_llama2(context, false);
    else
        tokenizer =
            from_json_file(context, shared_path(strcmp(name, "qwen2") == 0 ? "data/tokenizers/qwen3/tokenizer.json.gz"
                                                                           : "data/tokenizers/llama3/tokenizer.json.gz",
                                                path));
    size_t input_bytes = 0, output_bytes = 0, size, count = 0;
    char *input = need_text(shared_path("data/tokenizers/golden/llama_cpp.inp.gz", path), &input_bytes);
    snprintf(relative, sizeof relative, "data/tokenizers/golden/%s.out.gz", name);
    char *output = need_text(shared_path(relative, path), &output_bytes);
    char *text = input, *numbers = output, *line;
    rlhfi_ids ids = {0};
    while (text && next_line(&numbers, output + output_bytes, &line, &size)) {
        char *end = strstr(text, separator), *at = line;
        size_t bytes = end ? (size_t)(end - text) : input_bytes - (size_t)(text - input);
        encode(context, tokenizer, text, bytes, 0, &ids);
        for (size_t i = 0; i < ids.count; i++)
            if (strtol(at, &at, 10) != ids.data[i] || at > line + size) {
                show(name, count, "ids", text, bytes);
                fail();
            }
        while (at < line + size)
            assert_true(*at == ' ' && at++);
        text = end ? end + strlen(separator) : NULL;
        count++;
    }
    assert_int_equal(count, 46);
    rlhfi_free(context, ids.data);
    free(input);
    free(output);
    rlhf_tokenizer_release(&tokenizer);
    rlhf_context_release(&context);
}

/* ---- formats.md 4.13 ------------------------------------------------------------------------------------------------
 */

struct vector {
    const char *text, *gpt2, *llama2, *llama3;
};
static const struct vector vectors[] = {
    {"Hello world", "15496 995", "15043 3186", "9906 1917"},
    {"Hello, world! It's 2024.", "15496 11 995 0 632 338 48609 13",
     "15043 29892 3186 29991 739 29915 29879 29871 29906 29900 29906 29946 29889",
     "9906 11 1917 0 1102 596 220 2366 19 13"},
    {"  leading spaces", "220 3756 9029", "259 8236 8162", "220 6522 12908"},
    {"tabs\tand\nnewlines\n\n\nend", "8658 82 197 392 198 3605 6615 628 198 437",
     "18859 12 392 13 1482 9012 13 13 13 355", "32093 53577 198 943 8128 1432 408"},
    {"I'LL we'Ve don't", "40 6 3069 356 6 26979 836 470", "306 29915 2208 591 29915 29963 29872 1016 29915 29873",
     "40 6 4178 584 6 43712 1541 956"},
    {"\u4F60\u597D\uFF0C\u4E16\u754C", "19526 254 25001 121 171 120 234 10310 244 45911 234",
     "29871 30919 31076 30214 30793 30967", "57668 53901 3922 102616"},
    {"a  b   c    d", "64 220 275 220 220 269 220 220 220 288", "263 29871 289 259 274 1678 270",
     "64 220 293 256 272 262 294"},
    {"caf\u00E9 na\u00EFve e\u0301", "66 1878 2634 41492 304 136 223", "274 28059 1055 30085 345 321 30103",
     "936 59958 95980 588 384 54939"},
    {"\r\n\r\nwin", "201 198 201 198 5404", "6756 13 30004 13 5080", "881 7678"},
    {"'\u017Fx", "6 129 123 87", "525 30473 29916", "6 129 123 87"},
};

static void check_vector(rlhf_context *context, const rlhf_tokenizer *tokenizer, const char *text, const char *expected,
                         rlhfi_ids *ids)
{
    rlhfi_string spelled;
    rlhfi_string_init(&spelled, context);
    encode(context, tokenizer, text, strlen(text), 0, ids);
    for (size_t i = 0; i < ids->count; i++)
        rlhfi_string_add_format(&spelled, i ? " %d" : "%d", (int)ids->data[i]);
    assert_string_equal(spelled.data, expected);
    rlhfi_string_free(&spelled);
}

static void check_vectors(void **state)
{
    (void)state;
    char path[4096];
    rlhf_context *context = make_context();
    rlhf_tokenizer *gpt2 = make_gpt2(context, true), *llama2 = make_llama2(context, true);
    rlhf_tokenizer *llama3 = from_json_file(context, shared_path("data/tokenizers/llama3/tokenizer.json.gz", path));
    rlhfi_ids ids = {0};
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        check_vector(context, gpt2, vectors[i].text, vectors[i].gpt2, &ids);
        check_vector(context, llama2, vectors[i].text, vectors[i].llama2, &ids);
        check_vector(context, llama3, vectors[i].text, vectors[i].llama3, &ids);
    }
    /* What follows a special token is a text of its own and gets its own prefix (formats.md 4.2). */
    check_vector(context, llama2, "<s>hi</s>", "1 7251 2", &ids);
    rlhfi_free(context, ids.data);
    rlhf_tokenizer_release(&gpt2);
    rlhf_tokenizer_release(&llama2);
    rlhf_tokenizer_release(&llama3);
    rlhf_context_release(&context);
}

/* ---- stories260K ----------------------------------------------------------------------------------------------------
 */

static void check_stories(void **state)
{
    (void)state;
    static const char separator[] = "\n<|endoftext|>\n";
    char path[4096];
    size_t bytes = 0, story_bytes = 0;
    rlhf_context *context = make_context();
    rlhf_tokenizer *tokenizer;
    if (!rlhfi_path_is_directory(shared_path("models/stories260K", path)))
        SKIP("%s is not there", path);
    char *expected = need_text(shared_path("data/models/stories260K.reference.json.gz", path), &bytes);
    char *stories = need_text(shared_path("data/text/tinystories_1800.txt.gz", path), &story_bytes), *story = stories;
    check_ok(context, rlhf_tokenizer_load(&tokenizer, context, shared_path("models/stories260K", path)), path);
    rlhfi_json *root;
    rlhfi_ids ids = {0};
    check_ok(context, rlhfi_json_parse(&root, context, expected, bytes, "reference"), "reference");
    const rlhfi_json *sequences = rlhfi_json_get(root, "sequences");
    assert_true(rlhfi_json_size(sequences) > 0);
    for (size_t i = 0; i < rlhfi_json_size(sequences); i++) {
        char *end = strstr(story, separator);
        assert_non_null(end);
        encode(context, tokenizer, story, (size_t)(end - story), RLHF_ENCODE_SPECIAL, &ids);
        const rlhfi_json *wanted = rlhfi_json_get(rlhfi_json_at(sequences, i), "ids");
        if (ids.count > rlhfi_json_size(wanted))
            ids.count = rlhfi_json_size(wanted);
        assert_true(same_ids(wanted, &ids));
        story = end + strlen(separator);
    }
    assert_int_equal(rlhf_tokenizer_special(tokenizer, RLHF_TOKEN_BOS), 1);
    assert_int_equal(rlhf_tokenizer_special(tokenizer, RLHF_TOKEN_EOS), 2);
    assert_int_equal(rlhf_tokenizer_vocabulary(tokenizer), 512);
    rlhfi_json_release(&root);
    rlhfi_free(context, ids.data);
    free(expected);
    free(stories);
    rlhf_tokenizer_release(&tokenizer);
    rlhf_context_release(&context);
}

/* ---- which tests there are ------------------------------------------------------------------------------------------
 */

enum { MAX_TESTS = 256 };

static void add_test(struct CMUnitTest *tests, size_t *count, const char *name, CMUnitTestFunction function,
                     const char *argument)
{
    if (*count < MAX_TESTS)
        tests[(*count)++] = (struct CMUnitTest){name, function, NULL, NULL, (void *)(uintptr_t)argument};
}

static void check_index_is_there(void **state)
{
    (void)state;
    char path[4096];
    SKIP("%s is not there", golden_path("tokenizers/index.json", path));
}

int main(void)
{
    static const char *const shared[] = {"gpt2", "llama3", "qwen3", "mistral_v1"};
    static const char *const llama_cpp[] = {"gpt-2", "llama-spm", "llama-bpe", "qwen2"};
    struct CMUnitTest tests[MAX_TESTS];
    size_t count = 0, bytes;
    char path[4096];
    rlhf_context *context = make_context();
    char *text = load_text(golden_path("tokenizers/index.json", path), &bytes);
    if (text) {
        const char *name;
        const rlhfi_json *value;
        if (rlhfi_json_parse(&golden_index, context, text, bytes, "index.json") != RLHF_OK)
            return 1;
        for (void *i = NULL; rlhfi_json_next(rlhfi_json_get(golden_index, "files"), &i, &name, &value);)
            add_test(tests, &count, name, check_golden, name);
    } else {
        add_test(tests, &count, "golden", check_index_is_there, NULL);
    }
    for (size_t i = 0; i < 4; i++)
        add_test(tests, &count, shared[i], check_shared, shared[i]);
    for (size_t i = 0; i < 4; i++)
        add_test(tests, &count, llama_cpp[i], check_llama_cpp, llama_cpp[i]);
    add_test(tests, &count, "vectors", check_vectors, NULL);
    add_test(tests, &count, "stories260K", check_stories, NULL);
    /* cmocka's macro wants an array; its function takes any number. */
    int failed = _cmocka_run_group_tests("tokenizers", tests, count, NULL, NULL);
    rlhfi_json_release(&golden_index);
    free(text);
    rlhf_context_release(&context);
    return failed;
}
