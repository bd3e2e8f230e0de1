/* The context: allocator, log, threads, seed, instruction sets, error text. Everything else is made from one. */
#ifndef RLHF_CONTEXT_H
#define RLHF_CONTEXT_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* All memory of the library goes through this. alloc returns NULL on failure; both may be called from any thread of
 * the context's pool. A multiple of 64 is asked for as alignment. */
typedef struct rlhf_allocator {
    void *(*alloc)(void *user_data, size_t size, size_t alignment);
    void (*free)(void *user_data, void *pointer, size_t size);
    void *user_data;
} rlhf_allocator;

enum { RLHF_LOG_ERROR = 1, RLHF_LOG_WARNING = 2, RLHF_LOG_INFO = 3, RLHF_LOG_DEBUG = 4 };

/* One line without newline, on the thread that called the library. */
typedef void (*rlhf_log_fn)(void *user_data, int32_t level, const char *line);

/* Bits of cpu_mask. Every combination gives the same bits in every result. */
enum { RLHF_CPU_AVX2 = 1, RLHF_CPU_AVX512 = 2, RLHF_CPU_AVX512_BF16 = 4 };

typedef struct rlhf_context_options {
    uint32_t struct_size;
    int32_t threads;          /* threads that work, the caller included; 0 = as many as the machine has, default 0 */
    uint64_t seed;            /* default 0 */
    rlhf_allocator allocator; /* all NULL = the C library's */
    rlhf_log_fn log;          /* NULL = silent (default) */
    void *log_user_data;
    int32_t log_level;        /* lines above this level are not made, default RLHF_LOG_WARNING */
    uint32_t cpu_mask;        /* instruction sets that may be used; 0 = plain C; default all bits set */
    /* 1 = large dense products through BLIS where it is built in, proves exact and is the faster one; the same bits.
     * Default 0: BLIS ends the process when it cannot get memory for its blocks, which our own loops never do. */
    int32_t use_blis;
    int32_t reserved;         /* must be 0 */
} rlhf_context_options;

/** Fills the first size bytes of *options with defaults (and size into struct_size).
 *  owner -    null options: nothing happens    errors none    threads safe    since 0.1 */
RLHF_API void rlhf_context_options_init(rlhf_context_options *options, size_t size);

/** Creates a context and starts its threads.
 *  owner    *out is yours    null  out: RLHF_E_INVAL; options NULL: defaults
 *  errors   INVAL, NOMEM, UNSUPPORTED (options longer than known with a non-zero tail); *out is NULL then
 *  threads  safe             since 0.1 */
RLHF_API rlhf_status rlhf_context_create(rlhf_context **out, const rlhf_context_options *options);

/** Gives up the context; memory goes when the last handle made from it goes.
 *  owner *context becomes NULL    null fine    errors none    threads the context's thread    since 0.1 */
RLHF_API void rlhf_context_release(rlhf_context **context);

/** Copies the last error's text, one line, into buffer (cut and NUL-terminated); empty after a successful call.
 *  owner    copies    null  context or buffer NULL: only the size is returned (0 without context)
 *  errors   none; returns the bytes that the whole text needs with its NUL    threads the context's    since 0.1 */
RLHF_API size_t rlhf_context_error(const rlhf_context *context, char *buffer, size_t capacity);

/** Asks the running call of this context to stop soon with RLHF_E_CANCELED; a trainer stops between steps.
 *  The request is consumed by the call that it stops.
 *  owner -    null fine    errors none    threads any thread, and signal handlers    since 0.1 */
RLHF_API void rlhf_context_cancel(rlhf_context *context);

/** Describes in one line what the context runs on: threads, instruction sets, BLIS and its use.
 *  owner copies    null as rlhf_context_error    errors none; returns the bytes needed    threads the context's
 *  since 0.1 */
RLHF_API size_t rlhf_context_describe(const rlhf_context *context, char *buffer, size_t capacity);

/** Returns the number of threads that work for this context, the caller included.
 *  owner -    null 0    errors none    threads safe    since 0.1 */
RLHF_API int32_t rlhf_context_threads(const rlhf_context *context);

/** Changes the seed that later draws use (sampling, initialisation, shuffling).
 *  owner -    null context: RLHF_E_INVAL    errors INVAL, FORKED    threads the context's    since 0.1 */
RLHF_API rlhf_status rlhf_context_set_seed(rlhf_context *context, uint64_t seed);

#ifdef __cplusplus
}
#endif
#endif
