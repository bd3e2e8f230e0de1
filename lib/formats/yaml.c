/* YAML trees from libyaml's events.
 *
 * A recipe is data, so only the plain part of YAML is read: mappings with text keys, sequences, scalars. Aliases could
 * make a small file huge, tags mean types of other languages, several documents have no meaning here: all are refused.
 * libyaml scans in time linear in the text because we stop at depth 16 and take events as they come. */
#include "formats/formats.h"

#include "rlhf_config.h"

enum { MOST_BYTES = 1 << 20 };

#if RLHFI_HAVE_YAML

#include <yaml.h>

enum { DEEPEST = 16, MOST_NODES = 1 << 16 };

struct level {
    rlhfi_yaml *node, *last; /* a container that is still open, and its latest child */
    uint32_t id;             /* tells mappings apart in the table of keys */
};

struct builder {
    rlhf_context *context;
    const char *name;
    rlhfi_yaml *root;
    struct level levels[DEEPEST];
    int depth;
    uint32_t nodes;
    rlhfi_table *seen;      /* every key, behind the id of its mapping */
    rlhfi_string lookup;    /* scratch for that */
    bool has_key;           /* the next node is the value of key */
    rlhfi_string key;
    yaml_mark_t key_mark;
};

static rlhf_status fail_at(const struct builder *builder, yaml_mark_t mark, rlhf_status status, const char *fact)
{
    return rlhfi_fail(builder->context, status, "%s:%zu:%zu: %s", builder->name, mark.line + 1, mark.column + 1, fact);
}

static rlhf_status fail_as_parser(const struct builder *builder, const yaml_parser_t *parser)
{
    const char *fact = parser->problem != NULL ? parser->problem : "not YAML";

    switch (parser->error) {
    case YAML_MEMORY_ERROR:
        return rlhfi_out_of_memory(builder->context);
    case YAML_READER_ERROR:
        return rlhfi_fail(builder->context, RLHF_E_FORMAT, "%s: byte %zu: %s", builder->name, parser->problem_offset,
                          fact);
    default:
        return fail_at(builder, parser->problem_mark, RLHF_E_FORMAT, fact);
    }
}

/* ---- building the tree ------------------------------------------------------------------------------------------- */

/* Node, key and scalar in one piece of memory. */
static rlhfi_yaml *make_node(const struct builder *builder, int kind, yaml_mark_t mark, const char *scalar,
                             size_t scalar_bytes)
{
    size_t key_bytes = builder->has_key ? builder->key.size : 0;
    rlhfi_yaml *node = rlhfi_alloc(builder->context, sizeof *node + key_bytes + 1 + scalar_bytes + 1);
    char *text;

    if (node == NULL)
        return NULL;
    if (builder->has_key)
        mark = builder->key_mark; /* where someone would look for it */
    text = (char *)(node + 1);
    *node = (rlhfi_yaml){.kind = kind, .line = (int64_t)mark.line + 1, .column = (int64_t)mark.column + 1};
    if (builder->has_key) {
        node->key = text;
        memcpy(text, builder->key.data, key_bytes + 1);
        text += key_bytes + 1;
    }
    if (kind == RLHFI_YAML_SCALAR) {
        node->scalar = text;
        if (scalar_bytes > 0)
            memcpy(text, scalar, scalar_bytes);
        text[scalar_bytes] = '\0';
    }
    return node;
}

/* Puts a new node at its place; containers become the innermost level. */
static rlhf_status add_node(struct builder *builder, int kind, yaml_mark_t mark, const char *scalar,
                            size_t scalar_bytes, rlhfi_yaml **added)
{
    struct level *level = builder->depth > 0 ? &builder->levels[builder->depth - 1] : NULL;
    rlhfi_yaml *node;

    if (builder->nodes == MOST_NODES)
        return fail_at(builder, mark, RLHF_E_UNSUPPORTED, "more than 65536 values");
    if (kind != RLHFI_YAML_SCALAR && builder->depth == DEEPEST)
        return fail_at(builder, mark, RLHF_E_UNSUPPORTED, "nested deeper than 16 levels");
    node = make_node(builder, kind, mark, scalar, scalar_bytes);
    if (node == NULL)
        return RLHF_E_NOMEM;
    builder->nodes++;
    builder->has_key = false;
    if (level == NULL)
        builder->root = node;
    else if (level->last == NULL)
        level->node->first = node;
    else
        level->last->next = node;
    if (level != NULL)
        level->last = node;
    if (kind != RLHFI_YAML_SCALAR)
        builder->levels[builder->depth++] = (struct level){.node = node, .id = builder->nodes};
    *added = node;
    return RLHF_OK;
}

static bool wants_key(const struct builder *builder)
{
    return builder->depth > 0 && !builder->has_key &&
           builder->levels[builder->depth - 1].node->kind == RLHFI_YAML_MAPPING;
}

static rlhf_status take_key(struct builder *builder, yaml_mark_t mark, const char *text, size_t bytes)
{
    uint32_t id = builder->levels[builder->depth - 1].id;

    if (bytes == 0)
        return fail_at(builder, mark, RLHF_E_FORMAT, "a key is empty");
    if (bytes == 2 && memcmp(text, "<<", 2) == 0)
        return fail_at(builder, mark, RLHF_E_UNSUPPORTED, "merging (<<) is not supported");
    builder->lookup.size = builder->key.size = 0;
    rlhfi_string_add_bytes(&builder->lookup, &id, sizeof id);
    rlhfi_string_add_bytes(&builder->lookup, text, bytes);
    rlhfi_string_add_bytes(&builder->key, text, bytes);
    if (builder->lookup.failed || builder->key.failed)
        return RLHF_E_NOMEM;
    if (rlhfi_table_get(builder->seen, builder->lookup.data, builder->lookup.size, NULL))
        return rlhfi_fail(builder->context, RLHF_E_FORMAT, "%s:%zu:%zu: \"%s\" appears twice", builder->name,
                          mark.line + 1, mark.column + 1, builder->key.data);
    builder->key_mark = mark;
    builder->has_key = true;
    return rlhfi_table_put(builder->seen, builder->lookup.data, builder->lookup.size, 0);
}

/* ---- events ------------------------------------------------------------------------------------------------------ */

static rlhf_status take_scalar(struct builder *builder, const yaml_event_t *event)
{
    const char *text = (const char *)event->data.scalar.value;
    size_t bytes = event->data.scalar.length;
    rlhfi_yaml *node = NULL;

    if (event->data.scalar.anchor != NULL)
        return fail_at(builder, event->start_mark, RLHF_E_UNSUPPORTED, "anchors (&name) are not supported");
    if (event->data.scalar.tag != NULL)
        return fail_at(builder, event->start_mark, RLHF_E_UNSUPPORTED, "tags (!name) are not supported");
    if (bytes > 0 && memchr(text, '\0', bytes) != NULL)
        return fail_at(builder, event->start_mark, RLHF_E_FORMAT, "a NUL in a text");
    if (wants_key(builder))
        return take_key(builder, event->start_mark, text, bytes);
    RLHFI_TRY(add_node(builder, RLHFI_YAML_SCALAR, event->start_mark, text, bytes, &node));
    node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    return RLHF_OK;
}

static rlhf_status take_container(struct builder *builder, const yaml_event_t *event, int kind,
                                  const yaml_char_t *anchor, const yaml_char_t *tag)
{
    rlhfi_yaml *node;

    if (anchor != NULL)
        return fail_at(builder, event->start_mark, RLHF_E_UNSUPPORTED, "anchors (&name) are not supported");
    if (tag != NULL)
        return fail_at(builder, event->start_mark, RLHF_E_UNSUPPORTED, "tags (!name) are not supported");
    if (wants_key(builder))
        return fail_at(builder, event->start_mark, RLHF_E_FORMAT, "a key must be text");
    return add_node(builder, kind, event->start_mark, NULL, 0, &node);
}

static rlhf_status take_event(struct builder *builder, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return take_scalar(builder, event);
    case YAML_MAPPING_START_EVENT:
        return take_container(builder, event, RLHFI_YAML_MAPPING, event->data.mapping_start.anchor,
                              event->data.mapping_start.tag);
    case YAML_SEQUENCE_START_EVENT:
        return take_container(builder, event, RLHFI_YAML_SEQUENCE, event->data.sequence_start.anchor,
                              event->data.sequence_start.tag);
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT:
        builder->depth--;
        return RLHF_OK;
    case YAML_ALIAS_EVENT:
        return fail_at(builder, event->start_mark, RLHF_E_UNSUPPORTED, "aliases (*name) are not supported");
    case YAML_DOCUMENT_START_EVENT:
        if (builder->root != NULL)
            return fail_at(builder, event->start_mark, RLHF_E_UNSUPPORTED, "only one document is read");
        return RLHF_OK;
    default:
        return RLHF_OK;
    }
}

static rlhf_status take_events(struct builder *builder, yaml_parser_t *parser)
{
    for (bool more = true; more;) {
        yaml_event_t event;
        rlhf_status status;
        if (yaml_parser_parse(parser, &event) == 0)
            return fail_as_parser(builder, parser);
        more = event.type != YAML_STREAM_END_EVENT;
        status = take_event(builder, &event);
        yaml_event_delete(&event);
        RLHFI_TRY(status);
    }
    if (builder->root == NULL)
        return rlhfi_fail(builder->context, RLHF_E_FORMAT, "%s: nothing in it", builder->name);
    return RLHF_OK;
}

rlhf_status rlhfi_yaml_parse(rlhfi_yaml **out, rlhf_context *context, const char *text, size_t bytes, const char *name)
{
    struct builder builder = {.context = context, .name = name};
    yaml_parser_t parser;
    rlhf_status status;
    size_t skipped;

    *out = NULL;
    if (bytes > MOST_BYTES)
        return rlhfi_fail(context, RLHF_E_UNSUPPORTED, "%s: %zu bytes of YAML, at most %d", name, bytes, MOST_BYTES);
    if (yaml_parser_initialize(&parser) == 0)
        return rlhfi_out_of_memory(context);
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    skipped = bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0; /* byte order mark */
    yaml_parser_set_input_string(&parser, (const unsigned char *)(bytes > 0 ? text + skipped : ""), bytes - skipped);
    rlhfi_string_init(&builder.key, context);
    rlhfi_string_init(&builder.lookup, context);
    status = rlhfi_table_create(&builder.seen, context, 0);
    if (status == RLHF_OK)
        status = take_events(&builder, &parser);
    yaml_parser_delete(&parser);
    rlhfi_table_release(&builder.seen);
    rlhfi_string_free(&builder.key);
    rlhfi_string_free(&builder.lookup);
    if (status == RLHF_OK)
        *out = builder.root;
    else
        rlhfi_yaml_release(context, &builder.root);
    return status;
}

#else

rlhf_status rlhfi_yaml_parse(rlhfi_yaml **out, rlhf_context *context, const char *text, size_t bytes, const char *name)
{
    (void)text;
    (void)bytes;
    *out = NULL;
    return rlhfi_fail(context, RLHF_E_UNSUPPORTED, "%s: this library was built without libyaml", name);
}

#endif

rlhf_status rlhfi_yaml_load(rlhfi_yaml **out, rlhf_context *context, const char *path)
{
    char *text;
    size_t bytes;
    rlhf_status status;

    *out = NULL;
    RLHFI_TRY(rlhfi_file_load(context, path, MOST_BYTES, &text, &bytes));
    status = rlhfi_yaml_parse(out, context, text, bytes, path);
    rlhfi_free(context, text);
    return status;
}

const rlhfi_yaml *rlhfi_yaml_get(const rlhfi_yaml *mapping, const char *key)
{
    if (mapping == NULL || mapping->kind != RLHFI_YAML_MAPPING)
        return NULL;
    for (const rlhfi_yaml *child = mapping->first; child != NULL; child = child->next)
        if (strcmp(child->key, key) == 0)
            return child;
    return NULL;
}

/* Recursion is as deep as the tree: at most 16. */
void rlhfi_yaml_release(rlhf_context *context, rlhfi_yaml **root)
{
    rlhfi_yaml *node = *root;

    *root = NULL;
    while (node != NULL) {
        rlhfi_yaml *next = node->next;
        rlhfi_yaml_release(context, &node->first);
        rlhfi_free(context, node);
        node = next;
    }
}
