/* Where the examples live when they are given no files: an inn with seven dishes, and what its guests say about them.
 * It makes, in a temporary directory that goes with the program,
 *
 *   base/model             a policy that has read what guests say, kind or not, with its tokenizer (one token a word)
 *   reward/model           a reward model that learned from pairs that kind words are better
 *   texts.jsonl demonstrations.jsonl prompts.jsonl pairs.jsonl
 *
 * so that an example goes the same way with these files and with yours. Include it first: it asks for POSIX. */
#ifndef TINY_WORLD_H
#define TINY_WORLD_H

#ifndef _XOPEN_SOURCE
#define _XOPEN_SOURCE 700
#endif
#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rlhf/rlhf.h>

#define TRY(call)                                                                                                      \
    do {                                                                                                               \
        status = (call);                                                                                               \
        if (status != RLHF_OK)                                                                                         \
            goto done;                                                                                                 \
    } while (0)

/* Says what went wrong, if anything did, and gives the program's exit status. */
static inline int finish(const rlhf_context *context, rlhf_status status)
{
    char text[512] = "";

    rlhf_context_error(context, text, sizeof text);
    if (status != RLHF_OK)
        fprintf(stderr, "%s: %s\n", rlhf_status_name(status), text);
    return status == RLHF_OK ? 0 : 1;
}

typedef struct tiny_world {
    char directory[64], model[96], reward[96], texts[96], demonstrations[96], prompts[96], pairs[96];
} tiny_world;

static char tiny_world_to_remove[64];

static inline int tiny_world_remove_one(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info, (void)kind, (void)place;
    return remove(path);
}

static inline void tiny_world_remove(void)
{
    nftw(tiny_world_to_remove, tiny_world_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- words ------------------------------------------------------------------------------------------------------- */

static const char *const tiny_dishes[] = {" soup", " bread", " tea", " cake", " rice", " fish", " stew"};
static const char *const tiny_kind[] = {" good", " warm", " fresh", " sweet"};
static const char *const tiny_unkind[] = {" bad", " cold", " old", " burnt"};
static const char *const tiny_rest[] = {"How", " is", " the", "?", " It", " and", " very", "."};

/* A tokenizer.json in which every word, with the blank in front of it, is a token of its own; 0 ends a text. */
static inline rlhf_status tiny_tokenizer(rlhf_tokenizer **out, rlhf_context *context)
{
    static const char config[] = "{\"eos_token\": \"<end>\"}";
    const char *const *lists[] = {tiny_dishes, tiny_kind, tiny_unkind, tiny_rest};
    const int sizes[] = {7, 4, 4, 8};
    char json[8192];
    size_t used = 0;
    int id = 1;

#define ADD(...) used += (size_t)snprintf(json + used, sizeof json - used, __VA_ARGS__)
    ADD("{\"added_tokens\":[{\"id\":0,\"content\":\"<end>\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,"
        "\"normalized\":false,\"special\":true}");
    for (int list = 0; list < 4; list++)
        for (int i = 0; i < sizes[list]; i++)
            ADD(",{\"id\":%d,\"content\":\"%s\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,"
                "\"normalized\":false,\"special\":false}",
                id++, lists[list][i]);
    ADD("],\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
        "\"trim_offsets\":true,\"use_regex\":true},\"post_processor\":null,\"decoder\":{\"type\":\"ByteLevel\","
        "\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true},\"model\":{\"type\":\"BPE\","
        "\"dropout\":null,\"unk_token\":null,\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,"
        "\"fuse_unk\":false,\"byte_fallback\":false,\"vocab\":{\"<end>\":0},\"merges\":[]}}");
#undef ADD
    return rlhf_tokenizer_create(out, context, json, used, config, sizeof config - 1);
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

/* Guest number i answers with kind words; or with unkind ones, of which one is enough. */
static inline void tiny_answer(char *out, size_t capacity, int i, int unkind)
{
    const char *const *words = unkind ? tiny_unkind : tiny_kind;
    const char *const *first = i % 2 == 0 ? words : tiny_kind, *const *second = i % 2 == 0 ? tiny_kind : words;

    if (i % 3 == 0)
        snprintf(out, capacity, " It is very%s.", words[i / 3 % 4]);
    else if (i % 3 == 1)
        snprintf(out, capacity, " It is%s and%s.", first[i / 5 % 4], second[(i / 5 + 1 + i % 2) % 4]);
    else
        snprintf(out, capacity, " It is%s.", words[i / 7 % 4]);
}

/* This header is read by C++ too, which has no designated initialisers before C++20. */
static inline rlhf_row tiny_row(int32_t kind)
{
    rlhf_row row;

    memset(&row, 0, sizeof row);
    row.struct_size = sizeof row;
    row.kind = kind;
    row.margin = NAN;
    return row;
}

static inline rlhf_status tiny_rows(rlhf_context *context, int32_t kind, int rows, const char *path)
{
    rlhf_dataset *data = NULL;
    rlhf_status status;

    TRY(rlhf_dataset_create(&data, context));
    for (int i = 0; i < rows; i++) {
        char prompt[64], good[64], bad[64], text[128];
        rlhf_row row = tiny_row(kind);
        snprintf(prompt, sizeof prompt, "How is the%s?", tiny_dishes[i % 7]);
        tiny_answer(good, sizeof good, i, 0);
        tiny_answer(bad, sizeof bad, i, 1);
        snprintf(text, sizeof text, "%s%s", prompt, i / 7 % 2 == 0 ? good : bad);
        if (kind == RLHF_ROW_TEXT)
            row.text = text;
        else
            row.prompt = prompt;
        if (kind == RLHF_ROW_PROMPT_COMPLETION)
            row.completion = good;
        if (kind == RLHF_ROW_PREFERENCE) {
            row.chosen = good;
            row.rejected = bad;
        }
        TRY(rlhf_dataset_append(data, &row));
    }
    status = rlhf_dataset_save(data, path);
done:
    rlhf_dataset_release(&data);
    return status;
}

/* ---- models ------------------------------------------------------------------------------------------------------ */

static inline rlhf_status tiny_train(rlhf_context *context, const char *method, const char *data, const char *steps,
                                     rlhf_policy *policy, rlhf_tokenizer *tokenizer, const char *directory)
{
    rlhf_recipe *recipe = NULL;
    rlhf_trainer *trainer = NULL;
    rlhf_trainer_options options;
    rlhf_status status;

    rlhf_trainer_options_init(&options, sizeof options);
    options.policy = policy;
    options.tokenizer = tokenizer;
    options.output_dir = directory;
    TRY(rlhf_recipe_create(&recipe, context, method));
    TRY(rlhf_recipe_set(recipe, "dataset_name", data));
    TRY(rlhf_recipe_set(recipe, "learning_rate", "0.01"));
    TRY(rlhf_recipe_set(recipe, "per_device_train_batch_size", "16"));
    TRY(rlhf_recipe_set(recipe, "max_steps", steps));
    TRY(rlhf_trainer_create(&trainer, context, recipe, &options));
    status = rlhf_trainer_run(trainer);
done:
    rlhf_trainer_release(&trainer);
    rlhf_recipe_release(&recipe);
    return status;
}

/* Scores of mean 0 and deviation 1 over what the policy says: PPO's settings then mean the same for every reward
 * model (1909.08593). */
static inline rlhf_status tiny_normalise(rlhf_context *context, const char *directory)
{
    rlhf_reward_model *model = NULL;
    rlhf_status status;

    TRY(rlhf_reward_model_load(&model, context, directory, NULL));
    TRY(rlhf_reward_model_set_normalisation(model, 0.25, 0.5));
    status = rlhf_reward_model_save(model, directory);
done:
    rlhf_reward_model_release(&model);
    return status;
}

static inline rlhf_status tiny_world_make(tiny_world *world, rlhf_context *context)
{
    static const char config[] =
        "{\"model_type\":\"llama\",\"vocab_size\":24,\"hidden_size\":32,\"intermediate_size\":64,"
        "\"num_hidden_layers\":2,\"num_attention_heads\":2,\"num_key_value_heads\":2,\"max_position_embeddings\":32,"
        "\"rms_norm_eps\":1e-5,\"hidden_act\":\"silu\",\"tie_word_embeddings\":true,\"initializer_range\":0.1,"
        "\"eos_token_id\":0}";
    const char *folder = getenv("TMPDIR");
    rlhf_tokenizer *tokenizer = NULL;
    rlhf_policy *policy = NULL;
    char base[80], reward[80];
    rlhf_status status;

    snprintf(world->directory, sizeof world->directory, "%.40s/rlhf-example-XXXXXX", folder != NULL ? folder : "/tmp");
    if (mkdtemp(world->directory) == NULL)
        return RLHF_E_IO;
    memcpy(tiny_world_to_remove, world->directory, sizeof world->directory);
    atexit(tiny_world_remove);
    snprintf(base, sizeof base, "%s/base", world->directory);
    snprintf(reward, sizeof reward, "%s/reward", world->directory);
    snprintf(world->model, sizeof world->model, "%s/model", base);
    snprintf(world->reward, sizeof world->reward, "%s/model", reward);
    snprintf(world->texts, sizeof world->texts, "%s/texts.jsonl", world->directory);
    snprintf(world->demonstrations, sizeof world->demonstrations, "%s/demonstrations.jsonl", world->directory);
    snprintf(world->prompts, sizeof world->prompts, "%s/prompts.jsonl", world->directory);
    snprintf(world->pairs, sizeof world->pairs, "%s/pairs.jsonl", world->directory);

    TRY(tiny_rows(context, RLHF_ROW_TEXT, 420, world->texts));
    TRY(tiny_rows(context, RLHF_ROW_PROMPT_COMPLETION, 105, world->demonstrations));
    TRY(tiny_rows(context, RLHF_ROW_PROMPT, 56, world->prompts));
    TRY(tiny_rows(context, RLHF_ROW_PREFERENCE, 105, world->pairs));
    TRY(tiny_tokenizer(&tokenizer, context));
    TRY(rlhf_policy_create(&policy, context, config, sizeof config - 1, 1, NULL));
    TRY(tiny_train(context, "pretrain", world->texts, "80", policy, tokenizer, base));
    TRY(tiny_train(context, "reward", world->pairs, "40", policy, tokenizer, reward));
    status = tiny_normalise(context, world->reward);
done:
    rlhf_policy_release(&policy);
    rlhf_tokenizer_release(&tokenizer);
    return status;
}

/* ---- what a policy says ------------------------------------------------------------------------------------------ */

/* Prints one sampled answer to each of the first prompts of a dataset. */
static inline rlhf_status print_samples(const char *title, rlhf_policy *policy, const rlhf_tokenizer *tokenizer,
                                        const rlhf_dataset *prompts, uint64_t count)
{
    rlhf_rollout_view view;
    rlhf_rollout_options options;
    rlhf_rollout *rollout = NULL;
    rlhf_batch *batch = NULL;
    rlhf_status status;

    view.struct_size = sizeof view;
    rlhf_rollout_options_init(&options, sizeof options);
    options.max_new_tokens = 12;
    if (count > rlhf_dataset_rows(prompts))
        count = rlhf_dataset_rows(prompts);
    TRY(rlhf_batch_tokenize(&batch, tokenizer, prompts, 0, count, 0));
    TRY(rlhf_rollout_run(&rollout, policy, batch, &options, NULL, NULL));
    TRY(rlhf_rollout_get(rollout, &view));
    printf("%s\n", title);
    for (int64_t r = 0; r < view.rows; r++) {
        rlhf_row row = tiny_row(0);
        char text[512];
        size_t bytes = 0;
        const int32_t *response = view.tokens + view.offset[r] + view.prompt_length[r];
        size_t length = (size_t)(view.response_offset[r + 1] - view.response_offset[r]);
        TRY(rlhf_dataset_row(prompts, (uint64_t)r, &row));
        TRY(rlhf_tokenizer_decode(tokenizer, response, length, RLHF_DECODE_SKIP_SPECIAL, text, sizeof text, &bytes));
        printf("  %-20s%.*s\n", row.prompt, (int)bytes, text);
    }
done:
    rlhf_rollout_release(&rollout);
    rlhf_batch_release(&batch);
    return status;
}

#endif
