/* Keys and state of the built-in objectives. */
#include "objectives/builtin.h"

#include <math.h>

enum { NAME_BYTES = 16 };

static const rlhfi_builtin_key *find_key(const rlhfi_builtin *self, const char *name)
{
    for (size_t i = 0; i < self->kind->key_count; i++)
        if (strcmp(self->kind->keys[i].name, name) == 0)
            return &self->kind->keys[i];
    return NULL;
}

static rlhf_status unknown_key(const rlhfi_builtin *self, const char *name)
{
    const rlhfi_builtin_key *keys = self->kind->keys, *nearest = keys;

    for (size_t i = 1; i < self->kind->key_count; i++)
        if (rlhfi_edit_distance(keys[i].name, name) < rlhfi_edit_distance(nearest->name, name))
            nearest = &keys[i];
    return rlhfi_fail(self->context, RLHF_E_INVAL, "objective %s: has no key %.64s; the nearest is %s",
                      self->kind->vtable.name, name, nearest->name);
}

static bool within(const rlhfi_builtin_key *key, double value)
{
    if (isnan(value))
        return (key->flags & RLHFI_KEY_NAN) != 0;
    if ((key->flags & RLHFI_KEY_WHOLE) != 0 && value != floor(value))
        return false;
    if ((key->flags & RLHFI_KEY_POSITIVE) != 0 && !(value > key->low))
        return false;
    return value >= key->low && value <= key->high;
}

rlhf_status rlhfi_builtin_set(void *user_data, const char *key, double value)
{
    rlhfi_builtin *self = user_data;
    const rlhfi_builtin_key *found = find_key(self, key);
    char text[32], low[32], high[32];

    if (found == NULL)
        return unknown_key(self, key);
    if ((found->flags & RLHFI_KEY_READ_ONLY) != 0)
        return rlhfi_fail(self->context, RLHF_E_INVAL, "objective %s: %s is state and can only be read",
                          self->kind->vtable.name, key);
    if (!within(found, value)) {
        rlhfi_format_double(value, text, sizeof text);
        rlhfi_format_double(found->low, low, sizeof low);
        rlhfi_format_double(found->high, high, sizeof high);
        return rlhfi_fail(self->context, RLHF_E_RANGE, "objective %s: %s is %s, must be %s%s %s and at most %s",
                          self->kind->vtable.name, key, text,
                          (found->flags & RLHFI_KEY_WHOLE) != 0 ? "a whole number, " : "",
                          (found->flags & RLHFI_KEY_POSITIVE) != 0 ? "more than" : "at least", low, high);
    }
    memcpy((char *)user_data + found->offset, &value, sizeof value);
    return RLHF_OK;
}

rlhf_status rlhfi_builtin_get(void *user_data, const char *key, double *value)
{
    const rlhfi_builtin *self = user_data;
    const rlhfi_builtin_key *found = find_key(self, key);

    if (found == NULL)
        return unknown_key(self, key);
    memcpy(value, (const char *)user_data + found->offset, sizeof *value);
    return RLHF_OK;
}

void rlhfi_builtin_destroy(void *user_data)
{
    rlhfi_builtin *self = user_data;

    rlhfi_free(self->context, self);
}

/* ---- state ------------------------------------------------------------------------------------------------------- */

static void put_double(unsigned char *bytes, double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof bits);
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(bits >> (8 * i));
}

static double take_double(const unsigned char *bytes)
{
    uint64_t bits = 0;
    double value;

    for (int i = 0; i < 8; i++)
        bits |= (uint64_t)bytes[i] << (8 * i);
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void put_name(const rlhfi_builtin *self, unsigned char name[NAME_BYTES])
{
    const char *text = self->kind->vtable.name;

    memset(name, 0, NAME_BYTES);
    memcpy(name, text, strnlen(text, NAME_BYTES));
}

rlhf_status rlhfi_builtin_save(const rlhfi_builtin *self, const double *values, size_t count, void *buffer,
                               size_t capacity, size_t *needed)
{
    unsigned char *bytes = buffer;

    *needed = NAME_BYTES + 8 * count;
    if (buffer == NULL)
        return RLHF_OK;
    if (capacity < *needed)
        return rlhfi_fail(self->context, RLHF_E_RANGE, "objective %s: its state takes %zu bytes, there is room for %zu",
                          self->kind->vtable.name, *needed, capacity);
    put_name(self, bytes);
    for (size_t i = 0; i < count; i++)
        put_double(bytes + NAME_BYTES + 8 * i, values[i]);
    return RLHF_OK;
}

rlhf_status rlhfi_builtin_load(const rlhfi_builtin *self, const void *buffer, size_t bytes, double *values,
                               size_t count)
{
    const unsigned char *from = buffer;
    unsigned char name[NAME_BYTES];

    put_name(self, name);
    if (bytes != NAME_BYTES + 8 * count || memcmp(from, name, NAME_BYTES) != 0)
        return rlhfi_fail(self->context, RLHF_E_FORMAT, "objective %s: these %zu bytes are not its state",
                          self->kind->vtable.name, bytes);
    for (size_t i = 0; i < count; i++)
        if (!isfinite(take_double(from + NAME_BYTES + 8 * i)))
            return rlhfi_fail(self->context, RLHF_E_FORMAT, "objective %s: number %zu of its state is not finite",
                              self->kind->vtable.name, i);
    for (size_t i = 0; i < count; i++)
        values[i] = take_double(from + NAME_BYTES + 8 * i);
    return RLHF_OK;
}

/* ---- arguments --------------------------------------------------------------------------------------------------- */

rlhf_status rlhfi_builtin_refuse(const rlhfi_builtin *self, const char *what)
{
    return rlhfi_fail(self->context, RLHF_E_INVAL, "objective %s: %s", self->kind->vtable.name, what);
}
