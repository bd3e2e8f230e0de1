/* The user's code inside a run: callbacks, scorers, objectives. What they return comes out, and a step that fails
 * leaves everything as it was. */
#include "runs.h"

enum { MINE = RLHF_E_USER_FIRST - 7 };

static rlhf_context *context;

static int setup(void **state)
{
    (void)state;
    context = make_context(1, ~0u, 1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rlhf_context_release(&context);
    return 0;
}

static rlhf_trainer *create(struct parts *parts)
{
    rlhf_trainer *trainer;

    CHECK(context, rlhf_trainer_create(&trainer, context, parts->recipe, &parts->options));
    return trainer;
}

static void hash_of_run(struct parts *parts, char hex[65])
{
    rlhf_trainer *trainer = create(parts);

    CHECK(context, rlhf_trainer_run(trainer));
    result_hash(context, trainer, hex);
    rlhf_trainer_release(&trainer);
}

static void undisturbed(const char *method, char hex[65])
{
    struct parts parts;

    make_parts(&parts, context, method);
    hash_of_run(&parts, hex);
    release_parts(&parts);
}

/* ---- metrics and progress ---------------------------------------------------------------------------------------- */

struct watcher {
    rlhf_trainer *trainer;
    int calls, fail_call, stop_phase;
    bool act, cancel, release;
    rlhf_status seen[4];
};

static rlhf_status watch_metrics(void *user_data, const rlhf_metrics *metrics)
{
    struct watcher *self = user_data;

    self->calls++;
    assert_int_equal(metrics->step, self->calls);
    assert_int_equal(metrics->total_steps, 4);
    assert_true(metrics->count > 3);
    if (self->act) {
        rlhf_metrics again = {.struct_size = sizeof again};
        rlhf_progress progress = {.struct_size = sizeof progress};
        self->seen[0] = rlhf_trainer_step(self->trainer);
        self->seen[1] = rlhf_trainer_run(self->trainer);
        self->seen[2] = rlhf_trainer_save(self->trainer);
        assert_int_equal(rlhf_trainer_metrics(self->trainer, &again), RLHF_OK);
        assert_int_equal(rlhf_trainer_progress(self->trainer, &progress), RLHF_OK);
    }
    if (self->cancel && self->calls == 2)
        rlhf_context_cancel(context);
    if (self->release && self->calls == 2)
        rlhf_trainer_release(&self->trainer);
    return self->calls == self->fail_call ? MINE : RLHF_OK;
}

static rlhf_status watch_progress(void *user_data, const rlhf_progress *progress)
{
    struct watcher *self = user_data;

    assert_true(progress->phase >= RLHF_PHASE_ROLLOUT && progress->phase <= RLHF_PHASE_EVAL);
    assert_int_equal(progress->total_steps, 4);
    assert_true(progress->seconds[0] >= progress->seconds[progress->phase]);
    if (progress->phase == self->stop_phase && ++self->calls == self->fail_call)
        return MINE;
    return RLHF_OK;
}

static void test_metrics_error_comes_out(void **state)
{
    struct parts parts;
    struct watcher watcher = {.fail_call = 2};
    rlhf_trainer *trainer;
    char hex[65], expected[65];

    (void)state;
    undisturbed("sft", expected);
    make_parts(&parts, context, "sft");
    parts.options.on_metrics = watch_metrics;
    parts.options.user_data = &watcher;
    trainer = create(&parts);
    assert_int_equal(rlhf_trainer_run(trainer), MINE);
    assert_error(context, "on_metrics");
    assert_int_equal(trainer->state.step, 2);
    CHECK(context, rlhf_trainer_run(trainer)); /* the step was whole: the run can go on */
    assert_int_equal(watcher.calls, 4);
    result_hash(context, trainer, hex);
    assert_string_equal(hex, expected);
    rlhf_trainer_release(&trainer);
    release_parts(&parts);
}

static void test_callback_may_look_not_act(void **state)
{
    struct parts parts;
    struct watcher watcher = {.act = true};

    (void)state;
    make_parts(&parts, context, "sft");
    parts.options.on_metrics = watch_metrics;
    parts.options.user_data = &watcher;
    watcher.trainer = create(&parts);
    CHECK(context, rlhf_trainer_run(watcher.trainer));
    for (int i = 0; i < 3; i++)
        assert_int_equal(watcher.seen[i], RLHF_E_BUSY);
    rlhf_trainer_release(&watcher.trainer);
    release_parts(&parts);

    watcher = (struct watcher){.release = true, .fail_call = 2};
    make_parts(&parts, context, "sft");
    parts.options.on_metrics = watch_metrics;
    parts.options.user_data = &watcher;
    watcher.trainer = create(&parts);
    assert_int_equal(rlhf_trainer_run(watcher.trainer), MINE);
    assert_null(watcher.trainer);
    release_parts(&parts);
}

/* A stop in any phase, at several moments: afterwards the run goes on to the same bits. */
static void test_progress_error_comes_out(void **state)
{
    static const int phases[] = {RLHF_PHASE_ROLLOUT, RLHF_PHASE_SCORING, RLHF_PHASE_UPDATE};

    (void)state;
    for (int m = 0; m < ALL_METHODS; m += (int)pace(3)) {
        char expected[65], hex[65];
        undisturbed(all_methods[m], expected);
        for (size_t p = 0; p < sizeof phases / sizeof phases[0]; p++) {
            struct parts parts;
            struct watcher watcher = {.fail_call = 3, .stop_phase = phases[p]};
            rlhf_trainer *trainer;
            rlhf_status status;
            make_parts(&parts, context, all_methods[m]);
            parts.options.on_progress = watch_progress;
            parts.options.user_data = &watcher;
            trainer = create(&parts);
            status = rlhf_trainer_run(trainer);
            if (kind_of(all_methods[m]) == RLHF_ROW_PROMPT || phases[p] == RLHF_PHASE_UPDATE) {
                assert_int_equal(status, MINE);
                assert_error(context, "on_progress");
                CHECK(context, rlhf_trainer_run(trainer));
            } else {
                CHECK(context, status);
            }
            result_hash(context, trainer, hex);
            assert_string_equal(hex, expected);
            rlhf_trainer_release(&trainer);
            release_parts(&parts);
        }
    }
}

/* ---- scorers ----------------------------------------------------------------------------------------------------- */

static void test_scorer_error_comes_out(void **state)
{
    static const char *const methods[] = {"raft", "reinforce", "pairwise", "ppo"};

    (void)state;
    for (int m = 0; m < 4; m++) {
        struct parts parts;
        rlhf_trainer *trainer;
        char expected[65], hex[65];
        undisturbed(methods[m], expected);
        make_parts(&parts, context, methods[m]);
        parts.counting.fail_call = 2;
        parts.counting.fail_with = MINE;
        trainer = create(&parts);
        assert_int_equal(rlhf_trainer_run(trainer), MINE);
        assert_int_equal(trainer->state.step, 1);
        CHECK(context, rlhf_trainer_run(trainer));
        result_hash(context, trainer, hex);
        assert_string_equal(hex, expected);
        rlhf_trainer_release(&trainer);
        release_parts(&parts);
    }
}

static rlhf_status nothing_scorable(void *user_data, const rlhf_score_input *in, double *score)
{
    (void)user_data;
    for (int64_t row = 0; row < in->rows; row++)
        score[row] = NAN;
    return RLHF_OK;
}

static void test_unscorable_rows_take_no_part(void **state)
{
    static const struct {
        const char *method;
        double left_out;
    } cases[] = {
        /* of 4 (8, 12) rows every third beginning with 1 is NaN; pairs lose their partners too */
        {"ppo", 3},
        {"reinforce", 1},
        {"pairwise", 2},
        {"raft", 4},
    };

    (void)state;
    for (int m = 0; m < 4; m++) {
        struct parts parts;
        rlhf_trainer *trainer;
        char before[65], after[65];
        make_parts(&parts, context, cases[m].method);
        parts.counting.unscorable_every = 3;
        trainer = create(&parts);
        CHECK(context, rlhf_trainer_step(trainer));
        if (metric(context, trainer, "rlhf/unscorable") != cases[m].left_out)
            fail_msg("%s: %g rows were left out", cases[m].method, metric(context, trainer, "rlhf/unscorable"));
        CHECK(context, rlhf_trainer_run(trainer));
        rlhf_trainer_release(&trainer);
        rlhf_scorer_release(&parts.scorer);
        CHECK(context, rlhf_scorer_create(&parts.scorer, context, "nothing", nothing_scorable, NULL, NULL));
        parts.options.scorer = parts.scorer;
        trainer = create(&parts);
        result_hash(context, trainer, before);
        CHECK(context, rlhf_trainer_run(trainer));
        result_hash(context, trainer, after);
        assert_string_equal(before, after);
        assert_false(has_metric(context, trainer, "loss"));
        rlhf_trainer_release(&trainer);
        release_parts(&parts);
    }
}

static rlhf_status check_extra(void *user_data, const rlhf_score_input *in, double *score)
{
    for (int64_t row = 0; row < in->rows; row++) {
        const char *number = strstr(in->extra[row], "\"number\":");
        char prompt[64];
        assert_non_null(number);
        snprintf(prompt, sizeof prompt, "what did %s do?", subjects[atoi(number + 9) % 5]);
        assert_string_equal(in->prompt[row], prompt);
        score[row] = (double)strlen(in->completion[row]);
        ++*(int *)user_data;
    }
    return RLHF_OK;
}

/* Prompts of any kind of row, with the row's other columns. */
static void test_scorer_sees_the_row(void **state)
{
    static const int32_t kinds[] = {RLHF_ROW_PROMPT, RLHF_ROW_PROMPT_COMPLETION, RLHF_ROW_PREFERENCE};

    (void)state;
    for (int k = 0; k < 3; k++) {
        struct parts parts;
        rlhf_trainer *trainer;
        int rows = 0;
        make_parts(&parts, context, "reinforce");
        rlhf_dataset_release(&parts.dataset);
        parts.options.dataset = parts.dataset = make_dataset(context, kinds[k], 10);
        rlhf_scorer_release(&parts.scorer);
        CHECK(context, rlhf_scorer_create(&parts.scorer, context, "extra", check_extra, &rows, NULL));
        parts.options.scorer = parts.scorer;
        parts.options.gold_scorer = parts.scorer;
        trainer = create(&parts);
        CHECK(context, rlhf_trainer_run(trainer));
        assert_int_equal(rows, 2 * 4 * 4);
        assert_true(metric(context, trainer, "rlhf/gold_score") == metric(context, trainer, "reward"));
        rlhf_trainer_release(&trainer);
        release_parts(&parts);
    }
}

/* ---- objectives -------------------------------------------------------------------------------------------------- */

struct mine {
    rlhf_objective *inner;
    int calls, nan_call;
    bool first_ratio_was_one;
};

static rlhf_status my_token_loss(void *user_data, const rlhf_token_loss_input *in, rlhf_token_loss_output *out)
{
    struct mine *self = user_data;

    RLHFI_TRY(rlhf_objective_token_loss(self->inner, in, out));
    if (++self->calls == self->nan_call)
        out->loss = NAN;
    return RLHF_OK;
}

static rlhf_status my_pair_loss(void *user_data, const rlhf_pair_loss_input *in, rlhf_pair_loss_output *out)
{
    struct mine *self = user_data;

    self->calls++;
    return rlhf_objective_pair_loss(self->inner, in, out);
}

static rlhf_status my_policy_loss(void *user_data, const rlhf_policy_loss_input *in, rlhf_policy_loss_output *out)
{
    struct mine *self = user_data;

    if (self->calls++ == 0)
        self->first_ratio_was_one =
            memcmp(in->log_prob, in->log_prob_old, (size_t)in->offset[in->rows] * sizeof *in->log_prob) == 0;
    RLHFI_TRY(rlhf_objective_policy_loss(self->inner, in, out));
    if (self->calls == self->nan_call)
        out->d_log_prob[0] = INFINITY;
    return RLHF_OK;
}

static rlhf_objective *make_mine(struct mine *self, const char *builtin, uint32_t need)
{
    const char *method = builtin;
    rlhf_objective_vtable vtable = {.struct_size = sizeof vtable, .need = need, .name = "mine"};
    rlhf_objective *objective;

    memset(self, 0, sizeof *self);
    CHECK(context, rlhf_objective_builtin(&self->inner, context, builtin));
    if (strcmp(method, "sft") == 0)
        vtable.token_loss = my_token_loss;
    else if (strcmp(method, "bradley_terry") == 0)
        vtable.pair_loss = my_pair_loss;
    else
        vtable.policy_loss = my_policy_loss;
    CHECK(context, rlhf_objective_create(&objective, context, &vtable, self));
    return objective;
}

/* An objective that hands on to the built-in one gives the built-in one's bits; and of every method that samples, the
 * first update sees the log-probabilities of sampling bit for bit. */
static void test_objective_of_mine(void **state)
{
    static const struct {
        const char *method, *builtin;
        uint32_t need;
    } cases[] = {
        {"pretrain", "sft", 0},
        {"sft", "sft", 0},
        {"reward", "bradley_terry", 0},
        {"raft", "sft", 0},
        {"reinforce", "reinforce", 0},
        {"pairwise", "pairwise", RLHF_NEED_GROUPS},
        {"ppo", "ppo", 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct parts parts;
        struct mine mine;
        char hex[65], expected[65];
        undisturbed(cases[i].method, expected);
        make_parts(&parts, context, cases[i].method);
        parts.options.objective = make_mine(&mine, cases[i].builtin, cases[i].need);
        hash_of_run(&parts, hex);
        if (strcmp(hex, expected) != 0)
            fail_msg("%s: my objective changed the result", cases[i].method);
        assert_true(mine.calls >= 4);
        if (i >= 4)
            assert_true(mine.first_ratio_was_one);
        rlhf_objective_release(&parts.options.objective);
        rlhf_objective_release(&mine.inner);
        release_parts(&parts);
    }
}

static void test_objective_must_fit(void **state)
{
    struct parts parts;
    struct mine mine;
    rlhf_trainer *trainer;

    (void)state;
    make_parts(&parts, context, "ppo");
    parts.options.objective = make_mine(&mine, "sft", 0);
    assert_int_equal(rlhf_trainer_create(&trainer, context, parts.recipe, &parts.options), RLHF_E_INVAL);
    assert_error(context, "objective mine: has no policy_loss, which ppo needs");
    rlhf_objective_release(&parts.options.objective);
    rlhf_objective_release(&mine.inner);
    release_parts(&parts);
    make_parts(&parts, context, "sft");
    CHECK(context, rlhf_objective_builtin(&parts.options.reward_objective, context, "kl_reward"));
    assert_int_equal(rlhf_trainer_create(&trainer, context, parts.recipe, &parts.options), RLHF_E_INVAL);
    rlhf_objective_release(&parts.options.reward_objective);
    release_parts(&parts);
    make_parts(&parts, context, "reinforce");
    CHECK(context, rlhf_objective_builtin(&parts.options.advantage_objective, context, "gae"));
    assert_int_equal(rlhf_trainer_create(&trainer, context, parts.recipe, &parts.options), RLHF_E_UNSUPPORTED);
    assert_error(context, "only ppo has a value model");
    rlhf_objective_release(&parts.options.advantage_objective);
    release_parts(&parts);
}

static void test_nonfinite_leaves_all_as_it_was(void **state)
{
    struct parts parts;
    struct mine mine;
    rlhf_trainer *trainer;
    char before[65], after[65], expected[65];

    (void)state;
    undisturbed("sft", expected);
    make_parts(&parts, context, "sft");
    set(context, parts.recipe, "gradient_accumulation_steps", "1");
    parts.options.objective = make_mine(&mine, "sft", 0);
    mine.nan_call = 3;
    trainer = create(&parts);
    CHECK(context, rlhf_trainer_step(trainer));
    CHECK(context, rlhf_trainer_step(trainer));
    result_hash(context, trainer, before);
    assert_int_equal(rlhf_trainer_step(trainer), RLHF_E_NONFINITE);
    assert_int_equal(trainer->state.step, 2);
    result_hash(context, trainer, after);
    assert_string_equal(before, after);
    CHECK(context, rlhf_trainer_run(trainer));
    result_hash(context, trainer, after);
    assert_string_equal(expected, after);
    rlhf_trainer_release(&trainer);
    rlhf_objective_release(&parts.options.objective);
    rlhf_objective_release(&mine.inner);
    release_parts(&parts);
}

/* Amid the updates of an iteration there is no way back: the trainer says so, and a checkpoint helps. */
static void test_torn_iteration(void **state)
{
    struct parts parts;
    struct mine mine;
    rlhf_trainer *trainer;
    char directory[64], before[65], after[65];

    (void)state;
    make_directory(directory);
    make_parts(&parts, context, "ppo");
    parts.options.objective = make_mine(&mine, "ppo", 0);
    mine.nan_call = 7; /* the third minibatch of the second iteration */
    parts.options.output_dir = directory;
    trainer = create(&parts);
    CHECK(context, rlhf_trainer_step(trainer));
    CHECK(context, rlhf_trainer_save(trainer));
    result_hash(context, trainer, before);
    assert_int_equal(rlhf_trainer_step(trainer), RLHF_E_NONFINITE);
    assert_int_equal(rlhf_trainer_step(trainer), RLHF_E_INVAL);
    assert_error(context, "checkpoint");
    assert_int_equal(rlhf_trainer_save(trainer), RLHF_E_INVAL);
    rlhf_trainer_release(&trainer);
    mine.nan_call = 0;
    parts.options.resume = 1;
    trainer = create(&parts);
    result_hash(context, trainer, after);
    assert_string_equal(before, after);
    CHECK(context, rlhf_trainer_run(trainer));
    rlhf_trainer_release(&trainer);
    rlhf_objective_release(&parts.options.objective);
    rlhf_objective_release(&mine.inner);
    release_parts(&parts);
    remove_directory(context, directory);
}

/* ---- cancelling -------------------------------------------------------------------------------------------------- */

static void test_cancel_writes_a_checkpoint(void **state)
{
    (void)state;
    for (int m = 0; m < ALL_METHODS; m += (int)pace(3)) {
        struct parts parts;
        struct watcher watcher = {.cancel = true};
        rlhf_trainer *trainer;
        char directory[64], hex[65], expected[65];
        undisturbed(all_methods[m], expected);
        make_directory(directory);
        make_parts(&parts, context, all_methods[m]);
        parts.options.output_dir = directory;
        parts.options.on_metrics = watch_metrics;
        parts.options.user_data = &watcher;
        trainer = create(&parts);
        assert_int_equal(rlhf_trainer_run(trainer), RLHF_E_CANCELED);
        assert_error(context, "after step 2 of 4");
        rlhf_trainer_release(&trainer);
        assert_true(exists(directory, "checkpoints/step-2/manifest.json"));
        release_parts(&parts);
        make_parts(&parts, context, all_methods[m]);
        parts.options.output_dir = directory;
        parts.options.resume = 1;
        trainer = create(&parts);
        CHECK(context, rlhf_trainer_run(trainer));
        result_hash(context, trainer, hex);
        assert_string_equal(hex, expected);
        rlhf_trainer_release(&trainer);
        release_parts(&parts);
        remove_directory(context, directory);
    }
}

/* ---- what is measured -------------------------------------------------------------------------------------------- */

static void test_names_of_metrics(void **state)
{
    static const char *const names[ALL_METHODS] = {
        "loss grad_norm learning_rate entropy mean_token_accuracy num_tokens epoch eval_loss eval_entropy "
        "eval_mean_token_accuracy",
        "loss grad_norm learning_rate entropy mean_token_accuracy num_tokens epoch eval_loss eval_entropy "
        "eval_mean_token_accuracy",
        "loss grad_norm learning_rate num_tokens min_reward mean_reward max_reward accuracy margin epoch eval_loss "
        "eval_accuracy eval_margin eval_min_reward eval_mean_reward eval_max_reward",
        "loss grad_norm learning_rate entropy mean_token_accuracy num_tokens epoch reward reward_std "
        "frac_reward_zero_std rewards/vowels/mean rewards/vowels/std completions/mean_length completions/clipped_ratio "
        "rlhf/selected_reward eval_reward",
        "loss grad_norm learning_rate entropy num_tokens epoch reward reward_std frac_reward_zero_std "
        "rewards/vowels/mean "
        "rewards/vowels/std completions/mean_length completions/min_length completions/max_length "
        "completions/mean_terminated_length completions/min_terminated_length completions/max_terminated_length "
        "completions/clipped_ratio kl eval_reward eval_rlhf/sequence_kl",
        "loss grad_norm learning_rate entropy num_tokens epoch reward reward_std frac_reward_zero_std kl "
        "clip_ratio/region_mean completions/mean_length eval_reward",
        "objective/kl objective/entropy objective/non_score_reward objective/rlhf_reward objective/scores "
        "policy/approxkl_avg policy/clipfrac_avg policy/entropy_avg loss/policy_avg loss/value_avg val/clipfrac_avg "
        "val/ratio val/ratio_var val/num_eos_tokens lr episode epoch num_tokens grad_norm rlhf/kl_coef "
        "rlhf/explained_variance completions/mean_length eval_reward",
    };

    (void)state;
    for (int m = 0; m < ALL_METHODS; m += (int)pace(3)) {
        struct parts parts;
        rlhf_trainer *trainer;
        char list[1024], *name, *rest;
        make_parts(&parts, context, all_methods[m]);
        parts.options.eval_dataset = parts.dataset;
        trainer = create(&parts);
        CHECK(context, rlhf_trainer_run(trainer));
        strcpy(list, names[m]);
        for (name = strtok_r(list, " ", &rest); name != NULL; name = strtok_r(NULL, " ", &rest))
            assert_true(isfinite(metric(context, trainer, name)));
        assert_true(metric(context, trainer, "epoch") > 0);
        rlhf_trainer_release(&trainer);
        release_parts(&parts);
    }
}

/* With one update on fresh samples: ratios are 1, nothing is clipped, and whitened advantages have mean 0. */
static void test_first_update_of_ppo(void **state)
{
    struct parts parts;
    rlhf_trainer *trainer;

    (void)state;
    make_parts(&parts, context, "ppo");
    set(context, parts.recipe, "num_ppo_epochs", "1");
    set(context, parts.recipe, "num_mini_batches", "1");
    trainer = create(&parts);
    for (int i = 0; i < 4; i++) {
        CHECK(context, rlhf_trainer_step(trainer));
        assert_true(metric(context, trainer, "val/ratio") == 1.0);
        assert_true(metric(context, trainer, "val/ratio_var") == 0.0);
        assert_true(metric(context, trainer, "policy/approxkl_avg") == 0.0);
        assert_true(metric(context, trainer, "policy/clipfrac_avg") == 0.0);
        assert_true(fabs(metric(context, trainer, "loss/policy_avg")) < 1e-12);
        assert_true(metric(context, trainer, "grad_norm") > 0);
    }
    rlhf_trainer_release(&trainer);
    release_parts(&parts);
}

static void test_wrong_arguments(void **state)
{
    struct parts parts;
    rlhf_trainer *trainer = NULL;
    rlhf_policy *policy;
    rlhf_reward_model *model;
    rlhf_metrics metrics = {.struct_size = sizeof metrics};

    (void)state;
    make_parts(&parts, context, "sft");
    assert_int_equal(rlhf_trainer_create(NULL, context, parts.recipe, &parts.options), RLHF_E_INVAL);
    assert_int_equal(rlhf_trainer_create(&trainer, context, NULL, &parts.options), RLHF_E_INVAL);
    assert_int_equal(rlhf_trainer_create(&trainer, NULL, parts.recipe, &parts.options), RLHF_E_INVAL);
    assert_int_equal(rlhf_trainer_create(&trainer, context, parts.recipe, NULL), RLHF_E_INVAL); /* nothing to load */
    assert_int_equal(rlhf_trainer_step(NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_trainer_run(NULL), RLHF_E_INVAL);
    trainer = create(&parts);
    assert_int_equal(rlhf_trainer_metrics(trainer, &metrics), RLHF_E_END);
    assert_int_equal(rlhf_trainer_reward_model(trainer, &model), RLHF_E_UNSUPPORTED);
    assert_null(model);
    rlhf_trainer_release(&trainer);
    rlhf_trainer_release(&trainer);
    release_parts(&parts);
    make_parts(&parts, context, "reward");
    trainer = create(&parts);
    assert_int_equal(rlhf_trainer_policy(trainer, &policy), RLHF_E_UNSUPPORTED);
    rlhf_trainer_release(&trainer);
    release_parts(&parts);
    make_parts(&parts, context, "pairwise");
    set(context, parts.recipe, "num_generations", "3");
    set(context, parts.recipe, "per_device_train_batch_size", "6");
    assert_int_equal(rlhf_trainer_create(&trainer, context, parts.recipe, &parts.options), RLHF_E_INVAL);
    assert_error(context, "odd");
    set(context, parts.recipe, "num_generations", "4");
    assert_int_equal(rlhf_trainer_create(&trainer, context, parts.recipe, &parts.options), RLHF_E_INVAL);
    assert_error(context, "does not divide");
    set(context, parts.recipe, "num_generations", "2");
    set(context, parts.recipe, "response_length", "64");
    assert_int_equal(rlhf_trainer_create(&trainer, context, parts.recipe, &parts.options), RLHF_E_RANGE);
    assert_error(context, "response_length");
    release_parts(&parts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_metrics_error_comes_out),
        cmocka_unit_test(test_callback_may_look_not_act),
        cmocka_unit_test(test_progress_error_comes_out),
        cmocka_unit_test(test_scorer_error_comes_out),
        cmocka_unit_test(test_unscorable_rows_take_no_part),
        cmocka_unit_test(test_scorer_sees_the_row),
        cmocka_unit_test(test_objective_of_mine),
        cmocka_unit_test(test_objective_must_fit),
        cmocka_unit_test(test_nonfinite_leaves_all_as_it_was),
        cmocka_unit_test(test_torn_iteration),
        cmocka_unit_test(test_cancel_writes_a_checkpoint),
        cmocka_unit_test(test_names_of_metrics),
        cmocka_unit_test(test_first_update_of_ppo),
        cmocka_unit_test(test_wrong_arguments),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
