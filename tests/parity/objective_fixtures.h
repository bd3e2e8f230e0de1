/* Golden objectives: JSON arrays as ragged rows without what the mask leaves out, and comparisons in double. */
#ifndef RLHF_TESTS_OBJECTIVE_FIXTURES_H
#define RLHF_TESTS_OBJECTIVE_FIXTURES_H

#include "golden.h"

#include <math.h>
#include <string.h>

#include "formats/formats.h"
#include "objectives/objectives.h"

enum { MOST_NUMBERS = 8192, MOST_ROWS = 256, MOST_IDS = 1024 };

static rlhf_context *context;

static inline void check_ok(rlhf_status status)
{
    char error[512];

    if (status == RLHF_OK)
        return;
    rlhf_context_error(context, error, sizeof error);
    fail_msg("%s: %s", rlhf_status_name(status), error);
}

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

static inline const rlhfi_json *need(const rlhfi_json *object, const char *key)
{
    const rlhfi_json *node = rlhfi_json_get(object, key);

    if (node == NULL)
        fail_msg("the fixture has no %s", key);
    return node;
}

static inline bool is_null(const rlhfi_json *object, const char *key)
{
    return rlhfi_json_type(rlhfi_json_get(object, key)) == RLHFI_JSON_NULL;
}

/* What JSON cannot say is written as a string. */
static inline double number_of(const rlhfi_json *node)
{
    const char *text = rlhfi_json_text(node, NULL);
    bool truth;
    double number;

    if (rlhfi_json_number(node, &number))
        return number;
    if (rlhfi_json_boolean(node, &truth))
        return truth;
    if (text != NULL && strcmp(text, "nan") == 0)
        return NAN;
    if (text != NULL && strcmp(text, "inf") == 0)
        return INFINITY;
    if (text != NULL && strcmp(text, "-inf") == 0)
        return -INFINITY;
    fail_msg("the fixture has something else than a number");
    return 0;
}

static inline double number_at(const rlhfi_json *object, const char *key)
{
    return number_of(need(object, key));
}

/* One list of numbers; returns how many. */
static inline int64_t numbers_at(const rlhfi_json *object, const char *key, double *out)
{
    const rlhfi_json *list = need(object, key);
    int64_t count = (int64_t)rlhfi_json_size(list);

    assert_true(count <= MOST_NUMBERS);
    for (int64_t i = 0; i < count; i++)
        out[i] = number_of(rlhfi_json_at(list, (size_t)i));
    return count;
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

/* A padded batch without its padding: row[i], column[i] tell where token i stood. */
struct ragged {
    int64_t rows, count, offset[MOST_ROWS + 1];
    size_t row[MOST_NUMBERS], column[MOST_NUMBERS];
};

/* Places where counts(entry of the array key) is true. */
static inline struct ragged ragged_where(const rlhfi_json *object, const char *key, bool (*counts)(double))
{
    const rlhfi_json *array = need(object, key);
    struct ragged ragged = {.rows = (int64_t)rlhfi_json_size(array)};

    assert_true(ragged.rows <= MOST_ROWS);
    for (int64_t r = 0; r < ragged.rows; r++) {
        const rlhfi_json *line = rlhfi_json_at(array, (size_t)r);
        for (size_t c = 0; c < rlhfi_json_size(line); c++) {
            if (!counts(number_of(rlhfi_json_at(line, c))))
                continue;
            assert_true(ragged.count < MOST_NUMBERS);
            ragged.row[ragged.count] = (size_t)r;
            ragged.column[ragged.count++] = c;
        }
        ragged.offset[r + 1] = ragged.count;
    }
    return ragged;
}

static inline bool is_one(double x)
{
    return x == 1;
}

static inline bool is_label(double x)
{
    return x != -100;
}

static inline const rlhfi_json *entry(const struct ragged *ragged, const rlhfi_json *array, int64_t i)
{
    return rlhfi_json_at(rlhfi_json_at(array, ragged->row[i]), ragged->column[i]);
}

/* The counted numbers of a padded array. */
static inline void pick(const struct ragged *ragged, const rlhfi_json *object, const char *key, double *out)
{
    const rlhfi_json *array = need(object, key);

    for (int64_t i = 0; i < ragged->count; i++)
        out[i] = number_of(entry(ragged, array, i));
}

/* ---- comparisons: 1e-9 relative, of the largest number of an array ----------------------------------------------- */

static inline void check_number(const char *what, double got, double wanted)
{
    if (!(fabs(got - wanted) <= 1e-9 * fmax(fabs(wanted), 1e-3)))
        fail_msg("%s: %.17g, expected %.17g", what, got, wanted);
}

static inline void check_numbers(const char *what, const double *got, const double *wanted, int64_t count)
{
    double largest = 0;

    for (int64_t i = 0; i < count; i++)
        largest = fmax(largest, fabs(wanted[i]));
    for (int64_t i = 0; i < count; i++)
        if (!(fabs(got[i] - wanted[i]) <= 1e-9 * fmax(largest, 1e-6)))
            fail_msg("%s[%lld]: %.17g, expected %.17g", what, (long long)i, got[i], wanted[i]);
}

static inline void check_picked(const struct ragged *ragged, const rlhfi_json *object, const char *key,
                                const double *got)
{
    double wanted[MOST_NUMBERS];

    pick(ragged, object, key, wanted);
    check_numbers(key, got, wanted, ragged->count);
}

/* ---- objectives -------------------------------------------------------------------------------------------------- */

#define SIZED(type, ...) (type){.struct_size = sizeof(type), __VA_ARGS__}

/* The built-in of that name with keys set: made("gae", "lam", 1.0, NULL). */
static inline rlhf_objective *made(const char *name, ...)
{
    rlhf_objective *objective = NULL;
    va_list keys;

    check_ok(rlhf_objective_builtin(&objective, context, name));
    va_start(keys, name);
    for (const char *key = va_arg(keys, const char *); key != NULL; key = va_arg(keys, const char *))
        check_ok(rlhf_objective_set(objective, key, va_arg(keys, double)));
    va_end(keys);
    return objective;
}

/* log p of a row of logits over temperature; at most MOST_IDS; returns their entropy. */
static inline double log_softmax(const rlhfi_json *logits, double temperature, double *log_p)
{
    size_t vocabulary = rlhfi_json_size(logits);
    double greatest = -INFINITY, sum = 0, entropy = 0;

    assert_true(vocabulary <= MOST_IDS);
    for (size_t v = 0; v < vocabulary; v++) {
        log_p[v] = number_of(rlhfi_json_at(logits, v)) / temperature;
        greatest = fmax(greatest, log_p[v]);
    }
    for (size_t v = 0; v < vocabulary; v++)
        sum += exp(log_p[v] - greatest);
    for (size_t v = 0; v < vocabulary; v++) {
        log_p[v] -= greatest + log(sum);
        entropy -= exp(log_p[v]) * log_p[v];
    }
    return entropy;
}

#endif
