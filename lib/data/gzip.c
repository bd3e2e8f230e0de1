/* Lines of plain and gzipped files. The only file that sees zlib.h; zlib's own state (about 40 KiB a stream) comes from
 * malloc. */
#include "data/dataset.h"

#include <zlib.h>

enum { CHUNK = 64 * 1024, LONGEST_LINE = 64 * 1024 * 1024 };

struct rlhfi_lines {
    rlhf_context *context;
    char *path;
    gzFile file;
    char *buffer; /* unread bytes are buffer[begin..end) */
    size_t begin, end, capacity;
    int64_t number; /* of the line handed out last */
    bool finished;
};

rlhf_status rlhfi_lines_open(rlhfi_lines **out, rlhf_context *context, const char *path)
{
    *out = NULL;
    /* Says in our words what is wrong with a path, and refuses directories and pipes. */
    rlhfi_file *probe = NULL;
    RLHFI_TRY(rlhfi_file_open(&probe, context, path));
    rlhfi_file_close(&probe);
    rlhfi_lines *lines = rlhfi_calloc(context, 1, sizeof *lines);
    if (lines == NULL)
        return RLHF_E_NOMEM;
    lines->context = context;
    lines->path = rlhfi_strdup(context, path);
    lines->capacity = CHUNK;
    lines->buffer = rlhfi_alloc(context, lines->capacity + 1);
    if (lines->path == NULL || lines->buffer == NULL) {
        rlhfi_lines_close(&lines);
        return RLHF_E_NOMEM;
    }
    lines->file = gzopen(path, "rb");
    if (lines->file == NULL) {
        rlhfi_lines_close(&lines);
        return rlhfi_fail(context, RLHF_E_IO, "%s: cannot be opened", path);
    }
    *out = lines;
    return RLHF_OK;
}

/* Reads more bytes behind the unread ones. */
static rlhf_status fill(rlhfi_lines *lines)
{
    if (lines->begin > 0) {
        memmove(lines->buffer, lines->buffer + lines->begin, lines->end - lines->begin);
        lines->end -= lines->begin;
        lines->begin = 0;
    }
    if (lines->end == lines->capacity) {
        if (lines->capacity >= LONGEST_LINE)
            return rlhfi_fail(lines->context, RLHF_E_RANGE, "%s:%lld: a line of over %d bytes", lines->path,
                              (long long)lines->number + 1, LONGEST_LINE);
        char *larger = rlhfi_realloc_array(lines->context, lines->buffer, lines->capacity * 2 + 1, 1);
        if (larger == NULL)
            return RLHF_E_NOMEM;
        lines->buffer = larger;
        lines->capacity *= 2;
    }
    int got = gzread(lines->file, lines->buffer + lines->end, (unsigned)(lines->capacity - lines->end));
    int code = Z_OK;
    const char *why = gzerror(lines->file, &code);
    if (got < 0 || (code != Z_OK && code != Z_STREAM_END))
        return rlhfi_fail(lines->context, code == Z_ERRNO ? RLHF_E_IO : RLHF_E_FORMAT, "%s: after line %lld: %s",
                          lines->path, (long long)lines->number,
                          code == Z_BUF_ERROR ? "the compressed data ends early" : why);
    lines->finished = got == 0;
    lines->end += (size_t)got;
    return RLHF_OK;
}

rlhf_status rlhfi_lines_next(rlhfi_lines *lines, char **line, size_t *bytes, int64_t *number)
{
    size_t searched = lines->begin;
    for (;;) {
        char *newline = memchr(lines->buffer + searched, '\n', lines->end - searched);
        if (newline != NULL || (lines->finished && lines->end > lines->begin)) {
            char *stop = newline != NULL ? newline : lines->buffer + lines->end;
            *line = lines->buffer + lines->begin;
            *bytes = (size_t)(stop - *line);
            lines->begin = (size_t)(stop - lines->buffer) + (newline != NULL);
            if (*bytes > 0 && (*line)[*bytes - 1] == '\r')
                (*bytes)--;
            (*line)[*bytes] = '\0';
            *number = ++lines->number;
            return RLHF_OK;
        }
        if (lines->finished)
            return RLHF_E_END;
        size_t unread = lines->end - lines->begin;
        RLHFI_TRY(fill(lines));
        searched = lines->begin + unread;
    }
}

void rlhfi_lines_close(rlhfi_lines **lines)
{
    if (lines == NULL || *lines == NULL)
        return;
    rlhf_context *context = (*lines)->context;
    if ((*lines)->file != NULL)
        gzclose_r((*lines)->file);
    rlhfi_free(context, (*lines)->path);
    rlhfi_free(context, (*lines)->buffer);
    rlhfi_free(context, *lines);
    *lines = NULL;
}

rlhf_status rlhfi_gzip(rlhf_context *context, const void *bytes, size_t count, char **out, size_t *out_bytes)
{
    z_stream stream;
    memset(&stream, 0, sizeof stream);
    *out = NULL;
    if (count > UINT32_MAX / 2)
        return rlhfi_fail(context, RLHF_E_UNSUPPORTED, "%zu bytes are too many to compress at once (2 GiB)", count);
    if (deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY) != Z_OK)
        return rlhfi_out_of_memory(context);
    uLong bound = deflateBound(&stream, (uLong)count);
    char *packed = rlhfi_alloc(context, bound);
    if (packed == NULL) {
        deflateEnd(&stream);
        return RLHF_E_NOMEM;
    }
    stream.next_in = (Bytef *)(uintptr_t)bytes;
    stream.avail_in = (uInt)count;
    stream.next_out = (Bytef *)packed;
    stream.avail_out = (uInt)bound;
    int code = deflate(&stream, Z_FINISH);
    *out_bytes = stream.total_out;
    deflateEnd(&stream);
    if (code != Z_STREAM_END) {
        rlhfi_free(context, packed);
        return rlhfi_fail(context, RLHF_E_IO, "compression failed (zlib %d)", code);
    }
    *out = packed;
    return RLHF_OK;
}
