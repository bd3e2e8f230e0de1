/* The error text of a context, and the entry into every public function. */
#include "core/internal.h"

#include <stdio.h>

static const char out_of_memory[] = "out of memory";

/* Tasks on several threads may fail at once; the holder writes a few hundred bytes, so waiting is short. */
static void lock_text(rlhf_context *context)
{
    while (__atomic_exchange_n(&context->error_lock, 1, __ATOMIC_ACQUIRE) != 0)
        rlhfi_system_give_way();
}

static void unlock_text(rlhf_context *context)
{
    __atomic_store_n(&context->error_lock, 0, __ATOMIC_RELEASE);
}

void rlhfi_make_line(char *text, size_t capacity, bool cut)
{
    static const char dots[] = "...";
    size_t bytes = strnlen(text, capacity - 1), bad;

    for (size_t i = 0; i < bytes; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            text[i] = ' ';
    if (cut && bytes >= sizeof dots) {
        bytes -= sizeof dots - 1;
        /* Not in the middle of a character. */
        while (bytes > 0 && ((unsigned char)text[bytes] & 0xc0) == 0x80)
            bytes--;
        memcpy(text + bytes, dots, sizeof dots);
        bytes += sizeof dots - 1;
    }
    while (!rlhfi_utf8_valid(text, bytes, &bad))
        text[bad] = '?';
}

size_t rlhfi_copy_out(const char *text, char *buffer, size_t capacity)
{
    size_t bytes = strlen(text), kept = bytes;

    if (buffer != NULL && capacity > 0) {
        if (kept >= capacity) {
            kept = capacity - 1;
            while (kept > 0 && ((unsigned char)text[kept] & 0xc0) == 0x80)
                kept--;
        }
        memcpy(buffer, text, kept);
        buffer[kept] = '\0';
    }
    return bytes + 1;
}

static void write_text(char *text, size_t capacity, const char *format, va_list arguments)
{
    int length = vsnprintf(text, capacity, format, arguments);

    if (length < 0)
        text[0] = '\0';
    rlhfi_make_line(text, capacity, length >= 0 && (size_t)length >= capacity);
}

rlhf_status rlhfi_fail(rlhf_context *context, rlhf_status status, const char *format, ...)
{
    char text[sizeof context->error];
    va_list arguments;

    if (context == NULL)
        return status;
    /* Made aside first: the arguments may point into the old text. */
    va_start(arguments, format);
    write_text(text, sizeof text, format, arguments);
    va_end(arguments);
    lock_text(context);
    memcpy(context->error, text, sizeof text);
    context->error_status = status;
    unlock_text(context);
    return status;
}

rlhf_status rlhfi_fail_prefix(rlhf_context *context, rlhf_status status, const char *format, ...)
{
    char prefix[sizeof context->error], text[2 * sizeof context->error];
    va_list arguments;
    int length;

    /* Nobody needs to know in which file memory ran out. */
    if (context == NULL || status == RLHF_E_NOMEM)
        return status;
    va_start(arguments, format);
    write_text(prefix, sizeof prefix, format, arguments);
    va_end(arguments);
    lock_text(context);
    length = snprintf(text, sizeof text, "%s%s%s", prefix, context->error[0] != '\0' ? ": " : "",
                      context->error);
    memcpy(context->error, text, sizeof context->error - 1);
    context->error[sizeof context->error - 1] = '\0';
    rlhfi_make_line(context->error, sizeof context->error, length >= (int)sizeof context->error);
    context->error_status = status;
    unlock_text(context);
    return status;
}

rlhf_status rlhfi_out_of_memory(rlhf_context *context)
{
    if (context != NULL) {
        lock_text(context);
        memcpy(context->error, out_of_memory, sizeof out_of_memory);
        context->error_status = RLHF_E_NOMEM;
        unlock_text(context);
    }
    return RLHF_E_NOMEM;
}

rlhf_status rlhfi_enter(rlhf_context *context)
{
    static const char forked[] = "context: it belongs to the parent of this process: make a new one after fork";

    if (context == NULL)
        return RLHF_E_INVAL;
    if (context->process != rlhfi_process_id()) {
        /* No lock: a thread that does not exist here may have held it. */
        memcpy(context->error, forked, sizeof forked);
        context->error_status = RLHF_E_FORKED;
        return RLHF_E_FORKED;
    }
    lock_text(context);
    context->error[0] = '\0';
    context->error_status = RLHF_OK;
    unlock_text(context);
    return RLHF_OK;
}

rlhf_status rlhfi_check_cancel(rlhf_context *context)
{
    /* The exchange is a locked instruction; the common case is a plain load. */
    if (__atomic_load_n(&context->cancel, __ATOMIC_RELAXED) == 0 ||
        __atomic_exchange_n(&context->cancel, 0, __ATOMIC_RELAXED) == 0)
        return RLHF_OK;
    return rlhfi_fail(context, RLHF_E_CANCELED, "canceled on request");
}

void rlhfi_log(rlhf_context *context, int32_t level, const char *format, ...)
{
    char line[1024];
    va_list arguments;

    if (context == NULL || context->log == NULL || level > context->log_level)
        return;
    va_start(arguments, format);
    write_text(line, sizeof line, format, arguments);
    va_end(arguments);
    context->log(context->log_user_data, level, line);
}

rlhf_status rlhfi_options_copy(rlhf_context *context, void *known, size_t known_size, const void *given,
                               size_t minimum, const char *name)
{
    enum { LARGEST = 1 << 16 }; /* more is a struct_size that nobody has set */
    uint32_t size;
    const unsigned char *bytes = given;

    if (given == NULL)
        return RLHF_OK;
    memcpy(&size, given, sizeof size);
    if (size < minimum || size > LARGEST)
        return rlhfi_fail(context, RLHF_E_INVAL, "%s: struct_size is %u, at least %zu needed: call the _init function",
                          name, size, minimum);
    for (size_t i = known_size; i < size; i++)
        if (bytes[i] != 0)
            return rlhfi_fail(context, RLHF_E_UNSUPPORTED,
                              "%s: byte %zu is set, this version of the library knows %zu bytes", name, i, known_size);
    memcpy(known, given, size < known_size ? size : known_size);
    size = (uint32_t)known_size;
    memcpy(known, &size, sizeof size);
    return RLHF_OK;
}

void rlhfi_options_init(void *options, size_t size, const void *defaults, size_t known_size)
{
    uint32_t written = (uint32_t)size;

    if (options == NULL || size < sizeof written)
        return;
    memset(options, 0, size);
    memcpy(options, defaults, size < known_size ? size : known_size);
    memcpy(options, &written, sizeof written);
}
