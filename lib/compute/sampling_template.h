/* Weights that a token is drawn by, in double. Only multiplications and additions, none of them fused: so a machine
 * without fused operations computes the same bits. The includer says how many numbers a register holds
 * (DOUBLE_LANES). */
#ifndef RLHFI_SAMPLING_TEMPLATE_H
#define RLHFI_SAMPLING_TEMPLATE_H

typedef double doubles __attribute__((vector_size(DOUBLE_LANES * sizeof(double))));
typedef uint64_t doubles_bits __attribute__((vector_size(DOUBLE_LANES * sizeof(uint64_t))));
typedef float half_floats __attribute__((vector_size(DOUBLE_LANES * sizeof(float))));

/* e^x for x <= 0: x = n log 2 + r, the series of e^r up to r^11/11! (relative error below 1e-14), times 2^n. Adding
 * 1.5 * 2^52 rounds to a whole number and leaves it in the low bits. Below -700 the result is 0. */
INLINE doubles double_exponential(doubles x)
{
    doubles shifted = x * 0x1.71547652b82fep+0 + 0x1.8p52;
    doubles n = shifted - 0x1.8p52;
    doubles r = (x - n * 0x1.62e42fee00000p-1) - n * 0x1.a39ef35793c76p-33;
    doubles p = r * (1.0 / 39916800) + 1.0 / 3628800;

    p = p * r + 1.0 / 362880;
    p = p * r + 1.0 / 40320;
    p = p * r + 1.0 / 5040;
    p = p * r + 1.0 / 720;
    p = p * r + 1.0 / 120;
    p = p * r + 1.0 / 24;
    p = p * r + 1.0 / 6;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    return (doubles)(((doubles_bits)p + ((doubles_bits)shifted << 52)) & (doubles_bits)(x > -700.0));
}

static void k_sampling_weights(int64_t n, const float *z, double top, double inverse_temperature, double *weight)
{
    for (int64_t i = 0; i < n; i += DOUBLE_LANES) {
        const size_t here = n - i < DOUBLE_LANES ? (size_t)(n - i) : DOUBLE_LANES;
        half_floats some = {0};
        doubles w;

        __builtin_memcpy(&some, z + i, here * sizeof *z);
        w = double_exponential((__builtin_convertvector(some, doubles) - top) * inverse_temperature);
        __builtin_memcpy(weight + i, &w, here * sizeof *weight);
    }
}

#endif
