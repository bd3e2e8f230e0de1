/* Structs as callers compiled against every earlier version have them. Each one, in each size that layout.txt lists,
 * stands at the end of a page behind which nothing may be touched; the library must take it, and must not write or read
 * beyond it. */
#include "../../examples/tiny_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#include <cmocka.h>

static const char *layout_path;

/* ---- a page and its guard ---------------------------------------------------------------------------------------- */

static unsigned char *page;
static size_t page_size;

static int open_page(void **state)
{
    (void)state;
    page_size = (size_t)sysconf(_SC_PAGESIZE);
    page = mmap(NULL, 2 * page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return page == MAP_FAILED || mprotect(page + page_size, page_size, PROT_NONE) != 0;
}

static int close_page(void **state)
{
    (void)state;
    return munmap(page, 2 * page_size);
}

/* A struct of this size, its last byte the page's last, full of rubbish but for struct_size. */
static void *at_end(size_t size)
{
    void *place = page + page_size - size;
    uint32_t written = (uint32_t)size;

    memset(page, 0xa5, page_size);
    memcpy(place, &written, sizeof written);
    return place;
}

/* The same as a copy of a whole struct's beginning. */
static void *copy_at_end(const void *whole, size_t size)
{
    unsigned char *place = at_end(size);

    memcpy(place + sizeof(uint32_t), (const unsigned char *)whole + sizeof(uint32_t), size - sizeof(uint32_t));
    return place;
}

/* ---- sizes from layout.txt --------------------------------------------------------------------------------------- */

enum { MOST_SIZES = 64 };
typedef struct sizes {
    size_t size[MOST_SIZES];
    int count;
} sizes;

static sizes sizes_of(const char *name)
{
    sizes found = {.count = 0};
    FILE *file = fopen(layout_path, "r");
    char line[1024];

    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL) {
        char *word = strtok(line, " \n");
        if (word == NULL || strcmp(word, "struct") != 0 || (word = strtok(NULL, " \n")) == NULL ||
            strcmp(word, name) != 0)
            continue;
        while ((word = strtok(NULL, " \n")) != NULL && found.count < MOST_SIZES)
            found.size[found.count++] = (size_t)strtoul(word, NULL, 10);
    }
    fclose(file);
    if (found.count == 0)
        fail_msg("%s: %s is not there", layout_path, name);
    return found;
}

/* ---- something to make everything from --------------------------------------------------------------------------- */

static rlhf_context *context;
static rlhf_tokenizer *tokenizer;
static rlhf_policy *policy;
static rlhf_dataset *prompts;
static rlhf_recipe *recipe;
static rlhf_scorer *scorer;
static tiny_world world;

static void check(rlhf_status status, const char *what)
{
    char text[512];

    rlhf_context_error(context, text, sizeof text);
    if (status != RLHF_OK)
        fail_msg("%s: %s: %s", what, rlhf_status_name(status), text);
}
#define CHECK(call) check(call, #call)

static rlhf_status score_zero(void *user_data, const rlhf_score_input *in, double *score)
{
    (void)user_data;
    for (int64_t row = 0; row < in->rows; row++)
        score[row] = 0;
    return RLHF_OK;
}

static int open_world(void **state)
{
    (void)state;
    CHECK(rlhf_context_create(&context, NULL));
    CHECK(tiny_world_make(&world, context));
    CHECK(rlhf_tokenizer_load(&tokenizer, context, world.model));
    CHECK(rlhf_policy_load(&policy, context, world.model, NULL));
    CHECK(rlhf_dataset_load(&prompts, context, world.prompts, NULL));
    CHECK(rlhf_scorer_create(&scorer, context, "zero", score_zero, NULL, NULL));
    CHECK(rlhf_recipe_create(&recipe, context, "ppo"));
    CHECK(rlhf_recipe_set(recipe, "max_steps", "1"));
    CHECK(rlhf_recipe_set(recipe, "response_length", "4"));
    return open_page(state);
}

static int close_world(void **state)
{
    rlhf_recipe_release(&recipe);
    rlhf_scorer_release(&scorer);
    rlhf_dataset_release(&prompts);
    rlhf_policy_release(&policy);
    rlhf_tokenizer_release(&tokenizer);
    rlhf_context_release(&context);
    return close_page(state);
}

/* ---- options ----------------------------------------------------------------------------------------------------- */

static rlhf_status use_context(const void *options)
{
    rlhf_context *made;
    rlhf_status status = rlhf_context_create(&made, options);

    rlhf_context_release(&made);
    return status;
}

static rlhf_status use_dataset(const void *options)
{
    rlhf_dataset *made;
    rlhf_status status = rlhf_dataset_load(&made, context, world.prompts, options);

    rlhf_dataset_release(&made);
    return status;
}

static rlhf_status use_model(const void *options)
{
    rlhf_policy *made;
    rlhf_status status = rlhf_policy_load(&made, context, world.model, options);

    rlhf_policy_release(&made);
    return status;
}

static rlhf_status use_optimizer(const void *options)
{
    rlhf_optimizer *made;
    rlhf_status status = rlhf_optimizer_create_policy(&made, policy, options);

    rlhf_optimizer_release(&made);
    return status;
}

static rlhf_status use_rollout(const void *options)
{
    rlhf_batch *batch;
    rlhf_rollout *made;
    rlhf_status status;

    CHECK(rlhf_batch_tokenize(&batch, tokenizer, prompts, 0, 2, 0));
    status = rlhf_rollout_run(&made, policy, batch, options, NULL, NULL);
    rlhf_rollout_release(&made);
    rlhf_batch_release(&batch);
    return status;
}

static rlhf_status use_trainer(const void *options)
{
    rlhf_trainer_options *own = (rlhf_trainer_options *)options; /* these members are as old as the struct */
    rlhf_trainer *made;
    rlhf_status status;

    own->policy = policy;
    own->tokenizer = tokenizer;
    own->dataset = prompts;
    own->scorer = scorer;
    own->output_dir = "";
    status = rlhf_trainer_create(&made, context, recipe, options);
    rlhf_trainer_release(&made);
    return status;
}

static rlhf_status use_shape(const void *shape)
{
    rlhf_memory_plan plan = {.struct_size = sizeof plan};
    rlhf_reward_model *judge;
    rlhf_value_model *critic;
    rlhf_status status;

    CHECK(rlhf_reward_model_from_policy(&judge, policy, 1));
    CHECK(rlhf_value_model_from_policy(&critic, policy));
    status = rlhf_policy_memory_plan(policy, shape, &plan);
    if (status == RLHF_OK)
        status = rlhf_value_model_memory_plan(critic, shape, &plan);
    if (status == RLHF_OK)
        status = rlhf_reward_model_memory_plan(judge, shape, &plan);
    rlhf_value_model_release(&critic);
    rlhf_reward_model_release(&judge);
    assert_true(status != RLHF_OK || plan.total > 0);
    return status;
}

/* One type for all init functions. */
#define INIT(name, function)                                                                                           \
    static void name(void *options, size_t size)                                                                       \
    {                                                                                                                  \
        function(options, size);                                                                                       \
    }
INIT(init_context, rlhf_context_options_init)
INIT(init_dataset, rlhf_dataset_options_init)
INIT(init_model, rlhf_model_options_init)
INIT(init_optimizer, rlhf_optimizer_options_init)
INIT(init_rollout, rlhf_rollout_options_init)
INIT(init_trainer, rlhf_trainer_options_init)
INIT(init_shape, rlhf_memory_shape_init)

#define OPTIONS(name) {"rlhf_" #name "_options", init_##name, use_##name}
static const struct kind {
    const char *name;
    void (*init)(void *options, size_t size);
    rlhf_status (*use)(const void *options);
} kinds[] = {
    OPTIONS(context), OPTIONS(dataset), OPTIONS(model), OPTIONS(optimizer), OPTIONS(rollout), OPTIONS(trainer),
    {"rlhf_memory_shape", init_shape, use_shape},
};

static void options_of_every_size(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        sizes known = sizes_of(kinds[k].name);
        for (int s = 0; s < known.count; s++) {
            unsigned char *options = at_end(known.size[s]);
            kinds[k].init(options, known.size[s]);
            assert_int_equal(*(uint32_t *)options, known.size[s]);
            assert_int_equal(options[-1], 0xa5);
            check(kinds[k].use(options), kinds[k].name);
        }
    }
}

/* A newer program with an older library: what the library does not know must be unset. */
static void options_of_tomorrow(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        sizes known = sizes_of(kinds[k].name);
        size_t size = known.size[known.count - 1] + 16;
        unsigned char *options = at_end(size);
        kinds[k].init(options, size);
        check(kinds[k].use(options), kinds[k].name);
        options[size - 1] = 1;
        assert_int_equal(kinds[k].use(options), RLHF_E_UNSUPPORTED);
        options = at_end(known.size[0]);
        kinds[k].init(options, known.size[0]);
        *(uint32_t *)options = (uint32_t)known.size[0] - 4; /* older than the oldest */
        assert_int_equal(kinds[k].use(options), RLHF_E_INVAL);
        for (size_t small = 0; small <= 8; small += 2) { /* init writes no more than it is given */
            options = at_end(small > 4 ? small : 4);
            kinds[k].init(options, small);
        }
        kinds[k].init(NULL, 100);
    }
}

static rlhf_status no_loss(void *user_data, const rlhf_token_loss_input *in, rlhf_token_loss_output *out)
{
    (void)user_data;
    out->loss = in->rows != 3;
    return RLHF_OK;
}

static void vtables_of_every_size(void **state)
{
    const rlhf_objective_vtable whole = {.name = "old", .token_loss = no_loss};
    sizes known = sizes_of("rlhf_objective_vtable");

    (void)state;
    for (int s = 0; s < known.count; s++) {
        rlhf_objective *objective;
        CHECK(rlhf_objective_create(&objective, context, copy_at_end(&whole, known.size[s]), NULL));
        rlhf_objective_release(&objective);
    }
}

/* ---- views that the library fills -------------------------------------------------------------------------------- */

static rlhf_batch *batch;
static rlhf_rollout *rollout;
static rlhf_trainer *trainer;
static rlhf_pipeline *pipeline;

static rlhf_status fill_batch(void *view)
{
    return rlhf_batch_get(batch, view);
}

static rlhf_status fill_rollout(void *view)
{
    return rlhf_rollout_get(rollout, view);
}

static rlhf_status fill_row(void *view)
{
    return rlhf_dataset_row(prompts, 1, view);
}

static rlhf_status fill_parameter(void *view)
{
    return rlhf_policy_parameter(policy, 0, view);
}

static rlhf_status fill_key(void *view)
{
    return rlhf_recipe_key("ppo", 0, view);
}

static rlhf_status fill_metrics(void *view)
{
    return rlhf_trainer_metrics(trainer, view);
}

static rlhf_status fill_progress(void *view)
{
    return rlhf_trainer_progress(trainer, view);
}

static rlhf_status fill_stage(void *view)
{
    return rlhf_pipeline_get(pipeline, 0, view);
}

static rlhf_status fill_calibration(void *view)
{
    static const double chosen[] = {1, 2, 3}, rejected[] = {0, 3, 1};

    return rlhf_evaluate_calibration(chosen, rejected, 3, view);
}

static rlhf_status fill_plan(void *view)
{
    return rlhf_policy_memory_plan(policy, NULL, view);
}

static void make_pipeline(void)
{
    char path[128];
    FILE *file;

    snprintf(path, sizeof path, "%s/pipeline.yaml", world.directory);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs("stages:\n  - name: first\n    method: sft\n    dataset_name: x.jsonl\n", file);
    fclose(file);
    if (rlhf_pipeline_load(&pipeline, context, path, world.directory) != RLHF_E_UNSUPPORTED)
        assert_non_null(pipeline);
}

static void views_of_every_size(void **state)
{
    static const struct {
        const char *name;
        rlhf_status (*fill)(void *view);
    } views[] = {
        {"rlhf_batch_view", fill_batch},         {"rlhf_rollout_view", fill_rollout},
        {"rlhf_row", fill_row},                  {"rlhf_parameter_view", fill_parameter},
        {"rlhf_key_view", fill_key},             {"rlhf_metrics", fill_metrics},
        {"rlhf_progress", fill_progress},        {"rlhf_pipeline_stage", fill_stage},
        {"rlhf_calibration", fill_calibration},  {"rlhf_memory_plan", fill_plan},
    };
    rlhf_trainer_options options;
    rlhf_rollout_options sampling;

    (void)state;
    rlhf_trainer_options_init(&options, sizeof options);
    options.policy = policy;
    options.tokenizer = tokenizer;
    options.dataset = prompts;
    options.scorer = scorer;
    options.output_dir = "";
    CHECK(rlhf_trainer_create(&trainer, context, recipe, &options));
    CHECK(rlhf_trainer_step(trainer));
    CHECK(rlhf_batch_tokenize(&batch, tokenizer, prompts, 0, 2, 0));
    rlhf_rollout_options_init(&sampling, sizeof sampling);
    CHECK(rlhf_rollout_run(&rollout, policy, batch, &sampling, NULL, NULL));
    make_pipeline();
    for (size_t v = 0; v < sizeof views / sizeof views[0]; v++) {
        sizes known = sizes_of(views[v].name);
        if (views[v].fill == fill_stage && pipeline == NULL)
            continue; /* built without YAML */
        for (int s = 0; s < known.count; s++) {
            unsigned char *view = at_end(known.size[s]);
            check(views[v].fill(view), views[v].name);
            assert_int_equal(view[-1], 0xa5);
            assert_int_equal(*(uint32_t *)view, known.size[s]);
        }
        assert_int_equal(views[v].fill(at_end(8)), RLHF_E_INVAL);
    }
    rlhf_pipeline_release(&pipeline);
    rlhf_trainer_release(&trainer);
    rlhf_rollout_release(&rollout);
    rlhf_batch_release(&batch);
}

/* ---- inputs of objectives ---------------------------------------------------------------------------------------- */

static void inputs_of_every_size(void **state)
{
    static const int64_t offset[] = {0, 1, 2};
    static const double some[] = {-1, -2};
    static double a[2], b[2];
    const rlhf_token_loss_input in = {.rows = 2, .offset = offset, .log_prob = some, .denominator = 2};
    const rlhf_token_loss_output out = {.d_log_prob = a};
    const rlhf_pair_loss_input pairs = {.pairs = 2, .chosen = some, .rejected = some, .denominator = 2};
    const rlhf_pair_loss_output pairs_out = {.d_chosen = a, .d_rejected = b};
    sizes known = sizes_of("rlhf_token_loss_input");
    rlhf_objective *objective;

    (void)state;
    CHECK(rlhf_objective_builtin(&objective, context, "sft"));
    for (int s = 0; s < known.count; s++) {
        rlhf_token_loss_output result = out;
        result.struct_size = sizeof result;
        CHECK(rlhf_objective_token_loss(objective, copy_at_end(&in, known.size[s]), &result));
        assert_true(result.loss == 1.5);
    }
    known = sizes_of("rlhf_token_loss_output");
    for (int s = 0; s < known.count; s++) {
        rlhf_token_loss_input input = in;
        rlhf_token_loss_output *result = copy_at_end(&out, known.size[s]);
        input.struct_size = sizeof input;
        CHECK(rlhf_objective_token_loss(objective, &input, result));
        assert_true(result->loss == 1.5);
    }
    rlhf_objective_release(&objective);
    CHECK(rlhf_objective_builtin(&objective, context, "bradley_terry"));
    known = sizes_of("rlhf_pair_loss_input");
    for (int s = 0; s < known.count; s++) {
        rlhf_pair_loss_output result = pairs_out;
        result.struct_size = sizeof result;
        CHECK(rlhf_objective_pair_loss(objective, copy_at_end(&pairs, known.size[s]), &result));
    }
    rlhf_objective_release(&objective);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_of_every_size), cmocka_unit_test(options_of_tomorrow),
        cmocka_unit_test(vtables_of_every_size), cmocka_unit_test(views_of_every_size),
        cmocka_unit_test(inputs_of_every_size),
    };

    if (argc != 2)
        return 2;
    layout_path = argv[1];
    return cmocka_run_group_tests(tests, open_world, close_world);
}
