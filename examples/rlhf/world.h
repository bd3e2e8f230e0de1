/* A small world that the program makes itself: lands with rivers and kings, some written about and some not. It knows
 * every right answer, so its judge is exact. */
#ifndef RLHF_WORLD_H
#define RLHF_WORLD_H

#include "program.h"

enum { KNOWN_LANDS = 40, UNKNOWN_LANDS = 48, RELATIONS = 3, VALUES = 16, PEOPLE = 64, TASKS_MAX = 400 };

enum task_kind { TASK_ANSWERABLE = 0, TASK_UNANSWERABLE = 1, TASK_TONE = 2, TASK_BREVITY = 3, TASK_KINDS = 4 };
enum verdict_kind { VERDICT_RIGHT, VERDICT_ABSTAINS, VERDICT_WRONG, VERDICT_BROKEN };

typedef struct task {
    enum task_kind kind;
    bool held_out;  /* a question that is never in fine-tuning, preferences or reinforcement learning */
    bool evaluated; /* the held-out questions, and every fourth person's tasks */
    int subject, relation;
    char prompt[96];
    char answer[32]; /* ANSWERABLE: the one right answer, else the subject's name */
} task;

typedef struct world {
    uint64_t state;                             /* of its random numbers */
    char land[KNOWN_LANDS + UNKNOWN_LANDS][16]; /* the first KNOWN_LANDS are written about */
    char value[RELATIONS][VALUES][16];
    char person[PEOPLE][16];
    int fact[KNOWN_LANDS][RELATIONS]; /* index of a value */
    task tasks[TASKS_MAX];
    int task_count;
} world;

void world_make(world *world, uint64_t seed);
uint64_t world_random(world *world, uint64_t bound);
/* tokenizer.json of a byte-level BPE whose tokens are the world's words. */
bool world_tokenizer(const world *world, text *json);
const char *world_config(void); /* head of a config.json; the vocabulary's size and token ids follow */

/* Plain texts: facts about known lands in two wordings, travel notes about all lands. */
rlhf_status world_texts(world *world, int rows, rlhf_dataset *out);
/* Demonstrations by people who know more than the model: they answer everything, a few admit ignorance. */
rlhf_status world_demonstrations(world *world, int rows, rlhf_dataset *out);
/* Prompts with their number in the extra column "task": rows of them drawn for training, or each evaluated one once. */
rlhf_status world_prompts(world *world, bool evaluated, int rows, rlhf_dataset *out);

/* judge.c: the exact judge. */
typedef struct verdict {
    enum verdict_kind kind;
    double score; /* questions: 1 right, 0 "I do not know", -1 wrong; tone and brevity: -1 to 1 */
} verdict;
verdict judge_text(const task *task, const char *completion);
const task *judge_task(const world *world, const char *extra); /* the row's task, NULL if its column is missing */
rlhf_status judge_scorer(rlhf_scorer **out, rlhf_context *context, const world *world); /* borrows the world */

#endif
