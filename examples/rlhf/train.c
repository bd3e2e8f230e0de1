/* pretrain sft reward raft reinforce pairwise ppo: a recipe, overrides, a run directory. */
#include "program.h"

#include <math.h>
#include <string.h>

typedef struct watch {
    program *program;
    const char *label;
    char note[160];
} watch;

/* The few numbers that a person looks at; everything is in metrics.jsonl. */
static const char *const shown[] = {
    "loss", "accuracy",  "objective/scores", "reward",    "rlhf/gold_score", "objective/kl",
    "kl",   "eval_loss", "eval_accuracy",    "grad_norm", "learning_rate",   "mean_token_accuracy"};

static rlhf_status on_metrics(void *user_data, const rlhf_metrics *metrics)
{
    watch *watch = user_data;
    size_t used = 0;
    int taken = 0;
    watch->note[0] = '\0';
    for (size_t s = 0; s < sizeof shown / sizeof shown[0] && taken < 5; s++) {
        for (int32_t i = 0; i < metrics->count; i++) {
            if (strcmp(metrics->name[i], shown[s]) != 0 || used + 40 >= sizeof watch->note)
                continue;
            int bytes =
                snprintf(watch->note + used, sizeof watch->note - used, "%s %.4g  ", shown[s], metrics->value[i]);
            used += bytes > 0 ? (size_t)bytes : 0;
            taken++;
        }
    }
    if (!watch->program->quiet && !watch->program->terminal && !watch->program->json)
        fprintf(stderr, "%s step %llu/%llu  %s\n", watch->label, (unsigned long long)metrics->step,
                (unsigned long long)metrics->total_steps, watch->note);
    return RLHF_OK;
}

static rlhf_status on_progress(void *user_data, const rlhf_progress *progress)
{
    watch *watch = user_data;
    progress_draw(watch->program, watch->label, progress->step, progress->total_steps, watch->note);
    return RLHF_OK;
}

static void print_summary(program *program, const char *label, rlhf_trainer *trainer)
{
    rlhf_progress progress = {.struct_size = sizeof progress};
    rlhf_metrics metrics = {.struct_size = sizeof metrics};
    if (rlhf_trainer_progress(trainer, &progress) != RLHF_OK)
        return;
    double all = progress.seconds[0] > 0.0 ? progress.seconds[0] : 1.0;
    if (program->json) {
        printf("{\"method\": \"%s\", \"steps\": %llu, \"tokens\": %llu, \"seconds\": ", label,
               (unsigned long long)progress.step, (unsigned long long)progress.tokens);
        json_number(stdout, progress.seconds[0]);
        fputs(", \"metrics\": {", stdout);
        if (rlhf_trainer_metrics(trainer, &metrics) == RLHF_OK) {
            for (int32_t i = 0; i < metrics.count; i++) {
                fputs(i > 0 ? ", " : "", stdout);
                json_string(stdout, metrics.name[i], strlen(metrics.name[i]));
                fputs(": ", stdout);
                json_number(stdout, metrics.value[i]);
            }
        }
        fputs("}}\n", stdout);
        return;
    }
    if (program->quiet)
        return;
    fprintf(stderr,
            "%s: %llu steps, %llu tokens, %.1f s (%.0f tokens/s); rollout %.0f %%, scoring %.0f %%, update %.0f %%, "
            "saving %.0f %%\n",
            label, (unsigned long long)progress.step, (unsigned long long)progress.tokens, progress.seconds[0],
            (double)progress.tokens / all, 100.0 * progress.seconds[RLHF_PHASE_ROLLOUT] / all,
            100.0 * progress.seconds[RLHF_PHASE_SCORING] / all, 100.0 * progress.seconds[RLHF_PHASE_UPDATE] / all,
            100.0 * progress.seconds[RLHF_PHASE_SAVE] / all);
}

int train_recipe(program *program, rlhf_recipe *recipe, rlhf_trainer_options *options, const char *label)
{
    watch watch = {.program = program, .label = label};
    rlhf_trainer *trainer = NULL;
    options->on_metrics = on_metrics;
    options->on_progress = on_progress;
    options->user_data = &watch;
    int result = EXIT_DONE;
    rlhf_status status = rlhf_trainer_create(&trainer, program->context, recipe, options);
    if (status == RLHF_OK)
        status = rlhf_trainer_run(trainer);
    progress_clear(program);
    if (status == RLHF_OK)
        print_summary(program, label, trainer);
    else
        result = program_fail(program, status, label);
    rlhf_trainer_release(&trainer);
    return result;
}

static int list_keys(const char *method)
{
    int64_t count = rlhf_recipe_key_count(method);
    for (int64_t i = 0; i < count; i++) {
        rlhf_key_view key = {.struct_size = sizeof key};
        if (rlhf_recipe_key(method, i, &key) != RLHF_OK)
            continue;
        char value[48];
        snprintf(value, sizeof value, "%s", key.default_value[0] != '\0' ? key.default_value : "-");
        printf("%-30s %-14s %s", key.name, value, key.help);
        if (key.type == RLHF_KEY_CHOICE)
            printf(" (%s)", key.choices);
        else if ((key.type == RLHF_KEY_NUMBER || key.type == RLHF_KEY_INTEGER) && isfinite(key.minimum) &&
                 fabs(key.minimum) < 1e9 && fabs(key.maximum) < 1e9)
            printf(" (%g to %g)", key.minimum, key.maximum);
        putchar('\n');
    }
    return EXIT_DONE;
}

int command_train(program *program, arguments *arguments)
{
    const char *method = arguments->command;
    if (arguments_flag(arguments, "keys"))
        return list_keys(method);
    rlhf_recipe *recipe = NULL;
    rlhf_scorer *scorer = NULL, *gold = NULL;
    int result = EXIT_FAILED;
    rlhf_trainer_options options;
    rlhf_trainer_options_init(&options, sizeof options);
    options.resume = arguments_flag(arguments, "resume");
    options.overwrite = arguments_flag(arguments, "overwrite");
    options.output_dir = arguments_text(arguments, "out", NULL);
    const char *config = arguments_text(arguments, "config", NULL);
    const char *scorer_text = arguments_text(arguments, "scorer", NULL);
    const char *gold_text = arguments_text(arguments, "gold", NULL);
    if (arguments_word(arguments, 0) != NULL)
        return program_usage("%s: unexpected word \"%s\" (a recipe is given by --config FILE)", method,
                             arguments_word(arguments, 0));

    rlhf_status status = rlhf_recipe_create(&recipe, program->context, method);
    if (status == RLHF_OK && config != NULL)
        status = rlhf_recipe_load(recipe, config);
    if (status != RLHF_OK) {
        result = program_fail(program, status, "");
        goto done;
    }
    for (int i = 0; i < arguments->count; i++) {
        argument *item = &arguments->item[i];
        if (item->name == NULL || (item->used && strcmp(item->name, "seed") != 0))
            continue;
        item->used = true;
        status = rlhf_recipe_set(recipe, item->name, item->value != NULL ? item->value : "true");
        if (status != RLHF_OK) {
            program_fail(program, status, "");
            result = EXIT_USAGE;
            goto done;
        }
    }
    if (!arguments_finish(arguments)) {
        result = EXIT_USAGE;
        goto done;
    }
    /* A name goes into the recipe, so that config.yaml tells it. */
    if (scorer_text != NULL && rlhf_plugin_has_scorer(program->context, scorer_text)) {
        status = rlhf_recipe_set(recipe, "scorer", scorer_text);
        scorer_text = NULL;
        if (status != RLHF_OK) {
            result = program_fail(program, status, "");
            goto done;
        }
    }
    if (scorer_text != NULL && (result = scorer_from_text(program, scorer_text, &scorer)) != EXIT_DONE)
        goto done;
    if (gold_text != NULL && (result = scorer_from_text(program, gold_text, &gold)) != EXIT_DONE)
        goto done;
    options.scorer = scorer;
    options.gold_scorer = gold;
    result = train_recipe(program, recipe, &options, method);
done:
    rlhf_scorer_release(&scorer);
    rlhf_scorer_release(&gold);
    rlhf_recipe_release(&recipe);
    return result;
}
