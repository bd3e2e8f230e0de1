/* Evaluation: what came out, with error bars. Plain numbers in, plain numbers out. */
#ifndef RLHF_EVALUATION_H
#define RLHF_EVALUATION_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rlhf_estimate {
    double mean;
    double standard_error;
    int64_t count;
} rlhf_estimate;

/** Computes mean and standard error of numbers; NaN entries are left out and not counted.
 *  shapes value [count]    owner yours    null INVAL    errors INVAL    threads safe    since 0.1 */
RLHF_API rlhf_status rlhf_evaluate_mean(const double *value, int64_t count, rlhf_estimate *out);

/** Estimates the sequence KL to a reference in nats, mean over a rollout's rows, from its own log-probabilities:
 *  estimator 1 = k1 (unbiased), 2 = k2, 3 = k3, summed over each response.
 *  owner yours    null INVAL    errors INVAL, and as rlhf_reference_log_probs    threads the context's    since 0.1
 *  source Schulman 2020 */
RLHF_API rlhf_status rlhf_evaluate_kl(const rlhf_rollout *rollout, rlhf_reference *reference, double temperature,
                                      int32_t estimator, rlhf_estimate *out);

/** Estimates, without bias, the gold score of the best of n by proxy, for n = 1..samples, from each prompt's samples.
 *  shapes   proxy, gold [prompts*samples]; curve [samples]; ties share their gold scores' mean
 *  owner    yours    null  INVAL    errors  INVAL (also for NaN among the scores and infinite gold)
 *  threads  safe    since 0.1    source  WebGPT, 2112.09332, appendix */
RLHF_API rlhf_status rlhf_evaluate_best_of_n(const double *proxy, const double *gold, int64_t prompts, int64_t samples,
                                             rlhf_estimate *curve);

/** Returns an upper bound of the KL of best-of-n to its sampler, log n - (n-1)/n nats.
 *  owner -    null -    errors none (NaN for n < 1)    threads safe    since 0.1    source 2401.01879 */
RLHF_API double rlhf_evaluate_best_of_n_kl(int64_t n);

enum { RLHF_CALIBRATION_BINS = 10 };
typedef struct rlhf_calibration {
    uint32_t struct_size;
    int32_t bins;                       /* RLHF_CALIBRATION_BINS of equal width on [0.5, 1] */
    double accuracy;                    /* ties count half */
    double accuracy_standard_error;
    double negative_log_likelihood;     /* mean softplus(-h) */
    double brier;
    double expected_calibration_error;
    double temperature;                 /* a that minimises mean softplus(-a h): above 1 = too humble */
    double calibrated_error;            /* expected_calibration_error of a h */
    double confidence[10];              /* mean confidence per bin, NaN if empty */
    double correct[10];                 /* share of correct pairs per bin */
    int64_t pairs[10];
} rlhf_calibration;

/** Measures the calibration of a reward model on pairs: h = chosen - rejected.
 *  shapes [pairs]    owner yours    null INVAL    errors INVAL, NONFINITE    threads safe    since 0.1 */
RLHF_API rlhf_status rlhf_evaluate_calibration(const double *chosen, const double *rejected, int64_t pairs,
                                               rlhf_calibration *out);

/** Computes the share of prompts on which a beats b (ties half; NaN: not counted), with its standard error from 1000
 *  bootstrap resamplings.
 *  shapes a, b [count]    owner yours    null INVAL    errors INVAL    threads safe    repeat depends on seed
 *  since 0.1 */
RLHF_API rlhf_status rlhf_evaluate_win_rate(const double *a, const double *b, int64_t count, uint64_t seed,
                                            rlhf_estimate *out);

#ifdef __cplusplus
}
#endif
#endif
