/* Problems whose optimum is known (golden/bandit): sequences of a few tokens, a policy that is a table of logits, and
 * J = E[r] - beta KL(policy to reference), whose maximum is beta log Z. With the exact gradient the built-in objectives
 * must climb to it; with samples they must close at least 98 % of the way from the reference. */
#include "objective_fixtures.h"

enum { MOST_VOCABULARY = 16, MOST_LENGTH = 8, MOST_PREFIXES = 1024, MOST_SEQUENCES = 4096 };

struct problem {
    int vocabulary, length, prefixes, sequences;
    double reference[MOST_PREFIXES][MOST_VOCABULARY]; /* log-probabilities */
    double reward[MOST_SEQUENCES];
    double beta, optimum, start;
    const rlhfi_json *expected;
};

/* A sequence is a number in base `vocabulary`, its first token the most significant digit. Prefixes are numbered by
 * length, then likewise: the children of prefix n are vocabulary * n + 1 + token. */
static int token_at(const struct problem *problem, int sequence, int position)
{
    for (int i = problem->length - 1; i > position; i--)
        sequence /= problem->vocabulary;
    return sequence % problem->vocabulary;
}

typedef double table[MOST_PREFIXES][MOST_VOCABULARY];

static void to_log_probabilities(const struct problem *problem, table logits, table log_p)
{
    for (int n = 0; n < problem->prefixes; n++) {
        double greatest = -INFINITY, sum = 0;
        for (int v = 0; v < problem->vocabulary; v++)
            greatest = fmax(greatest, logits[n][v]);
        for (int v = 0; v < problem->vocabulary; v++)
            sum += exp(logits[n][v] - greatest);
        for (int v = 0; v < problem->vocabulary; v++)
            log_p[n][v] = logits[n][v] - greatest - log(sum);
    }
}

/* ---- rows of tokens ---------------------------------------------------------------------------------------------- */

enum { MOST_BATCH = MOST_SEQUENCES, MOST_TOKENS = MOST_BATCH * MOST_LENGTH };

struct batch {
    int64_t rows, offset[MOST_BATCH + 1];
    int32_t sequence[MOST_BATCH], terminated[MOST_BATCH];
    int prefix[MOST_TOKENS], token[MOST_TOKENS];
    double score[MOST_BATCH];
    double old[MOST_TOKENS], ref[MOST_TOKENS], reward[MOST_TOKENS], advantage[MOST_TOKENS], log_prob[MOST_TOKENS];
    double slope[MOST_TOKENS], value_old[MOST_TOKENS], value[MOST_TOKENS], target[MOST_TOKENS];
    double value_slope[MOST_TOKENS];
};

static struct batch batch;

/* Fills row with a sequence and what the policy says of it. */
static void put_row(const struct problem *problem, table log_p, int64_t row, int sequence)
{
    int prefix = 0;

    batch.sequence[row] = sequence;
    batch.terminated[row] = 1;
    batch.score[row] = problem->reward[sequence];
    batch.offset[row + 1] = (row + 1) * problem->length;
    for (int t = 0; t < problem->length; t++) {
        int64_t i = row * problem->length + t;
        batch.prefix[i] = prefix;
        batch.token[i] = token_at(problem, sequence, t);
        batch.old[i] = batch.log_prob[i] = log_p[prefix][batch.token[i]];
        batch.ref[i] = problem->reference[prefix][batch.token[i]];
        prefix = problem->vocabulary * prefix + 1 + batch.token[i];
    }
}

/* Row r of step s draws from its own stream, so the samples depend on nothing else. */
static int draw(const struct problem *problem, table log_p, uint32_t step, uint32_t row)
{
    int sequence = 0, prefix = 0;

    for (int t = 0; t < problem->length; t++) {
        double u = rlhfi_uniform(17, RLHFI_RANDOM_SAMPLE, step, row, (uint32_t)t);
        int token = 0;
        for (u -= exp(log_p[prefix][0]); u > 0 && token < problem->vocabulary - 1; u -= exp(log_p[prefix][token]))
            token++;
        sequence = problem->vocabulary * sequence + token;
        prefix = problem->vocabulary * prefix + 1 + token;
    }
    return sequence;
}

static void sample(const struct problem *problem, table log_p, uint32_t step, int64_t rows)
{
    batch.rows = rows;
    for (int64_t row = 0; row < rows; row++)
        put_row(problem, log_p, row, draw(problem, log_p, step, (uint32_t)row));
}

static void enumerate(const struct problem *problem, table log_p)
{
    batch.rows = problem->sequences;
    for (int s = 0; s < problem->sequences; s++)
        put_row(problem, log_p, s, s);
}

/* Gradient of the loss on the table of logits. */
static void through_softmax(const struct problem *problem, table log_p, table gradient)
{
    memset(gradient, 0, sizeof(table));
    for (int64_t i = 0; i < batch.rows * problem->length; i++) {
        int n = batch.prefix[i];
        for (int v = 0; v < problem->vocabulary; v++)
            gradient[n][v] += batch.slope[i] * ((v == batch.token[i]) - exp(log_p[n][v]));
    }
}

static double objective_value(const struct problem *problem, table log_p)
{
    double sum = 0;

    for (int s = 0; s < problem->sequences; s++) {
        double policy = 0, reference = 0;
        for (int t = 0, prefix = 0; t < problem->length; t++) {
            int token = token_at(problem, s, t);
            policy += log_p[prefix][token];
            reference += problem->reference[prefix][token];
            prefix = problem->vocabulary * prefix + 1 + token;
        }
        sum += exp(policy) * (problem->reward[s] - problem->beta * (policy - reference));
    }
    return sum;
}

/* ---- the objectives on the batch --------------------------------------------------------------------------------- */

static void shape_rewards(rlhf_objective *objective)
{
    rlhf_reward_input in = SIZED(rlhf_reward_input, .rows = batch.rows, .offset = batch.offset, .score = batch.score,
                                 .log_prob = batch.old, .log_prob_ref = batch.ref, .terminated = batch.terminated);
    rlhf_reward_output out = SIZED(rlhf_reward_output, .reward = batch.reward);

    check_ok(rlhf_objective_reward(objective, &in, &out));
}

static void make_advantages(rlhf_objective *objective, int32_t samples, bool values)
{
    rlhf_advantage_input in = SIZED(rlhf_advantage_input, .samples_per_prompt = samples, .rows = batch.rows,
                                    .offset = batch.offset, .reward = batch.reward,
                                    .value = values ? batch.value_old : NULL);
    rlhf_advantage_output out = SIZED(rlhf_advantage_output, .advantage = batch.advantage,
                                      .value_target = values ? batch.target : NULL);

    check_ok(rlhf_objective_advantage(objective, &in, &out));
}

static void policy_slopes(rlhf_objective *objective, int32_t samples)
{
    rlhf_policy_loss_input in = SIZED(rlhf_policy_loss_input, .samples_per_prompt = samples, .rows = batch.rows,
                                      .offset = batch.offset, .log_prob = batch.log_prob, .log_prob_old = batch.old,
                                      .log_prob_ref = batch.ref, .advantage = batch.advantage, .score = batch.score,
                                      .denominator = (double)batch.offset[batch.rows],
                                      .denominator_rows = (double)batch.rows);
    rlhf_policy_loss_output out = SIZED(rlhf_policy_loss_output, .d_log_prob = batch.slope);

    check_ok(rlhf_objective_policy_loss(objective, &in, &out));
}

/* ---- learners ---------------------------------------------------------------------------------------------------- */

/* Gradient of -J over all sequences, weighted by probability. The weights go into the rewards: the loss is linear. */
static void exact_gradient(const struct problem *problem, table log_p, table gradient)
{
    rlhf_objective *shaping = made("kl_reward", "kl_coef", problem->beta, NULL);
    rlhf_objective *reinforce = made("reinforce", "baseline", 0.0, NULL);

    enumerate(problem, log_p);
    shape_rewards(shaping);
    for (int64_t row = 0; row < batch.rows; row++) {
        double log_prob = 0;
        for (int64_t i = batch.offset[row]; i < batch.offset[row + 1]; i++)
            log_prob += batch.log_prob[i];
        for (int64_t i = batch.offset[row]; i < batch.offset[row + 1]; i++)
            batch.reward[i] *= exp(log_prob) * (double)batch.rows;
    }
    make_advantages(reinforce, 1, false);
    policy_slopes(reinforce, 1);
    through_softmax(problem, log_p, gradient);
    rlhf_objective_release(&shaping);
    rlhf_objective_release(&reinforce);
}

static void test_gradient(void **state)
{
    const struct problem *problem = *state;
    const rlhfi_json *expected = need(problem->expected, "gradient_of_objective_at_ref");
    table log_p, gradient;
    double got[MOST_VOCABULARY], wanted[MOST_VOCABULARY];

    memcpy(log_p, problem->reference, sizeof log_p);
    check_number("objective_of_ref", objective_value(problem, log_p), problem->start);
    exact_gradient(problem, log_p, gradient);
    for (int n = 0; n < problem->prefixes; n++) {
        for (int v = 0; v < problem->vocabulary; v++) {
            got[v] = -gradient[n][v];
            wanted[v] = number_of(rlhfi_json_at(rlhfi_json_at(expected, (size_t)n), (size_t)v));
        }
        check_numbers("gradient_of_objective_at_ref", got, wanted, problem->vocabulary);
    }
}

/* Ascent along the natural gradient: for a table of softmaxes, the gradient over the probability of coming by. */
static void test_exact(void **state)
{
    const struct problem *problem = *state;
    table logits, log_p, gradient;
    double reached[MOST_PREFIXES];

    memcpy(logits, problem->reference, sizeof logits);
    for (int step = 0; step < 80; step++) {
        to_log_probabilities(problem, logits, log_p);
        exact_gradient(problem, log_p, gradient);
        reached[0] = 1;
        for (int n = 0; n < problem->prefixes; n++) {
            for (int v = 0; v < problem->vocabulary; v++) {
                double p = reached[n] * exp(log_p[n][v]);
                int child = problem->vocabulary * n + 1 + v;
                logits[n][v] = log_p[n][v] - 0.5 / problem->beta * gradient[n][v] / p;
                if (child < problem->prefixes)
                    reached[child] = p;
            }
        }
    }
    to_log_probabilities(problem, logits, log_p);
    if (!(fabs(objective_value(problem, log_p) - problem->optimum) <= 1e-6))
        fail_msg("J is %.12g, the optimum %.12g", objective_value(problem, log_p), problem->optimum);
}

/* Adam without the moments' noise left at the end: the rate falls to 0. */
struct learner {
    table logits, first, second;
    int steps;
};

static void learn(const struct problem *problem, struct learner *learner, table gradient, double step)
{
    double bias1 = 1 - pow(0.9, ++learner->steps), bias2 = 1 - pow(0.99, learner->steps);

    for (int n = 0; n < problem->prefixes; n++)
        for (int v = 0; v < problem->vocabulary; v++) {
            double g = gradient[n][v];
            learner->first[n][v] = 0.9 * learner->first[n][v] + 0.1 * g;
            learner->second[n][v] = 0.99 * learner->second[n][v] + 0.01 * g * g;
            learner->logits[n][v] -= step * learner->first[n][v] / bias1 /
                                     (sqrt(learner->second[n][v] / bias2) + 1e-8);
        }
}

static void check_closed(const struct problem *problem, table logits, double least)
{
    table log_p;
    double closed;

    to_log_probabilities(problem, logits, log_p);
    closed = (objective_value(problem, log_p) - problem->start) / (problem->optimum - problem->start);
    if (!(closed >= least))
        fail_msg("%.4f of the way to the optimum, at least %.2f wanted", closed, least);
    assert_true(closed <= 1 + 1e-9);
}

/* The rate of a step: it falls to 0, and is smaller where the optimum, r / beta away in the logits, is nearer. */
static double rate(const struct problem *problem, int step, int steps)
{
    return 0.1 / fmax(1, problem->beta) * (1 - (double)step / steps);
}

/* With a short leash from the start a sampled method runs into the first good answer it meets and never sees the best:
 * so the first half of the steps lowers the coefficient from 1, where it is larger than that, to beta. */
static double leash(const struct problem *problem, int step, int steps)
{
    double rest = 1 - 2.0 * step / steps;

    return problem->beta >= 1 || rest <= 0 ? problem->beta : pow(problem->beta, 1 - rest);
}

/* ---- sampled methods --------------------------------------------------------------------------------------------- */

enum { STEPS = 600 };

/* On-policy policy gradient with any objective that has an advantage and a policy loss. */
static void climb(const struct problem *problem, rlhf_objective *objective, int64_t rows, int32_t samples)
{
    static struct learner learner;
    rlhf_objective *shaping = made("kl_reward", NULL);
    bool holds_reference = (rlhf_objective_need(objective) & RLHF_NEED_REFERENCE) != 0;
    table log_p, gradient;

    memset(&learner, 0, sizeof learner);
    memcpy(learner.logits, problem->reference, sizeof learner.logits);
    for (int step = 0; step < STEPS; step++) {
        double beta = leash(problem, step, STEPS);
        check_ok(rlhf_objective_set(shaping, "kl_coef", holds_reference ? 0 : beta));
        if (holds_reference)
            check_ok(rlhf_objective_set(objective, "beta", beta));
        to_log_probabilities(problem, learner.logits, log_p);
        sample(problem, log_p, (uint32_t)step, rows);
        shape_rewards(shaping);
        make_advantages(objective, samples, false);
        policy_slopes(objective, samples);
        through_softmax(problem, log_p, gradient);
        learn(problem, &learner, gradient, rate(problem, step, STEPS));
    }
    check_closed(problem, learner.logits, 0.98);
    rlhf_objective_release(&shaping);
    rlhf_objective_release(&objective);
}

static void test_reinforce_moving_average(void **state)
{
    climb(*state, made("reinforce", "baseline", 1.0, NULL), 512, 1);
}

static void test_reinforce_leave_one_out(void **state)
{
    climb(*state, made("reinforce", "baseline", 3.0, "reward_to_go", 0.0, NULL), 256, 4);
}

static void test_pairwise_linear(void **state)
{
    climb(*state, made("pairwise", "form", 0.0, NULL), 256, 2);
}

static void test_pairwise_regularised(void **state)
{
    climb(*state, made("pairwise", "form", 1.0, NULL), 256, 2);
}

/* Rollouts of 1024 sequences, four epochs over each; the critic is a table too. Advantages are not whitened:
 * near the optimum they vanish, and whitening would make noise of what is left. */
static void test_ppo(void **state)
{
    const struct problem *problem = *state;
    static struct learner learner;
    rlhf_objective *shaping = made("kl_reward", NULL), *gae = made("gae", "whiten", 0.0, NULL);
    rlhf_objective *ppo = made("ppo", NULL);
    double value[MOST_PREFIXES] = {0}, visits[MOST_PREFIXES];
    table log_p, gradient;
    int rollouts = STEPS / 4;

    memset(&learner, 0, sizeof learner);
    memcpy(learner.logits, problem->reference, sizeof learner.logits);
    for (int step = 0; step < rollouts; step++) {
        check_ok(rlhf_objective_set(shaping, "kl_coef", leash(problem, step, rollouts)));
        to_log_probabilities(problem, learner.logits, log_p);
        sample(problem, log_p, (uint32_t)step, 1024);
        int64_t tokens = batch.offset[batch.rows];
        rlhf_value_loss_input in = SIZED(rlhf_value_loss_input, .count = tokens, .value = batch.value,
                                         .value_old = batch.value_old, .value_target = batch.target,
                                         .denominator = (double)tokens);
        rlhf_value_loss_output out = SIZED(rlhf_value_loss_output, .d_value = batch.value_slope);
        memset(visits, 0, sizeof visits);
        for (int64_t i = 0; i < tokens; i++) {
            batch.value_old[i] = value[batch.prefix[i]];
            visits[batch.prefix[i]]++;
        }
        shape_rewards(shaping);
        make_advantages(gae, 1, true);
        for (int epoch = 0; epoch < 4; epoch++) {
            to_log_probabilities(problem, learner.logits, log_p);
            for (int64_t i = 0; i < tokens; i++) {
                batch.log_prob[i] = log_p[batch.prefix[i]][batch.token[i]];
                batch.value[i] = value[batch.prefix[i]];
            }
            policy_slopes(ppo, 1);
            check_ok(rlhf_objective_value_loss(ppo, &in, &out));
            through_softmax(problem, log_p, gradient);
            learn(problem, &learner, gradient, rate(problem, step, rollouts));
            for (int64_t i = 0; i < tokens; i++) /* vf_coef 0.1: an eighth of the way to the mean of the targets */
                value[batch.prefix[i]] -= 1.25 * (double)tokens / visits[batch.prefix[i]] * batch.value_slope[i];
        }
    }
    check_closed(problem, learner.logits, 0.98);
    rlhf_objective_release(&shaping);
    rlhf_objective_release(&gae);
    rlhf_objective_release(&ppo);
}

/* ---- discovery --------------------------------------------------------------------------------------------------- */

static void test_no_fixtures(void **state)
{
    SKIP("golden/bandit is not there (set RLHF_GOLDEN)");
}

static void test_too_large(void **state)
{
    SKIP("the problem is larger than, or of another shape than, what this test enumerates");
}

static const char *text_of(const rlhfi_json *object, const char *key)
{
    const char *text = rlhfi_json_text(rlhfi_json_get(object, key), NULL);

    return text != NULL ? text : "?";
}

static const struct {
    const char *name;
    CMUnitTestFunction function;
} checks[] = {
    {"gradient", test_gradient},
    {"exact", test_exact},
    {"reinforce_moving_average", test_reinforce_moving_average},
    {"reinforce_leave_one_out", test_reinforce_leave_one_out},
    {"pairwise_linear", test_pairwise_linear},
    {"pairwise_regularised", test_pairwise_regularised},
    {"ppo", test_ppo},
};
enum { CHECKS = sizeof checks / sizeof checks[0], MOST_PROBLEMS = 64 };
static struct problem problems[MOST_PROBLEMS];
static struct CMUnitTest tests[MOST_PROBLEMS * CHECKS];
static char names[MOST_PROBLEMS * CHECKS][96];

/* false if the file is not what this test can read. */
static bool read_problem(struct problem *problem, const rlhfi_json *from, const rlhfi_json *optimum)
{
    const rlhfi_json *prefixes = rlhfi_json_get(from, "prefixes"), *logits = rlhfi_json_get(from, "ref_logits");
    const rlhfi_json *sequences = rlhfi_json_get(from, "sequences");
    int64_t vocabulary, length;
    table raw;

    if (!rlhfi_json_integer(rlhfi_json_get(from, "vocabulary"), &vocabulary) ||
        !rlhfi_json_integer(rlhfi_json_get(from, "length"), &length) || vocabulary > MOST_VOCABULARY ||
        length > MOST_LENGTH || rlhfi_json_size(prefixes) > MOST_PREFIXES ||
        rlhfi_json_size(sequences) > MOST_SEQUENCES)
        return false;
    *problem = (struct problem){.vocabulary = (int)vocabulary, .length = (int)length, .expected = optimum,
                                .prefixes = (int)rlhfi_json_size(prefixes),
                                .sequences = (int)rlhfi_json_size(sequences)};
    for (int n = 0; n < problem->prefixes; n++) {
        const rlhfi_json *prefix = rlhfi_json_at(prefixes, (size_t)n);
        int number = 0;
        for (size_t i = 0; i < rlhfi_json_size(prefix); i++)
            number = problem->vocabulary * number + 1 + (int)number_of(rlhfi_json_at(prefix, i));
        if (number != n)
            return false;
        for (int v = 0; v < problem->vocabulary; v++)
            raw[n][v] = number_of(rlhfi_json_at(rlhfi_json_at(logits, (size_t)n), (size_t)v));
    }
    to_log_probabilities(problem, raw, problem->reference);
    for (int s = 0; s < problem->sequences; s++) {
        for (int t = 0; t < problem->length; t++)
            if (number_of(rlhfi_json_at(rlhfi_json_at(sequences, (size_t)s), (size_t)t)) != token_at(problem, s, t))
                return false;
        problem->reward[s] = number_of(rlhfi_json_at(rlhfi_json_get(from, "reward"), (size_t)s));
    }
    problem->beta = number_of(rlhfi_json_get(optimum, "beta"));
    problem->optimum = number_of(rlhfi_json_get(optimum, "objective"));
    problem->start = number_of(rlhfi_json_get(optimum, "objective_of_ref"));
    return true;
}

int main(void)
{
    const struct CMUnitTest missing[] = {cmocka_unit_test(test_no_fixtures)};
    const rlhfi_json *list;
    rlhfi_json *root = NULL;
    char path[4096], error[512];
    size_t used = 0, found = 0;
    int failed;

    if (rlhf_context_create(&context, NULL) != RLHF_OK)
        return 1;
    if (!rlhfi_path_exists(golden_path("bandit/known_optima.json", path))) {
        failed = cmocka_run_group_tests(missing, NULL, NULL);
        rlhf_context_release(&context);
        return failed;
    }
    if (rlhfi_json_load(&root, context, path, (size_t)64 << 20) != RLHF_OK) {
        rlhf_context_error(context, error, sizeof error);
        fprintf(stderr, "%s\n", error);
        return 1;
    }
    list = rlhfi_json_get(root, "problems");
    for (size_t p = 0; p < rlhfi_json_size(list); p++) {
        const rlhfi_json *from = rlhfi_json_at(list, p), *optima = rlhfi_json_get(from, "optima");
        for (size_t o = 0; o < rlhfi_json_size(optima) && found < MOST_PROBLEMS; o++) {
            struct problem *problem = &problems[found++];
            char beta[32];
            if (!read_problem(problem, from, rlhfi_json_at(optima, o))) {
                snprintf(names[used], sizeof names[used], "%.24s.%zu", text_of(from, "name"), o);
                tests[used] = (struct CMUnitTest){names[used], test_too_large, NULL, NULL, NULL};
                used++;
                continue;
            }
            rlhfi_format_double(problem->beta, beta, sizeof beta);
            for (int c = 0; c < CHECKS; c++) {
                snprintf(names[used], sizeof names[used], "%.24s.beta_%s.%s",
                         text_of(from, "name"), beta, checks[c].name);
                tests[used] = (struct CMUnitTest){names[used], checks[c].function, NULL, NULL, problem};
                used++;
            }
        }
    }
    failed = _cmocka_run_group_tests("known optima", tests, used, NULL, NULL);
    rlhfi_json_release(&root);
    rlhf_context_release(&context);
    return failed;
}
