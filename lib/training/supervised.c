/* Pretraining and supervised fine-tuning: the same step over rows that are tokenised once at the start. Pretraining
 * counts every token of a document, fine-tuning those of the completion where there is a prompt. */
#include "training/training.h"

enum { COMPLETION_AUTO, COMPLETION_ONLY, COMPLETION_AND_PROMPT };

/* Whole texts count from their second token: nothing stands before the first. */
static void count_from_the_second(rlhfi_examples *examples)
{
    for (uint64_t i = 0; i < examples->rows; i++)
        examples->first[i].prompt_length = examples->first[i].length > 0 ? 1 : 0;
}

static rlhf_status make_examples(rlhfi_trainer *trainer, const rlhf_dataset *dataset, const char *what,
                                 rlhfi_examples **out)
{
    int64_t positions = trainer->policy->model->architecture.positions;
    int64_t length = rlhfi_recipe_integer(trainer->recipe, "max_length");
    rlhfi_examples_options options = {.tokenize_flags = RLHF_TOKENIZE_EOS,
                                      .truncation = RLHFI_TRUNCATE_KEEP_START,
                                      .split_long = trainer->method == RLHFI_PRETRAIN};
    int32_t choice = trainer->method == RLHFI_SFT ? rlhfi_recipe_choice(trainer->recipe, "completion_only_loss")
                                                  : COMPLETION_AND_PROMPT;

    options.max_length = length == 0 || length > positions ? positions : length;
    RLHFI_TRY(rlhfi_examples_build(out, trainer->tokenizer, dataset, &options));
    if ((*out)->rows == 0)
        return rlhfi_fail(trainer->context, RLHF_E_INVAL, "%s: no row is left to train on", what);
    if ((*out)->kind != RLHF_ROW_TEXT &&
        (trainer->method == RLHFI_PRETRAIN || (*out)->kind != RLHF_ROW_PROMPT_COMPLETION))
        return rlhfi_fail(trainer->context, RLHF_E_INVAL, "%s: %s", what,
                          trainer->method == RLHFI_PRETRAIN
                              ? "pretraining needs rows with text"
                              : "sft needs rows with text, or with prompt and completion");
    if ((*out)->kind == RLHF_ROW_TEXT && choice == COMPLETION_ONLY)
        return rlhfi_fail(trainer->context, RLHF_E_INVAL,
                          "%s: completion_only_loss is true, but rows have no completion", what);
    if ((*out)->kind == RLHF_ROW_TEXT || choice == COMPLETION_AND_PROMPT)
        count_from_the_second(*out);
    return RLHF_OK;
}

static rlhf_status prepare(rlhfi_trainer *trainer)
{
    RLHFI_TRY(make_examples(trainer, trainer->dataset, "dataset", &trainer->examples));
    if (trainer->eval_dataset != NULL)
        RLHFI_TRY(make_examples(trainer, trainer->eval_dataset, "eval_dataset", &trainer->eval_examples));
    RLHFI_TRY(rlhfi_plan_epochs(trainer));
    return rlhfi_setup_role(trainer, "policy", trainer->policy->model);
}

static rlhf_status step(rlhfi_trainer *trainer)
{
    rlhfi_accumulation rows;
    const rlhfi_sequence **sequences;

    RLHFI_TRY(rlhfi_accumulation_draw(trainer, &rows));
    sequences = rlhfi_arena_alloc(trainer->arena, (size_t)rows.rows, sizeof *sequences);
    if (sequences == NULL)
        return RLHF_E_NOMEM;
    for (int64_t i = 0; i < rows.rows; i++)
        sequences[i] = &trainer->examples->first[rows.row[i]];
    RLHFI_TRY(rlhfi_trainer_phase(trainer, RLHF_PHASE_UPDATE));
    RLHFI_TRY(rlhfi_token_step(trainer, sequences, rows.first, rows.micro_batches));
    rlhfi_meter_last(&trainer->state.meters, "num_tokens", (double)trainer->state.tokens);
    rlhfi_meter_last(&trainer->state.meters, "epoch", rlhfi_epoch(trainer));
    return RLHF_OK;
}

static rlhf_status evaluate(rlhfi_trainer *trainer, rlhfi_meters *meters)
{
    return rlhfi_token_evaluate(trainer, trainer->eval_examples, meters);
}

const rlhfi_method_table rlhfi_supervised = {prepare, step, evaluate};
