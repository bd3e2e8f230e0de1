/* Heap sort. */
#include "formats/sort.h"

#include <string.h>

/* In pieces of a fixed size, which compilers turn into a few wide moves. */
static void swap(unsigned char *a, unsigned char *b, size_t size)
{
    enum { PIECE = 16 };
    unsigned char kept[PIECE];

    for (; size >= PIECE; size -= PIECE, a += PIECE, b += PIECE) {
        memcpy(kept, a, PIECE);
        memmove(a, b, PIECE); /* the first element may be swapped with itself */
        memcpy(b, kept, PIECE);
    }
    memcpy(kept, a, size);
    memmove(a, b, size);
    memcpy(b, kept, size);
}

/* Lets the element at root sink until both of its children are smaller. */
static void sink(unsigned char *base, size_t root, size_t count, size_t size, rlhfi_compare compare)
{
    while (root < count / 2) {
        size_t child = 2 * root + 1;
        if (child + 1 < count && compare(base + child * size, base + (child + 1) * size) < 0)
            child++;
        if (compare(base + root * size, base + child * size) >= 0)
            return;
        swap(base + root * size, base + child * size, size);
        root = child;
    }
}

void rlhfi_sort(void *base, size_t count, size_t size, rlhfi_compare compare)
{
    unsigned char *bytes = base;

    for (size_t root = count / 2; root-- > 0;)
        sink(bytes, root, count, size, compare);
    while (count > 1) {
        swap(bytes, bytes + --count * size, size);
        sink(bytes, 0, count, size, compare);
    }
}
