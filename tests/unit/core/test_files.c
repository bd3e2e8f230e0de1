#include "folder.h"

static void reading_in_pieces(void **state)
{
    rlhfi_file *file;
    char out[16];

    put_file(in("a"), "0123456789");
    assert_int_equal(rlhfi_file_open(&file, context, in("a")), RLHF_OK);
    assert_int_equal(rlhfi_file_size(file), 10);
    assert_int_equal(rlhfi_file_read(file, 3, out, 4), RLHF_OK);
    assert_memory_equal(out, "3456", 4);
    assert_int_equal(rlhfi_file_read(file, 0, out, 10), RLHF_OK);
    assert_memory_equal(out, "0123456789", 10);
    assert_int_equal(rlhfi_file_read(file, 10, out, 0), RLHF_OK);
    assert_int_equal(rlhfi_file_read(file, 8, out, 3), RLHF_E_IO);
    assert_error("a: 3 bytes wanted at byte 8, the file has 10");
    assert_int_equal(rlhfi_file_read(file, 11, out, 0), RLHF_E_IO);
    assert_int_equal(rlhfi_file_read(file, UINT64_MAX, out, 2), RLHF_E_IO);
    assert_int_equal(rlhfi_file_read(file, 2, out, SIZE_MAX), RLHF_E_IO);
    /* Somebody cuts the file: an error, no signal and no garbage. */
    assert_int_equal(truncate(in("a"), 5), 0);
    assert_int_equal(rlhfi_file_read(file, 3, out, 4), RLHF_E_IO);
    assert_error("became shorter");
    rlhfi_file_close(&file);
    assert_null(file);
    rlhfi_file_close(&file);
}

static void only_regular_files(void **state)
{
    rlhfi_file *file = (rlhfi_file *)folder;

    assert_int_equal(rlhfi_file_open(&file, context, in("missing")), RLHF_E_IO);
    assert_null(file);
    assert_error("/missing: open: No such file or directory");
    assert_int_equal(rlhfi_file_open(&file, context, folder), RLHF_E_IO);
    assert_error("a directory, not a regular file");
    assert_int_equal(mkfifo(in("fifo"), 0600), 0);
    alarm(20); /* waiting for a writer would hang */
    assert_int_equal(rlhfi_file_open(&file, context, in("fifo")), RLHF_E_IO);
    assert_error("not a regular file");
    assert_int_equal(rlhfi_file_append(context, in("fifo"), "x", 1), RLHF_E_IO);
    assert_int_equal(rlhfi_file_truncate(context, in("fifo"), 0), RLHF_E_IO);
    alarm(0);
    assert_int_equal(rlhfi_file_open(&file, context, "/dev/zero"), RLHF_E_IO);
    assert_error("not a regular file");
    assert_int_equal(rlhfi_file_open(&file, context, ""), RLHF_E_IO);
    /* A link to a file is a file. */
    put_file(in("a"), "text");
    assert_int_equal(symlink("a", in("link")), 0);
    assert_int_equal(rlhfi_file_open(&file, context, in("link")), RLHF_OK);
    rlhfi_file_close(&file);
}

static void beyond_four_gigabytes(void **state)
{
    const uint64_t far = (uint64_t)5 << 30;
    rlhfi_file *file;
    char out[4];
    int descriptor = open(in("sparse"), O_WRONLY | O_CREAT, 0600);

    assert_true(descriptor >= 0);
    if (pwrite(descriptor, "tail", 4, (off_t)far) != 4) {
        close(descriptor);
        print_message("skipped: no sparse files here\n");
        skip();
    }
    close(descriptor);
    assert_int_equal(rlhfi_file_open(&file, context, in("sparse")), RLHF_OK);
    assert_true(rlhfi_file_size(file) == far + 4);
    assert_int_equal(rlhfi_file_read(file, far, out, 4), RLHF_OK);
    assert_memory_equal(out, "tail", 4);
    rlhfi_file_close(&file);
    assert_int_equal(rlhfi_file_truncate(context, in("sparse"), far - 1), RLHF_OK);
    assert_int_equal(rlhfi_file_append(context, in("sparse"), "xy", 2), RLHF_OK);
    assert_int_equal(rlhfi_file_open(&file, context, in("sparse")), RLHF_OK);
    assert_int_equal(rlhfi_file_read(file, far - 1, out, 2), RLHF_OK);
    assert_memory_equal(out, "xy", 2);
    rlhfi_file_close(&file);
}

static void loading_whole_files(void **state)
{
    char *text = folder;
    size_t bytes = 99;

    put_file(in("a"), "0123456789");
    assert_int_equal(rlhfi_file_load(context, in("a"), 10, &text, &bytes), RLHF_OK);
    assert_int_equal(bytes, 10);
    assert_string_equal(text, "0123456789");
    rlhfi_free(context, text);
    assert_int_equal(rlhfi_file_load(context, in("a"), 9, &text, &bytes), RLHF_E_RANGE);
    assert_error("a: 10 bytes, at most 9 are read");
    assert_null(text);
    assert_int_equal(bytes, 0);
    put_file(in("empty"), "");
    assert_int_equal(rlhfi_file_load(context, in("empty"), 0, &text, &bytes), RLHF_OK);
    assert_string_equal(text, "");
    rlhfi_free(context, text);
    assert_int_equal(rlhfi_file_load(context, in("missing"), 100, &text, &bytes), RLHF_E_IO);
    assert_null(text);
}

static void appending_and_cutting(void **state)
{
    assert_int_equal(rlhfi_file_append(context, in("log"), "one\n", 4), RLHF_OK);
    assert_int_equal(rlhfi_file_append(context, in("log"), "two\n", 4), RLHF_OK);
    assert_file(in("log"), "one\ntwo\n");
    assert_int_equal(rlhfi_file_truncate(context, in("log"), 4), RLHF_OK);
    assert_int_equal(rlhfi_file_append(context, in("log"), "2\n", 2), RLHF_OK);
    assert_file(in("log"), "one\n2\n");
    assert_int_equal(rlhfi_file_truncate(context, in("log"), 7), RLHF_E_IO);
    assert_error("to be cut at byte 7, has only 6");
    assert_file(in("log"), "one\n2\n");
    assert_int_equal(rlhfi_file_truncate(context, in("none"), 0), RLHF_E_IO);
    assert_false(rlhfi_path_exists(in("none")));
    assert_int_equal(rlhfi_file_append(context, in("no/log"), "x", 1), RLHF_E_IO);
}

static void clocks_and_memory(void **state)
{
    double start = rlhfi_seconds();
    uint64_t before = rlhfi_peak_memory();
    char *much = malloc(64 << 20);

    assert_non_null(much);
    memset(much, 1, 64 << 20);
    assert_true(much[12345678] == 1);
    free(much);
    assert_true(before > 100000);
    assert_true(rlhfi_peak_memory() >= before);
    assert_true(rlhfi_peak_memory() >= 64 << 20);
    usleep(1000);
    assert_true(rlhfi_seconds() - start >= 0.001);
    assert_true(rlhfi_seconds() - start < 100.0);
}

static rlhf_status load(rlhf_context *where)
{
    char *text;
    size_t bytes;

    RLHFI_TRY(rlhfi_file_load(where, "/proc/self/exe", (size_t)1 << 30, &text, &bytes));
    rlhfi_free(where, text);
    return RLHF_OK;
}

static void each_allocation_may_fail(void **state)
{
    assert_int_equal(fail_each(load), 3);
}

int main(void)
{
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, folder_make, folder_drop)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(reading_in_pieces),     IN_FOLDER(only_regular_files), IN_FOLDER(beyond_four_gigabytes),
        IN_FOLDER(loading_whole_files),   IN_FOLDER(appending_and_cutting), IN_FOLDER(clocks_and_memory),
        IN_FOLDER(each_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
