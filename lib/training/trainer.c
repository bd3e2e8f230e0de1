/* The trainer: one run of a recipe, whatever its method. This file owns the order of things - check everything, then
 * write; take a step whole or not at all; log before a checkpoint counts the log. */
#include "training/training.h"

static const rlhf_trainer_options defaults = {.struct_size = sizeof defaults};

void rlhf_trainer_options_init(rlhf_trainer_options *options, size_t size)
{
    rlhfi_options_init(options, size, &defaults, sizeof defaults);
}

static const rlhfi_method_table *const tables[RLHFI_METHODS] = {
    &rlhfi_supervised, &rlhfi_supervised, &rlhfi_reward_training, &rlhfi_raft,
    &rlhfi_on_policy,  &rlhfi_on_policy,  &rlhfi_on_policy,
};

/* ---- progress ---------------------------------------------------------------------------------------------------- */

static rlhf_progress where_it_stands(const rlhfi_trainer *trainer)
{
    double now = rlhfi_seconds();
    rlhf_progress progress = {.struct_size = sizeof progress,
                              .phase = trainer->phase,
                              .step = trainer->state.step,
                              .total_steps = trainer->total_steps,
                              .tokens = trainer->state.tokens};

    memcpy(progress.seconds, trainer->seconds, sizeof progress.seconds);
    if (trainer->phase != 0) {
        progress.seconds[trainer->phase] += now - trainer->phase_began;
        progress.seconds[0] += now - trainer->phase_began;
    }
    return progress;
}

/* A callback's status as it came; the text is its own if a call of its left one. */
static rlhf_status callback_failed(rlhfi_trainer *trainer, rlhf_status status, const char *name)
{
    if (trainer->context->error_status != status)
        rlhfi_fail(trainer->context, status, "%s: the callback returned %d (%s)", name, (int)status,
                   rlhf_status_name(status));
    return status;
}

rlhf_status rlhfi_trainer_report(rlhfi_trainer *trainer)
{
    rlhf_progress progress;
    rlhf_status status;

    if (trainer->on_progress == NULL || trainer->deferred != RLHF_OK)
        return RLHF_OK;
    progress = where_it_stands(trainer);
    RLHFI_TRY(rlhfi_enter(trainer->context));
    status = trainer->on_progress(trainer->user_data, &progress);
    if (status == RLHF_OK)
        return rlhfi_enter(trainer->context);
    if (trainer->phase != RLHF_PHASE_UPDATE)
        return callback_failed(trainer, status, "on_progress");
    trainer->deferred = status;
    return RLHF_OK;
}

/* 0 = between calls: time that passes in the host's code is not the run's. */
static void change_phase(rlhfi_trainer *trainer, int32_t phase)
{
    rlhf_progress now = where_it_stands(trainer);

    memcpy(trainer->seconds, now.seconds, sizeof trainer->seconds);
    trainer->phase = phase;
    trainer->phase_began = rlhfi_seconds();
}

rlhf_status rlhfi_trainer_phase(rlhfi_trainer *trainer, int32_t phase)
{
    change_phase(trainer, phase);
    return rlhfi_trainer_report(trainer);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static void destroy(rlhfi_trainer *trainer)
{
    rlhf_context *context = trainer->context;

    for (int32_t i = 0; i < trainer->state.roles; i++)
        rlhf_optimizer_release(&trainer->state.role[i].optimizer);
    rlhf_objective_release(&trainer->loss);
    rlhf_objective_release(&trainer->value_loss);
    rlhf_objective_release(&trainer->reward);
    rlhf_objective_release(&trainer->advantage);
    rlhf_scorer_release(&trainer->scorer);
    rlhf_scorer_release(&trainer->gold_scorer);
    rlhfi_examples_release(&trainer->examples);
    rlhfi_examples_release(&trainer->eval_examples);
    rlhfi_order_release(&trainer->order);
    rlhf_dataset_release(&trainer->dataset);
    rlhf_dataset_release(&trainer->eval_dataset);
    rlhf_value_model_release(&trainer->value_model);
    rlhf_reward_model_release(&trainer->reward_model);
    rlhf_reference_release(&trainer->reference);
    rlhf_tokenizer_release(&trainer->tokenizer);
    rlhf_policy_release(&trainer->policy);
    rlhf_recipe_release(&trainer->recipe);
    rlhfi_arena_release(&trainer->arena);
    rlhfi_free(context, trainer->directory);
    rlhfi_free(context, trainer);
    rlhf_context_release(&context);
}

void rlhf_trainer_release(rlhf_trainer **trainer)
{
    rlhf_trainer *gone = trainer != NULL ? *trainer : NULL;

    if (gone == NULL)
        return;
    *trainer = NULL;
    if (gone->busy)
        gone->release_pending = true; /* by a callback of the call that runs: it ends first */
    else
        destroy(gone);
}

static rlhf_status check_directory(rlhfi_trainer *trainer, const rlhf_trainer_options *options, bool *holds)
{
    const char *path =
        options->output_dir != NULL ? options->output_dir : rlhfi_recipe_text(trainer->recipe, "output_dir");

    *holds = false;
    if (path[0] == '\0')
        return options->resume == 0
                   ? RLHF_OK
                   : rlhfi_fail(trainer->context, RLHF_E_INVAL, "output_dir: is not set, there is nothing to resume");
    trainer->directory = rlhfi_strdup(trainer->context, path); /* path may be the recipe's own, which is set next */
    if (trainer->directory == NULL)
        return RLHF_E_NOMEM;
    RLHFI_TRY(rlhf_recipe_set(trainer->recipe, "output_dir", trainer->directory));
    RLHFI_TRY(rlhfi_run_holds(trainer->context, trainer->directory, holds));
    if (*holds && options->resume == 0 && options->overwrite == 0)
        return rlhfi_fail(trainer->context, RLHF_E_INVAL,
                          "%s: holds a run already; resume it, overwrite it, or choose "
                          "another output_dir",
                          trainer->directory);
    return RLHF_OK;
}

static rlhf_status prepare(rlhfi_trainer *trainer, const rlhf_trainer_options *options)
{
    char *checkpoint = NULL, *reference = NULL;
    rlhf_status status;
    bool holds;

    RLHFI_TRY(check_directory(trainer, options, &holds));
    RLHFI_TRY(rlhfi_arena_create(&trainer->arena, trainer->context));
    RLHFI_TRY(rlhfi_setup_models(trainer, options));
    RLHFI_TRY(rlhfi_setup_data(trainer, options));
    RLHFI_TRY(rlhfi_setup_objectives(trainer, options));
    RLHFI_TRY(trainer->table->prepare(trainer));
    if (trainer->total_steps == 0)
        return rlhfi_fail(trainer->context, RLHF_E_INVAL, "num_train_epochs: the run would have no step");
    RLHFI_TRY(rlhfi_order_create(&trainer->order, trainer->context, trainer->examples->rows,
                                 (uint64_t)rlhfi_recipe_integer(trainer->recipe, "seed"),
                                 rlhfi_recipe_boolean(trainer->recipe, "shuffle_dataset")));
    if (holds && options->resume != 0)
        RLHFI_TRY(rlhfi_checkpoint_find(trainer, &checkpoint));
    if (checkpoint != NULL && trainer->policy_in_memory)
        RLHFI_GOTO(rlhfi_run_reference(trainer, &reference));
    RLHFI_GOTO(rlhfi_setup_reference(trainer, options->reference, reference));
    trainer->reference_of_start = trainer->reference != NULL && options->reference == NULL;
    if (trainer->directory != NULL)
        RLHFI_GOTO(rlhfi_setup_inputs(trainer));
    if (checkpoint != NULL) {
        RLHFI_GOTO(rlhfi_checkpoint_check(trainer, checkpoint));
        RLHFI_GOTO(rlhfi_checkpoint_load(trainer, checkpoint));
        status = rlhfi_run_continue(trainer);
    } else {
        status = trainer->directory != NULL ? rlhfi_run_start(trainer) : RLHF_OK;
    }
done:
    rlhfi_free(trainer->context, checkpoint);
    rlhfi_free(trainer->context, reference);
    return status;
}

rlhf_status rlhf_trainer_create(rlhf_trainer **out, rlhf_context *context, const rlhf_recipe *recipe,
                                const rlhf_trainer_options *options)
{
    rlhf_trainer_options known = defaults;
    rlhf_trainer *trainer;
    rlhf_status status;

    if (out != NULL)
        *out = NULL;
    RLHFI_TRY(rlhfi_enter(context));
    RLHFI_REQUIRE(context, out != NULL && recipe != NULL);
    if (options != NULL)
        RLHFI_TRY(rlhfi_options_copy(context, &known, sizeof known, options, sizeof known, "trainer options"));
    trainer = rlhfi_calloc(context, 1, sizeof *trainer);
    if (trainer == NULL)
        return RLHF_E_NOMEM;
    trainer->context = rlhfi_context_retain(context);
    trainer->method = rlhfi_recipe_kind(recipe);
    trainer->table = tables[trainer->method];
    trainer->on_metrics = known.on_metrics;
    trainer->on_progress = known.on_progress;
    trainer->user_data = known.user_data;
    status = rlhfi_recipe_clone(&trainer->recipe, recipe);
    if (status == RLHF_OK)
        status = prepare(trainer, &known);
    if (status != RLHF_OK) {
        destroy(trainer);
        return status;
    }
    *out = trainer;
    return rlhfi_enter(context);
}

/* ---- calls ------------------------------------------------------------------------------------------------------- */

/* Begins a call that acts. Callbacks may look at the trainer meanwhile, but not act on it. */
static rlhf_status begin(rlhfi_trainer *trainer)
{
    if (trainer == NULL)
        return RLHF_E_INVAL;
    if (trainer->busy)
        return rlhfi_fail(trainer->context, RLHF_E_BUSY,
                          "trainer: a callback called back into the trainer that calls it");
    RLHFI_TRY(rlhfi_enter(trainer->context));
    trainer->busy = true;
    trainer->deferred = RLHF_OK;
    return RLHF_OK;
}

static rlhf_status end(rlhfi_trainer *trainer, rlhf_status status)
{
    change_phase(trainer, 0);
    rlhfi_arena_reset(trainer->arena);
    trainer->busy = false;
    if (status == RLHF_OK)
        status = rlhfi_enter(trainer->context);
    if (trainer->release_pending)
        destroy(trainer);
    return status;
}

static rlhf_status need_directory(const rlhfi_trainer *trainer)
{
    if (trainer->directory != NULL)
        return RLHF_OK;
    return rlhfi_fail(trainer->context, RLHF_E_INVAL, "output_dir: is not set, there is nowhere to write");
}

static rlhf_status need_whole(const rlhfi_trainer *trainer)
{
    if (!trainer->torn)
        return RLHF_OK;
    return rlhfi_fail(trainer->context, RLHF_E_INVAL,
                      "trainer: a step failed amid its updates; go on from a checkpoint (resume)");
}

/* ---- logging ----------------------------------------------------------------------------------------------------- */

/* Hands out what was metered: to the log, to the callback, to rlhf_trainer_metrics. */
static rlhf_status publish(rlhfi_trainer *trainer)
{
    rlhf_metrics view;
    rlhfi_string line;
    rlhf_status status = RLHF_OK;

    trainer->logged = trainer->state.meters;
    trainer->logged_step = trainer->state.step;
    trainer->state.meters.count = 0;
    if (trainer->directory != NULL) {
        rlhfi_string_init(&line, trainer->context);
        rlhfi_meters_json(&trainer->logged, trainer->logged_step, &line);
        status = line.failed ? RLHF_E_NOMEM : rlhfi_run_log(trainer, &line);
        rlhfi_string_free(&line);
    }
    if (status != RLHF_OK || trainer->on_metrics == NULL)
        return status;
    view.struct_size = sizeof view;
    RLHFI_TRY(rlhf_trainer_metrics(trainer, &view));
    status = trainer->on_metrics(trainer->user_data, &view);
    return status == RLHF_OK ? rlhfi_enter(trainer->context) : callback_failed(trainer, status, "on_metrics");
}

static bool falls_on(const rlhfi_trainer *trainer, const char *key)
{
    uint64_t every = (uint64_t)rlhfi_recipe_integer(trainer->recipe, key);

    return trainer->state.step == trainer->total_steps || (every > 0 && trainer->state.step % every == 0);
}

/* ---- a step ------------------------------------------------------------------------------------------------------ */

/* Half an evaluation is none: its meters, the last ones, go again. */
static rlhf_status evaluate(rlhfi_trainer *trainer)
{
    int32_t metered = trainer->state.meters.count;
    rlhf_status status;

    change_phase(trainer, RLHF_PHASE_EVAL);
    rlhfi_arena_reset(trainer->arena);
    status = trainer->table->evaluate(trainer, &trainer->state.meters);
    if (status != RLHF_OK)
        trainer->state.meters.count = metered;
    return status;
}

/* The weights took the step; what is left cannot undo it. */
static rlhf_status after_step(rlhfi_trainer *trainer)
{
    bool evaluates = trainer->eval_examples != NULL && falls_on(trainer, "eval_steps");

    if (evaluates)
        RLHFI_TRY(evaluate(trainer));
    if (evaluates || falls_on(trainer, "logging_steps"))
        RLHFI_TRY(publish(trainer));
    if (trainer->deferred != RLHF_OK)
        return callback_failed(trainer, trainer->deferred, "on_progress");
    return RLHF_OK;
}

static rlhf_status take_step(rlhfi_trainer *trainer)
{
    rlhfi_state *before;
    rlhf_status status;

    RLHFI_TRY(need_whole(trainer));
    if (trainer->state.step >= trainer->total_steps)
        return rlhfi_fail(trainer->context, RLHF_E_END, "trainer: all %llu steps are done",
                          (unsigned long long)trainer->total_steps);
    RLHFI_TRY(rlhfi_check_cancel(trainer->context));
    rlhfi_arena_reset(trainer->arena);
    before = rlhfi_arena_alloc(trainer->arena, 1, sizeof *before);
    if (before == NULL)
        return RLHF_E_NOMEM;
    *before = trainer->state;
    status = trainer->table->step(trainer);
    if (status != RLHF_OK) {
        rlhfi_drop_gradients(trainer);
        trainer->state = *before;
        return status;
    }
    trainer->state.step++;
    return after_step(trainer);
}

rlhf_status rlhf_trainer_step(rlhf_trainer *trainer)
{
    RLHFI_TRY(begin(trainer));
    return end(trainer, take_step(trainer));
}

/* ---- saving ------------------------------------------------------------------------------------------------------ */

static rlhf_status save(rlhfi_trainer *trainer)
{
    RLHFI_TRY(need_directory(trainer));
    RLHFI_TRY(need_whole(trainer));
    RLHFI_TRY(rlhfi_trainer_phase(trainer, RLHF_PHASE_SAVE));
    return rlhfi_checkpoint_save(trainer);
}

rlhf_status rlhf_trainer_save(rlhf_trainer *trainer)
{
    RLHFI_TRY(begin(trainer));
    return end(trainer, save(trainer));
}

static rlhf_status finish(rlhfi_trainer *trainer)
{
    RLHFI_TRY(need_directory(trainer));
    RLHFI_TRY(need_whole(trainer));
    RLHFI_TRY(rlhfi_trainer_phase(trainer, RLHF_PHASE_SAVE));
    return rlhfi_run_finish(trainer);
}

rlhf_status rlhf_trainer_finish(rlhf_trainer *trainer)
{
    RLHFI_TRY(begin(trainer));
    return end(trainer, finish(trainer));
}

static bool saves_now(const rlhfi_trainer *trainer)
{
    return trainer->directory != NULL && rlhfi_recipe_integer(trainer->recipe, "save_steps") > 0 &&
           falls_on(trainer, "save_steps");
}

/* Whoever cancels wants to go on some day, so no callback may stop this save. */
static rlhf_status save_cancelled(rlhfi_trainer *trainer)
{
    change_phase(trainer, RLHF_PHASE_SAVE);
    RLHFI_TRY(rlhfi_checkpoint_save(trainer));
    return rlhfi_fail(trainer->context, RLHF_E_CANCELED,
                      "trainer: cancelled after step %llu of %llu; resume goes on from here",
                      (unsigned long long)trainer->state.step, (unsigned long long)trainer->total_steps);
}

static rlhf_status run(rlhfi_trainer *trainer)
{
    while (trainer->state.step < trainer->total_steps) {
        rlhf_status status = take_step(trainer);
        if (status == RLHF_E_CANCELED && trainer->directory != NULL && !trainer->torn)
            return save_cancelled(trainer);
        RLHFI_TRY(status);
        if (saves_now(trainer))
            RLHFI_TRY(save(trainer));
    }
    return trainer->directory != NULL ? finish(trainer) : RLHF_OK;
}

rlhf_status rlhf_trainer_run(rlhf_trainer *trainer)
{
    RLHFI_TRY(begin(trainer));
    return end(trainer, run(trainer));
}

/* ---- looking ----------------------------------------------------------------------------------------------------- */

rlhf_status rlhf_trainer_metrics(const rlhf_trainer *trainer, rlhf_metrics *metrics)
{
    rlhf_trainer *self = (rlhf_trainer *)trainer; /* the arrays of pointers are filled on demand */

    if (trainer == NULL)
        return RLHF_E_INVAL;
    if (metrics == NULL || metrics->struct_size < sizeof *metrics)
        return rlhfi_fail(trainer->context, RLHF_E_INVAL, "trainer: metrics is NULL or too short");
    if (trainer->logged.count == 0)
        return rlhfi_fail(trainer->context, RLHF_E_END, "trainer: nothing was logged yet");
    for (int32_t i = 0; i < trainer->logged.count; i++) {
        self->logged_name[i] = trainer->logged.name[i];
        self->logged_value[i] = rlhfi_meter_value(&trainer->logged, i);
    }
    *metrics = (rlhf_metrics){.struct_size = metrics->struct_size,
                              .count = trainer->logged.count,
                              .step = trainer->logged_step,
                              .total_steps = trainer->total_steps,
                              .name = self->logged_name,
                              .value = self->logged_value};
    return RLHF_OK;
}

rlhf_status rlhf_trainer_progress(const rlhf_trainer *trainer, rlhf_progress *progress)
{
    uint32_t size;

    if (trainer == NULL)
        return RLHF_E_INVAL;
    if (progress == NULL || progress->struct_size < sizeof *progress)
        return rlhfi_fail(trainer->context, RLHF_E_INVAL, "trainer: progress is NULL or too short");
    size = progress->struct_size;
    *progress = where_it_stands(trainer);
    progress->struct_size = size;
    return RLHF_OK;
}

rlhf_status rlhf_trainer_policy(const rlhf_trainer *trainer, rlhf_policy **out)
{
    if (out != NULL)
        *out = NULL;
    if (trainer == NULL)
        return RLHF_E_INVAL;
    RLHFI_REQUIRE(trainer->context, out != NULL);
    if (trainer->policy == NULL)
        return rlhfi_fail(trainer->context, RLHF_E_UNSUPPORTED, "trainer: %s trains no policy",
                          rlhfi_method_names[trainer->method]);
    *out = rlhfi_policy_retain(trainer->policy);
    return RLHF_OK;
}

rlhf_status rlhf_trainer_reward_model(const rlhf_trainer *trainer, rlhf_reward_model **out)
{
    if (out != NULL)
        *out = NULL;
    if (trainer == NULL)
        return RLHF_E_INVAL;
    RLHFI_REQUIRE(trainer->context, out != NULL);
    if (trainer->method != RLHFI_REWARD)
        return rlhfi_fail(trainer->context, RLHF_E_UNSUPPORTED, "trainer: %s trains no reward model",
                          rlhfi_method_names[trainer->method]);
    *out = rlhfi_reward_model_retain(trainer->reward_model);
    return RLHF_OK;
}
