/* What the built-in objectives have in common: keys with bounds, and state as bytes. Only for files of this room.
 *
 * A built-in is one file with one rlhfi_builtin_kind: the public v-table, the size of its struct and its keys. Its
 * struct begins with rlhfi_builtin; every key is a double in it. rlhf_objective_builtin allocates the struct, writes
 * the keys' initial values and hands it to rlhf_objective_create, as a user would. */
#ifndef RLHFI_OBJECTIVES_BUILTIN_H
#define RLHFI_OBJECTIVES_BUILTIN_H

#include "objectives/objectives.h"

enum {
    RLHFI_KEY_WHOLE = 1,     /* whole numbers only */
    RLHFI_KEY_NAN = 2,       /* NaN is a value: off */
    RLHFI_KEY_READ_ONLY = 4, /* state to look at */
    RLHFI_KEY_POSITIVE = 8   /* the lower bound itself is refused */
};

typedef struct rlhfi_builtin_key {
    const char *name;
    size_t offset; /* of a double in the objective's struct */
    double initial, low, high;
    unsigned flags;
} rlhfi_builtin_key;

typedef struct rlhfi_builtin_kind {
    rlhf_objective_vtable vtable;
    size_t size;
    const rlhfi_builtin_key *keys;
    size_t key_count;
} rlhfi_builtin_kind;

typedef struct rlhfi_builtin {
    rlhf_context *context; /* borrowed: the handle holds it */
    const rlhfi_builtin_kind *kind;
} rlhfi_builtin;

extern const rlhfi_builtin_kind rlhfi_sft, rlhfi_bradley_terry, rlhfi_kl_reward, rlhfi_gae, rlhfi_reinforce,
    rlhfi_pairwise, rlhfi_ppo;

/* Members of every built-in's v-table. */
#define RLHFI_BUILTIN_VTABLE(name_text)                                                                                \
    .struct_size = sizeof(rlhf_objective_vtable), .name = (name_text), .set = rlhfi_builtin_set,                       \
    .get = rlhfi_builtin_get, .destroy = rlhfi_builtin_destroy
rlhf_status rlhfi_builtin_set(void *user_data, const char *key, double value);
rlhf_status rlhfi_builtin_get(void *user_data, const char *key, double *value);
void rlhfi_builtin_destroy(void *user_data);

/* State: count doubles behind the objective's name, little-endian. load refuses another objective's bytes, another
 * length and numbers that are not finite (FORMAT), and leaves values alone then. */
rlhf_status rlhfi_builtin_save(const rlhfi_builtin *self, const double *values, size_t count, void *buffer,
                               size_t capacity, size_t *needed);
rlhf_status rlhfi_builtin_load(const rlhfi_builtin *self, const void *buffer, size_t bytes, double *values,
                               size_t count);

/* INVAL with "objective NAME: ..." */
rlhf_status rlhfi_builtin_refuse(const rlhfi_builtin *self, const char *what);

/* ---- check.c: what the handle looks at before and after a function runs ------------------------------------------ */

typedef struct rlhfi_numbers {
    const char *name;
    const double *values;
    int64_t count;
    bool needed; /* may not be NULL (unless it is empty) */
} rlhfi_numbers;
rlhf_status rlhfi_numbers_there(rlhf_context *context, const char *owner, const rlhfi_numbers *arrays, size_t count);
rlhf_status rlhfi_numbers_finite(rlhf_context *context, const char *owner, const rlhfi_numbers *arrays, size_t count);
rlhf_status rlhfi_numbers_check(rlhf_context *context, const char *owner, const rlhfi_numbers *arrays, size_t count);
/* offset [rows+1] from 0, ascending; *count gets its last. */
rlhf_status rlhfi_rows_check(rlhf_context *context, const char *owner, int64_t rows, const int64_t *offset,
                             int64_t *count);
/* Whole groups of samples_per_prompt rows; 0 and 1 are no groups. */
rlhf_status rlhfi_groups_check(rlhf_context *context, const char *owner, int64_t rows, int32_t samples_per_prompt);
/* Finite and not negative; positive if it has something to divide. */
rlhf_status rlhfi_divisor_check(rlhf_context *context, const char *owner, const char *name, double divisor,
                                int64_t divided);

/* ---- statistics.c ------------------------------------------------------------------------------------------------ */

/* Sum of x[from..to) */
double rlhfi_range_sum(const double *x, int64_t from, int64_t to);
double rlhfi_clamp(double x, double low, double high);
/* exp of the log-ratio, clamped to [-20, 20] so that it stays a number; *inside tells whether it may carry gradient. */
double rlhfi_ratio(double log_prob, double log_prob_old, bool *inside);

#endif
