/* config.json: the spellings of transformers 4 and 5, defaults, everything that is refused, and writing it back. */
#include "support.h"

#include <math.h>

/* ---- helpers -------------------------------------------------------------------------------------------------------------- */

static rlhfi_hf_config parse(const char *json)
{
    rlhfi_hf_config config;

    assert_success(group_context, rlhfi_hf_config_parse(&config, group_context, json, strlen(json), "config.json"));
    assert_string_equal(config.json, json);
    return config;
}

static void refuses(const char *json, rlhf_status wanted, const char *words)
{
    static const rlhfi_hf_config zero;
    rlhfi_hf_config config;

    memset(&config, 0x55, sizeof config);
    assert_failure(group_context, rlhfi_hf_config_parse(&config, group_context, json, strlen(json), "config.json"), wanted, words);
    assert_memory_equal(&config, &zero, sizeof config); /* nothing to free */
}

/* A small Llama or GPT-2 with one more member. */
static void refuses_llama(const char *member, rlhf_status wanted, const char *words)
{
    char json[1024];

    snprintf(json, sizeof json, "{\"model_type\":\"llama\",%s}", member);
    refuses(json, wanted, words);
}

static void refuses_gpt2(const char *member, rlhf_status wanted, const char *words)
{
    char json[1024];

    snprintf(json, sizeof json, "{\"model_type\":\"gpt2\",%s}", member);
    refuses(json, wanted, words);
}

static void accepts_llama(const char *member)
{
    char json[1024];
    rlhfi_hf_config config;

    snprintf(json, sizeof json, "{\"model_type\":\"llama\",%s}", member);
    config = parse(json);
    rlhfi_hf_config_free(group_context, &config);
}

/* ---- reading -------------------------------------------------------------------------------------------------------------- */

static void fills_in_defaults(void **state)
{
    rlhfi_hf_config config = parse("{\"model_type\": \"llama\"}");

    (void)state;
    assert_string_equal(config.model_type, "llama");
    assert_string_equal(config.architecture, "");
    assert_int_equal(config.vocab_size, 32000);
    assert_int_equal(config.hidden_size, 4096);
    assert_int_equal(config.intermediate_size, 11008);
    assert_int_equal(config.layers, 32);
    assert_int_equal(config.heads, 32);
    assert_int_equal(config.kv_heads, 32);
    assert_int_equal(config.head_dim, 128);
    assert_int_equal(config.max_positions, 2048);
    assert_string_equal(config.activation, "silu");
    assert_true(config.norm_eps == 1e-6 && config.rope_theta == 10000.0);
    assert_string_equal(config.rope_type, "default");
    assert_false(config.tie_word_embeddings || config.attention_bias || config.mlp_bias);
    assert_int_equal(config.num_labels, -1);
    assert_int_equal(config.bos, 1);
    assert_int_equal(config.eos_count, 1);
    assert_int_equal(config.eos[0], 2);
    assert_int_equal(config.pad, -1);
    assert_null(config.generation_json);
    rlhfi_hf_config_free(group_context, &config);
    assert_null(config.json);

    config = parse("{\"architectures\": [\"GPT2LMHeadModel\"]}"); /* the class tells, too */
    assert_string_equal(config.model_type, "gpt2");
    assert_int_equal(config.vocab_size, 50257);
    assert_int_equal(config.hidden_size, 768);
    assert_int_equal(config.intermediate_size, 3072);
    assert_int_equal(config.layers, 12);
    assert_int_equal(config.heads, 12);
    assert_int_equal(config.kv_heads, 12);
    assert_int_equal(config.head_dim, 64);
    assert_int_equal(config.max_positions, 1024);
    assert_string_equal(config.activation, "gelu_new");
    assert_true(config.norm_eps == 1e-5);
    assert_true(config.tie_word_embeddings && config.scale_attn_weights && !config.scale_attn_by_inverse_layer_idx);
    assert_true(config.attention_bias && config.mlp_bias);
    assert_int_equal(config.bos, 50256);
    assert_int_equal(config.eos[0], 50256);
    rlhfi_hf_config_free(group_context, &config);
}

static void reads_every_key(void **state)
{
    rlhfi_hf_config config = parse(
        "{\"model_type\":\"gpt2\",\"architectures\":[\"GPT2ForSequenceClassification\"],\"vocab_size\":260,\"n_embd\":32.0,"
        "\"n_layer\":3,\"n_head\":4,\"n_ctx\":64,\"n_inner\":100,\"activation_function\":\"relu\",\"layer_norm_epsilon\":1e-3,"
        "\"tie_word_embeddings\":false,\"scale_attn_weights\":false,\"scale_attn_by_inverse_layer_idx\":true,"
        "\"reorder_and_upcast_attn\":false,\"add_cross_attention\":false,\"id2label\":{\"0\":\"a\",\"1\":\"b\"},\"bos_token_id\":null,"
        "\"eos_token_id\":[5,6],\"pad_token_id\":7,\"resid_pdrop\":0.1,\"huge\":1e400000000000000000000,\"unknown\":NaN}" + 0);
    (void)state;
    (void)config;
}
