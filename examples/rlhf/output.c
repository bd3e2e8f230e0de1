#include "program.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

double clock_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int program_fail(program *program, rlhf_status status, const char *what)
{
    char reason[600];
    progress_clear(program);
    if (rlhf_context_error(program->context, reason, sizeof reason) <= 1)
        snprintf(reason, sizeof reason, "%s", rlhf_status_name(status));
    if (what != NULL && what[0] != '\0' && strstr(reason, what) == NULL)
        fprintf(stderr, "rlhf: %s: %s\n", what, reason);
    else
        fprintf(stderr, "rlhf: %s\n", reason);
    return status == RLHF_E_CANCELED ? EXIT_INTERRUPTED : EXIT_FAILED;
}

int program_usage(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fputs("rlhf: ", stderr);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    va_end(list);
    return EXIT_USAGE;
}

void progress_draw(program *program, const char *label, uint64_t step, uint64_t total, const char *note)
{
    if (program->quiet || !program->terminal)
        return;
    double now = clock_seconds();
    if (step == 0 || program->started == 0.0 || step < program->drawn_step) {
        program->started = now;
        program->drawn = 0.0;
    }
    program->drawn_step = step;
    if (now - program->drawn < 0.1 && step != total)
        return;
    program->drawn = now;
    double seconds = now - program->started, rate = seconds > 0.0 ? (double)step / seconds : 0.0;
    char left[32] = "";
    if (step > 0 && total > step && rate > 0.0)
        snprintf(left, sizeof left, " %.0f s left", (double)(total - step) / rate);
    char bar[25];
    int filled = total > 0 ? (int)(24.0 * (double)step / (double)total) : 0;
    for (int i = 0; i < 24; i++)
        bar[i] = i < filled ? '#' : '.';
    bar[24] = '\0';
    fprintf(stderr, "\r\033[K%-10s [%s] %llu/%llu %.1f/s%s  %s", label, bar, (unsigned long long)step,
            (unsigned long long)total, rate, left, note);
    fflush(stderr);
}

void progress_clear(program *program)
{
    if (program->terminal && !program->quiet && program->drawn > 0.0)
        fputs("\r\033[K", stderr);
    program->drawn = 0.0;
    program->started = 0.0;
}

void json_string(FILE *file, const char *string, size_t bytes)
{
    fputc('"', file);
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)string[i];
        if (c == '"' || c == '\\')
            fprintf(file, "\\%c", c);
        else if (c == '\n')
            fputs("\\n", file);
        else if (c == '\t')
            fputs("\\t", file);
        else if (c < 0x20 || c == 0x7f)
            fprintf(file, "\\u%04x", c);
        else
            fputc(c, file);
    }
    fputc('"', file);
}

void json_number(FILE *file, double value)
{
    if (!isfinite(value))
        fputs("null", file);
    else
        fprintf(file, "%.9g", value);
}

FILE *file_begin(const char *path, char *temporary, size_t capacity)
{
    snprintf(temporary, capacity, "%s.tmp-%ld", path, (long)getpid());
    FILE *file = fopen(temporary, "wb");
    if (file == NULL)
        fprintf(stderr, "rlhf: %s: cannot be written\n", path);
    return file;
}

bool file_commit(FILE *file, const char *temporary, const char *path)
{
    bool good = fflush(file) == 0 && fsync(fileno(file)) == 0;
    good = fclose(file) == 0 && good;
    if (good && rename(temporary, path) == 0)
        return true;
    unlink(temporary);
    fprintf(stderr, "rlhf: %s: cannot be written\n", path);
    return false;
}

char *text_duplicate(const char *string)
{
    size_t bytes = strlen(string) + 1;
    char *copy = malloc(bytes);
    if (copy != NULL)
        memcpy(copy, string, bytes);
    return copy;
}

static void text_append(text *text, const char *bytes, size_t count)
{
    if (text->failed)
        return;
    if (text->size + count + 1 > text->capacity) {
        size_t capacity = (text->size + count + 1) * 2;
        char *larger = realloc(text->data, capacity);
        if (larger == NULL) {
            text->failed = true;
            return;
        }
        text->data = larger;
        text->capacity = capacity;
    }
    memcpy(text->data + text->size, bytes, count);
    text->size += count;
    text->data[text->size] = '\0';
}

void text_add(text *text, const char *format, ...)
{
    char piece[4096];
    va_list list;
    va_start(list, format);
    int bytes = vsnprintf(piece, sizeof piece, format, list);
    va_end(list);
    if (bytes < 0)
        text->failed = true;
    else if ((size_t)bytes < sizeof piece)
        text_append(text, piece, (size_t)bytes);
    else {
        char *large = malloc((size_t)bytes + 1);
        if (large == NULL) {
            text->failed = true;
            return;
        }
        va_start(list, format);
        vsnprintf(large, (size_t)bytes + 1, format, list);
        va_end(list);
        text_append(text, large, (size_t)bytes);
        free(large);
    }
}

void text_add_html(text *text, const char *plain)
{
    for (; *plain != '\0'; plain++) {
        switch (*plain) {
        case '<':
            text_append(text, "&lt;", 4);
            break;
        case '>':
            text_append(text, "&gt;", 4);
            break;
        case '&':
            text_append(text, "&amp;", 5);
            break;
        case '"':
            text_append(text, "&quot;", 6);
            break;
        default:
            text_append(text, plain, 1);
        }
    }
}

void text_free(text *text)
{
    free(text->data);
    memset(text, 0, sizeof *text);
}
