/* Whole steps of a trainer: a reward model on pairs, policy gradients, PPO; and how soon a process has done one. */
#include "bench.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

typedef struct work {
    bench *bench;
    rlhf_recipe *recipe;
    rlhf_tokenizer *tokenizer;
    rlhf_dataset *dataset;
    rlhf_scorer *scorer;
    rlhf_reward_model *reward_model;
    rlhf_value_model *value_model;
    rlhf_trainer *trainer;
    double spent[6]; /* by RLHF_PHASE_*, before the step */
} work;

static rlhf_status set(work *self, rlhf_status before, const char *key, const char *value)
{
    return before == RLHF_OK ? rlhf_recipe_set(self->recipe, key, value) : before;
}

static rlhf_status set_integer(work *self, rlhf_status before, const char *key, int64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)value);
    return set(self, before, key, text);
}

static rlhf_status make_recipe(work *self, const char *method)
{
    const bench *bench = self->bench;
    rlhf_status status = rlhf_recipe_create(&self->recipe, bench->program->context, method);
    status = set(self, status, "max_steps", "1000000000"); /* the clock decides, not the data */
    status = set(self, status, "lr_scheduler_type", "constant");
    status = set(self, status, "learning_rate", "1e-6");
    status = set(self, status, "logging_steps", "1");
    status = set(self, status, "save_steps", "0");
    status = set_integer(self, status, "per_device_train_batch_size", bench->micro > 0 ? bench->micro : bench->batch);
    status =
        set_integer(self, status, "gradient_accumulation_steps", bench->micro > 0 ? bench->batch / bench->micro : 1);
    return set_integer(self, status, "seed", (int64_t)(bench->seed & INT32_MAX));
}

/* A stop token cannot come before the end, so that every run does the same work. */
static rlhf_status make_sampling_recipe(work *self, const char *method)
{
    const bench *bench = self->bench;
    rlhf_status status = make_recipe(self, method);
    status = set_integer(self, status, "response_length", bench->new_tokens);
    status = set_integer(self, status, "min_new_tokens", bench->new_tokens);
    return set(self, status, "temperature", "1");
}

static rlhf_status make_data(work *self, int64_t rows, int64_t prompt, int64_t answer)
{
    rlhf_status status = bench_make_tokenizer(self->bench, &self->tokenizer);
    return status == RLHF_OK ? bench_make_dataset(self->bench, rows, prompt, answer, &self->dataset) : status;
}

static rlhf_status trainer_step(void *argument)
{
    static const struct {
        int phase;
        const char *name;
    } phases[] = {{RLHF_PHASE_ROLLOUT, "rollout"}, {RLHF_PHASE_SCORING, "scoring"}, {RLHF_PHASE_UPDATE, "update"}};
    work *self = argument;
    rlhf_progress progress = {.struct_size = sizeof progress};
    rlhf_status status = rlhf_trainer_step(self->trainer);
    if (status == RLHF_OK)
        status = rlhf_trainer_progress(self->trainer, &progress);
    for (size_t i = 0; i < sizeof phases / sizeof phases[0]; i++) {
        double now = progress.seconds[phases[i].phase];
        if (now > self->spent[phases[i].phase])
            bench_add_phase(self->bench, phases[i].name, now - self->spent[phases[i].phase]);
        self->spent[phases[i].phase] = now;
    }
    return status;
}

/* Makes the trainer and hands it the models: whoever else holds a share would keep a copy of the first weights. */
static rlhf_status train(work *self)
{
    bench *bench = self->bench;
    rlhf_trainer_options options;
    rlhf_trainer_options_init(&options, sizeof options);
    options.policy = self->reward_model != NULL && self->value_model == NULL ? NULL : bench->policy;
    options.tokenizer = self->tokenizer;
    options.dataset = self->dataset;
    options.scorer = self->scorer;
    options.reward_model = self->reward_model;
    options.value_model = self->value_model;
    options.output_dir = "";
    rlhf_status status = rlhf_trainer_create(&self->trainer, bench->program->context, self->recipe, &options);
    rlhf_policy_release(&bench->policy);
    rlhf_reward_model_release(&self->reward_model);
    rlhf_value_model_release(&self->value_model);
    return status == RLHF_OK ? bench_time(bench, trainer_step, self) : status;
}

static int finish(work *self, rlhf_status status)
{
    int result = status == RLHF_OK ? EXIT_DONE : program_fail(self->bench->program, status, self->bench->what);
    rlhf_trainer_release(&self->trainer);
    rlhf_value_model_release(&self->value_model);
    rlhf_reward_model_release(&self->reward_model);
    rlhf_scorer_release(&self->scorer);
    rlhf_dataset_release(&self->dataset);
    rlhf_tokenizer_release(&self->tokenizer);
    rlhf_recipe_release(&self->recipe);
    return result;
}

/* ---- reward: pairs, Bradley-Terry -------------------------------------------------------------------------------- */

int bench_reward(bench *bench)
{
    work self = {.bench = bench};
    int64_t prompt = bench->seq / 4, answer = bench->seq - prompt - 1; /* the trainer ends it with EOS */
    rlhf_status status = bench_make_policy(bench);
    if (status == RLHF_OK)
        status = make_recipe(&self, "reward");
    status = set(&self, status, "max_length", "0");
    if (status == RLHF_OK)
        status = make_data(&self, bench->batch, prompt, answer);
    if (status == RLHF_OK)
        status = rlhf_reward_model_from_policy(&self.reward_model, bench->policy, bench->seed);
    if (status == RLHF_OK)
        status = train(&self);
    bench->tokens = (double)(2 * bench->batch * bench->seq);
    bench->flops = 3 * bench_forward_flops(&bench->sizes, 2 * bench->batch, bench->seq, 0);
    return finish(&self, status);
}

/* ---- reinforce: what GRPO and RLOO do, too: samples of a prompt against each other, KL to the reference ---------- */

/* Any number that differs between completions: equal scores would leave nothing to train on. */
static rlhf_status hash_score(void *user_data, const rlhf_score_input *in, double *score)
{
    (void)user_data;
    for (int64_t r = 0; r < in->rows; r++) {
        uint32_t hash = 2166136261u;
        for (int64_t t = in->offset[r] + in->prompt_length[r]; t < in->offset[r + 1]; t++)
            hash = (hash ^ (uint32_t)in->tokens[t]) * 16777619u;
        score[r] = (double)(hash >> 8) / (1 << 24);
    }
    return RLHF_OK;
}

int bench_reinforce(bench *bench)
{
    work self = {.bench = bench};
    int64_t length = bench->prompt + bench->new_tokens, tokens = bench->batch * bench->new_tokens;
    rlhf_status status = bench_make_policy(bench);
    if (status == RLHF_OK)
        status = make_sampling_recipe(&self, "reinforce");
    status = set_integer(&self, status, "num_generations", bench->samples);
    status = set(&self, status, "baseline", bench->samples > 1 ? "leave_one_out" : "batch_mean");
    status = set(&self, status, "kl_coef", "0.04");
    if (status == RLHF_OK)
        status = make_data(&self, 4 * (bench->batch / bench->samples), bench->prompt, 0);
    if (status == RLHF_OK)
        status = rlhf_scorer_create(&self.scorer, bench->program->context, "hash", hash_score, NULL, NULL);
    if (status == RLHF_OK)
        status = train(&self);
    bench->tokens = (double)tokens;
    bench->flops = bench_generation_flops(&bench->sizes, bench->batch, bench->prompt, bench->new_tokens) +
                   4 * bench_forward_flops(&bench->sizes, bench->batch, length, tokens);
    return finish(&self, status);
}

/* ---- ppo: policy, reference, reward and value model of one size -------------------------------------------------- */

int bench_ppo(bench *bench)
{
    work self = {.bench = bench};
    struct bench other = *bench; /* the reward model's weights are its own, as they would be in earnest */
    int64_t length = bench->prompt + bench->new_tokens, tokens = bench->batch * bench->new_tokens;
    rlhf_status status = bench_make_policy(bench);
    other.seed = bench->seed + 1;
    if (status == RLHF_OK)
        status = bench_make_policy(&other);
    if (status == RLHF_OK)
        status = rlhf_reward_model_from_policy(&self.reward_model, other.policy, bench->seed);
    if (status == RLHF_OK)
        status = rlhf_value_model_from_reward_model(&self.value_model, self.reward_model);
    rlhf_policy_release(&other.policy);
    if (status == RLHF_OK)
        status = make_sampling_recipe(&self, "ppo");
    status = set_integer(&self, status, "num_ppo_epochs", bench->epochs);
    if (status == RLHF_OK)
        status = make_data(&self, 2 * bench->batch, bench->prompt, 0);
    if (status == RLHF_OK)
        status = train(&self);
    double with_head = bench_forward_flops(&bench->sizes, bench->batch, length, tokens);
    double body = bench_forward_flops(&bench->sizes, bench->batch, length, 0);
    bench->tokens = (double)tokens;
    bench->flops = bench_generation_flops(&bench->sizes, bench->batch, bench->prompt, bench->new_tokens) +
                   2 * with_head + 2 * body + (double)bench->epochs * 3 * (with_head + body);
    return finish(&self, status);
}

/* ---- startup ----------------------------------------------------------------------------------------------------- */

typedef struct child {
    char *arguments[32];
    int status;
} child;

static rlhf_status start_child(void *argument)
{
    child *self = argument;
    posix_spawn_file_actions_t actions;
    pid_t process;
    self->status = posix_spawn_file_actions_init(&actions);
    if (self->status != 0)
        return RLHF_E_NOMEM;
    self->status = posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    if (self->status == 0)
        self->status = posix_spawn(&process, "/proc/self/exe", &actions, NULL, self->arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (self->status != 0)
        return RLHF_E_IO;
    if (waitpid(process, &self->status, 0) != process)
        return RLHF_E_IO;
    return WIFEXITED(self->status) && WEXITSTATUS(self->status) == 0 ? RLHF_OK : RLHF_E_IO;
}

/* A process of our own from its start to its end, with one step of 2 prompts x 2 samples x 8 tokens. */
int bench_startup(bench *bench)
{
    char threads[16], dtype[16], shape[4096];
    snprintf(threads, sizeof threads, "%d", bench->threads);
    snprintf(shape, sizeof shape, "%s", bench->shape);
    snprintf(dtype, sizeof dtype, "%s", bench->dtype);
    child self = {.arguments = {"rlhf",    "bench",     "reinforce", bench->model != NULL ? "--model" : "--shape",
                                shape,     "--threads", threads,     "--dtype",
                                dtype,     "--batch",   "4",         "--samples",
                                "2",       "--micro",   "4",         "--prompt",
                                "64",      "--new",     "8",         "--warmup",
                                "0",       "--repeat",  "1",         "--no-peaks",
                                "--quiet", NULL}};
    rlhf_status status = bench_time(bench, start_child, &self);
    if (status != RLHF_OK) {
        fprintf(stderr, "rlhf: bench startup: another process of this program could not be run to its end (%d)\n",
                self.status);
        return EXIT_FAILED;
    }
    bench->processor.count = 0; /* ours, not the child's */
    bench->megabytes = bench_peak_megabytes(RUSAGE_CHILDREN);
    bench->batch = 4;
    bench->samples = 2;
    bench->prompt = 64;
    bench->new_tokens = 8;
    return EXIT_DONE;
}
