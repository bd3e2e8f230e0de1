#include "helper.h"

/* One step of a training loop: pieces of many sizes, with a part that is given back in between. */
static rlhf_status step(rlhfi_arena *arena, int scale)
{
    unsigned char *piece[100];
    size_t mark = 0;

    for (int i = 0; i < 100; i++) {
        size_t bytes = (size_t)(i * i % 977) * (size_t)scale;
        if (i == 40)
            mark = rlhfi_arena_mark(arena);
        if (i == 60)
            rlhfi_arena_rewind(arena, mark);
        piece[i] = rlhfi_arena_alloc(arena, bytes, 1);
        if (piece[i] == NULL)
            return RLHF_E_NOMEM;
        assert_int_equal((uintptr_t)piece[i] % 64, 0);
        memset(piece[i], i, bytes);
    }
    for (int i = 0; i < 100; i++)
        for (size_t j = 0; (i < 40 || i >= 60) && j < (size_t)(i * i % 977) * (size_t)scale; j++)
            if (piece[i][j] != i)
                fail_msg("piece %d was overwritten", i);
    return RLHF_OK;
}

static void second_step_allocates_nothing(void **state)
{
    struct counter counter = {0};
    rlhf_context *context;
    rlhfi_arena *arena;
    int64_t calls;
    size_t peak;

    assert_int_equal(counted_context(&context, &counter, 1), RLHF_OK);
    assert_int_equal(rlhfi_arena_create(&arena, context), RLHF_OK);
    assert_int_equal(rlhfi_arena_peak(arena), 0);
    assert_int_equal(step(arena, 50), RLHF_OK);
    peak = rlhfi_arena_peak(arena);
    assert_true(peak > 1000000);
    rlhfi_arena_reset(arena);
    calls = counter.calls;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(step(arena, i == 3 ? 20 : 50), RLHF_OK);
        rlhfi_arena_reset(arena);
    }
    assert_int_equal(counter.calls, calls);
    assert_int_equal(rlhfi_arena_peak(arena), peak);
    /* One block of the peak (to a page), its header, and the list: nothing else is kept. */
    assert_true((size_t)counter.bytes < peak + 4096 + 128 + 2048 + sizeof(rlhf_context));
    rlhfi_arena_release(&arena);
    assert_null(arena);
    rlhfi_arena_release(&arena);
    rlhf_context_release(&context);
    assert_int_equal(counter.live, 0);
}

static void rewinding_reuses(void **state)
{
    rlhf_context *context;
    rlhfi_arena *arena;
    char *first, *again;
    size_t marks[50];
    char *starts[50];

    assert_int_equal(rlhf_context_create(&context, NULL), RLHF_OK);
    assert_int_equal(rlhfi_arena_create(&arena, context), RLHF_OK);
    rlhfi_arena_rewind(arena, 0); /* an empty arena can be rewound */
    assert_int_equal(rlhfi_arena_mark(arena), 0);
    first = rlhfi_arena_alloc(arena, 10, 10);
    assert_int_equal(rlhfi_arena_mark(arena), 128);
    rlhfi_arena_rewind(arena, 0);
    again = rlhfi_arena_alloc(arena, 1, 1);
    assert_ptr_equal(first, again);

    /* Down from any height over many blocks the same pieces come again. */
    for (int i = 0; i < 50; i++) {
        marks[i] = rlhfi_arena_mark(arena);
        starts[i] = rlhfi_arena_alloc(arena, 30000, 1);
        assert_non_null(starts[i]);
    }
    for (int i = 49; i >= 0; i--) {
        rlhfi_arena_rewind(arena, marks[i]);
        assert_int_equal(rlhfi_arena_mark(arena), marks[i]);
        assert_ptr_equal(rlhfi_arena_alloc(arena, 30000, 1), starts[i]);
        rlhfi_arena_rewind(arena, marks[i]);
    }
    /* A mark above the top changes nothing. */
    rlhfi_arena_rewind(arena, marks[49]);
    assert_int_equal(rlhfi_arena_mark(arena), marks[0]);
    rlhfi_arena_release(&arena);
    rlhf_context_release(&context);
}

static void small_blocks_are_stepped_over(void **state)
{
    rlhf_context *context;
    rlhfi_arena *arena;
    size_t mark;
    char *first;

    assert_int_equal(rlhf_context_create(&context, NULL), RLHF_OK);
    assert_int_equal(rlhfi_arena_create(&arena, context), RLHF_OK);
    first = rlhfi_arena_alloc(arena, 60032, 1);
    assert_non_null(first);
    mark = rlhfi_arena_mark(arena);
    assert_non_null(rlhfi_arena_alloc(arena, 100000, 1));
    rlhfi_arena_rewind(arena, mark);
    assert_non_null(rlhfi_arena_alloc(arena, 10000000, 1)); /* fits in neither block */
    assert_int_equal(rlhfi_arena_mark(arena), mark + 10000000);
    rlhfi_arena_rewind(arena, mark);
    assert_int_equal(rlhfi_arena_mark(arena), mark);
    assert_ptr_equal(rlhfi_arena_alloc(arena, 64, 1), first + 60032); /* the first block goes on where it was */
    assert_int_equal(rlhfi_arena_mark(arena), mark + 64);
    rlhfi_arena_release(&arena);
    rlhf_context_release(&context);
}

static void sizes_that_cannot_be(void **state)
{
    rlhf_context *context;
    rlhfi_arena *arena;
    void *a, *b;

    assert_int_equal(rlhf_context_create(&context, NULL), RLHF_OK);
    assert_int_equal(rlhfi_arena_create(&arena, context), RLHF_OK);
    assert_null(rlhfi_arena_alloc(arena, SIZE_MAX / 2, 3));
    assert_null(rlhfi_arena_alloc(arena, SIZE_MAX - 3, 1));
    assert_null(rlhfi_arena_alloc(arena, SIZE_MAX / 2 + 5, 1));
    assert_string_equal(error_of(context), "out of memory");
    a = rlhfi_arena_alloc(arena, 0, 8);
    b = rlhfi_arena_alloc(arena, 0, 8);
    assert_non_null(a);
    assert_ptr_not_equal(a, b);
    rlhfi_arena_release(&arena);
    rlhf_context_release(&context);
}

static rlhf_status two_steps(rlhf_context *context)
{
    rlhfi_arena *arena;
    rlhf_status status;

    RLHFI_TRY(rlhfi_arena_create(&arena, context));
    RLHFI_GOTO(step(arena, 20));
    rlhfi_arena_reset(arena);
    RLHFI_GOTO(step(arena, 20));
done:
    rlhfi_arena_release(&arena);
    return status;
}

static void each_allocation_may_fail(void **state)
{
    assert_true(fail_each(two_steps) >= 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(second_step_allocates_nothing), cmocka_unit_test(rewinding_reuses),
        cmocka_unit_test(small_blocks_are_stepped_over), cmocka_unit_test(sizes_that_cannot_be),
        cmocka_unit_test(each_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
