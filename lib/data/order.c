/* The order in which a run draws rows: a permutation per epoch that depends only on seed and epoch, so that a cursor of
 * two numbers is all a checkpoint needs. Public: rlhf/order.h. */
#include "data/data.h"
#include <rlhf/order.h>

rlhf_status rlhf_order_fill(int32_t kind, uint64_t seed, uint64_t number, int64_t count, int64_t *order)
{
    if ((kind != RLHF_ORDER_ROWS && kind != RLHF_ORDER_UPDATES) || count < 0 || (count > 0 && order == NULL))
        return RLHF_E_INVAL;
    rlhfi_permutation(seed, kind == RLHF_ORDER_ROWS ? RLHFI_RANDOM_SHUFFLE : RLHFI_RANDOM_MINIBATCH, (uint32_t)number,
                      (uint64_t *)order, (uint64_t)count);
    return RLHF_OK;
}

struct rlhfi_order {
    rlhf_context *context;
    uint64_t rows, seed;
    int32_t shuffle;
    uint64_t epoch; /* of the permutation at hand */
    uint64_t *permutation;
    bool ready;
};

rlhf_status rlhfi_order_create(rlhfi_order **out, rlhf_context *context, uint64_t rows, uint64_t seed, int32_t shuffle)
{
    *out = NULL;
    if (rows == 0)
        return rlhfi_fail(context, RLHF_E_INVAL, "there are no rows to draw from");
    rlhfi_order *order = rlhfi_calloc(context, 1, sizeof *order);
    if (order == NULL)
        return RLHF_E_NOMEM;
    order->context = context;
    order->rows = rows;
    order->seed = seed;
    order->shuffle = shuffle;
    order->permutation = rlhfi_alloc_array(context, (size_t)rows, sizeof *order->permutation);
    if (order->permutation == NULL) {
        rlhfi_free(context, order);
        return RLHF_E_NOMEM;
    }
    *out = order;
    return RLHF_OK;
}

static void prepare(rlhfi_order *order, uint64_t epoch)
{
    if (order->ready && order->epoch == epoch)
        return;
    if (order->shuffle)
        rlhfi_permutation(order->seed, RLHFI_RANDOM_SHUFFLE, (uint32_t)epoch, order->permutation, order->rows);
    else
        for (uint64_t i = 0; i < order->rows; i++)
            order->permutation[i] = i;
    order->epoch = epoch;
    order->ready = true;
}

rlhf_status rlhfi_order_draw(rlhfi_order *order, rlhfi_cursor *cursor, uint64_t count, int32_t wrap, uint64_t *rows,
                             uint64_t *got)
{
    if (cursor->position >= order->rows)
        return rlhfi_fail(order->context, RLHF_E_RANGE, "cursor: position %llu of %llu rows",
                          (unsigned long long)cursor->position, (unsigned long long)order->rows);
    *got = 0;
    while (*got < count) {
        prepare(order, cursor->epoch);
        rows[(*got)++] = order->permutation[cursor->position++];
        if (cursor->position == order->rows) {
            cursor->epoch++;
            cursor->position = 0;
            if (!wrap)
                break;
        }
    }
    return RLHF_OK;
}

void rlhfi_order_release(rlhfi_order **order)
{
    if (order == NULL || *order == NULL)
        return;
    rlhf_context *context = (*order)->context;
    rlhfi_free(context, (*order)->permutation);
    rlhfi_free(context, *order);
    *order = NULL;
}
