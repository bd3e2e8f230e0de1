/* What only the files of this room share. */
#ifndef RLHFI_CORE_INTERNAL_H
#define RLHFI_CORE_INTERNAL_H

#include "core/core.h"

/* ---- system.c: the few questions that go to the operating system ----------------------------------------------- */

int64_t rlhfi_process_id(void);
/* "path: action: the system's words for number" with RLHF_E_IO; ENOMEM becomes RLHF_E_NOMEM. */
rlhf_status rlhfi_system_fail(rlhf_context *context, const char *path, const char *action, int number);
/* Writes all bytes at the file position, going on after interruptions and short writes. 0, or errno. */
int rlhfi_system_write(int descriptor, const void *bytes, size_t count);
/* fsync of a directory, so that a rename or a new name in it survives a power cut. 0, or errno. */
int rlhfi_system_sync_parent(const char *path);
/* Tells the processor that this is a waiting loop. */
void rlhfi_system_relax(void);
void rlhfi_system_give_way(void);
int32_t rlhfi_system_processors(void); /* that this process may run on, at least 1 */

/* ---- memory.c ---------------------------------------------------------------------------------------------------- */

extern const rlhf_allocator rlhfi_default_allocator;
void *rlhfi_alloc_quiet(rlhf_context *context, size_t size); /* as rlhfi_alloc, leaves the error text alone */

/* ---- status.c ---------------------------------------------------------------------------------------------------- */

/* Makes text[0..capacity) one valid line of UTF-8: control characters become blanks, broken bytes question marks; cut
 * says that the text was longer, which shows as three dots at the end. */
void rlhfi_make_line(char *text, size_t capacity, bool cut);
/* Copies text with its NUL as far as it fits, never half a character; returns the bytes that all of it needs. */
size_t rlhfi_copy_out(const char *text, char *buffer, size_t capacity);

/* ---- plugin.c ---------------------------------------------------------------------------------------------------- */

void rlhfi_plugin_forget_all(rlhf_context *context);

/* ---- threads.c --------------------------------------------------------------------------------------------------- */

/* Starts threads - 1 workers, or as many as the system grants; *out is NULL when the caller works alone. */
rlhf_status rlhfi_pool_create(struct rlhfi_pool **out, rlhf_context *context, int32_t threads);
/* In a forked child (the workers do not exist there) only the memory is given back. */
void rlhfi_pool_destroy(struct rlhfi_pool *pool, rlhf_context *context, bool forked);

/* hash_x86.c: whole blocks of 64 bytes; only where the processor has instructions for it. */
bool rlhfi_sha256_has_instructions(void);
void rlhfi_sha256_instructions(uint32_t state[8], const uint8_t *next, size_t blocks, const uint32_t constants[64]);

#endif
