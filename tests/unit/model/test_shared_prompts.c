/* Rows with the same prompt go through it once: what is read off keeps its bits, gradients are sums in another order.
 * Activations that are computed again: nothing changes at all. */
#include "models.h"
#include "pace.h"

enum { FAMILIES = 4, ROWS = 26, LONGEST_PROMPT = 21 };

static int32_t random_token(const rlhfi_model *model, uint32_t a, uint32_t b)
{
    return (int32_t)((double)model->architecture.vocabulary * rlhfi_uniform(31, RLHFI_RANDOM_USER, a, 5, b));
}

/* Completions of FAMILIES prompts, of which one is too short to be shared and one the beginning of another: mostly side
 * by side, the last rows mixed. One row has no completion, one a completion of one token. */
static struct rows *family_rows(const rlhfi_model *model)
{
    static const int32_t prompt_length[FAMILIES] = {LONGEST_PROMPT, 3, 8, 13};
    struct rows *rows = malloc(sizeof *rows);
    int32_t token[MOST_TOKENS];

    assert_non_null(rows);
    rows_begin(rows);
    for (uint32_t r = 0; r < ROWS; r++) {
        uint32_t family = r < 18 ? r * FAMILIES / 18 : r % FAMILIES;
        int64_t length = prompt_length[family] + (r == 2 ? 0 : r == 3 ? 1 : 1 + (int64_t)(r * 7 % 25));
        for (int64_t t = 0; t < length; t++)
            token[t] = t < prompt_length[family] ? random_token(model, family == 2 ? 0 : family, (uint32_t)t)
                                                 : random_token(model, 100 + r, (uint32_t)t);
        rows_add(rows, token, length, prompt_length[family]);
    }
    return rows;
}

static void alone(const struct rows *rows, int64_t r, struct rows *part)
{
    rows_begin(part);
    rows_add(part, rows->token + rows->offset[r], rows->offset[r + 1] - rows->offset[r], rows->prompt_length[r]);
}

static const struct machine {
    int32_t threads;
    uint32_t cpu_mask;
} machines[] = {{2, UINT32_MAX}, {1, UINT32_MAX}, {2, RLHF_CPU_AVX2}, {1, 0}};
enum { MACHINES = sizeof machines / sizeof machines[0] };

/* ---- scores ----------------------------------------------------------------------------------------------------- */

static void check_tokens(rlhfi_model *model, const struct rows *rows)
{
    float log_prob[MOST_TOKENS], entropy[MOST_TOKENS], one[MOST_TOKENS], one_entropy[MOST_TOKENS];
    rlhfi_token_stats all = {.log_prob = log_prob, .entropy = entropy};
    rlhfi_token_stats single = {.log_prob = one, .entropy = one_entropy};
    struct rows part;

    check_ok(model->context, rlhfi_model_log_probs(model, &rows->view, 0.8f, &all), "log-probabilities");
    for (int64_t r = 0; r < rows->view.rows; r++) {
        size_t bytes = (size_t)(rows->response_offset[r + 1] - rows->response_offset[r]) * sizeof(float);
        alone(rows, r, &part);
        check_ok(model->context, rlhfi_model_log_probs(model, &part.view, 0.8f, &single), "one row");
        assert_memory_equal(log_prob + rows->response_offset[r], one, bytes);
        assert_memory_equal(entropy + rows->response_offset[r], one_entropy, bytes);
    }
}

static void check_scalars(rlhfi_model *model, const struct rows *rows, bool per_token)
{
    float all[MOST_TOKENS], one[MOST_TOKENS];
    struct rows part;

    check_ok(model->context, rlhfi_model_scalars(model, &rows->view, per_token, all), "scalars");
    for (int64_t r = 0; r < rows->view.rows; r++) {
        int64_t at = per_token ? rows->response_offset[r] : r;
        int64_t count = per_token ? rows->response_offset[r + 1] - at : 1;
        alone(rows, r, &part);
        check_ok(model->context, rlhfi_model_scalars(model, &part.view, per_token, one), "one row");
        assert_memory_equal(all + at, one, (size_t)count * sizeof(float));
    }
}

static void test_scores(void **state)
{
    (void)state;
    for (size_t c = 0; c < CONFIGS; c += (size_t)pace(3))
        for (size_t m = 0; m < MACHINES; m += (size_t)pace(7)) {
            rlhf_context *context = make_context(machines[m].threads, machines[m].cpu_mask, 0);
            rlhfi_model *model = make_model(context, configs[c].json, RLHFI_HEAD_TOKENS, 33);
            rlhfi_model *scalar = make_model(context, configs[c].json, RLHFI_HEAD_SCALAR, 34);
            struct rows *rows = family_rows(model);
            check_tokens(model, rows);
            check_scalars(scalar, rows, true);
            check_scalars(scalar, rows, false);
            free(rows);
            rlhfi_model_release(&model);
            rlhfi_model_release(&scalar);
            rlhf_context_release(&context);
        }
}

/* ---- gradients -------------------------------------------------------------------------------------------------- */

enum kind { TOKENS, VALUES, SCORES };

static void train(rlhfi_model *model, const rlhf_batch_view *view, enum kind kind, int64_t first)
{
    struct linear_loss l = {.seed = 5, .first = first};

    if (kind == TOKENS)
        check_ok(model->context, rlhfi_model_train(model, view, 0.8f, true, true, false, linear_loss, &l), "train");
    else
        check_ok(model->context,
                 rlhfi_model_train_scalars(model, view, kind == VALUES, linear_scalar_loss, &l), "train scalars");
}

/* Largest difference relative to the tensor's largest sum of the rows' absolute entries: where rows cancel each other,
 * what is left is smaller than the roundings of its parts, shared or not. */
static double worst_difference(const rlhfi_model *model, const double *expected, const double *absolute,
                               const float *gradient)
{
    double worst = 0.0;

    for (int64_t i = 0; i < model->parameter_count; i++) {
        const rlhfi_parameter *parameter = &model->parameters[i];
        double largest = 0.0, difference = 0.0;
        for (int64_t j = parameter->offset; j < parameter->offset + parameter->elements; j++) {
            largest = fmax(largest, absolute[j]);
            difference = fmax(difference, fabs(expected[j] - (double)gradient[j]));
        }
        if (largest > 0.0)
            worst = fmax(worst, difference / largest);
    }
    return worst;
}

/* The gradient with families against the sum in double over single rows; then, with activations computed again, the
 * same bits. */
static float *check_gradients(rlhf_context *context, const struct named_config *config, enum kind kind, double *worst,
                              size_t *size)
{
    rlhfi_model *model =
        make_model(context, config->json, kind == TOKENS ? RLHFI_HEAD_TOKENS : RLHFI_HEAD_SCALAR, 35);
    struct rows *rows = family_rows(model), part;
    size_t bytes = (size_t)model->weights->count * sizeof(float);
    float *whole = malloc(bytes);
    double *sum = calloc((size_t)model->weights->count, sizeof *sum);
    double *absolute = calloc((size_t)model->weights->count, sizeof *absolute), difference;

    zero_gradient(model);
    train(model, &rows->view, kind, 0);
    memcpy(whole, model->gradient, bytes);
    for (int64_t r = 0; r < rows->view.rows; r++) {
        zero_gradient(model);
        alone(rows, r, &part);
        train(model, &part.view, kind, kind == SCORES ? r : rows->response_offset[r]);
        for (int64_t i = 0; i < model->weights->count; i++) {
            sum[i] += (double)model->gradient[i];
            absolute[i] += fabs((double)model->gradient[i]);
        }
    }
    difference = worst_difference(model, sum, absolute, whole);
    free(sum);
    free(absolute);
    *worst = difference > *worst ? difference : *worst;

    model->options.recompute_activations = 1;
    zero_gradient(model);
    train(model, &rows->view, kind, 0);
    assert_memory_equal(whole, model->gradient, bytes);
    free(rows);
    rlhfi_model_release(&model);
    *size = bytes;
    return whole;
}

static void test_gradients(void **state)
{
    (void)state;
    for (size_t c = 0; c < CONFIGS; c += (size_t)pace(3))
        for (enum kind kind = TOKENS; kind <= SCORES; kind++) {
            float *first = NULL;
            double worst = 0;
            for (size_t m = 0; m < MACHINES; m += (size_t)pace(7)) {
                rlhf_context *context = make_context(machines[m].threads, machines[m].cpu_mask, 0);
                size_t bytes;
                float *gradient = check_gradients(context, &configs[c], kind, &worst, &bytes);
                if (first == NULL)
                    first = gradient;
                assert_memory_equal(first, gradient, bytes);
                if (gradient != first)
                    free(gradient);
                rlhf_context_release(&context);
            }
            free(first);
            print_message("%s, %s: shared prompts change gradients by %.2g of a tensor's largest sum\n",
                          configs[c].name, kind == TOKENS ? "tokens" : kind == VALUES ? "values" : "scores", worst);
            assert_true(worst <= 1e-6);
        }
}

/* A model that is made with the option trains like one without it, in less memory. */
static void test_option(void **state)
{
    size_t peak[2];
    float *gradient[2];

    (void)state;
    for (size_t c = 0; c < CONFIGS; c += (size_t)pace(3)) {
        size_t bytes = 0;
        for (int32_t recompute = 0; recompute < 2; recompute++) {
            rlhf_context *context = make_context(2, UINT32_MAX, 0);
            rlhf_model_options options;
            rlhfi_model *model;
            struct rows *rows;
            rlhf_model_options_init(&options, sizeof options);
            options.recompute_activations = recompute;
            check_ok(context,
                     rlhfi_model_create(&model, context, configs[c].json, strlen(configs[c].json), RLHFI_HEAD_TOKENS, 3,
                                        &options),
                     "create");
            rows = random_rows(model, 50, 30, 40, 36);
            bytes = (size_t)model->weights->count * sizeof(float);
            train(model, &rows->view, TOKENS, 0);
            peak[recompute] = rlhfi_arena_peak(model->arena);
            gradient[recompute] = malloc(bytes);
            memcpy(gradient[recompute], model->gradient, bytes);
            free(rows);
            rlhfi_model_release(&model);
            rlhf_context_release(&context);
        }
        assert_memory_equal(gradient[0], gradient[1], bytes);
        print_message("%s: activations and scratch %zu KiB, computed again %zu KiB\n", configs[c].name, peak[0] >> 10,
                      peak[1] >> 10);
        assert_true(peak[1] < peak[0]); /* by little: the models have two or three layers */
        free(gradient[0]);
        free(gradient[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scores),
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_option),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
