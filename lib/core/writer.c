/* Writing a file so that a reader sees the old one or the new one, never half: a temporary beside the target, synced to
 * the disk, then renamed. */
#include "core/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUFFER_BYTES = 1 << 16, MOST_TURNS = 10000 };

struct rlhfi_writer {
    rlhf_context *context;
    char *path;
    char *temporary; /* exists on the disk while descriptor >= 0 */
    int descriptor;
    rlhf_status status; /* the first failure: after it nothing is written and commit fails */
    size_t used;
    char buffer[BUFFER_BYTES];
};

/* Removes the temporary and the writer. */
static void writer_end(rlhfi_writer *writer)
{
    if (writer->descriptor >= 0) {
        close(writer->descriptor);
        unlink(writer->temporary);
    }
    rlhfi_free(writer->context, writer->temporary);
    rlhfi_free(writer->context, writer->path);
    rlhfi_free(writer->context, writer);
}

/* A killed process with our number may have left a temporary, hence the counter; O_EXCL makes sure that it is ours. */
static rlhf_status open_temporary(rlhfi_writer *writer)
{
    size_t room = strlen(writer->path) + 64;
    struct stat old;
    bool replaces = stat(writer->path, &old) == 0;

    if (replaces && !S_ISREG(old.st_mode))
        return rlhfi_fail(writer->context, RLHF_E_IO, "%s: exists and is not a regular file", writer->path);
    writer->temporary = rlhfi_alloc(writer->context, room);
    if (writer->temporary == NULL)
        return RLHF_E_NOMEM;
    for (int turn = 0; turn < MOST_TURNS && writer->descriptor < 0; turn++) {
        snprintf(writer->temporary, room, "%s.tmp-%lld-%d", writer->path, (long long)rlhfi_process_id(), turn);
        writer->descriptor = open(writer->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (writer->descriptor < 0 && errno != EEXIST)
            break;
    }
    if (writer->descriptor < 0)
        return rlhfi_system_fail(writer->context, writer->path, "create", errno);
    /* A file that was private stays private; where the rights cannot be set, the usual ones are fine. */
    if (replaces && fchmod(writer->descriptor, old.st_mode & 0777) != 0)
        rlhfi_log(writer->context, RLHF_LOG_DEBUG, "%s: keeps no access rights", writer->path);
    return RLHF_OK;
}

rlhf_status rlhfi_writer_open(rlhfi_writer **out, rlhf_context *context, const char *path)
{
    rlhfi_writer *writer = rlhfi_alloc(context, sizeof *writer);
    rlhf_status status;

    *out = NULL;
    if (writer == NULL)
        return RLHF_E_NOMEM;
    writer->context = context;
    writer->temporary = NULL;
    writer->descriptor = -1;
    writer->status = RLHF_OK;
    writer->used = 0;
    writer->path = rlhfi_strdup(context, path);
    status = writer->path == NULL ? RLHF_E_NOMEM : open_temporary(writer);
    if (status != RLHF_OK) {
        writer_end(writer);
        return status;
    }
    *out = writer;
    return RLHF_OK;
}

static rlhf_status write_through(rlhfi_writer *writer, const void *bytes, size_t count)
{
    int number = rlhfi_system_write(writer->descriptor, bytes, count);

    if (number != 0)
        writer->status = rlhfi_system_fail(writer->context, writer->path, "write", number);
    return writer->status;
}

static rlhf_status flush(rlhfi_writer *writer)
{
    size_t count = writer->used;

    writer->used = 0;
    return count == 0 ? writer->status : write_through(writer, writer->buffer, count);
}

rlhf_status rlhfi_writer_write(rlhfi_writer *writer, const void *bytes, size_t count)
{
    if (writer->status != RLHF_OK)
        return writer->status;
    if (count > BUFFER_BYTES - writer->used)
        RLHFI_TRY(flush(writer));
    if (count >= BUFFER_BYTES)
        return write_through(writer, bytes, count);
    if (count > 0)
        memcpy(writer->buffer + writer->used, bytes, count);
    writer->used += count;
    return RLHF_OK;
}

/* From here on the disk has all bytes under the temporary's name. */
static rlhf_status finish_temporary(rlhfi_writer *writer)
{
    RLHFI_TRY(flush(writer)); /* tells an earlier failure too */
    if (fsync(writer->descriptor) != 0)
        return rlhfi_system_fail(writer->context, writer->path, "sync", errno);
    return RLHF_OK;
}

rlhf_status rlhfi_writer_commit(rlhfi_writer **pointer)
{
    rlhfi_writer *writer = *pointer;
    rlhf_status status = finish_temporary(writer);
    int number;

    *pointer = NULL;
    if (status == RLHF_OK && rename(writer->temporary, writer->path) != 0)
        status = rlhfi_system_fail(writer->context, writer->path, "rename", errno);
    if (status == RLHF_OK) {
        close(writer->descriptor);
        writer->descriptor = -1; /* nothing to remove any more */
        number = rlhfi_system_sync_parent(writer->path);
        if (number != 0)
            status = rlhfi_system_fail(writer->context, writer->path, "sync its directory", number);
    }
    writer_end(writer);
    return status;
}

void rlhfi_writer_abandon(rlhfi_writer **writer)
{
    if (writer == NULL || *writer == NULL)
        return;
    writer_end(*writer);
    *writer = NULL;
}

rlhf_status rlhfi_file_save(rlhf_context *context, const char *path, const void *bytes, size_t count)
{
    rlhfi_writer *writer;
    rlhf_status status;

    RLHFI_TRY(rlhfi_writer_open(&writer, context, path));
    status = rlhfi_writer_write(writer, bytes, count);
    if (status != RLHF_OK) {
        rlhfi_writer_abandon(&writer);
        return status;
    }
    return rlhfi_writer_commit(&writer);
}
