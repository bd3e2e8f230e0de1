/* The config.json of a model that is written: what was read, with what has changed (formats.md 3.1). */
#include "formats/json.h"

/* ---- a model that was not read ----------------------------------------------------------------------------------- */

static void add_whole(rlhfi_string *text, const char *key, int64_t value)
{
    rlhfi_string_add_format(text, ", \"%s\": %lld", key, (long long)value);
}

static void add_truth(rlhfi_string *text, const char *key, bool value)
{
    rlhfi_string_add_format(text, ", \"%s\": %s", key, value ? "true" : "false");
}

static void add_number(rlhfi_string *text, const char *key, double value)
{
    rlhfi_string_add_format(text, ", \"%s\": ", key);
    rlhfi_string_add_double(text, value);
}

static void add_text(rlhfi_string *text, const char *key, const char *value)
{
    rlhfi_string_add_format(text, ", \"%s\": ", key);
    rlhfi_json_quote(text, value, strlen(value), false);
}

static void add_tokens(rlhfi_string *text, const rlhfi_hf_config *config)
{
    if (config->bos >= 0)
        add_whole(text, "bos_token_id", config->bos);
    else
        rlhfi_string_add(text, ", \"bos_token_id\": null");
    if (config->pad >= 0)
        add_whole(text, "pad_token_id", config->pad);
    if (config->eos_count == 1) {
        add_whole(text, "eos_token_id", config->eos[0]);
        return;
    }
    rlhfi_string_add(text, ", \"eos_token_id\": ");
    for (int32_t i = 0; i < config->eos_count; i++)
        rlhfi_string_add_format(text, i > 0 ? ", %lld" : "[%lld", (long long)config->eos[i]);
    rlhfi_string_add(text, config->eos_count > 0 ? "]" : "null");
}

static void add_gpt2(rlhfi_string *text, const rlhfi_hf_config *config)
{
    add_whole(text, "n_embd", config->hidden_size);
    add_whole(text, "n_layer", config->layers);
    add_whole(text, "n_head", config->heads);
    add_whole(text, "n_positions", config->max_positions);
    add_whole(text, "n_inner", config->intermediate_size);
    add_text(text, "activation_function", config->activation);
    add_number(text, "layer_norm_epsilon", config->norm_eps);
    add_truth(text, "scale_attn_weights", config->scale_attn_weights);
    add_truth(text, "scale_attn_by_inverse_layer_idx", config->scale_attn_by_inverse_layer_idx);
}

/* In the spelling of transformers 4, which 5 and the converters of others read too. */
static void add_llama(rlhfi_string *text, const rlhfi_hf_config *config)
{
    add_whole(text, "hidden_size", config->hidden_size);
    add_whole(text, "intermediate_size", config->intermediate_size);
    add_whole(text, "num_hidden_layers", config->layers);
    add_whole(text, "num_attention_heads", config->heads);
    add_whole(text, "num_key_value_heads", config->kv_heads);
    add_whole(text, "head_dim", config->head_dim);
    add_whole(text, "max_position_embeddings", config->max_positions);
    add_text(text, "hidden_act", config->activation);
    add_number(text, "rms_norm_eps", config->norm_eps);
    add_truth(text, "attention_bias", config->attention_bias);
    add_truth(text, "mlp_bias", config->mlp_bias);
    add_number(text, "rope_theta", config->rope_theta);
    if (strcmp(config->rope_type, "llama3") != 0)
        return;
    rlhfi_string_add(text, ", \"rope_scaling\": {\"rope_type\": \"llama3\"");
    add_number(text, "factor", config->rope_factor);
    add_number(text, "low_freq_factor", config->rope_low_freq_factor);
    add_number(text, "high_freq_factor", config->rope_high_freq_factor);
    add_whole(text, "original_max_position_embeddings", config->rope_original_max_positions);
    rlhfi_string_add(text, "}");
}

static rlhf_status make_base(rlhf_context *context, const rlhfi_hf_config *config, rlhfi_json **base)
{
    rlhfi_string text;
    rlhf_status status;

    if (config->json != NULL)
        return rlhfi_json_parse(base, context, config->json, strlen(config->json), "config.json");
    rlhfi_string_init(&text, context);
    rlhfi_string_add(&text, "{\"torch_dtype\": \"float32\"");
    add_text(&text, "model_type", config->model_type);
    if (strcmp(config->model_type, "gpt2") == 0)
        add_gpt2(&text, config);
    else
        add_llama(&text, config);
    add_tokens(&text, config);
    rlhfi_string_add(&text, "}");
    status = text.failed ? RLHF_E_NOMEM : rlhfi_json_parse(base, context, text.data, text.size, "config.json");
    rlhfi_string_free(&text);
    return status;
}

/* ---- what has changed -------------------------------------------------------------------------------------------- */

static rlhf_status make_changes(rlhf_context *context, const rlhfi_hf_config *config, const rlhfi_json *base,
                                const char *architecture, bool scalar_head, const char *dtype,
                                rlhfi_json **changes)
{
    bool old = rlhfi_json_get(base, "torch_dtype") != NULL, new = rlhfi_json_get(base, "dtype") != NULL;
    rlhfi_string text;
    rlhf_status status;

    rlhfi_string_init(&text, context);
    rlhfi_string_add(&text, "{\"architectures\": [");
    rlhfi_json_quote(&text, architecture, strlen(architecture), false);
    rlhfi_string_add(&text, "]");
    /* Each generation of transformers knows one of the spellings. */
    if (old)
        add_text(&text, "torch_dtype", dtype);
    if (new || !old)
        add_text(&text, "dtype", dtype);
    add_whole(&text, "vocab_size", config->vocab_size);
    add_truth(&text, "tie_word_embeddings", config->tie_word_embeddings);
    if (scalar_head) {
        /* How transformers writes num_labels 1; a num_labels beside it must not contradict. */
        rlhfi_string_add(&text, ", \"id2label\": {\"0\": \"LABEL_0\"}, \"label2id\": {\"LABEL_0\": 0}");
        if (rlhfi_json_get(base, "num_labels") != NULL)
            add_whole(&text, "num_labels", 1);
    }
    rlhfi_string_add(&text, "}");
    status = text.failed ? RLHF_E_NOMEM : rlhfi_json_parse(changes, context, text.data, text.size, "config.json");
    rlhfi_string_free(&text);
    return status;
}

rlhf_status rlhfi_hf_config_text(rlhf_context *context, const rlhfi_hf_config *config, const char *architecture,
                                 bool scalar_head, const char *dtype, char **out)
{
    rlhfi_json *base = NULL, *changes = NULL;
    rlhfi_string text;
    char *object;
    rlhf_status status;

    *out = NULL;
    RLHFI_TRY(make_base(context, config, &base));
    RLHFI_GOTO(make_changes(context, config, base, architecture, scalar_head, dtype, &changes));
    object = rlhfi_json_dump_changed(context, base, changes, 2);
    if (object == NULL)
        RLHFI_GOTO(RLHF_E_NOMEM);
    rlhfi_string_init(&text, context);
    rlhfi_string_add(&text, object);
    rlhfi_string_add(&text, "\n");
    rlhfi_free(context, object);
    status = text.failed ? RLHF_E_NOMEM : RLHF_OK;
    if (text.failed)
        rlhfi_string_free(&text);
    *out = text.data;
done:
    rlhfi_json_release(&base);
    rlhfi_json_release(&changes);
    return status;
}
