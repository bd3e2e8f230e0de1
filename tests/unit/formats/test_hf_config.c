/* config.json: the spellings of transformers 4 and 5, defaults, everything that is refused, and writing it back. */
#include "support.h"

#include <math.h>

/* ---- helpers ----------------------------------------------------------------------------------------------------- */

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
    assert_failure(group_context, rlhfi_hf_config_parse(&config, group_context, json, strlen(json), "config.json"),
                   wanted, words);
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

/* ---- reading ----------------------------------------------------------------------------------------------------- */

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
    rlhfi_hf_config config =
        parse("{\"model_type\":\"gpt2\",\"architectures\":[\"GPT2ForSequenceClassification\"],\"vocab_size\":260,\"n_"
              "embd\":32.0,"
              "\"n_layer\":3,\"n_head\":4,\"n_ctx\":64,\"n_inner\":100,\"activation_function\":\"relu\",\"layer_norm_"
              "epsilon\":1e-3,"
              "\"tie_word_embeddings\":false,\"scale_attn_weights\":false,\"scale_attn_by_inverse_layer_idx\":true,"
              "\"reorder_and_upcast_attn\":false,\"add_cross_attention\":false,\"id2label\":{\"0\":\"a\",\"1\":\"b\"},"
              "\"bos_token_id\":null,\"eos_token_id\":[5,6],\"pad_token_id\":7,\"resid_pdrop\":0.1,\"unknown\":NaN}");

    (void)state;
    assert_string_equal(config.architecture, "GPT2ForSequenceClassification");
    assert_int_equal(config.vocab_size, 260);
    assert_int_equal(config.hidden_size, 32);
    assert_int_equal(config.layers, 3);
    assert_int_equal(config.heads, 4);
    assert_int_equal(config.head_dim, 8);
    assert_int_equal(config.max_positions, 64);
    assert_int_equal(config.intermediate_size, 100);
    assert_string_equal(config.activation, "relu");
    assert_true(config.norm_eps == 1e-3);
    assert_false(config.tie_word_embeddings || config.scale_attn_weights);
    assert_true(config.scale_attn_by_inverse_layer_idx);
    assert_int_equal(config.num_labels, 2);
    assert_int_equal(config.bos, -1);
    assert_int_equal(config.eos_count, 2);
    assert_int_equal(config.eos[1], 6);
    assert_int_equal(config.pad, 7);
    rlhfi_hf_config_free(group_context, &config);

    config = parse(
        "{\"model_type\":\"llama\",\"architectures\":[\"LlamaForCausalLM\"],\"vocab_size\":300,\"hidden_size\":48,"
        "\"intermediate_size\":96,\"num_hidden_layers\":2,\"num_attention_heads\":6,\"num_key_value_heads\":3,"
        "\"head_dim\":10,\"max_position_embeddings\":256,\"hidden_act\":\"gelu_pytorch_tanh\",\"rms_norm_eps\":1e-5,"
        "\"tie_word_embeddings\":true,\"attention_bias\":true,\"mlp_bias\":true,\"pretraining_tp\":1,"
        "\"layer_types\":[\"full_attention\",\"full_attention\"],\"num_labels\":1,\"pad_token_id\":-1,"
        "\"rope_theta\":5e5,\"eos_token_id\":null}");
    assert_int_equal(config.kv_heads, 3);
    assert_int_equal(config.head_dim, 10);
    assert_string_equal(config.activation, "gelu_pytorch_tanh");
    assert_true(config.rope_theta == 5e5 && config.norm_eps == 1e-5);
    assert_true(config.tie_word_embeddings && config.attention_bias && config.mlp_bias);
    assert_int_equal(config.num_labels, 1);
    assert_int_equal(config.pad, -1);
    assert_int_equal(config.eos_count, 0);
    rlhfi_hf_config_free(group_context, &config);
}

/* The same rotation in every spelling. */
static void reads_both_generations(void **state)
{
    static const char *const spellings[] = {
        "{\"model_type\":\"llama\",\"rope_theta\":500.0,\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8.0,"
        "\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,\"original_max_position_embeddings\":32}}",
        "{\"model_type\":\"llama\",\"rope_theta\":500,\"rope_scaling\":{\"type\":\"llama3\",\"factor\":8,"
        "\"low_freq_factor\":1,\"high_freq_factor\":4,\"original_max_position_embeddings\":32}}",
        "{\"model_type\":\"llama\",\"rope_parameters\":{\"rope_theta\":500.0,\"rope_type\":\"llama3\",\"factor\":8.0,"
        "\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,\"original_max_position_embeddings\":32}}",
        "{\"model_type\":\"llama\",\"rope_theta\":500.0,\"rope_parameters\":{\"rope_type\":\"llama3\",\"factor\":8.0,"
        "\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,\"original_max_position_embeddings\":32.0},"
        "\"rope_scaling\":null}",
    };
    static const char *const plain[] = {
        "{\"model_type\":\"llama\",\"rope_theta\":500.0,\"rope_scaling\":null}",
        "{\"model_type\":\"llama\",\"rope_theta\":500.0,\"rope_scaling\":{\"type\":\"default\"}}",
        "{\"model_type\":\"llama\",\"rope_parameters\":{\"rope_theta\":500.0}}",
        "{\"model_type\":\"llama\",\"rope_parameters\":{\"rope_theta\":500.0,\"rope_type\":\"default\"}}",
        "{\"model_type\":\"llama\",\"rope_parameters\":{\"rope_theta\":500.0,\"rope_type\":null}}",
        "{\"model_type\":\"llama\",\"rope_parameters\":{\"rope_theta\":500.0,\"partial_rotary_factor\":1.0}}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof spellings / sizeof spellings[0]; i++) {
        rlhfi_hf_config config = parse(spellings[i]);
        assert_string_equal(config.rope_type, "llama3");
        assert_true(config.rope_theta == 500.0 && config.rope_factor == 8.0);
        assert_true(config.rope_low_freq_factor == 1.0 && config.rope_high_freq_factor == 4.0);
        assert_int_equal(config.rope_original_max_positions, 32);
        rlhfi_hf_config_free(group_context, &config);
    }
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++) {
        rlhfi_hf_config config = parse(plain[i]);
        assert_string_equal(config.rope_type, "default");
        assert_true(config.rope_theta == 500.0);
        rlhfi_hf_config_free(group_context, &config);
    }
}

/* ---- refusing ---------------------------------------------------------------------------------------------------- */

static void refuses_other_models(void **state)
{
    (void)state;
    refuses("{\"model_type\":\"qwen2\"}", RLHF_E_UNSUPPORTED,
            "config.json: model_type \"qwen2\" is not supported (gpt2, llama)");
    refuses("{\"model_type\":\"mistral\"}", RLHF_E_UNSUPPORTED, "model_type \"mistral\"");
    refuses("{\"model_type\":\"\"}", RLHF_E_UNSUPPORTED, "model_type \"\"");
    refuses("{\"model_type\":3}", RLHF_E_FORMAT, "\"model_type\" must be text");
    refuses("{\"model_type\":\"gpt2\\u0000x\"}", RLHF_E_FORMAT, "\"model_type\" must be text");
    refuses("{}", RLHF_E_FORMAT, "config.json: \"model_type\" is missing");
    refuses("{\"architectures\":[]}", RLHF_E_FORMAT, "\"model_type\" is missing");
    refuses("{\"architectures\":[\"OPTForCausalLM\"]}", RLHF_E_UNSUPPORTED, "architecture \"OPTForCausalLM\"");
    refuses_llama("\"architectures\":[\"MistralForCausalLM\"]", RLHF_E_UNSUPPORTED,
                  "architecture \"MistralForCausalLM\"");
    refuses_llama("\"architectures\":[\"GPT2LMHeadModel\"]", RLHF_E_UNSUPPORTED, "architecture \"GPT2LMHeadModel\"");
    refuses_llama("\"architectures\":\"LlamaForCausalLM\"", RLHF_E_FORMAT, "\"architectures\" must be a list");
    refuses_llama("\"architectures\":[1]", RLHF_E_FORMAT, "\"architectures\" must be a list of names");
    accepts_llama("\"architectures\":null");
    accepts_llama("\"architectures\":[]");
    accepts_llama("\"architectures\":[\"LlamaForSequenceClassification\"]");
    accepts_llama("\"architectures\":[\"LlamaForTokenClassification\"]");
    refuses_llama("\"quantization_config\":{\"quant_method\":\"gptq\"}", RLHF_E_UNSUPPORTED, "\"quantization_config\"");
    accepts_llama("\"quantization_config\":null");
    refuses("[]", RLHF_E_FORMAT, "config.json: must be an object");
    refuses("{\"model_type\":\"llama\",}", RLHF_E_FORMAT, "config.json:1:");
    refuses("{\"model_type\":\"llama\",\"model_type\":\"gpt2\"}", RLHF_E_FORMAT, "duplicate");
}

static void refuses_impossible_sizes(void **state)
{
    static const char *const sizes[] = {
        "hidden_size",         "vocab_size",          "intermediate_size",       "num_hidden_layers",
        "num_attention_heads", "num_key_value_heads", "max_position_embeddings", "head_dim"};
    static const char *const gpt2_sizes[] = {"n_embd",      "vocab_size", "n_layer", "n_head",
                                             "n_positions", "n_ctx",      "n_inner"};
    static const struct {
        const char *value;
        rlhf_status status;
        const char *words;
    } values[] = {
        {"0", RLHF_E_RANGE, "is 0, 1 to "},
        {"-1", RLHF_E_RANGE, "is -1, 1 to "},
        {"1e30", RLHF_E_RANGE, "is 9223372036854775807, 1 to "},
        {"1000000000000000000000000000000", RLHF_E_RANGE, "is 9223372036854775807, 1 to "},
        {"2147483649", RLHF_E_RANGE, "is 2147483649, 1 to "},
        {"\"768\"", RLHF_E_FORMAT, "must be a whole number"},
        {"true", RLHF_E_FORMAT, "must be a whole number"},
        {"768.5", RLHF_E_FORMAT, "must be a whole number"},
        {"NaN", RLHF_E_FORMAT, "must be a whole number"},
        {"Infinity", RLHF_E_FORMAT, "must be a whole number"},
        {"[768]", RLHF_E_FORMAT, "must be a whole number"},
        {"{}", RLHF_E_FORMAT, "must be a whole number"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (size_t j = 0; j < sizeof values / sizeof values[0]; j++) {
            char member[128], words[128];
            snprintf(member, sizeof member, "\"%s\":%s", sizes[i], values[j].value);
            snprintf(words, sizeof words, "config.json: \"%s\" %s", sizes[i], values[j].words);
            refuses_llama(member, values[j].status, words);
        }
    for (size_t i = 0; i < sizeof gpt2_sizes / sizeof gpt2_sizes[0]; i++)
        for (size_t j = 0; j < sizeof values / sizeof values[0]; j++) {
            char member[128], words[128];
            snprintf(member, sizeof member, "\"%s\":%s", gpt2_sizes[i], values[j].value);
            snprintf(words, sizeof words, "config.json: \"%s\" %s", gpt2_sizes[i], values[j].words);
            refuses_gpt2(member, values[j].status, words);
        }
    refuses_llama("\"num_hidden_layers\":1000000000", RLHF_E_RANGE, "\"num_hidden_layers\" is 1000000000, 1 to 4096");
    refuses_gpt2("\"n_layer\":4097", RLHF_E_RANGE, "\"n_layer\" is 4097, 1 to 4096");
    refuses_llama("\"num_attention_heads\":32,\"num_key_value_heads\":5", RLHF_E_FORMAT,
                  "32 is no multiple of \"num_key_value_heads\" 5");
    refuses_llama("\"num_attention_heads\":4,\"num_key_value_heads\":8", RLHF_E_FORMAT, "is no multiple");
    refuses_llama("\"num_attention_heads\":5", RLHF_E_FORMAT,
                  "\"hidden_size\" 4096 is no multiple of \"num_attention_heads\" 5");
    refuses_gpt2("\"n_head\":5", RLHF_E_FORMAT, "\"n_embd\" 768 is no multiple of \"n_head\" 5");
    refuses_llama("\"head_dim\":7", RLHF_E_FORMAT, "heads of 7 dimensions");
    refuses_llama("\"hidden_size\":12,\"num_attention_heads\":4", RLHF_E_FORMAT, "heads of 3 dimensions");
    refuses_gpt2("\"n_embd\":2147483648,\"n_head\":1", RLHF_E_RANGE, "\"n_inner\" is 8589934592");
    accepts_llama("\"hidden_size\":null,\"head_dim\":null,\"num_key_value_heads\":null");
    accepts_llama("\"num_attention_heads\":5,\"head_dim\":64"); /* heads need not fill the hidden size */
}

static void refuses_impossible_numbers(void **state)
{
    static const char *const eps[] = {"0", "1", "-1e-6", "2", "NaN", "Infinity", "1e400"};

    (void)state;
    for (size_t i = 0; i < sizeof eps / sizeof eps[0]; i++) {
        char member[128];
        bool overflow = strcmp(eps[i], "1e400") == 0;
        snprintf(member, sizeof member, "\"rms_norm_eps\":%s", eps[i]);
        refuses_llama(member, overflow ? RLHF_E_FORMAT : RLHF_E_RANGE, overflow ? "overflow" : "\"rms_norm_eps\" is ");
        snprintf(member, sizeof member, "\"layer_norm_epsilon\":%s", eps[i]);
        refuses_gpt2(member, overflow ? RLHF_E_FORMAT : RLHF_E_RANGE,
                     overflow ? "overflow" : "\"layer_norm_epsilon\" is ");
    }
    refuses_llama("\"rms_norm_eps\":\"1e-6\"", RLHF_E_FORMAT, "\"rms_norm_eps\" must be a number");
    refuses_llama("\"rms_norm_eps\":true", RLHF_E_FORMAT, "\"rms_norm_eps\" must be a number");
    refuses_llama("\"rms_norm_eps\":NaN", RLHF_E_RANGE, "\"rms_norm_eps\" is nan, more than 0 and less than 1 allowed");
    refuses_llama("\"rope_theta\":0", RLHF_E_RANGE, "\"rope_theta\" is 0");
    refuses_llama("\"rope_theta\":-1.0", RLHF_E_RANGE, "\"rope_theta\" is -1");
    refuses_llama("\"rope_theta\":Infinity", RLHF_E_RANGE, "\"rope_theta\" is inf");
    refuses_llama("\"rope_theta\":\"1e4\"", RLHF_E_FORMAT, "\"rope_theta\" must be a number");
}

static void refuses_other_mathematics(void **state)
{
#define LLAMA3(factor, low, high, length)                                                                              \
    "\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":" factor ",\"low_freq_factor\":" low                        \
    ",\"high_freq_factor\":" high ",\"original_max_position_embeddings\":" length "}"
    (void)state;
    accepts_llama(LLAMA3("8", "1", "4", "8192"));
    refuses_llama(LLAMA3("0", "1", "4", "8192"), RLHF_E_RANGE, "\"factor\" is 0");
    refuses_llama(LLAMA3("-1", "1", "4", "8192"), RLHF_E_RANGE, "\"factor\" is -1");
    refuses_llama(LLAMA3("NaN", "1", "4", "8192"), RLHF_E_RANGE, "\"factor\" is nan");
    refuses_llama(LLAMA3("8", "4", "4", "8192"), RLHF_E_RANGE,
                  "\"high_freq_factor\" must be larger than \"low_freq_factor\"");
    refuses_llama(LLAMA3("8", "5", "4", "8192"), RLHF_E_RANGE, "\"high_freq_factor\" must be larger");
    refuses_llama(LLAMA3("8", "0", "4", "8192"), RLHF_E_RANGE, "\"low_freq_factor\" is 0");
    refuses_llama(LLAMA3("8", "1", "Infinity", "8192"), RLHF_E_RANGE, "\"high_freq_factor\" is inf");
    refuses_llama(LLAMA3("8", "1", "4", "0"), RLHF_E_RANGE, "\"original_max_position_embeddings\" is 0");
    refuses_llama(LLAMA3("8", "1", "4", "null"), RLHF_E_FORMAT, "\"original_max_position_embeddings\" is missing");
    refuses_llama("\"rope_scaling\":{\"rope_type\":\"llama3\"}", RLHF_E_FORMAT, "\"factor\" is missing");
#undef LLAMA3
    refuses_llama("\"rope_scaling\":[1,2]", RLHF_E_FORMAT, "\"rope_scaling\" must be an object");
    refuses_llama("\"rope_parameters\":3", RLHF_E_FORMAT, "\"rope_parameters\" must be an object");
    refuses_llama("\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.0}", RLHF_E_UNSUPPORTED,
                  "rope_type \"linear\" is not supported");
    refuses_llama("\"rope_scaling\":{\"rope_type\":\"yarn\"}", RLHF_E_UNSUPPORTED, "rope_type \"yarn\"");
    refuses_llama("\"rope_scaling\":{\"rope_type\":\"nonsense\"}", RLHF_E_UNSUPPORTED, "rope_type \"nonsense\"");
    refuses_llama("\"rope_scaling\":{\"rope_type\":7}", RLHF_E_FORMAT, "\"rope_type\" must be text");
    refuses_llama("\"rope_scaling\":{\"factor\":2.0}", RLHF_E_FORMAT, "has a factor but no rope_type");
    refuses_llama("\"rope_parameters\":{\"full_attention\":{\"rope_theta\":1e6}}", RLHF_E_UNSUPPORTED,
                  "\"full_attention\"");
    refuses_llama("\"rope_parameters\":{\"partial_rotary_factor\":0.5}", RLHF_E_UNSUPPORTED,
                  "\"partial_rotary_factor\"");
    refuses_llama("\"partial_rotary_factor\":0.25", RLHF_E_UNSUPPORTED, "\"partial_rotary_factor\"");
    refuses_llama("\"hidden_act\":\"mish\"", RLHF_E_UNSUPPORTED, "\"hidden_act\" \"mish\" is not supported");
    refuses_llama("\"hidden_act\":1", RLHF_E_FORMAT, "\"hidden_act\" must be text");
    refuses_gpt2("\"activation_function\":\"swiglu\"", RLHF_E_UNSUPPORTED, "\"activation_function\" \"swiglu\"");
    refuses_llama("\"pretraining_tp\":2", RLHF_E_UNSUPPORTED, "\"pretraining_tp\"");
    refuses_gpt2("\"reorder_and_upcast_attn\":true", RLHF_E_UNSUPPORTED, "\"reorder_and_upcast_attn\"");
    refuses_gpt2("\"add_cross_attention\":true", RLHF_E_UNSUPPORTED, "\"add_cross_attention\"");
    refuses_gpt2("\"add_cross_attention\":1", RLHF_E_FORMAT, "\"add_cross_attention\" must be true or false");
    refuses_llama("\"tie_word_embeddings\":\"true\"", RLHF_E_FORMAT, "\"tie_word_embeddings\" must be true or false");
    refuses_llama("\"layer_types\":[\"full_attention\"]", RLHF_E_FORMAT, "\"layer_types\" must be a list of 32 names");
    refuses_llama("\"layer_types\":\"full_attention\"", RLHF_E_FORMAT, "\"layer_types\" must be a list");
    refuses_llama("\"num_hidden_layers\":2,\"layer_types\":[\"full_attention\",\"sliding_attention\"]",
                  RLHF_E_UNSUPPORTED, "\"sliding_attention\" is not supported");
    refuses_llama("\"num_hidden_layers\":1,\"layer_types\":[3]", RLHF_E_UNSUPPORTED, "\"layer_types\"");
    refuses_llama("\"id2label\":[]", RLHF_E_FORMAT, "\"id2label\" must be an object");
    refuses_llama("\"num_labels\":0", RLHF_E_RANGE, "\"num_labels\" is 0");
}

static void refuses_bad_tokens(void **state)
{
    rlhfi_hf_config config;

    (void)state;
    refuses_llama("\"bos_token_id\":-2", RLHF_E_FORMAT, "\"bos_token_id\" must be a token id");
    refuses_llama("\"bos_token_id\":2147483648", RLHF_E_FORMAT, "\"bos_token_id\" must be a token id");
    refuses_llama("\"pad_token_id\":\"<pad>\"", RLHF_E_FORMAT, "\"pad_token_id\" must be a token id");
    refuses_llama("\"eos_token_id\":1.5", RLHF_E_FORMAT, "\"eos_token_id\" must be a token id");
    refuses_llama("\"eos_token_id\":[2,\"x\"]", RLHF_E_FORMAT, "\"eos_token_id\" must be a token id");
    refuses_llama("\"eos_token_id\":[1,2,3,4,5,6,7,8,9]", RLHF_E_UNSUPPORTED, "\"eos_token_id\" has 9 ids, at most 8");
    config = parse("{\"model_type\":\"llama\",\"eos_token_id\":[1,2,3,4,5,6,7,8],\"bos_token_id\":3.0}");
    assert_int_equal(config.eos_count, 8);
    assert_int_equal(config.eos[7], 8);
    assert_int_equal(config.bos, 3);
    rlhfi_hf_config_free(group_context, &config);
    config = parse("{\"model_type\":\"llama\",\"eos_token_id\":[]}");
    assert_int_equal(config.eos_count, 0);
    rlhfi_hf_config_free(group_context, &config);
}

/* ---- directories ------------------------------------------------------------------------------------------------- */

static void put(const char *name, const char *text)
{
    assert_success(group_context, rlhfi_make_directory(group_context, scratch_path("hf")));
    write_file(scratch_path(name), text, strlen(text));
}

static void lets_generation_config_win(void **state)
{
    rlhfi_hf_config config, copy;

    (void)state;
    put("hf/config.json", "{\"model_type\":\"llama\",\"bos_token_id\":10,\"eos_token_id\":11,\"pad_token_id\":12}");
    assert_success(group_context, rlhfi_hf_config_load(&config, group_context, scratch_path("hf")));
    assert_null(config.generation_json);
    rlhfi_hf_config_free(group_context, &config);
    put("hf/generation_config.json",
        "{\"eos_token_id\": [128001, 128009], \"bos_token_id\": 7, \"pad_token_id\": null}");
    assert_success(group_context, rlhfi_hf_config_load(&config, group_context, scratch_path("hf")));
    assert_int_equal(config.eos_count, 2);
    assert_int_equal(config.eos[1], 128009);
    assert_int_equal(config.bos, 7);
    assert_int_equal(config.pad, 12);
    assert_string_equal(config.generation_json,
                        "{\"eos_token_id\": [128001, 128009], \"bos_token_id\": 7, \"pad_token_id\": null}");
    assert_success(group_context, rlhfi_hf_config_copy(group_context, &copy, &config));
    assert_string_equal(copy.json, config.json);
    assert_string_equal(copy.generation_json, config.generation_json);
    assert_true(copy.json != config.json && copy.generation_json != config.generation_json);
    assert_int_equal(copy.eos[0], 128001);
    rlhfi_hf_config_free(group_context, &copy);
    rlhfi_hf_config_free(group_context, &config);
    put("hf/generation_config.json", "{\"eos_token_id\": \"x\"}");
    assert_failure(group_context, rlhfi_hf_config_load(&config, group_context, scratch_path("hf")), RLHF_E_FORMAT,
                   "hf/generation_config.json: \"eos_token_id\"");
    put("hf/generation_config.json", "[]");
    assert_failure(group_context, rlhfi_hf_config_load(&config, group_context, scratch_path("hf")), RLHF_E_FORMAT,
                   "hf/generation_config.json: must be an object");
    put("hf/generation_config.json", "{");
    assert_failure(group_context, rlhfi_hf_config_load(&config, group_context, scratch_path("hf")), RLHF_E_FORMAT,
                   "hf/generation_config.json:1:1: ");
    put("hf/config.json", "{\"model_type\":\"gemma\"}");
    assert_failure(group_context, rlhfi_hf_config_load(&config, group_context, scratch_path("hf")), RLHF_E_UNSUPPORTED,
                   "hf/config.json: model_type \"gemma\" is not supported (gpt2, llama)");
    assert_failure(group_context, rlhfi_hf_config_load(&config, group_context, scratch_path("none")), RLHF_E_IO,
                   "none/config.json");
    assert_null(config.json);
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static char *text_of(const rlhfi_hf_config *config, const char *architecture, bool scalar_head)
{
    char *text;

    assert_success(group_context, rlhfi_hf_config_text(group_context, config, architecture, scalar_head, "float32",
                                                       &text));
    assert_non_null(text);
    return text;
}

static void writes_what_was_read(void **state)
{
    static const char read[] =
        "{\"vocab_size\": 100, \"model_type\": \"llama\", \"architectures\": [\"LlamaForCausalLM\"], "
        "\"torch_dtype\": \"bfloat16\", \"mine\": {\"z\": [1, NaN], \"a\": null}, \"rms_norm_eps\": 1e-06}";
    rlhfi_hf_config config = parse(read);
    char *text;

    (void)state;
    text = text_of(&config, "LlamaForCausalLM", false);
    assert_string_equal(
        text, "{\n  \"architectures\": [\n    \"LlamaForCausalLM\"\n  ],\n  \"mine\": {\n    \"a\": null,\n"
              "    \"z\": [\n      1,\n      NaN\n    ]\n  },\n  \"model_type\": \"llama\",\n"
              "  \"rms_norm_eps\": 1e-06,\n  \"tie_word_embeddings\": false,\n  \"torch_dtype\": \"float32\",\n"
              "  \"vocab_size\": 100\n}\n");
    rlhfi_free(group_context, text);
    config.vocab_size = 104; /* resized */
    config.tie_word_embeddings = true;
    text = text_of(&config, "LlamaForSequenceClassification", true);
    assert_string_equal(
        text, "{\n  \"architectures\": [\n    \"LlamaForSequenceClassification\"\n  ],\n  \"id2label\": {\n"
              "    \"0\": \"LABEL_0\"\n  },\n  \"label2id\": {\n    \"LABEL_0\": 0\n  },\n  \"mine\": {\n"
              "    \"a\": null,\n    \"z\": [\n      1,\n      NaN\n    ]\n  },\n  \"model_type\": \"llama\",\n"
              "  \"rms_norm_eps\": 1e-06,\n  \"tie_word_embeddings\": true,\n  \"torch_dtype\": \"float32\",\n"
              "  \"vocab_size\": 104\n}\n");
    rlhfi_free(group_context, text);
    rlhfi_hf_config_free(group_context, &config);

    /* Two classes become one label; both spellings of the type are set. */
    config = parse("{\"model_type\":\"gpt2\",\"num_labels\":2,\"id2label\":{\"0\":\"no\",\"1\":\"yes\"},\"label2id\":{"
                   "\"no\":0,\"yes\":1},"
                   "\"dtype\":\"float16\",\"torch_dtype\":\"float16\"}");
    text = text_of(&config, "GPT2ForSequenceClassification", true);
    rlhfi_hf_config_free(group_context, &config);
    config = parse(text);
    assert_int_equal(config.num_labels, 1);
    assert_non_null(strstr(text, "\"num_labels\": 1"));
    assert_non_null(strstr(text, "  \"dtype\": \"float32\""));
    assert_non_null(strstr(text, "\"torch_dtype\": \"float32\""));
    assert_null(strstr(text, "yes"));
    rlhfi_free(group_context, text);
    rlhfi_hf_config_free(group_context, &config);
}

/* Every field comes back from the text that was made of the fields alone. */
static void writes_models_that_were_not_read(void **state)
{
    static const char *const sources[] = {
        "{\"model_type\":\"gpt2\",\"vocab_size\":260,\"n_embd\":32,\"n_layer\":3,\"n_head\":4,\"n_positions\":64,\"n_"
        "inner\":100,"
        "\"activation_function\":\"relu\",\"layer_norm_epsilon\":0.1,\"tie_word_embeddings\":false,\"scale_attn_"
        "weights\":false,"
        "\"scale_attn_by_inverse_layer_idx\":true,\"bos_token_id\":null,\"eos_token_id\":[5,6],\"pad_token_id\":7}",
        "{\"model_type\":\"llama\",\"vocab_size\":300,\"hidden_size\":48,\"intermediate_size\":96,\"num_hidden_"
        "layers\":2,"
        "\"num_attention_heads\":6,\"num_key_value_heads\":3,\"head_dim\":10,\"max_position_embeddings\":256,\"hidden_"
        "act\":\"gelu\","
        "\"rms_norm_eps\":1e-5,\"tie_word_embeddings\":true,\"attention_bias\":true,\"mlp_bias\":true,\"eos_token_id\":"
        "null,"
        "\"rope_parameters\":{\"rope_theta\":500.0,\"rope_type\":\"llama3\",\"factor\":8.5,\"low_freq_factor\":1.25,"
        "\"high_freq_factor\":4.5,\"original_max_position_embeddings\":32}}",
        "{\"model_type\":\"llama\",\"rope_theta\":12345.678,\"eos_token_id\":9}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++) {
        rlhfi_hf_config config = parse(sources[i]), again;
        char *text;
        rlhfi_free(group_context, config.json);
        config.json = NULL;
        text = text_of(&config, i == 0 ? "GPT2LMHeadModel" : "LlamaForCausalLM", false);
        again = parse(text);
        assert_string_equal(again.architecture, i == 0 ? "GPT2LMHeadModel" : "LlamaForCausalLM");
        again.architecture[0] = '\0';
        memset(again.architecture, 0, sizeof again.architecture);
        rlhfi_free(group_context, again.json);
        again.json = NULL;
        assert_memory_equal(&again, &config, sizeof config);
        rlhfi_free(group_context, text);
    }
}

static int teardown(void **state)
{
    remove_scratch();
    return group_teardown(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fills_in_defaults),
        cmocka_unit_test(reads_every_key),
        cmocka_unit_test(reads_both_generations),
        cmocka_unit_test(refuses_other_models),
        cmocka_unit_test(refuses_impossible_sizes),
        cmocka_unit_test(refuses_impossible_numbers),
        cmocka_unit_test(refuses_other_mathematics),
        cmocka_unit_test(refuses_bad_tokens),
        cmocka_unit_test(lets_generation_config_win),
        cmocka_unit_test(writes_what_was_read),
        cmocka_unit_test(writes_models_that_were_not_read),
    };

    return cmocka_run_group_tests_name("hf_config", tests, group_setup, teardown);
}
