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
    bool gpt2, share;
    const char *sha256;
    int32_t compute_format, weight_format;
} recorded[] = {
    {"pretrain", false, false, "734ebbfdc82a6701730a79766ba297b2e98a3d65eaea97d63423b3e89debe84d"},
    {"pretrain", true, false, "51e06b0d305bb51d0255455f875c9fe521e2f2ed52d3609ef650e318b8349326"},
    {"sft", false, false, "188309e822868dafd572b47c334ae3906954e114597d6f78fc21c8a8d9bd8c4b"},
    {"reward", false, false, "3ec5cd0e34ca79bbfbeb1f2b39add0718e3a5d03e5295330c1261bb1919dd148"},
    {"raft", false, false, "4b886dcec07ddcea54278ec43e3899a0a199479ea144bec0175504fa4cd466e6"},
    {"reinforce", false, false, "4c6242557ab088621f7f4128f3d46830f99b2622fd7b8d2f2e773c572cfeee16"},
    {"pairwise", false, false, "d4f185f24114da5e391daf5c79d954e6930d79e9cdd8a3b5ba4e1a67f0ef56dc"},
    {"ppo", false, false, "40077fb5153f6851f11fbe8944e789995a3c1e8c16692699b6807f9bc394f252"},
    {"ppo", true, false, "b6c47451542a89f3553e086d6b9905474fb8c3b0447654a2947a041e9d8081ec"},
    {"ppo", false, true, "0aefc90a7862d12a9a289b29a5165603938c007edc52a32f5e5fea837e9f555c"},
    {"sft", false, false, "a636d475684c76f6a5d1ab4f91866a816e020f67b5c12397997d91ce8192c30c",
     RLHF_BFLOAT16, RLHF_FLOAT32},
    {"sft", true, false, "67788e13207d3acc2c89e067fbdc43db5860433ac7ee0c8c45eb78fd77799ea3",
     RLHF_BFLOAT16, RLHF_BFLOAT16},
    {"reward", false, false, "9b716c8bb7fe2cc7dd12d9ef9ca526318a495e489575ff8f52440beea3764dcd",
     RLHF_BFLOAT16, RLHF_BFLOAT16},
    {"ppo", false, false, "2da7601184b067b10bae0b8531589378cefef74cd857ebc61275a50f3afa0101",
     RLHF_BFLOAT16, RLHF_FLOAT32},
    {"ppo", true, false, "de4dcdc5a348d1fafa1e2983c5b53a9b48885ad72c0051cded1ff23c2d674089",
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
    if (recorded[which].share)
        set(context, parts.recipe, "share_value_trunk", "true");
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
                const char *variant = recorded[i].share ? " (one trunk)" : recorded[i].gpt2 ? " (gpt2)" : "";
                print_message("%s%s, formats %d %d, threads %d, cpu mask %x, blis %d: %s\n", recorded[i].method,
                              variant, (int)recorded[i].compute_format, (int)recorded[i].weight_format,
                              (int)machines[m].threads,
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
