/* llama2.c checkpoints as Hugging Face directories, against float64 numbers: every NAME.json of golden/stories, whose
 * model is shared/models/NAME. */
#include "model_fixtures.h"

struct fixture {
    char name[128];
    rlhf_context *context;
    rlhfi_model *model;
    rlhfi_json *numbers;
    char missing[4300];
};

/* Path of golden/stories/NAME and an ending. */
static const char *stories_path(const struct fixture *fixture, const char *ending, char out[4096])
{
    char below[256];

    snprintf(below, sizeof below, "stories/%s%s", fixture->name, ending);
    return golden_path(below, out);
}

static int fixture_open(void **state)
{
    struct fixture *fixture = *state;
    char path[4096], below[256];

    fixture->context = make_context(2, UINT32_MAX, 1);
    snprintf(below, sizeof below, "models/%s", fixture->name);
    if (!rlhfi_path_is_directory(shared_path(below, path))) {
        snprintf(fixture->missing, sizeof fixture->missing, "%s is not there (set RLHF_SHARED)", path);
        return 0;
    }
    check_ok(fixture->context, rlhfi_model_load(&fixture->model, fixture->context, path, RLHFI_HEAD_TOKENS, NULL),
             path);
    stories_path(fixture, ".json", path);
    check_ok(fixture->context, rlhfi_json_load(&fixture->numbers, fixture->context, path, 1 << 28), path);
    return 0;
}

static int fixture_close(void **state)
{
    struct fixture *fixture = *state;

    rlhfi_json_release(&fixture->numbers);
    rlhfi_model_release(&fixture->model);
    rlhf_context_release(&fixture->context);
    return 0;
}

/* One row: all ids of a sequence. */
struct sequence {
    int32_t *token, prompt_length[1];
    int64_t offset[2], response_offset[2];
    float *expected;
    rlhf_batch_view view;
};

static struct sequence load_sequence(const rlhfi_json *node)
{
    const rlhfi_json *ids = rlhfi_json_get(node, "ids"), *log_probs = rlhfi_json_get(node, "logprob_next");
    size_t count = rlhfi_json_size(ids);
    struct sequence sequence = {.token = calloc(count, sizeof(int32_t)), .expected = calloc(count, sizeof(float))};

    assert_true(count > 1);
    assert_int_equal(rlhfi_json_size(log_probs), count - 1);
    for (size_t i = 0; i < count; i++) {
        int64_t id = -1;
        assert_true(rlhfi_json_integer(rlhfi_json_at(ids, i), &id));
        sequence.token[i] = (int32_t)id;
        if (i + 1 < count) {
            double number = 0.0;
            assert_true(rlhfi_json_number(rlhfi_json_at(log_probs, i), &number));
            sequence.expected[i] = (float)number;
        }
    }
    sequence.prompt_length[0] = 1;
    sequence.offset[1] = (int64_t)count;
    sequence.response_offset[1] = (int64_t)count - 1;
    return sequence;
}

/* The pointers, once the sequence stands where it stays. */
static const rlhf_batch_view *view_of(struct sequence *sequence)
{
    sequence->view = (rlhf_batch_view){.struct_size = sizeof sequence->view,
                                       .rows = 1,
                                       .offset = sequence->offset,
                                       .tokens = sequence->token,
                                       .prompt_length = sequence->prompt_length,
                                       .response_offset = sequence->response_offset};
    return &sequence->view;
}

static rlhf_status mean_loss(void *user_data, const rlhfi_train_arrays *arrays)
{
    double *loss = user_data;

    *loss = 0.0;
    for (int64_t i = 0; i < arrays->count; i++) {
        *loss -= (double)arrays->log_prob[i] / (double)arrays->count;
        arrays->d_log_prob[i] = (float)(-1.0 / (double)arrays->count);
    }
    return RLHF_OK;
}

/* Names of llama2.c and of Hugging Face. */
static const struct {
    const char *theirs, *ours;
    bool per_layer;
} tensors[] = {
    {"tok_embeddings", "model.embed_tokens.weight", false},
    {"attention_norm", "input_layernorm.weight", true},
    {"wq", "self_attn.q_proj.weight", true},
    {"wk", "self_attn.k_proj.weight", true},
    {"wv", "self_attn.v_proj.weight", true},
    {"wo", "self_attn.o_proj.weight", true},
    {"ffn_norm", "post_attention_layernorm.weight", true},
    {"w1", "mlp.gate_proj.weight", true},
    {"w2", "mlp.down_proj.weight", true},
    {"w3", "mlp.up_proj.weight", true},
    {"norm", "model.norm.weight", false},
};

static const rlhfi_parameter *find_parameter(const rlhfi_model *model, const char *name, int64_t layer)
{
    char full[160];

    snprintf(full, sizeof full, "model.layers.%lld.%s", (long long)layer, name);
    for (int64_t i = 0; i < model->parameter_count; i++)
        if (strcmp(model->parameters[i].name, layer < 0 ? name : full) == 0)
            return &model->parameters[i];
    fail_msg("no parameter %s", layer < 0 ? name : full);
    return NULL;
}

static double norm_of(const rlhfi_model *model, const rlhfi_parameter *parameter)
{
    return sqrt(rlhfi_sum_of_squares(model->context, model->gradient + parameter->offset, parameter->elements));
}

static void check_norms(struct fixture *fixture, const rlhfi_json *node)
{
    const rlhfi_model *model = fixture->model;
    const rlhfi_json *per_tensor = rlhfi_json_get(node, "gradient_norm_per_tensor");
    const rlhfi_json *per_layer = rlhfi_json_get(node, "gradient_norm_per_layer");

    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++) {
        double square = 0.0;
        if (!tensors[i].per_layer) {
            square = pow(norm_of(model, find_parameter(model, tensors[i].ours, -1)), 2.0);
        } else {
            const rlhfi_json *layers = rlhfi_json_get(per_layer, tensors[i].theirs);
            assert_int_equal(rlhfi_json_size(layers), model->architecture.layers);
            for (int64_t layer = 0; layer < model->architecture.layers; layer++) {
                double norm = norm_of(model, find_parameter(model, tensors[i].ours, layer)), expected = 0.0;
                assert_true(rlhfi_json_number(rlhfi_json_at(layers, (size_t)layer), &expected));
                check_relative(tensors[i].ours, norm, expected, 1e-4);
                square += norm * norm;
            }
        }
        check_relative(tensors[i].ours, sqrt(square), number_at(per_tensor, tensors[i].theirs), 1e-4);
    }
    check_relative("gradient norm", sqrt(rlhfi_sum_of_squares(model->context, model->gradient, model->weights->count)),
                   number_at(node, "gradient_norm"), 1e-4);
}

static void test_sequences(void **state)
{
    struct fixture *fixture = *state;
    const rlhfi_json *list;

    if (fixture->missing[0] != '\0')
        SKIP("%s", fixture->missing);
    list = rlhfi_json_get(fixture->numbers, "sequences");
    assert_true(rlhfi_json_size(list) > 0);
    check_ok(fixture->context, rlhfi_model_need_gradient(fixture->model), "gradient");
    for (size_t i = 0; i < rlhfi_json_size(list); i++) {
        const rlhfi_json *node = rlhfi_json_at(list, i);
        struct sequence sequence = load_sequence(node);
        const rlhf_batch_view *view = view_of(&sequence);
        int64_t count = sequence.response_offset[1];
        float *got = calloc((size_t)count, sizeof *got);
        rlhfi_token_stats stats = {.log_prob = got};
        double loss;
        check_ok(fixture->context, rlhfi_model_log_probs(fixture->model, view, 1.0f, &stats), "log-probabilities");
        check_close("log-probability", got, sequence.expected, count, 1e-4);
        rlhfi_zero(fixture->context, fixture->model->gradient, fixture->model->weights->count);
        check_ok(fixture->context, rlhfi_model_train(fixture->model, view, 1.0f, false, false, false, mean_loss, &loss),
                 "train");
        check_relative("loss", loss, number_at(node, "loss_mean_nll"), 1e-5);
        check_norms(fixture, node);
        free(got);
        free(sequence.token);
        free(sequence.expected);
    }
}

/* llama2.c turns neighbouring elements of a head, Hugging Face elements half a head apart: row 2i of a head there is
 * row i here, row 2i+1 row i + half. */
static int64_t source_row(const rlhfi_model *model, const char *theirs, int64_t row)
{
    int64_t width = model->architecture.head_dim, in_head = row % width;

    if (strcmp(theirs, "wq") != 0 && strcmp(theirs, "wk") != 0)
        return row;
    return row - in_head + (in_head < width / 2 ? 2 * in_head : 2 * (in_head - width / 2) + 1);
}

static void test_whole_gradient(void **state)
{
    struct fixture *fixture = *state;
    rlhfi_model *model = fixture->model;
    rlhfi_safetensors *file;
    struct sequence sequence;
    char path[4096];
    double loss;

    if (fixture->missing[0] != '\0')
        SKIP("%s", fixture->missing);
    if (!rlhfi_path_exists(stories_path(fixture, ".grad0.safetensors", path)))
        SKIP("%s is not there", path);
    check_ok(fixture->context, rlhfi_safetensors_open(&file, fixture->context, path), path);
    sequence = load_sequence(rlhfi_json_at(rlhfi_json_get(fixture->numbers, "sequences"), 0));
    check_ok(fixture->context, rlhfi_model_need_gradient(model), "gradient");
    rlhfi_zero(fixture->context, model->gradient, model->weights->count);
    check_ok(fixture->context,
             rlhfi_model_train(model, view_of(&sequence), 1.0f, false, false, false, mean_loss, &loss), "train");
    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++) {
        char name[64];
        struct floats expected;
        int64_t layers = tensors[i].per_layer ? model->architecture.layers : 1;
        double maximum = 0.0;
        snprintf(name, sizeof name, "grad.%s", tensors[i].theirs);
        expected = load_floats(fixture->context, file, name);
        for (int64_t j = 0; j < expected.count; j++)
            maximum = fmax(maximum, fabs((double)expected.data[j]));
        for (int64_t layer = 0; layer < layers; layer++) {
            const rlhfi_parameter *p = find_parameter(model, tensors[i].ours, tensors[i].per_layer ? layer : -1);
            int64_t columns = p->rank == 2 ? p->shape[1] : p->elements, rows = p->elements / columns;
            assert_int_equal(expected.count, layers * p->elements);
            for (int64_t row = 0; row < rows; row++)
                check_close(name, model->gradient + p->offset + row * columns,
                            expected.data + layer * p->elements + source_row(model, tensors[i].theirs, row) * columns,
                            columns, 1e-4 * maximum);
        }
        free(expected.data);
    }
    rlhfi_safetensors_close(&file);
    free(sequence.token);
    free(sequence.expected);
}

static void no_fixtures(void **state)
{
    (void)state;
    SKIP("golden/stories is not there (set RLHF_GOLDEN)");
}

int main(void)
{
    enum { MOST = 32, CHECKS = 2 };
    static const struct {
        const char *name;
        CMUnitTestFunction function;
    } checks[CHECKS] = {{"sequences", test_sequences}, {"whole gradient", test_whole_gradient}};
    static struct fixture fixtures[MOST * CHECKS]; /* one for each test */
    static struct CMUnitTest tests[MOST * CHECKS];
    static char names[MOST * CHECKS][160];
    static const char ending[] = ".json";
    char root[4096], **entries = NULL;
    rlhf_context *context = NULL;
    size_t count = 0, used = 0;
    int failed;

    if (rlhf_context_create(&context, NULL) != RLHF_OK)
        return 1;
    if (rlhfi_list_directory(context, golden_path("stories", root), &entries, &count) != RLHF_OK)
        count = 0;
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(entries[i]), tail = strlen(ending);
        if (length <= tail || length - tail >= sizeof fixtures->name || strcmp(entries[i] + length - tail, ending) != 0)
            continue;
        for (size_t c = 0; c < CHECKS && used < MOST * CHECKS; c++, used++) {
            memcpy(fixtures[used].name, entries[i], length - tail);
            snprintf(names[used], sizeof names[used], "%s: %s", fixtures[used].name, checks[c].name);
            tests[used] =
                (struct CMUnitTest){names[used], checks[c].function, fixture_open, fixture_close, &fixtures[used]};
        }
    }
    if (used == 0)
        tests[used++] = (struct CMUnitTest){"stories", no_fixtures, NULL, NULL, NULL};
    failed = _cmocka_run_group_tests("stories", tests, used, NULL, NULL);
    rlhfi_free(context, entries);
    rlhf_context_release(&context);
    return failed;
}
