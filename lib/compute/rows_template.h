/* Kernels over rows and elements: norms, activations, rotary, softmax pieces, optimizer passes. The reductions are the
 * lanes of compute.h: a last partial vector adds +0 in its missing lanes. */
#ifndef RLHFI_ROWS_TEMPLATE_H
#define RLHFI_ROWS_TEMPLATE_H

static void k_copy_rows(int64_t rows, int64_t n, const float *source, int64_t ld, float *to)
{
    for (int64_t r = 0; r < rows; r++, source += ld, to += n)
        for (int64_t i = 0; i < n; i += 16)
            store_up_to(to + i, load_up_to(source + i, n - i), n - i);
}

static void k_add(int64_t n, float *y, const float *x)
{
    for (int64_t i = 0; i < n; i += 16)
        store_up_to(y + i, v16_add(load_up_to(y + i, n - i), load_up_to(x + i, n - i)), n - i);
}

static void k_scale(int64_t n, float *x, float factor)
{
    v16 by = v16_set(factor);
    for (int64_t i = 0; i < n; i += 16)
        store_up_to(x + i, v16_mul(load_up_to(x + i, n - i), by), n - i);
}

static void k_divide(int64_t n, const float *x, float by, float *y)
{
    v16 divisor = v16_set(by);
    for (int64_t i = 0; i < n; i += 16)
        store_up_to(y + i, v16_div(load_up_to(x + i, n - i), divisor), n - i);
}

static float k_dot(int64_t n, const float *a, const float *b)
{
    v16 sum = v16_zero();
    for (int64_t i = 0; i < n; i += 16)
        sum = v16_fma(load_up_to(a + i, n - i), load_up_to(b + i, n - i), sum);
    return v16_sum(sum);
}

static double k_sum_of_squares(int64_t n, const float *x)
{
    v16d sum = v16d_zero();
    for (int64_t i = 0; i < n; i += 16)
        sum = v16d_add_square(sum, load_up_to(x + i, n - i));
    return v16d_sum(sum);
}

static bool k_all_finite(int64_t n, const float *x)
{
    const v16i exponent = v16i_set(0x7f800000);
    uint32_t bad = 0;
    for (int64_t i = 0; i < n; i += 16) {
        v16 masked = v16_from_bits(v16i_and(v16_bits(load_up_to(x + i, n - i)), exponent));
        bad |= v16m_bits(v16_equal(masked, v16_from_bits(exponent)));
    }
    return bad == 0;
}

static void k_adamw(const rlhfi_adamw *step, int64_t n, float *parameter, const float *gradient, float *m, float *v)
{
    const v16 scale = v16_set(step->gradient_scale), decay = v16_set(step->learning_rate * step->weight_decay);
    const v16 blend = v16_set(step->one_minus_beta1), keep = v16_set(step->beta2);
    const v16 fresh = v16_set(step->one_minus_beta2), root_scale = v16_set(step->inverse_sqrt_bias2);
    const v16 epsilon = v16_set(step->epsilon), rate = v16_set(step->learning_rate * step->inverse_bias1);

    for (int64_t i = 0; i < n; i += 16) {
        v16 g = v16_mul(load_up_to(gradient + i, n - i), scale);
        v16 p = load_up_to(parameter + i, n - i);
        v16 first = load_up_to(m + i, n - i), second = load_up_to(v + i, n - i);
        p = v16_fnma(decay, p, p);
        first = v16_fma(v16_sub(g, first), blend, first);
        second = v16_fma(v16_mul(g, g), fresh, v16_mul(second, keep));
        v16 divisor = v16_fma(v16_sqrt(second), root_scale, epsilon);
        p = v16_fnma(rate, v16_div(first, divisor), p);
        store_up_to(m + i, first, n - i);
        store_up_to(v + i, second, n - i);
        store_up_to(parameter + i, p, n - i);
    }
}

/* ---- norms ------------------------------------------------------------------------------------------------------- */

static void k_rms_norm(int64_t rows, int64_t d, const float *x, const float *weight, float eps, float *y, float *rstd)
{
    for (int64_t r = 0; r < rows; r++, x += d, y += d) {
        float scale = 1.0f / __builtin_sqrtf(k_dot(d, x, x) / (float)d + eps);
        v16 by = v16_set(scale);
        for (int64_t i = 0; i < d; i += 16)
            store_up_to(y + i, v16_mul(load_up_to(weight + i, d - i), v16_mul(load_up_to(x + i, d - i), by)), d - i);
        if (rstd != NULL)
            rstd[r] = scale;
    }
}

/* h = dy*w, x^ = x*r: dx += r * (h - x^ * mean(h x^)) */
static void k_rms_norm_backward(int64_t rows, int64_t d, const float *x, const float *weight, const float *rstd,
                                const float *dy, float *dx)
{
    for (int64_t r = 0; r < rows; r++, x += d, dy += d, dx += d) {
        v16 by = v16_set(rstd[r]), sum = v16_zero();
        for (int64_t i = 0; i < d; i += 16) {
            v16 h = v16_mul(load_up_to(dy + i, d - i), load_up_to(weight + i, d - i));
            sum = v16_fma(h, v16_mul(load_up_to(x + i, d - i), by), sum);
        }
        v16 mean = v16_set(v16_sum(sum) / (float)d);
        for (int64_t i = 0; i < d; i += 16) {
            v16 h = v16_mul(load_up_to(dy + i, d - i), load_up_to(weight + i, d - i));
            v16 inner = v16_fnma(v16_mul(load_up_to(x + i, d - i), by), mean, h);
            store_up_to(dx + i, v16_fma(by, inner, load_up_to(dx + i, d - i)), d - i);
        }
    }
}

static void k_layer_norm(int64_t rows, int64_t d, const float *x, const float *weight, const float *bias, float eps,
                         float *y, float *mean, float *rstd)
{
    for (int64_t r = 0; r < rows; r++, x += d, y += d) {
        v16 sum = v16_zero(), square = v16_zero();
        for (int64_t i = 0; i < d; i += 16)
            sum = v16_add(sum, load_up_to(x + i, d - i));
        float average = v16_sum(sum) / (float)d;
        v16 middle = v16_set(average);
        for (int64_t i = 0; i < d; i += 16) {
            v16 off = v16_sub(load_up_to(x + i, d - i), middle);
            if (d - i < 16)
                off = v16_keep(off, 0, (int)(d - i), 0.0f);
            square = v16_fma(off, off, square);
        }
        float scale = 1.0f / __builtin_sqrtf(v16_sum(square) / (float)d + eps);
        v16 by = v16_set(scale);
        for (int64_t i = 0; i < d; i += 16) {
            v16 normal = v16_mul(v16_sub(load_up_to(x + i, d - i), middle), by);
            v16 shift = bias != NULL ? load_up_to(bias + i, d - i) : v16_zero();
            store_up_to(y + i, v16_fma(normal, load_up_to(weight + i, d - i), shift), d - i);
        }
        if (mean != NULL)
            mean[r] = average;
        if (rstd != NULL)
            rstd[r] = scale;
    }
}

/* h = dy*w, x^ = (x - mean)*r: dx += r * (h - mean(h) - x^ * mean(h x^)) */
static void k_layer_norm_backward(int64_t rows, int64_t d, const float *x, const float *weight, const float *mean,
                                  const float *rstd, const float *dy, float *dx)
{
    for (int64_t r = 0; r < rows; r++, x += d, dy += d, dx += d) {
        v16 middle = v16_set(mean[r]), by = v16_set(rstd[r]), plain = v16_zero(), weighted = v16_zero();
        for (int64_t i = 0; i < d; i += 16) { /* h is 0 in missing lanes */
            v16 h = v16_mul(load_up_to(dy + i, d - i), load_up_to(weight + i, d - i));
            plain = v16_add(plain, h);
            weighted = v16_fma(h, v16_mul(v16_sub(load_up_to(x + i, d - i), middle), by), weighted);
        }
        v16 mean_plain = v16_set(v16_sum(plain) / (float)d), mean_weighted = v16_set(v16_sum(weighted) / (float)d);
        for (int64_t i = 0; i < d; i += 16) {
            v16 h = v16_mul(load_up_to(dy + i, d - i), load_up_to(weight + i, d - i));
            v16 normal = v16_mul(v16_sub(load_up_to(x + i, d - i), middle), by);
            v16 inner = v16_fnma(normal, mean_weighted, v16_sub(h, mean_plain));
            store_up_to(dx + i, v16_fma(by, inner, load_up_to(dx + i, d - i)), d - i);
        }
    }
}

static void k_norm_weight_sum(int64_t rows, int64_t n, const float *x, const float *dy, int64_t ld, const float *mean,
                              const float *rstd, float *sum)
{
    for (int64_t i = 0; i < n; i += 64) { /* four sums side by side */
        v16 part[4] = {v16_zero(), v16_zero(), v16_zero(), v16_zero()};
        int vectors = n - i >= 64 ? 4 : (int)((n - i + 15) / 16);
        for (int64_t r = 0; r < rows; r++) {
            v16 middle = v16_set(mean != NULL ? mean[r] : 0.0f), by = v16_set(rstd[r]);
            for (int v = 0; v < vectors; v++) {
                int64_t at = i + v * 16;
                v16 normal = v16_mul(v16_sub(load_up_to(x + r * ld + at, n - at), middle), by);
                part[v] = v16_fma(load_up_to(dy + r * ld + at, n - at), normal, part[v]);
            }
        }
        for (int v = 0; v < vectors; v++)
            store_up_to(sum + i + v * 16, part[v], n - i - v * 16);
    }
}

static void k_column_sum(int64_t rows, int64_t n, const float *dy, int64_t ld, float *sum)
{
    for (int64_t i = 0; i < n; i += 64) {
        v16 part[4] = {v16_zero(), v16_zero(), v16_zero(), v16_zero()};
        int vectors = n - i >= 64 ? 4 : (int)((n - i + 15) / 16);
        for (int64_t r = 0; r < rows; r++)
            for (int v = 0; v < vectors; v++)
                part[v] = v16_add(part[v], load_up_to(dy + r * ld + i + v * 16, n - i - v * 16));
        for (int v = 0; v < vectors; v++)
            store_up_to(sum + i + v * 16, part[v], n - i - v * 16);
    }
}

/* ---- activations ------------------------------------------------------------------------------------------------- */

#define GELU_SLOPE 0.7978845608028654f /* sqrt(2/pi) */
#define GELU_CUBE 0.044715f

/* 1/(1 + e^-x) and one minus it, each without cancellation. */
INLINE v16 sigmoid(v16 x, v16 *complement)
{
    const v16 one = v16_set(1.0f);
    v16 e = v16_exp(v16_sub(v16_zero(), v16_magnitude(x)));
    v16 large = v16_div(one, v16_add(one, e)), small = v16_mul(e, large);
    v16m negative = v16_less(x, v16_zero());
    *complement = v16_select(negative, large, small);
    return v16_select(negative, small, large);
}

INLINE v16 gelu_tanh_share(v16 x, v16 *complement) /* (1 + tanh y)/2 is the sigmoid of 2y */
{
    v16 cube = v16_fma(v16_mul(v16_mul(x, x), v16_set(GELU_CUBE)), x, x);
    return sigmoid(v16_mul(cube, v16_set(2.0f * GELU_SLOPE)), complement);
}

INLINE v16 gelu_share(v16 x) /* the normal distribution function */
{
    const v16 half = v16_set(0.5f);
    return v16_fma(half, v16_erf(v16_mul(x, v16_set(0.70710678118654752f))), half);
}

/* The activation and, where the caller uses it, its derivative. */
INLINE v16 activation(const enum rlhfi_activation kind, v16 x, v16 *slope)
{
    const v16 one = v16_set(1.0f);
    v16 share, rest;

    switch (kind) {
    case RLHFI_SILU:
        share = sigmoid(x, &rest);
        *slope = v16_mul(share, v16_fma(x, rest, one));
        return v16_mul(x, share);
    case RLHFI_GELU_TANH: {
        share = gelu_tanh_share(x, &rest);
        v16 inner = v16_fma(v16_mul(x, x), v16_set(3.0f * GELU_CUBE), one);
        v16 bend = v16_mul(v16_mul(v16_mul(x, v16_set(2.0f * GELU_SLOPE)), inner), v16_mul(share, rest));
        *slope = v16_add(share, bend);
        return v16_mul(x, share);
    }
    case RLHFI_GELU_ERF: {
        share = gelu_share(x);
        v16 density = v16_mul(v16_exp(v16_mul(v16_mul(x, x), v16_set(-0.5f))), v16_set(0.3989422804014327f));
        *slope = v16_fma(x, density, share);
        return v16_mul(x, share);
    }
    default:
        *slope = v16_select(v16_less(v16_zero(), x), one, v16_zero());
        return v16_max(v16_zero(), x); /* NaN stays */
    }
}

INLINE void activate_as(const enum rlhfi_activation kind, int64_t n, const float *x, const float *u, float *y)
{
    for (int64_t i = 0; i < n; i += 16) {
        v16 slope, a = activation(kind, load_up_to(x + i, n - i), &slope);
        if (u != NULL)
            a = v16_mul(a, load_up_to(u + i, n - i));
        store_up_to(y + i, a, n - i);
    }
}

INLINE void activate_backward_as(const enum rlhfi_activation kind, int64_t n, const float *x, const float *u,
                                 const float *dy, float *dx, float *du)
{
    for (int64_t i = 0; i < n; i += 16) {
        v16 slope, a = activation(kind, load_up_to(x + i, n - i), &slope);
        v16 d = load_up_to(dy + i, n - i);
        if (u != NULL) {
            v16 partner = load_up_to(u + i, n - i);
            if (du != NULL)
                store_up_to(du + i, v16_mul(d, a), n - i);
            d = v16_mul(d, partner);
        }
        store_up_to(dx + i, v16_mul(d, slope), n - i);
    }
}

static void k_activate(enum rlhfi_activation kind, int64_t n, const float *x, const float *u, float *y)
{
    switch (kind) {
    case RLHFI_SILU: activate_as(RLHFI_SILU, n, x, u, y); break;
    case RLHFI_GELU_TANH: activate_as(RLHFI_GELU_TANH, n, x, u, y); break;
    case RLHFI_GELU_ERF: activate_as(RLHFI_GELU_ERF, n, x, u, y); break;
    case RLHFI_RELU: activate_as(RLHFI_RELU, n, x, u, y); break;
    }
}

static void k_activate_backward(enum rlhfi_activation kind, int64_t n, const float *x, const float *u, const float *dy,
                                float *dx, float *du)
{
    switch (kind) {
    case RLHFI_SILU: activate_backward_as(RLHFI_SILU, n, x, u, dy, dx, du); break;
    case RLHFI_GELU_TANH: activate_backward_as(RLHFI_GELU_TANH, n, x, u, dy, dx, du); break;
    case RLHFI_GELU_ERF: activate_backward_as(RLHFI_GELU_ERF, n, x, u, dy, dx, du); break;
    case RLHFI_RELU: activate_backward_as(RLHFI_RELU, n, x, u, dy, dx, du); break;
    }
}

/* Heads of width 8: four of them fill a vector. */
static int64_t rotate_small_heads(int64_t heads, const float *cosine, const float *sine, v16 sign, float *x)
{
    const v16 c = v16_load_quarters(cosine, cosine, cosine, cosine);
    const v16 s = v16_mul(v16_load_quarters(sine, sine, sine, sine), sign);
    int64_t h = 0;

    for (; h + 4 <= heads; h += 4, x += 32) {
        v16 a = v16_load_quarters(x, x + 8, x + 16, x + 24), b = v16_load_quarters(x + 4, x + 12, x + 20, x + 28);
        v16_store_quarters(x, x + 8, x + 16, x + 24, v16_fnma(b, s, v16_mul(a, c)));
        v16_store_quarters(x + 4, x + 12, x + 20, x + 28, v16_fma(a, s, v16_mul(b, c)));
    }
    return h;
}

static void k_rotate(int64_t heads, int64_t half, const float *cosine, const float *sine, float direction, float *x)
{
    const v16 sign = v16_set(direction);
    const int64_t done = half == 4 ? rotate_small_heads(heads, cosine, sine, sign, x) : 0;

    x += 2 * half * done;
    for (int64_t h = done; h < heads; h++, x += 2 * half) {
        for (int64_t i = 0; i < half; i += 16) {
            v16 c = load_up_to(cosine + i, half - i), s = v16_mul(load_up_to(sine + i, half - i), sign);
            v16 a = load_up_to(x + i, half - i), b = load_up_to(x + half + i, half - i);
            store_up_to(x + i, v16_fnma(b, s, v16_mul(a, c)), half - i);
            store_up_to(x + half + i, v16_fma(a, s, v16_mul(b, c)), half - i);
        }
    }
}

/* ---- softmax ----------------------------------------------------------------------------------------------------- */

static void zero_vectors(float *s, int64_t from, int64_t to)
{
    for (int64_t i = from; i < to; i += 16)
        v16_store(s + i, v16_zero());
}

static float k_softmax(const rlhfi_score_row *row, float *s, float *maximum)
{
    const int64_t start = row->first / 16 * 16, stop = (row->end + 15) / 16 * 16;
    const v16 scale = v16_set(row->scale);
    v16 most = v16_set(-__builtin_inff()), sum = v16_zero();

    for (int64_t i = start; i < stop; i += 16) {
        v16 x = v16_mul(v16_load(s + i), scale);
        if (i < row->first || row->end - i < 16)
            x = v16_keep(x, (int)(row->first - i), row->end - i < 16 ? (int)(row->end - i) : 16, -__builtin_inff());
        most = v16_max(most, x);
        v16_store(s + i, x);
    }
    *maximum = v16_highest(most);
    most = v16_set(*maximum);
    for (int64_t i = start; i < stop; i += 16) { /* e^-infinity is exactly 0 */
        v16 e = v16_exp(v16_sub(v16_load(s + i), most));
        sum = v16_add(sum, e);
        v16_store(s + i, e);
    }
    zero_vectors(s, 0, start);
    zero_vectors(s, stop, row->width);
    return v16_sum(sum);
}

/* x, or -infinity where key u is hidden from the lane's row. */
INLINE v16 visible(v16 x, int64_t u, v16 first, v16 end)
{
    const v16 key = v16_set((float)u), hidden = v16_set(-__builtin_inff());

    x = v16_select(v16_less(key, end), x, hidden);
    return v16_select(v16_less(key, first), hidden, x);
}

static void k_softmax_columns(const rlhfi_score_columns *columns, int rows, float *s, float *sum, float *maximum)
{
    const v16 scale = v16_set(columns->scale), first = v16_load(columns->first), end = v16_load(columns->end);
    const int64_t keys = columns->stop - columns->begin;
    float late = columns->first[0], early = columns->end[0]; /* between them every row sees every key */
    v16 most = v16_set(-__builtin_inff()), lane[16];

    for (int j = 1; j < rows; j++) {
        late = columns->first[j] > late ? columns->first[j] : late;
        early = columns->end[j] < early ? columns->end[j] : early;
    }
    for (int64_t i = 0; i < keys; i++) {
        int64_t u = columns->begin + i;
        v16 x = v16_mul(v16_load(s + i * RLHFI_PANEL), scale);
        if ((float)u < late || (float)u >= early)
            x = visible(x, u, first, end);
        most = v16_max(most, x);
        v16_store(s + i * RLHFI_PANEL, x);
    }
    for (int j = 0; j < 16; j++)
        lane[j] = v16_zero();
    for (int64_t i = 0; i < keys; i++) {
        v16 e = v16_exp(v16_sub(v16_load(s + i * RLHFI_PANEL), most));
        int j = (int)((columns->begin + i) % 16);
        lane[j] = v16_add(lane[j], e);
        v16_store(s + i * RLHFI_PANEL, e);
    }
    for (int half = 8; half > 0; half /= 2)
        for (int j = 0; j < half; j++)
            lane[j] = v16_add(lane[j], lane[j + half]);
    v16_store_first(sum, lane[0], rows);
    v16_store_first(maximum, most, rows);
}

static void k_spread_columns(int64_t n, const float *x, const float *divisor, float *const *to)
{
    const v16 by = v16_load(divisor);
    int64_t i = 0;

    for (; i + 4 <= n; i += 4) {
        v16 four[4];
        UNROLLED for (int j = 0; j < 4; j++)
            four[j] = v16_div(v16_load(x + (i + j) * RLHFI_PANEL), by);
        v16_transpose_quarters(four);
        UNROLLED for (int j = 0; j < 4; j++)
            v16_store_quarters(to[j] + i, to[j + 4] + i, to[j + 8] + i, to[j + 12] + i, four[j]);
    }
    for (; i < n; i++) {
        float last[16];
        v16_store(last, v16_div(v16_load(x + i * RLHFI_PANEL), by));
        for (int j = 0; j < 16; j++)
            to[j][i] = last[j];
    }
}

static void k_softmax_backward(const rlhfi_score_row *row, float log_sum_exp, float delta, float *s, float *dp)
{
    const int64_t start = row->first / 16 * 16, stop = (row->end + 15) / 16 * 16;
    const v16 scale = v16_set(row->scale), total = v16_set(log_sum_exp), middle = v16_set(delta);

    for (int64_t i = start; i < stop; i += 16) {
        v16 p = v16_exp(v16_sub(v16_mul(v16_load(s + i), scale), total));
        v16 d = v16_mul(v16_mul(p, v16_sub(v16_load(dp + i), middle)), scale);
        if (i < row->first || row->end - i < 16) {
            int first = (int)(row->first - i), end = row->end - i < 16 ? (int)(row->end - i) : 16;
            p = v16_keep(p, first, end, 0.0f);
            d = v16_keep(d, first, end, 0.0f);
        }
        v16_store(s + i, p);
        v16_store(dp + i, d);
    }
    zero_vectors(s, 0, start);
    zero_vectors(dp, 0, start);
    zero_vectors(s, stop, row->width);
    zero_vectors(dp, stop, row->width);
}

/* ---- head -------------------------------------------------------------------------------------------------------- */

static int32_t first_equal(int64_t n, const float *z, float wanted)
{
    const v16 most = v16_set(wanted);
    for (int64_t i = 0; i < n; i += 16) {
        uint32_t hits = v16m_bits(v16_equal(load_up_to(z + i, n - i), most));
        if (n - i < 16)
            hits &= (1u << (n - i)) - 1;
        if (hits != 0)
            return (int32_t)(i + __builtin_ctz(hits));
    }
    return 0; /* all NaN */
}

/* e^-100 is 0 already, and 0 * -infinity would be NaN for a token that a filter has taken out */
#define LEAST_LOG -100.0f

static void k_head_part(int64_t n, const float *z, float inverse_temperature, bool want_best, rlhfi_head_part *part)
{
    const v16 scale = v16_set(inverse_temperature), least = v16_set(LEAST_LOG);
    v16 most = v16_set(-__builtin_inff()), sum = v16_zero(), weighted = v16_zero(), plain = v16_zero();

    for (int64_t i = 0; i < n; i += 16) {
        v16 x = load_up_to(z + i, n - i);
        if (n - i < 16)
            x = v16_keep(x, 0, (int)(n - i), -__builtin_inff());
        most = v16_max(most, x);
    }
    part->highest = v16_highest(most);
    part->best = want_best ? first_equal(n, z, part->highest) : 0;
    most = v16_mul(v16_set(part->highest), scale);
    for (int64_t i = 0; i < n; i += 16) {
        v16 x = v16_mul(load_up_to(z + i, n - i), scale);
        v16 difference = v16_max(least, v16_sub(x, most));
        v16 e = v16_exp(difference);
        if (n - i < 16)
            e = v16_keep(e, 0, (int)(n - i), 0.0f);
        sum = v16_add(sum, e);
        weighted = v16_fma(e, difference, weighted);
        plain = v16_add(plain, x); /* missing logits were loaded as 0 */
    }
    part->sum = v16_sum(sum);
    part->weighted = v16_sum(weighted);
    part->plain = v16_sum(plain);
}

static void k_head_slope(int64_t n, const rlhfi_head_slope *slope, float *z)
{
    const v16 scale = v16_set(slope->inverse_temperature), total = v16_set(slope->log_sum_exp);
    const v16 common = v16_set(slope->common), bend = v16_set(slope->entropy_gradient);
    const v16 entropy = v16_set(slope->entropy), each = v16_set(slope->each), least = v16_set(LEAST_LOG);

    for (int64_t i = 0; i < n; i += 16) {
        v16 log_p = v16_max(least, v16_sub(v16_mul(load_up_to(z + i, n - i), scale), total));
        v16 factor = v16_fma(bend, v16_add(log_p, entropy), common);
        store_up_to(z + i, v16_mul(v16_fnma(v16_exp(log_p), factor, each), scale), n - i);
    }
}

static void k_exp_scaled(int64_t n, const float *z, float inverse_temperature, float maximum, float factor, float *p)
{
    const v16 scale = v16_set(inverse_temperature), most = v16_set(maximum), by = v16_set(factor);
    for (int64_t i = 0; i < n; i += 16) {
        v16 e = v16_exp(v16_sub(v16_mul(load_up_to(z + i, n - i), scale), most));
        store_up_to(p + i, v16_mul(e, by), n - i);
    }
}

#define MATH_KERNEL(name)                                                                                              \
    static void k_##name(int64_t n, const float *x, float *y)                                                          \
    {                                                                                                                  \
        for (int64_t i = 0; i < n; i += 16)                                                                            \
            store_up_to(y + i, v16_##name(load_up_to(x + i, n - i)), n - i);                                           \
    }

MATH_KERNEL(exp)
MATH_KERNEL(log)
MATH_KERNEL(tanh)
MATH_KERNEL(erf)

#endif
