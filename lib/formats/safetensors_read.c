/* Opening safetensors files and directories of shards, and reading tensors (formats.md 1.5, 1.7).
 *
 * Everything is read with pread into our own memory: a file that shrinks while it stands open gives RLHF_E_IO, where a
 * mapping would give a signal. Tensors need not be aligned, so elements are assembled with memcpy. */
#include "formats/safetensors.h"
#include "formats/scan.h"
#include "formats/sort.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "checkpoints are little-endian and are read without swapping bytes"
#endif

struct shard {
    char *path;
    rlhfi_file *file;
    char *text; /* the header, decoded in place: names and metadata live here */
    rlhfi_safetensors_header header;
};

struct rlhfi_safetensors {
    rlhf_context *context;
    struct shard *shards;
    size_t shard_count;
    rlhfi_tensor_info *tensors; /* sorted by name */
    size_t count;
};

/* ---- one file ---------------------------------------------------------------------------------------------------- */

/* Fills shard, whose path is set. The caller closes it, also after a failure. */
static rlhf_status open_shard(rlhf_context *context, struct shard *shard, int32_t number)
{
    unsigned char head[8];
    uint64_t size, header = 0;

    RLHFI_TRY(rlhfi_file_open(&shard->file, context, shard->path));
    size = rlhfi_file_size(shard->file);
    if (size < sizeof head)
        return rlhfi_fail(context, RLHF_E_FORMAT, "%s: %llu bytes, a safetensors file has at least 8", shard->path,
                          (unsigned long long)size);
    RLHFI_TRY(rlhfi_file_read(shard->file, 0, head, sizeof head));
    memcpy(&header, head, sizeof header);
    if (header > RLHFI_HEADER_LIMIT)
        return rlhfi_fail(context, RLHF_E_FORMAT, "%s: a header of %llu bytes, at most %d (is it a safetensors file?)",
                          shard->path, (unsigned long long)header, RLHFI_HEADER_LIMIT);
    if (header > size - sizeof head)
        return rlhfi_fail(context, RLHF_E_FORMAT, "%s: a header of %llu bytes promised, %llu present", shard->path,
                          (unsigned long long)header, (unsigned long long)(size - sizeof head));
    shard->text = rlhfi_alloc(context, (size_t)header);
    if (shard->text == NULL)
        return RLHF_E_NOMEM;
    RLHFI_TRY(rlhfi_file_read(shard->file, sizeof head, shard->text, (size_t)header));
    RLHFI_TRY(rlhfi_safetensors_header_parse(&shard->header, context, shard->path, shard->text, (size_t)header,
                                             size - sizeof head - header));
    for (size_t i = 0; i < shard->header.count; i++) {
        shard->header.tensors[i].offset += sizeof head + header;
        shard->header.tensors[i].file = number;
    }
    return RLHF_OK;
}

static rlhf_status open_single(rlhfi_safetensors *file, const char *path)
{
    struct shard *shard;

    file->shards = rlhfi_calloc(file->context, 1, sizeof *file->shards);
    if (file->shards == NULL)
        return RLHF_E_NOMEM;
    file->shard_count = 1;
    shard = &file->shards[0];
    shard->path = rlhfi_strdup(file->context, path);
    if (shard->path == NULL)
        return RLHF_E_NOMEM;
    RLHFI_TRY(open_shard(file->context, shard, 0));
    file->tensors = shard->header.tensors;
    file->count = shard->header.count;
    shard->header.tensors = NULL;
    return RLHF_OK;
}

/* ---- shards ------------------------------------------------------------------------------------------------------ */

struct place { /* one line of the index's weight_map */
    const char *tensor, *file_name;
    int32_t file;
};

struct index {
    const char *path;
    rlhfi_scan scan;
    struct place *places;
    size_t count;
};

static rlhf_status index_syntax(rlhf_context *context, const struct index *index)
{
    return rlhfi_fail(context, RLHF_E_FORMAT, "%s: byte %zu: %s", index->path, index->scan.at, index->scan.problem);
}

/* Only a plain name of the same directory: an index from a stranger must not choose files elsewhere. */
static bool is_plain_name(const char *name)
{
    static const char suffix[] = ".safetensors";
    size_t length = strlen(name);

    return length >= sizeof suffix && strcmp(name + length - (sizeof suffix - 1), suffix) == 0 &&
           strpbrk(name, "/\\") == NULL && strstr(name, "..") == NULL;
}

static rlhf_status parse_weight_map(rlhf_context *context, struct index *index)
{
    rlhfi_scan ahead = index->scan;
    size_t members = 0, taken = 0, key_bytes, value_bytes;
    char *key, *value;
    int got = rlhfi_scan_open(&ahead, '{') ? RLHFI_SCAN_ITEM : RLHFI_SCAN_BAD;

    if (index->places != NULL)
        return rlhfi_fail(context, RLHF_E_FORMAT, "%s: \"weight_map\" appears twice", index->path);
    while (got == RLHFI_SCAN_ITEM) {
        got = rlhfi_scan_member(&ahead, &members, NULL, NULL);
        if (got == RLHFI_SCAN_ITEM && !rlhfi_scan_skip(&ahead, 0))
            got = RLHFI_SCAN_BAD;
    }
    if (got == RLHFI_SCAN_BAD) {
        index->scan = ahead;
        return index_syntax(context, index);
    }
    if (members > RLHFI_TENSOR_LIMIT)
        return rlhfi_fail(context, RLHF_E_UNSUPPORTED, "%s: %zu tensors, at most %d", index->path, members,
                          RLHFI_TENSOR_LIMIT);
    index->places = rlhfi_alloc_array(context, members, sizeof *index->places);
    if (index->places == NULL)
        return RLHF_E_NOMEM;
    rlhfi_scan_open(&index->scan, '{');
    while ((got = rlhfi_scan_member(&index->scan, &taken, &key, &key_bytes)) == RLHFI_SCAN_ITEM) {
        if (!rlhfi_scan_string(&index->scan, &value, &value_bytes))
            return index_syntax(context, index);
        if (strlen(key) != key_bytes || strlen(value) != value_bytes || !is_plain_name(value))
            return rlhfi_fail(context, RLHF_E_FORMAT,
                              "%s: tensor \"%s\": file \"%s\" must be a plain name ending in .safetensors", index->path,
                              key, value);
        index->places[index->count++] = (struct place){.tensor = key, .file_name = value};
    }
    return got == RLHFI_SCAN_END ? RLHF_OK : index_syntax(context, index);
}

static int compare_places(const void *a, const void *b)
{
    const struct place *x = a, *y = b;

    return strcmp(x->tensor, y->tensor);
}

static rlhf_status parse_index(rlhf_context *context, struct index *index)
{
    size_t taken = 0, bytes, bad;
    char *key;
    int got;

    if (!rlhfi_utf8_valid(index->scan.text, index->scan.bytes, &bad))
        return rlhfi_fail(context, RLHF_E_FORMAT, "%s: byte %zu: not UTF-8", index->path, bad);
    if (!rlhfi_scan_open(&index->scan, '{'))
        return index_syntax(context, index);
    while ((got = rlhfi_scan_member(&index->scan, &taken, &key, &bytes)) == RLHFI_SCAN_ITEM) {
        if (bytes == strlen("weight_map") && memcmp(key, "weight_map", bytes) == 0)
            RLHFI_TRY(parse_weight_map(context, index));
        else if (!rlhfi_scan_skip(&index->scan, 16)) /* metadata: sizes, sometimes as floats, only hints */
            return index_syntax(context, index);
    }
    if (got != RLHFI_SCAN_END || !rlhfi_scan_finish(&index->scan))
        return index_syntax(context, index);
    if (index->count == 0)
        return rlhfi_fail(context, RLHF_E_FORMAT, "%s: \"weight_map\" is missing or empty", index->path);
    rlhfi_sort(index->places, index->count, sizeof *index->places, compare_places);
    for (size_t i = 1; i < index->count; i++)
        if (strcmp(index->places[i - 1].tensor, index->places[i].tensor) == 0)
            return rlhfi_fail(context, RLHF_E_FORMAT, "%s: tensor \"%s\" appears twice", index->path,
                              index->places[i].tensor);
    return RLHF_OK;
}

/* Numbers the distinct files in the order of their first tensor. */
static rlhf_status number_files(rlhf_context *context, struct index *index, size_t *files)
{
    rlhfi_table *numbers = NULL;
    rlhf_status status = rlhfi_table_create(&numbers, context, 16);

    *files = 0;
    for (size_t i = 0; i < index->count && status == RLHF_OK; i++) {
        struct place *place = &index->places[i];
        size_t bytes = strlen(place->file_name);
        if (rlhfi_table_get(numbers, place->file_name, bytes, &place->file))
            continue;
        if (*files == RLHFI_SHARD_LIMIT)
            status = rlhfi_fail(context, RLHF_E_UNSUPPORTED, "%s: more than %d files", index->path, RLHFI_SHARD_LIMIT);
        else
            status = rlhfi_table_put(numbers, place->file_name, bytes, place->file = (int32_t)*files);
        *files += status == RLHF_OK;
    }
    rlhfi_table_release(&numbers);
    return status;
}

static rlhf_status open_files(rlhfi_safetensors *file, const char *directory, const struct index *index, size_t files)
{
    size_t total = 0;

    file->shards = rlhfi_calloc(file->context, files, sizeof *file->shards);
    if (file->shards == NULL)
        return RLHF_E_NOMEM;
    file->shard_count = files;
    for (size_t i = 0; i < index->count; i++) {
        int32_t number = index->places[i].file;
        struct shard *shard = &file->shards[number];
        if (shard->path != NULL)
            continue;
        shard->path = rlhfi_path_join(file->context, directory, index->places[i].file_name);
        if (shard->path == NULL)
            return RLHF_E_NOMEM;
        RLHFI_TRY(open_shard(file->context, shard, number));
        total += shard->header.count;
        if (total > RLHFI_TENSOR_LIMIT)
            return rlhfi_fail(file->context, RLHF_E_UNSUPPORTED, "%s: more than %d tensors in its files", index->path,
                              RLHFI_TENSOR_LIMIT);
    }
    file->tensors = rlhfi_alloc_array(file->context, total, sizeof *file->tensors);
    if (file->tensors == NULL)
        return RLHF_E_NOMEM;
    for (size_t i = 0; i < files; i++) {
        rlhfi_safetensors_header *header = &file->shards[i].header;
        if (header->count > 0)
            memcpy(file->tensors + file->count, header->tensors, header->count * sizeof *header->tensors);
        file->count += header->count;
        rlhfi_free(file->context, header->tensors);
        header->tensors = NULL;
    }
    rlhfi_sort(file->tensors, file->count, sizeof *file->tensors, rlhfi_tensor_compare_names);
    return RLHF_OK;
}

/* Index and files must tell the same story. */
static rlhf_status check_places(const rlhfi_safetensors *file, const struct index *index)
{
    for (size_t i = 1; i < file->count; i++) {
        const rlhfi_tensor_info *one = &file->tensors[i - 1], *two = &file->tensors[i];
        if (strcmp(one->name, two->name) == 0)
            return rlhfi_fail(file->context, RLHF_E_FORMAT, "%s: tensor \"%s\" is also in %s",
                              file->shards[two->file].path, two->name, file->shards[one->file].path);
    }
    for (size_t i = 0; i < index->count; i++) {
        const struct place *place = &index->places[i];
        const rlhfi_tensor_info *info = rlhfi_safetensors_find(file, place->tensor);
        if (info == NULL || info->file != place->file)
            return rlhfi_fail(file->context, RLHF_E_FORMAT, "%s: tensor \"%s\" is missing, %s promises it",
                              file->shards[place->file].path, place->tensor, rlhfi_safetensors_index);
    }
    return RLHF_OK;
}

static rlhf_status open_sharded(rlhfi_safetensors *file, const char *directory, const char *index_path)
{
    struct index index = {.path = index_path};
    char *text = NULL;
    size_t bytes, files;
    rlhf_status status;

    RLHFI_TRY(rlhfi_file_load(file->context, index_path, RLHFI_INDEX_LIMIT, &text, &bytes));
    index.scan = rlhfi_scan_begin(text, bytes);
    RLHFI_GOTO(parse_index(file->context, &index));
    RLHFI_GOTO(number_files(file->context, &index, &files));
    RLHFI_GOTO(open_files(file, directory, &index, files));
    RLHFI_GOTO(check_places(file, &index));
done:
    rlhfi_free(file->context, index.places);
    rlhfi_free(file->context, text);
    return status;
}

/* ---- directories ------------------------------------------------------------------------------------------------- */

static rlhf_status open_directory(rlhfi_safetensors *file, const char *directory)
{
    rlhf_context *context = file->context;
    char *single = rlhfi_path_join(context, directory, rlhfi_safetensors_file);
    char *index = rlhfi_path_join(context, directory, rlhfi_safetensors_index);
    char *pickle = rlhfi_path_join(context, directory, "pytorch_model.bin");
    rlhf_status status;

    if (single == NULL || index == NULL || pickle == NULL)
        status = RLHF_E_NOMEM;
    else if (rlhfi_path_exists(single))
        status = open_single(file, single);
    else if (rlhfi_path_exists(index))
        status = open_sharded(file, directory, index);
    else if (rlhfi_path_exists(pickle))
        status = rlhfi_fail(context, RLHF_E_UNSUPPORTED,
                            "%s: pytorch_model.bin is a pickle, which can run code: save it as safetensors", directory);
    else
        status = rlhfi_fail(context, RLHF_E_IO, "%s: neither %s nor %s is there", directory, rlhfi_safetensors_file,
                            rlhfi_safetensors_index);
    rlhfi_free(context, single);
    rlhfi_free(context, index);
    rlhfi_free(context, pickle);
    return status;
}

rlhf_status rlhfi_safetensors_open(rlhfi_safetensors **out, rlhf_context *context, const char *path)
{
    rlhfi_safetensors *file;
    rlhf_status status;

    *out = NULL;
    file = rlhfi_calloc(context, 1, sizeof *file);
    if (file == NULL)
        return RLHF_E_NOMEM;
    file->context = context;
    status = rlhfi_path_is_directory(path) ? open_directory(file, path) : open_single(file, path);
    if (status != RLHF_OK) {
        rlhfi_safetensors_close(&file);
        return status;
    }
    *out = file;
    return RLHF_OK;
}

void rlhfi_safetensors_close(rlhfi_safetensors **file)
{
    rlhfi_safetensors *closing = *file;
    rlhf_context *context;

    *file = NULL;
    if (closing == NULL)
        return;
    context = closing->context;
    for (size_t i = 0; i < closing->shard_count; i++) {
        struct shard *shard = &closing->shards[i];
        rlhfi_safetensors_header_free(context, &shard->header);
        rlhfi_free(context, shard->text);
        rlhfi_file_close(&shard->file);
        rlhfi_free(context, shard->path);
    }
    rlhfi_free(context, closing->shards);
    rlhfi_free(context, closing->tensors);
    rlhfi_free(context, closing);
}

/* ---- looking up -------------------------------------------------------------------------------------------------- */

size_t rlhfi_safetensors_count(const rlhfi_safetensors *file)
{
    return file->count;
}

const rlhfi_tensor_info *rlhfi_safetensors_info(const rlhfi_safetensors *file, size_t index)
{
    return index < file->count ? &file->tensors[index] : NULL;
}

const rlhfi_tensor_info *rlhfi_safetensors_find(const rlhfi_safetensors *file, const char *name)
{
    size_t low = 0, high = file->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(file->tensors[middle].name, name);
        if (order == 0)
            return &file->tensors[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

const char *rlhfi_safetensors_metadata(const rlhfi_safetensors *file, const char *key)
{
    for (size_t i = 0; i < file->shard_count; i++) {
        const rlhfi_safetensors_header *header = &file->shards[i].header;
        for (size_t pair = 0; pair < header->pairs; pair++)
            if (strcmp(header->metadata[2 * pair], key) == 0)
                return header->metadata[2 * pair + 1];
    }
    return NULL;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static rlhf_status read_bytes(rlhfi_safetensors *file, const rlhfi_tensor_info *info, uint64_t offset, void *out,
                              size_t bytes)
{
    struct shard *shard = &file->shards[info->file];
    rlhf_status status = rlhfi_file_read(shard->file, info->offset + offset, out, bytes);

    return status == RLHF_OK ? status : rlhfi_fail_prefix(file->context, status, "tensor \"%s\"", info->name);
}

static rlhf_status refuse(rlhfi_safetensors *file, const rlhfi_tensor_info *info, const char *wanted)
{
    const char *name = rlhfi_dtype_name(info->dtype);

    return rlhfi_fail(file->context, RLHF_E_UNSUPPORTED, "%s: tensor \"%s\": dtype %s cannot be read as %s",
                      file->shards[info->file].path, info->name,
                      name != NULL ? name : "of fewer than 16 bits or complex", wanted);
}

/* Elements are not aligned in the file's bytes, hence memcpy; compilers turn it into one load. */
#define CONVERT(stored, expression)                                                                                    \
    for (size_t i = 0; i < count; i++) {                                                                               \
        stored value;                                                                                                  \
        memcpy(&value, bytes + i * sizeof value, sizeof value);                                                        \
        out[i] = (expression);                                                                                         \
    }                                                                                                                  \
    break

static void convert_to_float(enum rlhfi_dtype dtype, const unsigned char *bytes, size_t count, void *to)
{
    float *out = to;

    switch ((int)dtype) {
    case RLHFI_F16: CONVERT(uint16_t, rlhfi_half_to_float(value));
    case RLHFI_BF16: CONVERT(uint16_t, rlhfi_bfloat16_to_float(value));
    case RLHFI_F64: CONVERT(double, (float)value);
    }
}

static void convert_to_double(enum rlhfi_dtype dtype, const unsigned char *bytes, size_t count, void *to)
{
    double *out = to;

    switch ((int)dtype) {
    case RLHFI_F16: CONVERT(uint16_t, (double)rlhfi_half_to_float(value));
    case RLHFI_BF16: CONVERT(uint16_t, (double)rlhfi_bfloat16_to_float(value));
    case RLHFI_F32: CONVERT(float, (double)value);
    }
}

static void convert_to_int64(enum rlhfi_dtype dtype, const unsigned char *bytes, size_t count, void *to)
{
    int64_t *out = to;

    switch ((int)dtype) {
    case RLHFI_BOOL: CONVERT(uint8_t, value != 0);
    case RLHFI_U8: CONVERT(uint8_t, value);
    case RLHFI_I8: CONVERT(int8_t, value);
    case RLHFI_U16: CONVERT(uint16_t, value);
    case RLHFI_I16: CONVERT(int16_t, value);
    case RLHFI_U32: CONVERT(uint32_t, value);
    case RLHFI_I32: CONVERT(int32_t, value);
    }
}

#undef CONVERT

/* Reading copies from the page cache and, the first time, asks for the pages of the destination: both go faster on
 * several threads, piece by piece. */
enum { PIECE = 1 << 20 };

struct reading {
    rlhfi_safetensors *file;
    const rlhfi_tensor_info *info;
    unsigned char *out;
    size_t out_width;
    void (*convert)(enum rlhfi_dtype, const unsigned char *, size_t, void *); /* NULL: bytes as they are */
    int status;
};

/* Converted through a small buffer on the stack: reading a checkpoint needs no memory beyond its destination. */
static rlhf_status read_piece(const struct reading *reading, uint64_t from, uint64_t to)
{
    unsigned char buffer[16384];
    size_t width = rlhfi_dtype_bytes(reading->info->dtype);

    if (reading->convert == NULL)
        return read_bytes(reading->file, reading->info, from, reading->out + from, (size_t)(to - from));
    while (from < to) {
        size_t piece = to - from < sizeof buffer ? (size_t)(to - from) : sizeof buffer;
        RLHFI_TRY(read_bytes(reading->file, reading->info, from, buffer, piece));
        reading->convert(reading->info->dtype, buffer, piece / width,
                         reading->out + from / width * reading->out_width);
        from += piece;
    }
    return RLHF_OK;
}

static void read_task(void *argument, int64_t index, int32_t worker)
{
    struct reading *reading = argument;
    uint64_t from = (uint64_t)index * PIECE, rest = reading->info->bytes - from;
    rlhf_status status = read_piece(reading, from, rest < PIECE ? from + rest : from + PIECE);

    (void)worker;
    if (status != RLHF_OK)
        __atomic_store_n(&reading->status, (int)status, __ATOMIC_RELAXED);
}

static rlhf_status read_parallel(rlhfi_safetensors *file, const rlhfi_tensor_info *info, void *out, size_t out_width,
                                 void (*convert)(enum rlhfi_dtype, const unsigned char *, size_t, void *))
{
    struct reading reading = {file, info, out, out_width, convert, RLHF_OK};

    rlhfi_parallel(file->context, (int64_t)(info->bytes / PIECE + (info->bytes % PIECE != 0)), read_task, &reading);
    return (rlhf_status)reading.status;
}

rlhf_status rlhfi_safetensors_read_float(rlhfi_safetensors *file, const rlhfi_tensor_info *info, float *out)
{
    switch ((int)info->dtype) {
    case RLHFI_F32: return rlhfi_safetensors_read_raw(file, info, out);
    case RLHFI_F16:
    case RLHFI_BF16:
    case RLHFI_F64: return read_parallel(file, info, out, sizeof *out, convert_to_float);
    default: return refuse(file, info, "float");
    }
}

rlhf_status rlhfi_safetensors_read_double(rlhfi_safetensors *file, const rlhfi_tensor_info *info, double *out)
{
    switch ((int)info->dtype) {
    case RLHFI_F64: return rlhfi_safetensors_read_raw(file, info, out);
    case RLHFI_F16:
    case RLHFI_BF16:
    case RLHFI_F32: return read_parallel(file, info, out, sizeof *out, convert_to_double);
    default: return refuse(file, info, "double");
    }
}

rlhf_status rlhfi_safetensors_read_int64(rlhfi_safetensors *file, const rlhfi_tensor_info *info, int64_t *out)
{
    switch ((int)info->dtype) {
    case RLHFI_BOOL:
    case RLHFI_U8:
    case RLHFI_I8:
    case RLHFI_U16:
    case RLHFI_I16:
    case RLHFI_U32:
    case RLHFI_I32: return read_parallel(file, info, out, sizeof *out, convert_to_int64);
    case RLHFI_I64: return rlhfi_safetensors_read_raw(file, info, out);
    case RLHFI_U64: break;
    default: return refuse(file, info, "int64");
    }
    /* The same bits, unless the highest is set. */
    RLHFI_TRY(rlhfi_safetensors_read_raw(file, info, out));
    for (int64_t i = 0; i < info->elements; i++)
        if (out[i] < 0)
            return rlhfi_fail(file->context, RLHF_E_RANGE, "%s: tensor \"%s\": element %lld is larger than 2^63-1",
                              file->shards[info->file].path, info->name, (long long)i);
    return RLHF_OK;
}

rlhf_status rlhfi_safetensors_read_raw(rlhfi_safetensors *file, const rlhfi_tensor_info *info, void *out)
{
    return read_parallel(file, info, out, 1, NULL);
}
