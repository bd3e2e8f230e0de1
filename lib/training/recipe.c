/* Recipe: a method and the value of each of its keys. Numbers are kept as numbers, so that a recipe has one text
 * however it was written. */
#include "training/training.h"

#include <math.h>

typedef struct value {
    double number; /* numbers; integers, booleans and indices of choices too: all below 2^53 */
    char *text;    /* text keys */
} value;

struct rlhf_recipe {
    rlhf_context *context;
    enum rlhfi_method method;
    value *values; /* [rlhfi_key_rows], those of other methods unused */
};

/* ---- the table --------------------------------------------------------------------------------------------------- */

static bool works(const rlhfi_key *key, enum rlhfi_method method)
{
    return (key->methods >> method & 1) != 0;
}

static enum rlhfi_method method_by_name(const char *name)
{
    int method = 0;

    while (method < RLHFI_METHODS && strcmp(rlhfi_method_names[method], name) != 0)
        method++;
    return (enum rlhfi_method)method;
}

static const rlhfi_key *find_key(enum rlhfi_method method, const char *name)
{
    for (size_t i = 0; i < rlhfi_key_rows; i++)
        if (works(&rlhfi_keys[i], method) && strcmp(rlhfi_keys[i].name, name) == 0)
            return &rlhfi_keys[i];
    return NULL;
}

static rlhf_status unknown_key(const rlhf_recipe *recipe, const char *name)
{
    const rlhfi_key *nearest = NULL;
    size_t least = SIZE_MAX, longest = strlen(name);

    if (longest > 64) /* no key is that long, and the search would take its square */
        return rlhfi_fail(recipe->context, RLHF_E_INVAL, "%.64s...: %s has no such key", name,
                          rlhfi_method_names[recipe->method]);
    for (size_t i = 0; i < rlhfi_key_rows; i++) {
        size_t distance;
        if (!works(&rlhfi_keys[i], recipe->method))
            continue;
        distance = rlhfi_edit_distance(name, rlhfi_keys[i].name);
        if (distance < least) {
            least = distance;
            nearest = &rlhfi_keys[i];
        }
    }
    return rlhfi_fail(recipe->context, RLHF_E_INVAL, "%s: %s has no such key; did you mean %s?", name,
                      rlhfi_method_names[recipe->method], nearest->name);
}

/* Length of the blank-separated word number index in words, *start its beginning; 0 behind the last. */
static size_t word(const char *words, int32_t index, const char **start)
{
    while (index-- > 0 && words != NULL) {
        words = strchr(words, ' ');
        words = words != NULL ? words + 1 : NULL;
    }
    *start = words;
    return words != NULL ? strcspn(words, " ") : 0;
}

/* ---- text to value ----------------------------------------------------------------------------------------------- */

static bool is_one_of(const char *text, const char *words)
{
    const char *start;
    size_t length = strlen(text), found;

    for (int32_t i = 0; (found = word(words, i, &start)) > 0; i++)
        if (found == length && memcmp(start, text, length) == 0)
            return true;
    return false;
}

/* What YAML and Python write where there is no value. */
bool rlhfi_is_nothing(const char *text)
{
    return text[0] == '\0' || is_one_of(text, "null Null NULL ~ none None");
}

static rlhf_status parse_boolean(rlhf_context *context, const rlhfi_key *key, const char *text, double *out)
{
    if (is_one_of(text, "true True TRUE yes on 1"))
        *out = 1;
    else if (is_one_of(text, "false False FALSE no off 0"))
        *out = 0;
    else
        return rlhfi_fail(context, RLHF_E_INVAL, "%s: \"%.64s\" is neither true nor false", key->name, text);
    return RLHF_OK;
}

static rlhf_status parse_choice(rlhf_context *context, const rlhfi_key *key, const char *text, double *out)
{
    const char *start, *given = rlhfi_is_nothing(text) && !is_one_of(text, key->choices) ? key->default_value : text;
    size_t length = strlen(given), found;

    for (int32_t i = 0; (found = word(key->choices, i, &start)) > 0; i++) {
        if (found == length && memcmp(start, given, length) == 0) {
            *out = i;
            return RLHF_OK;
        }
    }
    return rlhfi_fail(context, RLHF_E_INVAL, "%s: \"%.64s\" is none of: %s", key->name, text, key->choices);
}

static rlhf_status parse_number(rlhf_context *context, const rlhfi_key *key, const char *text, double *out)
{
    bool whole = key->type == RLHF_KEY_INTEGER;
    char low[32], high[32];
    double number;

    if ((key->flags & RLHFI_KEY_OPTIONAL) != 0 && rlhfi_is_nothing(text)) {
        *out = NAN;
        return RLHF_OK;
    }
    if (!rlhfi_parse_double(text, strlen(text), &number) || isnan(number) || (whole && number != floor(number)))
        return rlhfi_fail(context, RLHF_E_INVAL, "%s: \"%.64s\" is no %s", key->name, text,
                          whole ? "whole number" : "number");
    if (!(number >= key->minimum && number <= key->maximum)) {
        rlhfi_format_double(key->minimum, low, sizeof low);
        rlhfi_format_double(key->maximum, high, sizeof high);
        return rlhfi_fail(context, RLHF_E_RANGE, "%s: %.64s is outside %s to %s", key->name, text, low, high);
    }
    *out = number + 0.0; /* -0 has another text */
    return RLHF_OK;
}

static rlhf_status parse_text(rlhf_context *context, const rlhfi_key *key, const char *text, char **out)
{
    size_t bytes = strlen(text);

    if (!rlhfi_utf8_valid(text, bytes, NULL))
        return rlhfi_fail(context, RLHF_E_INVAL, "%s: the text is not UTF-8", key->name);
    *out = rlhfi_strndup(context, text, bytes);
    return *out != NULL ? RLHF_OK : RLHF_E_NOMEM;
}

static rlhf_status set(rlhf_context *context, value *values, const rlhfi_key *key, const char *text)
{
    value new_value = {0};

    switch (key->type) {
    case RLHF_KEY_TEXT:
        RLHFI_TRY(parse_text(context, key, text, &new_value.text));
        break;
    case RLHF_KEY_BOOLEAN:
        RLHFI_TRY(parse_boolean(context, key, text, &new_value.number));
        break;
    case RLHF_KEY_CHOICE:
        RLHFI_TRY(parse_choice(context, key, text, &new_value.number));
        break;
    default:
        RLHFI_TRY(parse_number(context, key, text, &new_value.number));
    }
    rlhfi_free(context, values[key - rlhfi_keys].text);
    values[key - rlhfi_keys] = new_value;
    return RLHF_OK;
}

/* ---- value to text ----------------------------------------------------------------------------------------------- */

static void add_value(rlhfi_string *out, const rlhfi_key *key, const value *from)
{
    const char *start;
    size_t length;

    if (key->type == RLHF_KEY_TEXT)
        rlhfi_string_add(out, from->text);
    else if (key->type == RLHF_KEY_BOOLEAN)
        rlhfi_string_add(out, from->number != 0 ? "true" : "false");
    else if (key->type == RLHF_KEY_INTEGER)
        rlhfi_string_add_format(out, "%lld", (long long)from->number);
    else if (key->type == RLHF_KEY_CHOICE && (length = word(key->choices, (int32_t)from->number, &start)) > 0)
        rlhfi_string_add_bytes(out, start, length);
    else if (!isnan(from->number))
        rlhfi_string_add_double(out, from->number);
}

/* A number for YAML 1.1 readers too, to which 1e-06 is a word and 1.0e-06 is a number. */
static void add_yaml_number(rlhfi_string *out, double number)
{
    char text[40];
    size_t length = rlhfi_format_double(number, text, sizeof text), mantissa = strcspn(text, "e");

    (void)length;
    rlhfi_string_add_bytes(out, text, mantissa);
    if (text[mantissa] == 'e' && memchr(text, '.', mantissa) == NULL)
        rlhfi_string_add(out, ".0");
    rlhfi_string_add(out, text + mantissa);
}

static void add_yaml(rlhfi_string *out, const rlhfi_key *key, const value *from)
{
    rlhfi_string_add_format(out, "%s: ", key->name);
    if (key->type == RLHF_KEY_TEXT)
        rlhfi_string_add_json(out, from->text, strlen(from->text));
    else if (key->type == RLHF_KEY_NUMBER && isnan(from->number))
        rlhfi_string_add(out, "null");
    else if (key->type == RLHF_KEY_NUMBER)
        add_yaml_number(out, from->number);
    else
        add_value(out, key, from);
    rlhfi_string_add(out, "\n");
}

/* Copies a finished string into the caller's buffer and ends it. */
static rlhf_status hand_out(rlhf_context *context, rlhfi_string *text, char *buffer, size_t capacity, size_t *needed)
{
    rlhf_status status = text->failed ? RLHF_E_NOMEM : RLHF_OK;
    size_t bytes = text->size + 1;

    if (status == RLHF_OK) {
        *needed = bytes;
        if (capacity < bytes)
            status = rlhfi_fail(context, RLHF_E_RANGE, "recipe: the text takes %zu bytes, there is room for %zu", bytes,
                                capacity);
        else
            memcpy(buffer, text->data != NULL ? text->data : "", bytes);
    }
    rlhfi_string_free(text);
    return status;
}

/* ---- the object -------------------------------------------------------------------------------------------------- */

static void free_values(rlhf_context *context, value *values)
{
    for (size_t i = 0; values != NULL && i < rlhfi_key_rows; i++)
        rlhfi_free(context, values[i].text);
    rlhfi_free(context, values);
}

/* A copy, or the defaults where from is NULL. */
static rlhf_status copy_values(rlhf_context *context, enum rlhfi_method method, const value *from, value **out)
{
    value *values = rlhfi_calloc(context, rlhfi_key_rows, sizeof *values);
    rlhf_status status = values != NULL ? RLHF_OK : RLHF_E_NOMEM;

    for (size_t i = 0; status == RLHF_OK && i < rlhfi_key_rows; i++) {
        if (!works(&rlhfi_keys[i], method))
            continue;
        if (from == NULL) {
            status = set(context, values, &rlhfi_keys[i], rlhfi_keys[i].default_value);
        } else {
            values[i].number = from[i].number;
            if (from[i].text != NULL && (values[i].text = rlhfi_strdup(context, from[i].text)) == NULL)
                status = RLHF_E_NOMEM;
        }
    }
    if (status != RLHF_OK) {
        free_values(context, values);
        values = NULL;
    }
    *out = values;
    return status;
}

static rlhf_status create(rlhf_recipe **out, rlhf_context *context, enum rlhfi_method method, const value *from)
{
    rlhf_recipe *recipe = rlhfi_calloc(context, 1, sizeof *recipe);
    rlhf_status status;

    if (recipe == NULL)
        return RLHF_E_NOMEM;
    recipe->method = method;
    status = copy_values(context, method, from, &recipe->values);
    if (status != RLHF_OK) {
        rlhfi_free(context, recipe);
        return status;
    }
    recipe->context = rlhfi_context_retain(context);
    *out = recipe;
    return RLHF_OK;
}

rlhf_status rlhf_recipe_create(rlhf_recipe **out, rlhf_context *context, const char *method)
{
    const char *nearest = rlhfi_method_names[0];

    if (out != NULL)
        *out = NULL;
    RLHFI_TRY(rlhfi_enter(context));
    RLHFI_REQUIRE(context, out != NULL && method != NULL);
    if (method_by_name(method) != RLHFI_METHODS)
        return create(out, context, method_by_name(method), NULL);
    if (strlen(method) > 64)
        return rlhfi_fail(context, RLHF_E_INVAL, "method %.64s...: not known", method);
    for (int i = 1; i < RLHFI_METHODS; i++)
        if (rlhfi_edit_distance(method, rlhfi_method_names[i]) < rlhfi_edit_distance(method, nearest))
            nearest = rlhfi_method_names[i];
    return rlhfi_fail(context, RLHF_E_INVAL, "method %s: not known; did you mean %s?", method, nearest);
}

rlhf_status rlhfi_recipe_clone(rlhf_recipe **out, const rlhf_recipe *recipe)
{
    *out = NULL;
    return create(out, recipe->context, recipe->method, recipe->values);
}

void rlhf_recipe_release(rlhf_recipe **recipe)
{
    rlhf_recipe *gone = recipe != NULL ? *recipe : NULL;
    rlhf_context *context;

    if (gone == NULL)
        return;
    *recipe = NULL;
    context = gone->context;
    free_values(context, gone->values);
    rlhfi_free(context, gone);
    rlhf_context_release(&context);
}

rlhf_status rlhf_recipe_set(rlhf_recipe *recipe, const char *key, const char *text)
{
    const rlhfi_key *found;

    if (recipe == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(rlhfi_enter(recipe->context));
    RLHFI_REQUIRE(recipe->context, key != NULL && text != NULL);
    found = find_key(recipe->method, key);
    return found != NULL ? set(recipe->context, recipe->values, found, text) : unknown_key(recipe, key);
}

/* ---- YAML -------------------------------------------------------------------------------------------------------- */

static rlhf_status set_from_yaml(const rlhf_recipe *recipe, value *values, const rlhfi_yaml *entry)
{
    const rlhfi_key *key = find_key(recipe->method, entry->key);
    const char *text = entry->scalar;

    if (strcmp(entry->key, "method") == 0) {
        if (entry->kind == RLHFI_YAML_SCALAR && strcmp(text, rlhfi_method_names[recipe->method]) == 0)
            return RLHF_OK;
        return rlhfi_fail(recipe->context, RLHF_E_INVAL, "method: the file is for %.64s, the recipe for %s",
                          entry->kind == RLHFI_YAML_SCALAR ? text : "something else",
                          rlhfi_method_names[recipe->method]);
    }
    if (key == NULL)
        return unknown_key(recipe, entry->key);
    if (entry->kind != RLHFI_YAML_SCALAR)
        return rlhfi_fail(recipe->context, RLHF_E_INVAL, "%s: is a list or a mapping, one value is needed", key->name);
    if (key->type == RLHF_KEY_TEXT && !entry->quoted && rlhfi_is_nothing(text))
        text = "";
    return set(recipe->context, values, key, text);
}

/* name: of the file, for messages. */
static rlhf_status set_all(rlhf_recipe *recipe, const rlhfi_yaml *root, const char *name)
{
    rlhf_status status = RLHF_OK;
    value *values;

    if (root->kind != RLHFI_YAML_MAPPING)
        return rlhfi_fail(recipe->context, RLHF_E_FORMAT, "%s:%lld: a recipe is a mapping of keys to values", name,
                          (long long)root->line);
    RLHFI_TRY(copy_values(recipe->context, recipe->method, recipe->values, &values));
    for (const rlhfi_yaml *entry = root->first; status == RLHF_OK && entry != NULL; entry = entry->next) {
        status = set_from_yaml(recipe, values, entry);
        if (status != RLHF_OK)
            rlhfi_fail_prefix(recipe->context, status, "%s:%lld", name, (long long)entry->line);
    }
    if (status != RLHF_OK) {
        free_values(recipe->context, values);
        return status;
    }
    free_values(recipe->context, recipe->values);
    recipe->values = values;
    return RLHF_OK;
}

rlhf_status rlhf_recipe_load(rlhf_recipe *recipe, const char *path)
{
    rlhfi_yaml *root = NULL;
    rlhf_status status;

    if (recipe == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(rlhfi_enter(recipe->context));
    RLHFI_REQUIRE(recipe->context, path != NULL);
    RLHFI_TRY(rlhfi_yaml_load(&root, recipe->context, path));
    status = set_all(recipe, root, path);
    rlhfi_yaml_release(recipe->context, &root);
    return status;
}

static void add_all(rlhfi_string *text, const rlhf_recipe *recipe)
{
    rlhfi_string_init(text, recipe->context);
    rlhfi_string_add_format(text, "method: %s\n", rlhfi_method_names[recipe->method]);
    for (size_t i = 0; i < rlhfi_key_rows; i++)
        if (works(&rlhfi_keys[i], recipe->method))
            add_yaml(text, &rlhfi_keys[i], &recipe->values[i]);
}

rlhf_status rlhfi_recipe_text_yaml(const rlhf_recipe *recipe, char **out)
{
    rlhfi_string text;

    *out = NULL;
    add_all(&text, recipe);
    if (text.failed) {
        rlhfi_string_free(&text);
        return RLHF_E_NOMEM;
    }
    *out = text.data;
    return RLHF_OK;
}

rlhf_status rlhf_recipe_yaml(const rlhf_recipe *recipe, char *buffer, size_t capacity, size_t *needed)
{
    rlhfi_string text;

    if (needed != NULL)
        *needed = 0;
    if (recipe == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(rlhfi_enter(recipe->context));
    RLHFI_REQUIRE(recipe->context, needed != NULL && (buffer != NULL || capacity == 0));
    add_all(&text, recipe);
    return hand_out(recipe->context, &text, buffer, capacity, needed);
}

rlhf_status rlhf_recipe_get(const rlhf_recipe *recipe, const char *key, char *buffer, size_t capacity, size_t *needed)
{
    const rlhfi_key *found;
    rlhfi_string text;

    if (needed != NULL)
        *needed = 0;
    if (recipe == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(rlhfi_enter(recipe->context));
    RLHFI_REQUIRE(recipe->context, key != NULL && needed != NULL && (buffer != NULL || capacity == 0));
    found = find_key(recipe->method, key);
    if (found == NULL)
        return unknown_key(recipe, key);
    rlhfi_string_init(&text, recipe->context);
    add_value(&text, found, &recipe->values[found - rlhfi_keys]);
    return hand_out(recipe->context, &text, buffer, capacity, needed);
}

const char *rlhf_recipe_method(const rlhf_recipe *recipe)
{
    return recipe != NULL ? rlhfi_method_names[recipe->method] : "";
}

int64_t rlhf_recipe_key_count(const char *method)
{
    enum rlhfi_method kind = method != NULL ? method_by_name(method) : RLHFI_METHODS;
    int64_t count = 0;

    for (size_t i = 0; kind != RLHFI_METHODS && i < rlhfi_key_rows; i++)
        count += works(&rlhfi_keys[i], kind);
    return count;
}

rlhf_status rlhf_recipe_key(const char *method, int64_t index, rlhf_key_view *view)
{
    enum rlhfi_method kind = method != NULL ? method_by_name(method) : RLHFI_METHODS;
    rlhf_key_view known = {.struct_size = sizeof known};
    size_t row = 0;

    if (view == NULL || kind == RLHFI_METHODS || view->struct_size < sizeof known)
        return RLHF_E_INVAL;
    if (index < 0)
        return RLHF_E_RANGE;
    while (row < rlhfi_key_rows && !(works(&rlhfi_keys[row], kind) && index-- == 0))
        row++;
    if (row == rlhfi_key_rows)
        return RLHF_E_RANGE;
    known.struct_size = view->struct_size;
    known.type = rlhfi_keys[row].type;
    known.name = rlhfi_keys[row].name;
    known.default_value = rlhfi_keys[row].default_value;
    known.choices = rlhfi_keys[row].choices;
    known.help = rlhfi_keys[row].help;
    known.minimum = rlhfi_keys[row].minimum;
    known.maximum = rlhfi_keys[row].maximum;
    memcpy(view, &known, sizeof known);
    return RLHF_OK;
}

/* ---- for the trainers -------------------------------------------------------------------------------------------- */

enum rlhfi_method rlhfi_recipe_kind(const rlhf_recipe *recipe)
{
    return recipe->method;
}

bool rlhfi_recipe_has(const rlhf_recipe *recipe, const char *key)
{
    return find_key(recipe->method, key) != NULL;
}

bool rlhfi_recipe_takes_text(const rlhf_recipe *recipe, const char *key)
{
    const rlhfi_key *found = find_key(recipe->method, key);

    return found != NULL && found->type == RLHF_KEY_TEXT;
}

double rlhfi_recipe_number(const rlhf_recipe *recipe, const char *key)
{
    const rlhfi_key *found = find_key(recipe->method, key);

    return found != NULL ? recipe->values[found - rlhfi_keys].number : 0;
}

int64_t rlhfi_recipe_integer(const rlhf_recipe *recipe, const char *key)
{
    return (int64_t)rlhfi_recipe_number(recipe, key);
}

bool rlhfi_recipe_boolean(const rlhf_recipe *recipe, const char *key)
{
    return rlhfi_recipe_number(recipe, key) != 0;
}

int32_t rlhfi_recipe_choice(const rlhf_recipe *recipe, const char *key)
{
    return (int32_t)rlhfi_recipe_number(recipe, key);
}

const char *rlhfi_recipe_text(const rlhf_recipe *recipe, const char *key)
{
    const rlhfi_key *found = find_key(recipe->method, key);
    const char *text = found != NULL ? recipe->values[found - rlhfi_keys].text : NULL;

    return text != NULL ? text : "";
}

void rlhfi_recipe_add_json(const rlhf_recipe *recipe, rlhfi_string *out)
{
    rlhfi_string text;

    rlhfi_string_add(out, "{\"method\": ");
    rlhfi_string_add_json(out, rlhfi_method_names[recipe->method], strlen(rlhfi_method_names[recipe->method]));
    for (size_t i = 0; i < rlhfi_key_rows; i++) {
        if (!works(&rlhfi_keys[i], recipe->method))
            continue;
        rlhfi_string_init(&text, recipe->context);
        add_value(&text, &rlhfi_keys[i], &recipe->values[i]);
        rlhfi_string_add_format(out, ", \"%s\": ", rlhfi_keys[i].name);
        rlhfi_string_add_json(out, text.data != NULL ? text.data : "", text.size);
        out->failed = out->failed || text.failed;
        rlhfi_string_free(&text);
    }
    rlhfi_string_add(out, "}");
}

static rlhf_status same_value(const rlhf_recipe *recipe, size_t index, const rlhfi_json *earlier, const char *name)
{
    const rlhfi_key *key = &rlhfi_keys[index];
    const char *then = rlhfi_json_text(rlhfi_json_get(earlier, key->name), NULL), *now;
    rlhf_status status = RLHF_OK;
    rlhfi_string text;

    rlhfi_string_init(&text, recipe->context);
    add_value(&text, key, &recipe->values[index]);
    now = text.data != NULL ? text.data : "";
    if (then == NULL) /* the run was made before the key was */
        then = key->default_value;
    if (text.failed)
        status = RLHF_E_NOMEM;
    else if (strcmp(now, then) != 0)
        status = rlhfi_fail(recipe->context, RLHF_E_INVAL,
                            "%s: is %.64s, but the run in %s has %.64s: to go on with it, it must stay so", key->name,
                            now[0] != '\0' ? now : "none", name, then[0] != '\0' ? then : "none");
    rlhfi_string_free(&text);
    return status;
}

rlhf_status rlhfi_recipe_same_run(const rlhf_recipe *recipe, const rlhfi_json *earlier, const char *name)
{
    const char *method = rlhfi_json_text(rlhfi_json_get(earlier, "method"), NULL);

    if (method == NULL || strcmp(method, rlhfi_method_names[recipe->method]) != 0)
        return rlhfi_fail(recipe->context, RLHF_E_INVAL, "method: is %s, but the run in %s has %.64s",
                          rlhfi_method_names[recipe->method], name, method != NULL ? method : "none");
    for (size_t i = 0; i < rlhfi_key_rows; i++)
        if (works(&rlhfi_keys[i], recipe->method) && (rlhfi_keys[i].flags & RLHFI_KEY_FREE) == 0)
            RLHFI_TRY(same_value(recipe, i, earlier, name));
    return RLHF_OK;
}
