/* Models in Hugging Face directories: every disagreement is named at once, and transformers reads what is written. */
#include "model/internal.h"

static const char gain_key[] = "rlhf_score_gain", bias_key[] = "rlhf_score_bias", tie_key[] = "tie_word_embeddings";

/* ---- settings that go into config.json -------------------------------------------------------------------------- */

/* Replaces *json by the same object with the given keys set; values are JSON texts, NULL removes. Two keys at most. */
static rlhf_status amend(rlhf_context *context, char **json, const char *const keys[3], const char *const values[2])
{
    rlhfi_json *root = NULL;
    rlhfi_string text;
    char *others = NULL;
    rlhf_status status;
    bool any = false;

    rlhfi_string_init(&text, context);
    RLHFI_GOTO(rlhfi_json_parse(&root, context, *json, strlen(*json), "config.json"));
    RLHFI_GOTO(rlhfi_json_dump_others(context, root, keys, &others));
    rlhfi_string_add(&text, "{");
    for (size_t i = 0; keys[i] != NULL; i++)
        if (values[i] != NULL) {
            rlhfi_string_add_format(&text, "%s\"%s\": %s", any ? ", " : "", keys[i], values[i]);
            any = true;
        }
    if (others != NULL && others[0] == '{') {
        rlhfi_string_add(&text, any ? ", " : "");
        rlhfi_string_add(&text, others + 1);
    } else {
        rlhfi_string_add(&text, "}");
    }
    if (text.failed) {
        status = RLHF_E_NOMEM;
        goto done;
    }
    rlhfi_free(context, *json);
    *json = text.data;
    text.data = NULL;
done:
    rlhfi_json_release(&root);
    rlhfi_free(context, others);
    rlhfi_string_free(&text);
    return status;
}

static rlhf_status write_normalisation(rlhf_context *context, char **json, double gain, double bias)
{
    const char *keys[3] = {gain_key, bias_key, NULL};
    bool none = gain == 1.0 && bias == 0.0;
    char gain_text[32], bias_text[32];
    const char *values[2] = {none ? NULL : gain_text, none ? NULL : bias_text};

    rlhfi_format_double(gain, gain_text, sizeof gain_text);
    rlhfi_format_double(bias, bias_text, sizeof bias_text);
    return amend(context, json, keys, values);
}

static rlhf_status read_normalisation(rlhfi_model *model)
{
    rlhfi_json *root = NULL;
    double gain = 1.0, bias = 0.0;

    RLHFI_TRY(rlhfi_json_parse(&root, model->context, model->config.json, strlen(model->config.json), "config.json"));
    rlhfi_json_number(rlhfi_json_get(root, gain_key), &gain);
    rlhfi_json_number(rlhfi_json_get(root, bias_key), &bias);
    rlhfi_json_release(&root);
    if (!__builtin_isfinite(gain) || gain == 0.0 || !__builtin_isfinite(bias))
        return rlhfi_fail(model->context, RLHF_E_FORMAT, "config.json: %s must be finite and not 0, %s finite",
                          gain_key, bias_key);
    model->score_gain = gain;
    model->score_bias = bias;
    return RLHF_OK;
}

/* ---- reading ---------------------------------------------------------------------------------------------------- */

/* Buffers that old files carry along (formats.md 1.8), and heads that this kind of model has no use for. */
static bool may_be_ignored(const rlhfi_model *model, const char *name)
{
    static const char *const buffers[] = {".attn.bias",      ".attn.masked_bias",      ".rotary_emb.inv_freq",
                                          ".attention.bias", ".attention.masked_bias", ".position_ids"};
    size_t bytes = strlen(name);

    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) {
        size_t tail = strlen(buffers[i]);
        if (bytes >= tail && strcmp(name + bytes - tail, buffers[i]) == 0)
            return true;
    }
    return strcmp(name, "lm_head.weight") == 0 && (model->architecture.tied_head || model->head == RLHFI_HEAD_SCALAR);
}

/* The name under which the file keeps a parameter: bare checkpoints leave the prefix out. */
static const char *name_in_file(const rlhfi_model *model, const char *name, bool bare)
{
    const char *prefix = rlhfi_model_prefix(model);
    size_t bytes = strlen(prefix);

    return bare && strncmp(name, prefix, bytes) == 0 ? name + bytes : name;
}

static bool shape_fits(const rlhfi_parameter *parameter, const rlhfi_tensor_info *info)
{
    return info->rank == parameter->rank && info->shape[0] == parameter->shape[0] &&
           (info->rank == 1 || info->shape[1] == parameter->shape[1]);
}

static void add_shape(rlhfi_string *text, int32_t rank, const int64_t *shape)
{
    rlhfi_string_add(text, "[");
    for (int32_t i = 0; i < rank; i++)
        rlhfi_string_add_format(text, "%s%lld", i == 0 ? "" : ",", (long long)shape[i]);
    rlhfi_string_add(text, "]");
}

/* Everything that is wrong, in one line: what is missing, what nobody asked for, what has another shape. */
static rlhf_status compare(const rlhfi_model *model, const rlhfi_safetensors *file, bool bare)
{
    rlhf_context *context = model->context;
    rlhfi_string missing, unexpected, shapes;
    rlhfi_table *known = NULL;
    rlhf_status status;

    rlhfi_string_init(&missing, context);
    rlhfi_string_init(&unexpected, context);
    rlhfi_string_init(&shapes, context);
    RLHFI_GOTO(rlhfi_table_create(&known, context, (size_t)model->parameter_count));
    for (int64_t i = 0; i < model->parameter_count; i++) {
        const rlhfi_parameter *parameter = &model->parameters[i];
        const char *name = name_in_file(model, parameter->name, bare);
        const rlhfi_tensor_info *info = rlhfi_safetensors_find(file, name);
        RLHFI_GOTO(rlhfi_table_put(known, name, strlen(name), (int32_t)i));
        if (info == NULL) {
            rlhfi_string_add_format(&missing, "%s %s", missing.size == 0 ? "" : ",", name);
        } else if (!shape_fits(parameter, info)) {
            rlhfi_string_add_format(&shapes, "%s %s is ", shapes.size == 0 ? "" : ",", name);
            add_shape(&shapes, info->rank, info->shape);
            rlhfi_string_add(&shapes, ", not ");
            add_shape(&shapes, parameter->rank, parameter->shape);
        }
    }
    for (size_t i = 0; i < rlhfi_safetensors_count(file); i++) {
        const char *name = rlhfi_safetensors_info(file, i)->name;
        int32_t index;
        if (!rlhfi_table_get(known, name, strlen(name), &index) && !may_be_ignored(model, name))
            rlhfi_string_add_format(&unexpected, "%s %s", unexpected.size == 0 ? "" : ",", name);
    }
    if (missing.failed || unexpected.failed || shapes.failed)
        status = RLHF_E_NOMEM;
    else if (missing.size + unexpected.size + shapes.size > 0)
        status = rlhfi_fail(context, RLHF_E_FORMAT, "tensors do not fit config.json:%s%s%s%s%s%s%s%s",
                            missing.size > 0 ? " missing" : "", missing.size > 0 ? missing.data : "",
                            missing.size > 0 && unexpected.size + shapes.size > 0 ? ";" : "",
                            unexpected.size > 0 ? " unexpected" : "", unexpected.size > 0 ? unexpected.data : "",
                            unexpected.size > 0 && shapes.size > 0 ? ";" : "", shapes.size > 0 ? " shape" : "",
                            shapes.size > 0 ? shapes.data : "");
done:
    rlhfi_table_release(&known);
    rlhfi_string_free(&missing);
    rlhfi_string_free(&unexpected);
    rlhfi_string_free(&shapes);
    return status;
}

static bool is_bare(const rlhfi_model *model, const rlhfi_safetensors *file)
{
    const char *first = model->parameters[0].name;

    return rlhfi_safetensors_find(file, first) == NULL &&
           rlhfi_safetensors_find(file, first + strlen(rlhfi_model_prefix(model))) != NULL;
}

static bool halves_finite(const uint16_t *half, int64_t count)
{
    uint32_t bad = 0;

    for (int64_t i = 0; i < count; i++)
        bad |= (half[i] & 0x7f80u) == 0x7f80u;
    return bad == 0;
}

/* bf16 that stays bf16 is read where it goes. */
static rlhf_status read_tensor(rlhfi_model *model, rlhfi_safetensors *file, const rlhfi_tensor_info *info,
                               const rlhfi_parameter *parameter, bool *finite)
{
    uint16_t *half = model->weights->half != NULL ? model->weights->half + parameter->offset : NULL;
    rlhfi_filling filling;
    rlhf_status status;

    if (half != NULL && info->dtype == RLHFI_BF16) {
        RLHFI_TRY(rlhfi_safetensors_read_raw(file, info, half));
    } else {
        RLHFI_TRY(rlhfi_filling_begin(&filling, model, parameter));
        status = rlhfi_safetensors_read_float(file, info, filling.data);
        *finite = status == RLHF_OK && rlhfi_all_finite(model->context, filling.data, parameter->elements);
        if (status != RLHF_OK || !*finite)
            rlhfi_zero(model->context, filling.data, parameter->elements); /* undefined numbers are not for rounding */
        rlhfi_filling_end(&filling);
        RLHFI_TRY(status);
    }
    if (half != NULL)
        *finite = (info->dtype == RLHFI_BF16 || *finite) && halves_finite(half, parameter->elements);
    return RLHF_OK;
}

static rlhf_status read_weights(rlhfi_model *model, rlhfi_safetensors *file, bool bare)
{
    for (int64_t i = 0; i < model->parameter_count; i++) {
        const rlhfi_parameter *parameter = &model->parameters[i];
        const char *name = name_in_file(model, parameter->name, bare);
        bool finite;
        RLHFI_TRY(read_tensor(model, file, rlhfi_safetensors_find(file, name), parameter, &finite));
        if (!finite)
            return rlhfi_fail(model->context, RLHF_E_NONFINITE, "tensor %s: a weight is NaN or infinite", name);
    }
    return RLHF_OK;
}

static rlhf_status load(rlhfi_model **out, rlhf_context *context, const char *directory, enum rlhfi_head_kind head,
                        const rlhf_model_options *options, rlhfi_hf_config *config, rlhfi_safetensors **file)
{
    bool bare;

    RLHFI_TRY(rlhfi_safetensors_open(file, context, directory));
    if (head == RLHFI_HEAD_TOKENS && !config->tie_word_embeddings &&
        rlhfi_safetensors_find(*file, "lm_head.weight") == NULL &&
        rlhfi_safetensors_find(*file, "score.weight") == NULL) {
        const char *keys[3] = {tie_key, NULL}, *values[2] = {"true"};
        rlhfi_log(context, RLHF_LOG_WARNING,
                  "%s: no lm_head.weight although config.json says untied: the embedding "
                  "serves as head",
                  directory);
        config->tie_word_embeddings = true;
        RLHFI_TRY(amend(context, &config->json, keys, values));
    }
    RLHFI_TRY(rlhfi_model_new(out, context, config, head, options, false));
    bare = is_bare(*out, *file);
    /* Before any large allocation: a wrong config must not ask for gigabytes. */
    RLHFI_TRY(compare(*out, *file, bare));
    RLHFI_TRY(rlhfi_model_need_weights(*out));
    RLHFI_TRY(read_weights(*out, *file, bare));
    return head == RLHFI_HEAD_SCALAR ? read_normalisation(*out) : RLHF_OK;
}

rlhf_status rlhfi_model_load(rlhfi_model **out, rlhf_context *context, const char *directory, enum rlhfi_head_kind head,
                             const rlhf_model_options *options)
{
    rlhfi_hf_config config = {0};
    rlhfi_safetensors *file = NULL;
    rlhf_status status;

    *out = NULL;
    status = rlhfi_hf_config_load(&config, context, directory);
    if (status == RLHF_OK)
        status = load(out, context, directory, head, options, &config, &file);
    if (status != RLHF_OK) {
        rlhfi_model_release(out);
        /* Readers that opened a file have named it already. */
        if (strstr(context->error, directory) == NULL)
            rlhfi_fail_prefix(context, status, "%s", directory);
    }
    rlhfi_safetensors_close(&file);
    rlhfi_hf_config_free(context, &config);
    return status;
}

/* ---- writing ---------------------------------------------------------------------------------------------------- */

static rlhf_status save_text(rlhf_context *context, const char *directory, const char *name, const char *text)
{
    char *path = rlhfi_path_join(context, directory, name);
    rlhf_status status;

    if (path == NULL)
        return RLHF_E_NOMEM;
    /* Without text there is no such file: one that an earlier model left would speak for the wrong one. */
    status = text != NULL ? rlhfi_file_save(context, path, text, strlen(text)) : rlhfi_remove_tree(context, path);
    rlhfi_free(context, path);
    return status;
}

static rlhf_status save_config(const rlhfi_model *model, const char *directory)
{
    rlhf_context *context = model->context;
    bool scalar = model->head == RLHFI_HEAD_SCALAR;
    rlhfi_hf_config config = model->config; /* borrows everything but the text that is changed */
    char *text = NULL;
    rlhf_status status;

    config.json = rlhfi_strdup(context, model->config.json);
    if (config.json == NULL)
        return RLHF_E_NOMEM;
    if (scalar)
        RLHFI_GOTO(write_normalisation(context, &config.json, model->score_gain, model->score_bias));
    RLHFI_GOTO(rlhfi_hf_config_text(context, &config, rlhfi_model_class(model, model->head), scalar,
                                    model->weights->half != NULL ? "bfloat16" : "float32", &text));
    RLHFI_GOTO(save_text(context, directory, "config.json", text));
    status = save_text(context, directory, "generation_config.json", scalar ? NULL : model->config.generation_json);
done:
    rlhfi_free(context, text);
    rlhfi_free(context, config.json);
    return status;
}

rlhf_status rlhfi_model_save(const rlhfi_model *model, const char *directory)
{
    rlhf_context *context = model->context;
    int64_t count = rlhfi_model_own_parameters(model);
    const uint16_t *half = model->weights->half;
    rlhfi_tensor_source *sources;
    rlhf_status status;

    RLHFI_TRY(rlhfi_make_directory(context, directory));
    sources = rlhfi_calloc(context, (size_t)count, sizeof *sources);
    if (sources == NULL)
        return RLHF_E_NOMEM;
    for (int64_t i = 0; i < count; i++) {
        const rlhfi_parameter *parameter = &model->parameters[i];
        sources[i] = (rlhfi_tensor_source){.name = parameter->name,
                                           .dtype = half != NULL ? RLHFI_BF16 : RLHFI_F32,
                                           .rank = parameter->rank,
                                           .shape = {parameter->shape[0], parameter->shape[1]},
                                           .data = half != NULL ? (const void *)(half + parameter->offset)
                                                                : model->weights->data + parameter->offset};
    }
    status = rlhfi_safetensors_write_directory(context, directory, sources, (size_t)count, 0);
    rlhfi_free(context, sources);
    return status == RLHF_OK ? save_config(model, directory) : status;
}
