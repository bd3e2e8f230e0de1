/* config.json: what is accepted is within its bounds and means the same after it was written. */
#include "fuzz.h"

#include "formats/formats.h"

static void check_bounds(const rlhfi_hf_config *config)
{
    const int64_t most = INT64_C(1) << 31;
    const int64_t sizes[] = {config->vocab_size, config->hidden_size, config->intermediate_size, config->layers,
                             config->heads, config->kv_heads, config->head_dim, config->max_positions};

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        PROMISE(sizes[i] >= 1 && sizes[i] <= most);
    PROMISE(config->layers <= 4096 && config->heads % config->kv_heads == 0);
    PROMISE(config->norm_eps > 0.0 && config->norm_eps < 1.0);
    PROMISE(config->eos_count >= 0 && config->eos_count <= RLHFI_MAX_EOS);
    if (strcmp(config->model_type, "gpt2") == 0) {
        PROMISE(config->head_dim * config->heads == config->hidden_size);
        return;
    }
    PROMISE(strcmp(config->model_type, "llama") == 0);
    PROMISE(config->head_dim % 2 == 0 && config->rope_theta > 0.0);
    if (strcmp(config->rope_type, "llama3") == 0)
        PROMISE(config->rope_factor > 0.0 && config->rope_high_freq_factor > config->rope_low_freq_factor);
}

/* Everything but the texts and the name of the class. */
static void check_same(const rlhfi_hf_config *one, const rlhfi_hf_config *two)
{
    rlhfi_hf_config a = *one, b = *two;

    memset(a.architecture, 0, sizeof a.architecture);
    memset(b.architecture, 0, sizeof b.architecture);
    a.json = b.json = a.generation_json = b.generation_json = NULL;
    PROMISE(memcmp(&a, &b, sizeof a) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rlhf_context *context = fuzz_context();
    size_t before = fuzz_live;
    rlhfi_hf_config config, again;
    char *text;

    fuzz_peak = fuzz_live;
    if (rlhfi_hf_config_parse(&config, context, (const char *)data, size, "config.json") == RLHF_OK) {
        const char *architecture = config.model_type[0] == 'g' ? "GPT2LMHeadModel" : "LlamaForCausalLM";
        check_bounds(&config);
        PROMISE(rlhfi_hf_config_text(context, &config, architecture, false, "float32", &text) == RLHF_OK);
        PROMISE(rlhfi_hf_config_parse(&again, context, text, strlen(text), "again.json") == RLHF_OK);
        PROMISE(strcmp(again.architecture, architecture) == 0);
        check_same(&config, &again);
        rlhfi_free(context, text);
        rlhfi_hf_config_free(context, &again);
        rlhfi_hf_config_free(context, &config);
    } else {
        PROMISE(config.json == NULL && config.vocab_size == 0);
        fuzz_check_failure(context);
    }
    PROMISE(fuzz_live == before);
    PROMISE(fuzz_peak - before < 64 * size + 65536);
    return 0;
}
