/* Golden checkpoints: where they lie, and rows of padded tensors as ragged batches. */
#ifndef RLHF_TESTS_MODEL_FIXTURES_H
#define RLHF_TESTS_MODEL_FIXTURES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "model/model.h"

/* Path below a root: $VARIABLE, else BELOW beside the sources. */
static inline const char *fixture_path(const char *variable, const char *below, const char *name, char out[4096])
{
    const char *given = getenv(variable), *source = getenv("RLHF_SOURCE_ROOT");
    int length = given != NULL ? snprintf(out, 4096, "%s/%s", given, name)
                               : snprintf(out, 4096, "%s/../%s/%s", source != NULL ? source : ".", below, name);
    if (length < 0 || length >= 4096)
        fail_msg("path too long");
    return out;
}

static inline const char *golden_path(const char *name, char out[4096])
{
    return fixture_path("RLHF_GOLDEN", "shared/golden", name, out);
}

static inline const char *shared_path(const char *name, char out[4096])
{
    return fixture_path("RLHF_SHARED", "shared", name, out);
}

#define SKIP(...)                                                                                                      \
    do {                                                                                                               \
        print_message("skipped: " __VA_ARGS__);                                                                        \
        print_message("\n");                                                                                           \
        skip();                                                                                                        \
    } while (0)

static inline void check_ok(rlhf_context *context, rlhf_status status, const char *what)
{
    char error[512];

    if (status == RLHF_OK)
        return;
    rlhf_context_error(context, error, sizeof error);
    fail_msg("%s: %s: %s", what, rlhf_status_name(status), error);
}

static inline rlhf_context *make_context(int32_t threads, uint32_t cpu_mask, int32_t use_blis)
{
    rlhf_context_options options;
    rlhf_context *context;

    rlhf_context_options_init(&options, sizeof options);
    options.threads = threads;
    options.cpu_mask = cpu_mask;
    options.use_blis = use_blis;
    assert_int_equal(rlhf_context_create(&context, &options), RLHF_OK);
    return context;
}

/* ---- tensors ---------------------------------------------------------------------------------------------------- */

struct floats {
    float *data;
    int64_t count, shape[3];
};
struct integers {
    int64_t *data;
    int64_t rows, columns;
};

static inline const rlhfi_tensor_info *need_tensor(rlhfi_safetensors *file, const char *name)
{
    const rlhfi_tensor_info *info = rlhfi_safetensors_find(file, name);

    if (info == NULL)
        fail_msg("the fixture has no tensor %s", name);
    return info;
}

static inline struct floats load_floats(rlhf_context *context, rlhfi_safetensors *file, const char *name)
{
    const rlhfi_tensor_info *info = need_tensor(file, name);
    struct floats floats = {.data = malloc((size_t)(info->elements + 1) * sizeof(float)), .count = info->elements};

    for (int32_t i = 0; i < info->rank && i < 3; i++)
        floats.shape[i] = info->shape[i];
    assert_non_null(floats.data);
    check_ok(context, rlhfi_safetensors_read_float(file, info, floats.data), name);
    return floats;
}

static inline struct integers load_integers(rlhf_context *context, rlhfi_safetensors *file, const char *name)
{
    const rlhfi_tensor_info *info = need_tensor(file, name);
    struct integers integers = {.data = malloc((size_t)(info->elements + 1) * sizeof(int64_t))};

    assert_non_null(integers.data);
    assert_int_equal(info->rank, 2);
    integers.rows = info->shape[0];
    integers.columns = info->shape[1];
    check_ok(context, rlhfi_safetensors_read_int64(file, info, integers.data), name);
    return integers;
}

/* ---- rows ------------------------------------------------------------------------------------------------------- */

/* A padded batch without its padding. column[i] is where token i stood in its padded row. */
struct rows {
    int64_t count, tokens, columns;
    int64_t *offset, *response_offset, *column;
    int32_t *token, *prompt_length;
    rlhf_batch_view view;
    rlhfi_ragged ragged;
};

static inline struct rows load_rows(rlhf_context *context, rlhfi_safetensors *file, const char *prefix)
{
    char name[64];
    struct integers ids, mask;
    struct rows rows = {0};

    snprintf(name, sizeof name, "%s.input_ids", prefix);
    ids = load_integers(context, file, name);
    snprintf(name, sizeof name, "%s.attention_mask", prefix);
    mask = load_integers(context, file, name);
    rows.count = ids.rows;
    rows.columns = ids.columns;
    rows.offset = calloc((size_t)ids.rows + 1, sizeof *rows.offset);
    rows.response_offset = calloc((size_t)ids.rows + 1, sizeof *rows.response_offset);
    rows.prompt_length = calloc((size_t)ids.rows, sizeof *rows.prompt_length);
    rows.token = calloc((size_t)(ids.rows * ids.columns), sizeof *rows.token);
    rows.column = calloc((size_t)(ids.rows * ids.columns), sizeof *rows.column);
    for (int64_t r = 0; r < ids.rows; r++) {
        for (int64_t c = 0; c < ids.columns; c++)
            if (mask.data[r * ids.columns + c] != 0) {
                rows.token[rows.tokens] = (int32_t)ids.data[r * ids.columns + c];
                rows.column[rows.tokens++] = c;
            }
        rows.offset[r + 1] = rows.tokens;
        rows.prompt_length[r] = 1; /* everything behind the first token is response */
        rows.response_offset[r + 1] = rows.response_offset[r] + rows.tokens - rows.offset[r] - 1;
    }
    rows.view = (rlhf_batch_view){.struct_size = sizeof rows.view, .rows = rows.count, .offset = rows.offset,
                                  .tokens = rows.token, .prompt_length = rows.prompt_length,
                                  .response_offset = rows.response_offset};
    rows.ragged = (rlhfi_ragged){.sequences = rows.count, .offset = rows.offset, .tokens = rows.token};
    free(ids.data);
    free(mask.data);
    return rows;
}

static inline void free_rows(struct rows *rows)
{
    free(rows->offset);
    free(rows->response_offset);
    free(rows->column);
    free(rows->token);
    free(rows->prompt_length);
}

/* ---- comparisons ------------------------------------------------------------------------------------------------ */

static inline void check_close(const char *what, const float *got, const float *expected, int64_t count,
                               double tolerance)
{
    double worst = 0.0;
    int64_t where = 0;

    for (int64_t i = 0; i < count; i++) {
        double difference = fabs((double)got[i] - (double)expected[i]);
        if (!(difference <= worst)) {
            worst = difference;
            where = i;
        }
    }
    if (!(worst <= tolerance))
        fail_msg("%s: entry %lld is %.9g, expected %.9g: off by %g, %g allowed", what, (long long)where,
                 (double)got[where], (double)expected[where], worst, tolerance);
}

static inline void check_relative(const char *what, double got, double expected, double tolerance)
{
    if (!(fabs(got - expected) <= tolerance * fabs(expected)))
        fail_msg("%s: %.12g, expected %.12g: relative difference %g, %g allowed", what, got, expected,
                 fabs(got - expected) / fabs(expected), tolerance);
}

/* Every parameter's gradient against tensors PREFIX.NAME: 1e-4 of the tensor's maximum. Where a gradient vanishes in
 * exact arithmetic (the last bias under a loss of differences) rounding remains: 1e-7 is allowed. */
static inline void check_gradients(rlhf_context *context, rlhfi_model *model, rlhfi_safetensors *file,
                                   const char *prefix)
{
    for (int64_t i = 0; i < model->parameter_count; i++) {
        const rlhfi_parameter *parameter = &model->parameters[i];
        char name[160];
        struct floats expected;
        double maximum = 0.0;
        snprintf(name, sizeof name, "%s.%s", prefix, parameter->name);
        expected = load_floats(context, file, name);
        assert_int_equal(expected.count, parameter->elements);
        for (int64_t j = 0; j < expected.count; j++)
            maximum = fmax(maximum, fabs((double)expected.data[j]));
        check_close(name, model->gradient + parameter->offset, expected.data, expected.count,
                    fmax(1e-4 * maximum, 1e-7));
        free(expected.data);
    }
}

static inline double number_at(const rlhfi_json *object, const char *key)
{
    double number;

    if (!rlhfi_json_number(rlhfi_json_get(object, key), &number))
        fail_msg("the fixture has no number %s", key);
    return number;
}

#endif
