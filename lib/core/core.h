/* What every room may use: context, errors, memory, threads, random numbers, numbers as text, files, hashes. */
#ifndef RLHFI_CORE_H
#define RLHFI_CORE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <rlhf/context.h>

/* ---- context -------------------------------------------------------------------------------------------------- */

struct rlhfi_pool;
struct rlhfi_plugin_name;

struct rlhf_context {
    int64_t references;
    rlhf_allocator allocator;
    rlhf_log_fn log;
    void *log_user_data;
    int32_t log_level;
    uint32_t cpu_mask;
    int32_t use_blis;
    uint64_t seed;
    int64_t process;                /* id of the process that made it: a forked child may only release */
    volatile int cancel;            /* set by rlhf_context_cancel (written with atomics) */
    rlhf_status error_status;
    volatile int error_lock;        /* tasks may fail at the same time: whoever holds it writes the text */
    char error[512];
    struct rlhfi_pool *pool;
    struct rlhfi_plugin_name *plugin_names; /* objectives and scorers by name (plugin.c) */
    const void *kernels;            /* const struct rlhfi_kernels *, installed by the compute room */
    void *products;                 /* state of the compute room's dense products (BLIS context), may be NULL */
    void (*products_destroy)(rlhf_context *context);
    char compute_text[192];         /* compute room's part of rlhf_context_describe: "avx512, BLIS 0.9.0 ..." */
};

/* Rooms above install themselves when a context is made: the compute room defines this one. */
rlhf_status rlhfi_compute_attach(rlhf_context *context);

rlhf_context *rlhfi_context_retain(rlhf_context *context);

/* ---- errors --------------------------------------------------------------------------------------------------- */

/* Sets the context's error text (one line) and returns status. context may be NULL. An already out-of-memory text is
 * static. */
rlhf_status rlhfi_fail(rlhf_context *context, rlhf_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "prefix: " in front of the current error text; returns status. For callers that know the file or the key. */
rlhf_status rlhfi_fail_prefix(rlhf_context *context, rlhf_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

rlhf_status rlhfi_out_of_memory(rlhf_context *context);

/* Every public function begins with this: refuses NULL and forked contexts, clears the old text. */
rlhf_status rlhfi_enter(rlhf_context *context);

/* RLHF_E_CANCELED (and consumes the request) if rlhf_context_cancel was called. */
rlhf_status rlhfi_check_cancel(rlhf_context *context);

#define RLHFI_TRY(expression)                                                                                          \
    do {                                                                                                               \
        rlhf_status rlhfi_try_status = (expression);                                                                   \
        if (rlhfi_try_status != RLHF_OK)                                                                               \
            return rlhfi_try_status;                                                                                   \
    } while (0)

/* For functions with a clean-up label: needs a variable rlhf_status status and a label done. */
#define RLHFI_GOTO(expression)                                                                                         \
    do {                                                                                                               \
        status = (expression);                                                                                         \
        if (status != RLHF_OK)                                                                                         \
            goto done;                                                                                                 \
    } while (0)

#define RLHFI_REQUIRE(context, condition)                                                                              \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            return rlhfi_fail((context), RLHF_E_INVAL, "%s: %s must hold", __func__, #condition);                      \
    } while (0)

/* Copies a sized options struct: shorter than ours keeps our defaults behind its end, longer only with a zero tail.
 * *known must hold the defaults. minimum = size of the first released layout. */
rlhf_status rlhfi_options_copy(rlhf_context *context, void *known, size_t known_size, const void *given,
                               size_t minimum, const char *name);

/* The body of every rlhf_X_options_init: the first size bytes of the defaults, zeros where size is longer than known,
 * and size into struct_size. options NULL or a size without room for struct_size: nothing happens. */
void rlhfi_options_init(void *options, size_t size, const void *defaults, size_t known_size);

void rlhfi_log(rlhf_context *context, int32_t level, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* ---- memory --------------------------------------------------------------------------------------------------- */

/* 64-byte aligned, contents undefined; NULL without memory (error text set). size 0 gives a unique pointer. */
void *rlhfi_alloc(rlhf_context *context, size_t size);
void *rlhfi_calloc(rlhf_context *context, size_t count, size_t size);          /* zeroed, product checked */
void *rlhfi_alloc_array(rlhf_context *context, size_t count, size_t size);     /* product checked */
void *rlhfi_realloc_array(rlhf_context *context, void *old, size_t count, size_t size); /* old stays valid on failure */
void rlhfi_free(rlhf_context *context, void *pointer);                         /* NULL is fine */
char *rlhfi_strdup(rlhf_context *context, const char *text);
char *rlhfi_strndup(rlhf_context *context, const char *text, size_t bytes);
bool rlhfi_multiply(size_t a, size_t b, size_t *product);                      /* false on overflow */
bool rlhfi_add(size_t a, size_t b, size_t *sum);

/* Arena: many small pieces with one end. Blocks grow; reset keeps the memory for the next step, so that a training step
 * allocates nothing after the first. Arenas, strings and tables do not keep their context alive: their owner does. */
typedef struct rlhfi_arena rlhfi_arena;
rlhf_status rlhfi_arena_create(rlhfi_arena **out, rlhf_context *context);
void *rlhfi_arena_alloc(rlhfi_arena *arena, size_t count, size_t size); /* 64-byte aligned; NULL without memory */
/* Makes the next bytes come from one block of just that size: growing by doubling would take up to twice as much.
 * Counts as in use for the peak. */
rlhf_status rlhfi_arena_reserve(rlhfi_arena *arena, size_t bytes);
void rlhfi_arena_reset(rlhfi_arena *arena); /* everything handed out is gone; memory stays (one block afterwards) */
size_t rlhfi_arena_mark(const rlhfi_arena *arena);            /* to give back everything allocated later: */
void rlhfi_arena_rewind(rlhfi_arena *arena, size_t mark);
size_t rlhfi_arena_peak(const rlhfi_arena *arena);            /* bytes, most ever in use */
void rlhfi_arena_release(rlhfi_arena **arena);

/* Growing byte string, NUL-terminated from the first add on (data is NULL before). Errors stick: check failed once at
 * the end. data may be taken over by the caller and ends with rlhfi_free. */
typedef struct rlhfi_string {
    rlhf_context *context;
    char *data;
    size_t size, capacity;
    bool failed;
} rlhfi_string;
void rlhfi_string_init(rlhfi_string *string, rlhf_context *context);
void rlhfi_string_add(rlhfi_string *string, const char *text);
void rlhfi_string_add_bytes(rlhfi_string *string, const void *bytes, size_t count);
void rlhfi_string_add_format(rlhfi_string *string, const char *format, ...) __attribute__((format(printf, 2, 3)));
void rlhfi_string_add_double(rlhfi_string *string, double value); /* shortest text that reads back; nan inf -inf */
void rlhfi_string_add_json(rlhfi_string *string, const char *text, size_t bytes); /* quoted and escaped */
void rlhfi_string_free(rlhfi_string *string);

/* ---- threads -------------------------------------------------------------------------------------------------- */

/* Calls task(argument, index) for every index in 0..count-1 on the pool's threads, the caller's included, and returns
 * when all are done. Tasks must not depend on which thread runs them, so cut work by the problem, never by the number
 * of threads. worker (0..rlhfi_workers-1) picks per-thread scratch. Nested calls run inline, on the worker of the task
 * that makes them. A task may call rlhfi_alloc, rlhfi_free and rlhfi_fail; it tells its failure through argument. */
typedef void (*rlhfi_task)(void *argument, int64_t index, int32_t worker);
void rlhfi_parallel(rlhf_context *context, int64_t count, rlhfi_task task, void *argument);
int32_t rlhfi_workers(const rlhf_context *context);

/* ---- random numbers: Philox 4x32-10 (Salmon et al. 2011, as in Random123) -------------------------------------- */

enum rlhfi_purpose { /* one stream per use: never renumber */
    RLHFI_RANDOM_SAMPLE = 1, RLHFI_RANDOM_SHUFFLE = 2, RLHFI_RANDOM_INIT = 3, RLHFI_RANDOM_DATA = 4,
    RLHFI_RANDOM_BOOTSTRAP = 5, RLHFI_RANDOM_ROUND = 6, RLHFI_RANDOM_MINIBATCH = 100, RLHFI_RANDOM_USER = 1000
};
void rlhfi_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);
/* counter = {position, sample, prompt, purpose}, key = seed: a draw depends on nothing else. */
void rlhfi_random4(uint64_t seed, uint32_t purpose, uint32_t prompt, uint32_t sample, uint32_t position,
                   uint32_t out[4]);
/* (0,1), 53 bits */
double rlhfi_uniform(uint64_t seed, uint32_t purpose, uint32_t prompt, uint32_t sample, uint32_t position);
/* Fills out with N(0, std^2): element i depends only on (seed, purpose, stream, i). */
void rlhfi_normal_fill(uint64_t seed, uint32_t purpose, uint32_t stream, float std, float *out, size_t count);
/* A permutation of 0..count-1 that depends only on (seed, purpose, stream). */
void rlhfi_permutation(uint64_t seed, uint32_t purpose, uint32_t stream, uint64_t *out, uint64_t count);

/* ---- numbers as text, independent of the locale ---------------------------------------------------------------- */

size_t rlhfi_format_double(double value, char *out, size_t capacity); /* shortest that reads back; 32 bytes suffice */
/* Parses all of text[0..bytes): decimal, exponent, inf, nan. false if anything is left over. */
bool rlhfi_parse_double(const char *text, size_t bytes, double *out);
bool rlhfi_parse_int64(const char *text, size_t bytes, int64_t *out);
bool rlhfi_utf8_valid(const char *text, size_t bytes, size_t *bad_offset); /* bad_offset may be NULL */
/* Smallest number of edits (insert, delete, replace, swap) between two words: for "did you mean". */
size_t rlhfi_edit_distance(const char *a, const char *b);

/* ---- files ---------------------------------------------------------------------------------------------------- */

typedef struct rlhfi_file rlhfi_file; /* opened for reading, pread with 64-bit offsets; regular files only */
rlhf_status rlhfi_file_open(rlhfi_file **out, rlhf_context *context, const char *path);
uint64_t rlhfi_file_size(const rlhfi_file *file);
rlhf_status rlhfi_file_read(rlhfi_file *file, uint64_t offset, void *out, size_t bytes); /* all or RLHF_E_IO */
void rlhfi_file_close(rlhfi_file **file);
/* Whole file, NUL behind its end, at most limit bytes. */
rlhf_status rlhfi_file_load(rlhf_context *context, const char *path, size_t limit, char **out, size_t *bytes);

/* Writing: a temporary beside the target, then sync and rename at commit; abandon removes it. A reader of the target
 * sees the old file or the new one, never half. */
typedef struct rlhfi_writer rlhfi_writer;
rlhf_status rlhfi_writer_open(rlhfi_writer **out, rlhf_context *context, const char *path);
rlhf_status rlhfi_writer_write(rlhfi_writer *writer, const void *bytes, size_t count); /* buffered */
rlhf_status rlhfi_writer_commit(rlhfi_writer **writer);  /* sets *writer NULL, also on failure */
void rlhfi_writer_abandon(rlhfi_writer **writer);
rlhf_status rlhfi_file_save(rlhf_context *context, const char *path, const void *bytes, size_t count);

/* Appending log (metrics.jsonl): whole lines; truncate cuts to a byte position on resume. */
rlhf_status rlhfi_file_append(rlhf_context *context, const char *path, const void *bytes, size_t count);
rlhf_status rlhfi_file_truncate(rlhf_context *context, const char *path, uint64_t bytes);

bool rlhfi_path_exists(const char *path);
bool rlhfi_path_is_directory(const char *path);
char *rlhfi_path_join(rlhf_context *context, const char *directory, const char *name);
rlhf_status rlhfi_make_directory(rlhf_context *context, const char *path);   /* with parents; an existing one is fine */
rlhf_status rlhfi_rename(rlhf_context *context, const char *from, const char *to); /* and syncs the parent directory */
rlhf_status rlhfi_remove_tree(rlhf_context *context, const char *path);      /* a missing one is fine */
/* Entries of a directory in byte order, without . and ..; free with rlhfi_free (one block). */
rlhf_status rlhfi_list_directory(rlhf_context *context, const char *path, char ***names, size_t *count);
double rlhfi_seconds(void); /* monotonic clock: for reports only, never for results */
uint64_t rlhfi_peak_memory(void); /* bytes of this process at its peak, 0 if unknown */

/* ---- hashes --------------------------------------------------------------------------------------------------- */

typedef struct rlhfi_sha256 {
    uint32_t state[8];
    uint64_t bytes;
    uint8_t block[64];
    bool instructions; /* the processor has some for it; may be cleared behind init */
} rlhfi_sha256;
void rlhfi_sha256_init(rlhfi_sha256 *hash);
void rlhfi_sha256_add(rlhfi_sha256 *hash, const void *bytes, size_t count);
void rlhfi_sha256_hex(rlhfi_sha256 *hash, char out[65]); /* finishes */
/* Byte-string to int32 table (open addressing); keys are copied. */
typedef struct rlhfi_table rlhfi_table;
rlhf_status rlhfi_table_create(rlhfi_table **out, rlhf_context *context, size_t expected);
rlhf_status rlhfi_table_put(rlhfi_table *table, const void *key, size_t bytes, int32_t value); /* INVAL if there */
bool rlhfi_table_get(const rlhfi_table *table, const void *key, size_t bytes, int32_t *value);
size_t rlhfi_table_count(const rlhfi_table *table);
void rlhfi_table_release(rlhfi_table **table);

#endif
