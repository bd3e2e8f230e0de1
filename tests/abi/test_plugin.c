/* Names in a context, and shared objects that bring some: what works, what is refused, and what is left then. */
#include <dlfcn.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <rlhf/rlhf.h>

static char **path; /* the library, the example's plugin, the four that are refused */
enum { LIBRARY = 1, EXAMPLE, SILENT, TOMORROW, UNWILLING, EMPTY };

static rlhf_context *context;

static int open_context(void **state)
{
    (void)state;
    return rlhf_context_create(&context, NULL) != RLHF_OK;
}

static int close_context(void **state)
{
    (void)state;
    rlhf_context_release(&context);
    return 0;
}

static void expect(rlhf_status status, rlhf_status wanted, const char *part)
{
    char text[512];

    rlhf_context_error(context, text, sizeof text);
    if (status != wanted || strstr(text, part) == NULL)
        fail_msg("%s: \"%s\", wanted %s and \"%s\"", rlhf_status_name(status), text, rlhf_status_name(wanted), part);
}

static int gone;

static void count_end(void *user_data)
{
    gone += *(int *)user_data;
}

static rlhf_status score_one(void *user_data, const rlhf_score_input *in, double *score)
{
    for (int64_t row = 0; row < in->rows; row++)
        score[row] = *(int *)user_data;
    return RLHF_OK;
}

static rlhf_status make_number(void *user_data, rlhf_context *in, const char *argument, rlhf_scorer **out)
{
    int *number = malloc(sizeof *number);

    assert_int_equal(*(int *)user_data, 1);
    assert_non_null(number);
    *number = atoi(argument);
    return rlhf_scorer_create(out, in, "number", score_one, number, free);
}

static rlhf_status make_nothing(void *user_data, rlhf_context *in, const char *argument, rlhf_scorer **out)
{
    (void)user_data, (void)in, (void)argument, (void)out;
    return RLHF_OK;
}

static rlhf_status make_error(void *user_data, rlhf_context *in, const char *argument, rlhf_objective **out)
{
    (void)user_data, (void)in, (void)argument, (void)out;
    return RLHF_E_USER_FIRST - 1;
}

static void names(void **state)
{
    static int one = 1;
    const int64_t offset[] = {0, 2};
    const int32_t tokens[] = {0, 0}, prompt_length[] = {1};
    const char *text[] = {"x"};
    rlhf_score_input in = {.struct_size = sizeof in, .rows = 1, .offset = offset, .tokens = tokens,
                           .prompt_length = prompt_length, .prompt = text, .completion = text};
    rlhf_scorer *scorer;
    rlhf_objective *objective;
    double score = 0;

    (void)state;
    gone = 0;
    expect(rlhf_plugin_scorer(&scorer, context, "number"), RLHF_E_INVAL, "no other is");
    expect(rlhf_plugin_add_scorer(context, "number", make_number, &one, count_end), RLHF_OK, "");
    expect(rlhf_plugin_add_scorer(context, "number", make_number, &one, count_end), RLHF_E_INVAL, "has one");
    assert_int_equal(gone, 1);
    expect(rlhf_plugin_add_scorer(context, "", make_number, &one, count_end), RLHF_E_INVAL, "not empty");
    expect(rlhf_plugin_add_scorer(context, "a:b", make_number, &one, count_end), RLHF_E_INVAL, "colon");
    assert_int_equal(rlhf_plugin_add_scorer(context, NULL, make_number, &one, count_end), RLHF_E_INVAL);
    assert_int_equal(rlhf_plugin_add_scorer(context, "x", NULL, &one, count_end), RLHF_E_INVAL);
    assert_int_equal(rlhf_plugin_add_scorer(NULL, "x", make_number, &one, count_end), RLHF_E_INVAL);
    assert_int_equal(gone, 6);
    expect(rlhf_plugin_add_scorer(context, "nothing", make_nothing, NULL, NULL), RLHF_OK, "");
    expect(rlhf_plugin_add_objective(context, "number", make_error, &one, count_end), RLHF_OK, ""); /* another kind */

    assert_int_equal(rlhf_plugin_has_scorer(context, "number:4"), 1);
    assert_int_equal(rlhf_plugin_has_scorer(context, "numbe"), 0);
    assert_int_equal(rlhf_plugin_has_scorer(NULL, "number"), 0);
    assert_int_equal(rlhf_plugin_has_scorer(context, NULL), 0);
    expect(rlhf_plugin_scorer(&scorer, context, "nmber:4"), RLHF_E_INVAL, "the nearest is number");
    assert_null(scorer);
    expect(rlhf_plugin_scorer(&scorer, context, "nothing"), RLHF_E_INVAL, "made nothing");
    expect(rlhf_plugin_objective(&objective, context, "number"), RLHF_E_USER_FIRST - 1, "its maker returned");
    assert_int_equal(rlhf_plugin_objective(NULL, context, "number"), RLHF_E_INVAL);
    assert_int_equal(rlhf_plugin_scorer(&scorer, context, NULL), RLHF_E_INVAL);
    expect(rlhf_plugin_scorer(&scorer, context, "number:4"), RLHF_OK, "");
    expect(rlhf_scorer_run(scorer, NULL, &in, &score), RLHF_OK, "");
    assert_true(score == 4);
    rlhf_context_release(&context); /* the scorer keeps it */
    assert_int_equal(gone, 6);
    rlhf_scorer_release(&scorer);
    assert_int_equal(gone, 8); /* the two registrations that were not refused */
}

static void example(void **state)
{
    rlhf_scorer *scorer;
    rlhf_objective *objective;

    (void)state;
    expect(rlhf_plugin_load(context, path[EXAMPLE]), RLHF_OK, "");
    expect(rlhf_plugin_scorer(&scorer, context, "length:20"), RLHF_OK, "");
    rlhf_scorer_release(&scorer);
    expect(rlhf_plugin_scorer(&scorer, context, "length:-1"), RLHF_E_RANGE, "length:-1");
    expect(rlhf_plugin_objective(&objective, context, "dft"), RLHF_OK, "");
    rlhf_context_release(&context); /* the objective's code stays */
    double log_prob[] = {-1.0}, gradient[1];
    const int64_t offset[] = {0, 1};
    rlhf_token_loss_input in = {.struct_size = sizeof in, .rows = 1, .offset = offset, .log_prob = log_prob,
                                .denominator = 1};
    rlhf_token_loss_output out = {.struct_size = sizeof out, .d_log_prob = gradient};
    assert_int_equal(rlhf_objective_token_loss(objective, &in, &out), RLHF_OK);
    assert_true(fabs(out.loss - exp(-1)) < 1e-12 && fabs(gradient[0] + exp(-1)) < 1e-12);
    rlhf_objective_release(&objective);
}

static void refused(void **state)
{
    rlhf_context *other;

    (void)state;
    expect(rlhf_plugin_load(context, path[SILENT]), RLHF_E_INVAL, "did not say which version");
    expect(rlhf_plugin_load(context, path[TOMORROW]), RLHF_E_UNSUPPORTED, "was made for version");
    assert_int_equal(rlhf_plugin_has_scorer(context, "tomorrow"), 0);
    expect(rlhf_plugin_load(context, path[UNWILLING]), RLHF_E_USER_FIRST - 7, "returned");
    expect(rlhf_plugin_load(context, path[EMPTY]), RLHF_E_FORMAT, "rlhf_plugin_register");
    expect(rlhf_plugin_load(context, "./no-such-plugin.so"), RLHF_E_IO, "no-such-plugin");
    assert_int_equal(rlhf_plugin_load(context, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_plugin_load(NULL, path[EXAMPLE]), RLHF_E_INVAL);
    /* Twice into one context: its names are taken; into two contexts: both have them. */
    expect(rlhf_plugin_load(context, path[EXAMPLE]), RLHF_OK, "");
    expect(rlhf_plugin_load(context, path[EXAMPLE]), RLHF_E_INVAL, "has one of this name");
    assert_int_equal(rlhf_plugin_has_scorer(context, "length"), 1);
    assert_int_equal(rlhf_context_create(&other, NULL), RLHF_OK);
    assert_int_equal(rlhf_plugin_has_scorer(other, "length"), 0);
    assert_int_equal(rlhf_plugin_load(other, path[EXAMPLE]), RLHF_OK);
    rlhf_context_release(&other);
}

/* ---- memory that runs out ---------------------------------------------------------------------------------------- */

static int64_t live, allowed;

static void *counted_alloc(void *user_data, size_t size, size_t alignment)
{
    void *pointer = allowed-- > 0 ? aligned_alloc(alignment, size) : NULL;

    (void)user_data;
    live += pointer != NULL;
    return pointer;
}

static void counted_free(void *user_data, void *pointer, size_t size)
{
    (void)user_data, (void)size;
    live--;
    free(pointer);
}

static void out_of_memory(void **state)
{
    static int one = 1;
    rlhf_context_options options;
    rlhf_context *small;
    rlhf_status status;
    int64_t needed = 0;

    (void)state;
    rlhf_context_options_init(&options, sizeof options);
    options.threads = 1;
    options.allocator = (rlhf_allocator){counted_alloc, counted_free, NULL};
    allowed = INT64_MAX;
    live = 0;
    assert_int_equal(rlhf_context_create(&small, &options), RLHF_OK);
    do {
        gone = 0;
        allowed = needed++;
        status = rlhf_plugin_add_scorer(small, "number", make_number, &one, count_end);
        assert_true(status == RLHF_OK || status == RLHF_E_NOMEM);
        assert_int_equal(gone, status != RLHF_OK);
        assert_int_equal(rlhf_plugin_has_scorer(small, "number"), status == RLHF_OK);
    } while (status != RLHF_OK);
    assert_true(needed > 2); /* the entry and its name */
    rlhf_context_release(&small);
    assert_int_equal(gone, 1);
    assert_int_equal(live, 0);
}

/* ---- a second copy of the library in this process ---------------------------------------------------------------- */

static void copy_file(const char *from, const char *to)
{
    char buffer[1 << 16];
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    size_t bytes;

    assert_true(in != NULL && out != NULL);
    while ((bytes = fread(buffer, 1, sizeof buffer, in)) > 0)
        assert_int_equal(fwrite(buffer, 1, bytes, out), bytes);
    fclose(in);
    assert_int_equal(fclose(out), 0);
}

static void function(void *object, const char *name, void *to)
{
    void *address = dlsym(object, name);

    assert_non_null(address);
    memcpy(to, &address, sizeof address);
}

/* A plugin talks to the copy that it is linked with: the other one must not let it in. */
static void other_copy(void **state)
{
    char name[] = "/tmp/rlhf-copy-XXXXXX";
    int file = mkstemp(name);
    rlhf_status (*create)(rlhf_context **, const rlhf_context_options *);
    rlhf_status (*load)(rlhf_context *, const char *);
    size_t (*error)(const rlhf_context *, char *, size_t);
    void (*release)(rlhf_context **);
    rlhf_context *other;
    char text[512];
    void *copy;

    (void)state;
    assert_true(file >= 0);
    close(file);
    copy_file(path[LIBRARY], name);
    copy = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    unlink(name);
    if (copy == NULL)
        fail_msg("%s", dlerror());
    function(copy, "rlhf_context_create", &create);
    function(copy, "rlhf_plugin_load", &load);
    function(copy, "rlhf_context_error", &error);
    function(copy, "rlhf_context_release", &release);
    assert_true(create != rlhf_context_create);
    assert_int_equal(create(&other, NULL), RLHF_OK);
    assert_int_equal(load(other, path[EXAMPLE]), RLHF_E_UNSUPPORTED);
    error(other, text, sizeof text);
    assert_non_null(strstr(text, "another copy"));
    release(&other);
    expect(rlhf_plugin_load(context, path[EXAMPLE]), RLHF_OK, "");
    dlclose(copy);
}

int main(int argc, char **argv)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, open_context, close_context)
    const struct CMUnitTest tests[] = {TEST(names), TEST(example), TEST(refused), TEST(out_of_memory),
                                       TEST(other_copy)};

    if (argc != EMPTY + 1)
        return 2;
    path = argv;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
