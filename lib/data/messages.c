/* Lists of messages, {"role", "content"} or ShareGPT's {"from", "value"}, and the two ways in which they become text:
 *   ChatML  <|im_start|>role\ncontent<|im_end|>\n      a turn ends in a token of its own
 *   plain   Role: content, one turn a line              a transcript; the tokenizer's EOS ends the last turn
 * An answer's header ("Assistant:") belongs to the prompt, so that generation begins where training began. */
#include "data/dataset.h"

enum { LONGEST_ROLE = 32 };

bool rlhfi_is_messages(const rlhfi_json *node)
{
    int type = rlhfi_json_type(node);
    return type == RLHFI_JSON_ARRAY || type == RLHFI_JSON_OBJECT;
}

size_t rlhfi_message_count(const rlhfi_json *messages)
{
    return rlhfi_json_type(messages) == RLHFI_JSON_OBJECT ? 1 : rlhfi_json_size(messages);
}

static const rlhfi_json *message_at(const rlhfi_json *messages, size_t index)
{
    return rlhfi_json_type(messages) == RLHFI_JSON_OBJECT ? messages : rlhfi_json_at(messages, index);
}

const char *rlhfi_message_role(const rlhfi_json *messages, size_t index)
{
    static const char *const translated[][2] = {{"human", "user"}, {"gpt", "assistant"}};
    const rlhfi_json *message = message_at(messages, index);
    const char *role = rlhfi_json_text(rlhfi_json_get(message, "role"), NULL);
    if (role != NULL)
        return role;
    role = rlhfi_json_text(rlhfi_json_get(message, "from"), NULL);
    for (size_t i = 0; role != NULL && i < sizeof translated / sizeof translated[0]; i++)
        if (strcmp(role, translated[i][0]) == 0)
            return translated[i][1];
    return role;
}

static const char *message_content(const rlhfi_json *messages, size_t index, size_t *bytes)
{
    const rlhfi_json *message = message_at(messages, index);
    const rlhfi_json *content = rlhfi_json_get(message, "content");
    return rlhfi_json_text(content != NULL ? content : rlhfi_json_get(message, "value"), bytes);
}

bool rlhfi_messages_equal(const rlhfi_json *a, const rlhfi_json *b, size_t index)
{
    size_t a_bytes = 0, b_bytes = 0;
    const char *a_role = rlhfi_message_role(a, index), *b_role = rlhfi_message_role(b, index);
    const char *a_content = message_content(a, index, &a_bytes), *b_content = message_content(b, index, &b_bytes);
    return a_role != NULL && b_role != NULL && a_content != NULL && b_content != NULL && strcmp(a_role, b_role) == 0 &&
           a_bytes == b_bytes && memcmp(a_content, b_content, a_bytes) == 0;
}

/* A role becomes part of the markup, so it must be a plain word. */
static bool is_word(const char *role)
{
    size_t bytes = strlen(role);
    for (size_t i = 0; i < bytes; i++)
        if (!((role[i] >= 'a' && role[i] <= 'z') || (role[i] >= 'A' && role[i] <= 'Z') || role[i] == '_'))
            return false;
    return bytes > 0 && bytes <= LONGEST_ROLE;
}

static void add_title(const char *role, rlhfi_string *out)
{
    char first = role[0] >= 'a' && role[0] <= 'z' ? (char)(role[0] - 'a' + 'A') : role[0];
    rlhfi_string_add_bytes(out, &first, 1);
    rlhfi_string_add(out, role + 1);
    rlhfi_string_add(out, ":");
}

rlhf_status rlhfi_messages_render(rlhf_context *context, const rlhfi_json *messages, size_t first, size_t last,
                                  int32_t chat_template, bool headless, rlhfi_string *out)
{
    if (chat_template == RLHF_TEMPLATE_NONE)
        return rlhfi_fail(context, RLHF_E_FORMAT, "a list of messages: choose a chat_template (chatml or plain)");
    for (size_t i = first; i < last; i++) {
        size_t bytes = 0;
        const char *role = rlhfi_message_role(messages, i), *content = message_content(messages, i, &bytes);
        bool header = !headless || i > first;
        if (role == NULL || !is_word(role))
            return rlhfi_fail(context, RLHF_E_FORMAT, "message %zu: \"role\" must be a word", i + 1);
        if (content == NULL)
            return rlhfi_fail(context, RLHF_E_FORMAT, "message %zu: \"content\" must be a string", i + 1);
        if (memchr(content, '\0', bytes) != NULL)
            return rlhfi_fail(context, RLHF_E_FORMAT, "message %zu: contains a NUL character", i + 1);
        if (chat_template == RLHF_TEMPLATE_CHATML) {
            if (header)
                rlhfi_string_add_format(out, "<|im_start|>%s\n", role);
            rlhfi_string_add_bytes(out, content, bytes);
            rlhfi_string_add(out, "<|im_end|>\n");
        } else {
            if (i > first)
                rlhfi_string_add(out, "\n");
            if (header)
                add_title(role, out);
            rlhfi_string_add(out, " ");
            rlhfi_string_add_bytes(out, content, bytes);
        }
    }
    return out->failed ? rlhfi_out_of_memory(context) : RLHF_OK;
}

void rlhfi_messages_header(int32_t chat_template, rlhfi_string *out)
{
    if (chat_template == RLHF_TEMPLATE_CHATML) {
        rlhfi_string_add(out, "<|im_start|>assistant\n");
    } else {
        if (out->size > 0)
            rlhfi_string_add(out, "\n");
        add_title("assistant", out);
    }
}
