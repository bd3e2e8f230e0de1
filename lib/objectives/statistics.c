/* Numbers about numbers, and the functions of algorithms.md 1.3 in the form that neither overflows nor cancels. */
#include "objectives/builtin.h"
#include "compute/compute.h"

#include <math.h>

#define LN2 0.693147180559945309417232121458

double rlhfi_range_sum(const double *x, int64_t from, int64_t to)
{
    double sum = 0;

    for (int64_t i = from; i < to; i++)
        sum += x[i];
    return sum;
}

double rlhfi_clamp(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

double rlhfi_ratio(double log_prob, double log_prob_old, bool *inside)
{
    const double limit = 20; /* as OpenRLHF and verl */
    double difference = log_prob - log_prob_old;

    *inside = difference >= -limit && difference <= limit;
    return rlhfi_exp_double(rlhfi_clamp(difference, -limit, limit));
}

double rlhfi_mean(const double *x, int64_t count)
{
    return count > 0 ? rlhfi_range_sum(x, 0, count) / (double)count : 0;
}

double rlhfi_variance(const double *x, int64_t count, bool population)
{
    double mean, squares = 0;

    if (count < (population ? 1 : 2))
        return 0;
    mean = rlhfi_mean(x, count);
    for (int64_t i = 0; i < count; i++)
        squares += (x[i] - mean) * (x[i] - mean);
    return squares / (double)(population ? count : count - 1);
}

void rlhfi_whiten(double *x, int64_t count, bool shift_mean, bool population)
{
    double mean = rlhfi_mean(x, count);
    double deviation = sqrt(rlhfi_variance(x, count, population) + 1e-8);

    /* The mean comes back unscaled: this is not a plain division by the deviation. */
    for (int64_t i = 0; i < count; i++)
        x[i] = (x[i] - mean) / deviation + (shift_mean ? 0 : mean);
}

double rlhfi_softplus(double x)
{
    return (x > 0 ? x : 0) + rlhfi_log1p_double(rlhfi_exp_double(-fabs(x)));
}

double rlhfi_log_sigmoid(double x)
{
    return -rlhfi_softplus(-x);
}

double rlhfi_sigmoid(double x)
{
    double small = rlhfi_exp_double(-fabs(x));

    return x >= 0 ? 1 / (1 + small) : small / (1 + small);
}

double rlhfi_log1mexp(double x)
{
    return x > -LN2 ? rlhfi_log_double(-rlhfi_expm1_double(x)) : rlhfi_log1p_double(-rlhfi_exp_double(x));
}

/* exp(-d) - 1 + d. Near 0 the two large terms cancel, so there it is its series, d^2/2 - d^3/6 + ... */
static double k3(double d)
{
    double sum = 0;

    if (fabs(d) >= 0.0625)
        return rlhfi_expm1_double(-d) + d;
    for (int n = 10; n >= 3; n--)
        sum = (sum + 1) * -d / n;
    return d * d / 2 * (sum + 1);
}

double rlhfi_kl_estimate(int estimator, double difference)
{
    if (estimator == 1)
        return difference;
    return estimator == 2 ? difference * difference / 2 : k3(difference);
}
