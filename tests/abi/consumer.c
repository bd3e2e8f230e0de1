/* An old program: it is compiled with the headers in baseline/, as they were when it was "released", and runs with
 * today's library. What it does and gets must never change. The program of an installed tree, too (install.py). */
#include <rlhf/rlhf.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#define TRY(call)                                                                                                      \
    do {                                                                                                               \
        rlhf_status try_status = (call);                                                                               \
        if (try_status != RLHF_OK) {                                                                                   \
            char text[512] = "";                                                                                       \
            rlhf_context_error(context, text, sizeof text);                                                            \
            fprintf(stderr, "%s: %s: %s\n", #call, rlhf_status_name(try_status), text);                                \
            return 1;                                                                                                  \
        }                                                                                                              \
    } while (0)

static const char tokenizer_json[] =
    "{\"added_tokens\":[{\"id\":0,\"content\":\"<e>\",\"special\":true}],\"normalizer\":null,\"pre_tokenizer\":"
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true},\"post_processor\":null,\"decoder\":"
    "{\"type\":\"ByteLevel\"},\"model\":"
    "{\"type\":\"BPE\",\"vocab\":{\"<e>\":0,\"a\":1,\"b\":2,\"c\":3},\"merges\":[]}}";
static const char config_json[] =
    "{\"model_type\":\"llama\",\"vocab_size\":4,\"hidden_size\":16,\"intermediate_size\":24,\"num_hidden_layers\":1,"
    "\"num_attention_heads\":2,\"num_key_value_heads\":1,\"max_position_embeddings\":32,\"rms_norm_eps\":1e-5,"
    "\"hidden_act\":\"silu\",\"tie_word_embeddings\":true,\"initializer_range\":0.2,\"eos_token_id\":0}";

static rlhf_status likes_b(void *user_data, const rlhf_score_input *in, double *score)
{
    ++*(int *)user_data;
    for (int64_t row = 0; row < in->rows; row++)
        score[row] = strchr(in->completion[row], 'b') != NULL;
    return RLHF_OK;
}

static int calls, metered, gone;

static void count_end(void *user_data)
{
    (void)user_data;
    gone++;
}

static rlhf_status on_metrics(void *user_data, const rlhf_metrics *metrics)
{
    (void)user_data;
    metered += metrics->struct_size >= sizeof *metrics && metrics->count > 0;
    return RLHF_OK;
}

int main(void)
{
    rlhf_context *context = NULL;
    rlhf_context_options machine;
    rlhf_tokenizer *tokenizer;
    rlhf_policy *policy;
    rlhf_dataset *prompts;
    rlhf_scorer *scorer;
    rlhf_recipe *recipe;
    rlhf_trainer *trainer;
    rlhf_trainer_options options;
    rlhf_progress progress = {.struct_size = sizeof progress};
    char before[65], after[65];

    if (rlhf_version() >> 16 != RLHF_API_MAJOR || rlhf_version() < RLHF_API_VERSION)
        return 1;
    rlhf_context_options_init(&machine, sizeof machine);
    machine.threads = 2;
    TRY(rlhf_context_create(&context, &machine));
    TRY(rlhf_tokenizer_create(&tokenizer, context, tokenizer_json, sizeof tokenizer_json - 1,
                              "{\"eos_token\":\"<e>\"}", strlen("{\"eos_token\":\"<e>\"}")));
    TRY(rlhf_policy_create(&policy, context, config_json, sizeof config_json - 1, 1, NULL));
    TRY(rlhf_dataset_create(&prompts, context));
    for (int i = 0; i < 8; i++) {
        rlhf_row row = {.struct_size = sizeof row, .kind = RLHF_ROW_PROMPT, .prompt = i % 2 ? "ab" : "ca",
                        .margin = NAN};
        TRY(rlhf_dataset_append(prompts, &row));
    }
    TRY(rlhf_scorer_create(&scorer, context, "likes b", likes_b, &calls, count_end));
    TRY(rlhf_recipe_create(&recipe, context, "ppo"));
    TRY(rlhf_recipe_set(recipe, "max_steps", "3"));
    TRY(rlhf_recipe_set(recipe, "response_length", "6"));
    TRY(rlhf_recipe_set(recipe, "learning_rate", "0.01"));
    rlhf_trainer_options_init(&options, sizeof options);
    options.policy = policy;
    options.tokenizer = tokenizer;
    options.dataset = prompts;
    options.scorer = scorer;
    options.output_dir = "";
    options.on_metrics = on_metrics;
    TRY(rlhf_policy_hash(policy, before));
    TRY(rlhf_trainer_create(&trainer, context, recipe, &options));
    TRY(rlhf_trainer_run(trainer));
    TRY(rlhf_trainer_progress(trainer, &progress));
    TRY(rlhf_policy_hash(policy, after));
    rlhf_context_release(&context); /* any order */
    rlhf_policy_release(&policy);
    rlhf_tokenizer_release(&tokenizer);
    rlhf_dataset_release(&prompts);
    rlhf_scorer_release(&scorer);
    rlhf_recipe_release(&recipe);
    rlhf_trainer_release(&trainer);
    if (calls != 3 || metered != 3 || gone != 1 || progress.step != 3 || strcmp(before, after) == 0) {
        fprintf(stderr, "%d calls, %d metered, %d gone, step %d\n", calls, metered, gone, (int)progress.step);
        return 1;
    }
    puts("consumer: as it was");
    return 0;
}
