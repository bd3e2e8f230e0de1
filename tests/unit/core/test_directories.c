#include "folder.h"

static void paths(void **state)
{
    static const char *const cases[][3] = {
        {"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"", "b", "b"}, {"/", "b", "/b"}, {"a", "", "a/"}, {".", "b/c", "./b/c"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *path = rlhfi_path_join(context, cases[i][0], cases[i][1]);
        assert_string_equal(path, cases[i][2]);
        rlhfi_free(context, path);
    }
    put_file(in("file"), "x");
    assert_true(rlhfi_path_exists(in("file")));
    assert_false(rlhfi_path_is_directory(in("file")));
    assert_true(rlhfi_path_exists(folder));
    assert_true(rlhfi_path_is_directory(folder));
    assert_false(rlhfi_path_exists(in("none")));
    assert_false(rlhfi_path_is_directory(in("none")));
}

static void making_directories(void **state)
{
    char relative[64];

    assert_int_equal(rlhfi_make_directory(context, in("a/b//c/")), RLHF_OK);
    assert_true(rlhfi_path_is_directory(in("a/b/c")));
    assert_int_equal(rlhfi_make_directory(context, in("a/b/c")), RLHF_OK);
    assert_int_equal(rlhfi_make_directory(context, "/"), RLHF_OK);
    assert_int_equal(rlhfi_make_directory(context, "."), RLHF_OK);
    put_file(in("file"), "x");
    assert_int_equal(rlhfi_make_directory(context, in("file")), RLHF_E_IO);
    assert_error("file: make directory: File exists");
    assert_int_equal(rlhfi_make_directory(context, in("file/below")), RLHF_E_IO);
    assert_int_equal(rlhfi_make_directory(context, ""), RLHF_E_IO);
    /* A relative path. */
    assert_non_null(getcwd(relative, sizeof relative));
    assert_int_equal(chdir(folder), 0);
    assert_int_equal(rlhfi_make_directory(context, "x/y"), RLHF_OK);
    assert_int_equal(rlhfi_file_save(context, "here", "text", 4), RLHF_OK);
    assert_int_equal(rlhfi_rename(context, "here", "there"), RLHF_OK);
    assert_int_equal(chdir(relative), 0);
    assert_true(rlhfi_path_is_directory(in("x/y")));
    assert_file(in("there"), "text");
}

static void renaming(void **state)
{
    put_file(in("a"), "a");
    put_file(in("b"), "b");
    assert_int_equal(rlhfi_rename(context, in("a"), in("b")), RLHF_OK);
    assert_file(in("b"), "a");
    assert_false(rlhfi_path_exists(in("a")));
    assert_int_equal(rlhfi_rename(context, in("a"), in("c")), RLHF_E_IO);
    assert_error("c: rename: No such file or directory");
}

static void listing(void **state)
{
    char **names = (char **)folder;
    size_t count = 5;
    char name[16];

    assert_int_equal(rlhfi_make_directory(context, in("d")), RLHF_OK);
    assert_int_equal(rlhfi_list_directory(context, in("d"), &names, &count), RLHF_OK);
    assert_int_equal(count, 0);
    rlhfi_free(context, names);
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof name, "d/n%d", i * 77 % 200);
        put_file(in(name), "");
    }
    put_file(in("d/.hidden"), "");
    put_file(in("d/\xc3\xa9"), "");
    assert_int_equal(rlhfi_list_directory(context, in("d"), &names, &count), RLHF_OK);
    assert_int_equal(count, 202);
    assert_string_equal(names[0], ".hidden");
    assert_string_equal(names[1], "n0");
    assert_string_equal(names[2], "n1");
    assert_string_equal(names[3], "n10");
    assert_string_equal(names[201], "\xc3\xa9");
    for (size_t i = 1; i < count; i++)
        assert_true(strcmp(names[i - 1], names[i]) < 0);
    rlhfi_free(context, names);
    assert_int_equal(rlhfi_list_directory(context, in("none"), &names, &count), RLHF_E_IO);
    assert_null(names);
    assert_int_equal(count, 0);
    assert_error("none: open directory: No such file or directory");
}

static void removing_stays_inside(void **state)
{
    char name[32];

    assert_int_equal(rlhfi_make_directory(context, in("outside")), RLHF_OK);
    put_file(in("outside/precious"), "x");
    assert_int_equal(rlhfi_make_directory(context, in("tree/a/b")), RLHF_OK);
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "tree/a/file%d", i);
        put_file(in(name), "x");
    }
    assert_int_equal(symlink("../../outside", in("tree/a/link")), 0);
    assert_int_equal(symlink("missing", in("tree/dangling")), 0);
    assert_int_equal(mkfifo(in("tree/fifo"), 0600), 0);
    assert_int_equal(rlhfi_remove_tree(context, in("tree")), RLHF_OK);
    assert_false(rlhfi_path_exists(in("tree")));
    assert_file(in("outside/precious"), "x");
    /* The path itself may be a link, a file, or not there. */
    assert_int_equal(symlink("outside", in("link")), 0);
    assert_int_equal(rlhfi_remove_tree(context, in("link")), RLHF_OK);
    assert_file(in("outside/precious"), "x");
    assert_int_equal(rlhfi_remove_tree(context, in("outside/precious")), RLHF_OK);
    assert_int_equal(rlhfi_remove_tree(context, in("missing")), RLHF_OK);
    assert_int_equal(rlhfi_remove_tree(context, in("outside/")), RLHF_OK);
    assert_int_equal(entries(folder), 0);
    assert_int_equal(rlhfi_remove_tree(context, "/proc/self/status"), RLHF_E_IO);
    assert_error("/proc/self/status: remove: ");
}

static void trees_that_are_too_deep_are_refused(void **state)
{
    char path[400];
    size_t bytes = (size_t)snprintf(path, sizeof path, "%s/deep", folder);

    assert_int_equal(rlhfi_make_directory(context, in("deep")), RLHF_OK);
    for (int i = 0; i < 70; i++) {
        bytes += (size_t)snprintf(path + bytes, sizeof path - bytes, "/d");
        assert_int_equal(mkdir(path, 0700), 0);
    }
    assert_int_equal(rlhfi_remove_tree(context, in("deep")), RLHF_E_IO);
    for (int i = 0; i < 35; i++) {
        path[bytes] = '\0';
        assert_int_equal(rmdir(path), 0);
        bytes -= 2;
    }
    assert_int_equal(rlhfi_remove_tree(context, in("deep")), RLHF_OK);
}

static const char *where_to;

static rlhf_status make_and_list(rlhf_context *where)
{
    char **names;
    size_t count;
    char *path = rlhfi_path_join(where, where_to, "sub");
    rlhf_status status;

    if (path == NULL)
        return RLHF_E_NOMEM;
    RLHFI_GOTO(rlhfi_make_directory(where, path));
    RLHFI_GOTO(rlhfi_list_directory(where, where_to, &names, &count));
    assert_int_equal(count, 1);
    rlhfi_free(where, names);
    RLHFI_GOTO(rlhfi_remove_tree(where, path));
done:
    rlhfi_free(where, path);
    return status;
}

static void each_allocation_may_fail(void **state)
{
    where_to = folder;
    assert_int_equal(fail_each(make_and_list), 4);
}

int main(void)
{
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, folder_make, folder_drop)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(paths),
        IN_FOLDER(making_directories),
        IN_FOLDER(renaming),
        IN_FOLDER(listing),
        IN_FOLDER(removing_stays_inside),
        IN_FOLDER(trees_that_are_too_deep_are_refused),
        IN_FOLDER(each_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
