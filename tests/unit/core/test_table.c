#include "helper.h"

#include <stdio.h>

static void keys_are_bytes(void **state)
{
    rlhf_context *context;
    rlhfi_table *table;
    int32_t value = -1;
    char key[] = "abc";

    assert_int_equal(rlhf_context_create(&context, NULL), RLHF_OK);
    assert_int_equal(rlhfi_table_create(&table, context, 0), RLHF_OK);
    assert_false(rlhfi_table_get(table, "abc", 3, &value));
    assert_int_equal(rlhfi_table_put(table, key, 3, 1), RLHF_OK);
    key[0] = 'x'; /* the table has its own copy */
    assert_int_equal(rlhfi_table_put(table, "ab", 2, 2), RLHF_OK);
    assert_int_equal(rlhfi_table_put(table, "ab\0", 3, 3), RLHF_OK);
    assert_int_equal(rlhfi_table_put(table, "", 0, 4), RLHF_OK);
    assert_int_equal(rlhfi_table_put(table, "abc", 3, 5), RLHF_E_INVAL);
    assert_string_equal(error_of(context), "\"abc\": is there twice");
    assert_int_equal(rlhfi_table_count(table), 4);
    assert_true(rlhfi_table_get(table, "abc", 3, &value));
    assert_int_equal(value, 1);
    assert_true(rlhfi_table_get(table, "ab", 2, &value));
    assert_int_equal(value, 2);
    assert_true(rlhfi_table_get(table, "ab\0", 3, &value));
    assert_int_equal(value, 3);
    assert_true(rlhfi_table_get(table, NULL, 0, &value));
    assert_int_equal(value, 4);
    assert_true(rlhfi_table_get(table, "ab", 2, NULL));
    assert_false(rlhfi_table_get(table, "a", 1, &value));
    assert_int_equal(value, 4);
    rlhfi_table_release(&table);
    assert_null(table);
    rlhfi_table_release(&table);
    rlhf_context_release(&context);
}

static void fifty_thousand_keys(void **state)
{
    struct counter counter = {0};
    rlhf_context *context;
    char key[32];
    int32_t value;

    assert_int_equal(counted_context(&context, &counter, 1), RLHF_OK);
    for (size_t expected = 0; expected <= 50000; expected += 50000) {
        rlhfi_table *table;
        assert_int_equal(rlhfi_table_create(&table, context, expected), RLHF_OK);
        for (int32_t i = 0; i < 50000; i++) {
            size_t bytes = (size_t)snprintf(key, sizeof key, "key %d", i);
            assert_int_equal(rlhfi_table_put(table, key, bytes, i), RLHF_OK);
        }
        assert_int_equal(rlhfi_table_count(table), 50000);
        for (int32_t i = 0; i < 60000; i++) {
            size_t bytes = (size_t)snprintf(key, sizeof key, "key %d", i);
            bool there = rlhfi_table_get(table, key, bytes, &value);
            assert_true(there == (i < 50000));
            if (there)
                assert_int_equal(value, i);
        }
        rlhfi_table_release(&table);
    }
    rlhf_context_release(&context);
    assert_int_equal(counter.live, 0);
}

static rlhf_status fill(rlhf_context *context)
{
    rlhfi_table *table;
    rlhf_status status = RLHF_OK;
    int32_t put = 0, value;
    char key[32];

    RLHFI_TRY(rlhfi_table_create(&table, context, 0));
    for (; put < 300 && status == RLHF_OK; put += status == RLHF_OK)
        status = rlhfi_table_put(table, key, (size_t)snprintf(key, sizeof key, "a longer key %d", put), put);
    /* A failed put changes nothing: all earlier keys are there, the new one is not. */
    assert_int_equal(rlhfi_table_count(table), put);
    for (int32_t i = 0; i <= put; i++) {
        bool there = rlhfi_table_get(table, key, (size_t)snprintf(key, sizeof key, "a longer key %d", i), &value);
        assert_true(there == (i < put));
        assert_true(!there || value == i);
    }
    rlhfi_table_release(&table);
    return status;
}

static void each_allocation_may_fail(void **state)
{
    assert_true(fail_each(fill) >= 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_bytes),
        cmocka_unit_test(fifty_thousand_keys),
        cmocka_unit_test(each_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
