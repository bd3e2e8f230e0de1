/* run: the stages of a pipeline, one after another; finished ones are skipped on --resume. */
#include "program.h"

#include <string.h>
#include <unistd.h>

static bool finished(rlhf_recipe *recipe)
{
    char directory[3000], receipt[3100];
    size_t needed = 0;
    if (rlhf_recipe_get(recipe, "output_dir", directory, sizeof directory, &needed) != RLHF_OK)
        return false;
    snprintf(receipt, sizeof receipt, "%s/receipt.json", directory);
    return access(receipt, F_OK) == 0;
}

int command_run(program *program, arguments *arguments)
{
    const char *path = arguments_word(arguments, 0);
    const char *directory = arguments_text(arguments, "out", "runs");
    bool resume = arguments_flag(arguments, "resume"), overwrite = arguments_flag(arguments, "overwrite");
    (void)arguments_text(arguments, "seed", NULL);
    if (path == NULL)
        return program_usage("run: a pipeline file is needed (try rlhf run --help)");
    if (!arguments_finish(arguments))
        return EXIT_USAGE;
    rlhf_pipeline *pipeline = NULL;
    rlhf_status status = rlhf_pipeline_load(&pipeline, program->context, path, directory);
    if (status != RLHF_OK)
        return program_fail(program, status, path);
    int result = EXIT_DONE;
    for (int64_t i = 0; result == EXIT_DONE && i < rlhf_pipeline_stages(pipeline); i++) {
        rlhf_pipeline_stage stage = {.struct_size = sizeof stage};
        if (rlhf_pipeline_get(pipeline, i, &stage) != RLHF_OK)
            break;
        if (resume && finished(stage.recipe)) {
            if (!program->quiet)
                fprintf(stderr, "%s: finished before\n", stage.name);
            continue;
        }
        rlhf_trainer_options options;
        rlhf_trainer_options_init(&options, sizeof options);
        options.resume = resume;
        options.overwrite = overwrite;
        rlhf_scorer *scorer = NULL, *gold = NULL;
        if (stage.scorer != NULL)
            result = scorer_from_text(program, stage.scorer, &scorer);
        if (result == EXIT_DONE && stage.gold != NULL)
            result = scorer_from_text(program, stage.gold, &gold);
        options.scorer = scorer;
        options.gold_scorer = gold;
        if (result == EXIT_DONE)
            result = train_recipe(program, stage.recipe, &options, stage.name);
        rlhf_scorer_release(&scorer);
        rlhf_scorer_release(&gold);
    }
    rlhf_pipeline_release(&pipeline);
    return result;
}
