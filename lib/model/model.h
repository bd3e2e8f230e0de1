/* The transformer: description, parameters, forward and backward on ragged batches, heads; the four roles on it. */
#ifndef RLHFI_MODEL_H
#define RLHFI_MODEL_H

#include "core/core.h"
#include "compute/compute.h"
#include "data/data.h"
#include "formats/formats.h"
#include <rlhf/model_options.h>
#include <rlhf/policy.h>
#include <rlhf/reference.h>
#include <rlhf/reward_model.h>
#include <rlhf/value_model.h>

/* ---- description: a decoder is this table, one block implementation runs them all ------------------------------- */

enum rlhfi_norm { RLHFI_NORM_LAYER = 1, RLHFI_NORM_RMS = 2 };
enum rlhfi_position { RLHFI_POSITION_LEARNED = 1, RLHFI_POSITION_ROTARY = 2 };
enum rlhfi_head_kind { RLHFI_HEAD_TOKENS = 1, RLHFI_HEAD_SCALAR = 2 };

typedef struct rlhfi_architecture {
    enum rlhfi_norm norm;
    enum rlhfi_position position;
    enum rlhfi_activation activation;
    bool gated;                       /* act(gate) * up, else act(up) */
    bool transposed_weights;          /* true: Linear [out,in]; false: Conv1D [in,out] (GPT-2) */
    bool fused_qkv;                   /* one tensor q|k|v (GPT-2's c_attn) */
    bool qkv_bias, output_bias, mlp_bias, norm_bias;
    bool tied_head;
    int64_t vocabulary, width, inner, layers, heads, kv_heads, head_dim, positions;
    float norm_eps;
    float attention_scale;            /* per layer factor on top: 1/(layer+1) if scale_by_layer */
    bool scale_by_layer;
    float *inverse_frequency;         /* [head_dim/2] rotary, llama3 scaling already applied */
} rlhfi_architecture;

/* ---- parameters: one flat buffer and its table ------------------------------------------------------------------ */

enum rlhfi_parameter_kind {           /* how it begins: see initialise.c */
    RLHFI_PARAMETER_MATRIX = 1, RLHFI_PARAMETER_RESIDUAL, RLHFI_PARAMETER_GAIN, RLHFI_PARAMETER_BIAS,
    RLHFI_PARAMETER_SCALAR_HEAD
};

typedef struct rlhfi_parameter {
    char name[96];                    /* as in the checkpoint that was read or will be written */
    enum rlhfi_parameter_kind kind;
    int32_t rank;
    int64_t shape[2];
    int64_t offset, elements;         /* in the flat buffer */
} rlhfi_parameter;

typedef struct rlhfi_weights {        /* shared by several models until one writes */
    int64_t references;
    rlhf_context *context;
    float *data;                      /* NULL if they are bf16: */
    uint16_t *half;
    int64_t count;
} rlhfi_weights;

typedef struct rlhfi_model {
    int64_t references;
    rlhf_context *context;
    rlhfi_architecture architecture;
    rlhfi_hf_config config;
    rlhf_model_options options;
    enum rlhfi_head_kind head;
    bool value_head;                  /* a scalar head behind a tokens head; not in the model's own checkpoints */
    rlhfi_parameter *parameters;      /* in the order of the flat buffer */
    int64_t parameter_count;
    rlhfi_weights *weights;
    float *gradient;                  /* flat, zero after a step; NULL until first needed */
    uint64_t version;                 /* grows with every change of the weights: caches (panels) look at it */
    double score_gain, score_bias;    /* scalar heads */
    rlhfi_arena *arena;               /* activations and scratch of the current call */
    struct rlhfi_block_table *table;  /* resolved offsets of every layer's tensors */
    struct rlhfi_panel_set *decode;   /* panels for decoding, made on first use, repacked when version moved */
    rlhf_context **lane;              /* one-thread contexts, one per worker: see groups.c */
    struct rlhfi_vectors *vectors;    /* of bf16 weights: gains, biases and a scalar head as floats */
    bool busy;                        /* a loss callback is running: the arena holds its activations */
} rlhfi_model;

rlhf_status rlhfi_model_load(rlhfi_model **out, rlhf_context *context, const char *directory,
                             enum rlhfi_head_kind head, const rlhf_model_options *options);
rlhf_status rlhfi_model_create(rlhfi_model **out, rlhf_context *context, const char *config_json, size_t bytes,
                               enum rlhfi_head_kind head, uint64_t seed, const rlhf_model_options *options);
/* The same head, weights shared until one side writes. */
rlhf_status rlhfi_model_share(rlhfi_model **out, const rlhfi_model *model);
/* From a model with either head, the trunk's weights copied (a flat buffer ends with its head). head_std > 0: scalar
 * head N(0, head_std^2) from seed; 0: zeros. */
rlhf_status rlhfi_model_with_scalar_head(rlhfi_model **out, const rlhfi_model *model, float head_std, uint64_t seed);
/* Puts a value head of zeros on a model with a tokens head; one that is there stays as it is. The buffers are new ones:
 * optimizers that were made before are of no use any more. */
rlhf_status rlhfi_model_add_value_head(rlhfi_model *model);
/* How many of the parameters are the model's own: hashes and checkpoints leave a value head out. It comes last. */
int64_t rlhfi_model_own_parameters(const rlhfi_model *model);
int64_t rlhfi_model_own_weights(const rlhfi_model *model); /* floats of the flat buffer that they take */
float *rlhfi_value_head_weight(const rlhfi_model *model);  /* [width], NULL without a value head */
rlhfi_model *rlhfi_model_retain(rlhfi_model *model);
void rlhfi_model_release(rlhfi_model **model);
rlhf_status rlhfi_model_save(const rlhfi_model *model, const char *directory);
rlhf_status rlhfi_model_hash(const rlhfi_model *model, char hex[65]);
/* Makes the weights of model those of another of the same shape and format; a value head of model stays. */
rlhf_status rlhfi_model_take_weights(rlhfi_model *model, const rlhfi_model *from);
/* Call before writing to weights->data or half: gives the model its own copy if others share it, and moves version. */
rlhf_status rlhfi_model_writable(rlhfi_model *model);
rlhf_status rlhfi_model_need_gradient(rlhfi_model *model);       /* allocates gradient, zeroed, if there is none */

/* NOMEM, with the numbers, if bytes are more than the option memory_limit. */
rlhf_status rlhfi_plan_check(const rlhfi_model *model, uint64_t bytes, const char *what);

/* ---- forward and backward --------------------------------------------------------------------------------------- */

typedef struct rlhfi_ragged {          /* sequences one behind the other, each from position 0 */
    int64_t sequences;
    const int64_t *offset;             /* [sequences+1] */
    const int32_t *tokens;
    /* NULL = none. prefix[s] > 0: sequence s goes on, from that position, behind the last sequence before it that has
     * prefix 0, of exactly that length (a prompt and its completions). */
    const int64_t *prefix;             /* [sequences] */
} rlhfi_ragged;

/* What the backward pass needs of a forward pass; lives in the model's arena until the next forward pass begins. */
typedef struct rlhfi_tape rlhfi_tape;

/* Runs the trunk. hidden [tokens, width] (after the final norm) lies in the model's arena. tape NULL = inference: then
 * layers reuse buffers. Checks token ids and lengths (RANGE). */
rlhf_status rlhfi_forward(rlhfi_model *model, const rlhfi_ragged *batch, rlhfi_tape **tape, float **hidden);
/* d_hidden [tokens, width] is overwritten. Gradients are added to model->gradient. */
rlhf_status rlhfi_backward(rlhfi_model *model, const rlhfi_ragged *batch, rlhfi_tape *tape, float *d_hidden);
/* Tokens-head weight [vocabulary, width] and its gradient (the embedding's where tied). */
rlhfi_head_matrix rlhfi_head_weight(const rlhfi_model *model);
float *rlhfi_head_gradient(rlhfi_model *model);
/* Scalar head or value head: score[i] = w . hidden[row[i]] (chain order), raw. */
rlhf_status rlhfi_scalar_head(rlhfi_model *model, int64_t rows, const int64_t *row, const float *hidden, float *score);
rlhf_status rlhfi_scalar_head_backward(rlhfi_model *model, int64_t rows, const int64_t *row, const float *hidden,
                                       const float *d_score, float *d_hidden);

/* ---- whole operations, used by roles and trainers --------------------------------------------------------------- */

/* Per response token of the batch: log-probabilities and, unless NULL, entropy, mean over the vocabulary, arg max, raw
 * value (of a model with a value head). Rows are processed in slices of bounded memory; a slice never changes bits. */
typedef struct rlhfi_token_stats {
    float *log_prob, *entropy, *mean_log_prob;
    int32_t *best;
    float *value;
} rlhfi_token_stats;
rlhf_status rlhfi_model_log_probs(rlhfi_model *model, const rlhf_batch_view *batch, float inverse_temperature,
                                  const rlhfi_token_stats *stats);

/* Forward, let the caller turn log-probabilities into gradients, backward: one forward pass instead of two. loss is
 * called once with the arrays of the whole batch; it fills d_... (zeroed before) and may not call the model (BUSY).
 * want_* choose what is computed: d_entropy and d_mean_log_prob are NULL where they are not wanted. value and d_value
 * are there if the model has a value head: one pass each way serves both heads. */
typedef struct rlhfi_train_arrays {
    int64_t count;                     /* response tokens */
    const float *log_prob, *entropy, *mean_log_prob;
    const int32_t *best;
    float *d_log_prob, *d_entropy, *d_mean_log_prob;
    const float *value;
    float *d_value;
} rlhfi_train_arrays;
typedef rlhf_status (*rlhfi_train_loss)(void *user_data, const rlhfi_train_arrays *arrays);
rlhf_status rlhfi_model_train(rlhfi_model *model, const rlhf_batch_view *batch, float inverse_temperature,
                              bool want_entropy, bool want_mean_log_prob, bool want_best, rlhfi_train_loss loss,
                              void *user_data);

/* Scalar heads and value heads. per_token: a value per response token (read at the token before it), else one score per
 * row (last token). Raw head output; roles apply gain and bias. */
rlhf_status rlhfi_model_scalars(rlhfi_model *model, const rlhf_batch_view *batch, bool per_token, float *out);
typedef rlhf_status (*rlhfi_scalar_loss)(void *user_data, int64_t count, const float *scalar, float *d_scalar);
rlhf_status rlhfi_model_train_scalars(rlhfi_model *model, const rlhf_batch_view *batch, bool per_token,
                                      rlhfi_scalar_loss loss, void *user_data);

/* ---- decoding with a cache of keys and values ------------------------------------------------------------------- */

typedef struct rlhfi_cache rlhfi_cache;
/* slots sequences of at most length tokens each; memory grows with use, in pages, never beyond slots * length (whole
 * pages). */
rlhf_status rlhfi_cache_create(rlhfi_cache **out, rlhfi_model *model, int64_t slots, int64_t length);
void rlhfi_cache_clear(rlhfi_cache *cache, int64_t slot);
int64_t rlhfi_cache_length(const rlhfi_cache *cache, int64_t slot);
/* The first `tokens` tokens of slot `from` also stand in slot `to` afterwards (a prompt shared by its samples): nothing
 * is copied before one of them writes, and then a page at most. */
rlhf_status rlhfi_cache_copy(rlhfi_cache *cache, int64_t from, int64_t to, int64_t tokens);
void rlhfi_cache_release(rlhfi_cache **cache);
/* Appends new tokens to slots (a prompt, or one token each) and gives the logits [count, vocabulary] behind each slot's
 * last new token (in the model's arena). Bits equal those of rlhfi_forward + rlhfi_head over the whole sequence. */
rlhf_status rlhfi_decode(rlhfi_model *model, rlhfi_cache *cache, int64_t count, const int64_t *slot,
                         const int64_t *offset, const int32_t *tokens, float **logits);

/* ---- roles ------------------------------------------------------------------------------------------------------ */

struct rlhf_policy { int64_t references; rlhfi_model *model; };
struct rlhf_reference { int64_t references; rlhfi_model *model; };
struct rlhf_reward_model { int64_t references; rlhfi_model *model; };
struct rlhf_value_model { int64_t references; rlhfi_model *model; };
rlhf_policy *rlhfi_policy_retain(rlhf_policy *policy);
rlhf_reference *rlhfi_reference_retain(rlhf_reference *reference);
rlhf_reward_model *rlhfi_reward_model_retain(rlhf_reward_model *model);
rlhf_value_model *rlhfi_value_model_retain(rlhf_value_model *model);

#endif
