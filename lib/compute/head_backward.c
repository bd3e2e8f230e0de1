/* The head's backward pass: for a chunk of rows and a block of the vocabulary the logits are computed again, turned
 * into their gradients in place and multiplied onto both sides. dhidden is a chain over the vocabulary, dweight one
 * over the rows that have a gradient; both restart every 256 and go on in C, so the chunk and the block never show. */
#include "compute/state.h"

enum {
    ROWS = RLHFI_HEAD_ROWS,   /* rows of a chunk */
    BLOCK = RLHFI_HEAD_BLOCK, /* logits of a block */
    PIECE = 1 << 13           /* logits of a task */
};
_Static_assert(ROWS % RLHFI_CHUNK == 0 && BLOCK % RLHFI_CHUNK == 0, "chunks must end where chains restart");

struct slopes {
    const rlhfi_kernels *kernels;
    int64_t v0, n, vocabulary;
    const int64_t *active; /* the rows of this chunk */
    const int32_t *target;
    float inverse_temperature;
    const rlhfi_head_result *result;
    const float *d_log_prob, *d_entropy, *d_mean_log_prob;
    float *logits;
};

static float at(const float *array, int64_t i) { return array == NULL ? 0.0f : array[i]; }

static void slope_range(void *argument, int64_t first, int64_t end)
{
    const struct slopes *slopes = argument;

    for (int64_t r = first; r < end; r++) {
        int64_t i = slopes->active[r];
        float mean = at(slopes->d_mean_log_prob, i), chosen = at(slopes->d_log_prob, i);
        float *z = slopes->logits + r * BLOCK;
        rlhfi_head_slope slope = {slopes->inverse_temperature, slopes->result->log_sum_exp[i], chosen + mean,
                                  at(slopes->d_entropy, i),
                                  slopes->d_entropy == NULL ? 0.0f : slopes->result->entropy[i],
                                  mean / (float)slopes->vocabulary};
        slopes->kernels->head_slope(slopes->n, &slope, z);
        if (slopes->target != NULL) {
            int64_t target = slopes->target[i] - slopes->v0;
            if (target >= 0 && target < slopes->n)
                z[target] += chosen * slopes->inverse_temperature;
        }
    }
}

/* Room for one chunk. */
struct chunk {
    float *logits, *hidden, *dhidden; /* [ROWS][BLOCK], [ROWS][d], [ROWS][d] */
    int64_t *active;                  /* [ROWS] */
};

static rlhf_status reserve(rlhf_context *context, int64_t rows, int64_t d, struct chunk *chunk)
{
    rlhfi_compute *compute = rlhfi_compute_of(context);
    size_t most = (size_t)(rows < ROWS ? rows : ROWS);

    RLHFI_TRY(rlhfi_buffer_reserve(context, &compute->tile, most * BLOCK));
    RLHFI_TRY(rlhfi_buffer_reserve(context, &compute->gathered, 2 * most * (size_t)d));
    RLHFI_TRY(rlhfi_buffer_reserve(context, &compute->index, 2 * most));
    chunk->logits = compute->tile.data;
    chunk->hidden = compute->gathered.data;
    chunk->dhidden = chunk->hidden + most * (size_t)d;
    chunk->active = (int64_t *)(void *)compute->index.data;
    return RLHF_OK;
}

/* All blocks of the vocabulary for the chunk's `rows` active rows. */
static rlhf_status sweep(rlhf_context *context, const struct chunk *chunk, int64_t rows, int64_t d,
                         struct slopes *slopes, rlhfi_head_matrix matrix, float *dhidden, float *dweight)
{
    const bool rounded = matrix.rounded;

    for (int64_t v = 0; v < slopes->vocabulary; v += BLOCK) {
        slopes->v0 = v;
        slopes->n = slopes->vocabulary - v < BLOCK ? slopes->vocabulary - v : BLOCK;
        const rlhfi_array weight = rlhfi_array_at(matrix.weight, v * d), hidden = rlhfi_floats(chunk->hidden);
        RLHFI_TRY(rlhfi_product_either(context, rounded, RLHFI_NO, RLHFI_YES, rows, slopes->n, d, chunk->hidden, d,
                                       weight, d, NULL, 0, chunk->logits, BLOCK));
        rlhfi_parallel_ranges(context, rows, rlhfi_rows_per_piece(slopes->n, PIECE), slope_range, slopes);
        if (dhidden != NULL)
            RLHFI_TRY(rlhfi_product_either(context, rounded, RLHFI_NO, RLHFI_NO, rows, d, slopes->n, chunk->logits,
                                           BLOCK, weight, d, NULL, v > 0, chunk->dhidden, d));
        if (dweight != NULL)
            RLHFI_TRY(rlhfi_product_either(context, rounded, RLHFI_YES, RLHFI_NO, slopes->n, d, rows, chunk->logits,
                                           BLOCK, hidden, d, NULL, 1, dweight + v * d, d));
    }
    return RLHF_OK;
}

rlhf_status rlhfi_head_backward(rlhf_context *context, int64_t rows, int64_t d, int64_t vocabulary, const float *hidden,
                                const int64_t *row, rlhfi_head_matrix matrix, const int32_t *target,
                                float inverse_temperature, const rlhfi_head_result *result, const float *d_log_prob,
                                const float *d_entropy, const float *d_mean_log_prob, float *dhidden, float *dweight)
{
    const rlhfi_kernels *kernels = rlhfi_kernels_of(context);
    struct slopes slopes = {.kernels = kernels, .vocabulary = vocabulary, .target = target,
                            .inverse_temperature = inverse_temperature, .result = result, .d_log_prob = d_log_prob,
                            .d_entropy = d_entropy, .d_mean_log_prob = d_mean_log_prob};
    struct chunk chunk;

    RLHFI_REQUIRE(context, d > 0 && vocabulary > 0 && vocabulary <= INT32_MAX && inverse_temperature > 0.0f);
    RLHFI_REQUIRE(context, result->log_sum_exp != NULL && (d_entropy == NULL || result->entropy != NULL));
    RLHFI_REQUIRE(context, target != NULL || d_log_prob == NULL);
    RLHFI_REQUIRE(context, matrix.weight.f32 != NULL || matrix.rounded);
    if (rows <= 0 || (dhidden == NULL && dweight == NULL))
        return RLHF_OK;
    RLHFI_TRY(reserve(context, rows, d, &chunk));
    slopes.active = chunk.active;
    slopes.logits = chunk.logits;

    for (int64_t i = 0; i < rows;) {
        int64_t count = 0;
        for (; i < rows && count < ROWS; i++) {
            if (at(d_log_prob, i) == 0.0f && at(d_entropy, i) == 0.0f && at(d_mean_log_prob, i) == 0.0f)
                continue;
            memcpy(chunk.hidden + count * d, hidden + (row == NULL ? i : row[i]) * d, (size_t)d * sizeof(float));
            chunk.active[count++] = i;
        }
        if (count == 0)
            break;
        RLHFI_TRY(sweep(context, &chunk, count, d, &slopes, matrix, dhidden, dweight));
        for (int64_t r = 0; dhidden != NULL && r < count; r++) {
            int64_t to = row == NULL ? chunk.active[r] : row[chunk.active[r]];
            kernels->add(d, dhidden + to * d, chunk.dhidden + r * d);
        }
    }
    return RLHF_OK;
}
