/* The language-model head, forward: logits exist only as one tile of rows by one block of the vocabulary.
 *
 * Each row's log-sum-exp is made from parts, one per block of 1024 logits: the block's maximum and, relative to it,
 * sums by lanes. The parts are added up in double, blocks ascending, relative to the highest maximum so far. So
 * blocks can be computed anywhere and in any order, and logits that already stand in memory give the same bits. */
#include "compute/state.h"

enum {
    ROW_GROUP = RLHFI_HEAD_ROWS, /* whose parts are kept at a time */
    ROW_TILE = 48,    /* rows whose logits of one block are kept: 192 KB */
    FEW_BLOCKS = 8,   /* with fewer blocks the rows are cut too */
    ROW_PIECE = 96,
    INLINE_WORK = 1 << 20
};

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* Of the blocks so far: maximum of x = z * inverse_temperature, sums of e^(x - maximum), of that times (x -
 * maximum), of x; the highest z and where it first stands. */
typedef struct head_sums {
    double maximum, sum, weighted, plain;
    float highest;
    int32_t best;
} head_sums;

static void add_part(head_sums *sums, float inverse_temperature, const rlhfi_head_part *part, int32_t first)
{
    const double maximum = (double)(part->highest * inverse_temperature);

    sums->plain += (double)part->plain;
    if (sums->best < 0 || part->highest > sums->highest) {
        sums->best = first + part->best;
        sums->highest = part->highest;
    }
    if (maximum == -__builtin_inf() && part->plain == part->plain)
        return; /* all of the block's tokens are filtered out, none is NaN */
    if (maximum > sums->maximum) {
        double off = sums->maximum - maximum, factor = rlhfi_exp_double(off);
        if (sums->sum != 0.0)
            sums->weighted = (sums->weighted + off * sums->sum) * factor;
        sums->sum *= factor;
        sums->maximum = maximum;
    }
    double off = maximum - sums->maximum, factor = off == 0.0 ? 1.0 : rlhfi_exp_double(off);
    sums->sum += (double)part->sum * factor;
    sums->weighted += ((double)part->weighted + off * (double)part->sum) * factor;
}

static const head_sums no_sums = {.maximum = -__builtin_inf(), .best = -1};

/* Writes row i of the result. */
static void finish_row(const rlhfi_head_result *result, int64_t i, int64_t vocabulary, float inverse_temperature,
                       const head_sums *sums, float target_logit)
{
    const double log_sum = rlhfi_log_double(sums->sum), log_sum_exp = sums->maximum + log_sum;

    if (result->log_prob != NULL)
        result->log_prob[i] = (float)((double)(target_logit * inverse_temperature) - log_sum_exp);
    if (result->entropy != NULL)
        result->entropy[i] = (float)(log_sum - sums->weighted / sums->sum);
    if (result->mean_log_prob != NULL)
        result->mean_log_prob[i] = (float)(sums->plain / (double)vocabulary - log_sum_exp);
    if (result->best != NULL)
        result->best[i] = sums->best;
    if (result->log_sum_exp != NULL)
        result->log_sum_exp[i] = (float)log_sum_exp;
}

/* ---- from hidden states ------------------------------------------------------------------------------------------ */

struct head {
    const rlhfi_kernels *kernels;
    int64_t rows, d, vocabulary, blocks, piece; /* rows of this group; piece: rows of a task */
    const float *hidden;                        /* [rows,d], rounded [rows, steps of d] */
    rlhfi_array weight;
    enum rlhfi_form form;
    rlhfi_block_kernel product;
    const int32_t *target;                      /* NULL = none wanted */
    float inverse_temperature;
    bool want_best;
    rlhfi_head_part *part;                      /* [rows][blocks] */
    float *target_logit;                        /* [rows] */
    rlhfi_buffer *scratch;
};

size_t rlhfi_head_scratch(int64_t d)
{
    return (size_t)RLHFI_HEAD_BLOCK * (size_t)(d + 1) + (size_t)ROW_TILE * (RLHFI_HEAD_BLOCK + 16);
}

static void head_task(void *argument, int64_t index, int32_t worker)
{
    const struct head *head = argument;
    const int64_t block = index % head->blocks, first = index / head->blocks * head->piece, d = head->d;
    const int64_t steps = rlhfi_form_steps(head->form, d);
    const int64_t v0 = block * RLHFI_HEAD_BLOCK, n = smaller(RLHFI_HEAD_BLOCK, head->vocabulary - v0);
    const int64_t end = smaller(head->rows, first + head->piece), ld = RLHFI_HEAD_BLOCK + 16;
    float *panels = head->scratch[worker].data, *logits = panels + RLHFI_HEAD_BLOCK * steps;

    for (int64_t j = 0; j < n; j += RLHFI_PANEL) {
        const rlhfi_array from = rlhfi_array_at(head->weight, (v0 + j) * d);
        if (head->form == RLHFI_FLOATS)
            head->kernels->pack(1, d, smaller(RLHFI_PANEL, n - j), from.f32, d, panels + j * d);
        else
            head->kernels->pack_rounded(head->form, 1, d, smaller(RLHFI_PANEL, n - j), &from, d, panels + j * steps);
    }
    for (int64_t row = first; row < end; row += ROW_TILE) {
        rlhfi_block work = {.m = smaller(ROW_TILE, end - row), .n = n, .k = steps,
                            .a = head->hidden + row * steps, .a_row = steps, .a_step = 1, .b = panels,
                            .ldb = RLHFI_PANEL, .panel_stride = RLHFI_PANEL * steps, .c = logits, .ldc = ld};
        head->product(&work);
        for (int64_t r = 0; r < work.m; r++) {
            head->kernels->head_part(n, logits + r * ld, head->inverse_temperature, head->want_best,
                                     &head->part[(row + r) * head->blocks + block]);
            if (head->target != NULL) {
                int64_t at = head->target[row + r] - v0;
                if (at >= 0 && at < n)
                    head->target_logit[row + r] = logits[r * ld + at];
            }
        }
    }
}

rlhf_status rlhfi_head(rlhf_context *context, int64_t rows, int64_t d, int64_t vocabulary, const float *hidden,
                       const int64_t *row, rlhfi_head_matrix matrix, const int32_t *target, float inverse_temperature,
                       const rlhfi_head_result *result)
{
    rlhfi_compute *compute = rlhfi_compute_of(context);
    struct head head = {.kernels = rlhfi_kernels_of(context), .d = d, .vocabulary = vocabulary,
                        .blocks = rlhfi_head_blocks(vocabulary), .weight = matrix.weight,
                        .inverse_temperature = inverse_temperature, .want_best = result->best != NULL,
                        .scratch = compute->worker};
    const size_t part_floats = sizeof *head.part / sizeof(float);

    RLHFI_REQUIRE(context, d > 0 && vocabulary > 0 && vocabulary <= INT32_MAX && inverse_temperature > 0.0f);
    RLHFI_REQUIRE(context, target != NULL || result->log_prob == NULL);
    for (int64_t i = 0; target != NULL && i < rows; i++)
        RLHFI_REQUIRE(context, target[i] >= 0 && target[i] < vocabulary);
    RLHFI_REQUIRE(context, matrix.weight.f32 != NULL || matrix.rounded);
    if (matrix.rounded) {
        head.form = rlhfi_bf16_form(context, rows);
        RLHFI_TRY(rlhfi_buffer_reserve(context, &compute->rounded, (size_t)smaller(rows, ROW_GROUP) * (size_t)(d + 1)));
    }
    head.product = rlhfi_kernel_of_form(context, head.form);
    RLHFI_TRY(rlhfi_scratch_reserve(context, rlhfi_head_scratch(d)));
    RLHFI_TRY(rlhfi_buffer_reserve(context, &compute->tile,
                                   (size_t)smaller(rows, ROW_GROUP) * (1 + (size_t)head.blocks * part_floats)));
    if (row != NULL)
        RLHFI_TRY(rlhfi_buffer_reserve(context, &compute->gathered, (size_t)smaller(rows, ROW_GROUP) * (size_t)d));

    for (int64_t first = 0; first < rows; first += ROW_GROUP) {
        head.rows = smaller(ROW_GROUP, rows - first);
        head.target = target == NULL ? NULL : target + first;
        head.target_logit = compute->tile.data;
        head.part = (rlhfi_head_part *)(void *)(compute->tile.data + head.rows);
        head.hidden = row == NULL ? hidden + first * d : compute->gathered.data;
        for (int64_t i = 0; row != NULL && i < head.rows; i++)
            memcpy(compute->gathered.data + i * d, hidden + row[first + i] * d, (size_t)d * sizeof(float));
        if (matrix.rounded) {
            const rlhfi_array from = rlhfi_floats(head.hidden);
            int64_t steps = rlhfi_form_steps(head.form, d);
            head.kernels->round_rows(head.form, head.rows, d, &from, d, compute->rounded.data, steps);
            head.hidden = compute->rounded.data;
        }
        head.piece = head.blocks >= FEW_BLOCKS ? head.rows : ROW_PIECE;
        int64_t tasks = head.blocks * ((head.rows + head.piece - 1) / head.piece);
        if (2.0 * (double)head.rows * (double)vocabulary * (double)d < INLINE_WORK)
            for (int64_t i = 0; i < tasks; i++)
                head_task(&head, i, 0);
        else
            rlhfi_parallel(context, tasks, head_task, &head);
        for (int64_t i = 0; i < head.rows; i++) {
            head_sums sums = no_sums;
            for (int64_t block = 0; block < head.blocks; block++)
                add_part(&sums, inverse_temperature, &head.part[i * head.blocks + block],
                         (int32_t)(block * RLHFI_HEAD_BLOCK));
            finish_row(result, first + i, vocabulary, inverse_temperature, &sums,
                       target == NULL ? 0.0f : head.target_logit[i]);
        }
    }
    return RLHF_OK;
}

/* ---- from logits ------------------------------------------------------------------------------------------------- */

struct logits {
    const rlhfi_kernels *kernels;
    int64_t vocabulary, ld;
    const float *z;
    const int32_t *target;
    float inverse_temperature;
    const rlhfi_head_result *result;
};

static head_sums sums_of_row(const rlhfi_kernels *kernels, int64_t vocabulary, const float *z,
                                   float inverse_temperature, bool want_best)
{
    head_sums sums = no_sums;

    for (int64_t v = 0; v < vocabulary; v += RLHFI_HEAD_BLOCK) {
        rlhfi_head_part part;
        kernels->head_part(smaller(RLHFI_HEAD_BLOCK, vocabulary - v), z + v, inverse_temperature, want_best, &part);
        add_part(&sums, inverse_temperature, &part, (int32_t)v);
    }
    return sums;
}

static void logits_range(void *argument, int64_t first, int64_t end)
{
    const struct logits *logits = argument;

    for (int64_t i = first; i < end; i++) {
        const float *z = logits->z + i * logits->ld;
        head_sums sums = sums_of_row(logits->kernels, logits->vocabulary, z, logits->inverse_temperature,
                                           logits->result->best != NULL);
        finish_row(logits->result, i, logits->vocabulary, logits->inverse_temperature, &sums,
                   logits->target == NULL ? 0.0f : z[logits->target[i]]);
    }
}

void rlhfi_head_from_logits(rlhf_context *context, int64_t rows, int64_t vocabulary, const float *logits, int64_t ld,
                            const int32_t *target, float inverse_temperature, const rlhfi_head_result *result)
{
    struct logits work = {rlhfi_kernels_of(context), vocabulary, ld, logits, target, inverse_temperature, result};

    rlhfi_parallel_ranges(context, rows, rlhfi_rows_per_piece(vocabulary, 1 << 14), logits_range, &work);
}

void rlhfi_sampling_weights(const rlhf_context *context, int64_t n, const float *z, double top,
                            double inverse_temperature, double *weight)
{
    rlhfi_kernels_of(context)->sampling_weights(n, z, top, inverse_temperature, weight);
}

float rlhfi_softmax_row(rlhf_context *context, int64_t n, const float *z, float inverse_temperature, float *p)
{
    const rlhfi_kernels *kernels = rlhfi_kernels_of(context);
    head_sums sums = sums_of_row(kernels, n, z, inverse_temperature, false);

    kernels->exp_scaled(n, z, inverse_temperature, (float)sums.maximum, (float)(1.0 / sums.sum), p);
    return (float)(sums.maximum + rlhfi_log_double(sums.sum));
}
