/* PPO with a value model and a KL leash to the frozen start, as the trainer runs it (ppo_by_hand.c is the same loop in
 * the open). The value model starts as a copy of the reward model.
 *
 *     ppo [MODEL REWARD_MODEL PROMPTS.jsonl [RUN_DIRECTORY]] */
#include "tiny_world.h"

/* The numbers to look at first; metrics.jsonl of a run directory holds all of them. */
static const char *const shown[] = {"objective/scores", "objective/kl", "policy/clipfrac_avg", "loss/value_avg",
                                    "rlhf/explained_variance"};

static rlhf_status on_metrics(void *user_data, const rlhf_metrics *metrics)
{
    (void)user_data;
    printf("%2d/%d", (int)metrics->step, (int)metrics->total_steps);
    for (size_t s = 0; s < sizeof shown / sizeof shown[0]; s++)
        for (int32_t i = 0; i < metrics->count; i++)
            if (strcmp(metrics->name[i], shown[s]) == 0)
                printf("  %s %.3f", shown[s], metrics->value[i]);
    putchar('\n');
    return RLHF_OK;
}

int main(int argc, char **argv)
{
    static const char *const keys[][2] = {
        {"max_steps", "10"},
        {"per_device_train_batch_size", "16"},
        {"num_mini_batches", "2"}, /* 2 * 16 answers per iteration, two updates per pass through them */
        {"num_ppo_epochs", "3"},
        {"kl_coef", "0.05"},
        {"adaptive_kl", "true"}, /* moves kl_coef so that an answer costs about target_kl */
        {"target_kl", "2"},
        {"response_length", "10"},
        {"learning_rate", "0.002"}, /* for a model as tiny as this; a real one wants 1e-6 or so */
    };
    rlhf_context *context = NULL;
    rlhf_tokenizer *tokenizer = NULL;
    rlhf_policy *policy = NULL;
    rlhf_reward_model *judge = NULL;
    rlhf_dataset *prompts = NULL;
    rlhf_recipe *recipe = NULL;
    rlhf_trainer *trainer = NULL;
    rlhf_trainer_options options;
    tiny_world world;
    rlhf_status status;

    TRY(rlhf_context_create(&context, NULL));
    if (argc < 4)
        TRY(tiny_world_make(&world, context));
    TRY(rlhf_tokenizer_load(&tokenizer, context, argc < 4 ? world.model : argv[1]));
    TRY(rlhf_policy_load(&policy, context, argc < 4 ? world.model : argv[1], NULL));
    TRY(rlhf_reward_model_load(&judge, context, argc < 4 ? world.reward : argv[2], NULL));
    TRY(rlhf_dataset_load(&prompts, context, argc < 4 ? world.prompts : argv[3], NULL));
    TRY(print_samples("before:", policy, tokenizer, prompts, 4));

    TRY(rlhf_recipe_create(&recipe, context, "ppo"));
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        TRY(rlhf_recipe_set(recipe, keys[i][0], keys[i][1]));
    rlhf_trainer_options_init(&options, sizeof options);
    options.policy = policy; /* trained in place */
    options.tokenizer = tokenizer;
    options.reward_model = judge;
    options.dataset = prompts;
    options.output_dir = argc < 5 ? "" : argv[4]; /* "": nothing is written */
    options.on_metrics = on_metrics;
    TRY(rlhf_trainer_create(&trainer, context, recipe, &options));
    TRY(rlhf_trainer_run(trainer));
    TRY(print_samples("after:", policy, tokenizer, prompts, 4));
done:
    status = finish(context, status) == 0 ? RLHF_OK : status;
    rlhf_trainer_release(&trainer);
    rlhf_recipe_release(&recipe);
    rlhf_dataset_release(&prompts);
    rlhf_reward_model_release(&judge);
    rlhf_policy_release(&policy);
    rlhf_tokenizer_release(&tokenizer);
    rlhf_context_release(&context);
    return status == RLHF_OK ? 0 : 1;
}
