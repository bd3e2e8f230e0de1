/* An arena is a list of blocks, of which those up to current are in use. A position in it is the number of bytes handed
 * out before it, whatever block they lie in: that is what a mark holds and what the peak measures. Because pieces are
 * whole alignment units, one block as long as the peak can hold the same sequence of requests again. */
#include "core/internal.h"

enum { ALIGNMENT = 64, FIRST_BLOCK = 1 << 16, PAGE = 4096 };

struct block {
    char *data;
    size_t capacity;
    size_t used;
    size_t before; /* bytes handed out from earlier blocks, valid while the block is in use */
};

struct rlhfi_arena {
    rlhf_context *context;
    struct block *blocks;
    size_t count, room;
    size_t current;
    size_t peak;
};

rlhf_status rlhfi_arena_create(rlhfi_arena **out, rlhf_context *context)
{
    *out = rlhfi_calloc(context, 1, sizeof **out);
    if (*out == NULL)
        return RLHF_E_NOMEM;
    (*out)->context = context;
    return RLHF_OK;
}

/* Appends a block; the list grows first, so that a failure changes nothing. */
static struct block *add_block(rlhfi_arena *arena, size_t capacity)
{
    char *data;

    if (arena->count == arena->room) {
        size_t room = arena->room == 0 ? 8 : 2 * arena->room;
        struct block *blocks = rlhfi_realloc_array(arena->context, arena->blocks, room, sizeof *blocks);
        if (blocks == NULL)
            return NULL;
        arena->blocks = blocks;
        arena->room = room;
    }
    data = rlhfi_alloc(arena->context, capacity);
    if (data == NULL)
        return NULL;
    arena->blocks[arena->count] = (struct block){.data = data, .capacity = capacity};
    return &arena->blocks[arena->count++];
}

/* The block that the next piece of size bytes comes from: the current one, a later one that an earlier rewind left
 * empty, or a new one. Blocks that are too small are stepped over. */
static struct block *find_block(rlhfi_arena *arena, size_t size)
{
    size_t position = rlhfi_arena_mark(arena), largest = FIRST_BLOCK, i;
    struct block *block;

    for (i = arena->current; i < arena->count; i++) {
        size_t used = i == arena->current ? arena->blocks[i].used : 0;
        if (arena->blocks[i].capacity - used >= size)
            break;
        if (arena->blocks[i].capacity <= SIZE_MAX / 4 && 2 * arena->blocks[i].capacity > largest)
            largest = 2 * arena->blocks[i].capacity;
    }
    if (i == arena->count && add_block(arena, size > largest ? size : largest) == NULL)
        return NULL;
    /* What is stepped over counts as in use with nothing handed out. */
    for (size_t j = arena->current + 1; j <= i; j++) {
        arena->blocks[j].used = 0;
        arena->blocks[j].before = position;
    }
    block = &arena->blocks[i];
    arena->current = i;
    return block;
}

void *rlhfi_arena_alloc(rlhfi_arena *arena, size_t count, size_t size)
{
    size_t bytes, position;
    struct block *block;
    char *piece;

    if (!rlhfi_multiply(count, size, &bytes) || !rlhfi_add(bytes, ALIGNMENT - 1, &bytes)) {
        rlhfi_out_of_memory(arena->context);
        return NULL;
    }
    bytes -= bytes % ALIGNMENT;
    if (bytes == 0)
        bytes = ALIGNMENT; /* an empty piece has its own address too */
    block = find_block(arena, bytes);
    if (block == NULL)
        return NULL;
    piece = block->data + block->used;
    block->used += bytes;
    position = block->before + block->used;
    if (position > arena->peak)
        arena->peak = position;
    return piece;
}

rlhf_status rlhfi_arena_reserve(rlhfi_arena *arena, size_t bytes)
{
    size_t end;

    if (!rlhfi_add(rlhfi_arena_mark(arena), bytes, &end))
        return rlhfi_out_of_memory(arena->context);
    if (end > arena->peak)
        arena->peak = end; /* so that after a reset one block holds it, and the same request asks for nothing */
    for (size_t i = arena->current; i < arena->count; i++)
        if (arena->blocks[i].capacity - (i == arena->current ? arena->blocks[i].used : 0) >= bytes)
            return RLHF_OK;
    return add_block(arena, bytes) != NULL ? RLHF_OK : RLHF_E_NOMEM;
}

size_t rlhfi_arena_mark(const rlhfi_arena *arena)
{
    if (arena->count == 0)
        return 0;
    return arena->blocks[arena->current].before + arena->blocks[arena->current].used;
}

void rlhfi_arena_rewind(rlhfi_arena *arena, size_t mark)
{
    if (arena->count == 0)
        return;
    while (arena->current > 0 && arena->blocks[arena->current].before >= mark)
        arena->current--;
    if (mark < arena->blocks[arena->current].before + arena->blocks[arena->current].used)
        arena->blocks[arena->current].used = mark - arena->blocks[arena->current].before;
}

void rlhfi_arena_reset(rlhfi_arena *arena)
{
    if (arena->count > 1) {
        size_t capacity = arena->peak + (PAGE - arena->peak % PAGE) % PAGE;
        /* First give back, then take: the peak of the process does not grow. Without memory the arena is merely empty,
         * and the next request asks again. */
        for (size_t i = 0; i < arena->count; i++)
            rlhfi_free(arena->context, arena->blocks[i].data);
        arena->count = 0;
        arena->blocks[0] = (struct block){.data = rlhfi_alloc_quiet(arena->context, capacity), .capacity = capacity};
        if (arena->blocks[0].data != NULL)
            arena->count = 1;
    }
    arena->current = 0;
    if (arena->count > 0)
        arena->blocks[0].used = 0;
}

size_t rlhfi_arena_peak(const rlhfi_arena *arena)
{
    return arena->peak;
}

void rlhfi_arena_release(rlhfi_arena **arena)
{
    rlhf_context *context;

    if (arena == NULL || *arena == NULL)
        return;
    context = (*arena)->context;
    for (size_t i = 0; i < (*arena)->count; i++)
        rlhfi_free(context, (*arena)->blocks[i].data);
    rlhfi_free(context, (*arena)->blocks);
    rlhfi_free(context, *arena);
    *arena = NULL;
}
