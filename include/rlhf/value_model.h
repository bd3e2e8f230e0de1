/* Value model (critic): the expected return before each response token is chosen. */
#ifndef RLHF_VALUE_MODEL_H
#define RLHF_VALUE_MODEL_H

#include "model_options.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Makes a value model that starts from a reward model (its head and its normalisation included).
 *  owner *out is yours    null INVAL    errors NOMEM    threads the context's    since 0.1    source 2203.02155 */
RLHF_API rlhf_status rlhf_value_model_from_reward_model(rlhf_value_model **out, const rlhf_reward_model *model);

/** Makes a value model from a copy of a policy's trunk with a head of zeros.
 *  owner *out is yours    null INVAL    errors NOMEM    threads the context's    since 0.1    source 1909.08593 */
RLHF_API rlhf_status rlhf_value_model_from_policy(rlhf_value_model **out, const rlhf_policy *policy);

/** Makes a value model on the policy's own trunk: the policy gets a value head (parameter "v_head.summary.weight", the
 *  last one, zeros), which reads the same hidden states as its token head. One that it has already stays, and *out is
 *  one more handle on it. Log-probabilities and gradients of the policy keep their bits; gradients of values are added
 *  to the same gathered gradients, so one optimizer of the policy trains both, and a change of the weights is one of
 *  both. An optimizer of the policy made earlier does not know the head and refuses its next step. The trainer passes
 *  both heads in one forward and one backward pass. rlhf_policy_hash, rlhf_policy_save and a policy's clone's files
 *  leave the head out; rlhf_value_model_save and _hash speak of trunk and head as of a value model of its own.
 *  owner    *out is yours; it keeps the trunk alive, also behind the policy's release    null INVAL
 *  errors   NOMEM (the policy is as before), BUSY (in a callback of its training)    threads the context's    since 0.1
 *  source   1909.08593 */
RLHF_API rlhf_status rlhf_value_model_on_policy(rlhf_value_model **out, rlhf_policy *policy);

/** Loads a value model from the directory of a …ForSequenceClassification model.
 *  owner, null, errors, threads as rlhf_policy_load    since 0.1 */
RLHF_API rlhf_status rlhf_value_model_load(rlhf_value_model **out, rlhf_context *context, const char *directory,
                                           const rlhf_model_options *options);

/** Gives up a value model.
 *  owner *model becomes NULL    null fine    errors none    threads the context's    since 0.1 */
RLHF_API void rlhf_value_model_release(rlhf_value_model **model);

/** Writes a Hugging Face directory.  owner, null, errors, threads as rlhf_policy_save    since 0.1 */
RLHF_API rlhf_status rlhf_value_model_save(const rlhf_value_model *model, const char *directory);

/** Computes the value of every response token, read at the token before it.
 *  shapes value: one per response token    owner yours    null INVAL    errors RANGE, INVAL (prompt_length 0), NOMEM
 *  threads the context's    since 0.1 */
RLHF_API rlhf_status rlhf_value_model_values(rlhf_value_model *model, const rlhf_batch *batch, float *value);

/** Adds to the gathered gradients from d loss / d value.
 *  shapes one per response token    owner yours    null INVAL    errors as rlhf_value_model_values, NONFINITE
 *  threads the context's    since 0.1 */
RLHF_API rlhf_status rlhf_value_model_backward(rlhf_value_model *model, const rlhf_batch *batch, const float *d_value);

/** Computes log-probabilities, entropies and values in one pass of the trunk that policy and value model share.
 *  shapes   log_prob, value and, unless NULL, entropy: one per response token    units nats    owner your arrays
 *  null     model, batch, log_prob, value: INVAL
 *  errors   UNSUPPORTED (not made by rlhf_value_model_on_policy), as rlhf_policy_log_probs    threads the context's
 *  repeat   the bits of rlhf_policy_log_probs and rlhf_value_model_values    since 0.1 */
RLHF_API rlhf_status rlhf_value_model_joint(rlhf_value_model *model, const rlhf_batch *batch, double temperature,
                                            float *log_prob, float *entropy, float *value);

/** Adds to the gathered gradients from d loss / d log_prob, d entropy and d value together: one pass instead of two.
 *  shapes   one entry per response token; d_entropy may be NULL    owner your arrays
 *  null     model, batch, d_log_prob, d_value: INVAL    errors as rlhf_value_model_joint, NONFINITE
 *  threads  the context's    repeat equal bits for any threads    since 0.1 */
RLHF_API rlhf_status rlhf_value_model_joint_backward(rlhf_value_model *model, const rlhf_batch *batch,
                                                     double temperature, const float *d_log_prob,
                                                     const float *d_entropy, const float *d_value);

/** Writes the SHA-256 of all weights as rlhf_policy_hash.  owner yours    null INVAL    errors INVAL
 *  threads the context's    since 0.1 */
RLHF_API rlhf_status rlhf_value_model_hash(const rlhf_value_model *model, char hex[65]);

#ifdef __cplusplus
}
#endif
#endif
