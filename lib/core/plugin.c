/* Names that a context knows: makers of objectives and scorers, the program's own or a shared object's. The list
 * belongs to the context and holds no handle, because a handle would keep the context alive for ever. */
#include "core/internal.h"

#include <dlfcn.h>

#include <rlhf/plugin.h>

enum kind { OBJECTIVE, SCORER };
static const char *const kind_names[] = {"objective", "scorer"};

struct rlhfi_plugin_name {
    struct rlhfi_plugin_name *next; /* newest first */
    enum kind kind;
    char *name;
    rlhf_make_objective_fn make_objective;
    rlhf_make_scorer_fn make_scorer;
    void *user_data;
    rlhf_destroy_fn destroy;
};

static void free_name(rlhf_context *context, struct rlhfi_plugin_name *gone)
{
    if (gone->destroy != NULL)
        gone->destroy(gone->user_data);
    rlhfi_free(context, gone->name);
    rlhfi_free(context, gone);
}

/* Forgets the names that are newer than one. */
static void forget(rlhf_context *context, const struct rlhfi_plugin_name *until)
{
    while (context->plugin_names != until) {
        struct rlhfi_plugin_name *gone = context->plugin_names;
        context->plugin_names = gone->next;
        free_name(context, gone);
    }
}

void rlhfi_plugin_forget_all(rlhf_context *context)
{
    forget(context, NULL);
}

/* ---- names ------------------------------------------------------------------------------------------------------- */

static struct rlhfi_plugin_name *find(const rlhf_context *context, enum kind kind, const char *name, size_t bytes)
{
    for (struct rlhfi_plugin_name *item = context->plugin_names; item != NULL; item = item->next)
        if (item->kind == kind && strlen(item->name) == bytes && memcmp(item->name, name, bytes) == 0)
            return item;
    return NULL;
}

static rlhf_status append(rlhf_context *context, const struct rlhfi_plugin_name *given, const char *name)
{
    struct rlhfi_plugin_name *item;

    RLHFI_TRY(rlhfi_enter(context));
    RLHFI_REQUIRE(context, name != NULL && (given->make_objective != NULL || given->make_scorer != NULL));
    if (name[0] == '\0' || strchr(name, ':') != NULL)
        return rlhfi_fail(context, RLHF_E_INVAL, "%s \"%.64s\": a name is not empty and has no colon in it",
                          kind_names[given->kind], name);
    if (find(context, given->kind, name, strlen(name)) != NULL)
        return rlhfi_fail(context, RLHF_E_INVAL, "%s %.64s: the context has one of this name", kind_names[given->kind],
                          name);
    item = rlhfi_calloc(context, 1, sizeof *item);
    if (item == NULL)
        return RLHF_E_NOMEM;
    *item = *given;
    item->name = rlhfi_strdup(context, name);
    if (item->name == NULL) {
        rlhfi_free(context, item);
        return RLHF_E_NOMEM;
    }
    item->next = context->plugin_names;
    context->plugin_names = item;
    return RLHF_OK;
}

static rlhf_status add(rlhf_context *context, const struct rlhfi_plugin_name *given, const char *name)
{
    rlhf_status status = append(context, given, name);

    if (status != RLHF_OK && given->destroy != NULL)
        given->destroy(given->user_data);
    return status;
}

rlhf_status rlhf_plugin_add_objective(rlhf_context *context, const char *name, rlhf_make_objective_fn make,
                                      void *user_data, rlhf_destroy_fn destroy)
{
    struct rlhfi_plugin_name given = {
        .kind = OBJECTIVE, .make_objective = make, .user_data = user_data, .destroy = destroy};

    return add(context, &given, name);
}

rlhf_status rlhf_plugin_add_scorer(rlhf_context *context, const char *name, rlhf_make_scorer_fn make, void *user_data,
                                   rlhf_destroy_fn destroy)
{
    struct rlhfi_plugin_name given = {.kind = SCORER, .make_scorer = make, .user_data = user_data, .destroy = destroy};

    return add(context, &given, name);
}

/* Splits "name:argument" and finds the name. */
static rlhf_status look_up(rlhf_context *context, enum kind kind, const char *text, struct rlhfi_plugin_name **out,
                           const char **argument)
{
    size_t bytes = strcspn(text, ":");
    const struct rlhfi_plugin_name *nearest = NULL;

    *argument = text[bytes] == ':' ? text + bytes + 1 : "";
    *out = find(context, kind, text, bytes);
    if (*out != NULL)
        return RLHF_OK;
    for (const struct rlhfi_plugin_name *item = context->plugin_names; item != NULL; item = item->next)
        if (item->kind == kind && (nearest == NULL || rlhfi_edit_distance(text, item->name) <
                                                          rlhfi_edit_distance(text, nearest->name)))
            nearest = item;
    return rlhfi_fail(context, RLHF_E_INVAL, "%s %.64s: %s%.64s", kind_names[kind], text,
                      nearest != NULL ? "is not registered; the nearest is " : "is not registered, no other is",
                      nearest != NULL ? nearest->name : "");
}

/* A maker that failed silently still leaves a sentence; one that succeeded must have made something. */
static rlhf_status made(rlhf_context *context, enum kind kind, const char *text, rlhf_status status, bool something)
{
    if (status == RLHF_OK && something)
        return rlhfi_enter(context);
    if (status == RLHF_OK)
        return rlhfi_fail(context, RLHF_E_INVAL, "%s %.64s: its maker made nothing", kind_names[kind], text);
    if (context->error_status != status)
        return rlhfi_fail(context, status, "%s %.64s: its maker returned %d (%s)", kind_names[kind], text, (int)status,
                          rlhf_status_name(status));
    return status;
}

rlhf_status rlhf_plugin_objective(rlhf_objective **out, rlhf_context *context, const char *text)
{
    struct rlhfi_plugin_name *item;
    const char *argument;
    rlhf_status status;

    if (out != NULL)
        *out = NULL;
    RLHFI_TRY(rlhfi_enter(context));
    RLHFI_REQUIRE(context, out != NULL && text != NULL);
    RLHFI_TRY(look_up(context, OBJECTIVE, text, &item, &argument));
    status = item->make_objective(item->user_data, context, argument, out);
    status = made(context, OBJECTIVE, text, status, *out != NULL);
    if (status != RLHF_OK)
        *out = NULL;
    return status;
}

rlhf_status rlhf_plugin_scorer(rlhf_scorer **out, rlhf_context *context, const char *text)
{
    struct rlhfi_plugin_name *item;
    const char *argument;
    rlhf_status status;

    if (out != NULL)
        *out = NULL;
    RLHFI_TRY(rlhfi_enter(context));
    RLHFI_REQUIRE(context, out != NULL && text != NULL);
    RLHFI_TRY(look_up(context, SCORER, text, &item, &argument));
    status = item->make_scorer(item->user_data, context, argument, out);
    status = made(context, SCORER, text, status, *out != NULL);
    if (status != RLHF_OK)
        *out = NULL;
    return status;
}

int32_t rlhf_plugin_has_scorer(const rlhf_context *context, const char *text)
{
    return context != NULL && text != NULL && find(context, SCORER, text, strcspn(text, ":")) != NULL;
}

/* ---- shared objects ---------------------------------------------------------------------------------------------- */

/* dlsym gives an object pointer; POSIX promises that its bytes are those of the function pointer. */
static bool find_function(void *object, const char *name, void *function, size_t size)
{
    void *address = dlsym(object, name);

    memcpy(function, &address, size);
    return address != NULL;
}

static rlhf_status check_version(rlhf_context *context, const char *path, uint32_t version)
{
    if (version == 0)
        return rlhfi_fail(context, RLHF_E_INVAL, "%s: did not say which version it was made for", path);
    if (version >> 16 == RLHF_API_MAJOR && version <= RLHF_API_VERSION)
        return RLHF_OK;
    return rlhfi_fail(context, RLHF_E_UNSUPPORTED, "%s: was made for version %u.%u.%u, the library is %u.%u.%u", path,
                      version >> 16, version >> 8 & 255, version & 255, RLHF_API_MAJOR, RLHF_API_MINOR,
                      RLHF_API_PATCH);
}

static rlhf_status register_with(rlhf_context *context, const char *path, void *object)
{
    rlhf_plugin_host host = {
        .struct_size = sizeof host, .library_version = RLHF_API_VERSION, .context = context};
    rlhf_plugin_register_fn enter;
    uint32_t (*version)(void);
    rlhf_status status;

    /* Handles of two copies must never meet. */
    if (find_function(object, "rlhf_version", &version, sizeof version) && version != rlhf_version)
        return rlhfi_fail(context, RLHF_E_UNSUPPORTED, "%s: is linked with another copy of the library", path);
    if (!find_function(object, "rlhf_plugin_register", &enter, sizeof enter))
        return rlhfi_fail(context, RLHF_E_FORMAT, "%s: has no function rlhf_plugin_register", path);
    status = enter(&host);
    if (status != RLHF_OK && context->error_status != status)
        return rlhfi_fail(context, status, "%s: rlhf_plugin_register returned %d (%s)", path, (int)status,
                          rlhf_status_name(status));
    RLHFI_TRY(status);
    return check_version(context, path, host.plugin_version);
}

rlhf_status rlhf_plugin_load(rlhf_context *context, const char *path)
{
    struct rlhfi_plugin_name *before;
    rlhf_status status;
    void *object;

    RLHFI_TRY(rlhfi_enter(context));
    RLHFI_REQUIRE(context, path != NULL);
    before = context->plugin_names;
    object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (object == NULL)
        return rlhfi_fail(context, RLHF_E_IO, "plugin: %s", dlerror());
    status = register_with(context, path, object);
    if (status == RLHF_OK)
        return rlhfi_enter(context);
    forget(context, before);
    dlclose(object);
    return status;
}
