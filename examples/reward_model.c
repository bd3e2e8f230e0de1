/* A reward model from preferences: pairs of a chosen and a rejected answer to the same prompt.
 *
 *     reward_model [MODEL PAIRS.jsonl RUN_DIRECTORY]
 *
 * It ends with what one should know of a reward model before training against it: how often it agrees with the pairs,
 * and whether its confidence is worth something. (Use pairs that it has not seen; here they are the same.) */
#include "tiny_world.h"

static rlhf_status on_metrics(void *user_data, const rlhf_metrics *metrics)
{
    (void)user_data;
    printf("step %3d/%d", (int)metrics->step, (int)metrics->total_steps);
    for (int32_t i = 0; i < metrics->count; i++)
        if (strcmp(metrics->name[i], "loss") == 0 || strcmp(metrics->name[i], "accuracy") == 0)
            printf("  %s %.3f", metrics->name[i], metrics->value[i]);
    putchar('\n');
    return RLHF_OK;
}

/* Scores of both answers of every pair: a batch of pairs is all chosen ones first, then all rejected ones. */
static rlhf_status measure(rlhf_reward_model *model, const rlhf_tokenizer *tokenizer, const rlhf_dataset *pairs)
{
    rlhf_calibration calibration = {.struct_size = sizeof calibration};
    int64_t count = (int64_t)rlhf_dataset_rows(pairs);
    float *score = malloc((size_t)(2 * count + 1) * sizeof *score);
    double *wide = malloc((size_t)(2 * count + 1) * sizeof *wide);
    rlhf_batch *batch = NULL;
    rlhf_status status = score != NULL && wide != NULL ? RLHF_OK : RLHF_E_NOMEM;

    TRY(status);
    TRY(rlhf_batch_tokenize(&batch, tokenizer, pairs, 0, (uint64_t)count, RLHF_TOKENIZE_EOS));
    TRY(rlhf_reward_model_score(model, batch, score));
    for (int64_t i = 0; i < 2 * count; i++)
        wide[i] = score[i];
    TRY(rlhf_evaluate_calibration(wide, wide + count, count, &calibration));
    printf("accuracy %.3f +- %.3f, expected calibration error %.3f, best temperature %.2f\n", calibration.accuracy,
           calibration.accuracy_standard_error, calibration.expected_calibration_error, calibration.temperature);
    for (int64_t i = 0; i < count && i < 3; i++) {
        rlhf_row row = {.struct_size = sizeof row};
        TRY(rlhf_dataset_row(pairs, (uint64_t)i, &row));
        printf("  %6.2f  %s%s\n  %6.2f  %s%s\n", score[i], row.prompt, row.chosen, score[count + i], row.prompt,
               row.rejected);
    }
done:
    rlhf_batch_release(&batch);
    free(wide);
    free(score);
    return status;
}

int main(int argc, char **argv)
{
    rlhf_context *context = NULL;
    rlhf_tokenizer *tokenizer = NULL;
    rlhf_policy *trunk = NULL;
    rlhf_reward_model *model = NULL;
    rlhf_dataset *pairs = NULL;
    rlhf_recipe *recipe = NULL;
    rlhf_trainer *trainer = NULL;
    rlhf_trainer_options options;
    tiny_world world;
    char output[96], text[256];
    rlhf_status status;

    TRY(rlhf_context_create(&context, NULL));
    if (argc < 4) {
        TRY(tiny_world_make(&world, context));
        snprintf(output, sizeof output, "%s/pairs", world.directory);
    }
    TRY(rlhf_tokenizer_load(&tokenizer, context, argc < 4 ? world.model : argv[1]));
    TRY(rlhf_policy_load(&trunk, context, argc < 4 ? world.model : argv[1], NULL));
    TRY(rlhf_dataset_load(&pairs, context, argc < 4 ? world.pairs : argv[2], NULL));

    /* A head with one output on the policy's trunk; its few weights are random, from a seed. */
    TRY(rlhf_reward_model_from_policy(&model, trunk, 42));
    rlhf_reward_model_describe(model, text, sizeof text);
    printf("%s\n", text);
    TRY(rlhf_recipe_create(&recipe, context, "reward"));
    if (argc < 4) {
        TRY(rlhf_recipe_set(recipe, "learning_rate", "0.003"));
        TRY(rlhf_recipe_set(recipe, "max_steps", "40"));
    }
    rlhf_trainer_options_init(&options, sizeof options);
    options.reward_model = model; /* trained in place */
    options.tokenizer = tokenizer;
    options.dataset = pairs;
    options.output_dir = argc < 4 ? output : argv[3];
    options.on_metrics = on_metrics;
    TRY(rlhf_trainer_create(&trainer, context, recipe, &options));
    TRY(rlhf_trainer_run(trainer));
    TRY(measure(model, tokenizer, pairs));
    printf("written: %s/model\n", options.output_dir);
done:
    status = finish(context, status) == 0 ? RLHF_OK : status;
    rlhf_trainer_release(&trainer);
    rlhf_recipe_release(&recipe);
    rlhf_dataset_release(&pairs);
    rlhf_reward_model_release(&model);
    rlhf_policy_release(&trunk);
    rlhf_tokenizer_release(&tokenizer);
    rlhf_context_release(&context);
    return status == RLHF_OK ? 0 : 1;
}
