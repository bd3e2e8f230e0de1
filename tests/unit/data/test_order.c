/* The order of rows: permutations per epoch, and a cursor that can stop and go on anywhere. */
#include "support.h"

#include <rlhf/order.h>

enum { ROWS = 37 };

static rlhfi_order *make_order(rlhf_context *context, uint64_t seed, int32_t shuffle)
{
    rlhfi_order *order;
    check_ok(context, rlhfi_order_create(&order, context, ROWS, seed, shuffle));
    return order;
}

static void draw(rlhf_context *context, rlhfi_order *order, rlhfi_cursor *cursor, uint64_t count, int32_t wrap,
                 uint64_t *rows, uint64_t expected)
{
    uint64_t got;
    check_ok(context, rlhfi_order_draw(order, cursor, count, wrap, rows, &got));
    assert_int_equal(got, expected);
}

static void sequential(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    rlhfi_order *order = make_order(context, 1, 0);
    rlhfi_cursor cursor = {0, 0};
    uint64_t rows[100];
    draw(context, order, &cursor, 30, 0, rows, 30);
    for (uint64_t i = 0; i < 30; i++)
        assert_int_equal(rows[i], i);
    draw(context, order, &cursor, 30, 0, rows, 7); /* stops at the epoch's end */
    assert_true(cursor.epoch == 1 && cursor.position == 0);
    draw(context, order, &cursor, ROWS, 0, rows, ROWS); /* ends exactly there */
    assert_true(cursor.epoch == 2 && cursor.position == 0);
    draw(context, order, &cursor, 100, 1, rows, 100); /* goes on */
    assert_true(cursor.epoch == 4 && cursor.position == 26);
    assert_true(rows[36] == 36 && rows[37] == 0);
    draw(context, order, &cursor, 0, 0, rows, 0);
    rlhfi_order_release(&order);
    assert_null(order);
    end_context(context, &memory);
}

static void shuffled(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    rlhfi_order *order = make_order(context, 7, 1), *same = make_order(context, 7, 1),
                *other = make_order(context, 8, 1);
    rlhfi_cursor cursor = {0, 0}, again = {0, 0}, third = {0, 0};
    uint64_t rows[2 * ROWS], twin[2 * ROWS], strange[2 * ROWS];
    draw(context, order, &cursor, 2 * ROWS, 1, rows, 2 * ROWS);
    for (int epoch = 0; epoch < 2; epoch++) { /* each epoch has every row once */
        bool seen[ROWS] = {false};
        for (int i = 0; i < ROWS; i++) {
            uint64_t row = rows[epoch * ROWS + i];
            assert_true(row < ROWS && !seen[row]);
            seen[row] = true;
        }
    }
    assert_memory_not_equal(rows, rows + ROWS, ROWS * sizeof *rows);
    draw(context, same, &again, 2 * ROWS, 1, twin, 2 * ROWS);
    assert_memory_equal(rows, twin, sizeof rows);
    draw(context, other, &third, 2 * ROWS, 1, strange, 2 * ROWS);
    assert_memory_not_equal(rows, strange, sizeof rows);
    /* From any cursor on, in any portions, the same rows follow: that is what resuming needs. */
    for (uint64_t start = 0; start < 2 * ROWS; start += 5) {
        rlhfi_order *resumed = make_order(context, 7, 1);
        rlhfi_cursor from = {start / ROWS, start % ROWS};
        for (uint64_t at = start; at < 2 * ROWS; at += 3) {
            uint64_t count = 2 * ROWS - at < 3 ? 2 * ROWS - at : 3;
            draw(context, resumed, &from, count, 1, twin, count);
            assert_memory_equal(twin, rows + at, count * sizeof *twin);
        }
        rlhfi_order_release(&resumed);
    }
    rlhfi_order_release(&order);
    rlhfi_order_release(&same);
    rlhfi_order_release(&other);
    rlhfi_order_release(NULL);
    end_context(context, &memory);
}

static void refusals(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    rlhfi_order *order;
    rlhfi_cursor cursor = {0, ROWS};
    uint64_t row, got;
    assert_int_equal(rlhfi_order_create(&order, context, 0, 1, 1), RLHF_E_INVAL);
    assert_null(order);
    assert_int_equal(rlhfi_order_create(&order, context, UINT64_MAX / 2, 1, 1), RLHF_E_NOMEM);
    assert_null(order);
    order = make_order(context, 1, 1);
    assert_int_equal(rlhfi_order_draw(order, &cursor, 1, 0, &row, &got), RLHF_E_RANGE); /* of another dataset */
    rlhfi_order_release(&order);
    end_context(context, &memory);
}

/* What a loop of one's own asks for is what the trainer's cursor goes through. */
static void public_order(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    rlhfi_order *order = make_order(context, 5, 1);
    rlhfi_cursor cursor = {3, 0};
    uint64_t rows[ROWS];
    int64_t filled[ROWS], updates[ROWS];
    draw(context, order, &cursor, ROWS, 0, rows, ROWS);
    assert_int_equal(rlhf_order_fill(RLHF_ORDER_ROWS, 5, 3, ROWS, filled), RLHF_OK);
    assert_memory_equal(filled, rows, sizeof filled);
    assert_int_equal(rlhf_order_fill(RLHF_ORDER_UPDATES, 5, 3, ROWS, updates), RLHF_OK);
    assert_memory_not_equal(filled, updates, sizeof filled);
    assert_int_equal(rlhf_order_fill(RLHF_ORDER_UPDATES, 5, 3, 0, NULL), RLHF_OK);
    assert_int_equal(rlhf_order_fill(RLHF_ORDER_UPDATES, 5, 3, 1, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_order_fill(RLHF_ORDER_UPDATES, 5, 3, -1, filled), RLHF_E_INVAL);
    assert_int_equal(rlhf_order_fill(0, 5, 3, ROWS, filled), RLHF_E_INVAL);
    rlhfi_order_release(&order);
    end_context(context, &memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sequential),
        cmocka_unit_test(shuffled),
        cmocka_unit_test(refusals),
        cmocka_unit_test(public_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
