/* JSON through jansson. Its parser is strict and fast, but some things of real files do not pass it, so the text is
 * respelled where they occur (almost never, and then a copy is made):
 *
 *   NaN, Infinity, -Infinity    Python writes them. jansson has no such numbers: they become the strings "\0NaN",
 *                               "\0Infinity", "\0-Infinity".
 *   strings that begin with \0  get a second \0, so none can be mistaken for one of the above.
 *   integers beyond int64       get ".0", so they become reals instead of errors.
 *
 * The accessors undo the respelling, and error positions are carried back to the text as it was given. On the same way
 * nesting beyond 64 levels is refused (jansson's own limit is 2048), and a NUL byte, which jansson overlooks behind a
 * number or a word. */
#include "formats/json.h"

#include <jansson.h>
#include <limits.h>
#include <math.h>

/* ---- respelling -------------------------------------------------------------------------------------------------- */

struct change {
    size_t at, length;  /* this piece of the text ... */
    const char *insert; /* ... is replaced by this */
};

struct walk {
    const char *text;
    size_t bytes, at;
    bool in_string;
    int depth;
    const char *problem; /* NULL, or what must not be at the current place */
};

/* Moves behind the closing quote, if there is one. */
static void skip_string(struct walk *walk)
{
    const char *text = walk->text;
    size_t at = walk->at;

    while (at < walk->bytes && text[at] != '"')
        at += text[at] == '\\' ? 2 : 1;
    walk->at = at < walk->bytes ? at + 1 : walk->bytes;
    walk->in_string = false;
}

static bool starts_with(const struct walk *walk, const char *word)
{
    size_t length = strlen(word);

    return walk->bytes - walk->at >= length && memcmp(walk->text + walk->at, word, length) == 0;
}

/* Moves behind a number; true if it is an integer that int64 cannot hold. */
static bool skip_number(struct walk *walk)
{
    size_t begin = walk->at;
    bool whole = true;
    int64_t value;

    for (walk->at++; walk->at < walk->bytes; walk->at++) {
        char c = walk->text[walk->at];
        if (c == '.' || c == 'e' || c == 'E' || c == '+' || c == '-')
            whole = false;
        else if (c < '0' || c > '9')
            break;
    }
    return whole && walk->at - begin >= 19 && !rlhfi_parse_int64(walk->text + begin, walk->at - begin, &value);
}

/* Finds the next place that needs another spelling; false at the end and at a problem. */
static bool next_change(struct walk *walk, struct change *change)
{
    static const struct {
        const char *word, *insert;
    } words[] = {
        {"NaN", "\"\\u0000NaN\""},
        {"Infinity", "\"\\u0000Infinity\""},
        {"-Infinity", "\"\\u0000-Infinity\""},
    };

    for (;;) {
        if (walk->in_string)
            skip_string(walk);
        if (walk->at >= walk->bytes)
            return false;
        switch (walk->text[walk->at]) {
        case '"':
            walk->at++;
            walk->in_string = true;
            if (starts_with(walk, "\\u0000")) {
                *change = (struct change){walk->at, 0, "\\u0000"};
                return true;
            }
            break;
        case '{':
        case '[':
            if (++walk->depth > RLHFI_JSON_DEPTH) {
                walk->problem = "nested deeper than 64 levels";
                return false;
            }
            walk->at++;
            break;
        case '}':
        case ']':
            walk->depth--;
            walk->at++;
            break;
        case 'N':
        case 'I':
        case '-':
            for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
                if (starts_with(walk, words[i].word)) {
                    *change = (struct change){walk->at, strlen(words[i].word), words[i].insert};
                    walk->at += change->length;
                    return true;
                }
            if (walk->text[walk->at] != '-') {
                walk->at++;
                break;
            }
            /* fall through */
        case '0': case '1': case '2': case '3': case '4': case '5': case '6': case '7': case '8': case '9':
            if (skip_number(walk)) {
                *change = (struct change){walk->at, 0, ".0"};
                return true;
            }
            break;
        case '\0':
            walk->problem = "a NUL byte";
            return false;
        default:
            walk->at++;
        }
    }
}

/* Bytes of the respelled text, and its text if out is not NULL. */
static size_t respell(const char *text, size_t bytes, char *out, struct walk *walk)
{
    struct change change;
    size_t size = 0, copied = 0;

    *walk = (struct walk){.text = text, .bytes = bytes};
    while (next_change(walk, &change)) {
        size_t length = strlen(change.insert);
        if (out != NULL) {
            memcpy(out + size, text + copied, change.at - copied);
            memcpy(out + size + (change.at - copied), change.insert, length);
        }
        size += change.at - copied + length;
        copied = change.at + change.length;
    }
    if (out != NULL && bytes > copied)
        memcpy(out + size, text + copied, bytes - copied);
    return size + (bytes - copied);
}

/* Where byte number position of the respelled text comes from. */
static size_t original_position(const char *text, size_t bytes, size_t position)
{
    struct walk walk = {.text = text, .bytes = bytes};
    struct change change;
    size_t size = 0, copied = 0;

    while (next_change(&walk, &change) && position >= size + (change.at - copied)) {
        size += change.at - copied + strlen(change.insert);
        copied = change.at + change.length;
        if (position < size)
            return copied;
    }
    return position - size < bytes - copied ? copied + (position - size) : bytes;
}

/* ---- parsing ----------------------------------------------------------------------------------------------------- */

/* Line and column, both from 1, of the last of the first so many bytes. */
static rlhf_status fail_at(rlhf_context *context, const char *name, const char *text, size_t bytes, const char *fact)
{
    size_t line = 1, column = 0;

    for (size_t i = 0; i < bytes; i++) {
        if (i > 0 && text[i - 1] == '\n') {
            line++;
            column = 0;
        }
        column += ((unsigned char)text[i] & 0xc0) != 0x80;
    }
    return rlhfi_fail(context, RLHF_E_FORMAT, "%s:%zu:%zu: %s", name, line, column > 0 ? column : 1, fact);
}

rlhf_status rlhfi_json_parse(rlhfi_json **out, rlhf_context *context, const char *text, size_t bytes, const char *name)
{
    const size_t flags = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL;
    struct walk walk;
    char *copy = NULL;
    json_error_t error;
    json_t *root;
    size_t size;

    *out = NULL;
    size = respell(text, bytes, NULL, &walk);
    if (walk.problem != NULL)
        return fail_at(context, name, text, walk.at + 1, walk.problem);
    if (size > INT_MAX) /* jansson counts in int */
        return rlhfi_fail(context, RLHF_E_UNSUPPORTED, "%s: %zu bytes of JSON, at most %d", name, bytes, INT_MAX);
    if (size != bytes) {
        copy = rlhfi_alloc(context, size);
        if (copy == NULL)
            return RLHF_E_NOMEM;
        respell(text, bytes, copy, &walk);
    }
    root = json_loadb(copy != NULL ? copy : text, size, flags, &error);
    rlhfi_free(context, copy);
    if (root != NULL) {
        *out = (rlhfi_json *)root;
        return RLHF_OK;
    }
    if (json_error_code(&error) == json_error_out_of_memory)
        return rlhfi_out_of_memory(context);
    return fail_at(context, name, text, original_position(text, bytes, error.position > 0 ? (size_t)error.position : 0),
                   error.text);
}

rlhf_status rlhfi_json_load(rlhfi_json **out, rlhf_context *context, const char *path, size_t limit)
{
    char *text;
    size_t bytes;
    rlhf_status status;

    *out = NULL;
    RLHFI_TRY(rlhfi_file_load(context, path, limit, &text, &bytes));
    status = rlhfi_json_parse(out, context, text, bytes, path);
    rlhfi_free(context, text);
    return status;
}

void rlhfi_json_release(rlhfi_json **root)
{
    json_decref((json_t *)*root);
    *root = NULL;
}

/* ---- reading the tree -------------------------------------------------------------------------------------------- */

/* jansson's iterators want a node that they could change. */
static json_t *node_of(const rlhfi_json *node)
{
    return (json_t *)(uintptr_t)node;
}

/* What a respelled number means; false for a true string. */
static bool special_number(const json_t *node, double *out)
{
    const char *text;

    if (!json_is_string(node) || json_string_length(node) < 2)
        return false;
    text = json_string_value(node);
    if (text[0] != '\0' || text[1] == '\0')
        return false;
    *out = text[1] == 'N' ? NAN : text[1] == 'I' ? INFINITY : -INFINITY;
    return true;
}

int rlhfi_json_type(const rlhfi_json *node)
{
    double number;

    if (node == NULL)
        return RLHFI_JSON_NULL;
    switch (json_typeof(node_of(node))) {
    case JSON_OBJECT: return RLHFI_JSON_OBJECT;
    case JSON_ARRAY: return RLHFI_JSON_ARRAY;
    case JSON_STRING: return special_number(node_of(node), &number) ? RLHFI_JSON_REAL : RLHFI_JSON_STRING;
    case JSON_INTEGER: return RLHFI_JSON_INTEGER;
    case JSON_REAL: return RLHFI_JSON_REAL;
    case JSON_TRUE:
    case JSON_FALSE: return RLHFI_JSON_BOOLEAN;
    case JSON_NULL: break;
    }
    return RLHFI_JSON_NULL;
}

const rlhfi_json *rlhfi_json_get(const rlhfi_json *object, const char *key)
{
    return (const rlhfi_json *)json_object_get(node_of(object), key);
}

size_t rlhfi_json_size(const rlhfi_json *array_or_object)
{
    const json_t *node = node_of(array_or_object);

    return json_is_object(node) ? json_object_size(node) : json_array_size(node);
}

const rlhfi_json *rlhfi_json_at(const rlhfi_json *array, size_t index)
{
    return (const rlhfi_json *)json_array_get(node_of(array), index);
}

const char *rlhfi_json_text(const rlhfi_json *string, size_t *bytes)
{
    const char *text = NULL;
    size_t size = 0;

    if (rlhfi_json_type(string) == RLHFI_JSON_STRING) {
        text = json_string_value(node_of(string));
        size = json_string_length(node_of(string));
        if (size >= 2 && text[0] == '\0') { /* the \0 that was put in front */
            text++;
            size--;
        }
    }
    if (bytes != NULL)
        *bytes = size;
    return text;
}

bool rlhfi_json_number(const rlhfi_json *node, double *out)
{
    const json_t *number = node_of(node);

    if (special_number(number, out))
        return true;
    if (!json_is_number(number))
        return false;
    *out = json_number_value(number);
    return true;
}

bool rlhfi_json_integer(const rlhfi_json *node, int64_t *out)
{
    const double limit = 9223372036854775808.0; /* 2^63 */
    const json_t *number = node_of(node);
    double value;

    if (json_is_integer(number)) {
        *out = json_integer_value(number);
        return true;
    }
    if (!json_is_real(number))
        return false;
    value = json_real_value(number);
    if (value != floor(value))
        return false;
    *out = value >= limit ? INT64_MAX : value < -limit ? INT64_MIN : (int64_t)value;
    return true;
}

bool rlhfi_json_boolean(const rlhfi_json *node, bool *out)
{
    if (!json_is_boolean(node_of(node)))
        return false;
    *out = json_is_true(node_of(node));
    return true;
}

bool rlhfi_json_next(const rlhfi_json *object, void **iterator, const char **key, const rlhfi_json **value)
{
    json_t *node = node_of(object);

    if (!json_is_object(node))
        return false;
    *iterator = *iterator == NULL ? json_object_iter(node) : json_object_iter_next(node, *iterator);
    if (*iterator == NULL)
        return false;
    *key = json_object_iter_key(*iterator);
    *value = (const rlhfi_json *)json_object_iter_value(*iterator);
    return true;
}
