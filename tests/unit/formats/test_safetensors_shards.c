/* Directories of shards: the index's rules on hostile ones, cutting, and what stands after failures and kills. */
#include "support.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* ---- checkpoints to play with ------------------------------------------------------------------------------------ */

enum { TENSORS = 6, ELEMENTS = 10 };

static const char *const names[TENSORS] = {"wte", "h.0.w", "h.0.b", "h.1.w", "h.1.b", "head"};

static rlhf_status save(rlhf_context *context, const char *directory, float value, uint64_t shard_bytes)
{
    float values[TENSORS][ELEMENTS];
    rlhfi_tensor_source tensors[TENSORS];

    for (int i = 0; i < TENSORS; i++) {
        for (int j = 0; j < ELEMENTS; j++)
            values[i][j] = value + (float)i;
        tensors[i] = (rlhfi_tensor_source){names[i], RLHFI_F32, 2, {2, ELEMENTS / 2}, values[i]};
    }
    return rlhfi_safetensors_write_directory(context, directory, tensors, TENSORS, shard_bytes);
}

/* All tensors are there with the values of one save; returns that save's value. */
static float load(rlhf_context *context, const char *directory)
{
    rlhfi_safetensors *file;
    float value = 0;

    assert_success(context, rlhfi_safetensors_open(&file, context, directory));
    assert_int_equal(rlhfi_safetensors_count(file), TENSORS);
    for (int i = 0; i < TENSORS; i++) {
        float values[ELEMENTS];
        const rlhfi_tensor_info *info = rlhfi_safetensors_find(file, names[i]);
        assert_non_null(info);
        assert_success(context, rlhfi_safetensors_read_float(file, info, values));
        for (int j = 0; j < ELEMENTS; j++) {
            value = i == 0 && j == 0 ? values[0] : value;
            assert_true(values[j] == value + (float)i);
        }
    }
    rlhfi_safetensors_close(&file);
    return value;
}

static void expect_files(const char *directory, const char *const *wanted)
{
    char **found;
    size_t count;

    assert_success(group_context, rlhfi_list_directory(group_context, directory, &found, &count));
    for (size_t i = 0; i < count || wanted[i] != NULL; i++) {
        if (i >= count || wanted[i] == NULL)
            print_error("directory: %s\n", i < count ? found[i] : wanted[i]);
        assert_true(i < count && wanted[i] != NULL);
        assert_string_equal(found[i], wanted[i]);
    }
    rlhfi_free(group_context, found);
}

static void touch(const char *name)
{
    write_file(scratch_path(name), "x", 1);
}

/* ---- cutting and replacing --------------------------------------------------------------------------------------- */

static const char *const three_files[] = {"model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors",
                                          "model-00003-of-00003.safetensors", "model.safetensors.index.json", NULL};

static void cuts_at_the_limit(void **state)
{
    /* Six tensors of 40 bytes. */
    static const struct {
        uint64_t limit;
        int shards;
    } cases[] = {{0, 1},  {240, 1}, {UINT64_MAX, 1}, {239, 2}, {120, 2}, {119, 3},
                 {80, 3}, {79, 6},  {40, 6},         {39, 6},  {1, 6}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char **found;
        size_t count;
        assert_success(group_context, save(group_context, scratch_path("cut"), (float)i, cases[i].limit));
        assert_true(load(group_context, scratch_path("cut")) == (float)i);
        assert_success(group_context, rlhfi_list_directory(group_context, scratch_path("cut"), &found, &count));
        assert_int_equal(count, cases[i].shards == 1 ? 1 : cases[i].shards + 1);
        rlhfi_free(group_context, found);
    }
}

static void writes_the_index(void **state)
{
    size_t size;
    char *text;

    (void)state;
    assert_success(group_context, save(group_context, scratch_path("new/deep"), 1, 80));
    expect_files(scratch_path("new/deep"), three_files);
    text = read_file(scratch_path("new/deep/model.safetensors.index.json"), &size);
    assert_string_equal(text, "{\n  \"metadata\": {\n    \"total_parameters\": 60,\n    \"total_size\": 240\n  },\n"
                              "  \"weight_map\": {\n"
                              "    \"h.0.b\": \"model-00002-of-00003.safetensors\",\n"
                              "    \"h.0.w\": \"model-00001-of-00003.safetensors\",\n"
                              "    \"h.1.b\": \"model-00003-of-00003.safetensors\",\n"
                              "    \"h.1.w\": \"model-00002-of-00003.safetensors\",\n"
                              "    \"head\": \"model-00003-of-00003.safetensors\",\n"
                              "    \"wte\": \"model-00001-of-00003.safetensors\"\n  }\n}\n");
    free(text);
}

static void removes_what_is_stale(void **state)
{
    static const char *const kept[] = {"config.json",
                                       "model-00001-of-00003.safetensors",
                                       "model-00002-of-00003.safetensors",
                                       "model-00003-of-00003.safetensors",
                                       "model-1-of-2.safetensors",
                                       "model.safetensors.index.json",
                                       "other-00001-of-00002.safetensors",
                                       NULL};
    static const char *const kept_single[] = {"config.json", "model-1-of-2.safetensors", "model.safetensors",
                                              "other-00001-of-00002.safetensors", NULL};

    (void)state;
    assert_success(group_context, save(group_context, scratch_path("stale"), 1, 0));
    touch("stale/config.json");
    touch("stale/model-1-of-2.safetensors"); /* not a shard's name: somebody else's */
    touch("stale/other-00001-of-00002.safetensors");
    touch("stale/model-00001-of-00002.safetensors");
    touch("stale/model-00004-of-00003.safetensors");
    touch("stale/model-00001-of-00009.safetensors.unfinished");
    assert_success(group_context, save(group_context, scratch_path("stale"), 2, 80));
    expect_files(scratch_path("stale"), kept);
    assert_true(load(group_context, scratch_path("stale")) == 2);
    assert_success(group_context, save(group_context, scratch_path("stale"), 3, 0));
    expect_files(scratch_path("stale"), kept_single);
    assert_true(load(group_context, scratch_path("stale")) == 3);
}

static void refuses_too_many_shards(void **state)
{
    static rlhfi_tensor_source tensors[513];
    static char labels[513][8];
    static const uint8_t byte = 1;

    (void)state;
    for (int i = 0; i < 513; i++) {
        snprintf(labels[i], sizeof labels[i], "t%d", i);
        tensors[i] = (rlhfi_tensor_source){labels[i], RLHFI_U8, 0, {0}, &byte};
    }
    assert_failure(group_context,
                   rlhfi_safetensors_write_directory(group_context, scratch_path("many"), tensors, 513, 1),
                   RLHF_E_INVAL, "more than 512 files");
    assert_false(rlhfi_path_exists(scratch_path("many")));
    assert_failure(group_context, rlhfi_safetensors_write_directory(group_context, scratch_path("many"),
                   (rlhfi_tensor_source[]){tensors[0], tensors[0]}, 2, 1), RLHF_E_INVAL, "appears twice");
    touch("file");
    assert_failure(group_context, save(group_context, scratch_path("file/below"), 1, 0), RLHF_E_IO, "file");
}

/* ---- failures ---------------------------------------------------------------------------------------------------- */

static const uint64_t limits[] = {0, 80, 79}; /* 1, 3 and 6 files */

/* Which kind replaces which. */
static const size_t pairs[][2] = {{0, 0}, {0, 1}, {1, 0}, {1, 1}, {1, 2}};
enum { PAIRS = sizeof pairs / sizeof pairs[0] };

/* With the n-th allocation failing, the old or the new checkpoint loads, or none; never a mixture; nothing half is
 * left. */
static void survives_failing_allocations(void **state)
{
    (void)state;
    for (size_t pair = 0; pair < PAIRS; pair++) {
        uint64_t old = limits[pairs[pair][0]], new = limits[pairs[pair][1]];
        rlhf_status status = RLHF_E_NOMEM;
        for (size_t n = 1; status != RLHF_OK; n += 1 + n / 24) {
            struct counted memory;
            rlhf_context *context = make_context(&memory);
            rlhfi_safetensors *file;
            char **found;
            size_t count;
            assert_success(group_context, save(group_context, scratch_path("oom"), 100, old));
            memory.calls = 0;
            memory.fail_at = n;
            status = save(context, scratch_path("oom"), 200, new);
            assert_true(status == RLHF_OK || status == RLHF_E_NOMEM);
            assert_true((status == RLHF_OK) == (memory.calls < n));
            end_context(context, &memory);
            if (rlhfi_safetensors_open(&file, group_context, scratch_path("oom")) == RLHF_OK) {
                float value;
                rlhfi_safetensors_close(&file);
                value = load(group_context, scratch_path("oom"));
                assert_true(value == 200 || (value == 100 && status != RLHF_OK));
            } else {
                assert_true(status != RLHF_OK && new > 0);
            }
            assert_success(group_context, rlhfi_list_directory(group_context, scratch_path("oom"), &found, &count));
            for (size_t i = 0; i < count; i++)
                assert_null(strstr(found[i], ".tmp"));
            rlhfi_free(group_context, found);
            assert_success(group_context, rlhfi_remove_tree(group_context, scratch_path("oom")));
        }
    }
}

static size_t die_at;

static void *dying_alloc(void *user_data, size_t size, size_t alignment)
{
    if (--die_at == 0)
        _exit(7);
    return counted_alloc(user_data, size, alignment);
}

/* As if killed at the n-th allocation, without any cleaning up. */
static bool save_and_die(size_t n, const char *directory, float value, uint64_t limit)
{
    pid_t child = fork();
    int outcome = 0;

    assert_true(child >= 0);
    if (child == 0) {
        struct counted memory = {0};
        rlhf_context_options options;
        rlhf_context *context;
        rlhf_context_options_init(&options, sizeof options);
        options.threads = 1;
        options.allocator = (rlhf_allocator){dying_alloc, counted_free, &memory};
        die_at = SIZE_MAX;
        if (rlhf_context_create(&context, &options) != RLHF_OK)
            _exit(8);
        die_at = n;
        _exit(save(context, directory, value, limit) == RLHF_OK ? 0 : 9);
    }
    assert_int_equal(waitpid(child, &outcome, 0), child);
    assert_true(WIFEXITED(outcome) && (WEXITSTATUS(outcome) == 0 || WEXITSTATUS(outcome) == 7));
    return WEXITSTATUS(outcome) == 7;
}

static void survives_kills(void **state)
{
    (void)state;
    for (size_t pair = 0; pair < PAIRS; pair++) {
        bool died = true;
        for (size_t n = 1; died; n += 1 + n / 24) {
            rlhfi_safetensors *file;
            assert_success(group_context, save(group_context, scratch_path("kill"), 100, limits[pairs[pair][0]]));
            died = save_and_die(n, scratch_path("kill"), 200, limits[pairs[pair][1]]);
            if (rlhfi_safetensors_open(&file, group_context, scratch_path("kill")) == RLHF_OK) {
                float value;
                rlhfi_safetensors_close(&file);
                value = load(group_context, scratch_path("kill"));
                assert_true(value == 200 || (value == 100 && died));
            } else {
                assert_true(died);
            }
            /* Whatever was left, the next save makes a whole checkpoint. */
            assert_success(group_context, save(group_context, scratch_path("kill"), 300, limits[pairs[pair][1]]));
            assert_true(load(group_context, scratch_path("kill")) == 300);
            assert_success(group_context, rlhfi_remove_tree(group_context, scratch_path("kill")));
        }
    }
}

/* A full disk, in the shape of a limit on the size of files. */
static void survives_a_full_disk(void **state)
{
    struct rlimit old, small;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);

    (void)state;
    assert_success(group_context, save(group_context, scratch_path("full"), 100, 80));
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    for (rlim_t bytes = 0; bytes < 400; bytes += 50) {
        small = old;
        small.rlim_cur = bytes;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        for (size_t i = 0; i < 3; i++) {
            rlhf_status status = save(group_context, scratch_path("full"), 200, limits[i]);
            if (status != RLHF_OK)
                assert_failure(group_context, status, RLHF_E_IO, "model");
            else
                assert_true(bytes >= 300);
        }
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        if (bytes < 250) {
            expect_files(scratch_path("full"), three_files);
            assert_true(load(group_context, scratch_path("full")) == 100);
        }
    }
    signal(SIGXFSZ, handler);
}

/* ---- hostile indices --------------------------------------------------------------------------------------------- */

static void write_index(const char *text)
{
    write_file(scratch_path("index/model.safetensors.index.json"), text, strlen(text));
}

static void refuses_index(const char *text, rlhf_status wanted, const char *words)
{
    rlhfi_safetensors *file = (rlhfi_safetensors *)(uintptr_t)8;
    rlhf_status status;

    write_index(text);
    status = rlhfi_safetensors_open(&file, group_context, scratch_path("index"));
    assert_null(file);
    assert_failure(group_context, status, wanted, words);
}

static void make_shard(const char *name, const char *const *labels)
{
    static const uint8_t byte = 5;
    rlhfi_tensor_source tensors[8];
    size_t count = 0;

    for (; labels[count] != NULL; count++)
        tensors[count] = (rlhfi_tensor_source){labels[count], RLHFI_U8, 0, {0}, &byte};
    assert_success(group_context, rlhfi_safetensors_write(group_context, scratch_path(name), tensors, count, NULL));
}

static void obeys_the_index_rules(void **state)
{
    rlhfi_safetensors *file;
    char text[16384];
    size_t length;

    (void)state;
    assert_success(group_context, rlhfi_make_directory(group_context, scratch_path("index")));
    make_shard("index/one.safetensors", (const char *const[]){"a", "b", NULL});
    make_shard("index/two.safetensors", (const char *const[]){"c", "extra", NULL});
    make_shard("index/again.safetensors", (const char *const[]){"a", NULL});
    write_index("{\"metadata\":{\"total_size\":2.5e3,\"x\":[{}]},\"weight_map\":{\"a\":\"one.safetensors\",\"c\":\"two."
                "safetensors\","
                "\"b\":\"one.safetensors\"},\"future\":null}\n");
    assert_success(group_context, rlhfi_safetensors_open(&file, group_context, scratch_path("index")));
    assert_int_equal(rlhfi_safetensors_count(file), 4); /* what the index does not name is still in the file */
    assert_int_equal(rlhfi_safetensors_find(file, "a")->file, rlhfi_safetensors_find(file, "b")->file);
    assert_true(rlhfi_safetensors_find(file, "a")->file != rlhfi_safetensors_find(file, "c")->file);
    assert_string_equal(rlhfi_safetensors_metadata(file, "format"), "pt");
    rlhfi_safetensors_close(&file);

    refuses_index("{\"weight_map\":{\"a\":\"../index/one.safetensors\"}}", RLHF_E_FORMAT, "must be a plain name");
    refuses_index("{\"weight_map\":{\"a\":\"/etc/one.safetensors\"}}", RLHF_E_FORMAT, "must be a plain name");
    refuses_index("{\"weight_map\":{\"a\":\"sub/one.safetensors\"}}", RLHF_E_FORMAT, "must be a plain name");
    refuses_index("{\"weight_map\":{\"a\":\"sub\\\\one.safetensors\"}}", RLHF_E_FORMAT, "must be a plain name");
    refuses_index("{\"weight_map\":{\"a\":\"..safetensors\"}}", RLHF_E_FORMAT, "must be a plain name");
    refuses_index("{\"weight_map\":{\"a\":\"..\"}}", RLHF_E_FORMAT, "must be a plain name");
    refuses_index("{\"weight_map\":{\"a\":\".\"}}", RLHF_E_FORMAT, "must be a plain name");
    refuses_index("{\"weight_map\":{\"a\":\"\"}}", RLHF_E_FORMAT, "must be a plain name");
    refuses_index("{\"weight_map\":{\"a\":\".safetensors\"}}", RLHF_E_FORMAT, "must be a plain name");
    refuses_index("{\"weight_map\":{\"a\":\"pytorch_model.bin\"}}", RLHF_E_FORMAT, "must be a plain name");
    refuses_index("{\"weight_map\":{\"a\":\"model.safetensors.index.json\"}}", RLHF_E_FORMAT, "must be a plain name");
    refuses_index("{\"weight_map\":{\"a\":\"one.safetensors\\u0000\"}}", RLHF_E_FORMAT, "must be a plain name");
    refuses_index("{\"weight_map\":{\"a\\u0000\":\"one.safetensors\"}}", RLHF_E_FORMAT, "must be a plain name");
    refuses_index("{\"weight_map\":{\"a\":\"none.safetensors\"}}", RLHF_E_IO, "none.safetensors");
    refuses_index("{\"weight_map\":{\"a\":\"two.safetensors\"}}", RLHF_E_FORMAT,
                  "two.safetensors: tensor \"a\" is missing");
    refuses_index("{\"weight_map\":{\"a\":\"one.safetensors\",\"c\":\"one.safetensors\"}}", RLHF_E_FORMAT,
                  "one.safetensors: tensor \"c\" is missing");
    refuses_index("{\"weight_map\":{\"a\":\"two.safetensors\",\"c\":\"one.safetensors\"}}", RLHF_E_FORMAT,
                  "is missing");
    refuses_index("{\"weight_map\":{\"b\":\"one.safetensors\",\"a\":\"again.safetensors\"}}", RLHF_E_FORMAT,
                  "tensor \"a\" is also in");
    refuses_index("{\"weight_map\":{\"a\":\"one.safetensors\",\"a\":\"one.safetensors\"}}", RLHF_E_FORMAT,
                  "\"a\" appears twice");
    refuses_index("{\"weight_map\":{\"a\":\"one.safetensors\"},\"weight_map\":{}}", RLHF_E_FORMAT,
                  "\"weight_map\" appears twice");
    refuses_index("{\"weight_map\":{\"a\":1}}", RLHF_E_FORMAT, "byte 19: a string is expected");
    refuses_index("{\"weight_map\":{\"a\":{}}}", RLHF_E_FORMAT, "byte 19: nested too deep");
    refuses_index("{\"weight_map\":[]}", RLHF_E_FORMAT, "byte 14: an object is expected");
    refuses_index("{\"weight_map\":{}}", RLHF_E_FORMAT, "\"weight_map\" is missing or empty");
    refuses_index("{}", RLHF_E_FORMAT, "\"weight_map\" is missing or empty");
    refuses_index("", RLHF_E_FORMAT, "byte 0: ");
    refuses_index("{\"weight_map\":{\"a\":\"one.safetensors\"}} x", RLHF_E_FORMAT, "nothing may follow");
    refuses_index("{\"weight_map\":{\"\xff\":\"one.safetensors\"}}", RLHF_E_FORMAT, "not UTF-8");

    assert_success(group_context, rlhfi_make_directory(group_context, scratch_path("index/folder.safetensors")));
    refuses_index("{\"weight_map\":{\"a\":\"folder.safetensors\"}}", RLHF_E_IO, "a directory, not a regular file");
    assert_int_equal(mkfifo(scratch_path("index/pipe.safetensors"), 0600), 0);
    refuses_index("{\"weight_map\":{\"a\":\"pipe.safetensors\"}}", RLHF_E_IO,
                  "not a regular file"); /* and does not wait */
    write_file(scratch_path("index/broken.safetensors"), "x", 1);
    refuses_index("{\"weight_map\":{\"a\":\"broken.safetensors\"}}", RLHF_E_FORMAT, "broken.safetensors: 1 bytes");

    length = (size_t)snprintf(text, sizeof text, "{\"weight_map\":{");
    for (int i = 0; i < 513; i++)
        length +=
            (size_t)snprintf(text + length, sizeof text - length, "%s\"%d\":\"x.safetensors\"", i > 0 ? "," : "", i);
    assert_true(length < sizeof text - 8);
    strcpy(text + length, "}}");
    refuses_index(text, RLHF_E_IO, "/x.safetensors"); /* one file for all */
}

static void bounds_the_number_of_files(void **state)
{
    char *text = need(64 * 600);
    size_t length = (size_t)sprintf(text, "{\"weight_map\":{");

    (void)state;
    for (int i = 0; i < 513; i++)
        length += (size_t)sprintf(text + length, "%s\"%d\":\"%d.safetensors\"", i > 0 ? "," : "", i, i);
    strcpy(text + length, "}}");
    refuses_index(text, RLHF_E_UNSUPPORTED, "more than 512 files");
    free(text);
}

static void knows_what_is_in_a_directory(void **state)
{
    rlhfi_safetensors *file;

    (void)state;
    assert_success(group_context, rlhfi_make_directory(group_context, scratch_path("bare")));
    assert_failure(group_context, rlhfi_safetensors_open(&file, group_context, scratch_path("bare")), RLHF_E_IO,
                   "neither model.safetensors nor model.safetensors.index.json is there");
    touch("bare/pytorch_model.bin");
    assert_failure(group_context, rlhfi_safetensors_open(&file, group_context, scratch_path("bare")),
                   RLHF_E_UNSUPPORTED, "pytorch_model.bin is a pickle");
    /* A single file wins over an index. */
    assert_success(group_context, save(group_context, scratch_path("bare"), 4, 0));
    touch("bare/model.safetensors.index.json");
    assert_true(load(group_context, scratch_path("bare")) == 4);
    /* A directory in its place is refused. */
    assert_success(group_context, rlhfi_make_directory(group_context, scratch_path("odd/model.safetensors")));
    assert_failure(group_context, rlhfi_safetensors_open(&file, group_context, scratch_path("odd")), RLHF_E_IO,
                   "a directory, not a regular file");
    /* One shard by its own path is a file like any other. */
    assert_success(group_context, save(group_context, scratch_path("by-path"), 1, 80));
    assert_success(group_context, rlhfi_safetensors_open(&file, group_context,
                                                         scratch_path("by-path/model-00002-of-00003.safetensors")));
    assert_int_equal(rlhfi_safetensors_count(file), 2);
    rlhfi_safetensors_close(&file);
}

static int teardown(void **state)
{
    remove_scratch();
    return group_teardown(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_at_the_limit),
        cmocka_unit_test(writes_the_index),
        cmocka_unit_test(removes_what_is_stale),
        cmocka_unit_test(refuses_too_many_shards),
        cmocka_unit_test(survives_failing_allocations),
        cmocka_unit_test(survives_kills),
        cmocka_unit_test(survives_a_full_disk),
        cmocka_unit_test(obeys_the_index_rules),
        cmocka_unit_test(bounds_the_number_of_files),
        cmocka_unit_test(knows_what_is_in_a_directory),
    };

    scratch_in_memory = true;
    return cmocka_run_group_tests_name("safetensors_shards", tests, group_setup, teardown);
}
