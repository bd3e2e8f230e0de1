/* Tiny runs for the tests of this room: a tokenizer of letters, random models, datasets in memory, a scorer that
 * counts. */
#ifndef RLHF_TESTS_RUNS_H
#define RLHF_TESTS_RUNS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "pace.h"
#include "training/training.h"

static inline void check_ok(rlhf_context *context, rlhf_status status, const char *what)
{
    char error[512];

    if (status == RLHF_OK)
        return;
    rlhf_context_error(context, error, sizeof error);
    fail_msg("%s: %s: %s", what, rlhf_status_name(status), error);
}
#define CHECK(context, expression) check_ok(context, expression, #expression)

static inline void assert_error(const rlhf_context *context, const char *part)
{
    char text[512];

    rlhf_context_error(context, text, sizeof text);
    if (strstr(text, part) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", text, part);
}

static inline rlhf_context *make_context(int32_t threads, uint32_t cpu_mask, int32_t use_blis)
{
    rlhf_context_options options;
    rlhf_context *context;

    rlhf_context_options_init(&options, sizeof options);
    options.threads = threads;
    options.cpu_mask = cpu_mask;
    options.use_blis = use_blis;
    assert_int_equal(rlhf_context_create(&context, &options), RLHF_OK);
    return context;
}

/* ---- tokenizer and models: one token per letter, 0 ends ---------------------------------------------------------- */

#define LETTERS "abcdefghijklmnopqrstuvwxyz.,?!:0123456789"
enum { VOCABULARY = 44 };

static inline rlhf_tokenizer *make_tokenizer(rlhf_context *context)
{
    static const char config[] = "{\"eos_token\": \"<end>\"}";
    char json[4096];
    int used =
        snprintf(json, sizeof json,
                 "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[{\"id\":0,"
                 "\"content\":\"<end>\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,"
                 "\"special\":true}],\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\","
                 "\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true},\"post_processor\":null,"
                 "\"decoder\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets\":true,"
                 "\"use_regex\":true},\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,"
                 "\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":false,"
                 "\"byte_fallback\":false,\"vocab\":{\"<end>\":0,\"\xc4\xa0\":1,\"\xc4\x8a\":2");
    rlhf_tokenizer *tokenizer;

    for (int i = 0; LETTERS[i] != '\0'; i++)
        used += snprintf(json + used, sizeof json - (size_t)used, ",\"%c\":%d", LETTERS[i], i + 3);
    used += snprintf(json + used, sizeof json - (size_t)used, "},\"merges\":[]}}");
    CHECK(context, rlhf_tokenizer_create(&tokenizer, context, json, (size_t)used, config, sizeof config - 1));
    return tokenizer;
}

static const char *const model_config =
    "{\"model_type\":\"llama\",\"vocab_size\":44,\"hidden_size\":16,\"intermediate_size\":24,\"num_hidden_layers\":2,"
    "\"num_attention_heads\":2,\"num_key_value_heads\":1,\"max_position_embeddings\":64,\"rms_norm_eps\":1e-5,"
    "\"hidden_act\":\"silu\",\"tie_word_embeddings\":false,\"initializer_range\":0.2,\"eos_token_id\":0}";
static const char *const gpt2_config =
    "{\"model_type\":\"gpt2\",\"vocab_size\":44,\"n_positions\":64,\"n_embd\":16,\"n_layer\":2,\"n_head\":2,"
    "\"initializer_range\":0.2,\"eos_token_id\":0}";

static inline rlhf_policy *make_policy(rlhf_context *context, uint64_t seed)
{
    rlhf_policy *policy;

    CHECK(context, rlhf_policy_create(&policy, context, model_config, strlen(model_config), seed, NULL));
    return policy;
}

static inline rlhf_reward_model *make_reward_model(rlhf_context *context, uint64_t seed)
{
    rlhf_policy *trunk = make_policy(context, seed);
    rlhf_reward_model *model;

    CHECK(context, rlhf_reward_model_from_policy(&model, trunk, seed));
    rlhf_policy_release(&trunk);
    return model;
}

/* ---- data -------------------------------------------------------------------------------------------------------- */

static const char *const subjects[] = {"a cat", "the dog", "tom", "lily", "a bird"};
static const char *const verbs[] = {" sat", " ran far", " ate", " slept", " saw a ball", " sang", " fell"};

static inline void append(rlhf_context *context, rlhf_dataset *dataset, int32_t kind, int i)
{
    char text[64], prompt[64], completion[64], other[64], extra[64];
    rlhf_row row = {.struct_size = sizeof row, .kind = kind, .margin = NAN};

    snprintf(text, sizeof text, "%s%s.", subjects[i % 5], verbs[i % 7]);
    snprintf(prompt, sizeof prompt, "what did %s do?", subjects[i % 5]);
    snprintf(completion, sizeof completion, "%s%s.", i % 2 == 0 ? "" : " it", verbs[i % 7]);
    snprintf(other, sizeof other, "%s and%s", verbs[(i + 3) % 7], verbs[(i + 1) % 7]);
    snprintf(extra, sizeof extra, "{\"number\": %d}", i);
    if (kind == RLHF_ROW_TEXT)
        row.text = text;
    else
        row.prompt = prompt;
    if (kind == RLHF_ROW_PROMPT_COMPLETION)
        row.completion = completion;
    if (kind == RLHF_ROW_PREFERENCE) {
        row.chosen = completion;
        row.rejected = other;
    }
    row.extra = extra;
    CHECK(context, rlhf_dataset_append(dataset, &row));
}

static inline rlhf_dataset *make_dataset(rlhf_context *context, int32_t kind, int rows)
{
    rlhf_dataset *dataset;

    CHECK(context, rlhf_dataset_create(&dataset, context));
    for (int i = 0; i < rows; i++)
        append(context, dataset, kind, i);
    return dataset;
}

static inline int32_t kind_of(const char *method)
{
    if (strcmp(method, "pretrain") == 0)
        return RLHF_ROW_TEXT;
    if (strcmp(method, "sft") == 0)
        return RLHF_ROW_PROMPT_COMPLETION;
    return strcmp(method, "reward") == 0 ? RLHF_ROW_PREFERENCE : RLHF_ROW_PROMPT;
}

/* ---- scorer: the more a's and e's the better; counts its calls --------------------------------------------------- */

struct counting {
    int calls, rows, unscorable_every, fail_call;
    rlhf_status fail_with;
};

static inline rlhf_status count_vowels(void *user_data, const rlhf_score_input *in, double *score)
{
    struct counting *self = user_data;

    self->calls++;
    if (self->fail_call > 0 && self->calls == self->fail_call)
        return self->fail_with;
    for (int64_t row = 0; row < in->rows; row++) {
        score[row] = 0;
        for (const char *c = in->completion[row]; *c != '\0'; c++)
            score[row] += *c == 'a' || *c == 'e' ? 1 : *c == 'z' ? -0.5 : 0;
        self->rows++;
        if (self->unscorable_every > 0 && row % self->unscorable_every == 1)
            score[row] = NAN;
    }
    return RLHF_OK;
}

static inline rlhf_scorer *make_scorer(rlhf_context *context, struct counting *counting)
{
    rlhf_scorer *scorer;

    memset(counting, 0, sizeof *counting);
    CHECK(context, rlhf_scorer_create(&scorer, context, "vowels", count_vowels, counting, NULL));
    return scorer;
}

/* ---- recipes and trainers ---------------------------------------------------------------------------------------- */

static const char *const all_methods[] = {"pretrain", "sft", "reward", "raft", "reinforce", "pairwise", "ppo"};
enum { ALL_METHODS = 7 };

static inline void set(rlhf_context *context, rlhf_recipe *recipe, const char *key, const char *value)
{
    check_ok(context, rlhf_recipe_set(recipe, key, value), key);
}

/* Four steps of a few rows. */
static inline rlhf_recipe *make_recipe(rlhf_context *context, const char *method)
{
    rlhf_recipe *recipe;

    CHECK(context, rlhf_recipe_create(&recipe, context, method));
    set(context, recipe, "max_steps", "4");
    set(context, recipe, "per_device_train_batch_size", "4");
    set(context, recipe, "learning_rate", "0.01");
    set(context, recipe, "logging_steps", "1");
    set(context, recipe, "seed", "5");
    if (rlhfi_recipe_has(recipe, "response_length"))
        set(context, recipe, "response_length", "10");
    if (strcmp(method, "raft") == 0) {
        set(context, recipe, "prompts_per_iteration", "4");
        set(context, recipe, "num_generations", "3");
    }
    if (strcmp(method, "ppo") == 0) {
        set(context, recipe, "num_mini_batches", "2");
        set(context, recipe, "num_ppo_epochs", "2");
        set(context, recipe, "temperature", "0.9");
        set(context, recipe, "adaptive_kl", "true");
        set(context, recipe, "horizon", "20");
    }
    if (strcmp(method, "reinforce") == 0)
        set(context, recipe, "baseline", "moving_average");
    return recipe;
}

/* Everything that a run in memory needs, the same for equal seeds. */
struct parts {
    rlhf_context *context;
    rlhf_recipe *recipe;
    rlhf_policy *policy;
    rlhf_tokenizer *tokenizer;
    rlhf_dataset *dataset;
    rlhf_reward_model *reward_model;
    rlhf_scorer *scorer;
    struct counting counting;
    rlhf_trainer_options options;
};

static inline void make_parts(struct parts *parts, rlhf_context *context, const char *method)
{
    bool samples = kind_of(method) == RLHF_ROW_PROMPT;

    memset(parts, 0, sizeof *parts);
    parts->context = context;
    parts->recipe = make_recipe(context, method);
    parts->policy = make_policy(context, 3);
    parts->tokenizer = make_tokenizer(context);
    parts->dataset = make_dataset(context, kind_of(method), 10);
    rlhf_trainer_options_init(&parts->options, sizeof parts->options);
    parts->options.policy = parts->policy;
    parts->options.tokenizer = parts->tokenizer;
    parts->options.dataset = parts->dataset;
    if (samples) {
        parts->scorer = make_scorer(context, &parts->counting);
        parts->options.scorer = parts->scorer;
    }
}

static inline void release_parts(struct parts *parts)
{
    rlhf_recipe_release(&parts->recipe);
    rlhf_policy_release(&parts->policy);
    rlhf_tokenizer_release(&parts->tokenizer);
    rlhf_dataset_release(&parts->dataset);
    rlhf_reward_model_release(&parts->reward_model);
    rlhf_scorer_release(&parts->scorer);
}

/* Hash of what a trainer trained. */
static inline void result_hash(rlhf_context *context, rlhf_trainer *trainer, char hex[65])
{
    rlhf_policy *policy;
    rlhf_reward_model *model;

    if (rlhf_trainer_reward_model(trainer, &model) == RLHF_OK) {
        CHECK(context, rlhf_reward_model_hash(model, hex));
        rlhf_reward_model_release(&model);
        return;
    }
    CHECK(context, rlhf_trainer_policy(trainer, &policy));
    CHECK(context, rlhf_policy_hash(policy, hex));
    rlhf_policy_release(&policy);
}

static inline double metric(rlhf_context *context, const rlhf_trainer *trainer, const char *name)
{
    rlhf_metrics metrics = {.struct_size = sizeof metrics};

    CHECK(context, rlhf_trainer_metrics(trainer, &metrics));
    for (int32_t i = 0; i < metrics.count; i++)
        if (strcmp(metrics.name[i], name) == 0)
            return metrics.value[i];
    fail_msg("%s was not logged", name);
    return 0;
}

static inline bool has_metric(rlhf_context *context, const rlhf_trainer *trainer, const char *name)
{
    rlhf_metrics metrics = {.struct_size = sizeof metrics};

    CHECK(context, rlhf_trainer_metrics(trainer, &metrics));
    for (int32_t i = 0; i < metrics.count; i++)
        if (strcmp(metrics.name[i], name) == 0)
            return true;
    return false;
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

/* A directory of its own for this test; removed by remove_directory. */
static inline char *make_directory(char path[64])
{
    strcpy(path, "/tmp/rlhf-training-XXXXXX");
    assert_non_null(mkdtemp(path));
    return path;
}

static inline void remove_directory(rlhf_context *context, const char *path)
{
    CHECK(context, rlhfi_remove_tree(context, path));
}

static inline char *read_whole(rlhf_context *context, const char *directory, const char *name)
{
    char path[4096], *text;
    size_t bytes;

    snprintf(path, sizeof path, "%s/%s", directory, name);
    CHECK(context, rlhfi_file_load(context, path, 1 << 24, &text, &bytes));
    return text;
}

static inline bool exists(const char *directory, const char *name)
{
    char path[4096];

    snprintf(path, sizeof path, "%s/%s", directory, name);
    return rlhfi_path_exists(path);
}

#endif
