/* Reading safetensors: every check of the format on hostile headers, and tensors of every type. */
#include "support.h"

#include <math.h>

/* ---- making files ------------------------------------------------------------------------------------------------ */

/* 8 bytes length, header, data bytes of value i & 255. */
static const char *make_file(const char *name, uint64_t length, const char *header, size_t header_bytes, size_t data)
{
    size_t size = 8 + header_bytes + data;
    unsigned char *bytes = need(size);
    const char *path = scratch_path(name);

    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, header, header_bytes);
    for (size_t i = 0; i < data; i++)
        bytes[8 + header_bytes + i] = (unsigned char)i;
    write_file(path, bytes, size);
    free(bytes);
    return path;
}

static rlhfi_safetensors *open_header(const char *header, size_t data)
{
    rlhfi_safetensors *file;

    assert_success(group_context,
                   rlhfi_safetensors_open(&file, group_context,
                                          make_file("t.safetensors", strlen(header), header, strlen(header), data)));
    assert_non_null(file);
    return file;
}

static void refuses_path(const char *path, rlhf_status wanted, const char *words)
{
    rlhfi_safetensors *file = (rlhfi_safetensors *)(uintptr_t)8;
    rlhf_status status = rlhfi_safetensors_open(&file, group_context, path);

    assert_null(file);
    assert_failure(group_context, status, wanted, words);
}

static void refuses_bytes(const char *header, size_t bytes, size_t data, rlhf_status wanted, const char *words)
{
    refuses_path(make_file("t.safetensors", bytes, header, bytes, data), wanted, words);
}

static void refuses(const char *header, size_t data, const char *words)
{
    refuses_bytes(header, strlen(header), data, RLHF_E_FORMAT, words);
}

/* An entry a of 8 bytes with other text in one place. */
static void refuses_entry(const char *dtype, const char *shape, const char *offsets, const char *words)
{
    char header[512];

    snprintf(header, sizeof header, "{\"a\":{\"dtype\":%s,\"shape\":%s,\"data_offsets\":%s}}", dtype, shape, offsets);
    refuses(header, 8, words);
}

/* ---- the file around the header ---------------------------------------------------------------------------------- */

static void reads_the_example(void **state)
{
    /* The 72 bytes of formats.md 1.1. */
    static const unsigned char bytes[72] = {
        0x38, 0,    0,    0,    0,    0,    0,    0,    0x7b, 0x22, 0x61, 0x22, 0x3a, 0x7b, 0x22, 0x64, 0x74, 0x79,
        0x70, 0x65, 0x22, 0x3a, 0x22, 0x46, 0x33, 0x32, 0x22, 0x2c, 0x22, 0x73, 0x68, 0x61, 0x70, 0x65, 0x22, 0x3a,
        0x5b, 0x32, 0x5d, 0x2c, 0x22, 0x64, 0x61, 0x74, 0x61, 0x5f, 0x6f, 0x66, 0x66, 0x73, 0x65, 0x74, 0x73, 0x22,
        0x3a, 0x5b, 0x30, 0x2c, 0x38, 0x5d, 0x7d, 0x7d, 0x20, 0x20, 0,    0,    0x80, 0x3f, 0,    0,    0,    0xc0};
    rlhfi_safetensors *file;
    const rlhfi_tensor_info *info;
    float values[2];

    (void)state;
    write_file(scratch_path("t.safetensors"), bytes, sizeof bytes);
    assert_success(group_context, rlhfi_safetensors_open(&file, group_context, scratch_path("t.safetensors")));
    assert_int_equal(rlhfi_safetensors_count(file), 1);
    info = rlhfi_safetensors_find(file, "a");
    assert_ptr_equal(info, rlhfi_safetensors_info(file, 0));
    assert_null(rlhfi_safetensors_info(file, 1));
    assert_null(rlhfi_safetensors_find(file, "b"));
    assert_int_equal(info->dtype, RLHFI_F32);
    assert_int_equal(info->rank, 1);
    assert_int_equal(info->shape[0], 2);
    assert_int_equal(info->elements, 2);
    assert_int_equal(info->bytes, 8);
    assert_int_equal(info->offset, 64);
    assert_int_equal(info->file, 0);
    assert_success(group_context, rlhfi_safetensors_read_float(file, info, values));
    assert_true(values[0] == 1.0f && values[1] == -2.0f);
    rlhfi_safetensors_close(&file);
    assert_null(file);
    rlhfi_safetensors_close(&file);
}

static void refuses_short_files(void **state)
{
    (void)state;
    for (size_t bytes = 0; bytes < 8; bytes++) {
        write_file(scratch_path("t.safetensors"), "\0\0\0\0\0\0\0", bytes);
        refuses_path(scratch_path("t.safetensors"), RLHF_E_FORMAT, "a safetensors file has at least 8");
    }
    refuses_path(scratch_path("none.safetensors"), RLHF_E_IO, "none.safetensors");
}

static void refuses_wrong_lengths(void **state)
{
    static const char header[] = "{}";

    (void)state;
    refuses_path(make_file("t.safetensors", 0, header, 2, 0), RLHF_E_FORMAT, "an object must begin here");
    refuses_path(make_file("t.safetensors", 1, header, 2, 0), RLHF_E_FORMAT, "header, byte 1: ");
    refuses_path(make_file("t.safetensors", 3, header, 2, 0), RLHF_E_FORMAT, "3 bytes promised, 2 present");
    refuses_path(make_file("t.safetensors", 100000000, header, 2, 0), RLHF_E_FORMAT, "promised, 2 present");
    refuses_path(make_file("t.safetensors", 100000001, header, 2, 0), RLHF_E_FORMAT, "at most 100000000");
    refuses_path(make_file("t.safetensors", UINT64_C(1) << 63, header, 2, 0), RLHF_E_FORMAT, "at most 100000000");
    refuses_path(make_file("t.safetensors", UINT64_MAX, header, 2, 0), RLHF_E_FORMAT, "at most 100000000");
    refuses_path(make_file("t.safetensors", UINT64_MAX - 6, header, 2, 0), RLHF_E_FORMAT, "at most 100000000");
    refuses_path(make_file("t.safetensors", 10 - 7, header, 2, 0), RLHF_E_FORMAT, "3 bytes promised");
}

static void accepts_the_smallest_file(void **state)
{
    rlhfi_safetensors *file = open_header("{}", 0);

    (void)state;
    assert_int_equal(rlhfi_safetensors_count(file), 0);
    assert_null(rlhfi_safetensors_find(file, ""));
    assert_null(rlhfi_safetensors_metadata(file, "format"));
    rlhfi_safetensors_close(&file);
    refuses("{}", 1, "tensors end at byte 0 of the data, it has 1");
    file = open_header("{} \t\r\n ", 0);
    rlhfi_safetensors_close(&file);
    refuses(" {}", 0, "header, byte 0: an object must begin here");
}

/* ---- the header's grammar ---------------------------------------------------------------------------------------- */

static void refuses_what_is_no_header(void **state)
{
    (void)state;
    refuses("[]", 0, "header, byte 0: ");
    refuses("{", 0, "header, byte 1: ");
    refuses("{}}", 0, "header, byte 2: ");
    refuses("{\"a\":1}", 0, "tensor \"a\": entry: header, byte 5: an object is expected");
    refuses("{\"a\":null}", 0, "tensor \"a\": entry");
    refuses("{\"a\":{}}", 0, "tensor \"a\": dtype is missing");
    refuses("{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "tensor \"a\": dtype is missing");
    refuses("{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8, "tensor \"a\": shape is missing");
    refuses("{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, "tensor \"a\": data_offsets is missing");
    refuses("{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8,
            "dtype appears twice");
    refuses("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "shape appears twice");
    refuses("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"data_offsets\":[0,8]}}", 8,
            "data_offsets appears twice");
    refuses("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},}", 8, "a string is expected");
    refuses("{\"\xff\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "header, byte 2: not UTF-8");
    refuses("{\"\\ud800\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "half a surrogate pair");
    refuses("{\"a\\u0000b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "its name holds a NUL");
    refuses("{\"a\\u0000\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "its name holds a NUL");
    refuses_bytes("{\"a\0b\":{}}", 10, 0, RLHF_E_FORMAT, "header, byte 3: control character");
}

static void refuses_inexact_numbers(void **state)
{
    static const char *const numbers[] = {
        "-1",  "-0",  "1.0", "1e3", "18446744073709551616",      "01", "\"2\"", "true", "null",
        "[2]", "0x2", "+2",  "NaN", "99999999999999999999999999"};
    char list[128];

    (void)state;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        snprintf(list, sizeof list, "[%s]", numbers[i]);
        refuses_entry("\"F32\"", list, "[0,8]", "header, byte ");
        snprintf(list, sizeof list, "[0,%s]", numbers[i]);
        refuses_entry("\"F32\"", "[2]", list, "header, byte ");
        snprintf(list, sizeof list, "[%s,8]", numbers[i]);
        refuses_entry("\"F32\"", "[2]", list, "header, byte ");
    }
    refuses_entry("\"F32\"", "[-1]", "[0,8]", "tensor \"a\": shape: header, byte 29: a whole number of plain digits");
    refuses_entry("\"F32\"", "[2]", "[0,18446744073709551616]", "tensor \"a\": data_offsets: header, byte");
    refuses_entry("\"F32\"", "2", "[0,8]", "tensor \"a\": shape: header, byte 28: a list is expected");
    refuses_entry("\"F32\"", "[2]", "8", "tensor \"a\": data_offsets: ");
    refuses_entry("\"F32\"", "[2]", "[0]", "data_offsets must be two numbers");
    refuses_entry("\"F32\"", "[2]", "[]", "data_offsets must be two numbers");
    refuses_entry("\"F32\"", "[2]", "[0,8,8]", "data_offsets must be two numbers");
}

static void refuses_unknown_types(void **state)
{
    (void)state;
    refuses_entry("\"f32\"", "[2]", "[0,8]", "tensor \"a\": dtype \"f32\" is unknown");
    refuses_entry("\"FLOAT\"", "[2]", "[0,8]", "dtype \"FLOAT\" is unknown");
    refuses_entry("\"\"", "[2]", "[0,8]", "dtype \"\" is unknown");
    refuses_entry("\"F32\\u0000\"", "[2]", "[0,8]", "is unknown");
    refuses_entry("32", "[2]", "[0,8]", "tensor \"a\": dtype: header, byte 14: a string is expected");
}

static void bounds_nesting_and_sizes(void **state)
{
    static const char begin[] = "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"x\":", end[] = "}}";
    enum { DEEP = 100000, LONG = 5000 };
    char *header = need(sizeof begin + DEEP + LONG + 256);
    rlhfi_safetensors *file;
    size_t length = 0;

    (void)state;
    memcpy(header, begin, sizeof begin - 1);
    memset(header + sizeof begin - 1, '[', DEEP);
    refuses_bytes(header, sizeof begin - 1 + DEEP, 8, RLHF_E_FORMAT, "nested too deep");
    memset(header + sizeof begin - 1, '"', 1);
    memset(header + sizeof begin, 'y', LONG);
    strcpy(header + sizeof begin + LONG, "\"");
    strcat(header, end);
    file = open_header(header, 8); /* a long text that nobody needs */
    rlhfi_safetensors_close(&file);

    /* Names of 1024 bytes, and one more. */
    for (size_t bytes = 1024; bytes <= 1025; bytes++) {
        length = (size_t)sprintf(header, "{\"");
        memset(header + length, 'n', bytes);
        sprintf(header + length + bytes, "\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}");
        if (bytes == 1024) {
            file = open_header(header, 8);
            rlhfi_safetensors_close(&file);
        } else {
            refuses_bytes(header, strlen(header), 8, RLHF_E_UNSUPPORTED, "its name has 1025 bytes, at most 1024");
        }
    }
    file = open_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,2],\"data_offsets\":[0,8]}}", 8);
    assert_int_equal(rlhfi_safetensors_info(file, 0)->rank, 8);
    rlhfi_safetensors_close(&file);
    strcpy(header, "{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,2],\"data_offsets\":[0,8]}}");
    refuses_bytes(header, strlen(header), 8, RLHF_E_UNSUPPORTED, "tensor \"a\": more than 8 dimensions");
    free(header);
}

/* The entries that a header of this many would have, in no order; returns its bytes. */
static size_t make_entries(char *header, uint32_t count)
{
    size_t length = 1;

    header[0] = '{';
    for (uint32_t i = 0; i < count; i++)
        length += (size_t)sprintf(header + length, "%s\"%x\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}",
                                  i > 0 ? "," : "", i * 2654435761u);
    return length + (size_t)sprintf(header + length, "}");
}

/* Many entries cost no more than a small multiple of the file; too many are refused before anything is allocated. */
static void bounds_the_number_of_entries(void **state)
{
    enum { MANY = 100000, TOO_MANY = (1 << 20) + 1, ENTRY = 60 };
    char *header = need((size_t)TOO_MANY * ENTRY + 16);
    size_t live = group_memory.live_bytes, length;
    rlhfi_safetensors *file;

    (void)state;
    length = make_entries(header, MANY);
    group_memory.peak_bytes = live;
    file = open_header(header, 0);
    assert_int_equal(rlhfi_safetensors_count(file), MANY);
    for (size_t i = 1; i < MANY; i++)
        assert_true(strcmp(rlhfi_safetensors_info(file, i - 1)->name, rlhfi_safetensors_info(file, i)->name) < 0);
    rlhfi_safetensors_close(&file);
    assert_true(group_memory.peak_bytes - live < 5 * length);

    length = make_entries(header, TOO_MANY);
    group_memory.peak_bytes = live;
    refuses_bytes(header, length, 0, RLHF_E_UNSUPPORTED, "1048577 entries, at most 1048576");
    assert_true(group_memory.peak_bytes - live < length + 4096);

    /* A million keys inside one entry are ignored one by one. */
    length = (size_t)sprintf(header, "{\"a\":{");
    for (unsigned i = 0; i < 1000000; i++)
        length += (size_t)sprintf(header + length, "\"%x\":0,", i);
    sprintf(header + length, "\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}");
    file = open_header(header, 8);
    rlhfi_safetensors_close(&file);

    length = (size_t)sprintf(header, "{\"__metadata__\":{");
    for (unsigned i = 0; i < MANY; i++)
        length += (size_t)sprintf(header + length, "%s\"%x\":\"%x\"", i > 0 ? "," : "", i * 2654435761u, i);
    length += (size_t)sprintf(header + length, "}}");
    group_memory.peak_bytes = live;
    file = open_header(header, 0);
    assert_string_equal(rlhfi_safetensors_metadata(file, "0"), "0");
    assert_string_equal(rlhfi_safetensors_metadata(file, "9e3779b1"), "1");
    rlhfi_safetensors_close(&file);
    assert_true(group_memory.peak_bytes - live < 3 * length);
    free(header);
    remove_scratch();
}

/* ---- layout ------------------------------------------------------------------------------------------------------ */

static void refuses_wrong_offsets(void **state)
{
#define TWO(a, b)                                                                                                      \
    "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":" a "},\"b\":{\"dtype\":\"F32\",\"shape\":[2],"          \
    "\"data_offsets\":" b "}}"
    rlhfi_safetensors *file = open_header(TWO("[8,16]", "[0,8]"), 16);

    (void)state;
    assert_int_equal(rlhfi_safetensors_find(file, "a")->offset - rlhfi_safetensors_find(file, "b")->offset, 8);
    rlhfi_safetensors_close(&file);
    refuses(TWO("[0,8]", "[16,8]"), 16, "tensor \"b\": data begins at 16, the one before ends at 8");
    refuses(TWO("[8,0]", "[8,16]"), 16, "tensor \"a\": data begins at 8, the one before ends at 0");
    refuses(TWO("[0,8]", "[4,12]"), 16, "tensor \"b\": data begins at 4, the one before ends at 8");
    refuses(TWO("[0,8]", "[0,8]"), 8, "data begins at 0, the one before ends at 8");
    refuses(TWO("[0,8]", "[12,20]"), 20, "tensor \"b\": data begins at 12, the one before ends at 8");
    refuses(TWO("[4,12]", "[12,20]"), 20, "tensor \"a\": data begins at 4, the one before ends at 0");
    refuses(TWO("[0,8]", "[8,16]"), 15, "tensors end at byte 16 of the data, it has 15");
    refuses(TWO("[0,8]", "[8,16]"), 17, "tensors end at byte 16 of the data, it has 17");
    refuses(TWO("[0,8]", "[8,18446744073709551615]"), 16, "tensor \"b\": its shape needs 8 bytes");
    refuses(TWO("[0,8]", "[8,15]"), 15, "tensor \"b\": its shape needs 8 bytes, data_offsets give 7");
    refuses_entry("\"F32\"", "[2]", "[8,0]", "tensor \"a\": data begins at 8");
    refuses_entry("\"F32\"", "[2]", "[0,281474976710656]", "tensor \"a\": its shape needs 8 bytes");
#undef TWO
}

static void refuses_wrong_shapes(void **state)
{
    rlhfi_safetensors *file;

    (void)state;
    refuses_entry("\"F32\"", "[3]", "[0,8]", "tensor \"a\": its shape needs 12 bytes, data_offsets give 8");
    refuses_entry("\"F32\"", "[]", "[0,8]", "its shape needs 4 bytes");
    refuses_entry("\"F32\"", "[0]", "[0,8]", "its shape needs 0 bytes");
    refuses_entry("\"F32\"", "[4294967296,4294967296]", "[0,8]", "the product of the shape overflows");
    refuses_entry("\"F32\"", "[4294967296,4294967296,0]", "[0,8]", "the product of the shape overflows");
    refuses_entry("\"F32\"", "[4611686018427387904,4,2]", "[0,8]", "the product of the shape overflows");
    refuses_entry("\"F32\"", "[4611686018427387904]", "[0,8]",
                  "the product of the shape overflows"); /* times 32 bits */
    refuses_entry("\"F32\"", "[9223372036854775808,2,0]", "[0,8]", "a dimension is larger than 2^63-1");
    refuses_entry("\"F32\"", "[18446744073709551615]", "[0,8]", "a dimension is larger than 2^63-1");
    refuses_entry("\"F4\"", "[3]", "[0,8]", "3 elements of 4 bits do not fill whole bytes");
    refuses_entry("\"F6_E2M3\"", "[2]", "[0,8]", "2 elements of 6 bits do not fill whole bytes");
    refuses_entry("\"F4\"", "[17]", "[0,8]", "do not fill whole bytes");
    /* A zero first leaves nothing to overflow. */
    file = open_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[0,4294967296,4294967296],\"data_offsets\":[0,0]}}", 0);
    rlhfi_safetensors_close(&file);
}

static void accepts_empty_and_scalar(void **state)
{
    rlhfi_safetensors *file = open_header("{\"s\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},"
                                          "\"e\":{\"dtype\":\"F32\",\"shape\":[0,3],\"data_offsets\":[4,4]},"
                                          "\"f\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[4,4]},"
                                          "\"g\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 4);
    const rlhfi_tensor_info *scalar = rlhfi_safetensors_find(file, "s"), *empty = rlhfi_safetensors_find(file, "e");
    float value;

    (void)state;
    assert_int_equal(scalar->rank, 0);
    assert_int_equal(scalar->elements, 1);
    assert_success(group_context, rlhfi_safetensors_read_float(file, scalar, &value));
    assert_int_equal(empty->elements, 0);
    assert_success(group_context, rlhfi_safetensors_read_float(file, empty, NULL));
    assert_success(group_context, rlhfi_safetensors_read_raw(file, rlhfi_safetensors_find(file, "f"), NULL));
    assert_string_equal(rlhfi_safetensors_info(file, 0)->name, "e");
    assert_string_equal(rlhfi_safetensors_info(file, 3)->name, "s");
    rlhfi_safetensors_close(&file);
}

static void refuses_doubles_and_bad_metadata(void **state)
{
#define A "\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":"
    rlhfi_safetensors *file;

    (void)state;
    refuses("{\"a\":{" A "[0,8]},\"a\":{" A "[8,16]}}", 16, "tensor \"a\": appears twice");
    refuses("{\"a\":{" A "[0,8]},\"\\u0061\":{" A "[8,16]}}", 16, "tensor \"a\": appears twice");
    refuses("{\"__metadata__\":{" A "[0,8]}}", 8, "__metadata__ must map text to text");
    refuses("{\"__metadata__\":{\"n\":1}}", 0, "__metadata__ must map text to text");
    refuses("{\"__metadata__\":{\"n\":null}}", 0, "__metadata__ must map text to text");
    refuses("{\"__metadata__\":{\"n\":{\"x\":\"y\"}}}", 0, "__metadata__ must map text to text");
    refuses("{\"__metadata__\":\"x\"}", 0, "header, byte 16: an object is expected");
    refuses("{\"__metadata__\":[]}", 0, "header, byte 16: an object is expected");
    refuses("{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0, "metadata \"a\" appears twice");
    refuses("{\"__metadata__\":{\"a\":\"1\"},\"__metadata__\":{}}", 0, "\"__metadata__\" appears twice");
    refuses("{\"__metadata__\":null,\"__metadata__\":{}}", 0, "\"__metadata__\" appears twice");
    refuses("{\"__metadata__\":{\"a\":\"1\\u0000\"}}", 0, "metadata \"a\" holds a NUL");
    file = open_header("{\"__metadata__\":null}", 0);
    rlhfi_safetensors_close(&file);
    file = open_header(
        "{\"a\":{" A "[0,8],\"future\":{\"x\":[1.5,-2,null]}},\"__metadata__\":{\"format\":\"pt\",\"\":\"e\\u00e9\"}}",
        8);
    assert_int_equal(rlhfi_safetensors_count(file), 1);
    assert_string_equal(rlhfi_safetensors_metadata(file, "format"), "pt");
    assert_string_equal(rlhfi_safetensors_metadata(file, ""), "e\xc3\xa9");
    assert_null(rlhfi_safetensors_metadata(file, "other"));
    rlhfi_safetensors_close(&file);
#undef A
}

/* Cut or extended by anything, a file is refused. */
static void survives_every_cut(void **state)
{
    static const char header[] =
        "{\"__metadata__\":{\"format\":\"pt\"},\"w\\u00e9\":{\"dtype\":\"BF16\",\"shape\":[2,3],"
        "\"data_offsets\":[0,12]},\"b\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[12,20]}}";
    const char *path = make_file("whole.safetensors", sizeof header - 1, header, sizeof header - 1, 20);
    rlhfi_safetensors *file;
    size_t size;
    char *bytes;

    (void)state;
    assert_success(group_context, rlhfi_safetensors_open(&file, group_context, path));
    rlhfi_safetensors_close(&file);
    bytes = read_file(path, &size);
    for (size_t cut = 0; cut < size; cut++) {
        write_file(scratch_path("cut.safetensors"), bytes, cut);
        refuses_path(scratch_path("cut.safetensors"), RLHF_E_FORMAT, "cut.safetensors: ");
    }
    write_file(scratch_path("cut.safetensors"), bytes, size + 1); /* read_file adds a NUL */
    refuses_path(scratch_path("cut.safetensors"), RLHF_E_FORMAT, "the data, it has 21");
    free(bytes);
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

#define COUNT 5003 /* several pieces of the reader's buffer, and a rest */

/* A file of one byte, so that everything behind it is unaligned, and one tensor. */
static rlhfi_safetensors *open_unaligned(const char *dtype, size_t width, const void *values)
{
    char header[256];
    size_t length =
        (size_t)snprintf(header, sizeof header,
                         "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"t\":{\"dtype\":\"%s\","
                         "\"shape\":[%d],\"data_offsets\":[1,%zu]}}",
                         dtype, COUNT, 1 + COUNT * width);
    size_t size = 8 + length + 1 + COUNT * width;
    char *bytes = need(size);
    uint64_t stored = length;
    rlhfi_safetensors *file;

    memcpy(bytes, &stored, 8);
    memcpy(bytes + 8, header, length);
    bytes[8 + length] = 42;
    memcpy(bytes + 8 + length + 1, values, COUNT * width);
    write_file(scratch_path("u.safetensors"), bytes, size);
    free(bytes);
    assert_success(group_context, rlhfi_safetensors_open(&file, group_context, scratch_path("u.safetensors")));
    return file;
}

static uint32_t next_bits(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

static void assert_same_double(double a, double b)
{
    assert_true(a == b || (isnan(a) && isnan(b)));
}

static void reads_floats_of_every_width(void **state)
{
    static uint16_t halves[COUNT];
    static float singles[COUNT];
    static double doubles[COUNT], out_double[COUNT];
    static float out_float[COUNT];
    static unsigned char raw[COUNT * 8];
    const struct {
        const char *dtype;
        const void *values;
        size_t width;
    } kinds[] = {{"F16", halves, 2}, {"BF16", halves, 2}, {"F32", singles, 4}, {"F64", doubles, 8}};
    uint32_t seed = 7;

    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        uint32_t bits = next_bits(&seed);
        halves[i] = (uint16_t)bits;
        memcpy(&singles[i], &bits, 4);
        doubles[i] = ldexp((double)(int32_t)bits, (int)(i % 200) - 100);
    }
    doubles[3] = NAN; /* accepted here: the model checks its weights */
    doubles[4] = -INFINITY;
    for (size_t k = 0; k < 4; k++) {
        rlhfi_safetensors *file = open_unaligned(kinds[k].dtype, kinds[k].width, kinds[k].values);
        const rlhfi_tensor_info *info = rlhfi_safetensors_find(file, "t");
        int64_t whole;
        assert_success(group_context, rlhfi_safetensors_read_float(file, info, out_float));
        assert_success(group_context, rlhfi_safetensors_read_double(file, info, out_double));
        assert_success(group_context, rlhfi_safetensors_read_raw(file, info, raw));
        assert_memory_equal(raw, kinds[k].values, COUNT * kinds[k].width);
        assert_failure(group_context, rlhfi_safetensors_read_int64(file, info, &whole), RLHF_E_UNSUPPORTED,
                       "tensor \"t\": dtype");
        for (size_t i = 0; i < COUNT; i++) {
            double wanted = k == 0 ? (double)rlhfi_half_to_float(halves[i])
                            : k == 1 ? (double)rlhfi_bfloat16_to_float(halves[i])
                            : k == 2 ? (double)singles[i] : doubles[i];
            assert_same_double(out_double[i], wanted);
            assert_same_double((double)out_float[i], (double)(float)wanted);
        }
        rlhfi_safetensors_close(&file);
    }
}

static void reads_whole_numbers_of_every_width(void **state)
{
    static uint64_t bits[COUNT];
    static unsigned char stored[COUNT * 8];
    static int64_t out[COUNT];
    static const struct {
        const char *dtype;
        size_t width;
        bool is_signed;
    } kinds[] = {{"U8", 1, false}, {"I8", 1, true}, {"U16", 2, false}, {"I16", 2, true}, {"U32", 4, false},
                 {"I32", 4, true}, {"U64", 8, false}, {"I64", 8, true}, {"BOOL", 1, false}};
    uint32_t seed = 99;
    float value;
    double wide;

    (void)state;
    for (size_t i = 0; i < COUNT; i++)
        bits[i] = (uint64_t)next_bits(&seed) << 32 | next_bits(&seed);
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        rlhfi_safetensors *file;
        const rlhfi_tensor_info *info;
        bool is_bool = strcmp(kinds[k].dtype, "BOOL") == 0, is_u64 = strcmp(kinds[k].dtype, "U64") == 0;
        size_t shift = 64 - 8 * kinds[k].width;
        for (size_t i = 0; i < COUNT; i++) {
            uint64_t one = is_u64 ? bits[i] >> 1 : is_bool ? bits[i] & 1 : bits[i];
            memcpy(stored + i * kinds[k].width, &one, kinds[k].width);
        }
        file = open_unaligned(kinds[k].dtype, kinds[k].width, stored);
        info = rlhfi_safetensors_find(file, "t");
        assert_success(group_context, rlhfi_safetensors_read_int64(file, info, out));
        for (size_t i = 0; i < COUNT; i++) {
            uint64_t one = is_u64 ? bits[i] >> 1 : is_bool ? bits[i] & 1 : bits[i];
            int64_t wanted = kinds[k].is_signed ? (int64_t)(one << shift) >> shift : (int64_t)(one << shift >> shift);
            assert_true(out[i] == wanted);
        }
        assert_failure(group_context, rlhfi_safetensors_read_float(file, info, &value), RLHF_E_UNSUPPORTED,
                       kinds[k].dtype);
        assert_failure(group_context, rlhfi_safetensors_read_double(file, info, &wide), RLHF_E_UNSUPPORTED,
                       kinds[k].dtype);
        rlhfi_safetensors_close(&file);
    }
    memset(stored, 0, sizeof stored);
    stored[8 * 4000 + 7] = 0x80; /* element 4000 is 2^63 */
    {
        rlhfi_safetensors *file = open_unaligned("U64", 8, stored);
        assert_failure(group_context, rlhfi_safetensors_read_int64(file, rlhfi_safetensors_find(file, "t"), out),
                       RLHF_E_RANGE, "tensor \"t\": element 4000 is larger");
        rlhfi_safetensors_close(&file);
    }
}

static void keeps_other_types_opaque(void **state)
{
    rlhfi_safetensors *file = open_header("{\"e\":{\"dtype\":\"F8_E4M3\",\"shape\":[3],\"data_offsets\":[0,3]},"
                                          "\"f\":{\"dtype\":\"F4\",\"shape\":[2,3],\"data_offsets\":[3,6]},"
                                          "\"g\":{\"dtype\":\"F6_E3M2\",\"shape\":[4],\"data_offsets\":[6,9]},"
                                          "\"c\":{\"dtype\":\"C64\",\"shape\":[1],\"data_offsets\":[9,17]}}", 17);
    const rlhfi_tensor_info *info = rlhfi_safetensors_find(file, "f");
    unsigned char raw[3];
    float value;
    int64_t whole;

    (void)state;
    assert_int_equal(info->dtype, RLHFI_DTYPE_OTHER);
    assert_int_equal(info->elements, 6);
    assert_int_equal(info->bytes, 3);
    assert_success(group_context, rlhfi_safetensors_read_raw(file, info, raw));
    assert_memory_equal(raw, "\3\4\5", 3);
    assert_failure(group_context, rlhfi_safetensors_read_float(file, info, &value), RLHF_E_UNSUPPORTED, "tensor \"f\"");
    assert_failure(group_context, rlhfi_safetensors_read_int64(file, info, &whole), RLHF_E_UNSUPPORTED, "tensor \"f\"");
    rlhfi_safetensors_close(&file);
    refuses_entry("\"F8_E5M2\"", "[7]", "[0,8]", "its shape needs 7 bytes");
}

/* A file that becomes shorter while it stands open is an I/O error, never a signal. */
static void survives_a_shrinking_file(void **state)
{
    static unsigned char zeros[COUNT * 8];
    static float out[COUNT];
    rlhfi_safetensors *file = open_unaligned("F64", 8, zeros);

    (void)state;
    assert_int_equal(truncate(scratch_path("u.safetensors"), 20000), 0);
    assert_failure(group_context, rlhfi_safetensors_read_float(file, rlhfi_safetensors_find(file, "t"), out), RLHF_E_IO,
                   "tensor \"t\": ");
    rlhfi_safetensors_close(&file);
}

/* Beyond 4 GiB, in a file with holes: offsets are 64 bits wide. */
static void reads_beyond_four_gigabytes(void **state)
{
    const uint64_t hole = UINT64_C(5) << 30;
    char header[256];
    const char *path = scratch_path("large.safetensors");
    uint64_t length = (uint64_t)snprintf(
        header, sizeof header,
        "{\"hole\":{\"dtype\":\"U8\",\"shape\":[%llu],\"data_offsets\":[0,%llu]},\"last\":"
        "{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[%llu,%llu]}}",
        (unsigned long long)hole, (unsigned long long)hole, (unsigned long long)hole, (unsigned long long)hole + 4);
    int descriptor = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    float wanted = 1.25f, value = 0;
    rlhfi_safetensors *file;

    (void)state;
    assert_true(descriptor >= 0);
    assert_int_equal(pwrite(descriptor, &length, 8, 0), 8);
    assert_int_equal(pwrite(descriptor, header, length, 8), length);
    if (pwrite(descriptor, &wanted, 4, (off_t)(8 + length + hole)) != 4) {
        close(descriptor);
        unlink(path);
        print_message("skipped: no files of 5 GiB here\n");
        skip();
    }
    close(descriptor);
    assert_success(group_context, rlhfi_safetensors_open(&file, group_context, path));
    assert_success(group_context, rlhfi_safetensors_read_float(file, rlhfi_safetensors_find(file, "last"), &value));
    assert_true(value == wanted);
    rlhfi_safetensors_close(&file);
    unlink(path);
}

static int teardown(void **state)
{
    remove_scratch();
    return group_teardown(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_the_example),
        cmocka_unit_test(refuses_short_files),
        cmocka_unit_test(refuses_wrong_lengths),
        cmocka_unit_test(accepts_the_smallest_file),
        cmocka_unit_test(refuses_what_is_no_header),
        cmocka_unit_test(refuses_inexact_numbers),
        cmocka_unit_test(refuses_unknown_types),
        cmocka_unit_test(bounds_nesting_and_sizes),
        cmocka_unit_test(bounds_the_number_of_entries),
        cmocka_unit_test(refuses_wrong_offsets),
        cmocka_unit_test(refuses_wrong_shapes),
        cmocka_unit_test(accepts_empty_and_scalar),
        cmocka_unit_test(refuses_doubles_and_bad_metadata),
        cmocka_unit_test(survives_every_cut),
        cmocka_unit_test(reads_floats_of_every_width),
        cmocka_unit_test(reads_whole_numbers_of_every_width),
        cmocka_unit_test(keeps_other_types_opaque),
        cmocka_unit_test(survives_a_shrinking_file),
        cmocka_unit_test(reads_beyond_four_gigabytes),
    };

    return cmocka_run_group_tests_name("safetensors_read", tests, group_setup, teardown);
}
