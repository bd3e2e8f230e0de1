/* Memory through the context's allocator. A header in front of each piece keeps its size, because the allocator's free
 * wants it; the header is one alignment unit long, so the piece itself stays aligned. */
#include "core/internal.h"

#include <stdlib.h>

enum { ALIGNMENT = 64 };

struct header {
    size_t asked; /* bytes that the caller wanted */
    size_t total; /* bytes that the allocator gave, header included */
};

static void *default_alloc(void *user_data, size_t size, size_t alignment)
{
    (void)user_data;
    return aligned_alloc(alignment, size);
}

static void default_free(void *user_data, void *pointer, size_t size)
{
    (void)user_data;
    (void)size;
    free(pointer);
}

const rlhf_allocator rlhfi_default_allocator = {default_alloc, default_free, NULL};

bool rlhfi_multiply(size_t a, size_t b, size_t *product)
{
    return !__builtin_mul_overflow(a, b, product);
}

bool rlhfi_add(size_t a, size_t b, size_t *sum)
{
    return !__builtin_add_overflow(a, b, sum);
}

static struct header *header_of(void *pointer)
{
    return (struct header *)(void *)((char *)pointer - ALIGNMENT);
}

void *rlhfi_alloc_quiet(rlhf_context *context, size_t size)
{
    size_t total;
    char *block;

    if (!rlhfi_add(size, 2 * ALIGNMENT - 1, &total) || total > PTRDIFF_MAX)
        return NULL;
    total -= total % ALIGNMENT; /* aligned_alloc wants whole units */
    block = context->allocator.alloc(context->allocator.user_data, total, ALIGNMENT);
    if (block == NULL)
        return NULL;
    *(struct header *)(void *)block = (struct header){.asked = size, .total = total};
    return block + ALIGNMENT;
}

void *rlhfi_alloc(rlhf_context *context, size_t size)
{
    void *pointer = rlhfi_alloc_quiet(context, size);

    if (pointer == NULL)
        rlhfi_out_of_memory(context);
    return pointer;
}

void *rlhfi_alloc_array(rlhf_context *context, size_t count, size_t size)
{
    size_t bytes;

    if (!rlhfi_multiply(count, size, &bytes)) {
        rlhfi_out_of_memory(context);
        return NULL;
    }
    return rlhfi_alloc(context, bytes);
}

void *rlhfi_calloc(rlhf_context *context, size_t count, size_t size)
{
    void *pointer = rlhfi_alloc_array(context, count, size);

    if (pointer != NULL)
        memset(pointer, 0, count * size);
    return pointer;
}

void *rlhfi_realloc_array(rlhf_context *context, void *old, size_t count, size_t size)
{
    void *pointer = rlhfi_alloc_array(context, count, size);

    if (pointer != NULL && old != NULL) {
        size_t kept = header_of(old)->asked < count * size ? header_of(old)->asked : count * size;
        memcpy(pointer, old, kept);
        rlhfi_free(context, old);
    }
    return pointer;
}

void rlhfi_free(rlhf_context *context, void *pointer)
{
    if (pointer != NULL) {
        struct header *header = header_of(pointer);
        context->allocator.free(context->allocator.user_data, header, header->total);
    }
}

char *rlhfi_strndup(rlhf_context *context, const char *text, size_t bytes)
{
    char *copy = bytes < SIZE_MAX ? rlhfi_alloc(context, bytes + 1) : NULL;

    if (copy != NULL) {
        memcpy(copy, text, bytes);
        copy[bytes] = '\0';
    }
    return copy;
}

char *rlhfi_strdup(rlhf_context *context, const char *text)
{
    return rlhfi_strndup(context, text, strlen(text));
}
