/* The first promise: log-probabilities recorded while sampling are those that training computes, bit for bit. So before
 * the first update every importance ratio is exactly 1 and every KL to the frozen reference exactly 0, whatever the
 * batch, the threads, the instruction sets and the product library; and all of these give the same tokens. */
#include "parity/model_fixtures.h"

#include "generation/generation.h"

enum { PROMPTS = 4, SAMPLES = 3, LONGEST = 7, NEW_TOKENS = 24 };

struct setting {
    int32_t batch_size, threads, use_blis;
    uint32_t cpu_mask;
};

static rlhf_batch *make_prompts(rlhf_context *context, int64_t vocabulary)
{
    int64_t offset[PROMPTS + 1] = {0};
    int32_t tokens[PROMPTS * LONGEST], length[PROMPTS];
    rlhf_batch *prompts;

    for (int64_t p = 0; p < PROMPTS; p++) {
        length[p] = (int32_t)(1 + 5 * p % LONGEST);
        offset[p + 1] = offset[p] + length[p];
        for (int64_t t = 0; t < length[p]; t++)
            tokens[offset[p] + t] = (int32_t)((97 * p + 41 * t + 13) % vocabulary);
    }
    check_ok(context, rlhf_batch_create(&prompts, context, PROMPTS, offset, tokens, length), "prompts");
    return prompts;
}

/* Ratio and KL of all tokens of a rollout; then its tokens and log-probabilities into *hash. */
static void check_rollout(rlhf_context *context, rlhf_policy *policy, const rlhf_rollout *rollout, double temperature,
                          rlhfi_sha256 *hash)
{
    rlhf_rollout_view view = {.struct_size = sizeof view};
    rlhf_reference *reference;
    rlhf_batch *batch;
    float *trained, *frozen;
    size_t count;

    check_ok(context, rlhf_rollout_get(rollout, &view), "view");
    check_ok(context, rlhf_rollout_batch(rollout, &batch), "batch");
    check_ok(context, rlhf_reference_freeze(&reference, policy), "reference");
    count = (size_t)view.response_offset[view.rows];
    assert_true(count > 2 * PROMPTS * SAMPLES);
    trained = calloc(count, sizeof *trained);
    frozen = calloc(count, sizeof *frozen);
    check_ok(context, rlhf_policy_log_probs(policy, batch, temperature, trained, NULL), "log-probabilities");
    check_ok(context, rlhf_reference_log_probs(reference, batch, temperature, frozen), "reference");
    for (size_t i = 0; i < count; i++) {
        double ratio = exp((double)trained[i] - (double)view.log_prob[i]);
        double kl = (double)view.log_prob[i] - (double)frozen[i];

        if (ratio != 1 || kl != 0 || !(view.log_prob[i] <= 0) || isinf(view.log_prob[i]))
            fail_msg("token %zu: sampled %.9g, training %.9g, reference %.9g", i, (double)view.log_prob[i],
                     (double)trained[i], (double)frozen[i]);
    }
    assert_memory_equal(view.log_prob, trained, count * sizeof *trained);
    rlhfi_sha256_add(hash, view.tokens, (size_t)view.offset[view.rows] * sizeof *view.tokens);
    rlhfi_sha256_add(hash, view.log_prob, count * sizeof *view.log_prob);
    rlhfi_sha256_add(hash, view.terminated, (size_t)view.rows * sizeof *view.terminated);
    free(trained);
    free(frozen);
    rlhf_reference_release(&reference);
    rlhf_batch_release(&batch);
}

static void sample_and_check(const char *directory, const rlhf_model_options *formats, const struct setting *setting,
                             char hex[65])
{
    static const double temperatures[] = {1, 0.7};
    rlhf_context *context = make_context(setting->threads, setting->cpu_mask, setting->use_blis);
    rlhf_rollout_options options;
    rlhf_policy *policy;
    rlhf_rollout *rollout;
    rlhf_batch *prompts;
    rlhfi_sha256 hash;

    check_ok(context, rlhf_policy_load(&policy, context, directory, formats), directory);
    prompts = make_prompts(context, rlhf_policy_vocabulary(policy));
    rlhf_rollout_options_init(&options, sizeof options);
    options.max_new_tokens = NEW_TOKENS;
    options.samples_per_prompt = SAMPLES;
    options.batch_size = setting->batch_size;
    options.seed = 20;
    rlhfi_sha256_init(&hash);
    for (size_t i = 0; i < sizeof temperatures / sizeof *temperatures; i++) {
        options.temperature = temperatures[i];
        check_ok(context, rlhf_rollout_run(&rollout, policy, prompts, &options, NULL, NULL), "rollout");
        check_rollout(context, policy, rollout, options.temperature, &hash);
        rlhf_rollout_release(&rollout);
    }
    rlhfi_sha256_hex(&hash, hex);
    rlhf_batch_release(&prompts);
    rlhf_policy_release(&policy);
    rlhf_context_release(&context);
}

/* Plain C computes each fused operation by itself, which is slow: two halves of its settings are enough. */
static bool left_out(const struct setting *setting)
{
    return setting->cpu_mask == 0 && (setting->threads == 1) != (setting->use_blis == (setting->batch_size > 1));
}

/* recorded: the beginning of the hash of all tokens and log-probabilities, the same on every machine. It moves when the
 * specified arithmetic or the stream of random numbers does, and only then. */
static void check_model_as(const char *directory, const rlhf_model_options *formats, const char *recorded)
{
    static const int32_t batch_sizes[] = {64, 1};
    static const uint32_t masks[] = {RLHF_CPU_AVX2 | RLHF_CPU_AVX512, RLHF_CPU_AVX2, 0,
                                     RLHF_CPU_AVX2 | RLHF_CPU_AVX512 | RLHF_CPU_AVX512_BF16};
    const size_t machines = formats != NULL ? 4 : 3; /* the last one matters to bf16 alone */
    char hex[65];
    int settings = 0;

    if (!rlhfi_path_exists(directory))
        SKIP("no %s", directory);
    for (size_t b = 0; b < sizeof batch_sizes / sizeof *batch_sizes; b++)
        for (size_t m = 0; m < machines; m++)
            for (int32_t threads = 1; threads <= 2; threads++)
                for (int32_t blis = 0; blis <= 1; blis++) {
                    struct setting setting = {batch_sizes[b], threads, blis, masks[m]};

                    if (left_out(&setting))
                        continue;
                    sample_and_check(directory, formats, &setting, hex);
                    settings++;
                    if (strncmp(hex, recorded, strlen(recorded)) != 0)
                        fail_msg("hash %.16s, recorded %s: batch size %d, %d threads, cpu mask %u, BLIS %d", hex,
                                 recorded, (int)setting.batch_size, (int)threads, (unsigned)setting.cpu_mask,
                                 (int)blis);
                }
    assert_int_equal(settings, formats != NULL ? 28 : 20);
}

static void check_model(const char *directory, const char *recorded)
{
    check_model_as(directory, NULL, recorded);
}

/* Weights as floats and as bf16: the file has bf16, so both are the same numbers and give the same hash. */
static void check_model_bf16(const char *directory, const char *recorded)
{
    rlhf_model_options formats;

    rlhf_model_options_init(&formats, sizeof formats);
    formats.compute_format = RLHF_BFLOAT16;
    check_model_as(directory, &formats, recorded);
    formats.weight_format = RLHF_BFLOAT16;
    check_model_as(directory, &formats, recorded);
}

static void ratio_is_one_gpt2(void **state)
{
    char path[4096];

    check_model(golden_path("models/gpt2", path), "e31054179f9bf59a");
}

static void ratio_is_one_llama(void **state)
{
    char path[4096];

    check_model(golden_path("models/llama", path), "9565fca4d611ce05");
}

static void ratio_is_one_llama_tied(void **state)
{
    char path[4096];

    check_model(golden_path("models/llama_tied", path), "6b394eb2bc73311b");
}

static void ratio_is_one_llama3_rope(void **state)
{
    char path[4096];

    check_model(golden_path("models/llama3_rope", path), "24b36fda7682fe26");
}

static void ratio_is_one_stories(void **state)
{
    char path[4096];

    check_model(shared_path("models/stories260K", path), "be0d0b5e44ba1408");
}

static void ratio_is_one_bf16(void **state)
{
    char path[4096];

    check_model_bf16(golden_path("models/llama_bf16", path), "295905d4e8c62f2d");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ratio_is_one_gpt2),       cmocka_unit_test(ratio_is_one_llama),
        cmocka_unit_test(ratio_is_one_llama_tied), cmocka_unit_test(ratio_is_one_llama3_rope),
        cmocka_unit_test(ratio_is_one_stories),    cmocka_unit_test(ratio_is_one_bf16),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
