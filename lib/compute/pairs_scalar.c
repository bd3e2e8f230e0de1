/* Products of bf16 in plain C: the reference for the others, flushing by hand. */
#include "compute/simd_scalar.h"
#include "compute/shapes_scalar.h"

#define PAIRS_NAME scalar
#define TILE_MULTIPLY multiply_pairs
#define TILE_ADD add_flushed

static inline float without_subnormal(float x)
{
    return __builtin_fabsf(x) < 0x1p-126f ? __builtin_copysignf(0.0f, x) : x;
}

/* a*b + c for bf16 a and b. A sum is flushed if it would be below 2^-126 when rounded with an unbounded exponent: what
 * was rounded up to just that number may have been below the tie between it and its neighbour. In double the sum is
 * exact wherever that is close: the product has 16 bits, c is a multiple of 2^-149. */
static inline float multiply_flushed(float a, float b, float c)
{
    float sum;

    a = without_subnormal(a);
    b = without_subnormal(b);
    c = without_subnormal(c);
    sum = __builtin_fmaf(a, b, c);
    if (__builtin_fabsf(sum) == 0x1p-126f &&
        __builtin_fabs((double)a * (double)b + (double)c) < 0x1p-126 - 0x1p-151)
        return __builtin_copysignf(0.0f, sum);
    return without_subnormal(sum);
}

static inline float upper_number(float pair)
{
    uint32_t bits;
    memcpy(&bits, &pair, sizeof bits);
    bits &= 0xffff0000u;
    memcpy(&pair, &bits, sizeof bits);
    return pair;
}

static inline float lower_number(float pair)
{
    uint32_t bits;
    memcpy(&bits, &pair, sizeof bits);
    bits <<= 16;
    memcpy(&pair, &bits, sizeof bits);
    return pair;
}

static inline v16 multiply_pairs(v16 a, v16 b, v16 sum)
{
    V16_MAKE(v16, multiply_flushed(lower_number(a.lane[j]), lower_number(b.lane[j]),
                                   multiply_flushed(upper_number(a.lane[j]), upper_number(b.lane[j]), sum.lane[j])));
}

static inline v16 add_flushed(v16 a, v16 b)
{
    V16_MAKE(v16, without_subnormal(without_subnormal(a.lane[j]) + without_subnormal(b.lane[j])));
}

#include "compute/pairs_template.h"
