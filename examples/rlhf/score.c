/* score: numbers for prompts with completions, or for pairs. */
#include "program.h"

#include <stdlib.h>
#include <string.h>

/* Scores rows of a batch made from the dataset; pairs give chosen first, then rejected. */
static rlhf_status score_all(rlhf_scorer *scorer, rlhf_tokenizer *tokenizer, rlhf_dataset *dataset, bool pairs,
                             double *score)
{
    enum { SLICE = 256 };
    uint64_t rows = rlhf_dataset_rows(dataset);
    for (uint64_t first = 0; first < rows; first += SLICE) {
        uint64_t count = rows - first < SLICE ? rows - first : SLICE;
        rlhf_batch *batch = NULL;
        rlhf_batch_view view = {.struct_size = sizeof view};
        const char *prompt[2 * SLICE], *completion[2 * SLICE], *extra[2 * SLICE];
        int32_t terminated[2 * SLICE];
        double part[2 * SLICE];
        rlhf_status status = rlhf_batch_tokenize(&batch, tokenizer, dataset, first, count, RLHF_TOKENIZE_EOS);
        if (status == RLHF_OK)
            status = rlhf_batch_get(batch, &view);
        for (uint64_t i = 0; status == RLHF_OK && i < count; i++) {
            rlhf_row row = {.struct_size = sizeof row};
            status = rlhf_dataset_row(dataset, first + i, &row);
            prompt[i] = row.prompt != NULL ? row.prompt : "";
            completion[i] = pairs ? row.chosen : row.completion != NULL ? row.completion : row.text;
            extra[i] = row.extra;
            terminated[i] = 1;
            if (pairs) {
                prompt[count + i] = prompt[i];
                completion[count + i] = row.rejected;
                extra[count + i] = row.extra;
                terminated[count + i] = 1;
            }
        }
        rlhf_score_input in = {.struct_size = sizeof in,
                               .rows = view.rows,
                               .offset = view.offset,
                               .tokens = view.tokens,
                               .prompt_length = view.prompt_length,
                               .prompt = prompt,
                               .completion = completion,
                               .extra = extra,
                               .terminated = terminated};
        if (status == RLHF_OK)
            status = rlhf_scorer_run(scorer, tokenizer, &in, part);
        rlhf_batch_release(&batch);
        if (status != RLHF_OK)
            return status;
        memcpy(score + first, part, count * sizeof *score);
        if (pairs)
            memcpy(score + rows + first, part + count, count * sizeof *score);
    }
    return RLHF_OK;
}

int command_score(program *program, arguments *arguments)
{
    const char *judge = arguments_required(arguments, "scorer"), *data = arguments_required(arguments, "data");
    const char *path = arguments_text(arguments, "out", NULL);
    const char *tokenizer_path = arguments_text(arguments, "tokenizer", NULL);
    rlhf_dataset_options options = arguments_dataset(arguments);
    program->formats = arguments_formats(arguments);
    (void)arguments_text(arguments, "seed", NULL);
    if (!arguments_finish(arguments))
        return EXIT_USAGE;
    bool lexicon = strncmp(judge, "lexicon:", 8) == 0;
    if (tokenizer_path == NULL && lexicon)
        return program_usage("score: a lexicon has no tokenizer: give --tokenizer DIR");
    rlhf_scorer *scorer = NULL;
    rlhf_tokenizer *tokenizer = NULL;
    rlhf_dataset *dataset = NULL;
    double *score = NULL;
    int result = scorer_from_text(program, judge, &scorer);
    if (result != EXIT_DONE)
        return result;
    rlhf_status status =
        rlhf_tokenizer_load(&tokenizer, program->context, tokenizer_path != NULL ? tokenizer_path : judge);
    if (status == RLHF_OK)
        status = rlhf_dataset_load(&dataset, program->context, data, &options);
    uint64_t rows = rlhf_dataset_rows(dataset);
    rlhf_row first = {.struct_size = sizeof first};
    bool pairs = status == RLHF_OK && rows > 0 && rlhf_dataset_row(dataset, 0, &first) == RLHF_OK &&
                 first.kind == RLHF_ROW_PREFERENCE;
    if (status == RLHF_OK) {
        score = calloc((size_t)rows * 2 + 1, sizeof *score);
        status = score != NULL ? score_all(scorer, tokenizer, dataset, pairs, score) : RLHF_E_NOMEM;
    }
    if (status != RLHF_OK) {
        result = program_fail(program, status, data);
        goto done;
    }
    char temporary[4096];
    FILE *file = path != NULL ? file_begin(path, temporary, sizeof temporary) : stdout;
    if (file == NULL) {
        result = EXIT_FAILED;
        goto done;
    }
    for (uint64_t i = 0; i < rows; i++) {
        fprintf(file, "{\"row\": %llu, \"%s\": ", (unsigned long long)i, pairs ? "chosen" : "score");
        json_number(file, score[i]);
        if (pairs) {
            fputs(", \"rejected\": ", file);
            json_number(file, score[rows + i]);
        }
        fputs("}\n", file);
    }
    if (path != NULL && !file_commit(file, temporary, path))
        result = EXIT_FAILED;
done:
    free(score);
    rlhf_dataset_release(&dataset);
    rlhf_tokenizer_release(&tokenizer);
    rlhf_scorer_release(&scorer);
    return result;
}
