/* Bytes of plain and zipped files. The only file that sees zlib.h; its memory comes from the context like all other. */
#include "data/dataset.h"

#include <zlib.h>

enum { CHUNK = 64 * 1024, WINDOW_BITS = 15, GZIP_FORMAT = 16, LEVEL = 6 };

static void *zlib_alloc(void *context, unsigned items, unsigned size)
{
    return rlhfi_alloc_array(context, items, size);
}

static void zlib_free(void *context, void *pointer)
{
    rlhfi_free(context, pointer);
}

/* ---- reading ---------------------------------------------------------------------------------------------------- */

struct rlhfi_source {
    rlhf_context *context;
    char *path;
    rlhfi_file *file;
    uint64_t size, offset; /* of the file; of the next byte to read from it */
    z_stream stream;       /* its input lies in chunk */
    bool zipped, started;  /* in the middle of a member */
    unsigned char chunk[CHUNK];
};

/* Reads on from the file into the stream's empty input. */
static rlhf_status refill(rlhfi_source *source)
{
    uint64_t left = source->size - source->offset;
    size_t count = left < CHUNK ? (size_t)left : CHUNK;
    RLHFI_TRY(rlhfi_file_read(source->file, source->offset, source->chunk, count));
    source->offset += count;
    source->stream.next_in = source->chunk;
    source->stream.avail_in = (uInt)count;
    return RLHF_OK;
}

rlhf_status rlhfi_source_open(rlhfi_source **out, rlhf_context *context, const char *path)
{
    rlhf_status status = RLHF_OK;
    *out = NULL;
    rlhfi_source *source = rlhfi_calloc(context, 1, sizeof *source);
    if (source == NULL)
        return RLHF_E_NOMEM;
    source->context = context;
    source->stream.zalloc = zlib_alloc;
    source->stream.zfree = zlib_free;
    source->stream.opaque = context;
    source->path = rlhfi_strdup(context, path);
    if (source->path == NULL) {
        status = RLHF_E_NOMEM;
        goto done;
    }
    RLHFI_GOTO(rlhfi_file_open(&source->file, context, path));
    source->size = rlhfi_file_size(source->file);
    RLHFI_GOTO(refill(source));
    if (source->stream.avail_in >= 2 && source->chunk[0] == 0x1F && source->chunk[1] == 0x8B) {
        if (inflateInit2(&source->stream, WINDOW_BITS + GZIP_FORMAT) != Z_OK) {
            status = rlhfi_out_of_memory(context);
            goto done;
        }
        source->zipped = source->started = true;
    }
    *out = source;
    return RLHF_OK;
done:
    rlhfi_source_close(&source);
    return status;
}

static rlhf_status read_plain(rlhfi_source *source, char *out, size_t capacity, size_t *got)
{
    if (source->stream.avail_in == 0)
        RLHFI_TRY(refill(source));
    *got = capacity < source->stream.avail_in ? capacity : source->stream.avail_in;
    memcpy(out, source->stream.next_in, *got);
    source->stream.next_in += *got;
    source->stream.avail_in -= (uInt)*got;
    return RLHF_OK;
}

/* Behind a member: another one, or zeros that fill up a tape block, or the end. */
static rlhf_status next_member(rlhfi_source *source, bool *more)
{
    for (;;) {
        if (source->stream.avail_in == 0)
            RLHFI_TRY(refill(source));
        *more = source->stream.avail_in > 0;
        if (!*more || *source->stream.next_in != 0)
            break;
        source->stream.next_in++;
        source->stream.avail_in--;
    }
    if (*more && *source->stream.next_in != 0x1F)
        return rlhfi_fail(source->context, RLHF_E_FORMAT, "%s: something else stands behind the gzip data",
                          source->path);
    if (*more && inflateReset(&source->stream) != Z_OK)
        return rlhfi_fail(source->context, RLHF_E_FORMAT, "%s: gzip: cannot begin another member", source->path);
    source->started = *more;
    return RLHF_OK;
}

rlhf_status rlhfi_source_read(rlhfi_source *source, char *out, size_t capacity, size_t *got)
{
    *got = 0;
    if (capacity > UINT32_MAX / 2)
        capacity = UINT32_MAX / 2;
    if (!source->zipped)
        return read_plain(source, out, capacity, got);
    while (*got == 0) {
        bool more = source->started;
        if (!more)
            RLHFI_TRY(next_member(source, &more));
        if (!more)
            return RLHF_OK;
        if (source->stream.avail_in == 0)
            RLHFI_TRY(refill(source));
        bool ended = source->stream.avail_in == 0;
        source->stream.next_out = (Bytef *)out;
        source->stream.avail_out = (uInt)capacity;
        int code = inflate(&source->stream, Z_NO_FLUSH);
        *got = capacity - source->stream.avail_out;
        if (code == Z_MEM_ERROR)
            return rlhfi_out_of_memory(source->context);
        if (code == Z_STREAM_END)
            source->started = false;
        else if (code == Z_BUF_ERROR && ended && *got == 0)
            return rlhfi_fail(source->context, RLHF_E_FORMAT, "%s: gzip: the data ends early", source->path);
        else if (code != Z_OK && code != Z_BUF_ERROR)
            return rlhfi_fail(source->context, RLHF_E_FORMAT, "%s: gzip: %s", source->path,
                              source->stream.msg != NULL ? source->stream.msg : "broken data");
    }
    return RLHF_OK;
}

void rlhfi_source_close(rlhfi_source **pointer)
{
    rlhfi_source *source = *pointer;
    if (source == NULL)
        return;
    *pointer = NULL;
    if (source->zipped)
        inflateEnd(&source->stream);
    if (source->file != NULL)
        rlhfi_file_close(&source->file);
    rlhfi_free(source->context, source->path);
    rlhfi_free(source->context, source);
}

/* ---- writing ---------------------------------------------------------------------------------------------------- */

struct rlhfi_sink {
    rlhf_context *context;
    rlhfi_writer *writer;
    z_stream stream;
    bool compress;
    unsigned char chunk[CHUNK];
};

rlhf_status rlhfi_sink_open(rlhfi_sink **out, rlhf_context *context, const char *path, bool compress)
{
    *out = NULL;
    rlhfi_sink *sink = rlhfi_calloc(context, 1, sizeof *sink);
    if (sink == NULL)
        return RLHF_E_NOMEM;
    sink->context = context;
    sink->stream.zalloc = zlib_alloc;
    sink->stream.zfree = zlib_free;
    sink->stream.opaque = context;
    rlhf_status status = rlhfi_writer_open(&sink->writer, context, path);
    if (status == RLHF_OK && compress) {
        sink->compress =
            deflateInit2(&sink->stream, LEVEL, Z_DEFLATED, WINDOW_BITS + GZIP_FORMAT, 8, Z_DEFAULT_STRATEGY) == Z_OK;
        if (!sink->compress)
            status = rlhfi_out_of_memory(context);
    }
    if (status == RLHF_OK)
        *out = sink;
    else
        rlhfi_sink_abandon(&sink);
    return status;
}

/* Compresses the stream's input; with Z_FINISH also the end of the file. */
static rlhf_status deflate_all(rlhfi_sink *sink, int flush)
{
    int code;
    do {
        sink->stream.next_out = sink->chunk;
        sink->stream.avail_out = CHUNK;
        code = deflate(&sink->stream, flush);
        RLHFI_TRY(rlhfi_writer_write(sink->writer, sink->chunk, CHUNK - sink->stream.avail_out));
    } while (flush == Z_FINISH ? code == Z_OK : sink->stream.avail_in > 0 || sink->stream.avail_out == 0);
    return RLHF_OK;
}

rlhf_status rlhfi_sink_write(rlhfi_sink *sink, const char *bytes, size_t count)
{
    if (!sink->compress)
        return rlhfi_writer_write(sink->writer, bytes, count);
    while (count > 0) {
        size_t part = count < CHUNK ? count : CHUNK;
        sink->stream.next_in = (Bytef *)(uintptr_t)bytes;
        sink->stream.avail_in = (uInt)part;
        RLHFI_TRY(deflate_all(sink, Z_NO_FLUSH));
        bytes += part;
        count -= part;
    }
    return RLHF_OK;
}

rlhf_status rlhfi_sink_commit(rlhfi_sink **sink)
{
    rlhf_status status = RLHF_OK;
    (*sink)->stream.avail_in = 0;
    if ((*sink)->compress)
        status = deflate_all(*sink, Z_FINISH);
    if (status == RLHF_OK)
        status = rlhfi_writer_commit(&(*sink)->writer);
    rlhfi_sink_abandon(sink);
    return status;
}

void rlhfi_sink_abandon(rlhfi_sink **pointer)
{
    rlhfi_sink *sink = *pointer;
    if (sink == NULL)
        return;
    *pointer = NULL;
    if (sink->compress)
        deflateEnd(&sink->stream);
    if (sink->writer != NULL)
        rlhfi_writer_abandon(&sink->writer);
    rlhfi_free(sink->context, sink);
}
