/* How a dataset keeps its rows: shared by the store and the readers of this room. */
#ifndef RLHFI_DATASET_H
#define RLHFI_DATASET_H

#include "data/data.h"

enum { RLHFI_ROW_TEXTS = 6 }; /* text prompt completion chosen rejected extra */

typedef struct rlhfi_row_store {
    char *block;                        /* one allocation for all texts of the row */
    const char *text[RLHFI_ROW_TEXTS];  /* into block, or NULL */
    double margin;
    int32_t kind, conversational;
} rlhfi_row_store;

struct rlhf_dataset {
    int64_t references;
    rlhf_context *context;
    rlhfi_row_store *rows;
    uint64_t count, capacity, skipped;
};

#endif
