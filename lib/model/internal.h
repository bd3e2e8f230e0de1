/* What only the files of this room share. */
#ifndef RLHFI_MODEL_INTERNAL_H
#define RLHFI_MODEL_INTERNAL_H

#include "model/model.h"
#include <rlhf/memory_plan.h>

/* ---- architecture.c --------------------------------------------------------------------------------------------- */

enum { RLHFI_NONE = -1 };

/* Where the tensors of one layer begin in the flat buffer; RLHFI_NONE = the architecture has none. Tensors that are
 * used together stand side by side and are one: q, k, v rows, and gate, up rows. */
typedef struct rlhfi_layer {
    int64_t norm1_weight, norm1_bias;
    int64_t qkv_weight, qkv_bias;
    int64_t output_weight, output_bias;
    int64_t norm2_weight, norm2_bias;
    int64_t up_weight, up_bias;
    int64_t down_weight, down_bias;
} rlhfi_layer;

struct rlhfi_block_table {
    int64_t token_embedding, position_embedding;
    int64_t final_weight, final_bias;
    int64_t head;                     /* the embedding where tied */
    int64_t scalar;                   /* scalar head or value head, RLHFI_NONE without */
    int64_t layers_begin, layers_end; /* the layers and the final norm */
    rlhfi_layer *layer;               /* [layers] */
    int64_t rotary_positions;         /* rows of the two tables; they grow with the longest sequence seen */
    float *cosine, *sine;             /* [rotary_positions, head_dim/2] */
};

/* Description, parameter table and block table from model->config and model->head. */
rlhf_status rlhfi_model_describe(rlhfi_model *model);
/* The same with a value head behind everything; the weights are the caller's business. */
rlhf_status rlhfi_model_describe_value_head(rlhfi_model *model);
/* Part of a name that bare checkpoints leave out ("transformer.", "model."). */
const char *rlhfi_model_prefix(const rlhfi_model *model);
/* Name for config.json's "architectures". */
const char *rlhfi_model_class(const rlhfi_model *model, enum rlhfi_head_kind head);
size_t rlhfi_model_text(const rlhfi_model *model, char *buffer, size_t capacity); /* one line; returns bytes needed */
/* Makes the rotary tables hold at least this many positions. */
rlhf_status rlhfi_model_need_positions(rlhfi_model *model, int64_t positions);

/* ---- model_options.c -------------------------------------------------------------------------------------------- */

/* Checks options (NULL = defaults) and keeps them. */
rlhf_status rlhfi_model_take_options(rlhfi_model *model, const rlhf_model_options *options);

/* Of a weight in memory. */
static inline int64_t rlhfi_weight_bytes(const rlhfi_model *model)
{
    return model->options.weight_format == RLHF_BFLOAT16 ? (int64_t)sizeof(uint16_t) : (int64_t)sizeof(float);
}

/* Whether products round to bf16. */
static inline bool rlhfi_rounds(const rlhfi_model *model)
{
    return model->options.compute_format == RLHF_BFLOAT16;
}

/* ---- storage.c: weights as floats or as bf16 -------------------------------------------------------------------- */

/* Room for count weights, contents undefined. */
rlhf_status rlhfi_weights_create(rlhfi_weights **out, rlhf_context *context, int32_t format, int64_t count);
void rlhfi_weights_release(rlhfi_weights **weights);
/* The first count weights. Both are of one format. */
void rlhfi_weights_copy(rlhfi_weights *to, const rlhfi_weights *from, int64_t count);

/* What works in float beside the products (gains, biases, a scalar head), as floats. Of bf16 weights that is a copy,
 * which rlhfi_vectors_need makes new after a change. */
const float *rlhfi_vector_at(const rlhfi_model *model, int64_t offset);
rlhf_status rlhfi_vectors_need(rlhfi_model *model);
void rlhfi_vectors_release(rlhfi_model *model);

/* Numbers of one tensor on their way into the weights: floats that stand there already, or are rounded to bf16 by
 * rlhfi_filling_end. */
typedef struct rlhfi_filling {
    rlhfi_model *model;
    const rlhfi_parameter *parameter;
    float *data; /* [parameter->elements] to write */
} rlhfi_filling;
rlhf_status rlhfi_filling_begin(rlhfi_filling *filling, rlhfi_model *model, const rlhfi_parameter *parameter);
void rlhfi_filling_end(rlhfi_filling *filling);

/* ---- weights.c, initialise.c ------------------------------------------------------------------------------------ */

/* A model with its tables from a config (taken over, also on failure) and weights that are not filled in yet. */
rlhf_status rlhfi_model_new(rlhfi_model **out, rlhf_context *context, rlhfi_hf_config *config,
                            enum rlhfi_head_kind head, const rlhf_model_options *options, bool with_weights);
rlhf_status rlhfi_model_need_weights(rlhfi_model *model); /* the flat buffer, contents undefined */
rlhf_status rlhfi_model_initialise(rlhfi_model *model, uint64_t seed);
rlhf_status rlhfi_scalar_head_initialise(rlhfi_model *model, float std, uint64_t seed);

/* ---- panels.c: the weights of all layers, packed ---------------------------------------------------------------- */

typedef struct rlhfi_layer_panels {
    rlhfi_panels *qkv, *output, *up, *down;
    rlhfi_panels *d_qkv, *d_output, *d_up, *d_down; /* for the way back; NULL until a backward pass asked for them */
} rlhfi_layer_panels;

struct rlhfi_panel_set {
    uint64_t version;                 /* of the weights that are packed */
    rlhfi_layer_panels *layer;        /* [layers] */
    rlhfi_panels *head;               /* of a tokens head; NULL until decoding asked for it */
};

extern const rlhfi_layer_panels rlhfi_no_panels;

/* Makes model->decode hold the weights as they are now. */
rlhf_status rlhfi_panels_need(rlhfi_model *model, bool head, bool backward);
void rlhfi_panel_set_release(rlhfi_model *model);

/* ---- block.c: one layer, row by row; training, scoring and decoding all run these two ------------------------------
 * context: the model's own, or the lane that works on the rows. */

/* What the backward pass needs of one layer. In inference the arrays are scratch that every layer overwrites. */
typedef struct rlhfi_layer_tape {
    float *input;                     /* [T, width] residual stream before the layer */
    float *qkv;                       /* [T, qkv] rotated q and k, v */
    float *attended;                  /* [T, heads*head_dim] */
    float *log_sum_exp;               /* [T, heads] */
    float *middle;                    /* [T, width] residual stream between attention and MLP */
    float *up;                        /* [T, up] gate and up before the activation */
    float *mean1, *rstd1, *mean2, *rstd2; /* [T] */
} rlhfi_layer_tape;

/* y[rows, out] = x[rows, in] W + bias, W as the architecture stores it */
typedef struct rlhfi_linear {
    int64_t weight, bias;             /* in the flat buffer */
    int64_t in, out;
} rlhfi_linear;

static inline int64_t rlhfi_query_width(const rlhfi_architecture *a)
{
    return a->heads * a->head_dim;
}

static inline int64_t rlhfi_qkv_width(const rlhfi_architecture *a)
{
    return (a->heads + 2 * a->kv_heads) * a->head_dim;
}

static inline int64_t rlhfi_up_width(const rlhfi_architecture *a)
{
    return a->gated ? 2 * a->inner : a->inner;
}

static inline float rlhfi_attention_scale(const rlhfi_architecture *a, int64_t layer)
{
    return a->scale_by_layer ? a->attention_scale / (float)(layer + 1) : a->attention_scale;
}

static inline rlhfi_array rlhfi_weight_at(const rlhfi_model *model, int64_t offset)
{
    const rlhfi_weights *weights = model->weights;

    return rlhfi_array_at((rlhfi_array){weights->data, weights->half}, offset);
}

rlhfi_linear rlhfi_linear_qkv(const rlhfi_model *model, int64_t layer);
rlhfi_linear rlhfi_linear_output(const rlhfi_model *model, int64_t layer);
rlhfi_linear rlhfi_linear_up(const rlhfi_model *model, int64_t layer);
rlhfi_linear rlhfi_linear_down(const rlhfi_model *model, int64_t layer);

/* y = x W + bias. panels NULL = an ordinary product; both give the same bits. */
rlhf_status rlhfi_linear_forward(rlhf_context *context, const rlhfi_model *model, const rlhfi_linear *map,
                                 const rlhfi_panels *panels, int64_t rows, const float *x, float *y);

/* Where gradients go: the model's own buffer, or one of a group's that is added to it later. */
typedef struct rlhfi_sink {
    float *base;
    int64_t origin; /* offset in the flat buffer that base stands for */
} rlhfi_sink;

static inline float *rlhfi_gradient_at(const rlhfi_sink *sink, int64_t offset)
{
    return offset == RLHFI_NONE ? NULL : sink->base + (offset - sink->origin);
}

/* dw += dy^T x, db += sum dy, dx = dy W^T. panels: of W^T, or NULL. */
rlhf_status rlhfi_linear_backward(rlhf_context *context, const rlhfi_model *model, const rlhfi_linear *map,
                                  const rlhfi_panels *panels, const rlhfi_sink *sink, int64_t rows, const float *x,
                                  const float *dy, float *dx, int64_t lddx);

/* y = norm(x) with the weights at the two offsets; mean and rstd may be NULL, RMS norms have no mean. */
void rlhfi_norm_forward(rlhf_context *context, const rlhfi_model *model, int64_t weight, int64_t bias, int64_t rows,
                        const float *x, float *y, float *mean, float *rstd);
/* token and, where there are any, position embeddings */
void rlhfi_embed(rlhf_context *context, const rlhfi_model *model, int64_t rows, const int32_t *token,
                 const int32_t *position, float *x);
/* tape->input to tape->qkv. normed: scratch [rows, width]. A panel that is NULL = an ordinary product. */
rlhf_status rlhfi_block_begin(rlhf_context *context, const rlhfi_model *model, int64_t layer,
                              const rlhfi_layer_panels *panels, int64_t rows, const int32_t *position,
                              const rlhfi_layer_tape *tape, float *normed);
/* y = act(gate) * up, or act(up) */
void rlhfi_block_activate(rlhf_context *context, const rlhfi_model *model, int64_t rows, const float *up,
                          float *hidden);
/* tape->attended to output [rows, width], or, if that is NULL, to tape->up. hidden: scratch [rows, inner]. */
rlhf_status rlhfi_block_end(rlhf_context *context, const rlhfi_model *model, int64_t layer,
                            const rlhfi_layer_panels *panels, int64_t rows, const rlhfi_layer_tape *tape, float *normed,
                            float *hidden, float *output);

/* ---- groups.c: sequences that one worker takes through all layers by itself ------------------------------------- */

typedef struct rlhfi_group {
    int64_t first, sequences;         /* counting only sequences that are not empty */
    int64_t row, rows;                /* its tokens in the batch */
    int64_t *offset;                  /* [sequences+1] from 0 */
    int64_t *length;                  /* [sequences] prefixes included */
    int64_t *prefix;                  /* [sequences], or NULL: see rlhfi_ragged. A prefix is in the same group. */
} rlhfi_group;

typedef struct rlhfi_groups {
    bool parallel;                    /* each group on one thread, else one by one with the threads in the kernels */
    int64_t count;
    int64_t most_rows, most_sequences;
    rlhfi_group *group;               /* [count] */
} rlhfi_groups;

/* Whether a layer's weights stay in a core's cache, so that working group by group wins. */
bool rlhfi_model_is_small(const rlhfi_model *model);
/* Cuts a batch by its shape alone into groups of at least target rows, the last one excepted. In the arena. */
rlhf_status rlhfi_groups_make(const rlhfi_model *model, const rlhfi_ragged *batch, int64_t target,
                              rlhfi_groups *groups);

/* Calls work for every index; returns the status of the first index that failed. Parallel calls get the lane of their
 * worker (rlhfi_lanes_need first), others the model's context and worker 0. */
typedef rlhf_status (*rlhfi_group_work)(void *argument, int64_t index, int32_t worker, rlhf_context *context);
rlhf_status rlhfi_groups_run(const rlhfi_model *model, bool parallel, int64_t count, rlhfi_group_work work,
                             void *argument);
/* Sets of scratch that rlhfi_groups_run needs. */
int64_t rlhfi_groups_workers(const rlhfi_model *model, bool parallel);
rlhf_status rlhfi_lanes_need(rlhfi_model *model);
void rlhfi_lanes_release(rlhfi_model *model);

/* ---- memory_plan.c: memory before it is asked for --------------------------------------------------------------- */

/* What a model reads off a batch. */
typedef struct rlhfi_reading {
    int64_t items;
    bool training, entropy, mean_log_prob, best; /* what is kept of each item */
} rlhfi_reading;
/* Makes the arena's next block as large as the rest of the call needs; NOMEM, with the numbers, above memory_limit. */
rlhf_status rlhfi_plan_reserve(rlhfi_model *model, const rlhfi_ragged *batch, const rlhfi_reading *reading);
/* Tokens that scoring takes through the trunk at once, unless one row alone is longer. */
enum { RLHFI_SLICE_TOKENS = 2048 };
/* Rows of a group when a batch is cut: enough for the products to run at full speed, few enough for the cache. */
enum { RLHFI_GROUP_ROWS = 128 };
/* backward.c: how many gradient buffers so many groups have. */
int64_t rlhfi_gradient_buffers(const rlhfi_model *model, int64_t groups);

/* ---- forward.c -------------------------------------------------------------------------------------------------- */

struct rlhfi_tape {
    int64_t tokens;
    bool recompute;                   /* of the layers only the inputs are kept */
    rlhfi_layer_tape *layer;          /* [layers] */
    float *last;                      /* [T, width] residual stream behind the last layer */
    float *mean, *rstd;               /* of the final norm */
    int32_t *position;                /* [T] */
    rlhfi_groups groups;
};

/* One layer of a group with its attention. rows: room for four pointers per sequence; output as rlhfi_block_end. */
rlhf_status rlhfi_layer_forward(rlhf_context *context, const rlhfi_model *model, int64_t layer,
                                const rlhfi_layer_panels *panels, const rlhfi_group *group, const int32_t *position,
                                const rlhfi_layer_tape *tape, float *normed, float *hidden, const float **rows,
                                float *output);
/* The arrays of a layer from some row on. What the tape does not keep is taken from scratch. */
rlhfi_layer_tape rlhfi_layer_tape_at(const rlhfi_model *model, const rlhfi_tape *tape, int64_t layer, int64_t row,
                                     const rlhfi_layer_tape *scratch);
/* All arrays but the input, for one layer; what only the backward pass reads on request. */
rlhf_status rlhfi_layer_tape_make(const rlhfi_model *model, int64_t rows, bool backward, rlhfi_layer_tape *tape);
/* Attention of whole sequences. rows: room for four pointers per sequence. */
rlhfi_attention rlhfi_whole_attention(const rlhfi_model *model, int64_t layer, const rlhfi_group *group,
                                      const float *qkv, const float **rows);
/* As rlhfi_forward, without making the arena empty first. */
rlhf_status rlhfi_forward_more(rlhfi_model *model, const rlhfi_ragged *batch, rlhfi_tape **tape, float **hidden);
/* RANGE for a token outside the vocabulary or a row longer than the model's positions. */
rlhf_status rlhfi_check_tokens(const rlhfi_model *model, int64_t row, const int32_t *tokens, int64_t count);
/* BUSY while a loss callback of this model runs. */
rlhf_status rlhfi_model_idle(const rlhfi_model *model);
/* An array in the model's arena. */
void *rlhfi_scratch(const rlhfi_model *model, int64_t count, size_t size);


/* ---- roles.c: what the four roles have in common ---------------------------------------------------------------- */

rlhf_status rlhfi_role_view(const rlhfi_model *model, const rlhf_batch *batch, rlhf_batch_view *view);
rlhf_status rlhfi_role_temperature(const rlhfi_model *model, double temperature, float *inverse);
rlhf_status rlhfi_role_hash(const rlhfi_model *model, char hex[65]);
rlhf_status rlhfi_role_save(const rlhfi_model *model, const char *directory);
/* gain * raw + bias, in place */
void rlhfi_role_normalise(const rlhfi_model *model, int64_t count, float *scalar);

#endif
