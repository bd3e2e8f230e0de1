/* From one row of logits to one token: temperature, filters, and a draw from what they leave.
 *
 * A draw must be the same on every machine, so everything here is made of IEEE multiplications, additions and
 * comparisons in double, in an order that the vocabulary alone decides. The room's README tells it in mathematics. */
#include "generation/internal.h"

#include <float.h>
#include <math.h>

/* What the registers of the oldest x86-64 and of aarch64 hold. */
typedef double pair __attribute__((vector_size(2 * sizeof(double))));
typedef float quad __attribute__((vector_size(4 * sizeof(float))));
typedef int32_t quad_bits __attribute__((vector_size(4 * sizeof(int32_t))));
enum { LANES = 8, BLOCK = 64 };

static inline quad load(const float *logits)
{
    quad loaded;

    memcpy(&loaded, logits, sizeof loaded);
    return loaded;
}

static rlhf_status largest(const float *logits, int64_t vocabulary, float *top)
{
    quad best = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
    quad_bits usable = {-1, -1, -1, -1};
    bool good;
    int64_t i = 0;

    for (; i + 4 <= vocabulary; i += 4) {
        quad next = load(logits + i);
        quad_bits larger = next > best;

        usable &= next <= FLT_MAX; /* neither NaN nor +infinity */
        best = (quad)(((quad_bits)next & larger) | ((quad_bits)best & ~larger));
    }
    good = usable[0] && usable[1] && usable[2] && usable[3];
    *top = -INFINITY;
    for (int j = 0; j < 4; j++)
        *top = best[j] > *top ? best[j] : *top;
    for (; i < vocabulary; i++) {
        good = good && logits[i] <= FLT_MAX;
        *top = logits[i] > *top ? logits[i] : *top;
    }
    if (!good)
        return RLHF_E_NONFINITE;
    return *top == -INFINITY ? RLHF_E_INVAL : RLHF_OK;
}

static int32_t first_equal(const float *logits, float top)
{
    int32_t token = 0;

    while (logits[token] != top)
        token++;
    return token;
}

/* Sum of at most BLOCK weights: lane j takes places i with i % LANES == j, then a fixed tree. */
static double block_sum(const double *weight, int64_t count)
{
    double lane[LANES] = {0};
    pair sum[LANES / 2] = {{0}};
    int64_t i = 0;

    for (; i + LANES <= count; i += LANES)
        for (int j = 0; j < LANES / 2; j++) {
            pair next;
            memcpy(&next, weight + i + 2 * j, sizeof next);
            sum[j] += next;
        }
    memcpy(lane, sum, sizeof lane);
    for (; i < count; i++)
        lane[i % LANES] += weight[i];
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

static int64_t block_size(int64_t vocabulary, int64_t begin)
{
    return vocabulary - begin < BLOCK ? vocabulary - begin : BLOCK;
}

double rlhfi_sampler_total(const double *weight, int64_t vocabulary)
{
    double total = 0;

    for (int64_t i = 0; i < vocabulary; i += BLOCK)
        total += block_sum(weight + i, block_size(vocabulary, i));
    return total;
}

/* ---- filters, in the order of transformers: top-k, top-p, min-p -------------------------------------------------- */

/* Whole numbers that stand in the order of the logits; 0 and -0 are one. */
static uint32_t sort_key(float logit)
{
    float same = logit + 0.0f;
    uint32_t bits;

    memcpy(&bits, &same, sizeof bits);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/* Key of the k-th largest logit, byte by byte from the top: four passes over the vocabulary, whatever it holds. */
static uint32_t kth_largest(const float *logits, int64_t vocabulary, int64_t k)
{
    uint32_t found = 0, known = 0; /* bits of the answer, and which of them are decided */

    for (int shift = 24; shift >= 0; shift -= 8) {
        int64_t count[256] = {0};
        uint32_t byte = 255;

        for (int64_t i = 0; i < vocabulary; i++) {
            uint32_t key = sort_key(logits[i]);
            count[key >> shift & 255] += (key & known) == found;
        }
        for (; k > count[byte]; byte--)
            k -= count[byte];
        found |= byte << shift;
        known |= 255u << shift;
    }
    return found;
}

/* Whatever equals the k-th largest stays. */
static void keep_top_k(const float *logits, int64_t vocabulary, int64_t k, double *weight)
{
    uint32_t least;

    if (k >= vocabulary)
        return;
    least = kth_largest(logits, vocabulary, k);
    for (int64_t i = 0; i < vocabulary; i++)
        if (sort_key(logits[i]) < least)
            weight[i] = 0;
}

/* Heavier first, the smaller id first among equals. */
static bool before(const double *weight, int32_t a, int32_t b)
{
    return weight[a] > weight[b] || (weight[a] == weight[b] && a < b);
}

static void sift_down(const double *weight, int32_t *heap, int64_t size, int64_t hole)
{
    int32_t moved = heap[hole];

    for (int64_t child = 2 * hole + 1; child < size; child = 2 * hole + 1) {
        if (child + 1 < size && before(weight, heap[child + 1], heap[child]))
            child++;
        if (!before(weight, heap[child], moved))
            break;
        heap[hole] = heap[child];
        hole = child;
    }
    heap[hole] = moved;
}

/* A token stays while those before it hold less than top_p of the mass: the same as transformers' rule, which adds up
 * from the small end and drops until 1 - top_p. Only the tokens that stay are sorted, by taking them off a heap, and
 * most others never get that far: with weight * n <= (1 - top_p) * total, all that is no heavier holds too little. */
static void keep_top_p(int64_t vocabulary, double top_p, double *weight, int32_t *heap)
{
    double total = rlhfi_sampler_total(weight, vocabulary), mass = 0;
    double small = (1 - top_p) * total / (double)vocabulary;
    int64_t size = 0;

    for (int64_t i = 0; i < vocabulary; i++) {
        if (weight[i] > small)
            heap[size++] = (int32_t)i;
        else
            weight[i] = 0;
    }
    for (int64_t i = size / 2 - 1; i >= 0; i--)
        sift_down(weight, heap, size, i);
    while (size > 0 && mass < top_p * total) {
        mass += weight[heap[0]];
        heap[0] = heap[--size];
        if (size > 0)
            sift_down(weight, heap, size, 0);
    }
    for (int64_t i = 0; i < size; i++)
        weight[heap[i]] = 0;
}

static void keep_min_p(int64_t vocabulary, double min_p, double *weight)
{
    for (int64_t i = 0; i < vocabulary; i++)
        if (weight[i] < min_p) /* the largest weight is 1 */
            weight[i] = 0;
}

rlhf_status rlhfi_sampler_weights(const rlhf_context *context, const float *logits, int64_t vocabulary,
                                  const rlhf_rollout_options *options, const rlhfi_sampler_scratch *scratch)
{
    double *weight = scratch->probability;
    float top;

    RLHFI_TRY(largest(logits, vocabulary, &top));
    if (options->temperature == 0) {
        memset(weight, 0, (size_t)vocabulary * sizeof *weight);
        weight[first_equal(logits, top)] = 1;
        return RLHF_OK;
    }
    rlhfi_sampling_weights(context, vocabulary, logits, (double)top, 1 / options->temperature, weight);
    if (options->top_k > 0)
        keep_top_k(logits, vocabulary, options->top_k, weight);
    if (options->top_p < 1)
        keep_top_p(vocabulary, options->top_p, weight, scratch->order);
    if (options->min_p > 0)
        keep_min_p(vocabulary, options->min_p, weight);
    return RLHF_OK;
}

/* ---- the draw ---------------------------------------------------------------------------------------------------- */

/* The first id at which the sum of the weights so far exceeds u * total: block by block, then inside one block. */
static int32_t draw(const double *weight, int64_t vocabulary, double u)
{
    double target = u * rlhfi_sampler_total(weight, vocabulary), sum = 0;
    int64_t end = vocabulary;

    for (int64_t begin = 0; begin < vocabulary; begin += BLOCK) {
        int64_t size = block_size(vocabulary, begin);
        double behind = sum + block_sum(weight + begin, size);

        if (behind > target) {
            end = begin + size;
            for (int64_t i = begin; i < end; i++) {
                sum += weight[i];
                if (sum > target)
                    return (int32_t)i;
            }
            break;
        }
        sum = behind;
    }
    /* Rounding left a crumb behind the last possible token. */
    while (weight[end - 1] == 0)
        end--;
    return (int32_t)(end - 1);
}

rlhf_status rlhfi_sample(const rlhf_context *context, const float *logits, int64_t vocabulary,
                         const rlhf_rollout_options *options, double u, const rlhfi_sampler_scratch *scratch,
                         int32_t *token)
{
    float top;
    rlhf_status status;

    if (options->temperature == 0) {
        status = largest(logits, vocabulary, &top);
        if (status == RLHF_OK)
            *token = first_equal(logits, top);
    } else {
        status = rlhfi_sampler_weights(context, logits, vocabulary, options, scratch);
        if (status == RLHF_OK)
            *token = draw(scratch->probability, vocabulary, u);
    }
    return status;
}

void rlhfi_sampler_forbid(float *logits, const int32_t *tokens, int32_t count)
{
    for (int32_t i = 0; i < count; i++)
        logits[tokens[i]] = -INFINITY;
}

const char *rlhfi_sampler_problem(rlhf_status status)
{
    return status == RLHF_E_NONFINITE ? "NaN or infinity among them" : "no token is possible";
}
