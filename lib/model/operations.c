/* Whole operations on batches. The last token of a row predicts nothing, so the trunk does not see it where tokens are
 * scored; rows without anything wanted are left out; and rows with the same prompt go through it together, once.
 * None of it changes a bit of what is read off; only the order in which a shared prompt's gradients are summed. */
#include "model/internal.h"

/* A prompt shorter than SHORTEST_SHARED costs less than keeping its rows together. In small models, whose workers take
 * whole families, a family is full when its completions have FAMILY_TOKENS, and the next row begins another. */
enum { SHORTEST_SHARED = 8, FAMILY_TOKENS = 256, FAMILY_PROMPTS = 4 };

/* What is read off the trunk: for every wanted item the row of hidden and, for tokens, the id that comes next. */
struct plan {
    rlhfi_ragged batch;
    int64_t count;
    int64_t *row;
    int32_t *target;
};

enum reading { RESPONSE_TOKENS, LAST_TOKENS };

static int64_t row_length(const rlhf_batch_view *view, int64_t r)
{
    return view->offset[r + 1] - view->offset[r];
}

static int64_t row_items(const rlhf_batch_view *view, int64_t r, enum reading reading)
{
    return reading == LAST_TOKENS ? 1 : row_length(view, r) - view->prompt_length[r];
}

/* Tokens of row r that the trunk must see. */
static int64_t row_tokens(const rlhf_batch_view *view, int64_t r, enum reading reading)
{
    if (row_items(view, r, reading) == 0)
        return 0;
    return reading == LAST_TOKENS ? row_length(view, r) : row_length(view, r) - 1;
}

static rlhf_status check_batch(const rlhfi_model *model, const rlhf_batch_view *view, enum reading reading)
{
    for (int64_t r = 0; r < view->rows; r++) {
        int64_t length = row_length(view, r);
        RLHFI_TRY(rlhfi_check_tokens(model, r, view->tokens + view->offset[r], length));
        if (reading == LAST_TOKENS && length == 0)
            return rlhfi_fail(model->context, RLHF_E_RANGE, "row %lld: an empty row has no score", (long long)r);
        if (reading == RESPONSE_TOKENS && length > 0 && view->prompt_length[r] < 1)
            return rlhfi_fail(model->context, RLHF_E_INVAL, "row %lld: the first response token has nothing before it, "
                              "prompt_length must be at least 1", (long long)r);
    }
    return RLHF_OK;
}

/* Whether two rows begin with the same prompt, and both need it. */
static bool same_prompt(const rlhf_batch_view *view, int64_t r, int64_t other, enum reading reading)
{
    int32_t prompt = view->prompt_length[r];

    return prompt >= SHORTEST_SHARED && view->prompt_length[other] == prompt &&
           row_tokens(view, r, reading) >= prompt && row_tokens(view, other, reading) >= prompt &&
           memcmp(view->tokens + view->offset[r], view->tokens + view->offset[other],
                  (size_t)prompt * sizeof *view->tokens) == 0;
}

/* A plan for rows [first, end) while it is made. */
struct filling {
    const rlhf_batch_view *view;
    enum reading reading;
    int64_t first, end, tokens;
    int64_t *offset, *prefix, *member; /* member: rows of the family at hand */
    int32_t *copy;
    bool *taken;                       /* [end - first] */
};

/* Row r and the rows behind it that go through its prompt with it; returns how many. */
static int64_t gather_family(const rlhfi_model *model, struct filling *to, int64_t r)
{
    int64_t prompt = to->view->prompt_length[r], full = INT64_MAX, tokens = 0, count = 0;

    if (rlhfi_model_is_small(model))
        full = FAMILY_PROMPTS * prompt > FAMILY_TOKENS ? FAMILY_PROMPTS * prompt : FAMILY_TOKENS;
    for (int64_t other = r; other < to->end && tokens < full; other++) {
        if (to->taken[other - to->first] || (other > r && !same_prompt(to->view, r, other, to->reading)))
            continue;
        to->taken[other - to->first] = true;
        to->member[count++] = other;
        tokens += row_tokens(to->view, other, to->reading) - prompt;
    }
    return count;
}

static void fill_sequence(struct filling *to, struct plan *plan, const int32_t *tokens, int64_t count, int64_t prefix)
{
    if (count > 0)
        memcpy(to->copy + to->tokens, tokens, (size_t)count * sizeof *tokens);
    to->tokens += count;
    to->prefix[plan->batch.sequences++] = prefix;
    to->offset[plan->batch.sequences] = to->tokens;
}

/* Row r, of which the first `shared` tokens stand at `at` already. */
static void fill_row(struct filling *to, struct plan *plan, int64_t r, int64_t shared, int64_t at)
{
    const rlhf_batch_view *view = to->view;
    const int32_t *row = view->tokens + view->offset[r];
    bool last = to->reading == LAST_TOKENS;
    int64_t seen = row_tokens(view, r, to->reading), own = to->tokens - shared;
    int64_t item = last ? r - to->first : view->response_offset[r] - view->response_offset[to->first];

    fill_sequence(to, plan, row + shared, seen - shared, shared);
    for (int64_t t = last ? seen : view->prompt_length[r]; t <= seen && seen > 0; t++, item++) {
        plan->row[item] = t - 1 + (t - 1 < shared ? at : own);
        plan->target[item] = last ? 0 : row[t];
    }
}

/* Plan for rows [first, first + count). */
static rlhf_status plan_make(const rlhfi_model *model, const rlhf_batch_view *view, int64_t first, int64_t count,
                             enum reading reading, struct plan *plan)
{
    struct filling to = {.view = view, .reading = reading, .first = first, .end = first + count};
    int64_t tokens = 0, items = 0;
    bool shared = false;

    for (int64_t r = first; r < first + count; r++) {
        tokens += row_tokens(view, r, reading);
        items += row_items(view, r, reading);
    }
    to.offset = rlhfi_scratch(model, 2 * count + 1, sizeof *to.offset); /* a family has one sequence more than rows */
    to.prefix = rlhfi_scratch(model, 2 * count, sizeof *to.prefix);
    to.member = rlhfi_scratch(model, count, sizeof *to.member);
    to.taken = rlhfi_scratch(model, count, sizeof *to.taken);
    to.copy = rlhfi_scratch(model, tokens, sizeof *to.copy);
    *plan = (struct plan){.count = items, .row = rlhfi_scratch(model, items, sizeof *plan->row),
                          .target = rlhfi_scratch(model, items, sizeof *plan->target)};
    if (to.offset == NULL || to.prefix == NULL || to.member == NULL || to.taken == NULL || to.copy == NULL ||
        plan->row == NULL || plan->target == NULL)
        return RLHF_E_NOMEM;
    to.offset[0] = 0;
    memset(to.taken, 0, (size_t)count * sizeof *to.taken);
    for (int64_t r = first; r < first + count; r++) {
        int64_t family = to.taken[r - first] ? 0 : gather_family(model, &to, r), prompt = 0, at = to.tokens;
        if (family > 1) {
            prompt = view->prompt_length[r];
            fill_sequence(&to, plan, view->tokens + view->offset[r], prompt, 0);
            shared = true;
        }
        for (int64_t i = 0; i < family; i++)
            fill_row(&to, plan, to.member[i], prompt, at);
    }
    plan->batch.offset = to.offset;
    plan->batch.tokens = to.copy;
    plan->batch.prefix = shared ? to.prefix : NULL;
    return RLHF_OK;
}

/* How many rows from first on make one slice. */
static int64_t slice_rows(const rlhf_batch_view *view, int64_t first, enum reading reading)
{
    int64_t tokens = 0, r;

    for (r = first; r < view->rows; r++) {
        tokens += row_tokens(view, r, reading);
        if (r > first && same_prompt(view, r - 1, r, reading))
            tokens -= view->prompt_length[r];
        if (tokens > RLHFI_SLICE_TOKENS && r > first)
            break;
    }
    return r - first;
}

static rlhf_status enter(rlhfi_model *model, const rlhf_batch_view *view, enum reading reading,
                         enum rlhfi_head_kind head)
{
    RLHFI_REQUIRE(model->context, model->head == head || (head == RLHFI_HEAD_SCALAR && model->value_head));
    RLHFI_TRY(rlhfi_model_idle(model));
    return check_batch(model, view, reading);
}

/* ---- scoring ---------------------------------------------------------------------------------------------------- */

static float *behind(float *array, int64_t items)
{
    return array != NULL ? array + items : NULL;
}

rlhf_status rlhfi_model_log_probs(rlhfi_model *model, const rlhf_batch_view *batch, float inverse_temperature,
                                  const rlhfi_token_stats *stats)
{
    int64_t done_items = 0, rows;
    rlhf_status status = RLHF_OK;

    RLHFI_TRY(enter(model, batch, RESPONSE_TOKENS, RLHFI_HEAD_TOKENS));
    RLHFI_REQUIRE(model->context, stats->value == NULL || model->value_head);
    for (int64_t first = 0; first < batch->rows && status == RLHF_OK; first += rows) {
        rlhfi_head_result result = {
            .log_prob = stats->log_prob + done_items,
            .entropy = behind(stats->entropy, done_items),
            .mean_log_prob = behind(stats->mean_log_prob, done_items),
            .best = stats->best != NULL ? stats->best + done_items : NULL,
        };
        struct plan plan;
        float *hidden;
        rows = slice_rows(batch, first, RESPONSE_TOKENS);
        rlhfi_arena_reset(model->arena);
        RLHFI_GOTO(plan_make(model, batch, first, rows, RESPONSE_TOKENS, &plan));
        if (plan.count == 0)
            continue;
        RLHFI_GOTO(rlhfi_plan_reserve(model, &plan.batch, &(rlhfi_reading){.items = plan.count}));
        RLHFI_GOTO(rlhfi_forward_more(model, &plan.batch, NULL, &hidden));
        status = rlhfi_head(model->context, plan.count, model->architecture.width, model->architecture.vocabulary,
                            hidden, plan.row, rlhfi_head_weight(model), plan.target, inverse_temperature, &result);
        if (status == RLHF_OK && stats->value != NULL)
            status = rlhfi_scalar_head(model, plan.count, plan.row, hidden, stats->value + done_items);
        done_items += plan.count;
    }
done:
    rlhfi_arena_reset(model->arena);
    return status;
}

rlhf_status rlhfi_model_scalars(rlhfi_model *model, const rlhf_batch_view *batch, bool per_token, float *out)
{
    enum reading reading = per_token ? RESPONSE_TOKENS : LAST_TOKENS;
    int64_t done_items = 0, rows;
    rlhf_status status = RLHF_OK;

    RLHFI_TRY(enter(model, batch, reading, RLHFI_HEAD_SCALAR));
    for (int64_t first = 0; first < batch->rows && status == RLHF_OK; first += rows) {
        struct plan plan;
        float *hidden;
        rows = slice_rows(batch, first, reading);
        rlhfi_arena_reset(model->arena);
        RLHFI_GOTO(plan_make(model, batch, first, rows, reading, &plan));
        if (plan.count == 0)
            continue;
        RLHFI_GOTO(rlhfi_plan_reserve(model, &plan.batch, &(rlhfi_reading){.items = plan.count}));
        RLHFI_GOTO(rlhfi_forward_more(model, &plan.batch, NULL, &hidden));
        status = rlhfi_scalar_head(model, plan.count, plan.row, hidden, out + done_items);
        done_items += plan.count;
    }
done:
    rlhfi_arena_reset(model->arena);
    return status;
}

/* ---- training --------------------------------------------------------------------------------------------------- */

/* Zeroed array of floats, or NULL without memory. */
static float *zeros(const rlhfi_model *model, int64_t count)
{
    float *array = rlhfi_scratch(model, count, sizeof *array);

    if (array != NULL)
        rlhfi_zero(model->context, array, count);
    return array;
}

static rlhf_status check_gradient(rlhfi_model *model, const char *name, const float *d, int64_t count)
{
    if (d == NULL || rlhfi_all_finite(model->context, d, count))
        return RLHF_OK;
    for (int64_t i = 0; i < count; i++)
        if (!__builtin_isfinite(d[i]))
            return rlhfi_fail(model->context, RLHF_E_NONFINITE, "%s: entry %lld is not finite", name, (long long)i);
    return RLHF_OK;
}

/* Room for the value head's part of the arrays, and the values. */
static rlhf_status make_values(rlhfi_model *model, const struct plan *plan, const float *hidden,
                               rlhfi_train_arrays *arrays)
{
    float *value;

    if (!model->value_head)
        return RLHF_OK;
    arrays->value = value = rlhfi_scratch(model, plan->count, sizeof *value);
    arrays->d_value = zeros(model, plan->count);
    if (value == NULL || arrays->d_value == NULL)
        return RLHF_E_NOMEM;
    return rlhfi_scalar_head(model, plan->count, plan->row, hidden, value);
}

/* A loss without values leaves d_value alone: then the trunk's gradient keeps every bit that it has without the head.
 */
static bool any_value_gradient(const rlhfi_train_arrays *arrays)
{
    for (int64_t i = 0; arrays->d_value != NULL && i < arrays->count; i++)
        if (arrays->d_value[i] != 0.0f)
            return true;
    return false;
}

static rlhf_status train_tokens(rlhfi_model *model, const rlhf_batch_view *batch, float inverse_temperature,
                                rlhfi_head_result *result, rlhfi_train_arrays *arrays, rlhfi_train_loss loss,
                                void *user_data)
{
    rlhf_context *context = model->context;
    int64_t width = model->architecture.width, vocabulary = model->architecture.vocabulary;
    rlhfi_tape *tape;
    struct plan plan;
    rlhfi_reading reading;
    float *hidden, *d_hidden;
    rlhf_status status;

    RLHFI_TRY(plan_make(model, batch, 0, batch->rows, RESPONSE_TOKENS, &plan));
    reading = (rlhfi_reading){.items = plan.count, .training = true, .entropy = result->entropy != NULL,
                              .mean_log_prob = result->mean_log_prob != NULL, .best = result->best != NULL};
    RLHFI_TRY(rlhfi_plan_reserve(model, &plan.batch, &reading));
    RLHFI_TRY(rlhfi_forward_more(model, &plan.batch, &tape, &hidden));
    result->log_prob = rlhfi_scratch(model, plan.count, sizeof(float));
    result->log_sum_exp = rlhfi_scratch(model, plan.count, sizeof(float));
    if (result->log_prob == NULL || result->log_sum_exp == NULL)
        return RLHF_E_NOMEM;
    /* The flags came in as pointers to anything: now they get their arrays. */
    if (result->entropy != NULL && (result->entropy = rlhfi_scratch(model, plan.count, sizeof(float))) == NULL)
        return RLHF_E_NOMEM;
    if (result->mean_log_prob != NULL &&
        (result->mean_log_prob = rlhfi_scratch(model, plan.count, sizeof(float))) == NULL)
        return RLHF_E_NOMEM;
    if (result->best != NULL && (result->best = rlhfi_scratch(model, plan.count, sizeof(int32_t))) == NULL)
        return RLHF_E_NOMEM;
    *arrays = (rlhfi_train_arrays){.count = plan.count, .log_prob = result->log_prob, .entropy = result->entropy,
                                   .mean_log_prob = result->mean_log_prob, .best = result->best};
    arrays->d_log_prob = zeros(model, plan.count);
    arrays->d_entropy = result->entropy != NULL ? zeros(model, plan.count) : NULL;
    arrays->d_mean_log_prob = result->mean_log_prob != NULL ? zeros(model, plan.count) : NULL;
    d_hidden = zeros(model, tape->tokens * width);
    if (arrays->d_log_prob == NULL || (result->entropy != NULL && arrays->d_entropy == NULL) ||
        (result->mean_log_prob != NULL && arrays->d_mean_log_prob == NULL) || d_hidden == NULL)
        return RLHF_E_NOMEM;
    if (plan.count > 0)
        RLHFI_TRY(rlhfi_head(context, plan.count, width, vocabulary, hidden, plan.row, rlhfi_head_weight(model),
                             plan.target, inverse_temperature, result));
    RLHFI_TRY(make_values(model, &plan, hidden, arrays));
    model->busy = true;
    status = loss(user_data, arrays);
    model->busy = false;
    RLHFI_TRY(status);
    RLHFI_TRY(check_gradient(model, "gradient of the log-probabilities", arrays->d_log_prob, plan.count));
    RLHFI_TRY(check_gradient(model, "gradient of the entropies", arrays->d_entropy, plan.count));
    RLHFI_TRY(check_gradient(model, "gradient of the mean log-probabilities", arrays->d_mean_log_prob, plan.count));
    RLHFI_TRY(check_gradient(model, "gradient of the values", arrays->d_value, plan.count));
    RLHFI_TRY(rlhfi_model_need_gradient(model));
    if (plan.count == 0)
        return RLHF_OK;
    RLHFI_TRY(rlhfi_head_backward(context, plan.count, width, vocabulary, hidden, plan.row, rlhfi_head_weight(model),
                                  plan.target, inverse_temperature, result, arrays->d_log_prob, arrays->d_entropy,
                                  arrays->d_mean_log_prob, d_hidden, rlhfi_head_gradient(model)));
    if (any_value_gradient(arrays))
        RLHFI_TRY(rlhfi_scalar_head_backward(model, plan.count, plan.row, hidden, arrays->d_value, d_hidden));
    return rlhfi_backward(model, &plan.batch, tape, d_hidden);
}

rlhf_status rlhfi_model_train(rlhfi_model *model, const rlhf_batch_view *batch, float inverse_temperature,
                              bool want_entropy, bool want_mean_log_prob, bool want_best, rlhfi_train_loss loss,
                              void *user_data)
{
    float wanted;
    int32_t wanted_best;
    rlhfi_head_result result = {.entropy = want_entropy ? &wanted : NULL,
                                .mean_log_prob = want_mean_log_prob ? &wanted : NULL,
                                .best = want_best ? &wanted_best : NULL};
    rlhfi_train_arrays arrays;
    rlhf_status status;

    RLHFI_TRY(enter(model, batch, RESPONSE_TOKENS, RLHFI_HEAD_TOKENS));
    rlhfi_arena_reset(model->arena);
    status = train_tokens(model, batch, inverse_temperature, &result, &arrays, loss, user_data);
    rlhfi_arena_reset(model->arena);
    return status;
}

static rlhf_status train_scalars(rlhfi_model *model, const rlhf_batch_view *batch, enum reading reading,
                                 rlhfi_scalar_loss loss, void *user_data)
{
    float *hidden, *d_hidden, *scalar, *d_scalar;
    rlhfi_tape *tape;
    struct plan plan;
    rlhf_status status;

    RLHFI_TRY(plan_make(model, batch, 0, batch->rows, reading, &plan));
    RLHFI_TRY(rlhfi_plan_reserve(model, &plan.batch, &(rlhfi_reading){.items = plan.count, .training = true}));
    RLHFI_TRY(rlhfi_forward_more(model, &plan.batch, &tape, &hidden));
    scalar = rlhfi_scratch(model, plan.count, sizeof *scalar);
    d_scalar = zeros(model, plan.count);
    d_hidden = zeros(model, tape->tokens * model->architecture.width);
    if (scalar == NULL || d_scalar == NULL || d_hidden == NULL)
        return RLHF_E_NOMEM;
    RLHFI_TRY(rlhfi_scalar_head(model, plan.count, plan.row, hidden, scalar));
    model->busy = true;
    status = loss(user_data, plan.count, scalar, d_scalar);
    model->busy = false;
    RLHFI_TRY(status);
    RLHFI_TRY(check_gradient(model, "gradient of the scalars", d_scalar, plan.count));
    RLHFI_TRY(rlhfi_scalar_head_backward(model, plan.count, plan.row, hidden, d_scalar, d_hidden));
    return rlhfi_backward(model, &plan.batch, tape, d_hidden);
}

rlhf_status rlhfi_model_train_scalars(rlhfi_model *model, const rlhf_batch_view *batch, bool per_token,
                                      rlhfi_scalar_loss loss, void *user_data)
{
    enum reading reading = per_token ? RESPONSE_TOKENS : LAST_TOKENS;
    rlhf_status status;

    RLHFI_TRY(enter(model, batch, reading, RLHFI_HEAD_SCALAR));
    rlhfi_arena_reset(model->arena);
    status = train_scalars(model, batch, reading, loss, user_data);
    rlhfi_arena_reset(model->arena);
    return status;
}
