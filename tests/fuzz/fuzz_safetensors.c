/* safetensors: the input as a file, and as the index of a directory with one good shard. What opens reads whole, and
 * written again it is read as the same. */
#include "fuzz.h"

#include "formats/formats.h"

#include <unistd.h>

static char file_path[512], copy_path[512], directory[512], index_path[512], shard_path[512];

static void remove_all(void)
{
    unlink(file_path);
    unlink(copy_path);
    unlink(index_path);
    unlink(shard_path);
    rmdir(directory);
}

/* Files of this process, in memory where there is such a place. */
static void prepare(rlhf_context *context)
{
    static const uint8_t byte = 1;
    const rlhfi_tensor_source tensor = {"a", RLHFI_U8, 1, {1}, &byte};
    const char *base = getenv("TMPDIR");

    if (base == NULL || base[0] == '\0')
        base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(directory, sizeof directory, "%s/rlhf-fuzz-XXXXXX", base);
    PROMISE(mkdtemp(directory) != NULL);
    snprintf(file_path, sizeof file_path, "%.400s/file", directory);
    snprintf(copy_path, sizeof copy_path, "%.400s/copy", directory);
    snprintf(index_path, sizeof index_path, "%.400s/model.safetensors.index.json", directory);
    snprintf(shard_path, sizeof shard_path, "%.400s/one.safetensors", directory);
    PROMISE(rlhfi_safetensors_write(context, shard_path, &tensor, 1, NULL) == RLHF_OK);
    atexit(remove_all);
}

static void put(const char *path, const uint8_t *data, size_t size)
{
    FILE *file = fopen(path, "wb");

    PROMISE(file != NULL && fwrite(data, 1, size, file) == size && fclose(file) == 0);
}

/* Reads everything in every way that its type allows. */
static void *read_tensor(rlhfi_safetensors *file, const rlhfi_tensor_info *info, size_t size)
{
    void *raw = malloc((size_t)info->bytes + 1);
    double *wide = malloc((size_t)info->elements * sizeof *wide + 1);
    rlhf_status status;

    PROMISE(info->bytes <= size && info->offset <= size && raw != NULL && wide != NULL);
    PROMISE(info->rank >= 0 && info->rank <= RLHFI_MAX_RANK && strlen(info->name) <= 1024);
    PROMISE(rlhfi_safetensors_find(file, info->name) == info);
    PROMISE(rlhfi_safetensors_read_raw(file, info, raw) == RLHF_OK);
    status = rlhfi_safetensors_read_float(file, info, (float *)wide);
    PROMISE(status == RLHF_OK || status == RLHF_E_UNSUPPORTED);
    PROMISE(status == rlhfi_safetensors_read_double(file, info, wide));
    if (status != RLHF_OK) {
        status = rlhfi_safetensors_read_int64(file, info, (int64_t *)wide);
        PROMISE(status == RLHF_OK || (status == RLHF_E_RANGE && info->dtype == RLHFI_U64) ||
                (status == RLHF_E_UNSUPPORTED && info->dtype == RLHFI_DTYPE_OTHER));
    }
    free(wide);
    return raw;
}

/* Writes the same tensors and compares what is read from that. Types that cannot be written are left out. */
static void check_copy(rlhf_context *context, rlhfi_safetensors *file, size_t size)
{
    size_t count = rlhfi_safetensors_count(file), kept = 0;
    rlhfi_tensor_source *tensors = calloc(count + 1, sizeof *tensors);
    void **data = calloc(count + 1, sizeof *data);
    rlhfi_safetensors *copy;

    PROMISE(tensors != NULL && data != NULL);
    for (size_t i = 0; i < count; i++) {
        const rlhfi_tensor_info *info = rlhfi_safetensors_info(file, i);
        PROMISE(i == 0 || strcmp(rlhfi_safetensors_info(file, i - 1)->name, info->name) < 0);
        data[i] = read_tensor(file, info, size);
        if (info->dtype == RLHFI_DTYPE_OTHER)
            continue;
        tensors[kept] =
            (rlhfi_tensor_source){.name = info->name, .dtype = info->dtype, .rank = info->rank, .data = data[i]};
        memcpy(tensors[kept++].shape, info->shape, sizeof info->shape);
    }
    PROMISE(rlhfi_safetensors_write(context, copy_path, tensors, kept, NULL) == RLHF_OK);
    PROMISE(rlhfi_safetensors_open(&copy, context, copy_path) == RLHF_OK);
    PROMISE(rlhfi_safetensors_count(copy) == kept);
    for (size_t i = 0; i < kept; i++) {
        const rlhfi_tensor_info *info = rlhfi_safetensors_info(copy, i);
        void *raw = read_tensor(copy, info, SIZE_MAX);
        PROMISE(strcmp(info->name, tensors[i].name) == 0 && info->dtype == tensors[i].dtype);
        PROMISE(info->rank == tensors[i].rank && memcmp(raw, tensors[i].data, (size_t)info->bytes) == 0);
        free(raw);
    }
    rlhfi_safetensors_close(&copy);
    for (size_t i = 0; i < count; i++)
        free(data[i]);
    free(data);
    free(tensors);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rlhf_context *context = fuzz_context();
    size_t before;
    rlhfi_safetensors *file;
    rlhf_status status;

    if (directory[0] == '\0')
        prepare(context);
    before = fuzz_peak = fuzz_live;
    put(file_path, data, size);
    status = rlhfi_safetensors_open(&file, context, file_path);
    PROMISE(fuzz_peak - before < 8 * size + 8192);
    if (status == RLHF_OK) {
        check_copy(context, file, size);
        rlhfi_safetensors_close(&file);
    } else {
        PROMISE(file == NULL && (status == RLHF_E_FORMAT || status == RLHF_E_UNSUPPORTED));
        fuzz_check_failure(context);
    }
    PROMISE(fuzz_live == before);

    put(index_path, data, size);
    fuzz_peak = before;
    status = rlhfi_safetensors_open(&file, context, directory);
    PROMISE(fuzz_peak - before < 8 * size + 16384);
    if (status == RLHF_OK) {
        PROMISE(rlhfi_safetensors_count(file) == 1 && rlhfi_safetensors_find(file, "a") != NULL);
        rlhfi_safetensors_close(&file);
    } else {
        PROMISE(file == NULL);
        fuzz_check_failure(context);
    }
    PROMISE(fuzz_live == before);
    return 0;
}
