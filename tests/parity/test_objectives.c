/* Every case of golden/objectives: losses and gradients of the built-in objectives against TRL, transformers and
 * autograd in float64. Each case is a test; what this version does not have is skipped by name. */
#include "objective_fixtures.h"

#include "compute/compute.h"

/* ---- sft_tokens.json --------------------------------------------------------------------------------------------- */

static void test_sft_case(void **state)
{
    const rlhfi_json *parameters = need(*state, "parameters"), *inputs = need(*state, "inputs");
    const rlhfi_json *expected = need(*state, "expected"), *logits = need(inputs, "logits");
    const rlhfi_json *labels = need(inputs, "labels"), *gradient = need(expected, "grad_logits");
    const char *loss_type = rlhfi_json_text(rlhfi_json_get(parameters, "loss_type"), NULL);
    struct ragged ragged = ragged_where(inputs, "labels", is_label);
    double smoothing = is_null(parameters, "label_smoothing") ? 0 : number_at(parameters, "label_smoothing");
    double temperature = is_null(parameters, "temperature") ? 1 : number_at(parameters, "temperature");
    double denominator = is_null(parameters, "num_items_in_batch") ? (double)ragged.count
                                                                    : number_at(parameters, "num_items_in_batch");
    double log_prob[MOST_NUMBERS], mean[MOST_NUMBERS], slope[MOST_NUMBERS], mean_slope[MOST_NUMBERS], log_p[MOST_IDS];
    rlhf_objective *objective;
    rlhf_token_loss_input in;
    rlhf_token_loss_output out;

    if (loss_type != NULL)
        SKIP("loss type %s is not there", loss_type);
    if (!is_null(parameters, "z_loss"))
        SKIP("the z-loss is not there");
    for (int64_t i = 0; i < ragged.count; i++) {
        const rlhfi_json *row = entry(&ragged, logits, i);
        log_softmax(row, temperature, log_p);
        log_prob[i] = log_p[(size_t)number_of(entry(&ragged, labels, i))];
        mean[i] = rlhfi_mean(log_p, (int64_t)rlhfi_json_size(row));
    }
    check_picked(&ragged, expected, "lp", log_prob);
    objective = made("sft", "label_smoothing_factor", smoothing, NULL);
    in = SIZED(rlhf_token_loss_input, .rows = ragged.rows, .offset = ragged.offset, .log_prob = log_prob,
               .mean_log_prob = mean, .denominator = denominator);
    out = SIZED(rlhf_token_loss_output, .d_log_prob = slope, .d_mean_log_prob = mean_slope);
    check_ok(rlhf_objective_token_loss(objective, &in, &out));
    check_number("loss", out.loss, number_at(expected, "loss"));

    for (int64_t i = 0; i < ragged.count; i++) { /* through the softmax to the logits */
        const rlhfi_json *row = entry(&ragged, logits, i), *line = entry(&ragged, gradient, i);
        size_t vocabulary = rlhfi_json_size(row), label = (size_t)number_of(entry(&ragged, labels, i));
        double got[MOST_IDS], wanted[MOST_IDS];
        log_softmax(row, temperature, log_p);
        for (size_t v = 0; v < vocabulary; v++) {
            got[v] = (slope[i] * ((v == label) - exp(log_p[v])) +
                      mean_slope[i] * (1.0 / (double)vocabulary - exp(log_p[v]))) / temperature;
            wanted[v] = number_of(rlhfi_json_at(line, v));
        }
        check_numbers("grad_logits", got, wanted, (int64_t)vocabulary);
    }
    rlhf_objective_release(&objective);
}

/* The ways to average that the objectives have: over tokens (sft), over rows and by a constant (reinforce). */
static void test_aggregation(void **state)
{
    struct ragged ragged = ragged_where(*state, "mask", is_one);
    double log_prob[MOST_NUMBERS], ones[MOST_NUMBERS], slope[MOST_NUMBERS];
    rlhf_objective *sft = made("sft", NULL), *reinforce = made("reinforce", NULL);
    rlhf_token_loss_input tokens = SIZED(rlhf_token_loss_input, .rows = ragged.rows, .offset = ragged.offset,
                                         .log_prob = log_prob, .denominator = (double)ragged.count);
    rlhf_token_loss_output tokens_out = SIZED(rlhf_token_loss_output, .d_log_prob = slope);
    rlhf_policy_loss_input rows = SIZED(rlhf_policy_loss_input, .rows = ragged.rows, .offset = ragged.offset,
                                        .log_prob = log_prob, .log_prob_old = log_prob, .advantage = ones,
                                        .denominator_rows = (double)ragged.rows);
    rlhf_policy_loss_output rows_out = SIZED(rlhf_policy_loss_output, .d_log_prob = slope);

    pick(&ragged, *state, "losses", log_prob);
    for (int64_t i = 0; i < ragged.count; i++) {
        log_prob[i] = -log_prob[i];
        ones[i] = 1;
    }
    check_ok(rlhf_objective_token_loss(sft, &tokens, &tokens_out));
    check_number("token_mean", tokens_out.loss, number_at(*state, "token_mean"));
    check_ok(rlhf_objective_policy_loss(reinforce, &rows, &rows_out));
    check_number("seq_mean_token_sum", rows_out.loss, number_at(*state, "seq_mean_token_sum"));
    rows.denominator_rows = (double)ragged.rows * number_at(*state, "L_max");
    check_ok(rlhf_objective_policy_loss(reinforce, &rows, &rows_out));
    check_number("seq_sum_const", rows_out.loss, number_at(*state, "seq_sum_const"));
    rlhf_objective_release(&sft);
    rlhf_objective_release(&reinforce);
}

static void test_whitening(void **state)
{
    static const char *const keys[2][2] = {{"whiten_unbiased_keep_mean", "whiten_population_keep_mean"},
                                           {"whiten_unbiased_shift", "whiten_population_shift"}};
    struct ragged ragged = ragged_where(*state, "mask", is_one);
    double x[MOST_NUMBERS];

    for (int shift = 0; shift < 2; shift++) {
        for (int population = 0; population < 2; population++) {
            pick(&ragged, *state, "x", x);
            rlhfi_whiten(x, ragged.count, shift != 0, population != 0);
            check_picked(&ragged, *state, keys[shift][population], x);
        }
    }
}

static void check_single(const char *what, float got, double wanted)
{
    if (!(fabs((double)got - wanted) <= 1e-5 * fmax(fabs(wanted), 1)))
        fail_msg("%s: %.9g, expected %.9g", what, (double)got, wanted);
}

/* The head with one hidden number, 1, and the logits as its weights: their gradient is the weights'. In float. */
static void test_entropy(void **state)
{
    const rlhfi_json *logits = need(*state, "logits"), *gradient = need(*state, "grad_of_summed_entropy");
    const float one = 1;

    for (size_t row = 0; row < rlhfi_json_size(logits); row++) {
        const rlhfi_json *line = rlhfi_json_at(logits, row), *slopes = rlhfi_json_at(gradient, row);
        int64_t vocabulary = (int64_t)rlhfi_json_size(line);
        float weight[MOST_IDS], slope[MOST_IDS] = {0}, entropy = 0, log_sum_exp = 0;
        rlhfi_head_result result = {.entropy = &entropy, .log_sum_exp = &log_sum_exp};
        assert_true(vocabulary <= MOST_IDS);
        for (int64_t v = 0; v < vocabulary; v++)
            weight[v] = (float)number_of(rlhfi_json_at(line, (size_t)v));
        check_ok(rlhfi_head(context, 1, 1, vocabulary, &one, NULL, rlhfi_float_head(weight), NULL, 1, &result));
        check_ok(rlhfi_head_backward(context, 1, 1, vocabulary, &one, NULL, rlhfi_float_head(weight), NULL, 1,
                                     &result, NULL, &one, NULL,
                                     NULL, slope));
        check_single("entropy", entropy, number_of(rlhfi_json_at(need(*state, "entropy"), row)));
        for (int64_t v = 0; v < vocabulary; v++)
            check_single("grad_of_summed_entropy", slope[v], number_of(rlhfi_json_at(slopes, (size_t)v)));
    }
}

/* ---- reward.json ------------------------------------------------------------------------------------------------- */

static void test_reward_case(void **state)
{
    const rlhfi_json *parameters = need(*state, "parameters"), *inputs = need(*state, "inputs");
    const rlhfi_json *expected = need(*state, "expected");
    double chosen[MOST_ROWS], rejected[MOST_ROWS], margin[MOST_ROWS], up[MOST_ROWS], down[MOST_ROWS];
    double wanted[MOST_ROWS];
    bool with_margin = !is_null(inputs, "margin"), centered = !is_null(parameters, "center_rewards_coefficient");
    rlhf_objective *objective = made("bradley_terry", "center_rewards_coefficient",
                                     centered ? number_at(parameters, "center_rewards_coefficient") : 0.0, NULL);
    int64_t pairs = numbers_at(inputs, "chosen", chosen);
    rlhf_pair_loss_input in = SIZED(rlhf_pair_loss_input, .pairs = pairs, .chosen = chosen, .rejected = rejected,
                                    .margin = with_margin ? margin : NULL, .denominator = (double)pairs);
    rlhf_pair_loss_output out = SIZED(rlhf_pair_loss_output, .d_chosen = up, .d_rejected = down);

    numbers_at(inputs, "rejected", rejected);
    if (with_margin)
        numbers_at(inputs, "margin", margin);
    check_ok(rlhf_objective_pair_loss(objective, &in, &out));
    check_number("loss", out.loss, number_at(expected, "loss"));
    numbers_at(expected, "grad_chosen", wanted);
    check_numbers("grad_chosen", up, wanted, pairs);
    numbers_at(expected, "grad_rejected", wanted);
    check_numbers("grad_rejected", down, wanted, pairs);
    rlhf_objective_release(&objective);
}

/* K ranked answers as their K(K-1)/2 pairs, in one call with one denominator. With K = 2 every ranking loss is this
 * one. */
static void check_ranking(const rlhfi_json *ranking, const char *form)
{
    const rlhfi_json *rows = need(ranking, "scores_in_rank_order"), *expected = need(ranking, form);
    const rlhfi_json *gradient = need(expected, "grad");
    size_t count = rlhfi_json_size(rows), answers = rlhfi_json_size(rlhfi_json_at(rows, 0));
    double better[MOST_NUMBERS], worse[MOST_NUMBERS], up[MOST_NUMBERS], down[MOST_NUMBERS];
    double got[MOST_NUMBERS] = {0}, wanted[MOST_NUMBERS];
    rlhf_objective *objective = made("bradley_terry", NULL);
    rlhf_pair_loss_input in = SIZED(rlhf_pair_loss_input, .chosen = better, .rejected = worse);
    rlhf_pair_loss_output out = SIZED(rlhf_pair_loss_output, .d_chosen = up, .d_rejected = down);

    for (size_t row = 0; row < count; row++)
        for (size_t i = 0; i < answers; i++)
            for (size_t j = i + 1; j < answers; j++) {
                assert_true(in.pairs < MOST_NUMBERS);
                better[in.pairs] = number_of(rlhfi_json_at(rlhfi_json_at(rows, row), i));
                worse[in.pairs++] = number_of(rlhfi_json_at(rlhfi_json_at(rows, row), j));
            }
    in.denominator = (double)in.pairs;
    check_ok(rlhf_objective_pair_loss(objective, &in, &out));
    check_number("loss", out.loss, number_at(expected, "loss"));
    for (size_t row = 0, pair = 0; row < count; row++)
        for (size_t i = 0; i < answers; i++) {
            for (size_t j = i + 1; j < answers; j++, pair++) {
                got[row * answers + i] += up[pair];
                got[row * answers + j] += down[pair];
            }
            wanted[row * answers + i] = number_of(rlhfi_json_at(rlhfi_json_at(gradient, row), i));
        }
    check_numbers("grad", got, wanted, (int64_t)(count * answers));
    rlhf_objective_release(&objective);
}

static void test_ranking_pairs(void **state)
{
    check_ranking(*state, "all_pairs_mean");
}

static bool is_a_pair(const rlhfi_json *ranking)
{
    return rlhfi_json_size(rlhfi_json_at(need(ranking, "scores_in_rank_order"), 0)) == 2;
}

static void test_ranking_plackett_luce(void **state)
{
    if (!is_a_pair(*state))
        SKIP("Plackett-Luce over more than two answers is not there");
    check_ranking(*state, "plackett_luce");
}

static void test_ranking_pick_first(void **state)
{
    if (!is_a_pair(*state))
        SKIP("picking the best of more than two answers is not there");
    check_ranking(*state, "pick_first_of_k");
}

/* ---- ppo.json ---------------------------------------------------------------------------------------------------- */

/* The first half of a case: rewards, advantages, returns. Leaves whitened advantages and returns for the losses. */
static void check_rollout(const rlhfi_json *test, const struct ragged *ragged, double *advantage, double *target)
{
    const rlhfi_json *parameters = need(test, "parameters"), *inputs = need(test, "inputs");
    const rlhfi_json *expected = need(test, "expected");
    bool whiten_rewards = number_at(parameters, "whiten_rewards") != 0;
    double old[MOST_NUMBERS], ref[MOST_NUMBERS], value[MOST_NUMBERS], reward[MOST_NUMBERS], score[MOST_ROWS];
    double sum = 0;
    int32_t terminated[MOST_ROWS];
    bool whole = true;
    rlhf_objective *shaping = made("kl_reward", "kl_coef", number_at(parameters, "kl_coef"), NULL);
    rlhf_objective *gae = made("gae", "gamma", number_at(parameters, "gamma"), "lam", number_at(parameters, "lam"),
                               "whiten", 0.0, "whiten_population", number_at(parameters, "unbiased") != 0 ? 0.0 : 1.0,
                               NULL);
    rlhf_reward_input in = SIZED(rlhf_reward_input, .rows = ragged->rows, .offset = ragged->offset, .score = score,
                                 .log_prob = old, .log_prob_ref = ref, .terminated = terminated);
    rlhf_reward_output out = SIZED(rlhf_reward_output, .reward = reward);
    rlhf_advantage_input advantage_in = SIZED(rlhf_advantage_input, .samples_per_prompt = 1, .rows = ragged->rows,
                                              .offset = ragged->offset, .reward = reward, .value = value);
    rlhf_advantage_output advantage_out = SIZED(rlhf_advantage_output, .advantage = advantage,
                                                .value_target = target);

    pick(ragged, inputs, "old_lp", old);
    pick(ragged, inputs, "ref_lp", ref);
    pick(ragged, inputs, "old_values", value);
    numbers_at(inputs, "score", score);
    for (int64_t row = 0; row < ragged->rows; row++) {
        terminated[row] = 1;
        whole &= ragged->offset[row + 1] > ragged->offset[row];
    }
    check_ok(rlhf_objective_reward(shaping, &in, &out));
    check_picked(ragged, expected, "token_rewards", reward);
    for (int64_t i = 0; i < ragged->count; i++)
        sum += reward[i];
    if (whole) /* the score of a row without tokens has no place here */
        check_number("rlhf_reward", sum / (double)ragged->rows, number_at(expected, "rlhf_reward"));
    if (whiten_rewards) {
        check_ok(rlhf_objective_set(shaping, "whiten_rewards", 1));
        check_ok(rlhf_objective_reward(shaping, &in, &out));
        check_picked(ragged, expected, "whitened_rewards", reward);
    }
    check_ok(rlhf_objective_advantage(gae, &advantage_in, &advantage_out));
    check_picked(ragged, expected, "advantages_before_whitening", advantage);
    check_picked(ragged, expected, "returns", target);
    check_ok(rlhf_objective_set(gae, "whiten", 1));
    check_ok(rlhf_objective_advantage(gae, &advantage_in, &advantage_out));
    check_picked(ragged, expected, "advantages", advantage);
    rlhf_objective_release(&shaping);
    rlhf_objective_release(&gae);
}

static void test_ppo_case(void **state)
{
    const rlhfi_json *parameters = need(*state, "parameters"), *inputs = need(*state, "inputs");
    const rlhfi_json *expected = need(*state, "expected"), *logits = need(inputs, "logits");
    const rlhfi_json *gradient = need(expected, "grad_lp_policy_and_entropy_through_logits");
    struct ragged ragged = ragged_where(inputs, "mask", is_one);
    double tokens = (double)ragged.count, action[MOST_NUMBERS], log_prob[MOST_NUMBERS], entropy[MOST_NUMBERS];
    double old[MOST_NUMBERS], advantage[MOST_NUMBERS], target[MOST_NUMBERS], value[MOST_NUMBERS];
    double value_old[MOST_NUMBERS], slope[MOST_NUMBERS], entropy_slope[MOST_NUMBERS], value_slope[MOST_NUMBERS];
    double log_p[MOST_IDS], entropy_coef = number_at(parameters, "entropy_coef");
    double vf_coef = number_at(parameters, "vf_coef");
    rlhf_objective *ppo = made("ppo", "cliprange", number_at(parameters, "cliprange"), "cliprange_value",
                               number_at(parameters, "cliprange_value"), "vf_coef", vf_coef, "dual_clip",
                               is_null(parameters, "dual_clip") ? 0.0 : number_at(parameters, "dual_clip"),
                               "entropy_coef", entropy_coef, NULL);
    rlhf_policy_loss_input in = SIZED(rlhf_policy_loss_input, .samples_per_prompt = 1, .rows = ragged.rows,
                                      .offset = ragged.offset, .log_prob = log_prob, .log_prob_old = old,
                                      .advantage = advantage, .entropy = entropy, .denominator = tokens);
    rlhf_policy_loss_output out = SIZED(rlhf_policy_loss_output, .d_log_prob = slope, .d_entropy = entropy_slope);
    rlhf_value_loss_input value_in = SIZED(rlhf_value_loss_input, .count = ragged.count, .value = value,
                                           .value_old = value_old, .value_target = target, .denominator = tokens);
    rlhf_value_loss_output value_out = SIZED(rlhf_value_loss_output, .d_value = value_slope);

    check_rollout(*state, &ragged, advantage, target);
    pick(&ragged, inputs, "actions", action);
    pick(&ragged, inputs, "old_lp", old);
    pick(&ragged, inputs, "values", value);
    pick(&ragged, inputs, "old_values", value_old);
    for (int64_t i = 0; i < ragged.count; i++) {
        entropy[i] = log_softmax(entry(&ragged, logits, i), 1, log_p);
        log_prob[i] = log_p[(size_t)action[i]];
    }
    check_picked(&ragged, expected, "lp", log_prob);
    check_ok(rlhf_objective_policy_loss(ppo, &in, &out));
    check_number("policy_loss", out.loss + entropy_coef * rlhfi_mean(entropy, ragged.count),
                 number_at(expected, "policy_loss"));
    check_number("policy_clipfrac", out.clipped / tokens, number_at(expected, "policy_clipfrac"));
    check_ok(rlhf_objective_value_loss(ppo, &value_in, &value_out));
    check_number("value_loss", value_out.loss / vf_coef, number_at(expected, "value_loss"));
    check_number("value_clipfrac", value_out.clipped / tokens, number_at(expected, "value_clipfrac"));
    check_picked(&ragged, expected, "grad_values", value_slope);
    check_number("total_loss", out.loss + value_out.loss, number_at(expected, "total_loss"));

    for (int64_t i = 0; i < ragged.count; i++) {
        const rlhfi_json *row = entry(&ragged, logits, i), *line = entry(&ragged, gradient, i);
        size_t vocabulary = rlhfi_json_size(row);
        double got[MOST_IDS], wanted[MOST_IDS];
        log_softmax(row, 1, log_p);
        for (size_t v = 0; v < vocabulary; v++) {
            got[v] = slope[i] * ((v == (size_t)action[i]) - exp(log_p[v])) -
                     entropy_slope[i] * exp(log_p[v]) * (log_p[v] + entropy[i]);
            wanted[v] = number_of(rlhfi_json_at(line, v));
        }
        check_numbers("grad_logits", got, wanted, (int64_t)vocabulary);
    }
    rlhf_objective_release(&ppo);
}

static void test_adaptive_kl(void **state)
{
    rlhf_objective *objective = made("kl_reward", "adaptive_kl", 1.0, "kl_coef", number_at(*state, "beta"),
                                     "target_kl", number_at(*state, "target"), "horizon",
                                     number_at(*state, "horizon"), NULL);
    double kl_coef;

    check_ok(rlhfi_objective_observe_kl(objective, number_at(*state, "kl"), (int64_t)number_at(*state, "n")));
    check_ok(rlhf_objective_get(objective, "kl_coef", &kl_coef));
    check_number("kl_coef", kl_coef, number_at(*state, "expected_beta"));
    rlhf_objective_release(&objective);
}

/* ---- pairwise.json ----------------------------------------------------------------------------------------------- */

/* Each sequence becomes a response of three tokens; rows 2i and 2i+1 are pair i. */
static void spread_sequences(const rlhfi_json *object, const char *key, double *tokens)
{
    static const double part[] = {0.5, 0.375, 0.125};
    double side[2][MOST_ROWS];
    int64_t pairs = 0;

    for (size_t s = 0; s < 2; s++) {
        const rlhfi_json *list = rlhfi_json_at(need(object, key), s);
        pairs = (int64_t)rlhfi_json_size(list);
        assert_true(pairs <= MOST_ROWS && 6 * pairs <= MOST_NUMBERS);
        for (int64_t i = 0; i < pairs; i++)
            side[s][i] = number_of(rlhfi_json_at(list, (size_t)i));
    }
    for (int64_t i = 0; i < 6 * pairs; i++)
        tokens[i] = part[i % 3] * side[i / 3 % 2][i / 6];
}

static void check_pairwise(const rlhfi_json *test, double form, const char *name, double scale)
{
    const rlhfi_json *parameters = need(test, "parameters"), *inputs = need(test, "inputs");
    const rlhfi_json *expected = need(need(test, "expected"), name), *gradient = need(expected, "grad_LP");
    int64_t pairs = (int64_t)rlhfi_json_size(rlhfi_json_at(need(inputs, "LP"), 0)), offset[2 * MOST_ROWS + 1];
    double log_prob[MOST_NUMBERS], ref[MOST_NUMBERS], reward[MOST_NUMBERS], advantage[MOST_NUMBERS];
    double slope[MOST_NUMBERS], score[2 * MOST_ROWS], got[MOST_NUMBERS], wanted[MOST_NUMBERS];
    rlhf_objective *objective = made("pairwise", "form", form, "beta", number_at(parameters, "beta"),
                                     "soft_label_temperature", number_at(parameters, "soft_label_temperature"), NULL);
    rlhf_advantage_input in = SIZED(rlhf_advantage_input, .samples_per_prompt = 2, .rows = 2 * pairs,
                                    .offset = offset, .reward = reward);
    rlhf_advantage_output out = SIZED(rlhf_advantage_output, .advantage = advantage);
    rlhf_policy_loss_input policy = SIZED(rlhf_policy_loss_input, .samples_per_prompt = 2, .rows = 2 * pairs,
                                          .offset = offset, .log_prob = log_prob, .log_prob_old = log_prob,
                                          .log_prob_ref = ref, .advantage = advantage, .score = score,
                                          .denominator_rows = (double)(2 * pairs));
    rlhf_policy_loss_output policy_out = SIZED(rlhf_policy_loss_output, .d_log_prob = slope);

    spread_sequences(inputs, "LP", log_prob);
    spread_sequences(inputs, "LPref", ref);
    spread_sequences(inputs, "rewards", reward);
    for (int64_t row = 0; row <= 2 * pairs; row++)
        offset[row] = 3 * row;
    for (int64_t row = 0; row < 2 * pairs; row++)
        score[row] = number_of(rlhfi_json_at(rlhfi_json_at(need(inputs, "rewards"), (size_t)(row % 2)),
                                             (size_t)(row / 2)));
    for (int64_t row = 0; form == 4 && row < 2 * pairs; row++)
        score[row] = row % 2 == 0;
    check_ok(rlhf_objective_advantage(objective, &in, &out));
    check_ok(rlhf_objective_policy_loss(objective, &policy, &policy_out));
    check_number(name, scale * policy_out.loss, number_at(expected, "loss"));
    for (int64_t i = 0; i < 6 * pairs; i++) { /* every token has its sequence's gradient */
        got[i] = scale * slope[i];
        wanted[i] = number_of(rlhfi_json_at(rlhfi_json_at(gradient, (size_t)(i / 3 % 2)), (size_t)(i / 6)));
    }
    check_numbers("grad_LP", got, wanted, 6 * pairs);
    rlhf_objective_release(&objective);
}

static void test_pairwise_linear(void **state)
{
    check_pairwise(*state, 0, "linear", 1);
}

static void test_pairwise_regularised(void **state)
{
    check_pairwise(*state, 1, "regularised", 1);
}

static void test_pairwise_logistic_soft(void **state)
{
    check_pairwise(*state, 2, "logistic_soft", 1);
}

/* The fixture raises y0 whatever the rewards. */
static void test_pairwise_fixed_target(void **state)
{
    check_pairwise(*state, 4, "fixed_target", 1);
}

/* (beta D - (r0-r1))^2 is 2 beta times the regularised form. */
static void test_pairwise_rebel(void **state)
{
    check_pairwise(*state, 1, "rebel", 2 * number_at(need(*state, "parameters"), "beta"));
}

/* ---- rloo_reinforce.json: REINFORCE ------------------------------------------------------------------------------ */

/* Advantages of the case's rewards with that objective, then loss and gradient. */
static void check_reinforce(const rlhfi_json *expected, rlhf_objective *objective, const struct ragged *ragged,
                            const double *reward, const double *log_prob, double denominator)
{
    double advantage[MOST_NUMBERS], slope[MOST_NUMBERS];
    rlhf_advantage_input in = SIZED(rlhf_advantage_input, .samples_per_prompt = 1, .rows = ragged->rows,
                                    .offset = ragged->offset, .reward = reward);
    rlhf_advantage_output out = SIZED(rlhf_advantage_output, .advantage = advantage);
    rlhf_policy_loss_input policy = SIZED(rlhf_policy_loss_input, .samples_per_prompt = 1, .rows = ragged->rows,
                                          .offset = ragged->offset, .log_prob = log_prob, .log_prob_old = log_prob,
                                          .advantage = advantage, .denominator_rows = denominator);
    rlhf_policy_loss_output policy_out = SIZED(rlhf_policy_loss_output, .d_log_prob = slope);

    check_ok(rlhf_objective_advantage(objective, &in, &out));
    if (!is_null(expected, "advantages"))
        check_picked(ragged, expected, "advantages", advantage);
    check_ok(rlhf_objective_policy_loss(objective, &policy, &policy_out));
    check_number("loss", policy_out.loss, number_at(expected, "loss"));
    check_picked(ragged, expected, "grad_lp", slope);
}

/* Token rewards of the case, checked; returns whether every row has tokens. */
static bool reinforce_rewards(const rlhfi_json *test, const struct ragged *ragged, double *log_prob, double *reward)
{
    double ref[MOST_NUMBERS], score[MOST_ROWS], penalised[MOST_ROWS];
    int32_t terminated[MOST_ROWS] = {0};
    bool whole = true;
    rlhf_objective *shaping = made("kl_reward", "kl_coef", number_at(test, "beta"), NULL);
    rlhf_reward_input in = SIZED(rlhf_reward_input, .rows = ragged->rows, .offset = ragged->offset, .score = score,
                                 .log_prob = log_prob, .log_prob_ref = ref, .terminated = terminated);
    rlhf_reward_output out = SIZED(rlhf_reward_output, .reward = reward);

    pick(ragged, test, "lp", log_prob);
    pick(ragged, test, "ref_lp", ref);
    numbers_at(test, "score", score);
    numbers_at(test, "penalised_score", penalised);
    check_ok(rlhf_objective_reward(shaping, &in, &out));
    check_picked(ragged, need(test, "reinforce_plus_plus"), "token_rewards", reward);
    for (int64_t row = 0; row < ragged->rows; row++) {
        double sum = 0;
        if (ragged->offset[row + 1] == ragged->offset[row]) {
            whole = false;
            continue;
        }
        for (int64_t i = ragged->offset[row]; i < ragged->offset[row + 1]; i++)
            sum += reward[i];
        check_number("penalised_score", sum, penalised[row]);
    }
    rlhf_objective_release(&shaping);
    return whole;
}

static void test_reinforce_no_baseline(void **state)
{
    struct ragged ragged = ragged_where(*state, "mask", is_one);
    double log_prob[MOST_NUMBERS], reward[MOST_NUMBERS];
    rlhf_objective *objective = made("reinforce", "baseline", 0.0, "reward_to_go", 0.0, NULL);

    reinforce_rewards(*state, &ragged, log_prob, reward);
    check_reinforce(need(*state, "no_baseline"), objective, &ragged, reward, log_prob, (double)ragged.rows);
    rlhf_objective_release(&objective);
}

static void test_reinforce_batch_mean(void **state)
{
    struct ragged ragged = ragged_where(*state, "mask", is_one);
    double log_prob[MOST_NUMBERS], reward[MOST_NUMBERS];
    rlhf_objective *objective;

    if (!reinforce_rewards(*state, &ragged, log_prob, reward))
        SKIP("here a row without tokens is no response and does not count in the mean");
    objective = made("reinforce", "baseline", 2.0, "reward_to_go", 0.0, NULL);
    check_reinforce(need(*state, "batch_mean"), objective, &ragged, reward, log_prob, (double)ragged.rows);
    rlhf_objective_release(&objective);
}

/* The average is in the name of the list: a first batch with that reward puts it there. */
static void test_reinforce_moving_average(void **state)
{
    static const char prefix[] = "moving_average_";
    struct ragged ragged = ragged_where(*state, "mask", is_one);
    double log_prob[MOST_NUMBERS], reward[MOST_NUMBERS], first, advantage;
    const rlhfi_json *expected = NULL, *value;
    const char *key, *average = NULL;
    rlhf_objective *objective = made("reinforce", "baseline", 1.0, "reward_to_go", 0.0, NULL);
    rlhf_advantage_input in = SIZED(rlhf_advantage_input, .samples_per_prompt = 1, .rows = 1,
                                    .offset = (const int64_t[]){0, 1}, .reward = &first);
    rlhf_advantage_output out = SIZED(rlhf_advantage_output, .advantage = &advantage);

    for (void *i = NULL; rlhfi_json_next(*state, &i, &key, &value);)
        if (strncmp(key, prefix, strlen(prefix)) == 0) {
            average = key + strlen(prefix);
            expected = value;
        }
    assert_non_null(average);
    first = strtod(average, NULL);
    check_ok(rlhf_objective_advantage(objective, &in, &out));
    reinforce_rewards(*state, &ragged, log_prob, reward);
    check_reinforce(expected, objective, &ragged, reward, log_prob, (double)ragged.rows);
    rlhf_objective_release(&objective);
}

/* Reward to go, whitened over tokens; a mean over tokens is the sum over another denominator. */
static void test_reinforce_plus_plus(void **state)
{
    struct ragged ragged = ragged_where(*state, "mask", is_one);
    double log_prob[MOST_NUMBERS], reward[MOST_NUMBERS];
    rlhf_objective *objective = made("reinforce", "baseline", 0.0, "whiten", 1.0, NULL);

    reinforce_rewards(*state, &ragged, log_prob, reward);
    check_reinforce(need(*state, "reinforce_plus_plus"), objective, &ragged, reward, log_prob, (double)ragged.count);
    rlhf_objective_release(&objective);
}

/* ---- discovery --------------------------------------------------------------------------------------------------- */

static void test_later(void **state)
{
    SKIP("%zu cases of something that this version does not have", rlhfi_json_size(*state));
}

static void test_no_fixtures(void **state)
{
    SKIP("golden/objectives is not there (set RLHF_GOLDEN)");
}

/* Which list of which file goes to which tests, one for each of its cases. A list that has no line here is skipped. */
static const struct {
    const char *file, *list, *label;
    CMUnitTestFunction function;
    bool whole_list;
} checks[] = {
    {"sft_tokens.json", "cases", "", test_sft_case},
    {"sft_tokens.json", "aggregation", "", test_aggregation},
    {"sft_tokens.json", "aggregation", ".seq_mean_token_mean", test_later, true},
    {"sft_tokens.json", "whitening", "", test_whitening},
    {"sft_tokens.json", "entropy", "", test_entropy},
    {"reward.json", "cases", "", test_reward_case},
    {"reward.json", "rankings", ".all_pairs", test_ranking_pairs},
    {"reward.json", "rankings", ".plackett_luce", test_ranking_plackett_luce},
    {"reward.json", "rankings", ".pick_first", test_ranking_pick_first},
    {"ppo.json", "cases", "", test_ppo_case},
    {"ppo.json", "adaptive_kl", "", test_adaptive_kl},
    {"pairwise.json", "cases", ".linear", test_pairwise_linear},
    {"pairwise.json", "cases", ".regularised", test_pairwise_regularised},
    {"pairwise.json", "cases", ".logistic_soft", test_pairwise_logistic_soft},
    {"pairwise.json", "cases", ".rebel", test_pairwise_rebel},
    {"pairwise.json", "cases", ".fixed_target", test_pairwise_fixed_target},
    {"rloo_reinforce.json", "reinforce", ".no_baseline", test_reinforce_no_baseline},
    {"rloo_reinforce.json", "reinforce", ".batch_mean", test_reinforce_batch_mean},
    {"rloo_reinforce.json", "reinforce", ".moving_average", test_reinforce_moving_average},
    {"rloo_reinforce.json", "reinforce", ".plus_plus", test_reinforce_plus_plus},
};

enum { MOST_FILES = 32, MOST_TESTS = 4096 };
static struct CMUnitTest tests[MOST_TESTS];
static char names[MOST_TESTS][96];
static size_t used;

/* index -1: the whole list is one test. */
static void add(CMUnitTestFunction function, const rlhfi_json *state, const char *file, const char *list, int index,
                const char *label)
{
    char number[16] = "";

    if (used == MOST_TESTS)
        return;
    if (index >= 0)
        snprintf(number, sizeof number, "%d", index);
    snprintf(names[used], sizeof names[used], "%.24s/%.20s%s%s", file, list, number, label);
    tests[used] = (struct CMUnitTest){names[used], function, NULL, NULL, (void *)state};
    used++;
}

static void add_file(const char *file, const rlhfi_json *root)
{
    const char *list;
    const rlhfi_json *content;

    for (void *i = NULL; rlhfi_json_next(root, &i, &list, &content);) {
        bool known = false;
        if (rlhfi_json_type(content) != RLHFI_JSON_ARRAY)
            continue;
        for (size_t c = 0; c < sizeof checks / sizeof checks[0]; c++) {
            if (strcmp(checks[c].file, file) != 0 || strcmp(checks[c].list, list) != 0)
                continue;
            known = true;
            if (checks[c].whole_list)
                add(checks[c].function, content, file, list, -1, checks[c].label);
            for (size_t n = 0; !checks[c].whole_list && n < rlhfi_json_size(content); n++)
                add(checks[c].function, rlhfi_json_at(content, n), file, list, (int)n, checks[c].label);
        }
        if (!known)
            add(test_later, content, file, list, -1, "");
    }
}

int main(void)
{
    const struct CMUnitTest missing[] = {cmocka_unit_test(test_no_fixtures)};
    rlhfi_json *roots[MOST_FILES] = {0};
    char directory[4096], path[4096], **entries = NULL;
    size_t count = 0;
    int failed;

    if (rlhf_context_create(&context, NULL) != RLHF_OK)
        return 1;
    golden_path("objectives", directory);
    if (rlhfi_list_directory(context, directory, &entries, &count) != RLHF_OK || count == 0) {
        failed = cmocka_run_group_tests(missing, NULL, NULL);
        rlhf_context_release(&context);
        return failed;
    }
    for (size_t i = 0; i < count && i < MOST_FILES; i++) {
        snprintf(path, sizeof path, "%.3000s/%.500s", directory, entries[i]);
        if (rlhfi_json_load(&roots[i], context, path, (size_t)64 << 20) != RLHF_OK) {
            char error[512];
            rlhf_context_error(context, error, sizeof error);
            fprintf(stderr, "%s\n", error);
            return 1;
        }
        add_file(entries[i], roots[i]);
    }
    failed = _cmocka_run_group_tests("golden objectives", tests, used, NULL, NULL);
    for (size_t i = 0; i < count && i < MOST_FILES; i++)
        rlhfi_json_release(&roots[i]);
    rlhfi_free(context, entries);
    rlhf_context_release(&context);
    return failed;
}
