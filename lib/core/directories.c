/* Paths and directories. */
#include "core/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEEPEST = 64 }; /* levels that remove_tree goes down: each holds a file descriptor */

bool rlhfi_path_exists(const char *path)
{
    struct stat information;

    return stat(path, &information) == 0;
}

bool rlhfi_path_is_directory(const char *path)
{
    struct stat information;

    return stat(path, &information) == 0 && S_ISDIR(information.st_mode);
}

char *rlhfi_path_join(rlhf_context *context, const char *directory, const char *name)
{
    size_t first = strlen(directory), second = strlen(name);
    bool slash = first > 0 && directory[first - 1] != '/';
    char *path = rlhfi_alloc(context, first + slash + second + 1);

    if (path == NULL)
        return NULL;
    memcpy(path, directory, first);
    if (slash)
        path[first++] = '/';
    memcpy(path + first, name, second + 1);
    return path;
}

/* path is cut at each slash in turn and mended again. */
static rlhf_status make_each(rlhf_context *context, char *path)
{
    char *end = path;

    do {
        char cut;
        while (*end == '/')
            end++;
        while (*end != '\0' && *end != '/')
            end++;
        cut = *end;
        *end = '\0';
        /* Not EEXIST alone: a read-only parent that exists gives other codes. */
        if (mkdir(path, 0777) != 0) {
            int number = errno;
            if (!rlhfi_path_is_directory(path))
                return rlhfi_system_fail(context, path, "make directory", number);
        }
        *end = cut;
    } while (*end != '\0');
    return RLHF_OK;
}

rlhf_status rlhfi_make_directory(rlhf_context *context, const char *path)
{
    char *copy = rlhfi_strdup(context, path);
    rlhf_status status = copy == NULL ? RLHF_E_NOMEM : make_each(context, copy);

    rlhfi_free(context, copy);
    return status;
}

rlhf_status rlhfi_rename(rlhf_context *context, const char *from, const char *to)
{
    int number;

    if (rename(from, to) != 0)
        return rlhfi_system_fail(context, to, "rename", errno);
    number = rlhfi_system_sync_parent(to);
    return number == 0 ? RLHF_OK : rlhfi_system_fail(context, to, "sync its directory", number);
}

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Removes name in the directory parent, and what is in it; 0, or errno. Names are resolved relative to open directories
 * and never through symbolic links, so a tree that changes meanwhile cannot lead elsewhere. */
static int remove_entry(int parent, const char *name, int depth)
{
    struct dirent *entry;
    DIR *directory;
    bool again = true;
    int number = 0, descriptor;

    if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM) /* Linux says EISDIR for a directory, POSIX EPERM */
        return errno;
    number = errno;
    descriptor = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (descriptor < 0)
        return errno == ENOTDIR ? number : errno;
    number = 0;
    directory = depth < DEEPEST ? fdopendir(descriptor) : NULL;
    if (directory == NULL) {
        number = depth < DEEPEST ? errno : ELOOP;
        close(descriptor);
        return number;
    }
    /* Whether a directory that changes still shows all its entries is not promised, so it is read until it is empty. */
    while (again && number == 0) {
        again = false;
        while (number == 0 && (errno = 0, entry = readdir(directory)) != NULL)
            if (!is_dots(entry->d_name)) {
                again = true;
                number = remove_entry(dirfd(directory), entry->d_name, depth + 1);
            }
        if (number == 0)
            number = errno;
        rewinddir(directory);
    }
    closedir(directory);
    if (number == 0 && unlinkat(parent, name, AT_REMOVEDIR) != 0 && errno != ENOENT)
        number = errno;
    return number;
}

rlhf_status rlhfi_remove_tree(rlhf_context *context, const char *path)
{
    int number = remove_entry(AT_FDCWD, path, 0);

    return number == 0 ? RLHF_OK : rlhfi_system_fail(context, path, "remove", number);
}

/* ---- listing ----------------------------------------------------------------------------------------------------- */

static rlhf_status read_names(DIR *directory, rlhf_context *context, const char *path, rlhfi_string *names,
                              size_t *count)
{
    struct dirent *entry;

    while ((errno = 0, entry = readdir(directory)) != NULL) {
        if (is_dots(entry->d_name))
            continue;
        rlhfi_string_add_bytes(names, entry->d_name, strlen(entry->d_name) + 1);
        ++*count;
    }
    if (errno != 0)
        return rlhfi_system_fail(context, path, "read directory", errno);
    return names->failed ? RLHF_E_NOMEM : RLHF_OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

rlhf_status rlhfi_list_directory(rlhf_context *context, const char *path, char ***out, size_t *count)
{
    DIR *directory = opendir(path);
    rlhfi_string names;
    rlhf_status status;
    size_t found = 0;
    char **list, *next;

    *out = NULL;
    *count = 0;
    if (directory == NULL)
        return rlhfi_system_fail(context, path, "open directory", errno);
    rlhfi_string_init(&names, context);
    RLHFI_GOTO(read_names(directory, context, path, &names, &found));
    /* One block: the pointers, then the names. */
    list = rlhfi_alloc(context, found * sizeof *list + names.size);
    if (list == NULL)
        RLHFI_GOTO(RLHF_E_NOMEM);
    next = (char *)(list + found);
    if (names.size > 0)
        memcpy(next, names.data, names.size);
    for (size_t i = 0; i < found; i++, next += strlen(next) + 1)
        list[i] = next;
    qsort(list, found, sizeof *list, compare_names);
    *out = list;
    *count = found;
done:
    closedir(directory);
    rlhfi_string_free(&names);
    return status;
}
