/* Status codes, handle names and the rules that hold for every function of the library.
 *
 * - Functions that can fail return rlhf_status: 0 done, negative failed. Results leave through the first argument
 *   and are NULL or 0 after a failure. The reason, one line of English, is kept by the context (context.h).
 * - Handles are opaque and reference counted inside: a child keeps its parents alive, so release in any order.
 *   rlhf_X_release(&x) gives up your share and sets x to NULL; NULL is fine.
 * - A context and everything made from it belong to one thread at a time. Different contexts are independent.
 * - Options are structs whose first member is struct_size. rlhf_X_options_init(&o, sizeof o) fills in true defaults;
 *   a zero that you write means zero.
 * - Sequences are ragged: flat arrays with offset[rows + 1]. No padding exists anywhere.
 * - The library never aborts, exits, prints, raises a signal or changes locale, environment or floating-point mode.
 */
#ifndef RLHF_BASE_H
#define RLHF_BASE_H

#include <stddef.h>
#include <stdint.h>

#include "version.h"

#if defined(__GNUC__)
#define RLHF_API __attribute__((visibility("default")))
#else
#define RLHF_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef int32_t rlhf_status;

enum {
    RLHF_OK = 0,
    RLHF_E_INVAL = -1,       /* wrong argument, option or key */
    RLHF_E_NOMEM = -2,       /* the allocator returned NULL */
    RLHF_E_IO = -3,          /* a file could not be opened, read or written */
    RLHF_E_FORMAT = -4,      /* a file or text is not what its format demands */
    RLHF_E_RANGE = -5,       /* a number is outside its bounds (token id, size, index) */
    RLHF_E_NONFINITE = -6,   /* NaN or infinity where a finite number is needed; nothing was changed */
    RLHF_E_CANCELED = -7,    /* rlhf_context_cancel was called */
    RLHF_E_FORKED = -8,      /* called in the child of a fork: only release works there */
    RLHF_E_UNSUPPORTED = -9, /* understood, but this version cannot do it */
    RLHF_E_BUSY = -10,       /* a callback called back into the handle that is calling it */
    RLHF_E_END = -11,        /* no more data or no more steps; not a failure */
    RLHF_E_USER_FIRST = -10000 /* codes at or below come from callbacks and are handed through unchanged */
};

typedef struct rlhf_context rlhf_context;           /* memory, threads, seed, log, error text */
typedef struct rlhf_tokenizer rlhf_tokenizer;       /* text to token ids and back */
typedef struct rlhf_dataset rlhf_dataset;           /* rows of text */
typedef struct rlhf_batch rlhf_batch;               /* ragged token sequences */
typedef struct rlhf_policy rlhf_policy;             /* language model that is trained and sampled */
typedef struct rlhf_reference rlhf_reference;       /* frozen language model: what the KL leash holds on to */
typedef struct rlhf_reward_model rlhf_reward_model; /* one score per finished sequence */
typedef struct rlhf_value_model rlhf_value_model;   /* one expected return per response token (critic) */
typedef struct rlhf_scorer rlhf_scorer;             /* anything that scores completions: a model or your callback */
typedef struct rlhf_rollout rlhf_rollout;           /* sampled completions with their log-probabilities */
typedef struct rlhf_objective rlhf_objective;       /* arrays in, loss and gradient out */
typedef struct rlhf_optimizer rlhf_optimizer;       /* weights' moments and update rule */
typedef struct rlhf_recipe rlhf_recipe;             /* a training method and all its settings, by key */
typedef struct rlhf_trainer rlhf_trainer;           /* one run of a recipe */

/* Runs exactly once for the user_data that came with it, also when the registration fails; may be NULL. */
typedef void (*rlhf_destroy_fn)(void *user_data);

/** Names a status, for example "RLHF_E_IO" for RLHF_E_IO; "user code" at or below RLHF_E_USER_FIRST.
 *  owner    static storage    null  -    errors  none ("unknown status" for other numbers)
 *  threads  safe              since 0.1 */
RLHF_API const char *rlhf_status_name(rlhf_status status);

/** Returns RLHF_API_VERSION of the library that is running, to compare with the header's.
 *  owner -    null -    errors none    threads safe    since 0.1 */
RLHF_API uint32_t rlhf_version(void);

#ifdef __cplusplus
}
#endif
#endif
