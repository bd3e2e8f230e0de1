/* Every checkpoint of golden/models that the library reads: forward, backward, three optimiser steps, greedy decoding,
 * saving. Numbers from transformers in float64; tolerances from the golden README. */
#include <sys/stat.h>
#include <unistd.h>

#include "model_fixtures.h"

struct fixture {
    char name[64], directory[4096];
    char message[512]; /* why the library does not read it */
    bool reward;       /* a score instead of tokens */
    rlhf_context *context;
    rlhfi_model *model;
    rlhfi_safetensors *expected;
    rlhfi_json *numbers;
};

static char *below(const struct fixture *fixture, const char *name, char out[4096])
{
    if (snprintf(out, 4096, "%s/%s", fixture->directory, name) >= 4096)
        fail_msg("path too long");
    return out;
}

static int fixture_open(void **state)
{
    struct fixture *fixture = *state;
    char path[4096];

    fixture->context = make_context(2, UINT32_MAX, 1);
    check_ok(fixture->context,
             rlhfi_model_load(&fixture->model, fixture->context, fixture->directory,
                              fixture->reward ? RLHFI_HEAD_SCALAR : RLHFI_HEAD_TOKENS, NULL),
             fixture->name);
    check_ok(fixture->context,
             rlhfi_safetensors_open(&fixture->expected, fixture->context, below(fixture, "expected.safetensors", path)),
             fixture->name);
    check_ok(fixture->context,
             rlhfi_json_load(&fixture->numbers, fixture->context, below(fixture, "expected.json", path), 1 << 26),
             fixture->name);
    return 0;
}

static int fixture_close(void **state)
{
    struct fixture *fixture = *state;

    rlhfi_json_release(&fixture->numbers);
    rlhfi_safetensors_close(&fixture->expected);
    rlhfi_model_release(&fixture->model);
    rlhf_context_release(&fixture->context);
    return 0;
}

/* ---- forward ---------------------------------------------------------------------------------------------------- */

/* Logits of every token by an ordinary product: the library itself never makes them. */
static void test_forward(void **state)
{
    struct fixture *fixture = *state;
    const rlhfi_architecture *a;
    struct floats hidden, logits;
    struct rows rows;
    float *got_hidden, *got_logits;

    a = &fixture->model->architecture;
    rows = load_rows(fixture->context, fixture->expected, "right");
    hidden = load_floats(fixture->context, fixture->expected, "right.hidden");
    logits = load_floats(fixture->context, fixture->expected, "right.logits");
    check_ok(fixture->context, rlhfi_forward(fixture->model, &rows.ragged, NULL, &got_hidden), "forward");
    got_logits = malloc((size_t)(rows.tokens * a->vocabulary) * sizeof *got_logits);
    check_ok(fixture->context,
             rlhfi_product(fixture->context, RLHFI_NO, RLHFI_YES, rows.tokens, a->vocabulary, a->width, got_hidden,
                           a->width, rlhfi_head_weight(fixture->model).weight.f32, a->width, NULL, 0, got_logits,
                           a->vocabulary),
             "logits");
    for (int64_t r = 0; r < rows.count; r++)
        for (int64_t i = rows.offset[r]; i < rows.offset[r + 1]; i++) {
            int64_t at = r * rows.columns + rows.column[i];
            check_close("hidden", got_hidden + i * a->width, hidden.data + at * a->width, a->width, 2e-4);
            check_close("logits", got_logits + i * a->vocabulary, logits.data + at * a->vocabulary, a->vocabulary,
                        2e-4);
        }
    free(got_logits);
    free(hidden.data);
    free(logits.data);
    free_rows(&rows);
}

/* Which side the padding was on cannot matter, since it is gone. */
static void test_log_probs(void **state)
{
    struct fixture *fixture = *state;
    struct rows right, left;
    struct floats expected, last;
    float *got, *again, *logits;
    rlhfi_token_stats stats;
    rlhfi_cache *cache;
    int64_t *slot;

    right = load_rows(fixture->context, fixture->expected, "right");
    left = load_rows(fixture->context, fixture->expected, "left");
    expected = load_floats(fixture->context, fixture->expected, "right.logprobs");
    last = load_floats(fixture->context, fixture->expected, "left.last_logits");
    got = calloc((size_t)right.tokens, sizeof *got);
    again = calloc((size_t)right.tokens, sizeof *again);
    stats = (rlhfi_token_stats){.log_prob = got};
    check_ok(fixture->context, rlhfi_model_log_probs(fixture->model, &right.view, 1.0f, &stats), "right");
    stats = (rlhfi_token_stats){.log_prob = again};
    check_ok(fixture->context, rlhfi_model_log_probs(fixture->model, &left.view, 1.0f, &stats), "left");
    for (int64_t r = 0, i = 0; r < right.count; r++)
        for (int64_t t = right.offset[r] + 1; t < right.offset[r + 1]; t++, i++)
            check_close("log-probability", got + i, expected.data + r * (right.columns - 1) + right.column[t] - 1, 1,
                        1e-4);
    assert_int_equal(left.tokens, right.tokens);
    assert_memory_equal(got, again, (size_t)right.response_offset[right.count] * sizeof *got);

    /* The logits behind the last token, by the decoder. */
    slot = calloc((size_t)left.count, sizeof *slot);
    for (int64_t r = 0; r < left.count; r++)
        slot[r] = r;
    check_ok(fixture->context, rlhfi_cache_create(&cache, fixture->model, left.count, left.columns), "cache");
    check_ok(fixture->context, rlhfi_decode(fixture->model, cache, left.count, slot, left.offset, left.token, &logits),
             "decode");
    check_close("last logits", logits, last.data, last.count, 2e-4);
    rlhfi_cache_release(&cache);
    free(slot);
    free(got);
    free(again);
    free(expected.data);
    free(last.data);
    free_rows(&right);
    free_rows(&left);
}

/* ---- backward --------------------------------------------------------------------------------------------------- */

struct token_loss {
    const struct rows *rows;
    const int64_t *labels;
    double loss;
    int64_t counted;
};

/* Mean over counted positions of -log p(label). */
static rlhf_status token_loss(void *user_data, const rlhfi_train_arrays *arrays)
{
    struct token_loss *l = user_data;
    const struct rows *rows = l->rows;

    l->loss = 0.0;
    l->counted = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int64_t r = 0, i = 0; r < rows->count; r++)
            for (int64_t t = rows->offset[r] + 1; t < rows->offset[r + 1]; t++, i++) {
                int64_t label = l->labels[r * rows->columns + rows->column[t]];
                if (label == -100)
                    continue;
                assert_int_equal(label, rows->token[t]);
                if (pass == 0) {
                    l->counted++;
                } else {
                    l->loss -= (double)arrays->log_prob[i] / (double)l->counted;
                    arrays->d_log_prob[i] = (float)(-1.0 / (double)l->counted);
                }
            }
    return RLHF_OK;
}

/* Loss of one batch; gradients are gathered. */
static double run_tokens(struct fixture *fixture, const char *prefix, int64_t *counted)
{
    char name[64];
    struct rows rows = load_rows(fixture->context, fixture->expected, prefix);
    struct integers labels;
    struct token_loss l;

    snprintf(name, sizeof name, "%s.labels", prefix);
    labels = load_integers(fixture->context, fixture->expected, name);
    l = (struct token_loss){.rows = &rows, .labels = labels.data};
    check_ok(fixture->context, rlhfi_model_train(fixture->model, &rows.view, 1.0f, false, false, false, token_loss, &l),
             "train");
    if (counted != NULL)
        *counted = l.counted;
    free(labels.data);
    free_rows(&rows);
    return l.loss;
}

struct pair_loss {
    const float *margin;
    double center, loss;
    const float *expected;
};

/* Bradley-Terry; rows 0..P-1 chosen, P..2P-1 rejected. */
static rlhf_status pair_loss(void *user_data, int64_t count, const float *scalar, float *d_scalar)
{
    struct pair_loss *l = user_data;
    int64_t pairs = count / 2;

    if (l->expected != NULL)
        check_close("scores", scalar, l->expected, count, 1e-4);
    l->loss = 0.0;
    for (int64_t p = 0; p < pairs; p++) {
        double w = scalar[p], r = scalar[pairs + p], x = w - r - (l->margin != NULL ? (double)l->margin[p] : 0.0);
        double slope = -1.0 / (1.0 + exp(x));
        l->loss += (log1p(exp(-x)) + l->center * (w + r) * (w + r)) / (double)pairs;
        d_scalar[p] = (float)((slope + 2.0 * l->center * (w + r)) / (double)pairs);
        d_scalar[pairs + p] = (float)((-slope + 2.0 * l->center * (w + r)) / (double)pairs);
    }
    return RLHF_OK;
}

static double run_pairs(struct fixture *fixture, const char *prefix, struct pair_loss *l)
{
    struct rows rows = load_rows(fixture->context, fixture->expected, prefix);

    check_ok(fixture->context, rlhfi_model_train_scalars(fixture->model, &rows.view, false, pair_loss, l), "train");
    free_rows(&rows);
    return l->loss;
}

static void zero_gradient(struct fixture *fixture)
{
    rlhfi_zero(fixture->context, fixture->model->gradient, fixture->model->weights->count);
}

static void test_gradients(void **state)
{
    struct fixture *fixture = *state;

    if (fixture->reward) {
        struct floats scores = load_floats(fixture->context, fixture->expected, "scores");
        struct floats margin = load_floats(fixture->context, fixture->expected, "margin");
        struct pair_loss plain = {.expected = scores.data};
        struct pair_loss center = {.margin = margin.data, .center = number_at(fixture->numbers, "center_coefficient")};
        check_relative("loss", run_pairs(fixture, "right", &plain), number_at(fixture->numbers, "loss"), 1e-5);
        check_gradients(fixture->context, fixture->model, fixture->expected, "grad");
        zero_gradient(fixture);
        /* The same rows, padded on the left. */
        check_relative("loss", run_pairs(fixture, "left", &center), number_at(fixture->numbers, "loss_margin_center"),
                       1e-5);
        check_gradients(fixture->context, fixture->model, fixture->expected, "grad_margin_center");
        free(scores.data);
        free(margin.data);
    } else {
        int64_t counted;
        check_relative("loss", run_tokens(fixture, "right", &counted), number_at(fixture->numbers, "loss"), 1e-5);
        assert_int_equal(counted, (int64_t)number_at(fixture->numbers, "counted_tokens"));
        check_gradients(fixture->context, fixture->model, fixture->expected, "grad");
        check_relative(
            "gradient norm",
            sqrt(rlhfi_sum_of_squares(fixture->context, fixture->model->gradient, fixture->model->weights->count)),
            number_at(fixture->numbers, "grad_norm"), 1e-5);
    }
}

/* ---- three optimiser steps -------------------------------------------------------------------------------------- */

/* The recipe of the golden README, moments in double. */
static double adamw_step(rlhfi_model *model, const rlhfi_json *recipe, int step, double *m, double *v)
{
    double lr = number_at(recipe, "lr"), beta1 = number_at(recipe, "beta1"), beta2 = number_at(recipe, "beta2");
    double eps = number_at(recipe, "eps"), decay = number_at(recipe, "weight_decay");
    double norm = sqrt(rlhfi_sum_of_squares(model->context, model->gradient, model->weights->count));
    double clip = fmin(1.0, number_at(recipe, "max_grad_norm") / (norm + 1e-6));

    check_ok(model->context, rlhfi_model_writable(model), "writable");
    for (int64_t i = 0; i < model->parameter_count; i++) {
        const rlhfi_parameter *parameter = &model->parameters[i];
        for (int64_t j = parameter->offset; j < parameter->offset + parameter->elements; j++) {
            double g = clip * (double)model->gradient[j], p = (double)model->weights->data[j];
            if (parameter->rank >= 2)
                p -= lr * decay * p;
            m[j] = beta1 * m[j] + (1.0 - beta1) * g;
            v[j] = beta2 * v[j] + (1.0 - beta2) * g * g;
            p -= lr * (m[j] / (1.0 - pow(beta1, step + 1))) / (sqrt(v[j] / (1.0 - pow(beta2, step + 1))) + eps);
            model->weights->data[j] = (float)p;
        }
    }
    return norm;
}

static void test_three_steps(void **state)
{
    struct fixture *fixture = *state;
    const rlhfi_json *recipe, *losses, *norms;
    rlhfi_model *model = fixture->model;
    double *m, *v;

    recipe = rlhfi_json_get(fixture->numbers, "adamw");
    losses = rlhfi_json_get(recipe, "losses");
    norms = rlhfi_json_get(recipe, "grad_norms_before_clipping");
    assert_int_equal(rlhfi_json_size(losses), 3);
    m = calloc((size_t)model->weights->count, sizeof *m);
    v = calloc((size_t)model->weights->count, sizeof *v);
    check_ok(fixture->context, rlhfi_model_need_gradient(model), "gradient");
    for (int step = 0; step < 3; step++) {
        char prefix[16];
        double loss, norm, expected_loss = 0.0, expected_norm = 0.0;
        struct pair_loss plain = {0};
        snprintf(prefix, sizeof prefix, "step%d", step);
        zero_gradient(fixture);
        loss = fixture->reward ? run_pairs(fixture, prefix, &plain) : run_tokens(fixture, prefix, NULL);
        norm = adamw_step(model, recipe, step, m, v);
        assert_true(rlhfi_json_number(rlhfi_json_at(losses, (size_t)step), &expected_loss));
        assert_true(rlhfi_json_number(rlhfi_json_at(norms, (size_t)step), &expected_norm));
        check_relative("loss of a step", loss, expected_loss, 1e-5);
        check_relative("gradient norm of a step", norm, expected_norm, 1e-5);
    }
    for (int64_t i = 0; i < model->parameter_count; i++) {
        const rlhfi_parameter *parameter = &model->parameters[i];
        char name[160];
        struct floats expected;
        snprintf(name, sizeof name, "after3.%s", parameter->name);
        expected = load_floats(fixture->context, fixture->expected, name);
        check_close(name, model->weights->data + parameter->offset, expected.data, expected.count,
                    0.02 * number_at(recipe, "lr"));
        free(expected.data);
    }
    free(m);
    free(v);
}

/* ---- greedy decoding -------------------------------------------------------------------------------------------- */

/* All prompts side by side, as many tokens each as are recorded, with a cache. */
static void test_greedy(void **state)
{
    enum { MOST = 64, MOST_TOKENS = 16384 };
    struct fixture *fixture = *state;
    rlhfi_model *model = fixture->model;
    const rlhfi_json *cases;
    static int32_t tokens[MOST_TOKENS];
    int64_t offset[MOST + 1] = {0}, slot[MOST], count, steps;
    rlhfi_cache *cache;

    cases = rlhfi_json_get(fixture->numbers, "greedy");
    count = (int64_t)rlhfi_json_size(cases);
    assert_true(count > 0 && count <= MOST);
    for (int64_t c = 0; c < count; c++) {
        const rlhfi_json *prompt = rlhfi_json_get(rlhfi_json_at(cases, (size_t)c), "prompt");
        offset[c + 1] = offset[c];
        for (size_t i = 0; i < rlhfi_json_size(prompt); i++) {
            int64_t id = -1;
            assert_true(offset[c + 1] < MOST_TOKENS && rlhfi_json_integer(rlhfi_json_at(prompt, i), &id));
            tokens[offset[c + 1]++] = (int32_t)id;
        }
        slot[c] = c;
    }
    steps = (int64_t)rlhfi_json_size(rlhfi_json_get(rlhfi_json_at(cases, 0), "continuation"));
    assert_true(steps > 0);
    check_ok(fixture->context, rlhfi_cache_create(&cache, model, count, model->architecture.positions), "cache");
    for (int64_t step = 0; step < steps; step++) {
        float *logits;
        check_ok(fixture->context, rlhfi_decode(model, cache, count, slot, offset, tokens, &logits), "decode");
        for (int64_t c = 0; c < count; c++) {
            const rlhfi_json *continuation = rlhfi_json_get(rlhfi_json_at(cases, (size_t)c), "continuation");
            const float *z = logits + c * model->architecture.vocabulary;
            int64_t best = 0, expected = -1;
            for (int64_t id = 1; id < model->architecture.vocabulary; id++)
                if (z[id] > z[best])
                    best = id;
            assert_true(rlhfi_json_integer(rlhfi_json_at(continuation, (size_t)step), &expected));
            assert_int_equal(best, expected);
        }
        for (int64_t c = 0; c < count; c++) {
            const rlhfi_json *continuation = rlhfi_json_get(rlhfi_json_at(cases, (size_t)c), "continuation");
            int64_t id = -1;
            rlhfi_json_integer(rlhfi_json_at(continuation, (size_t)step), &id);
            tokens[c] = (int32_t)id;
            offset[c + 1] = c + 1;
        }
    }
    rlhfi_cache_release(&cache);
}

/* ---- files ------------------------------------------------------------------------------------------------------ */

static char *load_file(rlhf_context *context, const char *directory, const char *name, size_t *bytes)
{
    char *path = rlhfi_path_join(context, directory, name), *data;

    assert_non_null(path);
    check_ok(context, rlhfi_file_load(context, path, 1 << 28, &data, bytes), path);
    rlhfi_free(context, path);
    return data;
}

static void copy_file(rlhf_context *context, const char *from, const char *from_name, const char *to,
                      const char *to_name)
{
    char path[4096], *data;
    size_t bytes;

    data = load_file(context, from, from_name, &bytes);
    snprintf(path, sizeof path, "%s/%s", to, to_name);
    check_ok(context, rlhfi_file_save(context, path, data, bytes), path);
    rlhfi_free(context, data);
}

static void test_files(void **state)
{
    struct fixture *fixture = *state;
    char directory[] = "/tmp/rlhf-parity-XXXXXX", path[4096], hash[65], again_hash[65];
    enum rlhfi_head_kind head = fixture->reward ? RLHFI_HEAD_SCALAR : RLHFI_HEAD_TOKENS;
    rlhfi_model *again;

    assert_non_null(mkdtemp(directory));
    check_ok(fixture->context, rlhfi_model_hash(fixture->model, hash), "hash");

    /* The same model in the spelling of transformers 5. */
    if (rlhfi_path_exists(below(fixture, "model.safetensors", path)) &&
        rlhfi_path_exists(below(fixture, "config.v5.json", path))) {
        copy_file(fixture->context, fixture->directory, "config.v5.json", directory, "config.json");
        copy_file(fixture->context, fixture->directory, "model.safetensors", directory, "model.safetensors");
        check_ok(fixture->context, rlhfi_model_load(&again, fixture->context, directory, head, NULL), "config.v5.json");
        check_ok(fixture->context, rlhfi_model_hash(again, again_hash), "hash");
        assert_string_equal(again_hash, hash);
        rlhfi_model_release(&again);
    }

    check_ok(fixture->context, rlhfi_model_save(fixture->model, directory), "save");
    check_ok(fixture->context, rlhfi_model_load(&again, fixture->context, directory, head, NULL), "load again");
    check_ok(fixture->context, rlhfi_model_hash(again, again_hash), "hash");
    assert_string_equal(again_hash, hash);
    assert_int_equal(again->architecture.tied_head, fixture->model->architecture.tied_head);
    rlhfi_model_release(&again);
    if (rlhfi_path_exists(below(fixture, "model.safetensors", path))) {
        size_t bytes, again_bytes;
        char *data = load_file(fixture->context, fixture->directory, "model.safetensors", &bytes);
        char *again_data = load_file(fixture->context, directory, "model.safetensors", &again_bytes);
        if (strstr(data + 8, "BF16") == NULL && strstr(data + 8, "F16") == NULL) {
            assert_int_equal(again_bytes, bytes);
            assert_memory_equal(again_data, data, bytes);
        }
        rlhfi_free(fixture->context, data);
        rlhfi_free(fixture->context, again_data);
    }
    check_ok(fixture->context, rlhfi_remove_tree(fixture->context, directory), "clean up");
}

/* ---- all models ------------------------------------------------------------------------------------------------- */

static void test_unsupported(void **state)
{
    const struct fixture *fixture = *state;

    SKIP("%s", fixture->message);
}

/* Reward checkpoints are those with expected scores. */
static bool has_scores(rlhf_context *context, const char *path)
{
    rlhfi_safetensors *file;
    bool found;

    if (rlhfi_safetensors_open(&file, context, path) != RLHF_OK)
        return false;
    found = rlhfi_safetensors_find(file, "scores") != NULL;
    rlhfi_safetensors_close(&file);
    return found;
}

static void test_no_fixtures(void **state)
{
    (void)state;
    SKIP("golden/models is not there (set RLHF_GOLDEN)");
}

int main(void)
{
    enum { MOST = 64 };
    static const struct {
        const char *name;
        CMUnitTestFunction function;
    } checks[] = {
        {"forward", test_forward},     {"log-probabilities", test_log_probs},
        {"gradients", test_gradients}, {"three steps", test_three_steps},
        {"greedy", test_greedy},       {"files", test_files},
    };
    enum { CHECKS = sizeof checks / sizeof checks[0] };
    static struct fixture fixtures[MOST];
    static struct CMUnitTest tests[MOST * CHECKS];
    static char names[MOST * CHECKS][128];
    const struct CMUnitTest missing[] = {cmocka_unit_test(test_no_fixtures)};
    char root[4096], path[4096], **entries = NULL;
    rlhf_context *context = NULL;
    rlhfi_hf_config config = {0};
    size_t count = 0, models = 0, used = 0;
    int failed;

    if (rlhf_context_create(&context, NULL) != RLHF_OK)
        return 1;
    golden_path("models", root);
    if (rlhfi_list_directory(context, root, &entries, &count) != RLHF_OK || count == 0)
        return cmocka_run_group_tests(missing, NULL, NULL);
    for (size_t i = 0; i < count && models < MOST; i++) {
        struct fixture *fixture = &fixtures[models];
        snprintf(fixture->name, sizeof fixture->name, "%.60s", entries[i]);
        snprintf(fixture->directory, sizeof fixture->directory, "%.3000s/%.60s", root, entries[i]);
        if (!rlhfi_path_exists(below(fixture, "expected.json", path)))
            continue;
        models++;
        if (rlhfi_hf_config_load(&config, context, fixture->directory) == RLHF_E_UNSUPPORTED) {
            rlhf_context_error(context, fixture->message, sizeof fixture->message);
            snprintf(names[used], sizeof names[used], "%.60s", entries[i]);
            tests[used] = (struct CMUnitTest){names[used], test_unsupported, NULL, NULL, fixture};
            used++;
            continue;
        }
        rlhfi_hf_config_free(context, &config);
        fixture->reward = has_scores(context, below(fixture, "expected.safetensors", path));
        for (size_t c = 0; c < CHECKS; c++) {
            /* No tokens head; scores are compared where the gradients are. */
            if (fixture->reward && (c < 2 || checks[c].function == test_greedy))
                continue;
            snprintf(names[used], sizeof names[used], "%.60s: %s", entries[i], checks[c].name);
            tests[used] = (struct CMUnitTest){names[used], checks[c].function, fixture_open, fixture_close, fixture};
            used++;
        }
    }
    if (used == 0)
        tests[used++] = (struct CMUnitTest){"models", test_no_fixtures, NULL, NULL, NULL};
    failed = _cmocka_run_group_tests("golden models", tests, used, NULL, NULL);
    rlhfi_free(context, entries);
    rlhf_context_release(&context);
    return failed;
}
