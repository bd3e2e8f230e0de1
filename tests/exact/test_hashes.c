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
} recorded[] = {
    {"pretrain", false, "28a2b0d3b5c32ba7eb5b3b85b47f51d144ec6470f82b1b7b402191ec3c61b34a"},
    {"pretrain", true, "00e74587549e4e9c642bbfa1f20c2f8d54dd330121536ab518758fc4eb17ecbb"},
    {"sft", false, "c341bf1ecc53a69586d1be4d3856a83eaa86f151d88b8b8117ccc122ace14d50"},
    {"reward", false, "ff0a7ef4710361d68336b98c00d465a89ebe2c602b772ef43cc1faeedf96cd0e"},
    {"raft", false, "261bb68b35750688bda2d414d31b53e507628cb19acec20889f6a38a7697031e"},
    {"reinforce", false, "ac77b5691d257fd167548dcd9a23d763a43ae5a5dc4e365c0333f2787b119b5f"},
    {"pairwise", false, "5aa4ff9c72e520e90aa65b0f202483d1a6b261ab24040cef511559e61e8e9a52"},
    {"ppo", false, "8848adfc997d1cca22e2f24d1c5933628c8eb2f2f96e45858fa143d3a15e30c3"},
    {"ppo", true, "d3698b1b833920ae44c2f45b38ff794bc4cbd5fb0a8bcdcd8ab7fd7148a6f281"},
};
enum { RECORDED = sizeof recorded / sizeof recorded[0] };

static void train(rlhf_context *context, int which, char hex[65])
{
    const char *config = recorded[which].gpt2 ? gpt2_config : wide_config;
    struct parts parts;
    rlhf_trainer *trainer;

    make_parts(&parts, context, recorded[which].method);
    rlhf_policy_release(&parts.policy);
    CHECK(context, rlhf_policy_create(&parts.policy, context, config, strlen(config), 3));
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
    };
    int wrong = 0;

    (void)state;
    for (size_t m = 0; m < sizeof machines / sizeof machines[0]; m++) {
        rlhf_context *context = make_context(machines[m].threads, machines[m].cpu_mask, machines[m].use_blis);
        for (int i = 0; i < RECORDED; i++) {
            char hex[65];
            train(context, i, hex);
            if (strcmp(hex, recorded[i].sha256) != 0) {
                print_message("%s%s, threads %d, cpu mask %x, blis %d: %s\n", recorded[i].method,
                              recorded[i].gpt2 ? " (gpt2)" : "", (int)machines[m].threads,
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
