/* The config.json that transformers wrote for the fixtures: read, written again, and in both spellings; and the models
 * that we cannot do, refused by name. The fixtures are whatever lies in models/ and trl/. */
#include "golden.h"
#include "unit/formats/support.h"

/* True if the two files hold one model: every field of the parsed form is the same. */
static void check_other_spelling(const rlhfi_hf_config *config, const char *path)
{
    rlhfi_hf_config other;
    size_t size;
    if (access(path, R_OK) != 0)
        return;
    char *text = read_file(path, &size);
    assert_success(group_context, rlhfi_hf_config_parse(&other, group_context, text, size, path));
    free(text);
    rlhfi_free(group_context, other.json);
    other.json = config->json;
    other.generation_json = config->generation_json;
    assert_memory_equal(&other, config, sizeof other);
}

static void check_known(const char *folder, const rlhfi_json *file)
{
    rlhfi_hf_config config;
    char path[4500], *text;
    const char *architecture = rlhfi_json_text(rlhfi_json_at(rlhfi_json_get(file, "architectures"), 0), NULL);
    const rlhfi_json *dtype = rlhfi_json_get(file, "dtype");
    if (dtype == NULL)
        dtype = rlhfi_json_get(file, "torch_dtype");
    bool scalar = architecture != NULL && strstr(architecture, "SequenceClassification") != NULL;
    bool single = rlhfi_json_text(dtype, NULL) != NULL && strcmp(rlhfi_json_text(dtype, NULL), "float32") == 0;

    assert_success(group_context, rlhfi_hf_config_load(&config, group_context, folder));
    assert_non_null(architecture);
    assert_string_equal(config.architecture, architecture);
    assert_int_equal(config.num_labels, scalar ? 1 : -1);
    assert_success(group_context, rlhfi_hf_config_text(group_context, &config, architecture, scalar, "float32", &text));
    /* Byte for byte what was read, but for the dtype: weights are written as float32. */
    if (single)
        assert_string_equal(text, config.json);
    else
        assert_string_not_equal(text, config.json);
    rlhfi_free(group_context, text);
    snprintf(path, sizeof path, "%s/config.v5.json", folder);
    check_other_spelling(&config, path);
    rlhfi_hf_config_free(group_context, &config);
}

static void check_unknown(const char *folder, const char *type)
{
    rlhfi_hf_config config;
    char words[200];
    snprintf(words, sizeof words, "config.json: model_type \"%s\" is not supported (gpt2, llama)", type);
    assert_failure(group_context, rlhfi_hf_config_load(&config, group_context, folder), RLHF_E_UNSUPPORTED, words);
}

/* Checks the folders of `where` whose model_type is known, or those where it is not; returns how many there were. */
static int check_folders(const char *where, bool known)
{
    char root[4096], folder[4400], path[4500];
    int checked = 0;
    DIR *listing = opendir(golden_path(where, root));
    if (listing == NULL)
        return 0;
    for (struct dirent *entry = readdir(listing); entry != NULL; entry = readdir(listing)) {
        rlhfi_json *file = NULL;
        snprintf(folder, sizeof folder, "%s/%s", root, entry->d_name);
        snprintf(path, sizeof path, "%s/config.json", folder);
        if (entry->d_name[0] == '.' || access(path, R_OK) != 0)
            continue;
        assert_success(group_context, rlhfi_json_load(&file, group_context, path, 1 << 20));
        const char *type = rlhfi_json_text(rlhfi_json_get(file, "model_type"), NULL);
        assert_non_null(type);
        bool ours = strcmp(type, "gpt2") == 0 || strcmp(type, "llama") == 0;
        if (ours == known) {
            print_message("%s/%s\n", where, entry->d_name);
            if (known)
                check_known(folder, file);
            else
                check_unknown(folder, type);
            checked++;
        }
        rlhfi_json_release(&file);
    }
    closedir(listing);
    return checked;
}

static void agrees_with_the_fixtures(void **state)
{
    char path[4096];
    (void)state;
    if (check_folders("models", true) + check_folders("trl", true) == 0)
        SKIP("%s has no model that is gpt2 or llama", golden_path("models", path));
}

static void names_the_models_it_cannot_do(void **state)
{
    char path[4096];
    (void)state;
    if (check_folders("models", false) == 0)
        SKIP("%s has no model of another type", golden_path("models", path));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_fixtures),
        cmocka_unit_test(names_the_models_it_cannot_do),
    };

    return cmocka_run_group_tests_name("hf_configs", tests, group_setup, group_teardown);
}
