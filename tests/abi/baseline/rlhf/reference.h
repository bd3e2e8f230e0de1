/* Reference: a frozen language model, what the KL leash holds on to. A type of its own, so that training it by mistake
 * does not compile. */
#ifndef RLHF_REFERENCE_H
#define RLHF_REFERENCE_H

#include "model_options.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Freezes a policy as it is now. The weights are shared; whichever side changes first gets its own copy.
 *  owner *out is yours    null INVAL    errors NOMEM    threads the context's    since 0.1 */
RLHF_API rlhf_status rlhf_reference_freeze(rlhf_reference **out, const rlhf_policy *policy);

/** Loads a reference from a Hugging Face directory.  owner, null, errors, threads as rlhf_policy_load    since 0.1 */
RLHF_API rlhf_status rlhf_reference_load(rlhf_reference **out, rlhf_context *context, const char *directory,
                                         const rlhf_model_options *options);

/** Gives up a reference.
 *  owner *reference becomes NULL    null fine    errors none    threads the context's    since 0.1 */
RLHF_API void rlhf_reference_release(rlhf_reference **reference);

/** Computes log-probabilities as rlhf_policy_log_probs does: for equal weights, equal bits.
 *  owner, null, errors, threads as rlhf_policy_log_probs    since 0.1 */
RLHF_API rlhf_status rlhf_reference_log_probs(rlhf_reference *reference, const rlhf_batch *batch, double temperature,
                                              float *log_prob);

/** Writes the SHA-256 of all weights as rlhf_policy_hash.  owner yours    null INVAL    errors INVAL
 *  threads the context's    since 0.1 */
RLHF_API rlhf_status rlhf_reference_hash(const rlhf_reference *reference, char hex[65]);

#ifdef __cplusplus
}
#endif
#endif
