/* Architectures as tables: which tensors there are, their shapes, their names in a checkpoint and their place in a
 * layer. A new architecture of this kind is a new entry here. */
#include "model/internal.h"

/* Extents, resolved against the description. */
enum extent { ONE, WIDTH, QUERY, KEY, QKV, INNER, VOCABULARY, POSITIONS, NOTHING };
enum condition { ALWAYS, QKV_BIAS, OUTPUT_BIAS, MLP_BIAS, OWN_HEAD, SCALAR_HEAD };

/* Tensors that continue the one before (k and v behind q, up behind gate) have no place of their own. */
#define IN_LAYER(member) offsetof(rlhfi_layer, member)
#define IN_TABLE(member) offsetof(struct rlhfi_block_table, member)
#define CONTINUED SIZE_MAX

struct rule {
    const char *name; /* behind prefix and layer number */
    enum rlhfi_parameter_kind kind;
    enum extent rows, columns;
    enum condition condition;
    size_t place;
};

struct family {
    const char *model_type, *prefix, *layers;
    const char *causal_class, *scalar_class;
    const struct rule *before, *layer, *after; /* each ends with a rule without a name */
};

#define MATRIX RLHFI_PARAMETER_MATRIX
#define RESIDUAL RLHFI_PARAMETER_RESIDUAL
#define GAIN RLHFI_PARAMETER_GAIN
#define BIAS RLHFI_PARAMETER_BIAS
#define SCALAR RLHFI_PARAMETER_SCALAR_HEAD

static const struct rule gpt2_before[] = {
    {"wte.weight", MATRIX, VOCABULARY, WIDTH, ALWAYS, IN_TABLE(token_embedding)},
    {"wpe.weight", MATRIX, POSITIONS, WIDTH, ALWAYS, IN_TABLE(position_embedding)},
    {NULL},
};
static const struct rule gpt2_layer[] = {
    {"ln_1.weight", GAIN, WIDTH, NOTHING, ALWAYS, IN_LAYER(norm1_weight)},
    {"ln_1.bias", BIAS, WIDTH, NOTHING, ALWAYS, IN_LAYER(norm1_bias)},
    {"attn.c_attn.weight", MATRIX, WIDTH, QKV, ALWAYS, IN_LAYER(qkv_weight)},
    {"attn.c_attn.bias", BIAS, QKV, NOTHING, ALWAYS, IN_LAYER(qkv_bias)},
    {"attn.c_proj.weight", RESIDUAL, QUERY, WIDTH, ALWAYS, IN_LAYER(output_weight)},
    {"attn.c_proj.bias", BIAS, WIDTH, NOTHING, ALWAYS, IN_LAYER(output_bias)},
    {"ln_2.weight", GAIN, WIDTH, NOTHING, ALWAYS, IN_LAYER(norm2_weight)},
    {"ln_2.bias", BIAS, WIDTH, NOTHING, ALWAYS, IN_LAYER(norm2_bias)},
    {"mlp.c_fc.weight", MATRIX, WIDTH, INNER, ALWAYS, IN_LAYER(up_weight)},
    {"mlp.c_fc.bias", BIAS, INNER, NOTHING, ALWAYS, IN_LAYER(up_bias)},
    {"mlp.c_proj.weight", RESIDUAL, INNER, WIDTH, ALWAYS, IN_LAYER(down_weight)},
    {"mlp.c_proj.bias", BIAS, WIDTH, NOTHING, ALWAYS, IN_LAYER(down_bias)},
    {NULL},
};
static const struct rule gpt2_after[] = {
    {"ln_f.weight", GAIN, WIDTH, NOTHING, ALWAYS, IN_TABLE(final_weight)},
    {"ln_f.bias", BIAS, WIDTH, NOTHING, ALWAYS, IN_TABLE(final_bias)},
    {NULL},
};

static const struct rule llama_before[] = {
    {"embed_tokens.weight", MATRIX, VOCABULARY, WIDTH, ALWAYS, IN_TABLE(token_embedding)},
    {NULL},
};
static const struct rule llama_layer[] = {
    {"self_attn.q_proj.weight", MATRIX, QUERY, WIDTH, ALWAYS, IN_LAYER(qkv_weight)},
    {"self_attn.k_proj.weight", MATRIX, KEY, WIDTH, ALWAYS, CONTINUED},
    {"self_attn.v_proj.weight", MATRIX, KEY, WIDTH, ALWAYS, CONTINUED},
    {"self_attn.q_proj.bias", BIAS, QUERY, NOTHING, QKV_BIAS, IN_LAYER(qkv_bias)},
    {"self_attn.k_proj.bias", BIAS, KEY, NOTHING, QKV_BIAS, CONTINUED},
    {"self_attn.v_proj.bias", BIAS, KEY, NOTHING, QKV_BIAS, CONTINUED},
    {"self_attn.o_proj.weight", RESIDUAL, WIDTH, QUERY, ALWAYS, IN_LAYER(output_weight)},
    {"self_attn.o_proj.bias", BIAS, WIDTH, NOTHING, OUTPUT_BIAS, IN_LAYER(output_bias)},
    {"mlp.gate_proj.weight", MATRIX, INNER, WIDTH, ALWAYS, IN_LAYER(up_weight)},
    {"mlp.up_proj.weight", MATRIX, INNER, WIDTH, ALWAYS, CONTINUED},
    {"mlp.gate_proj.bias", BIAS, INNER, NOTHING, MLP_BIAS, IN_LAYER(up_bias)},
    {"mlp.up_proj.bias", BIAS, INNER, NOTHING, MLP_BIAS, CONTINUED},
    {"mlp.down_proj.weight", RESIDUAL, WIDTH, INNER, ALWAYS, IN_LAYER(down_weight)},
    {"mlp.down_proj.bias", BIAS, WIDTH, NOTHING, MLP_BIAS, IN_LAYER(down_bias)},
    {"input_layernorm.weight", GAIN, WIDTH, NOTHING, ALWAYS, IN_LAYER(norm1_weight)},
    {"post_attention_layernorm.weight", GAIN, WIDTH, NOTHING, ALWAYS, IN_LAYER(norm2_weight)},
    {NULL},
};
static const struct rule llama_after[] = {
    {"norm.weight", GAIN, WIDTH, NOTHING, ALWAYS, IN_TABLE(final_weight)},
    {NULL},
};

/* Heads have the same names everywhere and never a prefix. */
static const struct rule heads[] = {
    {"lm_head.weight", MATRIX, VOCABULARY, WIDTH, OWN_HEAD, IN_TABLE(head)},
    {"score.weight", SCALAR, ONE, WIDTH, SCALAR_HEAD, IN_TABLE(scalar)},
    {NULL},
};
/* The name that TRL's models with a value head gave it. */
static const struct rule value_head[] = {
    {"v_head.summary.weight", SCALAR, ONE, WIDTH, ALWAYS, IN_TABLE(scalar)},
    {NULL},
};

static const struct family families[] = {
    {"gpt2", "transformer.", "h.", "GPT2LMHeadModel", "GPT2ForSequenceClassification", gpt2_before, gpt2_layer,
     gpt2_after},
    {"llama", "model.", "layers.", "LlamaForCausalLM", "LlamaForSequenceClassification", llama_before, llama_layer,
     llama_after},
};

static const struct family *find_family(const char *model_type)
{
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
        if (strcmp(families[i].model_type, model_type) == 0)
            return &families[i];
    return NULL;
}

const char *rlhfi_model_prefix(const rlhfi_model *model)
{
    return find_family(model->config.model_type)->prefix;
}

const char *rlhfi_model_class(const rlhfi_model *model, enum rlhfi_head_kind head)
{
    const struct family *family = find_family(model->config.model_type);

    return head == RLHFI_HEAD_TOKENS ? family->causal_class : family->scalar_class;
}

/* ---- description from a config ---------------------------------------------------------------------------------- */

static rlhf_status find_activation(rlhf_context *context, const char *name, enum rlhfi_activation *out)
{
    static const struct {
        const char *name;
        enum rlhfi_activation kind;
    } known[] = {
        {"silu", RLHFI_SILU}, {"swish", RLHFI_SILU}, {"gelu", RLHFI_GELU_ERF}, {"gelu_new", RLHFI_GELU_TANH},
        {"gelu_pytorch_tanh", RLHFI_GELU_TANH}, {"gelu_fast", RLHFI_GELU_TANH}, {"relu", RLHFI_RELU},
    };

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(known[i].name, name) == 0) {
            *out = known[i].kind;
            return RLHF_OK;
        }
    return rlhfi_fail(context, RLHF_E_UNSUPPORTED, "config.json: activation \"%s\" is not known", name);
}

/* 1 / theta^(2i/n) with the roundings of the reference implementation (each step in fp32), then llama3's stretching of
 * the slow pairs (formats.md 3.4). exp and log are our own, so the table is the same on every machine. */
static void fill_frequencies(const rlhfi_hf_config *config, int64_t head_dim, float *out)
{
    const double two_pi = 6.283185307179586476925;
    double log_theta = rlhfi_log_double(config->rope_theta);
    bool llama3 = strcmp(config->rope_type, "llama3") == 0;
    double original = (double)config->rope_original_max_positions;
    double low = config->rope_low_freq_factor, high = config->rope_high_freq_factor;

    for (int64_t i = 0; i < head_dim / 2; i++) {
        float exponent = (float)(2 * i) / (float)head_dim;
        float power = (float)rlhfi_exp_double((double)exponent * log_theta);
        float inverse = 1.0f / power;
        if (llama3) {
            double wavelength = two_pi / (double)inverse;
            if (wavelength > original / low) {
                inverse = (float)((double)inverse / config->rope_factor);
            } else if (wavelength >= original / high) {
                double t = (original / wavelength - low) / (high - low);
                inverse = (float)((1.0 - t) * (double)inverse / config->rope_factor + t * (double)inverse);
            }
        }
        out[i] = inverse;
    }
}

static rlhf_status describe(rlhfi_model *model)
{
    const rlhfi_hf_config *config = &model->config;
    rlhfi_architecture *a = &model->architecture;
    rlhf_context *context = model->context;
    bool llama = strcmp(config->model_type, "llama") == 0;

    if (find_family(config->model_type) == NULL)
        return rlhfi_fail(context, RLHF_E_UNSUPPORTED, "config.json: model_type \"%s\" is not supported",
                          config->model_type);
    *a = (rlhfi_architecture){
        .norm = llama ? RLHFI_NORM_RMS : RLHFI_NORM_LAYER,
        .position = llama ? RLHFI_POSITION_ROTARY : RLHFI_POSITION_LEARNED,
        .gated = llama,
        .transposed_weights = llama,
        .fused_qkv = !llama,
        .qkv_bias = llama ? config->attention_bias : true,
        .output_bias = llama ? config->attention_bias : true,
        .mlp_bias = llama ? config->mlp_bias : true,
        .norm_bias = !llama,
        .tied_head = config->tie_word_embeddings,
        .vocabulary = config->vocab_size,
        .width = config->hidden_size,
        .inner = config->intermediate_size,
        .layers = config->layers,
        .heads = config->heads,
        .kv_heads = config->kv_heads,
        .head_dim = config->head_dim,
        .positions = config->max_positions,
        .norm_eps = (float)config->norm_eps,
        .scale_by_layer = !llama && config->scale_attn_by_inverse_layer_idx,
    };
    RLHFI_TRY(find_activation(context, config->activation, &a->activation));
    a->attention_scale = 1.0f;
    if (llama || config->scale_attn_weights)
        a->attention_scale = (float)(1.0 / __builtin_sqrt((double)a->head_dim));
    /* The config reader has its own limits; these are the ones that the code below relies on. */
    if (a->vocabulary < 1 || a->vocabulary > INT32_MAX || a->width < 1 || a->width > INT32_MAX || a->inner < 1 ||
        a->inner > INT32_MAX || a->layers < 1 || a->layers > 4096 || a->heads < 1 || a->heads > 65536 ||
        a->kv_heads < 1 || a->heads % a->kv_heads != 0 || a->head_dim < 1 || a->head_dim > 65536 || a->positions < 1 ||
        a->positions > INT32_MAX)
        return rlhfi_fail(context, RLHF_E_FORMAT, "config.json: sizes out of bounds (vocabulary %lld, width %lld, "
                          "layers %lld, heads %lld/%lld of %lld, positions %lld)", (long long)a->vocabulary,
                          (long long)a->width, (long long)a->layers, (long long)a->heads, (long long)a->kv_heads,
                          (long long)a->head_dim, (long long)a->positions);
    if (a->position == RLHFI_POSITION_ROTARY) {
        if (a->head_dim % 2 != 0)
            return rlhfi_fail(context, RLHF_E_FORMAT, "config.json: head_dim %lld is odd, rotary positions need pairs",
                              (long long)a->head_dim);
        a->inverse_frequency = rlhfi_alloc_array(context, (size_t)a->head_dim / 2, sizeof(float));
        if (a->inverse_frequency == NULL)
            return RLHF_E_NOMEM;
        fill_frequencies(config, a->head_dim, a->inverse_frequency);
    } else if (a->heads * a->head_dim != a->width || a->kv_heads != a->heads) {
        return rlhfi_fail(context, RLHF_E_FORMAT, "config.json: %lld heads of %lld do not make the width %lld",
                          (long long)a->heads, (long long)a->head_dim, (long long)a->width);
    }
    return RLHF_OK;
}

/* ---- the parameter table ---------------------------------------------------------------------------------------- */

static int64_t extent_of(const rlhfi_architecture *a, enum extent extent)
{
    switch (extent) {
    case WIDTH: return a->width;
    case QUERY: return rlhfi_query_width(a);
    case KEY: return a->kv_heads * a->head_dim;
    case QKV: return rlhfi_qkv_width(a);
    case INNER: return a->inner;
    case VOCABULARY: return a->vocabulary;
    case POSITIONS: return a->positions;
    default: return 1;
    }
}

static bool applies(const rlhfi_model *model, enum condition condition)
{
    const rlhfi_architecture *a = &model->architecture;

    switch (condition) {
    case QKV_BIAS: return a->qkv_bias;
    case OUTPUT_BIAS: return a->output_bias;
    case MLP_BIAS: return a->mlp_bias;
    case OWN_HEAD: return model->head == RLHFI_HEAD_TOKENS && !a->tied_head;
    case SCALAR_HEAD: return model->head == RLHFI_HEAD_SCALAR;
    default: return true;
    }
}

static char *append(char *to, const char *text)
{
    size_t bytes = strlen(text);

    memcpy(to, text, bytes + 1);
    return to + bytes;
}

/* The longest name of the tables with a layer number of four digits has room in a parameter's name. */
static void make_name(char *name, const char *prefix, const char *layers, int64_t layer, const char *last)
{
    char digits[24], *digit = digits + sizeof digits - 1;

    name = append(name, prefix);
    if (layers != NULL) {
        *digit = '\0';
        do
            *--digit = (char)('0' + layer % 10);
        while ((layer /= 10) > 0);
        name = append(append(append(name, layers), digit), ".");
    }
    append(name, last);
}

struct builder {
    rlhfi_model *model;
    size_t used, room;
    int64_t offset;
};

/* Appends the tensors of one list; places are offsets into *table. */
static rlhf_status add_rules(struct builder *builder, const struct rule *rule, const char *prefix, const char *layers,
                             int64_t layer, void *table)
{
    rlhfi_model *model = builder->model;

    for (; rule->name != NULL; rule++) {
        rlhfi_parameter *parameter = &model->parameters[builder->used];
        size_t elements, end;
        if (!applies(model, rule->condition))
            continue;
        *parameter = (rlhfi_parameter){.kind = rule->kind, .rank = rule->columns == NOTHING ? 1 : 2,
                                       .offset = builder->offset};
        make_name(parameter->name, prefix, layers, layer, rule->name);
        parameter->shape[0] = extent_of(&model->architecture, rule->rows);
        parameter->shape[1] = rule->columns == NOTHING ? 1 : extent_of(&model->architecture, rule->columns);
        if (!rlhfi_multiply((size_t)parameter->shape[0], (size_t)parameter->shape[1], &elements) ||
            !rlhfi_add(elements, (size_t)builder->offset, &end) || end > SIZE_MAX / 64)
            return rlhfi_fail(model->context, RLHF_E_FORMAT, "config.json: the model has more parameters than this "
                              "machine can address (at %s)", parameter->name);
        parameter->elements = (int64_t)elements;
        if (rule->place != CONTINUED)
            memcpy((char *)table + rule->place, &parameter->offset, sizeof parameter->offset);
        builder->offset = (int64_t)end;
        builder->used++;
    }
    return RLHF_OK;
}

static size_t rule_count(const struct rule *rule)
{
    size_t count = 0;

    while (rule[count].name != NULL)
        count++;
    return count;
}

rlhf_status rlhfi_model_describe(rlhfi_model *model)
{
    struct builder builder = {.model = model};
    struct rlhfi_block_table *table;
    const struct family *family;
    rlhf_context *context = model->context;

    RLHFI_TRY(describe(model));
    family = find_family(model->config.model_type);
    builder.room = rule_count(family->before) + rule_count(family->after) + rule_count(heads) +
                   rule_count(value_head) + (size_t)model->architecture.layers * rule_count(family->layer);
    model->parameters = rlhfi_calloc(context, builder.room, sizeof *model->parameters);
    table = model->table = rlhfi_calloc(context, 1, sizeof *table);
    if (model->parameters == NULL || table == NULL)
        return RLHF_E_NOMEM;
    table->layer = rlhfi_alloc_array(context, (size_t)model->architecture.layers, sizeof *table->layer);
    if (table->layer == NULL)
        return RLHF_E_NOMEM;
    table->position_embedding = table->final_bias = table->scalar = RLHFI_NONE;

    RLHFI_TRY(add_rules(&builder, family->before, family->prefix, NULL, 0, table));
    table->layers_begin = builder.offset;
    for (int64_t i = 0; i < model->architecture.layers; i++) {
        table->layer[i] = (rlhfi_layer){.norm1_bias = RLHFI_NONE, .norm2_bias = RLHFI_NONE, .qkv_bias = RLHFI_NONE,
                                        .output_bias = RLHFI_NONE, .up_bias = RLHFI_NONE, .down_bias = RLHFI_NONE};
        RLHFI_TRY(add_rules(&builder, family->layer, family->prefix, family->layers, i, &table->layer[i]));
    }
    RLHFI_TRY(add_rules(&builder, family->after, family->prefix, NULL, 0, table));
    table->layers_end = builder.offset;
    table->head = table->token_embedding;
    RLHFI_TRY(add_rules(&builder, heads, "", NULL, 0, table));
    model->parameter_count = (int64_t)builder.used;
    return RLHF_OK;
}

rlhf_status rlhfi_model_describe_value_head(rlhfi_model *model)
{
    const rlhfi_parameter *last = &model->parameters[model->parameter_count - 1];
    struct builder builder = {.model = model, .used = (size_t)model->parameter_count,
                              .offset = last->offset + last->elements};

    RLHFI_TRY(add_rules(&builder, value_head, "", NULL, 0, model->table));
    model->parameter_count = (int64_t)builder.used;
    model->value_head = true;
    return RLHF_OK;
}

rlhf_status rlhfi_model_need_positions(rlhfi_model *model, int64_t positions)
{
    struct rlhfi_block_table *table = model->table;
    int64_t half = model->architecture.head_dim / 2, rows;
    float *cosine, *sine;

    if (model->architecture.position != RLHFI_POSITION_ROTARY || positions <= table->rotary_positions)
        return RLHF_OK;
    /* Whole steps, so that sequences that grow token by token do not make a table each. */
    for (rows = 256; rows < positions; rows *= 2)
        ;
    cosine = rlhfi_alloc_array(model->context, (size_t)(rows * half), sizeof *cosine);
    sine = rlhfi_alloc_array(model->context, (size_t)(rows * half), sizeof *sine);
    if (cosine == NULL || sine == NULL) {
        rlhfi_free(model->context, cosine);
        rlhfi_free(model->context, sine);
        return RLHF_E_NOMEM;
    }
    rlhfi_rotary_table(model->context, rows, model->architecture.head_dim, model->architecture.inverse_frequency,
                       cosine, sine);
    rlhfi_free(model->context, table->cosine);
    rlhfi_free(model->context, table->sine);
    table->cosine = cosine;
    table->sine = sine;
    table->rotary_positions = rows;
    return RLHF_OK;
}

size_t rlhfi_model_text(const rlhfi_model *model, char *buffer, size_t capacity)
{
    const rlhfi_architecture *a = &model->architecture;
    rlhfi_string text;
    size_t needed;

    rlhfi_string_init(&text, model->context);
    rlhfi_string_add_format(&text, "%s: %lld layer%s, width %lld, %lld head%s", model->config.model_type,
                            (long long)a->layers, a->layers == 1 ? "" : "s", (long long)a->width, (long long)a->heads,
                            a->heads == 1 ? "" : "s");
    if (a->kv_heads != a->heads)
        rlhfi_string_add_format(&text, " (%lld for keys and values)", (long long)a->kv_heads);
    rlhfi_string_add_format(&text, ", vocabulary %lld, %lld positions, %s, %lld parameters", (long long)a->vocabulary,
                            (long long)a->positions, model->head == RLHFI_HEAD_SCALAR ? "scalar head"
                            : a->tied_head ? "tied head" : "own head", (long long)model->weights->count);
    needed = text.failed ? 1 : text.size + 1;
    if (buffer != NULL && capacity > 0) {
        size_t kept = text.failed ? 0 : text.size < capacity ? text.size : capacity - 1;
        if (kept > 0)
            memcpy(buffer, text.data, kept);
        buffer[kept] = '\0';
    }
    rlhfi_string_free(&text);
    return needed;
}
