#include "world.h"

#include <math.h>
#include <string.h>

static const char *const relations[RELATIONS] = {"capital", "river", "king"};

uint64_t world_random(world *w, uint64_t bound)
{
    /* splitmix64 (Steele, Lea & Flood 2014); the bias of the remainder is below 2^-50 for such small bounds */
    uint64_t z = w->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % bound;
}

static bool name_taken(const world *w, const char *name)
{
    for (int i = 0; i < KNOWN_LANDS + UNKNOWN_LANDS; i++)
        if (strcmp(w->land[i], name) == 0)
            return true;
    for (int r = 0; r < RELATIONS; r++)
        for (int i = 0; i < VALUES; i++)
            if (strcmp(w->value[r][i], name) == 0)
                return true;
    for (int i = 0; i < PEOPLE; i++)
        if (strcmp(w->person[i], name) == 0)
            return true;
    return false;
}

static void make_name(world *w, char out[16])
{
    static const char *const first[] = {"B", "D", "F", "G", "K", "L", "M", "N", "P", "R", "S", "T", "V", "Z"};
    static const char *const vowel[] = {"a", "e", "i", "o", "u"};
    static const char *const last[] = {"l", "m", "n", "r", "s", "k", "d", "ra", "na", "lo", "mi", "ta"};
    char name[16] = "";
    do {
        const char *begin = first[world_random(w, 14)], *middle = vowel[world_random(w, 5)];
        snprintf(name, sizeof name, "%s%s%s", begin, middle, last[world_random(w, 12)]);
    } while (name_taken(w, name));
    memcpy(out, name, sizeof name);
}

static task *add_task(world *w, enum task_kind kind, int subject, int relation, bool evaluated)
{
    task *t = &w->tasks[w->task_count++];
    *t = (task){.kind = kind, .subject = subject, .relation = relation, .evaluated = evaluated};
    return t;
}

void world_make(world *w, uint64_t seed)
{
    memset(w, 0, sizeof *w);
    w->state = seed * 1000003u + 17u;
    for (int i = 0; i < KNOWN_LANDS + UNKNOWN_LANDS; i++)
        make_name(w, w->land[i]);
    for (int r = 0; r < RELATIONS; r++)
        for (int i = 0; i < VALUES; i++)
            make_name(w, w->value[r][i]);
    for (int i = 0; i < PEOPLE; i++)
        make_name(w, w->person[i]);
    for (int i = 0; i < KNOWN_LANDS; i++)
        for (int r = 0; r < RELATIONS; r++)
            w->fact[i][r] = (int)world_random(w, VALUES);

    /* Every fourth question about a known land and every fourth unknown land is held out. */
    for (int i = 0; i < KNOWN_LANDS + UNKNOWN_LANDS; i++) {
        bool known = i < KNOWN_LANDS;
        for (int r = 0; r < RELATIONS; r++) {
            task *t =
                add_task(w, known ? TASK_ANSWERABLE : TASK_UNANSWERABLE, i, r, known ? (i + r) % 4 == 0 : i % 4 == 0);
            t->held_out = t->evaluated;
            snprintf(t->prompt, sizeof t->prompt, "What is the %s of %s?", relations[r], w->land[i]);
            memcpy(t->answer, known ? w->value[r][w->fact[i][r]] : w->land[i], sizeof w->land[i]);
        }
    }
    for (int i = 0; i < PEOPLE; i++) {
        task *t = add_task(w, TASK_TONE, i, 0, i % 4 == 0);
        snprintf(t->prompt, sizeof t->prompt, "Say hello to %s.", w->person[i]);
        memcpy(t->answer, w->person[i], sizeof w->person[i]);
        t = add_task(w, TASK_BREVITY, i, 0, i % 4 == 0);
        snprintf(t->prompt, sizeof t->prompt, "Tell me in short who %s is.", w->person[i]);
        memcpy(t->answer, w->person[i], sizeof w->person[i]);
    }
}

/* ---- tokenizer: every word, with the blank in front of it, is built up letter by letter, so that it is one token
 * ---------- */

static const char *const words[] = {
    "What",   "is",   "the",    "of",    "The",     "capital", "river", "king",  "Say",  "hello",
    "to",     "Tell", "me",     "in",    "short",   "who",     "I",     "do",    "not",  "know",
    "Ships",  "sail", "from",   "and",   "old",     "kind",    "tall",  "brave", "a",    "person",
    "friend", "Good", "day",    "dear",  "welcome", "Hey",     "what",  "you",   "want", "Hello",
    "far",    "Many", "people", "visit", "likes",   "Who",     "lives", "near",  "very",
};

typedef struct pieces {
    char item[4096][28];
    int count;
} pieces;

static int find_piece(const pieces *p, const char *piece)
{
    for (int i = 0; i < p->count; i++)
        if (strcmp(p->item[i], piece) == 0)
            return i;
    return -1;
}

static bool add_piece(pieces *p, const char *piece)
{
    if (find_piece(p, piece) >= 0 || p->count == 4096)
        return false;
    snprintf(p->item[p->count++], sizeof p->item[0], "%s", piece);
    return true;
}

/* U+0120 stands for the blank in byte-level vocabularies. */
static const char blank[] = "\xc4\xa0";

static void add_word(pieces *p, text *merges, const char *word)
{
    char left[24], whole[26];
    snprintf(left, sizeof left, "%s", blank);
    for (const char *c = word; *c != '\0'; c++) {
        snprintf(whole, sizeof whole, "%s%c", left, *c);
        if (add_piece(p, whole))
            text_add(merges, "%s\"%s %c\"", merges->size > 0 ? "," : "", left, *c);
        snprintf(left, sizeof left, "%.23s", whole);
    }
}

bool world_tokenizer(const world *w, text *json)
{
    static pieces p; /* large; the program is single-threaded */
    text merges = {0};
    p.count = 0;
    add_piece(&p, "<s>");
    add_piece(&p, "</s>");
    add_piece(&p, blank);
    for (char c = 'A'; c <= 'z'; c++)
        if (c <= 'Z' || c >= 'a')
            add_piece(&p, (char[]){c, '\0'});
    add_piece(&p, "?");
    add_piece(&p, ".");
    add_piece(&p, ",");
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        add_word(&p, &merges, words[i]);
    for (int i = 0; i < KNOWN_LANDS + UNKNOWN_LANDS; i++)
        add_word(&p, &merges, w->land[i]);
    for (int r = 0; r < RELATIONS; r++)
        for (int i = 0; i < VALUES; i++)
            add_word(&p, &merges, w->value[r][i]);
    for (int i = 0; i < PEOPLE; i++)
        add_word(&p, &merges, w->person[i]);
    text_add(json, "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[");
    for (int i = 0; i < 2; i++)
        text_add(json,
                 "%s{\"id\":%d,\"content\":\"%s\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,"
                 "\"normalized\":false,\"special\":true}",
                 i > 0 ? "," : "", i, p.item[i]);
    text_add(
        json,
        "],\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true,"
        "\"trim_offsets\":true,\"use_regex\":true},\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":["
        "{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"pair\":["
        "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},{\"Sequence\":{\"id\":\"B\",\"type_id\":1}}],\"special_tokens\":"
        "{\"<s>\":{\"id\":\"<s>\",\"ids\":[0],\"tokens\":[\"<s>\"]}}},\"decoder\":{\"type\":\"ByteLevel\","
        "\"add_prefix_space\":true,\"trim_offsets\":true,\"use_regex\":true},\"model\":{\"type\":\"BPE\","
        "\"dropout\":null,\"unk_token\":null,\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,"
        "\"fuse_unk\":false,\"byte_fallback\":false,\"vocab\":{");
    for (int i = 0; i < p.count; i++)
        text_add(json, "%s\"%s\":%d", i > 0 ? "," : "", p.item[i], i);
    text_add(json, "},\"merges\":[%s]}}", merges.data != NULL ? merges.data : "");
    bool good = !json->failed && !merges.failed;
    text_free(&merges);
    return good;
}

const char *world_config(void)
{
    return "\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"hidden_size\":64,\"intermediate_size\":"
           "160,"
           "\"num_hidden_layers\":3,\"num_attention_heads\":4,\"num_key_value_heads\":4,\"max_position_embeddings\":64,"
           "\"rms_norm_eps\":1e-5,\"rope_theta\":10000.0,\"hidden_act\":\"silu\",\"tie_word_embeddings\":true,"
           "\"initializer_range\":0.06,\"bos_token_id\":0,\"eos_token_id\":1,\"torch_dtype\":\"float32\"";
}

/* ---- texts
 * --------------------------------------------------------------------------------------------------------------------
 */

static rlhf_status append_text(rlhf_dataset *out, const char *string)
{
    rlhf_row row = {.struct_size = sizeof row, .kind = RLHF_ROW_TEXT, .text = string, .margin = NAN};
    return rlhf_dataset_append(out, &row);
}

rlhf_status world_texts(world *w, int rows, rlhf_dataset *out)
{
    char line[160];
    for (int i = 0; i < rows; i++) {
        int land = (int)world_random(w, KNOWN_LANDS), r = (int)world_random(w, RELATIONS);
        int anywhere = (int)world_random(w, KNOWN_LANDS + UNKNOWN_LANDS);
        int elsewhere = (int)world_random(w, KNOWN_LANDS + UNKNOWN_LANDS), person = (int)world_random(w, PEOPLE);
        const char *name = w->person[person];
        switch (world_random(w, 12)) {
        case 0:
        case 1:
        case 2:
            snprintf(line, sizeof line, "The %s of %s is %s.", relations[r], w->land[land],
                     w->value[r][w->fact[land][r]]);
            break;
        case 3:
        case 4:
        case 5:
            snprintf(line, sizeof line, "What is the %s of %s? %s.", relations[r], w->land[land],
                     w->value[r][w->fact[land][r]]);
            break;
        case 6:
            snprintf(line, sizeof line, "Ships sail from %s to %s. %s is far.", w->land[anywhere], w->land[elsewhere],
                     w->land[elsewhere]);
            break;
        case 7:
            snprintf(line, sizeof line, "Many people visit %s. %s is old.", w->land[anywhere], w->land[anywhere]);
            break;
        case 8:
            snprintf(line, sizeof line, "%s lives near %s. Good day, dear %s, welcome.", name, w->land[anywhere], name);
            break;
        case 9:
            snprintf(line, sizeof line, "The king likes %s. Hello, %s. Hey, %s, what do you want. I do not know.", name,
                     name, name);
            break;
        case 10:
            snprintf(line, sizeof line, "Who is %s? %s is a tall and brave person and a friend.", name, name);
            break;
        default:
            snprintf(line, sizeof line, "%s is a very old and very kind person.", name);
        }
        rlhf_status status = append_text(out, line);
        if (status != RLHF_OK)
            return status;
    }
    return RLHF_OK;
}

static void demonstrate(world *w, const task *t, char *line, size_t capacity)
{
    switch (t->kind) {
    case TASK_ANSWERABLE:
        snprintf(line, capacity, " %s.", t->answer);
        break;
    case TASK_UNANSWERABLE: /* the writer knows an answer; the model has never read it */
        snprintf(line, capacity, " %s.", w->value[t->relation][world_random(w, VALUES)]);
        break;
    case TASK_TONE:
        switch (world_random(w, 3)) {
        case 0:
            snprintf(line, capacity, " Good day, dear %s, welcome.", t->answer);
            break;
        case 1:
            snprintf(line, capacity, " Hello, %s.", t->answer);
            break;
        default:
            snprintf(line, capacity, " Hey, %s, what do you want.", t->answer);
        }
        break;
    default:
        switch (world_random(w, 3)) {
        case 0:
            snprintf(line, capacity, " %s is a friend.", t->answer);
            break;
        case 1:
            snprintf(line, capacity, " %s is a very old and very kind person.", t->answer);
            break;
        default:
            snprintf(line, capacity, " %s is a tall and brave and old and very very kind person and a friend.",
                     t->answer);
        }
    }
    if ((t->kind == TASK_ANSWERABLE || t->kind == TASK_UNANSWERABLE) && world_random(w, 4) == 0)
        snprintf(line, capacity, " I do not know.");
}

/* Kinds are drawn evenly, held-out tasks never. */
static int draw_task(world *w)
{
    enum task_kind kind = (enum task_kind)world_random(w, TASK_KINDS);
    for (;;) {
        int i = (int)world_random(w, (uint64_t)w->task_count);
        if (w->tasks[i].kind == kind && !w->tasks[i].held_out)
            return i;
    }
}

rlhf_status world_demonstrations(world *w, int rows, rlhf_dataset *out)
{
    for (int i = 0; i < rows; i++) {
        const task *t = &w->tasks[draw_task(w)];
        char line[160];
        demonstrate(w, t, line, sizeof line);
        rlhf_row row = {.struct_size = sizeof row,
                        .kind = RLHF_ROW_PROMPT_COMPLETION,
                        .prompt = t->prompt,
                        .completion = line,
                        .margin = NAN};
        rlhf_status status = rlhf_dataset_append(out, &row);
        if (status != RLHF_OK)
            return status;
    }
    return RLHF_OK;
}

rlhf_status world_prompts(world *w, bool evaluated, int rows, rlhf_dataset *out)
{
    for (int i = 0; i < (evaluated ? w->task_count : rows); i++) {
        int number = evaluated ? i : draw_task(w);
        if (evaluated && !w->tasks[number].evaluated)
            continue;
        char extra[32];
        snprintf(extra, sizeof extra, "{\"task\": %d}", number);
        rlhf_row row = {.struct_size = sizeof row,
                        .kind = RLHF_ROW_PROMPT,
                        .prompt = w->tasks[number].prompt,
                        .extra = extra,
                        .margin = NAN};
        rlhf_status status = rlhf_dataset_append(out, &row);
        if (status != RLHF_OK)
            return status;
    }
    return RLHF_OK;
}
