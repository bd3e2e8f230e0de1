/* What the compute room's tests share: contexts of every kind that must give the same bits, arrays with a guard page
 * right behind their last element, and comparisons. */
#ifndef COMPUTE_SUPPORT_H
#define COMPUTE_SUPPORT_H

#include "compute/compute.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

/* The first is the reference. A mask that the machine lacks falls back to a lesser one. */
static const struct variant {
    const char *name;
    uint32_t mask;
    int32_t threads, blis;
} variants[] = {
    {"plain C", 0, 1, 0},
    {"AVX2", RLHF_CPU_AVX2, 1, 0},
    {"AVX2, 2 threads", RLHF_CPU_AVX2, 2, 0},
    {"AVX-512", RLHF_CPU_AVX2 | RLHF_CPU_AVX512, 1, 0},
    {"all, 2 threads, BLIS", UINT32_MAX, 2, 1},
};
enum { VARIANTS = sizeof variants / sizeof variants[0] };

static rlhf_context *contexts[VARIANTS];

static inline rlhf_context *make_context(uint32_t mask, int32_t threads, int32_t blis)
{
    rlhf_context_options options;
    rlhf_context *context = NULL;

    rlhf_context_options_init(&options, sizeof options);
    options.cpu_mask = mask;
    options.threads = threads;
    options.use_blis = blis;
    assert_int_equal(rlhf_context_create(&context, &options), RLHF_OK);
    return context;
}

static inline int make_contexts(void **state)
{
    (void)state;
    for (int i = 0; i < VARIANTS; i++)
        contexts[i] = make_context(variants[i].mask, variants[i].threads, variants[i].blis);
    return 0;
}

static inline int release_contexts(void **state)
{
    (void)state;
    for (int i = 0; i < VARIANTS; i++)
        rlhf_context_release(&contexts[i]);
    return 0;
}

/* ---- arrays: the byte behind the last element is not mapped ------------------------------------------------------ */

static struct {
    void *base;
    size_t bytes;
} guarded_blocks[4096];
static int guarded_count;

static inline void *guarded_bytes(size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), whole = (bytes + page - 1) / page * page + page;
    char *base = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    assert_true(base != MAP_FAILED && guarded_count < 4096);
    assert_int_equal(mprotect(base + whole - page, page, PROT_NONE), 0);
    guarded_blocks[guarded_count].base = base;
    guarded_blocks[guarded_count++].bytes = whole;
    return base + whole - page - bytes;
}

static inline float *guarded(int64_t count) { return guarded_bytes((size_t)count * sizeof(float)); }

static inline void release_guarded(void)
{
    while (guarded_count > 0) {
        guarded_count--;
        munmap(guarded_blocks[guarded_count].base, guarded_blocks[guarded_count].bytes);
    }
}

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

static uint64_t random_state = 0x853c49e6748fea9bu;

static inline uint32_t random_bits(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 32) ^ (uint32_t)(random_state >> 54);
}

static inline float random_float(float low, float high)
{
    return low + (high - low) * ((float)(random_bits() >> 8) * 0x1p-24f);
}

static inline float *random_array(int64_t count, float low, float high)
{
    float *x = guarded(count);
    for (int64_t i = 0; i < count; i++)
        x[i] = random_float(low, high);
    return x;
}

static inline float *copy_array(const float *x, int64_t count)
{
    float *copy = guarded(count);
    memcpy(copy, x, (size_t)count * sizeof(float));
    return copy;
}

static inline void assert_same_bits(const char *what, int variant, const float *got, const float *want, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        if (memcmp(&got[i], &want[i], sizeof(float)) != 0 && !(isnan(got[i]) && isnan(want[i])))
            fail_msg("%s, %s: element %lld of %lld is %a, not %a", what, variants[variant].name, (long long)i,
                     (long long)count, (double)got[i], (double)want[i]);
    }
}

static inline void assert_near(const char *what, const float *got, const double *want, int64_t count, double bound)
{
    for (int64_t i = 0; i < count; i++) {
        double off = fabs((double)got[i] - want[i]);
        if (!(off <= bound * (1.0 + fabs(want[i]))))
            fail_msg("%s: element %lld of %lld is %.9g, not %.9g", what, (long long)i, (long long)count,
                     (double)got[i], want[i]);
    }
}

static inline double *doubles(int64_t count)
{
    double *x = guarded_bytes((size_t)count * sizeof(double));
    memset(x, 0, (size_t)count * sizeof(double));
    return x;
}

/* Distance in units in the last place of the float nearest to `want`. */
static inline double ulps(float got, double want)
{
    float near = (float)want;
    if (isnan(near) || isinf(near) || near == 0.0f)
        return (isnan(near) && isnan(got)) || got == near ? 0.0 : 1e9;
    double unit = (double)nextafterf(fabsf(near), INFINITY) - (double)fabsf(near);
    return fabs((double)got - want) / unit;
}

#endif
