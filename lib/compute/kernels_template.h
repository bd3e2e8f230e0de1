/* The one source of all kernels. The includer has chosen the vector type (simd_*.h), the tile shapes and
 * KERNELS_NAME. */
#include "compute/math_template.h"
#include "compute/tiles_template.h"
#include "compute/pack_template.h"
#include "compute/direct_template.h"
#include "compute/rows_template.h"
#include "compute/pages_template.h"
#include "compute/sampling_template.h"

#define TEXT_OF(name) #name
#define TEXT(name) TEXT_OF(name)
#define JOINED_OF(a, b) a##b
#define JOINED(a, b) JOINED_OF(a, b)

#ifdef KERNELS_FLUSH
/* The float tiles with subnormal numbers as zeros. A call that is not inlined keeps arithmetic between the two. */
static __attribute__((noinline)) void product_between(const rlhfi_block *work) { k_product(work); }

static void k_product_swapped(const rlhfi_block *work)
{
    const unsigned before = _mm_getcsr();

    _mm_setcsr(before | KERNELS_FLUSH);
    product_between(work);
    _mm_setcsr(before);
}
#else
#define k_product_swapped NULL
#endif

const rlhfi_kernels JOINED(rlhfi_kernels_, KERNELS_NAME) = {
    .name = TEXT(KERNELS_NAME),
    .product = k_product,
    .product_direct = k_product_direct,
    .product_pairs = JOINED(rlhfi_product_pairs_, KERNELS_NAME),
    .product_swapped = k_product_swapped,
    .pack = k_pack,
    .round_rows = k_round_rows,
    .round_columns = k_round_columns,
    .pack_rounded = k_pack_rounded,
    .spread_pairs = k_spread_pairs,
    .round_numbers = k_round_numbers,
    .widen = k_widen,
    .draw = k_draw,
    .round_stochastic = k_round_stochastic,
    .copy_rows = k_copy_rows,
    .add = k_add,
    .scale = k_scale,
    .sum_of_squares = k_sum_of_squares,
    .all_finite = k_all_finite,
    .adamw = k_adamw,
    .rms_norm = k_rms_norm,
    .rms_norm_backward = k_rms_norm_backward,
    .layer_norm = k_layer_norm,
    .layer_norm_backward = k_layer_norm_backward,
    .norm_weight_sum = k_norm_weight_sum,
    .column_sum = k_column_sum,
    .activate = k_activate,
    .activate_backward = k_activate_backward,
    .rotate = k_rotate,
    .softmax = k_softmax,
    .softmax_columns = k_softmax_columns,
    .spread_columns = k_spread_columns,
    .attend_pages = k_attend_pages,
    .divide = k_divide,
    .dot = k_dot,
    .softmax_backward = k_softmax_backward,
    .head_part = k_head_part,
    .head_slope = k_head_slope,
    .exp_scaled = k_exp_scaled,
    .sampling_weights = k_sampling_weights,
    .exp = k_exp,
    .log = k_log,
    .tanh = k_tanh,
    .erf = k_erf,
};
