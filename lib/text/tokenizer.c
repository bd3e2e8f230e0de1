/* The public tokenizer: loading, saving, encoding, decoding. */
#include "text/pipeline.h"

enum { TRIM_BYTES = 1 << 20, MAX_FILE = 512 * 1024 * 1024 };

/* files[0] is the tokenizer, files[1] its configuration; the others are only carried along. */
static const char *const file_names[RLHFI_TOKENIZER_FILES] = {"tokenizer.json", "tokenizer_config.json",
                                                              "special_tokens_map.json", "chat_template.jinja"};

/* ---- life ------------------------------------------------------------------------------------------------------ */

rlhf_tokenizer *rlhfi_tokenizer_retain(rlhf_tokenizer *tokenizer)
{
    tokenizer->references++;
    return tokenizer;
}

rlhf_context *rlhfi_tokenizer_context(const rlhf_tokenizer *tokenizer)
{
    return tokenizer->context;
}

static void free_workspace(struct rlhfi_workspace *workspace, rlhf_context *context)
{
    if (!workspace)
        return;
    rlhfi_string_free(&workspace->cleaned);
    rlhfi_string_free(&workspace->decoded);
    for (int i = 0; i < 2; i++) {
        rlhfi_string_free(&workspace->normal[i]);
        rlhfi_string_free(&workspace->pieces[i].text);
        rlhfi_free(context, workspace->pieces[i].ends);
    }
    for (size_t i = 0; i < workspace->stage_count; i++)
        rlhfi_string_free(&workspace->stages[i]);
    rlhfi_free(context, workspace->stages);
    rlhfi_free(context, workspace->ids.data);
    rlhfi_bpe_scratch_free(&workspace->bpe, context);
    rlhfi_free(context, workspace);
}

void rlhf_tokenizer_release(rlhf_tokenizer **pointer)
{
    if (!pointer || !*pointer)
        return;
    rlhf_tokenizer *tokenizer = *pointer;
    *pointer = NULL;
    if (--tokenizer->references > 0)
        return;
    rlhf_context *context = tokenizer->context;
    free_workspace(tokenizer->workspace, context);
    rlhfi_frame_free(&tokenizer->frame, context);
    rlhfi_decoders_free(&tokenizer->decoders);
    rlhfi_pretokenizers_free(&tokenizer->pretokenizers);
    rlhfi_normalizers_free(&tokenizer->normalizers);
    rlhfi_added_tokens_free(&tokenizer->added, context);
    rlhfi_bpe_free(&tokenizer->bpe);
    rlhfi_vocabulary_free(&tokenizer->vocabulary);
    for (int i = 0; i < RLHFI_TOKENIZER_FILES; i++)
        rlhfi_free(context, tokenizer->files[i].text);
    rlhfi_free(context, tokenizer);
    rlhf_context_release(&context);
}

static rlhf_status create(rlhf_tokenizer **out, rlhf_context *context)
{
    rlhf_tokenizer *tokenizer = rlhfi_calloc(context, 1, sizeof *tokenizer);
    if (!tokenizer)
        return rlhfi_out_of_memory(context);
    tokenizer->references = 1;
    tokenizer->context = rlhfi_context_retain(context);
    *out = tokenizer;
    return RLHF_OK;
}

rlhf_status rlhf_tokenizer_create(rlhf_tokenizer **out, rlhf_context *context, const char *json, size_t json_bytes,
                                  const char *config_json, size_t config_bytes)
{
    rlhf_status status;
    const char *texts[2] = {json, config_json};
    const size_t sizes[2] = {json_bytes, config_bytes};
    rlhf_tokenizer *tokenizer = NULL;
    if (out)
        *out = NULL;
    RLHFI_TRY(rlhfi_enter(context));
    RLHFI_REQUIRE(context, out != NULL);
    RLHFI_REQUIRE(context, json != NULL);
    RLHFI_GOTO(create(&tokenizer, context));
    for (int i = 0; i < 2; i++) {
        if (!texts[i])
            continue;
        tokenizer->files[i].text = rlhfi_strndup(context, texts[i], sizes[i]);
        tokenizer->files[i].bytes = sizes[i];
        if (!tokenizer->files[i].text) {
            status = rlhfi_out_of_memory(context);
            goto done;
        }
    }
    RLHFI_GOTO(rlhfi_tokenizer_parse(tokenizer));
    *out = tokenizer;
    return RLHF_OK;
done:
    rlhf_tokenizer_release(&tokenizer);
    return status;
}

/* Reads one file of the directory, if it is there. */
static rlhf_status load_file(rlhf_tokenizer *tokenizer, const char *directory, int which)
{
    char *path = rlhfi_path_join(tokenizer->context, directory, file_names[which]);
    if (!path)
        return rlhfi_out_of_memory(tokenizer->context);
    rlhf_status status = RLHF_OK;
    if (which == 0 || rlhfi_path_exists(path))
        status = rlhfi_file_load(tokenizer->context, path, MAX_FILE, &tokenizer->files[which].text,
                                 &tokenizer->files[which].bytes);
    rlhfi_free(tokenizer->context, path);
    return status;
}

rlhf_status rlhf_tokenizer_load(rlhf_tokenizer **out, rlhf_context *context, const char *path)
{
    rlhf_status status;
    rlhf_tokenizer *tokenizer = NULL;
    if (out)
        *out = NULL;
    RLHFI_TRY(rlhfi_enter(context));
    RLHFI_REQUIRE(context, out != NULL);
    RLHFI_REQUIRE(context, path != NULL);
    RLHFI_GOTO(create(&tokenizer, context));
    if (rlhfi_path_is_directory(path)) {
        for (int i = 0; i < RLHFI_TOKENIZER_FILES; i++)
            RLHFI_GOTO(load_file(tokenizer, path, i));
        if (!tokenizer->files[1].text && tokenizer->files[2].text) { /* has the same keys for special tokens */
            tokenizer->files[1] = tokenizer->files[2];
            tokenizer->files[2].text = NULL;
        }
    } else {
        RLHFI_GOTO(rlhfi_file_load(context, path, MAX_FILE, &tokenizer->files[0].text, &tokenizer->files[0].bytes));
    }
    status = rlhfi_tokenizer_parse(tokenizer);
    if (status != RLHF_OK) {
        rlhfi_fail_prefix(context, status, "%s", path);
        goto done;
    }
    *out = tokenizer;
    return RLHF_OK;
done:
    rlhf_tokenizer_release(&tokenizer);
    return status;
}

rlhf_status rlhf_tokenizer_save(const rlhf_tokenizer *tokenizer, const char *directory)
{
    if (!tokenizer)
        return RLHF_E_INVAL;
    rlhf_context *context = tokenizer->context;
    RLHFI_TRY(rlhfi_enter(context));
    RLHFI_REQUIRE(context, directory != NULL);
    for (int i = 0; i < RLHFI_TOKENIZER_FILES; i++) {
        if (!tokenizer->files[i].text)
            continue;
        char *path = rlhfi_path_join(context, directory, file_names[i]);
        if (!path)
            return rlhfi_out_of_memory(context);
        rlhf_status status = rlhfi_file_save(context, path, tokenizer->files[i].text, tokenizer->files[i].bytes);
        rlhfi_free(context, path);
        if (status != RLHF_OK)
            return status;
    }
    return RLHF_OK;
}

/* ---- encoding -------------------------------------------------------------------------------------------------- */

static void trim_string(rlhfi_string *string)
{
    rlhf_context *context = string->context;
    if (string->capacity <= TRIM_BYTES && !string->failed)
        return;
    rlhfi_string_free(string);
    rlhfi_string_init(string, context);
}

/* Gives back what an unusually long text, or a failure, has left in the buffers. */
static void trim_workspace(const rlhf_tokenizer *tokenizer)
{
    struct rlhfi_workspace *workspace = tokenizer->workspace;
    trim_string(&workspace->cleaned);
    trim_string(&workspace->bpe.spelling);
    for (int i = 0; i < 2; i++) {
        trim_string(&workspace->normal[i]);
        trim_string(&workspace->pieces[i].text);
    }
    for (size_t i = 0; i < workspace->stage_count; i++)
        trim_string(&workspace->stages[i]);
    rlhfi_bpe_scratch_trim(&workspace->bpe, tokenizer->context);
}

struct encoding {
    const rlhf_tokenizer *tokenizer;
    bool skip_special;
    rlhfi_ids *ids;
};

static rlhf_status encode_pretoken(void *user_data, const char *text, size_t bytes)
{
    const struct encoding *run = user_data;
    return rlhfi_bpe_encode(&run->tokenizer->bpe, &run->tokenizer->workspace->bpe, text, bytes, run->ids);
}

typedef rlhf_status (*between_fn)(struct encoding *run, const char *text, size_t bytes, bool at_start);

/* Cuts text at the added tokens of trie; what lies between them goes to between. */
static rlhf_status cut(struct encoding *run, const struct rlhfi_trie *trie, const char *text, size_t bytes,
                       bool at_start, between_fn between)
{
    size_t at = 0, done = 0, start, end;
    for (;;) {
        const struct rlhfi_added_token *token;
        rlhfi_added_tokens_find(&run->tokenizer->added, trie, run->skip_special, text, bytes, &at, done, &start, &end,
                                &token);
        if (!token)
            break;
        if (start > done)
            RLHFI_TRY(between(run, text + done, start - done, at_start && done == 0));
        RLHFI_TRY(rlhfi_ids_push(run->tokenizer->context, run->ids, &token->id, 1));
        done = end;
    }
    return done < bytes ? between(run, text + done, bytes - done, at_start && done == 0) : RLHF_OK;
}

static rlhf_status encode_normal(struct encoding *run, const char *text, size_t bytes, bool at_start)
{
    const rlhf_tokenizer *tokenizer = run->tokenizer;
    return rlhfi_pretokenize(&tokenizer->pretokenizers, tokenizer->workspace->stages, text, bytes, at_start,
                             encode_pretoken, run);
}

static rlhf_status encode_raw(struct encoding *run, const char *text, size_t bytes, bool at_start)
{
    const rlhf_tokenizer *tokenizer = run->tokenizer;
    RLHFI_TRY(rlhfi_normalize(&tokenizer->normalizers, tokenizer->workspace->normal, text, bytes, &text, &bytes));
    return cut(run, &tokenizer->added.normalized, text, bytes, at_start, encode_normal);
}

rlhf_status rlhfi_tokenizer_encode_append(const rlhf_tokenizer *tokenizer, const char *text, size_t bytes,
                                          uint32_t flags, rlhfi_ids *ids)
{
    rlhf_status status = RLHF_OK;
    rlhf_context *context = tokenizer->context;
    struct encoding run = {tokenizer, (flags & RLHF_ENCODE_IGNORE_SPECIAL) != 0, ids};
    bool framed = (flags & RLHF_ENCODE_SPECIAL) != 0;
    size_t before = ids->count;
    if (bytes > 0 && !rlhfi_utf8_valid(text, bytes, NULL)) {
        rlhfi_string *cleaned = &tokenizer->workspace->cleaned;
        cleaned->size = 0;
        rlhfi_utf8_add_cleaned(cleaned, text, bytes);
        if (cleaned->failed) {
            status = rlhfi_out_of_memory(context);
            goto done;
        }
        text = cleaned->data;
        bytes = cleaned->size;
    }
    if (framed)
        RLHFI_GOTO(rlhfi_ids_push(context, ids, tokenizer->frame.prefix.data, tokenizer->frame.prefix.count));
    RLHFI_GOTO(cut(&run, &tokenizer->added.raw, text, bytes, true, encode_raw));
    if (framed)
        RLHFI_GOTO(rlhfi_ids_push(context, ids, tokenizer->frame.suffix.data, tokenizer->frame.suffix.count));
done:
    if (status != RLHF_OK)
        ids->count = before;
    trim_workspace(tokenizer);
    return status;
}

rlhf_status rlhf_tokenizer_encode(const rlhf_tokenizer *tokenizer, const char *text, size_t bytes, uint32_t flags,
                                  int32_t *ids, size_t capacity, size_t *needed)
{
    if (needed)
        *needed = 0;
    if (!tokenizer)
        return RLHF_E_INVAL;
    rlhf_context *context = tokenizer->context;
    RLHFI_TRY(rlhfi_enter(context));
    RLHFI_REQUIRE(context, needed != NULL);
    RLHFI_REQUIRE(context, text != NULL || bytes == 0);
    RLHFI_REQUIRE(context, ids != NULL || capacity == 0);
    RLHFI_REQUIRE(context, (flags & ~(uint32_t)(RLHF_ENCODE_SPECIAL | RLHF_ENCODE_IGNORE_SPECIAL)) == 0);
    rlhfi_ids *buffer = &tokenizer->workspace->ids;
    buffer->count = 0;
    RLHFI_TRY(rlhfi_tokenizer_encode_append(tokenizer, text, bytes, flags, buffer));
    *needed = buffer->count;
    if (buffer->count > capacity)
        return rlhfi_fail(context, RLHF_E_RANGE, "tokenizer: %zu ids, there is room for %zu", buffer->count, capacity);
    if (buffer->count > 0)
        memcpy(ids, buffer->data, buffer->count * sizeof *ids);
    return RLHF_OK;
}

/* ---- decoding -------------------------------------------------------------------------------------------------- */

/* Spelling that decoders get: the vocabulary's, but for added tokens what normalisers made of it. */
static const char *decoded_spelling(const rlhf_tokenizer *tokenizer, int32_t id, size_t *bytes)
{
    const char *text = rlhfi_vocabulary_text(&tokenizer->vocabulary, id, bytes);
    if (!text || !(tokenizer->vocabulary.tokens[id].flags & RLHFI_TOKEN_REWRITTEN))
        return text;
    for (size_t i = 0; i < tokenizer->added.count; i++) {
        if (tokenizer->added.tokens[i].id == id) {
            *bytes = tokenizer->added.tokens[i].bytes;
            return tokenizer->added.tokens[i].content;
        }
    }
    return text;
}

/* The clean-up of spaces in front of English punctuation, one replacement after the other (formats.md 4.10). */
static void clean_up_spaces(rlhfi_string *text, size_t from)
{
    static const char *const rules[][2] = {{" .", "."},     {" ?", "?"},     {" !", "!"},   {" ,", ","},
                                           {" ' ", "'"},    {" n't", "n't"}, {" 'm", "'m"}, {" 's", "'s"},
                                           {" 've", "'ve"}, {" 're", "'re"}};
    for (size_t rule = 0; rule < sizeof rules / sizeof rules[0]; rule++) {
        size_t length = strlen(rules[rule][0]), shorter = strlen(rules[rule][1]), write = from;
        for (size_t read = from; read < text->size;) {
            if (text->size - read >= length && memcmp(text->data + read, rules[rule][0], length) == 0) {
                memcpy(text->data + write, rules[rule][1], shorter);
                write += shorter;
                read += length;
            } else {
                text->data[write++] = text->data[read++];
            }
        }
        text->size = write;
    }
    if (text->data)
        text->data[text->size] = '\0';
}

rlhf_status rlhfi_tokenizer_decode_append(const rlhf_tokenizer *tokenizer, const int32_t *ids, size_t count,
                                          uint32_t flags, rlhfi_string *text)
{
    struct rlhfi_pieces *pieces = tokenizer->workspace->pieces;
    size_t from = text->size;
    pieces[0].count = pieces[0].text.size = 0;
    for (size_t i = 0; i < count; i++) {
        size_t bytes;
        const char *spelling = decoded_spelling(tokenizer, ids[i], &bytes);
        if (!spelling)
            return rlhfi_fail(tokenizer->context, RLHF_E_RANGE, "tokenizer: id %d at place %zu is no token",
                              (int)ids[i], i);
        if (flags & RLHF_DECODE_SKIP_SPECIAL && tokenizer->vocabulary.tokens[ids[i]].flags & RLHFI_TOKEN_SPECIAL)
            continue;
        rlhf_status status = rlhfi_pieces_add(&pieces[0], spelling, bytes);
        if (status != RLHF_OK) {
            trim_workspace(tokenizer);
            return status;
        }
    }
    rlhf_status status = rlhfi_decode_pieces(&tokenizer->decoders, pieces, text);
    if (status == RLHF_OK && tokenizer->clean_up_spaces)
        clean_up_spaces(text, from);
    trim_workspace(tokenizer);
    return status;
}

rlhf_status rlhf_tokenizer_decode(const rlhf_tokenizer *tokenizer, const int32_t *ids, size_t count, uint32_t flags,
                                  char *text, size_t capacity, size_t *needed)
{
    if (needed)
        *needed = 0;
    if (!tokenizer)
        return RLHF_E_INVAL;
    rlhf_context *context = tokenizer->context;
    RLHFI_TRY(rlhfi_enter(context));
    RLHFI_REQUIRE(context, needed != NULL);
    RLHFI_REQUIRE(context, ids != NULL || count == 0);
    RLHFI_REQUIRE(context, text != NULL || capacity == 0);
    RLHFI_REQUIRE(context, (flags & ~(uint32_t)RLHF_DECODE_SKIP_SPECIAL) == 0);
    rlhfi_string *decoded = &tokenizer->workspace->decoded;
    if (decoded->failed)
        trim_string(decoded);
    decoded->size = 0;
    RLHFI_TRY(rlhfi_tokenizer_decode_append(tokenizer, ids, count, flags, decoded));
    *needed = decoded->size;
    rlhf_status status = RLHF_OK;
    if (decoded->size > capacity)
        status =
            rlhfi_fail(context, RLHF_E_RANGE, "tokenizer: %zu bytes, there is room for %zu", decoded->size, capacity);
    else if (decoded->size > 0)
        memcpy(text, decoded->data, decoded->size);
    trim_string(decoded);
    return status;
}

/* ---- asking ---------------------------------------------------------------------------------------------------- */

int32_t rlhf_tokenizer_vocabulary(const rlhf_tokenizer *tokenizer)
{
    return tokenizer ? tokenizer->vocabulary.count : 0;
}

int32_t rlhf_tokenizer_special(const rlhf_tokenizer *tokenizer, int32_t which)
{
    if (!tokenizer || which < RLHF_TOKEN_BOS || which > RLHF_TOKEN_UNKNOWN)
        return -1;
    return tokenizer->special[which];
}

int32_t rlhf_tokenizer_find(const rlhf_tokenizer *tokenizer, const char *token)
{
    return tokenizer && token ? rlhfi_vocabulary_find(&tokenizer->vocabulary, token, strlen(token)) : -1;
}

rlhf_status rlhf_tokenizer_token(const rlhf_tokenizer *tokenizer, int32_t id, const char **token)
{
    if (token)
        *token = NULL;
    if (!tokenizer)
        return RLHF_E_INVAL;
    RLHFI_TRY(rlhfi_enter(tokenizer->context));
    RLHFI_REQUIRE(tokenizer->context, token != NULL);
    *token = rlhfi_vocabulary_text(&tokenizer->vocabulary, id, NULL);
    if (*token)
        return RLHF_OK;
    return rlhfi_fail(tokenizer->context, RLHF_E_RANGE, "tokenizer: no token has id %d", (int)id);
}

const char *rlhfi_tokenizer_eos_text(const rlhf_tokenizer *tokenizer)
{
    return rlhfi_vocabulary_text(&tokenizer->vocabulary, tokenizer->special[RLHF_TOKEN_EOS], NULL);
}

const rlhfi_ids *rlhfi_tokenizer_prefix(const rlhf_tokenizer *tokenizer)
{
    return &tokenizer->frame.prefix;
}

const rlhfi_ids *rlhfi_tokenizer_suffix(const rlhf_tokenizer *tokenizer)
{
    return &tokenizer->frame.suffix;
}
