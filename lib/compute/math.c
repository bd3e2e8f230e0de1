/* Elementary functions for one number. The float versions are the vector kernels' polynomials with one lane. The double
 * versions use IEEE operations and fma only; their series have exact rational coefficients, cut where the rest is below
 * the last bit. */
#define V16_LANES 1
#include "compute/simd_scalar.h"
#include "compute/math_template.h"

#include "compute/compute.h"

float rlhfi_expf(float x) { return v16_exp(v16_set(x)).lane[0]; }
float rlhfi_logf(float x) { return v16_log(v16_set(x)).lane[0]; }
float rlhfi_tanhf(float x) { return v16_tanh(v16_set(x)).lane[0]; }
float rlhfi_erff(float x) { return v16_erf(v16_set(x)).lane[0]; }

static uint64_t bits_of(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static double from_bits(uint64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* ---- sine and cosine --------------------------------------------------------------------------------------------- */

/* x = n pi/2 + r in double. pi/2 in pieces of 33 bits, so that n times a piece is exact for n < 2^20: correct to the
 * last bit of float for |x| <= 10^6 and degrading slowly beyond. Returns n mod 4. */
static int quarter_turns(double x, double *rest)
{
    const double magic = 0x1.8p52;
    double n = (x * 0x1.45f306dc9c883p-1 + magic) - magic;
    double r = x - n * 0x1.921fb544p+0;
    r = r - n * 0x1.0b4611a6p-34;
    *rest = r - n * 0x1.3198a2e037073p-69;
    return (int)((int64_t)n & 3);
}

/* Taylor series to the term below 2^-53 for |r| <= pi/4. */
static double sine_near(double r)
{
    double z = r * r;
    double p = 1.0 / 355687428096000.0;
    p = p * z - 1.0 / 1307674368000.0;
    p = p * z + 1.0 / 6227020800.0;
    p = p * z - 1.0 / 39916800.0;
    p = p * z + 1.0 / 362880.0;
    p = p * z - 1.0 / 5040.0;
    p = p * z + 1.0 / 120.0;
    p = p * z - 1.0 / 6.0;
    return r + r * z * p;
}

static double cosine_near(double r)
{
    double z = r * r;
    double p = 1.0 / 20922789888000.0;
    p = p * z - 1.0 / 87178291200.0;
    p = p * z + 1.0 / 479001600.0;
    p = p * z - 1.0 / 3628800.0;
    p = p * z + 1.0 / 40320.0;
    p = p * z - 1.0 / 720.0;
    p = p * z + 1.0 / 24.0;
    p = p * z - 0.5;
    return 1.0 + z * p;
}

static float sine_shifted(float x, int shift)
{
    double r;

    if (!(x >= -0x1p30f && x <= 0x1p30f))
        return __builtin_nanf(""); /* no position gets here */
    switch ((quarter_turns(x, &r) + shift) & 3) {
    case 0: return (float)sine_near(r);
    case 1: return (float)cosine_near(r);
    case 2: return (float)-sine_near(r);
    default: return (float)-cosine_near(r);
    }
}

float rlhfi_sinf(float x) { return x == 0.0f ? x : sine_shifted(x, 0); }
float rlhfi_cosf(float x) { return sine_shifted(x, 1); }

/* ---- double ------------------------------------------------------------------------------------------------------ */

static const double ln2_high = 0x1.62e42fefa38p-1, ln2_low = 0x1.ef35793c7673p-45; /* high: 42 bits */

/* 1/2 + r/3! + r^2/4! + ...: (e^r - 1 - r) / r^2 for |r| <= ln 2 / 2 */
static double exp_tail(double r)
{
    static const double factorial[] = {87178291200.0, 6227020800.0, 479001600.0, 39916800.0, 3628800.0, 362880.0,
                                       40320.0, 5040.0, 720.0, 120.0, 24.0, 6.0, 2.0};
    double p = 0.0;

    for (unsigned i = 0; i < sizeof factorial / sizeof factorial[0]; i++)
        p = __builtin_fma(p, r, 1.0 / factorial[i]);
    return p;
}

/* x = n ln 2 + r + low */
static double reduce(double x, double *r, double *low)
{
    const double magic = 0x1.8p52;
    double n = (x * 0x1.71547652b82fep+0 + magic) - magic;
    double high = __builtin_fma(-n, ln2_high, x), rest = n * ln2_low;

    *r = high - rest;
    *low = (high - *r) - rest;
    return n;
}

/* y * 2^n, n from -1100 to 1100, rounded once also where the result is subnormal */
static double scaled(double y, int64_t n)
{
    if (n > 1023)
        return y * 0x1p1023 * from_bits((uint64_t)(n - 1023 + 1023) << 52);
    if (n < -1022)
        return y * from_bits((uint64_t)(n + 1022 + 1023) << 52) * 0x1p-1022;
    return y * from_bits((uint64_t)(n + 1023) << 52);
}

double rlhfi_exp_double(double x)
{
    double r, low, n;

    if (x != x)
        return x;
    if (x > 709.782712893384)
        return __builtin_inf();
    if (x < -745.1332191019412)
        return 0.0;
    n = reduce(x, &r, &low);
    return scaled(1.0 + (r + __builtin_fma(r * r, exp_tail(r), low + r * low)), (int64_t)n);
}

double rlhfi_expm1_double(double x)
{
    double r, low, n, tail;

    if (x != x || x == 0.0)
        return x;
    if (x > 709.782712893384)
        return __builtin_inf();
    if (x < -40.0)
        return -1.0;
    n = reduce(x, &r, &low);
    tail = __builtin_fma(r * r, exp_tail(r), low + r * low); /* e^(r+low) - 1 - r */
    if (n == 0.0)
        return r + tail;
    if (n > 60.0)
        return rlhfi_exp_double(x);
    /* 2^n (e^r - 1) + (2^n - 1): the second part is exact for n <= 53 and the larger one */
    double power = from_bits((uint64_t)((int64_t)n + 1023) << 52), whole = power - 1.0;
    double rounded = __builtin_fma(power, r, whole), lost = __builtin_fma(power, r, whole - rounded);
    return rounded + __builtin_fma(power, tail, lost);
}

/* ln(1 + f) + n ln 2 + extra for 1 + f in [sqrt(1/2), sqrt 2]: s = f/(2+f), ln(1+f) = 2 atanh s = f - s (f - R),
 * R = 2 s^2/3 + 2 s^4/5 + ... written so that the rounding of s does not reach the result's last bit. */
static double log_parts(double f, double n, double extra)
{
    double s = f / (2.0 + f), z = s * s, half = 0.5 * f * f, series = 0.0;

    for (int odd = 25; odd >= 3; odd -= 2)
        series = __builtin_fma(series, z, 2.0 / odd);
    series = series * z;
    return __builtin_fma(n, ln2_high, f - (half - (s * (half + series) + __builtin_fma(n, ln2_low, extra))));
}

/* x = 2^n (1 + f), x normal and positive */
static double split(double x, double *n)
{
    uint64_t bits = bits_of(x), root = 0x3fe6a09e667f3bcd; /* sqrt(1/2) */
    uint64_t off = bits - root;
    int64_t exponent = (int64_t)off >> 52;

    *n = (double)exponent;
    return from_bits(bits - ((uint64_t)exponent << 52)) - 1.0;
}

double rlhfi_log_double(double x)
{
    double n, f, shift = 0.0;

    if (x != x || x == __builtin_inf())
        return x;
    if (x <= 0.0)
        return x == 0.0 ? -__builtin_inf() : __builtin_nan("");
    if (x < 0x1p-1022) {
        x *= 0x1p54;
        shift = 54.0;
    }
    f = split(x, &n);
    return log_parts(f, n - shift, 0.0);
}

double rlhfi_log1p_double(double x)
{
    double sum, rest, n, f;

    if (x != x || x == 0.0 || x == __builtin_inf())
        return x;
    if (x <= -1.0)
        return x == -1.0 ? -__builtin_inf() : __builtin_nan("");
    if (x > -0.2928 && x < 0.4142)
        return log_parts(x, 0.0, 0.0);
    sum = 1.0 + x;
    rest = x > 1.0 ? 1.0 - (sum - x) : x - (sum - 1.0); /* what the addition lost */
    f = split(sum, &n);
    return log_parts(f, n, rest / sum);
}
