/* quickstart: pretraining, fine-tuning, preferences, reward model, five ways to align; no file and no network needed.
 */
#include "report.h"
#include "world.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { PROMPT_SAMPLES = 16, GROUP = 4, PREFERENCE_PROMPTS = 4000 };

typedef struct setting {
    const char *key, *value;
} setting;

static const setting pretrain_settings[] = {{"num_train_epochs", "1"},
                                            {"per_device_train_batch_size", "128"},
                                            {"learning_rate", "4e-3"},
                                            {"warmup_steps", "20"},
                                            {"lr_scheduler_type", "cosine"},
                                            {"logging_steps", "10"},
                                            {"max_length", "40"},
                                            {NULL, NULL}};
static const setting sft_settings[] = {{"num_train_epochs", "1"},
                                       {"per_device_train_batch_size", "64"},
                                       {"learning_rate", "2e-3"},
                                       {"warmup_steps", "10"},
                                       {"lr_scheduler_type", "cosine"},
                                       {"logging_steps", "5"},
                                       {"max_length", "40"},
                                       {NULL, NULL}};
static const setting reward_settings[] = {{"num_train_epochs", "2"},
                                          {"per_device_train_batch_size", "32"},
                                          {"learning_rate", "1e-3"},
                                          {"warmup_steps", "5"},
                                          {"center_rewards_coefficient", "0.01"},
                                          {"logging_steps", "5"},
                                          {"max_length", "40"},
                                          {NULL, NULL}};
static const setting raft_settings[] = {{"num_iterations", "4"},
                                        {"prompts_per_iteration", "256"},
                                        {"num_generations", "8"},
                                        {"per_device_train_batch_size", "64"},
                                        {"learning_rate", "5e-4"},
                                        {"response_length", "24"},
                                        {NULL, NULL}};
static const setting reinforce_settings[] = {{"total_episodes", "6144"},
                                             {"num_generations", "4"},
                                             {"per_device_train_batch_size", "256"},
                                             {"learning_rate", "1e-3"},
                                             {"response_length", "24"},
                                             {"kl_coef", "0.05"},
                                             {NULL, NULL}};
static const setting pairwise_settings[] = {{"total_episodes", "6144"},
                                            {"num_generations", "2"},
                                            {"per_device_train_batch_size", "256"},
                                            {"learning_rate", "1e-3"},
                                            {"response_length", "24"},
                                            {"beta", "0.05"},
                                            {NULL, NULL}};
static const setting ppo_settings[] = {{"total_episodes", "12288"},
                                       {"per_device_train_batch_size", "256"},
                                       {"num_ppo_epochs", "2"},
                                       {"num_mini_batches", "2"},
                                       {"learning_rate", "5e-4"},
                                       {"response_length", "24"},
                                       {"kl_coef", "0.05"},
                                       {"temperature", "1"},
                                       {NULL, NULL}};

/* Everything of one seed. */
typedef struct lesson {
    program *program;
    world world;
    uint64_t seed;
    const char *directory;
    rlhf_tokenizer *tokenizer;
    rlhf_scorer *judge;
    rlhf_dataset *prompts, *evaluated;
    rlhf_batch *evaluated_batch;
    rlhf_policy *sft;
    rlhf_reference *reference;
    rlhf_reward_model *reward_model;
    seed_result *result;
    method_result *recording; /* the method whose learning curve is recorded, NULL for the others */
    const char *label;
    char note[64];
} lesson;

static rlhf_status on_metrics(void *user_data, const rlhf_metrics *metrics)
{
    lesson *lesson = user_data;
    method_result *r = lesson->recording;
    double reward = NAN, gold = NAN, loss = NAN;
    for (int32_t i = 0; i < metrics->count; i++) {
        const char *name = metrics->name[i];
        if (strcmp(name, "reward") == 0 || strcmp(name, "objective/scores") == 0)
            reward = metrics->value[i];
        else if (strcmp(name, "rlhf/gold_score") == 0)
            gold = metrics->value[i];
        else if (strcmp(name, "loss") == 0)
            loss = metrics->value[i];
    }
    if (r != NULL)
        snprintf(lesson->note, sizeof lesson->note, "reward %.2f, gold %.2f", reward, gold);
    else
        snprintf(lesson->note, sizeof lesson->note, "loss %.3f", loss);
    if (r != NULL && r->curve_count < CURVE_POINTS) {
        r->curve_step[r->curve_count] = (double)metrics->step;
        r->curve_reward[r->curve_count] = reward;
        r->curve_gold[r->curve_count++] = gold;
    }
    return RLHF_OK;
}

static rlhf_status on_progress(void *user_data, const rlhf_progress *progress)
{
    lesson *lesson = user_data;
    progress_draw(lesson->program, lesson->label, progress->step, progress->total_steps, lesson->note);
    return RLHF_OK;
}

/* Runs a method; *speed (may be NULL) receives tokens per second. */
static rlhf_status train(lesson *lesson, const char *method, const setting *settings, rlhf_trainer_options *options,
                         double *speed)
{
    rlhf_recipe *recipe = NULL;
    rlhf_trainer *trainer = NULL;
    char directory[3000], seed[24];
    lesson->label = method;
    lesson->note[0] = '\0';
    rlhf_status status = rlhf_recipe_create(&recipe, lesson->program->context, method);
    for (; status == RLHF_OK && settings->key != NULL; settings++)
        status = rlhf_recipe_set(recipe, settings->key, settings->value);
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)lesson->seed);
    snprintf(directory, sizeof directory, "%s/%s-seed%llu", lesson->directory, method,
             (unsigned long long)lesson->seed);
    if (status == RLHF_OK)
        status = rlhf_recipe_set(recipe, "seed", seed);
    options->tokenizer = lesson->tokenizer;
    options->on_metrics = on_metrics;
    options->on_progress = on_progress;
    options->user_data = lesson;
    options->output_dir = directory;
    options->overwrite = 1;
    if (status == RLHF_OK)
        status = rlhf_trainer_create(&trainer, lesson->program->context, recipe, options);
    if (status == RLHF_OK)
        status = rlhf_trainer_run(trainer);
    rlhf_progress progress = {.struct_size = sizeof progress};
    if (status == RLHF_OK && speed != NULL && rlhf_trainer_progress(trainer, &progress) == RLHF_OK)
        *speed = (double)progress.tokens / fmax(progress.seconds[0], 1e-9);
    rlhf_trainer_release(&trainer);
    rlhf_recipe_release(&recipe);
    progress_clear(lesson->program);
    return status;
}

static void say(lesson *lesson, const char *what, double seconds)
{
    if (!lesson->program->quiet)
        fprintf(stderr, "  %-58s %6.1f s\n", what, seconds);
}

/* Samples prompts; texts of the responses are decoded into one block per row. */
typedef struct samples {
    rlhf_rollout *rollout;
    rlhf_rollout_view view;
    char **completion;
    double *gold;
} samples;

static void samples_free(samples *samples)
{
    for (int64_t r = 0; samples->completion != NULL && r < samples->view.rows; r++)
        free(samples->completion[r]);
    free(samples->completion);
    free(samples->gold);
    rlhf_rollout_release(&samples->rollout);
    memset(samples, 0, sizeof *samples);
}

static rlhf_status take_samples(lesson *lesson, rlhf_policy *policy, rlhf_dataset *prompts, rlhf_batch *batch,
                                int count, uint64_t stream, samples *samples)
{
    memset(samples, 0, sizeof *samples);
    rlhf_rollout_options options;
    rlhf_rollout_options_init(&options, sizeof options);
    options.max_new_tokens = 24;
    options.samples_per_prompt = count;
    options.seed = lesson->seed + stream;
    options.batch_size = 256;
    samples->view.struct_size = sizeof samples->view;
    rlhf_status status = rlhf_rollout_run(&samples->rollout, policy, batch, &options, NULL, NULL);
    if (status == RLHF_OK)
        status = rlhf_rollout_get(samples->rollout, &samples->view);
    if (status != RLHF_OK)
        return status;
    const rlhf_rollout_view *view = &samples->view;
    samples->completion = calloc((size_t)view->rows + 1, sizeof *samples->completion);
    samples->gold = calloc((size_t)view->rows + 1, sizeof *samples->gold);
    if (samples->completion == NULL || samples->gold == NULL)
        return RLHF_E_NOMEM;
    for (int64_t r = 0; status == RLHF_OK && r < view->rows; r++) {
        char line[512];
        size_t needed = 0;
        status = rlhf_tokenizer_decode(lesson->tokenizer, view->tokens + view->offset[r] + view->prompt_length[r],
                                       (size_t)(view->response_offset[r + 1] - view->response_offset[r]),
                                       RLHF_DECODE_SKIP_SPECIAL, line, sizeof line - 1, &needed);
        rlhf_row row = {.struct_size = sizeof row};
        if (status == RLHF_OK)
            status = rlhf_dataset_row(prompts, (uint64_t)(r / count), &row);
        if (status != RLHF_OK)
            break;
        line[needed] = '\0';
        samples->completion[r] = text_duplicate(line);
        const task *task = judge_task(&lesson->world, row.extra);
        if (samples->completion[r] == NULL || task == NULL)
            return RLHF_E_NOMEM;
        samples->gold[r] = view->terminated[r] ? judge_text(task, line).score : -1.0;
    }
    return status;
}

/* Shares of right, wrong and abstaining answers among chosen rows (NULL = all), and the gold score over prompts. */
static rlhf_status summarise(lesson *lesson, const samples *samples, const int64_t *rows, int64_t count, int per_prompt,
                             method_result *out)
{
    double answers[2][3] = {{0}}, all[TASK_KINDS] = {0};
    memset(out->kind_gold, 0, sizeof out->kind_gold);
    int64_t prompts = count / per_prompt;
    double *mean = calloc((size_t)prompts + 1, sizeof *mean);
    if (mean == NULL)
        return RLHF_E_NOMEM;
    for (int64_t i = 0; i < count; i++) {
        int64_t r = rows != NULL ? rows[i] : i;
        rlhf_row row = {.struct_size = sizeof row};
        rlhf_status status = rlhf_dataset_row(lesson->evaluated, (uint64_t)(r / PROMPT_SAMPLES), &row);
        const task *task = status == RLHF_OK ? judge_task(&lesson->world, row.extra) : NULL;
        if (task == NULL) {
            free(mean);
            return RLHF_E_INVAL;
        }
        mean[i / per_prompt] += samples->gold[r] / per_prompt;
        out->kind_gold[task->kind] += samples->gold[r];
        all[task->kind] += 1.0;
        if (task->kind > TASK_UNANSWERABLE)
            continue;
        verdict verdict = judge_text(task, samples->completion[r]);
        int kind = verdict.kind == VERDICT_RIGHT ? 0 : verdict.kind == VERDICT_ABSTAINS ? 1 : 2;
        answers[task->kind][kind] += 1.0;
    }
    for (int kind = 0; kind < TASK_KINDS; kind++)
        out->kind_gold[kind] /= all[kind];
    rlhf_estimate estimate;
    rlhf_status status = rlhf_evaluate_mean(mean, prompts, &estimate);
    free(mean);
    out->gold = estimate.mean;
    out->gold_error = estimate.standard_error;
    out->wrong = answers[TASK_UNANSWERABLE][2] / all[TASK_UNANSWERABLE];
    out->abstain = answers[TASK_UNANSWERABLE][1] / all[TASK_UNANSWERABLE];
    out->right = answers[TASK_ANSWERABLE][0] / all[TASK_ANSWERABLE];
    out->wrong_known = answers[TASK_ANSWERABLE][2] / all[TASK_ANSWERABLE];
    out->abstain_known = answers[TASK_ANSWERABLE][1] / all[TASK_ANSWERABLE];
    return status;
}

static void keep_examples(const samples *samples, lesson *lesson, int method, report *report)
{
    if (lesson->result != report->seeds || report->example_count > EXAMPLES)
        return;
    /* Three tasks of every kind, spread over the evaluated ones, the first sample of each. */
    int64_t prompts = samples->view.rows / PROMPT_SAMPLES;
    int taken = 0;
    for (int kind = 0; kind < TASK_KINDS; kind++) {
        int seen = 0;
        for (int64_t p = 0; p < prompts && seen < 3; p++) {
            rlhf_row row = {.struct_size = sizeof row};
            if (rlhf_dataset_row(lesson->evaluated, (uint64_t)p, &row) != RLHF_OK)
                return;
            const task *task = judge_task(&lesson->world, row.extra);
            if (task == NULL || (int)task->kind != kind || (p % 2 == 1 && kind < TASK_TONE))
                continue;
            example *example = &report->examples[taken++];
            snprintf(example->prompt, sizeof example->prompt, "%s", task->prompt);
            snprintf(example->answer[method], sizeof example->answer[0], "%.120s",
                     samples->completion[p * PROMPT_SAMPLES]);
            seen++;
        }
    }
    report->example_count = taken;
}

static rlhf_status measure(lesson *lesson, rlhf_policy *policy, int method, report *report)
{
    samples samples;
    rlhf_estimate kl;
    method_result *r = &lesson->result->method[method];
    rlhf_status status =
        take_samples(lesson, policy, lesson->evaluated, lesson->evaluated_batch, PROMPT_SAMPLES, 500, &samples);
    if (status == RLHF_OK)
        status = summarise(lesson, &samples, NULL, samples.view.rows, PROMPT_SAMPLES, r);
    if (status == RLHF_OK)
        status = rlhf_evaluate_kl(samples.rollout, lesson->reference, 1.0, 1, &kl);
    if (status == RLHF_OK) {
        r->kl = kl.mean;
        r->seed = lesson->seed;
        keep_examples(&samples, lesson, method, report);
    }
    samples_free(&samples);
    return status;
}

static rlhf_status measure_best_of_n(lesson *lesson)
{
    samples samples;
    rlhf_batch *batch = NULL;
    method_result *r = &lesson->result->method[METHOD_BEST_OF_N];
    double started = clock_seconds();
    rlhf_status status =
        take_samples(lesson, lesson->sft, lesson->evaluated, lesson->evaluated_batch, PROMPT_SAMPLES, 500, &samples);
    int64_t rows = samples.view.rows, groups = rows / GROUP;
    float *score = calloc((size_t)rows + 1, sizeof *score);
    double *proxy = calloc((size_t)rows + 1, sizeof *proxy);
    int64_t *best = calloc((size_t)groups + 1, sizeof *best);
    rlhf_estimate curve[BEST_OF_N_MAX];
    if (status == RLHF_OK && (score == NULL || proxy == NULL || best == NULL))
        status = RLHF_E_NOMEM;
    if (status == RLHF_OK)
        status = rlhf_rollout_batch(samples.rollout, &batch);
    if (status == RLHF_OK)
        status = rlhf_reward_model_score(lesson->reward_model, batch, score);
    if (status == RLHF_OK) {
        for (int64_t i = 0; i < rows; i++)
            proxy[i] = score[i];
        for (int64_t g = 0; g < groups; g++) {
            best[g] = g * GROUP;
            for (int64_t i = 1; i < GROUP; i++)
                if (proxy[g * GROUP + i] > proxy[best[g]])
                    best[g] = g * GROUP + i;
        }
        status = summarise(lesson, &samples, best, groups, PROMPT_SAMPLES / GROUP, r);
    }
    if (status == RLHF_OK)
        status = rlhf_evaluate_best_of_n(proxy, samples.gold, rows / PROMPT_SAMPLES, PROMPT_SAMPLES, curve);
    for (int n = 0; status == RLHF_OK && n < BEST_OF_N_MAX; n++)
        lesson->result->best_of_n[n] = curve[n].mean;
    r->kl = rlhf_evaluate_best_of_n_kl(GROUP);
    r->seed = lesson->seed;
    r->seconds = clock_seconds() - started;
    r->tokens_per_second = status == RLHF_OK ? (double)samples.view.offset[rows] / r->seconds : 0.0;
    free(score);
    free(proxy);
    free(best);
    rlhf_batch_release(&batch);
    samples_free(&samples);
    return status;
}

/* The model's own answers, judged: the best and the worst of four make a pair. Every fifth pair is held out. */
static rlhf_status make_preferences(lesson *lesson, rlhf_dataset *train_pairs, rlhf_dataset *test_pairs)
{
    rlhf_dataset *prompts = NULL;
    rlhf_batch *batch = NULL;
    samples samples = {0};
    int64_t made = 0;
    rlhf_status status = rlhf_dataset_create(&prompts, lesson->program->context);
    if (status == RLHF_OK)
        status = world_prompts(&lesson->world, false, PREFERENCE_PROMPTS, prompts);
    if (status == RLHF_OK)
        status = rlhf_batch_tokenize(&batch, lesson->tokenizer, prompts, 0, rlhf_dataset_rows(prompts),
                                     RLHF_TOKENIZE_SEPARATE);
    if (status == RLHF_OK)
        status = take_samples(lesson, lesson->sft, prompts, batch, GROUP, 400, &samples);
    for (int64_t p = 0; status == RLHF_OK && p < samples.view.rows / GROUP; p++) {
        int64_t best = p * GROUP, worst = best;
        for (int64_t i = p * GROUP; i < (p + 1) * GROUP; i++) {
            best = samples.gold[i] > samples.gold[best] ? i : best;
            worst = samples.gold[i] < samples.gold[worst] ? i : worst;
        }
        if (samples.gold[best] == samples.gold[worst])
            continue;
        rlhf_row row = {.struct_size = sizeof row};
        status = rlhf_dataset_row(prompts, (uint64_t)p, &row);
        rlhf_row pair = {.struct_size = sizeof pair,
                         .kind = RLHF_ROW_PREFERENCE,
                         .prompt = row.prompt,
                         .chosen = samples.completion[best],
                         .rejected = samples.completion[worst],
                         .margin = NAN};
        if (status == RLHF_OK)
            status = rlhf_dataset_append(made++ % 5 == 4 ? test_pairs : train_pairs, &pair);
    }
    lesson->result->pairs = made;
    samples_free(&samples);
    rlhf_batch_release(&batch);
    rlhf_dataset_release(&prompts);
    return status;
}

static rlhf_status calibrate(lesson *lesson, rlhf_dataset *pairs)
{
    rlhf_batch *batch = NULL;
    int64_t count = (int64_t)rlhf_dataset_rows(pairs);
    float *score = calloc(2 * (size_t)count + 1, sizeof *score);
    double *numbers = calloc(2 * (size_t)count + 1, sizeof *numbers);
    rlhf_status status = score != NULL && numbers != NULL ? RLHF_OK : RLHF_E_NOMEM;
    if (status == RLHF_OK)
        status = rlhf_batch_tokenize(&batch, lesson->tokenizer, pairs, 0, (uint64_t)count, RLHF_TOKENIZE_EOS);
    if (status == RLHF_OK)
        status = rlhf_reward_model_score(lesson->reward_model, batch, score);
    for (int64_t i = 0; status == RLHF_OK && i < 2 * count; i++)
        numbers[i] = score[i];
    lesson->result->calibration.struct_size = sizeof lesson->result->calibration;
    if (status == RLHF_OK)
        status = rlhf_evaluate_calibration(numbers, numbers + count, count, &lesson->result->calibration);
    /* From here on scores have mean 0 and deviation 1 on the SFT model's kind of answers. */
    double mean = 0.0, square = 0.0;
    for (int64_t i = 0; i < 2 * count; i++)
        mean += numbers[i] / (2.0 * (double)count);
    for (int64_t i = 0; i < 2 * count; i++)
        square += (numbers[i] - mean) * (numbers[i] - mean) / (2.0 * (double)count);
    if (status == RLHF_OK && square > 0.0)
        status = rlhf_reward_model_set_normalisation(lesson->reward_model, 1.0 / sqrt(square), -mean / sqrt(square));
    rlhf_batch_release(&batch);
    free(score);
    free(numbers);
    return status;
}

static rlhf_status learn_language(lesson *lesson)
{
    rlhf_context *context = lesson->program->context;
    rlhf_dataset *texts = NULL, *demonstrations = NULL;
    static const char config_json[] = "{\"bos_token\":\"<s>\",\"eos_token\":\"</s>\"}";
    text json = {0}, config = {0};
    rlhf_status status = world_tokenizer(&lesson->world, &json) ? RLHF_OK : RLHF_E_NOMEM;
    if (status == RLHF_OK)
        status =
            rlhf_tokenizer_create(&lesson->tokenizer, context, json.data, json.size, config_json, strlen(config_json));
    text_add(&config, "{%s,\"vocab_size\":%d}", world_config(), rlhf_tokenizer_vocabulary(lesson->tokenizer));
    if (status == RLHF_OK)
        status = rlhf_policy_create(&lesson->sft, context, config.data, config.size, lesson->seed, NULL);
    text_free(&json);
    text_free(&config);

    double started = clock_seconds();
    rlhf_trainer_options options;
    rlhf_trainer_options_init(&options, sizeof options);
    if (status == RLHF_OK)
        status = rlhf_dataset_create(&texts, context);
    if (status == RLHF_OK)
        status = world_texts(&lesson->world, 100000, texts);
    options.policy = lesson->sft;
    options.dataset = texts;
    if (status == RLHF_OK)
        status = train(lesson, "pretrain", pretrain_settings, &options, NULL);
    if (status == RLHF_OK)
        say(lesson, "pretrained on 100000 texts", clock_seconds() - started);

    started = clock_seconds();
    if (status == RLHF_OK)
        status = rlhf_dataset_create(&demonstrations, context);
    if (status == RLHF_OK)
        status = world_demonstrations(&lesson->world, 8000, demonstrations);
    options.dataset = demonstrations;
    if (status == RLHF_OK)
        status = train(lesson, "sft", sft_settings, &options, &lesson->result->method[METHOD_SFT].tokens_per_second);
    lesson->result->method[METHOD_SFT].seconds = clock_seconds() - started;
    if (status == RLHF_OK)
        say(lesson, "fine-tuned on 8000 demonstrations", clock_seconds() - started);
    rlhf_dataset_release(&texts);
    rlhf_dataset_release(&demonstrations);
    return status;
}

static rlhf_status learn_rewards(lesson *lesson)
{
    rlhf_context *context = lesson->program->context;
    rlhf_dataset *train_pairs = NULL, *test_pairs = NULL;
    double started = clock_seconds();
    rlhf_status status = rlhf_dataset_create(&train_pairs, context);
    if (status == RLHF_OK)
        status = rlhf_dataset_create(&test_pairs, context);
    if (status == RLHF_OK)
        status = make_preferences(lesson, train_pairs, test_pairs);
    if (status == RLHF_OK)
        status = rlhf_reward_model_from_policy(&lesson->reward_model, lesson->sft, lesson->seed);
    rlhf_trainer_options options;
    rlhf_trainer_options_init(&options, sizeof options);
    options.reward_model = lesson->reward_model;
    options.dataset = train_pairs;
    if (status == RLHF_OK)
        status = train(lesson, "reward", reward_settings, &options, NULL);
    if (status == RLHF_OK)
        status = calibrate(lesson, test_pairs);
    char line[96];
    snprintf(line, sizeof line, "reward model from %lld judged pairs: %.1f %% right on held-out ones",
             (long long)lesson->result->pairs, 100.0 * lesson->result->calibration.accuracy);
    if (status == RLHF_OK)
        say(lesson, line, clock_seconds() - started);
    rlhf_dataset_release(&train_pairs);
    rlhf_dataset_release(&test_pairs);
    return status;
}

static rlhf_status align(lesson *lesson, int method, const char *name, const setting *settings, report *report)
{
    rlhf_policy *policy = NULL;
    method_result *r = &lesson->result->method[method];
    double started = clock_seconds();
    rlhf_status status = rlhf_policy_clone(&policy, lesson->sft);
    rlhf_trainer_options options;
    rlhf_trainer_options_init(&options, sizeof options);
    options.policy = policy;
    options.reference = lesson->reference;
    options.reward_model = lesson->reward_model;
    options.gold_scorer = lesson->judge;
    options.dataset = lesson->prompts;
    lesson->recording = r;
    if (status == RLHF_OK)
        status = train(lesson, name, settings, &options, &r->tokens_per_second);
    lesson->recording = NULL;
    r->seconds = clock_seconds() - started;
    if (status == RLHF_OK)
        status = measure(lesson, policy, method, report);
    char line[96];
    snprintf(line, sizeof line, "%s: gold score %+.3f +- %.3f at KL %.2f", name, r->gold, r->gold_error, r->kl);
    if (status == RLHF_OK)
        say(lesson, line, r->seconds);
    rlhf_policy_release(&policy);
    return status;
}

static rlhf_status run_seed(lesson *lesson, report *report)
{
    rlhf_context *context = lesson->program->context;
    double started = clock_seconds();
    world_make(&lesson->world, lesson->seed);
    rlhf_status status = learn_language(lesson);
    if (status == RLHF_OK)
        status = judge_scorer(&lesson->judge, context, &lesson->world);
    if (status == RLHF_OK)
        status = rlhf_reference_freeze(&lesson->reference, lesson->sft);
    if (status == RLHF_OK)
        status = rlhf_dataset_create(&lesson->prompts, context);
    if (status == RLHF_OK)
        status = world_prompts(&lesson->world, false, 4096, lesson->prompts);
    if (status == RLHF_OK)
        status = rlhf_dataset_create(&lesson->evaluated, context);
    if (status == RLHF_OK)
        status = world_prompts(&lesson->world, true, 0, lesson->evaluated);
    if (status == RLHF_OK)
        status = rlhf_batch_tokenize(&lesson->evaluated_batch, lesson->tokenizer, lesson->evaluated, 0,
                                     rlhf_dataset_rows(lesson->evaluated), RLHF_TOKENIZE_SEPARATE);
    if (status == RLHF_OK)
        status = learn_rewards(lesson);
    if (status == RLHF_OK)
        status = measure(lesson, lesson->sft, METHOD_SFT, report);
    if (status == RLHF_OK)
        status = measure_best_of_n(lesson);
    if (status == RLHF_OK)
        status = align(lesson, METHOD_RAFT, "raft", raft_settings, report);
    if (status == RLHF_OK)
        status = align(lesson, METHOD_REINFORCE, "reinforce", reinforce_settings, report);
    if (status == RLHF_OK)
        status = align(lesson, METHOD_PAIRWISE, "pairwise", pairwise_settings, report);
    if (status == RLHF_OK)
        status = align(lesson, METHOD_PPO, "ppo", ppo_settings, report);
    if (status == RLHF_OK && report->models[0][0] == '\0') {
        rlhf_policy_describe(lesson->sft, report->models[0], sizeof report->models[0]);
        rlhf_reward_model_describe(lesson->reward_model, report->models[1], sizeof report->models[1]);
    }
    lesson->result->seed = lesson->seed;
    lesson->result->seconds = clock_seconds() - started;
    return status;
}

static void lesson_free(lesson *lesson)
{
    rlhf_reward_model_release(&lesson->reward_model);
    rlhf_reference_release(&lesson->reference);
    rlhf_policy_release(&lesson->sft);
    rlhf_batch_release(&lesson->evaluated_batch);
    rlhf_dataset_release(&lesson->evaluated);
    rlhf_dataset_release(&lesson->prompts);
    rlhf_scorer_release(&lesson->judge);
    rlhf_tokenizer_release(&lesson->tokenizer);
    free(lesson);
}

int command_quickstart(program *program, arguments *arguments)
{
    const char *directory = arguments_text(arguments, "out", "rlhf-quickstart");
    uint64_t seed = (uint64_t)arguments_integer(arguments, "seed", 0, 0, INT32_MAX);
    int seeds = (int)arguments_integer(arguments, "seeds", 1, 1, SEEDS_MAX);
    if (!arguments_finish(arguments))
        return EXIT_USAGE;
    if (mkdir(directory, 0777) != 0 && errno != EEXIST) {
        fprintf(stderr, "rlhf: %s: cannot be made: %s\n", directory, strerror(errno));
        return EXIT_FAILED;
    }
    report *report = calloc(1, sizeof *report);
    if (report != NULL)
        report->seeds = calloc((size_t)seeds, sizeof *report->seeds);
    if (report == NULL || report->seeds == NULL) {
        free(report);
        return program_fail(program, RLHF_E_NOMEM, "quickstart");
    }
    rlhf_context_describe(program->context, report->machine, sizeof report->machine);
    rlhf_status status = RLHF_OK;
    for (int s = 0; status == RLHF_OK && s < seeds; s++) {
        lesson *lesson = calloc(1, sizeof *lesson);
        if (lesson == NULL) {
            status = RLHF_E_NOMEM;
            break;
        }
        lesson->program = program;
        lesson->seed = seed + (uint64_t)s;
        lesson->directory = directory;
        lesson->result = &report->seeds[s];
        if (!program->quiet)
            fprintf(stderr, "seed %llu\n", (unsigned long long)lesson->seed);
        status = run_seed(lesson, report);
        report->seed_count = s + 1;
        lesson_free(lesson);
    }
    int result = EXIT_DONE;
    char path[4096];
    if (status != RLHF_OK) {
        result = program_fail(program, status, "quickstart");
    } else {
        snprintf(path, sizeof path, "%s/summary.json", directory);
        result = report_json(report, path) ? EXIT_DONE : EXIT_FAILED;
        snprintf(path, sizeof path, "%s/report.html", directory);
        if (result == EXIT_DONE && !report_html(report, path))
            result = EXIT_FAILED;
    }
    if (result == EXIT_DONE && !program->quiet) {
        putchar('\n');
        report_table(report, stdout);
        puts("\nbefore and after:");
        for (int i = 0; i < report->example_count; i += 3) {
            const example *example = &report->examples[i];
            printf("  %-34s SFT:%s  PPO:%s\n", example->prompt, example->answer[METHOD_SFT],
                   example->answer[METHOD_PPO]);
        }
        printf("\n%s/report.html shows it in pictures; %s/summary.json has the numbers\n", directory, directory);
    }
    free(report->seeds);
    free(report);
    return result;
}
