/* Columns of a JSON object to a row: TRL's formats, standard and conversational, and the transcripts of HH-RLHF. */
#include "data/dataset.h"

enum { TEXT, PROMPT, COMPLETION, CHOSEN, REJECTED, EXTRA };

void rlhfi_row_builder_init(rlhfi_row_builder *builder, rlhf_context *context)
{
    builder->context = context;
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

static rlhf_status copy_text(rlhfi_row_builder *builder, int to, const rlhfi_json *node, const char *key)
{
    if (rlhfi_json_type(node) != RLHFI_JSON_STRING)
        return bad(builder, key, node == NULL ? "is missing" : "must be a string");
    size_t bytes = 0;
    const char *text = rlhfi_json_text(node, &bytes);
    if (memchr(text, '\0', bytes) != NULL)
        return bad(builder, key, "contains a NUL character");
    rlhfi_string_add_bytes(&builder->text[to], text, bytes);
    return RLHF_OK;
}

/* ---- messages --------------------------------------------------------------------------------------------------- */

static const char *const roles[][2] = {
    {"system", "System"}, {"user", "User"}, {"assistant", "Assistant"}, {"tool", "Tool"}};

/* Renders messages first..last-1 of a list, and the assistant's header behind them if asked for. */
static rlhf_status render(rlhfi_row_builder *builder, rlhfi_string *out, const rlhfi_json *list, size_t first,
                          size_t last, int32_t chat_template, bool header, const char *key)
{
    if (chat_template == RLHF_TEMPLATE_NONE)
        return bad(builder, key, "is a list of messages, but no chat template is chosen (chat_template)");
    for (size_t i = first; i < last; i++) {
        const rlhfi_json *message = rlhfi_json_at(list, i);
        const char *role = rlhfi_json_text(rlhfi_json_get(message, "role"), NULL);
        size_t bytes = 0;
        const char *content = rlhfi_json_text(rlhfi_json_get(message, "content"), &bytes);
        const char *title = NULL;
        for (size_t r = 0; role != NULL && r < sizeof roles / sizeof roles[0]; r++)
            if (strcmp(role, roles[r][0]) == 0)
                title = roles[r][1];
        if (title == NULL || content == NULL)
            return rlhfi_fail(builder->context, RLHF_E_FORMAT,
                              "\"%s\", message %zu: a role (system, user, assistant, tool) and a content are needed",
                              key, i + 1);
        if (memchr(content, '\0', bytes) != NULL)
            return bad(builder, key, "contains a NUL character");
        if (chat_template == RLHF_TEMPLATE_CHATML)
            rlhfi_string_add_format(out, "<|im_start|>%s\n", role);
        else
            rlhfi_string_add_format(out, "%s: ", title);
        rlhfi_string_add_bytes(out, content, bytes);
        rlhfi_string_add(out, chat_template == RLHF_TEMPLATE_CHATML ? "<|im_end|>\n" : "\n");
    }
    if (header)
        rlhfi_string_add(out, chat_template == RLHF_TEMPLATE_CHATML ? "<|im_start|>assistant\n" : "Assistant: ");
    return RLHF_OK;
}

static bool is_messages(const rlhfi_json *node)
{
    return rlhfi_json_type(node) == RLHFI_JSON_ARRAY;
}

/* The answer behind a rendered prompt: the assistant's header belongs to the prompt, so it is cut off the answer. */
static rlhf_status render_answer(rlhfi_row_builder *builder, int to, const rlhfi_json *list, size_t first,
                                 int32_t chat_template, const char *key)
{
    const rlhfi_json *message = rlhfi_json_at(list, first);
    const char *role = rlhfi_json_text(rlhfi_json_get(message, "role"), NULL);
    if (role == NULL || strcmp(role, "assistant") != 0)
        return bad(builder, key, "must begin with a message of the assistant");
    rlhfi_string whole;
    rlhfi_string_init(&whole, builder->context);
    rlhf_status status = render(builder, &whole, list, first, rlhfi_json_size(list), chat_template, false, key);
    size_t header = strlen(chat_template == RLHF_TEMPLATE_CHATML ? "<|im_start|>assistant\n" : "Assistant: ");
    if (status == RLHF_OK && whole.failed)
        status = RLHF_E_NOMEM;
    if (status == RLHF_OK)
        rlhfi_string_add_bytes(&builder->text[to], whole.data + header, whole.size - header);
    rlhfi_string_free(&whole);
    return status;
}

/* ---- preference rows without a prompt column ----------------------------------------------------------------------
 */

static const char human[] = "\n\nHuman:", assistant[] = "\n\nAssistant:";

/* Bytes up to and including the last "\n\nAssistant:", 0 if there is none. */
static size_t transcript_prompt(const char *text, size_t bytes)
{
    size_t marker = sizeof assistant - 1;
    for (size_t at = bytes; at >= marker; at--)
        if (memcmp(text + at - marker, assistant, marker) == 0)
            return at;
    return 0;
}

static bool blank(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (text[i] != ' ' && text[i] != '\n' && text[i] != '\t')
            return false;
    return true;
}

static rlhf_status split_texts(rlhfi_row_builder *builder, const rlhfi_json *chosen, const rlhfi_json *rejected)
{
    size_t a_bytes = 0, b_bytes = 0;
    const char *a = rlhfi_json_text(chosen, &a_bytes), *b = rlhfi_json_text(rejected, &b_bytes);
    if (a == NULL)
        return bad(builder, "chosen", "must be a string");
    if (b == NULL)
        return bad(builder, "rejected", "must be a string");
    size_t human_bytes = sizeof human - 1, cut = 0, other = 0;
    bool transcripts = a_bytes >= human_bytes && memcmp(a, human, human_bytes) == 0 && b_bytes >= human_bytes &&
                       memcmp(b, human, human_bytes) == 0;
    if (transcripts) {
        cut = transcript_prompt(a, a_bytes);
        other = transcript_prompt(b, b_bytes);
        if (cut == 0 || other == 0)
            return bad(builder, cut == 0 ? "chosen" : "rejected", "has no turn of the assistant");
        if (cut != other || memcmp(a, b, cut) != 0)
            return rlhfi_fail(builder->context, RLHF_E_FORMAT,
                              "\"chosen\" and \"rejected\" part before the last turn of the assistant");
        if (blank(a + cut, a_bytes - cut) || blank(b + cut, b_bytes - cut))
            return rlhfi_fail(builder->context, RLHF_E_FORMAT, "an answer is empty");
    } else {
        while (cut < a_bytes && cut < b_bytes && a[cut] == b[cut])
            cut++;
        /* Back to a blank, which then begins both answers: no word and no UTF-8 sequence is cut. */
        while (cut > 0 && !(cut < a_bytes && cut < b_bytes && (a[cut] == ' ' || a[cut] == '\n') && a[cut] == b[cut]))
            cut--;
    }
    if (a_bytes == b_bytes && memcmp(a, b, a_bytes) == 0)
        return rlhfi_fail(builder->context, RLHF_E_FORMAT, "\"chosen\" and \"rejected\" are the same");
    if (memchr(a, '\0', a_bytes) != NULL || memchr(b, '\0', b_bytes) != NULL)
        return bad(builder, "chosen", "or \"rejected\" contains a NUL character");
    rlhfi_string_add_bytes(&builder->text[PROMPT], a, cut);
    rlhfi_string_add_bytes(&builder->text[CHOSEN], a + cut, a_bytes - cut);
    rlhfi_string_add_bytes(&builder->text[REJECTED], b + cut, b_bytes - cut);
    return RLHF_OK;
}

static bool same_message(const rlhfi_json *a, const rlhfi_json *b)
{
    for (int i = 0; i < 2; i++) {
        size_t a_bytes = 0, b_bytes = 0;
        const char *key = i == 0 ? "role" : "content";
        const char *x = rlhfi_json_text(rlhfi_json_get(a, key), &a_bytes);
        const char *y = rlhfi_json_text(rlhfi_json_get(b, key), &b_bytes);
        if (x == NULL || y == NULL || a_bytes != b_bytes || memcmp(x, y, a_bytes) != 0)
            return false;
    }
    return true;
}

static rlhf_status split_messages(rlhfi_row_builder *builder, const rlhfi_json *chosen, const rlhfi_json *rejected,
                                  int32_t chat_template)
{
    size_t common = 0, a = rlhfi_json_size(chosen), b = rlhfi_json_size(rejected);
    while (common < a && common < b && same_message(rlhfi_json_at(chosen, common), rlhfi_json_at(rejected, common)))
        common++;
    if (common == a || common == b)
        return rlhfi_fail(builder->context, RLHF_E_FORMAT,
                          "\"chosen\" and \"rejected\" are the same, or one is the beginning of the other");
    RLHFI_TRY(render(builder, &builder->text[PROMPT], chosen, 0, common, chat_template, true, "chosen"));
    RLHFI_TRY(render_answer(builder, CHOSEN, chosen, common, chat_template, "chosen"));
    return render_answer(builder, REJECTED, rejected, common, chat_template, "rejected");
}

/* ---- rows
 * ------------------------------------------------------------------------------------------------------------ */

/* A prompt, as text or as messages. */
static rlhf_status read_prompt(rlhfi_row_builder *builder, const rlhfi_json *prompt, int32_t chat_template)
{
    if (!is_messages(prompt))
        return copy_text(builder, PROMPT, prompt, "prompt");
    return render(builder, &builder->text[PROMPT], prompt, 0, rlhfi_json_size(prompt), chat_template, true, "prompt");
}

static rlhf_status read_answer(rlhfi_row_builder *builder, int to, const rlhfi_json *object, const char *key,
                               bool conversational, int32_t chat_template)
{
    const rlhfi_json *node = rlhfi_json_get(object, key);
    if (conversational && !is_messages(node))
        return bad(builder, key, node == NULL ? "is missing" : "must be a list of messages, as the prompt is");
    if (conversational)
        return render_answer(builder, to, node, 0, chat_template, key);
    return copy_text(builder, to, node, key);
}

static rlhf_status read_preference(rlhfi_row_builder *builder, const rlhfi_json *object, int32_t chat_template,
                                   bool *conversational)
{
    const rlhfi_json *prompt = rlhfi_json_get(object, "prompt");
    const rlhfi_json *chosen = rlhfi_json_get(object, "chosen"), *rejected = rlhfi_json_get(object, "rejected");
    if (chosen == NULL || rejected == NULL)
        return bad(builder, chosen == NULL ? "chosen" : "rejected", "is missing");
    *conversational = is_messages(chosen);
    if (*conversational != is_messages(rejected))
        return rlhfi_fail(builder->context, RLHF_E_FORMAT,
                          "\"chosen\" and \"rejected\" must both be strings or both lists of messages");
    if (prompt == NULL)
        return *conversational ? split_messages(builder, chosen, rejected, chat_template)
                               : split_texts(builder, chosen, rejected);
    if (is_messages(prompt) != *conversational)
        return bad(builder, "prompt", "must be of the same form as \"chosen\"");
    RLHFI_TRY(read_prompt(builder, prompt, chat_template));
    RLHFI_TRY(read_answer(builder, CHOSEN, object, "chosen", *conversational, chat_template));
    return read_answer(builder, REJECTED, object, "rejected", *conversational, chat_template);
}

rlhf_status rlhfi_row_from_json(rlhfi_row_builder *builder, const rlhfi_json *object, int32_t chat_template,
                                rlhf_row *row)
{
    static const char *const own[] = {"text", "messages", "prompt", "completion", "chosen", "rejected", "margin", NULL};
    bool conversational = false;
    rlhf_status status;
    if (rlhfi_json_type(object) != RLHFI_JSON_OBJECT)
        return rlhfi_fail(builder->context, RLHF_E_FORMAT, "a JSON object is expected");
    for (int i = 0; i < RLHFI_ROW_TEXTS; i++) {
        rlhfi_string_free(&builder->text[i]);
        rlhfi_string_init(&builder->text[i], builder->context);
        rlhfi_string_add_bytes(&builder->text[i], "", 0);
    }
    *row = (rlhf_row){.struct_size = sizeof *row};
    const rlhfi_json *prompt = rlhfi_json_get(object, "prompt");
    if (rlhfi_json_get(object, "chosen") != NULL || rlhfi_json_get(object, "rejected") != NULL) {
        row->kind = RLHF_ROW_PREFERENCE;
        status = read_preference(builder, object, chat_template, &conversational);
    } else if (rlhfi_json_get(object, "messages") != NULL) {
        const rlhfi_json *messages = rlhfi_json_get(object, "messages");
        row->kind = RLHF_ROW_TEXT;
        conversational = true;
        status = is_messages(messages) ? render(builder, &builder->text[TEXT], messages, 0, rlhfi_json_size(messages),
                                                chat_template, false, "messages")
                                       : bad(builder, "messages", "must be a list of messages");
    } else if (prompt != NULL) {
        bool completed = rlhfi_json_get(object, "completion") != NULL;
        row->kind = completed ? RLHF_ROW_PROMPT_COMPLETION : RLHF_ROW_PROMPT;
        conversational = is_messages(prompt);
        status = read_prompt(builder, prompt, chat_template);
        if (status == RLHF_OK && completed)
            status = read_answer(builder, COMPLETION, object, "completion", conversational, chat_template);
    } else if (rlhfi_json_get(object, "text") != NULL) {
        row->kind = RLHF_ROW_TEXT;
        status = copy_text(builder, TEXT, rlhfi_json_get(object, "text"), "text");
    } else {
        return rlhfi_fail(builder->context, RLHF_E_FORMAT,
                          "none of the columns text, messages, prompt, chosen and rejected is there");
    }
    if (status != RLHF_OK)
        return status;
    char *extra = NULL;
    RLHFI_TRY(rlhfi_json_dump_others(builder->context, object, own, &extra));
    if (extra != NULL)
        rlhfi_string_add(&builder->text[EXTRA], extra);
    rlhfi_free(builder->context, extra);
    const rlhfi_json *margin = rlhfi_json_get(object, "margin");
    row->margin = 0.0 / 0.0;
    if (rlhfi_json_type(margin) != RLHFI_JSON_NULL && !rlhfi_json_number(margin, &row->margin))
        return bad(builder, "margin", "must be a number");
    for (int i = 0; i < RLHFI_ROW_TEXTS; i++)
        if (builder->text[i].failed)
            return rlhfi_out_of_memory(builder->context);
    row->text = builder->text[TEXT].data;
    row->prompt = builder->text[PROMPT].data;
    row->completion = builder->text[COMPLETION].data;
    row->chosen = builder->text[CHOSEN].data;
    row->rejected = builder->text[REJECTED].data;
    row->extra = builder->text[EXTRA].size > 0 ? builder->text[EXTRA].data : NULL;
    /* ChatML rows end their turns with a token of their own; plain ones still need the tokenizer's EOS. */
    row->conversational = conversational && chat_template == RLHF_TEMPLATE_CHATML;
    return RLHF_OK;
}
