/* What a run needs and was not given: models, tokenizer and datasets from the recipe's paths, objectives with the
 * recipe's numbers, optimizers. Nothing is written here. */
#include "training/training.h"

#include <math.h>

/* ---- models ------------------------------------------------------------------------------------------------------ */

static rlhf_status missing(rlhfi_trainer *trainer, const char *key, const char *what)
{
    return rlhfi_fail(trainer->context, RLHF_E_INVAL, "%s: is not set, and no %s was given", key, what);
}

/* Number formats of the models that the recipe names. */
static rlhf_status formats(const rlhfi_trainer *trainer, rlhf_model_options *options)
{
    enum { FLOAT32, BFLOAT16, FLOAT16 };
    int32_t dtype = rlhfi_recipe_choice(trainer->recipe, "dtype");

    rlhf_model_options_init(options, sizeof *options);
    if (dtype == FLOAT16)
        return rlhfi_fail(trainer->context, RLHF_E_UNSUPPORTED,
                          "dtype: float16 weights are read, but nothing is computed in float16; bfloat16 is the short "
                          "format here");
    if (dtype == BFLOAT16)
        options->weight_format = RLHF_BFLOAT16;
    if (dtype == BFLOAT16 || rlhfi_recipe_boolean(trainer->recipe, "bf16"))
        options->compute_format = RLHF_BFLOAT16;
    return RLHF_OK;
}

/* A model that was given has the formats it was made with: the recipe cannot ask for shorter ones. */
static rlhf_status formats_agree(const rlhfi_trainer *trainer, const rlhfi_model *model, const char *what)
{
    rlhf_model_options wanted;

    RLHFI_TRY(formats(trainer, &wanted));
    if (wanted.compute_format == RLHF_BFLOAT16 && model->options.compute_format != RLHF_BFLOAT16)
        return rlhfi_fail(trainer->context, RLHF_E_INVAL, "bf16: the %s that was given computes in float32", what);
    if (wanted.weight_format == RLHF_BFLOAT16 && model->options.weight_format != RLHF_BFLOAT16)
        return rlhfi_fail(trainer->context, RLHF_E_INVAL, "dtype: the %s that was given has float32 weights", what);
    return RLHF_OK;
}

/* A model of a config.json alone: pretraining from nothing. */
static rlhf_status create_policy(rlhfi_trainer *trainer, const char *config_path)
{
    rlhf_model_options options;
    char *json = NULL;
    size_t bytes;
    rlhf_status status;

    RLHFI_TRY(formats(trainer, &options));
    RLHFI_TRY(rlhfi_file_load(trainer->context, config_path, 1 << 20, &json, &bytes));
    status = rlhf_policy_create(&trainer->policy, trainer->context, json, bytes,
                                (uint64_t)rlhfi_recipe_integer(trainer->recipe, "seed"), &options);
    if (status != RLHF_OK)
        rlhfi_fail_prefix(trainer->context, status, "%s", config_path);
    rlhfi_free(trainer->context, json);
    return status;
}

static rlhf_status setup_policy(rlhfi_trainer *trainer, const rlhf_trainer_options *options)
{
    const char *path = rlhfi_recipe_text(trainer->recipe, "model_name_or_path");
    const char *config = rlhfi_recipe_text(trainer->recipe, "init_from_config");
    rlhf_model_options number_formats;

    trainer->policy_in_memory = options->policy != NULL;
    if (options->policy != NULL) {
        RLHFI_TRY(formats_agree(trainer, options->policy->model, "policy"));
        trainer->policy = rlhfi_policy_retain(options->policy);
        return RLHF_OK;
    }
    if (path[0] != '\0' && config[0] != '\0')
        return rlhfi_fail(trainer->context, RLHF_E_INVAL,
                          "init_from_config: model_name_or_path is set too; a run begins from one of them");
    if (config[0] != '\0')
        return create_policy(trainer, config);
    if (path[0] == '\0')
        return missing(trainer, "model_name_or_path", "policy");
    RLHFI_TRY(formats(trainer, &number_formats));
    return rlhf_policy_load(&trainer->policy, trainer->context, path, &number_formats);
}

/* Whether a directory holds a model with a score head already. */
static rlhf_status has_score_head(rlhfi_trainer *trainer, const char *path, bool *out)
{
    static const char suffix[] = "ForSequenceClassification";
    rlhfi_hf_config config;
    size_t length;

    RLHFI_TRY(rlhfi_hf_config_load(&config, trainer->context, path));
    length = strlen(config.architecture);
    *out = length >= sizeof suffix - 1 && strcmp(config.architecture + length - (sizeof suffix - 1), suffix) == 0;
    rlhfi_hf_config_free(trainer->context, &config);
    return RLHF_OK;
}

static rlhf_status head_on(rlhfi_trainer *trainer, const rlhf_policy *trunk)
{
    return rlhf_reward_model_from_policy(&trainer->reward_model, trunk,
                                         (uint64_t)rlhfi_recipe_integer(trainer->recipe, "seed"));
}

/* The reward model that trains: given, on a trunk that was given, or from the path, with the head there or a new one.
 */
static rlhf_status setup_trained_reward_model(rlhfi_trainer *trainer, const rlhf_trainer_options *options)
{
    const char *path = rlhfi_recipe_text(trainer->recipe, "model_name_or_path");
    rlhf_model_options number_formats;
    rlhf_policy *trunk = NULL;
    bool scores;
    rlhf_status status;

    RLHFI_TRY(formats(trainer, &number_formats));
    if (options->reward_model != NULL) {
        RLHFI_TRY(formats_agree(trainer, options->reward_model->model, "reward model"));
        trainer->reward_model = rlhfi_reward_model_retain(options->reward_model);
        return RLHF_OK;
    }
    if (options->policy != NULL) {
        RLHFI_TRY(formats_agree(trainer, options->policy->model, "policy"));
        return head_on(trainer, options->policy);
    }
    if (path[0] == '\0')
        return missing(trainer, "model_name_or_path", "policy or reward model");
    RLHFI_TRY(has_score_head(trainer, path, &scores));
    if (scores)
        return rlhf_reward_model_load(&trainer->reward_model, trainer->context, path, &number_formats);
    RLHFI_TRY(rlhf_policy_load(&trunk, trainer->context, path, &number_formats));
    status = head_on(trainer, trunk);
    rlhf_policy_release(&trunk);
    return status;
}

static rlhf_status setup_scorer(rlhfi_trainer *trainer, const rlhf_trainer_options *options)
{
    const char *path = rlhfi_recipe_text(trainer->recipe, "reward_model_path");
    rlhf_model_options number_formats;

    RLHFI_TRY(formats(trainer, &number_formats));
    if (options->reward_model != NULL)
        trainer->reward_model = rlhfi_reward_model_retain(options->reward_model);
    else if (path[0] != '\0')
        RLHFI_TRY(rlhf_reward_model_load(&trainer->reward_model, trainer->context, path, &number_formats));
    if (options->gold_scorer != NULL)
        trainer->gold_scorer = rlhfi_scorer_retain(options->gold_scorer);
    if (options->scorer != NULL) {
        trainer->scorer = rlhfi_scorer_retain(options->scorer);
        return RLHF_OK;
    }
    if (rlhfi_recipe_text(trainer->recipe, "scorer")[0] != '\0')
        return rlhf_plugin_scorer(&trainer->scorer, trainer->context, rlhfi_recipe_text(trainer->recipe, "scorer"));
    if (trainer->reward_model == NULL)
        return missing(trainer, "reward_model_path", "scorer or reward model");
    return rlhf_scorer_from_reward_model(&trainer->scorer, trainer->reward_model);
}

static rlhf_status setup_value_model(rlhfi_trainer *trainer, const rlhf_trainer_options *options)
{
    const char *path = rlhfi_recipe_text(trainer->recipe, "value_model_path");
    bool share = rlhfi_recipe_boolean(trainer->recipe, "share_value_trunk");
    rlhf_model_options number_formats;

    RLHFI_TRY(formats(trainer, &number_formats));
    if (options->value_model != NULL) {
        RLHFI_TRY(formats_agree(trainer, options->value_model->model, "value model"));
        trainer->value_model = rlhfi_value_model_retain(options->value_model);
        if (share && !rlhfi_shares_trunk(trainer))
            return rlhfi_fail(trainer->context, RLHF_E_INVAL,
                              "share_value_trunk: the value model that was given has a trunk of its own");
        return RLHF_OK;
    }
    if (share && path[0] != '\0')
        return rlhfi_fail(trainer->context, RLHF_E_INVAL,
                          "share_value_trunk: value_model_path is set too; a value model has one trunk");
    if (share)
        return rlhf_value_model_on_policy(&trainer->value_model, trainer->policy);
    if (path[0] != '\0')
        return rlhf_value_model_load(&trainer->value_model, trainer->context, path, &number_formats);
    if (trainer->reward_model != NULL)
        return rlhf_value_model_from_reward_model(&trainer->value_model, trainer->reward_model);
    return rlhf_value_model_from_policy(&trainer->value_model, trainer->policy);
}

static rlhf_status setup_tokenizer(rlhfi_trainer *trainer, const rlhf_trainer_options *options)
{
    const char *path = rlhfi_recipe_text(trainer->recipe, "tokenizer_name_or_path");

    if (options->tokenizer != NULL) {
        trainer->tokenizer = rlhfi_tokenizer_retain(options->tokenizer);
        return RLHF_OK;
    }
    if (path[0] == '\0')
        path = rlhfi_recipe_text(trainer->recipe, "model_name_or_path");
    return path[0] != '\0' ? rlhf_tokenizer_load(&trainer->tokenizer, trainer->context, path)
                           : missing(trainer, "tokenizer_name_or_path", "tokenizer");
}

/* Every model must know every id that the tokenizer can make, and all of them must speak of the same ids. An embedding
 * may have spare rows, as many checkpoints do. */
static rlhf_status check_vocabularies(rlhfi_trainer *trainer)
{
    const rlhfi_model *models[] = {
        trainer->policy != NULL ? trainer->policy->model : NULL,
        trainer->reward_model != NULL ? trainer->reward_model->model : NULL,
        trainer->value_model != NULL ? trainer->value_model->model : NULL,
    };
    static const char *const names[] = {"policy", "reward model", "value model"};
    int64_t ids = rlhf_tokenizer_vocabulary(trainer->tokenizer), first = 0;

    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        int64_t vocabulary = models[i] != NULL ? models[i]->architecture.vocabulary : 0;
        if (models[i] == NULL)
            continue;
        if (vocabulary < ids)
            return rlhfi_fail(trainer->context, RLHF_E_RANGE,
                              "the tokenizer has %lld ids, the %s knows %lld: they do not belong together",
                              (long long)ids, names[i], (long long)vocabulary);
        if (first != 0 && vocabulary != first)
            return rlhfi_fail(trainer->context, RLHF_E_RANGE,
                              "the policy has a vocabulary of %lld, the %s one of %lld: they do not belong together",
                              (long long)first, names[i], (long long)vocabulary);
        first = vocabulary;
    }
    return RLHF_OK;
}

rlhf_status rlhfi_setup_models(rlhfi_trainer *trainer, const rlhf_trainer_options *options)
{
    RLHFI_TRY(setup_tokenizer(trainer, options));
    if (trainer->method == RLHFI_REWARD) {
        RLHFI_TRY(setup_trained_reward_model(trainer, options));
        return check_vocabularies(trainer);
    }
    RLHFI_TRY(setup_policy(trainer, options));
    if (trainer->method == RLHFI_PRETRAIN || trainer->method == RLHFI_SFT)
        return check_vocabularies(trainer);
    RLHFI_TRY(setup_scorer(trainer, options));
    if (trainer->method == RLHFI_PPO)
        RLHFI_TRY(setup_value_model(trainer, options));
    return check_vocabularies(trainer);
}

rlhf_status rlhfi_setup_role(rlhfi_trainer *trainer, const char *name, rlhfi_model *model)
{
    const rlhf_recipe *recipe = trainer->recipe;
    rlhfi_role *role = &trainer->state.role[trainer->state.roles];
    int64_t warmup = rlhfi_recipe_integer(recipe, "warmup_steps");
    rlhf_optimizer_options options;

    rlhf_optimizer_options_init(&options, sizeof options);
    options.schedule = rlhfi_recipe_choice(recipe, "lr_scheduler_type");
    options.learning_rate = rlhfi_recipe_number(recipe, "learning_rate");
    options.beta1 = rlhfi_recipe_number(recipe, "adam_beta1");
    options.beta2 = rlhfi_recipe_number(recipe, "adam_beta2");
    options.epsilon = rlhfi_recipe_number(recipe, "adam_epsilon");
    options.weight_decay = rlhfi_recipe_number(recipe, "weight_decay");
    options.max_grad_norm = rlhfi_recipe_number(recipe, "max_grad_norm");
    options.total_steps = trainer->planned_updates;
    options.min_lr_rate = rlhfi_recipe_number(recipe, "min_lr_rate");
    options.warmup_steps =
        warmup > 0 ? (uint64_t)warmup
                   : (uint64_t)ceil(rlhfi_recipe_number(recipe, "warmup_ratio") * (double)trainer->planned_updates);
    role->name = name;
    role->model = model;
    if (rlhfi_recipe_boolean(recipe, "gradient_checkpointing")) /* else as the model was made */
        model->options.recompute_activations = 1;
    RLHFI_TRY(rlhfi_optimizer_create(&role->optimizer, model, &options));
    rlhfi_optimizer_set_seed(role->optimizer, (uint64_t)rlhfi_recipe_integer(trainer->recipe, "seed"));
    trainer->state.roles++;
    return RLHF_OK;
}

/* ---- data -------------------------------------------------------------------------------------------------------- */

static rlhf_status load_dataset(rlhfi_trainer *trainer, const char *path, rlhf_dataset **out)
{
    rlhf_dataset_options options;

    rlhf_dataset_options_init(&options, sizeof options);
    options.bad_row = rlhfi_recipe_choice(trainer->recipe, "dataset_bad_rows");
    options.chat_template = rlhfi_recipe_choice(trainer->recipe, "chat_template");
    return rlhf_dataset_load(out, trainer->context, path, &options);
}

rlhf_status rlhfi_setup_data(rlhfi_trainer *trainer, const rlhf_trainer_options *options)
{
    const char *path = rlhfi_recipe_text(trainer->recipe, "dataset_name");
    const char *eval_path = rlhfi_recipe_text(trainer->recipe, "eval_dataset_name");

    if (options->dataset != NULL)
        trainer->dataset = rlhfi_dataset_retain(options->dataset);
    else if (path[0] != '\0')
        RLHFI_TRY(load_dataset(trainer, path, &trainer->dataset));
    else
        return missing(trainer, "dataset_name", "dataset");
    if (options->eval_dataset != NULL)
        trainer->eval_dataset = rlhfi_dataset_retain(options->eval_dataset);
    else if (eval_path[0] != '\0')
        RLHFI_TRY(load_dataset(trainer, eval_path, &trainer->eval_dataset));
    if (rlhf_dataset_rows(trainer->dataset) == 0)
        return rlhfi_fail(trainer->context, RLHF_E_INVAL, "dataset: has no rows");
    return RLHF_OK;
}

/* ---- objectives -------------------------------------------------------------------------------------------------- */

/* Where a recipe's number goes in a built-in objective. */
static const struct route {
    const char *objective, *recipe_key, *objective_key;
    double offset; /* choices that count from 1 */
} routes[] = {
    {"sft", "label_smoothing_factor", "label_smoothing_factor", 0},
    {"bradley_terry", "center_rewards_coefficient", "center_rewards_coefficient", 0},
    {"kl_reward", "kl_coef", "kl_coef", 0},
    {"kl_reward", "kl_estimator", "kl_estimator", 1},
    {"kl_reward", "missing_eos_penalty", "missing_eos_penalty", 0},
    {"kl_reward", "reward_clip", "reward_clip", 0},
    {"kl_reward", "adaptive_kl", "adaptive_kl", 0},
    {"kl_reward", "target_kl", "target_kl", 0},
    {"kl_reward", "horizon", "horizon", 0},
    {"kl_reward", "whiten_rewards", "whiten_rewards", 0},
    {"gae", "gamma", "gamma", 0},
    {"gae", "lam", "lam", 0},
    {"gae", "whiten_advantages", "whiten", 0},
    {"reinforce", "baseline", "baseline", 0},
    {"reinforce", "baseline_momentum", "baseline_momentum", 0},
    {"reinforce", "reward_to_go", "reward_to_go", 0},
    {"reinforce", "whiten_advantages", "whiten", 0},
    {"reinforce", "entropy_coef", "entropy_coef", 0},
    {"pairwise", "loss_type", "form", 0},
    {"pairwise", "soft_label_temperature", "soft_label_temperature", 0},
    {"pairwise", "cliprange", "cliprange", 0},
    {"ppo", "cliprange", "cliprange", 0},
    {"ppo", "cliprange_value", "cliprange_value", 0},
    {"ppo", "vf_coef", "vf_coef", 0},
    {"ppo", "entropy_coef", "entropy_coef", 0},
    {"ppo", "dual_clip", "dual_clip", 0},
};

bool rlhfi_loss_holds_reference(const rlhfi_trainer *trainer)
{
    return trainer->method == RLHFI_PAIRWISE && strcmp(rlhfi_objective_name(trainer->loss), "pairwise") == 0 &&
           (rlhf_objective_need(trainer->loss) & RLHF_NEED_REFERENCE) != 0;
}

/* The leash of pairs has one strength, beta. It hangs in the loss where the form has a place for it, else in the
 * reward. */
static rlhf_status set_pair_leash(rlhfi_trainer *trainer, rlhf_objective *objective, const char *name)
{
    double beta = rlhfi_recipe_number(trainer->recipe, "beta");

    if (strcmp(name, "pairwise") == 0 && (rlhf_objective_need(objective) & RLHF_NEED_REFERENCE) != 0)
        return rlhf_objective_set(objective, "beta", beta);
    if (strcmp(name, "kl_reward") == 0)
        return rlhf_objective_set(objective, "kl_coef", rlhfi_loss_holds_reference(trainer) ? 0 : beta);
    return RLHF_OK;
}

static rlhf_status make_builtin(rlhfi_trainer *trainer, const char *name, rlhf_objective **out)
{
    RLHFI_TRY(rlhf_objective_builtin(out, trainer->context, name));
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++)
        if (strcmp(routes[i].objective, name) == 0 && rlhfi_recipe_has(trainer->recipe, routes[i].recipe_key))
            RLHFI_TRY(
                rlhf_objective_set(*out, routes[i].objective_key,
                                   rlhfi_recipe_number(trainer->recipe, routes[i].recipe_key) + routes[i].offset));
    return trainer->method == RLHFI_PAIRWISE ? set_pair_leash(trainer, *out, name) : RLHF_OK;
}

/* Fills one slot: what was given for it, else the loss if that is the user's and has the piece too, else the built-in.
 */
static rlhf_status fill(rlhfi_trainer *trainer, rlhf_objective **slot, rlhf_objective *given, const char *piece,
                        const char *name)
{
    rlhfi_state *state = &trainer->state;

    if (given != NULL && !rlhfi_objective_has(given, piece))
        return rlhfi_fail(trainer->context, RLHF_E_INVAL, "objective %s: has no %s, which %s needs",
                          rlhfi_objective_name(given), piece, rlhfi_method_names[trainer->method]);
    if (given != NULL)
        *slot = rlhfi_objective_retain(given);
    else if (trainer->loss != NULL && rlhfi_objective_has(trainer->loss, piece))
        *slot = rlhfi_objective_retain(trainer->loss);
    else
        RLHFI_TRY(make_builtin(trainer, name, slot));
    for (int32_t i = 0; i < state->objectives; i++)
        if (state->objective[i] == *slot)
            return RLHF_OK;
    state->objective[state->objectives++] = *slot;
    return RLHF_OK;
}

/* The loss may also be named in the recipe. */
static rlhf_status fill_loss(rlhfi_trainer *trainer, rlhf_objective *given, const char *piece, const char *name)
{
    const char *registered = rlhfi_recipe_text(trainer->recipe, "objective");
    rlhf_objective *objective = NULL;
    rlhf_status status;

    if (given != NULL || registered[0] == '\0')
        return fill(trainer, &trainer->loss, given, piece, name);
    RLHFI_TRY(rlhf_plugin_objective(&objective, trainer->context, registered));
    status = fill(trainer, &trainer->loss, objective, piece, name);
    rlhf_objective_release(&objective);
    return status;
}

rlhf_status rlhfi_setup_objectives(rlhfi_trainer *trainer, const rlhf_trainer_options *options)
{
    static const char *const loss[RLHFI_METHODS] = {"sft",      "sft", "bradley_terry", "sft", "reinforce",
                                                    "pairwise", "ppo"};
    enum rlhfi_method method = trainer->method;
    bool policy_gradient = method == RLHFI_REINFORCE || method == RLHFI_PAIRWISE || method == RLHFI_PPO;
    const char *piece = method == RLHFI_REWARD ? "pair_loss" : policy_gradient ? "policy_loss" : "token_loss";

    if (!policy_gradient && (options->reward_objective != NULL || options->advantage_objective != NULL))
        return rlhfi_fail(trainer->context, RLHF_E_INVAL, "%s: has no place for a reward or an advantage objective",
                          rlhfi_method_names[method]);
    RLHFI_TRY(fill_loss(trainer, options->objective, piece, loss[method]));
    if (!policy_gradient)
        return RLHF_OK;
    RLHFI_TRY(fill(trainer, &trainer->reward, options->reward_objective, "reward", "kl_reward"));
    RLHFI_TRY(fill(trainer, &trainer->advantage, options->advantage_objective, "advantage",
                   method == RLHFI_PPO ? "gae" : loss[method]));
    if (method == RLHFI_PPO)
        return fill(trainer, &trainer->value_loss, NULL, "value_loss", "ppo");
    for (int32_t i = 0; i < trainer->state.objectives; i++)
        if ((rlhf_objective_need(trainer->state.objective[i]) & RLHF_NEED_VALUE) != 0)
            return rlhfi_fail(trainer->context, RLHF_E_UNSUPPORTED,
                              "objective %s: needs values; only ppo has a value model",
                              rlhfi_objective_name(trainer->state.objective[i]));
    return RLHF_OK;
}

/* ---- reference --------------------------------------------------------------------------------------------------- */

static bool needs_reference(const rlhfi_trainer *trainer)
{
    if (trainer->method == RLHFI_RAFT)
        return rlhfi_recipe_number(trainer->recipe, "beta") > 0;
    for (int32_t i = 0; i < trainer->state.objectives; i++)
        if ((rlhf_objective_need(trainer->state.objective[i]) & RLHF_NEED_REFERENCE) != 0)
            return true;
    return false;
}

rlhf_status rlhfi_setup_reference(rlhfi_trainer *trainer, rlhf_reference *given, const char *saved)
{
    if (given != NULL) {
        trainer->reference = rlhfi_reference_retain(given);
        return RLHF_OK;
    }
    if (!needs_reference(trainer))
        return RLHF_OK;
    /* Its numbers are those of the policy that it was: only the same arithmetic gives the same bits. */
    return saved != NULL ? rlhf_reference_load(&trainer->reference, trainer->context, saved,
                                               &trainer->policy->model->options)
                         : rlhf_reference_freeze(&trainer->reference, trainer->policy);
}

/* ---- what went in, for the receipt ------------------------------------------------------------------------------- */

static void hash_text(rlhfi_sha256 *hash, const char *text)
{
    uint8_t there = text != NULL;

    rlhfi_sha256_add(hash, &there, 1);
    if (text != NULL)
        rlhfi_sha256_add(hash, text, strlen(text) + 1);
}

/* Of what a run sees of the rows, so that a dataset in memory and its file agree. */
static rlhf_status hash_dataset(const rlhf_dataset *dataset, char hex[65])
{
    rlhfi_sha256 hash;

    rlhfi_sha256_init(&hash);
    for (uint64_t i = 0; i < rlhf_dataset_rows(dataset); i++) {
        rlhf_row row = {.struct_size = sizeof row};
        char margin[40];
        RLHFI_TRY(rlhf_dataset_row(dataset, i, &row));
        hash_text(&hash, row.text);
        hash_text(&hash, row.prompt);
        hash_text(&hash, row.completion);
        hash_text(&hash, row.chosen);
        hash_text(&hash, row.rejected);
        hash_text(&hash, row.extra);
        rlhfi_format_double(row.margin, margin, sizeof margin);
        hash_text(&hash, margin);
    }
    rlhfi_sha256_hex(&hash, hex);
    return RLHF_OK;
}

rlhf_status rlhfi_setup_inputs(rlhfi_trainer *trainer)
{
    rlhfi_inputs *inputs = &trainer->inputs;

    inputs->dataset_rows = rlhf_dataset_rows(trainer->dataset);
    RLHFI_TRY(hash_dataset(trainer->dataset, inputs->dataset));
    if (trainer->policy != NULL)
        RLHFI_TRY(rlhf_policy_hash(trainer->policy, inputs->model));
    if (trainer->reward_model != NULL)
        RLHFI_TRY(rlhf_reward_model_hash(trainer->reward_model, inputs->reward_model));
    if (trainer->value_model != NULL && trainer->reward_model != NULL &&
        trainer->value_model->model->weights == trainer->reward_model->model->weights)
        memcpy(inputs->value_model, inputs->reward_model, sizeof inputs->value_model);
    else if (trainer->value_model != NULL && !rlhfi_shares_trunk(trainer)) /* else the model's hash says it */
        RLHFI_TRY(rlhf_value_model_hash(trainer->value_model, inputs->value_model));
    if (trainer->reference != NULL && trainer->reference->model->weights == trainer->policy->model->weights)
        memcpy(inputs->reference, inputs->model, sizeof inputs->reference);
    else if (trainer->reference != NULL)
        RLHFI_TRY(rlhf_reference_hash(trainer->reference, inputs->reference));
    return RLHF_OK;
}
