/* exp, log, tanh and erf on v16 (and, with V16_LANES 1, on one float). Polynomials are minimax fits of our own on the
 * ranges named, evaluated by fused multiply-adds in the order written: the bits are part of the specification. */
#ifndef RLHFI_MATH_TEMPLATE_H
#define RLHFI_MATH_TEMPLATE_H

/* c0 + x*(c1 + x*(c2 + ...)) */
#define V16_POLYNOMIAL_2(x, c0, c1) v16_fma(v16_set(c1), x, v16_set(c0))
#define V16_POLYNOMIAL_3(x, c0, ...) v16_fma(V16_POLYNOMIAL_2(x, __VA_ARGS__), x, v16_set(c0))
#define V16_POLYNOMIAL_4(x, c0, ...) v16_fma(V16_POLYNOMIAL_3(x, __VA_ARGS__), x, v16_set(c0))
#define V16_POLYNOMIAL_5(x, c0, ...) v16_fma(V16_POLYNOMIAL_4(x, __VA_ARGS__), x, v16_set(c0))
#define V16_POLYNOMIAL_6(x, c0, ...) v16_fma(V16_POLYNOMIAL_5(x, __VA_ARGS__), x, v16_set(c0))
#define V16_POLYNOMIAL_7(x, c0, ...) v16_fma(V16_POLYNOMIAL_6(x, __VA_ARGS__), x, v16_set(c0))
#define V16_POLYNOMIAL_8(x, c0, ...) v16_fma(V16_POLYNOMIAL_7(x, __VA_ARGS__), x, v16_set(c0))

static inline v16 v16_magnitude(v16 x) { return v16_from_bits(v16i_and(v16_bits(x), v16i_set(0x7fffffff))); }

static inline v16 v16_with_sign_of(v16 magnitude, v16 x)
{
    return v16_from_bits(v16i_or(v16_bits(magnitude), v16i_and(v16_bits(x), v16i_set(INT32_MIN))));
}

/* e^x: x = n ln 2 + r, |r| <= ln 2 / 2; e^r = 1 + r + r^2 P(r). Results below 2^-126 are flushed to +0 (x < -87.33654),
 * so that no result is subnormal; above the largest float it is infinite; NaN stays NaN. */
static inline v16 v16_exp(v16 x)
{
    const v16 magic = v16_set(0x1.8p23f); /* adding it rounds to the nearest integer, kept in the low bits */
    v16 shifted = v16_fma(x, v16_set(0x1.715476p+0f), magic);
    v16i n = v16i_sub(v16_bits(shifted), v16_bits(magic));
    v16 rounded = v16_sub(shifted, magic);
    v16 r = v16_fnma(rounded, v16_set(0x1.62e4p-1f), x);      /* ln 2, upper 15 bits: the product is exact */
    r = v16_fnma(rounded, v16_set(0x1.7f7d1cp-20f), r);       /* and the rest */
    v16 p = V16_POLYNOMIAL_5(r, 4.999999404e-01f, 1.666652113e-01f, 4.166838899e-02f, 8.368716575e-03f,
                             1.381459413e-03f);
    v16 y = v16_fma(p, v16_mul(r, r), r);
    y = v16_add(y, v16_set(1.0f));
    y = v16_from_bits(v16i_add(v16_bits(y), v16i_shift_left(n, 23)));
    y = v16_select(v16_less(x, v16_set(-0x1.5d589ep+6f)), v16_zero(), y);
    return v16_select(v16_less_equal(x, v16_set(0x1.62e42ep+6f)), y, v16_mul(x, v16_set(__builtin_inff())));
}

/* ln x: x = 2^n m, m in [sqrt(1/2), sqrt 2), f = m - 1; ln m = f - f^2/2 + f^3 P(f). Negative: NaN; 0: -infinity. */
static inline v16 v16_log(v16 x)
{
    const v16 infinity = v16_set(__builtin_inff());
    v16m small = v16_less(x, v16_set(0x1p-126f));
    v16 scaled = v16_select(small, v16_mul(x, v16_set(0x1p23f)), x);
    v16i bits = v16i_sub(v16_bits(scaled), v16i_set(0x3f3504f3)); /* sqrt(1/2) */
    v16i exponent = v16i_sub(v16i_shift_right(v16i_add(bits, v16i_set(0x40000000)), 23), v16i_set(0x80));
    v16 m = v16_from_bits(v16i_add(v16i_and(bits, v16i_set(0x7fffff)), v16i_set(0x3f3504f3)));
    v16 n = v16_sub(v16_from_int(exponent), v16_select(small, v16_set(23.0f), v16_zero()));
    v16 f = v16_sub(m, v16_set(1.0f));
    v16 p = V16_POLYNOMIAL_8(f, 3.333333135e-01f, -2.500082552e-01f, 2.000123411e-01f, -1.662314534e-01f,
                             1.420139819e-01f, -1.316202730e-01f, 1.276523620e-01f, -7.634086162e-02f);
    v16 square = v16_mul(f, f);
    v16 tail = v16_fma(v16_mul(square, f), p, v16_mul(n, v16_set(0x1.7f7d1cp-20f)));
    v16 y = v16_add(v16_fma(v16_set(-0.5f), square, tail), f);
    y = v16_fma(n, v16_set(0x1.62e4p-1f), y);
    y = v16_select(v16_less(x, infinity), y, v16_add(x, infinity));                /* infinity and NaN */
    y = v16_select(v16_equal(x, v16_zero()), v16_sub(v16_zero(), infinity), y);
    return v16_select(v16_less(x, v16_zero()), v16_set(__builtin_nanf("")), y);
}

/* tanh x = x + x z P(z), z = x^2, for |x| < 0.625; beyond 1 - 2 / (e^(2|x|) + 1). */
static inline v16 v16_tanh(v16 x)
{
    v16 t = v16_magnitude(x), z = v16_mul(x, x);
    v16 p = V16_POLYNOMIAL_5(z, -3.333328068e-01f, 1.333144158e-01f, -5.373971164e-02f, 2.063907869e-02f,
                             -5.704977550e-03f);
    v16 near = v16_fma(v16_mul(p, z), t, t);
    v16 e = v16_exp(v16_add(t, t));
    v16 far = v16_sub(v16_set(1.0f), v16_div(v16_set(2.0f), v16_add(e, v16_set(1.0f))));
    return v16_with_sign_of(v16_select(v16_less(t, v16_set(0.625f)), near, far), x);
}

/* erf x = x + x P(x^2) for |x| < 0.921875; beyond 1 - e^(-t - t Q(t)), t = |x|, which is 1 from t = 3.95 on. */
static inline v16 v16_erf(v16 x)
{
    v16 t = v16_magnitude(x), z = v16_mul(x, x);
    v16 p = V16_POLYNOMIAL_6(z, 1.283791512e-01f, -3.761249781e-01f, 1.128184348e-01f, -2.676734142e-02f,
                             4.994025454e-03f, -5.994441453e-04f);
    v16 near = v16_fma(p, t, t);
    v16 capped = v16_min(v16_set(3.95f), t); /* NaN stays */
    v16 q = V16_POLYNOMIAL_6(capped, 1.285143644e-01f, 6.357183456e-01f, 1.052618325e-01f, -2.288995683e-02f,
                             3.214953002e-03f, -2.139845747e-04f);
    v16 e = v16_exp(v16_fnma(q, capped, v16_sub(v16_zero(), capped)));
    v16 far = v16_sub(v16_set(1.0f), e);
    return v16_with_sign_of(v16_select(v16_less(t, v16_set(0.921875f)), near, far), x);
}

#endif
