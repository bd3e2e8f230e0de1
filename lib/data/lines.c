/* Lines of a file in bounded memory. */
#include "data/dataset.h"

enum { FIRST_CAPACITY = 64 * 1024 };

struct rlhfi_lines {
    rlhf_context *context;
    char *path;
    rlhfi_source *source;
    char *buffer; /* unread bytes are buffer[begin..end); one byte more is kept for a NUL */
    size_t begin, end, capacity;
    int64_t number; /* of the line handed out last */
    bool finished;
};

rlhf_status rlhfi_lines_open(rlhfi_lines **out, rlhf_context *context, const char *path)
{
    *out = NULL;
    rlhfi_lines *lines = rlhfi_calloc(context, 1, sizeof *lines);
    if (lines == NULL)
        return RLHF_E_NOMEM;
    lines->context = context;
    lines->capacity = FIRST_CAPACITY;
    lines->path = rlhfi_strdup(context, path);
    lines->buffer = rlhfi_alloc(context, lines->capacity + 1);
    rlhf_status status = lines->path != NULL && lines->buffer != NULL ? RLHF_OK : RLHF_E_NOMEM;
    if (status == RLHF_OK)
        status = rlhfi_source_open(&lines->source, context, path);
    if (status == RLHF_OK)
        *out = lines;
    else
        rlhfi_lines_close(&lines);
    return status;
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
        if (lines->capacity >= RLHFI_LONGEST_LINE)
            return rlhfi_fail(lines->context, RLHF_E_FORMAT, "%s:%lld: a line of over %d bytes", lines->path,
                              (long long)lines->number + 1, RLHFI_LONGEST_LINE);
        char *larger = rlhfi_realloc_array(lines->context, lines->buffer, lines->capacity * 2 + 1, 1);
        if (larger == NULL)
            return RLHF_E_NOMEM;
        lines->buffer = larger;
        lines->capacity *= 2;
    }
    size_t got;
    RLHFI_TRY(rlhfi_source_read(lines->source, lines->buffer + lines->end, lines->capacity - lines->end, &got));
    lines->finished = got == 0;
    lines->end += got;
    return RLHF_OK;
}

/* Files from Windows may begin with a byte order mark. */
static void skip_byte_order_mark(rlhfi_lines *lines)
{
    if (lines->number == 0 && lines->end - lines->begin >= 3 &&
        memcmp(lines->buffer + lines->begin, "\xEF\xBB\xBF", 3) == 0)
        lines->begin += 3;
}

rlhf_status rlhfi_lines_next(rlhfi_lines *lines, char **line, size_t *bytes, int64_t *number)
{
    size_t searched = 0; /* unread bytes without a newline */
    for (;;) {
        char *start = lines->buffer + lines->begin, *stop;
        stop = memchr(start + searched, '\n', lines->end - lines->begin - searched);
        if (stop != NULL || (lines->finished && lines->end > lines->begin)) {
            skip_byte_order_mark(lines);
            start = lines->buffer + lines->begin;
            bool whole = stop != NULL;
            if (!whole)
                stop = lines->buffer + lines->end;
            lines->begin = (size_t)(stop - lines->buffer) + whole;
            if (stop > start && stop[-1] == '\r')
                stop--;
            *stop = '\0';
            *line = start;
            *bytes = (size_t)(stop - start);
            *number = ++lines->number;
            return RLHF_OK;
        }
        if (lines->finished)
            return RLHF_E_END;
        searched = lines->end - lines->begin;
        RLHFI_TRY(fill(lines));
    }
}

void rlhfi_lines_close(rlhfi_lines **pointer)
{
    rlhfi_lines *lines = *pointer;
    if (lines == NULL)
        return;
    *pointer = NULL;
    rlhfi_source_close(&lines->source);
    rlhfi_free(lines->context, lines->path);
    rlhfi_free(lines->context, lines->buffer);
    rlhfi_free(lines->context, lines);
}
