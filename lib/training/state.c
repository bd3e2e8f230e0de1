/* The state of a run beside its weights, in one safetensors file. Whatever a step reads or changes is listed in
 * rlhfi_state, and this file walks that list: what is missing there is missing after a resume. */
#include "training/training.h"

enum { NUMBERS = 7, MOST_TENSORS = 4 + 3 * RLHFI_MAX_ROLES + RLHFI_MAX_OBJECTIVES };

typedef struct numbers { /* the scalars, in the file's order */
    int64_t value[NUMBERS + RLHFI_MAX_ROLES];
} numbers;

static numbers pack_numbers(const rlhfi_state *state)
{
    numbers out = {{(int64_t)state->step, (int64_t)state->cursor.epoch, (int64_t)state->cursor.position,
                    (int64_t)state->prompts, (int64_t)state->episodes, (int64_t)state->tokens,
                    (int64_t)state->metrics_bytes}};

    for (int32_t i = 0; i < state->roles; i++)
        out.value[NUMBERS + i] = (int64_t)rlhfi_optimizer_step_count(state->role[i].optimizer);
    return out;
}

static void unpack_numbers(rlhfi_state *state, const numbers *from)
{
    state->step = (uint64_t)from->value[0];
    state->cursor.epoch = (uint64_t)from->value[1];
    state->cursor.position = (uint64_t)from->value[2];
    state->prompts = (uint64_t)from->value[3];
    state->episodes = (uint64_t)from->value[4];
    state->tokens = (uint64_t)from->value[5];
    state->metrics_bytes = (uint64_t)from->value[6];
    for (int32_t i = 0; i < state->roles; i++)
        rlhfi_optimizer_set_step_count(state->role[i].optimizer, (uint64_t)from->value[NUMBERS + i]);
}

/* ---- names of the tensors ---------------------------------------------------------------------------------------- */

static const char *const moment_names[RLHFI_MAX_ROLES][2] = {{"role.0.first_moment", "role.0.second_moment"},
                                                             {"role.1.first_moment", "role.1.second_moment"}};
static const char *const value_head_names[RLHFI_MAX_ROLES] = {"role.0.value_head", "role.1.value_head"};
static const char *const objective_names[RLHFI_MAX_OBJECTIVES] = {"objective.0", "objective.1", "objective.2",
                                                                  "objective.3"};

static float *moment(const rlhfi_role *role, int which)
{
    return which == 0 ? rlhfi_optimizer_first_moment(role->optimizer) : rlhfi_optimizer_second_moment(role->optimizer);
}

/* The model's own checkpoint leaves its value head out, so it stands here. */
static int64_t value_head_floats(const rlhfi_model *model)
{
    return model->weights->count - rlhfi_model_own_weights(model);
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

typedef struct list {
    rlhfi_tensor_source tensor[MOST_TENSORS];
    size_t count;
} list;

/* Nothing is written of what is empty: the format has no use for it. */
static void add(list *to, const char *name, enum rlhfi_dtype dtype, int64_t elements, const void *data)
{
    if (elements > 0)
        to->tensor[to->count++] =
            (rlhfi_tensor_source){.name = name, .dtype = dtype, .rank = 1, .shape = {elements}, .data = data};
}

static rlhf_status save_objective(rlhf_context *context, const rlhf_objective *objective, void **bytes, size_t *size)
{
    *bytes = NULL;
    RLHFI_TRY(rlhfi_objective_save(objective, NULL, 0, size));
    if (*size == 0)
        return RLHF_OK;
    *bytes = rlhfi_alloc(context, *size);
    return *bytes != NULL ? rlhfi_objective_save(objective, *bytes, *size, size) : RLHF_E_NOMEM;
}

rlhf_status rlhfi_state_save(const rlhfi_state *state, rlhf_context *context, const char *path)
{
    const rlhfi_meters *meters = &state->meters;
    numbers scalars = pack_numbers(state);
    void *objective[RLHFI_MAX_OBJECTIVES] = {NULL};
    rlhf_status status = RLHF_OK;
    list tensors = {.count = 0};
    size_t size;

    add(&tensors, "numbers", RLHFI_I64, NUMBERS + state->roles, scalars.value);
    add(&tensors, "meters.name", RLHFI_U8, (int64_t)meters->count * RLHFI_METRIC_NAME, meters->name);
    add(&tensors, "meters.sum", RLHFI_F64, meters->count, meters->sum);
    add(&tensors, "meters.weight", RLHFI_F64, meters->count, meters->weight);
    for (int32_t i = 0; i < state->roles; i++) {
        const rlhfi_model *model = state->role[i].model;
        for (int which = 0; which < 2; which++)
            add(&tensors, moment_names[i][which], RLHFI_F32, model->weights->count, moment(&state->role[i], which));
        add(&tensors, value_head_names[i], RLHFI_F32, value_head_floats(model), rlhfi_value_head_weight(model));
    }
    for (int32_t i = 0; i < state->objectives; i++) {
        RLHFI_GOTO(save_objective(context, state->objective[i], &objective[i], &size));
        add(&tensors, objective_names[i], RLHFI_U8, (int64_t)size, objective[i]);
    }
    status = rlhfi_safetensors_write(context, path, tensors.tensor, tensors.count, NULL);
done:
    for (int i = 0; i < RLHFI_MAX_OBJECTIVES; i++)
        rlhfi_free(context, objective[i]);
    return status;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

typedef struct reader {
    rlhf_context *context;
    const char *path;
    rlhfi_safetensors *file;
} reader;

/* A tensor of this type and size; elements 0: it must not be there, and *out is NULL. */
static rlhf_status find(const reader *from, const char *name, enum rlhfi_dtype dtype, int64_t elements,
                        const rlhfi_tensor_info **out)
{
    const rlhfi_tensor_info *info = rlhfi_safetensors_find(from->file, name);

    *out = info;
    if (info == NULL && elements == 0)
        return RLHF_OK;
    if (info == NULL || info->dtype != dtype || info->elements != elements)
        return rlhfi_fail(from->context, RLHF_E_FORMAT, "%s: %s has %lld elements, this run needs %lld", from->path,
                          name, info != NULL ? (long long)info->elements : 0, (long long)elements);
    return RLHF_OK;
}

static rlhf_status read_raw(const reader *from, const char *name, enum rlhfi_dtype dtype, int64_t elements, void *out)
{
    const rlhfi_tensor_info *info;

    RLHFI_TRY(find(from, name, dtype, elements, &info));
    return info != NULL ? rlhfi_safetensors_read_raw(from->file, info, out) : RLHF_OK;
}

static rlhf_status load_meters(const reader *from, rlhfi_meters *meters)
{
    const rlhfi_tensor_info *info = rlhfi_safetensors_find(from->file, "meters.sum");
    int64_t count = info != NULL ? info->elements : 0;

    if (count > RLHFI_MAX_METRICS)
        return rlhfi_fail(from->context, RLHF_E_FORMAT, "%s: %lld meters, at most %d are known", from->path,
                          (long long)count, (int)RLHFI_MAX_METRICS);
    memset(meters, 0, sizeof *meters);
    RLHFI_TRY(read_raw(from, "meters.name", RLHFI_U8, count * RLHFI_METRIC_NAME, meters->name));
    RLHFI_TRY(read_raw(from, "meters.sum", RLHFI_F64, count, meters->sum));
    RLHFI_TRY(read_raw(from, "meters.weight", RLHFI_F64, count, meters->weight));
    for (int64_t i = 0; i < count; i++)
        if (memchr(meters->name[i], '\0', RLHFI_METRIC_NAME) == NULL)
            return rlhfi_fail(from->context, RLHF_E_FORMAT, "%s: the name of meter %lld has no end", from->path,
                              (long long)i);
    meters->count = (int32_t)count;
    return RLHF_OK;
}

static rlhf_status load_objective(const reader *from, const char *name, rlhf_objective *objective)
{
    const rlhfi_tensor_info *info = rlhfi_safetensors_find(from->file, name);
    rlhf_status status;
    void *bytes;

    if (info == NULL)
        return rlhfi_objective_load(objective, NULL, 0);
    if (info->dtype != RLHFI_U8)
        return rlhfi_fail(from->context, RLHF_E_FORMAT, "%s: %s is not made of bytes", from->path, name);
    bytes = rlhfi_alloc(from->context, (size_t)info->bytes);
    if (bytes == NULL)
        return RLHF_E_NOMEM;
    status = rlhfi_safetensors_read_raw(from->file, info, bytes);
    if (status == RLHF_OK)
        status = rlhfi_objective_load(objective, bytes, (size_t)info->bytes);
    rlhfi_free(from->context, bytes);
    return status;
}

/* An objective without state has no tensor and none to load. */
static bool keeps_state(const rlhf_objective *objective)
{
    size_t size = 0;

    return rlhfi_objective_save(objective, NULL, 0, &size) == RLHF_OK && size > 0;
}

static rlhf_status load(const reader *from, rlhfi_state *state)
{
    numbers scalars;

    RLHFI_TRY(read_raw(from, "numbers", RLHFI_I64, NUMBERS + state->roles, scalars.value));
    RLHFI_TRY(load_meters(from, &state->meters));
    for (int32_t i = 0; i < state->roles; i++) {
        rlhfi_model *model = state->role[i].model;
        for (int which = 0; which < 2; which++)
            RLHFI_TRY(read_raw(from, moment_names[i][which], RLHFI_F32, model->weights->count,
                               moment(&state->role[i], which)));
        if (model->value_head)
            RLHFI_TRY(rlhfi_model_writable(model));
        RLHFI_TRY(read_raw(from, value_head_names[i], RLHFI_F32, value_head_floats(model),
                           rlhfi_value_head_weight(model)));
    }
    for (int32_t i = 0; i < state->objectives; i++)
        if (keeps_state(state->objective[i]) || rlhfi_safetensors_find(from->file, objective_names[i]) != NULL)
            RLHFI_TRY(load_objective(from, objective_names[i], state->objective[i]));
    unpack_numbers(state, &scalars);
    return RLHF_OK;
}

rlhf_status rlhfi_state_load(rlhfi_state *state, rlhf_context *context, const char *path)
{
    reader from = {.context = context, .path = path};
    rlhf_status status;

    RLHFI_TRY(rlhfi_safetensors_open(&from.file, context, path));
    status = load(&from, state);
    rlhfi_safetensors_close(&from.file);
    return status;
}

/* ---- a step that fails before its first update ------------------------------------------------------------------- */

rlhf_status rlhfi_objective_states_keep(rlhfi_trainer *trainer, rlhfi_objective_states *out)
{
    *out = (rlhfi_objective_states){{NULL}, {0}};
    for (int32_t i = 0; i < trainer->state.objectives; i++) {
        const rlhf_objective *objective = trainer->state.objective[i];
        RLHFI_TRY(rlhfi_objective_save(objective, NULL, 0, &out->size[i]));
        out->bytes[i] = rlhfi_arena_alloc(trainer->arena, out->size[i] + 1, 1);
        if (out->bytes[i] == NULL)
            return RLHF_E_NOMEM;
        if (out->size[i] > 0)
            RLHFI_TRY(rlhfi_objective_save(objective, out->bytes[i], out->size[i], &out->size[i]));
    }
    return RLHF_OK;
}

void rlhfi_objective_states_restore(rlhfi_trainer *trainer, const rlhfi_objective_states *states)
{
    rlhf_status error_status = trainer->context->error_status;
    char error[sizeof trainer->context->error];

    memcpy(error, trainer->context->error, sizeof error);
    for (int32_t i = 0; i < trainer->state.objectives; i++)
        if (states->size[i] > 0 &&
            rlhfi_objective_load(trainer->state.objective[i], states->bytes[i], states->size[i]) != RLHF_OK)
            trainer->torn = true;
    memcpy(trainer->context->error, error, sizeof error);
    trainer->context->error_status = error_status;
}
