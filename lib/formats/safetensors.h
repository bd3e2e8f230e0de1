/* What the reader and the writer of safetensors share (formats.md 1). */
#ifndef RLHFI_FORMATS_SAFETENSORS_H
#define RLHFI_FORMATS_SAFETENSORS_H

#include "formats/formats.h"

enum {
    RLHFI_HEADER_LIMIT = 100000000,    /* the reference reader's own */
    RLHFI_TENSOR_LIMIT = 1 << 20,      /* entries of a file, of a directory and of an index */
    RLHFI_TENSOR_NAME_LIMIT = 1024,    /* bytes */
    RLHFI_SHARD_LIMIT = 512,           /* files that stand open together */
    RLHFI_INDEX_LIMIT = 256 << 20      /* bytes of an index file */
};

static const char rlhfi_safetensors_file[] = "model.safetensors";
static const char rlhfi_safetensors_index[] = "model.safetensors.index.json";

/* false if no version of the format knows the name. Names without an own rlhfi_dtype give RLHFI_DTYPE_OTHER. */
bool rlhfi_dtype_find(const char *name, size_t bytes, enum rlhfi_dtype *dtype, uint32_t *bits);

/* A header in pieces. Strings point into the text that was parsed, which is decoded in place and must live on. */
typedef struct rlhfi_safetensors_header {
    rlhfi_tensor_info *tensors; /* sorted by name; offsets still count from the data's begin, file is 0 */
    size_t count;
    const char **metadata;      /* key, value, key, value, ... */
    size_t pairs;
} rlhfi_safetensors_header;

/* All checks of formats.md 1.4 behind the first three. data_bytes = file size - 8 - bytes. subject names the file. */
rlhf_status rlhfi_safetensors_header_parse(rlhfi_safetensors_header *out, rlhf_context *context, const char *subject,
                                           char *text, size_t bytes, uint64_t data_bytes);
void rlhfi_safetensors_header_free(rlhf_context *context, rlhfi_safetensors_header *header);

/* By name, then by file: for rlhfi_sort. */
int rlhfi_tensor_compare_names(const void *a, const void *b);

/* Tensors to write, as a list of pointers that may be sorted and cut. */
uint64_t rlhfi_source_bytes(const rlhfi_tensor_source *tensor); /* of one that was checked */
const rlhfi_tensor_source **rlhfi_sources_list(rlhf_context *context, const rlhfi_tensor_source *tensors, size_t count);
/* INVAL for what no file can hold, doubles included; leaves the list sorted by name. */
rlhf_status rlhfi_sources_check(rlhf_context *context, const char *path, const rlhfi_tensor_source **order,
                                size_t count, uint64_t *total);
/* Writes tensors that were checked; sorts the list as the file wants it. */
rlhf_status rlhfi_sources_write(rlhf_context *context, const char *path, const rlhfi_tensor_source **order,
                                size_t count, const char *const *metadata);

#endif
