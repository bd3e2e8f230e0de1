/* Sorting in place without memory of its own: the C library's qsort may call malloc behind the context's back. */
#ifndef RLHFI_FORMATS_SORT_H
#define RLHFI_FORMATS_SORT_H

#include <stddef.h>

/* Negative, zero or positive, as for qsort. */
typedef int (*rlhfi_compare)(const void *a, const void *b);

/* n log n comparisons for every input, hostile ones included. Equal elements come out in an order that depends only on
 * the input. */
void rlhfi_sort(void *base, size_t count, size_t size, rlhfi_compare compare);

#endif
