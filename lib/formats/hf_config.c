/* Reading config.json of GPT-2 and Llama checkpoints, in the spellings of transformers 4 and 5 (formats.md 3.1, 3.2).
 *
 * What would change the mathematics and is not implemented is refused by name; everything else that is unknown is kept
 * in the text and written back. All limits are checked here, before anybody multiplies or allocates. */
#include "formats/formats.h"

#include <math.h>

enum { MOST_LAYERS = 4096, MOST_FILE_BYTES = 4 << 20 };

static const int64_t most_size = INT64_C(1) << 31;

struct reader {
    rlhf_context *context;
    const char *name;
    const rlhfi_json *object;
};

/* ---- single keys ------------------------------------------------------------------------------------------------- */

/* NULL for a key that is missing or null. */
static const rlhfi_json *find(const struct reader *reader, const char *key)
{
    const rlhfi_json *value = rlhfi_json_get(reader->object, key);

    return rlhfi_json_type(value) == RLHFI_JSON_NULL ? NULL : value;
}

static rlhf_status read_whole(const struct reader *reader, const char *key, int64_t standard, int64_t low, int64_t high,
                              int64_t *out)
{
    const rlhfi_json *value = find(reader, key);

    *out = standard;
    if (value != NULL && !rlhfi_json_integer(value, out))
        return rlhfi_fail(reader->context, RLHF_E_FORMAT, "%s: \"%s\" must be a whole number", reader->name, key);
    if (*out < low || *out > high)
        return rlhfi_fail(reader->context, RLHF_E_RANGE, "%s: \"%s\" is %lld, %lld to %lld allowed", reader->name, key,
                          (long long)*out, (long long)low, (long long)high);
    return RLHF_OK;
}

static rlhf_status read_size(const struct reader *reader, const char *key, int64_t standard, int64_t *out)
{
    return read_whole(reader, key, standard, 1, most_size, out);
}

/* A finite number above low and below high. */
static rlhf_status read_real(const struct reader *reader, const char *key, double standard, double low, double high,
                             double *out)
{
    const rlhfi_json *value = find(reader, key);
    char text[3][32];

    *out = standard;
    if (value != NULL && !rlhfi_json_number(value, out))
        return rlhfi_fail(reader->context, RLHF_E_FORMAT, "%s: \"%s\" must be a number", reader->name, key);
    if (*out > low && *out < high)
        return RLHF_OK;
    rlhfi_format_double(*out, text[0], sizeof text[0]);
    rlhfi_format_double(low, text[1], sizeof text[1]);
    rlhfi_format_double(high, text[2], sizeof text[2]);
    return rlhfi_fail(reader->context, RLHF_E_RANGE, "%s: \"%s\" is %s, more than %s and less than %s allowed",
                      reader->name, key, text[0], text[1], text[2]);
}

static rlhf_status read_boolean(const struct reader *reader, const char *key, bool standard, bool *out)
{
    const rlhfi_json *value = find(reader, key);

    *out = standard;
    if (value != NULL && !rlhfi_json_boolean(value, out))
        return rlhfi_fail(reader->context, RLHF_E_FORMAT, "%s: \"%s\" must be true or false", reader->name, key);
    return RLHF_OK;
}

/* *out is NULL if the key is missing or null. */
static rlhf_status read_text(const struct reader *reader, const char *key, const char **out)
{
    const rlhfi_json *value = find(reader, key);
    size_t bytes;

    *out = rlhfi_json_text(value, &bytes);
    if (value != NULL && (*out == NULL || strlen(*out) != bytes))
        return rlhfi_fail(reader->context, RLHF_E_FORMAT, "%s: \"%s\" must be text", reader->name, key);
    return RLHF_OK;
}

/* Settings that change the mathematics and that nobody here implements. */
static rlhf_status refuse_true(const struct reader *reader, const char *key)
{
    bool value;

    RLHFI_TRY(read_boolean(reader, key, false, &value));
    if (value)
        return rlhfi_fail(reader->context, RLHF_E_UNSUPPORTED, "%s: \"%s\": true is not supported", reader->name, key);
    return RLHF_OK;
}

static rlhf_status refuse_except_one(const struct reader *reader, const char *key)
{
    double value;

    RLHFI_TRY(read_real(reader, key, 1.0, -INFINITY, INFINITY, &value));
    if (value != 1.0)
        return rlhfi_fail(reader->context, RLHF_E_UNSUPPORTED, "%s: \"%s\": only 1 is supported", reader->name, key);
    return RLHF_OK;
}

static bool is_one_of(const char *text, const char *const *list)
{
    for (; *list != NULL; list++)
        if (strcmp(text, *list) == 0)
            return true;
    return false;
}

/* Fits, because text is one of a list that was written here. */
static void copy_word(char *out, size_t capacity, const char *text)
{
    size_t length = strlen(text);

    length = length < capacity ? length : capacity - 1;
    memcpy(out, text, length);
    out[length] = '\0';
}

static rlhf_status read_activation(const struct reader *reader, const char *key, const char *standard,
                                   rlhfi_hf_config *out)
{
    static const char *const known[] = {"silu", "swish", "gelu", "gelu_new", "gelu_pytorch_tanh", "gelu_fast", "relu",
                                        "quick_gelu", NULL};
    const char *text;

    RLHFI_TRY(read_text(reader, key, &text));
    if (text == NULL)
        text = standard;
    if (!is_one_of(text, known))
        return rlhfi_fail(reader->context, RLHF_E_UNSUPPORTED, "%s: \"%s\" \"%.64s\" is not supported", reader->name,
                          key, text);
    copy_word(out->activation, sizeof out->activation, text);
    return RLHF_OK;
}

/* ---- token ids --------------------------------------------------------------------------------------------------- */

/* -1 and null mean none; a missing key leaves what stands. */
static rlhf_status read_token(const struct reader *reader, const char *key, const rlhfi_json *value, int64_t *out)
{
    *out = -1;
    if (rlhfi_json_type(value) == RLHFI_JSON_NULL)
        return RLHF_OK;
    if (!rlhfi_json_integer(value, out) || *out < -1 || *out > INT32_MAX)
        return rlhfi_fail(reader->context, RLHF_E_FORMAT, "%s: \"%s\" must be a token id, 0 to %d", reader->name, key,
                          INT32_MAX);
    return RLHF_OK;
}

static rlhf_status read_ends(const struct reader *reader, const rlhfi_json *value, rlhfi_hf_config *out)
{
    bool list = rlhfi_json_type(value) == RLHFI_JSON_ARRAY;
    size_t count = list ? rlhfi_json_size(value) : 1;

    out->eos_count = 0;
    if (count > RLHFI_MAX_EOS)
        return rlhfi_fail(reader->context, RLHF_E_UNSUPPORTED, "%s: \"eos_token_id\" has %zu ids, at most %d",
                          reader->name, count, RLHFI_MAX_EOS);
    for (size_t i = 0; i < count; i++) {
        int64_t id;
        RLHFI_TRY(read_token(reader, "eos_token_id", list ? rlhfi_json_at(value, i) : value, &id));
        if (id >= 0)
            out->eos[out->eos_count++] = id;
    }
    return RLHF_OK;
}

/* generation says that null in the file does not override. */
static rlhf_status read_tokens(const struct reader *reader, bool generation, rlhfi_hf_config *out)
{
    const rlhfi_json *bos = rlhfi_json_get(reader->object, "bos_token_id");
    const rlhfi_json *eos = rlhfi_json_get(reader->object, "eos_token_id");
    const rlhfi_json *pad = rlhfi_json_get(reader->object, "pad_token_id");

    if (bos != NULL && !(generation && rlhfi_json_type(bos) == RLHFI_JSON_NULL))
        RLHFI_TRY(read_token(reader, "bos_token_id", bos, &out->bos));
    if (pad != NULL && !(generation && rlhfi_json_type(pad) == RLHFI_JSON_NULL))
        RLHFI_TRY(read_token(reader, "pad_token_id", pad, &out->pad));
    if (eos != NULL && !(generation && rlhfi_json_type(eos) == RLHFI_JSON_NULL))
        RLHFI_TRY(read_ends(reader, eos, out));
    return RLHF_OK;
}

/* ---- rotary embedding -------------------------------------------------------------------------------------------- */

static rlhf_status read_llama3_scaling(const struct reader *rope, rlhfi_hf_config *out)
{
    static const char *const needed[] = {"factor", "low_freq_factor", "high_freq_factor",
                                         "original_max_position_embeddings", NULL};

    for (size_t i = 0; needed[i] != NULL; i++)
        if (find(rope, needed[i]) == NULL)
            return rlhfi_fail(rope->context, RLHF_E_FORMAT, "%s: \"%s\" is missing, rope_type llama3 needs it",
                              rope->name, needed[i]);
    RLHFI_TRY(read_real(rope, "factor", 0.0, 0.0, INFINITY, &out->rope_factor));
    RLHFI_TRY(read_real(rope, "low_freq_factor", 0.0, 0.0, INFINITY, &out->rope_low_freq_factor));
    RLHFI_TRY(read_real(rope, "high_freq_factor", 0.0, 0.0, INFINITY, &out->rope_high_freq_factor));
    RLHFI_TRY(read_size(rope, "original_max_position_embeddings", 0, &out->rope_original_max_positions));
    /* The smooth part between them divides by their difference. */
    if (out->rope_high_freq_factor <= out->rope_low_freq_factor)
        return rlhfi_fail(rope->context, RLHF_E_RANGE,
                          "%s: \"high_freq_factor\" must be larger than \"low_freq_factor\"", rope->name);
    return RLHF_OK;
}

/* transformers 5: rope_parameters with everything; 4: rope_theta beside rope_scaling, whose type may be called type. */
static rlhf_status read_rope(const struct reader *reader, rlhfi_hf_config *out)
{
    const char *key = find(reader, "rope_parameters") != NULL ? "rope_parameters" : "rope_scaling";
    struct reader rope = {reader->context, reader->name, find(reader, key)};
    const char *type = NULL, *iterated;
    const rlhfi_json *value;

    RLHFI_TRY(read_real(reader, "rope_theta", 10000.0, 0.0, INFINITY, &out->rope_theta));
    RLHFI_TRY(refuse_except_one(reader, "partial_rotary_factor"));
    copy_word(out->rope_type, sizeof out->rope_type, "default");
    out->rope_factor = 1.0;
    if (rope.object == NULL)
        return RLHF_OK;
    if (rlhfi_json_type(rope.object) != RLHFI_JSON_OBJECT)
        return rlhfi_fail(reader->context, RLHF_E_FORMAT, "%s: \"%s\" must be an object", reader->name, key);
    for (void *i = NULL; rlhfi_json_next(rope.object, &i, &iterated, &value);)
        if (rlhfi_json_type(value) == RLHFI_JSON_OBJECT)
            return rlhfi_fail(reader->context, RLHF_E_UNSUPPORTED,
                              "%s: \"%s\": other settings for \"%.64s\" are not supported", reader->name, key,
                              iterated);
    RLHFI_TRY(read_real(&rope, "rope_theta", out->rope_theta, 0.0, INFINITY, &out->rope_theta));
    RLHFI_TRY(refuse_except_one(&rope, "partial_rotary_factor"));
    RLHFI_TRY(read_text(&rope, "rope_type", &type));
    if (type == NULL)
        RLHFI_TRY(read_text(&rope, "type", &type));
    if (type == NULL && find(&rope, "factor") != NULL)
        return rlhfi_fail(reader->context, RLHF_E_FORMAT, "%s: \"%s\" has a factor but no rope_type", reader->name,
                          key);
    if (type == NULL || strcmp(type, "default") == 0)
        return RLHF_OK;
    if (strcmp(type, "llama3") != 0)
        return rlhfi_fail(reader->context, RLHF_E_UNSUPPORTED,
                          "%s: rope_type \"%.64s\" is not supported (default, llama3)", reader->name, type);
    copy_word(out->rope_type, sizeof out->rope_type, type);
    return read_llama3_scaling(&rope, out);
}

/* ---- the two architectures --------------------------------------------------------------------------------------- */

static rlhf_status read_gpt2(const struct reader *reader, rlhfi_hf_config *out)
{
    const char *positions = find(reader, "n_positions") != NULL ? "n_positions" : "n_ctx";

    RLHFI_TRY(read_size(reader, "vocab_size", 50257, &out->vocab_size));
    RLHFI_TRY(read_size(reader, "n_embd", 768, &out->hidden_size));
    RLHFI_TRY(read_whole(reader, "n_layer", 12, 1, MOST_LAYERS, &out->layers));
    RLHFI_TRY(read_size(reader, "n_head", 12, &out->heads));
    RLHFI_TRY(read_size(reader, positions, 1024, &out->max_positions));
    RLHFI_TRY(read_size(reader, "n_inner", 4 * out->hidden_size, &out->intermediate_size));
    RLHFI_TRY(read_activation(reader, "activation_function", "gelu_new", out));
    RLHFI_TRY(read_real(reader, "layer_norm_epsilon", 1e-5, 0.0, 1.0, &out->norm_eps));
    RLHFI_TRY(read_boolean(reader, "tie_word_embeddings", true, &out->tie_word_embeddings));
    RLHFI_TRY(read_boolean(reader, "scale_attn_weights", true, &out->scale_attn_weights));
    RLHFI_TRY(read_boolean(reader, "scale_attn_by_inverse_layer_idx", false, &out->scale_attn_by_inverse_layer_idx));
    RLHFI_TRY(refuse_true(reader, "reorder_and_upcast_attn"));
    RLHFI_TRY(refuse_true(reader, "add_cross_attention"));
    if (out->hidden_size % out->heads != 0)
        return rlhfi_fail(reader->context, RLHF_E_FORMAT, "%s: \"n_embd\" %lld is no multiple of \"n_head\" %lld",
                          reader->name, (long long)out->hidden_size, (long long)out->heads);
    out->kv_heads = out->heads;
    out->head_dim = out->hidden_size / out->heads;
    out->attention_bias = out->mlp_bias = true;
    copy_word(out->rope_type, sizeof out->rope_type, "default");
    out->rope_factor = 1.0;
    out->bos = 50256;
    out->eos[0] = 50256;
    out->eos_count = 1;
    return RLHF_OK;
}

/* A list of the kind of attention per layer, which newer files may hold for any model. */
static rlhf_status check_layer_types(const struct reader *reader, int64_t layers)
{
    const rlhfi_json *list = find(reader, "layer_types");

    if (list == NULL)
        return RLHF_OK;
    if (rlhfi_json_type(list) != RLHFI_JSON_ARRAY || (int64_t)rlhfi_json_size(list) != layers)
        return rlhfi_fail(reader->context, RLHF_E_FORMAT, "%s: \"layer_types\" must be a list of %lld names",
                          reader->name, (long long)layers);
    for (int64_t i = 0; i < layers; i++) {
        const char *type = rlhfi_json_text(rlhfi_json_at(list, (size_t)i), NULL);
        if (type == NULL || strcmp(type, "full_attention") != 0)
            return rlhfi_fail(reader->context, RLHF_E_UNSUPPORTED,
                              "%s: \"layer_types\": \"%.64s\" is not supported (full_attention)", reader->name,
                              type != NULL ? type : "not text");
    }
    return RLHF_OK;
}

static rlhf_status read_llama(const struct reader *reader, rlhfi_hf_config *out)
{
    bool derived = find(reader, "head_dim") == NULL;
    int64_t pretraining;

    RLHFI_TRY(read_size(reader, "vocab_size", 32000, &out->vocab_size));
    RLHFI_TRY(read_size(reader, "hidden_size", 4096, &out->hidden_size));
    RLHFI_TRY(read_size(reader, "intermediate_size", 11008, &out->intermediate_size));
    RLHFI_TRY(read_whole(reader, "num_hidden_layers", 32, 1, MOST_LAYERS, &out->layers));
    RLHFI_TRY(read_size(reader, "num_attention_heads", 32, &out->heads));
    RLHFI_TRY(read_size(reader, "num_key_value_heads", out->heads, &out->kv_heads));
    RLHFI_TRY(read_size(reader, "max_position_embeddings", 2048, &out->max_positions));
    if (out->heads % out->kv_heads != 0)
        return rlhfi_fail(reader->context, RLHF_E_FORMAT,
                          "%s: \"num_attention_heads\" %lld is no multiple of \"num_key_value_heads\" %lld",
                          reader->name, (long long)out->heads, (long long)out->kv_heads);
    if (derived && out->hidden_size % out->heads != 0)
        return rlhfi_fail(reader->context, RLHF_E_FORMAT,
                          "%s: \"hidden_size\" %lld is no multiple of \"num_attention_heads\" %lld", reader->name,
                          (long long)out->hidden_size, (long long)out->heads);
    RLHFI_TRY(read_size(reader, "head_dim", derived ? out->hidden_size / out->heads : 1, &out->head_dim));
    if (out->head_dim % 2 != 0)
        return rlhfi_fail(reader->context, RLHF_E_FORMAT, "%s: heads of %lld dimensions, rotation needs an even number",
                          reader->name, (long long)out->head_dim);
    RLHFI_TRY(read_activation(reader, "hidden_act", "silu", out));
    RLHFI_TRY(read_real(reader, "rms_norm_eps", 1e-6, 0.0, 1.0, &out->norm_eps));
    RLHFI_TRY(read_boolean(reader, "tie_word_embeddings", false, &out->tie_word_embeddings));
    RLHFI_TRY(read_boolean(reader, "attention_bias", false, &out->attention_bias));
    RLHFI_TRY(read_boolean(reader, "mlp_bias", false, &out->mlp_bias));
    RLHFI_TRY(read_whole(reader, "pretraining_tp", 1, 0, most_size, &pretraining));
    if (pretraining > 1)
        return rlhfi_fail(reader->context, RLHF_E_UNSUPPORTED, "%s: \"pretraining_tp\": more than 1 is not supported",
                          reader->name);
    RLHFI_TRY(check_layer_types(reader, out->layers));
    RLHFI_TRY(read_rope(reader, out));
    out->bos = 1;
    out->eos[0] = 2;
    out->eos_count = 1;
    return RLHF_OK;
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

struct family {
    const char *model_type;
    const char *architectures[6];
    rlhf_status (*read)(const struct reader *reader, rlhfi_hf_config *out);
};

/* The scalar and the token-wise heads have the same body; which head a file has, its tensors tell. */
static const struct family families[] = {
    {"gpt2",
     {"GPT2LMHeadModel", "GPT2ForSequenceClassification", "GPT2ForTokenClassification", "GPT2Model", NULL},
     read_gpt2},
    {"llama",
     {"LlamaForCausalLM", "LlamaForSequenceClassification", "LlamaForTokenClassification", "LlamaModel", NULL},
     read_llama},
};

/* By model_type, else by the name of the class. */
static rlhf_status find_family(const struct reader *reader, const struct family **out, const char **architecture)
{
    const rlhfi_json *list = find(reader, "architectures");
    const char *type;

    if (list != NULL && rlhfi_json_type(list) != RLHFI_JSON_ARRAY)
        return rlhfi_fail(reader->context, RLHF_E_FORMAT, "%s: \"architectures\" must be a list", reader->name);
    *architecture = rlhfi_json_text(rlhfi_json_at(list, 0), NULL);
    if (rlhfi_json_size(list) > 0 && *architecture == NULL)
        return rlhfi_fail(reader->context, RLHF_E_FORMAT, "%s: \"architectures\" must be a list of names",
                          reader->name);
    RLHFI_TRY(read_text(reader, "model_type", &type));
    *out = NULL;
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
        if (type != NULL ? strcmp(type, families[i].model_type) == 0
                         : *architecture != NULL && is_one_of(*architecture, families[i].architectures))
            *out = &families[i];
    if (*out == NULL && type != NULL)
        return rlhfi_fail(reader->context, RLHF_E_UNSUPPORTED,
                          "%s: model_type \"%.64s\" is not supported (gpt2, llama)", reader->name, type);
    if (*out == NULL && *architecture == NULL)
        return rlhfi_fail(reader->context, RLHF_E_FORMAT, "%s: \"model_type\" is missing", reader->name);
    if (*out == NULL || (*architecture != NULL && !is_one_of(*architecture, (*out)->architectures)))
        return rlhfi_fail(reader->context, RLHF_E_UNSUPPORTED, "%s: architecture \"%.64s\" is not supported",
                          reader->name, *architecture);
    return RLHF_OK;
}

static rlhf_status read_labels(const struct reader *reader, rlhfi_hf_config *out)
{
    const rlhfi_json *names = find(reader, "id2label");
    int64_t standard = -1;

    if (names != NULL && rlhfi_json_type(names) != RLHFI_JSON_OBJECT)
        return rlhfi_fail(reader->context, RLHF_E_FORMAT, "%s: \"id2label\" must be an object", reader->name);
    if (names != NULL)
        standard = (int64_t)rlhfi_json_size(names);
    return read_whole(reader, "num_labels", standard, find(reader, "num_labels") != NULL ? 1 : -1, most_size,
                      &out->num_labels);
}

static rlhf_status read_config(const struct reader *reader, rlhfi_hf_config *out)
{
    const struct family *family = NULL;
    const char *architecture = NULL;

    if (rlhfi_json_type(reader->object) != RLHFI_JSON_OBJECT)
        return rlhfi_fail(reader->context, RLHF_E_FORMAT, "%s: must be an object", reader->name);
    RLHFI_TRY(find_family(reader, &family, &architecture));
    if (find(reader, "quantization_config") != NULL)
        return rlhfi_fail(reader->context, RLHF_E_UNSUPPORTED,
                          "%s: \"quantization_config\": quantised checkpoints are not supported", reader->name);
    copy_word(out->model_type, sizeof out->model_type, family->model_type);
    copy_word(out->architecture, sizeof out->architecture, architecture != NULL ? architecture : "");
    out->pad = -1;
    RLHFI_TRY(family->read(reader, out));
    RLHFI_TRY(read_labels(reader, out));
    return read_tokens(reader, false, out);
}

rlhf_status rlhfi_hf_config_parse(rlhfi_hf_config *out, rlhf_context *context, const char *json, size_t bytes,
                                  const char *name)
{
    rlhfi_json *root;
    rlhf_status status;

    memset(out, 0, sizeof *out);
    RLHFI_TRY(rlhfi_json_parse(&root, context, json, bytes, name));
    status = read_config(&(struct reader){context, name, root}, out);
    rlhfi_json_release(&root);
    if (status == RLHF_OK) {
        out->json = rlhfi_strndup(context, json, bytes);
        if (out->json == NULL)
            status = RLHF_E_NOMEM;
    }
    if (status != RLHF_OK)
        memset(out, 0, sizeof *out);
    return status;
}

/* ---- a directory ------------------------------------------------------------------------------------------------- */

static rlhf_status load_config(rlhfi_hf_config *out, rlhf_context *context, const char *path)
{
    char *text;
    size_t bytes;
    rlhf_status status;

    RLHFI_TRY(rlhfi_file_load(context, path, MOST_FILE_BYTES, &text, &bytes));
    status = rlhfi_hf_config_parse(out, context, text, bytes, path);
    rlhfi_free(context, text);
    return status;
}

/* What is used to generate overrides what the model was made with. */
static rlhf_status load_generation(rlhfi_hf_config *out, rlhf_context *context, const char *path)
{
    rlhfi_json *root;
    size_t bytes;
    rlhf_status status;

    if (!rlhfi_path_exists(path))
        return RLHF_OK;
    RLHFI_TRY(rlhfi_file_load(context, path, MOST_FILE_BYTES, &out->generation_json, &bytes));
    RLHFI_TRY(rlhfi_json_parse(&root, context, out->generation_json, bytes, path));
    if (rlhfi_json_type(root) != RLHFI_JSON_OBJECT)
        status = rlhfi_fail(context, RLHF_E_FORMAT, "%s: must be an object", path);
    else
        status = read_tokens(&(struct reader){context, path, root}, true, out);
    rlhfi_json_release(&root);
    return status;
}

rlhf_status rlhfi_hf_config_load(rlhfi_hf_config *out, rlhf_context *context, const char *directory)
{
    char *config = rlhfi_path_join(context, directory, "config.json");
    char *generation = rlhfi_path_join(context, directory, "generation_config.json");
    rlhf_status status;

    memset(out, 0, sizeof *out);
    if (config == NULL || generation == NULL)
        RLHFI_GOTO(RLHF_E_NOMEM);
    RLHFI_GOTO(load_config(out, context, config));
    RLHFI_GOTO(load_generation(out, context, generation));
done:
    if (status != RLHF_OK)
        rlhfi_hf_config_free(context, out);
    rlhfi_free(context, config);
    rlhfi_free(context, generation);
    return status;
}

void rlhfi_hf_config_free(rlhf_context *context, rlhfi_hf_config *config)
{
    rlhfi_free(context, config->json);
    rlhfi_free(context, config->generation_json);
    memset(config, 0, sizeof *config);
}

static rlhf_status copy_text(rlhf_context *context, const char *from, char **to)
{
    if (from == NULL)
        return RLHF_OK;
    *to = rlhfi_strdup(context, from);
    return *to != NULL ? RLHF_OK : RLHF_E_NOMEM;
}

rlhf_status rlhfi_hf_config_copy(rlhf_context *context, rlhfi_hf_config *to, const rlhfi_hf_config *from)
{
    rlhfi_hf_config copy = *from;
    rlhf_status status;

    copy.json = copy.generation_json = NULL;
    RLHFI_GOTO(copy_text(context, from->json, &copy.json));
    RLHFI_GOTO(copy_text(context, from->generation_json, &copy.generation_json));
    *to = copy;
    return RLHF_OK;
done:
    rlhfi_hf_config_free(context, &copy);
    memset(to, 0, sizeof *to);
    return status;
}
