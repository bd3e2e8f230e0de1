/* Shared by the tests of this room. */
#ifndef EVALUATION_TEST_CHECKS_H
#define EVALUATION_TEST_CHECKS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "core/core.h"
#include <rlhf/rlhf.h>

#define CHECK(expression) assert_int_equal((expression), RLHF_OK)

static inline void assert_near(double got, double expected, double tolerance)
{
    if (!(fabs(got - expected) <= tolerance))
        fail_msg("%.17g, expected %.17g: off by %g, %g allowed", got, expected, fabs(got - expected), tolerance);
}

static inline double number(uint32_t stream, uint32_t index)
{
    return rlhfi_uniform(2718, RLHFI_RANDOM_USER, stream, 0, index);
}

#endif
