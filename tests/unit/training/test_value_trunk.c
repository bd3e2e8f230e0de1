/* PPO with policy and value model on one trunk: one role, one pass, and the same run as with two models where the value
 * loss has no weight. */
#include "runs.h"

static rlhf_context *context;

static int setup(void **state)
{
    (void)state;
    context = make_context(1, ~0u, 1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rlhf_context_release(&context);
    return 0;
}

static rlhf_trainer *create(struct parts *parts)
{
    rlhf_trainer *trainer;

    CHECK(parts->context, rlhf_trainer_create(&trainer, parts->context, parts->recipe, &parts->options));
    return trainer;
}

static void make_shared(struct parts *parts, rlhf_context *with)
{
    make_parts(parts, with, "ppo");
    set(with, parts->recipe, "share_value_trunk", "true");
}

/* A value loss of weight 0 leaves the values at 0 in both runs, so all else must be equal: every logged number, every
 * weight. */
static void test_without_value_loss_it_is_the_separate_run(void **state)
{
    char hash[2][65];
    rlhfi_meters logged[2][4];

    (void)state;
    for (int share = 0; share < 2; share++) {
        struct parts parts;
        rlhf_trainer *trainer;
        make_parts(&parts, context, "ppo");
        set(context, parts.recipe, "share_value_trunk", share == 1 ? "true" : "false");
        set(context, parts.recipe, "vf_coef", "0");
        set(context, parts.recipe, "gradient_accumulation_steps", "2");
        trainer = create(&parts);
        assert_int_equal(trainer->state.roles, share == 1 ? 1 : 2);
        for (int step = 0; step < 4; step++) {
            CHECK(context, rlhf_trainer_step(trainer));
            logged[share][step] = trainer->logged;
        }
        result_hash(context, trainer, hash[share]);
        rlhf_trainer_release(&trainer);
        release_parts(&parts);
    }
    assert_string_equal(hash[0], hash[1]);
    for (int step = 0; step < 4; step++) {
        assert_int_equal(logged[0][step].count, logged[1][step].count);
        for (int32_t i = 0; i < logged[0][step].count; i++) {
            double a = rlhfi_meter_value(&logged[0][step], i), b = rlhfi_meter_value(&logged[1][step], i);
            if (!(a == b || (isnan(a) && isnan(b))))
                fail_msg("step %d, %s: %.17g and %.17g", step, logged[0][step].name[i], a, b);
        }
    }
}

/* With a weight it moves the head, and through the trunk the policy. */
static void test_the_value_loss_reaches_the_trunk(void **state)
{
    char hash[2][65];

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct parts parts;
        rlhf_trainer *trainer;
        double size = 0;
        make_shared(&parts, context);
        set(context, parts.recipe, "vf_coef", i == 0 ? "0" : "0.5");
        trainer = create(&parts);
        CHECK(context, rlhf_trainer_run(trainer));
        for (int64_t j = 0; j < parts.policy->model->architecture.width; j++)
            size += fabs((double)rlhfi_value_head_weight(parts.policy->model)[j]);
        assert_true(i == 0 ? size == 0 : size > 0.01);
        result_hash(context, trainer, hash[i]);
        rlhf_trainer_release(&trainer);
        release_parts(&parts);
    }
    assert_string_not_equal(hash[0], hash[1]);
}

/* The first ratio is exactly 1: sampling without the head and training with it are the same policy. Values before the
 * first update are 0; they follow the scores upwards. */
static void test_learns(void **state)
{
    struct parts parts;
    rlhf_trainer *trainer;
    double first = 0, last = 0, value = 0;

    (void)state;
    make_shared(&parts, context);
    set(context, parts.recipe, "max_steps", "40");
    set(context, parts.recipe, "lr_scheduler_type", "constant");
    set(context, parts.recipe, "num_mini_batches", "1");
    set(context, parts.recipe, "num_ppo_epochs", "1");
    set(context, parts.recipe, "per_device_train_batch_size", "32");
    set(context, parts.recipe, "kl_coef", "0.01");
    set(context, parts.recipe, "adaptive_kl", "false");
    set(context, parts.recipe, "vf_coef", "0.5");
    set(context, parts.recipe, "cliprange_value", "0");
    trainer = create(&parts);
    for (int step = 0; step < 40; step++) {
        CHECK(context, rlhf_trainer_step(trainer));
        assert_true(metric(context, trainer, "val/ratio") == 1);
        assert_true(metric(context, trainer, "val/ratio_var") == 0);
        if (step == 0)
            assert_true(metric(context, trainer, "rlhf/value_mean") == 0);
        if (step < 5)
            first += metric(context, trainer, "objective/scores") / 5;
        if (step >= 35) {
            last += metric(context, trainer, "objective/scores") / 5;
            value += metric(context, trainer, "rlhf/value_mean") / 5;
        }
    }
    print_message("scores %.3f to %.3f, values at the end %.3f\n", first, last, value);
    assert_true(last > first + 1);
    assert_true(value > 1 && value < last);
    rlhf_trainer_release(&trainer);
    release_parts(&parts);
}

/* Everything that the run ends with, the head and its moments included. */
static void end_state(rlhf_trainer *trainer, char hash[65])
{
    const rlhfi_role *role = &trainer->state.role[0];
    int64_t count = role->model->weights->count;
    rlhfi_sha256 sum;

    assert_int_equal(trainer->state.roles, 1);
    rlhfi_sha256_init(&sum);
    rlhfi_sha256_add(&sum, role->model->weights->data, (size_t)count * sizeof(float));
    rlhfi_sha256_add(&sum, rlhfi_optimizer_first_moment(role->optimizer), (size_t)count * sizeof(float));
    rlhfi_sha256_add(&sum, rlhfi_optimizer_second_moment(role->optimizer), (size_t)count * sizeof(float));
    rlhfi_sha256_hex(&sum, hash);
}

static void test_resumes_to_the_same_bits(void **state)
{
    char root[64], path[96], hash[4][65];

    (void)state;
    make_directory(root);
    for (int stop = 0; stop < 4; stop++) {
        snprintf(path, sizeof path, "%s/stop%d", root, stop);
        for (int part = stop == 0; part < 2; part++) {
            struct parts parts;
            rlhf_trainer *trainer;
            make_shared(&parts, context);
            parts.options.output_dir = path;
            parts.options.resume = part;
            trainer = create(&parts);
            for (int i = 0; part == 0 && i < stop; i++)
                CHECK(context, rlhf_trainer_step(trainer));
            if (part == 0) {
                CHECK(context, rlhf_trainer_save(trainer));
                CHECK(context, rlhf_trainer_step(trainer)); /* what the checkpoint does not know */
            } else {
                assert_int_equal(trainer->state.step, stop);
                CHECK(context, rlhf_trainer_run(trainer));
                end_state(trainer, hash[stop]);
            }
            rlhf_trainer_release(&trainer);
            release_parts(&parts);
        }
        assert_string_equal(hash[0], hash[stop]);
    }
    /* The result is a policy as any other: the head stays with the run. */
    snprintf(path, sizeof path, "%s/stop0/model", root);
    {
        rlhf_policy *policy;
        CHECK(context, rlhf_policy_load(&policy, context, path, NULL));
        assert_null(rlhfi_value_head_weight(policy->model));
        rlhf_policy_release(&policy);
    }
    remove_directory(context, root);
}

static void test_machines(void **state)
{
    static const struct { int32_t threads; uint32_t mask; int32_t blis; } machines[] = {
        {1, ~0u, 1}, {2, 0, 0}, {2, RLHF_CPU_AVX2, 1}, {4, ~0u, 0},
    };
    char hash[4][65];

    (void)state;
    for (int m = 0; m < 4; m++) {
        rlhf_context *with = make_context(machines[m].threads, machines[m].mask, machines[m].blis);
        struct parts parts;
        rlhf_trainer *trainer;
        make_shared(&parts, with);
        CHECK(with, rlhf_trainer_create(&trainer, with, parts.recipe, &parts.options));
        CHECK(with, rlhf_trainer_run(trainer));
        end_state(trainer, hash[m]);
        assert_string_equal(hash[0], hash[m]);
        rlhf_trainer_release(&trainer);
        release_parts(&parts);
        rlhf_context_release(&with);
    }
}

/* ---- handles of the caller's ------------------------------------------------------------------------------------- */

/* A value model that was made on the policy is recognised without the key. */
static void test_a_given_handle(void **state)
{
    struct parts parts;
    rlhf_value_model *value;
    rlhf_trainer *trainer;
    char by_key[65], given[65];

    (void)state;
    make_shared(&parts, context);
    trainer = create(&parts);
    CHECK(context, rlhf_trainer_run(trainer));
    end_state(trainer, by_key);
    rlhf_trainer_release(&trainer);
    release_parts(&parts);

    make_parts(&parts, context, "ppo");
    CHECK(context, rlhf_value_model_on_policy(&value, parts.policy));
    parts.options.value_model = value;
    trainer = create(&parts);
    CHECK(context, rlhf_trainer_run(trainer));
    end_state(trainer, given);
    assert_string_equal(by_key, given);
    rlhf_trainer_release(&trainer);
    rlhf_value_model_release(&value);
    release_parts(&parts);
}

static void test_refusals(void **state)
{
    struct parts parts;
    rlhf_value_model *value;
    rlhf_optimizer *optimizer;
    rlhf_optimizer_options options;
    rlhf_trainer *trainer;
    double norm, rate;

    (void)state;
    make_shared(&parts, context);
    CHECK(context, rlhf_value_model_from_policy(&value, parts.policy));
    parts.options.value_model = value;
    assert_int_equal(rlhf_trainer_create(&trainer, context, parts.recipe, &parts.options), RLHF_E_INVAL);
    assert_error(context, "share_value_trunk: the value model that was given has a trunk of its own");
    parts.options.value_model = NULL;
    set(context, parts.recipe, "value_model_path", "somewhere");
    assert_int_equal(rlhf_trainer_create(&trainer, context, parts.recipe, &parts.options), RLHF_E_INVAL);
    assert_error(context, "share_value_trunk: value_model_path is set too");
    rlhf_value_model_release(&value);

    /* An optimizer has moments for the weights that it knew. */
    rlhf_optimizer_options_init(&options, sizeof options);
    CHECK(context, rlhf_optimizer_create_policy(&optimizer, parts.policy, &options));
    CHECK(context, rlhf_optimizer_step(optimizer, &norm, &rate));
    CHECK(context, rlhf_value_model_on_policy(&value, parts.policy));
    assert_int_equal(rlhf_optimizer_step(optimizer, &norm, &rate), RLHF_E_INVAL);
    assert_error(context, "since it got a value head");
    rlhf_optimizer_release(&optimizer);
    CHECK(context, rlhf_optimizer_create_value_model(&optimizer, value, &options));
    CHECK(context, rlhf_optimizer_step(optimizer, &norm, &rate));
    rlhf_optimizer_release(&optimizer);
    rlhf_value_model_release(&value);
    release_parts(&parts);
}

/* Where nobody asks for values, a policy with the head trains as one without. */
static void test_other_methods_do_not_see_it(void **state)
{
    static const char *const methods[] = {"sft", "reinforce", "raft"};

    (void)state;
    for (int m = 0; m < 3; m++) {
        char hash[2][65];
        for (int head = 0; head < 2; head++) {
            struct parts parts;
            rlhf_value_model *value = NULL;
            rlhf_trainer *trainer;
            make_parts(&parts, context, methods[m]);
            if (head == 1) {
                CHECK(context, rlhf_value_model_on_policy(&value, parts.policy));
                for (int i = 0; i < 16; i++)
                    rlhfi_value_head_weight(parts.policy->model)[i] = (float)i;
            }
            trainer = create(&parts);
            CHECK(context, rlhf_trainer_run(trainer));
            result_hash(context, trainer, hash[head]);
            for (int i = 0; head == 1 && i < 16; i++)
                assert_true(rlhfi_value_head_weight(parts.policy->model)[i] == (float)i);
            rlhf_trainer_release(&trainer);
            rlhf_value_model_release(&value);
            release_parts(&parts);
        }
        assert_string_equal(hash[0], hash[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_value_loss_it_is_the_separate_run),
        cmocka_unit_test(test_the_value_loss_reaches_the_trunk),
        cmocka_unit_test(test_learns),
        cmocka_unit_test(test_resumes_to_the_same_bits),
        cmocka_unit_test(test_machines),
        cmocka_unit_test(test_a_given_handle),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_other_methods_do_not_see_it),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
