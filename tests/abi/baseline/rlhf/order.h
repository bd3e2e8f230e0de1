/* Orders: the permutations in which trainers go through rows, for training loops of your own. */
#ifndef RLHF_ORDER_H
#define RLHF_ORDER_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    RLHF_ORDER_ROWS = 1,   /* rows of a dataset: number is the epoch, from 0 */
    RLHF_ORDER_UPDATES = 2 /* completions of an iteration: number is iteration * num_ppo_epochs + epoch, from 0 */
};

/** Writes a permutation of 0..count-1, the one that a trainer with this seed (the recipe's) uses.
 *  shapes   order [count]    owner yours    null order only with count 0: INVAL    errors INVAL (kind, count)
 *  threads  safe    repeat depends on kind, seed, number (mod 2^32) and count only    since 0.1 */
RLHF_API rlhf_status rlhf_order_fill(int32_t kind, uint64_t seed, uint64_t number, int64_t count, int64_t *order);

#ifdef __cplusplus
}
#endif
#endif
