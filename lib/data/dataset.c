/* Rows of text in memory. Public: rlhf/dataset.h (reading files: jsonl.c). */
#include "data/dataset.h"

void rlhf_dataset_options_init(rlhf_dataset_options *options, size_t size)
{
    const rlhf_dataset_options defaults = {.bad_row = RLHF_BAD_ROW_STOP, .chat_template = RLHF_TEMPLATE_NONE};
    rlhfi_options_init(options, size, &defaults, sizeof defaults);
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

/* ---- storing ---------------------------------------------------------------------------------------------------- */

static const char *const columns[RLHFI_EXTRA] = {"text", "prompt", "completion", "chosen", "rejected"};

const char *rlhfi_column_name(int text)
{
    return text < RLHFI_EXTRA ? columns[text] : NULL;
}

/* Which columns a kind has, in their order. */
static const struct {
    const char *names;
    bool has[RLHFI_EXTRA];
} kinds[] = {
    [RLHF_ROW_TEXT] = {"text", {1, 0, 0, 0, 0}},
    [RLHF_ROW_PROMPT] = {"prompt", {0, 1, 0, 0, 0}},
    [RLHF_ROW_PROMPT_COMPLETION] = {"prompt and completion", {0, 1, 1, 0, 0}},
    [RLHF_ROW_PREFERENCE] = {"prompt, chosen and rejected", {0, 1, 0, 1, 1}},
};

static rlhf_status reserve(rlhf_dataset *dataset)
{
    if (dataset->count < dataset->capacity)
        return RLHF_OK;
    uint64_t capacity = dataset->capacity * 2 + 64;
    rlhfi_row_store *larger = rlhfi_realloc_array(dataset->context, dataset->rows, (size_t)capacity, sizeof *larger);
    if (larger == NULL)
        return RLHF_E_NOMEM;
    dataset->rows = larger;
    dataset->capacity = capacity;
    return RLHF_OK;
}

rlhf_status rlhfi_dataset_store(rlhf_dataset *dataset, const rlhf_row *row)
{
    rlhf_context *context = dataset->context;
    if (row->kind < RLHF_ROW_TEXT || row->kind > RLHF_ROW_PREFERENCE)
        return rlhfi_fail(context, RLHF_E_INVAL, "row: kind %d is unknown (1 to 4)", row->kind);
    if (__builtin_isinf(row->margin))
        return rlhfi_fail(context, RLHF_E_FORMAT, "row: margin is infinite");
    const char *texts[RLHFI_ROW_TEXTS] = {row->text,   row->prompt,   row->completion,
                                          row->chosen, row->rejected, row->extra};
    size_t bytes[RLHFI_ROW_TEXTS] = {0}, total = 0, bad;
    for (int i = 0; i < RLHFI_ROW_TEXTS; i++) {
        bool has = i == RLHFI_EXTRA || kinds[row->kind].has[i];
        if (!has)
            texts[i] = NULL;
        if (has && texts[i] == NULL && i != RLHFI_EXTRA)
            return rlhfi_fail(context, RLHF_E_INVAL, "row: %s must be there", kinds[row->kind].names);
        if (texts[i] == NULL)
            continue;
        bytes[i] = strlen(texts[i]) + 1;
        if (!rlhfi_utf8_valid(texts[i], bytes[i] - 1, &bad))
            return rlhfi_fail(context, RLHF_E_FORMAT, "%s: byte %zu is not UTF-8",
                              i == RLHFI_EXTRA ? "extra" : columns[i], bad);
        if (!rlhfi_add(total, bytes[i], &total))
            return rlhfi_out_of_memory(context);
    }
    RLHFI_TRY(reserve(dataset));
    rlhfi_row_store store = {.kind = row->kind, .margin = row->margin, .conversational = row->conversational != 0};
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

/* Extra columns become part of a JSON line when the dataset is saved: they must be an object, with names of their own.
 */
static rlhf_status normalize_extra(rlhf_context *context, const char *extra, char **out)
{
    static const char *const reserved[] = {"text",   "prompt",   "completion",    "chosen",        "rejected",
                                           "margin", "messages", "conversations", "rlhf_rendered", NULL};
    rlhfi_json *object = NULL;
    rlhf_status status = rlhfi_json_parse(&object, context, extra, strlen(extra), "extra");
    if (status == RLHF_OK && rlhfi_json_type(object) != RLHFI_JSON_OBJECT)
        status = rlhfi_fail(context, RLHF_E_FORMAT, "extra: must be a JSON object");
    for (size_t i = 0; status == RLHF_OK && reserved[i] != NULL; i++)
        if (rlhfi_json_get(object, reserved[i]) != NULL)
            status = rlhfi_fail(context, RLHF_E_INVAL, "extra: \"%s\" is a column of its own", reserved[i]);
    if (status == RLHF_OK)
        status = rlhfi_json_dump_others(context, object, reserved, out);
    rlhfi_json_release(&object);
    return status;
}

rlhf_status rlhf_dataset_append(rlhf_dataset *dataset, const rlhf_row *row)
{
    if (dataset == NULL)
        return RLHF_E_INVAL;
    rlhf_context *context = dataset->context;
    rlhf_row known = {.struct_size = sizeof known, .margin = __builtin_nan("")};
    char *extra = NULL;
    RLHFI_TRY(rlhfi_enter(context));
    RLHFI_REQUIRE(context, row != NULL);
    RLHFI_TRY(rlhfi_options_copy(context, &known, sizeof known, row, sizeof known, "rlhf_row"));
    RLHFI_REQUIRE(context, known.reserved == 0);
    if (known.extra != NULL)
        RLHFI_TRY(normalize_extra(context, known.extra, &extra));
    known.extra = extra;
    rlhf_status status = rlhfi_dataset_store(dataset, &known);
    rlhfi_free(context, extra);
    return status;
}

/* ---- asking ----------------------------------------------------------------------------------------------------- */

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
    RLHFI_REQUIRE(dataset->context, row != NULL && row->struct_size >= sizeof *row);
    if (index >= dataset->count)
        return rlhfi_fail(dataset->context, RLHF_E_RANGE, "dataset: row %llu of %llu", (unsigned long long)index,
                          (unsigned long long)dataset->count);
    const rlhfi_row_store *store = &dataset->rows[index];
    *row = (rlhf_row){.struct_size = row->struct_size,
                      .kind = store->kind,
                      .text = store->text[RLHFI_TEXT],
                      .prompt = store->text[RLHFI_PROMPT],
                      .completion = store->text[RLHFI_COMPLETION],
                      .chosen = store->text[RLHFI_CHOSEN],
                      .rejected = store->text[RLHFI_REJECTED],
                      .extra = store->text[RLHFI_EXTRA],
                      .margin = store->margin,
                      .conversational = store->conversational};
    return RLHF_OK;
}

/* ---- files ------------------------------------------------------------------------------------------------------ */

rlhf_status rlhf_dataset_load(rlhf_dataset **out, rlhf_context *context, const char *path,
                              const rlhf_dataset_options *options)
{
    rlhf_dataset_options known;
    rlhf_dataset *dataset = NULL;
    rlhf_dataset_options_init(&known, sizeof known);
    if (out != NULL)
        *out = NULL;
    RLHFI_TRY(rlhfi_enter(context));
    RLHFI_REQUIRE(context, out != NULL);
    RLHFI_REQUIRE(context, path != NULL);
    RLHFI_TRY(rlhfi_options_copy(context, &known, sizeof known, options, sizeof known, "rlhf_dataset_options"));
    if (known.bad_row < RLHF_BAD_ROW_STOP || known.bad_row > RLHF_BAD_ROW_SKIP ||
        known.chat_template < RLHF_TEMPLATE_NONE || known.chat_template > RLHF_TEMPLATE_PLAIN || known.reserved != 0)
        return rlhfi_fail(context, RLHF_E_INVAL, "dataset options: bad_row %d, chat_template %d, reserved %d",
                          known.bad_row, known.chat_template, known.reserved);
    RLHFI_TRY(rlhf_dataset_create(&dataset, context));
    rlhf_status status = rlhfi_dataset_read(dataset, path, &known);
    if (status == RLHF_OK)
        *out = dataset;
    else
        rlhf_dataset_release(&dataset);
    return status;
}

static rlhf_status write_rows(const rlhf_dataset *dataset, rlhfi_sink *sink)
{
    rlhf_status status = RLHF_OK;
    rlhfi_string line;
    rlhfi_string_init(&line, dataset->context);
    for (uint64_t i = 0; i < dataset->count && status == RLHF_OK; i++) {
        line.size = 0;
        rlhfi_row_line(&dataset->rows[i], &line);
        status = line.failed ? rlhfi_out_of_memory(dataset->context) : rlhfi_sink_write(sink, line.data, line.size);
    }
    rlhfi_string_free(&line);
    return status;
}

rlhf_status rlhf_dataset_save(const rlhf_dataset *dataset, const char *path)
{
    if (dataset == NULL)
        return RLHF_E_INVAL;
    rlhf_context *context = dataset->context;
    rlhfi_sink *sink = NULL;
    RLHFI_TRY(rlhfi_enter(context));
    RLHFI_REQUIRE(context, path != NULL);
    RLHFI_TRY(rlhfi_sink_open(&sink, context, path, rlhfi_has_suffix(path, ".gz")));
    rlhf_status status = write_rows(dataset, sink);
    if (status == RLHF_OK)
        return rlhfi_sink_commit(&sink);
    rlhfi_sink_abandon(&sink);
    return status;
}
