/* BLIS for large products. */
#include "compute/state.h"

void rlhfi_blis_attach(rlhf_context *context) { rlhfi_compute_of(context)->blis = NULL; }
void rlhfi_blis_detach(rlhf_context *context) { rlhfi_compute_of(context)->blis = NULL; }
bool rlhfi_blis_wants(const rlhf_context *context, int64_t m, int64_t n, int64_t k) { return false; }
void rlhfi_blis_product(rlhf_context *context, const rlhfi_block *work, int64_t b_row, int64_t b_column) {}
