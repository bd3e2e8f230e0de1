/* Columns of a JSON object to a row: TRL's formats, standard and conversational, transcripts of HH-RLHF, instructions
 * of Alpaca. The kind is told from the columns; null counts as missing. */
#include "data/dataset.h"

void rlhfi_row_builder_init(rlhfi_row_builder *builder, rlhf_context *context)
{
    *builder = (rlhfi_row_builder){.context = context};
    for (int i = 0; i < RLHFI_ROW_TEXTS; i++)
        rlhfi_string_init(&builder->text[i], context);
}

void rlhfi_row_builder_free(rlhfi_row_builder *builder)
{
    for (int i = 0; i < RLHFI_ROW_TEXTS; i++)
        rlhfi_string_free(&builder->text[i]);
}

static rlhf_status bad(rlhfi_row_builder *builder, const char *key, const char *what)
{
    return rlhfi_fail(builder->context, RLHF_E_FORMAT, "\"%s\" %s", key, what);
}

/* A column, NULL if it is missing or null. */
static const rlhfi_json *column(const rlhfi_json *object, const char *key)
{
    const rlhfi_json *node = rlhfi_json_get(object, key);
    return rlhfi_json_type(node) == RLHFI_JSON_NULL ? NULL : node;
}

static rlhf_status get_text(rlhfi_row_builder *builder, const rlhfi_json *object, const char *key, const char **text,
                            size_t *bytes)
{
    const rlhfi_json *node = column(object, key);
    *text = rlhfi_json_text(node, bytes);
    if (*text == NULL)
        return bad(builder, key, node == NULL ? "is missing" : "must be a string");
    return memchr(*text, '\0', *bytes) != NULL ? bad(builder, key, "contains a NUL character") : RLHF_OK;
}

static void set_text(rlhfi_row_builder *builder, int which, const char *text, size_t bytes)
{
    rlhfi_string_add_bytes(&builder->text[which], text, bytes);
    builder->present[which] = true;
}

static rlhf_status copy_text(rlhfi_row_builder *builder, int which, const rlhfi_json *object)
{
    const char *text;
    size_t bytes;
    RLHFI_TRY(get_text(builder, object, rlhfi_column_name(which), &text, &bytes));
    set_text(builder, which, text, bytes);
    return RLHF_OK;
}

/* ---- conversational columns ------------------------------------------------------------------------------------- */

/* Messages first..last-1 of a column as one of the row's texts. */
static rlhf_status render(rlhfi_row_builder *builder, int which, const rlhfi_json *messages, size_t first, size_t last,
                          int32_t chat_template, const char *key)
{
    bool answer = which == RLHFI_COMPLETION || which == RLHFI_CHOSEN || which == RLHFI_REJECTED;
    if (answer) {
        const char *role = first < last ? rlhfi_message_role(messages, first) : NULL;
        if (role == NULL || strcmp(role, "assistant") != 0)
            return bad(builder, key, "must begin with a message of the assistant");
    }
    builder->present[which] = true;
    /* A plain transcript has no end-of-turn tokens: to the tokenizer it is a text like others. */
    builder->conversational = chat_template == RLHF_TEMPLATE_CHATML;
    rlhf_status status =
        rlhfi_messages_render(builder->context, messages, first, last, chat_template, answer, &builder->text[which]);
    if (status != RLHF_OK)
        return rlhfi_fail_prefix(builder->context, status, "\"%s\"", key);
    if (which == RLHFI_PROMPT)
        rlhfi_messages_header(chat_template, &builder->text[which]);
    return RLHF_OK;
}

static rlhf_status render_all(rlhfi_row_builder *builder, int which, const rlhfi_json *object, const char *key,
                              int32_t chat_template)
{
    const rlhfi_json *messages = column(object, key);
    if (messages == NULL || !rlhfi_is_messages(messages))
        return bad(builder, key, messages == NULL ? "is missing" : "must be a list of messages, as the other columns");
    return render(builder, which, messages, 0, rlhfi_message_count(messages), chat_template, key);
}

/* A prompt that is a list must leave the last word to the answer. */
static rlhf_status render_prompt(rlhfi_row_builder *builder, const rlhfi_json *object, const char *key,
                                 int32_t chat_template)
{
    const rlhfi_json *messages = column(object, key);
    size_t count = rlhfi_message_count(messages);
    const char *role = count > 0 ? rlhfi_message_role(messages, count - 1) : NULL;
    if (role != NULL && strcmp(role, "assistant") == 0)
        return bad(builder, key, "must not end in a message of the assistant");
    return render_all(builder, RLHFI_PROMPT, object, key, chat_template);
}

static rlhf_status split_messages(rlhfi_row_builder *builder, const rlhfi_json *chosen, const rlhfi_json *rejected,
                                  int32_t chat_template)
{
    size_t common = 0, a = rlhfi_message_count(chosen), b = rlhfi_message_count(rejected);
    while (common < a && common < b && rlhfi_messages_equal(chosen, rejected, common))
        common++;
    if (common == a || common == b)
        return rlhfi_fail(builder->context, RLHF_E_FORMAT,
                          "\"chosen\" and \"rejected\" are the same, or one is the beginning of the other");
    RLHFI_TRY(render(builder, RLHFI_PROMPT, chosen, 0, common, chat_template, "chosen"));
    RLHFI_TRY(render(builder, RLHFI_CHOSEN, chosen, common, a, chat_template, "chosen"));
    return render(builder, RLHFI_REJECTED, rejected, common, b, chat_template, "rejected");
}

/* ---- answers that contain their prompt -------------------------------------------------------------------------- */

/* Bytes up to and including the last "\n\nAssistant:", 0 if there is none. */
static size_t transcript_prompt(const char *text, size_t bytes)
{
    static const char marker[] = "\n\nAssistant:";
    const size_t length = sizeof marker - 1;
    for (size_t at = bytes; at >= length; at--)
        if (memcmp(text + at - length, marker, length) == 0)
            return at;
    return 0;
}

static bool is_transcript(const char *text, size_t bytes)
{
    static const char start[] = "\n\nHuman:";
    return bytes >= sizeof start - 1 && memcmp(text, start, sizeof start - 1) == 0;
}

/* Transcripts of HH-RLHF end in the assistant's last turn: that is the answer, and what is before it must agree. A
 * common beginning would not do: in a fifth of them both answers begin alike (algorithms.md 14). */
static rlhf_status split_transcripts(rlhfi_row_builder *builder, const char *const text[2], const size_t bytes[2],
                                     size_t *prompt)
{
    size_t cut[2];
    for (int i = 0; i < 2; i++) {
        cut[i] = transcript_prompt(text[i], bytes[i]);
        if (cut[i] == 0)
            return bad(builder, i == 0 ? "chosen" : "rejected", "has no turn of the assistant");
    }
    if (cut[0] != cut[1] || memcmp(text[0], text[1], cut[0]) != 0)
        return rlhfi_fail(builder->context, RLHF_E_FORMAT,
                          "\"chosen\" and \"rejected\" part before the last turn of the assistant");
    for (int i = 0; i < 2; i++)
        if (strspn(text[i] + cut[i], " \n\t") == bytes[i] - cut[i])
            return bad(builder, i == 0 ? "chosen" : "rejected", "ends in an empty answer");
    *prompt = cut[0];
    return RLHF_OK;
}

/* Other texts are cut at the last blank that both have in common: it begins the answers, and no word is cut. */
static size_t common_prompt(const char *const text[2], const size_t bytes[2])
{
    size_t cut = 0;
    while (cut < bytes[0] && cut < bytes[1] && text[0][cut] == text[1][cut])
        cut++;
    if (cut == bytes[0] || cut == bytes[1]) /* one is the beginning of the other: cut no word of the longer one */
        cut = cut > 0 ? cut - 1 : 0;
    while (cut > 0 && !((text[0][cut] == ' ' || text[0][cut] == '\n') && text[0][cut] == text[1][cut]))
        cut--;
    return cut;
}

static rlhf_status split_texts(rlhfi_row_builder *builder, const rlhfi_json *object)
{
    const char *text[2];
    size_t bytes[2], cut = 0;
    RLHFI_TRY(get_text(builder, object, "chosen", &text[0], &bytes[0]));
    RLHFI_TRY(get_text(builder, object, "rejected", &text[1], &bytes[1]));
    if (is_transcript(text[0], bytes[0]) && is_transcript(text[1], bytes[1]))
        RLHFI_TRY(split_transcripts(builder, text, bytes, &cut));
    else
        cut = common_prompt(text, bytes);
    if (bytes[0] == bytes[1] && memcmp(text[0], text[1], bytes[0]) == 0)
        return rlhfi_fail(builder->context, RLHF_E_FORMAT, "\"chosen\" and \"rejected\" are the same");
    set_text(builder, RLHFI_PROMPT, text[0], cut);
    set_text(builder, RLHFI_CHOSEN, text[0] + cut, bytes[0] - cut);
    set_text(builder, RLHFI_REJECTED, text[1] + cut, bytes[1] - cut);
    return RLHF_OK;
}

/* ---- kinds ------------------------------------------------------------------------------------------------------ */

static rlhf_status read_preference(rlhfi_row_builder *builder, const rlhfi_json *object, int32_t chat_template)
{
    const rlhfi_json *prompt = column(object, "prompt"), *chosen = column(object, "chosen");
    const char *key = "prompt";
    if (chosen != NULL && rlhfi_is_messages(chosen)) {
        if (prompt == NULL) { /* ShareGPT's name for the turns before the answers */
            key = "conversations";
            prompt = column(object, key);
        }
        if (prompt != NULL && rlhfi_is_messages(prompt)) {
            RLHFI_TRY(render_prompt(builder, object, key, chat_template));
            RLHFI_TRY(render_all(builder, RLHFI_CHOSEN, object, "chosen", chat_template));
            return render_all(builder, RLHFI_REJECTED, object, "rejected", chat_template);
        }
        /* A prompt that is a string beside lists repeats their first turn, as in UltraFeedback. */
        const rlhfi_json *rejected = column(object, "rejected");
        if (rejected == NULL || !rlhfi_is_messages(rejected))
            return bad(builder, "rejected",
                       rejected == NULL ? "is missing" : "must be a list of messages, as \"chosen\"");
        return split_messages(builder, chosen, rejected, chat_template);
    }
    if (prompt == NULL)
        return split_texts(builder, object);
    RLHFI_TRY(copy_text(builder, RLHFI_PROMPT, object));
    RLHFI_TRY(copy_text(builder, RLHFI_CHOSEN, object));
    return copy_text(builder, RLHFI_REJECTED, object);
}

static rlhf_status read_prompt(rlhfi_row_builder *builder, const rlhfi_json *object, int32_t chat_template,
                               bool completed)
{
    if (rlhfi_is_messages(column(object, "prompt"))) {
        RLHFI_TRY(render_prompt(builder, object, "prompt", chat_template));
        return completed ? render_all(builder, RLHFI_COMPLETION, object, "completion", chat_template) : RLHF_OK;
    }
    RLHFI_TRY(copy_text(builder, RLHFI_PROMPT, object));
    return completed ? copy_text(builder, RLHFI_COMPLETION, object) : RLHF_OK;
}

static rlhf_status read_instruction(rlhfi_row_builder *builder, const rlhfi_json *object)
{
    const char *instruction, *input = "", *output;
    size_t instruction_bytes, input_bytes = 0, output_bytes;
    rlhfi_string *prompt = &builder->text[RLHFI_PROMPT];
    RLHFI_TRY(get_text(builder, object, "instruction", &instruction, &instruction_bytes));
    RLHFI_TRY(get_text(builder, object, "output", &output, &output_bytes));
    if (column(object, "input") != NULL)
        RLHFI_TRY(get_text(builder, object, "input", &input, &input_bytes));
    rlhfi_string_add(prompt, "Below is an instruction that describes a task");
    rlhfi_string_add(prompt, input_bytes > 0 ? ", paired with an input that provides further context. Write a response "
                                             : ". Write a response ");
    rlhfi_string_add(prompt, "that appropriately completes the request.\n\n### Instruction:\n");
    rlhfi_string_add_bytes(prompt, instruction, instruction_bytes);
    if (input_bytes > 0) {
        rlhfi_string_add(prompt, "\n\n### Input:\n");
        rlhfi_string_add_bytes(prompt, input, input_bytes);
    }
    rlhfi_string_add(prompt, "\n\n### Response:");
    builder->present[RLHFI_PROMPT] = true;
    set_text(builder, RLHFI_COMPLETION, output, output_bytes);
    return RLHF_OK;
}

/* Fills the builder's texts and tells the kind. */
static rlhf_status read_columns(rlhfi_row_builder *builder, const rlhfi_json *object, int32_t chat_template,
                                int32_t *kind)
{
    if (column(object, "chosen") != NULL || column(object, "rejected") != NULL) {
        *kind = RLHF_ROW_PREFERENCE;
        return read_preference(builder, object, chat_template);
    }
    if (column(object, "prompt") != NULL) {
        bool completed = column(object, "completion") != NULL;
        *kind = completed ? RLHF_ROW_PROMPT_COMPLETION : RLHF_ROW_PROMPT;
        return read_prompt(builder, object, chat_template, completed);
    }
    *kind = RLHF_ROW_TEXT;
    if (column(object, "messages") != NULL)
        return render_all(builder, RLHFI_TEXT, object, "messages", chat_template);
    if (column(object, "conversations") != NULL)
        return render_all(builder, RLHFI_TEXT, object, "conversations", chat_template);
    if (column(object, "text") != NULL)
        return copy_text(builder, RLHFI_TEXT, object);
    if (column(object, "instruction") != NULL) {
        *kind = RLHF_ROW_PROMPT_COMPLETION;
        return read_instruction(builder, object);
    }
    return rlhfi_fail(builder->context, RLHF_E_FORMAT,
                      "none of the columns text, messages, prompt, chosen, instruction is there");
}

/* Columns that the row has used; the others are handed through. */
static rlhf_status copy_extra(rlhfi_row_builder *builder, const rlhfi_json *object)
{
    static const char *const used[] = {"text",   "messages", "conversations", "prompt",        "completion",
                                       "chosen", "rejected", "margin",        "rlhf_rendered", NULL};
    static const char *const used_instruction[] = {"instruction", "input",  "output",        "prompt", "completion",
                                                   "text",        "margin", "rlhf_rendered", NULL};
    bool instruction = builder->present[RLHFI_COMPLETION] && column(object, "prompt") == NULL;
    char *extra = NULL;
    RLHFI_TRY(rlhfi_json_dump_others(builder->context, object, instruction ? used_instruction : used, &extra));
    if (extra != NULL)
        set_text(builder, RLHFI_EXTRA, extra, strlen(extra));
    rlhfi_free(builder->context, extra);
    return RLHF_OK;
}

rlhf_status rlhfi_row_from_json(rlhfi_row_builder *builder, const rlhfi_json *object, int32_t chat_template,
                                rlhf_row *row)
{
    const rlhfi_json *margin = column(object, "margin");
    bool rendered = false;
    const char *text[RLHFI_ROW_TEXTS];
    if (rlhfi_json_type(object) != RLHFI_JSON_OBJECT)
        return rlhfi_fail(builder->context, RLHF_E_FORMAT, "must be a JSON object");
    for (int i = 0; i < RLHFI_ROW_TEXTS; i++) {
        builder->text[i].size = 0;
        builder->present[i] = false;
    }
    builder->conversational = false;
    *row = (rlhf_row){.struct_size = sizeof *row, .margin = __builtin_nan("")};
    RLHFI_TRY(read_columns(builder, object, chat_template, &row->kind));
    RLHFI_TRY(copy_extra(builder, object));
    if (margin != NULL && !rlhfi_json_number(margin, &row->margin))
        return bad(builder, "margin", "must be a number");
    for (int i = 0; i < RLHFI_ROW_TEXTS; i++) {
        if (builder->text[i].failed)
            return rlhfi_out_of_memory(builder->context);
        text[i] = !builder->present[i] ? NULL : builder->text[i].size > 0 ? builder->text[i].data : "";
    }
    row->text = text[RLHFI_TEXT];
    row->prompt = text[RLHFI_PROMPT];
    row->completion = text[RLHFI_COMPLETION];
    row->chosen = text[RLHFI_CHOSEN];
    row->rejected = text[RLHFI_REJECTED];
    row->extra = text[RLHFI_EXTRA];
    /* Our own files say so of texts that were rendered from messages before they were saved. */
    rlhfi_json_boolean(rlhfi_json_get(object, "rlhf_rendered"), &rendered);
    row->conversational = builder->conversational || rendered;
    return RLHF_OK;
}
