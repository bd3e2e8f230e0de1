#include "folder.h"

#include <signal.h>
#include <sys/resource.h>

static void old_or_new_never_half(void **state)
{
    rlhfi_writer *writer;

    put_file(in("model"), "old");
    assert_int_equal(rlhfi_writer_open(&writer, context, in("model")), RLHF_OK);
    assert_int_equal(rlhfi_writer_write(writer, "new ", 4), RLHF_OK);
    assert_int_equal(rlhfi_writer_write(writer, "", 0), RLHF_OK);
    assert_file(in("model"), "old");
    assert_int_equal(entries(folder), 2);
    assert_int_equal(rlhfi_writer_write(writer, "text", 4), RLHF_OK);
    assert_int_equal(rlhfi_writer_commit(&writer), RLHF_OK);
    assert_null(writer);
    assert_file(in("model"), "new text");
    assert_int_equal(entries(folder), 1);

    assert_int_equal(rlhfi_writer_open(&writer, context, in("model")), RLHF_OK);
    assert_int_equal(rlhfi_writer_write(writer, "third", 5), RLHF_OK);
    rlhfi_writer_abandon(&writer);
    assert_null(writer);
    rlhfi_writer_abandon(&writer);
    assert_file(in("model"), "new text");
    assert_int_equal(entries(folder), 1);
    assert_int_equal(rlhfi_file_save(context, in("empty"), "", 0), RLHF_OK);
    assert_file(in("empty"), "");
}

static void pieces_of_every_size(void **state)
{
    static unsigned char out[400000], back[400000];
    rlhfi_writer *writer;
    rlhfi_file *file;
    size_t written = 0, piece = 1;

    for (size_t i = 0; i < sizeof out; i++)
        out[i] = (unsigned char)(i * i >> 7);
    assert_int_equal(rlhfi_writer_open(&writer, context, in("a")), RLHF_OK);
    while (written < sizeof out) {
        size_t count = sizeof out - written < piece ? sizeof out - written : piece;
        assert_int_equal(rlhfi_writer_write(writer, out + written, count), RLHF_OK);
        written += count;
        piece = piece > 100000 ? 1 : piece * 3;
    }
    assert_int_equal(rlhfi_writer_commit(&writer), RLHF_OK);
    assert_int_equal(rlhfi_file_open(&file, context, in("a")), RLHF_OK);
    assert_int_equal(rlhfi_file_size(file), sizeof out);
    assert_int_equal(rlhfi_file_read(file, 0, back, sizeof back), RLHF_OK);
    assert_memory_equal(out, back, sizeof out);
    rlhfi_file_close(&file);
}

static void places_that_cannot_be_written(void **state)
{
    rlhfi_writer *writer = (rlhfi_writer *)folder;

    assert_int_equal(rlhfi_writer_open(&writer, context, in("no/file")), RLHF_E_IO);
    assert_null(writer);
    assert_error("no/file: create: No such file or directory");
    assert_int_equal(mkdir(in("directory"), 0700), 0);
    assert_int_equal(rlhfi_writer_open(&writer, context, in("directory")), RLHF_E_IO);
    assert_error("exists and is not a regular file");
    assert_int_equal(rlhfi_writer_open(&writer, context, "/dev/null"), RLHF_E_IO);
    assert_int_equal(rlhfi_file_save(context, in("no/file"), "x", 1), RLHF_E_IO);
    /* The target becomes a directory while we write. */
    assert_int_equal(rlhfi_writer_open(&writer, context, in("late")), RLHF_OK);
    assert_int_equal(mkdir(in("late"), 0700), 0);
    assert_int_equal(rlhfi_writer_commit(&writer), RLHF_E_IO);
    assert_null(writer);
    assert_error("late: rename: ");
    assert_int_equal(entries(folder), 2);
}

static void leftovers_of_others_stay(void **state)
{
    char name[64];
    rlhfi_writer *one, *two;

    snprintf(name, sizeof name, "model.tmp-%lld-0", (long long)getpid());
    put_file(in(name), "left by a process of our number that was killed");
    assert_int_equal(rlhfi_writer_open(&one, context, in("model")), RLHF_OK);
    assert_int_equal(rlhfi_writer_open(&two, context, in("model")), RLHF_OK);
    assert_int_equal(rlhfi_writer_write(one, "one", 3), RLHF_OK);
    assert_int_equal(rlhfi_writer_write(two, "two", 3), RLHF_OK);
    assert_int_equal(rlhfi_writer_commit(&one), RLHF_OK);
    assert_file(in("model"), "one");
    assert_int_equal(rlhfi_writer_commit(&two), RLHF_OK);
    assert_file(in("model"), "two");
    assert_file(in(name), "left by a process of our number that was killed");
    assert_int_equal(entries(folder), 2);
}

static void links_and_rights(void **state)
{
    struct stat information;

    /* A link is replaced, what it points to is left alone: shared caches are full of such links. */
    put_file(in("shared"), "shared");
    assert_int_equal(symlink("shared", in("link")), 0);
    assert_int_equal(rlhfi_file_save(context, in("link"), "own", 3), RLHF_OK);
    assert_file(in("shared"), "shared");
    assert_file(in("link"), "own");
    assert_int_equal(lstat(in("link"), &information), 0);
    assert_true(S_ISREG(information.st_mode));
    put_file(in("private"), "x");
    assert_int_equal(chmod(in("private"), 0600), 0);
    assert_int_equal(rlhfi_file_save(context, in("private"), "y", 1), RLHF_OK);
    assert_int_equal(stat(in("private"), &information), 0);
    assert_int_equal(information.st_mode & 0777, 0600);
}

/* A disk that is full after some bytes, played by a limit on the size of files. */
static void a_full_disk(void **state)
{
    static char text[200000];
    struct rlimit before, limit;
    rlhfi_writer *writer;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    memset(text, 'x', sizeof text);
    limit = before;
    limit.rlim_cur = 100000;
    put_file(in("model"), "old");
    put_file(in("log"), "whole line\n");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);

    /* Found while writing: that call fails, all later ones too, and so does the commit. */
    assert_int_equal(rlhfi_writer_open(&writer, context, in("model")), RLHF_OK);
    assert_int_equal(rlhfi_writer_write(writer, text, sizeof text), RLHF_E_IO);
    assert_error("model: write: File too large");
    assert_int_equal(rlhfi_writer_write(writer, "x", 1), RLHF_E_IO);
    assert_int_equal(rlhfi_writer_commit(&writer), RLHF_E_IO);
    /* Found only at the commit, because the end was still in the buffer. */
    assert_int_equal(rlhfi_writer_open(&writer, context, in("model")), RLHF_OK);
    assert_int_equal(rlhfi_writer_write(writer, text, 70000), RLHF_OK);
    assert_int_equal(rlhfi_writer_write(writer, text, 40000), RLHF_OK);
    assert_int_equal(rlhfi_writer_commit(&writer), RLHF_E_IO);
    assert_error("File too large");
    assert_int_equal(rlhfi_file_save(context, in("model"), text, sizeof text), RLHF_E_IO);
    /* An append that fits in part leaves nothing of itself. */
    assert_int_equal(rlhfi_file_append(context, in("log"), text, sizeof text), RLHF_E_IO);
    assert_error("log: write: File too large");

    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, handler);
    assert_file(in("model"), "old");
    assert_file(in("log"), "whole line\n");
    assert_int_equal(entries(folder), 2);
}

static const char *target;

static rlhf_status save(rlhf_context *where)
{
    return rlhfi_file_save(where, target, "text", 4);
}

static void each_allocation_may_fail(void **state)
{
    char path[100];

    snprintf(path, sizeof path, "%s/file", folder);
    target = path;
    assert_int_equal(fail_each(save), 3);
    assert_int_equal(entries(folder), 1);
}

int main(void)
{
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, folder_make, folder_drop)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(old_or_new_never_half),    IN_FOLDER(pieces_of_every_size), IN_FOLDER(places_that_cannot_be_written),
        IN_FOLDER(leftovers_of_others_stay), IN_FOLDER(links_and_rights),     IN_FOLDER(a_full_disk),
        IN_FOLDER(each_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
