/* The memory plan: what include/rlhf/memory_plan.h declares. The numbers follow the allocations of forward.c,
 * backward.c and operations.c one by one; a test holds the plan against what a counting allocator sees. */
#include "model/internal.h"

enum { UNIT = 64, BLOCK_HEADER = 128 };

/* A batch as the plan sees it. */
struct load {
    int64_t tokens, sequences, longest, joined; /* of the trunk */
    int64_t groups, most_rows, most_sequences;
    rlhfi_reading reading;
};

struct bytes {
    uint64_t activations, scratch, panels, compute;
};

static void take(uint64_t *sum, int64_t count, size_t size)
{
    uint64_t bytes = (uint64_t)(count > 0 ? count : 1) * size;

    *sum += (bytes + UNIT - 1) / UNIT * UNIT;
}

/* The cut of groups.c. */
static void survey(const rlhfi_model *model, const rlhfi_ragged *batch, struct load *load)
{
    int64_t target = rlhfi_model_is_small(model) ? RLHFI_GROUP_ROWS : INT64_MAX, rows = 0, sequences = 0;

    load->sequences = batch->sequences;
    for (int64_t s = 0; s < batch->sequences; s++) {
        int64_t length = batch->offset[s + 1] - batch->offset[s], prefix = batch->prefix != NULL ? batch->prefix[s] : 0;
        if (length == 0)
            continue;
        if (load->groups == 0 || (rows >= target && prefix == 0)) {
            load->groups++;
            rows = sequences = 0;
        }
        rows += length;
        sequences++;
        load->tokens += length;
        load->longest = prefix + length > load->longest ? prefix + length : load->longest;
        if (prefix > 0 && prefix + length > load->joined)
            load->joined = prefix + length;
        load->most_rows = rows > load->most_rows ? rows : load->most_rows;
        load->most_sequences = sequences > load->most_sequences ? sequences : load->most_sequences;
    }
}

/* rlhfi_layer_tape_make */
static void take_layer(const rlhfi_architecture *a, int64_t rows, bool backward, uint64_t *sum)
{
    take(sum, rows * rlhfi_qkv_width(a), sizeof(float));
    take(sum, rows * rlhfi_query_width(a), sizeof(float));
    take(sum, rows * a->width, sizeof(float));
    take(sum, rows * rlhfi_up_width(a), sizeof(float));
    if (!backward)
        return;
    take(sum, rows * a->heads, sizeof(float));
    for (int i = 0; i < (a->norm == RLHFI_NORM_LAYER ? 4 : 2); i++)
        take(sum, rows, sizeof(float));
}

static uint64_t tape_bytes(const rlhfi_model *model, const struct load *load)
{
    const rlhfi_architecture *a = &model->architecture;
    uint64_t sum = 0;

    if (!load->reading.training)
        return 0;
    take(&sum, 1, sizeof(struct rlhfi_tape));
    take(&sum, a->layers, sizeof(rlhfi_layer_tape));
    take(&sum, load->tokens * a->width, sizeof(float));
    take(&sum, load->tokens, sizeof(float));
    if (a->norm == RLHFI_NORM_LAYER)
        take(&sum, load->tokens, sizeof(float));
    for (int64_t i = 0; i < a->layers; i++) {
        take(&sum, load->tokens * a->width, sizeof(float));
        if (!model->options.recompute_activations)
            take_layer(a, load->tokens, true, &sum);
    }
    return sum;
}

static uint64_t forward_scratch(const rlhfi_model *model, const struct load *load)
{
    const rlhfi_architecture *a = &model->architecture;
    uint64_t one = 0, all = 0;
    int64_t workers = rlhfi_groups_workers(model, load->groups > 1);

    take(&one, load->most_rows * a->width, sizeof(float));
    take(&one, load->most_rows * a->inner, sizeof(float));
    take(&one, 4 * load->most_sequences, sizeof(float *));
    if (!load->reading.training || model->options.recompute_activations)
        take_layer(a, load->most_rows, false, &one);
    if (!load->reading.training)
        take(&one, load->most_rows * a->width, sizeof(float));
    take(&all, workers, 5 * sizeof(void *) + sizeof(rlhfi_layer_tape));
    return all + (uint64_t)workers * one;
}

static uint64_t backward_scratch(const rlhfi_model *model, const struct load *load, int64_t buffers)
{
    const rlhfi_architecture *a = &model->architecture;
    uint64_t one = 0, all = 0;
    int64_t workers = rlhfi_groups_workers(model, buffers > 1);

    take(&one, load->most_rows * a->width, sizeof(float));
    take(&one, load->most_rows * a->width, sizeof(float));
    take(&one, load->most_rows * a->inner, sizeof(float));
    take(&one, load->most_rows * rlhfi_up_width(a), sizeof(float));
    take(&one, load->most_rows * rlhfi_qkv_width(a), sizeof(float));
    take(&one, load->most_rows * rlhfi_query_width(a), sizeof(float));
    take(&one, 4 * load->most_sequences, sizeof(float *));
    if (model->options.recompute_activations)
        take_layer(a, load->most_rows, true, &one);
    take(&all, workers, 8 * sizeof(void *) + sizeof(rlhfi_layer_tape));
    if (buffers > 1)
        take(&all, buffers * (model->table->layers_end - model->table->layers_begin), sizeof(float));
    return all + (uint64_t)workers * one;
}

/* What stands in the arena beside the tape while the trunk runs. */
static uint64_t common_scratch(const rlhfi_model *model, const struct load *load)
{
    const rlhfi_reading *reading = &load->reading;
    int64_t width = model->architecture.width, items = reading->items, sequences = load->sequences;
    uint64_t sum = 0;

    take(&sum, load->tokens * width, sizeof(float));
    take(&sum, load->tokens, sizeof(int32_t));
    take(&sum, sequences + 1, sizeof(rlhfi_group));
    take(&sum, 2 * sequences + 1, sizeof(int64_t));
    take(&sum, sequences + 1, sizeof(int64_t));
    take(&sum, sequences + 1, sizeof(int64_t));
    if (!reading->training)
        return sum;
    take(&sum, load->tokens * width, sizeof(float));
    for (int i = 0; i < 3 + 2 * reading->entropy + 2 * reading->mean_log_prob + reading->best; i++)
        take(&sum, items, sizeof(float));
    return sum;
}

static uint64_t panel_bytes(const rlhfi_model *model, const int64_t (*product)[2], int64_t products, bool back)
{
    uint64_t sum = 0;

    for (int64_t i = 0; i < products; i++) {
        int64_t in = product[i][0], out = product[i][1];
        sum += ((uint64_t)(out + 31) / 32 * 32 * (uint64_t)in) * sizeof(float) + 2 * BLOCK_HEADER;
        if (back)
            sum += ((uint64_t)(in + 31) / 32 * 32 * (uint64_t)out) * sizeof(float) + 2 * BLOCK_HEADER;
    }
    return sum * (uint64_t)model->architecture.layers;
}

static struct bytes count(const rlhfi_model *model, const struct load *load)
{
    const rlhfi_architecture *a = &model->architecture;
    const int64_t product[4][2] = {{a->width, rlhfi_qkv_width(a)},
                                   {rlhfi_query_width(a), a->width},
                                   {a->width, rlhfi_up_width(a)},
                                   {a->inner, a->width}};
    bool tokens = model->head == RLHFI_HEAD_TOKENS, training = load->reading.training;
    int64_t buffers = training ? rlhfi_gradient_buffers(model, load->groups) : 1;
    uint64_t forward = forward_scratch(model, load), backward = training ? backward_scratch(model, load, buffers) : 0;
    rlhfi_compute_work trunk = {.backward = training, .rows = load->most_rows, .sequences = load->most_sequences,
                                .keys = load->longest, .joined = load->joined, .head_dim = a->head_dim,
                                .product = product, .products = 4, .transposed_weights = a->transposed_weights,
                                .biases = a->qkv_bias || a->output_bias || a->mlp_bias, .workers = 1,
                                .rounded = rlhfi_rounds(model)};
    rlhfi_compute_work head = {.backward = training, .workers = rlhfi_workers(model->context),
                               .head_rows = tokens ? load->reading.items : 0, .width = a->width,
                               .vocabulary = a->vocabulary, .rounded = rlhfi_rounds(model)};
    struct bytes bytes = {.activations = tape_bytes(model, load), .scratch = common_scratch(model, load)};

    bytes.scratch += forward > backward ? forward : backward;
    if (load->groups > 1) { /* each worker has a context of its own */
        trunk.packed_weights = true;
        bytes.panels = panel_bytes(model, product, 4, buffers > 1);
        bytes.compute = (uint64_t)rlhfi_workers(model->context) * rlhfi_compute_plan(&trunk) +
                        rlhfi_compute_plan(&head);
    } else {
        trunk.workers = head.workers;
        trunk.head_rows = head.head_rows;
        trunk.width = a->width;
        trunk.vocabulary = a->vocabulary;
        bytes.compute = rlhfi_compute_plan(&trunk);
    }
    return bytes;
}

static uint64_t weights(const rlhfi_model *model)
{
    const rlhfi_parameter *last = &model->parameters[model->parameter_count - 1];

    return (uint64_t)(last->offset + last->elements);
}

/* bf16 weights have float copies of gains and biases beside them. */
static uint64_t weight_bytes(const rlhfi_model *model)
{
    uint64_t bytes = weights(model) * (uint64_t)rlhfi_weight_bytes(model);

    for (int64_t i = 0; i < model->parameter_count && model->options.weight_format == RLHF_BFLOAT16; i++)
        if (model->parameters[i].rank == 1)
            bytes += (uint64_t)model->parameters[i].elements * sizeof(float);
    return bytes;
}

rlhf_status rlhfi_plan_check(const rlhfi_model *model, uint64_t bytes, const char *what)
{
    uint64_t limit = model->options.memory_limit;

    if (limit == 0 || bytes <= limit)
        return RLHF_OK;
    return rlhfi_fail(model->context, RLHF_E_NOMEM, "memory_limit: %s needs %llu bytes, the limit is %llu", what,
                      (unsigned long long)bytes, (unsigned long long)limit);
}

rlhf_status rlhfi_plan_reserve(rlhfi_model *model, const rlhfi_ragged *batch, const rlhfi_reading *reading)
{
    struct load load = {.reading = *reading};
    struct bytes bytes;

    survey(model, batch, &load);
    bytes = count(model, &load);
    RLHFI_TRY(rlhfi_plan_check(model,
                               weight_bytes(model) + (reading->training ? 3 * sizeof(float) * weights(model) : 0) +
                                   bytes.activations + bytes.scratch +
                                   bytes.panels + bytes.compute,
                               reading->training ? "a step on this batch" : "this batch"));
    return rlhfi_arena_reserve(model->arena, bytes.activations + bytes.scratch);
}

/* ---- public ------------------------------------------------------------------------------------------------------ */

static const rlhf_memory_shape defaults = {
    .struct_size = sizeof defaults, .training = 1, .rows = 1, .prompt_tokens = 1};

void rlhf_memory_shape_init(rlhf_memory_shape *shape, size_t size)
{
    rlhfi_options_init(shape, size, &defaults, sizeof defaults);
}

static rlhf_status check_shape(const rlhfi_model *model, rlhf_memory_shape *shape)
{
    const rlhfi_architecture *a = &model->architecture;

    if (shape->row_tokens == 0)
        shape->row_tokens = a->positions;
    if (shape->rows < 1 || shape->rows > INT32_MAX)
        return rlhfi_fail(model->context, RLHF_E_RANGE, "memory shape: rows is %lld, must be from 1 to %lld",
                          (long long)shape->rows, (long long)INT32_MAX);
    if (shape->row_tokens < 2 || shape->row_tokens > a->positions)
        return rlhfi_fail(model->context, RLHF_E_RANGE, "memory shape: row_tokens is %lld, must be from 2 to %lld",
                          (long long)shape->row_tokens, (long long)a->positions);
    if (shape->prompt_tokens < 1 || shape->prompt_tokens >= shape->row_tokens)
        return rlhfi_fail(model->context, RLHF_E_RANGE, "memory shape: prompt_tokens is %lld, must be from 1 to %lld",
                          (long long)shape->prompt_tokens, (long long)shape->row_tokens - 1);
    return RLHF_OK;
}

/* Scoring takes a batch through in slices; planning the first of them is planning all. */
static void plan_shape(const rlhfi_model *model, const rlhf_memory_shape *shape, bool last, int64_t *offset,
                       rlhf_memory_plan *plan)
{
    int64_t seen = last ? shape->row_tokens : shape->row_tokens - 1;
    int64_t items = last ? 1 : shape->row_tokens - shape->prompt_tokens, rows = shape->rows;
    bool tokens = model->head == RLHFI_HEAD_TOKENS;
    rlhfi_ragged batch = {.offset = offset};
    struct load load = {0};
    struct bytes bytes;

    if (!shape->training && rows > 1 + (RLHFI_SLICE_TOKENS - 1) / seen)
        rows = RLHFI_SLICE_TOKENS / seen > 1 ? RLHFI_SLICE_TOKENS / seen : 1;
    for (int64_t r = 0; r < rows; r++)
        offset[r + 1] = offset[r] + seen;
    batch.sequences = rows;
    load.reading = (rlhfi_reading){.items = rows * items, .training = shape->training != 0, .entropy = tokens,
                                   .best = tokens};
    survey(model, &batch, &load);
    bytes = count(model, &load);
    plan->weights = weight_bytes(model);
    plan->gradient = shape->training ? weights(model) * sizeof(float) : 0;
    plan->moments = 2 * plan->gradient;
    plan->activations = bytes.activations;
    plan->scratch = bytes.scratch + bytes.compute;
    plan->panels = bytes.panels;
    plan->total =
        plan->weights + plan->gradient + plan->moments + plan->activations + plan->scratch + plan->panels;
}

static rlhf_status plan_role(const rlhfi_model *model, bool last, const rlhf_memory_shape *given,
                             rlhf_memory_plan *plan)
{
    rlhf_context *context = model->context;
    rlhf_memory_shape shape = defaults;
    rlhf_memory_plan made = {.struct_size = sizeof made};
    int64_t *offset;

    RLHFI_TRY(rlhfi_enter(context));
    RLHFI_REQUIRE(context, plan != NULL && plan->struct_size >= sizeof *plan);
    if (given != NULL)
        RLHFI_TRY(rlhfi_options_copy(context, &shape, sizeof shape, given, sizeof shape, "memory shape"));
    RLHFI_TRY(check_shape(model, &shape));
    offset = rlhfi_calloc(context, (size_t)shape.rows + 1, sizeof *offset);
    if (offset == NULL)
        return RLHF_E_NOMEM;
    plan_shape(model, &shape, last, offset, &made);
    rlhfi_free(context, offset);
    made.struct_size = plan->struct_size;
    memcpy(plan, &made, sizeof made);
    return RLHF_OK;
}

rlhf_status rlhf_policy_memory_plan(const rlhf_policy *policy, const rlhf_memory_shape *shape, rlhf_memory_plan *plan)
{
    return policy != NULL ? plan_role(policy->model, false, shape, plan) : RLHF_E_INVAL;
}

rlhf_status rlhf_value_model_memory_plan(const rlhf_value_model *model, const rlhf_memory_shape *shape,
                                         rlhf_memory_plan *plan)
{
    return model != NULL ? plan_role(model->model, false, shape, plan) : RLHF_E_INVAL;
}

rlhf_status rlhf_reward_model_memory_plan(const rlhf_reward_model *model, const rlhf_memory_shape *shape,
                                          rlhf_memory_plan *plan)
{
    return model != NULL ? plan_role(model->model, true, shape, plan) : RLHF_E_INVAL;
}
