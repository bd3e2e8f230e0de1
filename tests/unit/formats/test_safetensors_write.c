/* Writing safetensors: exact bytes, order, padding, names that need escapes, refusals, what stands after a failure. */
#include "support.h"

static void expect_bytes(const char *path, const char *header, const void *data, size_t data_bytes)
{
    size_t length = strlen(header), size;
    char *bytes = read_file(path, &size);
    uint64_t stored;

    assert_int_equal(size, 8 + length + data_bytes);
    memcpy(&stored, bytes, 8);
    assert_int_equal(stored, length);
    bytes[8 + length + data_bytes] = '\0';
    if (memcmp(bytes + 8, header, length) != 0)
        print_error("got    %.*s\nwanted %s\n", (int)length, bytes + 8, header);
    assert_memory_equal(bytes + 8, header, length);
    if (data_bytes > 0)
        assert_memory_equal(bytes + 8 + length, data, data_bytes);
    free(bytes);
}

static void writes_the_example(void **state)
{
    static const float values[2] = {1.0f, -2.0f};
    static const char *const none[] = {NULL};
    const rlhfi_tensor_source tensor = {"a", RLHFI_F32, 1, {2}, values};
    const char *path = scratch_path("w.safetensors");

    (void)state;
    assert_success(group_context, rlhfi_safetensors_write(group_context, path, &tensor, 1, none));
    expect_bytes(path, "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}  ", values, 8);
    assert_success(group_context, rlhfi_safetensors_write(group_context, path, NULL, 0, none));
    expect_bytes(path, "{}      ", NULL, 0);
    assert_success(group_context, rlhfi_safetensors_write(group_context, path, NULL, 0, NULL));
    expect_bytes(path, "{\"__metadata__\":{\"format\":\"pt\"}}", NULL, 0);
}

/* Types from U64 down to BOOL, then names by their bytes. */
static void orders_by_type_then_name(void **state)
{
    static const unsigned char bytes[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const rlhfi_tensor_source tensors[] = {
        {"o", RLHFI_BOOL, 1, {1}, bytes}, {"n", RLHFI_U8, 0, {0}, bytes + 1},  {"m", RLHFI_I8, 1, {0}, NULL},
        {"l", RLHFI_I16, 0, {0}, bytes},  {"k", RLHFI_U16, 0, {0}, bytes},     {"j", RLHFI_F16, 0, {0}, bytes},
        {"i", RLHFI_BF16, 0, {0}, bytes}, {"h", RLHFI_I32, 0, {0}, bytes},     {"g", RLHFI_U32, 0, {0}, bytes},
        {"f", RLHFI_F32, 0, {0}, bytes},  {"e", RLHFI_F64, 0, {0}, bytes + 8}, {"d", RLHFI_I64, 0, {0}, bytes},
        {"c", RLHFI_U64, 0, {0}, bytes},  {"Z", RLHFI_F32, 0, {0}, bytes},     {"f.10", RLHFI_F32, 0, {0}, bytes},
        {"f.9", RLHFI_F32, 0, {0}, bytes},
    };
    static const char *const order[] = {"c", "d", "e", "Z", "f", "f.10", "f.9", "g",
                                        "h", "i", "j", "k", "l", "m",    "n",   "o"};
    const char *path = scratch_path("w.safetensors");
    rlhfi_safetensors *file;
    size_t count = sizeof tensors / sizeof tensors[0], place = 0, size;
    char *text, *last;

    (void)state;
    assert_success(group_context, rlhfi_safetensors_write(group_context, path, tensors, count, NULL));
    text = last = read_file(path, &size);
    for (size_t i = 0; i < count; i++) {
        char key[32];
        snprintf(key, sizeof key, "\"%s\":{", order[i]);
        last = memmem(last, (size_t)(text + size - last), key, strlen(key));
        assert_non_null(last);
    }
    free(text);
    assert_success(group_context, rlhfi_safetensors_open(&file, group_context, path));
    for (size_t i = 0; i < count; i++) {
        const rlhfi_tensor_info *info = rlhfi_safetensors_find(file, order[i]);
        unsigned char got[8];
        place = i == 0 ? info->offset : place;
        assert_int_equal(info->offset, place);
        if (info->bytes > 0)
            assert_int_equal(info->offset % info->bytes, 0); /* scalars: aligned for their type */
        place += info->bytes;
        for (size_t j = 0; j < count; j++)
            if (strcmp(tensors[j].name, order[i]) == 0) {
                assert_int_equal(info->dtype, tensors[j].dtype);
                assert_success(group_context, rlhfi_safetensors_read_raw(file, info, got));
                if (info->bytes > 0)
                    assert_memory_equal(got, tensors[j].data, info->bytes);
            }
    }
    rlhfi_safetensors_close(&file);
}

static void escapes_names(void **state)
{
    static const uint8_t one = 1;
    static const char *const metadata[] = {"k\"", "v\\\n", "second", "\xc3\xa9\x01", NULL};
    static const char name[] = "q\"\\/\b\f\n\r\t\x1f\x7f\xc3\xa9\xf0\x9f\x98\x80";
    const rlhfi_tensor_source tensor = {name, RLHFI_U8, 2, {1, 1}, &one};
    const char *path = scratch_path("w.safetensors");
    rlhfi_safetensors *file;

    (void)state;
    assert_success(group_context, rlhfi_safetensors_write(group_context, path, &tensor, 1, metadata));
    expect_bytes(path,
                 "{\"__metadata__\":{\"k\\\"\":\"v\\\\\\n\",\"second\":\"\xc3\xa9\\u0001\"},"
                 "\"q\\\"\\\\/\\b\\f\\n\\r\\t\\u001f\x7f\xc3\xa9\xf0\x9f\x98\x80\":{\"dtype\":\"U8\",\"shape\":[1,1],"
                 "\"data_offsets\":[0,1]}}  ",
                 &one, 1);
    assert_success(group_context, rlhfi_safetensors_open(&file, group_context, path));
    assert_non_null(rlhfi_safetensors_find(file, name));
    assert_string_equal(rlhfi_safetensors_metadata(file, "k\""), "v\\\n");
    rlhfi_safetensors_close(&file);
}

static void refuses_source(rlhfi_tensor_source tensor, const char *words)
{
    assert_failure(group_context,
                   rlhfi_safetensors_write(group_context, scratch_path("r.safetensors"), &tensor, 1, NULL),
                   RLHF_E_INVAL, words);
    assert_false(rlhfi_path_exists(scratch_path("r.safetensors")));
}

static void refuses_impossible_tensors(void **state)
{
    static const float value = 0;
    const rlhfi_tensor_source doubles[] = {{"a", RLHFI_F32, 0, {0}, &value}, {"b", RLHFI_F32, 0, {0}, &value},
                                           {"a", RLHFI_U8, 0, {0}, &value}};
    static const char *const odd[] = {"key", NULL}, *const twice[] = {"a", "1", "a", "2", NULL},
                             *const broken[] = {"a", "\xff", NULL};
    const char *path = scratch_path("r.safetensors");
    char name[1100];

    (void)state;
    memset(name, 'n', sizeof name);
    name[1025] = '\0';
    refuses_source((rlhfi_tensor_source){NULL, RLHFI_F32, 0, {0}, &value}, "without a name");
    refuses_source((rlhfi_tensor_source){"__metadata__", RLHFI_F32, 0, {0}, &value}, "not a name");
    refuses_source((rlhfi_tensor_source){"\xff", RLHFI_F32, 0, {0}, &value}, "not a name");
    refuses_source((rlhfi_tensor_source){name, RLHFI_F32, 0, {0}, &value}, "not a name");
    refuses_source((rlhfi_tensor_source){"a", RLHFI_DTYPE_OTHER, 0, {0}, &value}, "dtype cannot be written");
    refuses_source((rlhfi_tensor_source){"a", RLHFI_F32, -1, {0}, &value}, "rank -1");
    refuses_source((rlhfi_tensor_source){"a", RLHFI_F32, 9, {0}, &value}, "rank 9");
    refuses_source((rlhfi_tensor_source){"a", RLHFI_F32, 1, {-1}, &value}, "impossible shape");
    refuses_source((rlhfi_tensor_source){"a", RLHFI_F32, 2, {INT64_MAX, 2}, &value}, "impossible shape");
    refuses_source((rlhfi_tensor_source){"a", RLHFI_F32, 1, {INT64_MAX / 2}, &value}, "impossible shape");
    refuses_source((rlhfi_tensor_source){"a", RLHFI_F32, 1, {1}, NULL}, "no data");
    assert_failure(group_context, rlhfi_safetensors_write(group_context, path, doubles, 3, NULL), RLHF_E_INVAL,
                   "tensor \"a\" appears twice");
    assert_failure(group_context, rlhfi_safetensors_write(group_context, path, doubles, 1, odd), RLHF_E_INVAL, "pairs");
    assert_failure(group_context, rlhfi_safetensors_write(group_context, path, doubles, 1, twice), RLHF_E_INVAL,
                   "twice");
    assert_failure(group_context, rlhfi_safetensors_write(group_context, path, doubles, 1, broken), RLHF_E_INVAL,
                   "UTF-8");
    assert_failure(group_context, rlhfi_safetensors_write(group_context, scratch_path("no/such/x"), doubles, 1, NULL),
                   RLHF_E_IO, "no/such/x");
    assert_false(rlhfi_path_exists(path));
    remove_scratch();
}

/* What is read and written again is the same file, for a few hundred random tables. */
static void round_trips(void **state)
{
    static const enum rlhfi_dtype dtypes[] = {RLHFI_BOOL, RLHFI_U8,   RLHFI_I8,  RLHFI_I16, RLHFI_U16,
                                              RLHFI_F16,  RLHFI_BF16, RLHFI_I32, RLHFI_U32, RLHFI_F32,
                                              RLHFI_F64,  RLHFI_I64,  RLHFI_U64};
    static unsigned char data[4096];
    uint32_t seed = 12345;

    (void)state;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)((seed = seed * 1664525 + 1013904223) >> 24);
    for (int round = 0; round < 200; round++) {
        rlhfi_tensor_source tensors[12] = {0}, again[12] = {0};
        char names[12][16];
        unsigned char copies[12][512];
        size_t count = (seed = seed * 1664525 + 1013904223) % 13, size_one, size_two;
        rlhfi_safetensors *file;
        char *one, *two;
        for (size_t i = 0; i < count; i++) {
            uint64_t elements = 1;
            snprintf(names[i], sizeof names[i], "%c%zu", 'a' + (int)((seed = seed * 1664525 + 1013904223) >> 28), i);
            tensors[i].name = names[i];
            tensors[i].dtype = dtypes[(seed = seed * 1664525 + 1013904223) % 13];
            tensors[i].rank = (int32_t)((seed >> 8) % 4);
            for (int32_t j = 0; j < tensors[i].rank; j++) {
                tensors[i].shape[j] = (seed = seed * 1664525 + 1013904223) >> 30;
                elements *= (uint64_t)tensors[i].shape[j];
            }
            tensors[i].data = data + (seed >> 4) % 1024;
            assert_true(elements * 8 <= sizeof copies[0]);
        }
        assert_success(group_context,
                       rlhfi_safetensors_write(group_context, scratch_path("1.safetensors"), tensors, count, NULL));
        assert_success(group_context, rlhfi_safetensors_open(&file, group_context, scratch_path("1.safetensors")));
        assert_int_equal(rlhfi_safetensors_count(file), count);
        for (size_t i = 0; i < count; i++) {
            const rlhfi_tensor_info *info = rlhfi_safetensors_info(file, i);
            again[i] =
                (rlhfi_tensor_source){.name = info->name, .dtype = info->dtype, .rank = info->rank, .data = copies[i]};
            memcpy(again[i].shape, info->shape, sizeof again[i].shape);
            assert_success(group_context, rlhfi_safetensors_read_raw(file, info, copies[i]));
        }
        assert_success(group_context,
                       rlhfi_safetensors_write(group_context, scratch_path("2.safetensors"), again, count, NULL));
        rlhfi_safetensors_close(&file);
        one = read_file(scratch_path("1.safetensors"), &size_one);
        two = read_file(scratch_path("2.safetensors"), &size_two);
        assert_int_equal(size_one, size_two);
        assert_memory_equal(one, two, size_one);
        free(one);
        free(two);
    }
}

static int teardown(void **state)
{
    remove_scratch();
    return group_teardown(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_the_example), cmocka_unit_test(orders_by_type_then_name),
        cmocka_unit_test(escapes_names),      cmocka_unit_test(refuses_impossible_tensors),
        cmocka_unit_test(round_trips),
    };

    scratch_in_memory = true;
    return cmocka_run_group_tests_name("safetensors_write", tests, group_setup, teardown);
}
