/* Attention: against double, the same bits everywhere, and decoding token by token = the whole sequence at once. */
#include "unit/compute/support.h"

struct problem {
    int64_t sequences, rows;
    int64_t offset[8], length[8]; /* whole sequences: length[s] = offset[s+1] - offset[s] */
    int32_t heads, kv_heads, head_dim;
    int64_t window, ldq, ldkv;
    float scale;
    float *q, *k, *v, *dout;
    const float *key[8], *value[8];
};

static void make_problem(struct problem *p, int64_t sequences, const int64_t *lengths, int32_t heads, int32_t kv_heads,
                         int32_t head_dim, int64_t window)
{
    *p = (struct problem){.sequences = sequences, .heads = heads, .kv_heads = kv_heads, .head_dim = head_dim,
                          .window = window};
    for (int64_t s = 0; s < sequences; s++) {
        p->length[s] = lengths[s];
        p->offset[s + 1] = p->offset[s] + lengths[s];
    }
    p->rows = p->offset[sequences];
    p->ldq = heads * head_dim + 3;
    p->ldkv = kv_heads * head_dim + 5;
    p->scale = 1.0f / sqrtf((float)head_dim);
    p->q = random_array((p->rows - 1) * p->ldq + heads * head_dim, -2, 2);
    p->dout = random_array((p->rows - 1) * p->ldq + heads * head_dim, -1, 1);
    p->k = random_array((p->rows - 1) * p->ldkv + kv_heads * head_dim, -2, 2);
    p->v = random_array((p->rows - 1) * p->ldkv + kv_heads * head_dim, -2, 2);
    for (int64_t s = 0; s < sequences; s++) {
        p->key[s] = p->k + p->offset[s] * p->ldkv;
        p->value[s] = p->v + p->offset[s] * p->ldkv;
    }
}

static rlhfi_attention shape_of(const struct problem *p)
{
    return (rlhfi_attention){.sequences = p->sequences, .query_offset = p->offset, .key_length = p->length,
                             .key = p->key, .value = p->value, .ldkv = p->ldkv, .heads = p->heads,
                             .kv_heads = p->kv_heads, .head_dim = p->head_dim, .window = p->window, .scale = p->scale};
}

/* Probabilities of one query; returns the log-sum-exp. */
static double reference_row(const struct problem *p, int64_t s, int64_t t, int64_t h, double *prob)
{
    const int64_t g = h / (p->heads / p->kv_heads), low = p->window > 0 && t + 1 > p->window ? t + 1 - p->window : 0;
    const float *q = p->q + (p->offset[s] + t) * p->ldq + h * p->head_dim;
    double most = -INFINITY, sum = 0;

    for (int64_t u = 0; u <= t; u++) {
        const float *k = p->key[s] + u * p->ldkv + g * p->head_dim;
        prob[u] = -INFINITY;
        if (u < low)
            continue;
        prob[u] = 0;
        for (int64_t j = 0; j < p->head_dim; j++)
            prob[u] += (double)q[j] * (double)k[j] * (double)p->scale;
        most = prob[u] > most ? prob[u] : most;
    }
    for (int64_t u = 0; u <= t; u++)
        sum += prob[u] = exp(prob[u] - most);
    for (int64_t u = 0; u <= t; u++)
        prob[u] /= sum;
    return most + log(sum);
}

static void check_problem(struct problem *p)
{
    const int64_t width = p->heads * p->head_dim, kv_width = p->kv_heads * p->head_dim;
    const int64_t q_count = (p->rows - 1) * p->ldq + width, kv_count = (p->rows - 1) * p->ldkv + kv_width;
    double *out = doubles(q_count), *dq = doubles(q_count), *dk = doubles(kv_count), *dv = doubles(kv_count);
    double *lse = doubles(p->rows * p->heads), *prob = doubles(p->rows), *dprob = doubles(p->rows);
    rlhfi_attention shape = shape_of(p);
    float *first[5] = {0};

    for (int64_t s = 0; s < p->sequences; s++)
        for (int64_t t = 0; t < p->length[s]; t++)
            for (int64_t h = 0; h < p->heads; h++) {
                const int64_t g = h / (p->heads / p->kv_heads), row = (p->offset[s] + t) * p->ldq + h * p->head_dim;
                double dot = 0;
                lse[(p->offset[s] + t) * p->heads + h] = reference_row(p, s, t, h, prob);
                for (int64_t u = 0; u <= t; u++) {
                    const int64_t other = (p->offset[s] + u) * p->ldkv + g * p->head_dim;
                    dprob[u] = 0;
                    for (int64_t j = 0; j < p->head_dim; j++) {
                        out[row + j] += prob[u] * (double)p->v[other + j];
                        dprob[u] += (double)p->dout[row + j] * (double)p->v[other + j];
                        dv[other + j] += prob[u] * (double)p->dout[row + j];
                    }
                    dot += prob[u] * dprob[u];
                }
                for (int64_t u = 0; u <= t; u++) {
                    const int64_t other = (p->offset[s] + u) * p->ldkv + g * p->head_dim;
                    double ds = prob[u] * (dprob[u] - dot) * (double)p->scale;
                    for (int64_t j = 0; j < p->head_dim; j++) {
                        dq[row + j] += ds * (double)p->k[other + j];
                        dk[other + j] += ds * (double)p->q[row + j];
                    }
                }
            }
    for (int v = 0; v < VARIANTS; v++) {
        float *got[5] = {guarded(q_count), guarded(q_count), guarded(kv_count), guarded(kv_count),
                         guarded(p->rows * p->heads)};
        const int64_t sizes[5] = {q_count, q_count, kv_count, kv_count, p->rows * p->heads};
        for (int i = 0; i < 4; i++) /* the gaps between rows keep what stood there */
            memset(got[i], 0, (size_t)sizes[i] * sizeof(float));
        assert_int_equal(rlhfi_attend(contexts[v], &shape, p->q, p->ldq, got[0], p->ldq, got[4]), RLHF_OK);
        assert_int_equal(rlhfi_attend_backward(contexts[v], &shape, p->q, p->ldq, got[0], p->ldq, got[4], p->dout,
                                               p->ldq, got[1], p->ldq, got[2], got[3], p->ldkv),
                         RLHF_OK);
        if (v == 0) {
            assert_near("attention", got[0], out, q_count, 3e-6);
            assert_near("log-sum-exp", got[4], lse, p->rows * p->heads, 1e-6);
            assert_near("attention dq", got[1], dq, q_count, 2e-5);
            assert_near("attention dk", got[2], dk, kv_count, 2e-5);
            assert_near("attention dv", got[3], dv, kv_count, 2e-5);
            memcpy(first, got, sizeof first);
        }
        for (int i = 0; i < 5; i++)
            assert_same_bits("attention", v, got[i], first[i], sizes[i]);
    }

    /* The last tokens of each sequence alone, one or a few at a time, over the keys that exist then: decoding. */
    for (int v = 0; v < VARIANTS; v++) {
        for (int64_t s = 0; s < p->sequences; s++) {
            for (int64_t t = 0; t < p->length[s];) {
                int64_t count = 1 + random_bits() % 3, offset[2] = {0, 0}, keys;
                count = t + count > p->length[s] ? p->length[s] - t : count;
                offset[1] = count;
                keys = t + count;
                float *key = guarded((keys - 1) * p->ldkv + kv_width),
                      *value = guarded((keys - 1) * p->ldkv + kv_width);
                memcpy(key, p->key[s], (size_t)((keys - 1) * p->ldkv + kv_width) * sizeof(float));
                memcpy(value, p->value[s], (size_t)((keys - 1) * p->ldkv + kv_width) * sizeof(float));
                const float *key_of = key, *value_of = value;
                rlhfi_attention one = shape;
                one.sequences = 1;
                one.query_offset = offset;
                one.key_length = &keys;
                one.key = &key_of;
                one.value = &value_of;
                float *out_row = guarded(count * width), *lse_row = guarded(count * p->heads);
                assert_int_equal(rlhfi_attend(contexts[v], &one, p->q + (p->offset[s] + t) * p->ldq, p->ldq, out_row,
                                              width, lse_row),
                                 RLHF_OK);
                for (int64_t i = 0; i < count; i++)
                    assert_same_bits("decoding", v, out_row + i * width, first[0] + (p->offset[s] + t + i) * p->ldq,
                                     width);
                assert_same_bits("decoding", v, lse_row, first[4] + (p->offset[s] + t) * p->heads, count * p->heads);
                for (int i = 0; i < 4; i++) {
                    guarded_count--;
                    munmap(guarded_blocks[guarded_count].base, guarded_blocks[guarded_count].bytes);
                }
                t += count + (v == 0 ? 17 : t % 5);
            }
        }
    }
    release_guarded();
}

static void check(int64_t sequences, const int64_t *lengths, int32_t heads, int32_t kv_heads, int32_t head_dim,
                  int64_t window)
{
    struct problem p;
    make_problem(&p, sequences, lengths, heads, kv_heads, head_dim, window);
    check_problem(&p);
}

static void test_shapes(void **state)
{
    static const int64_t short_ones[] = {1, 2, 15, 16, 17, 33};
    static const int64_t longer[] = {100, 31, 65};

    (void)state;
    check(6, short_ones, 2, 2, 16, 0);
    check(6, short_ones, 8, 4, 8, 0);
    check(6, short_ones, 3, 1, 20, 0);
    check(3, longer, 9, 3, 64, 0);
    check(3, longer, 4, 4, 33, 0);
    check(2, longer, 2, 1, 8, 7);
    check(2, longer, 2, 1, 8, 40);
    check(2, longer, 2, 2, 1, 1);
}

/* Beyond a chain's restart, in keys and in queries, with and without a window; a head wider than a chain. */
static void test_long(void **state)
{
    static const int64_t lengths[] = {600, 257}, few[] = {20, 9};

    (void)state;
    check(2, lengths, 2, 1, 8, 0);
    check(2, lengths, 2, 1, 8, 300);
    check(1, lengths, 1, 1, 8, 10);
    check(2, few, 2, 1, 300, 0);
}

/* What one sequence's bits are does not depend on its neighbours in the batch. */
static void test_batch_independence(void **state)
{
    static const int64_t lengths[] = {70, 130, 5};
    struct problem p;

    (void)state;
    make_problem(&p, 3, lengths, 4, 2, 16, 0);
    rlhfi_attention all = shape_of(&p), one = all;
    int64_t width = 64, offset[2] = {0, 130}, length = 130;
    const float *key = p.key[1], *value = p.value[1];
    float *whole = guarded(p.rows * width), *alone = guarded(130 * width);
    one.sequences = 1;
    one.query_offset = offset;
    one.key_length = &length;
    one.key = &key;
    one.value = &value;
    for (int v = 0; v < VARIANTS; v++) {
        assert_int_equal(rlhfi_attend(contexts[v], &all, p.q, p.ldq, whole, width, NULL), RLHF_OK);
        assert_int_equal(rlhfi_attend(contexts[v], &one, p.q + 70 * p.ldq, p.ldq, alone, width, NULL), RLHF_OK);
        assert_same_bits("alone", v, alone, whole + 70 * width, 130 * width);
    }
    release_guarded();
}

static void test_refuses_nonsense(void **state)
{
    int64_t offset[2] = {0, 4}, length = 3;
    float x[64] = {0};
    const float *row = x;
    rlhfi_attention shape = {.sequences = 1, .query_offset = offset, .key_length = &length, .key = &row, .value = &row,
                             .ldkv = 4, .heads = 1, .kv_heads = 1, .head_dim = 4, .scale = 1.0f};

    (void)state;
    assert_int_equal(rlhfi_attend(contexts[0], &shape, x, 4, x, 4, NULL), RLHF_E_INVAL); /* more queries than keys */
    length = 5;
    assert_int_equal(rlhfi_attend_backward(contexts[0], &shape, x, 4, x, 4, x, x, 4, x, 4, x, x, 4), RLHF_E_INVAL);
    shape.heads = 3;
    shape.kv_heads = 2;
    assert_int_equal(rlhfi_attend(contexts[0], &shape, x, 4, x, 4, NULL), RLHF_E_INVAL);
}

/* Keys and values in pages give the bits of rows, for one new query and for several behind a cache. */
static void check_pages(int64_t sequences, const int64_t *keys, int64_t fresh, int32_t heads, int32_t kv_heads,
                        int32_t head_dim)
{
    const int64_t width = heads * head_dim, kv_width = kv_heads * head_dim, layer = 3 * RLHFI_PAGE; /* not the first */
    const int64_t page_floats = layer + 2 * kv_width * RLHFI_PAGE;
    const float *pages[4][32], *const *table[4];
    int64_t offset[5] = {0};
    struct problem p;

    make_problem(&p, sequences, keys, heads, kv_heads, head_dim, 0);
    for (int64_t s = 0; s < sequences; s++) {
        table[s] = pages[s];
        offset[s + 1] = offset[s] + (fresh < keys[s] ? fresh : keys[s]);
        for (int64_t u = 0; u < keys[s]; u += RLHFI_PAGE) {
            float *page = guarded(page_floats);
            memset(page, 0xff, (size_t)page_floats * sizeof *page); /* NaN behind the last key must not matter */
            for (int64_t i = 0; i < RLHFI_PAGE && u + i < keys[s]; i++)
                for (int64_t j = 0; j < kv_width; j++) {
                    page[layer + j * RLHFI_PAGE + i] = p.key[s][(u + i) * p.ldkv + j];
                    page[layer + (RLHFI_PAGE + i) * kv_width + j] = p.value[s][(u + i) * p.ldkv + j];
                }
            pages[s][u / RLHFI_PAGE] = page;
        }
    }
    rlhfi_attention rows = {sequences, offset, keys, p.key, p.value, p.ldkv, heads, kv_heads, head_dim, 0, p.scale};
    rlhfi_attention_pages paged = {sequences, offset, keys, table, layer, layer + kv_width * RLHFI_PAGE,
                                   heads, kv_heads, head_dim, p.scale};
    const int64_t count = (offset[sequences] - 1) * p.ldq + width;
    float *want = guarded(count);
    memset(want, 0, (size_t)count * sizeof *want);
    assert_int_equal(rlhfi_attend(contexts[0], &rows, p.q, p.ldq, want, p.ldq, NULL), RLHF_OK);
    for (int v = 0; v < VARIANTS; v++) {
        float *got = guarded(count);
        memset(got, 0, (size_t)count * sizeof *got);
        assert_int_equal(rlhfi_attend_pages(contexts[v], &paged, p.q, p.ldq, got, p.ldq), RLHF_OK);
        assert_same_bits("pages", v, got, want, count);
    }
    release_guarded();
}

static void test_pages(void **state)
{
    static const int64_t lengths[][4] = {{1, 2, 15, 16}, {17, 31, 32, 33}, {255, 256, 257, 64}, {300, 513, 544, 1000}};
    static const int32_t kinds[][3] = {{8, 4, 8},   {9, 3, 64}, {6, 6, 20},  {5, 1, 80}, {4, 4, 16},
                                       {2, 1, 130}, {7, 1, 8},  {10, 5, 32}, {1, 1, 300}};

    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
        for (size_t l = 0; l < sizeof lengths / sizeof lengths[0]; l++)
            check_pages(4 - (int64_t)(k % 2), lengths[l], l % 2 == 0 ? 1 : 5, kinds[k][0], kinds[k][1], kinds[k][2]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_long),
        cmocka_unit_test(test_batch_independence),
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_refuses_nonsense),
    };

    return cmocka_run_group_tests(tests, make_contexts, release_contexts);
}
