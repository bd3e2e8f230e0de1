/* Tiny random models and ragged rows for the tests of this room. */
#ifndef RLHF_TESTS_MODELS_H
#define RLHF_TESTS_MODELS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "model/model.h"

static const char gpt2_config[] =
    "{\"model_type\": \"gpt2\", \"vocab_size\": 61, \"n_positions\": 48, \"n_embd\": 24, \"n_layer\": 2, "
    "\"n_head\": 3, \"initializer_range\": 0.4}";
/* Every key of GPT-2 that changes the mathematics, away from its default. */
static const char gpt2_scaled_config[] =
    "{\"model_type\": \"gpt2\", \"vocab_size\": 61, \"n_positions\": 48, \"n_embd\": 24, \"n_layer\": 3, "
    "\"n_head\": 2, \"n_inner\": 40, \"activation_function\": \"gelu\", \"scale_attn_weights\": false, "
    "\"scale_attn_by_inverse_layer_idx\": true, \"tie_word_embeddings\": false, \"initializer_range\": 0.3}";
static const char llama_config[] =
    "{\"model_type\": \"llama\", \"vocab_size\": 67, \"hidden_size\": 24, \"intermediate_size\": 36, "
    "\"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"head_dim\": 10, "
    "\"max_position_embeddings\": 300, \"rms_norm_eps\": 1e-5, \"tie_word_embeddings\": false, "
    "\"initializer_range\": 0.4}";
static const char llama_biased_config[] =
    "{\"model_type\": \"llama\", \"vocab_size\": 67, \"hidden_size\": 32, \"intermediate_size\": 40, "
    "\"num_hidden_layers\": 3, \"num_attention_heads\": 4, \"num_key_value_heads\": 1, "
    "\"max_position_embeddings\": 300, \"attention_bias\": true, \"mlp_bias\": true, \"tie_word_embeddings\": true, "
    "\"initializer_range\": 0.3}";
/* Too wide for one worker to take a group through all layers: the kernels get the threads. */
static const char wide_config[] =
    "{\"model_type\": \"llama\", \"vocab_size\": 70, \"hidden_size\": 192, \"intermediate_size\": 512, "
    "\"num_hidden_layers\": 2, \"num_attention_heads\": 6, \"num_key_value_heads\": 3, "
    "\"max_position_embeddings\": 300, \"tie_word_embeddings\": true, \"initializer_range\": 0.1}";

static const struct named_config {
    const char *name, *json;
} configs[] = {
    {"gpt2", gpt2_config},   {"gpt2 scaled", gpt2_scaled_config},
    {"llama", llama_config}, {"llama biased", llama_biased_config},
    {"wide", wide_config},
};
enum { CONFIGS = sizeof configs / sizeof configs[0] };

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

/* Random weights with random biases and gains as well: no parameter stays where its gradient is easy. */
static inline rlhfi_model *make_model_as(rlhf_context *context, const char *json, enum rlhfi_head_kind head,
                                         uint64_t seed, const rlhf_model_options *options)
{
    rlhfi_model *model;

    check_ok(context, rlhfi_model_create(&model, context, json, strlen(json), head, seed, options), "create");
    for (int64_t i = 0; i < model->parameter_count; i++) {
        const rlhfi_parameter *parameter = &model->parameters[i];
        for (int64_t j = 0; j < parameter->elements && parameter->rank == 1; j++) {
            float more = (float)(0.4 * (rlhfi_uniform(seed, RLHFI_RANDOM_USER, (uint32_t)i, 1, (uint32_t)j) - 0.5));
            uint16_t *half = model->weights->half != NULL ? model->weights->half + parameter->offset + j : NULL;
            float value = half != NULL ? 0.0f : model->weights->data[parameter->offset + j];
            if (half != NULL) {
                rlhfi_widen(context, &value, half, 1);
                value += more;
                rlhfi_round(context, half, &value, 1);
            } else {
                model->weights->data[parameter->offset + j] = value + more;
            }
        }
    }
    return model;
}

/* A value head that says something. */
static inline void add_value_head(rlhfi_model *model, uint64_t seed)
{
    check_ok(model->context, rlhfi_model_add_value_head(model), "value head");
    rlhfi_normal_fill(seed, RLHFI_RANDOM_USER, 7, 0.5f, rlhfi_value_head_weight(model),
                      (size_t)model->architecture.width);
}

static inline rlhfi_model *make_model(rlhf_context *context, const char *json, enum rlhfi_head_kind head, uint64_t seed)
{
    return make_model_as(context, json, head, seed, NULL);
}

static inline rlhf_model_options model_formats(int32_t compute, int32_t weights)
{
    rlhf_model_options options;

    rlhf_model_options_init(&options, sizeof options);
    options.compute_format = compute;
    options.weight_format = weights;
    return options;
}

/* ---- rows ------------------------------------------------------------------------------------------------------- */

enum { MOST_ROWS = 80, MOST_TOKENS = 8192 };

struct rows {
    int64_t offset[MOST_ROWS + 1], response_offset[MOST_ROWS + 1];
    int32_t token[MOST_TOKENS], prompt_length[MOST_ROWS];
    rlhf_batch_view view;
    rlhfi_ragged ragged;
};

static inline void rows_begin(struct rows *rows)
{
    memset(rows, 0, sizeof *rows);
    rows->view = (rlhf_batch_view){.struct_size = sizeof rows->view,
                                   .offset = rows->offset,
                                   .tokens = rows->token,
                                   .prompt_length = rows->prompt_length,
                                   .response_offset = rows->response_offset};
    rows->ragged = (rlhfi_ragged){.offset = rows->offset, .tokens = rows->token};
}

static inline void rows_add(struct rows *rows, const int32_t *token, int64_t length, int32_t prompt_length)
{
    int64_t r = rows->view.rows++;

    assert_true(r < MOST_ROWS && rows->offset[r] + length <= MOST_TOKENS);
    memcpy(rows->token + rows->offset[r], token, (size_t)length * sizeof *token);
    rows->offset[r + 1] = rows->offset[r] + length;
    rows->prompt_length[r] = prompt_length;
    rows->response_offset[r + 1] = rows->response_offset[r] + length - prompt_length;
    rows->ragged.sequences = rows->view.rows;
}

/* Rows of lengths shortest..longest with prompts of 1..length tokens. */
static inline struct rows *random_rows(const rlhfi_model *model, int64_t count, int64_t shortest, int64_t longest,
                                       uint64_t seed)
{
    struct rows *rows = malloc(sizeof *rows);
    int32_t token[MOST_TOKENS];

    assert_non_null(rows);
    rows_begin(rows);
    for (int64_t r = 0; r < count; r++) {
        double u = rlhfi_uniform(seed, RLHFI_RANDOM_USER, (uint32_t)r, 2, 0);
        double v = rlhfi_uniform(seed, RLHFI_RANDOM_USER, (uint32_t)r, 2, 1);
        int64_t length = shortest + (int64_t)(u * (double)(longest - shortest + 1));
        for (int64_t t = 0; t < length; t++)
            token[t] = (int32_t)((double)model->architecture.vocabulary *
                                 rlhfi_uniform(seed, RLHFI_RANDOM_USER, (uint32_t)r, 3, (uint32_t)t));
        rows_add(rows, token, length, (int32_t)(1 + (int64_t)(v * (double)length * 0.5)));
    }
    return rows;
}

static inline int64_t responses(const struct rows *rows)
{
    return rows->response_offset[rows->view.rows];
}

/* ---- a loss with all its gradients ------------------------------------------------------------------------------ */

/* sum of a_i log p_i + b_i H_i + c_i mean log p + v_i value_i with fixed pseudo-random coefficients */
struct linear_loss {
    uint64_t seed;
    int64_t first; /* number of the batch's first response token in the whole */
    double loss;
};

static inline double coefficient(uint64_t seed, int64_t i, uint32_t which)
{
    return rlhfi_uniform(seed, RLHFI_RANDOM_USER, (uint32_t)i, 4, which) - 0.5;
}

static inline rlhf_status linear_loss(void *user_data, const rlhfi_train_arrays *arrays)
{
    struct linear_loss *l = user_data;

    l->loss = 0.0;
    for (int64_t i = 0; i < arrays->count; i++) {
        double a = coefficient(l->seed, l->first + i, 0), b = coefficient(l->seed, l->first + i, 1);
        double c = coefficient(l->seed, l->first + i, 2);
        l->loss += a * (double)arrays->log_prob[i];
        arrays->d_log_prob[i] = (float)a;
        if (arrays->entropy != NULL) {
            l->loss += b * (double)arrays->entropy[i];
            arrays->d_entropy[i] = (float)b;
        }
        if (arrays->mean_log_prob != NULL) {
            l->loss += c * (double)arrays->mean_log_prob[i];
            arrays->d_mean_log_prob[i] = (float)c;
        }
        if (arrays->value != NULL) {
            double v = coefficient(l->seed, l->first + i, 3);
            l->loss += v * (double)arrays->value[i];
            arrays->d_value[i] = (float)v;
        }
    }
    return RLHF_OK;
}

static inline rlhf_status linear_scalar_loss(void *user_data, int64_t count, const float *scalar, float *d_scalar)
{
    struct linear_loss *l = user_data;

    l->loss = 0.0;
    for (int64_t i = 0; i < count; i++) {
        double a = coefficient(l->seed, l->first + i, 0);
        l->loss += a * (double)scalar[i];
        d_scalar[i] = (float)a;
    }
    return RLHF_OK;
}

static inline void zero_gradient(rlhfi_model *model)
{
    check_ok(model->context, rlhfi_model_need_gradient(model), "gradient");
    rlhfi_zero(model->context, model->gradient, model->weights->count);
}

/* ---- directories ------------------------------------------------------------------------------------------------ */

static inline void make_directory(char directory[64])
{
    strcpy(directory, "/tmp/rlhf-model-XXXXXX");
    assert_non_null(mkdtemp(directory));
}

#endif
