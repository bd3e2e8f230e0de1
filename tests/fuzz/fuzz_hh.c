/* Two answers that contain their prompt, divided by a NUL: if they make a row, then its prompt is common to both, the
 * answers are what is left, and no word and no character was cut in two. */
#include "fuzz.h"

#include "data/dataset.h"

static bool begins_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

static void check_answer(const rlhf_row *row, const char *answer, const char *whole)
{
    size_t prompt = strlen(row->prompt);

    PROMISE(strlen(whole) == prompt + strlen(answer));
    PROMISE(memcmp(whole, row->prompt, prompt) == 0 && strcmp(whole + prompt, answer) == 0);
}

static void check_row(const rlhf_row *row, const char *chosen, const char *rejected)
{
    static const char marker[] = "\n\nAssistant:";
    size_t prompt = strlen(row->prompt);

    PROMISE(row->kind == RLHF_ROW_PREFERENCE && strcmp(chosen, rejected) != 0);
    check_answer(row, row->chosen, chosen);
    check_answer(row, row->rejected, rejected);
    PROMISE(rlhfi_utf8_valid(row->prompt, prompt, NULL));
    if (begins_with(chosen, "\n\nHuman:") && begins_with(rejected, "\n\nHuman:")) {
        PROMISE(prompt >= sizeof marker - 1 && strcmp(row->prompt + prompt - (sizeof marker - 1), marker) == 0);
        PROMISE(strstr(row->chosen, marker) == NULL && strstr(row->rejected, marker) == NULL);
    } else {
        PROMISE(prompt == 0 || row->chosen[0] == ' ' || row->chosen[0] == '\n');
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rlhf_context *context = fuzz_context();
    size_t before = fuzz_live, first;
    rlhfi_row_builder builder;
    rlhfi_string text;
    rlhfi_json *object;
    rlhf_row row;

    first = strnlen((const char *)data, size);
    rlhfi_row_builder_init(&builder, context);
    rlhfi_string_init(&text, context);
    rlhfi_string_add(&text, "{\"chosen\": ");
    rlhfi_string_add_json(&text, (const char *)data, first);
    rlhfi_string_add(&text, ", \"rejected\": ");
    if (first < size)
        rlhfi_string_add_json(&text, (const char *)data + first + 1, size - first - 1);
    else
        rlhfi_string_add_json(&text, "", 0);
    rlhfi_string_add(&text, "}");
    PROMISE(!text.failed && rlhfi_json_parse(&object, context, text.data, text.size, "row") == RLHF_OK);
    if (rlhfi_row_from_json(&builder, object, RLHF_TEMPLATE_NONE, &row) == RLHF_OK)
        check_row(&row, rlhfi_json_text(rlhfi_json_get(object, "chosen"), NULL),
                  rlhfi_json_text(rlhfi_json_get(object, "rejected"), NULL));
    else
        fuzz_check_failure(context);
    rlhfi_json_release(&object);
    rlhfi_string_free(&text);
    rlhfi_row_builder_free(&builder);
    PROMISE(fuzz_live == before);
    return 0;
}
