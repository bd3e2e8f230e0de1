/* Prompts from the command line to a rollout: what generate, best-of-n and eval share. */
#ifndef RLHF_SAMPLE_H
#define RLHF_SAMPLE_H

#include "program.h"

typedef struct sample {
    rlhf_tokenizer *tokenizer;
    rlhf_policy *policy;
    rlhf_dataset *prompts;
    rlhf_batch *batch;
    rlhf_rollout *rollout;
    rlhf_rollout_view view;
    rlhf_rollout_options options;
} sample;

/* Reads --model, --prompt or --data, --rows and the sampling options. Call arguments_finish afterwards. */
int sample_open(program *program, arguments *arguments, int default_n, sample *sample);
int sample_run(program *program, sample *sample);
/* Scores every row of the rollout; score [view.rows], allocated with malloc. */
int sample_score(program *program, sample *sample, rlhf_scorer *scorer, double **score);
/* Decoded response of a row, malloc'ed, NULL on failure. */
char *sample_text(sample *sample, int64_t row, size_t *bytes);
void sample_close(sample *sample);

#endif
