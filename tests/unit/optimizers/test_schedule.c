/* Learning-rate schedules against transformers' formulas, evaluated with the C library here. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "optimizers/optimizers.h"

static rlhf_optimizer_options options(int32_t schedule, uint64_t warmup, uint64_t total, double rate, double least)
{
    rlhf_optimizer_options made;

    rlhf_optimizer_options_init(&made, sizeof made);
    made.schedule = schedule;
    made.warmup_steps = warmup;
    made.total_steps = total;
    made.learning_rate = rate;
    made.min_lr_rate = least;
    return made;
}

#define assert_close(got, wanted) assert_true(fabs((got) - (wanted)) <= 1e-15 * fmax(1, fabs(wanted)))

static void linear_falls_to_zero(void **state)
{
    rlhf_optimizer_options made = options(RLHF_SCHEDULE_LINEAR, 0, 5, 0.5, 0);

    for (uint64_t step = 0; step < 5; step++)
        assert_close(rlhfi_schedule(&made, step), 0.5 * (1 - (double)step / 5));
    assert_true(rlhfi_schedule(&made, 5) == 0);
    assert_true(rlhfi_schedule(&made, 1000) == 0);
    made.warmup_steps = 2;
    assert_true(rlhfi_schedule(&made, 0) == 0); /* the first warm-up step does nothing */
    assert_close(rlhfi_schedule(&made, 1), 0.25);
    assert_close(rlhfi_schedule(&made, 2), 0.5);
    assert_close(rlhfi_schedule(&made, 3), 0.5 * 2 / 3);
    assert_close(rlhfi_schedule(&made, 4), 0.5 / 3);
    made.min_lr_rate = 0.1;
    assert_close(rlhfi_schedule(&made, 4), 0.5 * (0.9 / 3 + 0.1));
    assert_close(rlhfi_schedule(&made, 5), 0.05);
}

static void cosine_falls_along_half_a_wave(void **state)
{
    for (uint64_t warmup = 0; warmup <= 30; warmup += 10) {
        rlhf_optimizer_options made = options(RLHF_SCHEDULE_COSINE, warmup, 137, 3, 0);
        for (uint64_t step = 0; step <= 137; step++) {
            double progress = (double)(step - warmup) / (double)(137 - warmup);
            double factor = step < warmup ? (double)step / (double)warmup : 0.5 * (1 + cos(acos(-1) * progress));
            made.min_lr_rate = 0;
            assert_close(rlhfi_schedule(&made, step), 3 * factor);
            made.min_lr_rate = 0.25;
            assert_close(rlhfi_schedule(&made, step), 3 * (step < warmup ? factor : factor * 0.75 + 0.25));
        }
        assert_close(rlhfi_schedule(&made, 1000), 0.75); /* it stays, where a cosine would rise again */
    }
}

static void constant_stays(void **state)
{
    rlhf_optimizer_options made = options(RLHF_SCHEDULE_CONSTANT, 0, 10, 0.5, 0);

    for (uint64_t step = 0; step < 20; step++)
        assert_true(rlhfi_schedule(&made, step) == 0.5);
    made.warmup_steps = 4;
    assert_close(rlhfi_schedule(&made, 1), 0.125);
    assert_true(rlhfi_schedule(&made, 4) == 0.5);
    made = options(RLHF_SCHEDULE_COSINE, 0, 0, 0.5, 0); /* no end was told */
    assert_true(rlhfi_schedule(&made, 99) == 0.5);
    made = options(RLHF_SCHEDULE_LINEAR, 7, 7, 0.5, 0); /* nothing but warm-up */
    assert_close(rlhfi_schedule(&made, 6), 0.5 * 6 / 7);
    assert_true(rlhfi_schedule(&made, 7) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_falls_to_zero),
        cmocka_unit_test(cosine_falls_along_half_a_wave),
        cmocka_unit_test(constant_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
