/* From the texts of tokenizer.json and tokenizer_config.json to a tokenizer (formats.md 4.1, 4.2, 4.14). */
#include "text/pipeline.h"

enum { MAX_JSON = 512 * 1024 * 1024 };

static rlhf_status parse_model(rlhf_tokenizer *tokenizer, const rlhfi_json *model)
{
    const char *type = rlhfi_json_text(rlhfi_json_get(model, "type"), NULL);
    if (rlhfi_json_type(model) != RLHFI_JSON_OBJECT)
        return rlhfi_fail(tokenizer->context, RLHF_E_FORMAT, "model: missing");
    if (!type) /* old files don't say; merges are found in byte-pair models only */
        type = rlhfi_json_get(model, "merges") ? "BPE" : rlhfi_json_get(model, "unk_id") ? "Unigram" : "WordPiece";
    if (strcmp(type, "BPE") != 0)
        return rlhfi_fail(tokenizer->context, RLHF_E_UNSUPPORTED, "model: type \"%.40s\" is not supported, only BPE",
                          type);
    rlhf_status status = rlhfi_bpe_parse(&tokenizer->bpe, &tokenizer->vocabulary, tokenizer->context, model);
    return status == RLHF_OK ? status : rlhfi_fail_prefix(tokenizer->context, status, "model");
}

static rlhf_status parse_pipeline(rlhf_tokenizer *tokenizer, const rlhfi_json *root, const rlhfi_json *config)
{
    rlhf_context *context = tokenizer->context;
    const char *version = rlhfi_json_text(rlhfi_json_get(root, "version"), NULL);
    if (rlhfi_json_get(root, "version") && (!version || strcmp(version, "1.0") != 0))
        return rlhfi_fail(context, RLHF_E_UNSUPPORTED, "version: \"%.20s\", only \"1.0\" is known",
                          version ? version : "");
    RLHFI_TRY(parse_model(tokenizer, rlhfi_json_get(root, "model")));
    rlhf_status status = rlhfi_normalizers_parse(&tokenizer->normalizers, context, rlhfi_json_get(root, "normalizer"));
    if (status != RLHF_OK)
        return rlhfi_fail_prefix(context, status, "normalizer");
    status = rlhfi_pretokenizers_parse(&tokenizer->pretokenizers, context, rlhfi_json_get(root, "pre_tokenizer"));
    if (status != RLHF_OK)
        return rlhfi_fail_prefix(context, status, "pre_tokenizer");
    status = rlhfi_decoders_parse(&tokenizer->decoders, context, rlhfi_json_get(root, "decoder"));
    if (status != RLHF_OK)
        return rlhfi_fail_prefix(context, status, "decoder");
    RLHFI_TRY(rlhfi_added_tokens_parse(&tokenizer->added, &tokenizer->vocabulary, &tokenizer->normalizers,
                                       rlhfi_json_get(root, "added_tokens"),
                                       rlhfi_json_get(config, "added_tokens_decoder")));
    status = rlhfi_frame_parse(&tokenizer->frame, &tokenizer->vocabulary, rlhfi_json_get(root, "post_processor"));
    return status == RLHF_OK ? status : rlhfi_fail_prefix(context, status, "post_processor");
}

/* Id of a token that the configuration names, as a string or as an object with content; -1 without. */
static int32_t find_named(const rlhf_tokenizer *tokenizer, const rlhfi_json *config, const char *key)
{
    size_t bytes;
    const rlhfi_json *node = rlhfi_json_get(config, key);
    const char *text = rlhfi_json_text(node, &bytes);
    if (!text)
        text = rlhfi_json_text(rlhfi_json_get(node, "content"), &bytes);
    if (!text)
        return -1;
    int32_t id = rlhfi_vocabulary_find(&tokenizer->vocabulary, text, bytes);
    if (id < 0)
        rlhfi_log(tokenizer->context, RLHF_LOG_WARNING, "tokenizer: %s \"%.40s\" is not in the vocabulary", key, text);
    return id;
}

static rlhf_status parse_config(rlhf_tokenizer *tokenizer, const rlhfi_json *config)
{
    static const char *const keys[] = {NULL, "bos_token", "eos_token", "pad_token", "unk_token"};
    for (int which = RLHF_TOKEN_BOS; which <= RLHF_TOKEN_UNKNOWN; which++)
        tokenizer->special[which] = find_named(tokenizer, config, keys[which]);
    if (tokenizer->special[RLHF_TOKEN_UNKNOWN] < 0)
        tokenizer->special[RLHF_TOKEN_UNKNOWN] = tokenizer->bpe.unknown;
    RLHFI_TRY(rlhfi_json_flag(tokenizer->context, config, "clean_up_tokenization_spaces", false,
                              &tokenizer->clean_up_spaces));
    return rlhfi_frame_override(&tokenizer->frame, tokenizer->context, config, tokenizer->special[RLHF_TOKEN_BOS],
                                tokenizer->special[RLHF_TOKEN_EOS]);
}

static rlhf_status make_workspace(rlhf_tokenizer *tokenizer)
{
    rlhf_context *context = tokenizer->context;
    struct rlhfi_workspace *workspace = rlhfi_calloc(context, 1, sizeof *workspace);
    if (!workspace)
        return rlhfi_out_of_memory(context);
    tokenizer->workspace = workspace;
    rlhfi_string_init(&workspace->cleaned, context);
    rlhfi_string_init(&workspace->decoded, context);
    for (int i = 0; i < 2; i++) {
        rlhfi_string_init(&workspace->normal[i], context);
        rlhfi_string_init(&workspace->pieces[i].text, context);
    }
    size_t stages = 2 * tokenizer->pretokenizers.count;
    if (stages > 0) {
        workspace->stages = rlhfi_calloc(context, stages, sizeof *workspace->stages);
        if (!workspace->stages)
            return rlhfi_out_of_memory(context);
        for (size_t i = 0; i < stages; i++)
            rlhfi_string_init(&workspace->stages[i], context);
        workspace->stage_count = stages;
    }
    return rlhfi_bpe_scratch_init(&workspace->bpe, context);
}

rlhf_status rlhfi_tokenizer_parse(rlhf_tokenizer *tokenizer)
{
    static const char *const names[] = {"tokenizer.json", "tokenizer_config.json"};
    rlhf_context *context = tokenizer->context;
    rlhf_status status = RLHF_OK;
    rlhfi_json *roots[2] = {NULL, NULL};
    for (int i = 0; i < 2; i++) {
        if (!tokenizer->files[i].text)
            continue;
        if (tokenizer->files[i].bytes > MAX_JSON) {
            status = rlhfi_fail(context, RLHF_E_FORMAT, "%s: %zu bytes, at most %d are read", names[i],
                                tokenizer->files[i].bytes, MAX_JSON);
            goto done;
        }
        RLHFI_GOTO(rlhfi_json_parse(&roots[i], context, tokenizer->files[i].text, tokenizer->files[i].bytes, names[i]));
        if (rlhfi_json_type(roots[i]) != RLHFI_JSON_OBJECT) {
            status = rlhfi_fail(context, RLHF_E_FORMAT, "%s: must be an object", names[i]);
            goto done;
        }
    }
    status = parse_pipeline(tokenizer, roots[0], roots[1]);
    if (status != RLHF_OK) {
        rlhfi_fail_prefix(context, status, "%s", names[0]);
        goto done;
    }
    status = parse_config(tokenizer, roots[1]);
    if (status != RLHF_OK) {
        rlhfi_fail_prefix(context, status, "%s", names[1]);
        goto done;
    }
    status = make_workspace(tokenizer);
done:
    rlhfi_json_release(&roots[0]);
    rlhfi_json_release(&roots[1]);
    return status;
}
