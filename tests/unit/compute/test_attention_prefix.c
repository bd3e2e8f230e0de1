/* Attention over a shared prefix: outputs have the bits of separate whole sequences, and so do the gradients of what is
 * not shared; the prefix's gradients are the sum over the sequences. */
#include "unit/compute/support.h"

enum { MOST = 6 };

struct shape {
    int32_t heads, kv_heads, head_dim;
    int64_t window;
};

struct layout { /* rows of a batch: a prefix and its continuations, or whole sequences */
    int64_t sequences, rows, offset[MOST + 2], length[MOST + 1], prefix[MOST + 1];
    const float *key[MOST + 1], *value[MOST + 1], *prefix_key[MOST + 1], *prefix_value[MOST + 1];
    float *q, *k, *v, *dout;
    float *out, *lse, *dq, *dk, *dv;
};

static void add(struct layout *l, int64_t rows, int64_t prefix)
{
    l->length[l->sequences] = prefix + rows;
    l->prefix[l->sequences] = prefix;
    l->rows = l->offset[++l->sequences] = l->rows + rows;
}

static void allocate(struct layout *l, const struct shape *shape)
{
    const int64_t q = l->rows * shape->heads * shape->head_dim, kv = l->rows * shape->kv_heads * shape->head_dim;

    l->q = random_array(q, -2, 2);
    l->dout = random_array(q, -1, 1);
    l->k = random_array(kv, -2, 2);
    l->v = random_array(kv, -2, 2);
    l->out = guarded(q);
    l->dq = guarded(q);
    l->dk = guarded(kv);
    l->dv = guarded(kv);
    l->lse = guarded(l->rows * shape->heads);
}

static rlhfi_attention describe(struct layout *l, const struct shape *shape, bool shared)
{
    const int64_t ld = shape->kv_heads * shape->head_dim;
    rlhfi_attention attention = {.sequences = l->sequences, .query_offset = l->offset, .key_length = l->length,
                                 .key = l->key, .value = l->value, .ldkv = ld, .heads = shape->heads,
                                 .kv_heads = shape->kv_heads, .head_dim = shape->head_dim, .window = shape->window,
                                 .scale = 0.3f};

    for (int64_t s = 0; s < l->sequences; s++) {
        l->key[s] = l->k + l->offset[s] * ld;
        l->value[s] = l->v + l->offset[s] * ld;
        l->prefix_key[s] = l->prefix[s] > 0 ? l->key[0] : NULL;
        l->prefix_value[s] = l->prefix[s] > 0 ? l->value[0] : NULL;
    }
    if (shared) {
        attention.prefix_key = l->prefix_key;
        attention.prefix_value = l->prefix_value;
        attention.prefix_length = l->prefix;
    }
    return attention;
}

static void run(struct layout *l, const struct shape *shape, bool shared, int variant)
{
    const int64_t ldq = shape->heads * shape->head_dim, ldkv = shape->kv_heads * shape->head_dim;
    rlhfi_attention attention = describe(l, shape, shared);

    assert_int_equal(rlhfi_attend(contexts[variant], &attention, l->q, ldq, l->out, ldq, l->lse), RLHF_OK);
    assert_int_equal(rlhfi_attend_backward(contexts[variant], &attention, l->q, ldq, l->out, ldq, l->lse, l->dout, ldq,
                                           l->dq, ldq, l->dk, l->dv, ldkv),
                     RLHF_OK);
}

/* Largest difference between the prefix's gradient and the sum over the separate sequences, as a share of the largest
 * entry. */
static double difference(const struct layout *shared, const struct layout *apart, const float *got, const float *want,
                         int64_t width, int64_t prefix)
{
    double most = 0, off = 0;

    for (int64_t i = 0; i < prefix * width; i++) {
        double sum = 0;
        for (int64_t s = 0; s < apart->sequences; s++)
            sum += (double)want[apart->offset[s] * width + i];
        most = fmax(most, fabs(sum));
        off = fmax(off, fabs((double)got[i] - sum));
    }
    for (int64_t i = 0; i < shared->rows * width; i++)
        most = fmax(most, fabs((double)got[i]));
    return off / most;
}

static void check(const struct shape *shape, int64_t prefix, int64_t count, const int64_t *lengths)
{
    const int64_t widths[2] = {shape->heads * shape->head_dim, shape->kv_heads * shape->head_dim};
    struct layout shared = {0}, apart = {0}, first = {0};

    add(&shared, prefix, 0);
    for (int64_t s = 0; s < count; s++) {
        add(&shared, lengths[s], prefix);
        add(&apart, prefix + lengths[s], 0);
    }
    allocate(&shared, shape);
    allocate(&apart, shape);
    for (int64_t s = 0; s < count; s++) {
        float *from[4] = {shared.q, shared.dout, shared.k, shared.v}, *to[4] = {apart.q, apart.dout, apart.k, apart.v};
        for (int a = 0; a < 4; a++) {
            const int64_t width = widths[a / 2];
            float *row = to[a] + apart.offset[s] * width;
            memcpy(row, from[a], (size_t)(prefix * width) * sizeof(float));
            memcpy(row + prefix * width, from[a] + shared.offset[s + 1] * width,
                   (size_t)(lengths[s] * width) * sizeof(float));
            if (a == 1 && s > 0) /* the prefix's own gradient comes once */
                memset(row, 0, (size_t)(prefix * width) * sizeof(float));
        }
    }
    for (int v = 0; v < VARIANTS; v++) {
        run(&shared, shape, true, v);
        if (v > 0) {
            assert_same_bits("dq", v, shared.dq, first.dq, shared.rows * widths[0]);
            assert_same_bits("dk", v, shared.dk, first.dk, shared.rows * widths[1]);
            assert_same_bits("dv", v, shared.dv, first.dv, shared.rows * widths[1]);
            continue;
        }
        run(&apart, shape, false, v);
        for (int64_t s = 0; s < count; s++) {
            const int64_t mine = shared.offset[s + 1], other = apart.offset[s] + prefix;
            assert_same_bits("prefix", v, shared.out, apart.out + apart.offset[s] * widths[0], prefix * widths[0]);
            assert_same_bits("out", v, shared.out + mine * widths[0], apart.out + other * widths[0],
                             lengths[s] * widths[0]);
            assert_same_bits("log-sum-exp", v, shared.lse + mine * shape->heads, apart.lse + other * shape->heads,
                             lengths[s] * shape->heads);
            assert_same_bits("dq", v, shared.dq + mine * widths[0], apart.dq + other * widths[0],
                             lengths[s] * widths[0]);
        }
        assert_true(difference(&shared, &apart, shared.dk, apart.dk, widths[1], prefix) < 1e-6);
        assert_true(difference(&shared, &apart, shared.dv, apart.dv, widths[1], prefix) < 1e-6);
        first = shared;
        shared.dq = guarded(shared.rows * widths[0]);
        shared.dk = guarded(shared.rows * widths[1]);
        shared.dv = guarded(shared.rows * widths[1]);
    }
    release_guarded();
}

static void test_same_bits(void **state)
{
    static const struct shape shapes[] = {{3, 1, 64, 0}, {8, 4, 8, 0}, {2, 2, 33, 0}, {2, 1, 8, 7}, {4, 2, 16, 40}};
    static const int64_t lengths[] = {5, 1, 0, 70, 33}, longer[] = {300, 2}, one[] = {1};

    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        check(&shapes[i], 1, 5, lengths);
        check(&shapes[i], 19, 5, lengths);
        check(&shapes[i], 64, 5, lengths);
        check(&shapes[i], 40, 1, one);
        if (i == 0 || i > 2)
            continue;
        check(&shapes[i], 250, 2, longer);
        check(&shapes[i], 256, 2, longer);
    }
}

static void test_refuses_nonsense(void **state)
{
    int64_t offset[3] = {0, 2, 4}, length[2] = {2, 3}, prefix[2] = {0, 1};
    float x[16] = {0};
    const float *row[2] = {x, x + 8}, *shared[2] = {NULL, x};
    rlhfi_attention shape = {.sequences = 2, .query_offset = offset, .key_length = length, .key = row, .value = row,
                             .ldkv = 4, .heads = 1, .kv_heads = 1, .head_dim = 4, .scale = 1.0f,
                             .prefix_key = shared, .prefix_value = shared, .prefix_length = prefix};

    (void)state; /* part of a sequence may be attended to, but has no place for its gradients */
    assert_int_equal(rlhfi_attend(contexts[0], &shape, x, 4, x, 4, NULL), RLHF_OK);
    assert_int_equal(rlhfi_attend_backward(contexts[0], &shape, x, 4, x, 4, x, x, 4, x, 4, x, x, 4), RLHF_E_INVAL);
    prefix[1] = 4;
    assert_int_equal(rlhfi_attend(contexts[0], &shape, x, 4, x, 4, NULL), RLHF_E_INVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_refuses_nonsense),
    };

    return cmocka_run_group_tests(tests, make_contexts, release_contexts);
}
