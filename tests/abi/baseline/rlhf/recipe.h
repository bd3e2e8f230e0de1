/* Recipe: a training method and all its settings by key. One bounds table feeds setters, YAML, command line and manual;
 * the keys are TRL's. */
#ifndef RLHF_RECIPE_H
#define RLHF_RECIPE_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { RLHF_KEY_TEXT = 1, RLHF_KEY_NUMBER = 2, RLHF_KEY_INTEGER = 3, RLHF_KEY_BOOLEAN = 4, RLHF_KEY_CHOICE = 5 };

typedef struct rlhf_key_view {
    uint32_t struct_size;
    int32_t type;               /* RLHF_KEY_* */
    const char *name;
    const char *default_value;  /* as text, "" = none */
    const char *choices;        /* RLHF_KEY_CHOICE: words separated by blanks, else NULL */
    const char *help;           /* one line */
    double minimum, maximum;    /* numbers and integers, both included */
} rlhf_key_view;

/** Makes a recipe with the defaults of a method: pretrain sft reward raft reinforce pairwise ppo.
 *  owner *out is yours    null INVAL    errors INVAL (unknown method: the nearest is named), NOMEM
 *  threads the context's    since 0.1 */
RLHF_API rlhf_status rlhf_recipe_create(rlhf_recipe **out, rlhf_context *context, const char *method);

/** Gives up a recipe.  owner *recipe becomes NULL    null fine    errors none    threads the context's    since 0.1 */
RLHF_API void rlhf_recipe_release(rlhf_recipe **recipe);

/** Sets a key from text. owner copies    null INVAL
 *  errors   INVAL (unknown key: the nearest known key is named; text that is no number, boolean or choice), RANGE (with
 *           the bounds); the recipe is as before then    threads the context's    since 0.1 */
RLHF_API rlhf_status rlhf_recipe_set(rlhf_recipe *recipe, const char *key, const char *value);

/** Sets keys from a YAML file (a flat mapping; the key "method", if there, must be the recipe's).
 *  owner    -    null  INVAL
 *  errors   IO, FORMAT, UNSUPPORTED (built without libyaml), NOMEM, and as rlhf_recipe_set with "file:line:" in front;
 *           the recipe is as before then    threads the context's    since 0.1 */
RLHF_API rlhf_status rlhf_recipe_load(rlhf_recipe *recipe, const char *path);

/** Copies the value of a key as text.
 *  owner    copies    null  INVAL; buffer only with capacity 0
 *  errors   INVAL (unknown key), RANGE (*needed says how much), NOMEM    threads the context's    since 0.1 */
RLHF_API rlhf_status rlhf_recipe_get(const rlhf_recipe *recipe, const char *key, char *buffer, size_t capacity,
                                     size_t *needed);

/** Copies the whole recipe as YAML, every key written out, in the table's order.
 *  owner    copies    null  INVAL; buffer only with capacity 0
 *  errors   RANGE (*needed says how much), NOMEM    threads the context's    since 0.1 */
RLHF_API rlhf_status rlhf_recipe_yaml(const rlhf_recipe *recipe, char *buffer, size_t capacity, size_t *needed);

/** Returns the recipe's method.  owner borrowed until the recipe goes    null ""    errors none    threads safe
 *  since 0.1 */
RLHF_API const char *rlhf_recipe_method(const rlhf_recipe *recipe);

/** Returns how many keys a method has (0 for an unknown one).  owner -    null 0    errors none    threads safe
 *  since 0.1 */
RLHF_API int64_t rlhf_recipe_key_count(const char *method);

/** Fills *view (set view->struct_size) with key number index of a method.
 *  owner static storage    null INVAL    errors INVAL (unknown method), RANGE    threads safe    since 0.1 */
RLHF_API rlhf_status rlhf_recipe_key(const char *method, int64_t index, rlhf_key_view *view);

#ifdef __cplusplus
}
#endif
#endif
