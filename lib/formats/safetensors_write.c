/* Writing one safetensors file, byte for byte as the reference writer does (formats.md 1.6). */
#include "formats/json.h"
#include "formats/safetensors.h"
#include "formats/sort.h"

static rlhf_status check_source(rlhf_context *context, const char *path, const rlhfi_tensor_source *tensor,
                                uint64_t *bytes)
{
    size_t length, width = rlhfi_dtype_bytes(tensor->dtype);

    if (tensor->name == NULL)
        return rlhfi_fail(context, RLHF_E_INVAL, "%s: a tensor without a name", path);
    length = strlen(tensor->name);
    if (length > RLHFI_TENSOR_NAME_LIMIT || !rlhfi_utf8_valid(tensor->name, length, NULL) ||
        strcmp(tensor->name, "__metadata__") == 0)
        return rlhfi_fail(context, RLHF_E_INVAL, "%s: tensor \"%.64s\": not a name that the format allows", path,
                          tensor->name);
    if (width == 0)
        return rlhfi_fail(context, RLHF_E_INVAL, "%s: tensor \"%s\": dtype cannot be written", path, tensor->name);
    if (tensor->rank < 0 || tensor->rank > RLHFI_MAX_RANK)
        return rlhfi_fail(context, RLHF_E_INVAL, "%s: tensor \"%s\": rank %d, 0 to %d", path, tensor->name,
                          (int)tensor->rank, RLHFI_MAX_RANK);
    *bytes = width;
    for (int32_t i = 0; i < tensor->rank; i++)
        if (tensor->shape[i] < 0 || __builtin_mul_overflow(*bytes, (uint64_t)tensor->shape[i], bytes) ||
            *bytes > INT64_MAX)
            return rlhfi_fail(context, RLHF_E_INVAL, "%s: tensor \"%s\": impossible shape", path, tensor->name);
    if (*bytes > 0 && tensor->data == NULL)
        return rlhfi_fail(context, RLHF_E_INVAL, "%s: tensor \"%s\": no data", path, tensor->name);
    return RLHF_OK;
}

uint64_t rlhfi_source_bytes(const rlhfi_tensor_source *tensor)
{
    uint64_t bytes = rlhfi_dtype_bytes(tensor->dtype);

    for (int32_t i = 0; i < tensor->rank; i++)
        bytes *= (uint64_t)tensor->shape[i];
    return bytes;
}

/* Wide types first, so that every tensor is aligned for its type; then names. */
static int compare_for_file(const void *a, const void *b)
{
    const rlhfi_tensor_source *x = *(const rlhfi_tensor_source *const *)a, *y = *(const rlhfi_tensor_source *const *)b;

    return x->dtype != y->dtype ? (x->dtype < y->dtype ? 1 : -1) : strcmp(x->name, y->name);
}

static int compare_names(const void *a, const void *b)
{
    const rlhfi_tensor_source *x = *(const rlhfi_tensor_source *const *)a, *y = *(const rlhfi_tensor_source *const *)b;

    return strcmp(x->name, y->name);
}

rlhf_status rlhfi_sources_check(rlhf_context *context, const char *path, const rlhfi_tensor_source **order,
                                size_t count, uint64_t *total)
{
    uint64_t bytes = 0;

    *total = 0;
    if (count > RLHFI_TENSOR_LIMIT)
        return rlhfi_fail(context, RLHF_E_INVAL, "%s: %zu tensors, at most %d", path, count, RLHFI_TENSOR_LIMIT);
    for (size_t i = 0; i < count; i++) {
        RLHFI_TRY(check_source(context, path, order[i], &bytes));
        if (__builtin_add_overflow(*total, bytes, total) || *total > INT64_MAX)
            return rlhfi_fail(context, RLHF_E_INVAL, "%s: more than 2^63-1 bytes of tensors", path);
    }
    rlhfi_sort(order, count, sizeof *order, compare_names);
    for (size_t i = 1; i < count; i++)
        if (strcmp(order[i - 1]->name, order[i]->name) == 0)
            return rlhfi_fail(context, RLHF_E_INVAL, "%s: tensor \"%s\" appears twice", path, order[i]->name);
    return RLHF_OK;
}

static rlhf_status add_metadata(rlhfi_string *header, const char *path, const char *const *metadata)
{
    static const char *const defaults[] = {"format", "pt", NULL};

    if (metadata == NULL)
        metadata = defaults;
    for (size_t i = 0; metadata[i] != NULL; i += 2) {
        if (metadata[i + 1] == NULL || !rlhfi_utf8_valid(metadata[i], strlen(metadata[i]), NULL) ||
            !rlhfi_utf8_valid(metadata[i + 1], strlen(metadata[i + 1]), NULL))
            return rlhfi_fail(header->context, RLHF_E_INVAL, "%s: metadata must be pairs of UTF-8 text", path);
        for (size_t j = 0; j < i; j += 2)
            if (strcmp(metadata[i], metadata[j]) == 0)
                return rlhfi_fail(header->context, RLHF_E_INVAL, "%s: metadata \"%s\" appears twice", path,
                                  metadata[i]);
        rlhfi_string_add(header, i == 0 ? "{\"__metadata__\":{" : ",");
        rlhfi_json_quote(header, metadata[i], strlen(metadata[i]), false);
        rlhfi_string_add(header, ":");
        rlhfi_json_quote(header, metadata[i + 1], strlen(metadata[i + 1]), false);
    }
    rlhfi_string_add(header, metadata[0] == NULL ? "{" : "}");
    return RLHF_OK;
}

/* The header's text without its length; order is sorted for the file. */
static rlhf_status make_header(rlhfi_string *header, const char *path, const rlhfi_tensor_source *const *order,
                               size_t count, const char *const *metadata)
{
    uint64_t place = 0;

    RLHFI_TRY(add_metadata(header, path, metadata));
    for (size_t i = 0; i < count; i++) {
        const rlhfi_tensor_source *tensor = order[i];
        uint64_t end = place + rlhfi_source_bytes(tensor);
        if (i > 0 || header->size > 1)
            rlhfi_string_add(header, ",");
        rlhfi_json_quote(header, tensor->name, strlen(tensor->name), false);
        rlhfi_string_add_format(header, ":{\"dtype\":\"%s\",\"shape\":[", rlhfi_dtype_name(tensor->dtype));
        for (int32_t j = 0; j < tensor->rank; j++)
            rlhfi_string_add_format(header, j > 0 ? ",%lld" : "%lld", (long long)tensor->shape[j]);
        rlhfi_string_add_format(header, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)place,
                                (unsigned long long)end);
        place = end;
    }
    rlhfi_string_add(header, "}");
    while (header->size % 8 != 0 && !header->failed)
        rlhfi_string_add(header, " ");
    if (header->failed)
        return RLHF_E_NOMEM;
    if (header->size > RLHFI_HEADER_LIMIT)
        return rlhfi_fail(header->context, RLHF_E_UNSUPPORTED, "%s: a header of %zu bytes, at most %d", path,
                          header->size, RLHFI_HEADER_LIMIT);
    return RLHF_OK;
}

static rlhf_status write_tensors(rlhf_context *context, const char *path, const rlhfi_string *header,
                                 const rlhfi_tensor_source *const *order, size_t count)
{
    rlhfi_writer *writer;
    unsigned char head[8];
    rlhf_status status;

    for (size_t i = 0; i < sizeof head; i++)
        head[i] = (unsigned char)((uint64_t)header->size >> 8 * i);
    RLHFI_TRY(rlhfi_writer_open(&writer, context, path));
    RLHFI_GOTO(rlhfi_writer_write(writer, head, sizeof head));
    RLHFI_GOTO(rlhfi_writer_write(writer, header->data, header->size));
    for (size_t i = 0; i < count; i++)
        RLHFI_GOTO(rlhfi_writer_write(writer, order[i]->data, (size_t)rlhfi_source_bytes(order[i])));
    return rlhfi_writer_commit(&writer);
done:
    rlhfi_writer_abandon(&writer);
    return status;
}

rlhf_status rlhfi_sources_write(rlhf_context *context, const char *path, const rlhfi_tensor_source **order,
                                size_t count, const char *const *metadata)
{
    rlhfi_string header;
    rlhf_status status;

    rlhfi_sort(order, count, sizeof *order, compare_for_file);
    rlhfi_string_init(&header, context);
    RLHFI_GOTO(make_header(&header, path, order, count, metadata));
    RLHFI_GOTO(write_tensors(context, path, &header, order, count));
done:
    rlhfi_string_free(&header);
    return status;
}

const rlhfi_tensor_source **rlhfi_sources_list(rlhf_context *context, const rlhfi_tensor_source *tensors, size_t count)
{
    const rlhfi_tensor_source **order = rlhfi_alloc_array(context, count, sizeof *order);

    for (size_t i = 0; order != NULL && i < count; i++)
        order[i] = &tensors[i];
    return order;
}

rlhf_status rlhfi_safetensors_write(rlhf_context *context, const char *path, const rlhfi_tensor_source *tensors,
                                    size_t count, const char *const *metadata)
{
    const rlhfi_tensor_source **order = rlhfi_sources_list(context, tensors, count);
    uint64_t total;
    rlhf_status status;

    if (order == NULL)
        return RLHF_E_NOMEM;
    status = rlhfi_sources_check(context, path, order, count, &total);
    if (status == RLHF_OK)
        status = rlhfi_sources_write(context, path, order, count, metadata);
    rlhfi_free(context, order);
    return status;
}
