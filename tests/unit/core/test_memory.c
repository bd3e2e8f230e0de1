#include "helper.h"

static void pieces_are_aligned_and_disjoint(void **state)
{
    struct counter counter = {0};
    rlhf_context *context;
    unsigned char *piece[64];

    assert_int_equal(counted_context(&context, &counter, 1), RLHF_OK);
    for (size_t i = 0; i < 64; i++) {
        piece[i] = rlhfi_alloc(context, i);
        assert_non_null(piece[i]);
        assert_int_equal((uintptr_t)piece[i] % 64, 0);
        memset(piece[i], (int)i, i);
        for (size_t j = 0; j < i; j++)
            assert_ptr_not_equal(piece[i], piece[j]);
    }
    for (size_t i = 0; i < 64; i++) {
        for (size_t j = 0; j < i; j++)
            assert_int_equal(piece[i][j], i);
        rlhfi_free(context, piece[i]);
    }
    rlhfi_free(context, NULL);
    rlhf_context_release(&context);
    assert_int_equal(counter.live, 0);
    assert_int_equal(counter.bytes, 0);
}

static void sizes_are_checked(void **state)
{
    rlhf_context *context;
    size_t out;

    assert_int_equal(rlhf_context_create(&context, NULL), RLHF_OK);
    assert_true(rlhfi_multiply(SIZE_MAX / 3, 3, &out));
    assert_int_equal(out, SIZE_MAX / 3 * 3);
    assert_false(rlhfi_multiply(SIZE_MAX / 3 + 1, 3, &out));
    assert_true(rlhfi_add(SIZE_MAX - 1, 1, &out));
    assert_false(rlhfi_add(SIZE_MAX, 1, &out));
    assert_null(rlhfi_alloc_array(context, SIZE_MAX / 2, 3));
    assert_string_equal(error_of(context), "out of memory");
    assert_null(rlhfi_alloc(context, SIZE_MAX));
    assert_null(rlhfi_alloc(context, SIZE_MAX - 100));
    assert_null(rlhfi_calloc(context, SIZE_MAX, 2));
    assert_null(rlhfi_strndup(context, "x", SIZE_MAX));
    rlhf_context_release(&context);
}

static void calloc_is_zero_and_realloc_keeps(void **state)
{
    struct counter counter = {0};
    rlhf_context *context;
    int32_t *numbers, *more;
    char *zeros;

    assert_int_equal(counted_context(&context, &counter, 1), RLHF_OK);
    zeros = rlhfi_calloc(context, 1000, 1);
    assert_non_null(zeros);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(zeros[i], 0);
    rlhfi_free(context, zeros);

    numbers = rlhfi_realloc_array(context, NULL, 10, sizeof *numbers);
    assert_non_null(numbers);
    for (int i = 0; i < 10; i++)
        numbers[i] = i;
    numbers = rlhfi_realloc_array(context, numbers, 100, sizeof *numbers);
    for (int i = 0; i < 10; i++)
        assert_int_equal(numbers[i], i);
    numbers = rlhfi_realloc_array(context, numbers, 3, sizeof *numbers);
    for (int i = 0; i < 3; i++)
        assert_int_equal(numbers[i], i);

    counter.fail_at = 1;
    more = rlhfi_realloc_array(context, numbers, 1000, sizeof *numbers);
    assert_null(more);
    assert_int_equal(numbers[2], 2);
    assert_null(rlhfi_realloc_array(context, numbers, SIZE_MAX, sizeof *numbers));
    assert_int_equal(numbers[2], 2);
    assert_null(rlhfi_strdup(context, "text"));
    counter.fail_at = 0;
    rlhfi_free(context, numbers);
    rlhf_context_release(&context);
    assert_int_equal(counter.live, 0);
}

static void copies_of_text(void **state)
{
    rlhf_context *context;
    char *text;

    assert_int_equal(rlhf_context_create(&context, NULL), RLHF_OK);
    text = rlhfi_strdup(context, "whole");
    assert_string_equal(text, "whole");
    rlhfi_free(context, text);
    text = rlhfi_strndup(context, "whole", 2);
    assert_string_equal(text, "wh");
    rlhfi_free(context, text);
    rlhf_context_release(&context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_are_aligned_and_disjoint),
        cmocka_unit_test(sizes_are_checked),
        cmocka_unit_test(calloc_is_zero_and_realloc_keeps),
        cmocka_unit_test(copies_of_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
