/* Gradients of whole models against differences of their losses, and how they add up over micro-batches. */
#include "models.h"
#include "pace.h"

/* Loss at weights + step * direction. In float, so that only the differences of many terms together can be compared. */
static double loss_at(rlhfi_model *model, const float *weights, const float *direction, double step,
                      const struct rows *rows, bool scalar, bool per_token)
{
    struct linear_loss l = {.seed = 5};

    check_ok(model->context, rlhfi_model_writable(model), "writable");
    for (int64_t i = 0; i < model->weights->count; i++)
        model->weights->data[i] = (float)((double)weights[i] + step * (double)direction[i]);
    if (scalar)
        check_ok(model->context, rlhfi_model_train_scalars(model, &rows->view, per_token, linear_scalar_loss, &l),
                 "loss");
    else
        check_ok(model->context, rlhfi_model_train(model, &rows->view, 0.8f, true, true, true, linear_loss, &l),
                 "loss");
    return l.loss;
}

static void check_direction(rlhfi_model *model, const struct rows *rows, bool scalar, bool per_token, const char *name,
                            uint32_t stream, int64_t first, int64_t count)
{
    int64_t all = model->weights->count;
    float *weights = malloc((size_t)all * sizeof *weights), *direction = calloc((size_t)all, sizeof *direction);
    float *gradient = malloc((size_t)all * sizeof *gradient);
    double slope = 0.0, size = 0.0, difference, step, noise;

    memcpy(weights, model->weights->data, (size_t)all * sizeof *weights);
    zero_gradient(model);
    loss_at(model, weights, direction, 0.0, rows, scalar, per_token);
    memcpy(gradient, model->gradient, (size_t)all * sizeof *gradient);
    /* Mostly along the gradient, so that the difference stands out of float's rounding, and random enough to see every
     * entry. */
    rlhfi_normal_fill(3, RLHFI_RANDOM_USER, stream, 1.0f, direction + first, (size_t)count);
    for (int64_t i = first; i < first + count; i++)
        size += (double)gradient[i] * (double)gradient[i];
    for (int64_t i = first; i < first + count; i++) {
        direction[i] = (float)((double)gradient[i] / sqrt(size + 1e-30) +
                               0.3 * (double)direction[i] / sqrt((double)count));
        slope += (double)gradient[i] * (double)direction[i];
    }
    /* Small slopes drown in rounding, large ones bend: the loss shall move by about the same amount everywhere. */
    step = fmin(2e-2, 2e-3 + 1e-3 / fabs(slope));
    /* Fourth-order differences: the error is in the fifth derivative. */
    difference = (8.0 * (loss_at(model, weights, direction, step, rows, scalar, per_token) -
                         loss_at(model, weights, direction, -step, rows, scalar, per_token)) -
                  loss_at(model, weights, direction, 2.0 * step, rows, scalar, per_token) +
                  loss_at(model, weights, direction, -2.0 * step, rows, scalar, per_token)) / (12.0 * step);
    noise = 2e-6 / step; /* a few roundings in float of a loss of some units */
    if (fabs(difference - slope) > 1e-3 * fabs(slope) + noise)
        fail_msg("%s: slope %.8g by the backward pass, %.8g by differences", name, slope, difference);
    loss_at(model, weights, direction, 0.0, rows, scalar, per_token);
    free(weights);
    free(direction);
    free(gradient);
}

/* All parameters together and every tensor alone. */
static void check_model(const char *json, enum rlhfi_head_kind head, bool per_token, bool value_head)
{
    rlhf_context *context = make_context(2, UINT32_MAX, 1);
    rlhfi_model *model = make_model(context, json, head, 21);
    struct rows *rows = random_rows(model, 4, 2, 9, 22);

    if (value_head)
        add_value_head(model, 23);
    check_direction(model, rows, head == RLHFI_HEAD_SCALAR, per_token, "all", 0, 0, model->weights->count);
    for (int64_t i = 0; i < model->parameter_count; i += pace(1000))
        check_direction(model, rows, head == RLHFI_HEAD_SCALAR, per_token, model->parameters[i].name, (uint32_t)i,
                        model->parameters[i].offset, model->parameters[i].elements);
    free(rows);
    rlhfi_model_release(&model);
    rlhf_context_release(&context);
}

static void test_differences(void **state)
{
    (void)state;
    for (size_t c = 0; c < CONFIGS; c += (size_t)pace(3)) {
        check_model(configs[c].json, RLHFI_HEAD_TOKENS, false, false);
        check_model(configs[c].json, RLHFI_HEAD_TOKENS, false, true);
        check_model(configs[c].json, RLHFI_HEAD_SCALAR, c % 2 == 0, false);
    }
}

/* ---- micro-batches ---------------------------------------------------------------------------------------------- */

static void train_part(rlhfi_model *model, const struct rows *rows, int64_t first, int64_t count)
{
    struct rows *part = malloc(sizeof *part);
    struct linear_loss l = {.seed = 5, .first = rows->response_offset[first]};

    rows_begin(part);
    for (int64_t r = first; r < first + count; r++)
        rows_add(part, rows->token + rows->offset[r], rows->offset[r + 1] - rows->offset[r], rows->prompt_length[r]);
    check_ok(model->context, rlhfi_model_train(model, &part->view, 0.8f, true, true, false, linear_loss, &l), "part");
    free(part);
}

/* Largest difference relative to the largest entry of the tensor. */
static double worst_difference(const rlhfi_model *model, const float *expected)
{
    double worst = 0.0;

    for (int64_t i = 0; i < model->parameter_count; i++) {
        const rlhfi_parameter *parameter = &model->parameters[i];
        double largest = 0.0, difference = 0.0;
        for (int64_t j = parameter->offset; j < parameter->offset + parameter->elements; j++) {
            largest = fmax(largest, fabs((double)expected[j]));
            difference = fmax(difference, fabs((double)expected[j] - (double)model->gradient[j]));
        }
        if (largest > 0.0)
            worst = fmax(worst, difference / largest);
    }
    return worst;
}

static void test_micro_batches(void **state)
{
    enum { ROWS = 60 };
    (void)state;

    for (size_t c = 0; c < CONFIGS; c += (size_t)pace(4)) {
        rlhf_context *context = make_context(2, UINT32_MAX, 1);
        rlhfi_model *model = make_model(context, configs[c].json, RLHFI_HEAD_TOKENS, 23);
        struct rows *rows = random_rows(model, ROWS, 2, 40, 24);
        size_t bytes = (size_t)model->weights->count * sizeof(float);
        float *whole = malloc(bytes);
        double worst;
        zero_gradient(model);
        train_part(model, rows, 0, ROWS);
        memcpy(whole, model->gradient, bytes);
        for (int64_t size = pace(25); size < ROWS; size = 3 * size + 4) {
            zero_gradient(model);
            for (int64_t first = 0; first < ROWS; first += size)
                train_part(model, rows, first, first + size <= ROWS ? size : ROWS - first);
            worst = worst_difference(model, whole);
            print_message("%s: micro-batches of %d rows change gradients by %.2g of a tensor's largest entry\n",
                          configs[c].name, (int)size, worst);
            assert_true(worst <= 1e-6);
        }
        free(whole);
        free(rows);
        rlhfi_model_release(&model);
        rlhf_context_release(&context);
    }
}

/* The same bits for any number of threads, instruction set and with or without BLIS. */
static void test_same_bits(void **state)
{
    static const struct {
        int32_t threads, use_blis;
        uint32_t cpu_mask;
    } machines[] = {{1, 1, UINT32_MAX}, {2, 1, UINT32_MAX}, {4, 0, UINT32_MAX}, {2, 0, RLHF_CPU_AVX2}, {2, 1, 0}};
    (void)state;

    for (size_t c = 0; c < CONFIGS; c += (size_t)pace(3)) {
        float *first = NULL;
        for (size_t m = 0; m < sizeof machines / sizeof machines[0]; m += (size_t)pace(7)) {
            rlhf_context *context = make_context(machines[m].threads, machines[m].cpu_mask, machines[m].use_blis);
            rlhfi_model *model = make_model(context, configs[c].json, RLHFI_HEAD_TOKENS, 23);
            /* Several groups, one of them a single long row. */
            struct rows *rows = random_rows(model, 30, 2, 40, 24);
            size_t bytes = (size_t)model->weights->count * sizeof(float);
            zero_gradient(model);
            train_part(model, rows, 0, 30);
            if (first == NULL) {
                first = malloc(bytes);
                memcpy(first, model->gradient, bytes);
            }
            assert_memory_equal(first, model->gradient, bytes);
            free(rows);
            rlhfi_model_release(&model);
            rlhf_context_release(&context);
        }
        free(first);
    }
}

/* ---- edges ------------------------------------------------------------------------------------------------------ */

static rlhf_status bad_loss(void *user_data, const rlhfi_train_arrays *arrays)
{
    (void)user_data;
    for (int64_t i = 0; i < arrays->count; i++)
        arrays->d_log_prob[i] = i == 3 ? NAN : 1.0f;
    return RLHF_OK;
}

static rlhf_status failing_loss(void *user_data, const rlhfi_train_arrays *arrays)
{
    (void)user_data;
    (void)arrays;
    return RLHF_E_USER_FIRST - 7;
}

static rlhf_status nested_loss(void *user_data, const rlhfi_train_arrays *arrays)
{
    rlhfi_model *model = user_data;
    int64_t offset[] = {0, 2}, response_offset[] = {0, 1};
    int32_t token[] = {1, 2}, prompt_length[] = {1};
    float log_prob;
    rlhf_batch_view view = {.struct_size = sizeof view, .rows = 1, .offset = offset, .tokens = token,
                            .prompt_length = prompt_length, .response_offset = response_offset};
    rlhfi_token_stats stats = {.log_prob = &log_prob};

    (void)arrays;
    return rlhfi_model_log_probs(model, &view, 1.0f, &stats);
}

static bool all_zero(const float *x, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (x[i] != 0.0f)
            return false;
    return true;
}

static void test_refusals(void **state)
{
    rlhf_context *context = make_context(2, UINT32_MAX, 1);
    rlhfi_model *model = make_model(context, llama_config, RLHFI_HEAD_TOKENS, 25);
    struct rows *rows = random_rows(model, 4, 5, 9, 26);
    struct linear_loss l = {.seed = 5};
    int32_t token;
    char error[512];

    (void)state;
    zero_gradient(model);
    assert_int_equal(rlhfi_model_train(model, &rows->view, 1.0f, false, false, false, bad_loss, NULL),
                     RLHF_E_NONFINITE);
    rlhf_context_error(context, error, sizeof error);
    assert_non_null(strstr(error, "entry 3"));
    assert_int_equal(rlhfi_model_train(model, &rows->view, 1.0f, false, false, false, failing_loss, NULL),
                     RLHF_E_USER_FIRST - 7);
    assert_int_equal(rlhfi_model_train(model, &rows->view, 1.0f, false, false, false, nested_loss, model), RLHF_E_BUSY);
    token = rows->token[2];
    rows->token[2] = 67;
    assert_int_equal(rlhfi_model_train(model, &rows->view, 1.0f, false, false, false, linear_loss, &l), RLHF_E_RANGE);
    rlhf_context_error(context, error, sizeof error);
    assert_non_null(strstr(error, "67"));
    rows->token[2] = -1;
    assert_int_equal(rlhfi_model_train(model, &rows->view, 1.0f, false, false, false, linear_loss, &l), RLHF_E_RANGE);
    rows->token[2] = token;
    assert_int_equal(rlhfi_model_train_scalars(model, &rows->view, true, linear_scalar_loss, &l), RLHF_E_INVAL);
    rows->prompt_length[1] = 0;
    assert_int_equal(rlhfi_model_train(model, &rows->view, 1.0f, false, false, false, linear_loss, &l), RLHF_E_INVAL);
    assert_true(all_zero(model->gradient, model->weights->count));
    free(rows);

    /* One token more than there are positions. */
    rows = random_rows(model, 1, 301, 301, 27);
    assert_int_equal(rlhfi_model_train(model, &rows->view, 1.0f, false, false, false, linear_loss, &l), RLHF_E_RANGE);
    free(rows);
    rlhfi_model_release(&model);
    rlhf_context_release(&context);
}

/* Rows without a response, empty rows, no rows: nothing to learn, and no trace in the others. */
static void test_nothing_to_learn(void **state)
{
    static const int32_t token[] = {1, 2, 3, 4, 5};
    rlhf_context *context = make_context(2, UINT32_MAX, 1);
    rlhfi_model *model = make_model(context, gpt2_config, RLHFI_HEAD_TOKENS, 28);
    size_t bytes = (size_t)model->weights->count * sizeof(float);
    struct rows *rows = malloc(sizeof *rows);
    struct linear_loss l = {.seed = 5};
    float *expected = malloc(bytes);

    (void)state;
    rows_begin(rows);
    zero_gradient(model);
    check_ok(context, rlhfi_model_train(model, &rows->view, 1.0f, true, true, true, linear_loss, &l), "no rows");
    rows_add(rows, token, 0, 0);
    rows_add(rows, token, 5, 5);
    check_ok(context, rlhfi_model_train(model, &rows->view, 1.0f, true, true, true, linear_loss, &l), "no responses");
    assert_true(all_zero(model->gradient, model->weights->count));

    rows_begin(rows);
    rows_add(rows, token, 5, 2);
    check_ok(context, rlhfi_model_train(model, &rows->view, 1.0f, true, true, true, linear_loss, &l), "one row");
    memcpy(expected, model->gradient, bytes);
    assert_false(all_zero(expected, model->weights->count));
    rows_begin(rows);
    rows_add(rows, token, 0, 0);
    rows_add(rows, token, 3, 3);
    rows_add(rows, token, 5, 2);
    rows_add(rows, token, 0, 0);
    zero_gradient(model);
    check_ok(context, rlhfi_model_train(model, &rows->view, 1.0f, true, true, true, linear_loss, &l), "among others");
    assert_memory_equal(expected, model->gradient, bytes);
    free(expected);
    free(rows);
    rlhfi_model_release(&model);
    rlhf_context_release(&context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_differences), cmocka_unit_test(test_micro_batches), cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_refusals),    cmocka_unit_test(test_nothing_to_learn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
