/* Loops over many cases do every n-th one where arithmetic is several hundred times slower: under valgrind, which looks
 * for wrong memory, not for wrong numbers. tests/run.sh sets RLHF_TEST_PACE=slow there. */
#ifndef TESTS_PACE_H
#define TESTS_PACE_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Step of a loop: 1, or where it is slow the given one. */
static inline int64_t pace(int64_t slow)
{
    const char *text = getenv("RLHF_TEST_PACE");

    return text != NULL && strcmp(text, "slow") == 0 ? slow : 1;
}

#endif
