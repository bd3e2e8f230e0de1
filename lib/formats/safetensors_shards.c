/* Writing a checkpoint directory: one file, or shards with their index (formats.md 1.7).
 *
 * Killed at any instant, the directory must load as the old checkpoint or as the new one, or say that it is incomplete;
 * it must never load as a mixture. A reader prefers model.safetensors to an index, so:
 *   to one file:  rename it into place (the new one from here on), then remove the old index, then the old shards;
 *   to shards:    write them and the index under other names, so that a full disk does no harm; remove an old index,
 *                 because its shards may have our names; rename the shards, then the index; remove an old single file
 *                 (the old one until here). */
#include "formats/json.h"
#include "formats/safetensors.h"
#include "formats/sort.h"

static const char unfinished[] = ".unfinished";

struct checkpoint {
    rlhf_context *context;
    const char *directory;
    const rlhfi_tensor_source *tensors;
    size_t count;
    uint64_t total;                    /* bytes of all tensors */
    const rlhfi_tensor_source **order; /* room for all tensors */
    int32_t *shard_of;                 /* per tensor, from 1 */
    int32_t shards;
};

/* ---- names ------------------------------------------------------------------------------------------------------- */

static void shard_name(const struct checkpoint *checkpoint, int32_t shard, rlhfi_string *name)
{
    rlhfi_string_add_format(name, "model-%05d-of-%05d.safetensors", (int)shard, (int)checkpoint->shards);
}

/* The path of a shard, or for number 0 of the index. */
static char *file_path(const struct checkpoint *checkpoint, int32_t shard, const char *ending)
{
    rlhfi_string name;
    char *path = NULL;

    rlhfi_string_init(&name, checkpoint->context);
    if (shard > 0)
        shard_name(checkpoint, shard, &name);
    else
        rlhfi_string_add(&name, rlhfi_safetensors_index);
    rlhfi_string_add(&name, ending);
    if (!name.failed)
        path = rlhfi_path_join(checkpoint->context, checkpoint->directory, name.data);
    rlhfi_string_free(&name);
    return path;
}

/* Reads "model-ddddd-of-ddddd.safetensors" and points *rest behind it; false for every other name. */
static bool parse_shard_name(const char *name, int32_t *shard, int32_t *shards, const char **rest)
{
    static const char pattern[] = "model-#####-of-#####.safetensors";
    int32_t numbers[2] = {0, 0};
    int dashes = 0;

    for (size_t i = 0; i < sizeof pattern - 1; i++) {
        if (pattern[i] == '#') {
            if (name[i] < '0' || name[i] > '9')
                return false;
            numbers[dashes > 1] = numbers[dashes > 1] * 10 + (name[i] - '0');
        } else if (name[i] != pattern[i]) {
            return false;
        }
        dashes += pattern[i] == '-';
    }
    *shard = numbers[0];
    *shards = numbers[1];
    *rest = name + sizeof pattern - 1;
    return true;
}

static rlhf_status remove_file(const struct checkpoint *checkpoint, const char *name)
{
    char *path = rlhfi_path_join(checkpoint->context, checkpoint->directory, name);
    rlhf_status status = path == NULL ? RLHF_E_NOMEM : rlhfi_remove_tree(checkpoint->context, path);

    rlhfi_free(checkpoint->context, path);
    return status;
}

static bool starts_with(const char *text, const char *beginning)
{
    return strncmp(text, beginning, strlen(beginning)) == 0;
}

static bool is_stale(const struct checkpoint *checkpoint, const char *name)
{
    int32_t shard, shards;
    const char *rest;

    if (starts_with(name, rlhfi_safetensors_index))
        return starts_with(name + strlen(rlhfi_safetensors_index), unfinished);
    if (!parse_shard_name(name, &shard, &shards, &rest))
        return false;
    if (*rest != '\0')
        return starts_with(rest, unfinished); /* and the temporary of one */
    return checkpoint->shards == 1 || shards != checkpoint->shards || shard < 1 || shard > shards;
}

/* Removes shards that do not belong to the checkpoint that now stands, and what a killed process left. */
static rlhf_status remove_stale(const struct checkpoint *checkpoint)
{
    char **names;
    size_t count;
    rlhf_status status;

    RLHFI_TRY(rlhfi_list_directory(checkpoint->context, checkpoint->directory, &names, &count));
    status = RLHF_OK;
    for (size_t i = 0; i < count && status == RLHF_OK; i++)
        if (is_stale(checkpoint, names[i]))
            status = remove_file(checkpoint, names[i]);
    rlhfi_free(checkpoint->context, names);
    return status;
}

/* ---- shards ------------------------------------------------------------------------------------------------------ */

/* Tensors in the order of the model; a new shard where one would pass the limit, so a larger tensor stands alone. */
static rlhf_status cut(struct checkpoint *checkpoint, uint64_t limit)
{
    uint64_t filled = 0;

    checkpoint->shards = 1;
    for (size_t i = 0; i < checkpoint->count; i++) {
        uint64_t bytes = rlhfi_source_bytes(&checkpoint->tensors[i]);
        if (limit > 0 && filled > 0 && bytes > limit - (filled < limit ? filled : limit)) {
            checkpoint->shards++;
            filled = 0;
        }
        if (checkpoint->shards > RLHFI_SHARD_LIMIT)
            return rlhfi_fail(checkpoint->context, RLHF_E_INVAL,
                              "%s: shards of %llu bytes make more than %d files: allow larger ones",
                              checkpoint->directory, (unsigned long long)limit, RLHFI_SHARD_LIMIT);
        filled += bytes;
        checkpoint->shard_of[i] = checkpoint->shards;
    }
    return RLHF_OK;
}

static rlhf_status write_shard(const struct checkpoint *checkpoint, int32_t shard)
{
    char *path = file_path(checkpoint, shard, unfinished);
    size_t count = 0;
    rlhf_status status;

    if (path == NULL)
        return RLHF_E_NOMEM;
    for (size_t i = 0; i < checkpoint->count; i++)
        if (checkpoint->shard_of[i] == shard)
            checkpoint->order[count++] = &checkpoint->tensors[i];
    status = rlhfi_sources_write(checkpoint->context, path, checkpoint->order, count, NULL);
    rlhfi_free(checkpoint->context, path);
    return status;
}

static rlhf_status finish(const struct checkpoint *checkpoint, int32_t shard)
{
    char *from = file_path(checkpoint, shard, unfinished), *to = file_path(checkpoint, shard, "");
    rlhf_status status = from == NULL || to == NULL ? RLHF_E_NOMEM : rlhfi_rename(checkpoint->context, from, to);

    rlhfi_free(checkpoint->context, from);
    rlhfi_free(checkpoint->context, to);
    return status;
}

static int compare_names(const void *a, const void *b)
{
    const rlhfi_tensor_source *x = *(const rlhfi_tensor_source *const *)a, *y = *(const rlhfi_tensor_source *const *)b;

    return strcmp(x->name, y->name);
}

/* As Python's encoder writes it: two spaces, sorted keys, ASCII, a final newline. */
static void make_index(const struct checkpoint *checkpoint, rlhfi_string *text)
{
    uint64_t elements = 0;

    for (size_t i = 0; i < checkpoint->count; i++) {
        checkpoint->order[i] = &checkpoint->tensors[i];
        elements += rlhfi_source_bytes(&checkpoint->tensors[i]) / rlhfi_dtype_bytes(checkpoint->tensors[i].dtype);
    }
    rlhfi_sort(checkpoint->order, checkpoint->count, sizeof *checkpoint->order, compare_names);
    rlhfi_string_add_format(text,
                            "{\n  \"metadata\": {\n    \"total_parameters\": %llu,\n    \"total_size\": %llu\n  },\n"
                            "  \"weight_map\": {\n",
                            (unsigned long long)elements, (unsigned long long)checkpoint->total);
    for (size_t i = 0; i < checkpoint->count; i++) {
        const char *name = checkpoint->order[i]->name;
        rlhfi_string_add(text, "    ");
        rlhfi_json_quote(text, name, strlen(name), true);
        rlhfi_string_add(text, ": \"");
        shard_name(checkpoint, checkpoint->shard_of[checkpoint->order[i] - checkpoint->tensors], text);
        rlhfi_string_add(text, i + 1 < checkpoint->count ? "\",\n" : "\"\n");
    }
    rlhfi_string_add(text, "  }\n}\n");
}

static rlhf_status write_index(const struct checkpoint *checkpoint)
{
    char *path = file_path(checkpoint, 0, unfinished);
    rlhfi_string text;
    rlhf_status status;

    if (path == NULL)
        return RLHF_E_NOMEM;
    rlhfi_string_init(&text, checkpoint->context);
    make_index(checkpoint, &text);
    status = text.failed ? RLHF_E_NOMEM : rlhfi_file_save(checkpoint->context, path, text.data, text.size);
    rlhfi_string_free(&text);
    rlhfi_free(checkpoint->context, path);
    return status;
}

static rlhf_status write_shards(const struct checkpoint *checkpoint)
{
    for (int32_t shard = 1; shard <= checkpoint->shards; shard++)
        RLHFI_TRY(write_shard(checkpoint, shard));
    RLHFI_TRY(write_index(checkpoint));
    RLHFI_TRY(remove_file(checkpoint, rlhfi_safetensors_index));
    for (int32_t shard = 1; shard <= checkpoint->shards; shard++)
        RLHFI_TRY(finish(checkpoint, shard));
    RLHFI_TRY(finish(checkpoint, 0));
    RLHFI_TRY(remove_file(checkpoint, rlhfi_safetensors_file));
    return remove_stale(checkpoint);
}

/* Keeps the error text that stands: the first failure is the one to tell. */
static void remove_unfinished(const struct checkpoint *checkpoint)
{
    char text[sizeof checkpoint->context->error];
    rlhf_status status = checkpoint->context->error_status;

    memcpy(text, checkpoint->context->error, sizeof text);
    for (int32_t shard = 0; shard <= checkpoint->shards; shard++) {
        char *path = file_path(checkpoint, shard, unfinished);
        if (path != NULL)
            (void)rlhfi_remove_tree(checkpoint->context, path);
        rlhfi_free(checkpoint->context, path);
    }
    (void)rlhfi_fail(checkpoint->context, status, "%s", text);
}

/* ---- one file ---------------------------------------------------------------------------------------------------- */

static rlhf_status write_single(const struct checkpoint *checkpoint)
{
    char *path = rlhfi_path_join(checkpoint->context, checkpoint->directory, rlhfi_safetensors_file);
    rlhf_status status;

    if (path == NULL)
        return RLHF_E_NOMEM;
    status = rlhfi_sources_write(checkpoint->context, path, checkpoint->order, checkpoint->count, NULL);
    rlhfi_free(checkpoint->context, path);
    RLHFI_TRY(status);
    RLHFI_TRY(remove_file(checkpoint, rlhfi_safetensors_index));
    return remove_stale(checkpoint);
}

rlhf_status rlhfi_safetensors_write_directory(rlhf_context *context, const char *directory,
                                              const rlhfi_tensor_source *tensors, size_t count, uint64_t shard_bytes)
{
    struct checkpoint checkpoint = {.context = context, .directory = directory, .tensors = tensors, .count = count};
    rlhf_status status;

    checkpoint.order = rlhfi_sources_list(context, tensors, count);
    checkpoint.shard_of = rlhfi_alloc_array(context, count, sizeof *checkpoint.shard_of);
    if (checkpoint.order == NULL || checkpoint.shard_of == NULL)
        RLHFI_GOTO(RLHF_E_NOMEM);
    RLHFI_GOTO(rlhfi_sources_check(context, directory, checkpoint.order, count, &checkpoint.total));
    RLHFI_GOTO(cut(&checkpoint, shard_bytes));
    RLHFI_GOTO(rlhfi_make_directory(context, directory));
    if (checkpoint.shards == 1) {
        status = write_single(&checkpoint);
    } else {
        status = write_shards(&checkpoint);
        if (status != RLHF_OK)
            remove_unfinished(&checkpoint);
    }
done:
    rlhfi_free(context, checkpoint.order);
    rlhfi_free(context, checkpoint.shard_of);
    return status;
}
