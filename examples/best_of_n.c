/* Best-of-n: sample several answers, keep the one that a reward model likes best. No training, and hard to beat.
 *
 *     best_of_n [MODEL REWARD_MODEL PROMPTS.jsonl]
 *
 * Prints the best answers, and how the score grows with n: an unbiased estimate for every n up to the number sampled,
 * beside the KL to the policy that the choice costs at most. */
#include "tiny_world.h"

enum { SAMPLES = 8, PROMPTS = 24 };

static rlhf_status print_best(const rlhf_tokenizer *tokenizer, const rlhf_dataset *prompts,
                              const rlhf_rollout_view *view, const double *score, const int64_t *best)
{
    for (int64_t p = 0; p < view->rows / SAMPLES && p < 4; p++) {
        rlhf_row row = {.struct_size = sizeof row};
        const int64_t shown[] = {p * SAMPLES, best[p]};
        rlhf_status status = rlhf_dataset_row(prompts, (uint64_t)p, &row);
        if (status != RLHF_OK)
            return status;
        printf("%s\n", row.prompt);
        for (int i = 0; i < 2; i++) {
            int64_t r = shown[i], from = view->offset[r] + view->prompt_length[r];
            char text[512];
            size_t bytes = 0;
            status = rlhf_tokenizer_decode(tokenizer, view->tokens + from, (size_t)(view->offset[r + 1] - from),
                                           RLHF_DECODE_SKIP_SPECIAL, text, sizeof text, &bytes);
            if (status != RLHF_OK)
                return status;
            printf("  %s %6.2f %.*s\n", i == 0 ? "first" : "best ", score[r], (int)bytes, text);
        }
    }
    return RLHF_OK;
}

int main(int argc, char **argv)
{
    rlhf_context *context = NULL;
    rlhf_tokenizer *tokenizer = NULL;
    rlhf_policy *policy = NULL;
    rlhf_reward_model *judge = NULL;
    rlhf_dataset *prompts = NULL;
    rlhf_batch *questions = NULL, *answers = NULL;
    rlhf_rollout *rollout = NULL;
    rlhf_rollout_options options;
    rlhf_rollout_view view = {.struct_size = sizeof view};
    static float raw[PROMPTS * SAMPLES];
    static double score[PROMPTS * SAMPLES];
    rlhf_estimate curve[SAMPLES];
    int64_t best[PROMPTS];
    tiny_world world;
    rlhf_status status;

    TRY(rlhf_context_create(&context, NULL));
    if (argc < 4)
        TRY(tiny_world_make(&world, context));
    TRY(rlhf_tokenizer_load(&tokenizer, context, argc < 4 ? world.model : argv[1]));
    TRY(rlhf_policy_load(&policy, context, argc < 4 ? world.model : argv[1], NULL));
    TRY(rlhf_reward_model_load(&judge, context, argc < 4 ? world.reward : argv[2], NULL));
    TRY(rlhf_dataset_load(&prompts, context, argc < 4 ? world.prompts : argv[3], NULL));
    uint64_t count = rlhf_dataset_rows(prompts) < PROMPTS ? rlhf_dataset_rows(prompts) : PROMPTS;

    /* Sample s of prompt p depends on seed, p and s alone: neither on threads nor on what is sampled beside it. */
    rlhf_rollout_options_init(&options, sizeof options);
    options.samples_per_prompt = SAMPLES;
    options.max_new_tokens = 32;
    options.seed = 1;
    TRY(rlhf_batch_tokenize(&questions, tokenizer, prompts, 0, count, 0));
    TRY(rlhf_rollout_run(&rollout, policy, questions, &options, NULL, NULL));
    TRY(rlhf_rollout_get(rollout, &view));

    TRY(rlhf_rollout_batch(rollout, &answers));
    TRY(rlhf_reward_model_score(judge, answers, raw));
    for (int64_t r = 0; r < view.rows; r++)
        score[r] = raw[r];
    TRY(rlhf_rollout_best_of_n(rollout, score, best));
    TRY(print_best(tokenizer, prompts, &view, score, best));

    TRY(rlhf_evaluate_best_of_n(score, score, (int64_t)count, SAMPLES, curve));
    puts("n   expected score of the best   KL at most");
    for (int n = 1; n <= SAMPLES; n++)
        printf("%d   %6.3f +- %.3f              %.3f nats\n", n, curve[n - 1].mean, curve[n - 1].standard_error,
               rlhf_evaluate_best_of_n_kl(n));
done:
    status = finish(context, status) == 0 ? RLHF_OK : status;
    rlhf_rollout_release(&rollout);
    rlhf_batch_release(&answers);
    rlhf_batch_release(&questions);
    rlhf_dataset_release(&prompts);
    rlhf_reward_model_release(&judge);
    rlhf_policy_release(&policy);
    rlhf_tokenizer_release(&tokenizer);
    rlhf_context_release(&context);
    return status == RLHF_OK ? 0 : 1;
}
