/* Reward model: one score per finished sequence, read at its last token. */
#ifndef RLHF_REWARD_MODEL_H
#define RLHF_REWARD_MODEL_H

#include "model_options.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Loads a reward model from a Hugging Face directory (…ForSequenceClassification, num_labels 1, score.weight).
 *  owner, null, errors, threads as rlhf_policy_load    since 0.1 */
RLHF_API rlhf_status rlhf_reward_model_load(rlhf_reward_model **out, rlhf_context *context, const char *directory,
                                            const rlhf_model_options *options);

/** Makes a reward model from a copy of a policy's trunk with a fresh head, weights N(0, 1/(d+1)) from seed, no bias.
 *  owner *out is yours    null INVAL    errors NOMEM    threads the context's    since 0.1    source 1909.08593 */
RLHF_API rlhf_status rlhf_reward_model_from_policy(rlhf_reward_model **out, const rlhf_policy *policy, uint64_t seed);

/** Gives up a reward model.
 *  owner *model becomes NULL    null fine    errors none    threads the context's    since 0.1 */
RLHF_API void rlhf_reward_model_release(rlhf_reward_model **model);

/** Writes a Hugging Face directory that transformers reads back with equal scores. The normalisation of
 *  rlhf_reward_model_set_normalisation goes into config.json as "rlhf_score_gain" and "rlhf_score_bias".
 *  owner, null, errors, threads as rlhf_policy_save    since 0.1 */
RLHF_API rlhf_status rlhf_reward_model_save(const rlhf_reward_model *model, const char *directory);

/** Scores each row of a batch at its last token: gain * raw + bias.
 *  shapes score [rows]    owner yours    null INVAL    errors RANGE (token, length, empty row), NOMEM
 *  threads the context's    repeat a row's bits depend on nothing but the row and the weights    since 0.1 */
RLHF_API rlhf_status rlhf_reward_model_score(rlhf_reward_model *model, const rlhf_batch *batch, float *score);

/** Adds to the gathered gradients from d loss / d raw score.
 *  shapes d_score [rows]    owner yours    null INVAL    errors as rlhf_reward_model_score, NONFINITE
 *  threads the context's    since 0.1 */
RLHF_API rlhf_status rlhf_reward_model_backward(rlhf_reward_model *model, const rlhf_batch *batch,
                                                const float *d_score);

/** Sets the affine map of scores (1, 0 = none).  owner -    null INVAL    errors INVAL (not finite, gain 0)
 *  threads the context's    since 0.1    source 1909.08593 (scores of mean 0 and deviation 1) */
RLHF_API rlhf_status rlhf_reward_model_set_normalisation(rlhf_reward_model *model, double gain, double bias);

/** Reads the affine map of scores.  owner -    null INVAL    errors INVAL    threads the context's    since 0.1 */
RLHF_API rlhf_status rlhf_reward_model_normalisation(const rlhf_reward_model *model, double *gain, double *bias);

/** Writes the SHA-256 of all weights as rlhf_policy_hash.  owner yours    null INVAL    errors INVAL
 *  threads the context's    since 0.1 */
RLHF_API rlhf_status rlhf_reward_model_hash(const rlhf_reward_model *model, char hex[65]);

/** Returns the longest sequence the model can score, in tokens.  owner -    null 0    errors none    threads safe
 *  since 0.1 */
RLHF_API int64_t rlhf_reward_model_positions(const rlhf_reward_model *model);

/** Describes the model in one line.  owner copies    null 0    errors none; returns the bytes needed
 *  threads the context's    since 0.1 */
RLHF_API size_t rlhf_reward_model_describe(const rlhf_reward_model *model, char *buffer, size_t capacity);

#ifdef __cplusplus
}
#endif
#endif
