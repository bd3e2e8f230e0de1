/* What quickstart found, and the page that shows it. */
#ifndef RLHF_REPORT_H
#define RLHF_REPORT_H

#include "program.h"

enum { METHOD_SFT, METHOD_BEST_OF_N, METHOD_RAFT, METHOD_REINFORCE, METHOD_PAIRWISE, METHOD_PPO, METHODS };
enum { CURVE_POINTS = 256, EXAMPLES = 12, BEST_OF_N_MAX = 16, SEEDS_MAX = 16 };
extern const char *const method_names[METHODS];

typedef struct method_result {
    uint64_t seed;
    double gold, gold_error, kl;
    double wrong, abstain;                    /* unanswerable questions: invented answers, "I do not know" */
    double right, wrong_known, abstain_known; /* answerable questions */
    double kind_gold[4];                      /* gold score by kind of task, in the world's order */
    double tokens_per_second, seconds;
    int curve_count;
    double curve_step[CURVE_POINTS], curve_reward[CURVE_POINTS], curve_gold[CURVE_POINTS];
} method_result;

typedef struct seed_result {
    uint64_t seed;
    method_result method[METHODS];
    double best_of_n[BEST_OF_N_MAX]; /* expected gold score of best-of-n by the reward model */
    rlhf_calibration calibration;
    int64_t pairs;
    double seconds;
} seed_result;

typedef struct example {
    char prompt[96], answer[METHODS][128];
} example;

typedef struct report {
    seed_result *seeds;
    int seed_count;
    example examples[EXAMPLES];
    int example_count;
    char machine[512], models[2][160];
} report;

void report_table(const report *report, FILE *file);
bool report_json(const report *report, const char *path);
bool report_html(const report *report, const char *path);

#endif
