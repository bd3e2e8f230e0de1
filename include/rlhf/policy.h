/* Policy: the language model that is trained and sampled. */
#ifndef RLHF_POLICY_H
#define RLHF_POLICY_H

#include "model_options.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Loads a policy from a Hugging Face directory (config.json, model.safetensors or its shards).
 *  owner    *out is yours    null  INVAL
 *  errors   IO, FORMAT (tensor and fact named), UNSUPPORTED (architecture or setting named), NONFINITE (a weight),
 *           NOMEM; *out is NULL then    threads the context's    since 0.1    source  formats.md 1, 3 */
RLHF_API rlhf_status rlhf_policy_load(rlhf_policy **out, rlhf_context *context, const char *directory,
                                      const rlhf_model_options *options);

/** Makes a policy with random weights from the text of a config.json (model_type gpt2 or llama): matrices normal with
 *  deviation initializer_range, residual projections scaled by 1/sqrt(2*layers), gains 1, biases 0.
 *  owner *out is yours    null INVAL    errors FORMAT, UNSUPPORTED, NOMEM    threads the context's
 *  repeat   depends only on the config and seed    since 0.1 */
RLHF_API rlhf_status rlhf_policy_create(rlhf_policy **out, rlhf_context *context, const char *config_json, size_t bytes,
                                        uint64_t seed, const rlhf_model_options *options);

/** Makes a policy that starts with another's weights (shared until one side changes).
 *  owner *out is yours    null INVAL    errors NOMEM    threads the context's    since 0.1 */
RLHF_API rlhf_status rlhf_policy_clone(rlhf_policy **out, const rlhf_policy *policy);

/** Gives up a policy.  owner *policy becomes NULL    null fine    errors none    threads the context's    since 0.1 */
RLHF_API void rlhf_policy_release(rlhf_policy **policy);

/** Writes config.json, generation_config.json and model.safetensors into a directory (made if missing), as transformers
 *  reads them. Each file is old or new, never half.
 *  owner -    null INVAL    errors IO, NOMEM    threads the context's    since 0.1 */
RLHF_API rlhf_status rlhf_policy_save(const rlhf_policy *policy, const char *directory);

/** Computes log-probabilities of every response token, at temperature (logits are divided by it).
 *  shapes   log_prob and, unless NULL, entropy: one per response token of the batch
 *  units    nats    owner your arrays    null  policy, batch, log_prob: INVAL
 *  errors   RANGE (a token outside the vocabulary, a row over the model's positions, temperature <= 0), INVAL (a row
 *           of prompt_length 0: nothing stands before its first token, so that one cannot be predicted), NOMEM
 *  threads  the context's
 *  repeat   a row's bits depend on nothing but the row and the weights    since 0.1 */
RLHF_API rlhf_status rlhf_policy_log_probs(rlhf_policy *policy, const rlhf_batch *batch, double temperature,
                                           float *log_prob, float *entropy);

/** Adds to the policy's gathered gradients: recomputes the batch and propagates d loss / d log_prob (and d entropy).
 *  shapes   one entry per response token; d_entropy may be NULL
 *  owner your arrays    null policy, batch, d_log_prob: INVAL    errors as rlhf_policy_log_probs, NONFINITE
 *  threads the context's    repeat equal bits for any threads    since 0.1 */
RLHF_API rlhf_status rlhf_policy_backward(rlhf_policy *policy, const rlhf_batch *batch, double temperature,
                                          const float *d_log_prob, const float *d_entropy);

/** Returns the number of token ids that the model knows.
 *  owner -    null 0    errors none    threads safe    since 0.1 */
RLHF_API int64_t rlhf_policy_vocabulary(const rlhf_policy *policy);

/** Returns the longest sequence the model can take, in tokens.
 *  owner -    null 0    errors none    threads safe    since 0.1 */
RLHF_API int64_t rlhf_policy_positions(const rlhf_policy *policy);

/** Returns how many parameters (tensors) there are.  owner -    null 0    errors none    threads safe    since 0.1 */
RLHF_API int64_t rlhf_policy_parameter_count(const rlhf_policy *policy);

typedef struct rlhf_parameter_view {
    uint32_t struct_size;
    int32_t rank;
    const char *name;      /* as in the checkpoint */
    const int64_t *shape;  /* [rank] */
    const float *data;     /* row-major */
    const float *gradient; /* gathered gradient, NULL before the first backward call */
    int64_t elements;
} rlhf_parameter_view;

/** Fills *view (set view->struct_size) with parameter number index.
 *  owner    borrowed until the next call that changes or releases the policy    null INVAL
 *  errors   RANGE, UNSUPPORTED (the weights are bfloat16: there are no floats)
 *  threads  the context's    since 0.1 */
RLHF_API rlhf_status rlhf_policy_parameter(const rlhf_policy *policy, int64_t index, rlhf_parameter_view *view);

/** Writes the SHA-256 of all weights (names, shapes and bytes, in checkpoint order) as 64 hexadecimal digits and NUL.
 *  owner yours    null INVAL    errors INVAL    threads the context's    since 0.1 */
RLHF_API rlhf_status rlhf_policy_hash(const rlhf_policy *policy, char hex[65]);

/** Describes the model in one line: architecture, layers, width, heads, vocabulary, parameters.
 *  owner copies    null 0    errors none; returns the bytes needed    threads the context's    since 0.1 */
RLHF_API size_t rlhf_policy_describe(const rlhf_policy *policy, char *buffer, size_t capacity);

#ifdef __cplusplus
}
#endif
#endif
