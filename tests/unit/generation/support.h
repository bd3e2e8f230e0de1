/* Shared by the tests of this room: contexts of every kind, tiny random models, prompts. */
#ifndef GENERATION_TEST_SUPPORT_H
#define GENERATION_TEST_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "generation/generation.h"

#define CHECK(expression) assert_int_equal((expression), RLHF_OK)

/* ---- contexts ---------------------------------------------------------------------------------------------------- */

struct counter {
    int64_t calls, live;
    int64_t fail_at; /* this call and all later ones return NULL; 0 = none */
};

static inline void *counter_alloc(void *user_data, size_t size, size_t alignment)
{
    struct counter *counter = user_data;
    int64_t call = __atomic_add_fetch(&counter->calls, 1, __ATOMIC_RELAXED);
    void *pointer;

    if (counter->fail_at > 0 && call >= counter->fail_at)
        return NULL;
    pointer = aligned_alloc(alignment, size);
    assert_non_null(pointer);
    memset(pointer, 0xA5, size); /* nobody may rely on zeros */
    __atomic_add_fetch(&counter->live, 1, __ATOMIC_RELAXED);
    return pointer;
}

static inline void counter_free(void *user_data, void *pointer, size_t size)
{
    struct counter *counter = user_data;

    __atomic_sub_fetch(&counter->live, 1, __ATOMIC_RELAXED);
    memset(pointer, 0x5A, size);
    free(pointer);
}

static inline rlhf_context *make_context(int32_t threads, uint32_t cpu_mask, struct counter *counter)
{
    rlhf_context_options options;
    rlhf_context *context;

    rlhf_context_options_init(&options, sizeof options);
    options.threads = threads;
    options.cpu_mask = cpu_mask;
    if (counter != NULL)
        options.allocator = (rlhf_allocator){counter_alloc, counter_free, counter};
    CHECK(rlhf_context_create(&context, &options));
    return context;
}

static inline void assert_error(const rlhf_context *context, const char *part)
{
    char text[512];

    rlhf_context_error(context, text, sizeof text);
    if (strstr(text, part) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", text, part);
}

/* ---- models and prompts ------------------------------------------------------------------------------------------ */

enum { GPT2, LLAMA, MODELS };

static const char *const model_config[MODELS] = {
    "{\"model_type\":\"gpt2\",\"vocab_size\":61,\"n_positions\":48,\"n_embd\":32,\"n_layer\":2,\"n_head\":4,"
    "\"initializer_range\":0.4,\"eos_token_id\":3,\"bos_token_id\":0}",
    "{\"model_type\":\"llama\",\"vocab_size\":97,\"hidden_size\":32,\"intermediate_size\":56,\"num_hidden_layers\":2,"
    "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"max_position_embeddings\":64,\"rms_norm_eps\":1e-5,"
    "\"hidden_act\":\"silu\",\"tie_word_embeddings\":false,\"initializer_range\":0.4,\"eos_token_id\":[2,5],"
    "\"bos_token_id\":1}",
};

static inline rlhf_policy *make_policy(rlhf_context *context, int kind)
{
    rlhf_policy *policy;

    CHECK(rlhf_policy_create(&policy, context, model_config[kind], strlen(model_config[kind]), 7, NULL));
    return policy;
}

/* Prompts of lengths 1, 2, ..., longest, 1, 2, ...: different tokens everywhere. */
static inline rlhf_batch *make_prompts(rlhf_context *context, int64_t rows, int64_t longest, int64_t vocabulary)
{
    int64_t *offset = calloc((size_t)rows + 1, sizeof *offset);
    int32_t *tokens = calloc((size_t)(rows * longest + 1), sizeof *tokens);
    int32_t *length = calloc((size_t)rows + 1, sizeof *length);
    rlhf_batch *batch;

    for (int64_t row = 0; row < rows; row++) {
        length[row] = (int32_t)(row % longest + 1);
        offset[row + 1] = offset[row] + length[row];
        for (int64_t t = 0; t < length[row]; t++)
            tokens[offset[row] + t] = (int32_t)((31 * row + 17 * t + 11) % vocabulary);
    }
    CHECK(rlhf_batch_create(&batch, context, rows, offset, tokens, length));
    free(offset);
    free(tokens);
    free(length);
    return batch;
}

static inline rlhf_rollout_options options_of(int32_t max_new_tokens, int32_t samples)
{
    rlhf_rollout_options options;

    rlhf_rollout_options_init(&options, sizeof options);
    options.max_new_tokens = max_new_tokens;
    options.samples_per_prompt = samples;
    options.seed = 42;
    return options;
}

static inline rlhf_rollout *roll(rlhf_policy *policy, const rlhf_batch *prompts, const rlhf_rollout_options *options)
{
    rlhf_rollout *rollout;

    CHECK(rlhf_rollout_run(&rollout, policy, prompts, options, NULL, NULL));
    return rollout;
}

static inline rlhf_rollout_view view_of(const rlhf_rollout *rollout)
{
    rlhf_rollout_view view = {.struct_size = sizeof view};

    CHECK(rlhf_rollout_get(rollout, &view));
    return view;
}

/* Row a of one rollout and row b of another must be equal, log-probabilities bit for bit. */
static inline void assert_rows_equal(const rlhf_rollout_view *one, int64_t a, const rlhf_rollout_view *other, int64_t b)
{
    int64_t length = one->offset[a + 1] - one->offset[a];
    int64_t responses = one->response_offset[a + 1] - one->response_offset[a];

    assert_int_equal(length, other->offset[b + 1] - other->offset[b]);
    assert_int_equal(responses, other->response_offset[b + 1] - other->response_offset[b]);
    assert_int_equal(one->prompt_length[a], other->prompt_length[b]);
    assert_int_equal(one->terminated[a], other->terminated[b]);
    assert_memory_equal(one->tokens + one->offset[a], other->tokens + other->offset[b],
                        (size_t)length * sizeof *one->tokens);
    assert_memory_equal(one->log_prob + one->response_offset[a], other->log_prob + other->response_offset[b],
                        (size_t)responses * sizeof *one->log_prob);
}

static inline void assert_rollouts_equal(const rlhf_rollout *a, const rlhf_rollout *b)
{
    rlhf_rollout_view one = view_of(a), other = view_of(b);

    assert_int_equal(one.rows, other.rows);
    for (int64_t row = 0; row < one.rows; row++)
        assert_rows_equal(&one, row, &other, row);
}

#endif
