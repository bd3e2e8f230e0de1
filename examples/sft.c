/* Supervised fine-tuning: from demonstrations (prompt, completion) to a policy that answers like them.
 *
 *     sft [MODEL DEMONSTRATIONS.jsonl RUN_DIRECTORY]
 *
 * The run directory gets metrics.jsonl, checkpoints and, at the end, model/ as a Hugging Face directory. */
#include "tiny_world.h"

static rlhf_status on_metrics(void *user_data, const rlhf_metrics *metrics)
{
    (void)user_data;
    for (int32_t i = 0; i < metrics->count; i++)
        if (strcmp(metrics->name[i], "loss") == 0)
            printf("step %3d/%d  loss %.3f nats per token\n", (int)metrics->step, (int)metrics->total_steps,
                   metrics->value[i]);
    return RLHF_OK; /* anything else would stop the run and come out of rlhf_trainer_run */
}

int main(int argc, char **argv)
{
    rlhf_context *context = NULL;
    rlhf_tokenizer *tokenizer = NULL;
    rlhf_policy *policy = NULL;
    rlhf_dataset *demonstrations = NULL;
    rlhf_recipe *recipe = NULL;
    rlhf_trainer *trainer = NULL;
    rlhf_trainer_options options;
    tiny_world world;
    char output[96];
    rlhf_status status;

    TRY(rlhf_context_create(&context, NULL));
    if (argc < 4) {
        TRY(tiny_world_make(&world, context));
        snprintf(output, sizeof output, "%s/sft", world.directory);
    }
    TRY(rlhf_tokenizer_load(&tokenizer, context, argc < 4 ? world.model : argv[1]));
    TRY(rlhf_policy_load(&policy, context, argc < 4 ? world.model : argv[1], NULL));
    TRY(rlhf_dataset_load(&demonstrations, context, argc < 4 ? world.demonstrations : argv[2], NULL));
    TRY(print_samples("before:", policy, tokenizer, demonstrations, 4));

    /* Every key has a default that is TRL's; `rlhf sft --keys` lists them. */
    TRY(rlhf_recipe_create(&recipe, context, "sft"));
    if (argc < 4) {
        TRY(rlhf_recipe_set(recipe, "learning_rate", "0.005"));
        TRY(rlhf_recipe_set(recipe, "max_steps", "40"));
    }
    rlhf_trainer_options_init(&options, sizeof options);
    options.policy = policy; /* trained in place */
    options.tokenizer = tokenizer;
    options.dataset = demonstrations;
    options.output_dir = argc < 4 ? output : argv[3];
    options.on_metrics = on_metrics;
    TRY(rlhf_trainer_create(&trainer, context, recipe, &options));
    TRY(rlhf_trainer_run(trainer));

    TRY(print_samples("after:", policy, tokenizer, demonstrations, 4));
    printf("written: %s/model\n", options.output_dir);
done:
    status = finish(context, status) == 0 ? RLHF_OK : status;
    rlhf_trainer_release(&trainer);
    rlhf_recipe_release(&recipe);
    rlhf_dataset_release(&demonstrations);
    rlhf_policy_release(&policy);
    rlhf_tokenizer_release(&tokenizer);
    rlhf_context_release(&context);
    return status == RLHF_OK ? 0 : 1;
}
