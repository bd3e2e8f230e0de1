/* Speed of decoding at the shapes of the peers' benchmarks (random weights, prompts of 64 tokens or half the context):
 * processor time of one step of rlhfi_decode, best of several, and of a token of a whole rollout with its sampler; the
 * memory that the model and the cache take. Usage: bench_decode [threads, default 1] [shape, default all] [batch] */
#include "generation/generation.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct shape {
    const char *name;
    int32_t width, layers, heads, kv_heads, inner, vocabulary, positions, prompt, new_tokens;
    int32_t batch[4];
};

static const struct shape shapes[] = {
    {"tiny", 64, 5, 8, 4, 172, 512, 512, 64, 64, {1, 8, 64, 0}},
    {"small", 256, 6, 8, 4, 704, 4096, 1024, 64, 32, {1, 8, 64, 0}},
    {"smollm2", 576, 30, 9, 3, 1536, 49152, 2048, 64, 8, {1, 8, 32, 0}},
};

static struct {
    int64_t live, peak;
} memory;

static void *counted_alloc(void *user_data, size_t size, size_t alignment)
{
    void *pointer = aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);

    (void)user_data;
    if (pointer != NULL)
        memory.live += (int64_t)size;
    if (memory.live > memory.peak)
        memory.peak = memory.live;
    return pointer;
}

static void counted_free(void *user_data, void *pointer, size_t size)
{
    (void)user_data;
    memory.live -= (int64_t)size;
    free(pointer);
}

static double processor_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void check(const rlhf_context *context, rlhf_status status)
{
    char text[512];

    if (status == RLHF_OK)
        return;
    rlhf_context_error(context, text, sizeof text);
    fprintf(stderr, "bench_decode: %s\n", text);
    exit(1);
}

static rlhf_policy *make_policy(rlhf_context *context, const struct shape *shape)
{
    char text[512];
    rlhf_policy *policy;
    int length = snprintf(text, sizeof text,
                          "{\"model_type\":\"llama\",\"vocab_size\":%d,\"hidden_size\":%d,\"intermediate_size\":%d,"
                          "\"num_hidden_layers\":%d,\"num_attention_heads\":%d,\"num_key_value_heads\":%d,"
                          "\"max_position_embeddings\":%d,\"tie_word_embeddings\":true,\"rms_norm_eps\":1e-5,"
                          "\"hidden_act\":\"silu\",\"initializer_range\":0.02}",
                          shape->vocabulary, shape->width, shape->inner, shape->layers, shape->heads, shape->kv_heads,
                          shape->positions);

    check(context, rlhf_policy_create(&policy, context, text, (size_t)length, 1, NULL));
    return policy;
}

/* Milliseconds of a decode step at lengths from prompt on. */
static void bench_steps(rlhf_context *context, rlhf_policy *policy, const struct shape *shape, int32_t batch)
{
    int64_t *slot = malloc((size_t)batch * sizeof *slot), *offset = malloc(((size_t)batch + 1) * sizeof *offset);
    int32_t *tokens = malloc((size_t)batch * (size_t)shape->prompt * sizeof *tokens);
    double best = 1e9, best_wall = 1e9, prefill = 0;
    rlhfi_cache *cache;
    float *logits;

    check(context, rlhfi_cache_create(&cache, policy->model, batch, shape->prompt + 2 * shape->new_tokens));
    for (int32_t i = 0; i <= batch; i++)
        offset[i] = (int64_t)i * shape->prompt;
    for (int32_t i = 0; i < batch * shape->prompt; i++)
        tokens[i] = (int32_t)((uint32_t)i * 2654435761u % (uint32_t)shape->vocabulary);
    for (int32_t i = 0; i < batch; i++)
        slot[i] = i;
    for (int32_t t = -1; t < 2 * shape->new_tokens; t++) {
        double start = processor_seconds(), wall = rlhfi_seconds();
        check(context, rlhfi_decode(policy->model, cache, batch, slot, offset, tokens, &logits));
        start = processor_seconds() - start;
        wall = rlhfi_seconds() - wall;
        if (t < 0)
            prefill = start;
        else if (start < best)
            best = start;
        if (t >= 0 && wall < best_wall)
            best_wall = wall;
        for (int32_t i = 0; i <= batch; i++)
            offset[i] = i;
    }
    rlhfi_cache_release(&cache);
    printf("%-8s B=%-3d step %8.3f ms processor %8.3f ms wall, prefill %8.2f ms", shape->name, batch, 1e3 * best,
           1e3 * best_wall, 1e3 * prefill);
    free(slot);
    free(offset);
    free(tokens);
}

static void bench_rollout(rlhf_context *context, rlhf_policy *policy, const struct shape *shape, int32_t batch)
{
    rlhf_rollout_options options;
    rlhf_batch *prompts;
    double best = 1e9, best_wall = 1e9;
    int32_t rows = batch, *length = malloc((size_t)rows * sizeof *length);
    int32_t *tokens = malloc((size_t)rows * (size_t)shape->prompt * sizeof *tokens);
    int64_t *offset = malloc(((size_t)rows + 1) * sizeof *offset);

    for (int32_t i = 0; i < rows * shape->prompt; i++)
        tokens[i] = (int32_t)((uint32_t)i * 2654435761u % (uint32_t)shape->vocabulary);
    for (int32_t i = 0; i <= rows; i++)
        offset[i] = (int64_t)i * shape->prompt;
    for (int32_t i = 0; i < rows; i++)
        length[i] = shape->prompt;
    check(context, rlhf_batch_create(&prompts, context, rows, offset, tokens, length));
    rlhf_rollout_options_init(&options, sizeof options);
    options.max_new_tokens = shape->new_tokens;
    options.ignore_stop = 1;
    options.batch_size = batch;
    for (int repeat = 0; repeat < 3; repeat++) {
        rlhf_rollout *rollout;
        double start = processor_seconds(), wall = rlhfi_seconds();
        check(context, rlhf_rollout_run(&rollout, policy, prompts, &options, NULL, NULL));
        start = processor_seconds() - start;
        wall = rlhfi_seconds() - wall;
        best = start < best ? start : best;
        best_wall = wall < best_wall ? wall : best_wall;
        rlhf_rollout_release(&rollout);
    }
    printf("; rollout %8.3f ms a step, %8.0f tokens/s (wall), peak %6.1f MB\n", 1e3 * best / shape->new_tokens,
           (double)rows * shape->new_tokens / best_wall, (double)memory.peak / 1e6);
    rlhf_batch_release(&prompts);
    free(length);
    free(tokens);
    free(offset);
}

int main(int argc, char **argv)
{
    rlhf_context_options options;
    rlhf_context *context;

    rlhf_context_options_init(&options, sizeof options);
    options.threads = argc > 1 ? atoi(argv[1]) : 1;
    options.allocator = (rlhf_allocator){counted_alloc, counted_free, NULL};
    if (rlhf_context_create(&context, &options) != RLHF_OK)
        return 1;
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        rlhf_policy *policy;
        if (argc > 2 && strcmp(argv[2], "all") != 0 && strcmp(argv[2], shapes[s].name) != 0)
            continue;
        memory.peak = memory.live;
        policy = make_policy(context, &shapes[s]);
        for (int i = 0; shapes[s].batch[i] > 0; i++) {
            if (argc > 3 && atoi(argv[3]) != shapes[s].batch[i])
                continue;
            bench_steps(context, policy, &shapes[s], shapes[s].batch[i]);
            bench_rollout(context, policy, &shapes[s], shapes[s].batch[i]);
        }
        rlhf_policy_release(&policy);
    }
    rlhf_context_release(&context);
    return 0;
}
