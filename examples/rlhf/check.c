/* check ratio: the promise that everything else rests on, on the user's own model. */
#include "program.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct setting {
    int32_t threads, batch, blis;
    uint32_t mask;
} setting;

/* Samples with one setting, recomputes with the same; *difference is the largest |sampled - recomputed|. The tokens of
 * every setting must be the same too: *tokens keeps a copy of the first. */
static int check_setting(program *program, const char *model, const char *data, const setting *setting, uint64_t seed,
                         double *difference, double *kl, int64_t *count, int32_t **tokens, int64_t *token_count)
{
    rlhf_context *context = NULL;
    rlhf_policy *policy = NULL;
    rlhf_reference *reference = NULL;
    rlhf_tokenizer *tokenizer = NULL;
    rlhf_dataset *prompts = NULL;
    rlhf_batch *batch = NULL, *sampled = NULL;
    rlhf_rollout *rollout = NULL;
    float *again = NULL, *frozen = NULL;
    rlhf_rollout_view view = {.struct_size = sizeof view};
    rlhf_context_options options;
    rlhf_context_options_init(&options, sizeof options);
    options.threads = setting->threads;
    options.cpu_mask = setting->mask;
    options.use_blis = setting->blis;
    rlhf_status status = rlhf_context_create(&context, &options);
    if (status == RLHF_OK)
        status = rlhf_policy_load(&policy, context, model, &program->formats);
    if (status == RLHF_OK)
        status = rlhf_reference_freeze(&reference, policy);
    if (status == RLHF_OK && data != NULL) {
        status = rlhf_tokenizer_load(&tokenizer, context, model);
        rlhf_dataset_options dataset_options;
        rlhf_dataset_options_init(&dataset_options, sizeof dataset_options);
        dataset_options.max_rows = 64;
        if (status == RLHF_OK)
            status = rlhf_dataset_load(&prompts, context, data, &dataset_options);
        if (status == RLHF_OK)
            status =
                rlhf_batch_tokenize(&batch, tokenizer, prompts, 0, rlhf_dataset_rows(prompts), RLHF_TOKENIZE_SEPARATE);
    } else if (status == RLHF_OK) {
        /* 64 prompts of one to eight ids each: no tokenizer is needed. */
        int64_t offset[65] = {0};
        int32_t ids[64 * 8], length[64];
        int64_t vocabulary = rlhf_policy_vocabulary(policy);
        for (int r = 0; r < 64; r++) {
            length[r] = 1 + r % 8;
            offset[r + 1] = offset[r] + length[r];
            for (int t = 0; t < length[r]; t++)
                ids[offset[r] + t] = (int32_t)(((int64_t)r * 7919 + (int64_t)t * 104729 + 1) % vocabulary);
        }
        status = rlhf_batch_create(&batch, context, 64, offset, ids, length);
    }
    rlhf_rollout_options rollout_options;
    rlhf_rollout_options_init(&rollout_options, sizeof rollout_options);
    rollout_options.batch_size = setting->batch;
    rollout_options.max_new_tokens = 24;
    rollout_options.seed = seed;
    if (status == RLHF_OK)
        status = rlhf_rollout_run(&rollout, policy, batch, &rollout_options, NULL, NULL);
    if (status == RLHF_OK)
        status = rlhf_rollout_get(rollout, &view);
    if (status == RLHF_OK)
        status = rlhf_rollout_batch(rollout, &sampled);
    if (status == RLHF_OK) {
        *count = view.response_offset[view.rows];
        again = malloc(((size_t)*count + 1) * sizeof *again);
        frozen = malloc(((size_t)*count + 1) * sizeof *frozen);
        status =
            again != NULL && frozen != NULL ? rlhf_policy_log_probs(policy, sampled, 1.0, again, NULL) : RLHF_E_NOMEM;
    }
    if (status == RLHF_OK)
        status = rlhf_reference_log_probs(reference, sampled, 1.0, frozen);
    int result = EXIT_DONE;
    if (status == RLHF_OK) {
        for (int64_t t = 0; t < *count; t++) {
            *difference = fmax(*difference, fabs((double)view.log_prob[t] - (double)again[t]));
            *kl += fabs((double)again[t] - (double)frozen[t]);
        }
        int64_t all = view.offset[view.rows];
        if (*tokens == NULL) {
            *tokens = malloc((size_t)all * sizeof **tokens);
            *token_count = all;
            if (*tokens != NULL)
                memcpy(*tokens, view.tokens, (size_t)all * sizeof **tokens);
        } else if (*token_count != all || memcmp(*tokens, view.tokens, (size_t)all * sizeof **tokens) != 0) {
            *difference = INFINITY;
        }
    } else {
        char reason[600];
        if (rlhf_context_error(context, reason, sizeof reason) <= 1)
            snprintf(reason, sizeof reason, "%s", rlhf_status_name(status));
        fprintf(stderr, "rlhf: %s\n", reason);
        result = status == RLHF_E_CANCELED ? EXIT_INTERRUPTED : EXIT_FAILED;
    }
    free(again);
    free(frozen);
    rlhf_rollout_release(&rollout);
    rlhf_batch_release(&sampled);
    rlhf_batch_release(&batch);
    rlhf_dataset_release(&prompts);
    rlhf_tokenizer_release(&tokenizer);
    rlhf_reference_release(&reference);
    rlhf_policy_release(&policy);
    rlhf_context_release(&context);
    return result;
}

static int check_ratio(program *program, arguments *arguments)
{
    static const setting settings[] = {
        {1, 1, 1, UINT32_MAX},  {1, 64, 1, UINT32_MAX},    {2, 1, 1, UINT32_MAX},    {2, 64, 1, UINT32_MAX},
        {2, 64, 0, UINT32_MAX}, {1, 64, 1, RLHF_CPU_AVX2}, {2, 1, 1, RLHF_CPU_AVX2}, {2, 64, 1, 0},
    };
    const char *model = arguments_required(arguments, "model"), *data = arguments_text(arguments, "data", NULL);
    uint64_t seed = (uint64_t)arguments_integer(arguments, "seed", 0, 0, INT64_MAX);
    program->formats = arguments_formats(arguments);
    if (!arguments_finish(arguments))
        return EXIT_USAGE;
    int32_t *tokens = NULL;
    int64_t token_count = 0;
    bool exact = true;
    int result = EXIT_DONE;
    if (!program->quiet)
        puts("threads  batch  blis  instructions   tokens  max |sampled - recomputed|  |KL| to the reference");
    for (size_t i = 0; result == EXIT_DONE && i < sizeof settings / sizeof settings[0]; i++) {
        const setting *s = &settings[i];
        double difference = 0.0, kl = 0.0;
        int64_t count = 0;
        result = check_setting(program, model, data, s, seed, &difference, &kl, &count, &tokens, &token_count);
        if (result != EXIT_DONE)
            break;
        exact = exact && difference == 0.0 && kl == 0.0;
        if (!program->quiet)
            printf("%7d  %5d  %4s  %-12s  %7lld  %26g  %21g\n", s->threads, s->batch, s->blis ? "yes" : "no",
                   s->mask == 0               ? "plain C"
                   : s->mask == RLHF_CPU_AVX2 ? "AVX2"
                                              : "all",
                   (long long)count, difference, kl);
    }
    free(tokens);
    if (result != EXIT_DONE)
        return result;
    puts(exact ? "exact: every ratio is 1, every KL is 0, every setting gives the same tokens"
               : "NOT exact: please report this with the model's config.json and `rlhf version`");
    return exact ? EXIT_DONE : EXIT_FAILED;
}

int command_check(program *program, arguments *arguments)
{
    const char *what = arguments_word(arguments, 0);
    if (what == NULL || strcmp(what, "ratio") != 0)
        return program_usage("check: what? (ratio)");
    return check_ratio(program, arguments);
}
