/* inspect: what lies at a path. */
#include "program.h"

#include <string.h>
#include <sys/stat.h>

static int inspect_model(program *program, const char *path)
{
    char line[512], hash[65];
    rlhf_policy *policy = NULL;
    rlhf_reward_model *reward = NULL;
    rlhf_tokenizer *tokenizer = NULL;
    int result = EXIT_DONE;
    rlhf_status status = rlhf_policy_load(&policy, program->context, path, NULL);
    if (status == RLHF_OK) {
        rlhf_policy_describe(policy, line, sizeof line);
        status = rlhf_policy_hash(policy, hash);
        if (status == RLHF_OK)
            printf("policy        %s\nweights       sha256 %s\n", line, hash);
        for (int64_t i = 0; status == RLHF_OK && i < rlhf_policy_parameter_count(policy); i++) {
            rlhf_parameter_view view = {.struct_size = sizeof view};
            char shape[64] = "";
            status = rlhf_policy_parameter(policy, i, &view);
            if (status != RLHF_OK)
                break;
            for (int32_t d = 0; d < view.rank; d++)
                snprintf(shape + strlen(shape), sizeof shape - strlen(shape), "%s%lld", d > 0 ? " x " : "",
                         (long long)view.shape[d]);
            printf("  %-52s %-16s %lld\n", view.name, shape, (long long)view.elements);
        }
    } else {
        char reason[600];
        rlhf_context_error(program->context, reason, sizeof reason);
        rlhf_status second = rlhf_reward_model_load(&reward, program->context, path, NULL);
        if (second == RLHF_OK) {
            double gain = 1.0, bias = 0.0;
            rlhf_reward_model_describe(reward, line, sizeof line);
            status = rlhf_reward_model_hash(reward, hash);
            rlhf_reward_model_normalisation(reward, &gain, &bias);
            printf("reward model  %s\nscores        %g * head %+g\nweights       sha256 %s\n", line, gain, bias, hash);
        } else {
            fprintf(stderr, "rlhf: %s\n", reason);
            result = EXIT_FAILED;
        }
    }
    if (result == EXIT_DONE && status == RLHF_OK && rlhf_tokenizer_load(&tokenizer, program->context, path) == RLHF_OK)
        printf("tokenizer     %d ids, bos %d, eos %d\n", rlhf_tokenizer_vocabulary(tokenizer),
               rlhf_tokenizer_special(tokenizer, RLHF_TOKEN_BOS), rlhf_tokenizer_special(tokenizer, RLHF_TOKEN_EOS));
    if (result == EXIT_DONE && status != RLHF_OK)
        result = program_fail(program, status, path);
    rlhf_tokenizer_release(&tokenizer);
    rlhf_reward_model_release(&reward);
    rlhf_policy_release(&policy);
    return result;
}

static int inspect_dataset(program *program, const char *path)
{
    static const char *const kinds[] = {"", "text", "prompt", "prompt and completion", "preference"};
    rlhf_dataset *dataset = NULL;
    rlhf_dataset_options options;
    rlhf_dataset_options_init(&options, sizeof options);
    options.bad_row = RLHF_BAD_ROW_SKIP;
    options.chat_template = RLHF_TEMPLATE_CHATML;
    rlhf_status status = rlhf_dataset_load(&dataset, program->context, path, &options);
    if (status != RLHF_OK)
        return program_fail(program, status, path);
    uint64_t counts[5] = {0}, rows = rlhf_dataset_rows(dataset);
    for (uint64_t i = 0; i < rows; i++) {
        rlhf_row row = {.struct_size = sizeof row};
        if (rlhf_dataset_row(dataset, i, &row) == RLHF_OK && row.kind >= 1 && row.kind <= 4)
            counts[row.kind]++;
        if (i < 2 && !program->quiet) {
            if (row.text != NULL)
                printf("text          %.200s\n", row.text);
            if (row.prompt != NULL)
                printf("prompt        %.200s\n", row.prompt);
            if (row.completion != NULL)
                printf("completion    %.200s\n", row.completion);
            if (row.chosen != NULL)
                printf("chosen        %.200s\nrejected      %.200s\n", row.chosen, row.rejected);
            if (row.extra != NULL)
                printf("other columns %.200s\n", row.extra);
        }
    }
    for (int k = 1; k <= 4; k++)
        if (counts[k] > 0)
            printf("rows          %llu  %s\n", (unsigned long long)counts[k], kinds[k]);
    printf("bad rows      %llu\n", (unsigned long long)rlhf_dataset_skipped(dataset));
    rlhf_dataset_release(&dataset);
    return EXIT_DONE;
}

/* One line of the table, in MB. */
static void print_plan(const char *role, const rlhf_memory_plan *plan)
{
    const uint64_t columns[] = {plan->weights, plan->gradient, plan->moments, plan->activations,
                                plan->scratch, plan->panels,   plan->total};
    printf("%-14s", role);
    for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++)
        printf(" %11.1f", (double)columns[i] / 1e6);
    printf("\n");
}

/* What training takes. PPO's other models are taken to be of the policy's size. */
static int inspect_plan(program *program, const char *path, const char *method, int64_t rows, int64_t tokens,
                        bool recompute)
{
    bool ppo = strcmp(method, "ppo") == 0;
    rlhf_policy *policy = NULL;
    rlhf_model_options options;
    rlhf_memory_shape shape;
    rlhf_memory_plan train = {.struct_size = sizeof train}, score = {.struct_size = sizeof score};
    if (!ppo && strcmp(method, "sft") != 0)
        return program_usage("inspect: --plan knows sft and ppo");
    rlhf_model_options_init(&options, sizeof options);
    options.recompute_activations = recompute;
    rlhf_memory_shape_init(&shape, sizeof shape);
    shape.rows = rows;
    shape.row_tokens = tokens;
    rlhf_status status = rlhf_policy_load(&policy, program->context, path, &options);
    if (status == RLHF_OK)
        status = rlhf_policy_memory_plan(policy, &shape, &train);
    shape.training = 0;
    if (status == RLHF_OK)
        status = rlhf_policy_memory_plan(policy, &shape, &score);
    if (status == RLHF_OK) {
        printf("%s, %lld rows of %lld tokens, in MB%s\n%-14s %11s %11s %11s %11s %11s %11s %11s\n", method,
               (long long)rows, (long long)tokens, recompute ? ", activations computed again" : "", "", "weights",
               "gradient", "moments", "activations", "scratch", "panels", "total");
        print_plan("policy", &train);
        if (ppo) {
            print_plan("value model", &train);
            print_plan("reference", &score);
            print_plan("reward model", &score);
            printf("%-14s %83.1f\n", "all", 2e-6 * (double)(train.total + score.total));
        }
    }
    rlhf_policy_release(&policy);
    return status == RLHF_OK ? EXIT_DONE : program_fail(program, status, path);
}

int command_inspect(program *program, arguments *arguments)
{
    const char *path = arguments_word(arguments, 0);
    (void)arguments_text(arguments, "seed", NULL);
    const char *plan = arguments_text(arguments, "plan", NULL);
    int64_t rows = arguments_integer(arguments, "batch", 8, 1, 1000000);
    int64_t tokens = arguments_integer(arguments, "seq", 256, 2, 10000000);
    bool recompute = arguments_flag(arguments, "recompute");
    if (path == NULL)
        return program_usage("inspect: a path is needed");
    if (!arguments_finish(arguments))
        return EXIT_USAGE;
    struct stat what;
    if (stat(path, &what) != 0) {
        fprintf(stderr, "rlhf: %s: no such file or directory\n", path);
        return EXIT_FAILED;
    }
    if (plan != NULL)
        return inspect_plan(program, path, plan, rows, tokens, recompute);
    return S_ISDIR(what.st_mode) ? inspect_model(program, path) : inspect_dataset(program, path);
}
