/* Several recipes in one YAML file. Public: rlhf/pipeline.h. */
#include <rlhf/pipeline.h>

#include "training/training.h"

typedef struct stage {
    char *name, *scorer, *gold;
    rlhf_recipe *recipe;
} stage;

struct rlhf_pipeline {
    rlhf_context *context;
    stage *stages;
    int64_t count;
};

static bool plain_name(const char *name)
{
    if (name[0] == '\0' || name[0] == '.' || strlen(name) > 64)
        return false;
    for (; *name != '\0'; name++)
        if (!((*name >= 'a' && *name <= 'z') || (*name >= 'A' && *name <= 'Z') || (*name >= '0' && *name <= '9') ||
              *name == '-' || *name == '_' || *name == '.'))
            return false;
    return true;
}

/* "stage:NAME" to DIRECTORY/NAME/model, of an earlier stage of this file or one that another pipeline finished there;
 * other values stay. *out is a fresh copy. */
static rlhf_status resolve(rlhf_pipeline *pipeline, int64_t before, const char *directory, const char *value,
                           char **out)
{
    rlhf_context *context = pipeline->context;
    if (strncmp(value, "stage:", 6) != 0) {
        *out = rlhfi_strdup(context, value);
        return *out != NULL ? RLHF_OK : RLHF_E_NOMEM;
    }
    const char *name = value + 6;
    bool earlier = false;
    for (int64_t i = 0; i < before; i++)
        earlier = earlier || strcmp(pipeline->stages[i].name, name) == 0;
    char *run = plain_name(name) ? rlhfi_path_join(context, directory, name) : NULL;
    *out = run != NULL ? rlhfi_path_join(context, run, "model") : NULL;
    rlhfi_free(context, run);
    if (plain_name(name) && *out == NULL)
        return RLHF_E_NOMEM;
    if (earlier || (*out != NULL && rlhfi_path_is_directory(*out)))
        return RLHF_OK;
    rlhfi_free(context, *out);
    *out = NULL;
    return rlhfi_fail(context, RLHF_E_INVAL, "\"%.80s\" names no earlier stage, and no finished one in %s", value,
                      directory);
}

static rlhf_status read_stage(rlhf_pipeline *pipeline, const rlhfi_yaml *node, int64_t index, const char *directory,
                              int64_t *line)
{
    rlhf_context *context = pipeline->context;
    stage *self = &pipeline->stages[index];
    *line = node->line;
    if (node->kind != RLHFI_YAML_MAPPING)
        return rlhfi_fail(context, RLHF_E_FORMAT, "a stage must be a mapping of keys");
    const rlhfi_yaml *name = rlhfi_yaml_get(node, "name"), *method = rlhfi_yaml_get(node, "method");
    if (name == NULL || name->kind != RLHFI_YAML_SCALAR || method == NULL || method->kind != RLHFI_YAML_SCALAR)
        return rlhfi_fail(context, RLHF_E_FORMAT, "a stage needs the keys name and method");
    *line = name->line;
    if (!plain_name(name->scalar))
        return rlhfi_fail(context, RLHF_E_FORMAT, "name \"%.80s\": letters, digits, - _ . only (it becomes a folder)",
                          name->scalar);
    for (int64_t i = 0; i < index; i++)
        if (strcmp(pipeline->stages[i].name, name->scalar) == 0)
            return rlhfi_fail(context, RLHF_E_FORMAT, "name \"%s\" stands twice", name->scalar);
    self->name = rlhfi_strdup(context, name->scalar);
    if (self->name == NULL)
        return RLHF_E_NOMEM;
    *line = method->line;
    RLHFI_TRY(rlhf_recipe_create(&self->recipe, context, method->scalar));
    char *run = rlhfi_path_join(context, directory, self->name);
    if (run == NULL)
        return RLHF_E_NOMEM;
    rlhf_status status = rlhf_recipe_set(self->recipe, "output_dir", run);
    rlhfi_free(context, run);
    for (const rlhfi_yaml *key = node->first; status == RLHF_OK && key != NULL; key = key->next) {
        *line = key->line;
        if (strcmp(key->key, "name") == 0 || strcmp(key->key, "method") == 0)
            continue;
        if (key->kind != RLHFI_YAML_SCALAR)
            return rlhfi_fail(context, RLHF_E_FORMAT, "%.80s: a single value is expected", key->key);
        bool nothing = !key->quoted && rlhfi_is_nothing(key->scalar);
        char **own = strcmp(key->key, "scorer") == 0 ? &self->scorer
                     : strcmp(key->key, "gold") == 0 ? &self->gold
                                                     : NULL;
        if (own != NULL && nothing)
            continue;
        /* As in a recipe's own file: null is no path, but "none" may be a word to choose. */
        const char *text = nothing && rlhfi_recipe_takes_text(self->recipe, key->key) ? "" : key->scalar;
        char *value = NULL;
        status = resolve(pipeline, index, directory, text, &value);
        if (status != RLHF_OK)
            break;
        if (own != NULL) {
            *own = value;
            continue;
        }
        if (strcmp(key->key, "output_dir") == 0)
            status = rlhfi_fail(context, RLHF_E_INVAL,
                                "output_dir: is made from the pipeline's folder and the stage's name");
        else
            status = rlhf_recipe_set(self->recipe, key->key, value);
        rlhfi_free(context, value);
    }
    return status;
}

rlhf_status rlhf_pipeline_load(rlhf_pipeline **out, rlhf_context *context, const char *path, const char *directory)
{
    if (out != NULL)
        *out = NULL;
    RLHFI_TRY(rlhfi_enter(context));
    RLHFI_REQUIRE(context, out != NULL && path != NULL && directory != NULL);
    rlhfi_yaml *root = NULL;
    RLHFI_TRY(rlhfi_yaml_load(&root, context, path));
    rlhf_pipeline *pipeline = rlhfi_calloc(context, 1, sizeof *pipeline);
    rlhf_status status = pipeline != NULL ? RLHF_OK : RLHF_E_NOMEM;
    int64_t line = 1;
    const rlhfi_yaml *stages = NULL;
    if (status == RLHF_OK) {
        pipeline->context = rlhfi_context_retain(context);
        for (const rlhfi_yaml *key = root->first; status == RLHF_OK && key != NULL; key = key->next) {
            line = key->line;
            if (root->kind == RLHFI_YAML_MAPPING && strcmp(key->key, "stages") == 0 && key->kind == RLHFI_YAML_SEQUENCE)
                stages = key;
            else
                status = rlhfi_fail(context, RLHF_E_FORMAT, "only the key stages, a list, is expected here");
        }
        if (status == RLHF_OK && (stages == NULL || stages->first == NULL))
            status = rlhfi_fail(context, RLHF_E_FORMAT, "no stages");
    }
    if (status == RLHF_OK) {
        size_t count = 0;
        for (const rlhfi_yaml *node = stages->first; node != NULL; node = node->next)
            count++;
        pipeline->stages = rlhfi_calloc(context, count, sizeof *pipeline->stages);
        status = pipeline->stages != NULL ? RLHF_OK : RLHF_E_NOMEM;
        if (status == RLHF_OK)
            pipeline->count = (int64_t)count;
        int64_t index = 0;
        for (const rlhfi_yaml *node = stages->first; status == RLHF_OK && node != NULL; node = node->next)
            status = read_stage(pipeline, node, index++, directory, &line);
    }
    if (status != RLHF_OK) {
        rlhf_pipeline_release(&pipeline);
        rlhfi_fail_prefix(context, status, "%s:%lld", path, (long long)line);
    }
    rlhfi_yaml_release(context, &root);
    *out = pipeline;
    return status;
}

void rlhf_pipeline_release(rlhf_pipeline **pipeline)
{
    if (pipeline == NULL || *pipeline == NULL)
        return;
    rlhf_pipeline *p = *pipeline;
    rlhf_context *context = p->context;
    for (int64_t i = 0; i < p->count; i++) {
        rlhfi_free(context, p->stages[i].name);
        rlhfi_free(context, p->stages[i].scorer);
        rlhfi_free(context, p->stages[i].gold);
        rlhf_recipe_release(&p->stages[i].recipe);
    }
    rlhfi_free(context, p->stages);
    rlhfi_free(context, p);
    rlhf_context_release(&context);
    *pipeline = NULL;
}

int64_t rlhf_pipeline_stages(const rlhf_pipeline *pipeline)
{
    return pipeline != NULL ? pipeline->count : 0;
}

rlhf_status rlhf_pipeline_get(const rlhf_pipeline *pipeline, int64_t index, rlhf_pipeline_stage *out)
{
    if (pipeline == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(rlhfi_enter(pipeline->context));
    RLHFI_REQUIRE(pipeline->context, out != NULL && out->struct_size >= sizeof *out);
    if (index < 0 || index >= pipeline->count)
        return rlhfi_fail(pipeline->context, RLHF_E_RANGE, "stage %lld of %lld", (long long)index,
                          (long long)pipeline->count);
    const stage *self = &pipeline->stages[index];
    *out = (rlhf_pipeline_stage){.struct_size = out->struct_size,
                                 .name = self->name,
                                 .recipe = self->recipe,
                                 .scorer = self->scorer,
                                 .gold = self->gold};
    return RLHF_OK;
}
