/* Every layer of the compute room: its backward pass along random directions against central differences of a forward
 * pass in double. The scalar that is differentiated is a fixed random weighting of the outputs. */
#include "unit/compute/support.h"

enum { MOST_INPUTS = 4, DIRECTIONS = 6 };

/* A layer under test: inputs as doubles, and the weighted sum of its outputs. */
struct layer {
    const char *name;
    int inputs;
    int64_t size[MOST_INPUTS];
    double *x[MOST_INPUTS];
    float *gradient[MOST_INPUTS]; /* from the library */
    int64_t outputs;
    const float *weighting; /* d scalar / d output */
    void (*forward)(const struct layer *layer, double *out);
    int64_t rows, d, n, extra, window;
    int kind;
    const int32_t *id;
};

static double weighted(const struct layer *layer, double *out)
{
    double sum = 0;

    layer->forward(layer, out);
    for (int64_t i = 0; i < layer->outputs; i++)
        sum += out[i] * (double)layer->weighting[i];
    return sum;
}

static void check_layer(struct layer *layer)
{
    double *out = doubles(layer->outputs);

    for (int which = 0; which < layer->inputs; which++) {
        if (layer->gradient[which] == NULL)
            continue;
        for (int direction = 0; direction < DIRECTIONS; direction++) {
            const double step = 1e-5;
            float *v = random_array(layer->size[which], -1, 1);
            double expected = 0, size = 0, values[2];
            for (int64_t i = 0; i < layer->size[which]; i++) {
                expected += (double)layer->gradient[which][i] * (double)v[i];
                size += fabs((double)layer->gradient[which][i] * (double)v[i]);
            }
            for (int side = 0; side < 2; side++) {
                double by = side == 0 ? step : -step;
                for (int64_t i = 0; i < layer->size[which]; i++)
                    layer->x[which][i] += by * (double)v[i];
                values[side] = weighted(layer, out);
                for (int64_t i = 0; i < layer->size[which]; i++)
                    layer->x[which][i] -= by * (double)v[i];
            }
            double slope = (values[0] - values[1]) / (2 * step);
            if (!(fabs(slope - expected) <= 2e-6 * size + 1e-7))
                fail_msg("%s, input %d: slope %.9g, gradient %.9g (terms of size %.3g)", layer->name, which, slope,
                         expected, size);
        }
    }
}

/* A random float input and its double copy. */
static float *input(struct layer *layer, int which, int64_t size, float low, float high)
{
    float *x = random_array(size, low, high);

    layer->size[which] = size;
    layer->x[which] = doubles(size);
    for (int64_t i = 0; i < size; i++)
        layer->x[which][i] = (double)x[i];
    layer->gradient[which] = guarded(size);
    memset(layer->gradient[which], 0, (size_t)size * sizeof(float));
    return x;
}

/* ---- products: y = x W^T + b ------------------------------------------------------------------------------------- */

static void linear_forward(const struct layer *l, double *out)
{
    for (int64_t r = 0; r < l->rows; r++)
        for (int64_t j = 0; j < l->n; j++) {
            double sum = l->x[2][j];
            for (int64_t i = 0; i < l->d; i++)
                sum += l->x[0][r * l->d + i] * l->x[1][j * l->d + i];
            out[r * l->n + j] = sum;
        }
}

static void test_linear(void **state)
{
    struct layer l = {.name = "linear", .inputs = 3, .rows = 37, .d = 45, .n = 29, .forward = linear_forward};
    rlhf_context *context = contexts[VARIANTS - 1];
    float *x = input(&l, 0, l.rows * l.d, -1, 1), *w = input(&l, 1, l.n * l.d, -1, 1);

    (void)state;
    input(&l, 2, l.n, -1, 1);
    l.outputs = l.rows * l.n;
    const float *dy = l.weighting = random_array(l.outputs, -1, 1);
    assert_int_equal(rlhfi_product(context, 0, 0, l.rows, l.d, l.n, dy, l.n, w, l.d, NULL, 0, l.gradient[0], l.d),
                     RLHF_OK);
    assert_int_equal(rlhfi_product(context, 1, 0, l.n, l.d, l.rows, dy, l.n, x, l.d, NULL, 1, l.gradient[1], l.d),
                     RLHF_OK);
    assert_int_equal(rlhfi_bias_gradient(context, l.rows, l.n, dy, l.n, l.gradient[2]), RLHF_OK);
    check_layer(&l);
    release_guarded();
}

/* ---- norms ------------------------------------------------------------------------------------------------------- */

static void norm_forward(const struct layer *l, double *out)
{
    for (int64_t r = 0; r < l->rows; r++) {
        const double *x = l->x[0] + r * l->d;
        double mean = 0, square = 0;
        for (int64_t j = 0; l->kind && j < l->d; j++)
            mean += x[j] / (double)l->d;
        for (int64_t j = 0; j < l->d; j++)
            square += (x[j] - mean) * (x[j] - mean) / (double)l->d;
        for (int64_t j = 0; j < l->d; j++)
            out[r * l->d + j] = (x[j] - mean) / sqrt(square + 1e-5) * l->x[1][j] + (l->kind ? l->x[2][j] : 0);
    }
}

static void test_norms(void **state)
{
    static const int64_t widths[] = {8, 64, 100};

    (void)state;
    for (int kind = 0; kind < 2; kind++)
        for (int i = 0; i < 3; i++) {
            struct layer l = {.name = kind ? "layer norm" : "rms norm", .inputs = 2 + kind, .rows = 300, .d = widths[i],
                              .kind = kind, .forward = norm_forward};
            rlhf_context *context = contexts[VARIANTS - 1];
            float *x = input(&l, 0, l.rows * l.d, -2, 3), *w = input(&l, 1, l.d, -1, 2), *b = input(&l, 2, l.d, -1, 1);
            float *y = guarded(l.rows * l.d), *mean = guarded(l.rows), *rstd = guarded(l.rows);
            l.outputs = l.rows * l.d;
            l.weighting = random_array(l.outputs, -1, 1);
            if (kind) {
                rlhfi_layer_norm(context, l.rows, l.d, x, w, b, 1e-5f, y, mean, rstd);
                assert_int_equal(rlhfi_layer_norm_backward(context, l.rows, l.d, x, w, mean, rstd, l.weighting,
                                                           l.gradient[0], l.gradient[1], l.gradient[2]),
                                 RLHF_OK);
            } else {
                rlhfi_rms_norm(context, l.rows, l.d, x, w, 1e-5f, y, rstd);
                assert_int_equal(rlhfi_rms_norm_backward(context, l.rows, l.d, x, w, rstd, l.weighting, l.gradient[0],
                                                         l.gradient[1]),
                                 RLHF_OK);
            }
            check_layer(&l);
            release_guarded();
        }
}

/* ---- activations ------------------------------------------------------------------------------------------------- */

static void activation_forward(const struct layer *l, double *out)
{
    for (int64_t i = 0; i < l->outputs; i++) {
        double x = l->x[0][i], y;
        switch (l->kind) {
        case RLHFI_SILU: y = x / (1 + exp(-x)); break;
        case RLHFI_GELU_TANH: y = 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); break;
        case RLHFI_GELU_ERF: y = 0.5 * x * (1 + erf(x / sqrt(2))); break;
        default: y = x > 0 ? x : 0;
        }
        out[i] = y * (l->inputs == 2 ? l->x[1][i] : 1);
    }
}

static void test_activations(void **state)
{
    (void)state;
    for (int kind = RLHFI_SILU; kind <= RLHFI_RELU; kind++)
        for (int gated = 0; gated < 2; gated++) {
            struct layer l = {.name = "activation", .inputs = 1 + gated, .rows = 20, .d = 77, .kind = kind,
                              .forward = activation_forward};
            float *x = input(&l, 0, l.rows * l.d, -5, 5), *u = input(&l, 1, l.rows * l.d, -2, 2);
            for (int64_t i = 0; i < l.size[0]; i++) /* away from the corner of the rectifier */
                if (fabsf(x[i]) < 1e-3f)
                    l.x[0][i] = (double)(x[i] = 0.5f);
            l.outputs = l.rows * l.d;
            l.weighting = random_array(l.outputs, -1, 1);
            rlhfi_activate_backward(contexts[VARIANTS - 1], kind, l.rows, l.d, x, l.d, gated ? u : NULL, l.d,
                                    l.weighting, l.d, l.gradient[0], l.d, gated ? l.gradient[1] : NULL, l.d);
            check_layer(&l);
            release_guarded();
        }
}

/* ---- rotary embedding, embedding table --------------------------------------------------------------------------- */

static float frequency_of(int64_t p, int64_t half) { return powf(10000.0f, -(float)p / (float)half); }

static void rotary_forward(const struct layer *l, double *out)
{
    const int64_t half = l->d / 2;
    for (int64_t r = 0; r < l->rows; r++)
        for (int64_t p = 0; p < half; p++) {
            double angle = (double)((float)l->id[r] * frequency_of(p, half));
            double a = l->x[0][r * l->d + p], b = l->x[0][r * l->d + half + p];
            out[r * l->d + p] = a * cos(angle) - b * sin(angle);
            out[r * l->d + half + p] = b * cos(angle) + a * sin(angle);
        }
}

static void embedding_forward(const struct layer *l, double *out)
{
    for (int64_t r = 0; r < l->rows; r++)
        for (int64_t j = 0; j < l->d; j++)
            out[r * l->d + j] = l->x[0][l->id[r] * l->d + j];
}

static void test_rotary_and_embedding(void **state)
{
    enum { ROWS = 40, D = 32, POSITIONS = 90 };
    struct layer l = {
        .name = "rotary", .inputs = 1, .rows = ROWS, .d = D, .forward = rotary_forward, .outputs = ROWS * D};
    rlhf_context *context = contexts[VARIANTS - 1];
    float frequency[D / 2], *cosine = guarded(POSITIONS * D / 2), *sine = guarded(POSITIONS * D / 2);
    int32_t id[ROWS];

    (void)state;
    for (int p = 0; p < D / 2; p++)
        frequency[p] = frequency_of(p, D / 2);
    for (int r = 0; r < ROWS; r++)
        id[r] = (int32_t)(random_bits() % POSITIONS);
    l.id = id;
    input(&l, 0, ROWS * D, -1, 1);
    l.weighting = random_array(l.outputs, -1, 1);
    rlhfi_rotary_table(context, POSITIONS, D, frequency, cosine, sine);
    memcpy(l.gradient[0], l.weighting, ROWS * D * sizeof(float));
    rlhfi_rotate(context, ROWS, 1, D, id, cosine, sine, -1, l.gradient[0], D);
    check_layer(&l);

    l.name = "embedding";
    l.forward = embedding_forward;
    input(&l, 0, POSITIONS * D, -1, 1);
    rlhfi_scatter_add(context, ROWS, D, id, l.weighting, l.gradient[0]);
    check_layer(&l);
    release_guarded();
}

/* ---- attention: inputs q, k, v ----------------------------------------------------------------------------------- */

enum { HEADS = 4, KV_HEADS = 2 };

static void attention_forward(const struct layer *l, double *out)
{
    const int64_t d = l->d, ldq = HEADS * d, ldkv = KV_HEADS * d;
    double *p = malloc((size_t)l->rows * sizeof *p);

    for (int64_t t = 0; t < l->rows; t++)
        for (int64_t h = 0; h < HEADS; h++) {
            const int64_t g = h / (HEADS / KV_HEADS), low = l->window > 0 && t + 1 > l->window ? t + 1 - l->window : 0;
            double sum = 0;
            for (int64_t u = low; u <= t; u++) {
                double score = 0;
                for (int64_t j = 0; j < d; j++)
                    score += l->x[0][t * ldq + h * d + j] * l->x[1][u * ldkv + g * d + j];
                sum += p[u] = exp(score * 0.25);
            }
            for (int64_t j = 0; j < d; j++) {
                double total = 0;
                for (int64_t u = low; u <= t; u++)
                    total += p[u] / sum * l->x[2][u * ldkv + g * d + j];
                out[t * ldq + h * d + j] = total;
            }
        }
    free(p);
}

static void test_attention(void **state)
{
    static const struct {
        int64_t length, d, window;
    } cases[] = {{50, 8, 0}, {50, 20, 0}, {33, 64, 0}, {60, 8, 13}, {270, 8, 0}};

    (void)state;
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct layer l = {.name = "attention", .inputs = 3, .rows = cases[i].length, .d = cases[i].d,
                          .window = cases[i].window, .forward = attention_forward};
        const int64_t ldq = HEADS * l.d, ldkv = KV_HEADS * l.d, offset[2] = {0, l.rows};
        float *q = input(&l, 0, l.rows * ldq, -1, 1), *k = input(&l, 1, l.rows * ldkv, -1, 1);
        float *v = input(&l, 2, l.rows * ldkv, -1, 1), *out = guarded(l.rows * ldq), *lse = guarded(l.rows * HEADS);
        const float *key = k, *value = v;
        rlhfi_attention shape = {.sequences = 1, .query_offset = offset, .key_length = &l.rows, .key = &key,
                                 .value = &value, .ldkv = ldkv, .heads = HEADS, .kv_heads = KV_HEADS,
                                 .head_dim = (int32_t)l.d, .window = l.window, .scale = 0.25f};
        l.outputs = l.rows * ldq;
        l.weighting = random_array(l.outputs, -1, 1);
        assert_int_equal(rlhfi_attend(contexts[VARIANTS - 1], &shape, q, ldq, out, ldq, lse), RLHF_OK);
        assert_int_equal(rlhfi_attend_backward(contexts[VARIANTS - 1], &shape, q, ldq, out, ldq, lse, l.weighting, ldq,
                                               l.gradient[0], ldq, l.gradient[1], l.gradient[2], ldkv),
                         RLHF_OK);
        check_layer(&l);
        release_guarded();
    }
}

/* ---- head: outputs are log_prob, entropy, mean_log_prob of every row --------------------------------------------- */

static void head_forward(const struct layer *l, double *out)
{
    const double temperature = 0.8;
    double *z = malloc((size_t)l->n * sizeof *z);

    for (int64_t r = 0; r < l->rows; r++) {
        double most = -INFINITY, sum = 0, plain = 0, entropy = 0;
        for (int64_t v = 0; v < l->n; v++) {
            z[v] = 0;
            for (int64_t j = 0; j < l->d; j++)
                z[v] += l->x[0][r * l->d + j] * l->x[1][v * l->d + j] * temperature;
            most = z[v] > most ? z[v] : most;
            plain += z[v] / (double)l->n;
        }
        for (int64_t v = 0; v < l->n; v++)
            sum += exp(z[v] - most);
        double lse = most + log(sum);
        for (int64_t v = 0; v < l->n; v++)
            entropy -= exp(z[v] - lse) * (z[v] - lse);
        out[r] = z[l->id[r]] - lse;
        out[l->rows + r] = entropy;
        out[2 * l->rows + r] = plain - lse;
    }
    free(z);
}

static void test_head(void **state)
{
    static const int64_t vocabularies[] = {50, 1500};

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct layer l = {
            .name = "head", .inputs = 2, .rows = 23, .d = 24, .n = vocabularies[i], .forward = head_forward};
        rlhf_context *context = contexts[VARIANTS - 1];
        float *hidden = input(&l, 0, l.rows * l.d, -1, 1), *weight = input(&l, 1, l.n * l.d, -1, 1);
        int32_t target[23];
        float *entropy = guarded(l.rows), *lse = guarded(l.rows), *log_prob = guarded(l.rows);
        rlhfi_head_result result = {log_prob, entropy, NULL, NULL, lse};
        for (int r = 0; r < 23; r++)
            target[r] = (int32_t)(random_bits() % (uint32_t)l.n);
        l.id = target;
        l.outputs = 3 * l.rows;
        l.weighting = random_array(l.outputs, -1, 1);
        assert_int_equal(rlhfi_head(context, l.rows, l.d, l.n, hidden, NULL, rlhfi_float_head(weight), target, 0.8f,
                                    &result), RLHF_OK);
        assert_int_equal(rlhfi_head_backward(context, l.rows, l.d, l.n, hidden, NULL, rlhfi_float_head(weight),
                                             target, 0.8f, &result,
                                             l.weighting, l.weighting + l.rows, l.weighting + 2 * l.rows,
                                             l.gradient[0], l.gradient[1]),
                         RLHF_OK);
        check_layer(&l);
        release_guarded();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear),    cmocka_unit_test(test_norms), cmocka_unit_test(test_activations),
        cmocka_unit_test(test_rotary_and_embedding), cmocka_unit_test(test_attention), cmocka_unit_test(test_head),
    };

    return cmocka_run_group_tests(tests, make_contexts, release_contexts);
}
