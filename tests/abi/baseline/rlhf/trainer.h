/* Trainer: one run of a recipe. It can be stopped at any instant and resumed to the same bits. */
#ifndef RLHF_TRAINER_H
#define RLHF_TRAINER_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rlhf_metrics {
    uint32_t struct_size;
    int32_t count;
    uint64_t step;                 /* optimizer steps (sft, reward, pretrain) or iterations (the others) done */
    uint64_t total_steps;
    const char *const *name;       /* [count] TRL's keys; the library's own begin with "rlhf/" */
    const double *value;           /* [count] */
} rlhf_metrics;

/* Called once per logged step. Borrowed for the call. Non-zero stops the run and comes out unchanged. */
typedef rlhf_status (*rlhf_metrics_fn)(void *user_data, const rlhf_metrics *metrics);

enum {
    RLHF_PHASE_ROLLOUT = 1, RLHF_PHASE_SCORING = 2, RLHF_PHASE_UPDATE = 3, RLHF_PHASE_SAVE = 4, RLHF_PHASE_EVAL = 5
};
typedef struct rlhf_progress {
    uint32_t struct_size;
    int32_t phase;                 /* RLHF_PHASE_* that runs now */
    uint64_t step, total_steps;
    uint64_t tokens;               /* processed so far, prompt tokens included */
    double seconds[6];             /* spent in each phase so far, by RLHF_PHASE_*; [0] = in all */
} rlhf_progress;
typedef rlhf_status (*rlhf_progress_fn)(void *user_data, const rlhf_progress *progress);

/* Everything may be NULL: what is missing is loaded from the paths in the recipe (model_name_or_path,
 * reward_model_path, value_model_path, dataset_name, eval_dataset_name). All handles are retained. */
typedef struct rlhf_trainer_options {
    uint32_t struct_size;
    int32_t reserved;
    rlhf_policy *policy;              /* trained in place. For "reward": the trunk to start from */
    rlhf_tokenizer *tokenizer;
    rlhf_reference *reference;        /* NULL: the policy as it is when the run begins */
    rlhf_reward_model *reward_model;  /* "reward": trained in place; others: the scorer unless `scorer` is given */
    rlhf_value_model *value_model;    /* ppo; NULL: made from the reward model, else from the policy */
    rlhf_dataset *dataset;
    rlhf_dataset *eval_dataset;
    rlhf_scorer *scorer;              /* on-policy methods: gives the rewards */
    rlhf_scorer *gold_scorer;         /* only measured ("rlhf/gold_score"), never trained on */
    rlhf_objective *objective;        /* the loss: token, pair or policy (and value) loss; NULL = built in */
    rlhf_objective *reward_objective; /* reward shaping; NULL = kl_reward */
    rlhf_objective *advantage_objective; /* NULL = the method's own */
    const char *output_dir;           /* run directory; NULL: the recipe's output_dir; "" there: nothing is written */
    rlhf_metrics_fn on_metrics;
    rlhf_progress_fn on_progress;
    void *user_data;                  /* for both */
    int32_t overwrite;                /* 0 (default): an output_dir that holds a run is refused unless resumed */
    int32_t resume;                   /* 1: goes on from the newest whole checkpoint there (none: from the start) */
} rlhf_trainer_options;

/** Fills defaults.  owner -    null nothing happens    errors none    threads safe    since 0.1 */
RLHF_API void rlhf_trainer_options_init(rlhf_trainer_options *options, size_t size);

/** Prepares a run: loads what is missing, tokenises the data, checks every setting, then writes config.yaml. Nothing
 *  is written when a check fails.
 *  owner    *out is yours; handles are retained; strings copied    null  out, context, recipe: INVAL; options: defaults
 *  errors   INVAL, IO, FORMAT, RANGE, UNSUPPORTED, NONFINITE, CANCELED, NOMEM; *out is NULL then
 *  threads  the context's    since 0.1 */
RLHF_API rlhf_status rlhf_trainer_create(rlhf_trainer **out, rlhf_context *context, const rlhf_recipe *recipe,
                                         const rlhf_trainer_options *options);

/** Gives up a trainer; inside a callback it goes when the call that runs ends.
 *  owner *trainer becomes NULL    null fine    errors none    threads the context's    since 0.1 */
RLHF_API void rlhf_trainer_release(rlhf_trainer **trainer);

/** Takes one step: an optimizer step (sft, reward, pretrain), else an iteration: rollout, scoring, updates.
 *  owner    -    null  INVAL
 *  errors   END (after the last step), CANCELED, NONFINITE (weights as before the failing update), INVAL (an earlier
 *           step failed amid its updates: resume from a checkpoint), IO, NOMEM, BUSY, the callbacks' and the scorer's
 *  threads  the context's    repeat equal bits for any threads, cpu mask, stop and resume    since 0.1 */
RLHF_API rlhf_status rlhf_trainer_step(rlhf_trainer *trainer);

/** Runs to the end: steps, checkpoints every save_steps, at the end model/ and receipt.json in the run directory, if
 *  there is one. When cancelled (rlhf_context_cancel) it writes a checkpoint there and returns CANCELED.
 *  owner -    null INVAL    errors as rlhf_trainer_step, except END    threads the context's    since 0.1 */
RLHF_API rlhf_status rlhf_trainer_run(rlhf_trainer *trainer);

/** Writes a checkpoint of the whole state (weights, moments, schedule, cursor, baselines, controllers) into the run
 *  directory. If that fails, the newest whole checkpoint stays loadable.
 *  owner    -    null  INVAL
 *  errors   INVAL (no directory, or as rlhf_trainer_step), IO, NOMEM, BUSY, on_progress's
 *  threads  the context's    since 0.1 */
RLHF_API rlhf_status rlhf_trainer_save(rlhf_trainer *trainer);

/** Writes the result: model/ (Hugging Face directory with tokenizer) and receipt.json.
 *  owner -    null INVAL    errors as rlhf_trainer_save    threads the context's    since 0.1 */
RLHF_API rlhf_status rlhf_trainer_finish(rlhf_trainer *trainer);

/** Reads the metrics of the last logged step (set metrics->struct_size).
 *  owner borrowed until the next step    null INVAL    errors END (nothing logged yet), INVAL
 *  threads the context's    since 0.1 */
RLHF_API rlhf_status rlhf_trainer_metrics(const rlhf_trainer *trainer, rlhf_metrics *metrics);

/** Reads where the run stands (set progress->struct_size).  owner copies    null INVAL    errors INVAL
 *  threads the context's    since 0.1 */
RLHF_API rlhf_status rlhf_trainer_progress(const rlhf_trainer *trainer, rlhf_progress *progress);

/** Hands out the trained policy.
 *  owner *out is yours (a share)    null INVAL    errors UNSUPPORTED ("reward" trains none)
 *  threads the context's    since 0.1 */
RLHF_API rlhf_status rlhf_trainer_policy(const rlhf_trainer *trainer, rlhf_policy **out);

/** Hands out the trained reward model.
 *  owner *out is yours (a share)    null INVAL    errors UNSUPPORTED (another method)
 *  threads the context's    since 0.1 */
RLHF_API rlhf_status rlhf_trainer_reward_model(const rlhf_trainer *trainer, rlhf_reward_model **out);

#ifdef __cplusplus
}
#endif
#endif
