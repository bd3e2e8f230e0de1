/* The promise: what the decoder computes token by token has the bits of scoring and of training, whatever stands in the
 * batch, for any number of threads, instruction set and with or without BLIS. */
#include "models.h"
#include "pace.h"

static const struct {
    int32_t threads, use_blis;
    uint32_t cpu_mask;
} machines[] = {
    {1, 1, UINT32_MAX}, {2, 1, UINT32_MAX}, {3, 0, UINT32_MAX}, {1, 0, 0}, {2, 1, RLHF_CPU_AVX2}, {2, 0, 0},
    {2, 0, RLHF_CPU_AVX2 | RLHF_CPU_AVX512},
};
enum { MACHINES = sizeof machines / sizeof machines[0] };

/* Log-probabilities (temperature 1/0.7) and entropies of every response token of a row, by the decoder: the prompt at
 * once, then token by token. Rows join in steps, so that old and new ones share calls, and leave when they are done. */
static void decode_rows(rlhfi_model *model, const struct rows *rows, int64_t slots, float *log_prob, float *entropy)
{
    int64_t vocabulary = model->architecture.vocabulary, next_row = 0, running = 0, longest = 1;
    int64_t row_of[MOST_ROWS], at[MOST_ROWS]; /* by slot: row or -1, tokens given so far */
    rlhfi_cache *cache;

    for (int64_t r = 0; r < rows->view.rows; r++)
        if (rows->offset[r + 1] - rows->offset[r] > longest)
            longest = rows->offset[r + 1] - rows->offset[r];
    check_ok(model->context, rlhfi_cache_create(&cache, model, slots, longest), "cache");
    for (int64_t s = 0; s < slots; s++)
        row_of[s] = -1;
    for (;;) {
        int64_t slot[MOST_ROWS], offset[MOST_ROWS + 1] = {0}, count = 0;
        int32_t token[MOST_TOKENS];
        float *logits;
        /* Two rows may join per step. */
        for (int64_t s = 0, joined = 0; s < slots && joined < 2 && next_row < rows->view.rows; s++)
            if (row_of[s] < 0) {
                rlhfi_cache_clear(cache, s);
                row_of[s] = next_row++;
                at[s] = 0;
                running++;
                joined++;
            }
        if (running == 0)
            break;
        /* Slots in falling order: the order of a call must not matter either. */
        for (int64_t s = slots - 1; s >= 0; s--) {
            const int32_t *row;
            int64_t fresh;
            if (row_of[s] < 0)
                continue;
            row = rows->token + rows->offset[row_of[s]];
            fresh = at[s] == 0 ? rows->prompt_length[row_of[s]] : 1;
            slot[count] = s;
            memcpy(token + offset[count], row + at[s], (size_t)fresh * sizeof *token);
            offset[count + 1] = offset[count] + fresh;
            count++;
            at[s] += fresh;
        }
        check_ok(model->context, rlhfi_decode(model, cache, count, slot, offset, token, &logits), "decode");
        for (int64_t i = 0; i < count; i++) {
            int64_t s = slot[i], r = row_of[s], length = rows->offset[r + 1] - rows->offset[r];
            assert_int_equal(rlhfi_cache_length(cache, s), at[s]);
            if (at[s] < length) {
                int64_t where = rows->response_offset[r] + at[s] - rows->prompt_length[r];
                rlhfi_head_result result = {.log_prob = log_prob + where, .entropy = entropy + where};
                rlhfi_head_from_logits(model->context, 1, vocabulary, logits + i * vocabulary, vocabulary,
                                       &rows->token[rows->offset[r] + at[s]], 0.7f, &result);
            }
            if (at[s] + 1 >= length) {
                row_of[s] = -1;
                running--;
            }
        }
    }
    rlhfi_cache_release(&cache);
}

struct kept {
    float *log_prob, *entropy;
};

static rlhf_status keep(void *user_data, const rlhfi_train_arrays *arrays)
{
    struct kept *kept = user_data;

    memcpy(kept->log_prob, arrays->log_prob, (size_t)arrays->count * sizeof(float));
    memcpy(kept->entropy, arrays->entropy, (size_t)arrays->count * sizeof(float));
    return RLHF_OK;
}

static void check_same_bits(const rlhf_model_options *options)
{
    enum { ROWS = 36 };

    for (size_t c = 0; c < CONFIGS; c += options != NULL ? 2 : 1) {
        float *first = NULL, *first_entropy = NULL;
        for (size_t m = 0; m < MACHINES; m += (size_t)pace(7)) {
            rlhf_context *context = make_context(machines[m].threads, machines[m].cpu_mask, machines[m].use_blis);
            rlhfi_model *model = make_model_as(context, configs[c].json, RLHFI_HEAD_TOKENS, 7, options);
            struct rows *rows = random_rows(model, ROWS, 2, c == CONFIGS - 1 ? 12 : 30, 11);
            size_t bytes = (size_t)responses(rows) * sizeof(float);
            float *log_prob = malloc(bytes), *entropy = malloc(bytes);
            float *other = malloc(bytes), *other_entropy = malloc(bytes);
            rlhfi_token_stats stats = {.log_prob = log_prob, .entropy = entropy};
            struct kept kept = {other, other_entropy};
            check_ok(context, rlhfi_model_log_probs(model, &rows->view, 0.7f, &stats), configs[c].name);

            /* Another machine. */
            if (first == NULL) {
                first = malloc(bytes);
                first_entropy = malloc(bytes);
                memcpy(first, log_prob, bytes);
                memcpy(first_entropy, entropy, bytes);
            }
            assert_memory_equal(first, log_prob, bytes);
            assert_memory_equal(first_entropy, entropy, bytes);

            /* The forward pass of training. */
            check_ok(context, rlhfi_model_train(model, &rows->view, 0.7f, true, false, false, keep, &kept), "train");
            assert_memory_equal(log_prob, other, bytes);
            assert_memory_equal(entropy, other_entropy, bytes);

            /* Every row alone. */
            for (int64_t r = 0; r < ROWS; r += m == 0 ? pace(7) : 7) {
                struct rows *one = malloc(sizeof *one);
                float alone[MOST_TOKENS];
                int64_t begin = rows->response_offset[r], count = rows->response_offset[r + 1] - begin;
                rows_begin(one);
                rows_add(one, rows->token + rows->offset[r], rows->offset[r + 1] - rows->offset[r],
                         rows->prompt_length[r]);
                stats = (rlhfi_token_stats){.log_prob = alone};
                check_ok(context, rlhfi_model_log_probs(model, &one->view, 0.7f, &stats), "alone");
                if (count > 0)
                    assert_memory_equal(alone, log_prob + begin, (size_t)count * sizeof(float));
                free(one);
            }

            /* The decoder, one row at a time and many side by side. */
            for (int64_t slots = m == 0 ? pace(5) : 5; slots <= ROWS; slots += ROWS - 5) {
                memset(other, 0, bytes);
                memset(other_entropy, 0, bytes);
                decode_rows(model, rows, slots, other, other_entropy);
                assert_memory_equal(log_prob, other, bytes);
                assert_memory_equal(entropy, other_entropy, bytes);
            }
            free(log_prob);
            free(entropy);
            free(other);
            free(other_entropy);
            free(rows);
            rlhfi_model_release(&model);
            rlhf_context_release(&context);
        }
        free(first);
        free(first_entropy);
    }
}

static void test_same_bits(void **state)
{
    (void)state;
    check_same_bits(NULL);
}

static void test_same_bits_bf16(void **state)
{
    const rlhf_model_options compute = model_formats(RLHF_BFLOAT16, RLHF_FLOAT32);
    const rlhf_model_options weights = model_formats(RLHF_BFLOAT16, RLHF_BFLOAT16);

    (void)state;
    check_same_bits(&compute);
    check_same_bits(&weights);
}

/* Long rows: chains over more than 256 keys, caches that grow, prompts over several groups. */
static void test_long_rows(void **state)
{
    rlhf_context *context = make_context(2, UINT32_MAX, 1);

    (void)state;
    for (size_t c = 2; c < CONFIGS; c++) {
        rlhfi_model *model = make_model(context, configs[c].json, RLHFI_HEAD_TOKENS, 8);
        struct rows *rows = random_rows(model, 5, 280, 300, 12);
        size_t bytes = (size_t)responses(rows) * sizeof(float);
        float *log_prob = malloc(bytes), *entropy = malloc(bytes);
        float *other = malloc(bytes), *other_entropy = malloc(bytes);
        rlhfi_token_stats stats = {.log_prob = log_prob, .entropy = entropy};
        check_ok(context, rlhfi_model_log_probs(model, &rows->view, 0.7f, &stats), configs[c].name);
        decode_rows(model, rows, 3, other, other_entropy);
        assert_memory_equal(log_prob, other, bytes);
        assert_memory_equal(entropy, other_entropy, bytes);
        free(log_prob);
        free(entropy);
        free(other);
        free(other_entropy);
        free(rows);
        rlhfi_model_release(&model);
    }
    rlhf_context_release(&context);
}

static void check_logits(const float *a, const float *b, int64_t count)
{
    assert_memory_equal(a, b, (size_t)count * sizeof *a);
}

/* A prompt computed once and copied to its samples. */
static void test_copied_prompt(void **state)
{
    static const int32_t prompt[] = {3, 1, 4, 1, 5, 9, 2, 6}, next[] = {11, 12, 13};
    static const int64_t zero[] = {0}, three[] = {0, 1, 2}, prompt_offset[] = {0, 8}, next_offset[] = {0, 1, 2, 3};
    static const int64_t short_offset[] = {0, 4}, one_offset[] = {0, 1};
    rlhf_context *context = make_context(2, UINT32_MAX, 1);
    rlhfi_model *model = make_model(context, llama_config, RLHFI_HEAD_TOKENS, 9);
    int64_t vocabulary = model->architecture.vocabulary;
    float *logits, *kept = malloc((size_t)vocabulary * sizeof *kept);
    rlhfi_cache *cache;

    (void)state;
    check_ok(context, rlhfi_cache_create(&cache, model, 3, 40), "cache");
    check_ok(context, rlhfi_decode(model, cache, 1, zero, prompt_offset, prompt, &logits), "prompt");
    check_ok(context, rlhfi_cache_copy(cache, 0, 1, 8), "copy");
    check_ok(context, rlhfi_cache_copy(cache, 0, 2, 8), "copy");
    assert_int_equal(rlhfi_cache_length(cache, 2), 8);
    check_ok(context, rlhfi_decode(model, cache, 3, three, next_offset, next, &logits), "samples");
    memcpy(kept, logits + 2 * vocabulary, (size_t)vocabulary * sizeof *kept);
    /* Sample 2 from the beginning. */
    rlhfi_cache_clear(cache, 0);
    check_ok(context, rlhfi_decode(model, cache, 1, zero, prompt_offset, prompt, &logits), "prompt");
    check_ok(context, rlhfi_decode(model, cache, 1, zero, one_offset, next + 2, &logits), "token");
    check_logits(kept, logits, vocabulary);
    /* Back to a prefix: what stood behind it is forgotten. */
    check_ok(context, rlhfi_cache_copy(cache, 0, 0, 4), "cut");
    check_ok(context, rlhfi_decode(model, cache, 1, zero, short_offset, prompt + 4, &logits), "rest");
    check_ok(context, rlhfi_decode(model, cache, 1, zero, one_offset, next + 2, &logits), "token");
    check_logits(kept, logits, vocabulary);
    rlhfi_cache_release(&cache);
    free(kept);
    rlhfi_model_release(&model);
    rlhf_context_release(&context);
}

/* Samples of a prompt that ends inside a page write behind it without seeing each other; the prompt stays as it was. */
static void test_shared_pages(void **state)
{
    enum { PROMPT = 45, SAMPLES = 3, NEW = 24 };
    rlhf_context *context = make_context(2, UINT32_MAX, 1);
    rlhfi_model *model = make_model(context, llama_config, RLHFI_HEAD_TOKENS, 9);
    int64_t vocabulary = model->architecture.vocabulary, slot[SAMPLES + 1], offset[SAMPLES + 2], whole[] = {0, 0};
    int32_t row[SAMPLES + 1][PROMPT + NEW], token[SAMPLES + 1];
    float *logits, *kept = malloc((size_t)((SAMPLES + 1) * vocabulary) * sizeof *kept);
    rlhfi_cache *cache;

    (void)state;
    for (int s = 0; s <= SAMPLES; s++)
        for (int i = 0; i < PROMPT + NEW; i++)
            row[s][i] = (i * 7 + (i < PROMPT ? 0 : 5 * s)) % (int32_t)vocabulary;
    check_ok(context, rlhfi_cache_create(&cache, model, SAMPLES + 2, PROMPT + NEW), "cache");
    for (int s = 0; s <= SAMPLES; s++) {
        slot[s] = s;
        offset[s + 1] = s + 1;
    }
    offset[0] = 0;
    whole[1] = PROMPT;
    check_ok(context, rlhfi_decode(model, cache, 1, slot, whole, row[0], &logits), "prompt");
    for (int s = 1; s <= SAMPLES; s++)
        check_ok(context, rlhfi_cache_copy(cache, 0, s, PROMPT), "share");
    for (int t = 0; t < NEW; t++) {
        for (int s = 0; s <= SAMPLES; s++)
            token[s] = row[s][PROMPT + t];
        check_ok(context, rlhfi_decode(model, cache, SAMPLES + 1, slot, offset, token, &logits), "samples");
    }
    memcpy(kept, logits, (size_t)((SAMPLES + 1) * vocabulary) * sizeof *kept);
    whole[1] = PROMPT + NEW;
    for (int64_t s = 0, last = SAMPLES + 1; s <= SAMPLES; s++) {
        rlhfi_cache_clear(cache, last);
        check_ok(context, rlhfi_decode(model, cache, 1, &last, whole, row[s], &logits), "whole");
        check_logits(kept + s * vocabulary, logits, vocabulary);
    }
    rlhfi_cache_release(&cache);
    free(kept);
    rlhfi_model_release(&model);
    rlhf_context_release(&context);
}

/* After the weights have moved, the decoder must not use the old ones. */
static void test_changed_weights(void **state)
{
    static const int32_t prompt[] = {3, 1, 4};
    static const int64_t slot[] = {0}, offset[] = {0, 3};
    rlhf_context *context = make_context(2, UINT32_MAX, 1);

    (void)state;
    for (size_t c = 0; c < CONFIGS; c++) {
        rlhfi_model *model = make_model(context, configs[c].json, RLHFI_HEAD_TOKENS, 10), *moved;
        int64_t vocabulary = model->architecture.vocabulary;
        float *logits, *before = malloc((size_t)vocabulary * sizeof *before);
        rlhfi_cache *cache;
        check_ok(context, rlhfi_cache_create(&cache, model, 1, 8), "cache");
        check_ok(context, rlhfi_decode(model, cache, 1, slot, offset, prompt, &logits), "decode");
        memcpy(before, logits, (size_t)vocabulary * sizeof *before);
        check_ok(context, rlhfi_model_writable(model), "writable");
        for (int64_t i = 0; i < model->weights->count; i++)
            model->weights->data[i] *= 1.01f;
        check_ok(context, rlhfi_model_share(&moved, model), "share"); /* has no panels yet */
        rlhfi_cache_clear(cache, 0);
        check_ok(context, rlhfi_decode(model, cache, 1, slot, offset, prompt, &logits), "decode");
        assert_memory_not_equal(before, logits, (size_t)vocabulary * sizeof *before);
        memcpy(before, logits, (size_t)vocabulary * sizeof *before);
        rlhfi_cache_clear(cache, 0);
        check_ok(context, rlhfi_decode(moved, cache, 1, slot, offset, prompt, &logits), "decode");
        check_logits(before, logits, vocabulary);
        rlhfi_cache_release(&cache);
        rlhfi_model_release(&model);
        rlhfi_model_release(&moved);
        free(before);
    }
    rlhf_context_release(&context);
}

static void test_refusals(void **state)
{
    static const int32_t token[] = {1, 2, 3}, bad[] = {1, 67, 2}, negative[] = {-1};
    static const int64_t same[] = {1, 1}, two[] = {0, 1}, outside[] = {0, 2}, offset[] = {0, 1, 2}, empty[] = {0, 1, 1};
    static const int64_t three[] = {0, 3}, one[] = {0, 1};
    rlhf_context *context = make_context(1, UINT32_MAX, 1);
    rlhfi_model *model = make_model(context, llama_config, RLHFI_HEAD_TOKENS, 9);
    rlhfi_model *scalar = make_model(context, llama_config, RLHFI_HEAD_SCALAR, 9);
    rlhfi_cache *cache;
    float *logits = (float *)1;

    (void)state;
    check_ok(context, rlhfi_cache_create(&cache, model, 2, 2), "cache");
    assert_int_equal(rlhfi_decode(model, cache, 2, same, offset, token, &logits), RLHF_E_INVAL);
    assert_null(logits);
    assert_int_equal(rlhfi_decode(model, cache, 2, outside, offset, token, &logits), RLHF_E_INVAL);
    assert_int_equal(rlhfi_decode(model, cache, 2, two, empty, token, &logits), RLHF_E_INVAL);
    assert_int_equal(rlhfi_decode(model, cache, 1, two, three, token, &logits), RLHF_E_RANGE); /* too long */
    assert_int_equal(rlhfi_decode(model, cache, 1, two, one, negative, &logits), RLHF_E_RANGE);
    assert_int_equal(rlhfi_decode(model, cache, 2, two, offset, bad, &logits), RLHF_E_RANGE);
    assert_int_equal(rlhfi_decode(scalar, cache, 2, two, offset, token, &logits), RLHF_E_INVAL);
    assert_int_equal(rlhfi_cache_copy(cache, 0, 1, 1), RLHF_E_INVAL); /* nothing stands there */
    assert_int_equal(rlhfi_cache_copy(cache, 0, 2, 0), RLHF_E_INVAL);
    /* None of it has left a trace. */
    assert_int_equal(rlhfi_cache_length(cache, 0), 0);
    check_ok(context, rlhfi_decode(model, cache, 2, two, offset, token, &logits), "decode");
    assert_int_equal(rlhfi_cache_length(cache, 1), 1);
    rlhfi_cache_release(&cache);
    rlhfi_cache_release(&cache);
    rlhfi_model_release(&model);
    rlhfi_model_release(&scalar);
    rlhf_context_release(&context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bits),       cmocka_unit_test(test_same_bits_bf16), cmocka_unit_test(test_long_rows),
        cmocka_unit_test(test_copied_prompt),   cmocka_unit_test(test_shared_pages),
        cmocka_unit_test(test_changed_weights), cmocka_unit_test(test_refusals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
