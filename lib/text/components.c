/* What all parts of tokenizer.json have in common: lists of components inside Sequences, optional flags, growing
 * lists of ids. */
#include "text/pipeline.h"

struct walk {
    rlhf_context *context;
    const char *list_key;
    rlhfi_component_parse parse;
    void *target;
    size_t count;
};

static rlhf_status walk_component(struct walk *walk, const rlhfi_json *node, int depth)
{
    const char *type = rlhfi_json_text(rlhfi_json_get(node, "type"), NULL);
    if (!type)
        return rlhfi_fail(walk->context, RLHF_E_FORMAT, "type: missing");
    if (strcmp(type, "Sequence") != 0) {
        if (++walk->count > RLHFI_MAX_COMPONENTS)
            return rlhfi_fail(walk->context, RLHF_E_FORMAT, "more than %d components", RLHFI_MAX_COMPONENTS);
        rlhf_status status = walk->parse(walk->target, node, type);
        return status == RLHF_OK ? status : rlhfi_fail_prefix(walk->context, status, "%.40s", type);
    }
    const rlhfi_json *list = rlhfi_json_get(node, walk->list_key);
    if (rlhfi_json_type(list) != RLHFI_JSON_ARRAY)
        return rlhfi_fail(walk->context, RLHF_E_FORMAT, "%s: must be a list", walk->list_key);
    if (depth == RLHFI_MAX_NESTING)
        return rlhfi_fail(walk->context, RLHF_E_FORMAT, "more than %d Sequences inside one another", RLHFI_MAX_NESTING);
    for (size_t i = 0; i < rlhfi_json_size(list); i++) {
        rlhf_status status = walk_component(walk, rlhfi_json_at(list, i), depth + 1);
        if (status != RLHF_OK)
            return rlhfi_fail_prefix(walk->context, status, "%s[%zu]", walk->list_key, i);
    }
    return RLHF_OK;
}

rlhf_status rlhfi_components_parse(rlhf_context *context, const rlhfi_json *node, const char *list_key,
                                   rlhfi_component_parse parse, void *target)
{
    struct walk walk = {.context = context, .list_key = list_key, .parse = parse, .target = target};
    if (rlhfi_json_type(node) == RLHFI_JSON_NULL)
        return RLHF_OK;
    return walk_component(&walk, node, 0);
}

rlhf_status rlhfi_json_flag(rlhf_context *context, const rlhfi_json *object, const char *key, bool fallback, bool *out)
{
    const rlhfi_json *node = rlhfi_json_get(object, key);
    *out = fallback;
    if (rlhfi_json_type(node) == RLHFI_JSON_NULL || rlhfi_json_boolean(node, out))
        return RLHF_OK;
    return rlhfi_fail(context, RLHF_E_FORMAT, "%s: must be true or false", key);
}

rlhf_status rlhfi_ids_push(rlhf_context *context, rlhfi_ids *ids, const int32_t *values, size_t count)
{
    if (count > ids->capacity - ids->count) {
        size_t capacity = ids->capacity ? ids->capacity : 64;
        while (capacity - ids->count < count) {
            if (!rlhfi_multiply(capacity, 2, &capacity))
                return rlhfi_out_of_memory(context);
        }
        int32_t *moved = rlhfi_realloc_array(context, ids->data, capacity, sizeof *moved);
        if (!moved)
            return rlhfi_out_of_memory(context);
        ids->data = moved;
        ids->capacity = capacity;
    }
    if (count > 0)
        memcpy(ids->data + ids->count, values, count * sizeof *values);
    ids->count += count;
    return RLHF_OK;
}
