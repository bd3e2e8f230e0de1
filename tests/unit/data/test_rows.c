/* Columns to rows: what each kind of line becomes, and why a line is bad. */
#include "support.h"

struct sample {
    const char *json;
    int32_t chat_template, kind;
    const char *first, *second, *third; /* text; prompt; prompt, completion; prompt, chosen, rejected */
    const char *extra;
    int32_t conversational;
};

static void check_sample(rlhf_context *context, rlhfi_row_builder *builder, const struct sample *sample)
{
    rlhfi_json *node;
    rlhf_row row;
    check_ok(context, rlhfi_json_parse(&node, context, sample->json, strlen(sample->json), "row"));
    check_ok(context, rlhfi_row_from_json(builder, node, sample->chat_template, &row));
    assert_int_equal(row.kind, sample->kind);
    check_text(row.text, row.kind == RLHF_ROW_TEXT ? sample->first : NULL);
    check_text(row.prompt, row.kind != RLHF_ROW_TEXT ? sample->first : NULL);
    check_text(row.completion, row.kind == RLHF_ROW_PROMPT_COMPLETION ? sample->second : NULL);
    check_text(row.chosen, row.kind == RLHF_ROW_PREFERENCE ? sample->second : NULL);
    check_text(row.rejected, row.kind == RLHF_ROW_PREFERENCE ? sample->third : NULL);
    check_text(row.extra, sample->extra);
    assert_int_equal(row.conversational, sample->conversational);
    assert_true(row.margin != row.margin);
    rlhfi_json_release(&node);
}

static void check_samples(const struct sample *samples, size_t count)
{
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    rlhfi_row_builder builder;
    rlhfi_row_builder_init(&builder, context);
    for (size_t i = 0; i < count; i++)
        check_sample(context, &builder, &samples[i]);
    rlhfi_row_builder_free(&builder);
    end_context(context, &memory);
}

static void standard(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        {"{\"text\":\"a\\nb\"}", 0, RLHF_ROW_TEXT, "a\nb", NULL, NULL, NULL, 0},
        {"{\"text\":\"\"}", 0, RLHF_ROW_TEXT, "", NULL, NULL, NULL, 0},
        {"{\"prompt\":\"p\"}", 0, RLHF_ROW_PROMPT, "p", NULL, NULL, NULL, 0},
        {"{\"prompt\":\"p\",\"completion\":null,\"id\":7}", 0, RLHF_ROW_PROMPT, "p", NULL, NULL, "{\"id\": 7}", 0},
        {"{\"completion\":\" c\",\"prompt\":\"p\",\"label\":true,\"source\":{\"a\":[1]}}", 0,
         RLHF_ROW_PROMPT_COMPLETION, "p", " c", NULL, "{\"label\": true, \"source\": {\"a\": [1]}}", 0},
        {"{\"prompt\":\"p\",\"chosen\":\" c\",\"rejected\":\" r\"}", 0, RLHF_ROW_PREFERENCE, "p", " c", " r", NULL, 0},
        {"{\"text\":\"t\",\"rlhf_rendered\":true}", 0, RLHF_ROW_TEXT, "t", NULL, NULL, NULL, 1},
    };
    check_samples(samples, sizeof samples / sizeof samples[0]);
}

static void implicit_prompts(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        {"{\"chosen\":\"Q: x A: yes\",\"rejected\":\"Q: x A: no\"}", 0, RLHF_ROW_PREFERENCE, "Q: x A:", " yes", " no",
         NULL, 0},
        /* Both answers begin alike: no word is cut, nor a character. */
        {"{\"chosen\":\"A: yes\",\"rejected\":\"A: yet\"}", 0, RLHF_ROW_PREFERENCE, "A:", " yes", " yet", NULL, 0},
        {"{\"chosen\":\"A: \u00E9\",\"rejected\":\"A: \u00E8\"}", 0, RLHF_ROW_PREFERENCE, "A:", " \u00E9", " \u00E8",
         NULL, 0},
        {"{\"chosen\":\"A:\\nyes\",\"rejected\":\"A:\\nno\"}", 0, RLHF_ROW_PREFERENCE, "A:", "\nyes", "\nno", NULL, 0},
        {"{\"chosen\":\"yes\",\"rejected\":\"no\"}", 0, RLHF_ROW_PREFERENCE, "", "yes", "no", NULL, 0},
        {"{\"chosen\":\"a b c\",\"rejected\":\"a b\"}", 0, RLHF_ROW_PREFERENCE, "a", " b c", " b", NULL, 0},
        /* Transcripts of HH-RLHF: the last turn, even where both answers begin alike. */
        {"{\"chosen\":\"\\n\\nHuman: hi\\n\\nAssistant: I am\",\"rejected\":\"\\n\\nHuman: hi\\n\\nAssistant: I do\"}",
         0, RLHF_ROW_PREFERENCE, "\n\nHuman: hi\n\nAssistant:", " I am", " I do", NULL, 0},
        {"{\"chosen\":\"\\n\\nHuman: a\\n\\nAssistant: b\\n\\nHuman: c\\n\\nAssistant: d\","
         "\"rejected\":\"\\n\\nHuman: a\\n\\nAssistant: b\\n\\nHuman: c\\n\\nAssistant: e\"}",
         0, RLHF_ROW_PREFERENCE, "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:", " d", " e", NULL, 0},
        /* Two turns of one speaker. */
        {"{\"chosen\":\"\\n\\nHuman: a\\n\\nAssistant: b\\n\\nAssistant: c\","
         "\"rejected\":\"\\n\\nHuman: a\\n\\nAssistant: b\\n\\nAssistant: d\"}",
         0, RLHF_ROW_PREFERENCE, "\n\nHuman: a\n\nAssistant: b\n\nAssistant:", " c", " d", NULL, 0},
    };
    check_samples(samples, sizeof samples / sizeof samples[0]);
}

#define USER "{\"role\":\"user\",\"content\":\"U\"}"
#define ASSISTANT "{\"role\":\"assistant\",\"content\":\"A\"}"
#define OTHER "{\"role\":\"assistant\",\"content\":\"B\"}"

static void conversational(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        {"{\"messages\":[" USER "," ASSISTANT "]}", RLHF_TEMPLATE_CHATML, RLHF_ROW_TEXT,
         "<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n", NULL, NULL, NULL, 1},
        {"{\"messages\":[" USER "," ASSISTANT "]}", RLHF_TEMPLATE_PLAIN, RLHF_ROW_TEXT, "User: U\nAssistant: A", NULL,
         NULL, NULL, 0},
        {"{\"prompt\":[" USER "]}", RLHF_TEMPLATE_CHATML, RLHF_ROW_PROMPT,
         "<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n", NULL, NULL, NULL, 1},
        {"{\"prompt\":[" USER "]}", RLHF_TEMPLATE_PLAIN, RLHF_ROW_PROMPT, "User: U\nAssistant:", NULL, NULL, NULL, 0},
        {"{\"prompt\":[],\"completion\":[" ASSISTANT "]}", RLHF_TEMPLATE_PLAIN, RLHF_ROW_PROMPT_COMPLETION,
         "Assistant:", " A", NULL, NULL, 0},
        {"{\"prompt\":[" USER "],\"completion\":[" ASSISTANT "," USER "," OTHER "]}", RLHF_TEMPLATE_CHATML,
         RLHF_ROW_PROMPT_COMPLETION, "<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n",
         "A<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\nB<|im_end|>\n", NULL, NULL, 1},
        {"{\"prompt\":[" USER "],\"completion\":[" ASSISTANT "," USER "," OTHER "]}", RLHF_TEMPLATE_PLAIN,
         RLHF_ROW_PROMPT_COMPLETION, "User: U\nAssistant:", " A\nUser: U\nAssistant: B", NULL, NULL, 0},
        {"{\"prompt\":[" USER "],\"chosen\":[" ASSISTANT "],\"rejected\":[" OTHER "]}", RLHF_TEMPLATE_PLAIN,
         RLHF_ROW_PREFERENCE, "User: U\nAssistant:", " A", " B", NULL, 0},
        /* The common turns are the prompt. */
        {"{\"chosen\":[" USER "," ASSISTANT "],\"rejected\":[" USER "," OTHER "]}", RLHF_TEMPLATE_PLAIN,
         RLHF_ROW_PREFERENCE, "User: U\nAssistant:", " A", " B", NULL, 0},
        /* UltraFeedback repeats the first turn as a string; its other columns are kept. */
        {"{\"prompt\":\"U\",\"chosen\":[" USER "," ASSISTANT "],\"rejected\":[" USER "," OTHER
         "],\"score_chosen\":8.5}",
         RLHF_TEMPLATE_PLAIN, RLHF_ROW_PREFERENCE, "User: U\nAssistant:", " A", " B", "{\"score_chosen\": 8.5}", 0},
        /* ShareGPT */
        {"{\"conversations\":[{\"from\":\"human\",\"value\":\"U\"},{\"from\":\"gpt\",\"value\":\"A\"}]}",
         RLHF_TEMPLATE_PLAIN, RLHF_ROW_TEXT, "User: U\nAssistant: A", NULL, NULL, NULL, 0},
        {"{\"conversations\":[{\"from\":\"human\",\"value\":\"U\"}],\"chosen\":{\"from\":\"gpt\",\"value\":\"A\"},"
         "\"rejected\":{\"from\":\"gpt\",\"value\":\"B\"}}",
         RLHF_TEMPLATE_PLAIN, RLHF_ROW_PREFERENCE, "User: U\nAssistant:", " A", " B", NULL, 0},
    };
    check_samples(samples, sizeof samples / sizeof samples[0]);
}

static void instructions(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        {"{\"instruction\":\"I\",\"input\":\"X\",\"output\":\"O\",\"index\":3}", 0, RLHF_ROW_PROMPT_COMPLETION,
         "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
         "response that appropriately completes the request.\n\n### Instruction:\nI\n\n### Input:\nX\n\n### Response:",
         "O", NULL, "{\"index\": 3}", 0},
        {"{\"instruction\":\"I\",\"input\":\"\",\"output\":\"O\"}", 0, RLHF_ROW_PROMPT_COMPLETION,
         "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
         "### Instruction:\nI\n\n### Response:",
         "O", NULL, NULL, 0},
    };
    check_samples(samples, sizeof samples / sizeof samples[0]);
}

static void bad_rows(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        int32_t chat_template;
        const char *words;
    } cases[] = {
        {"[]", 0, "must be a JSON object"},
        {"3", 0, "must be a JSON object"},
        {"{}", 0, "none of the columns"},
        {"{\"body\":\"x\"}", 0, "none of the columns"},
        {"{\"text\":null}", 0, "none of the columns"},
        {"{\"text\":3}", 0, "\"text\" must be a string"},
        {"{\"text\":[\"a\"]}", 0, "\"text\" must be a string"},
        {"{\"text\":\"a\\u0000b\"}", 0, "NUL"},
        {"{\"prompt\":3}", 0, "\"prompt\" must be a string"},
        {"{\"prompt\":\"p\",\"completion\":[]}", 0, "\"completion\" must be a string"},
        {"{\"prompt\":\"p\",\"chosen\":\"c\"}", 0, "\"rejected\" is missing"},
        {"{\"rejected\":\"r\"}", 0, "\"chosen\" is missing"},
        {"{\"prompt\":[],\"chosen\":\"c\",\"rejected\":\"r\"}", 0, "\"prompt\" must be a string"},
        {"{\"chosen\":\"same\",\"rejected\":\"same\"}", 0, "are the same"},
        {"{\"prompt\":\"p\",\"margin\":\"big\"}", 0, "\"margin\" must be a number"},
        {"{\"chosen\":\"\\n\\nHuman: a\",\"rejected\":\"\\n\\nHuman: b\"}", 0, "\"chosen\" has no turn"},
        {"{\"chosen\":\"\\n\\nHuman: a\\n\\nAssistant: b\",\"rejected\":\"\\n\\nHuman: c\\n\\nAssistant: b\"}", 0,
         "part before the last turn"},
        {"{\"chosen\":\"\\n\\nHuman: a\\n\\nAssistant: b\",\"rejected\":\"\\n\\nHuman: a\\n\\nAssistant: \"}", 0,
         "\"rejected\" ends in an empty answer"},
        {"{\"messages\":\"x\"}", 1, "\"messages\" must be a list"},
        {"{\"messages\":[" USER "]}", 0, "chat_template"},
        {"{\"messages\":[3]}", 1, "message 1: \"role\""},
        {"{\"messages\":[{\"role\":\"user\"}]}", 1, "message 1: \"content\""},
        {"{\"messages\":[{\"role\":\"a\\nb\",\"content\":\"x\"}]}", 1, "message 1: \"role\""},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]}", 1, "message 1: \"content\""},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"\\u0000\"}]}", 1, "NUL"},
        {"{\"prompt\":[" USER "," ASSISTANT "]}", 1, "must not end in"},
        {"{\"prompt\":[" USER "],\"completion\":[" USER "]}", 1, "\"completion\" must begin with"},
        {"{\"prompt\":[" USER "],\"completion\":[]}", 1, "\"completion\" must begin with"},
        {"{\"prompt\":[" USER "],\"completion\":\"c\"}", 1, "\"completion\" must be a list"},
        {"{\"prompt\":[" USER "],\"chosen\":[" ASSISTANT "],\"rejected\":\"r\"}", 1, "\"rejected\" must be a list"},
        {"{\"chosen\":[" USER "," ASSISTANT "],\"rejected\":\"r\"}", 1, "\"rejected\" must be a list"},
        {"{\"chosen\":[" USER "," ASSISTANT "]}", 1, "\"rejected\" is missing"},
        {"{\"chosen\":[" USER "],\"rejected\":[" USER "," OTHER "]}", 1, "the beginning of the other"},
        {"{\"chosen\":[" USER "," USER "],\"rejected\":[" USER "," OTHER "]}", 1, "\"chosen\" must begin with"},
        {"{\"instruction\":\"I\"}", 0, "\"output\" is missing"},
    };
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    rlhfi_row_builder builder;
    rlhfi_row_builder_init(&builder, context);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        rlhfi_json *node;
        rlhf_row row;
        check_ok(context, rlhfi_json_parse(&node, context, cases[i].json, strlen(cases[i].json), "row"));
        if (rlhfi_row_from_json(&builder, node, cases[i].chat_template, &row) != RLHF_E_FORMAT ||
            !strstr(error_of(context), cases[i].words))
            fail_msg("%s: %s", cases[i].json, error_of(context));
        rlhfi_json_release(&node);
    }
    rlhfi_row_builder_free(&builder);
    end_context(context, &memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(standard),     cmocka_unit_test(implicit_prompts), cmocka_unit_test(conversational),
        cmocka_unit_test(instructions), cmocka_unit_test(bad_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
