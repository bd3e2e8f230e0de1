/* PPO written by hand from the library's building blocks, in the loop of by_hand() below: sample, score, shape rewards,
 * estimate advantages, clip, step. Behind it the built-in trainer runs the same recipe from the same start, and both
 * must end in the same weights, bit for bit.
 *
 *     ppo_by_hand [MODEL REWARD_MODEL PROMPTS.jsonl]
 *
 * Change what you like in the loop; the comparison then says that it is no longer the same method. The one thing left
 * out here are rows that a scorer cannot score (NaN): a reward model scores every row. */
#include "tiny_world.h"

enum { ITERATIONS = 10, BATCH = 8, MINI_BATCHES = 2, EPOCHS = 2, ROWS = BATCH * MINI_BATCHES };
enum { UPDATES = ITERATIONS * EPOCHS * MINI_BATCHES, LENGTH = 10, SEED = 7 };
#define TEMPERATURE 0.9
#define LEARNING_RATE 0.002

typedef struct roles {
    rlhf_context *context;
    rlhf_tokenizer *tokenizer;
    rlhf_dataset *prompts;
    rlhf_policy *policy;
    rlhf_reference *reference;
    rlhf_reward_model *reward_model;
    rlhf_value_model *value_model;
} roles;

/* What an iteration knows of every response token. */
enum { MOST = ROWS * LENGTH };
typedef struct arrays {
    double log_prob[MOST], log_prob_ref[MOST], value[MOST], reward[MOST], advantage[MOST], target[MOST];
} arrays;

static void widen(double *out, const float *in, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        out[i] = in[i];
}

static void narrow(float *out, const double *in, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        out[i] = (float)in[i];
}

/* The entries of some rows of an array per response token, one behind the other. */
static void gather(double *out, const double *from, const int64_t *offset, const int64_t *row, int64_t rows)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = offset[row[r]]; i < offset[row[r] + 1]; i++)
            *out++ = from[i];
}

/* One mini-batch: gradients of both losses, then one step of both optimizers. */
static rlhf_status update(roles *with, rlhf_objective *ppo, rlhf_optimizer *policy, rlhf_optimizer *critic,
                          const rlhf_batch *batch, const int64_t *offset, const int64_t *row, const arrays *all)
{
    static double log_prob[BATCH * LENGTH], old[BATCH * LENGTH], advantage[BATCH * LENGTH], d_log_prob[BATCH * LENGTH];
    static double value[BATCH * LENGTH], value_old[BATCH * LENGTH], target[BATCH * LENGTH], d_value[BATCH * LENGTH];
    static float numbers[BATCH * LENGTH];
    rlhf_batch_view view = {.struct_size = sizeof view};
    rlhf_batch *mini = NULL;
    rlhf_status status;

    TRY(rlhf_batch_select(&mini, batch, row, BATCH));
    TRY(rlhf_batch_get(mini, &view));
    int64_t count = view.response_offset[view.rows];
    gather(old, all->log_prob, offset, row, BATCH);
    gather(advantage, all->advantage, offset, row, BATCH);
    gather(value_old, all->value, offset, row, BATCH);
    gather(target, all->target, offset, row, BATCH);

    TRY(rlhf_policy_log_probs(with->policy, mini, TEMPERATURE, numbers, NULL));
    widen(log_prob, numbers, count);
    rlhf_policy_loss_input in = {.struct_size = sizeof in, .samples_per_prompt = 1, .rows = BATCH,
                                 .offset = view.response_offset, .log_prob = log_prob, .log_prob_old = old,
                                 .advantage = advantage, .denominator = (double)count, .denominator_rows = BATCH};
    rlhf_policy_loss_output out = {.struct_size = sizeof out, .d_log_prob = d_log_prob};
    TRY(rlhf_objective_policy_loss(ppo, &in, &out));
    narrow(numbers, d_log_prob, count);
    TRY(rlhf_policy_backward(with->policy, mini, TEMPERATURE, numbers, NULL));

    TRY(rlhf_value_model_values(with->value_model, mini, numbers));
    widen(value, numbers, count);
    rlhf_value_loss_input value_in = {.struct_size = sizeof value_in, .count = count, .value = value,
                                      .value_old = value_old, .value_target = target, .denominator = (double)count};
    rlhf_value_loss_output value_out = {.struct_size = sizeof value_out, .d_value = d_value};
    TRY(rlhf_objective_value_loss(ppo, &value_in, &value_out));
    narrow(numbers, d_value, count);
    TRY(rlhf_value_model_backward(with->value_model, mini, numbers));
    status = rlhf_optimizer_step_joint(policy, critic, NULL, NULL);
done:
    rlhf_batch_release(&mini);
    return status;
}

static rlhf_status by_hand(roles *with)
{
    static arrays all;
    static float numbers[MOST];
    static int64_t epoch[1 << 16]; /* the order of the prompts in the current pass through them */
    rlhf_objective *shaping = NULL, *gae = NULL, *ppo = NULL;
    rlhf_optimizer *policy = NULL, *critic = NULL;
    rlhf_batch *prompts = NULL, *questions = NULL, *batch = NULL;
    rlhf_rollout *rollout = NULL;
    rlhf_optimizer_options steps;
    rlhf_rollout_options sampling;
    int64_t rows = (int64_t)rlhf_dataset_rows(with->prompts);
    rlhf_status status = rows > 0 && rows <= 1 << 16 ? RLHF_OK : RLHF_E_RANGE;

    TRY(status);
    TRY(rlhf_objective_builtin(&shaping, with->context, "kl_reward"));
    TRY(rlhf_objective_builtin(&gae, with->context, "gae"));
    TRY(rlhf_objective_builtin(&ppo, with->context, "ppo"));
    TRY(rlhf_objective_set(shaping, "kl_coef", 0.05));
    TRY(rlhf_objective_set(shaping, "adaptive_kl", 1));
    rlhf_optimizer_options_init(&steps, sizeof steps);
    steps.learning_rate = LEARNING_RATE;
    steps.total_steps = UPDATES;
    TRY(rlhf_optimizer_create_policy(&policy, with->policy, &steps));
    TRY(rlhf_optimizer_create_value_model(&critic, with->value_model, &steps));
    TRY(rlhf_batch_tokenize(&prompts, with->tokenizer, with->prompts, 0, (uint64_t)rows, 0));
    rlhf_rollout_options_init(&sampling, sizeof sampling);
    sampling.max_new_tokens = LENGTH;
    sampling.temperature = TEMPERATURE;
    sampling.seed = SEED;

    for (uint64_t iteration = 0; iteration < ITERATIONS; iteration++) {
        int64_t pick[ROWS], order[ROWS];
        float score[ROWS];
        double scores[ROWS], mean = 0, kl = 0;
        rlhf_rollout_view view = {.struct_size = sizeof view};

        /* Sample: each pass through the prompts has an order of its own. */
        for (int64_t i = 0; i < ROWS; i++) {
            int64_t number = (int64_t)iteration * ROWS + i;
            if (i == 0 || number % rows == 0)
                TRY(rlhf_order_fill(RLHF_ORDER_ROWS, SEED, (uint64_t)(number / rows), rows, epoch));
            pick[i] = epoch[number % rows];
        }
        TRY(rlhf_batch_select(&questions, prompts, pick, ROWS));
        sampling.first_prompt = iteration * ROWS;
        TRY(rlhf_rollout_run(&rollout, with->policy, questions, &sampling, NULL, NULL));
        TRY(rlhf_rollout_get(rollout, &view));
        TRY(rlhf_rollout_batch(rollout, &batch));
        int64_t count = view.response_offset[ROWS];

        /* What the other three models say. The sampler's log-probabilities are training's: nothing to recompute. */
        TRY(rlhf_reward_model_score(with->reward_model, batch, score));
        widen(scores, score, ROWS);
        widen(all.log_prob, view.log_prob, count);
        TRY(rlhf_reference_log_probs(with->reference, batch, TEMPERATURE, numbers));
        widen(all.log_prob_ref, numbers, count);
        TRY(rlhf_value_model_values(with->value_model, batch, numbers));
        widen(all.value, numbers, count);

        /* Rewards per token, then advantages and returns. */
        rlhf_reward_input in = {.struct_size = sizeof in, .rows = ROWS, .offset = view.response_offset,
                                .score = scores, .log_prob = all.log_prob, .log_prob_ref = all.log_prob_ref,
                                .terminated = view.terminated};
        rlhf_reward_output out = {.struct_size = sizeof out, .reward = all.reward};
        TRY(rlhf_objective_reward(shaping, &in, &out));
        rlhf_advantage_input from = {.struct_size = sizeof from, .samples_per_prompt = 1, .rows = ROWS,
                                     .offset = view.response_offset, .reward = all.reward, .value = all.value};
        rlhf_advantage_output to = {.struct_size = sizeof to, .advantage = all.advantage, .value_target = all.target};
        TRY(rlhf_objective_advantage(gae, &from, &to));

        /* Several times through the samples, each time in another order. */
        for (uint64_t e = 0; e < EPOCHS; e++) {
            TRY(rlhf_order_fill(RLHF_ORDER_UPDATES, SEED, iteration * EPOCHS + e, ROWS, order));
            for (int64_t first = 0; first < ROWS; first += BATCH)
                TRY(update(with, ppo, policy, critic, batch, view.response_offset, order + first, &all));
        }
        for (int64_t i = 0; i < ROWS; i++)
            mean += scores[i] / ROWS;
        for (int64_t i = 0; i < count; i++)
            kl += all.log_prob[i] - all.log_prob_ref[i];
        TRY(rlhf_objective_observe_kl(shaping, kl / ROWS, ROWS));
        printf("iteration %2d  score %6.3f  KL %6.3f\n", (int)iteration + 1, mean, kl / ROWS);
        rlhf_rollout_release(&rollout);
        rlhf_batch_release(&questions);
        rlhf_batch_release(&batch);
    }
done:
    rlhf_objective_release(&shaping);
    rlhf_objective_release(&gae);
    rlhf_objective_release(&ppo);
    rlhf_optimizer_release(&policy);
    rlhf_optimizer_release(&critic);
    rlhf_rollout_release(&rollout);
    rlhf_batch_release(&prompts);
    rlhf_batch_release(&questions);
    rlhf_batch_release(&batch);
    return status;
}

/* The same by the trainer. */
static rlhf_status built_in(roles *with)
{
    char batch[16], epochs[16], minis[16], length[16], iterations[16], seed[16];
    const char *const keys[][2] = {
        {"per_device_train_batch_size", batch}, {"num_mini_batches", minis}, {"num_ppo_epochs", epochs},
        {"response_length", length}, {"max_steps", iterations}, {"seed", seed}, {"temperature", "0.9"},
        {"learning_rate", "0.002"}, {"kl_coef", "0.05"}, {"adaptive_kl", "true"}};
    rlhf_recipe *recipe = NULL;
    rlhf_trainer *trainer = NULL;
    rlhf_trainer_options options;
    rlhf_status status;

    snprintf(batch, sizeof batch, "%d", BATCH);
    snprintf(minis, sizeof minis, "%d", MINI_BATCHES);
    snprintf(epochs, sizeof epochs, "%d", EPOCHS);
    snprintf(length, sizeof length, "%d", LENGTH);
    snprintf(iterations, sizeof iterations, "%d", ITERATIONS);
    snprintf(seed, sizeof seed, "%d", SEED);
    rlhf_trainer_options_init(&options, sizeof options);
    options.policy = with->policy;
    options.tokenizer = with->tokenizer;
    options.reference = with->reference;
    options.reward_model = with->reward_model;
    options.value_model = with->value_model;
    options.dataset = with->prompts;
    TRY(rlhf_recipe_create(&recipe, with->context, "ppo"));
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        TRY(rlhf_recipe_set(recipe, keys[i][0], keys[i][1]));
    TRY(rlhf_trainer_create(&trainer, with->context, recipe, &options));
    status = rlhf_trainer_run(trainer);
done:
    rlhf_trainer_release(&trainer);
    rlhf_recipe_release(&recipe);
    return status;
}

/* All roles from files, one of the two trainings, and the hashes of what came out. */
static rlhf_status run(rlhf_context *context, const char *const *path, rlhf_status (*train)(roles *),
                       char hashes[2][65])
{
    roles with = {.context = context};
    rlhf_status status;

    TRY(rlhf_tokenizer_load(&with.tokenizer, context, path[0]));
    TRY(rlhf_policy_load(&with.policy, context, path[0], NULL));
    TRY(rlhf_reference_freeze(&with.reference, with.policy));
    TRY(rlhf_reward_model_load(&with.reward_model, context, path[1], NULL));
    TRY(rlhf_value_model_from_reward_model(&with.value_model, with.reward_model));
    TRY(rlhf_dataset_load(&with.prompts, context, path[2], NULL));
    TRY(train(&with));
    TRY(rlhf_policy_hash(with.policy, hashes[0]));
    TRY(rlhf_value_model_hash(with.value_model, hashes[1]));
    TRY(print_samples("what the policy says now:", with.policy, with.tokenizer, with.prompts, 3));
done:
    rlhf_dataset_release(&with.prompts);
    rlhf_value_model_release(&with.value_model);
    rlhf_reward_model_release(&with.reward_model);
    rlhf_reference_release(&with.reference);
    rlhf_policy_release(&with.policy);
    rlhf_tokenizer_release(&with.tokenizer);
    return status;
}

int main(int argc, char **argv)
{
    rlhf_context *context = NULL;
    tiny_world world;
    char hand[2][65], trainer[2][65];
    int equal = 0;
    rlhf_status status;

    TRY(rlhf_context_create(&context, NULL));
    if (argc < 4)
        TRY(tiny_world_make(&world, context));
    const char *const path[] = {argc < 4 ? world.model : argv[1], argc < 4 ? world.reward : argv[2],
                                argc < 4 ? world.prompts : argv[3]};
    puts("PPO by hand:");
    TRY(run(context, path, by_hand, hand));
    puts("PPO by the trainer:");
    TRY(run(context, path, built_in, trainer));
    equal = memcmp(hand, trainer, sizeof hand) == 0;
    printf("policy       by hand %.16s...  trainer %.16s...\n", hand[0], trainer[0]);
    printf("value model  by hand %.16s...  trainer %.16s...\n", hand[1], trainer[1]);
    puts(equal ? "the same weights, bit for bit" : "NOT the same weights");
done:
    if (finish(context, status) != 0)
        return 1;
    rlhf_context_release(&context);
    return equal ? 0 : 1;
}
