/* Element types: their names and widths in safetensors, and 16-bit floats to and from 32-bit ones
 * (formats.md 1.3, 7.1). All conversions work on bit patterns, so no rounding mode and no flush-to-zero setting of the
 * host can change them. */
#include "formats/safetensors.h"

struct row {
    const char *name;
    uint32_t bits;
    enum rlhfi_dtype dtype;
};

static const struct row rows[] = {
    {"BOOL", 8, RLHFI_BOOL},
    {"F4", 4, RLHFI_DTYPE_OTHER},
    {"F6_E2M3", 6, RLHFI_DTYPE_OTHER},
    {"F6_E3M2", 6, RLHFI_DTYPE_OTHER},
    {"U8", 8, RLHFI_U8},
    {"I8", 8, RLHFI_I8},
    {"F8_E5M2", 8, RLHFI_DTYPE_OTHER},
    {"F8_E4M3", 8, RLHFI_DTYPE_OTHER},
    {"F8_E8M0", 8, RLHFI_DTYPE_OTHER},
    {"F8_E4M3FNUZ", 8, RLHFI_DTYPE_OTHER},
    {"F8_E5M2FNUZ", 8, RLHFI_DTYPE_OTHER},
    {"I16", 16, RLHFI_I16},
    {"U16", 16, RLHFI_U16},
    {"F16", 16, RLHFI_F16},
    {"BF16", 16, RLHFI_BF16},
    {"I32", 32, RLHFI_I32},
    {"U32", 32, RLHFI_U32},
    {"F32", 32, RLHFI_F32},
    {"C64", 64, RLHFI_DTYPE_OTHER},
    {"F64", 64, RLHFI_F64},
    {"I64", 64, RLHFI_I64},
    {"U64", 64, RLHFI_U64},
};

bool rlhfi_dtype_find(const char *name, size_t bytes, enum rlhfi_dtype *dtype, uint32_t *bits)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strlen(rows[i].name) == bytes && memcmp(rows[i].name, name, bytes) == 0) {
            *dtype = rows[i].dtype;
            *bits = rows[i].bits;
            return true;
        }
    return false;
}

static const struct row *row_of(enum rlhfi_dtype dtype)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].dtype == dtype && dtype != RLHFI_DTYPE_OTHER)
            return &rows[i];
    return NULL;
}

const char *rlhfi_dtype_name(enum rlhfi_dtype dtype)
{
    const struct row *row = row_of(dtype);

    return row != NULL ? row->name : NULL;
}

size_t rlhfi_dtype_bytes(enum rlhfi_dtype dtype)
{
    const struct row *row = row_of(dtype);

    return row != NULL ? row->bits / 8 : 0;
}

/* ---- 16-bit floats ----------------------------------------------------------------------------------------------- */

static uint32_t bits_of(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

float rlhfi_half_to_float(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    uint32_t exponent = half >> 10 & 31, mantissa = half & 0x3ff;

    if (exponent == 31)
        return float_of(sign | 0x7f800000 | mantissa << 13);
    if (exponent == 0) {
        if (mantissa == 0)
            return float_of(sign);
        /* Subnormal: shift the leading bit to where a normal number has its hidden one. */
        exponent = 1;
        while ((mantissa & 0x400) == 0) {
            mantissa <<= 1;
            exponent--; /* wraps below 0, and the sum below wraps back */
        }
        mantissa &= 0x3ff;
    }
    return float_of(sign | (exponent + 112) << 23 | mantissa << 13);
}

float rlhfi_bfloat16_to_float(uint16_t bits)
{
    return float_of((uint32_t)bits << 16);
}

/* value / 2^shift to the nearest integer, ties to even. */
static uint32_t round_shift(uint32_t value, uint32_t shift)
{
    uint32_t half = UINT32_C(1) << (shift - 1), rest = value & ((half << 1) - 1);
    uint32_t kept = value >> shift;

    return kept + (rest > half || (rest == half && (kept & 1) != 0));
}

uint16_t rlhfi_float_to_half(float value)
{
    uint32_t bits = bits_of(value), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;

    if (magnitude > 0x7f800000)
        return (uint16_t)(sign | 0x7e00);
    if (magnitude >= 0x477ff000) /* 65520, half way between the largest half and 2^16 */
        return (uint16_t)(sign | 0x7c00);
    if (magnitude <= 0x33000000) /* 2^-25, half of the smallest half: the tie goes to the even zero */
        return (uint16_t)sign;
    if (magnitude < 0x38800000) { /* below 2^-14 halves are multiples of 2^-24 */
        uint32_t exponent = magnitude >> 23, mantissa = (magnitude & 0x7fffff) | 0x800000;
        return (uint16_t)(sign | round_shift(mantissa, 126 - exponent));
    }
    /* A carry out of the mantissa moves into the exponent, which is just right. */
    return (uint16_t)(sign | (round_shift(magnitude, 13) - (112 << 10)));
}

uint16_t rlhfi_float_to_bfloat16(float value)
{
    uint32_t bits = bits_of(value);

    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
