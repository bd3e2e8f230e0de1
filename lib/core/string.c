/* A byte string that grows. A failure sticks, so a caller checks once when all is written. */
#include "core/internal.h"

#include <stdio.h>

void rlhfi_string_init(rlhfi_string *string, rlhf_context *context)
{
    *string = (rlhfi_string){.context = context};
}

/* Room for count more bytes and the NUL. */
static bool reserve(rlhfi_string *string, size_t count)
{
    size_t needed, capacity;
    char *data;

    if (string->failed)
        return false;
    if (!rlhfi_add(string->size, count, &needed) || !rlhfi_add(needed, 1, &needed)) {
        rlhfi_out_of_memory(string->context);
        string->failed = true;
        return false;
    }
    if (needed <= string->capacity)
        return true;
    capacity = string->capacity < 64 ? 64 : string->capacity;
    while (capacity < needed)
        capacity = capacity <= SIZE_MAX / 2 ? 2 * capacity : needed;
    data = rlhfi_realloc_array(string->context, string->data, capacity, 1);
    if (data == NULL) {
        string->failed = true;
        return false;
    }
    data[string->size] = '\0';
    string->data = data;
    string->capacity = capacity;
    return true;
}

void rlhfi_string_add_bytes(rlhfi_string *string, const void *bytes, size_t count)
{
    if (!reserve(string, count))
        return;
    if (count > 0)
        memcpy(string->data + string->size, bytes, count);
    string->size += count;
    string->data[string->size] = '\0';
}

void rlhfi_string_add(rlhfi_string *string, const char *text)
{
    rlhfi_string_add_bytes(string, text, strlen(text));
}

void rlhfi_string_add_format(rlhfi_string *string, const char *format, ...)
{
    va_list arguments;
    int length;

    va_start(arguments, format);
    length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0)
        string->failed = true;
    if (!reserve(string, length < 0 ? 0 : (size_t)length))
        return;
    va_start(arguments, format);
    vsnprintf(string->data + string->size, (size_t)length + 1, format, arguments);
    va_end(arguments);
    string->size += (size_t)length;
}

void rlhfi_string_add_double(rlhfi_string *string, double value)
{
    char text[32];
    size_t bytes = rlhfi_format_double(value, text, sizeof text);

    rlhfi_string_add_bytes(string, text, bytes);
}

/* JSON must be UTF-8, and text that a model made need not be: each byte that cannot stand becomes U+FFFD. */
void rlhfi_string_add_json(rlhfi_string *string, const char *text, size_t bytes)
{
    static const char digits[] = "0123456789abcdef";
    size_t good = 0; /* text[0..good) is valid UTF-8 */

    if (rlhfi_utf8_valid(text, bytes, &good))
        good = bytes;
    rlhfi_string_add_bytes(string, "\"", 1);
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)text[i];
        if (i == good) {
            size_t more = 0;
            rlhfi_string_add(string, "\xef\xbf\xbd");
            good = rlhfi_utf8_valid(text + i + 1, bytes - i - 1, &more) ? bytes : i + 1 + more;
        } else if (c == '"' || c == '\\') {
            rlhfi_string_add_bytes(string, (char[]){'\\', (char)c}, 2);
        } else if (c == '\n') {
            rlhfi_string_add(string, "\\n");
        } else if (c == '\t') {
            rlhfi_string_add(string, "\\t");
        } else if (c == '\r') {
            rlhfi_string_add(string, "\\r");
        } else if (c < 0x20) {
            rlhfi_string_add_bytes(string, (char[]){'\\', 'u', '0', '0', digits[c >> 4], digits[c & 15]}, 6);
        } else {
            rlhfi_string_add_bytes(string, &text[i], 1);
        }
    }
    rlhfi_string_add_bytes(string, "\"", 1);
}

void rlhfi_string_free(rlhfi_string *string)
{
    rlhfi_free(string->context, string->data);
    *string = (rlhfi_string){.context = string->context};
}
