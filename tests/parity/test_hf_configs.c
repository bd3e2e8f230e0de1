/* The config.json that transformers wrote for the fixtures: read, written again, and in both spellings. */
#include "golden.h"
#include "unit/formats/support.h"

/* The fixtures' config.json come out byte for byte, and both spellings are one model. */
static void agrees_with_the_fixtures(void **state)
{
    static const struct {
        const char *folder, *architecture;
        bool scalar_head, same;
    } cases[] = {
        {"models/gpt2", "GPT2LMHeadModel", false, true},
        {"models/gpt2_reward", "GPT2ForSequenceClassification", true, true},
        {"models/llama", "LlamaForCausalLM", false, true},
        {"models/llama_tied", "LlamaForCausalLM", false, true},
        {"models/llama3_rope", "LlamaForCausalLM", false, true},
        {"models/llama_reward", "LlamaForSequenceClassification", true, true},
        {"models/llama_bf16", "LlamaForCausalLM", false, false}, /* its dtype becomes float32 */
        {"trl/base_model", "LlamaForCausalLM", false, true},
        {"trl/base_reward", "LlamaForSequenceClassification", true, true},
    };
    char path[4096], folder[4096];

    (void)state;
    if (access(golden_path("models", path), R_OK) != 0)
        SKIP("%s is not there", path);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        rlhfi_hf_config config, v5;
        char *text;
        size_t size;
        golden_path(cases[i].folder, folder);
        assert_success(group_context, rlhfi_hf_config_load(&config, group_context, folder));
        assert_string_equal(config.architecture, cases[i].architecture);
        assert_int_equal(config.num_labels, cases[i].scalar_head ? 1 : -1);
        assert_success(group_context, rlhfi_hf_config_text(group_context, &config, cases[i].architecture,
                                                           cases[i].scalar_head, &text));
        if (cases[i].same)
            assert_string_equal(text, config.json);
        else
            assert_string_not_equal(text, config.json);
        rlhfi_free(group_context, text);
        snprintf(path, sizeof path, "%s/config.v5.json", cases[i].folder);
        golden_path(path, folder);
        if (access(folder, R_OK) == 0) {
            text = read_file(folder, &size);
            assert_success(group_context, rlhfi_hf_config_parse(&v5, group_context, text, size, folder));
            free(text);
            rlhfi_free(group_context, v5.json);
            v5.json = config.json;
            v5.generation_json = config.generation_json;
            assert_memory_equal(&v5, &config, sizeof config);
        }
        rlhfi_hf_config_free(group_context, &config);
    }
}

static void names_the_models_it_cannot_do(void **state)
{
    static const char *const folders[] = {"gemma",          "gemma2", "gemma3_text", "gpt_neox",
                                          "mistral_window", "phi3",   "qwen2",       "qwen3"};
    static const char *const types[] = {"gemma",   "gemma2", "gemma3_text", "gpt_neox",
                                        "mistral", "phi3",   "qwen2",       "qwen3"};
    char path[4096], words[100];

    (void)state;
    if (access(golden_path("models", path), R_OK) != 0)
        SKIP("%s is not there", path);
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        rlhfi_hf_config config;
        snprintf(words, sizeof words, "models/%s", folders[i]);
        golden_path(words, path);
        snprintf(words, sizeof words, "config.json: model_type \"%s\" is not supported (gpt2, llama)", types[i]);
        assert_failure(group_context, rlhfi_hf_config_load(&config, group_context, path), RLHF_E_UNSUPPORTED, words);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_fixtures),
        cmocka_unit_test(names_the_models_it_cannot_do),
    };

    return cmocka_run_group_tests_name("hf_configs", tests, group_setup, group_teardown);
}
