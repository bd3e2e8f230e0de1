/* JSON: two readers must agree on what is JSON, and what was written must read back as itself. */
#include "fuzz.h"

#include "formats/formats.h"
#include "formats/scan.h"

static bool contains(const uint8_t *data, size_t size, const char *word)
{
    return data != NULL && memmem(data, size, word, strlen(word)) != NULL;
}

/* What the strict reader of headers says. */
static bool scans(const uint8_t *data, size_t size)
{
    char *copy = malloc(size + 1);
    rlhfi_scan scan;
    bool good;

    PROMISE(copy != NULL);
    if (size > 0)
        memcpy(copy, data, size);
    scan = rlhfi_scan_begin(copy, size);
    good = rlhfi_scan_skip(&scan, 64) && rlhfi_scan_finish(&scan);
    PROMISE(good == (scan.problem == NULL) && scan.at <= size);
    free(copy);
    return good && rlhfi_utf8_valid((const char *)data, size, NULL);
}

/* Written, read and written again. */
static void check_round_trip(rlhf_context *context, const rlhfi_json *root, int indent)
{
    char *one = rlhfi_json_dump(context, root, indent), *two;
    rlhfi_json *again;

    PROMISE(one != NULL);
    PROMISE(rlhfi_json_parse(&again, context, one, strlen(one), "again") == RLHF_OK);
    two = rlhfi_json_dump(context, again, indent);
    PROMISE(two != NULL && strcmp(one, two) == 0);
    rlhfi_json_release(&again);
    rlhfi_free(context, one);
    rlhfi_free(context, two);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rlhf_context *context = fuzz_context();
    bool python = contains(data, size, "NaN") || contains(data, size, "Infinity"), strict = scans(data, size);
    size_t before = fuzz_live;
    rlhfi_json *root;
    char text[512];

    fuzz_peak = fuzz_live;
    if (rlhfi_json_parse(&root, context, (const char *)data, size, "fuzz") == RLHF_OK) {
        PROMISE(root != NULL && (strict || python));
        check_round_trip(context, root, 0);
        check_round_trip(context, root, 2);
        rlhfi_json_release(&root);
    } else {
        PROMISE(root == NULL);
        fuzz_check_failure(context);
        rlhf_context_error(context, text, sizeof text);
        PROMISE(!strict || strstr(text, "duplicate object key") != NULL || strstr(text, "overflow") != NULL ||
                strstr(text, "NUL byte in object key") != NULL);
    }
    PROMISE(fuzz_live == before);
    PROMISE(fuzz_peak - before < 64 * size + 65536);
    return 0;
}
