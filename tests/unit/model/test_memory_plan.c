/* The memory plan against what a counting allocator sees, and the limit. */
#include "models.h"
#include "pace.h"
#include <rlhf/memory_plan.h>

struct counter {
    int64_t live, most;
};

static void *counted_alloc(void *user_data, size_t size, size_t alignment)
{
    struct counter *counter = user_data;

    counter->live += (int64_t)size; /* from one thread: the contexts of this test have one */
    if (counter->live > counter->most)
        counter->most = counter->live;
    return aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}

static void counted_free(void *user_data, void *pointer, size_t size)
{
    struct counter *counter = user_data;

    counter->live -= (int64_t)size;
    free(pointer);
}

static const char small_config[] =
    "{\"model_type\": \"llama\", \"vocab_size\": 512, \"hidden_size\": 64, \"intermediate_size\": 172, "
    "\"num_hidden_layers\": 5, \"num_attention_heads\": 8, \"num_key_value_heads\": 4, "
    "\"max_position_embeddings\": 512, \"tie_word_embeddings\": true}";
static const char large_config[] =
    "{\"model_type\": \"llama\", \"vocab_size\": 700, \"hidden_size\": 256, \"intermediate_size\": 704, "
    "\"num_hidden_layers\": 4, \"num_attention_heads\": 8, \"num_key_value_heads\": 4, "
    "\"max_position_embeddings\": 512, \"tie_word_embeddings\": true}";
static const char wide_gpt2_config[] =
    "{\"model_type\": \"gpt2\", \"vocab_size\": 900, \"n_positions\": 256, \"n_embd\": 192, \"n_layer\": 4, "
    "\"n_head\": 6}";

static rlhf_context *counted_context(struct counter *counter)
{
    rlhf_context_options options;
    rlhf_context *context;

    *counter = (struct counter){0};
    rlhf_context_options_init(&options, sizeof options);
    options.threads = 1;
    options.allocator = (rlhf_allocator){counted_alloc, counted_free, counter};
    assert_int_equal(rlhf_context_create(&context, &options), RLHF_OK);
    return context;
}

static struct rows *equal_rows(const rlhfi_model *model, const rlhf_memory_shape *shape)
{
    struct rows *rows = malloc(sizeof *rows);
    int32_t token[MOST_TOKENS];

    assert_non_null(rows);
    rows_begin(rows);
    for (int64_t r = 0; r < shape->rows; r++) {
        for (int64_t t = 0; t < shape->row_tokens; t++)
            token[t] = (int32_t)((r * 37 + t * 11) % model->architecture.vocabulary);
        rows_add(rows, token, shape->row_tokens, (int32_t)shape->prompt_tokens);
    }
    return rows;
}

static void check(const char *name, const char *json, int32_t formats, int32_t recompute, bool training,
                  int64_t row_count, int64_t row_tokens, int64_t prompt_tokens)
{
    struct counter counter;
    rlhf_context *context = counted_context(&counter);
    rlhf_memory_shape shape;
    rlhf_memory_plan plan = {.struct_size = sizeof plan};
    rlhf_model_options options;
    struct linear_loss l = {.seed = 5};
    rlhf_policy *policy;
    struct rows *rows;
    float *log_prob, *entropy;
    int32_t best[MOST_TOKENS];
    int64_t measured;

    rlhf_model_options_init(&options, sizeof options);
    options.recompute_activations = recompute;
    options.compute_format = formats >= 1 ? RLHF_BFLOAT16 : RLHF_FLOAT32;
    options.weight_format = formats == 2 ? RLHF_BFLOAT16 : RLHF_FLOAT32;
    check_ok(context, rlhf_policy_create(&policy, context, json, strlen(json), 1, &options), "create");
    rlhf_memory_shape_init(&shape, sizeof shape);
    shape.training = training;
    shape.rows = row_count;
    shape.row_tokens = row_tokens;
    shape.prompt_tokens = prompt_tokens;
    check_ok(context, rlhf_policy_memory_plan(policy, &shape, &plan), "plan");
    rows = equal_rows(policy->model, &shape);
    log_prob = malloc(MOST_TOKENS * sizeof *log_prob);
    entropy = malloc(MOST_TOKENS * sizeof *entropy);
    rlhfi_token_stats stats = {.log_prob = log_prob, .entropy = entropy, .best = best};
    counter.most = counter.live;
    for (int step = 0; step < 2; step++) { /* the second one with one block instead of a few */
        check_ok(context, rlhfi_model_writable(policy->model), "writable");
        if (training)
            check_ok(context, rlhfi_model_train(policy->model, &rows->view, 1.0f, true, false, true, linear_loss, &l),
                     "train");
        else
            check_ok(context, rlhfi_model_log_probs(policy->model, &rows->view, 1.0f, &stats), "score");
    }
    measured = counter.most + (int64_t)plan.moments;
    print_message("%s, %d x %d tokens, prompt %d, %s%s: planned %.3f MB, measured %.3f MB (%+.1f %%)\n", name,
                  (int)row_count, (int)row_tokens, (int)prompt_tokens, training ? "training" : "scoring",
                  recompute ? ", computed again" : "", (double)plan.total / 1e6, (double)measured / 1e6,
                  100.0 * ((double)plan.total / (double)measured - 1.0));
    assert_true((double)plan.total / (double)measured >= 0.95);
    assert_true((double)plan.total / (double)measured <= (formats == 0 ? 1.05 : 1.25)); /* bf16: an upper bound */
    assert_true(plan.total == plan.weights + plan.gradient + plan.moments + plan.activations + plan.scratch +
                                  plan.panels);
    free(rows);
    free(log_prob);
    free(entropy);
    rlhf_policy_release(&policy);
    rlhf_context_release(&context);
    assert_int_equal(counter.live, 0);
}

static void test_plan(void **state)
{
    static const struct {
        const char *name, *json;
    } models[] = {{"small llama", small_config}, {"llama", large_config}, {"gpt2", wide_gpt2_config}};

    (void)state;
    for (size_t m = 0; m < sizeof models / sizeof models[0]; m += (size_t)pace(3))
        for (int32_t recompute = 0; recompute < 2; recompute++) {
            check(models[m].name, models[m].json, 0, recompute, true, 8, 128, 1);
            check(models[m].name, models[m].json, 0, recompute, true, 32, 100, 50);
            check(models[m].name, models[m].json, 0, recompute, true, 3, 250, 1);
            check(models[m].name, models[m].json, 0, recompute, false, 32, 128, 64);
            check(models[m].name, models[m].json, 0, recompute, false, 2, 200, 10);
            for (int32_t formats = 1; formats <= 2; formats++) {
                check(models[m].name, models[m].json, formats, recompute, true, 8, 128, 1);
                check(models[m].name, models[m].json, formats, recompute, false, 32, 128, 64);
            }
        }
}

/* Scalar heads: a value per response token, a score per row. */
static void check_scalars(const char *json, bool per_token)
{
    struct counter counter;
    rlhf_context *context = counted_context(&counter);
    rlhf_memory_shape shape;
    rlhf_memory_plan plan = {.struct_size = sizeof plan};
    struct linear_loss l = {.seed = 5};
    rlhf_policy *policy;
    rlhf_value_model *value = NULL;
    rlhf_reward_model *reward = NULL;
    rlhfi_model *model;
    struct rows *rows;
    int64_t measured;

    rlhf_memory_shape_init(&shape, sizeof shape);
    shape.rows = 16;
    shape.row_tokens = 90;
    shape.prompt_tokens = 30;
    check_ok(context, rlhf_policy_create(&policy, context, json, strlen(json), 1, NULL), "create");
    if (per_token) {
        check_ok(context, rlhf_value_model_from_policy(&value, policy), "value model");
        rlhf_policy_release(&policy);
        check_ok(context, rlhf_value_model_memory_plan(value, &shape, &plan), "plan");
        model = value->model;
    } else {
        check_ok(context, rlhf_reward_model_from_policy(&reward, policy, 1), "reward model");
        rlhf_policy_release(&policy);
        check_ok(context, rlhf_reward_model_memory_plan(reward, &shape, &plan), "plan");
        model = reward->model;
    }
    rows = equal_rows(model, &shape);
    counter.most = counter.live;
    for (int step = 0; step < 2; step++) {
        check_ok(context, rlhfi_model_writable(model), "writable");
        check_ok(context, rlhfi_model_train_scalars(model, &rows->view, per_token, linear_scalar_loss, &l), "train");
    }
    measured = counter.most + (int64_t)plan.moments;
    print_message("%s: planned %.3f MB, measured %.3f MB (%+.1f %%)\n", per_token ? "values" : "scores",
                  (double)plan.total / 1e6, (double)measured / 1e6,
                  100.0 * ((double)plan.total / (double)measured - 1.0));
    assert_true(fabs((double)plan.total / (double)measured - 1.0) <= 0.05);
    assert_int_equal(rlhf_value_model_memory_plan(NULL, &shape, &plan), RLHF_E_INVAL);
    assert_int_equal(rlhf_reward_model_memory_plan(NULL, &shape, &plan), RLHF_E_INVAL);
    free(rows);
    rlhf_value_model_release(&value);
    rlhf_reward_model_release(&reward);
    rlhf_context_release(&context);
    assert_int_equal(counter.live, 0);
}

static void test_scalar_plan(void **state)
{
    (void)state;
    for (int per_token = 0; per_token < 2; per_token++) {
        check_scalars(small_config, per_token != 0);
        check_scalars(large_config, per_token != 0);
    }
}

static void test_limit(void **state)
{
    struct counter counter;
    rlhf_context *context = counted_context(&counter);
    rlhf_model_options options;
    rlhf_memory_shape shape;
    rlhf_memory_plan plan = {.struct_size = sizeof plan};
    struct linear_loss l = {.seed = 5};
    rlhf_policy *policy;
    struct rows *rows;
    char error[512], number[32];
    int64_t before;

    (void)state;
    rlhf_model_options_init(&options, sizeof options);
    options.memory_limit = 1000;
    assert_int_equal(rlhf_policy_create(&policy, context, large_config, strlen(large_config), 1, &options),
                     RLHF_E_NOMEM);
    rlhf_context_error(context, error, sizeof error);
    assert_non_null(strstr(error, "the limit is 1000"));

    options.memory_limit = 0;
    check_ok(context, rlhf_policy_create(&policy, context, large_config, strlen(large_config), 1, &options), "create");
    rlhf_memory_shape_init(&shape, sizeof shape);
    shape.rows = 8;
    shape.row_tokens = 100;
    check_ok(context, rlhf_policy_memory_plan(policy, &shape, &plan), "plan");
    rows = equal_rows(policy->model, &shape);
    policy->model->options.memory_limit = plan.total;
    check_ok(context, rlhfi_model_train(policy->model, &rows->view, 1.0f, true, false, true, linear_loss, &l), "fits");
    rlhf_policy_release(&policy);

    check_ok(context, rlhf_policy_create(&policy, context, large_config, strlen(large_config), 1, &options), "create");
    policy->model->options.memory_limit = plan.total - 1;
    before = counter.most = counter.live;
    assert_int_equal(rlhfi_model_train(policy->model, &rows->view, 1.0f, true, false, true, linear_loss, &l),
                     RLHF_E_NOMEM);
    rlhf_context_error(context, error, sizeof error);
    snprintf(number, sizeof number, "needs %llu bytes", (unsigned long long)plan.total);
    assert_non_null(strstr(error, number));
    assert_true(counter.most - before < 300000); /* the batch's own few tables */
    free(rows);

    shape.row_tokens = 513;
    assert_int_equal(rlhf_policy_memory_plan(policy, &shape, &plan), RLHF_E_RANGE);
    shape.row_tokens = 10;
    shape.prompt_tokens = 10;
    assert_int_equal(rlhf_policy_memory_plan(policy, &shape, &plan), RLHF_E_RANGE);
    shape.prompt_tokens = 1;
    shape.rows = 0;
    assert_int_equal(rlhf_policy_memory_plan(policy, &shape, &plan), RLHF_E_RANGE);
    plan.struct_size = 4;
    assert_int_equal(rlhf_policy_memory_plan(policy, NULL, &plan), RLHF_E_INVAL);
    assert_int_equal(rlhf_policy_memory_plan(NULL, NULL, &plan), RLHF_E_INVAL);
    rlhf_policy_release(&policy);
    rlhf_context_release(&context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan),
        cmocka_unit_test(test_scalar_plan),
        cmocka_unit_test(test_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
