/* Files to rows and rows to lines: JSON lines, a JSON list, plain text documents. */
#include "data/dataset.h"

enum { LARGEST_LIST = 1024 * 1024 * 1024 };

bool rlhfi_has_suffix(const char *path, const char *suffix)
{
    size_t bytes = strlen(path), suffix_bytes = strlen(suffix);
    return bytes >= suffix_bytes && strcmp(path + bytes - suffix_bytes, suffix) == 0;
}

struct reading {
    rlhf_dataset *dataset;
    const rlhf_dataset_options *options;
    const char *path;
    char first_bad[256]; /* why the first bad row was skipped */
};

static bool enough(const struct reading *reading)
{
    return reading->options->max_rows > 0 && reading->dataset->count >= reading->options->max_rows;
}

/* A bad row stops the reading, or is counted. */
static rlhf_status judge(struct reading *reading, rlhf_status status, int64_t number)
{
    rlhf_context *context = reading->dataset->context;
    if (status == RLHF_OK)
        return rlhfi_check_cancel(context);
    if (status == RLHF_E_NOMEM)
        return status;
    rlhfi_fail_prefix(context, status, "%s:%lld", reading->path, (long long)number);
    if (status != RLHF_E_FORMAT || reading->options->bad_row != RLHF_BAD_ROW_SKIP)
        return status;
    if (reading->dataset->skipped++ == 0)
        rlhf_context_error(context, reading->first_bad, sizeof reading->first_bad);
    rlhfi_log(context, RLHF_LOG_DEBUG, "skipped: %s", context->error);
    return rlhfi_enter(context); /* the reason is forgotten */
}

/* "row:1:23: what" of the JSON reader, which knows nothing of other lines, becomes "column 23: what". */
static rlhf_status name_column(rlhf_context *context, rlhf_status status)
{
    static const char name[] = "row:1:";
    char text[512];
    rlhf_context_error(context, text, sizeof text);
    if (status != RLHF_E_FORMAT || strncmp(text, name, sizeof name - 1) != 0)
        return status;
    return rlhfi_fail(context, status, "column %s", text + sizeof name - 1);
}

static rlhf_status store_object(struct reading *reading, rlhfi_row_builder *builder, const rlhfi_json *object)
{
    rlhf_row row;
    RLHFI_TRY(rlhfi_row_from_json(builder, object, reading->options->chat_template, &row));
    return rlhfi_dataset_store(reading->dataset, &row);
}

static rlhf_status read_json_lines(struct reading *reading, rlhfi_lines *lines)
{
    rlhf_context *context = reading->dataset->context;
    rlhfi_row_builder builder;
    rlhf_status status = RLHF_OK;
    rlhfi_row_builder_init(&builder, context);
    while (status == RLHF_OK && !enough(reading)) {
        char *line = NULL;
        size_t bytes = 0;
        int64_t number = 0;
        status = rlhfi_lines_next(lines, &line, &bytes, &number);
        if (status != RLHF_OK || strspn(line, " \t") == bytes)
            continue;
        rlhfi_json *object = NULL;
        rlhf_status good = rlhfi_json_parse(&object, context, line, bytes, "row");
        good = good == RLHF_OK ? store_object(reading, &builder, object) : name_column(context, good);
        rlhfi_json_release(&object);
        status = judge(reading, good, number);
    }
    rlhfi_row_builder_free(&builder);
    return status == RLHF_E_END ? RLHF_OK : status;
}

/* A file that is one list of objects, as Alpaca is published; it is parsed as a whole. Its rows are numbered from 1. */
static rlhf_status read_json_list(struct reading *reading, const rlhfi_string *text)
{
    rlhfi_row_builder builder;
    rlhfi_json *list = NULL;
    rlhf_status status = rlhfi_json_parse(&list, reading->dataset->context, text->data, text->size, reading->path);
    rlhfi_row_builder_init(&builder, reading->dataset->context);
    for (size_t i = 0; status == RLHF_OK && i < rlhfi_json_size(list) && !enough(reading); i++)
        status = judge(reading, store_object(reading, &builder, rlhfi_json_at(list, i)), (int64_t)i + 1);
    rlhfi_row_builder_free(&builder);
    rlhfi_json_release(&list);
    return status;
}

/* The whole file, if its first character opens a list; else nothing. */
static rlhf_status load_list(struct reading *reading, rlhfi_string *text)
{
    rlhf_context *context = reading->dataset->context;
    rlhfi_source *source = NULL;
    char chunk[4096];
    size_t got, begin = 0;
    rlhf_status status = rlhfi_source_open(&source, context, reading->path);
    while (status == RLHF_OK) {
        status = rlhfi_source_read(source, chunk, sizeof chunk, &got);
        if (status != RLHF_OK || got == 0)
            break;
        rlhfi_string_add_bytes(text, chunk, got);
        while (begin < text->size && strchr(" \t\r\n", text->data[begin]))
            begin++;
        if (text->failed)
            status = rlhfi_out_of_memory(context);
        else if (text->size > LARGEST_LIST)
            status = rlhfi_fail(context, RLHF_E_FORMAT, "%s: over %d bytes in one list: make it JSON lines",
                                reading->path, LARGEST_LIST);
        else if (begin < text->size && text->data[begin] != '[')
            break;
    }
    if (begin == text->size || text->data[begin] != '[')
        text->size = 0;
    rlhfi_source_close(&source);
    return status;
}

/* A document without the empty lines around it; nothing, if that is all it has. */
static rlhf_status store_document(rlhf_dataset *dataset, const rlhfi_string *document)
{
    const char *text = document->data;
    size_t bytes = document->size;
    if (document->failed)
        return rlhfi_out_of_memory(dataset->context);
    if (bytes > RLHFI_LONGEST_LINE)
        return rlhfi_fail(dataset->context, RLHF_E_FORMAT, "a document of over %d bytes", RLHFI_LONGEST_LINE);
    while (bytes > 0 && text[bytes - 1] == '\n')
        bytes--;
    while (bytes > 0 && *text == '\n') {
        text++;
        bytes--;
    }
    if (bytes == 0)
        return RLHF_OK;
    if (memchr(text, '\0', bytes) != NULL)
        return rlhfi_fail(dataset->context, RLHF_E_FORMAT, "the document contains a NUL character");
    char *copy = rlhfi_strndup(dataset->context, text, bytes);
    if (copy == NULL)
        return RLHF_E_NOMEM;
    const rlhf_row row = {.struct_size = sizeof row, .kind = RLHF_ROW_TEXT, .text = copy, .margin = __builtin_nan("")};
    rlhf_status status = rlhfi_dataset_store(dataset, &row);
    rlhfi_free(dataset->context, copy);
    return status;
}

static rlhf_status read_documents(struct reading *reading, rlhfi_lines *lines)
{
    rlhfi_string document;
    rlhf_status status = RLHF_OK;
    int64_t number = 0, first = 1;
    rlhfi_string_init(&document, reading->dataset->context);
    while (status == RLHF_OK && !enough(reading)) {
        char *line = NULL;
        size_t bytes = 0;
        status = rlhfi_lines_next(lines, &line, &bytes, &number);
        if (status == RLHF_OK && strcmp(line, "<|endoftext|>") != 0) {
            /* Once it is too long it only has to stay so. */
            if (document.size <= RLHFI_LONGEST_LINE) {
                rlhfi_string_add_bytes(&document, line, bytes);
                rlhfi_string_add(&document, "\n");
            }
            continue;
        }
        if (status != RLHF_OK && status != RLHF_E_END)
            break;
        rlhf_status good = judge(reading, store_document(reading->dataset, &document), first);
        document.size = 0;
        first = number + 1;
        if (good != RLHF_OK)
            status = good;
    }
    rlhfi_string_free(&document);
    return status == RLHF_E_END ? RLHF_OK : status;
}

static rlhf_status read_lines(struct reading *reading, rlhf_status (*read)(struct reading *, rlhfi_lines *))
{
    rlhfi_lines *lines = NULL;
    RLHFI_TRY(rlhfi_lines_open(&lines, reading->dataset->context, reading->path));
    rlhf_status status = read(reading, lines);
    rlhfi_lines_close(&lines);
    return status;
}

rlhf_status rlhfi_dataset_read(rlhf_dataset *dataset, const char *path, const rlhf_dataset_options *options)
{
    struct reading reading = {.dataset = dataset, .options = options, .path = path};
    rlhf_status status = RLHF_OK;
    rlhfi_string list;
    rlhfi_string_init(&list, dataset->context);
    if (rlhfi_has_suffix(path, ".json") || rlhfi_has_suffix(path, ".json.gz"))
        status = load_list(&reading, &list);
    if (status == RLHF_OK && list.size > 0)
        status = read_json_list(&reading, &list);
    else if (status == RLHF_OK && (rlhfi_has_suffix(path, ".txt") || rlhfi_has_suffix(path, ".txt.gz")))
        status = read_lines(&reading, read_documents);
    else if (status == RLHF_OK)
        status = read_lines(&reading, read_json_lines);
    rlhfi_string_free(&list);
    if (status == RLHF_OK && dataset->count == 0 && dataset->skipped > 0)
        return rlhfi_fail(dataset->context, RLHF_E_FORMAT, "%s (and no row is good)", reading.first_bad);
    return status;
}

void rlhfi_row_line(const rlhfi_row_store *row, rlhfi_string *out)
{
    const char *extra = row->text[RLHFI_EXTRA];
    size_t extra_bytes = extra != NULL ? strlen(extra) : 0;
    bool first = true;
    rlhfi_string_add(out, "{");
    for (int i = 0; i < RLHFI_EXTRA; i++) {
        if (row->text[i] == NULL)
            continue;
        rlhfi_string_add_format(out, "%s\"%s\": ", first ? "" : ", ", rlhfi_column_name(i));
        rlhfi_string_add_json(out, row->text[i], strlen(row->text[i]));
        first = false;
    }
    if (row->margin == row->margin) {
        rlhfi_string_add(out, ", \"margin\": ");
        rlhfi_string_add_double(out, row->margin);
    }
    if (row->conversational)
        rlhfi_string_add(out, ", \"rlhf_rendered\": true");
    if (extra_bytes > 2) { /* the members of an object, without its braces */
        rlhfi_string_add(out, ", ");
        rlhfi_string_add_bytes(out, extra + 1, extra_bytes - 2);
    }
    rlhfi_string_add(out, "}\n");
}
