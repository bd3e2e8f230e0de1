/* Byte strings to numbers: open addressing with linear steps, at most half full; the keys lie in one growing pool. */
#include "core/core.h"

struct slot {
    size_t offset; /* of the key in the pool */
    uint32_t bytes;
    uint32_t hash; /* 0 = empty */
    int32_t value;
};

struct rlhfi_table {
    rlhf_context *context;
    struct slot *slots;
    size_t slot_count; /* a power of two */
    size_t count;
    char *keys;
    size_t keys_size, keys_capacity;
};

/* FNV-1a, then mixed so that the low bits depend on all (the finisher of MurmurHash3). */
static uint32_t hash_key(const unsigned char *key, size_t bytes)
{
    uint64_t hash = 0xcbf29ce484222325u;

    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ key[i]) * 0x100000001b3u;
    hash = (hash ^ hash >> 33) * 0xff51afd7ed558ccdu;
    hash ^= hash >> 33;
    return (uint32_t)hash != 0 ? (uint32_t)hash : 1;
}

/* The slot that holds the key, or the empty one where it belongs. */
static struct slot *find_slot(const rlhfi_table *table, const void *key, size_t bytes, uint32_t hash)
{
    size_t i = hash & (table->slot_count - 1);

    for (;; i = (i + 1) & (table->slot_count - 1)) {
        struct slot *slot = &table->slots[i];
        if (slot->hash == 0)
            return slot;
        if (slot->hash == hash && slot->bytes == bytes &&
            (bytes == 0 || memcmp(table->keys + slot->offset, key, bytes) == 0))
            return slot;
    }
}

static bool resize(rlhfi_table *table, size_t slot_count)
{
    struct slot *old = table->slots;
    size_t old_count = table->slot_count;
    struct slot *slots = rlhfi_calloc(table->context, slot_count, sizeof *slots);

    if (slots == NULL)
        return false;
    for (size_t i = 0; i < old_count; i++) {
        size_t j = old[i].hash & (slot_count - 1);
        if (old[i].hash == 0)
            continue;
        while (slots[j].hash != 0)
            j = (j + 1) & (slot_count - 1);
        slots[j] = old[i];
    }
    rlhfi_free(table->context, old);
    table->slots = slots;
    table->slot_count = slot_count;
    return true;
}

static bool reserve_key(rlhfi_table *table, size_t bytes)
{
    size_t needed, capacity = table->keys_capacity;
    char *keys;

    if (!rlhfi_add(table->keys_size, bytes, &needed)) {
        rlhfi_out_of_memory(table->context);
        return false;
    }
    if (needed <= capacity)
        return true;
    capacity = needed <= SIZE_MAX / 2 ? 2 * needed + 256 : needed;
    keys = rlhfi_realloc_array(table->context, table->keys, capacity, 1);
    if (keys == NULL)
        return false;
    table->keys = keys;
    table->keys_capacity = capacity;
    return true;
}

rlhf_status rlhfi_table_create(rlhfi_table **out, rlhf_context *context, size_t expected)
{
    rlhfi_table *table = rlhfi_calloc(context, 1, sizeof *table);
    size_t slot_count = 16;

    *out = NULL;
    if (table == NULL)
        return RLHF_E_NOMEM;
    table->context = context;
    while (slot_count / 2 < expected && slot_count <= SIZE_MAX / 4)
        slot_count *= 2;
    if (!resize(table, slot_count)) {
        rlhfi_table_release(&table);
        return RLHF_E_NOMEM;
    }
    *out = table;
    return RLHF_OK;
}

rlhf_status rlhfi_table_put(rlhfi_table *table, const void *key, size_t bytes, int32_t value)
{
    uint32_t hash = hash_key(key, bytes);
    struct slot *slot = find_slot(table, key, bytes, hash);

    if (slot->hash != 0)
        return rlhfi_fail(table->context, RLHF_E_INVAL, "\"%.*s\": is there twice", bytes < 80 ? (int)bytes : 80,
                          (const char *)key);
    if (bytes > UINT32_MAX)
        return rlhfi_fail(table->context, RLHF_E_RANGE, "table: a key of %zu bytes, at most %u", bytes, UINT32_MAX);
    if (!reserve_key(table, bytes))
        return RLHF_E_NOMEM;
    if (2 * (table->count + 1) > table->slot_count) {
        if (!resize(table, 2 * table->slot_count))
            return RLHF_E_NOMEM;
        slot = find_slot(table, key, bytes, hash);
    }
    *slot = (struct slot){.offset = table->keys_size, .bytes = (uint32_t)bytes, .hash = hash, .value = value};
    if (bytes > 0)
        memcpy(table->keys + table->keys_size, key, bytes);
    table->keys_size += bytes;
    table->count++;
    return RLHF_OK;
}

bool rlhfi_table_get(const rlhfi_table *table, const void *key, size_t bytes, int32_t *value)
{
    const struct slot *slot = find_slot(table, key, bytes, hash_key(key, bytes));

    if (slot->hash == 0)
        return false;
    if (value != NULL)
        *value = slot->value;
    return true;
}

size_t rlhfi_table_count(const rlhfi_table *table)
{
    return table->count;
}

void rlhfi_table_release(rlhfi_table **table)
{
    rlhf_context *context;

    if (table == NULL || *table == NULL)
        return;
    context = (*table)->context;
    rlhfi_free(context, (*table)->slots);
    rlhfi_free(context, (*table)->keys);
    rlhfi_free(context, *table);
    *table = NULL;
}
