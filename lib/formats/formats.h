/* Files that other programs made, read with bounds and written atomically: JSON, YAML, safetensors, HF config.json. */
#ifndef RLHFI_FORMATS_H
#define RLHFI_FORMATS_H

#include "core/core.h"

/* ---- JSON (jansson behind it: json.c is the only file that sees jansson.h) --------------------------------------- */

typedef struct rlhfi_json rlhfi_json; /* a node; every node is borrowed from the root that was parsed */
enum { RLHFI_JSON_NULL, RLHFI_JSON_BOOLEAN, RLHFI_JSON_INTEGER, RLHFI_JSON_REAL, RLHFI_JSON_STRING, RLHFI_JSON_ARRAY,
       RLHFI_JSON_OBJECT };

/* Duplicate keys, invalid UTF-8, depth over 64, NUL in keys and anything behind the value are errors
 * ("name:line:column: what"). Integers outside int64 become reals (saturated sizes of HF files); the literals NaN,
 * Infinity and -Infinity, which Python writes, are accepted as reals. */
rlhf_status rlhfi_json_parse(rlhfi_json **out, rlhf_context *context, const char *text, size_t bytes, const char *name);
rlhf_status rlhfi_json_load(rlhfi_json **out, rlhf_context *context, const char *path, size_t limit);
void rlhfi_json_release(rlhfi_json **root);

/* Accessors accept NULL and nodes of another type: they answer NULL, 0 or false. */
int rlhfi_json_type(const rlhfi_json *node); /* NULL pointer: RLHFI_JSON_NULL */
const rlhfi_json *rlhfi_json_get(const rlhfi_json *object, const char *key);
size_t rlhfi_json_size(const rlhfi_json *array_or_object);
const rlhfi_json *rlhfi_json_at(const rlhfi_json *array, size_t index);
const char *rlhfi_json_text(const rlhfi_json *string, size_t *bytes); /* bytes may be NULL; NUL-terminated */
/* Integers, and reals with an integral value (8.0); beyond int64 the nearest that it holds, as bounds checks want. */
bool rlhfi_json_integer(const rlhfi_json *node, int64_t *out);
bool rlhfi_json_number(const rlhfi_json *node, double *out);
bool rlhfi_json_boolean(const rlhfi_json *node, bool *out);
/* Walks an object in file order: for (void *i = NULL; rlhfi_json_next(object, &i, &key, &value);) */
bool rlhfi_json_next(const rlhfi_json *object, void **iterator, const char **key, const rlhfi_json **value);
/* Text of a node. indent 0: one line, keys in file order, UTF-8. indent 2: as HF writes files (sorted keys, ASCII, no
 * final newline). Numbers as Python spells them. Free with rlhfi_free. NULL without memory. */
char *rlhfi_json_dump(rlhf_context *context, const rlhfi_json *node, int indent);
/* The same for base with the members of changes (two objects) in place of its own of that name, or added. */
char *rlhfi_json_dump_changed(rlhf_context *context, const rlhfi_json *base, const rlhfi_json *changes, int indent);
/* The object without the named keys (NULL-terminated list) as one line, or NULL if nothing remains. */
rlhf_status rlhfi_json_dump_others(rlhf_context *context, const rlhfi_json *object, const char *const *without,
                                   char **out);

/* ---- YAML (libyaml's event interface) ---------------------------------------------------------------------------- */

/* One document with something in it, at most 1 MiB, 65536 values and 16 levels; aliases, anchors, tags are refused. */

typedef struct rlhfi_yaml rlhfi_yaml;
enum { RLHFI_YAML_SCALAR, RLHFI_YAML_SEQUENCE, RLHFI_YAML_MAPPING };
struct rlhfi_yaml {
    int kind;
    int64_t line, column;    /* from 1; of the key inside a mapping */
    char *key;               /* inside a mapping, else NULL */
    char *scalar;            /* text of a scalar; quoted tells "null" from null */
    bool quoted;
    rlhfi_yaml *first, *next; /* children in file order, siblings */
};
/* Duplicate keys in one mapping are errors. UNSUPPORTED without libyaml. name is for messages. */
rlhf_status rlhfi_yaml_parse(rlhfi_yaml **out, rlhf_context *context, const char *text, size_t bytes, const char *name);
rlhf_status rlhfi_yaml_load(rlhfi_yaml **out, rlhf_context *context, const char *path);
const rlhfi_yaml *rlhfi_yaml_get(const rlhfi_yaml *mapping, const char *key);
void rlhfi_yaml_release(rlhf_context *context, rlhfi_yaml **root);

/* ---- safetensors (formats.md 1) ---------------------------------------------------------------------------------- */

enum rlhfi_dtype { /* ascending in the order that the reference writer sorts by */
    RLHFI_BOOL = 0, RLHFI_U8, RLHFI_I8, RLHFI_I16, RLHFI_U16, RLHFI_F16, RLHFI_BF16, RLHFI_I32, RLHFI_U32, RLHFI_F32,
    RLHFI_F64, RLHFI_I64, RLHFI_U64, RLHFI_DTYPE_OTHER
};
enum { RLHFI_MAX_RANK = 8 };
const char *rlhfi_dtype_name(enum rlhfi_dtype dtype); /* as in the file, "F32"; NULL for OTHER */
size_t rlhfi_dtype_bytes(enum rlhfi_dtype dtype);     /* per element; 0 for OTHER */

typedef struct rlhfi_tensor_info {
    const char *name;
    enum rlhfi_dtype dtype;
    int32_t rank;
    int64_t shape[RLHFI_MAX_RANK];
    int64_t elements;
    uint64_t bytes;
    int32_t file;        /* index of the shard */
    uint64_t offset;     /* in that file */
} rlhfi_tensor_info;

typedef struct rlhfi_safetensors rlhfi_safetensors;
/* One file, or a directory: model.safetensors, else the shards of model.safetensors.index.json. All checks of
 * formats.md 1.4 and 1.7; nothing but headers is read yet. */
rlhf_status rlhfi_safetensors_open(rlhfi_safetensors **out, rlhf_context *context, const char *path);
size_t rlhfi_safetensors_count(const rlhfi_safetensors *file);
const rlhfi_tensor_info *rlhfi_safetensors_info(const rlhfi_safetensors *file, size_t index); /* sorted by name */
const rlhfi_tensor_info *rlhfi_safetensors_find(const rlhfi_safetensors *file, const char *name);
const char *rlhfi_safetensors_metadata(const rlhfi_safetensors *file, const char *key); /* NULL if not there */
/* Reads a tensor and converts F32, F16, BF16, F64 to float (others: UNSUPPORTED). */
rlhf_status rlhfi_safetensors_read_float(rlhfi_safetensors *file, const rlhfi_tensor_info *info, float *out);
rlhf_status rlhfi_safetensors_read_double(rlhfi_safetensors *file, const rlhfi_tensor_info *info, double *out);
rlhf_status rlhfi_safetensors_read_int64(rlhfi_safetensors *file, const rlhfi_tensor_info *info, int64_t *out);
rlhf_status rlhfi_safetensors_read_raw(rlhfi_safetensors *file, const rlhfi_tensor_info *info, void *out);
void rlhfi_safetensors_close(rlhfi_safetensors **file);

typedef struct rlhfi_tensor_source { /* one tensor to write */
    const char *name;
    enum rlhfi_dtype dtype;
    int32_t rank;
    int64_t shape[RLHFI_MAX_RANK];
    const void *data;         /* contiguous, of dtype */
} rlhfi_tensor_source;
/* Byte for byte what the reference writer makes (formats.md 1.6), written beside and renamed. metadata: pairs key,
 * value, ..., NULL; or NULL for {"format":"pt"}. */
rlhf_status rlhfi_safetensors_write(rlhf_context *context, const char *path, const rlhfi_tensor_source *tensors,
                                    size_t count, const char *const *metadata);
/* Into a directory as model.safetensors, or as shards of at most shard_bytes with their index (formats.md 1.7); stale
 * shards are removed last. shard_bytes 0 = one file. */
rlhf_status rlhfi_safetensors_write_directory(rlhf_context *context, const char *directory,
                                              const rlhfi_tensor_source *tensors, size_t count, uint64_t shard_bytes);

float rlhfi_half_to_float(uint16_t half);       /* IEEE binary16 */
float rlhfi_bfloat16_to_float(uint16_t bits);
uint16_t rlhfi_float_to_half(float value);      /* to nearest, ties to even */
uint16_t rlhfi_float_to_bfloat16(float value);

/* ---- HF config.json (formats.md 3.1, 3.2) ------------------------------------------------------------------------ */

enum { RLHFI_MAX_EOS = 8 };
typedef struct rlhfi_hf_config {
    char model_type[32];               /* "gpt2", "llama", ... */
    char architecture[64];             /* architectures[0], may be empty */
    int64_t vocab_size, hidden_size, intermediate_size, layers, heads, kv_heads, head_dim, max_positions;
    char activation[32];               /* as written: "gelu_new", "silu", ... */
    double norm_eps;
    double rope_theta;                 /* 0 for GPT-2 */
    char rope_type[16];                /* "default" if none */
    double rope_factor, rope_low_freq_factor, rope_high_freq_factor;
    int64_t rope_original_max_positions;
    bool tie_word_embeddings, attention_bias, mlp_bias;
    bool scale_attn_weights, scale_attn_by_inverse_layer_idx; /* GPT-2 */
    int64_t num_labels;                /* -1 if the file has neither num_labels nor id2label */
    int64_t bos, pad;                  /* -1 = none */
    int32_t eos_count;
    int64_t eos[RLHFI_MAX_EOS];        /* config.json, then generation_config.json wins if there */
    char *json;                        /* the whole config.json as read */
    char *generation_json;             /* generation_config.json, or NULL */
} rlhfi_hf_config;
/* Reads DIR/config.json (and generation_config.json). Types gpt2 and llama are read whole; another model_type is
 * UNSUPPORTED by name; so are quantization_config and settings that would change the mathematics (rope types other than
 * default and llama3, unknown activations, reorder_and_upcast_attn true, pretraining_tp > 1, add_cross_attention). */
rlhf_status rlhfi_hf_config_load(rlhfi_hf_config *out, rlhf_context *context, const char *directory);
rlhf_status rlhfi_hf_config_parse(rlhfi_hf_config *out, rlhf_context *context, const char *json, size_t bytes,
                                  const char *name);
/* The text of a config.json for a written model: everything that was read, with architectures, vocab_size,
 * tie_word_embeddings, dtype ("float32") and, for scalar heads, the one label (id2label, label2id, as transformers
 * spells num_labels 1) set to what is written; 2-space indent, sorted keys, final newline. config->json NULL: made from
 * the fields. Free with rlhfi_free. */
rlhf_status rlhfi_hf_config_text(rlhf_context *context, const rlhfi_hf_config *config, const char *architecture,
                                 bool scalar_head, const char *dtype, char **out);
void rlhfi_hf_config_free(rlhf_context *context, rlhfi_hf_config *config);
rlhf_status rlhfi_hf_config_copy(rlhf_context *context, rlhfi_hf_config *to, const rlhfi_hf_config *from);

/* ---- NumPy .npy is not read: fixtures are safetensors and JSON. -------------------------------------------------- */

#endif
