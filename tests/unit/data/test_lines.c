/* Lines of plain and zipped files, whole and broken ones; what a sink writes. */
#include "support.h"

/* All lines of a file as "[one][two]", or the error's text. */
static const char *lines_of(rlhf_context *context, const char *path)
{
    static char shown[4096];
    size_t used = 0, bytes;
    int64_t number, expected = 1;
    char *line;
    rlhfi_lines *lines;
    rlhf_status status = rlhfi_lines_open(&lines, context, path);
    shown[0] = '\0';
    while (status == RLHF_OK) {
        status = rlhfi_lines_next(lines, &line, &bytes, &number);
        if (status != RLHF_OK)
            break;
        assert_int_equal(number, expected++);
        assert_int_equal(line[bytes], '\0');
        if (used < sizeof shown - 200)
            used +=
                (size_t)snprintf(shown + used, sizeof shown - used, "[%.*s]", (int)(bytes < 100 ? bytes : 100), line);
    }
    rlhfi_lines_close(&lines);
    if (status == RLHF_E_END)
        return shown;
    assert_true(status == RLHF_E_FORMAT || status == RLHF_E_IO);
    return error_of(context);
}

/* gzip of a text, at out; returns its size. */
static size_t zip(const char *text, size_t bytes, unsigned char *out, size_t capacity)
{
    z_stream stream = {0};
    assert_int_equal(deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY), Z_OK);
    stream.next_in = (unsigned char *)(uintptr_t)text;
    stream.avail_in = (unsigned)bytes;
    stream.next_out = out;
    stream.avail_out = (unsigned)capacity;
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    size_t size = capacity - stream.avail_out;
    deflateEnd(&stream);
    return size;
}

static void plain_files(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    assert_string_equal(lines_of(context, write_text("a", "")), "");
    assert_string_equal(lines_of(context, write_text("a", "\n")), "[]");
    assert_string_equal(lines_of(context, write_text("a", "one\ntwo\n")), "[one][two]");
    assert_string_equal(lines_of(context, write_text("a", "one\n\ntwo")), "[one][][two]");
    assert_string_equal(lines_of(context, write_text("a", "one\r\ntwo\r\n\r\n")), "[one][two][]");
    assert_string_equal(lines_of(context, write_text("a", "a\rb\n")), "[a\rb]");
    assert_string_equal(lines_of(context, write_text("a", "\xEF\xBB\xBFone\n\xEF\xBB\xBFtwo")),
                        "[one][\xEF\xBB\xBFtwo]");
    assert_string_equal(lines_of(context, write_bytes("a", "x\0y\nz", 5)), "[x][z]"); /* shown up to the NUL */
    assert_string_equal(lines_of(context, write_text("a", "\x1F")), "[\x1F]");
    assert_non_null(strstr(lines_of(context, "/nonexistent/file"), "/nonexistent/file"));
    assert_non_null(strstr(lines_of(context, folder), folder)); /* a directory */
    end_context(context, &memory);
}

/* Lines longer than any buffer, in a file of a few megabytes. */
static void long_lines(void **state)
{
    (void)state;
    enum { LONG = 3 * 1000 * 1000 };
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    char *text = malloc(LONG + 8), *line;
    size_t bytes;
    int64_t number;
    rlhfi_lines *lines;
    assert_non_null(text);
    memset(text, 'x', LONG);
    memcpy(text + LONG, "\nshort", 6);
    check_ok(context, rlhfi_lines_open(&lines, context, write_bytes("long", text, LONG + 6)));
    check_ok(context, rlhfi_lines_next(lines, &line, &bytes, &number));
    assert_int_equal(bytes, LONG);
    assert_memory_equal(line, text, LONG);
    check_ok(context, rlhfi_lines_next(lines, &line, &bytes, &number));
    assert_string_equal(line, "short");
    assert_int_equal(rlhfi_lines_next(lines, &line, &bytes, &number), RLHF_E_END);
    assert_int_equal(rlhfi_lines_next(lines, &line, &bytes, &number), RLHF_E_END);
    rlhfi_lines_close(&lines);
    free(text);
    end_context(context, &memory);
}

/* A small file that unzips to one endless line. */
static void zip_bomb(void **state)
{
    (void)state;
    enum { PIECE = 1 << 20, PIECES = 80 };
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    gzFile file = gzopen(in_folder("bomb.gz"), "wb9");
    char *piece = calloc(1, PIECE);
    assert_non_null(file);
    assert_non_null(piece);
    memset(piece, 'x', PIECE);
    for (int i = 0; i < PIECES; i++)
        assert_int_equal(gzwrite(file, piece, PIECE), PIECE);
    assert_int_equal(gzclose(file), Z_OK);
    free(piece);
    assert_non_null(strstr(lines_of(context, in_folder("bomb.gz")), "bomb.gz:1: a line of over 67108864 bytes"));
    end_context(context, &memory);
}

static void zipped_files(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    unsigned char bytes[512];
    size_t first = zip("one\ntw", 6, bytes, sizeof bytes), both;
    assert_string_equal(lines_of(context, write_bytes("b", bytes, first)), "[one][tw]"); /* whatever it is called */
    both = first + zip("o\nthree", 7, bytes + first, sizeof bytes - first);
    assert_string_equal(lines_of(context, write_bytes("b", bytes, both)), "[one][two][three]"); /* two members */
    memset(bytes + both, 0, 64);
    assert_string_equal(lines_of(context, write_bytes("b", bytes, both + 64)), "[one][two][three]"); /* padded */
    bytes[both] = 'x';
    assert_non_null(strstr(lines_of(context, write_bytes("b", bytes, both + 1)), "something else stands behind"));
    bytes[both] = 0x1F;
    assert_non_null(strstr(lines_of(context, write_bytes("b", bytes, both + 1)), "ends early"));
    size_t empty = zip("", 0, bytes, sizeof bytes);
    assert_string_equal(lines_of(context, write_bytes("b", bytes, empty)), "");
    end_context(context, &memory);
}

/* Cut off anywhere: an error, except where nothing is left that says it is a zipped file. */
static void truncated_zip(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    unsigned char bytes[512];
    size_t size = zip("{\"text\": \"one\"}\n{\"text\": \"two\"}\n", 32, bytes, sizeof bytes);
    for (size_t cut = 2; cut < size; cut++)
        assert_non_null(strstr(lines_of(context, write_bytes("c", bytes, cut)), "ends early"));
    end_context(context, &memory);
}

/* Any byte changed: another text, or an error, never more. */
static void damaged_zip(void **state)
{
    (void)state;
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    unsigned char bytes[512];
    size_t size = zip("one\ntwo\nthree\nfour\nfive\n", 24, bytes, sizeof bytes), errors = 0;
    for (size_t i = 2; i < size; i++) {
        bytes[i] ^= 0x55;
        errors += strstr(lines_of(context, write_bytes("d", bytes, size)), "gzip: ") != NULL;
        bytes[i] ^= 0x55;
    }
    assert_true(errors > size / 2);
    end_context(context, &memory);
}

static void sinks(void **state)
{
    (void)state;
    enum { PARTS = 30000 };
    struct memory memory;
    rlhf_context *context = make_context(&memory);
    static char line[64], whole[PARTS * 16];
    for (int compress = 0; compress < 2; compress++) {
        rlhfi_sink *sink;
        size_t used = 0;
        const char *name = compress ? "sink.gz" : "sink";
        check_ok(context, rlhfi_sink_open(&sink, context, in_folder(name), compress));
        for (int i = 0; i < PARTS; i++) {
            int bytes = snprintf(line, sizeof line, "line %d\n", i);
            check_ok(context, rlhfi_sink_write(sink, line, (size_t)bytes));
            memcpy(whole + used, line, (size_t)bytes);
            used += (size_t)bytes;
        }
        assert_int_equal(access(in_folder(name), F_OK), -1); /* not there before it is whole */
        check_ok(context, rlhfi_sink_commit(&sink));
        assert_null(sink);
        gzFile file = gzopen(in_folder(name), "rb");
        char *back = malloc(used + 1);
        assert_non_null(back);
        assert_int_equal(gzread(file, back, (unsigned)used + 1), used);
        assert_memory_equal(back, whole, used);
        assert_int_equal(gzclose(file), Z_OK);
        free(back);
        check_ok(context, rlhfi_sink_open(&sink, context, in_folder("gone"), compress));
        check_ok(context, rlhfi_sink_write(sink, "x", 1));
        rlhfi_sink_abandon(&sink);
        assert_int_equal(access(in_folder("gone"), F_OK), -1);
    }
    rlhfi_sink *sink;
    assert_int_equal(rlhfi_sink_open(&sink, context, "/nonexistent/file", false), RLHF_E_IO);
    assert_null(sink);
    end_context(context, &memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_files),  cmocka_unit_test(long_lines),    cmocka_unit_test(zip_bomb),
        cmocka_unit_test(zipped_files), cmocka_unit_test(truncated_zip), cmocka_unit_test(damaged_zip),
        cmocka_unit_test(sinks),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
