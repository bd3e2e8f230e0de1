/* A dataset file, plain or zipped, as JSON lines, as a JSON list and as text documents: whatever it holds, reading ends
 * in rows that can be saved and read again as the same rows, or in one line that says why not. */
#include "fuzz.h"

#include <unistd.h>

#include "data/dataset.h"

static char folder[64], path[128];

static void remove_folder(void)
{
    rmdir(folder);
}

static void write_file(const uint8_t *data, size_t size)
{
    FILE *file = fopen(path, "wb");

    PROMISE(file != NULL && fwrite(data, 1, size, file) == size && fclose(file) == 0);
}

static bool same(const char *a, const char *b)
{
    return a != NULL && b != NULL ? strcmp(a, b) == 0 : a == b;
}

static void check_rows(const rlhf_dataset *dataset, const rlhf_dataset *again)
{
    PROMISE(rlhf_dataset_rows(dataset) == rlhf_dataset_rows(again));
    for (uint64_t i = 0; i < rlhf_dataset_rows(dataset); i++) {
        rlhf_row a = {.struct_size = sizeof a}, b = {.struct_size = sizeof b};
        PROMISE(rlhf_dataset_row(dataset, i, &a) == RLHF_OK && rlhf_dataset_row(again, i, &b) == RLHF_OK);
        PROMISE(a.kind == b.kind && a.conversational == b.conversational);
        PROMISE(same(a.text, b.text) && same(a.prompt, b.prompt) && same(a.completion, b.completion));
        PROMISE(same(a.chosen, b.chosen) && same(a.rejected, b.rejected) && same(a.extra, b.extra));
        PROMISE(memcmp(&a.margin, &b.margin, sizeof a.margin) == 0);
    }
}

static void check_reading(rlhf_context *context, const char *name, const uint8_t *data, size_t size, int32_t bad_row)
{
    rlhf_dataset *dataset, *again;
    rlhf_dataset_options options;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    write_file(data, size);
    rlhf_dataset_options_init(&options, sizeof options);
    options.bad_row = bad_row;
    options.chat_template = size % 2 == 0 ? RLHF_TEMPLATE_CHATML : RLHF_TEMPLATE_PLAIN;
    if (rlhf_dataset_load(&dataset, context, path, &options) == RLHF_OK) {
        unlink(path);
        snprintf(path, sizeof path, "%s/saved.jsonl%s", folder, size % 3 == 0 ? ".gz" : "");
        PROMISE(rlhf_dataset_save(dataset, path) == RLHF_OK);
        PROMISE(rlhf_dataset_load(&again, context, path, NULL) == RLHF_OK);
        check_rows(dataset, again);
        rlhf_dataset_release(&again);
        rlhf_dataset_release(&dataset);
    } else {
        PROMISE(dataset == NULL);
        fuzz_check_failure(context);
    }
    unlink(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"a.jsonl", "a.txt", "a.json"};
    rlhf_context *context = fuzz_context();
    size_t before = fuzz_live;

    if (folder[0] == '\0') {
        strcpy(folder, "/tmp/rlhf_fuzz_XXXXXX");
        PROMISE(mkdtemp(folder) != NULL);
        atexit(remove_folder);
    }
    fuzz_peak = fuzz_live;
    for (int i = 0; i < 3; i++)
        check_reading(context, names[i], data, size, i == 1 ? RLHF_BAD_ROW_STOP : RLHF_BAD_ROW_SKIP);
    PROMISE(fuzz_live == before);
    /* Zipped data can grow a thousandfold; the rest are buffers of fixed size. */
    PROMISE(fuzz_peak - before < 16384 * size + (2u << 20));
    return 0;
}
