/* The weights after a few steps of every recipe, as SHA-256: the same for any number of threads, any instruction set,
 * with and without BLIS, and the same as when they were recorded here. A change of one of these numbers is a change of
 * the specified arithmetic, of a default or of a stream of random numbers: it is deliberate, or it is a bug. */
#include "unit/training/runs.h"

/* Wider than a chunk of 256 inside, so that products restart. */
static const char *const wide_config =
    "{\"model_type\":\"llama\",\"vocab_size\":44,\"hidden_size\":48,\"intermediate_size\":288,\"num_hidden_layers\":2,"
    "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"max_position_embeddings\":64,\"rms_norm_eps\":1e-5,"
    "\"hidden_act\":\"silu\",\"tie_word_embeddings\":true,\"initializer_range\":0.2,\"eos_token_id\":0}";

static const struct {
    const char *method;
    bool gpt2;
    const char *sha256;
    int32_t compute_format, weight_format;
} recorded[] = {
    {"pretrain", false, "734ebbfdc82a6701730a79766ba297b2e98a3d65eaea97d63423b3e89debe84d"},
    {"pretrain", true, "51e06b0d305bb51d0255455f875c9fe521e2f2ed52d3609ef650e318b8349326"},
    {"sft", false, "8fe5f033d7f8fd875d2719cd2bdac7be6c18344325d49a2dc6e38494b8589c7c"},
    {"reward", false, "4d6aca3b3fb5fc7b0db9e362697fad8875b3697305b014784c91e69b4e5b83d6"},
    {"raft", false, "656c8bc3ba9c2cb4957e2a92fbf39d690414e1fe695dbdf70f750f94b7349f06"},
    {"reinforce", false, "caabdd5829c3b935c1c50c59cedd48fd106e45bb79df6709fa8dca28ffa20b90"},
    {"pairwise", false, "9dac6ff9d891c830352cda6164ed5664cc912778d6d2d2907d7394c7ec42b464"},
    {"ppo", false, "5f382bce8eb29e909f69e9988aba9603b019799f1a6da209bcc0c87f122946f3"},
    {"ppo", true, "f3bbeb836f19fa4b2240ce327745334dcdf4d640ffffffb4e0f40d8ff6a504d0"},
    {"sft", false, "a7382e0491c41cf1daaaa2ad2cb867f3b4016f62e9e018a4c78ef3c1fb7e5cdd",
     RLHF_BFLOAT16, RLHF_FLOAT32},
    {"sft", true, "b9811999f922e2dde40d1f817ac890453a4a7ab4ec72ff8d346c301bd1ee0e8a",
     RLHF_BFLOAT16, RLHF_BFLOAT16},
    {"reward", false, "a0718c460e23f8151eb1ec059076678dd4ae34f7f2ccf8f20700e5f78d33544b",
     RLHF_BFLOAT16, RLHF_BFLOAT16},
    {"ppo", false, "fe3515d257d494f6efcf57915ee9e2077f43d8e107a955f4fe0090ec3c818aaf",
     RLHF_BFLOAT16, RLHF_FLOAT32},
    {"ppo", true, "615827673c72c80f36ad3acc8c021c72bda64e8880e451187a7bcf566fa61833",
     RLHF_BFLOAT16, RLHF_BFLOAT16},
};
enum { RECORDED = sizeof recorded / sizeof recorded[0] };

static void train(rlhf_context *context, int which, char hex[65])
{
    const char *config = recorded[which].gpt2 ? gpt2_config : wide_config;
    rlhf_model_options formats;
    struct parts parts;
    rlhf_trainer *trainer;

    rlhf_model_options_init(&formats, sizeof formats);
    formats.compute_format = recorded[which].compute_format;
    formats.weight_format = recorded[which].weight_format;
    make_parts(&parts, context, recorded[which].method);
    rlhf_policy_release(&parts.policy);
    CHECK(context, rlhf_policy_create(&parts.policy, context, config, strlen(config), 3, &formats));
    parts.options.policy = parts.policy;
    CHECK(context, rlhf_trainer_create(&trainer, context, parts.recipe, &parts.options));
    CHECK(context, rlhf_trainer_run(trainer));
    result_hash(context, trainer, hex);
    rlhf_trainer_release(&trainer);
    release_parts(&parts);
}

static void test_hashes(void **state)
{
    static const struct {
        int32_t threads;
        uint32_t cpu_mask;
        int32_t use_blis;
    } machines[] = {
        {1, ~0u, 1}, {2, ~0u, 1}, {1, ~0u, 0}, {1, 0, 0}, {2, 0, 1}, {1, RLHF_CPU_AVX2, 0}, {2, RLHF_CPU_AVX2, 1},
        {2, RLHF_CPU_AVX2 | RLHF_CPU_AVX512, 0},
    };
    int wrong = 0;

    (void)state;
    for (size_t m = 0; m < sizeof machines / sizeof machines[0]; m++) {
        rlhf_context *context = make_context(machines[m].threads, machines[m].cpu_mask, machines[m].use_blis);
        for (int i = 0; i < RECORDED; i++) {
            char hex[65];
            train(context, i, hex);
            if (strcmp(hex, recorded[i].sha256) != 0) {
                print_message("%s%s, formats %d %d, threads %d, cpu mask %x, blis %d: %s\n", recorded[i].method,
                              recorded[i].gpt2 ? " (gpt2)" : "", (int)recorded[i].compute_format,
                              (int)recorded[i].weight_format, (int)machines[m].threads,
                              (unsigned)machines[m].cpu_mask, (int)machines[m].use_blis, hex);
                wrong++;
            }
        }
        rlhf_context_release(&context);
    }
    assert_int_equal(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_hashes)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
