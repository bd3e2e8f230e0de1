/* Rollouts: the promises first (exact log-probabilities; nothing but weights, prompt, seed and numbers matters), then
 * where responses end, then what is refused. */
#include "pace.h"
#include "support.h"

#include <math.h>

static rlhf_context *context;
static rlhf_policy *policy[MODELS];

static int set_up(void **state)
{
    context = make_context(2, UINT32_MAX, NULL);
    for (int kind = 0; kind < MODELS; kind++)
        policy[kind] = make_policy(context, kind);
    return 0;
}

static int tear_down(void **state)
{
    for (int kind = 0; kind < MODELS; kind++)
        rlhf_policy_release(&policy[kind]);
    rlhf_context_release(&context);
    return 0;
}

static rlhf_batch *prompts_for(int kind, int64_t rows, int64_t longest)
{
    return make_prompts(context, rows, longest, rlhf_policy_vocabulary(policy[kind]));
}

/* ---- exactness --------------------------------------------------------------------------------------------------- */

/* Log-probabilities of the rollout's tokens, computed as training does, must be its own, bit for bit. */
static void assert_log_probs_exact(rlhf_policy *of, const rlhf_rollout *rollout, double temperature)
{
    rlhf_rollout_view view = view_of(rollout);
    size_t count = (size_t)view.response_offset[view.rows];
    float *again = calloc(count + 1, sizeof *again);
    rlhf_batch *batch;

    CHECK(rlhf_rollout_batch(rollout, &batch));
    CHECK(rlhf_policy_log_probs(of, batch, temperature, again, NULL));
    assert_memory_equal(again, view.log_prob, count * sizeof *again);
    for (size_t i = 0; i < count; i++)
        assert_true(isfinite(again[i]) && again[i] <= 0);
    free(again);
    rlhf_batch_release(&batch);
}

static void log_probs_are_those_of_training(void **state)
{
    static const double temperatures[] = {1, 0.7, 1.9, 0};

    for (int kind = 0; kind < MODELS; kind++) {
        rlhf_batch *prompts = prompts_for(kind, 7, 5);

        for (size_t i = 0; i < sizeof temperatures / sizeof *temperatures; i++) {
            rlhf_rollout_options options = options_of(25, 3);
            rlhf_rollout *rollout;

            options.temperature = temperatures[i];
            rollout = roll(policy[kind], prompts, &options);
            assert_log_probs_exact(policy[kind], rollout, options.temperature == 0 ? 1 : options.temperature);
            rlhf_rollout_release(&rollout);
        }
        rlhf_batch_release(&prompts);
    }
}

/* Filters and min_new_tokens change what is drawn, never what log_prob means. */
static void restricted_sampling_is_scored_without_restriction(void **state)
{
    rlhf_batch *prompts = prompts_for(LLAMA, 5, 4);
    rlhf_rollout_options options = options_of(30, 4);
    rlhf_rollout *rollout;

    options.top_k = 9;
    options.top_p = 0.9;
    options.min_p = 0.02;
    options.min_new_tokens = 6;
    rollout = roll(policy[LLAMA], prompts, &options);
    assert_log_probs_exact(policy[LLAMA], rollout, 1);
    rlhf_rollout_release(&rollout);
    rlhf_batch_release(&prompts);
}

static void greedy_is_the_arg_max_of_the_whole_forward_pass(void **state)
{
    for (int kind = 0; kind < MODELS; kind++) {
        rlhf_batch *prompts = prompts_for(kind, 9, 6), *batch;
        rlhf_rollout_options options = options_of(30, 2);
        rlhf_batch_view rows = {.struct_size = sizeof rows};
        rlhf_rollout_view view;
        rlhf_rollout *rollout;
        float *log_prob;
        int32_t *best;

        options.temperature = 0;
        rollout = roll(policy[kind], prompts, &options);
        view = view_of(rollout);
        CHECK(rlhf_rollout_batch(rollout, &batch));
        CHECK(rlhf_batch_get(batch, &rows));
        log_prob = calloc((size_t)view.response_offset[view.rows], sizeof *log_prob);
        best = calloc((size_t)view.response_offset[view.rows], sizeof *best);
        CHECK(rlhfi_model_log_probs(policy[kind]->model, &rows, 1,
                                    &(rlhfi_token_stats){.log_prob = log_prob, .best = best}));
        for (int64_t row = 0; row < view.rows; row++) {
            const int32_t *response = view.tokens + view.offset[row] + view.prompt_length[row];
            int64_t first = view.response_offset[row], count = view.response_offset[row + 1] - first;

            assert_true(count > 0);
            assert_memory_equal(response, best + first, (size_t)count * sizeof *best);
        }
        for (int64_t row = 0; row < view.rows; row += 2)
            assert_rows_equal(&view, row, &view, row + 1);
        free(log_prob);
        free(best);
        rlhf_batch_release(&batch);
        rlhf_batch_release(&prompts);
        rlhf_rollout_release(&rollout);
    }
}

/* ---- what must not matter ---------------------------------------------------------------------------------------- */

static void the_number_of_samples_does_not_matter(void **state)
{
    rlhf_batch *prompts = prompts_for(LLAMA, 6, 5);
    rlhf_rollout_options options = options_of(20, 7);
    rlhf_rollout *seven = roll(policy[LLAMA], prompts, &options), *fewer;
    rlhf_rollout_view many = view_of(seven), view;

    for (int32_t samples = 1; samples < 7; samples++) {
        options.samples_per_prompt = samples;
        fewer = roll(policy[LLAMA], prompts, &options);
        view = view_of(fewer);
        assert_int_equal(view.samples_per_prompt, samples);
        assert_int_equal(view.rows, 6 * samples);
        for (int64_t p = 0; p < 6; p++)
            for (int64_t s = 0; s < samples; s++)
                assert_rows_equal(&many, p * 7 + s, &view, p * samples + s);
        rlhf_rollout_release(&fewer);
    }
    /* Samples do differ. */
    for (int64_t s = 1; s < 7; s++)
        assert_memory_not_equal(many.tokens + many.offset[0] + 1, many.tokens + many.offset[s] + 1,
                                3 * sizeof(int32_t));
    rlhf_rollout_release(&seven);
    rlhf_batch_release(&prompts);
}

static void the_batch_size_does_not_matter(void **state)
{
    static const int32_t sizes[] = {1, 2, 3, 5, 8, 13, 64, 1000};

    for (int kind = 0; kind < MODELS; kind++) {
        rlhf_batch *prompts = prompts_for(kind, 11, 6);

        for (int32_t samples = 1; samples <= 4; samples += 3) {
            rlhf_rollout_options options = options_of(17, samples);
            rlhf_rollout *whole = roll(policy[kind], prompts, &options), *other;

            for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
                options.batch_size = sizes[i];
                other = roll(policy[kind], prompts, &options);
                assert_rollouts_equal(whole, other);
                rlhf_rollout_release(&other);
            }
            rlhf_rollout_release(&whole);
        }
        rlhf_batch_release(&prompts);
    }
}

/* More prompt tokens than one step reads. */
static void many_long_prompts_come_in_pieces(void **state)
{
    enum { ROWS = 60 };
    rlhf_batch *prompts = prompts_for(LLAMA, ROWS, 60);
    rlhf_rollout_options options = options_of(4, 2);
    rlhf_rollout *whole, *single;

    options.batch_size = 2 * ROWS;
    whole = roll(policy[LLAMA], prompts, &options);
    options.batch_size = 1;
    single = roll(policy[LLAMA], prompts, &options);
    assert_rollouts_equal(whole, single);
    assert_log_probs_exact(policy[LLAMA], whole, 1);
    rlhf_rollout_release(&whole);
    rlhf_rollout_release(&single);
    rlhf_batch_release(&prompts);
}

static void threads_and_instruction_sets_do_not_matter(void **state)
{
    static const uint32_t masks[] = {0, RLHF_CPU_AVX2, RLHF_CPU_AVX2 | RLHF_CPU_AVX512};

    for (int kind = 0; kind < MODELS; kind++) {
        rlhf_batch *prompts = prompts_for(kind, 5, 4);
        rlhf_rollout_options options = options_of(20, 3);
        rlhf_rollout *expected, *rollout;

        options.top_p = 0.95;
        expected = roll(policy[kind], prompts, &options);
        for (int32_t threads = 1; threads <= 3; threads += (int32_t)pace(2))
            for (size_t i = 0; i < sizeof masks / sizeof *masks; i++) {
                rlhf_context *other = make_context(threads, masks[i], NULL);
                rlhf_policy *same = make_policy(other, kind);
                rlhf_batch *again = make_prompts(other, 5, 4, rlhf_policy_vocabulary(same));

                rollout = roll(same, again, &options);
                assert_rollouts_equal(expected, rollout);
                rlhf_rollout_release(&rollout);
                rlhf_batch_release(&again);
                rlhf_policy_release(&same);
                rlhf_context_release(&other);
            }
        rlhf_rollout_release(&expected);
        rlhf_batch_release(&prompts);
    }
}

static void prompts_are_numbered_through_the_stream(void **state)
{
    rlhf_batch *prompts = prompts_for(GPT2, 4, 3), *tail;
    rlhf_batch_view view = {.struct_size = sizeof view};
    rlhf_rollout_options options = options_of(12, 2);
    rlhf_rollout *whole, *rest;
    rlhf_rollout_view one, other;
    int64_t offset[3] = {0};

    CHECK(rlhf_batch_get(prompts, &view));
    for (int i = 0; i < 2; i++)
        offset[i + 1] = view.offset[3 + i] - view.offset[2];
    CHECK(rlhf_batch_create(&tail, context, 2, offset, view.tokens + view.offset[2], view.prompt_length + 2));
    options.first_prompt = 100;
    whole = roll(policy[GPT2], prompts, &options);
    options.first_prompt = 102;
    rest = roll(policy[GPT2], tail, &options);
    one = view_of(whole);
    other = view_of(rest);
    for (int64_t row = 0; row < 4; row++)
        assert_rows_equal(&one, 4 + row, &other, row);

    /* Another number or another seed is another draw. */
    rlhf_rollout_release(&rest);
    options.first_prompt = 103;
    rest = roll(policy[GPT2], tail, &options);
    other = view_of(rest);
    assert_memory_not_equal(one.tokens + one.offset[4] + one.prompt_length[4],
                            other.tokens + other.offset[0] + other.prompt_length[0], 4 * sizeof(int32_t));
    rlhf_rollout_release(&rest);
    options.first_prompt = 100;
    options.seed++;
    rest = roll(policy[GPT2], prompts, &options);
    other = view_of(rest);
    assert_memory_not_equal(one.tokens + one.offset[0] + one.prompt_length[0],
                            other.tokens + other.offset[0] + other.prompt_length[0], 4 * sizeof(int32_t));
    rlhf_rollout_release(&rest);
    rlhf_rollout_release(&whole);
    rlhf_batch_release(&tail);
    rlhf_batch_release(&prompts);
}

/* ---- where responses end ----------------------------------------------------------------------------------------- */

static bool contains(const int32_t *tokens, int64_t count, int32_t token)
{
    for (int64_t i = 0; i < count; i++)
        if (tokens[i] == token)
            return true;
    return false;
}

/* Checks every row of a rollout against the rule; returns how many ended with a stop token. */
static int64_t assert_ends(const rlhf_rollout *rollout, const rlhf_rollout_options *options, const int32_t *stops,
                           int64_t stop_count, int64_t positions)
{
    rlhf_rollout_view view = view_of(rollout);
    int64_t ended = 0;

    for (int64_t row = 0; row < view.rows; row++) {
        const int32_t *response = view.tokens + view.offset[row] + view.prompt_length[row];
        int64_t count = view.offset[row + 1] - view.offset[row] - view.prompt_length[row];
        int64_t room = positions - view.prompt_length[row];
        int64_t most = room < options->max_new_tokens ? room : options->max_new_tokens;

        assert_int_equal(count, view.response_offset[row + 1] - view.response_offset[row]);
        for (int64_t t = 0; t < count; t++) {
            bool stop = contains(stops, stop_count, response[t]);
            if (t < options->min_new_tokens)
                assert_false(stop);
            else if (t < count - 1 && !options->ignore_stop)
                assert_false(stop);
        }
        if (view.terminated[row])
            assert_true(contains(stops, stop_count, response[count - 1]) && !options->ignore_stop);
        else
            assert_int_equal(count, most);
        if (count == most && !options->ignore_stop)
            assert_int_equal(view.terminated[row], contains(stops, stop_count, response[count - 1]));
        ended += view.terminated[row];
    }
    return ended;
}

static void responses_end_at_stop_tokens_or_limits(void **state)
{
    const int32_t model_stops[2] = {2, 5};
    rlhf_batch *prompts = prompts_for(LLAMA, 20, 5);
    rlhf_rollout_options options = options_of(60, 4);
    rlhf_rollout *rollout;
    int64_t ended;

    /* The model's own list; 60 tokens and up to 5 of the prompt reach beyond its 64 positions. */
    rollout = roll(policy[LLAMA], prompts, &options);
    ended = assert_ends(rollout, &options, model_stops, 2, 64);
    assert_true(ended > 10 && ended < 80);
    rlhf_rollout_release(&rollout);

    options.min_new_tokens = 15;
    rollout = roll(policy[LLAMA], prompts, &options);
    ended = assert_ends(rollout, &options, model_stops, 2, 64);
    assert_true(ended > 5);
    rlhf_rollout_release(&rollout);
    options.min_new_tokens = 0;

    options.ignore_stop = 1;
    rollout = roll(policy[LLAMA], prompts, &options);
    assert_int_equal(assert_ends(rollout, &options, model_stops, 2, 64), 0);
    rlhf_rollout_release(&rollout);
    options.ignore_stop = 0;

    options.stop_token_count = 3;
    memcpy(options.stop_tokens, (const int32_t[]){9, 96, 0}, 3 * sizeof(int32_t));
    rollout = roll(policy[LLAMA], prompts, &options);
    ended = assert_ends(rollout, &options, options.stop_tokens, 3, 64);
    assert_true(ended > 10);
    rlhf_rollout_release(&rollout);

    options.max_new_tokens = 1;
    rollout = roll(policy[LLAMA], prompts, &options);
    assert_ends(rollout, &options, options.stop_tokens, 3, 64);
    assert_int_equal(view_of(rollout).response_offset[80], 80);
    rlhf_rollout_release(&rollout);
    rlhf_batch_release(&prompts);
}

static void a_prompt_may_leave_room_for_one_token_only(void **state)
{
    rlhf_rollout_options options = options_of(8, 2);
    int64_t positions = rlhf_policy_positions(policy[GPT2]), offset[2] = {0, positions - 1};
    int32_t tokens[64] = {0}, length = (int32_t)positions - 1;
    rlhf_rollout_view view;
    rlhf_rollout *rollout;
    rlhf_batch *prompts;

    options.ignore_stop = 1;
    CHECK(rlhf_batch_create(&prompts, context, 1, offset, tokens, &length));
    rollout = roll(policy[GPT2], prompts, &options);
    view = view_of(rollout);
    assert_int_equal(view.offset[1], positions);
    assert_int_equal(view.terminated[0], 0);
    assert_log_probs_exact(policy[GPT2], rollout, 1);
    rlhf_rollout_release(&rollout);
    rlhf_batch_release(&prompts);
}

/* Only the prompt of a row is read: a response that stands behind it is not. */
static void responses_of_the_given_batch_are_left_out(void **state)
{
    const int64_t offset[2] = {0, 5}, short_offset[2] = {0, 3};
    const int32_t tokens[5] = {4, 8, 15, 16, 23}, length = 3;
    rlhf_rollout_options options = options_of(10, 1);
    rlhf_batch *with, *without;
    rlhf_rollout *one, *other;

    CHECK(rlhf_batch_create(&with, context, 1, offset, tokens, &length));
    CHECK(rlhf_batch_create(&without, context, 1, short_offset, tokens, &length));
    one = roll(policy[GPT2], with, &options);
    other = roll(policy[GPT2], without, &options);
    assert_rollouts_equal(one, other);
    rlhf_rollout_release(&one);
    rlhf_rollout_release(&other);
    rlhf_batch_release(&with);
    rlhf_batch_release(&without);
}

static void no_prompts_give_no_rows(void **state)
{
    const int64_t offset[1] = {0};
    rlhf_rollout_options options = options_of(10, 3);
    rlhf_batch *none;
    rlhf_rollout *rollout;
    rlhf_rollout_view view;

    CHECK(rlhf_batch_create(&none, context, 0, offset, NULL, NULL));
    rollout = roll(policy[GPT2], none, &options);
    view = view_of(rollout);
    assert_int_equal(view.rows, 0);
    assert_int_equal(view.offset[0], 0);
    assert_int_equal(view.response_offset[0], 0);
    rlhf_rollout_release(&rollout);
    rlhf_batch_release(&none);
}

/* ---- callbacks and cancelling ------------------------------------------------------------------------------------ */

enum { MOST_ROWS = 64, MOST_TOKENS = 64 };

struct listener {
    int64_t count[MOST_ROWS], calls;
    int32_t token[MOST_ROWS][MOST_TOKENS];
    float log_prob[MOST_ROWS][MOST_TOKENS];
    int64_t act_at;                          /* in this call it acts */
    rlhf_status answer;
    rlhf_context *cancel;
    rlhf_policy **release;
    rlhf_policy *score;                      /* used inside the callback */
    const rlhf_batch *batch;
};

static rlhf_status listen(void *user_data, int64_t row, int32_t token, double log_prob)
{
    struct listener *listener = user_data;

    listener->token[row][listener->count[row]] = token;
    listener->log_prob[row][listener->count[row]++] = (float)log_prob;
    listener->calls++;
    if (listener->score != NULL) {
        float unused[64];
        CHECK(rlhf_policy_log_probs(listener->score, listener->batch, 1, unused, NULL));
    }
    if (listener->calls != listener->act_at)
        return RLHF_OK;
    if (listener->cancel != NULL)
        rlhf_context_cancel(listener->cancel);
    if (listener->release != NULL)
        rlhf_policy_release(listener->release);
    return listener->answer;
}

static void every_token_is_told_in_its_row(void **state)
{
    rlhf_batch *prompts = prompts_for(LLAMA, 6, 4);
    rlhf_rollout_options options = options_of(20, 3);
    struct listener listener = {.batch = prompts};
    rlhf_rollout *rollout, *silent;
    rlhf_rollout_view view;

    options.batch_size = 5;
    /* A callback may use the model meanwhile. */
    listener.score = policy[LLAMA];
    CHECK(rlhf_rollout_run(&rollout, policy[LLAMA], prompts, &options, listen, &listener));
    view = view_of(rollout);
    assert_int_equal(listener.calls, view.response_offset[view.rows]);
    for (int64_t row = 0; row < view.rows; row++) {
        size_t count = (size_t)(view.response_offset[row + 1] - view.response_offset[row]);
        assert_int_equal(listener.count[row], count);
        assert_memory_equal(listener.token[row], view.tokens + view.offset[row] + view.prompt_length[row],
                            count * sizeof(int32_t));
        assert_memory_equal(listener.log_prob[row], view.log_prob + view.response_offset[row], count * sizeof(float));
    }
    silent = roll(policy[LLAMA], prompts, &options);
    assert_rollouts_equal(rollout, silent);
    rlhf_rollout_release(&silent);
    rlhf_rollout_release(&rollout);
    rlhf_batch_release(&prompts);
}

static void a_callback_can_stop_the_run(void **state)
{
    rlhf_batch *prompts = prompts_for(LLAMA, 6, 4);
    rlhf_rollout_options options = options_of(20, 1);
    struct listener listener = {.act_at = 9, .answer = RLHF_E_USER_FIRST - 3};
    rlhf_rollout *rollout = (rlhf_rollout *)&options;

    assert_int_equal(rlhf_rollout_run(&rollout, policy[LLAMA], prompts, &options, listen, &listener),
                     RLHF_E_USER_FIRST - 3);
    assert_null(rollout);
    assert_int_equal(listener.calls, 9);
    assert_error(context, "on_token");
    rlhf_batch_release(&prompts);
}

static void a_run_can_be_canceled_between_steps(void **state)
{
    rlhf_batch *prompts = prompts_for(LLAMA, 3, 2);
    rlhf_rollout_options options = options_of(20, 1);
    struct listener listener = {.act_at = 4, .cancel = context};
    rlhf_rollout *rollout;

    options.ignore_stop = 1;
    assert_int_equal(rlhf_rollout_run(&rollout, policy[LLAMA], prompts, &options, listen, &listener), RLHF_E_CANCELED);
    assert_null(rollout);
    assert_int_equal(listener.calls, 6); /* the step's three tokens were told, the third step never ran */
    rollout = roll(policy[LLAMA], prompts, &options); /* the request was consumed */
    rlhf_rollout_release(&rollout);
    rlhf_context_cancel(context);
    assert_int_equal(rlhf_rollout_run(&rollout, policy[LLAMA], prompts, &options, NULL, NULL), RLHF_E_CANCELED);
    rlhf_batch_release(&prompts);
}

static void a_callback_may_release_the_policy(void **state)
{
    rlhf_policy *own = make_policy(context, GPT2);
    rlhf_batch *prompts = prompts_for(GPT2, 3, 2);
    rlhf_rollout_options options = options_of(10, 1);
    struct listener listener = {.act_at = 2, .release = &own};
    rlhf_rollout *rollout, *expected = roll(own, prompts, &options);

    CHECK(rlhf_rollout_run(&rollout, own, prompts, &options, listen, &listener));
    assert_null(own);
    assert_rollouts_equal(rollout, expected);
    rlhf_rollout_release(&rollout);
    rlhf_rollout_release(&expected);
    rlhf_batch_release(&prompts);
}

/* ---- what is refused --------------------------------------------------------------------------------------------- */

static void assert_refused(const rlhf_batch *prompts, const rlhf_rollout_options *options, rlhf_status status,
                           const char *part)
{
    rlhf_rollout *rollout = (rlhf_rollout *)context;

    assert_int_equal(rlhf_rollout_run(&rollout, policy[LLAMA], prompts, options, NULL, NULL), status);
    assert_null(rollout);
    assert_error(context, part);
}

static void bad_options_are_refused_by_name(void **state)
{
    rlhf_batch *prompts = prompts_for(LLAMA, 2, 2);
    rlhf_rollout_options options;

#define REFUSED(member, value, status)                                                                                 \
    do {                                                                                                               \
        options = options_of(10, 2);                                                                                   \
        options.member = value;                                                                                        \
        assert_refused(prompts, &options, status, #member);                                                            \
    } while (0)
    REFUSED(max_new_tokens, 0, RLHF_E_INVAL);
    REFUSED(max_new_tokens, -1, RLHF_E_INVAL);
    REFUSED(min_new_tokens, -1, RLHF_E_INVAL);
    REFUSED(min_new_tokens, 11, RLHF_E_INVAL);
    REFUSED(samples_per_prompt, 0, RLHF_E_INVAL);
    REFUSED(batch_size, 0, RLHF_E_INVAL);
    REFUSED(ignore_stop, 2, RLHF_E_INVAL);
    REFUSED(stop_token_count, -1, RLHF_E_INVAL);
    REFUSED(stop_token_count, 9, RLHF_E_INVAL);
    REFUSED(temperature, -0.5, RLHF_E_INVAL);
    REFUSED(temperature, NAN, RLHF_E_INVAL);
    REFUSED(temperature, 1e-30, RLHF_E_INVAL);
    REFUSED(top_k, -2, RLHF_E_INVAL);
    REFUSED(top_p, 0, RLHF_E_INVAL);
    REFUSED(top_p, 1.01, RLHF_E_INVAL);
    REFUSED(min_p, -0.1, RLHF_E_INVAL);
    REFUSED(first_prompt, UINT32_MAX, RLHF_E_RANGE);
    REFUSED(first_prompt, UINT64_MAX, RLHF_E_RANGE);
    REFUSED(struct_size, 8, RLHF_E_INVAL);
#undef REFUSED
    options = options_of(10, 2);
    options.stop_token_count = 2;
    options.stop_tokens[1] = 97;
    assert_refused(prompts, &options, RLHF_E_RANGE, "stop_tokens: 97");
    rlhf_batch_release(&prompts);
}

static void bad_prompts_are_refused_by_number(void **state)
{
    int32_t tokens[70] = {1, 2, 3};
    const int64_t offset[4] = {0, 1, 1, 3}, long_offset[3] = {0, 2, 66};
    int32_t length[3] = {1, 0, 2}, long_length[2] = {2, 64};
    rlhf_rollout_options options = options_of(10, 2);
    rlhf_rollout *rollout;
    rlhf_batch *prompts;

    CHECK(rlhf_batch_create(&prompts, context, 3, offset, tokens, length));
    assert_refused(prompts, &options, RLHF_E_INVAL, "prompt 1: empty");
    rlhf_batch_release(&prompts);

    CHECK(rlhf_batch_create(&prompts, context, 2, long_offset, tokens, long_length));
    assert_refused(prompts, &options, RLHF_E_RANGE, "prompt 1: 64 tokens, at most 63");
    rlhf_batch_release(&prompts);

    length[1] = 0;
    tokens[2] = 97;
    CHECK(rlhf_batch_create(&prompts, context, 1, (const int64_t[]){0, 3}, tokens, (const int32_t[]){3}));
    assert_refused(prompts, &options, RLHF_E_RANGE, "prompt 0: token 97 at 2");
    assert_int_equal(rlhf_rollout_run(NULL, policy[LLAMA], prompts, &options, NULL, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_rollout_run(&rollout, NULL, prompts, &options, NULL, NULL), RLHF_E_INVAL);
    assert_null(rollout);
    assert_int_equal(rlhf_rollout_run(&rollout, policy[LLAMA], NULL, &options, NULL, NULL), RLHF_E_INVAL);
    rlhf_batch_release(&prompts);
}

static void weights_that_are_not_numbers_are_reported(void **state)
{
    rlhf_policy *broken = make_policy(context, LLAMA);
    rlhf_batch *prompts = prompts_for(LLAMA, 2, 2);
    rlhf_rollout *rollout;

    CHECK(rlhfi_model_writable(broken->model));
    ((float *)rlhfi_head_weight(broken->model).weight.f32)[5] = NAN;
    assert_int_equal(rlhf_rollout_run(&rollout, broken, prompts, NULL, NULL, NULL), RLHF_E_NONFINITE);
    assert_error(context, "row 0");
    rlhf_policy_release(&broken);
    rlhf_batch_release(&prompts);
}

/* ---- options, view, life ----------------------------------------------------------------------------------------- */

static void defaults_are_as_documented(void **state)
{
    rlhf_rollout_options options;
    rlhf_batch *prompts = prompts_for(GPT2, 2, 2);
    rlhf_rollout *one, *other;

    rlhf_rollout_options_init(&options, sizeof options);
    assert_int_equal(options.struct_size, sizeof options);
    assert_int_equal(options.max_new_tokens, 64);
    assert_int_equal(options.samples_per_prompt, 1);
    assert_int_equal(options.batch_size, 64);
    assert_true(options.temperature == 1 && options.top_p == 1 && options.min_p == 0);
    assert_int_equal(options.top_k, 0);
    rlhf_rollout_options_init(NULL, 0);
    one = roll(policy[GPT2], prompts, &options);
    other = roll(policy[GPT2], prompts, NULL);
    assert_rollouts_equal(one, other);
    rlhf_rollout_release(&one);
    rlhf_rollout_release(&other);
    rlhf_rollout_release(&other);
    rlhf_rollout_release(NULL);
    rlhf_batch_release(&prompts);
}

static void a_rollout_outlives_what_it_came_from(void **state)
{
    struct counter counter = {0};
    rlhf_context *own = make_context(1, UINT32_MAX, &counter);
    rlhf_policy *model = make_policy(own, GPT2);
    rlhf_batch *prompts = make_prompts(own, 3, 3, 61), *batch;
    rlhf_rollout *rollout = roll(model, prompts, NULL);
    rlhf_rollout_view view = {.struct_size = 8};
    rlhf_batch_view rows = {.struct_size = sizeof rows};

    rlhf_context_release(&own);
    rlhf_policy_release(&model);
    rlhf_batch_release(&prompts);
    assert_int_equal(rlhf_rollout_get(rollout, &view), RLHF_E_INVAL);
    assert_int_equal(rlhf_rollout_get(NULL, &view), RLHF_E_INVAL);
    assert_int_equal(rlhf_rollout_get(rollout, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_rollout_batch(NULL, &batch), RLHF_E_INVAL);
    assert_int_equal(rlhf_rollout_batch(rollout, NULL), RLHF_E_INVAL);
    CHECK(rlhf_rollout_batch(rollout, &batch));
    view = view_of(rollout);
    CHECK(rlhf_batch_get(batch, &rows));
    assert_int_equal(rows.rows, 3);
    assert_memory_equal(rows.offset, view.offset, 4 * sizeof *rows.offset);
    assert_memory_equal(rows.tokens, view.tokens, (size_t)view.offset[3] * sizeof *rows.tokens);
    assert_memory_equal(rows.response_offset, view.response_offset, 4 * sizeof *rows.offset);
    rlhf_rollout_release(&rollout);
    rlhf_batch_release(&batch);
    assert_int_equal(counter.live, 0);
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static void every_failing_allocation_is_survived(void **state)
{
    struct counter counter = {0};
    rlhf_context *own = make_context(1, UINT32_MAX, &counter);
    rlhf_batch *prompts = make_prompts(own, 3, 3, 97);
    rlhf_rollout_options options = options_of(6, 2);
    rlhf_rollout *rollout;
    rlhf_policy *model;
    rlhf_status status;
    int64_t failed = 0;

    options.batch_size = 3;
    options.top_p = 0.9;
    options.min_new_tokens = 2;
    model = make_policy(own, LLAMA);
    rollout = roll(model, prompts, &options); /* the context keeps what products need: not ours to count */
    assert_log_probs_exact(model, rollout, 1);
    rlhf_rollout_release(&rollout);
    rlhf_policy_release(&model);
    do {
        int64_t live = counter.live;

        model = make_policy(own, LLAMA); /* a fresh one has no panels and an empty arena */
        counter.fail_at = counter.calls + 1 + failed;
        failed += pace(7);
        status = rlhf_rollout_run(&rollout, model, prompts, &options, NULL, NULL);
        counter.fail_at = 0;
        if (status != RLHF_OK) {
            assert_int_equal(status, RLHF_E_NOMEM);
            assert_error(own, "out of memory");
            assert_null(rollout);
            rollout = roll(model, prompts, &options); /* and the model still works */
        }
        assert_log_probs_exact(model, rollout, 1);
        rlhf_rollout_release(&rollout);
        rlhf_policy_release(&model);
        assert_int_equal(counter.live, live);
    } while (status != RLHF_OK);
    assert_true(failed > 20);
    rlhf_batch_release(&prompts);
    rlhf_context_release(&own);
    assert_int_equal(counter.live, 0);
}

struct watch {
    const struct counter *counter;
    int64_t tokens, before;      /* allocations when the tenth token was told */
    int64_t after;               /* and the last one so far */
};

static rlhf_status watch_allocations(void *user_data, int64_t row, int32_t token, double log_prob)
{
    struct watch *watch = user_data;

    if (++watch->tokens == 10)
        watch->before = watch->counter->calls;
    watch->after = watch->counter->calls;
    return RLHF_OK;
}

/* Once a context has seen such a run, later steps live on what is there: 45 tokens fit the cache's first piece. */
static void later_steps_allocate_nothing(void **state)
{
    for (int kind = 0; kind < MODELS; kind++) {
        struct counter counter = {0};
        rlhf_context *own = make_context(1, UINT32_MAX, &counter);
        rlhf_policy *model = make_policy(own, kind);
        rlhf_batch *prompts = make_prompts(own, 2, 2, 61);
        rlhf_rollout_options options = options_of(43, 1);
        struct watch watch = {.counter = &counter};
        rlhf_rollout *rollout;

        options.ignore_stop = 1;
        rollout = roll(model, prompts, &options);
        rlhf_rollout_release(&rollout);
        CHECK(rlhf_rollout_run(&rollout, model, prompts, &options, watch_allocations, &watch));
        assert_int_equal(watch.tokens, 86);
        assert_int_equal(watch.after, watch.before);
        rlhf_rollout_release(&rollout);
        rlhf_batch_release(&prompts);
        rlhf_policy_release(&model);
        rlhf_context_release(&own);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(log_probs_are_those_of_training),
        cmocka_unit_test(restricted_sampling_is_scored_without_restriction),
        cmocka_unit_test(greedy_is_the_arg_max_of_the_whole_forward_pass),
        cmocka_unit_test(the_number_of_samples_does_not_matter),
        cmocka_unit_test(the_batch_size_does_not_matter),
        cmocka_unit_test(many_long_prompts_come_in_pieces),
        cmocka_unit_test(threads_and_instruction_sets_do_not_matter),
        cmocka_unit_test(prompts_are_numbered_through_the_stream),
        cmocka_unit_test(responses_end_at_stop_tokens_or_limits),
        cmocka_unit_test(a_prompt_may_leave_room_for_one_token_only),
        cmocka_unit_test(responses_of_the_given_batch_are_left_out),
        cmocka_unit_test(no_prompts_give_no_rows),
        cmocka_unit_test(every_token_is_told_in_its_row),
        cmocka_unit_test(a_callback_can_stop_the_run),
        cmocka_unit_test(a_run_can_be_canceled_between_steps),
        cmocka_unit_test(a_callback_may_release_the_policy),
        cmocka_unit_test(bad_options_are_refused_by_name),
        cmocka_unit_test(bad_prompts_are_refused_by_number),
        cmocka_unit_test(weights_that_are_not_numbers_are_reported),
        cmocka_unit_test(defaults_are_as_documented),
        cmocka_unit_test(a_rollout_outlives_what_it_came_from),
        cmocka_unit_test(every_failing_allocation_is_survived),
        cmocka_unit_test(later_steps_allocate_nothing),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
