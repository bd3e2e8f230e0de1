/* YAML trees: shapes, places, quoting, and everything that a recipe may not hold. */
#include "support.h"

#include "rlhf_config.h"

#if RLHFI_HAVE_YAML

static rlhfi_yaml *parse(const char *text)
{
    rlhfi_yaml *root;

    assert_success(group_context, rlhfi_yaml_parse(&root, group_context, text, strlen(text), "r.yaml"));
    assert_non_null(root);
    return root;
}

static void refuses_bytes(const char *text, size_t bytes, rlhf_status wanted, const char *words)
{
    rlhfi_yaml *root = (rlhfi_yaml *)(uintptr_t)8;
    rlhf_status status = rlhfi_yaml_parse(&root, group_context, text, bytes, "r.yaml");

    assert_null(root);
    assert_failure(group_context, status, wanted, words);
}

static void refuses(const char *text, rlhf_status wanted, const char *words)
{
    refuses_bytes(text, strlen(text), wanted, words);
}

static void assert_node(const rlhfi_yaml *node, int kind, const char *key, const char *scalar, int64_t line,
                        int64_t column)
{
    assert_non_null(node);
    assert_int_equal(node->kind, kind);
    if (key == NULL)
        assert_null(node->key);
    else
        assert_string_equal(node->key, key);
    if (scalar == NULL)
        assert_null(node->scalar);
    else
        assert_string_equal(node->scalar, scalar);
    assert_int_equal(node->line, line);
    assert_int_equal(node->column, column);
}

static void builds_the_tree(void **state)
{
    rlhfi_yaml *root = parse("# a recipe\n"
                             "model: ../gpt2\n"
                             "learning_rate: 1e-5\n"
                             "ppo:\n"
                             "  clip: 0.2\n"
                             "  list: [a, \"b c\", [d]]\n"
                             "names:\n"
                             "  - one\n"
                             "  - {x: 1, y: 2}\n");
    const rlhfi_yaml *ppo = rlhfi_yaml_get(root, "ppo"), *list = rlhfi_yaml_get(ppo, "list");
    const rlhfi_yaml *names = rlhfi_yaml_get(root, "names");

    (void)state;
    assert_node(root, RLHFI_YAML_MAPPING, NULL, NULL, 2, 1);
    assert_node(root->first, RLHFI_YAML_SCALAR, "model", "../gpt2", 2, 1);
    assert_node(root->first->next, RLHFI_YAML_SCALAR, "learning_rate", "1e-5", 3, 1);
    assert_node(ppo, RLHFI_YAML_MAPPING, "ppo", NULL, 4, 1);
    assert_node(rlhfi_yaml_get(ppo, "clip"), RLHFI_YAML_SCALAR, "clip", "0.2", 5, 3);
    assert_node(list, RLHFI_YAML_SEQUENCE, "list", NULL, 6, 3);
    assert_node(list->first, RLHFI_YAML_SCALAR, NULL, "a", 6, 10);
    assert_false(list->first->quoted);
    assert_node(list->first->next, RLHFI_YAML_SCALAR, NULL, "b c", 6, 13);
    assert_true(list->first->next->quoted);
    assert_node(list->first->next->next, RLHFI_YAML_SEQUENCE, NULL, NULL, 6, 20);
    assert_null(list->first->next->next->next);
    assert_node(names, RLHFI_YAML_SEQUENCE, "names", NULL, 7, 1);
    assert_string_equal(rlhfi_yaml_get(names->first->next, "y")->scalar, "2");
    assert_null(names->next);
    assert_null(rlhfi_yaml_get(root, "nothing"));
    assert_null(rlhfi_yaml_get(list, "a"));
    assert_null(rlhfi_yaml_get(NULL, "a"));
    rlhfi_yaml_release(group_context, &root);
    assert_null(root);
    rlhfi_yaml_release(group_context, &root);
}

static void tells_quoted_from_plain(void **state)
{
    rlhfi_yaml *root =
        parse("a: null\nb: \"null\"\nc: 'null'\nd:\ne: ''\nf: |\n  two\n  lines\ng: >-\n  one\n  line\n");

    (void)state;
    assert_false(rlhfi_yaml_get(root, "a")->quoted);
    assert_true(rlhfi_yaml_get(root, "b")->quoted);
    assert_true(rlhfi_yaml_get(root, "c")->quoted);
    assert_false(rlhfi_yaml_get(root, "d")->quoted);
    assert_string_equal(rlhfi_yaml_get(root, "d")->scalar, "");
    assert_true(rlhfi_yaml_get(root, "e")->quoted);
    assert_string_equal(rlhfi_yaml_get(root, "f")->scalar, "two\nlines\n");
    assert_true(rlhfi_yaml_get(root, "f")->quoted);
    assert_string_equal(rlhfi_yaml_get(root, "g")->scalar, "one line");
    rlhfi_yaml_release(group_context, &root);
}

static void accepts_other_roots(void **state)
{
    rlhfi_yaml *root = parse("just text");

    (void)state;
    assert_node(root, RLHFI_YAML_SCALAR, NULL, "just text", 1, 1);
    rlhfi_yaml_release(group_context, &root);
    root = parse("---\n- 1\n- \xc3\xa9\n...\n");
    assert_node(root, RLHFI_YAML_SEQUENCE, NULL, NULL, 2, 1);
    assert_string_equal(root->first->next->scalar, "\xc3\xa9");
    rlhfi_yaml_release(group_context, &root);
    root = parse("\xef\xbb\xbf" "a: 1\r\nb: {}\r\n"); /* byte order mark and line ends of Windows */
    assert_string_equal(rlhfi_yaml_get(root, "a")->scalar, "1");
    assert_null(rlhfi_yaml_get(root, "b")->first);
    rlhfi_yaml_release(group_context, &root);
}

static void refuses_what_recipes_do_not_need(void **state)
{
    (void)state;
    refuses("a: &x 1\nb: *x\n", RLHF_E_UNSUPPORTED, "r.yaml:1:4: anchors");
    refuses("a: &x {b: 1}\n", RLHF_E_UNSUPPORTED, "r.yaml:1:4: anchors");
    refuses("a: &x [b]\n", RLHF_E_UNSUPPORTED, "anchors");
    refuses("a: *x\n", RLHF_E_UNSUPPORTED, "r.yaml:1:4: aliases");
    refuses("a: !!int 3\n", RLHF_E_UNSUPPORTED, "r.yaml:1:4: tags");
    refuses("a: !python/object:os.system {x: 1}\n", RLHF_E_UNSUPPORTED, "tags");
    refuses("a: ! text\n", RLHF_E_UNSUPPORTED, "tags");
    refuses("a: 1\n---\nb: 2\n", RLHF_E_UNSUPPORTED, "r.yaml:2:1: only one document");
    refuses("<<: {a: 1}\n", RLHF_E_UNSUPPORTED, "r.yaml:1:1: merging");
    refuses("? [a, b]\n: 1\n", RLHF_E_FORMAT, "r.yaml:1:3: a key must be text");
    refuses("? {a: b}\n: 1\n", RLHF_E_FORMAT, "a key must be text");
    refuses("'': 1\n", RLHF_E_FORMAT, "r.yaml:1:1: a key is empty");
    refuses("a: \"x\\0y\"\n", RLHF_E_FORMAT, "r.yaml:1:4: a NUL");
    refuses("", RLHF_E_FORMAT, "r.yaml: nothing in it");
    refuses("# only a remark\n", RLHF_E_FORMAT, "r.yaml: nothing in it");
}

static void refuses_doubles(void **state)
{
    rlhfi_yaml *root;

    (void)state;
    refuses("a: 1\nb: 2\na: 3\n", RLHF_E_FORMAT, "r.yaml:3:1: \"a\" appears twice");
    refuses("a: {x: 1, y: 2, 'x': 3}\n", RLHF_E_FORMAT, "r.yaml:1:17: \"x\" appears twice");
    /* The same key in other mappings, also in one inside its own value, is fine. */
    root = parse("a: {a: {a: 1}, b: 2}\nb: {a: 1}\nc: [{a: 1}, {a: 2}]\n");
    rlhfi_yaml_release(group_context, &root);
}

static void refuses_broken_text(void **state)
{
    (void)state;
    refuses("a: [1, 2\nb: 3\n", RLHF_E_FORMAT, "r.yaml:2:");
    refuses("a: b: c\n", RLHF_E_FORMAT, "r.yaml:1:5: mapping values are not allowed");
    refuses("\ta: 1\n", RLHF_E_FORMAT, "r.yaml:1:1: ");
    refuses("a: \"open\n", RLHF_E_FORMAT, "r.yaml:");
    refuses("a: 1\n  b: 2\n", RLHF_E_FORMAT, "r.yaml:2:");
    refuses("a: \xff\n", RLHF_E_FORMAT, "r.yaml: byte 3: ");
    refuses("a: \xed\xa0\x80\n", RLHF_E_FORMAT, "r.yaml: byte 3: ");
    refuses_bytes("a: x\0y\n", 7, RLHF_E_FORMAT, "r.yaml: byte 4: ");
}

static char *repeat(const char *piece, size_t times, const char *end)
{
    size_t length = strlen(piece);
    char *text = need(length * times + strlen(end) + 1);

    for (size_t i = 0; i < times; i++)
        memcpy(text + i * length, piece, length);
    strcpy(text + length * times, end);
    return text;
}

static void bounds_depth_size_and_number(void **state)
{
    char *text = repeat("[", 16, "x]]]]]]]]]]]]]]]]");
    rlhfi_yaml *root = parse(text);

    (void)state;
    rlhfi_yaml_release(group_context, &root);
    free(text);
    text = repeat("[", 17, "x]]]]]]]]]]]]]]]]]");
    refuses(text, RLHF_E_UNSUPPORTED, "r.yaml:1:17: nested deeper than 16 levels");
    free(text);
    text = repeat("[", 1 << 20, "");
    refuses(text, RLHF_E_UNSUPPORTED, "nested deeper than 16 levels");
    free(text);
    text = repeat("{a: ", 1000, "");
    refuses(text, RLHF_E_UNSUPPORTED, "nested deeper than 16 levels");
    free(text);
    text = repeat("- 1\n", 65535, "");
    root = parse(text);
    rlhfi_yaml_release(group_context, &root);
    free(text);
    text = repeat("- 1\n", 65536, "");
    refuses(text, RLHF_E_UNSUPPORTED, "r.yaml:65536:3: more than 65536 values");
    free(text);
    text = repeat(" ", (1 << 20) + 1, "");
    refuses(text, RLHF_E_UNSUPPORTED, "1048577 bytes of YAML");
    free(text);
}

static void loads_files(void **state)
{
    rlhfi_yaml *root;

    (void)state;
    write_file(scratch_path("a.yaml"), "a: 1\n", 5);
    assert_success(group_context, rlhfi_yaml_load(&root, group_context, scratch_path("a.yaml")));
    assert_string_equal(root->first->scalar, "1");
    rlhfi_yaml_release(group_context, &root);
    assert_failure(group_context, rlhfi_yaml_load(&root, group_context, scratch_path("b.yaml")), RLHF_E_IO, "b.yaml");
    assert_null(root);
    write_file(scratch_path("c.yaml"), "a: [\n", 5);
    assert_failure(group_context, rlhfi_yaml_load(&root, group_context, scratch_path("c.yaml")), RLHF_E_FORMAT,
                   "c.yaml:2:1");
    remove_scratch();
}

/* Some beginnings are YAML, some are not; none may leave anything behind. */
static void survives_every_cut(void **state)
{
    static const char text[] = "a: [1, {b: \"c\\x41\"}]\n? d\n: |\n  text\ne: 'f'\n";

    (void)state;
    for (size_t bytes = 0; bytes < sizeof text; bytes++) {
        char *copy = need(bytes);
        rlhfi_yaml *root;
        rlhf_status status;
        memcpy(copy, text, bytes);
        status = rlhfi_yaml_parse(&root, group_context, copy, bytes, "r.yaml");
        assert_true(status == RLHF_OK || (status == RLHF_E_FORMAT && root == NULL));
        rlhfi_yaml_release(group_context, &root);
        free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(builds_the_tree),
        cmocka_unit_test(tells_quoted_from_plain),
        cmocka_unit_test(accepts_other_roots),
        cmocka_unit_test(refuses_what_recipes_do_not_need),
        cmocka_unit_test(refuses_doubles),
        cmocka_unit_test(refuses_broken_text),
        cmocka_unit_test(bounds_depth_size_and_number),
        cmocka_unit_test(loads_files),
        cmocka_unit_test(survives_every_cut),
    };

    return cmocka_run_group_tests_name("yaml", tests, group_setup, group_teardown);
}

#else

static void says_that_it_cannot(void **state)
{
    rlhfi_yaml *root = (rlhfi_yaml *)(uintptr_t)8;
    rlhf_status status = rlhfi_yaml_parse(&root, group_context, "a: 1", 4, "r.yaml");

    (void)state;
    assert_null(root);
    assert_failure(group_context, status, RLHF_E_UNSUPPORTED, "r.yaml: this library was built without libyaml");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(says_that_it_cannot)};

    return cmocka_run_group_tests_name("yaml", tests, group_setup, group_teardown);
}

#endif
