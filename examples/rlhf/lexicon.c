/* A judge that knows only words: mean valence after VADER's lexicon (Hutto & Gilbert 2014), with negation. It is the
 * gold score of the stories recipe, and an example of a scorer in plain C. */
#include "program.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

typedef struct entry {
    char *word;
    double valence;
} entry;

typedef struct lexicon {
    entry *entries;
    size_t count, capacity;
} lexicon;

static int by_word(const void *a, const void *b)
{
    return strcmp(((const entry *)a)->word, ((const entry *)b)->word);
}

static void lexicon_free(void *user_data)
{
    lexicon *lexicon = user_data;
    if (lexicon == NULL)
        return;
    for (size_t i = 0; i < lexicon->count; i++)
        free(lexicon->entries[i].word);
    free(lexicon->entries);
    free(lexicon);
}

static double valence(const lexicon *lexicon, const char *word)
{
    entry key = {.word = (char *)word};
    const entry *found = bsearch(&key, lexicon->entries, lexicon->count, sizeof key, by_word);
    return found != NULL ? found->valence : 0.0;
}

static bool negates(const char *word)
{
    static const char *const words[] = {"not",    "no",       "never", "didn't", "don't",
                                        "wasn't", "couldn't", "can't", "without"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp(word, words[i]) == 0)
            return true;
    return false;
}

/* Sum of valences over the square root of the number of words: long happy stories do not win by length alone. */
static double judge(const lexicon *lexicon, const char *text)
{
    double sum = 0.0, words = 0.0;
    int since_negation = 3;
    char word[64];
    while (*text != '\0') {
        size_t length = 0;
        while (*text != '\0' && !isalpha((unsigned char)*text))
            text++;
        while (isalpha((unsigned char)*text) || (*text == '\'' && isalpha((unsigned char)text[1]))) {
            if (length + 1 < sizeof word)
                word[length++] = (char)tolower((unsigned char)*text);
            text++;
        }
        if (length == 0)
            break;
        word[length] = '\0';
        words += 1.0;
        /* 0.74 is VADER's damping of negated words. */
        sum += valence(lexicon, word) * (since_negation < 3 ? -0.74 : 1.0);
        since_negation = negates(word) ? 0 : since_negation + 1;
    }
    if (words == 0.0)
        return 0.0;
    double root = 1.0; /* Newton: the square root without a call that differs between machines */
    for (int i = 0; i < 40; i++)
        root = 0.5 * (root + words / root);
    return sum / root;
}

static rlhf_status score(void *user_data, const rlhf_score_input *in, double *out)
{
    for (int64_t row = 0; row < in->rows; row++)
        out[row] = judge(user_data, in->completion[row]);
    return RLHF_OK;
}

static bool add(lexicon *lexicon, const char *word, size_t length, double value)
{
    if (lexicon->count == lexicon->capacity) {
        size_t capacity = lexicon->capacity * 2 + 1024;
        entry *larger = realloc(lexicon->entries, capacity * sizeof *larger);
        if (larger == NULL)
            return false;
        lexicon->entries = larger;
        lexicon->capacity = capacity;
    }
    char *copy = malloc(length + 1);
    if (copy == NULL)
        return false;
    memcpy(copy, word, length);
    copy[length] = '\0';
    lexicon->entries[lexicon->count++] = (entry){copy, value};
    return true;
}

rlhf_status lexicon_scorer(rlhf_scorer **out, rlhf_context *context, const char *path, char *why, size_t capacity)
{
    *out = NULL;
    why[0] = '\0';
    FILE *file = fopen(path, "rb");
    lexicon *lexicon = calloc(1, sizeof *lexicon);
    if (file == NULL || lexicon == NULL) {
        snprintf(why, capacity, "%s: cannot be opened", path);
        if (file != NULL)
            fclose(file);
        lexicon_free(lexicon);
        return RLHF_E_IO;
    }
    char line[1024];
    bool good = true;
    for (long number = 1; good && fgets(line, sizeof line, file) != NULL; number++) {
        char *tab = strchr(line, '\t');
        if (number == 1 && (unsigned char)line[0] == 0x1f && (unsigned char)line[1] == 0x8b) {
            snprintf(why, capacity, "%s: is compressed (gunzip it first)", path);
            good = false;
        } else if (tab != NULL) {
            double value;
            char *end = tab + 1;
            while (*end != '\0' && *end != '\t' && *end != '\n')
                end++;
            *end = '\0';
            if (!parse_number(tab + 1, &value)) {
                snprintf(why, capacity, "%s:%ld: \"%.40s\" is no valence", path, number, tab + 1);
                good = false;
            } else if (!add(lexicon, line, (size_t)(tab - line), value)) {
                snprintf(why, capacity, "%s: no memory", path);
                good = false;
            }
        }
    }
    fclose(file);
    if (good && lexicon->count == 0) {
        snprintf(why, capacity, "%s: no lines of word, tab, valence", path);
        good = false;
    }
    if (!good) {
        lexicon_free(lexicon);
        return RLHF_E_FORMAT;
    }
    qsort(lexicon->entries, lexicon->count, sizeof *lexicon->entries, by_word);
    return rlhf_scorer_create(out, context, "lexicon", score, lexicon, lexicon_free);
}

int scorer_from_text(program *program, const char *text, rlhf_scorer **out)
{
    if (strncmp(text, "lexicon:", 8) == 0) {
        char why[400];
        rlhf_status status = lexicon_scorer(out, program->context, text + 8, why, sizeof why);
        if (status == RLHF_OK)
            return EXIT_DONE;
        if (why[0] != '\0') {
            fprintf(stderr, "rlhf: %s\n", why);
            return EXIT_FAILED;
        }
        return program_fail(program, status, text);
    }
    if (rlhf_plugin_has_scorer(program->context, text)) {
        rlhf_status status = rlhf_plugin_scorer(out, program->context, text);
        return status == RLHF_OK ? EXIT_DONE : program_fail(program, status, "");
    }
    rlhf_reward_model *model = NULL;
    rlhf_status status = rlhf_reward_model_load(&model, program->context, text, &program->formats);
    if (status == RLHF_OK)
        status = rlhf_scorer_from_reward_model(out, model);
    rlhf_reward_model_release(&model);
    return status == RLHF_OK ? EXIT_DONE : program_fail(program, status, text);
}
