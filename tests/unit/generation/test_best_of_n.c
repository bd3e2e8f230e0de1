/* Best-of-n: the highest score wins, the first among equals, NaN never. */
#include "support.h"

#include <math.h>

static rlhf_context *context;
static rlhf_rollout *rollout; /* 3 prompts, 4 samples each */

static int set_up(void **state)
{
    rlhf_rollout_options options = options_of(3, 4);
    rlhf_policy *policy;
    rlhf_batch *prompts;

    context = make_context(1, UINT32_MAX, NULL);
    policy = make_policy(context, GPT2);
    prompts = make_prompts(context, 3, 2, 61);
    rollout = roll(policy, prompts, &options);
    rlhf_batch_release(&prompts);
    rlhf_policy_release(&policy);
    return 0;
}

static int tear_down(void **state)
{
    rlhf_rollout_release(&rollout);
    rlhf_context_release(&context);
    return 0;
}

static void the_highest_score_of_each_prompt_wins(void **state)
{
    const double score[12] = {1, 4, 2, 3, /**/ -5, -7, -4.5, -6, /**/ 0, 0.25, 1e300, INFINITY};
    int64_t best[3];

    CHECK(rlhf_rollout_best_of_n(rollout, score, best));
    assert_int_equal(best[0], 1);
    assert_int_equal(best[1], 6);
    assert_int_equal(best[2], 11);
}

static void ties_go_to_the_first_and_nan_is_left_out(void **state)
{
    const double score[12] = {2, 7, 7, 7, /**/ NAN, NAN, NAN, NAN, /**/ NAN, -INFINITY, NAN, -INFINITY};
    int64_t best[3];

    CHECK(rlhf_rollout_best_of_n(rollout, score, best));
    assert_int_equal(best[0], 1);
    assert_int_equal(best[1], -1);
    assert_int_equal(best[2], 9);
}

static void null_is_refused(void **state)
{
    const double score[12] = {0};
    int64_t best[3];

    assert_int_equal(rlhf_rollout_best_of_n(NULL, score, best), RLHF_E_INVAL);
    assert_int_equal(rlhf_rollout_best_of_n(rollout, NULL, best), RLHF_E_INVAL);
    assert_int_equal(rlhf_rollout_best_of_n(rollout, score, NULL), RLHF_E_INVAL);
}

/* Two equally likely outcomes and a score that prefers one: the best of two is the worse outcome in a quarter of the
 * cases (algorithms: F(i)^n - F(i-1)^n), so its KL to the sampler is 0.1308, below log 2 - 1/2. A head of zeros makes
 * all tokens equally likely; the outcome is whether the token lies in the upper half of an even vocabulary. */
static void the_chosen_follow_the_known_distribution(void **state)
{
    enum { PROMPTS = 400, TOKENS = 64 };
    static const char config[] = "{\"model_type\":\"gpt2\",\"vocab_size\":64,\"n_positions\":8,\"n_embd\":8,"
                                 "\"n_layer\":1,\"n_head\":2,\"tie_word_embeddings\":true,"
                                 "\"initializer_range\":0,\"eos_token_id\":0}";
    rlhf_rollout_options options = options_of(1, 2);
    rlhf_policy *policy;
    rlhf_batch *prompts;
    rlhf_rollout *pairs;
    rlhf_rollout_view view;
    double score[2 * PROMPTS], low = 0, deviation;
    int64_t best[PROMPTS];

    CHECK(rlhf_policy_create(&policy, context, config, strlen(config), 1, NULL));
    prompts = make_prompts(context, PROMPTS, 1, TOKENS);
    pairs = roll(policy, prompts, &options);
    view = view_of(pairs);
    for (int64_t row = 0; row < view.rows; row++) {
        score[row] = view.tokens[view.offset[row] + 1] >= TOKENS / 2;
        assert_true(fabs((double)view.log_prob[row] + log(TOKENS)) < 1e-6);
    }
    CHECK(rlhf_rollout_best_of_n(pairs, score, best));
    for (int64_t p = 0; p < PROMPTS; p++)
        low += score[best[p]] == 0;
    deviation = sqrt(PROMPTS * 0.25 * 0.75);
    assert_true(fabs(low - PROMPTS * 0.25) < 3.5 * deviation);
    rlhf_rollout_release(&pairs);
    rlhf_batch_release(&prompts);
    rlhf_policy_release(&policy);
}

/* A sampler without randomness has one outcome: the best of any number is the first, at KL 0. */
static void a_greedy_sampler_gains_nothing(void **state)
{
    rlhf_rollout_options options = options_of(5, 4);
    rlhf_policy *policy = make_policy(context, LLAMA);
    rlhf_batch *prompts = make_prompts(context, 2, 2, 97);
    rlhf_rollout *greedy;
    rlhf_rollout_view view;
    double score[8];
    int64_t best[2];

    options.temperature = 0;
    greedy = roll(policy, prompts, &options);
    view = view_of(greedy);
    for (int64_t row = 0; row < 8; row++)
        score[row] = view.tokens[view.offset[row + 1] - 1]; /* any function of the text */
    CHECK(rlhf_rollout_best_of_n(greedy, score, best));
    assert_int_equal(best[0], 0);
    assert_int_equal(best[1], 4);
    rlhf_rollout_release(&greedy);
    rlhf_batch_release(&prompts);
    rlhf_policy_release(&policy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_highest_score_of_each_prompt_wins),
        cmocka_unit_test(ties_go_to_the_first_and_nan_is_left_out),
        cmocka_unit_test(null_is_refused),
        cmocka_unit_test(the_chosen_follow_the_known_distribution),
        cmocka_unit_test(a_greedy_sampler_gains_nothing),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
