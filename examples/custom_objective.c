/* An objective of your own: GSPO (2507.18071), which is not built in. Instead of PPO's ratio per token it takes one
 * ratio per answer, the geometric mean of its tokens' ratios, and clips that; advantages compare the answers to one
 * prompt. Two functions, arrays in and gradients out: no model is in sight, the library owns the backward pass.
 *
 *     custom_objective [MODEL REWARD_MODEL PROMPTS.jsonl] */
#include "tiny_world.h"

typedef struct gspo {
    double clip;
    long clipped, answers; /* for the report below */
} gspo;

/* Advantage of an answer: its reward against mean and deviation of its group. */
static rlhf_status advantage(void *user_data, const rlhf_advantage_input *in, rlhf_advantage_output *out)
{
    int64_t size = in->samples_per_prompt;

    (void)user_data;
    for (int64_t group = 0; group < in->rows / size; group++) {
        const int64_t *offset = in->offset + group * size;
        double sum = 0, squares = 0;
        for (int pass = 0; pass < 2; pass++) /* the second writes what the first has summed up */
            for (int64_t r = 0; r < size; r++) {
                double total = 0, mean = sum / (double)size, variance = squares / (double)size - mean * mean;
                for (int64_t i = offset[r]; i < offset[r + 1]; i++)
                    total += in->reward[i];
                for (int64_t i = offset[r]; pass == 1 && i < offset[r + 1]; i++)
                    out->advantage[i] = (total - mean) / (sqrt(variance > 0 ? variance : 0) + 1e-4);
                if (pass == 0)
                    sum += total, squares += total * total;
            }
    }
    return RLHF_OK;
}

/* loss = -mean over answers of min(s A, clip(s) A), s = exp(mean over tokens of log_prob - log_prob_old). */
static rlhf_status policy_loss(void *user_data, const rlhf_policy_loss_input *in, rlhf_policy_loss_output *out)
{
    gspo *self = user_data;

    for (int64_t r = 0; r < in->rows; r++) {
        int64_t from = in->offset[r], to = in->offset[r + 1];
        double difference = 0, length = (double)(to - from), ratio, a, bounded;
        if (from == to)
            continue;
        for (int64_t i = from; i < to; i++)
            difference += in->log_prob[i] - in->log_prob_old[i];
        ratio = exp(difference / length);
        bounded = ratio < 1 - self->clip ? 1 - self->clip : ratio > 1 + self->clip ? 1 + self->clip : ratio;
        a = in->advantage[from];
        self->answers++;
        if (bounded * a < ratio * a) { /* the bound is the smaller one: no gradient */
            out->loss -= bounded * a / in->denominator_rows;
            out->clipped += length;
            self->clipped++;
            continue;
        }
        out->loss -= ratio * a / in->denominator_rows;
        for (int64_t i = from; i < to; i++) /* d s / d log_prob = s / length */
            out->d_log_prob[i] = -ratio * a / length / in->denominator_rows;
    }
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
    /* "pairwise" is the recipe of groups; with an objective of your own nothing in it is pairwise any more. */
    static const char *const keys[][2] = {
        {"max_steps", "8"},       {"num_generations", "4"}, {"per_device_train_batch_size", "16"},
        {"num_mini_batches", "2"}, {"num_ppo_epochs", "2"},  {"beta", "0.02"},
        {"response_length", "10"}, {"learning_rate", "0.003"}};
    gspo state = {.clip = 0.1};
    rlhf_objective_vtable vtable = {.struct_size = sizeof vtable, .need = RLHF_NEED_GROUPS, .name = "gspo",
                                    .advantage = advantage, .policy_loss = policy_loss};
    rlhf_context *context = NULL;
    rlhf_tokenizer *tokenizer = NULL;
    rlhf_policy *policy = NULL;
    rlhf_reward_model *judge = NULL;
    rlhf_dataset *prompts = NULL;
    rlhf_objective *objective = NULL;
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
    TRY(rlhf_objective_create(&objective, context, &vtable, &state));
    TRY(rlhf_recipe_create(&recipe, context, "pairwise"));
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        TRY(rlhf_recipe_set(recipe, keys[i][0], keys[i][1]));
    rlhf_trainer_options_init(&options, sizeof options);
    options.policy = policy;
    options.tokenizer = tokenizer;
    options.reward_model = judge;
    options.dataset = prompts;
    options.objective = objective;
    options.output_dir = "";
    options.on_metrics = on_metrics;
    TRY(rlhf_trainer_create(&trainer, context, recipe, &options));
    TRY(rlhf_trainer_run(trainer));
    printf("clipped %.1f %% of %ld answers\n", 100.0 * (double)state.clipped / (double)state.answers, state.answers);
    TRY(print_samples("what the policy says now:", policy, tokenizer, prompts, 4));
done:
    status = finish(context, status) == 0 ? RLHF_OK : status;
    rlhf_trainer_release(&trainer);
    rlhf_recipe_release(&recipe);
    rlhf_objective_release(&objective);
    rlhf_dataset_release(&prompts);
    rlhf_reward_model_release(&judge);
    rlhf_policy_release(&policy);
    rlhf_tokenizer_release(&tokenizer);
    rlhf_context_release(&context);
    return status == RLHF_OK ? 0 : 1;
}
