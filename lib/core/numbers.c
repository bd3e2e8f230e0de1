/* Numbers as text, in both directions exact and independent of the locale. Whatever the short ways cannot settle is
 * decided in whole numbers of a few thousand bits. */
#include "core/core.h"

#include <math.h>

/* ---- large natural numbers --------------------------------------------------------------------------------------- */

/* The longest come from parsing 801 digits at the far end of the exponents: 10^1131 has 3758 bits. */
enum { LIMBS = 160 };

struct big {
    uint32_t limb[LIMBS]; /* least first */
    int count;            /* without leading zeros; 0 is no limb */
};

static void big_set(struct big *a, uint64_t value)
{
    for (a->count = 0; value != 0; value >>= 32)
        a->limb[a->count++] = (uint32_t)value;
}

/* a = a * factor + carry */
static void big_multiply(struct big *a, uint32_t factor, uint32_t carry)
{
    uint64_t sum = carry;

    for (int i = 0; i < a->count; i++, sum >>= 32) {
        sum += (uint64_t)a->limb[i] * factor;
        a->limb[i] = (uint32_t)sum;
    }
    if (sum != 0)
        a->limb[a->count++] = (uint32_t)sum;
}

static void big_scale(struct big *a, int power_of_ten)
{
    for (; power_of_ten >= 9; power_of_ten -= 9)
        big_multiply(a, 1000000000u, 0);
    for (; power_of_ten > 0; power_of_ten--)
        big_multiply(a, 10u, 0);
}

static void big_shift(struct big *a, int bits)
{
    int limbs = bits / 32;

    big_multiply(a, (uint32_t)1 << bits % 32, 0);
    if (limbs == 0 || a->count == 0)
        return;
    memmove(a->limb + limbs, a->limb, (size_t)a->count * sizeof a->limb[0]);
    memset(a->limb, 0, (size_t)limbs * sizeof a->limb[0]);
    a->count += limbs;
}

static int big_bits(const struct big *a)
{
    return a->count == 0 ? 0 : 32 * a->count - __builtin_clz(a->limb[a->count - 1]);
}

static int big_compare(const struct big *a, const struct big *b)
{
    if (a->count != b->count)
        return a->count < b->count ? -1 : 1;
    for (int i = a->count - 1; i >= 0; i--)
        if (a->limb[i] != b->limb[i])
            return a->limb[i] < b->limb[i] ? -1 : 1;
    return 0;
}

/* a -= b, b not larger */
static void big_subtract(struct big *a, const struct big *b)
{
    uint64_t borrow = 0;

    for (int i = 0; i < a->count; i++) {
        uint64_t difference = (uint64_t)a->limb[i] - (i < b->count ? b->limb[i] : 0) - borrow;
        a->limb[i] = (uint32_t)difference;
        borrow = difference >> 63;
    }
    while (a->count > 0 && a->limb[a->count - 1] == 0)
        a->count--;
}

/* compares a + b with c */
static int big_compare_sum(const struct big *a, const struct big *b, const struct big *c)
{
    struct big sum = *a;
    uint64_t carry = 0;
    int count = a->count > b->count ? a->count : b->count;

    for (int i = 0; i < count; i++, carry >>= 32) {
        carry += (uint64_t)(i < a->count ? a->limb[i] : 0) + (i < b->count ? b->limb[i] : 0);
        sum.limb[i] = (uint32_t)carry;
    }
    sum.count = count;
    if (carry != 0)
        sum.limb[sum.count++] = (uint32_t)carry;
    return big_compare(&sum, c);
}

/* ---- number to text ---------------------------------------------------------------------------------------------- */

/* The fewest digits that only this number is nearest to, by exact arithmetic (Steele and White 1990, in the form of
 * Burger and Dybvig 1996). value is positive and finite; it is 0.DIGITS times 10^*point. Returns how many digits. */
static int shortest_digits(double value, char digits[20], int *point)
{
    struct big rest, unit, above, below; /* value, 1, and half the gaps to the neighbours: all times a common factor */
    uint64_t bits, fraction;
    int exponent, estimate, count = 0, narrow;
    bool even, low, high;

    memcpy(&bits, &value, sizeof bits);
    fraction = bits & 0x000fffffffffffffu;
    exponent = (int)(bits >> 52);
    narrow = fraction == 0 && exponent > 1; /* a power of two: the gap below is half as wide */
    if (exponent > 0)
        fraction |= 0x0010000000000000u;
    else
        exponent = 1;
    exponent -= 1075; /* value = fraction * 2^exponent */
    even = fraction % 2 == 0;

    big_set(&rest, fraction);
    big_set(&unit, 1);
    big_set(&below, 1);
    big_shift(&rest, 1 + narrow + (exponent > 0 ? exponent : 0));
    big_shift(&unit, 1 + narrow + (exponent < 0 ? -exponent : 0));
    big_shift(&below, exponent > 0 ? exponent : 0);
    above = below;
    big_shift(&above, narrow);

    /* floor(x * log10(2)) + 1 for x = floor(log2(value)): right, or one too small. */
    estimate = exponent + 63 - __builtin_clzll(fraction);
    estimate = (estimate * 78913 - (estimate < 0 ? (1 << 18) - 1 : 0)) / (1 << 18) + 1;
    big_scale(&unit, estimate > 0 ? estimate : 0);
    big_scale(&rest, estimate < 0 ? -estimate : 0);
    big_scale(&above, estimate < 0 ? -estimate : 0);
    big_scale(&below, estimate < 0 ? -estimate : 0);
    if (big_compare_sum(&rest, &above, &unit) >= (even ? 0 : 1)) {
        big_scale(&unit, 1);
        estimate++;
    }
    *point = estimate;
    do {
        char digit = '0';
        big_scale(&rest, 1);
        big_scale(&above, 1);
        big_scale(&below, 1);
        for (; big_compare(&rest, &unit) >= 0; digit++)
            big_subtract(&rest, &unit);
        low = big_compare(&rest, &below) < (even ? 1 : 0);
        high = big_compare_sum(&rest, &above, &unit) >= (even ? 0 : 1);
        if (high && (!low || big_compare_sum(&rest, &rest, &unit) >= 0))
            digit++;
        digits[count++] = digit;
    } while (!low && !high);
    return count;
}

/* Digits and place of the point as text: plain between 1e-4 and 1e16, else with an exponent of at least two figures
 * (the habit of Python, so that the same number looks the same in its files). */
static size_t lay_out(char *out, const char *digits, int count, int point)
{
    char *next = out;

    if (point > -4 && point <= 16) {
        if (point <= 0) {
            *next++ = '0';
            *next++ = '.';
            for (int i = point; i < 0; i++)
                *next++ = '0';
        }
        for (int i = 0; i < count || i < point; i++) {
            if (i == point && point > 0)
                *next++ = '.';
            *next++ = i < count ? digits[i] : '0';
        }
    } else {
        int power = point - 1;
        *next++ = digits[0];
        if (count > 1)
            *next++ = '.';
        for (int i = 1; i < count; i++)
            *next++ = digits[i];
        *next++ = 'e';
        *next++ = power < 0 ? '-' : '+';
        power = power < 0 ? -power : power;
        if (power >= 100)
            *next++ = (char)('0' + power / 100);
        *next++ = (char)('0' + power / 10 % 10);
        *next++ = (char)('0' + power % 10);
    }
    return (size_t)(next - out);
}

size_t rlhfi_format_double(double value, char *out, size_t capacity)
{
    char text[32], digits[20], *next = text;
    size_t bytes;
    int count, point;

    if (isnan(value)) {
        memcpy(next, "nan", 3);
        next += 3;
    } else {
        if (signbit(value))
            *next++ = '-';
        value = fabs(value);
        if (isinf(value)) {
            memcpy(next, "inf", 3);
            next += 3;
        } else if (value == 0.0) {
            *next++ = '0';
        } else {
            count = shortest_digits(value, digits, &point);
            next += lay_out(next, digits, count, point);
        }
    }
    bytes = (size_t)(next - text);
    if (capacity > 0) {
        size_t kept = bytes < capacity ? bytes : capacity - 1;
        memcpy(out, text, kept);
        out[kept] = '\0';
    }
    return bytes;
}

/* ---- text to number ---------------------------------------------------------------------------------------------- */

/* No boundary between two doubles has more than 768 digits, so of what follows it only matters whether it is zero. */
enum { MOST_DIGITS = 800 };

struct decimal {
    char digit[MOST_DIGITS + 1]; /* 0..9 without leading or trailing zeros */
    int count;
    int64_t exponent; /* value = digits * 10^exponent */
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Reads "digits[.digits][e[sign]digits]"; false if the text is anything else. */
static bool scan_decimal(const char *text, const char *end, struct decimal *decimal)
{
    bool any = false, point = false, rest = false, negative = false;
    int64_t power = 0;

    decimal->count = 0;
    decimal->exponent = 0;
    for (; text < end && (is_digit(*text) || (*text == '.' && !point)); text++) {
        if (*text == '.') {
            point = true;
            continue;
        }
        any = true;
        if (decimal->count == 0 && *text == '0') {
            decimal->exponent -= point;
        } else if (decimal->count < MOST_DIGITS) {
            decimal->digit[decimal->count++] = (char)(*text - '0');
            decimal->exponent -= point;
        } else {
            rest = rest || *text != '0';
            decimal->exponent += !point;
        }
    }
    if (!any)
        return false;
    if (text < end && (*text == 'e' || *text == 'E')) {
        text++;
        if (text < end && (*text == '+' || *text == '-'))
            negative = *text++ == '-';
        if (text == end)
            return false;
        for (; text < end && is_digit(*text); text++)
            if (power < INT64_MAX / 100)
                power = power * 10 + (*text - '0');
        decimal->exponent += negative ? -power : power;
    }
    if (rest) { /* something behind the last digit: one more digit that is not zero stands for it */
        decimal->digit[decimal->count++] = 1;
        decimal->exponent--;
    }
    while (decimal->count > 0 && decimal->digit[decimal->count - 1] == 0) {
        decimal->count--;
        decimal->exponent++;
    }
    return text == end;
}

/* quotient * 2^exponent, and a bit more when rest says so, rounded once to the nearest double. The quotient has 63 or
 * 64 bits. */
static double round_to_double(uint64_t quotient, int exponent, bool rest)
{
    int length = 64 - __builtin_clzll(quotient), power = length - 1 + exponent;
    int dropped = length - (power >= -1022 ? 53 : 53 - (-1022 - power)); /* subnormal numbers have fewer bits */
    uint64_t kept, lost, half, bits;
    double value;

    if (power > 1023)
        return INFINITY;
    if (dropped > 64)
        return 0.0;
    kept = dropped < 64 ? quotient >> dropped : 0;
    lost = dropped < 64 ? quotient & (((uint64_t)1 << dropped) - 1) : quotient;
    half = (uint64_t)1 << (dropped - 1);
    if (lost > half || (lost == half && (rest || kept % 2 == 1)))
        kept++;
    /* A carry out of the fraction lands in the exponent, where it belongs. */
    bits = power >= -1022 ? ((uint64_t)(power + 1022) << 52) + kept : kept;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static double decimal_to_double(const struct decimal *decimal)
{
    static const double tens[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                  1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    int64_t place = decimal->count + decimal->exponent; /* value < 10^place */
    struct big number = {0}, divisor;
    uint64_t quotient = 0;
    int shift;

    if (decimal->count == 0 || place < -330)
        return 0.0;
    if (place > 310)
        return INFINITY;
    big_set(&number, 0);
    for (int i = 0; i < decimal->count; i++)
        big_multiply(&number, 10, (uint32_t)decimal->digit[i]);
    if (decimal->count <= 15 && decimal->exponent >= -22 && decimal->exponent <= 22) {
        /* Both operands are exact, so one operation rounds once. */
        double value = (double)(number.limb[0] + ((uint64_t)(number.count > 1 ? number.limb[1] : 0) << 32));
        return decimal->exponent < 0 ? value / tens[-decimal->exponent] : value * tens[decimal->exponent];
    }

    big_set(&divisor, 1);
    big_scale(&number, decimal->exponent > 0 ? (int)decimal->exponent : 0);
    big_scale(&divisor, decimal->exponent < 0 ? (int)-decimal->exponent : 0);
    /* Brought to the same length, the quotient is between 1/2 and 2; its bits come one by one. */
    shift = big_bits(&divisor) - big_bits(&number);
    big_shift(shift > 0 ? &number : &divisor, shift > 0 ? shift : -shift);
    for (int i = 0; i < 64; i++) {
        quotient *= 2;
        if (big_compare(&number, &divisor) >= 0) {
            big_subtract(&number, &divisor);
            quotient++;
        }
        big_multiply(&number, 2, 0);
    }
    return round_to_double(quotient, -63 - shift, number.count > 0);
}

static bool same_word(const char *text, size_t bytes, const char *word)
{
    size_t i;

    for (i = 0; i < bytes && word[i] != '\0'; i++)
        if ((text[i] | 0x20) != word[i])
            return false;
    return i == bytes && word[i] == '\0';
}

bool rlhfi_parse_double(const char *text, size_t bytes, double *out)
{
    const char *end = text + bytes;
    struct decimal decimal;
    bool negative = false;
    double value;

    if (text < end && (*text == '+' || *text == '-'))
        negative = *text++ == '-';
    bytes = (size_t)(end - text);
    if (same_word(text, bytes, "inf") || same_word(text, bytes, "infinity"))
        value = INFINITY;
    else if (same_word(text, bytes, "nan"))
        value = NAN;
    else if (scan_decimal(text, end, &decimal))
        value = decimal_to_double(&decimal);
    else
        return false;
    *out = negative ? -value : value;
    return true;
}

bool rlhfi_parse_int64(const char *text, size_t bytes, int64_t *out)
{
    const char *end = text + bytes;
    bool negative = false;
    int64_t value = 0;

    if (text < end && (*text == '+' || *text == '-'))
        negative = *text++ == '-';
    if (text == end)
        return false;
    /* Downwards, because the smallest number has no positive twin. */
    for (; text < end; text++)
        if (!is_digit(*text) || __builtin_mul_overflow(value, (int64_t)10, &value) ||
            __builtin_sub_overflow(value, (int64_t)(*text - '0'), &value))
            return false;
    if (!negative && value == INT64_MIN)
        return false;
    *out = negative ? value : -value;
    return true;
}
