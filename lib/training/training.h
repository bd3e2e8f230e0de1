/* Recipes and trainers: one file per method, one structure that lists a run's whole state. Public: rlhf/recipe.h,
 * rlhf/trainer.h. */
#ifndef RLHFI_TRAINING_H
#define RLHFI_TRAINING_H

#include "core/core.h"
#include "data/data.h"
#include "generation/generation.h"
#include "model/model.h"
#include "objectives/objectives.h"
#include "optimizers/optimizers.h"
#include <rlhf/plugin.h>
#include <rlhf/recipe.h>
#include <rlhf/trainer.h>

/* ---- recipe: the table of keys (recipe_keys.c) ------------------------------------------------------------------- */

enum rlhfi_method {
    RLHFI_PRETRAIN, RLHFI_SFT, RLHFI_REWARD, RLHFI_RAFT, RLHFI_REINFORCE, RLHFI_PAIRWISE, RLHFI_PPO, RLHFI_METHODS
};

enum {
    RLHFI_KEY_OPTIONAL = 1, /* a number that may be absent: NaN inside, null in YAML, "" as text */
    RLHFI_KEY_FREE = 2      /* may differ when a run is resumed: it does not reach into the steps already taken */
};

typedef struct rlhfi_key {
    const char *name;
    uint32_t methods;           /* bit 1 << enum rlhfi_method: where the key works */
    int32_t type;               /* RLHF_KEY_* */
    const char *default_value;
    double minimum, maximum;
    const char *choices;
    uint32_t flags;
    const char *help;
} rlhfi_key;

/* Rows of one name have disjoint methods; the order is that of YAML files and of --help. */
extern const rlhfi_key rlhfi_keys[];
extern const size_t rlhfi_key_rows;
extern const char *const rlhfi_method_names[RLHFI_METHODS];

/* Typed access for the trainers. A wrong key here is a bug: the test walks them all. */
double rlhfi_recipe_number(const rlhf_recipe *recipe, const char *key);
int64_t rlhfi_recipe_integer(const rlhf_recipe *recipe, const char *key);
bool rlhfi_recipe_boolean(const rlhf_recipe *recipe, const char *key);
const char *rlhfi_recipe_text(const rlhf_recipe *recipe, const char *key); /* "" if not set */
int32_t rlhfi_recipe_choice(const rlhf_recipe *recipe, const char *key);   /* index in the key's choices */
bool rlhfi_recipe_has(const rlhf_recipe *recipe, const char *key);
bool rlhfi_recipe_takes_text(const rlhf_recipe *recipe, const char *key); /* RLHF_KEY_TEXT */
bool rlhfi_is_nothing(const char *text); /* empty, null or none: how YAML says that a key has no value */
enum rlhfi_method rlhfi_recipe_kind(const rlhf_recipe *recipe);
rlhf_status rlhfi_recipe_clone(rlhf_recipe **out, const rlhf_recipe *recipe);
/* The whole recipe as YAML; free with rlhfi_free. */
rlhf_status rlhfi_recipe_text_yaml(const rlhf_recipe *recipe, char **out);
/* The whole recipe as a JSON object of texts. */
void rlhfi_recipe_add_json(const rlhf_recipe *recipe, rlhfi_string *out);
/* INVAL, naming the first key that differs from such an object and is not free to differ on a resume. name: of the
 * run, for the message. */
rlhf_status rlhfi_recipe_same_run(const rlhf_recipe *recipe, const rlhfi_json *earlier, const char *name);

/* ---- metrics (metrics.c) ----------------------------------------------------------------------------------------- */

/* Choices of RAFT by lot: a purpose of its own beside those in core.h. */
enum { RLHFI_RANDOM_SELECTION = 101 };

enum { RLHFI_MAX_METRICS = 96, RLHFI_METRIC_NAME = 64 };

/* What was measured since the last logged step, in order of first appearance: means, and values of which the last
 * counts. */
typedef struct rlhfi_meters {
    int32_t count;
    char name[RLHFI_MAX_METRICS][RLHFI_METRIC_NAME];
    double sum[RLHFI_MAX_METRICS];
    double weight[RLHFI_MAX_METRICS]; /* 0: sum is the last value */
} rlhfi_meters;
void rlhfi_meter_mean(rlhfi_meters *meters, const char *name, double value); /* NaN values are left out of the mean */
void rlhfi_meter_last(rlhfi_meters *meters, const char *name, double value);
double rlhfi_meter_value(const rlhfi_meters *meters, int32_t index);
/* {"step":N,"name":value,...} and a newline; what is not finite becomes null. */
void rlhfi_meters_json(const rlhfi_meters *meters, uint64_t step, rlhfi_string *line);

/* ---- a run's whole state (state.c): what a checkpoint holds, all of it and nothing else -------------------------- */

enum { RLHFI_MAX_ROLES = 2, RLHFI_MAX_OBJECTIVES = 4 };

typedef struct rlhfi_role { /* a model that trains */
    const char *name;       /* "policy", "reward_model", "value_model" */
    rlhfi_model *model;     /* borrowed from the trainer's handle */
    rlhf_optimizer *optimizer; /* its moments and step count */
} rlhfi_role;

typedef struct rlhfi_state {
    uint64_t step;          /* optimizer steps, or iterations of the generating methods, done */
    rlhfi_cursor cursor;    /* where the next rows come from */
    uint64_t prompts;       /* prompts drawn: the number of the next one in the stream that sampling is keyed by */
    uint64_t episodes;      /* completions that were scored */
    uint64_t tokens;        /* prompt tokens included */
    uint64_t metrics_bytes; /* of metrics.jsonl that belong to these steps */
    rlhfi_meters meters;    /* since the last logged step */
    int32_t roles, objectives;
    rlhfi_role role[RLHFI_MAX_ROLES];
    rlhf_objective *objective[RLHFI_MAX_OBJECTIVES]; /* baselines and controllers; borrowed, each once */
} rlhfi_state;

/* Everything but the weights, which the checkpoint holds as Hugging Face directories. */
rlhf_status rlhfi_state_save(const rlhfi_state *state, rlhf_context *context, const char *path);
rlhf_status rlhfi_state_load(rlhfi_state *state, rlhf_context *context, const char *path);

/* Objectives' states as they were, in the trainer's arena, for a step that fails before its first update. */
typedef struct rlhfi_objective_states {
    void *bytes[RLHFI_MAX_OBJECTIVES];
    size_t size[RLHFI_MAX_OBJECTIVES];
} rlhfi_objective_states;

/* ---- the run directory (run_directory.c, checkpoint.c) ----------------------------------------------------------- */

/* What a run began with. Goes through every checkpoint into the receipt. */
typedef struct rlhfi_inputs {
    char model[65], reward_model[65], value_model[65], reference[65], dataset[65]; /* SHA-256, "" = none */
    uint64_t dataset_rows;
} rlhfi_inputs;

typedef struct rlhf_trainer rlhfi_trainer; /* inside the library: its struct is below */

/* config.yaml is written first of all and marks the directory as a run's. */
rlhf_status rlhfi_run_holds(rlhf_context *context, const char *path, bool *out);
rlhf_status rlhfi_run_start(rlhfi_trainer *trainer);    /* clears an old run, writes config.yaml, keeps the reference */
rlhf_status rlhfi_run_continue(rlhfi_trainer *trainer); /* cuts metrics.jsonl, rewrites config.yaml */
rlhf_status rlhfi_run_log(rlhfi_trainer *trainer, const rlhfi_string *line);
rlhf_status rlhfi_run_finish(rlhfi_trainer *trainer);      /* model/ and receipt.json */
char *rlhfi_run_path(const rlhfi_trainer *trainer, const char *name); /* free with rlhfi_free; NULL without memory */
/* Path of the reference that was kept at the start, NULL if there is none. */
rlhf_status rlhfi_run_reference(rlhfi_trainer *trainer, char **path);
/* {"model": hash, ...} of what is there. */
void rlhfi_inputs_json(const rlhfi_inputs *inputs, rlhfi_string *out);

rlhf_status rlhfi_checkpoint_save(rlhfi_trainer *trainer);
/* Path of the newest whole checkpoint, checked hash by hash; NULL if there is none. Free with rlhfi_free. */
rlhf_status rlhfi_checkpoint_find(rlhfi_trainer *trainer, char **path);
/* Whether the run that wrote it is this one: INVAL with what differs. Sets the trainer's inputs to that run's. */
rlhf_status rlhfi_checkpoint_check(rlhfi_trainer *trainer, const char *path);
rlhf_status rlhfi_checkpoint_load(rlhfi_trainer *trainer, const char *path);
/* A role's weights as a Hugging Face directory. */
rlhf_status rlhfi_run_save_role(rlhfi_trainer *trainer, const rlhfi_role *role, const char *directory);

/* ---- trainer ----------------------------------------------------------------------------------------------------- */

typedef struct rlhfi_method_table {
    rlhf_status (*prepare)(rlhfi_trainer *trainer); /* examples, plan, objectives' slots; nothing is written yet */
    rlhf_status (*step)(rlhfi_trainer *trainer);    /* one step; state is as before on failure unless torn is set */
    rlhf_status (*evaluate)(rlhfi_trainer *trainer, rlhfi_meters *meters); /* names begin with eval_ */
} rlhfi_method_table;
extern const rlhfi_method_table rlhfi_supervised, rlhfi_reward_training, rlhfi_on_policy, rlhfi_raft;

struct rlhf_trainer {
    rlhf_context *context;
    rlhf_recipe *recipe;
    enum rlhfi_method method;
    const rlhfi_method_table *table;

    rlhf_policy *policy;
    rlhf_tokenizer *tokenizer;
    rlhf_reference *reference;       /* NULL: nothing needs one */
    rlhf_reward_model *reward_model;
    rlhf_value_model *value_model;
    rlhf_dataset *dataset, *eval_dataset;
    rlhf_scorer *scorer, *gold_scorer;
    rlhf_objective *loss, *value_loss, *reward, *advantage; /* slots; several may hold one object */
    bool reference_of_start;         /* the policy as it was, not one that was handed in */
    bool policy_in_memory;           /* handed in, so a resume cannot load the reference from the recipe's path */

    rlhfi_examples *examples, *eval_examples;
    rlhfi_order *order;
    rlhfi_state state;
    rlhfi_inputs inputs;
    uint64_t total_steps;
    uint64_t planned_updates;        /* optimizer steps of the whole run: the schedule's length */

    char *directory;                 /* NULL: nothing is written */
    rlhfi_arena *arena;              /* a step's arrays */
    rlhf_metrics_fn on_metrics;
    rlhf_progress_fn on_progress;
    void *user_data;
    int32_t phase;
    double phase_began;
    double seconds[6];

    rlhfi_meters logged;             /* the last logged step's */
    const char *logged_name[RLHFI_MAX_METRICS];
    double logged_value[RLHFI_MAX_METRICS];
    uint64_t logged_step;
    bool busy;                       /* a call runs: callbacks may look, not act */
    bool release_pending;            /* released by a callback of its own */
    bool torn;                       /* a step failed after some of its updates: weights and state do not match */
    rlhf_status deferred;            /* what on_progress returned amid updates: the step is finished first */
};

/* The value model is a head on the policy's trunk: both go through it together, and they are one role. */
static inline bool rlhfi_shares_trunk(const rlhfi_trainer *trainer)
{
    return trainer->value_model != NULL && trainer->policy != NULL &&
           trainer->value_model->model == trainer->policy->model;
}

/* Enters a phase and reports progress; a callback that wants to stop is heard at once, but amid updates only behind
 * them. */
rlhf_status rlhfi_trainer_phase(rlhfi_trainer *trainer, int32_t phase);
rlhf_status rlhfi_trainer_report(rlhfi_trainer *trainer);

/* ---- setup.c: what is missing is loaded or made ------------------------------------------------------------------ */
rlhf_status rlhfi_setup_models(rlhfi_trainer *trainer, const rlhf_trainer_options *options);
rlhf_status rlhfi_setup_data(rlhfi_trainer *trainer, const rlhf_trainer_options *options);
rlhf_status rlhfi_setup_objectives(rlhfi_trainer *trainer, const rlhf_trainer_options *options);
/* One role more that trains, with its optimizer; planned_updates must be known. */
rlhf_status rlhfi_setup_role(rlhfi_trainer *trainer, const char *name, rlhfi_model *model);
/* given, else, if anything needs one: loaded from the directory saved, or (NULL) the policy as it is now. */
rlhf_status rlhfi_setup_reference(rlhfi_trainer *trainer, rlhf_reference *given, const char *saved);
rlhf_status rlhfi_setup_inputs(rlhfi_trainer *trainer); /* hashes of everything that goes in */
/* The built-in pairwise loss in a form with the KL inside: then the reward must not hold it a second time. */
bool rlhfi_loss_holds_reference(const rlhfi_trainer *trainer);

/* ---- batches from sequences, in the trainer's arena (batching.c) ------------------------------------------------- */

rlhf_status rlhfi_view_from_sequences(rlhfi_arena *arena, const rlhfi_sequence *const *sequences, int64_t count,
                                      rlhf_batch_view *view);
/* Zeroed doubles of the trainer's arena; NULL without memory. */
double *rlhfi_doubles(rlhfi_trainer *trainer, int64_t count);

/* The rows of one optimizer step: at most gradient_accumulation_steps micro-batches of at most
 * per_device_train_batch_size rows, none of them across the end of an epoch. */
typedef struct rlhfi_accumulation {
    int64_t micro_batches, rows;
    uint64_t *row;        /* [rows] */
    int64_t *first;       /* [micro_batches+1] into row */
} rlhfi_accumulation;
rlhf_status rlhfi_accumulation_draw(rlhfi_trainer *trainer, rlhfi_accumulation *out); /* moves the state's cursor */
double rlhfi_epoch(const rlhfi_trainer *trainer);      /* times through the data, as transformers counts */
/* total_steps and planned_updates of a method that goes through its examples: max_steps, else num_train_epochs. */
rlhf_status rlhfi_plan_epochs(rlhfi_trainer *trainer);
rlhf_status rlhfi_objective_states_keep(rlhfi_trainer *trainer, rlhfi_objective_states *out);
/* Keeps the error text. */
void rlhfi_objective_states_restore(rlhfi_trainer *trainer, const rlhfi_objective_states *states);
/* Zeroes gathered gradients; keeps the error text. */
void rlhfi_drop_gradients(rlhfi_trainer *trainer);

/* ---- token_step.c: one optimizer step of the token loss; supervised methods and RAFT ----------------------------- */

/* Micro-batch m is sequences[first[m] .. first[m+1]). One denominator: the tokens of all of them that count. Meters
 * loss, grad_norm, learning_rate, entropy, mean_token_accuracy; adds to the state's tokens. */
rlhf_status rlhfi_token_step(rlhfi_trainer *trainer, const rlhfi_sequence *const *sequences, const int64_t *first,
                             int64_t micro_batches);
/* The loss and its meters over a held-out set, without gradients. */
rlhf_status rlhfi_token_evaluate(rlhfi_trainer *trainer, const rlhfi_examples *examples, rlhfi_meters *meters);

/* ---- sampling.c: rollout, scoring, what is left out; shared by the on-policy methods and RAFT -------------------- */

typedef struct rlhfi_samples {   /* rows that can be scored, in the trainer's arena */
    int64_t rows, sampled;       /* kept; before the unscorable ones went */
    int32_t samples_per_prompt;  /* 1 as soon as groups are no longer whole */
    rlhf_batch_view view;
    int64_t tokens;              /* response tokens kept */
    int64_t all_tokens;          /* of every sampled row, prompts included */
    double *log_prob, *log_prob_ref, *value; /* [tokens]; NULL without reference, without value model */
    double *score, *gold;        /* [rows]; gold NULL without a gold scorer */
    int32_t *terminated;         /* [rows] */
    int64_t *group;              /* [rows] number of the prompt in this iteration */
    int64_t groups;
} rlhfi_samples;
rlhf_status rlhfi_prepare_prompts(rlhfi_trainer *trainer); /* examples and eval_examples: the prompts of the datasets */
/* Draws prompts (moving the state's cursor), samples, scores; asks the reference and the value model. keep_groups: an
 * unscorable row takes its whole group along. */
rlhf_status rlhfi_draw_samples(rlhfi_trainer *trainer, int64_t prompts, int32_t samples_per_prompt, bool keep_groups,
                         rlhfi_samples *out);
/* reward, reward_std, completions/..., kl and what else a sample tells by itself. */
void rlhfi_meter_samples(rlhfi_trainer *trainer, const rlhfi_samples *samples);
double rlhfi_sum_of_differences(const rlhfi_samples *samples); /* log_prob - log_prob_ref over all tokens */
rlhf_status rlhfi_sample_evaluate(rlhfi_trainer *trainer, rlhfi_meters *meters);
float rlhfi_inverse_temperature(const rlhfi_trainer *trainer); /* of sampling and training alike */

/* on_policy.c: rewards, advantages and all updates of an iteration. order NULL: rows are shuffled for each epoch; else
 * [num_ppo_epochs][rows], for replays of recorded runs. */
rlhf_status rlhfi_learn_from_samples(rlhfi_trainer *trainer, const rlhfi_samples *samples, const int64_t *order);

#endif
