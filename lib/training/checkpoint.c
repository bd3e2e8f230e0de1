/* Checkpoints: checkpoints/step-N is written beside its place and renamed when all of it is there. manifest.json, the
 * last file, holds the hashes of the others; a checkpoint without it, or with another byte somewhere, is none. */
#include "training/training.h"

#include <stdlib.h>

#define MANIFEST "manifest.json"
#define STATE "state.safetensors"

/* ---- paths ------------------------------------------------------------------------------------------------------- */

static char *format_path(rlhfi_trainer *trainer, const char *format, unsigned long long number)
{
    char *checkpoints = rlhfi_run_path(trainer, "checkpoints"), *path = NULL;
    rlhfi_string name;

    rlhfi_string_init(&name, trainer->context);
    rlhfi_string_add_format(&name, format, number);
    if (checkpoints != NULL && !name.failed)
        path = rlhfi_path_join(trainer->context, checkpoints, name.data);
    rlhfi_string_free(&name);
    rlhfi_free(trainer->context, checkpoints);
    return path;
}

/* N of "step-N", false for any other name. */
static bool step_of(const char *name, uint64_t *step)
{
    int64_t number;

    if (strncmp(name, "step-", 5) != 0 || !rlhfi_parse_int64(name + 5, strlen(name + 5), &number) || number < 0)
        return false;
    *step = (uint64_t)number;
    return true;
}

static int descending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x > y ? -1 : x < y;
}

/* Steps that have a directory, newest first; free with rlhfi_free. */
static rlhf_status list_steps(rlhfi_trainer *trainer, uint64_t **out, size_t *count)
{
    char *path = rlhfi_run_path(trainer, "checkpoints"), **names = NULL;
    rlhf_status status = path != NULL ? RLHF_OK : RLHF_E_NOMEM;
    size_t found = 0;

    *out = NULL;
    *count = 0;
    if (status == RLHF_OK && rlhfi_path_is_directory(path))
        status = rlhfi_list_directory(trainer->context, path, &names, &found);
    rlhfi_free(trainer->context, path);
    if (status == RLHF_OK && (*out = rlhfi_alloc_array(trainer->context, found + 1, sizeof **out)) == NULL)
        status = RLHF_E_NOMEM;
    for (size_t i = 0; status == RLHF_OK && i < found; i++)
        *count += step_of(names[i], &(*out)[*count]);
    if (*count > 1)
        qsort(*out, *count, sizeof **out, descending);
    rlhfi_free(trainer->context, names);
    return status;
}

/* ---- hashes of files --------------------------------------------------------------------------------------------- */

static rlhf_status hash_file(rlhf_context *context, const char *path, char hex[65])
{
    enum { CHUNK = 1 << 20 };
    rlhfi_file *file = NULL;
    uint8_t *chunk = rlhfi_alloc(context, CHUNK);
    rlhfi_sha256 hash;
    rlhf_status status = chunk != NULL ? rlhfi_file_open(&file, context, path) : RLHF_E_NOMEM;

    rlhfi_sha256_init(&hash);
    for (uint64_t at = 0; status == RLHF_OK && at < rlhfi_file_size(file); at += CHUNK) {
        uint64_t left = rlhfi_file_size(file) - at;
        size_t bytes = left < CHUNK ? (size_t)left : CHUNK;
        status = rlhfi_file_read(file, at, chunk, bytes);
        rlhfi_sha256_add(&hash, chunk, bytes);
    }
    rlhfi_sha256_hex(&hash, hex);
    rlhfi_file_close(&file);
    rlhfi_free(context, chunk);
    return status;
}

/* Adds "name": hash of every file below directory but the manifest; folder "" or "name/". */
static rlhf_status add_hashes(rlhf_context *context, const char *directory, const char *folder, rlhfi_string *out)
{
    char **names, *path = NULL, hex[65];
    size_t count;
    rlhf_status status;

    RLHFI_TRY(rlhfi_list_directory(context, directory, &names, &count));
    for (size_t i = 0; i < count; i++) {
        rlhfi_string name;
        path = rlhfi_path_join(context, directory, names[i]);
        RLHFI_GOTO(path != NULL ? RLHF_OK : RLHF_E_NOMEM);
        rlhfi_string_init(&name, context);
        rlhfi_string_add_format(&name, "%s%s", folder, names[i]);
        status = name.failed ? RLHF_E_NOMEM : RLHF_OK;
        if (status == RLHF_OK && rlhfi_path_is_directory(path)) {
            rlhfi_string_add(&name, "/");
            status = name.failed ? RLHF_E_NOMEM : add_hashes(context, path, name.data, out);
        } else if (status == RLHF_OK && strcmp(name.data, MANIFEST) != 0) {
            status = hash_file(context, path, hex);
            if (out->data[out->size - 1] != '{')
                rlhfi_string_add(out, ", ");
            rlhfi_string_add_json(out, name.data, name.size);
            rlhfi_string_add_format(out, ": \"%s\"", hex);
        }
        rlhfi_string_free(&name);
        rlhfi_free(context, path);
        path = NULL;
        RLHFI_GOTO(status);
    }
    status = RLHF_OK;
done:
    rlhfi_free(context, path);
    rlhfi_free(context, names);
    return status;
}

static rlhf_status files_json(rlhf_context *context, const char *directory, rlhfi_string *out)
{
    rlhfi_string_add(out, "{");
    if (out->failed)
        return RLHF_E_NOMEM;
    RLHFI_TRY(add_hashes(context, directory, "", out));
    rlhfi_string_add(out, "}");
    return out->failed ? RLHF_E_NOMEM : RLHF_OK;
}

/* ---- saving ------------------------------------------------------------------------------------------------------ */

rlhf_status rlhfi_run_save_role(rlhfi_trainer *trainer, const rlhfi_role *role, const char *directory)
{
    if (trainer->policy != NULL && role->model == trainer->policy->model)
        return rlhf_policy_save(trainer->policy, directory); /* a value head on it goes with the state */
    if (trainer->value_model != NULL && role->model == trainer->value_model->model)
        return rlhf_value_model_save(trainer->value_model, directory);
    return rlhf_reward_model_save(trainer->reward_model, directory);
}

/* The first role's files lie in the checkpoint itself, so that it can be used as a model; a second one has a folder. */
static rlhf_status write_roles(rlhfi_trainer *trainer, const char *directory)
{
    RLHFI_TRY(rlhfi_run_save_role(trainer, &trainer->state.role[0], directory));
    RLHFI_TRY(rlhf_tokenizer_save(trainer->tokenizer, directory));
    for (int32_t i = 1; i < trainer->state.roles; i++) {
        char *path = rlhfi_path_join(trainer->context, directory, trainer->state.role[i].name);
        rlhf_status status = path != NULL ? rlhfi_run_save_role(trainer, &trainer->state.role[i], path) : RLHF_E_NOMEM;
        rlhfi_free(trainer->context, path);
        RLHFI_TRY(status);
    }
    return RLHF_OK;
}

static rlhf_status write_manifest(rlhfi_trainer *trainer, const char *directory)
{
    char *path = rlhfi_path_join(trainer->context, directory, MANIFEST);
    rlhfi_string text;
    rlhf_status status = path != NULL ? RLHF_OK : RLHF_E_NOMEM;

    rlhfi_string_init(&text, trainer->context);
    rlhfi_string_add_format(&text, "{\"step\": %llu, \"recipe\": ", (unsigned long long)trainer->state.step);
    rlhfi_recipe_add_json(trainer->recipe, &text);
    rlhfi_string_add(&text, ", \"inputs\": ");
    rlhfi_inputs_json(&trainer->inputs, &text);
    rlhfi_string_add(&text, ", \"files\": ");
    if (status == RLHF_OK)
        status = files_json(trainer->context, directory, &text);
    rlhfi_string_add(&text, "}\n");
    if (status == RLHF_OK && text.failed)
        status = RLHF_E_NOMEM;
    if (status == RLHF_OK)
        status = rlhfi_file_save(trainer->context, path, text.data, text.size);
    rlhfi_string_free(&text);
    rlhfi_free(trainer->context, path);
    return status;
}

static rlhf_status write_all(rlhfi_trainer *trainer, const char *directory)
{
    char *path = rlhfi_path_join(trainer->context, directory, STATE);
    rlhf_status status = path != NULL ? RLHF_OK : RLHF_E_NOMEM;

    if (status == RLHF_OK)
        status = rlhfi_remove_tree(trainer->context, directory);
    if (status == RLHF_OK)
        status = rlhfi_make_directory(trainer->context, directory);
    if (status == RLHF_OK)
        status = write_roles(trainer, directory);
    if (status == RLHF_OK)
        status = rlhfi_state_save(&trainer->state, trainer->context, path);
    if (status == RLHF_OK)
        status = write_manifest(trainer, directory);
    rlhfi_free(trainer->context, path);
    return status;
}

static rlhf_status verify(rlhf_context *context, const char *directory, bool *whole);

static rlhf_status prune(rlhfi_trainer *trainer)
{
    uint64_t limit = (uint64_t)rlhfi_recipe_integer(trainer->recipe, "save_total_limit"), *steps;
    rlhf_status status;
    size_t count;

    if (limit == 0)
        return RLHF_OK;
    RLHFI_TRY(list_steps(trainer, &steps, &count));
    status = RLHF_OK;
    for (size_t i = (size_t)limit; status == RLHF_OK && i < count; i++) {
        char *path = format_path(trainer, "step-%llu", (unsigned long long)steps[i]);
        status = path != NULL ? rlhfi_remove_tree(trainer->context, path) : RLHF_E_NOMEM;
        rlhfi_free(trainer->context, path);
    }
    rlhfi_free(trainer->context, steps);
    return status;
}

/* The log must reach the disk before the checkpoint that counts its bytes. */
static rlhf_status sync_log(rlhfi_trainer *trainer)
{
    char *path = rlhfi_run_path(trainer, "metrics.jsonl");
    rlhf_status status = path != NULL ? RLHF_OK : RLHF_E_NOMEM;

    if (status == RLHF_OK && trainer->state.metrics_bytes > 0)
        status = rlhfi_file_truncate(trainer->context, path, trainer->state.metrics_bytes);
    rlhfi_free(trainer->context, path);
    return status;
}

rlhf_status rlhfi_checkpoint_save(rlhfi_trainer *trainer)
{
    char *final = format_path(trainer, "step-%llu", (unsigned long long)trainer->state.step);
    char *beside = format_path(trainer, "step-%llu.partial", (unsigned long long)trainer->state.step);
    rlhf_status status = final != NULL && beside != NULL ? RLHF_OK : RLHF_E_NOMEM;
    bool whole = false;

    if (status == RLHF_OK && rlhfi_path_exists(final))
        status = verify(trainer->context, final, &whole);
    if (status == RLHF_OK && !whole) { /* a whole one of this step is this state already */
        RLHFI_GOTO(sync_log(trainer));
        RLHFI_GOTO(write_all(trainer, beside));
        RLHFI_GOTO(rlhfi_remove_tree(trainer->context, final));
        RLHFI_GOTO(rlhfi_rename(trainer->context, beside, final));
        status = prune(trainer);
    }
done:
    rlhfi_free(trainer->context, final);
    rlhfi_free(trainer->context, beside);
    return status;
}

/* ---- finding ----------------------------------------------------------------------------------------------------- */

static rlhf_status load_manifest(rlhf_context *context, const char *directory, rlhfi_json **out)
{
    char *path = rlhfi_path_join(context, directory, MANIFEST);
    rlhf_status status = path != NULL ? rlhfi_json_load(out, context, path, 1 << 20) : RLHF_E_NOMEM;

    rlhfi_free(context, path);
    return status;
}

/* Every file of the manifest is there with its hash. Only a lack of memory is an error. */
static rlhf_status verify(rlhf_context *context, const char *directory, bool *whole)
{
    const rlhfi_json *files, *value;
    rlhfi_json *manifest = NULL;
    void *iterator = NULL;
    const char *name;
    rlhf_status status = load_manifest(context, directory, &manifest);

    *whole = false;
    if (status != RLHF_OK)
        return status == RLHF_E_NOMEM ? status : RLHF_OK;
    files = rlhfi_json_get(manifest, "files");
    *whole = rlhfi_json_size(files) > 0;
    while (*whole && status == RLHF_OK && rlhfi_json_next(files, &iterator, &name, &value)) {
        char *path = rlhfi_path_join(context, directory, name), hex[65];
        const char *expected = rlhfi_json_text(value, NULL);
        status = path != NULL ? hash_file(context, path, hex) : RLHF_E_NOMEM;
        *whole = status == RLHF_OK && expected != NULL && strcmp(hex, expected) == 0;
        if (status != RLHF_E_NOMEM)
            status = RLHF_OK;
        rlhfi_free(context, path);
    }
    rlhfi_json_release(&manifest);
    return status;
}

rlhf_status rlhfi_checkpoint_find(rlhfi_trainer *trainer, char **out)
{
    uint64_t *steps;
    size_t count;
    rlhf_status status;
    bool whole = false;

    *out = NULL;
    RLHFI_TRY(list_steps(trainer, &steps, &count));
    status = RLHF_OK;
    for (size_t i = 0; status == RLHF_OK && !whole && i < count; i++) {
        char *path = format_path(trainer, "step-%llu", (unsigned long long)steps[i]);
        status = path != NULL ? verify(trainer->context, path, &whole) : RLHF_E_NOMEM;
        if (status == RLHF_OK && whole)
            *out = path;
        else
            rlhfi_free(trainer->context, path);
        if (status == RLHF_OK && !whole)
            rlhfi_log(trainer->context, RLHF_LOG_WARNING, "checkpoints/step-%llu: not whole, an older one is tried",
                      (unsigned long long)steps[i]);
    }
    rlhfi_free(trainer->context, steps);
    return status;
}

/* ---- loading ----------------------------------------------------------------------------------------------------- */

/* Copies "name" of the checkpoint's inputs; INVAL if this run's, where it is known, is another. */
static rlhf_status same_input(rlhfi_trainer *trainer, const rlhfi_json *inputs, const char *name, bool compare,
                              char hex[65])
{
    size_t bytes = 0;
    const char *then = rlhfi_json_text(rlhfi_json_get(inputs, name), &bytes);

    if (then == NULL)
        then = "";
    if (bytes > 64)
        return rlhfi_fail(trainer->context, RLHF_E_FORMAT, "%s: %s has no hash", MANIFEST, name);
    if (compare && strcmp(then, hex) != 0)
        return rlhfi_fail(trainer->context, RLHF_E_INVAL, "%s: is another than the run in %s began with", name,
                          trainer->directory);
    memcpy(hex, then, strlen(then) + 1);
    return RLHF_OK;
}

rlhf_status rlhfi_checkpoint_check(rlhfi_trainer *trainer, const char *path)
{
    const rlhfi_json *inputs;
    rlhfi_json *manifest;
    rlhf_status status;

    RLHFI_TRY(load_manifest(trainer->context, path, &manifest));
    RLHFI_GOTO(rlhfi_recipe_same_run(trainer->recipe, rlhfi_json_get(manifest, "recipe"), trainer->directory));
    inputs = rlhfi_json_get(manifest, "inputs");
    RLHFI_GOTO(same_input(trainer, inputs, "dataset", true, trainer->inputs.dataset));
    RLHFI_GOTO(same_input(trainer, inputs, "reference", true, trainer->inputs.reference));
    /* What trains has other weights by now, and a scorer of the user's may have changed for a reason. */
    RLHFI_GOTO(same_input(trainer, inputs, "model", false, trainer->inputs.model));
    RLHFI_GOTO(same_input(trainer, inputs, "reward_model", false, trainer->inputs.reward_model));
    RLHFI_GOTO(same_input(trainer, inputs, "value_model", false, trainer->inputs.value_model));
done:
    rlhfi_json_release(&manifest);
    return status;
}

/* Weights from a directory into a model that stands: the trainer's handles, and the user's, keep pointing at it. */
static rlhf_status load_role(rlhfi_trainer *trainer, const rlhfi_role *role, const char *directory)
{
    rlhfi_model *model = role->model, *read = NULL;
    rlhf_status status = rlhfi_model_load(&read, trainer->context, directory, model->head, &model->options);

    if (status == RLHF_OK && read->weights->count != rlhfi_model_own_weights(model))
        status = rlhfi_fail(trainer->context, RLHF_E_FORMAT, "%s: %lld weights, the run's %s has %lld", directory,
                            (long long)read->weights->count, role->name, (long long)rlhfi_model_own_weights(model));
    if (status == RLHF_OK)
        status = rlhfi_model_take_weights(model, read);
    if (status == RLHF_OK) {
        model->score_gain = read->score_gain;
        model->score_bias = read->score_bias;
    }
    rlhfi_model_release(&read);
    return status;
}

rlhf_status rlhfi_checkpoint_load(rlhfi_trainer *trainer, const char *path)
{
    char *state = rlhfi_path_join(trainer->context, path, STATE);
    rlhf_status status = state != NULL ? load_role(trainer, &trainer->state.role[0], path) : RLHF_E_NOMEM;

    for (int32_t i = 1; status == RLHF_OK && i < trainer->state.roles; i++) {
        char *folder = rlhfi_path_join(trainer->context, path, trainer->state.role[i].name);
        status = folder != NULL ? load_role(trainer, &trainer->state.role[i], folder) : RLHF_E_NOMEM;
        rlhfi_free(trainer->context, folder);
    }
    if (status == RLHF_OK)
        status = rlhfi_state_load(&trainer->state, trainer->context, state);
    rlhfi_free(trainer->context, state);
    return status;
}
