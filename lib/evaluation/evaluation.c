/* What came out of a run, with error bars. Most functions have no context, so they work without memory of their own and
 * may be called from anywhere; sums run in ascending order in double. */
#include "core/core.h"
#include "compute/compute.h"
#include "data/data.h"
#include "objectives/objectives.h"

#include <rlhf/batch.h>
#include <rlhf/evaluation.h>
#include <rlhf/reference.h>
#include <rlhf/rollout.h>

#include <math.h>

/* ---- mean and standard error ------------------------------------------------------------------------------------- */

/* Numbers as they come: the mean so far and the sum of squares around it (Welford 1962). */
typedef struct gathering {
    double mean, squares;
    int64_t count;
} gathering;

static void gather(gathering *all, double value)
{
    double from_old = value - all->mean;

    all->count++;
    all->mean += from_old / (double)all->count;
    all->squares += from_old * (value - all->mean);
}

/* One number has no error bar and none has no mean: NaN says so. */
static rlhf_estimate estimate(const gathering *all)
{
    double count = (double)all->count;

    return (rlhf_estimate){
        .mean = all->count > 0 ? all->mean : NAN,
        .standard_error = all->count > 1 ? sqrt(all->squares / (count - 1) / count) : NAN,
        .count = all->count,
    };
}

rlhf_status rlhf_evaluate_mean(const double *value, int64_t count, rlhf_estimate *out)
{
    gathering all = {0};

    if (out == NULL || value == NULL || count < 0)
        return RLHF_E_INVAL;
    for (int64_t i = 0; i < count; i++)
        if (!isnan(value[i]))
            gather(&all, value[i]);
    *out = estimate(&all);
    return RLHF_OK;
}

/* ---- KL to the reference ----------------------------------------------------------------------------------------- */

rlhf_status rlhf_evaluate_kl(const rlhf_rollout *rollout, rlhf_reference *reference, double temperature,
                             int32_t estimator, rlhf_estimate *out)
{
    rlhf_rollout_view view = {.struct_size = sizeof view};
    rlhf_batch *batch = NULL;
    rlhf_context *context = NULL;
    float *log_prob_ref = NULL;
    gathering all = {0};
    rlhf_status status;

    if (out != NULL)
        *out = (rlhf_estimate){.mean = NAN, .standard_error = NAN};
    if (rollout == NULL || reference == NULL || out == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(rlhf_rollout_batch(rollout, &batch));
    context = rlhfi_batch_context(batch);
    if (estimator < 1 || estimator > 3) {
        status = rlhfi_fail(context, RLHF_E_INVAL, "estimator: %d, must be 1, 2 or 3", (int)estimator);
        goto done;
    }
    RLHFI_GOTO(rlhf_rollout_get(rollout, &view));
    log_prob_ref = rlhfi_alloc_array(context, (size_t)view.response_offset[view.rows], sizeof *log_prob_ref);
    if (log_prob_ref == NULL) {
        status = RLHF_E_NOMEM;
        goto done;
    }
    RLHFI_GOTO(rlhf_reference_log_probs(reference, batch, temperature, log_prob_ref));
    for (int64_t row = 0; row < view.rows; row++) {
        double sum = 0;

        for (int64_t t = view.response_offset[row]; t < view.response_offset[row + 1]; t++)
            sum += rlhfi_kl_estimate(estimator, (double)view.log_prob[t] - (double)log_prob_ref[t]);
        gather(&all, sum);
    }
    *out = estimate(&all);
done:
    rlhfi_free(context, log_prob_ref);
    rlhf_batch_release(&batch);
    return status;
}

/* ---- best-of-n --------------------------------------------------------------------------------------------------- */

/* Of N samples, those of proxy score below sample i are L, those equal to it (itself included) T. A draw of n without
 * repetition has its best inside the tied block with probability (C(L+T,n) - C(L,n)) / C(N,n); every member of the
 * block gets an equal share of it. That is WebGPT's estimator, ties averaged, without sorting and without memory. */
static void count_below(const double *proxy, int64_t samples, int64_t i, int64_t *below, int64_t *tied)
{
    *below = *tied = 0;
    for (int64_t j = 0; j < samples; j++) {
        *below += proxy[j] < proxy[i];
        *tied += proxy[j] == proxy[i];
    }
}

/* Adds sample i's share to expected[n - 1] for n = first+1..first+count. */
static void add_shares(const double *proxy, double gold, int64_t samples, int64_t i, int64_t first, int64_t count,
                       double *expected)
{
    int64_t below, tied;
    double lower = 1, upper = 1; /* C(L,n)/C(N,n) and C(L+T,n)/C(N,n), as products over the n draws */

    count_below(proxy, samples, i, &below, &tied);
    for (int64_t n = 1; n <= first + count; n++) {
        double left = (double)(samples - n + 1);

        lower *= below - n + 1 > 0 ? (double)(below - n + 1) / left : 0;
        upper *= below + tied - n + 1 > 0 ? (double)(below + tied - n + 1) / left : 0;
        if (n > first)
            expected[n - first - 1] += gold * ((upper - lower) / (double)tied);
    }
}

rlhf_status rlhf_evaluate_best_of_n(const double *proxy, const double *gold, int64_t prompts, int64_t samples,
                                    rlhf_estimate *curve)
{
    enum { PIECE = 256 }; /* points of the curve at a time: what the stack holds */

    if (proxy == NULL || gold == NULL || curve == NULL || prompts < 1 || samples < 1 || prompts > INT64_MAX / samples)
        return RLHF_E_INVAL;
    for (int64_t i = 0; i < prompts * samples; i++)
        if (isnan(proxy[i]) || !isfinite(gold[i]))
            return RLHF_E_INVAL;
    for (int64_t first = 0; first < samples; first += PIECE) {
        int64_t count = samples - first < PIECE ? samples - first : PIECE;
        gathering all[PIECE] = {{0}};

        for (int64_t p = 0; p < prompts; p++) {
            double expected[PIECE] = {0};

            for (int64_t i = 0; i < samples; i++)
                add_shares(proxy + p * samples, gold[p * samples + i], samples, i, first, count, expected);
            for (int64_t n = 0; n < count; n++)
                gather(&all[n], expected[n]);
        }
        for (int64_t n = 0; n < count; n++)
            curve[first + n] = estimate(&all[n]);
    }
    return RLHF_OK;
}

double rlhf_evaluate_best_of_n_kl(int64_t n)
{
    return n < 1 ? NAN : rlhfi_log_double((double)n) - (double)(n - 1) / (double)n;
}

/* ---- calibration ------------------------------------------------------------------------------------------------- */

/* Pairs by their confidence sigma(|a h|) in bins of equal width on [0.5, 1]. */
typedef struct reliability {
    double confidence[RLHF_CALIBRATION_BINS], correct[RLHF_CALIBRATION_BINS];
    int64_t pairs[RLHF_CALIBRATION_BINS];
    double error;                /* expected calibration error */
} reliability;

static double share_correct(double h)
{
    return h > 0 ? 1 : h == 0 ? 0.5 : 0;
}

static void measure_reliability(const double *chosen, const double *rejected, int64_t pairs, double a,
                                reliability *out)
{
    *out = (reliability){0};
    for (int64_t i = 0; i < pairs; i++) {
        double h = chosen[i] - rejected[i], confidence = rlhfi_sigmoid(fabs(a * h));
        int bin = (int)((confidence - 0.5) * (2 * RLHF_CALIBRATION_BINS));

        if (bin >= RLHF_CALIBRATION_BINS)
            bin = RLHF_CALIBRATION_BINS - 1;
        out->confidence[bin] += confidence;
        out->correct[bin] += share_correct(h);
        out->pairs[bin]++;
    }
    for (int bin = 0; bin < RLHF_CALIBRATION_BINS; bin++) {
        out->error += fabs(out->correct[bin] - out->confidence[bin]) / (double)pairs;
        out->confidence[bin] = out->pairs[bin] > 0 ? out->confidence[bin] / (double)out->pairs[bin] : NAN;
        out->correct[bin] = out->pairs[bin] > 0 ? out->correct[bin] / (double)out->pairs[bin] : NAN;
    }
}

/* The a in [0, limit] that minimises sum softplus(-a h): the sum is convex, its slope is -sum h sigma(-a h) and its
 * curvature sum h^2 sigma(a h) sigma(-a h). Newton's steps, halved intervals where they lead outside. */
static double fit_scale(const double *chosen, const double *rejected, int64_t pairs, double limit)
{
    double low = 0, high = limit, a = 1 < limit ? 1 : limit / 2;

    for (int round = 0; round < 200 && high - low > 1e-15 * high; round++) {
        double slope = 0, curvature = 0, next;

        for (int64_t i = 0; i < pairs; i++) {
            double h = chosen[i] - rejected[i], wrong = rlhfi_sigmoid(-a * h);

            slope -= h * wrong;
            curvature += h * h * wrong * (1 - wrong);
        }
        if (slope == 0)
            return a;
        if (slope < 0)
            low = a;
        else
            high = a;
        next = a - slope / curvature;
        if (!(next > low && next < high)) /* also for a curvature of 0 */
            next = low + (high - low) / 2;
        if (next == a)
            return a;
        a = next;
    }
    return a;
}

rlhf_status rlhf_evaluate_calibration(const double *chosen, const double *rejected, int64_t pairs,
                                      rlhf_calibration *out)
{
    enum { STEEPEST = 1000 };
    gathering accuracy = {0};
    double likelihood = 0, brier = 0, size = 0, mean = 0;
    reliability before, after;
    rlhf_estimate share;

    if (chosen == NULL || rejected == NULL || out == NULL || out->struct_size < sizeof *out || pairs < 1)
        return RLHF_E_INVAL;
    for (int64_t i = 0; i < pairs; i++)
        if (!isfinite(chosen[i] - rejected[i]))
            return RLHF_E_NONFINITE;
    for (int64_t i = 0; i < pairs; i++) {
        double h = chosen[i] - rejected[i], wrong = rlhfi_sigmoid(-h);

        gather(&accuracy, share_correct(h));
        likelihood += rlhfi_softplus(-h);
        brier += wrong * wrong;
        mean += h / (double)pairs;
        size += fabs(h) / (double)pairs;
    }
    share = estimate(&accuracy);
    out->bins = RLHF_CALIBRATION_BINS;
    out->accuracy = share.mean;
    out->accuracy_standard_error = share.standard_error;
    out->negative_log_likelihood = likelihood / (double)pairs;
    out->brier = brier / (double)pairs;
    /* At a = 0 the slope is -mean / 2: scores that point the wrong way are best ignored. */
    if (size == 0)
        out->temperature = 1;
    else
        out->temperature = mean > 0 ? fit_scale(chosen, rejected, pairs, STEEPEST / size) : 0;
    measure_reliability(chosen, rejected, pairs, 1, &before);
    measure_reliability(chosen, rejected, pairs, out->temperature, &after);
    out->expected_calibration_error = before.error;
    out->calibrated_error = after.error;
    memcpy(out->confidence, before.confidence, sizeof out->confidence);
    memcpy(out->correct, before.correct, sizeof out->correct);
    memcpy(out->pairs, before.pairs, sizeof out->pairs);
    return RLHF_OK;
}

/* ---- win rate ---------------------------------------------------------------------------------------------------- */

/* NaN if one side could not be scored. */
static double win(double a, double b)
{
    return isnan(a) || isnan(b) ? NAN : share_correct(a == b ? 0 : a > b ? 1 : -1);
}

/* Win rate among prompts drawn with repetition; NaN if none of those drawn counts. */
static double resampled_rate(const double *a, const double *b, int64_t count, uint64_t seed, uint32_t resampling)
{
    double wins = 0;
    int64_t counted = 0;

    for (int64_t i = 0; i < count; i++) {
        double u = rlhfi_uniform(seed, RLHFI_RANDOM_BOOTSTRAP, resampling, 0, (uint32_t)i);
        int64_t drawn = (int64_t)(u * (double)count);
        double outcome = win(a[drawn], b[drawn]);

        if (!isnan(outcome)) {
            wins += outcome;
            counted++;
        }
    }
    return counted > 0 ? wins / (double)counted : NAN;
}

rlhf_status rlhf_evaluate_win_rate(const double *a, const double *b, int64_t count, uint64_t seed, rlhf_estimate *out)
{
    enum { RESAMPLINGS = 1000 };
    gathering wins = {0}, rates = {0};

    if (a == NULL || b == NULL || out == NULL || count < 0 || count > UINT32_MAX)
        return RLHF_E_INVAL;
    for (int64_t i = 0; i < count; i++) {
        double outcome = win(a[i], b[i]);

        if (!isnan(outcome))
            gather(&wins, outcome);
    }
    *out = estimate(&wins);
    if (wins.count < 2)
        return RLHF_OK;
    for (uint32_t resampling = 0; resampling < RESAMPLINGS; resampling++) {
        double rate = resampled_rate(a, b, count, seed, resampling);

        if (!isnan(rate))
            gather(&rates, rate);
    }
    /* The spread of the resampled rates is the error of the rate itself. */
    out->standard_error = sqrt(rates.squares / (double)(rates.count - 1));
    return RLHF_OK;
}
