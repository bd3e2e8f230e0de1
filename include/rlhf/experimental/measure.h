/* Measuring: how fast a context does the work that everything else is made of. For programs that report speed; nothing
 * in the library reads these numbers. Experimental: names and arguments may change between minor versions. */
#ifndef RLHF_EXPERIMENTAL_MEASURE_H
#define RLHF_EXPERIMENTAL_MEASURE_H

#include "../model_options.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The dense products of a linear map with weights w. All matrices are row-major. */
enum {
    RLHF_PRODUCT_FORWARD = 0,         /* y[m,n] = x[m,k] w[n,k]^T */
    RLHF_PRODUCT_INPUT_GRADIENT = 1,  /* dx[m,n] = dy[m,k] w[k,n] */
    RLHF_PRODUCT_WEIGHT_GRADIENT = 2, /* dw[m,n] += dy[k,m]^T x[k,n] */
    RLHF_PRODUCT_DECODING = 3         /* as FORWARD, on weights packed for few rows */
};

/** Does one dense product of the library over and over, on arrays of its own, and writes the seconds of each time; a
 *  first time is not counted. It takes 2*m*n*k floating-point operations and, among others, n*k weights from memory.
 *  shapes   seconds [repeats]; m, n, k 1 to 2^24, no matrix above 2^31 elements; repeats 1 to 2^20
 *  units    seconds of wall clock    owner  your array    null  INVAL
 *  errors   RANGE, INVAL (kind), UNSUPPORTED (format: RLHF_FLOAT32 only), NOMEM    threads the context's
 *  since 0.1 */
RLHF_API rlhf_status rlhf_measure_product(rlhf_context *context, int32_t format, int32_t kind, int64_t m, int64_t n,
                                          int64_t k, int64_t repeats, double *seconds);

#ifdef __cplusplus
}
#endif
#endif
