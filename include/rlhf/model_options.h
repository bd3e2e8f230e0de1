/* What the four roles on a model have in common when they are made: number formats and memory. */
#ifndef RLHF_MODEL_OPTIONS_H
#define RLHF_MODEL_OPTIONS_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { RLHF_FLOAT32 = 0, RLHF_BFLOAT16 = 1 };

typedef struct rlhf_model_options {
    uint32_t struct_size;
    int32_t compute_format;        /* of the numbers that dense products multiply: RLHF_FLOAT32 (default) or
                                      RLHF_BFLOAT16; sums, norms, softmax and losses are float32 in either */
    int32_t weight_format;         /* of the weights in memory: RLHF_FLOAT32 (default); RLHF_BFLOAT16 halves them and
                                      needs compute_format RLHF_BFLOAT16; training then rounds stochastically */
    int32_t recompute_activations; /* 1: the backward pass computes each layer again instead of keeping its
                                      activations: less memory, a third more arithmetic, the same bits; default 0 */
    uint64_t memory_limit;         /* bytes that the model may need: weights, gradient, moments, activations, scratch;
                                      what would need more is refused with both numbers (NOMEM) before it is asked
                                      for. Default 0: no limit */
} rlhf_model_options;

/** Fills defaults.  owner -    null nothing happens    errors none    threads safe    since 0.1 */
RLHF_API void rlhf_model_options_init(rlhf_model_options *options, size_t size);

#ifdef __cplusplus
}
#endif
#endif
