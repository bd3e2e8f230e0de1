/* One operation over and over: a training step, scoring, decoding. */
#include "bench.h"

#include <stdlib.h>

typedef struct work {
    bench *bench;
    rlhf_batch *batch;
    rlhf_optimizer *optimizer;
    rlhf_reward_model *trunk;
    int64_t tokens;
    float *numbers; /* per response token: log-probabilities, or the gradients on them */
    rlhf_rollout_options rollout;
} work;

static int finish(work *self, rlhf_status status)
{
    bench *bench = self->bench;
    rlhf_optimizer_release(&self->optimizer);
    rlhf_reward_model_release(&self->trunk);
    rlhf_batch_release(&self->batch);
    free(self->numbers);
    return status == RLHF_OK ? EXIT_DONE : program_fail(bench->program, status, bench->what);
}

/* A batch of whole sequences of which every token but the first is predicted, and a number for each. */
static rlhf_status prepare(work *self)
{
    bench *bench = self->bench;
    rlhf_status status = bench_make_policy(bench);
    self->tokens = bench->batch * (bench->seq - 1);
    self->numbers = malloc((size_t)self->tokens * sizeof *self->numbers);
    if (status == RLHF_OK && self->numbers == NULL)
        status = RLHF_E_NOMEM;
    return status == RLHF_OK ? bench_make_batch(bench, bench->batch, bench->seq, 1, &self->batch) : status;
}

/* ---- train: next-token loss, backward pass, clipping, AdamW ------------------------------------------------------ */

static rlhf_status train_step(void *argument)
{
    work *self = argument;
    double start = clock_seconds(), between;
    rlhf_status status = rlhf_policy_backward(self->bench->policy, self->batch, 1.0, self->numbers, NULL);
    between = clock_seconds();
    bench_add_phase(self->bench, "forward_backward", between - start);
    if (status == RLHF_OK)
        status = rlhf_optimizer_step(self->optimizer, NULL, NULL);
    bench_add_phase(self->bench, "optimizer", clock_seconds() - between);
    return status;
}

static rlhf_status best_of(int times, rlhf_status (*call)(work *self), work *self, double *seconds)
{
    rlhf_status status = RLHF_OK;
    for (int i = 0; i < times && status == RLHF_OK; i++) {
        double start = clock_seconds();
        status = call(self);
        double spent = clock_seconds() - start;
        if (i == 0 || spent < *seconds)
            *seconds = spent;
    }
    return status;
}

static rlhf_status forward(work *self)
{
    return rlhf_policy_log_probs(self->bench->policy, self->batch, 1.0, self->numbers, NULL);
}

static rlhf_status trunk_forward(work *self)
{
    return rlhf_reward_model_score(self->trunk, self->batch, self->numbers);
}

static rlhf_status trunk_both(work *self)
{
    for (int64_t r = 0; r < self->bench->batch; r++)
        self->numbers[r] = 1e-3f;
    return rlhf_reward_model_backward(self->trunk, self->batch, self->numbers);
}

/* Forward passes alone, and passes through the same trunk without the language-model head, are calls of their own; what
 * the step spends beyond them is the rest. The best of several, after the step was timed. */
static rlhf_status train_profile(work *self)
{
    enum { TIMES = 3 };
    bench *bench = self->bench;
    double whole = bench->phase[0].seconds, optimizer = bench->phase[1].seconds, scored = 0, trunk = 0, both = 0;
    rlhf_status status = best_of(TIMES, forward, self, &scored);
    if (status == RLHF_OK)
        status = rlhf_reward_model_from_policy(&self->trunk, bench->policy, bench->seed);
    if (status == RLHF_OK)
        status = best_of(TIMES, trunk_forward, self, &trunk);
    if (status == RLHF_OK)
        status = best_of(TIMES, trunk_both, self, &both);
    bench->phases = 0;
    bench_add_phase(bench, "trunk_forward", trunk);
    bench_add_phase(bench, "head_forward", scored > trunk ? scored - trunk : 0);
    bench_add_phase(bench, "trunk_backward", both > trunk ? both - trunk : 0);
    bench_add_phase(bench, "head_backward", whole - both > scored - trunk ? whole - both - (scored - trunk) : 0);
    bench_add_phase(bench, "optimizer", optimizer);
    return status;
}

int bench_train(bench *bench)
{
    work self = {.bench = bench};
    rlhf_optimizer_options options;
    rlhf_status status = prepare(&self);
    rlhf_optimizer_options_init(&options, sizeof options);
    options.learning_rate = 1e-5;
    options.schedule = RLHF_SCHEDULE_CONSTANT;
    options.weight_decay = 0.01;
    options.max_grad_norm = 1.0;
    if (status == RLHF_OK)
        status = rlhf_optimizer_create_policy(&self.optimizer, bench->policy, &options);
    for (int64_t i = 0; status == RLHF_OK && i < self.tokens; i++)
        self.numbers[i] = -1.0f / (float)self.tokens; /* the gradient of the mean negative log-probability */
    if (status == RLHF_OK)
        status = bench_time(bench, train_step, &self);
    bench->tokens = (double)(bench->batch * bench->seq);
    bench->flops = 3 * bench_forward_flops(&bench->sizes, bench->batch, bench->seq, bench->batch * bench->seq);
    if (status == RLHF_OK && bench->profile)
        status = train_profile(&self);
    return finish(&self, status);
}

/* ---- score ------------------------------------------------------------------------------------------------------- */

static rlhf_status score_step(void *argument)
{
    return forward(argument);
}

int bench_score(bench *bench)
{
    work self = {.bench = bench};
    rlhf_status status = prepare(&self);
    if (status == RLHF_OK)
        status = bench_time(bench, score_step, &self);
    bench->tokens = (double)(bench->batch * bench->seq);
    bench->flops = bench_forward_flops(&bench->sizes, bench->batch, bench->seq, bench->batch * bench->seq);
    return finish(&self, status);
}

/* ---- decode: prompts in, a fixed number of sampled tokens out ---------------------------------------------------- */

static rlhf_status decode_run(work *self)
{
    rlhf_rollout *rollout = NULL;
    rlhf_status status = rlhf_rollout_run(&rollout, self->bench->policy, self->batch, &self->rollout, NULL, NULL);
    rlhf_rollout_release(&rollout);
    return status;
}

static rlhf_status decode_step(void *argument)
{
    return decode_run(argument);
}

int bench_decode(bench *bench)
{
    enum { TIMES = 3 };
    work self = {.bench = bench};
    double bytes =
        bench->model_options.weight_format == RLHF_BFLOAT16 || bench->model_options.compute_format == RLHF_BFLOAT16
            ? 2.0
            : 4.0;
    rlhf_status status = bench_make_policy(bench);
    if (status == RLHF_OK)
        status = bench_make_batch(bench, bench->batch, bench->prompt, (int32_t)bench->prompt, &self.batch);
    rlhf_rollout_options_init(&self.rollout, sizeof self.rollout);
    self.rollout.max_new_tokens = (int32_t)bench->new_tokens;
    self.rollout.batch_size = (int32_t)bench->batch;
    self.rollout.ignore_stop = 1;
    self.rollout.seed = bench->seed;
    if (status == RLHF_OK)
        status = bench_time(bench, decode_step, &self);
    self.rollout.max_new_tokens = 1;
    if (status == RLHF_OK)
        status = best_of(TIMES, decode_run, &self, &bench->prefill_seconds);
    bench->tokens = (double)(bench->batch * bench->new_tokens);
    bench->flops = bench_generation_flops(&bench->sizes, bench->batch, bench->prompt, bench->new_tokens);
    bench->decode_steps = (double)(bench->new_tokens - 1);
    bench->decode_bytes = bytes * (bench->sizes.layer_weights + bench->sizes.head_weights);
    return finish(&self, status);
}
