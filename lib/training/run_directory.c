/* A run's directory: config.yaml, metrics.jsonl, checkpoints/, and at the end model/ and receipt.json. Nothing in it
 * tells the time or the machine: a run that was killed and resumed leaves the same bytes as one that was not. */
#include "training/training.h"

/* What a run may leave; clearing an old run removes these and nothing else. */
static const char *const leftovers[] = {"receipt.json", "metrics.jsonl", "checkpoints", "model", "model.partial"};

char *rlhfi_run_path(const rlhfi_trainer *trainer, const char *name)
{
    return rlhfi_path_join(trainer->context, trainer->directory, name);
}

rlhf_status rlhfi_run_holds(rlhf_context *context, const char *path, bool *out)
{
    char *config = rlhfi_path_join(context, path, "config.yaml");

    *out = false;
    if (config == NULL)
        return RLHF_E_NOMEM;
    *out = rlhfi_path_exists(config);
    rlhfi_free(context, config);
    return RLHF_OK;
}

static rlhf_status save_text(rlhfi_trainer *trainer, const char *name, const char *text, size_t bytes)
{
    char *path = rlhfi_run_path(trainer, name);
    rlhf_status status = path != NULL ? rlhfi_file_save(trainer->context, path, text, bytes) : RLHF_E_NOMEM;

    rlhfi_free(trainer->context, path);
    return status;
}

static rlhf_status remove_below(rlhfi_trainer *trainer, const char *name)
{
    char *path = rlhfi_run_path(trainer, name);
    rlhf_status status = path != NULL ? rlhfi_remove_tree(trainer->context, path) : RLHF_E_NOMEM;

    rlhfi_free(trainer->context, path);
    return status;
}

static rlhf_status save_config(rlhfi_trainer *trainer)
{
    char *yaml;
    rlhf_status status;

    RLHFI_TRY(rlhfi_recipe_text_yaml(trainer->recipe, &yaml));
    status = save_text(trainer, "config.yaml", yaml, strlen(yaml));
    rlhfi_free(trainer->context, yaml);
    return status;
}

/* ---- the start --------------------------------------------------------------------------------------------------- */

/* The frozen reference of a policy that was handed in: nobody could load it again after a stop. */
static rlhf_status keep_reference(rlhfi_trainer *trainer)
{
    char *path = rlhfi_run_path(trainer, "checkpoints/reference");
    char *beside = rlhfi_run_path(trainer, "checkpoints/reference.partial");
    rlhf_status status = path != NULL && beside != NULL ? RLHF_OK : RLHF_E_NOMEM;

    RLHFI_GOTO(status);
    RLHFI_GOTO(rlhfi_remove_tree(trainer->context, beside));
    RLHFI_GOTO(rlhfi_model_save(trainer->reference->model, beside));
    RLHFI_GOTO(rlhfi_rename(trainer->context, beside, path));
done:
    rlhfi_free(trainer->context, path);
    rlhfi_free(trainer->context, beside);
    return status;
}

rlhf_status rlhfi_run_reference(rlhfi_trainer *trainer, char **path)
{
    *path = rlhfi_run_path(trainer, "checkpoints/reference");
    if (*path == NULL)
        return RLHF_E_NOMEM;
    if (!rlhfi_path_is_directory(*path)) {
        rlhfi_free(trainer->context, *path);
        *path = NULL;
    }
    return RLHF_OK;
}

rlhf_status rlhfi_run_start(rlhfi_trainer *trainer)
{
    char *checkpoints;
    rlhf_status status;
    bool old;

    RLHFI_TRY(rlhfi_run_holds(trainer->context, trainer->directory, &old));
    RLHFI_TRY(rlhfi_make_directory(trainer->context, trainer->directory));
    /* Only behind a config.yaml is what is called checkpoints ours. */
    for (size_t i = 0; old && i < sizeof leftovers / sizeof leftovers[0]; i++)
        RLHFI_TRY(remove_below(trainer, leftovers[i]));
    RLHFI_TRY(save_config(trainer));
    checkpoints = rlhfi_run_path(trainer, "checkpoints");
    status = checkpoints != NULL ? rlhfi_make_directory(trainer->context, checkpoints) : RLHF_E_NOMEM;
    rlhfi_free(trainer->context, checkpoints);
    if (status == RLHF_OK && trainer->policy_in_memory && trainer->reference_of_start)
        status = keep_reference(trainer);
    return status;
}

/* A log that lost its end (the disk was full, or the lights went out) goes on from what is left. */
static rlhf_status cut_log(rlhfi_trainer *trainer, const char *path)
{
    rlhfi_file *file;
    uint64_t size = 0;

    if (rlhfi_path_exists(path)) {
        RLHFI_TRY(rlhfi_file_open(&file, trainer->context, path));
        size = rlhfi_file_size(file);
        rlhfi_file_close(&file);
    }
    if (size < trainer->state.metrics_bytes) {
        rlhfi_log(trainer->context, RLHF_LOG_WARNING, "%s: %llu bytes of it are missing", path,
                  (unsigned long long)(trainer->state.metrics_bytes - size));
        trainer->state.metrics_bytes = size;
    }
    return size > 0 ? rlhfi_file_truncate(trainer->context, path, trainer->state.metrics_bytes) : RLHF_OK;
}

rlhf_status rlhfi_run_continue(rlhfi_trainer *trainer)
{
    char *metrics = rlhfi_run_path(trainer, "metrics.jsonl");
    rlhf_status status = metrics != NULL ? cut_log(trainer, metrics) : RLHF_E_NOMEM;

    rlhfi_free(trainer->context, metrics);
    return status == RLHF_OK ? save_config(trainer) : status;
}

rlhf_status rlhfi_run_log(rlhfi_trainer *trainer, const rlhfi_string *line)
{
    char *path = rlhfi_run_path(trainer, "metrics.jsonl");
    rlhf_status status =
        path != NULL ? rlhfi_file_append(trainer->context, path, line->data, line->size) : RLHF_E_NOMEM;

    rlhfi_free(trainer->context, path);
    if (status == RLHF_OK)
        trainer->state.metrics_bytes += line->size;
    return status;
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

static rlhf_status save_model(rlhfi_trainer *trainer)
{
    char *path = rlhfi_run_path(trainer, "model"), *beside = rlhfi_run_path(trainer, "model.partial");
    rlhf_status status = path != NULL && beside != NULL ? RLHF_OK : RLHF_E_NOMEM;

    RLHFI_GOTO(status);
    RLHFI_GOTO(rlhfi_remove_tree(trainer->context, beside));
    RLHFI_GOTO(rlhfi_run_save_role(trainer, &trainer->state.role[0], beside));
    RLHFI_GOTO(rlhf_tokenizer_save(trainer->tokenizer, beside));
    RLHFI_GOTO(rlhfi_remove_tree(trainer->context, path));
    RLHFI_GOTO(rlhfi_rename(trainer->context, beside, path));
done:
    rlhfi_free(trainer->context, path);
    rlhfi_free(trainer->context, beside);
    return status;
}

static void add_hash(rlhfi_string *out, const char *name, const char *hex)
{
    if (hex[0] != '\0')
        rlhfi_string_add_format(out, "\"%s\": \"%s\", ", name, hex);
}

void rlhfi_inputs_json(const rlhfi_inputs *inputs, rlhfi_string *out)
{
    rlhfi_string_add(out, "{");
    add_hash(out, "model", inputs->model);
    add_hash(out, "reward_model", inputs->reward_model);
    add_hash(out, "value_model", inputs->value_model);
    add_hash(out, "reference", inputs->reference);
    add_hash(out, "dataset", inputs->dataset);
    rlhfi_string_add_format(out, "\"dataset_rows\": %llu}", (unsigned long long)inputs->dataset_rows);
}

static rlhf_status save_receipt(rlhfi_trainer *trainer)
{
    const rlhfi_state *state = &trainer->state;
    char hex[65];
    rlhfi_string text;
    rlhf_status status;

    RLHFI_TRY(rlhfi_model_hash(state->role[0].model, hex));
    rlhfi_string_init(&text, trainer->context);
    rlhfi_string_add_format(&text,
                            "{\n  \"library\": \"librlhf %d.%d.%d\",\n  \"method\": \"%s\",\n  \"seed\": %lld,\n",
                            RLHF_API_MAJOR, RLHF_API_MINOR, RLHF_API_PATCH, rlhfi_method_names[trainer->method],
                            (long long)rlhfi_recipe_integer(trainer->recipe, "seed"));
    rlhfi_string_add_format(&text, "  \"steps\": %llu,\n  \"tokens\": %llu,\n  \"episodes\": %llu,\n  \"inputs\": ",
                            (unsigned long long)state->step, (unsigned long long)state->tokens,
                            (unsigned long long)state->episodes);
    rlhfi_inputs_json(&trainer->inputs, &text);
    rlhfi_string_add_format(&text, ",\n  \"result\": {\"%s\": \"%s\"},\n  \"recipe\": ", state->role[0].name, hex);
    rlhfi_recipe_add_json(trainer->recipe, &text);
    rlhfi_string_add(&text, "\n}\n");
    status = text.failed ? RLHF_E_NOMEM : save_text(trainer, "receipt.json", text.data, text.size);
    rlhfi_string_free(&text);
    return status;
}

rlhf_status rlhfi_run_finish(rlhfi_trainer *trainer)
{
    RLHFI_TRY(save_model(trainer));
    return save_receipt(trainer);
}
