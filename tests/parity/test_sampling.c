/* Distributions that tokens are drawn from, against the logits processors of transformers: golden/sampling. Cases with
 * processors that this library does not have are named as skipped. */
#include "parity/model_fixtures.h"

#include "generation/generation.h"
#include "generation/internal.h"

static const char *const known[] = {"temperature", "top_k", "top_p", "min_p", "min_new_tokens"};

/* The files write what JSON cannot as strings. */
static double number(const rlhfi_json *node)
{
    const char *text = rlhfi_json_text(node, NULL);
    double value = NAN;

    if (text != NULL)
        return strcmp(text, "-inf") == 0 ? -INFINITY : strcmp(text, "inf") == 0 ? INFINITY : NAN;
    assert_true(rlhfi_json_number(node, &value));
    return value;
}

static double number_or(const rlhfi_json *object, const char *key, double otherwise)
{
    const rlhfi_json *node = rlhfi_json_get(object, key);

    return node != NULL ? number(node) : otherwise;
}

/* The first parameter that we do not have, or NULL. */
static const char *unknown_parameter(const rlhfi_json *parameters)
{
    const rlhfi_json *value;
    const char *key;

    for (void *i = NULL; rlhfi_json_next(parameters, &i, &key, &value);) {
        bool found = false;
        for (size_t k = 0; k < sizeof known / sizeof *known; k++)
            found |= strcmp(key, known[k]) == 0;
        if (!found)
            return key;
    }
    return NULL;
}

static int descending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? 1 : x > y ? -1 : 0;
}

static void check_case(rlhf_context *context, const rlhfi_json *entry, const char *name)
{
    const rlhfi_json *parameters = rlhfi_json_get(entry, "parameters"), *logits = rlhfi_json_get(entry, "logits");
    const rlhfi_json *probabilities = rlhfi_json_get(entry, "probabilities");
    const rlhfi_json *eos = rlhfi_json_get(entry, "eos_token_id");
    const char *kind = rlhfi_json_text(rlhfi_json_get(entry, "kind"), NULL);
    size_t n = rlhfi_json_size(logits);
    float *z = calloc(n, sizeof *z);
    double *p = calloc(n, sizeof *p), *expected = calloc(n, sizeof *expected);
    bool any_order = kind != NULL && (strcmp(kind, "ties") == 0 || strcmp(kind, "uniform") == 0);
    rlhf_rollout_options options;
    double generated = (double)rlhfi_json_size(rlhfi_json_get(entry, "previous_ids")) -
                       number(rlhfi_json_get(entry, "prompt_length"));
    size_t kept = 0;

    assert_true(n > 0 && rlhfi_json_size(probabilities) == n);
    for (size_t i = 0; i < n; i++) {
        z[i] = (float)number(rlhfi_json_at(logits, i));
        expected[i] = number(rlhfi_json_at(probabilities, i));
    }
    rlhf_rollout_options_init(&options, sizeof options);
    options.temperature = number_or(parameters, "temperature", 1);
    options.top_k = (int32_t)number_or(parameters, "top_k", 0);
    options.top_p = number_or(parameters, "top_p", 1);
    options.min_p = number_or(parameters, "min_p", 0);
    if (generated < number_or(parameters, "min_new_tokens", 0))
        for (size_t i = 0; i < rlhfi_json_size(eos); i++) {
            int32_t stop = (int32_t)number(rlhfi_json_at(eos, i));
            rlhfi_sampler_forbid(z, &stop, 1);
        }
    check_ok(context, rlhf_rollout_distribution(context, z, (int64_t)n, &options, p), name);
    for (size_t i = 0; i < n; i++)
        kept += p[i] > 0;
    if (kept != rlhfi_json_size(rlhfi_json_get(entry, "kept")))
        fail_msg("%s: %zu ids kept, expected %zu", name, kept, rlhfi_json_size(rlhfi_json_get(entry, "kept")));
    /* Among equal logits the reference's choice is that of its sort. */
    if (any_order && options.top_p < 1) {
        qsort(p, n, sizeof *p, descending);
        qsort(expected, n, sizeof *expected, descending);
    }
    for (size_t i = 0; i < n; i++)
        if (!(fabs(p[i] - expected[i]) <= 1e-6))
            fail_msg("%s: probability of id %zu is %.9g, expected %.9g", name, i, p[i], expected[i]);
    free(z);
    free(p);
    free(expected);
}

static void distributions_are_those_of_transformers(void **state)
{
    rlhf_context *context = make_context(1, UINT32_MAX, 1);
    const rlhfi_json *cases;
    rlhfi_json *file = NULL;
    char path[4096];
    int compared = 0, skipped = 0;

    golden_path("sampling/filtered_distributions.json", path);
    if (!rlhfi_path_exists(path)) {
        rlhf_context_release(&context);
        SKIP("no %s", path);
    }
    check_ok(context, rlhfi_json_load(&file, context, path, 64 << 20), path);
    cases = rlhfi_json_get(file, "cases");
    for (size_t i = 0; i < rlhfi_json_size(cases); i++) {
        const rlhfi_json *entry = rlhfi_json_at(cases, i);
        const char *name = rlhfi_json_text(rlhfi_json_get(entry, "name"), NULL);
        const char *unknown = unknown_parameter(rlhfi_json_get(entry, "parameters"));

        if (unknown != NULL) {
            print_message("skipped: %s: %s is not in this library\n", name, unknown);
            skipped++;
            continue;
        }
        check_case(context, entry, name);
        compared++;
    }
    print_message("%d distributions compared, %d with other processors skipped\n", compared, skipped);
    assert_true(compared > 0 || skipped > 0);
    rlhfi_json_release(&file);
    rlhf_context_release(&context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(distributions_are_those_of_transformers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
