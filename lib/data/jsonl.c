/* Files to rows and rows to lines: JSON lines, and plain text documents. */
#include "data/dataset.h"

static bool has_suffix(const char *path, const char *suffix)
{
    size_t bytes = strlen(path), suffix_bytes = strlen(suffix);
    return bytes >= suffix_bytes && strcmp(path + bytes - suffix_bytes, suffix) == 0;
}

/* A bad row stops the reading, or is counted. */
static rlhf_status judge(rlhf_dataset *dataset, rlhf_status status, const rlhf_dataset_options *options,
                         const char *path, int64_t number)
{
    if (status == RLHF_OK || status == RLHF_E_NOMEM)
        return status;
    if (options->bad_row == RLHF_BAD_ROW_SKIP) {
        dataset->skipped++;
        return rlhfi_enter(dataset->context); /* the reason is forgotten */
    }
    return rlhfi_fail_prefix(dataset->context, status, "%s:%lld", path, (long long)number);
}

static bool enough(const rlhf_dataset *dataset, const rlhf_dataset_options *options)
{
    return options->max_rows > 0 && dataset->count >= options->max_rows;
}

static rlhf_status read_json_lines(rlhf_dataset *dataset, rlhfi_lines *lines, const char *path,
                                   const rlhf_dataset_options *options)
{
    rlhfi_row_builder builder;
    rlhf_status status = RLHF_OK;
    rlhfi_row_builder_init(&builder, dataset->context);
    while (status == RLHF_OK && !enough(dataset, options)) {
        char *line = NULL;
        size_t bytes = 0;
        int64_t number = 0;
        status = rlhfi_lines_next(lines, &line, &bytes, &number);
        if (status != RLHF_OK || strspn(line, " \t") == bytes)
            continue;
        rlhfi_json *object = NULL;
        rlhf_row row;
        rlhf_status good = rlhfi_json_parse(&object, dataset->context, line, bytes, "JSON");
        if (good == RLHF_OK)
            good = rlhfi_row_from_json(&builder, object, options->chat_template, &row);
        if (good == RLHF_OK)
            good = rlhf_dataset_append(dataset, &row);
        rlhfi_json_release(&object);
        status = judge(dataset, good, options, path, number);
    }
    rlhfi_row_builder_free(&builder);
    return status == RLHF_E_END ? RLHF_OK : status;
}

static rlhf_status append_document(rlhf_dataset *dataset, rlhfi_string *document)
{
    while (document->size > 0 && document->data[document->size - 1] == '\n')
        document->data[--document->size] = '\0';
    if (document->failed)
        return rlhfi_out_of_memory(dataset->context);
    if (document->size == 0)
        return RLHF_OK;
    if (memchr(document->data, '\0', document->size) != NULL)
        return rlhfi_fail(dataset->context, RLHF_E_FORMAT, "the document contains a NUL character");
    rlhf_row row = {.struct_size = sizeof row, .kind = RLHF_ROW_TEXT, .text = document->data, .margin = 0.0 / 0.0};
    return rlhf_dataset_append(dataset, &row);
}

static rlhf_status read_documents(rlhf_dataset *dataset, rlhfi_lines *lines, const char *path,
                                  const rlhf_dataset_options *options)
{
    rlhfi_string document;
    rlhf_status status = RLHF_OK;
    int64_t number = 0, first = 1;
    rlhfi_string_init(&document, dataset->context);
    while (status == RLHF_OK && !enough(dataset, options)) {
        char *line = NULL;
        size_t bytes = 0;
        status = rlhfi_lines_next(lines, &line, &bytes, &number);
        if (status == RLHF_OK && strcmp(line, "<|endoftext|>") != 0) {
            rlhfi_string_add_bytes(&document, line, bytes);
            rlhfi_string_add(&document, "\n");
            continue;
        }
        if (status != RLHF_OK && status != RLHF_E_END)
            break;
        rlhf_status good = judge(dataset, append_document(dataset, &document), options, path, first);
        rlhfi_string_free(&document);
        rlhfi_string_init(&document, dataset->context);
        first = number + 1;
        if (good != RLHF_OK)
            status = good;
    }
    rlhfi_string_free(&document);
    return status == RLHF_E_END ? RLHF_OK : status;
}

rlhf_status rlhfi_dataset_read(rlhf_dataset *dataset, const char *path, const rlhf_dataset_options *options)
{
    rlhfi_lines *lines = NULL;
    RLHFI_TRY(rlhfi_lines_open(&lines, dataset->context, path));
    rlhf_status status = has_suffix(path, ".txt") || has_suffix(path, ".txt.gz")
                             ? read_documents(dataset, lines, path, options)
                             : read_json_lines(dataset, lines, path, options);
    rlhfi_lines_close(&lines);
    return status;
}

rlhf_status rlhfi_dataset_lines(const rlhf_dataset *dataset, rlhfi_string *out)
{
    static const char *const names[RLHFI_ROW_TEXTS - 1] = {"text", "prompt", "completion", "chosen", "rejected"};
    for (uint64_t i = 0; i < dataset->count; i++) {
        const rlhfi_row_store *row = &dataset->rows[i];
        const char *extra = row->text[RLHFI_ROW_TEXTS - 1];
        bool first = true;
        rlhfi_string_add(out, "{");
        for (int t = 0; t < RLHFI_ROW_TEXTS - 1; t++) {
            if (row->text[t] == NULL)
                continue;
            rlhfi_string_add_format(out, "%s\"%s\": ", first ? "" : ", ", names[t]);
            rlhfi_string_add_json(out, row->text[t], strlen(row->text[t]));
            first = false;
        }
        if (row->margin == row->margin) {
            rlhfi_string_add(out, ", \"margin\": ");
            rlhfi_string_add_double(out, row->margin);
        }
        if (extra != NULL && strlen(extra) > 2) {
            rlhfi_string_add(out, ", ");
            rlhfi_string_add_bytes(out, extra + 1, strlen(extra) - 2);
        }
        rlhfi_string_add(out, "}\n");
    }
    return out->failed ? rlhfi_out_of_memory(dataset->context) : RLHF_OK;
}
