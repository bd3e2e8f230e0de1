/* tokenizer.json texts made from other files: GPT-2's two files, SentencePiece models (formats.md 4.9), vocabulary-only
 * GGUF files. Only what the tests need of each format. */
#ifndef RLHF_TESTS_TOKENIZER_SOURCES_H
#define RLHF_TESTS_TOKENIZER_SOURCES_H

#include "text_fixtures.h"

static inline void add_added_token(rlhfi_string *out, const char *content, int64_t id, bool special, bool rstrip,
                                   bool first)
{
    rlhfi_string_add_format(out, "%s{\"id\":%lld,\"content\":", first ? "" : ",", (long long)id);
    rlhfi_string_add_json(out, content, strlen(content));
    rlhfi_string_add_format(out,
                            ",\"single_word\":false,\"lstrip\":false,\"rstrip\":%s,\"normalized\":false,"
                            "\"special\":%s}",
                            rstrip ? "true" : "false", special ? "true" : "false");
}

static const char gpt2_components[] =
    "\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true},"
    "\"post_processor\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets\":false},"
    "\"decoder\":{\"type\":\"ByteLevel\"},";

static const char llama_components[] =
    "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"\u2581\"},"
    "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\u2581\"}]},\"pre_tokenizer\":null,"
    "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},"
    "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"special_tokens\":{\"<s>\":{\"id\":\"<s>\",\"ids\":[1],"
    "\"tokens\":[\"<s>\"]}}},\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\","
    "\"pattern\":{\"String\":\"\u2581\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},"
    "{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]},";

/* encoder.json and vocab.bpe. */
static inline void gpt2_json(rlhfi_string *out, const char *encoder, char *merges, size_t merge_bytes, bool with_eos)
{
    char *line, *end = merges + merge_bytes;
    size_t bytes;
    bool first = true;
    rlhfi_string_add(out, "{\"version\":\"1.0\",\"added_tokens\":[");
    if (with_eos)
        add_added_token(out, "<|endoftext|>", 50256, true, false, true);
    rlhfi_string_add_format(out, "],%s\"model\":{\"type\":\"BPE\",\"vocab\":", gpt2_components);
    rlhfi_string_add(out, encoder);
    rlhfi_string_add(out, ",\"merges\":[");
    while (next_line(&merges, end, &line, &bytes)) {
        if (bytes == 0)
            continue;
        if (!first)
            rlhfi_string_add(out, ",");
        rlhfi_string_add_json(out, line, bytes);
        first = false;
    }
    rlhfi_string_add(out, "]}}");
}

/* ---- SentencePiece ---------------------------------------------------------------------------------------------- */

struct piece {
    const char *text;
    size_t bytes;
    float score;
    int type; /* 1 normal, 2 unknown, 3 control, 4 user-defined, 6 byte */
};
struct pieces {
    struct piece *items;
    size_t count;
};

static inline uint64_t read_varint(const uint8_t **at, const uint8_t *end)
{
    uint64_t value = 0;
    for (int shift = 0; *at < end && shift < 64; shift += 7) {
        uint8_t byte = *(*at)++;
        value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80)
            return value;
    }
    fail_msg("bad varint");
    return 0;
}

/* One field of a protobuf message; *value: the number, or the length of the bytes at *at. */
static inline unsigned read_field(const uint8_t **at, const uint8_t *end, uint64_t *value, const uint8_t **body)
{
    uint64_t key = read_varint(at, end);
    *body = *at;
    switch (key & 7) {
    case 0:
        *value = read_varint(at, end);
        break;
    case 1:
        *value = 8;
        *at += 8;
        break;
    case 2:
        *value = read_varint(at, end);
        *body = *at;
        *at += *value;
        break;
    default:
        *value = 4;
        *at += 4;
    }
    if (*at > end)
        fail_msg("message cut off");
    return (unsigned)(key >> 3);
}

/* The pieces of a SentencePiece model file; texts point into it. */
static inline struct pieces read_sentencepiece(const char *model, size_t bytes)
{
    struct pieces pieces = {calloc(65536, sizeof *pieces.items), 0};
    const uint8_t *at = (const uint8_t *)model, *end = at + bytes, *body, *inner;
    uint64_t size, value;
    while (at < end) {
        if (read_field(&at, end, &size, &body) != 1)
            continue;
        struct piece *piece = &pieces.items[pieces.count++];
        piece->type = 1;
        for (inner = body; inner < body + size;) {
            const uint8_t *content;
            unsigned field = read_field(&inner, body + size, &value, &content);
            if (field == 1) {
                piece->text = (const char *)content;
                piece->bytes = value;
            } else if (field == 2) {
                memcpy(&piece->score, content, 4);
            } else if (field == 3) {
                piece->type = (int)value;
            }
        }
    }
    return pieces;
}

struct derived_merge {
    const char *text;
    size_t left, right;
    float score;
    size_t left_characters, right_characters, serial;
};

static inline int compare_merges(const void *a, const void *b)
{
    const struct derived_merge *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    if (x->left_characters != y->left_characters)
        return x->left_characters > y->left_characters ? -1 : 1;
    if (x->right_characters != y->right_characters)
        return x->right_characters > y->right_characters ? -1 : 1;
    return x->serial < y->serial ? -1 : x->serial > y->serial;
}

static inline size_t count_characters(const char *text, size_t bytes)
{
    size_t count = 0;
    for (size_t i = 0; i < bytes; i++)
        count += ((unsigned char)text[i] & 0xC0) != 0x80;
    return count;
}

/* Merges from scores: every split of every piece into two pieces, best score first. Returns their number. */
static inline size_t add_derived_merges(rlhf_context *context, rlhfi_string *out, const struct pieces *pieces)
{
    rlhfi_table *ids;
    size_t count = 0, capacity = 1 << 16;
    struct derived_merge *merges = malloc(capacity * sizeof *merges);
    assert_int_equal(rlhfi_table_create(&ids, context, pieces->count), RLHF_OK);
    for (size_t i = 0; i < pieces->count; i++)
        assert_int_equal(rlhfi_table_put(ids, pieces->items[i].text, pieces->items[i].bytes, (int32_t)i), RLHF_OK);
    for (size_t i = 0; i < pieces->count; i++) {
        const struct piece *piece = &pieces->items[i];
        for (size_t cut = 1; cut < piece->bytes; cut++) {
            int32_t id;
            if (((unsigned char)piece->text[cut] & 0xC0) == 0x80)
                continue;
            if (!rlhfi_table_get(ids, piece->text, cut, &id) ||
                !rlhfi_table_get(ids, piece->text + cut, piece->bytes - cut, &id))
                continue;
            if (count == capacity)
                merges = realloc(merges, (capacity *= 2) * sizeof *merges);
            if (!merges)
                fail_msg("out of memory");
            merges[count] = (struct derived_merge){piece->text,
                                                   cut,
                                                   piece->bytes - cut,
                                                   piece->score,
                                                   count_characters(piece->text, cut),
                                                   count_characters(piece->text + cut, piece->bytes - cut),
                                                   count};
            count++;
        }
    }
    qsort(merges, count, sizeof *merges, compare_merges);
    for (size_t i = 0; i < count; i++) {
        rlhfi_string_add(out, i > 0 ? ",[" : "[");
        rlhfi_string_add_json(out, merges[i].text, merges[i].left);
        rlhfi_string_add(out, ",");
        rlhfi_string_add_json(out, merges[i].text + merges[i].left, merges[i].right);
        rlhfi_string_add(out, "]");
    }
    free(merges);
    rlhfi_table_release(&ids);
    return count;
}

/* tokenizer.json of a SentencePiece BPE model with byte fallback and a dummy prefix. with_special: control tokens are
 * found in text, as Hugging Face and llama.cpp do; phi3: most of them swallow the white space behind them, as llama.cpp
 * has it for that model. Returns the number of merges. */
static inline size_t sentencepiece_json(rlhf_context *context, rlhfi_string *out, const struct pieces *pieces,
                                        bool with_special, bool phi3)
{
    bool first = true;
    rlhfi_string_add(out, "{\"version\":\"1.0\",\"added_tokens\":[");
    for (size_t i = 0; with_special && i < pieces->count; i++) {
        const struct piece *piece = &pieces->items[i];
        if (piece->type == 1 || piece->type == 6)
            continue;
        char name[256];
        snprintf(name, sizeof name, "%.*s", (int)piece->bytes, piece->text);
        bool rstrip =
            phi3 && strcmp(name, "<unk>") != 0 && strcmp(name, "<s>") != 0 && strcmp(name, "<|endoftext|>") != 0;
        add_added_token(out, name, (int64_t)i, piece->type != 4, rstrip, first);
        first = false;
    }
    rlhfi_string_add_format(out,
                            "],%s\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>\",\"fuse_unk\":true,"
                            "\"byte_fallback\":true,\"vocab\":{",
                            llama_components);
    for (size_t i = 0; i < pieces->count; i++) {
        if (i > 0)
            rlhfi_string_add(out, ",");
        rlhfi_string_add_json(out, pieces->items[i].text, pieces->items[i].bytes);
        rlhfi_string_add_format(out, ":%zu", i);
    }
    rlhfi_string_add(out, "},\"merges\":[");
    size_t merges = add_derived_merges(context, out, pieces);
    rlhfi_string_add(out, "]}}");
    return merges;
}

/* ---- GGUF ------------------------------------------------------------------------------------------------------- */

struct gguf_vocabulary {
    bool byte_level;      /* tokenizer.ggml.model is gpt2 */
    struct pieces pieces; /* with scores, if the file has them */
    struct piece *merges; /* as texts "a b" */
    size_t merge_count;
};

static inline uint64_t take_number(const uint8_t **at, size_t size)
{
    uint64_t value = 0;
    memcpy(&value, *at, size);
    *at += size;
    return value;
}

static inline void take_string(const uint8_t **at, struct piece *out)
{
    out->bytes = take_number(at, 8);
    out->text = (const char *)*at;
    *at += out->bytes;
}

static inline bool key_is(const struct piece *key, const char *name)
{
    return key->bytes == strlen(name) && memcmp(key->text, name, key->bytes) == 0;
}

/* Reads one array of the metadata. */
static inline void take_array(const uint8_t **at, const struct piece *key, struct gguf_vocabulary *out)
{
    static const uint8_t sizes[13] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    uint32_t type = (uint32_t)take_number(at, 4);
    size_t count = take_number(at, 8);
    struct piece *items = calloc(count + 1, sizeof *items);
    bool tokens = key_is(key, "tokenizer.ggml.tokens"), merges = key_is(key, "tokenizer.ggml.merges");
    for (size_t i = 0; i < count; i++) {
        const uint8_t *value = *at;
        if (type == 8)
            take_string(at, &items[i]);
        else
            *at += sizes[type];
        if (key_is(key, "tokenizer.ggml.scores"))
            memcpy(&out->pieces.items[i].score, value, 4);
        if (key_is(key, "tokenizer.ggml.token_type"))
            memcpy(&out->pieces.items[i].type, value, 4);
    }
    if (tokens) {
        out->pieces = (struct pieces){items, count};
    } else if (merges) {
        out->merges = items;
        out->merge_count = count;
    } else {
        free(items);
    }
}

/* The vocabulary of a GGUF file (version 2 or 3); texts point into it. Trusts the file: it is a fixture. */
static inline struct gguf_vocabulary read_gguf(const char *file)
{
    static const uint8_t sizes[13] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    struct gguf_vocabulary out = {0};
    const uint8_t *at = (const uint8_t *)file + 16;
    for (uint64_t left = take_number(&at, 8); left > 0; left--) {
        struct piece key, value;
        take_string(&at, &key);
        uint32_t type = (uint32_t)take_number(&at, 4);
        if (type == 9) {
            take_array(&at, &key, &out);
        } else if (type == 8) {
            take_string(&at, &value);
            if (key_is(&key, "tokenizer.ggml.model"))
                out.byte_level = key_is(&value, "gpt2");
        } else {
            at += sizes[type];
        }
    }
    return out;
}

/* llama.cpp's splitting for byte-level files that don't name their own. */
static const char llama_cpp_default_components[] =
    "\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":["
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[\\\\p{P}\\\\$\\\\+<=>\\\\^~\\\\|]+\"},\"behavior\":\"Isolated\"},"
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"'s|'t|'re|'ve|'m|'ll|'d| ?\\\\p{L}+| ?\\\\p{N}+| "
    "?[^\\\\s\\\\p{L}\\\\p{N}]+"
    "|\\\\s+(?!\\\\S)\"},\"behavior\":\"Isolated\"},"
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\p{N}+\"},\"behavior\":\"Isolated\"},"
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[0-9][0-9][0-9]\"},\"behavior\":\"Isolated\"},"
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]},"
    "\"post_processor\":null,\"decoder\":{\"type\":\"ByteLevel\"},";

/* tokenizer.json of a byte-level GGUF vocabulary with llama.cpp's default splitting. */
static inline void gguf_byte_level_json(rlhfi_string *out, const struct gguf_vocabulary *vocabulary)
{
    bool first = true;
    rlhfi_string_add(out, "{\"version\":\"1.0\",\"added_tokens\":[");
    for (size_t i = 0; i < vocabulary->pieces.count; i++) {
        const struct piece *piece = &vocabulary->pieces.items[i];
        if (piece->type == 1)
            continue;
        char name[256];
        snprintf(name, sizeof name, "%.*s", (int)piece->bytes, piece->text);
        add_added_token(out, name, (int64_t)i, piece->type != 4, false, first);
        first = false;
    }
    rlhfi_string_add_format(out, "],%s\"model\":{\"type\":\"BPE\",\"vocab\":{", llama_cpp_default_components);
    for (size_t i = 0; i < vocabulary->pieces.count; i++) {
        if (i > 0)
            rlhfi_string_add(out, ",");
        rlhfi_string_add_json(out, vocabulary->pieces.items[i].text, vocabulary->pieces.items[i].bytes);
        rlhfi_string_add_format(out, ":%zu", i);
    }
    rlhfi_string_add(out, "},\"merges\":[");
    for (size_t i = 0; i < vocabulary->merge_count; i++) {
        if (i > 0)
            rlhfi_string_add(out, ",");
        rlhfi_string_add_json(out, vocabulary->merges[i].text, vocabulary->merges[i].bytes);
    }
    rlhfi_string_add(out, "]}}");
}

#endif
