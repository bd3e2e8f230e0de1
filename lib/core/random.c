/* Random numbers that are functions of what they are for: Philox 4x32-10 (Salmon, Moraes, Dror, Shaw 2011) turns a
 * counter and a key into 128 bits, so no draw depends on another or on the order of draws. Everything below uses only
 * integer arithmetic and IEEE additions, products, quotients and square roots, each rounded once: the bits are the same
 * on every machine. */
#include "core/core.h"

#include <float.h>
#include <math.h>

_Static_assert(FLT_EVAL_METHOD == 0, "doubles must be rounded after each operation");

void rlhfi_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];

    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * c0, b = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(b >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)b;
        c2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)a;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

void rlhfi_random4(uint64_t seed, uint32_t purpose, uint32_t prompt, uint32_t sample, uint32_t position,
                   uint32_t out[4])
{
    rlhfi_philox((uint32_t[4]){position, sample, prompt, purpose},
                 (uint32_t[2]){(uint32_t)seed, (uint32_t)(seed >> 32)}, out);
}

static uint64_t join(uint32_t low, uint32_t high)
{
    return (uint64_t)high << 32 | low;
}

/* An odd multiple of 2^-53: never 0, never 1, symmetric about 1/2, and exact in a double. */
static double to_uniform(uint64_t bits)
{
    return (double)((bits >> 11) | 1) * 0x1p-53;
}

double rlhfi_uniform(uint64_t seed, uint32_t purpose, uint32_t prompt, uint32_t sample, uint32_t position)
{
    uint32_t out[4];

    rlhfi_random4(seed, purpose, prompt, sample, position, out);
    return to_uniform(join(out[0], out[1]));
}

/* ---- normal distribution --------------------------------------------------------------------------------------- */

/* log x for normal x > 0: x = m 2^e with m about 1, log m = 2 artanh((m - 1) / (m + 1)) by its series. */
static double natural_log(double x)
{
    uint64_t bits;
    int exponent;
    double m, s, z, sum = 0.0;

    memcpy(&bits, &x, sizeof bits);
    exponent = (int)(bits >> 52) - 1023;
    bits = (bits & 0x000fffffffffffffu) | 0x3ff0000000000000u;
    memcpy(&m, &bits, sizeof m);
    if (m > 1.4142135623730951) {
        m *= 0.5;
        exponent++;
    }
    s = (m - 1.0) / (m + 1.0);
    z = s * s;
    for (int i = 10; i >= 1; i--)
        sum = (sum + 1.0 / (2 * i + 1)) * z;
    s *= 2.0;
    /* log 2 in two parts: the first has 21 zero bits at its end, so its product with the exponent is exact. */
    return exponent * 6.93147180369123816490e-01 + (s + (s * sum + exponent * 1.90821492927058770002e-10));
}

static double rational(const double numerator[8], const double denominator[8], double x)
{
    double p = numerator[7], q = denominator[7];

    for (int i = 6; i >= 0; i--) {
        p = p * x + numerator[i];
        q = q * x + denominator[i];
    }
    return p / q;
}

/* The x below which a standard normal variable falls with probability p: algorithm AS 241, PPND16 (Wichura 1988), about
 * 16 digits. */
static double normal_quantile(double p)
{
    static const double a[8] = {3.3871328727963666080e0, 1.3314166789178437745e+2, 1.9715909503065514427e+3,
                                1.3731693765509461125e+4, 4.5921953931549871457e+4, 6.7265770927008700853e+4,
                                3.3430575583588128105e+4, 2.5090809287301226727e+3};
    static const double b[8] = {1.0, 4.2313330701600911252e+1, 6.8718700749205790830e+2, 5.3941960214247511077e+3,
                                2.1213794301586595867e+4, 3.9307895800092710610e+4, 2.8729085735721942674e+4,
                                5.2264952788528545610e+3};
    static const double c[8] = {1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0,
                                3.64784832476320460504e0, 1.27045825245236838258e0, 2.41780725177450611770e-1,
                                2.27238449892691845833e-2, 7.74545014278341407640e-4};
    static const double d[8] = {1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
                                1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4,
                                1.05075007164441684324e-9};
    static const double e[8] = {6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0,
                                2.96560571828504891230e-1, 2.65321895265761230930e-2, 1.24266094738807843860e-3,
                                2.71155556874348757815e-5, 2.01033439929228813265e-7};
    static const double f[8] = {1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
                                7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7,
                                2.04426310338993978564e-15};
    double q = p - 0.5, r, x;

    if (q >= -0.425 && q <= 0.425)
        return q * rational(a, b, 0.180625 - q * q);
    r = sqrt(-natural_log(q < 0.0 ? p : 1.0 - p));
    x = r <= 5.0 ? rational(c, d, r - 1.6) : rational(e, f, r - 5.0);
    return q < 0.0 ? -x : x;
}

/* One block of 128 random bits makes two numbers. */
void rlhfi_normal_fill(uint64_t seed, uint32_t purpose, uint32_t stream, float std, float *out, size_t count)
{
    for (size_t i = 0; i < count; i += 2) {
        uint64_t pair = i / 2;
        uint32_t bits[4];
        rlhfi_random4(seed, purpose, stream, (uint32_t)(pair >> 32), (uint32_t)pair, bits);
        out[i] = (float)(normal_quantile(to_uniform(join(bits[0], bits[1]))) * (double)std);
        if (i + 1 < count)
            out[i + 1] = (float)(normal_quantile(to_uniform(join(bits[2], bits[3]))) * (double)std);
    }
}

/* ---- permutations ---------------------------------------------------------------------------------------------- */

struct stream {
    uint64_t seed;
    uint32_t purpose, number;
    uint64_t used; /* 64-bit words taken */
    uint64_t words[2];
};

static uint64_t next_word(struct stream *stream)
{
    if (stream->used % 2 == 0) {
        uint64_t block = stream->used / 2;
        uint32_t bits[4];
        rlhfi_random4(stream->seed, stream->purpose, stream->number, (uint32_t)(block >> 32), (uint32_t)block, bits);
        stream->words[0] = join(bits[0], bits[1]);
        stream->words[1] = join(bits[2], bits[3]);
    }
    return stream->words[stream->used++ % 2];
}

/* The 128 bits of a product, from four products of halves. */
static uint64_t multiply_wide(uint64_t a, uint64_t b, uint64_t *low)
{
    uint64_t a0 = (uint32_t)a, a1 = a >> 32, b0 = (uint32_t)b, b1 = b >> 32;
    uint64_t middle = a1 * b0 + (a0 * b0 >> 32), other = a0 * b1 + (uint32_t)middle;

    *low = a * b;
    return a1 * b1 + (middle >> 32) + (other >> 32);
}

/* 0..bound-1, each equally likely (Lemire 2019): the upper half of word * bound, where words that would favour some
 * results are thrown away. */
static uint64_t bounded(struct stream *stream, uint64_t bound)
{
    uint64_t low, high = multiply_wide(next_word(stream), bound, &low);

    if (low < bound) {
        uint64_t unfair = (0 - bound) % bound; /* 2^64 mod bound */
        while (low < unfair)
            high = multiply_wide(next_word(stream), bound, &low);
    }
    return high;
}

void rlhfi_permutation(uint64_t seed, uint32_t purpose, uint32_t stream, uint64_t *out, uint64_t count)
{
    struct stream source = {.seed = seed, .purpose = purpose, .number = stream};

    for (uint64_t i = 0; i < count; i++)
        out[i] = i;
    for (uint64_t i = count; i > 1; i--) {
        uint64_t j = bounded(&source, i), kept = out[i - 1];
        out[i - 1] = out[j];
        out[j] = kept;
    }
}
