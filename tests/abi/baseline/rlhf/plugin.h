/* Plugins: objectives and scorers by name, for recipes and for the command line, from the program itself or from shared
 * objects that are loaded while it runs.
 *
 * A plugin is linked with librlhf, includes these headers and exports one function:
 *
 *     rlhf_status rlhf_plugin_register(rlhf_plugin_host *host)
 *     {
 *         host->plugin_version = RLHF_API_VERSION;
 *         return rlhf_plugin_add_scorer(host->context, "mine", make_scorer, NULL, NULL);
 *     }
 *
 * Then `rlhf reinforce --plugin libmine.so --scorer mine:argument`, or the recipe's keys objective and scorer. */
#ifndef RLHF_PLUGIN_H
#define RLHF_PLUGIN_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rlhf_plugin_host {
    uint32_t struct_size;
    uint32_t library_version; /* rlhf_version() of the library that is running */
    uint32_t plugin_version;  /* the plugin writes RLHF_API_VERSION here, before anything else */
    uint32_t reserved;
    rlhf_context *context;    /* where to register */
} rlhf_plugin_host;

/* The type of rlhf_plugin_register. A status other than RLHF_OK refuses: nothing that it registered stays. */
typedef rlhf_status (*rlhf_plugin_register_fn)(rlhf_plugin_host *host);

/* Make a new objective or scorer, which then belongs to whoever asked for the name. argument: what stands behind the
 * name and a colon ("mine:argument"), else "". */
typedef rlhf_status (*rlhf_make_objective_fn)(void *user_data, rlhf_context *context, const char *argument,
                                              rlhf_objective **out);
typedef rlhf_status (*rlhf_make_scorer_fn)(void *user_data, rlhf_context *context, const char *argument,
                                           rlhf_scorer **out);

/** Gives a context an objective under a name, without a colon in it; the names of one context are its own.
 *  owner    name copied; user_data goes to destroy exactly once: with the context's memory, or now on failure
 *  null     context, name, make: INVAL    errors INVAL (empty name, colon, name taken), NOMEM
 *  threads  the context's    since 0.1 */
RLHF_API rlhf_status rlhf_plugin_add_objective(rlhf_context *context, const char *name, rlhf_make_objective_fn make,
                                               void *user_data, rlhf_destroy_fn destroy);

/** Gives a context a scorer under a name.  owner, null, errors, threads as rlhf_plugin_add_objective    since 0.1 */
RLHF_API rlhf_status rlhf_plugin_add_scorer(rlhf_context *context, const char *name, rlhf_make_scorer_fn make,
                                            void *user_data, rlhf_destroy_fn destroy);

/** Makes the objective that text ("name" or "name:argument") names.
 *  owner *out is yours    null INVAL    errors INVAL (unknown name: the nearest is named; nothing was made), and what
 *  the maker returns; *out is NULL then    threads the context's    since 0.1 */
RLHF_API rlhf_status rlhf_plugin_objective(rlhf_objective **out, rlhf_context *context, const char *text);

/** Makes the scorer that text names.  owner, null, errors, threads as rlhf_plugin_objective    since 0.1 */
RLHF_API rlhf_status rlhf_plugin_scorer(rlhf_scorer **out, rlhf_context *context, const char *text);

/** Tells whether text names a scorer of this context: 1 or 0.
 *  owner -    null 0    errors none    threads the context's    since 0.1 */
RLHF_API int32_t rlhf_plugin_has_scorer(const rlhf_context *context, const char *text);

/** Loads a shared object and lets it register with this context. A path without a slash is looked for as the system's
 *  loader does. Once registered, its code stays for the rest of the process: handles of any context may point into it.
 *  owner    -    null  INVAL
 *  errors   IO (cannot be loaded: the loader's words), FORMAT (no function rlhf_plugin_register), UNSUPPORTED (made for
 *           another version, or linked with another copy of the library), what the function returns; nothing stays
 *           registered then    threads the context's    since 0.1 */
RLHF_API rlhf_status rlhf_plugin_load(rlhf_context *context, const char *path);

#ifdef __cplusplus
}
#endif
#endif
