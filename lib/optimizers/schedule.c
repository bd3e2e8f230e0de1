/* Learning-rate schedules, as transformers computes them: steps count from 0, the warm-up climbs from 0, and behind it
 * the factor falls to min_lr_rate (0 unless set) at total_steps, in a straight line or along half a cosine. */
#include "optimizers/optimizers.h"

/* cos(pi x) for x in [0, 1], by Taylor series on [0, pi/4]: the C library's cosine differs between releases, and
 * weights depend on every bit of the learning rate. */
static double cosine_of_pi(double x)
{
    const double pi = 3.14159265358979323846;
    double angle, square, sum = 1;

    if (x > 0.5)
        return -cosine_of_pi(1 - x);
    if (x > 0.25) {
        angle = pi * (0.5 - x);
        square = angle * angle;
        for (int n = 18; n >= 2; n -= 2)
            sum = 1 - sum * square / (n * (n + 1));
        return angle * sum;
    }
    angle = pi * x;
    square = angle * angle;
    for (int n = 17; n >= 1; n -= 2)
        sum = 1 - sum * square / (n * (n + 1));
    return sum;
}

double rlhfi_schedule(const rlhf_optimizer_options *options, uint64_t step)
{
    uint64_t warmup = options->warmup_steps, total = options->total_steps;
    double progress, factor;

    if (step < warmup)
        return options->learning_rate * ((double)step / (double)warmup);
    if (options->schedule == RLHF_SCHEDULE_CONSTANT || total == 0)
        return options->learning_rate;
    /* Behind the end the last value stays. */
    progress = step >= total ? 1 : (double)(step - warmup) / (double)(total - warmup);
    factor = options->schedule == RLHF_SCHEDULE_LINEAR ? 1 - progress : 0.5 * (1 + cosine_of_pi(progress));
    return options->learning_rate * (factor * (1 - options->min_lr_rate) + options->min_lr_rate);
}
