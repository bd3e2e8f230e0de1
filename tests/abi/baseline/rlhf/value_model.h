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

/** Writes the SHA-256 of all weights as rlhf_policy_hash.  owner yours    null INVAL    errors INVAL
 *  threads the context's    since 0.1 */
RLHF_API rlhf_status rlhf_value_model_hash(const rlhf_value_model *model, char hex[65]);

#ifdef __cplusplus
}
#endif
#endif
