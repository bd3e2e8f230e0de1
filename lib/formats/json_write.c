/* JSON text from a tree, spelled as Python's encoder does, so that a file that only passes through stays the same. */
#include "formats/json.h"
#include "formats/sort.h"

#include <math.h>

/* ---- strings ----------------------------------------------------------------------------------------------------- */

/* The character at text[0..bytes), which is valid UTF-8, and how many bytes it takes. */
static uint32_t decode_utf8(const char *text, size_t *length)
{
    const unsigned char *c = (const unsigned char *)text;

    if (c[0] < 0x80) {
        *length = 1;
        return c[0];
    }
    if (c[0] < 0xe0) {
        *length = 2;
        return (uint32_t)(c[0] & 0x1f) << 6 | (c[1] & 0x3f);
    }
    if (c[0] < 0xf0) {
        *length = 3;
        return (uint32_t)(c[0] & 0x0f) << 12 | (uint32_t)(c[1] & 0x3f) << 6 | (c[2] & 0x3f);
    }
    *length = 4;
    return (uint32_t)(c[0] & 0x07) << 18 | (uint32_t)(c[1] & 0x3f) << 12 | (uint32_t)(c[2] & 0x3f) << 6 | (c[3] & 0x3f);
}

static void add_code_point(rlhfi_string *out, uint32_t point)
{
    if (point >= 0x10000) {
        rlhfi_string_add_format(out, "\\u%04x", (unsigned)(0xd800 + ((point - 0x10000) >> 10)));
        point = 0xdc00 + ((point - 0x10000) & 0x3ff);
    }
    rlhfi_string_add_format(out, "\\u%04x", (unsigned)point);
}

void rlhfi_json_quote(rlhfi_string *out, const char *text, size_t bytes, bool ascii)
{
    static const char escaped[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    size_t plain = 0, length; /* text[plain..i) needs no escape and is added in one piece */

    rlhfi_string_add(out, "\"");
    for (size_t i = 0; i < bytes; i += length) {
        uint32_t point = decode_utf8(text + i, &length);
        const char *found = point != 0 && point < 0x80 ? strchr(escaped, (int)point) : NULL;
        if (found == NULL && point >= 0x20 && !(ascii && point >= 0x7f))
            continue;
        rlhfi_string_add_bytes(out, text + plain, i - plain);
        plain = i + length;
        if (found != NULL)
            rlhfi_string_add_bytes(out, (const char[]){'\\', letters[found - escaped]}, 2);
        else
            add_code_point(out, point);
    }
    rlhfi_string_add_bytes(out, text + plain, bytes - plain);
    rlhfi_string_add(out, "\"");
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

struct style {
    rlhfi_string *out;
    int indent; /* 0 = one line */
};

static void add_node(const struct style *style, const rlhfi_json *node, int level);

static void add_real(rlhfi_string *out, double value)
{
    char text[32];
    size_t bytes = rlhfi_format_double(value, text, sizeof text);

    if (isnan(value) || isinf(value)) {
        rlhfi_string_add(out, isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity");
        return;
    }
    rlhfi_string_add_bytes(out, text, bytes);
    if (memchr(text, '.', bytes) == NULL && memchr(text, 'e', bytes) == NULL)
        rlhfi_string_add(out, ".0"); /* so that it reads back as a real */
}

/* Before an item (first or not) and before the closing bracket. */
static void add_break(const struct style *style, const char *comma, int level)
{
    rlhfi_string_add(style->out, comma);
    if (style->indent == 0) {
        if (comma[0] != '\0')
            rlhfi_string_add(style->out, " ");
        return;
    }
    rlhfi_string_add(style->out, "\n");
    for (int i = 0; i < level * style->indent; i++)
        rlhfi_string_add(style->out, " ");
}

struct member {
    const char *key;
    const rlhfi_json *value;
};

static int compare_members(const void *a, const void *b)
{
    const struct member *x = a, *y = b;

    return strcmp(x->key, y->key);
}

static bool is_listed(const char *key, const char *const *list)
{
    for (size_t i = 0; list != NULL && list[i] != NULL; i++)
        if (strcmp(key, list[i]) == 0)
            return true;
    return false;
}

/* The members of base that are not listed in without, with the values of changes where it has them, then what only
 * changes has. members has room for all. */
static size_t collect(const rlhfi_json *base, const rlhfi_json *changes, const char *const *without,
                      struct member *members)
{
    size_t count = 0;
    struct member member;

    for (void *i = NULL; rlhfi_json_next(base, &i, &member.key, &member.value);) {
        const rlhfi_json *changed = rlhfi_json_get(changes, member.key);
        if (is_listed(member.key, without))
            continue;
        if (changed != NULL)
            member.value = changed;
        members[count++] = member;
    }
    for (void *i = NULL; rlhfi_json_next(changes, &i, &member.key, &member.value);)
        if (rlhfi_json_get(base, member.key) == NULL)
            members[count++] = member;
    return count;
}

static void add_object(const struct style *style, const rlhfi_json *base, const rlhfi_json *changes,
                       const char *const *without, int level)
{
    rlhfi_string *out = style->out;
    size_t count = rlhfi_json_size(base) + rlhfi_json_size(changes);
    struct member *members = rlhfi_alloc_array(out->context, count, sizeof *members);

    if (members == NULL) {
        out->failed = true;
        return;
    }
    count = collect(base, changes, without, members);
    if (style->indent > 0)
        rlhfi_sort(members, count, sizeof *members, compare_members);
    rlhfi_string_add(out, "{");
    for (size_t i = 0; i < count; i++) {
        add_break(style, i > 0 ? "," : "", level + 1);
        rlhfi_json_quote(out, members[i].key, strlen(members[i].key), style->indent > 0);
        rlhfi_string_add(out, ": ");
        add_node(style, members[i].value, level + 1);
    }
    if (count > 0)
        add_break(style, "", level);
    rlhfi_string_add(out, "}");
    rlhfi_free(out->context, members);
}

static void add_array(const struct style *style, const rlhfi_json *array, int level)
{
    size_t count = rlhfi_json_size(array);

    rlhfi_string_add(style->out, "[");
    for (size_t i = 0; i < count; i++) {
        add_break(style, i > 0 ? "," : "", level + 1);
        add_node(style, rlhfi_json_at(array, i), level + 1);
    }
    if (count > 0)
        add_break(style, "", level);
    rlhfi_string_add(style->out, "]");
}

/* Recursion is bounded: the parser has refused deeper nesting than RLHFI_JSON_DEPTH. */
static void add_node(const struct style *style, const rlhfi_json *node, int level)
{
    rlhfi_string *out = style->out;
    const char *text;
    int64_t integer = 0;
    double real = 0.0;
    bool truth = false;
    size_t bytes;

    if (out->failed)
        return;
    switch (rlhfi_json_type(node)) {
    case RLHFI_JSON_OBJECT:
        add_object(style, node, NULL, NULL, level);
        break;
    case RLHFI_JSON_ARRAY:
        add_array(style, node, level);
        break;
    case RLHFI_JSON_STRING:
        text = rlhfi_json_text(node, &bytes);
        rlhfi_json_quote(out, text, bytes, style->indent > 0);
        break;
    case RLHFI_JSON_INTEGER:
        rlhfi_json_integer(node, &integer);
        rlhfi_string_add_format(out, "%lld", (long long)integer);
        break;
    case RLHFI_JSON_REAL:
        rlhfi_json_number(node, &real);
        add_real(out, real);
        break;
    case RLHFI_JSON_BOOLEAN:
        rlhfi_json_boolean(node, &truth);
        rlhfi_string_add(out, truth ? "true" : "false");
        break;
    default:
        rlhfi_string_add(out, "null");
    }
}

/* Hands over the text of a string, or NULL if it failed. */
static char *take(rlhfi_string *text)
{
    char *data = text->failed ? NULL : text->data;

    if (text->failed)
        rlhfi_string_free(text);
    return data;
}

char *rlhfi_json_dump(rlhf_context *context, const rlhfi_json *node, int indent)
{
    rlhfi_string text;

    rlhfi_string_init(&text, context);
    add_node(&(struct style){&text, indent}, node, 0);
    return take(&text);
}

char *rlhfi_json_dump_changed(rlhf_context *context, const rlhfi_json *base, const rlhfi_json *changes, int indent)
{
    rlhfi_string text;

    rlhfi_string_init(&text, context);
    add_object(&(struct style){&text, indent}, base, changes, NULL, 0);
    return take(&text);
}

rlhf_status rlhfi_json_dump_others(rlhf_context *context, const rlhfi_json *object, const char *const *without,
                                   char **out)
{
    const rlhfi_json *value;
    const char *key;
    size_t others = 0;
    rlhfi_string text;

    *out = NULL;
    for (void *i = NULL; rlhfi_json_next(object, &i, &key, &value);)
        others += !is_listed(key, without);
    if (others == 0)
        return RLHF_OK;
    rlhfi_string_init(&text, context);
    add_object(&(struct style){&text, 0}, object, NULL, without, 0);
    *out = take(&text);
    return *out != NULL ? RLHF_OK : RLHF_E_NOMEM;
}
