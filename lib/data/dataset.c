/* Rows of text in memory. Public: rlhf/dataset.h (reading files: jsonl.c). */
#include "data/dataset.h"

void rlhf_dataset_options_init(rlhf_dataset_options *options, size_t size)
{
    const rlhf_dataset_options defaults = {
        .struct_size = (uint32_t)size, .bad_row = RLHF_BAD_ROW_STOP, .chat_template = RLHF_TEMPLATE_NONE};
    if (options == NULL)
        return;
    memset(options, 0, size);
    memcpy(options, &defaults, size < sizeof defaults ? size : sizeof defaults);
}

rlhf_status rlhf_dataset_create(rlhf_dataset **out, rlhf_context *context)
{
    if (out != NULL)
        *out = NULL;
    RLHFI_TRY(rlhfi_enter(context));
    RLHFI_REQUIRE(context, out != NULL);
    rlhf_dataset *dataset = rlhfi_calloc(context, 1, sizeof *dataset);
    if (dataset == NULL)
        return RLHF_E_NOMEM;
    dataset->references = 1;
    dataset->context = rlhfi_context_retain(context);
    *out = dataset;
    return RLHF_OK;
}

rlhf_dataset *rlhfi_dataset_retain(rlhf_dataset *dataset)
{
    dataset->references++;
    return dataset;
}

rlhf_context *rlhfi_dataset_context(const rlhf_dataset *dataset)
{
    return dataset->context;
}

void rlhf_dataset_release(rlhf_dataset **dataset)
{
    if (dataset == NULL || *dataset == NULL)
        return;
    rlhf_dataset *d = *dataset;
    *dataset = NULL;
    if (--d->references > 0)
        return;
    rlhf_context *context = d->context;
    for (uint64_t i = 0; i < d->count; i++)
        rlhfi_free(context, d->rows[i].block);
    rlhfi_free(context, d->rows);
    rlhfi_free(context, d);
    rlhf_context_release(&context);
}

/* Which fields a kind has, in the order text prompt completion chosen rejected. */
static const struct {
    const char *name;
    bool field[RLHFI_ROW_TEXTS];
} kinds[] = {
    [RLHF_ROW_TEXT] = {"text", {1, 0, 0, 0, 0, 0}},
    [RLHF_ROW_PROMPT] = {"prompt", {0, 1, 0, 0, 0, 0}},
    [RLHF_ROW_PROMPT_COMPLETION] = {"prompt and completion", {0, 1, 1, 0, 0, 0}},
    [RLHF_ROW_PREFERENCE] = {"prompt, chosen and rejected", {0, 1, 0, 1, 1, 0}},
};

rlhf_status rlhf_dataset_append(rlhf_dataset *dataset, const rlhf_row *row)
{
    if (dataset == NULL)
        return RLHF_E_INVAL;
    rlhf_context *context = dataset->context;
    RLHFI_TRY(rlhfi_enter(context));
    RLHFI_REQUIRE(context, row != NULL && row->struct_size == sizeof *row);
    if (row->kind < RLHF_ROW_TEXT || row->kind > RLHF_ROW_PREFERENCE)
        return rlhfi_fail(context, RLHF_E_INVAL, "row: kind %d is unknown (1 to 4)", row->kind);
    const char *texts[RLHFI_ROW_TEXTS] = {row->text,   row->prompt,   row->completion,
                                          row->chosen, row->rejected, row->extra};
    size_t bytes[RLHFI_ROW_TEXTS] = {0}, total = 0;
    for (int i = 0; i < RLHFI_ROW_TEXTS; i++) {
        bool wanted = i == RLHFI_ROW_TEXTS - 1 ? texts[i] != NULL : kinds[row->kind].field[i];
        if (wanted && texts[i] == NULL)
            return rlhfi_fail(context, RLHF_E_INVAL, "row: this kind needs %s", kinds[row->kind].name);
        if (!wanted) {
            texts[i] = NULL;
            continue;
        }
        size_t bad = 0;
        bytes[i] = strlen(texts[i]) + 1;
        if (!rlhfi_utf8_valid(texts[i], bytes[i] - 1, &bad))
            return rlhfi_fail(context, RLHF_E_FORMAT, "row: byte %zu is not UTF-8", bad);
        if (!rlhfi_add(total, bytes[i], &total))
            return rlhfi_out_of_memory(context);
    }
    if (dataset->count == dataset->capacity) {
        uint64_t capacity = dataset->capacity * 2 + 64;
        rlhfi_row_store *larger = rlhfi_realloc_array(context, dataset->rows, (size_t)capacity, sizeof *larger);
        if (larger == NULL)
            return RLHF_E_NOMEM;
        dataset->rows = larger;
        dataset->capacity = capacity;
    }
    rlhfi_row_store store = {.kind = row->kind, .margin = row->margin, .conversational = row->conversational};
    store.block = rlhfi_alloc(context, total);
    if (store.block == NULL)
        return RLHF_E_NOMEM;
    char *at = store.block;
    for (int i = 0; i < RLHFI_ROW_TEXTS; i++) {
        if (texts[i] == NULL)
            continue;
        memcpy(at, texts[i], bytes[i]);
        store.text[i] = at;
        at += bytes[i];
    }
    dataset->rows[dataset->count++] = store;
    return RLHF_OK;
}

uint64_t rlhf_dataset_rows(const rlhf_dataset *dataset)
{
    return dataset != NULL ? dataset->count : 0;
}

uint64_t rlhf_dataset_skipped(const rlhf_dataset *dataset)
{
    return dataset != NULL ? dataset->skipped : 0;
}

rlhf_status rlhf_dataset_row(const rlhf_dataset *dataset, uint64_t index, rlhf_row *row)
{
    if (dataset == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(rlhfi_enter(dataset->context));
    RLHFI_REQUIRE(dataset->context, row != NULL && row->struct_size == sizeof *row);
    if (index >= dataset->count)
        return rlhfi_fail(dataset->context, RLHF_E_RANGE, "row %llu of %llu", (unsigned long long)index,
                          (unsigned long long)dataset->count);
    const rlhfi_row_store *store = &dataset->rows[index];
    *row = (rlhf_row){.struct_size = sizeof *row,
                      .kind = store->kind,
                      .text = store->text[0],
                      .prompt = store->text[1],
                      .completion = store->text[2],
                      .chosen = store->text[3],
                      .rejected = store->text[4],
                      .extra = store->text[5],
                      .margin = store->margin,
                      .conversational = store->conversational};
    return RLHF_OK;
}

rlhf_status rlhf_dataset_load(rlhf_dataset **out, rlhf_context *context, const char *path,
                              const rlhf_dataset_options *options)
{
    rlhf_dataset_options known;
    rlhf_dataset_options_init(&known, sizeof known);
    RLHFI_TRY(rlhf_dataset_create(out, context));
    rlhf_status status = RLHF_OK;
    if (path == NULL)
        RLHFI_GOTO(rlhfi_fail(context, RLHF_E_INVAL, "dataset: path is NULL"));
    if (options != NULL)
        RLHFI_GOTO(rlhfi_options_copy(context, &known, sizeof known, options, sizeof known, "rlhf_dataset_options"));
    if (known.bad_row < RLHF_BAD_ROW_STOP || known.bad_row > RLHF_BAD_ROW_SKIP ||
        known.chat_template < RLHF_TEMPLATE_NONE || known.chat_template > RLHF_TEMPLATE_PLAIN || known.reserved != 0)
        RLHFI_GOTO(rlhfi_fail(context, RLHF_E_INVAL, "dataset options: bad_row %d, chat_template %d, reserved %d",
                              known.bad_row, known.chat_template, known.reserved));
    RLHFI_GOTO(rlhfi_dataset_read(*out, path, &known));
done:
    if (status != RLHF_OK)
        rlhf_dataset_release(out);
    return status;
}

static bool ends_in(const char *text, const char *end)
{
    size_t bytes = strlen(text), end_bytes = strlen(end);
    return bytes >= end_bytes && strcmp(text + bytes - end_bytes, end) == 0;
}

rlhf_status rlhf_dataset_save(const rlhf_dataset *dataset, const char *path)
{
    if (dataset == NULL)
        return RLHF_E_INVAL;
    rlhf_context *context = dataset->context;
    RLHFI_TRY(rlhfi_enter(context));
    RLHFI_REQUIRE(context, path != NULL);
    rlhfi_string lines;
    char *packed = NULL;
    size_t bytes = 0;
    rlhf_status status = RLHF_OK;
    rlhfi_string_init(&lines, context);
    RLHFI_GOTO(rlhfi_dataset_lines(dataset, &lines));
    if (ends_in(path, ".gz")) {
        RLHFI_GOTO(rlhfi_gzip(context, lines.data, lines.size, &packed, &bytes));
        RLHFI_GOTO(rlhfi_file_save(context, path, packed, bytes));
    } else {
        RLHFI_GOTO(rlhfi_file_save(context, path, lines.data, lines.size));
    }
done:
    rlhfi_free(context, packed);
    rlhfi_string_free(&lines);
    return status;
}
