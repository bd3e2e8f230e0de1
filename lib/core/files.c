/* Reading, appending and cutting files. Only regular files: a FIFO would block, a device never ends. */
#include "core/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(sizeof(off_t) == 8, "files are larger than 2 GiB: compile with 64-bit offsets");

struct rlhfi_file {
    rlhf_context *context;
    char *path;
    uint64_t size;
    int descriptor;
};

/* Opens without waiting (a FIFO would) and refuses what is not a regular file. */
static rlhf_status open_regular(rlhf_context *context, const char *path, int flags, int *descriptor, uint64_t *size)
{
    struct stat information;
    int opened = open(path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0666);

    if (opened < 0)
        return rlhfi_system_fail(context, path, "open", errno);
    if (fstat(opened, &information) != 0) {
        rlhf_status status = rlhfi_system_fail(context, path, "stat", errno);
        close(opened);
        return status;
    }
    if (!S_ISREG(information.st_mode)) {
        close(opened);
        return rlhfi_fail(context, RLHF_E_IO, "%s: %s, not a regular file", path,
                          S_ISDIR(information.st_mode) ? "a directory" : "a pipe, socket or device");
    }
    *descriptor = opened;
    *size = (uint64_t)information.st_size;
    return RLHF_OK;
}

rlhf_status rlhfi_file_open(rlhfi_file **out, rlhf_context *context, const char *path)
{
    rlhf_status status;
    rlhfi_file *file = rlhfi_calloc(context, 1, sizeof *file);

    *out = NULL;
    if (file == NULL)
        return RLHF_E_NOMEM;
    file->context = context;
    file->descriptor = -1;
    file->path = rlhfi_strdup(context, path);
    status = file->path == NULL ? RLHF_E_NOMEM
                                : open_regular(context, path, O_RDONLY, &file->descriptor, &file->size);
    if (status != RLHF_OK) {
        rlhfi_file_close(&file);
        return status;
    }
    *out = file;
    return RLHF_OK;
}

uint64_t rlhfi_file_size(const rlhfi_file *file)
{
    return file->size;
}

rlhf_status rlhfi_file_read(rlhfi_file *file, uint64_t offset, void *out, size_t bytes)
{
    char *next = out;

    if (offset > file->size || bytes > file->size - offset)
        return rlhfi_fail(file->context, RLHF_E_IO, "%s: %zu bytes wanted at byte %llu, the file has %llu", file->path,
                          bytes, (unsigned long long)offset, (unsigned long long)file->size);
    while (bytes > 0) {
        size_t piece = bytes < ((size_t)1 << 30) ? bytes : (size_t)1 << 30;
        ssize_t got = pread(file->descriptor, next, piece, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return rlhfi_system_fail(file->context, file->path, "read", errno);
        if (got == 0)
            return rlhfi_fail(file->context, RLHF_E_IO, "%s: became shorter while it was read, ends at byte %llu",
                              file->path, (unsigned long long)offset);
        next += got;
        offset += (uint64_t)got;
        bytes -= (size_t)got;
    }
    return RLHF_OK;
}

void rlhfi_file_close(rlhfi_file **file)
{
    if (file == NULL || *file == NULL)
        return;
    if ((*file)->descriptor >= 0)
        close((*file)->descriptor);
    rlhfi_free((*file)->context, (*file)->path);
    rlhfi_free((*file)->context, *file);
    *file = NULL;
}

rlhf_status rlhfi_file_load(rlhf_context *context, const char *path, size_t limit, char **out, size_t *bytes)
{
    rlhfi_file *file;
    char *text = NULL;
    rlhf_status status;

    *out = NULL;
    *bytes = 0;
    RLHFI_TRY(rlhfi_file_open(&file, context, path));
    if (file->size > limit || file->size >= SIZE_MAX)
        RLHFI_GOTO(rlhfi_fail(context, RLHF_E_RANGE, "%s: %llu bytes, at most %zu are read", path,
                              (unsigned long long)file->size, limit));
    text = rlhfi_alloc(context, (size_t)file->size + 1);
    if (text == NULL)
        RLHFI_GOTO(RLHF_E_NOMEM);
    RLHFI_GOTO(rlhfi_file_read(file, 0, text, (size_t)file->size));
    text[file->size] = '\0';
    *bytes = (size_t)file->size;
    *out = text;
    text = NULL;
done:
    rlhfi_free(context, text);
    rlhfi_file_close(&file);
    return status;
}

rlhf_status rlhfi_file_append(rlhf_context *context, const char *path, const void *bytes, size_t count)
{
    rlhf_status status = RLHF_OK;
    uint64_t size = 0;
    int descriptor = -1, number;

    RLHFI_TRY(open_regular(context, path, O_WRONLY | O_APPEND | O_CREAT, &descriptor, &size));
    number = rlhfi_system_write(descriptor, bytes, count);
    if (number != 0) {
        status = rlhfi_system_fail(context, path, "write", number);
        /* Half a line is worse than none. If even this fails, the first failure is the one to tell. */
        if (ftruncate(descriptor, (off_t)size) != 0)
            rlhfi_log(context, RLHF_LOG_WARNING, "%s: its last line is not whole", path);
    }
    if (close(descriptor) != 0 && status == RLHF_OK)
        status = rlhfi_system_fail(context, path, "close", errno);
    return status;
}

rlhf_status rlhfi_file_truncate(rlhf_context *context, const char *path, uint64_t bytes)
{
    rlhf_status status = RLHF_OK;
    uint64_t size = 0;
    int descriptor = -1;

    RLHFI_TRY(open_regular(context, path, O_WRONLY, &descriptor, &size));
    if (bytes > size)
        status = rlhfi_fail(context, RLHF_E_IO, "%s: to be cut at byte %llu, has only %llu", path,
                            (unsigned long long)bytes, (unsigned long long)size);
    else if (ftruncate(descriptor, (off_t)bytes) != 0 || fsync(descriptor) != 0)
        status = rlhfi_system_fail(context, path, "truncate", errno);
    close(descriptor);
    return status;
}
