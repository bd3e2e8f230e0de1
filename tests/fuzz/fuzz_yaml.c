/* YAML: a tree is whole, small and within its bounds, or there is none. */
#include "fuzz.h"

#include "formats/formats.h"

static size_t check_tree(const rlhfi_yaml *node, bool in_mapping, int depth)
{
    size_t nodes = 1;

    PROMISE((node->key != NULL) == in_mapping && depth <= 17);
    PROMISE(node->line >= 1 && node->column >= 1);
    PROMISE((node->scalar != NULL) == (node->kind == RLHFI_YAML_SCALAR));
    PROMISE(node->kind != RLHFI_YAML_SCALAR || (node->first == NULL && strlen(node->scalar) <= SIZE_MAX));
    for (const rlhfi_yaml *child = node->first; child != NULL; child = child->next) {
        nodes += check_tree(child, node->kind == RLHFI_YAML_MAPPING, depth + 1);
        PROMISE(node->kind != RLHFI_YAML_MAPPING || rlhfi_yaml_get(node, child->key) == child); /* no doubles */
    }
    return nodes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rlhf_context *context = fuzz_context();
    size_t before = fuzz_live;
    rlhfi_yaml *root;

    fuzz_peak = fuzz_live;
    if (rlhfi_yaml_parse(&root, context, (const char *)data, size, "fuzz") == RLHF_OK) {
        PROMISE(root != NULL && root->next == NULL);
        PROMISE(check_tree(root, false, 1) <= 65536);
        rlhfi_yaml_release(context, &root);
    } else {
        PROMISE(root == NULL);
        fuzz_check_failure(context);
    }
    PROMISE(fuzz_live == before);
    PROMISE(fuzz_peak - before < 512 * size + 65536);
    return 0;
}
