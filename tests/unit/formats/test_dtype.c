/* Names and widths of element types; 16-bit floats against the published vectors and against arithmetic in double. */
#include "support.h"

#include "formats/safetensors.h"

#include <math.h>

static float float_of(uint32_t bits)
{
    float value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t bits_of(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static void knows_the_names(void **state)
{
    static const struct {
        const char *name;
        enum rlhfi_dtype dtype;
        uint32_t bits;
    } known[] = {
        {"BOOL", RLHFI_BOOL, 8}, {"U8", RLHFI_U8, 8}, {"I8", RLHFI_I8, 8}, {"I16", RLHFI_I16, 16},
        {"U16", RLHFI_U16, 16}, {"F16", RLHFI_F16, 16}, {"BF16", RLHFI_BF16, 16}, {"I32", RLHFI_I32, 32},
        {"U32", RLHFI_U32, 32}, {"F32", RLHFI_F32, 32}, {"F64", RLHFI_F64, 64}, {"I64", RLHFI_I64, 64},
        {"U64", RLHFI_U64, 64}, {"F4", RLHFI_DTYPE_OTHER, 4}, {"F6_E2M3", RLHFI_DTYPE_OTHER, 6},
        {"F6_E3M2", RLHFI_DTYPE_OTHER, 6}, {"F8_E5M2", RLHFI_DTYPE_OTHER, 8}, {"F8_E4M3", RLHFI_DTYPE_OTHER, 8},
        {"F8_E8M0", RLHFI_DTYPE_OTHER, 8}, {"F8_E4M3FNUZ", RLHFI_DTYPE_OTHER, 8},
        {"F8_E5M2FNUZ", RLHFI_DTYPE_OTHER, 8}, {"C64", RLHFI_DTYPE_OTHER, 64},
    };
    static const char *const unknown[] = {"f32", "FLOAT", "", "F", "F320", "F8", "BF1", "float32", "C128"};
    enum rlhfi_dtype dtype;
    uint32_t bits;

    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        assert_true(rlhfi_dtype_find(known[i].name, strlen(known[i].name), &dtype, &bits));
        assert_int_equal(dtype, known[i].dtype);
        assert_int_equal(bits, known[i].bits);
        if (dtype != RLHFI_DTYPE_OTHER) {
            assert_string_equal(rlhfi_dtype_name(dtype), known[i].name);
            assert_int_equal(rlhfi_dtype_bytes(dtype), bits / 8);
        }
    }
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++)
        assert_false(rlhfi_dtype_find(unknown[i], strlen(unknown[i]), &dtype, &bits));
    assert_null(rlhfi_dtype_name(RLHFI_DTYPE_OTHER));
    assert_int_equal(rlhfi_dtype_bytes(RLHFI_DTYPE_OTHER), 0);
}

static void matches_the_vectors(void **state)
{
    static const struct {
        uint32_t bits;
        uint16_t half, bfloat16;
    } vectors[] = {
        {0x3F800000, 0x3C00, 0x3F80}, {0x3F801000, 0x3C00, 0x3F80}, {0x3F801001, 0x3C01, 0x3F80},
        {0x3F803000, 0x3C02, 0x3F80}, {0x3F808000, 0x3C04, 0x3F80}, {0x3F808001, 0x3C04, 0x3F81},
        {0x3F818000, 0x3C0C, 0x3F82}, {0x477FE000, 0x7BFF, 0x4780}, {0x477FEFFF, 0x7BFF, 0x4780},
        {0x477FF000, 0x7C00, 0x4780}, {0x38800000, 0x0400, 0x3880}, {0x387FE000, 0x0400, 0x3880},
        {0x33800000, 0x0001, 0x3380}, {0x33000000, 0x0000, 0x3300}, {0x33000001, 0x0001, 0x3300},
        {0x7F7FFFFF, 0x7C00, 0x7F80}, {0x7F800000, 0x7C00, 0x7F80}, {0xFF800000, 0xFC00, 0xFF80},
        {0x7FC00000, 0x7E00, 0x7FC0}, {0x7F800001, 0x7E00, 0x7FC0}, {0x80000000, 0x8000, 0x8000},
        {0x00008000, 0x0000, 0x0000}, {0x00018000, 0x0000, 0x0002},
    };

    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        assert_int_equal(rlhfi_float_to_half(float_of(vectors[i].bits)), vectors[i].half);
        assert_int_equal(rlhfi_float_to_bfloat16(float_of(vectors[i].bits)), vectors[i].bfloat16);
    }
}

/* The value of a half by its definition. */
static double half_value(uint16_t half)
{
    int exponent = half >> 10 & 31, mantissa = half & 1023;
    double magnitude = exponent == 0 ? ldexp(mantissa, -24) : ldexp(1024 + mantissa, exponent - 25);

    return (half & 0x8000) != 0 ? -magnitude : magnitude;
}

static void round_trips_all_16_bit_numbers(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 65536; bits++) {
        float half = rlhfi_half_to_float((uint16_t)bits), bfloat16 = rlhfi_bfloat16_to_float((uint16_t)bits);
        if ((bits & 0x7fff) > 0x7c00) {
            assert_true(isnan(half));
            assert_int_equal(rlhfi_float_to_half(half), (bits & 0x8000) | 0x7e00);
        } else {
            if ((bits & 0x7fff) == 0x7c00)
                assert_true(isinf(half) && (signbit(half) != 0) == (bits >> 15));
            else
                assert_true((double)half == half_value((uint16_t)bits));
            assert_int_equal(bits_of(half) >> 31, bits >> 15);
            assert_int_equal(rlhfi_float_to_half(half), bits);
        }
        if ((bits & 0x7fff) > 0x7f80)
            assert_true(isnan(bfloat16) && rlhfi_float_to_bfloat16(bfloat16) == (bits | 0x40));
        else
            assert_int_equal(rlhfi_float_to_bfloat16(bfloat16), bits);
        assert_int_equal(bits_of(bfloat16), bits << 16);
    }
}

/* Between any two neighbouring halves: just below the middle, the middle, just above it. */
static void rounds_to_nearest_even(void **state)
{
    (void)state;
    for (uint32_t low = 0; low < 0x7bff; low++) {
        uint16_t even = (uint16_t)((low & 1) == 0 ? low : low + 1);
        float middle = (float)((half_value((uint16_t)low) + half_value((uint16_t)(low + 1))) / 2); /* exact */
        assert_int_equal(rlhfi_float_to_half(middle), even);
        assert_int_equal(rlhfi_float_to_half(nextafterf(middle, 0.0f)), low);
        assert_int_equal(rlhfi_float_to_half(nextafterf(middle, INFINITY)), low + 1);
        assert_int_equal(rlhfi_float_to_half(-middle), even | 0x8000);
    }
    for (uint32_t low = 0; low < 0x7f7f; low++) {
        uint32_t middle = low << 16 | 0x8000;
        assert_int_equal(rlhfi_float_to_bfloat16(float_of(middle)), (low & 1) == 0 ? low : low + 1);
        assert_int_equal(rlhfi_float_to_bfloat16(float_of(middle - 1)), low);
        assert_int_equal(rlhfi_float_to_bfloat16(float_of(middle + 1)), low + 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_the_names),
        cmocka_unit_test(matches_the_vectors),
        cmocka_unit_test(round_trips_all_16_bit_numbers),
        cmocka_unit_test(rounds_to_nearest_even),
    };

    return cmocka_run_group_tests_name("dtype", tests, NULL, NULL);
}
