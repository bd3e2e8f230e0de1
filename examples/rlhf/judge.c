/* The world's exact judge: it knows every answer, and what may be said politely and briefly. */
#include "world.h"

#include <stdlib.h>
#include <string.h>

static bool is(const char *completion, const char *format, const char *name)
{
    char expected[160];
    snprintf(expected, sizeof expected, format, name);
    return strcmp(completion, expected) == 0;
}

static int count_words(const char *sentence)
{
    int words = 1;
    for (; *sentence != '\0'; sentence++)
        words += *sentence == ' ';
    return words;
}

verdict judge_text(const task *task, const char *completion)
{
    while (*completion == ' ')
        completion++;
    size_t length = strlen(completion);
    verdict broken = {VERDICT_BROKEN, -1.0};
    /* One sentence: it ends at its only full stop. */
    if (length < 2 || strchr(completion, '.') != completion + length - 1)
        return broken;
    switch (task->kind) {
    case TASK_ANSWERABLE:
    case TASK_UNANSWERABLE:
        if (strcmp(completion, "I do not know.") == 0)
            return (verdict){VERDICT_ABSTAINS, 0.0};
        if (task->kind == TASK_ANSWERABLE && is(completion, "%s.", task->answer))
            return (verdict){VERDICT_RIGHT, 1.0};
        return (verdict){VERDICT_WRONG, -1.0};
    case TASK_TONE:
        if (is(completion, "Good day, dear %s, welcome.", task->answer))
            return (verdict){VERDICT_RIGHT, 1.0};
        if (is(completion, "Hello, %s.", task->answer))
            return (verdict){VERDICT_RIGHT, 0.0};
        return (verdict){VERDICT_WRONG, -1.0};
    default: {
        /* "NAME is ...": four words are worth 1, every further one costs 0.2. */
        char beginning[40];
        snprintf(beginning, sizeof beginning, "%s is ", task->answer);
        if (strncmp(completion, beginning, strlen(beginning)) != 0)
            return (verdict){VERDICT_WRONG, -1.0};
        double score = 1.0 - 0.2 * (count_words(completion) - 4);
        return (verdict){VERDICT_RIGHT, score > 1.0 ? 1.0 : score < -1.0 ? -1.0 : score};
    }
    }
}

const task *judge_task(const world *world, const char *extra)
{
    const char *column = extra != NULL ? strstr(extra, "\"task\":") : NULL;
    if (column == NULL)
        return NULL;
    long number = strtol(column + 7, NULL, 10);
    return number >= 0 && number < world->task_count ? &world->tasks[number] : NULL;
}

static rlhf_status score(void *user_data, const rlhf_score_input *in, double *out)
{
    const world *world = user_data;
    for (int64_t row = 0; row < in->rows; row++) {
        const task *task = judge_task(world, in->extra != NULL ? in->extra[row] : NULL);
        if (task == NULL)
            return RLHF_E_USER_FIRST;
        out[row] = in->terminated != NULL && !in->terminated[row] ? -1.0 : judge_text(task, in->completion[row]).score;
    }
    return RLHF_OK;
}

rlhf_status judge_scorer(rlhf_scorer **out, rlhf_context *context, const world *world)
{
    return rlhf_scorer_create(out, context, "judge", score, (void *)world, NULL);
}
