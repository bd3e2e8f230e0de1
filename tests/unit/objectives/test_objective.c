/* The handle: who owns what, what is refused, what comes out of a user's v-table. */
#include "helper.h"

/* ---- an objective of the user's ---------------------------------------------------------------------------------- */

struct mine {
    int destroyed, called, released_inside;
    rlhf_status answer, nested;
    double loss, slope;         /* what pair_loss writes; slope goes into every d_chosen, and d_rejected[0] */
    rlhf_objective *handle;     /* called back into if not NULL */
    bool release;
    double key;
    unsigned char state[3];
    uint32_t need;
};

static void mine_destroy(void *user_data)
{
    ((struct mine *)user_data)->destroyed++;
}

static rlhf_status mine_pair_loss(void *user_data, const rlhf_pair_loss_input *in, rlhf_pair_loss_output *out)
{
    struct mine *mine = user_data;
    double value;

    mine->called++;
    for (int64_t i = 0; i < in->pairs; i++) {
        assert_true(out->d_chosen[i] == 0 && out->d_rejected[i] == 0);
        out->d_chosen[i] = mine->slope;
    }
    if (in->pairs > 0)
        out->d_rejected[0] = mine->slope;
    assert_true(out->loss == 0);
    out->loss = mine->loss;
    if (mine->handle != NULL) {
        mine->nested = rlhf_objective_pair_loss(mine->handle, in, out);
        assert_int_equal(rlhf_objective_set(mine->handle, "key", 1), RLHF_E_BUSY);
        assert_int_equal(rlhf_objective_get(mine->handle, "key", &value), RLHF_E_BUSY);
        if (mine->release) {
            rlhf_objective_release(&mine->handle);
            mine->released_inside = mine->destroyed == 0;
        }
    }
    return mine->answer;
}

static rlhf_status mine_set(void *user_data, const char *name, double value)
{
    if (strcmp(name, "key") != 0)
        return RLHF_E_INVAL;
    ((struct mine *)user_data)->key = value;
    return value < 0 ? RLHF_E_RANGE : RLHF_OK;
}

static rlhf_status mine_get(void *user_data, const char *name, double *value)
{
    *value = ((struct mine *)user_data)->key;
    return strcmp(name, "key") == 0 ? RLHF_OK : RLHF_E_INVAL;
}

static rlhf_status mine_save(void *user_data, void *buffer, size_t capacity, size_t *needed)
{
    struct mine *mine = user_data;

    *needed = sizeof mine->state;
    if (buffer != NULL) {
        assert_true(capacity >= sizeof mine->state);
        memcpy(buffer, mine->state, sizeof mine->state);
    }
    return RLHF_OK;
}

static rlhf_status mine_load(void *user_data, const void *buffer, size_t bytes)
{
    struct mine *mine = user_data;

    if (bytes != sizeof mine->state)
        return RLHF_E_USER_FIRST - 7;
    memcpy(mine->state, buffer, bytes);
    return RLHF_OK;
}

static uint32_t mine_need(void *user_data)
{
    return ((struct mine *)user_data)->need;
}

static rlhf_objective_vtable vtable(void)
{
    return SIZED(rlhf_objective_vtable, .name = "mine", .need = RLHF_NEED_VALUE, .pair_loss = mine_pair_loss,
                 .set = mine_set, .get = mine_get, .save = mine_save, .load = mine_load, .destroy = mine_destroy);
}

static rlhf_objective *create(struct mine *mine)
{
    rlhf_objective_vtable table = vtable();
    rlhf_objective *objective;

    assert_ok(rlhf_objective_create(&objective, context, &table, mine));
    memset(&table, 0xee, sizeof table); /* it was copied */
    return objective;
}

static rlhf_status two_pairs(rlhf_objective *objective, rlhf_pair_loss_output *out)
{
    static const double chosen[] = {1, 2}, rejected[] = {0, 3};
    rlhf_pair_loss_input in = SIZED(rlhf_pair_loss_input, .pairs = 2, .chosen = chosen, .rejected = rejected,
                                    .denominator = 2);

    return rlhf_objective_pair_loss(objective, &in, out);
}

/* ---- tests ------------------------------------------------------------------------------------------------------- */

static void a_users_objective_is_called_and_destroyed_once(void **state)
{
    struct mine mine = {.loss = 0.5, .slope = 2, .need = RLHF_NEED_ENTROPY};
    rlhf_objective *objective = create(&mine), *second;
    double chosen[] = {7, 7}, rejected[] = {7, 7};
    rlhf_pair_loss_output out = SIZED(rlhf_pair_loss_output, .d_chosen = chosen, .d_rejected = rejected, .loss = 9);

    assert_string_equal(rlhfi_objective_name(objective), "mine");
    assert_int_equal(rlhf_objective_need(objective), RLHF_NEED_VALUE);
    assert_true(rlhfi_objective_has(objective, "pair_loss"));
    assert_false(rlhfi_objective_has(objective, "policy_loss"));
    assert_false(rlhfi_objective_has(objective, "anything"));
    assert_ok(two_pairs(objective, &out));
    assert_int_equal(mine.called, 1);
    assert_all(chosen, 2, 2);
    assert_all(rejected, 2, 0);
    assert_true(out.loss == 0.5);
    second = rlhfi_objective_retain(objective);
    rlhf_objective_release(&objective);
    assert_null(objective);
    assert_int_equal(mine.destroyed, 0);
    rlhf_objective_release(&second);
    assert_int_equal(mine.destroyed, 1);
    rlhf_objective_release(&second);
    rlhf_objective_release(NULL);
    assert_int_equal(mine.destroyed, 1);
}

static void the_context_may_be_released_first(void **state)
{
    struct mine mine = {.slope = 1};
    rlhf_objective *objective = create(&mine), *builtin = made("ppo", NULL);

    rlhf_context_release(&context);
    assert_int_equal(rlhf_objective_set(builtin, "vf_coef", 0.5), RLHF_OK);
    rlhf_objective_release(&builtin);
    rlhf_objective_release(&objective);
    assert_int_equal(mine.destroyed, 1);
}

static void a_failing_creation_destroys_once(void **state)
{
    struct mine mine = {0};
    rlhf_objective *objective = (rlhf_objective *)1;
    rlhf_objective_vtable table = vtable();
    struct { rlhf_objective_vtable table; void *later; } longer = {.table = vtable(), .later = &mine};
    int expected = 0;

    table.name = NULL;
    assert_refused(rlhf_objective_create(&objective, context, &table, &mine), RLHF_E_INVAL, "no name");
    assert_null(objective);
    assert_int_equal(mine.destroyed, ++expected);

    table = vtable();
    table.pair_loss = NULL;
    assert_refused(rlhf_objective_create(&objective, context, &table, &mine), RLHF_E_INVAL, "no piece");
    assert_int_equal(mine.destroyed, ++expected);

    table = vtable();
    table.load = NULL;
    assert_refused(rlhf_objective_create(&objective, context, &table, &mine), RLHF_E_INVAL, "come together");
    assert_int_equal(mine.destroyed, ++expected);

    table = vtable();
    table.need = 1u << 20;
    assert_refused(rlhf_objective_create(&objective, context, &table, &mine), RLHF_E_UNSUPPORTED, "need");
    assert_int_equal(mine.destroyed, ++expected);

    longer.table.struct_size = sizeof longer;
    assert_refused(rlhf_objective_create(&objective, context, &longer.table, &mine), RLHF_E_UNSUPPORTED, "v-table");
    assert_int_equal(mine.destroyed, ++expected);

    table = vtable();
    assert_int_equal(rlhf_objective_create(&objective, NULL, &table, &mine), RLHF_E_INVAL);
    assert_int_equal(mine.destroyed, ++expected);
    assert_refused(rlhf_objective_create(NULL, context, &table, &mine), RLHF_E_INVAL, "out");
    assert_int_equal(mine.destroyed, ++expected);
    assert_refused(rlhf_objective_create(&objective, context, NULL, &mine), RLHF_E_INVAL, "NULL");
    assert_int_equal(mine.destroyed, expected); /* nobody told which function */

    table.struct_size = 8;
    assert_refused(rlhf_objective_create(&objective, context, &table, &mine), RLHF_E_INVAL, "struct_size");
    assert_int_equal(mine.destroyed, expected);
}

static void a_shorter_and_a_longer_vtable_work(void **state)
{
    struct mine mine = {.need = RLHF_NEED_ENTROPY};
    rlhf_objective *objective;
    rlhf_objective_vtable table = vtable();
    struct { rlhf_objective_vtable table; void *later; } longer = {.table = vtable()};

    table.current_need = mine_need;
    assert_ok(rlhf_objective_create(&objective, context, &table, &mine));
    assert_int_equal(rlhf_objective_need(objective), RLHF_NEED_ENTROPY);
    rlhf_objective_release(&objective);

    table.struct_size = offsetof(rlhf_objective_vtable, current_need);
    assert_ok(rlhf_objective_create(&objective, context, &table, &mine));
    assert_int_equal(rlhf_objective_need(objective), RLHF_NEED_VALUE); /* what stands behind its end was not read */
    rlhf_objective_release(&objective);

    longer.table.struct_size = sizeof longer;
    assert_ok(rlhf_objective_create(&objective, context, &longer.table, &mine));
    rlhf_objective_release(&objective);
    assert_int_equal(mine.destroyed, 3);
}

static void memory_may_run_out(void **state)
{
    struct mine mine = {0};
    rlhf_objective_vtable table = vtable();
    rlhf_objective *objective;
    rlhf_status status;
    int destroyed = 0;
    int64_t live = live_blocks;

    for (fail_at = 1;; fail_at++) {
        calls = 0;
        status = rlhf_objective_create(&objective, context, &table, &mine);
        if (status == RLHF_OK)
            break;
        assert_int_equal(status, RLHF_E_NOMEM);
        assert_null(objective);
        assert_int_equal(mine.destroyed, ++destroyed);
        assert_int_equal(live_blocks, live);
    }
    assert_int_equal(destroyed, 2);
    rlhf_objective_release(&objective);
    for (fail_at = 1;; fail_at++) {
        calls = 0;
        status = rlhf_objective_builtin(&objective, context, "gae");
        if (status == RLHF_OK)
            break;
        assert_int_equal(status, RLHF_E_NOMEM);
        assert_int_equal(live_blocks, live);
    }
    assert_int_equal(fail_at, 4);
    fail_at = 0;
    rlhf_objective_release(&objective);
    assert_int_equal(live_blocks, live);
}

static void calling_back_is_busy(void **state)
{
    struct mine mine = {.loss = 1, .slope = 1};
    rlhf_objective *objective = create(&mine);
    double chosen[2], rejected[2];
    rlhf_pair_loss_output out = SIZED(rlhf_pair_loss_output, .d_chosen = chosen, .d_rejected = rejected);

    mine.handle = objective;
    assert_ok(two_pairs(objective, &out));
    assert_int_equal(mine.called, 1);
    assert_int_equal(mine.nested, RLHF_E_BUSY);
    assert_string_equal(error_text(), ""); /* the outer call succeeded */
    mine.handle = NULL;
    assert_ok(two_pairs(objective, &out));
    assert_int_equal(mine.called, 2);

    mine.handle = objective;
    mine.release = true;
    assert_ok(two_pairs(objective, &out)); /* released by the function itself: gone when it is over */
    assert_int_equal(mine.released_inside, 1);
    assert_int_equal(mine.destroyed, 1);
}

static void a_status_comes_out_as_it_went_in(void **state)
{
    struct mine mine = {.answer = RLHF_E_USER_FIRST - 42, .loss = NAN};
    rlhf_objective *objective = create(&mine);
    double chosen[2], rejected[2];
    rlhf_pair_loss_output out = SIZED(rlhf_pair_loss_output, .d_chosen = chosen, .d_rejected = rejected);

    assert_refused(two_pairs(objective, &out), RLHF_E_USER_FIRST - 42, "objective mine: its pair_loss returned -10042");
    mine.answer = 5;
    assert_refused(two_pairs(objective, &out), 5, "returned 5");
    rlhf_objective_release(&objective);
}

static void what_is_not_finite_is_refused(void **state)
{
    struct mine mine = {.loss = INFINITY};
    rlhf_objective *objective = create(&mine);
    double chosen[2], rejected[2], bad[] = {1, NAN};
    rlhf_pair_loss_output out = SIZED(rlhf_pair_loss_output, .d_chosen = chosen, .d_rejected = rejected);
    rlhf_pair_loss_input in = SIZED(rlhf_pair_loss_input, .pairs = 2, .chosen = bad, .rejected = bad, .denominator = 2);

    assert_refused(two_pairs(objective, &out), RLHF_E_NONFINITE, "the loss");
    mine.loss = 1;
    mine.slope = NAN;
    assert_refused(two_pairs(objective, &out), RLHF_E_NONFINITE, "d_chosen[0] is nan");
    mine.called = 0;
    assert_refused(rlhf_objective_pair_loss(objective, &in, &out), RLHF_E_NONFINITE, "chosen[1] is nan");
    in.chosen = (const double[]){1, 2};
    in.rejected = (const double[]){1, 2};
    in.margin = (const double[]){-INFINITY, 0};
    assert_refused(rlhf_objective_pair_loss(objective, &in, &out), RLHF_E_NONFINITE, "margin[0] is -inf");
    assert_int_equal(mine.called, 0);
    rlhf_objective_release(&objective);
}

static void wrong_arguments_are_named(void **state)
{
    rlhf_objective *pairs = made("bradley_terry", NULL), *ppo = made("ppo", "entropy_coef", 0.1, NULL);
    double x[4] = {0}, out_x[4];
    const int64_t bad_start[] = {1, 2}, falling[] = {0, 3, 2};
    rlhf_pair_loss_input in = SIZED(rlhf_pair_loss_input, .pairs = 1, .chosen = x, .rejected = x, .denominator = 1);
    rlhf_pair_loss_output out = SIZED(rlhf_pair_loss_output, .d_chosen = out_x, .d_rejected = out_x + 1);
    rlhf_policy_loss_input policy = SIZED(rlhf_policy_loss_input, .rows = 1, .offset = bad_start, .log_prob = x,
                                          .log_prob_old = x, .advantage = x, .denominator = 2, .denominator_rows = 1);
    rlhf_policy_loss_output made_out = SIZED(rlhf_policy_loss_output, .d_log_prob = out_x);
    struct { rlhf_pair_loss_input in; int64_t later; } longer = {.in = in};

    assert_int_equal(rlhf_objective_pair_loss(NULL, &in, &out), RLHF_E_INVAL);
    assert_int_equal(rlhf_objective_pair_loss(pairs, NULL, &out), RLHF_E_INVAL);
    assert_int_equal(rlhf_objective_pair_loss(pairs, &in, NULL), RLHF_E_INVAL);
    assert_refused(rlhf_objective_policy_loss(pairs, &policy, &made_out), RLHF_E_UNSUPPORTED, "has no policy_loss");
    in.struct_size = 8;
    assert_refused(rlhf_objective_pair_loss(pairs, &in, &out), RLHF_E_INVAL, "struct_size");
    in.struct_size = sizeof in;
    out.struct_size = 4;
    assert_refused(rlhf_objective_pair_loss(pairs, &in, &out), RLHF_E_INVAL, "struct_size");
    out.struct_size = sizeof out;
    longer.in.struct_size = sizeof longer;
    assert_ok(rlhf_objective_pair_loss(pairs, &longer.in, &out));
    longer.later = 1;
    assert_int_equal(rlhf_objective_pair_loss(pairs, &longer.in, &out), RLHF_E_UNSUPPORTED);
    in.pairs = -1;
    assert_int_equal(rlhf_objective_pair_loss(pairs, &in, &out), RLHF_E_INVAL);
    in.pairs = 1;
    in.denominator = 0;
    assert_refused(rlhf_objective_pair_loss(pairs, &in, &out), RLHF_E_INVAL, "denominator is 0");
    in.denominator = NAN;
    assert_refused(rlhf_objective_pair_loss(pairs, &in, &out), RLHF_E_INVAL, "denominator is nan");
    in.denominator = INFINITY;
    assert_refused(rlhf_objective_pair_loss(pairs, &in, &out), RLHF_E_INVAL, "denominator is inf");
    in.denominator = 1;
    in.rejected = NULL;
    assert_refused(rlhf_objective_pair_loss(pairs, &in, &out), RLHF_E_INVAL, "rejected is NULL");
    in.rejected = x;
    out.d_chosen = NULL;
    assert_refused(rlhf_objective_pair_loss(pairs, &in, &out), RLHF_E_INVAL, "d_chosen is NULL");

    assert_refused(rlhf_objective_policy_loss(ppo, &policy, &made_out), RLHF_E_INVAL, "offset[0] is 1");
    policy.offset = falling;
    policy.rows = 2;
    assert_refused(rlhf_objective_policy_loss(ppo, &policy, &made_out), RLHF_E_INVAL, "offset[2] is 2");
    policy.offset = NULL;
    assert_refused(rlhf_objective_policy_loss(ppo, &policy, &made_out), RLHF_E_INVAL, "offset is NULL");
    policy.offset = (const int64_t[]){0, 2};
    policy.rows = 1;
    assert_refused(rlhf_objective_policy_loss(ppo, &policy, &made_out), RLHF_E_INVAL, "entropy is NULL");
    policy.entropy = x;
    assert_refused(rlhf_objective_policy_loss(ppo, &policy, &made_out), RLHF_E_INVAL, "d_entropy is NULL");
    made_out.d_entropy = out_x + 2;
    assert_ok(rlhf_objective_policy_loss(ppo, &policy, &made_out));
    policy.denominator = -1;
    assert_refused(rlhf_objective_policy_loss(ppo, &policy, &made_out), RLHF_E_INVAL, "denominator is -1");
    rlhf_objective_release(&pairs);
    rlhf_objective_release(&ppo);
}

static void empty_inputs_give_nothing(void **state)
{
    rlhf_objective *sft = made("sft", NULL), *ppo = made("ppo", NULL), *gae = made("gae", NULL),
                   *reward = made("kl_reward", NULL), *pairs = made("bradley_terry", NULL),
                   *reinforce = made("reinforce", NULL), *pairwise = made("pairwise", NULL);
    const int64_t offset[] = {0};
    rlhf_token_loss_input tokens = SIZED(rlhf_token_loss_input, .offset = offset);
    rlhf_token_loss_output tokens_out = SIZED(rlhf_token_loss_output, .loss = 1);
    rlhf_policy_loss_input policy = SIZED(rlhf_policy_loss_input, .offset = offset, .samples_per_prompt = 2);
    rlhf_policy_loss_output policy_out = SIZED(rlhf_policy_loss_output, .loss = 1);
    rlhf_advantage_input advantage = SIZED(rlhf_advantage_input, .offset = offset, .samples_per_prompt = 2);
    rlhf_advantage_output advantage_out = SIZED(rlhf_advantage_output, 0);
    rlhf_reward_input rewards = SIZED(rlhf_reward_input, .offset = offset);
    rlhf_reward_output rewards_out = SIZED(rlhf_reward_output, 0);
    rlhf_pair_loss_input pair = SIZED(rlhf_pair_loss_input, .pairs = 0);
    rlhf_pair_loss_output pair_out = SIZED(rlhf_pair_loss_output, .loss = 1);
    rlhf_value_loss_input value = SIZED(rlhf_value_loss_input, .count = 0);
    rlhf_value_loss_output value_out = SIZED(rlhf_value_loss_output, .loss = 1);
    rlhf_objective *all[] = {sft, ppo, gae, reward, pairs, reinforce, pairwise};

    assert_ok(rlhf_objective_token_loss(sft, &tokens, &tokens_out));
    assert_ok(rlhf_objective_policy_loss(ppo, &policy, &policy_out));
    assert_true(policy_out.loss == 0);
    policy_out.loss = 1;
    assert_ok(rlhf_objective_policy_loss(reinforce, &policy, &policy_out));
    assert_ok(rlhf_objective_policy_loss(pairwise, &policy, &policy_out));
    assert_ok(rlhf_objective_advantage(gae, &advantage, &advantage_out));
    assert_ok(rlhf_objective_advantage(reinforce, &advantage, &advantage_out));
    assert_ok(rlhf_objective_advantage(pairwise, &advantage, &advantage_out));
    assert_ok(rlhf_objective_reward(reward, &rewards, &rewards_out));
    assert_ok(rlhf_objective_pair_loss(pairs, &pair, &pair_out));
    assert_ok(rlhf_objective_value_loss(ppo, &value, &value_out));
    assert_true(tokens_out.loss == 0 && policy_out.loss == 0 && pair_out.loss == 0 && value_out.loss == 0);
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        rlhf_objective_release(&all[i]);
}

static void built_in_names_and_keys(void **state)
{
    static const struct { const char *name; const char *pieces[3]; uint32_t need; } expected[] = {
        {"sft", {"token_loss"}, 0},
        {"bradley_terry", {"pair_loss"}, 0},
        {"kl_reward", {"reward"}, RLHF_NEED_REFERENCE},
        {"gae", {"advantage"}, RLHF_NEED_VALUE},
        {"reinforce", {"advantage", "policy_loss"}, 0},
        {"pairwise", {"advantage", "policy_loss"}, RLHF_NEED_GROUPS},
        {"ppo", {"policy_loss", "value_loss"}, RLHF_NEED_VALUE},
    };
    static const char *const pieces[] = {"token_loss", "pair_loss", "reward", "advantage", "policy_loss", "value_loss"};
    rlhf_objective *objective;
    double value;

    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        objective = made(expected[i].name, NULL);
        assert_string_equal(rlhfi_objective_name(objective), expected[i].name);
        assert_int_equal(rlhf_objective_need(objective), expected[i].need);
        for (size_t j = 0; j < 6; j++) {
            bool wanted = false;
            for (size_t k = 0; k < 3; k++)
                wanted |= expected[i].pieces[k] != NULL && strcmp(expected[i].pieces[k], pieces[j]) == 0;
            assert_int_equal(rlhfi_objective_has(objective, pieces[j]), wanted);
        }
        rlhf_objective_release(&objective);
    }
    assert_refused(rlhf_objective_builtin(&objective, context, "reinforec"), RLHF_E_INVAL, "reinforce");
    assert_null(objective);
    assert_int_equal(rlhf_objective_builtin(&objective, context, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_objective_builtin(NULL, context, "ppo"), RLHF_E_INVAL);
    assert_int_equal(rlhf_objective_builtin(&objective, NULL, "ppo"), RLHF_E_INVAL);

    objective = made("ppo", NULL);
    assert_refused(rlhf_objective_set(objective, "cliprang", 0.1), RLHF_E_INVAL, "the nearest is cliprange");
    assert_refused(rlhf_objective_get(objective, "vf_coeff", &value), RLHF_E_INVAL, "the nearest is vf_coef");
    assert_refused(rlhf_objective_set(objective, "vf_coef", -1), RLHF_E_RANGE, "vf_coef is -1");
    assert_refused(rlhf_objective_set(objective, "vf_coef", NAN), RLHF_E_RANGE, "vf_coef is nan");
    assert_refused(rlhf_objective_set(objective, "cliprange", 0), RLHF_E_RANGE, "more than 0");
    assert_true(key(objective, "vf_coef") == 0.1 && key(objective, "cliprange") == 0.2);
    assert_int_equal(rlhf_objective_set(NULL, "vf_coef", 0), RLHF_E_INVAL);
    assert_int_equal(rlhf_objective_set(objective, NULL, 0), RLHF_E_INVAL);
    assert_int_equal(rlhf_objective_get(objective, "vf_coef", NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_objective_need(NULL), 0);
    rlhf_objective_release(&objective);

    objective = made("reinforce", NULL);
    assert_refused(rlhf_objective_set(objective, "baseline", 1.5), RLHF_E_RANGE, "whole number");
    assert_refused(rlhf_objective_set(objective, "baseline_value", 1), RLHF_E_INVAL, "only be read");
    rlhf_objective_release(&objective);
}

static void needs_follow_the_keys(void **state)
{
    rlhf_objective *sft = made("sft", "label_smoothing_factor", 0.1, NULL);
    rlhf_objective *reward = made("kl_reward", "kl_coef", 0.0, NULL);
    rlhf_objective *ppo = made("ppo", "entropy_coef", 0.01, NULL);
    rlhf_objective *reinforce = made("reinforce", "entropy_coef", 0.01, NULL);
    rlhf_objective *pairwise = made("pairwise", "form", 1.0, NULL);

    assert_int_equal(rlhf_objective_need(sft), RLHF_NEED_MEAN_LOG_PROB);
    assert_int_equal(rlhf_objective_need(reward), 0);
    assert_int_equal(rlhf_objective_need(ppo), RLHF_NEED_VALUE | RLHF_NEED_ENTROPY);
    assert_int_equal(rlhf_objective_need(reinforce), RLHF_NEED_ENTROPY);
    assert_int_equal(rlhf_objective_need(pairwise), RLHF_NEED_GROUPS | RLHF_NEED_REFERENCE);
    assert_ok(rlhf_objective_set(pairwise, "form", 3));
    assert_int_equal(rlhf_objective_need(pairwise), RLHF_NEED_GROUPS);
    rlhf_objective_release(&sft);
    rlhf_objective_release(&reward);
    rlhf_objective_release(&ppo);
    rlhf_objective_release(&reinforce);
    rlhf_objective_release(&pairwise);
}

static void try_set_tells_whether_the_key_is_there(void **state)
{
    struct mine mine = {0};
    rlhf_objective *objective = create(&mine), *ppo = made("ppo", NULL);
    bool had;

    assert_ok(rlhfi_objective_try_set(objective, "key", 4, &had));
    assert_true(had && mine.key == 4);
    assert_ok(rlhfi_objective_try_set(objective, "other", 4, &had));
    assert_false(had);
    assert_string_equal(error_text(), "");
    assert_ok(rlhfi_objective_try_set(ppo, "vf_coef", 0.7, &had));
    assert_true(had);
    assert_ok(rlhfi_objective_try_set(ppo, "lam", 1, &had));
    assert_false(had);
    assert_int_equal(rlhfi_objective_try_set(ppo, "vf_coef", -1, &had), RLHF_E_RANGE);
    assert_true(had);
    rlhf_objective_release(&objective);
    rlhf_objective_release(&ppo);
}

static void state_goes_through_save_and_load(void **state)
{
    struct mine mine = {.state = {1, 2, 3}}, other = {0};
    rlhf_objective *objective = create(&mine), *second = create(&other), *gae = made("gae", NULL),
                   *reward = made("kl_reward", NULL);
    unsigned char buffer[64] = {0};
    size_t needed;

    assert_ok(rlhfi_objective_save(objective, NULL, 0, &needed));
    assert_int_equal(needed, 3);
    assert_int_equal(rlhfi_objective_save(objective, buffer, 2, &needed), RLHF_E_RANGE);
    assert_ok(rlhfi_objective_save(objective, buffer, sizeof buffer, &needed));
    assert_ok(rlhfi_objective_load(second, buffer, needed));
    assert_memory_equal(other.state, mine.state, 3);
    assert_int_equal(rlhfi_objective_load(second, buffer, 2), RLHF_E_USER_FIRST - 7);

    assert_ok(rlhfi_objective_save(gae, buffer, sizeof buffer, &needed));
    assert_int_equal(needed, 0);
    assert_ok(rlhfi_objective_load(gae, NULL, 0));
    assert_refused(rlhfi_objective_load(gae, buffer, 3), RLHF_E_FORMAT, "keeps no state");

    assert_ok(rlhfi_objective_save(reward, buffer, sizeof buffer, &needed));
    assert_int_equal(rlhfi_objective_load(reward, buffer, needed - 1), RLHF_E_FORMAT);
    memset(buffer + 16, 0xff, 8);
    assert_refused(rlhfi_objective_load(reward, buffer, needed), RLHF_E_FORMAT, "not finite");
    buffer[0] = 'X';
    assert_refused(rlhfi_objective_load(reward, buffer, needed), RLHF_E_FORMAT, "not its state");
    rlhf_objective_release(&objective);
    rlhf_objective_release(&second);
    rlhf_objective_release(&gae);
    rlhf_objective_release(&reward);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_users_objective_is_called_and_destroyed_once),
        TEST(the_context_may_be_released_first),
        TEST(a_failing_creation_destroys_once),
        TEST(a_shorter_and_a_longer_vtable_work),
        TEST(memory_may_run_out),
        TEST(calling_back_is_busy),
        TEST(a_status_comes_out_as_it_went_in),
        TEST(what_is_not_finite_is_refused),
        TEST(wrong_arguments_are_named),
        TEST(empty_inputs_give_nothing),
        TEST(built_in_names_and_keys),
        TEST(needs_follow_the_keys),
        TEST(try_set_tells_whether_the_key_is_there),
        TEST(state_goes_through_save_and_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
