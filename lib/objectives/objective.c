/* The handle around a v-table: who owns user_data, what may go in, what must come out. Built-in objectives and the
 * user's pass through the same checks. */
#include "objectives/builtin.h"

#include <math.h>

struct rlhf_objective {
    int64_t references;
    rlhf_context *context;
    rlhf_objective_vtable vtable;
    char *name;
    void *user_data;
    bool busy; /* one of its functions is running */
};

static const rlhfi_builtin_kind *const builtins[] = {
    &rlhfi_sft, &rlhfi_bradley_terry, &rlhfi_kl_reward, &rlhfi_gae, &rlhfi_reinforce, &rlhfi_pairwise, &rlhfi_ppo,
};
enum { BUILTINS = sizeof builtins / sizeof builtins[0] };

/* The first released layout ended with destroy. */
#define FIRST_VTABLE (offsetof(rlhf_objective_vtable, destroy) + sizeof(rlhf_destroy_fn))
#define ALL_NEEDS                                                                                                      \
    (RLHF_NEED_REFERENCE | RLHF_NEED_VALUE | RLHF_NEED_ENTROPY | RLHF_NEED_MEAN_LOG_PROB | RLHF_NEED_GROUPS)

/* ---- life -------------------------------------------------------------------------------------------------------- */

static rlhf_status check_vtable(rlhf_context *context, const rlhf_objective_vtable *vtable)
{
    if (vtable->name == NULL || vtable->name[0] == '\0')
        return rlhfi_fail(context, RLHF_E_INVAL, "objective: the v-table has no name");
    if ((vtable->need & ~(uint32_t)ALL_NEEDS) != 0)
        return rlhfi_fail(context, RLHF_E_UNSUPPORTED, "objective %.64s: need is %u, known bits are %u", vtable->name,
                          vtable->need, (unsigned)ALL_NEEDS);
    if (vtable->token_loss == NULL && vtable->pair_loss == NULL && vtable->reward == NULL &&
        vtable->advantage == NULL && vtable->policy_loss == NULL && vtable->value_loss == NULL)
        return rlhfi_fail(context, RLHF_E_INVAL, "objective %.64s: the v-table has no piece", vtable->name);
    if ((vtable->save == NULL) != (vtable->load == NULL))
        return rlhfi_fail(context, RLHF_E_INVAL, "objective %.64s: save and load come together", vtable->name);
    return RLHF_OK;
}

static rlhf_status create(rlhf_objective **out, rlhf_context *context, const rlhf_objective_vtable *vtable,
                          void *user_data)
{
    rlhf_objective *objective;

    RLHFI_TRY(check_vtable(context, vtable));
    objective = rlhfi_calloc(context, 1, sizeof *objective);
    if (objective == NULL)
        return RLHF_E_NOMEM;
    objective->name = rlhfi_strdup(context, vtable->name);
    if (objective->name == NULL) {
        rlhfi_free(context, objective);
        return RLHF_E_NOMEM;
    }
    objective->references = 1;
    objective->context = rlhfi_context_retain(context);
    objective->vtable = *vtable;
    objective->vtable.name = objective->name;
    objective->user_data = user_data;
    *out = objective;
    return RLHF_OK;
}

rlhf_status rlhf_objective_create(rlhf_objective **out, rlhf_context *context, const rlhf_objective_vtable *vtable,
                                  void *user_data)
{
    rlhf_objective_vtable known = {.struct_size = sizeof known};
    rlhf_status status = RLHF_E_INVAL;

    if (out != NULL)
        *out = NULL;
    if (context != NULL)
        status = rlhfi_enter(context);
    if (status == RLHF_OK && out == NULL)
        status = rlhfi_fail(context, RLHF_E_INVAL, "objective: out is NULL");
    if (status == RLHF_OK && vtable == NULL)
        status = rlhfi_fail(context, RLHF_E_INVAL, "objective: the v-table is NULL");
    if (status == RLHF_OK)
        status = rlhfi_options_copy(context, &known, sizeof known, vtable, FIRST_VTABLE, "objective v-table");
    if (status == RLHF_OK)
        status = create(out, context, &known, user_data);
    /* Taken over in any case; where destroy stands is certain once struct_size reaches behind it. */
    if (status != RLHF_OK && vtable != NULL && vtable->struct_size >= FIRST_VTABLE && vtable->destroy != NULL)
        vtable->destroy(user_data);
    return status;
}

rlhf_status rlhf_objective_builtin(rlhf_objective **out, rlhf_context *context, const char *name)
{
    const rlhfi_builtin_kind *kind = builtins[0];
    rlhfi_builtin *state;

    if (out != NULL)
        *out = NULL;
    RLHFI_TRY(rlhfi_enter(context));
    RLHFI_REQUIRE(context, out != NULL && name != NULL);
    for (int i = 0; i < BUILTINS; i++)
        if (rlhfi_edit_distance(name, builtins[i]->vtable.name) < rlhfi_edit_distance(name, kind->vtable.name))
            kind = builtins[i];
    if (strcmp(name, kind->vtable.name) != 0)
        return rlhfi_fail(context, RLHF_E_INVAL, "objective %.64s: not built in; the nearest is %s", name,
                          kind->vtable.name);
    state = rlhfi_calloc(context, 1, kind->size);
    if (state == NULL)
        return RLHF_E_NOMEM;
    *state = (rlhfi_builtin){.context = context, .kind = kind};
    for (size_t i = 0; i < kind->key_count; i++)
        memcpy((char *)state + kind->keys[i].offset, &kind->keys[i].initial, sizeof(double));
    return rlhf_objective_create(out, context, &kind->vtable, state);
}

rlhf_objective *rlhfi_objective_retain(rlhf_objective *objective)
{
    objective->references++;
    return objective;
}

void rlhf_objective_release(rlhf_objective **objective)
{
    rlhf_objective *gone = objective != NULL ? *objective : NULL;
    rlhf_context *context;

    if (gone == NULL)
        return;
    *objective = NULL;
    if (--gone->references > 0)
        return;
    if (gone->vtable.destroy != NULL)
        gone->vtable.destroy(gone->user_data);
    context = gone->context;
    rlhfi_free(context, gone->name);
    rlhfi_free(context, gone);
    rlhf_context_release(&context);
}

const char *rlhfi_objective_name(const rlhf_objective *objective)
{
    return objective->name;
}

bool rlhfi_objective_has(const rlhf_objective *objective, const char *piece)
{
    const rlhf_objective_vtable *vtable = &objective->vtable;
    const struct { const char *name; bool there; } pieces[] = {
        {"token_loss", vtable->token_loss != NULL},   {"pair_loss", vtable->pair_loss != NULL},
        {"reward", vtable->reward != NULL},           {"advantage", vtable->advantage != NULL},
        {"policy_loss", vtable->policy_loss != NULL}, {"value_loss", vtable->value_loss != NULL},
    };

    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++)
        if (strcmp(piece, pieces[i].name) == 0)
            return pieces[i].there;
    return false;
}

uint32_t rlhf_objective_need(const rlhf_objective *objective)
{
    if (objective == NULL)
        return 0;
    if (objective->vtable.current_need != NULL)
        return objective->vtable.current_need(objective->user_data);
    return objective->vtable.need;
}

/* ---- calls into the v-table -------------------------------------------------------------------------------------- */

/* Refuses calls from inside one of its own functions, and pieces that are not there. */
static rlhf_status may_call(const rlhf_objective *objective, bool there, const char *piece)
{
    if (objective->busy)
        return rlhfi_fail(objective->context, RLHF_E_BUSY, "objective %s: called from inside its own function",
                          objective->name);
    if (!there)
        return rlhfi_fail(objective->context, RLHF_E_UNSUPPORTED, "objective %s: has no %s", objective->name, piece);
    return RLHF_OK;
}

/* A function of the user's may release the handle it runs for, so the call holds a share. */
static void *begin(const rlhf_objective *objective)
{
    rlhf_objective *self = (rlhf_objective *)objective;

    self->busy = true;
    self->references++;
    return self->user_data;
}

/* The status goes out as it came. The text is the function's if it left one (a built-in does, and a library call inside
 * the user's may have); after success there is none. The handle may be gone afterwards. */
static rlhf_status end(const rlhf_objective *objective, const char *piece, rlhf_status status)
{
    rlhf_objective *self = (rlhf_objective *)objective;
    rlhf_context *context = self->context;

    self->busy = false;
    if (status == RLHF_OK)
        rlhfi_enter(context);
    else if (context->error[0] == '\0')
        rlhfi_fail(context, status, "objective %s: its %s returned %d (%s)", self->name, piece, (int)status,
                   rlhf_status_name(status));
    rlhf_objective_release(&self);
    return status;
}

rlhf_status rlhf_objective_set(rlhf_objective *objective, const char *key, double value)
{
    if (objective == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(rlhfi_enter(objective->context));
    RLHFI_REQUIRE(objective->context, key != NULL);
    RLHFI_TRY(may_call(objective, true, "set"));
    if (objective->vtable.set == NULL)
        return rlhfi_fail(objective->context, RLHF_E_INVAL, "objective %s: has no keys, %.64s was given",
                          objective->name, key);
    return end(objective, "set", objective->vtable.set(begin(objective), key, value));
}

rlhf_status rlhfi_objective_try_set(rlhf_objective *objective, const char *key, double value, bool *had)
{
    rlhf_status status = rlhf_objective_set(objective, key, value);

    *had = status != RLHF_E_INVAL;
    return *had ? status : rlhfi_enter(objective->context);
}

rlhf_status rlhf_objective_get(const rlhf_objective *objective, const char *key, double *value)
{
    if (value != NULL)
        *value = 0;
    if (objective == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(rlhfi_enter(objective->context));
    RLHFI_REQUIRE(objective->context, key != NULL && value != NULL);
    RLHFI_TRY(may_call(objective, true, "get"));
    if (objective->vtable.get == NULL)
        return rlhfi_fail(objective->context, RLHF_E_INVAL, "objective %s: has no keys to read, %.64s was asked",
                          objective->name, key);
    return end(objective, "get", objective->vtable.get(begin(objective), key, value));
}

rlhf_status rlhfi_objective_save(const rlhf_objective *objective, void *buffer, size_t capacity, size_t *needed)
{
    rlhf_status status;
    void *user_data;

    *needed = 0;
    RLHFI_TRY(may_call(objective, true, "save"));
    if (objective->vtable.save == NULL)
        return RLHF_OK;
    user_data = begin(objective);
    status = objective->vtable.save(user_data, NULL, 0, needed);
    if (status == RLHF_OK && buffer != NULL && capacity < *needed)
        status = rlhfi_fail(objective->context, RLHF_E_RANGE,
                            "objective %s: its state takes %zu bytes, there is room for %zu", objective->name, *needed,
                            capacity);
    else if (status == RLHF_OK && buffer != NULL)
        status = objective->vtable.save(user_data, buffer, capacity, needed);
    return end(objective, "save", status);
}

rlhf_status rlhfi_objective_load(rlhf_objective *objective, const void *buffer, size_t bytes)
{
    RLHFI_TRY(may_call(objective, true, "load"));
    if (objective->vtable.load == NULL)
        return bytes == 0 ? RLHF_OK
                          : rlhfi_fail(objective->context, RLHF_E_FORMAT,
                                       "objective %s: keeps no state, %zu bytes of it were given", objective->name,
                                       bytes);
    return end(objective, "load", objective->vtable.load(begin(objective), buffer, bytes));
}

rlhf_status rlhfi_objective_observe_kl(rlhf_objective *objective, double mean_sequence_kl, int64_t episodes)
{
    RLHFI_TRY(may_call(objective, true, "observe_kl"));
    if (objective->vtable.observe_kl == NULL)
        return RLHF_OK;
    if (!isfinite(mean_sequence_kl))
        return rlhfi_fail(objective->context, RLHF_E_NONFINITE, "objective %s: the observed KL is not finite",
                          objective->name);
    RLHFI_REQUIRE(objective->context, episodes >= 0);
    return end(objective, "observe_kl", objective->vtable.observe_kl(begin(objective), mean_sequence_kl, episodes));
}

rlhf_status rlhf_objective_observe_kl(rlhf_objective *objective, double mean_sequence_kl, int64_t episodes)
{
    if (objective == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(rlhfi_enter(objective->context));
    return rlhfi_objective_observe_kl(objective, mean_sequence_kl, episodes);
}

/* ---- the pieces -------------------------------------------------------------------------------------------------- */

/* Copies a sized input and looks at an output's size: callers may be compiled against another version. */
static rlhf_status read_structs(const rlhf_objective *objective, void *input, const void *in, size_t input_size,
                                void *output, const void *out, size_t output_size)
{
    RLHFI_REQUIRE(objective->context, in != NULL && out != NULL);
    RLHFI_TRY(rlhfi_options_copy(objective->context, input, input_size, in, input_size, "objective input"));
    return rlhfi_options_copy(objective->context, output, output_size, out, output_size, "objective output");
}

static void zero(double *x, int64_t count)
{
    if (x != NULL && count > 0)
        memset(x, 0, (size_t)count * sizeof *x);
}

/* Loss (not every piece has one) and arrays that a function made. */
static rlhf_status check_results(const rlhf_objective *objective, double loss, const rlhfi_numbers *made, size_t count)
{
    if (!isfinite(loss))
        return rlhfi_fail(objective->context, RLHF_E_NONFINITE, "objective %s: the loss is not finite",
                          objective->name);
    return rlhfi_numbers_finite(objective->context, objective->name, made, count);
}

#define COUNT_OF(array) (sizeof(array) / sizeof(array)[0])
#define INPUTS(objective, array) rlhfi_numbers_check((objective)->context, (objective)->name, array, COUNT_OF(array))
#define OUTPUTS(objective, array) rlhfi_numbers_there((objective)->context, (objective)->name, array, COUNT_OF(array))

rlhf_status rlhf_objective_token_loss(rlhf_objective *objective, const rlhf_token_loss_input *in,
                                      rlhf_token_loss_output *out)
{
    rlhf_token_loss_input input;
    rlhf_token_loss_output output;
    bool mean = (rlhf_objective_need(objective) & RLHF_NEED_MEAN_LOG_PROB) != 0;
    int64_t count;
    rlhf_status status;

    if (objective == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(rlhfi_enter(objective->context));
    RLHFI_TRY(may_call(objective, objective->vtable.token_loss != NULL, "token_loss"));
    RLHFI_TRY(read_structs(objective, &input, in, sizeof input, &output, out, sizeof output));
    RLHFI_TRY(rlhfi_rows_check(objective->context, objective->name, input.rows, input.offset, &count));
    RLHFI_TRY(rlhfi_divisor_check(objective->context, objective->name, "denominator", input.denominator, count));
    const rlhfi_numbers given[] = {{"log_prob", input.log_prob, count, true},
                                   {"mean_log_prob", input.mean_log_prob, count, mean}};
    const rlhfi_numbers made[] = {{"d_log_prob", output.d_log_prob, count, true},
                                  {"d_mean_log_prob", output.d_mean_log_prob, count, mean}};
    RLHFI_TRY(INPUTS(objective, given));
    RLHFI_TRY(OUTPUTS(objective, made));

    output.loss = 0;
    zero(output.d_log_prob, count);
    zero(output.d_mean_log_prob, count);
    status = objective->vtable.token_loss(begin(objective), &input, &output);
    if (status == RLHF_OK)
        status = check_results(objective, output.loss, made, COUNT_OF(made));
    out->loss = output.loss;
    return end(objective, "token_loss", status);
}

rlhf_status rlhf_objective_pair_loss(rlhf_objective *objective, const rlhf_pair_loss_input *in,
                                     rlhf_pair_loss_output *out)
{
    rlhf_pair_loss_input input;
    rlhf_pair_loss_output output;
    rlhf_status status;

    if (objective == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(rlhfi_enter(objective->context));
    RLHFI_TRY(may_call(objective, objective->vtable.pair_loss != NULL, "pair_loss"));
    RLHFI_TRY(read_structs(objective, &input, in, sizeof input, &output, out, sizeof output));
    RLHFI_REQUIRE(objective->context, input.pairs >= 0);
    RLHFI_TRY(rlhfi_divisor_check(objective->context, objective->name, "denominator", input.denominator, input.pairs));
    const rlhfi_numbers given[] = {{"chosen", input.chosen, input.pairs, true},
                                   {"rejected", input.rejected, input.pairs, true},
                                   {"margin", input.margin, input.pairs, false}};
    const rlhfi_numbers made[] = {{"d_chosen", output.d_chosen, input.pairs, true},
                                  {"d_rejected", output.d_rejected, input.pairs, true}};
    RLHFI_TRY(INPUTS(objective, given));
    RLHFI_TRY(OUTPUTS(objective, made));

    output.loss = 0;
    zero(output.d_chosen, input.pairs);
    zero(output.d_rejected, input.pairs);
    status = objective->vtable.pair_loss(begin(objective), &input, &output);
    if (status == RLHF_OK)
        status = check_results(objective, output.loss, made, COUNT_OF(made));
    out->loss = output.loss;
    return end(objective, "pair_loss", status);
}

rlhf_status rlhf_objective_reward(rlhf_objective *objective, const rlhf_reward_input *in, rlhf_reward_output *out)
{
    rlhf_reward_input input;
    rlhf_reward_output output;
    int64_t count;
    rlhf_status status;

    if (objective == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(rlhfi_enter(objective->context));
    RLHFI_TRY(may_call(objective, objective->vtable.reward != NULL, "reward"));
    RLHFI_TRY(read_structs(objective, &input, in, sizeof input, &output, out, sizeof output));
    RLHFI_TRY(rlhfi_rows_check(objective->context, objective->name, input.rows, input.offset, &count));
    RLHFI_REQUIRE(objective->context, input.rows == 0 || input.terminated != NULL);
    const rlhfi_numbers given[] = {{"score", input.score, input.rows, true},
                                   {"log_prob", input.log_prob, count, true},
                                   {"log_prob_ref", input.log_prob_ref, count, false}};
    const rlhfi_numbers made[] = {{"reward", output.reward, count, true}};
    RLHFI_TRY(INPUTS(objective, given));
    RLHFI_TRY(OUTPUTS(objective, made));

    zero(output.reward, count);
    status = objective->vtable.reward(begin(objective), &input, &output);
    if (status == RLHF_OK)
        status = check_results(objective, 0, made, COUNT_OF(made));
    return end(objective, "reward", status);
}

rlhf_status rlhf_objective_advantage(rlhf_objective *objective, const rlhf_advantage_input *in,
                                     rlhf_advantage_output *out)
{
    rlhf_advantage_input input;
    rlhf_advantage_output output;
    int64_t count;
    rlhf_status status;

    if (objective == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(rlhfi_enter(objective->context));
    RLHFI_TRY(may_call(objective, objective->vtable.advantage != NULL, "advantage"));
    RLHFI_TRY(read_structs(objective, &input, in, sizeof input, &output, out, sizeof output));
    RLHFI_TRY(rlhfi_rows_check(objective->context, objective->name, input.rows, input.offset, &count));
    RLHFI_TRY(rlhfi_groups_check(objective->context, objective->name, input.rows, input.samples_per_prompt));
    const rlhfi_numbers given[] = {{"reward", input.reward, count, true}, {"value", input.value, count, false}};
    const rlhfi_numbers made[] = {{"advantage", output.advantage, count, true},
                                  {"value_target", output.value_target, count, false}};
    RLHFI_TRY(INPUTS(objective, given));
    RLHFI_TRY(OUTPUTS(objective, made));

    zero(output.advantage, count);
    zero(output.value_target, count);
    status = objective->vtable.advantage(begin(objective), &input, &output);
    if (status == RLHF_OK)
        status = check_results(objective, 0, made, COUNT_OF(made));
    return end(objective, "advantage", status);
}

rlhf_status rlhf_objective_policy_loss(rlhf_objective *objective, const rlhf_policy_loss_input *in,
                                       rlhf_policy_loss_output *out)
{
    rlhf_policy_loss_input input;
    rlhf_policy_loss_output output;
    uint32_t need = rlhf_objective_need(objective);
    bool entropy = (need & RLHF_NEED_ENTROPY) != 0;
    int64_t count;
    rlhf_status status;

    if (objective == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(rlhfi_enter(objective->context));
    RLHFI_TRY(may_call(objective, objective->vtable.policy_loss != NULL, "policy_loss"));
    RLHFI_TRY(read_structs(objective, &input, in, sizeof input, &output, out, sizeof output));
    RLHFI_TRY(rlhfi_rows_check(objective->context, objective->name, input.rows, input.offset, &count));
    if ((need & RLHF_NEED_GROUPS) != 0)
        RLHFI_TRY(rlhfi_groups_check(objective->context, objective->name, input.rows, input.samples_per_prompt));
    RLHFI_TRY(rlhfi_divisor_check(objective->context, objective->name, "denominator", input.denominator, 0));
    RLHFI_TRY(rlhfi_divisor_check(objective->context, objective->name, "denominator_rows", input.denominator_rows, 0));
    const rlhfi_numbers given[] = {{"log_prob", input.log_prob, count, true},
                                   {"log_prob_old", input.log_prob_old, count, true},
                                   {"log_prob_ref", input.log_prob_ref, count, (need & RLHF_NEED_REFERENCE) != 0},
                                   {"advantage", input.advantage, count, true},
                                   {"entropy", input.entropy, count, entropy},
                                   {"score", input.score, input.rows, false}};
    const rlhfi_numbers made[] = {{"d_log_prob", output.d_log_prob, count, true},
                                  {"d_entropy", output.d_entropy, count, entropy}};
    RLHFI_TRY(INPUTS(objective, given));
    RLHFI_TRY(OUTPUTS(objective, made));

    output.loss = output.clipped = 0;
    zero(output.d_log_prob, count);
    zero(output.d_entropy, count);
    status = objective->vtable.policy_loss(begin(objective), &input, &output);
    if (status == RLHF_OK)
        status = check_results(objective, output.loss, made, COUNT_OF(made));
    out->loss = output.loss;
    out->clipped = output.clipped;
    return end(objective, "policy_loss", status);
}

rlhf_status rlhf_objective_value_loss(rlhf_objective *objective, const rlhf_value_loss_input *in,
                                      rlhf_value_loss_output *out)
{
    rlhf_value_loss_input input;
    rlhf_value_loss_output output;
    rlhf_status status;

    if (objective == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(rlhfi_enter(objective->context));
    RLHFI_TRY(may_call(objective, objective->vtable.value_loss != NULL, "value_loss"));
    RLHFI_TRY(read_structs(objective, &input, in, sizeof input, &output, out, sizeof output));
    RLHFI_REQUIRE(objective->context, input.count >= 0);
    RLHFI_TRY(rlhfi_divisor_check(objective->context, objective->name, "denominator", input.denominator, input.count));
    const rlhfi_numbers given[] = {{"value", input.value, input.count, true},
                                   {"value_old", input.value_old, input.count, true},
                                   {"value_target", input.value_target, input.count, true}};
    const rlhfi_numbers made[] = {{"d_value", output.d_value, input.count, true}};
    RLHFI_TRY(INPUTS(objective, given));
    RLHFI_TRY(OUTPUTS(objective, made));

    output.loss = output.clipped = 0;
    zero(output.d_value, input.count);
    status = objective->vtable.value_loss(begin(objective), &input, &output);
    if (status == RLHF_OK)
        status = check_results(objective, output.loss, made, COUNT_OF(made));
    out->loss = output.loss;
    out->clipped = output.clipped;
    return end(objective, "value_loss", status);
}
