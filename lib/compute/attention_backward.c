/* Backward pass of causal attention. A task is one key/value head of one sequence and of those that continue it (a
 * prompt and its completions): it alone writes that head's dk and dv and the dq of the query heads that share it. A
 * continuation gathers dk and dv over all its keys by itself, then its prefix's part is added to the prefix's own,
 * continuations ascending. Probabilities are computed again, in squares of 256 queries by
 * 256 keys, so that each square is one link of the chains over queries (dk, dv) and over keys (dq). Heads narrower
 * than a vector sum dk and dv transposed, a key per lane, and turn them around at the end. */
#include "compute/attention.h"

enum {
    SQUARE = RLHFI_CHUNK,
    STRIDE = SQUARE + 16, /* of a square's rows: 256 floats would put every fourth row into the same cache set */
    NARROW = 16,          /* heads below fill no vector */
    KEY_ROWS = 24,        /* keys, or queries, of one product: they share the range that the mask leaves */
    INLINE_WORK = 1 << 17
};

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

struct gradient {
    const rlhfi_kernels *kernels;
    const rlhfi_attention *shape;
    const float *q, *out, *log_sum_exp, *dout;
    float *dq, *dk, *dv;
    int64_t ldq, ldout, lddout, lddq, lddkv;
    const int64_t *root;  /* [roots + 1] the sequences without a prefix; each goes before those that continue it */
    int64_t most_joined;  /* keys of the longest sequence with a prefix */
    rlhfi_buffer *scratch;
};

/* One key/value head of a sequence: its keys, prefix included, as one matrix. */
struct sequence {
    int64_t row, first, keys; /* first query: its row in q and its position; keys in all */
    const float *key, *value;
    float *dk, *dv;
    int64_t ldkv, lddkv;
};

/* One square: queries t0.. of one head against keys u0..; all pointers stand at its corner. */
struct square {
    int64_t t0, u0, queries, keys, ldkv, lddkv;
    const float *q, *dout, *key, *value, *log_sum_exp;
    float *dq, *dk, *dv;
    float *p, *ds, *key_panel, *value_panel;
    const float *delta;
    float *dk_turned, *dv_turned; /* narrow heads: [keys/32][head_dim][32] of the whole sequence */
};

static size_t turned_floats(int64_t head_dim, int64_t keys)
{
    return head_dim < NARROW ? (size_t)(keys + RLHFI_PANEL) * (size_t)head_dim : 0;
}

size_t rlhfi_attend_backward_scratch(int64_t head_dim, int64_t keys, int64_t joined)
{
    return 2 * (size_t)SQUARE * STRIDE + 2 * (size_t)SQUARE * (size_t)head_dim + SQUARE +
           2 * turned_floats(head_dim, keys) + 4 * (size_t)joined * (size_t)head_dim;
}

/* Queries of the square that see any of the keys [u, u+count) of the sequence. */
static void queries_of(const rlhfi_attention *shape, const struct square *square, int64_t u, int64_t count,
                       int64_t *from, int64_t *to)
{
    *from = larger(0, u - square->t0);
    *to = square->queries;
    if (shape->window > 0)
        *to = smaller(*to, u + count - 1 + shape->window - square->t0);
}

static void multiply(const struct gradient *gradient, int64_t m, int64_t n, int64_t k, const float *a, int64_t a_row,
                     int64_t a_step, const float *b, int64_t ldb, int accumulate, float *c, int64_t ldc)
{
    rlhfi_block work = {.m = m, .n = n, .k = k, .a = a, .a_row = a_row, .a_step = a_step, .b = b, .ldb = ldb,
                        .panel_stride = RLHFI_PANEL, .accumulate = accumulate, .c = c, .ldc = ldc};

    if (k > 0)
        gradient->kernels->product(&work);
}

/* p = scores' probabilities, ds = gradients of the scores. */
static void probabilities(const struct gradient *gradient, const struct square *square)
{
    const rlhfi_attention *shape = gradient->shape;
    const int64_t head = shape->head_dim;

    for (int64_t j = 0; j < square->keys; j += RLHFI_PANEL) {
        int64_t n = smaller(RLHFI_PANEL, square->keys - j), from, to;
        queries_of(shape, square, square->u0 + j, n, &from, &to);
        if (from >= to)
            continue;
        multiply(gradient, to - from, n, head, square->q + from * gradient->ldq, gradient->ldq, 1,
                 square->key_panel + j * head, RLHFI_PANEL, 0, square->p + from * STRIDE + j, STRIDE);
        multiply(gradient, to - from, n, head, square->dout + from * gradient->lddout, gradient->lddout, 1,
                 square->value_panel + j * head, RLHFI_PANEL, 0, square->ds + from * STRIDE + j, STRIDE);
    }
    for (int64_t t = 0; t < square->queries; t++) {
        int64_t query = square->t0 + t, seen = shape->window > 0 ? larger(0, query + 1 - shape->window) : 0;
        rlhfi_score_row row = {larger(0, seen - square->u0), smaller(square->keys, query + 1 - square->u0),
                               (square->keys + 15) / 16 * 16, shape->scale};
        if (row.first >= row.end)
            row.first = row.end = 0;
        gradient->kernels->softmax_backward(&row, square->log_sum_exp[t * shape->heads], square->delta[t],
                                            square->p + t * STRIDE, square->ds + t * STRIDE);
    }
}

static void add_key_gradients(const struct gradient *gradient, const struct square *square)
{
    const rlhfi_attention *shape = gradient->shape;
    const int64_t head = shape->head_dim;

    for (int64_t j = 0; j < square->keys; j += KEY_ROWS) {
        int64_t m = smaller(KEY_ROWS, square->keys - j), from, to;
        queries_of(shape, square, square->u0 + j, m, &from, &to);
        multiply(gradient, m, head, to - from, square->p + from * STRIDE + j, 1, STRIDE,
                 square->dout + from * gradient->lddout, gradient->lddout, 1, square->dv + j * square->lddkv,
                 square->lddkv);
        multiply(gradient, m, head, to - from, square->ds + from * STRIDE + j, 1, STRIDE,
                 square->q + from * gradient->ldq, gradient->ldq, 1, square->dk + j * square->lddkv,
                 square->lddkv);
    }
}

static void add_turned_gradients(const struct gradient *gradient, const struct square *square)
{
    const rlhfi_attention *shape = gradient->shape;
    const int64_t head = shape->head_dim;

    for (int64_t j = 0; j < square->keys; j += RLHFI_PANEL) {
        int64_t n = smaller(RLHFI_PANEL, square->keys - j), from, to;
        queries_of(shape, square, square->u0 + j, n, &from, &to);
        multiply(gradient, head, n, to - from, square->dout + from * gradient->lddout, 1, gradient->lddout,
                 square->p + from * STRIDE + j, STRIDE, 1, square->dv_turned + (square->u0 + j) * head, RLHFI_PANEL);
        multiply(gradient, head, n, to - from, square->q + from * gradient->ldq, 1, gradient->ldq,
                 square->ds + from * STRIDE + j, STRIDE, 1, square->dk_turned + (square->u0 + j) * head, RLHFI_PANEL);
    }
}

static void add_query_gradients(const struct gradient *gradient, const struct square *square)
{
    const rlhfi_attention *shape = gradient->shape;

    for (int64_t t = 0; t < square->queries; t += KEY_ROWS) {
        int64_t m = smaller(KEY_ROWS, square->queries - t), query = square->t0 + t;
        int64_t from = shape->window > 0 ? larger(0, query + 1 - shape->window - square->u0) : 0;
        int64_t to = smaller(square->keys, query + m - square->u0);
        multiply(gradient, m, shape->head_dim, to - from, square->ds + t * STRIDE + from, STRIDE, 1,
                 square->key + from * square->ldkv, square->ldkv, 1, square->dq + t * gradient->lddq, gradient->lddq);
    }
}

/* turned [length/32][head_dim][32] to rows */
static void turn_back(const struct gradient *gradient, int64_t length, const float *turned, float *rows, int64_t ld)
{
    const int64_t head = gradient->shape->head_dim;
    float ones[16], nowhere[NARROW];

    for (int j = 0; j < 16; j++)
        ones[j] = 1.0f;
    for (int64_t u = 0; u < length; u += 16) {
        float *to[16];
        for (int64_t j = 0; j < 16; j++)
            to[j] = u + j < length ? rows + (u + j) * ld : nowhere;
        gradient->kernels->spread_columns(head, turned + u / RLHFI_PANEL * RLHFI_PANEL * head + u % RLHFI_PANEL, ones,
                                          to);
    }
}

static void zero_rows(int64_t rows, int64_t n, float *x, int64_t ld)
{
    for (int64_t r = 0; r < rows; r++)
        memset(x + r * ld, 0, (size_t)n * sizeof(float));
}

static void pack_square(const struct gradient *gradient, const struct square *square)
{
    const int64_t head = gradient->shape->head_dim, ldkv = square->ldkv;

    for (int64_t j = 0; j < square->keys; j += RLHFI_PANEL) {
        int64_t n = smaller(RLHFI_PANEL, square->keys - j);
        gradient->kernels->pack(1, head, n, square->key + j * ldkv, ldkv, square->key_panel + j * head);
        gradient->kernels->pack(1, head, n, square->value + j * ldkv, ldkv, square->value_panel + j * head);
    }
}

/* All squares of one query head. */
static void head_gradients(const struct gradient *gradient, const struct sequence *sequence, int64_t h,
                           struct square *square, float *delta)
{
    const rlhfi_attention *shape = gradient->shape;
    const int64_t head = shape->head_dim;

    square->ldkv = sequence->ldkv;
    square->lddkv = sequence->lddkv;
    for (int64_t t0 = sequence->first; t0 < sequence->keys; t0 += SQUARE) {
        int64_t row = sequence->row + t0 - sequence->first, u0 = 0;
        square->t0 = t0;
        square->queries = smaller(SQUARE, sequence->keys - t0);
        square->q = gradient->q + row * gradient->ldq + h * head;
        square->dq = gradient->dq + row * gradient->lddq + h * head;
        square->dout = gradient->dout + row * gradient->lddout + h * head;
        square->log_sum_exp = gradient->log_sum_exp + row * shape->heads + h;
        for (int64_t t = 0; t < square->queries; t++)
            delta[t] = gradient->kernels->dot(head, square->dout + t * gradient->lddout,
                                              gradient->out + (row + t) * gradient->ldout + h * head);
        zero_rows(square->queries, head, square->dq, gradient->lddq);
        if (shape->window > 0)
            u0 = larger(0, t0 + 1 - shape->window) / SQUARE * SQUARE;
        for (; u0 < t0 + square->queries; u0 += SQUARE) {
            square->u0 = u0;
            square->keys = smaller(SQUARE, sequence->keys - u0);
            square->key = sequence->key + u0 * sequence->ldkv;
            square->value = sequence->value + u0 * sequence->ldkv;
            square->dk = sequence->dk + u0 * sequence->lddkv;
            square->dv = sequence->dv + u0 * sequence->lddkv;
            pack_square(gradient, square);
            probabilities(gradient, square);
            if (head < NARROW)
                add_turned_gradients(gradient, square);
            else
                add_key_gradients(gradient, square);
            add_query_gradients(gradient, square);
        }
    }
}

/* All query heads of key/value head g; dk and dv are written. */
static void sequence_gradients(const struct gradient *gradient, const struct sequence *sequence, int64_t g,
                               float *scratch)
{
    const rlhfi_attention *shape = gradient->shape;
    const int64_t head = shape->head_dim, group = shape->heads / shape->kv_heads;
    float *delta = scratch + 2 * SQUARE * STRIDE;
    struct square square = {.p = scratch, .ds = scratch + SQUARE * STRIDE, .delta = delta, .key_panel = delta + SQUARE};
    const size_t turned = turned_floats(head, sequence->keys);

    square.value_panel = square.key_panel + SQUARE * head;
    square.dk_turned = square.value_panel + SQUARE * head;
    square.dv_turned = square.dk_turned + turned;
    if (head < NARROW) {
        memset(square.dk_turned, 0, 2 * turned * sizeof(float));
    } else {
        zero_rows(sequence->keys, head, sequence->dk, sequence->lddkv);
        zero_rows(sequence->keys, head, sequence->dv, sequence->lddkv);
    }
    for (int64_t h = g * group; h < (g + 1) * group; h++)
        head_gradients(gradient, sequence, h, &square, delta);
    if (head < NARROW) {
        turn_back(gradient, sequence->keys, square.dk_turned, sequence->dk, sequence->lddkv);
        turn_back(gradient, sequence->keys, square.dv_turned, sequence->dv, sequence->lddkv);
    }
}

/* A sequence's own rows of dk and dv, and the rows of its keys. */
static struct sequence own_rows(const struct gradient *gradient, int64_t s, int64_t g)
{
    const rlhfi_attention *shape = gradient->shape;
    const int64_t row = shape->query_offset[s], head = shape->head_dim, at = row * gradient->lddkv + g * head;

    return (struct sequence){.row = row, .keys = shape->query_offset[s + 1] - row, .key = shape->key[s] + g * head,
                             .value = shape->value[s] + g * head, .dk = gradient->dk + at, .dv = gradient->dv + at,
                             .ldkv = shape->ldkv, .lddkv = gradient->lddkv};
}

/* Sequence s, which continues root. */
static void continuation_gradients(const struct gradient *gradient, const struct sequence *root, int64_t s, int64_t g,
                                   float *scratch)
{
    const rlhfi_kernels *kernels = gradient->kernels;
    const int64_t head = gradient->shape->head_dim, prefix = root->keys, room = gradient->most_joined * head;
    struct sequence own = own_rows(gradient, s, g);
    float *key = scratch, *value = key + room;
    struct sequence joined = {.row = own.row, .first = prefix, .keys = prefix + own.keys, .key = key, .value = value,
                              .dk = value + room, .dv = value + 2 * room, .ldkv = head, .lddkv = head};

    rlhfi_join_rows(kernels, prefix, joined.keys, head, root->key, own.key, own.ldkv, key);
    rlhfi_join_rows(kernels, prefix, joined.keys, head, root->value, own.value, own.ldkv, value);
    sequence_gradients(gradient, &joined, g, scratch + 4 * room);
    for (int64_t u = 0; u < prefix; u++) {
        kernels->add(head, root->dk + u * root->lddkv, joined.dk + u * head);
        kernels->add(head, root->dv + u * root->lddkv, joined.dv + u * head);
    }
    for (int64_t u = 0; u < own.keys; u++) {
        memcpy(own.dk + u * own.lddkv, joined.dk + (prefix + u) * head, (size_t)head * sizeof(float));
        memcpy(own.dv + u * own.lddkv, joined.dv + (prefix + u) * head, (size_t)head * sizeof(float));
    }
}

static void gradient_task(void *argument, int64_t index, int32_t worker)
{
    const struct gradient *gradient = argument;
    const rlhfi_attention *shape = gradient->shape;
    const int64_t g = index % shape->kv_heads, *root = gradient->root + index / shape->kv_heads;
    const struct sequence first = own_rows(gradient, root[0], g);
    float *scratch = gradient->scratch[worker].data;

    sequence_gradients(gradient, &first, g, scratch + 4 * gradient->most_joined * shape->head_dim);
    for (int64_t s = root[0] + 1; s < root[1]; s++)
        continuation_gradients(gradient, &first, s, g, scratch);
}

/* Checks the shape; finds the roots and the longest sequences. */
static rlhf_status survey(rlhf_context *context, struct gradient *gradient, int64_t *root, int64_t *roots,
                          int64_t *most_keys, double *work)
{
    const rlhfi_attention *shape = gradient->shape;

    RLHFI_REQUIRE(context, shape->heads > 0 && shape->kv_heads > 0 && shape->head_dim > 0 &&
                               shape->heads % shape->kv_heads == 0 && shape->window >= 0);
    for (int64_t s = 0; s < shape->sequences; s++) {
        int64_t length = shape->query_offset[s + 1] - shape->query_offset[s], prefix = rlhfi_prefix_length(shape, s);
        RLHFI_REQUIRE(context, length >= 0 && prefix >= 0 && length + prefix == shape->key_length[s]);
        if (prefix == 0) {
            root[(*roots)++] = s;
        } else {
            int64_t of = *roots > 0 ? root[*roots - 1] : s;
            RLHFI_REQUIRE(context, of < s && prefix == shape->key_length[of] &&
                                       shape->prefix_key[s] == shape->key[of] &&
                                       shape->prefix_value[s] == shape->value[of]);
            gradient->most_joined = larger(gradient->most_joined, shape->key_length[s]);
        }
        *most_keys = larger(*most_keys, shape->key_length[s]);
        *work += (double)length * (double)shape->key_length[s] * shape->heads * shape->head_dim;
    }
    root[*roots] = shape->sequences;
    return RLHF_OK;
}

rlhf_status rlhfi_attend_backward(rlhf_context *context, const rlhfi_attention *shape, const float *q, int64_t ldq,
                                  const float *out, int64_t ldout, const float *log_sum_exp, const float *dout,
                                  int64_t lddout, float *dq, int64_t lddq, float *dk, float *dv, int64_t lddkv)
{
    rlhfi_compute *compute = rlhfi_compute_of(context);
    struct gradient gradient = {.kernels = rlhfi_kernels_of(context), .shape = shape, .q = q, .out = out,
                                .log_sum_exp = log_sum_exp, .dout = dout, .dq = dq, .dk = dk, .dv = dv, .ldq = ldq,
                                .ldout = ldout, .lddout = lddout, .lddq = lddq, .lddkv = lddkv,
                                .scratch = compute->worker};
    int64_t most_keys = 0, roots = 0, *root;
    double work = 0.0;

    RLHFI_TRY(rlhfi_buffer_reserve(context, &compute->index, 2 * ((size_t)shape->sequences + 1)));
    gradient.root = root = (int64_t *)(void *)compute->index.data;
    RLHFI_TRY(survey(context, &gradient, root, &roots, &most_keys, &work));
    RLHFI_TRY(rlhfi_scratch_reserve(
        context, rlhfi_attend_backward_scratch(shape->head_dim, most_keys, gradient.most_joined)));
    if (work < INLINE_WORK)
        for (int64_t i = 0; i < roots * shape->kv_heads; i++)
            gradient_task(&gradient, i, 0);
    else
        rlhfi_parallel(context, roots * shape->kv_heads, gradient_task, &gradient);
    return RLHF_OK;
}
