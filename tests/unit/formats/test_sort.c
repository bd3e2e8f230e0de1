/* Heap sort: order, all sizes, elements of odd width. */
#include "formats/sort.h"
#include "support.h"

struct odd {
    unsigned char key, tail[6];
};

static int compare_odd(const void *a, const void *b)
{
    return ((const struct odd *)a)->key - ((const struct odd *)b)->key;
}

static void sorts_every_size(void **state)
{
    uint32_t seed = 1;

    (void)state;
    for (size_t count = 0; count < 200; count++) {
        struct odd items[200];
        unsigned seen[256] = {0};
        for (size_t i = 0; i < count; i++) {
            seed = seed * 1664525 + 1013904223;
            items[i].key = (unsigned char)(seed >> 24);
            memset(items[i].tail, items[i].key, sizeof items[i].tail);
            seen[items[i].key]++;
        }
        rlhfi_sort(items, count, sizeof items[0], compare_odd);
        for (size_t i = 0; i < count; i++) {
            assert_true(i == 0 || items[i - 1].key <= items[i].key);
            for (size_t j = 0; j < sizeof items[i].tail; j++)
                assert_int_equal(items[i].tail[j], items[i].key); /* whole elements moved */
            assert_true(seen[items[i].key]-- > 0);
        }
    }
}

static size_t comparisons;

static int compare_counting(const void *a, const void *b)
{
    const int *x = a, *y = b;

    comparisons++;
    return (*x > *y) - (*x < *y);
}

/* Inputs that make a naive quicksort quadratic. */
static void stays_fast_on_bad_input(void **state)
{
    enum { COUNT = 1 << 14 };
    int *items = need(COUNT * sizeof *items);

    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        for (int i = 0; i < COUNT; i++)
            items[i] = kind == 0 ? i : kind == 1 ? COUNT - i : 7;
        comparisons = 0;
        rlhfi_sort(items, COUNT, sizeof *items, compare_counting);
        assert_true(comparisons < (size_t)COUNT * 2 * 14);
        for (int i = 1; i < COUNT; i++)
            assert_true(items[i - 1] <= items[i]);
    }
    free(items);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sorts_every_size),
        cmocka_unit_test(stays_fast_on_bad_input),
    };

    return cmocka_run_group_tests_name("sort", tests, NULL, NULL);
}
