/* A reward of your own, in ten lines: any function of the texts. This one likes the word that it is told, and answers
 * of few letters. A real one may compile the answer, run a test suite, look into a database, or ask a person.
 *
 *     custom_reward [MODEL PROMPTS.jsonl [WORD]] */
#include "tiny_world.h"

/* Higher is better. NaN says "cannot be scored": such a row takes no part in training. */
static rlhf_status reward(void *user_data, const rlhf_score_input *in, double *score)
{
    const char *word = user_data;

    for (int64_t row = 0; row < in->rows; row++)
        score[row] = (strstr(in->completion[row], word) != NULL) - 0.01 * (double)strlen(in->completion[row]);
    return RLHF_OK;
}

static rlhf_status on_metrics(void *user_data, const rlhf_metrics *metrics)
{
    (void)user_data;
    for (int32_t i = 0; i < metrics->count; i++)
        if (strcmp(metrics->name[i], "reward") == 0)
            printf("%2d/%d  reward %.3f\n", (int)metrics->step, (int)metrics->total_steps, metrics->value[i]);
    return RLHF_OK;
}

int main(int argc, char **argv)
{
    static const char *const keys[][2] = {
        {"max_steps", "15"},       {"per_device_train_batch_size", "32"}, {"num_generations", "4"},
        {"response_length", "10"}, {"learning_rate", "0.003"},            {"kl_coef", "0.05"}};
    char word[64];
    rlhf_context *context = NULL;
    rlhf_tokenizer *tokenizer = NULL;
    rlhf_policy *policy = NULL;
    rlhf_dataset *prompts = NULL;
    rlhf_scorer *scorer = NULL;
    rlhf_recipe *recipe = NULL;
    rlhf_trainer *trainer = NULL;
    rlhf_trainer_options options;
    tiny_world world;
    rlhf_status status;

    snprintf(word, sizeof word, "%s", argc > 3 ? argv[3] : "fresh");
    TRY(rlhf_context_create(&context, NULL));
    if (argc < 3)
        TRY(tiny_world_make(&world, context));
    TRY(rlhf_tokenizer_load(&tokenizer, context, argc < 3 ? world.model : argv[1]));
    TRY(rlhf_policy_load(&policy, context, argc < 3 ? world.model : argv[1], NULL));
    TRY(rlhf_dataset_load(&prompts, context, argc < 3 ? world.prompts : argv[2], NULL));
    TRY(print_samples("before:", policy, tokenizer, prompts, 4));

    TRY(rlhf_scorer_create(&scorer, context, "likes a word", reward, word, NULL));
    TRY(rlhf_recipe_create(&recipe, context, "reinforce"));
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        TRY(rlhf_recipe_set(recipe, keys[i][0], keys[i][1]));
    rlhf_trainer_options_init(&options, sizeof options);
    options.policy = policy;
    options.tokenizer = tokenizer;
    options.dataset = prompts;
    options.scorer = scorer;
    options.output_dir = "";
    options.on_metrics = on_metrics;
    TRY(rlhf_trainer_create(&trainer, context, recipe, &options));
    TRY(rlhf_trainer_run(trainer));
    TRY(print_samples("after:", policy, tokenizer, prompts, 4));
done:
    status = finish(context, status) == 0 ? RLHF_OK : status;
    rlhf_trainer_release(&trainer);
    rlhf_recipe_release(&recipe);
    rlhf_scorer_release(&scorer);
    rlhf_dataset_release(&prompts);
    rlhf_policy_release(&policy);
    rlhf_tokenizer_release(&tokenizer);
    rlhf_context_release(&context);
    return status == RLHF_OK ? 0 : 1;
}
