/* Models, tokenizers and texts to work on. Weights and texts are random: speed does not depend on them. */
#include "bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static const struct shape {
    const char *name;
    bool gpt2;
    int dim, layers, heads, kv_heads, inner, vocabulary, positions;
} shapes[] = {
    {"tiny", false, 64, 5, 8, 4, 172, 512, 512}, /* stories260K */
    {"small", false, 256, 6, 8, 4, 704, 4096, 1024},
    {"smollm2", false, 576, 30, 9, 3, 1536, 49152, 2048},
    {"gpt2", true, 768, 12, 12, 12, 3072, 50257, 1024},
};

static const struct shape *find_shape(const char *name)
{
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        if (strcmp(shapes[i].name, name) == 0)
            return &shapes[i];
    return NULL;
}

bool bench_shape_known(const char *name)
{
    return find_shape(name) != NULL;
}

static int config_text(const struct shape *s, char *text, size_t capacity)
{
    if (s->gpt2)
        return snprintf(text, capacity,
                        "{\"architectures\": [\"GPT2LMHeadModel\"], \"model_type\": \"gpt2\", \"n_embd\": %d, "
                        "\"n_layer\": %d, \"n_head\": %d, \"vocab_size\": %d, \"n_positions\": %d, "
                        "\"layer_norm_epsilon\": 1e-05, \"activation_function\": \"gelu_new\", "
                        "\"initializer_range\": 0.02, \"bos_token_id\": 1, \"eos_token_id\": 2}",
                        s->dim, s->layers, s->heads, s->vocabulary, s->positions);
    return snprintf(text, capacity,
                    "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"hidden_size\": %d, "
                    "\"num_hidden_layers\": %d, \"num_attention_heads\": %d, \"num_key_value_heads\": %d, "
                    "\"intermediate_size\": %d, \"vocab_size\": %d, \"max_position_embeddings\": %d, "
                    "\"rms_norm_eps\": 1e-06, \"rope_theta\": 10000.0, \"hidden_act\": \"silu\", "
                    "\"tie_word_embeddings\": true, \"initializer_range\": 0.02, \"bos_token_id\": 1, "
                    "\"eos_token_id\": 2}",
                    s->dim, s->layers, s->heads, s->kv_heads, s->inner, s->vocabulary, s->positions);
}

static bool ends_in(const char *text, const char *end)
{
    size_t a = strlen(text), b = strlen(end);
    return a >= b && strcmp(text + a - b, end) == 0;
}

/* Read off the parameters, so that a user's model is counted by the same rule as the shapes. */
static rlhf_status measure_sizes(bench *bench)
{
    bench_sizes *sizes = &bench->sizes;
    for (int64_t i = 0; i < rlhf_policy_parameter_count(bench->policy); i++) {
        rlhf_parameter_view view = {.struct_size = sizeof view};
        rlhf_status status = rlhf_policy_parameter(bench->policy, i, &view);
        if (status != RLHF_OK)
            return status;
        if (view.rank != 2)
            continue;
        if (strstr(view.name, "layers.") != NULL || strstr(view.name, ".h.") != NULL)
            sizes->layer_weights += (double)view.elements;
        if (ends_in(view.name, "embed_tokens.weight") || ends_in(view.name, "wte.weight"))
            sizes->head_weights = (double)view.elements;
        if (ends_in(view.name, "q_proj.weight") || ends_in(view.name, "c_attn.weight")) {
            sizes->layers++;
            sizes->attention_width = (double)(ends_in(view.name, "q_proj.weight") ? view.shape[0] : view.shape[1] / 3);
        }
    }
    return RLHF_OK;
}

rlhf_status bench_make_policy(bench *bench)
{
    char text[1024];
    rlhf_status status;
    bench->megabytes_before = bench_peak_megabytes(RUSAGE_SELF);
    if (bench->model != NULL) {
        status = rlhf_policy_load(&bench->policy, bench->program->context, bench->model, &bench->model_options);
    } else {
        int bytes = config_text(find_shape(bench->shape), text, sizeof text);
        status = rlhf_policy_create(&bench->policy, bench->program->context, text, (size_t)bytes, bench->seed,
                                    &bench->model_options);
    }
    return status == RLHF_OK ? measure_sizes(bench) : status;
}

/* ---- what is counted --------------------------------------------------------------------------------------------- */

double bench_forward_flops(const bench_sizes *sizes, int64_t batch, int64_t seq, int64_t head_positions)
{
    double rows = (double)batch, length = (double)seq;
    return 2 * sizes->layer_weights * rows * length + 2 * sizes->head_weights * (double)head_positions +
           4 * sizes->layers * sizes->attention_width * length * (length + 1) / 2 * rows;
}

double bench_generation_flops(const bench_sizes *sizes, int64_t batch, int64_t prompt, int64_t new_tokens)
{
    double flops = bench_forward_flops(sizes, batch, prompt, batch);
    for (int64_t t = prompt + 1; t < prompt + new_tokens; t++)
        flops += (double)batch * (2 * (sizes->layer_weights + sizes->head_weights) +
                                  4 * sizes->layers * sizes->attention_width * (double)t);
    return flops;
}

/* ---- batches and texts ------------------------------------------------------------------------------------------- */

static uint32_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u; /* Knuth's; the upper half is good enough here */
    return (uint32_t)(*state >> 33);
}

rlhf_status bench_make_batch(bench *bench, int64_t rows, int64_t length, int32_t prompt, rlhf_batch **out)
{
    enum { SPECIAL = 3 };
    int64_t vocabulary = rlhf_policy_vocabulary(bench->policy);
    int64_t *offset = malloc(((size_t)rows + 1) * sizeof *offset);
    int32_t *tokens = malloc((size_t)(rows * length) * sizeof *tokens), *before = malloc((size_t)rows * sizeof *before);
    uint64_t state = bench->seed + 1;
    rlhf_status status = RLHF_E_NOMEM;
    if (offset != NULL && tokens != NULL && before != NULL) {
        for (int64_t r = 0; r <= rows; r++)
            offset[r] = r * length;
        for (int64_t r = 0; r < rows; r++)
            before[r] = prompt;
        for (int64_t i = 0; i < rows * length; i++)
            tokens[i] = vocabulary > SPECIAL ? (int32_t)(SPECIAL + next_random(&state) % (vocabulary - SPECIAL)) : 0;
        status = rlhf_batch_create(out, bench->program->context, rows, offset, tokens, before);
    }
    free(offset);
    free(tokens);
    free(before);
    return status;
}

/* GPT-2's printable character for a byte, as JSON text. */
static void byte_name(int byte, int *hidden, text *json)
{
    bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    int character = printable ? byte : 256 + (*hidden)++;
    text_add(json, "\"\\u%04x\"", (unsigned)character);
}

rlhf_status bench_make_tokenizer(bench *bench, rlhf_tokenizer **out)
{
    enum { SPECIAL = 3, BYTES = 256 };
    static const char *const special[SPECIAL] = {"<pad>", "<s>", "</s>"};
    static const char config[] = "{\"bos_token\": \"<s>\", \"eos_token\": \"</s>\", \"pad_token\": \"<pad>\"}";
    int64_t vocabulary = rlhf_policy_vocabulary(bench->policy);
    text json = {0};
    int hidden = 0;
    rlhf_status status = RLHF_E_NOMEM;
    text_add(&json, "{\"version\": \"1.0\", \"truncation\": null, \"padding\": null, \"added_tokens\": [");
    for (int i = 0; i < SPECIAL; i++)
        text_add(&json,
                 "%s{\"id\": %d, \"content\": \"%s\", \"single_word\": false, \"lstrip\": false, "
                 "\"rstrip\": false, \"normalized\": false, \"special\": true}",
                 i > 0 ? ", " : "", i, special[i]);
    text_add(&json,
             "], \"normalizer\": null, \"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false, "
             "\"trim_offsets\": true, \"use_regex\": false}, \"post_processor\": null, \"decoder\": "
             "{\"type\": \"ByteLevel\", \"add_prefix_space\": true, \"trim_offsets\": true, \"use_regex\": true}, "
             "\"model\": {\"type\": \"BPE\", \"dropout\": null, \"unk_token\": null, "
             "\"continuing_subword_prefix\": null, \"end_of_word_suffix\": null, \"fuse_unk\": false, "
             "\"byte_fallback\": false, \"merges\": [], \"vocab\": {");
    for (int i = 0; i < SPECIAL; i++)
        text_add(&json, "%s\"%s\": %d", i > 0 ? ", " : "", special[i], i);
    for (int byte = 0; byte < BYTES; byte++) {
        text_add(&json, ", ");
        byte_name(byte, &hidden, &json);
        text_add(&json, ": %d", SPECIAL + byte);
    }
    for (int64_t id = SPECIAL + BYTES; id < vocabulary; id++)
        text_add(&json, ", \"word%lld\": %lld", (long long)id, (long long)id);
    text_add(&json, "}}}");
    if (!json.failed)
        status = rlhf_tokenizer_create(out, bench->program->context, json.data, json.size, config, sizeof config - 1);
    text_free(&json);
    return status;
}

static void letters(char *text, int64_t count, uint64_t *state)
{
    static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz ";
    for (int64_t i = 0; i < count; i++)
        text[i] = alphabet[next_random(state) % (sizeof alphabet - 1)];
    text[count] = '\0';
}

rlhf_status bench_make_dataset(bench *bench, int64_t rows, int64_t prompt, int64_t answer, rlhf_dataset **out)
{
    char *texts = malloc((size_t)(prompt + 2 * answer) + 3);
    uint64_t state = bench->seed + 2;
    rlhf_status status = texts == NULL ? RLHF_E_NOMEM : rlhf_dataset_create(out, bench->program->context);
    for (int64_t r = 0; status == RLHF_OK && r < rows; r++) {
        rlhf_row row = {.struct_size = sizeof row, .kind = RLHF_ROW_PROMPT, .margin = NAN, .prompt = texts};
        letters(texts, prompt, &state);
        if (answer > 0) {
            row.kind = RLHF_ROW_PREFERENCE;
            row.chosen = texts + prompt + 1;
            row.rejected = texts + prompt + answer + 2;
            letters(texts + prompt + 1, answer, &state);
            letters(texts + prompt + answer + 2, answer, &state);
        }
        status = rlhf_dataset_append(*out, &row);
    }
    free(texts);
    return status;
}
