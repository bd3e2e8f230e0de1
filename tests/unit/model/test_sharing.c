/* Copies on write, hashes, heads on shared trunks, random beginnings. */
#include "models.h"

static void hash_of(const rlhfi_model *model, char hex[65])
{
    check_ok(model->context, rlhfi_model_hash(model, hex), "hash");
    assert_int_equal(strlen(hex), 64);
}

static void test_copy_on_write(void **state)
{
    rlhf_context *context = make_context(2, UINT32_MAX, 1);
    rlhfi_model *model = make_model(context, llama_config, RLHFI_HEAD_TOKENS, 1), *frozen, *third;
    char before[65], after[65];
    const float *data = model->weights->data;
    uint64_t version;

    (void)state;
    hash_of(model, before);
    check_ok(context, rlhfi_model_share(&frozen, model), "share");
    check_ok(context, rlhfi_model_share(&third, frozen), "share");
    assert_ptr_equal(frozen->weights, model->weights);
    assert_int_equal(model->weights->references, 3);
    version = model->version;
    check_ok(context, rlhfi_model_writable(model), "writable");
    assert_true(model->version > version);
    assert_ptr_not_equal(model->weights, frozen->weights);
    assert_ptr_equal(frozen->weights->data, data);
    assert_int_equal(frozen->weights->references, 2);
    hash_of(model, after);
    assert_string_equal(before, after); /* a copy, nothing else */
    model->weights->data[17] += 1.0f;
    hash_of(model, after);
    assert_string_not_equal(before, after);
    hash_of(frozen, after);
    assert_string_equal(before, after);

    /* The one that shares with nobody any more writes where it stands. */
    data = model->weights->data;
    check_ok(context, rlhfi_model_writable(model), "writable");
    assert_ptr_equal(model->weights->data, data);
    /* Any side may go first. */
    rlhfi_model_release(&model);
    assert_null(model);
    rlhfi_model_release(&frozen);
    data = third->weights->data;
    check_ok(context, rlhfi_model_writable(third), "writable");
    assert_ptr_equal(third->weights->data, data);
    rlhfi_model_release(&third);
    rlhf_context_release(&context);
}

/* One bit anywhere, a name, a shape: everything moves the hash. */
static void test_hash(void **state)
{
    rlhf_context *context = make_context(1, UINT32_MAX, 1);
    rlhfi_model *model = make_model(context, gpt2_config, RLHFI_HEAD_TOKENS, 2);
    char first[65], other[65];

    (void)state;
    hash_of(model, first);
    for (int64_t i = 0; i < model->parameter_count; i++) {
        float *x = &model->weights->data[model->parameters[i].offset + model->parameters[i].elements - 1], kept = *x;
        *x = nextafterf(*x, 10.0f);
        hash_of(model, other);
        assert_string_not_equal(first, other);
        *x = kept;
    }
    model->parameters[3].name[0] = 'T';
    hash_of(model, other);
    assert_string_not_equal(first, other);
    rlhfi_model_release(&model);
    rlhf_context_release(&context);
}

static void test_scalar_head(void **state)
{
    rlhf_context *context = make_context(2, UINT32_MAX, 1);

    (void)state;
    for (size_t c = 0; c < CONFIGS; c++) {
        rlhfi_model *policy = make_model(context, configs[c].json, RLHFI_HEAD_TOKENS, 3), *reward, *value, *again;
        const rlhfi_parameter *head;
        char before[65], after[65];
        hash_of(policy, before);
        check_ok(context, rlhfi_model_with_scalar_head(&reward, policy, 0.5f, 4), "reward");
        check_ok(context, rlhfi_model_with_scalar_head(&again, policy, 0.5f, 4), "again");
        check_ok(context, rlhfi_model_with_scalar_head(&value, reward, 0.0f, 4), "value");
        head = &reward->parameters[reward->parameter_count - 1];
        assert_string_equal(head->name, "score.weight");
        assert_int_equal(head->elements, policy->architecture.width);
        for (int64_t i = 0; i + 1 < reward->parameter_count; i++) {
            assert_string_equal(reward->parameters[i].name, policy->parameters[i].name);
            assert_memory_equal(reward->weights->data + reward->parameters[i].offset,
                                policy->weights->data + policy->parameters[i].offset,
                                (size_t)policy->parameters[i].elements * sizeof(float));
        }
        for (int64_t j = 0; j < head->elements; j++) {
            assert_true(reward->weights->data[head->offset + j] != 0.0f);
            assert_true(value->weights->data[head->offset + j] == 0.0f);
        }
        assert_memory_equal(reward->weights->data, again->weights->data,
                            (size_t)reward->weights->count * sizeof(float));
        check_ok(context, rlhfi_model_writable(reward), "writable");
        reward->weights->data[0] += 1.0f;
        hash_of(policy, after);
        assert_string_equal(before, after);
        rlhfi_model_release(&policy);
        rlhfi_model_release(&reward);
        rlhfi_model_release(&value);
        rlhfi_model_release(&again);
    }
    rlhf_context_release(&context);
}

/* ---- random beginnings ------------------------------------------------------------------------------------------ */

static void check_normal(const char *name, const float *x, int64_t count, double std)
{
    double mean = 0.0, square = 0.0, root = sqrt((double)count);

    for (int64_t i = 0; i < count; i++) {
        mean += (double)x[i] / (double)count;
        square += (double)x[i] * (double)x[i] / (double)count;
    }
    if (fabs(mean) > 5.0 * std / root || fabs(sqrt(square) - std) > 5.0 * std / root)
        fail_msg("%s: mean %g, deviation %g instead of %g", name, mean, sqrt(square), std);
}

static void test_initialisation(void **state)
{
    rlhf_context *context = make_context(2, UINT32_MAX, 1);

    (void)state;
    for (size_t c = 0; c < CONFIGS; c++) {
        static const double ranges[] = {0.4, 0.3, 0.4, 0.3, 0.1};
        const char *json = configs[c].json;
        rlhfi_model *model, *same, *other;
        check_ok(context, rlhfi_model_create(&model, context, json, strlen(json), RLHFI_HEAD_TOKENS, 5, NULL),
                 "create");
        check_ok(context, rlhfi_model_create(&same, context, json, strlen(json), RLHFI_HEAD_TOKENS, 5, NULL), "create");
        check_ok(context, rlhfi_model_create(&other, context, json, strlen(json), RLHFI_HEAD_TOKENS, 6, NULL),
                 "create");
        assert_memory_equal(model->weights->data, same->weights->data, (size_t)model->weights->count * sizeof(float));
        for (int64_t i = 0; i < model->parameter_count; i++) {
            const rlhfi_parameter *p = &model->parameters[i];
            const float *x = model->weights->data + p->offset;
            bool residual = strstr(p->name, "c_proj.weight") != NULL || strstr(p->name, "o_proj.weight") != NULL ||
                            strstr(p->name, "down_proj.weight") != NULL;
            double std = ranges[c] / (residual ? sqrt(2.0 * (double)model->architecture.layers) : 1.0);
            if (p->rank == 2) {
                check_normal(p->name, x, p->elements, std);
                assert_memory_not_equal(x, other->weights->data + p->offset, (size_t)p->elements * sizeof(float));
                /* No two tensors are alike. */
                for (int64_t j = 0; j < i; j++)
                    if (model->parameters[j].rank == 2)
                        assert_memory_not_equal(x, model->weights->data + model->parameters[j].offset,
                                                8 * sizeof(float));
            } else {
                float expected = strstr(p->name, "bias") != NULL ? 0.0f : 1.0f;
                for (int64_t j = 0; j < p->elements; j++)
                    assert_true(x[j] == expected);
            }
        }
        rlhfi_model_release(&model);
        rlhfi_model_release(&same);
        rlhfi_model_release(&other);
    }
    rlhf_context_release(&context);
}

/* Offsets follow each other without a gap, and tensors that are one matrix to the kernels stand side by side. */
static void test_table(void **state)
{
    rlhf_context *context = make_context(1, UINT32_MAX, 1);

    (void)state;
    for (size_t c = 0; c < CONFIGS; c++)
        for (int head = RLHFI_HEAD_TOKENS; head <= RLHFI_HEAD_SCALAR; head++) {
            rlhfi_model *model = make_model(context, configs[c].json, (enum rlhfi_head_kind)head, 5);
            int64_t offset = 0;
            for (int64_t i = 0; i < model->parameter_count; i++) {
                const rlhfi_parameter *p = &model->parameters[i];
                assert_int_equal(p->offset, offset);
                assert_int_equal(p->elements, p->rank == 2 ? p->shape[0] * p->shape[1] : p->shape[0]);
                offset += p->elements;
            }
            assert_int_equal(offset, model->weights->count);
            rlhfi_model_release(&model);
        }
    rlhf_context_release(&context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copy_on_write),  cmocka_unit_test(test_hash),  cmocka_unit_test(test_scalar_head),
        cmocka_unit_test(test_initialisation), cmocka_unit_test(test_table),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
