/* Scorers: what a callback sees, what becomes of its answer, and the reward model behind the same handle. */
#include "support.h"

#include <math.h>

static rlhf_context *context;
static rlhf_tokenizer *tokenizer;

/* One token per letter, "<s>" and "</s>" special. */
static const char tokenizer_json[] =
    "{\"version\":\"1.0\",\"added_tokens\":["
    "{\"id\":0,\"content\":\"<s>\",\"special\":true,\"single_word\":false,\"lstrip\":false,\"rstrip\":false,"
    "\"normalized\":false},"
    "{\"id\":1,\"content\":\"</s>\",\"special\":true,\"single_word\":false,\"lstrip\":false,\"rstrip\":false,"
    "\"normalized\":false}],"
    "\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,"
    "\"use_regex\":true},\"post_processor\":null,\"decoder\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true,"
    "\"trim_offsets\":true,\"use_regex\":true},\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,"
    "\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":false,\"byte_fallback\":false,"
    "\"vocab\":{\"<s>\":0,\"</s>\":1,\"a\":2,\"b\":3,\"c\":4,\"d\":5,\"e\":6},\"merges\":[]}}";

static int set_up(void **state)
{
    context = make_context(1, UINT32_MAX, NULL);
    CHECK(rlhf_tokenizer_create(&tokenizer, context, tokenizer_json, strlen(tokenizer_json), NULL, 0));
    return 0;
}

static int tear_down(void **state)
{
    rlhf_tokenizer_release(&tokenizer);
    rlhf_context_release(&context);
    return 0;
}

/* Three rows: "<s>ab" + "c</s>", the same prompt + "", "e" + "dd". */
static const int64_t offset[4] = {0, 5, 8, 11};
static const int32_t tokens[11] = {0, 2, 3, 4, 1, 0, 2, 3, 6, 5, 5};
static const int32_t prompt_length[3] = {3, 3, 1};

static rlhf_score_input three_rows(void)
{
    return (rlhf_score_input){.struct_size = sizeof(rlhf_score_input),
                              .rows = 3,
                              .offset = offset,
                              .tokens = tokens,
                              .prompt_length = prompt_length};
}

struct judge {
    int64_t calls, destroyed;
    char seen[512];
    double answer[3];
    int64_t written; /* rows that it scores */
    rlhf_status status;
    rlhf_scorer *again; /* called from inside */
    rlhf_status again_status;
    rlhf_scorer **release;
    bool fail_in_library;
    const char *prompt[2]; /* pointers of the first two rows */
};

static rlhf_status judge(void *user_data, const rlhf_score_input *in, double *score)
{
    struct judge *own = user_data;
    size_t used = 0;

    own->calls++;
    for (int64_t row = 0; row < in->rows; row++)
        used += (size_t)snprintf(own->seen + used, sizeof own->seen - used, "%s|%s|%s|%d;", in->prompt[row],
                                 in->completion[row], in->extra[row] != NULL ? in->extra[row] : "-",
                                 (int)in->terminated[row]);
    own->prompt[0] = in->prompt[0];
    own->prompt[1] = in->rows > 1 ? in->prompt[1] : NULL;
    for (int64_t row = 0; row < own->written && row < in->rows; row++)
        score[row] = own->answer[row];
    if (own->again != NULL) {
        double unused[3];
        own->again_status = rlhf_scorer_run(own->again, NULL, in, unused);
    }
    if (own->release != NULL)
        rlhf_scorer_release(own->release);
    if (own->fail_in_library) {
        rlhf_tokenizer *missing;
        return rlhf_tokenizer_load(&missing, context, "/does/not/exist");
    }
    return own->status;
}

static void end_judge(void *user_data)
{
    ((struct judge *)user_data)->destroyed++;
}

static rlhf_scorer *scorer_of(struct judge *own)
{
    rlhf_scorer *scorer;

    CHECK(rlhf_scorer_create(&scorer, context, "judge", judge, own, end_judge));
    return scorer;
}

/* ---- what a callback sees ---------------------------------------------------------------------------------------- */

static void texts_are_decoded_where_they_are_missing(void **state)
{
    const int32_t terminated[3] = {1, 0, 0};
    const char *const extra[3] = {"{\"a\":1}", NULL, NULL}, *const prompts[3] = {"from the dataset", NULL, "E"};
    const char *const completions[3] = {NULL, "given", NULL};
    struct judge own = {.written = 3, .answer = {0.5, -1, 2}};
    rlhf_scorer *scorer = scorer_of(&own);
    rlhf_score_input in = three_rows();
    double score[3];

    CHECK(rlhf_scorer_run(scorer, tokenizer, &in, score));
    assert_string_equal(own.seen, "<s>ab|c|-|1;<s>ab||-|1;e|dd|-|1;");
    assert_ptr_equal(own.prompt[0], own.prompt[1]); /* decoded once */
    assert_true(score[0] == 0.5 && score[1] == -1 && score[2] == 2);

    in.prompt = prompts;
    in.completion = completions;
    in.extra = extra;
    in.terminated = terminated;
    CHECK(rlhf_scorer_run(scorer, tokenizer, &in, score));
    assert_string_equal(own.seen, "from the dataset|c|{\"a\":1}|1;<s>ab|given|-|0;E|dd|-|0;");
    assert_int_equal(rlhf_scorer_run(scorer, NULL, &in, score), RLHF_E_INVAL);
    assert_error(context, "row 0: no text");

    in.prompt = in.completion = (const char *const[]){"x", "y", "z"};
    CHECK(rlhf_scorer_run(scorer, NULL, &in, score));
    assert_string_equal(own.seen, "x|x|{\"a\":1}|1;y|y|-|0;z|z|-|0;");
    rlhf_scorer_release(&scorer);
}

static void nan_is_not_scored_and_infinity_is_an_error(void **state)
{
    struct judge own = {.written = 2, .answer = {1, NAN, 0}};
    rlhf_scorer *scorer = scorer_of(&own);
    rlhf_score_input in = three_rows();
    double score[3] = {7, 7, 7};

    CHECK(rlhf_scorer_run(scorer, tokenizer, &in, score));
    assert_true(score[0] == 1 && isnan(score[1]) && isnan(score[2])); /* the last was never written */
    own.answer[1] = -INFINITY;
    assert_int_equal(rlhf_scorer_run(scorer, tokenizer, &in, score), RLHF_E_NONFINITE);
    assert_error(context, "judge: row 1: the score is infinite");
    rlhf_scorer_release(&scorer);
}

static void bad_tokens_and_offsets_are_refused(void **state)
{
    struct judge own = {.written = 3};
    rlhf_scorer *scorer = scorer_of(&own);
    rlhf_score_input in;
    double score[3];

#define REFUSED(member, value)                                                                                         \
    do {                                                                                                               \
        in = three_rows();                                                                                             \
        in.member = value;                                                                                             \
        assert_int_equal(rlhf_scorer_run(scorer, tokenizer, &in, score), RLHF_E_INVAL);                                \
    } while (0)
    REFUSED(struct_size, 8);
    REFUSED(rows, -1);
    REFUSED(offset, NULL);
    REFUSED(tokens, NULL);
    REFUSED(prompt_length, NULL);
    REFUSED(offset, ((const int64_t[]){1, 2, 3, 4}));
    REFUSED(offset, ((const int64_t[]){0, 5, 4, 11}));
    REFUSED(prompt_length, ((const int32_t[]){3, 4, 1}));
    REFUSED(prompt_length, ((const int32_t[]){-1, 3, 1}));
#undef REFUSED
    in = three_rows();
    in.tokens = (const int32_t[]){0, 2, 3, 4, 1, 0, 2, 3, 6, 5, 99};
    assert_int_equal(rlhf_scorer_run(scorer, tokenizer, &in, score), RLHF_E_RANGE);
    assert_int_equal(own.calls, 0);
    in = three_rows();
    in.rows = 0;
    CHECK(rlhf_scorer_run(scorer, NULL, &in, score));
    assert_int_equal(own.calls, 0);
    assert_int_equal(rlhf_scorer_run(scorer, tokenizer, NULL, score), RLHF_E_INVAL);
    assert_int_equal(rlhf_scorer_run(scorer, tokenizer, &in, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_scorer_run(NULL, tokenizer, &in, score), RLHF_E_INVAL);
    rlhf_scorer_release(&scorer);
}

/* ---- statuses, re-entry, life ------------------------------------------------------------------------------------ */

static void a_status_is_handed_through(void **state)
{
    struct judge own = {.status = RLHF_E_USER_FIRST - 42};
    rlhf_scorer *scorer = scorer_of(&own);
    rlhf_score_input in = three_rows();
    double score[3];

    assert_int_equal(rlhf_scorer_run(scorer, tokenizer, &in, score), RLHF_E_USER_FIRST - 42);
    assert_error(context, "judge: the callback returned -10042");
    own.fail_in_library = true; /* its own words are the better text */
    assert_int_equal(rlhf_scorer_run(scorer, tokenizer, &in, score), RLHF_E_IO);
    assert_error(context, "judge: /does/not/exist");
    rlhf_scorer_release(&scorer);
}

static void a_scorer_cannot_call_itself(void **state)
{
    struct judge inner = {.written = 3}, outer = {.written = 3};
    rlhf_scorer *scorer = scorer_of(&outer), *other = scorer_of(&inner);
    rlhf_score_input in = three_rows();
    double score[3];

    outer.again = scorer;
    CHECK(rlhf_scorer_run(scorer, tokenizer, &in, score));
    assert_int_equal(outer.again_status, RLHF_E_BUSY);
    outer.again = other; /* another one is fine */
    CHECK(rlhf_scorer_run(scorer, tokenizer, &in, score));
    assert_int_equal(outer.again_status, RLHF_OK);
    outer.again = NULL;
    CHECK(rlhf_scorer_run(scorer, tokenizer, &in, score));
    rlhf_scorer_release(&scorer);
    rlhf_scorer_release(&other);
}

static void user_data_ends_exactly_once(void **state)
{
    struct judge own = {.written = 3};
    rlhf_scorer *scorer = scorer_of(&own), *shared = rlhfi_scorer_retain(scorer);
    rlhf_score_input in = three_rows();
    double score[3];

    assert_string_equal(rlhfi_scorer_name(scorer), "judge");
    rlhf_scorer_release(&scorer);
    assert_null(scorer);
    assert_int_equal(own.destroyed, 0);
    rlhf_scorer_release(&shared);
    rlhf_scorer_release(&shared);
    rlhf_scorer_release(NULL);
    assert_int_equal(own.destroyed, 1);

    /* Released from inside its own call: it ends when the call does. */
    scorer = scorer_of(&own);
    shared = scorer;
    own.release = &shared;
    CHECK(rlhf_scorer_run(scorer, tokenizer, &in, score));
    assert_int_equal(own.destroyed, 2);

    /* A registration that fails ends it too. */
    assert_int_equal(rlhf_scorer_create(NULL, context, "j", judge, &own, end_judge), RLHF_E_INVAL);
    assert_int_equal(rlhf_scorer_create(&scorer, NULL, "j", judge, &own, end_judge), RLHF_E_INVAL);
    assert_null(scorer);
    assert_int_equal(rlhf_scorer_create(&scorer, context, NULL, judge, &own, end_judge), RLHF_E_INVAL);
    assert_int_equal(rlhf_scorer_create(&scorer, context, "j", NULL, &own, end_judge), RLHF_E_INVAL);
    assert_int_equal(own.destroyed, 6);
    CHECK(rlhf_scorer_create(&scorer, context, "j", judge, &own, NULL));
    rlhf_scorer_release(&scorer);
    assert_int_equal(own.destroyed, 6);
}

/* ---- reward models and rollouts ---------------------------------------------------------------------------------- */

static void a_reward_model_is_a_scorer(void **state)
{
    rlhf_policy *policy = make_policy(context, LLAMA);
    rlhf_score_input in = three_rows();
    rlhf_reward_model *model;
    rlhf_scorer *scorer;
    rlhf_batch *batch;
    float expected[3];
    double score[3];

    CHECK(rlhf_reward_model_from_policy(&model, policy, 3));
    CHECK(rlhf_reward_model_set_normalisation(model, 2, -0.5));
    CHECK(rlhf_scorer_from_reward_model(&scorer, model));
    CHECK(rlhf_batch_create(&batch, context, 3, offset, tokens, prompt_length));
    CHECK(rlhf_reward_model_score(model, batch, expected));
    rlhf_reward_model_release(&model); /* the scorer holds it */
    CHECK(rlhf_scorer_run(scorer, NULL, &in, score));
    for (int row = 0; row < 3; row++)
        assert_true(score[row] == (double)expected[row]);
    assert_true(score[0] != score[1] && score[1] != score[2]);
    in.tokens = (const int32_t[]){0, 2, 3, 4, 1, 0, 2, 3, 6, 5, 99};
    assert_int_equal(rlhf_scorer_run(scorer, NULL, &in, score), RLHF_E_RANGE);
    assert_int_equal(rlhf_scorer_from_reward_model(NULL, model), RLHF_E_INVAL);
    rlhf_scorer_release(&scorer);
    assert_int_equal(rlhf_scorer_from_reward_model(&scorer, NULL), RLHF_E_INVAL);
    assert_null(scorer);
    rlhf_batch_release(&batch);
    rlhf_policy_release(&policy);
}

/* Tokens 0..6 only, so that all of a response can be decoded. */
static const char small_model[] = "{\"model_type\":\"gpt2\",\"vocab_size\":7,\"n_positions\":16,\"n_embd\":8,"
                                  "\"n_layer\":1,\"n_head\":2,\"initializer_range\":0.3,\"eos_token_id\":1}";

static void rollouts_are_scored_row_by_row(void **state)
{
    static const int64_t prompt_offset[3] = {0, 2, 3};
    static const int32_t prompt_tokens[3] = {0, 2, 6};
    const char *const texts[2] = {"first", NULL}, *const extra[2] = {NULL, "{}"};
    rlhf_rollout_options options = options_of(4, 2);
    struct judge own = {.written = 3, .answer = {1, 2, 3}};
    rlhf_scorer *scorer = scorer_of(&own);
    rlhf_policy *policy;
    rlhf_batch *prompts;
    rlhf_rollout *rollout;
    rlhf_rollout_view view;
    double score[4];
    char expected[512] = "";
    size_t used = 0;

    CHECK(rlhf_policy_create(&policy, context, small_model, strlen(small_model), 5, NULL));
    CHECK(rlhf_batch_create(&prompts, context, 2, prompt_offset, prompt_tokens, (const int32_t[]){2, 1}));
    rollout = roll(policy, prompts, &options);
    view = view_of(rollout);
    CHECK(rlhfi_score_rollout(scorer, tokenizer, rollout, texts, extra, score));
    for (int64_t row = 0; row < 4; row++) {
        char completion[16] = "";
        size_t letters = 0;
        for (int64_t t = view.offset[row] + view.prompt_length[row]; t < view.offset[row + 1]; t++)
            if (view.tokens[t] > 1)
                completion[letters++] = (char)('a' + view.tokens[t] - 2);
        used += (size_t)snprintf(expected + used, sizeof expected - used, "%s|%s|%s|%d;", row < 2 ? "first" : "e",
                                 completion, row < 2 ? "-" : "{}", (int)view.terminated[row]);
    }
    assert_string_equal(own.seen, expected);
    assert_true(score[0] == 1 && score[1] == 2 && score[2] == 3 && isnan(score[3]));
    CHECK(rlhfi_score_rollout(scorer, tokenizer, rollout, NULL, NULL, score));
    assert_non_null(strstr(own.seen, "<s>a|"));
    rlhf_rollout_release(&rollout);
    rlhf_batch_release(&prompts);
    rlhf_policy_release(&policy);
    rlhf_scorer_release(&scorer);
}

static void every_failing_allocation_is_survived(void **state)
{
    struct counter counter = {0};
    rlhf_context *own_context = make_context(1, UINT32_MAX, &counter);
    struct judge own = {.written = 3};
    rlhf_score_input in = three_rows();
    rlhf_tokenizer *own_tokenizer;
    rlhf_scorer *scorer;
    double score[3];
    rlhf_status status;
    int64_t failed = 0;

    do {
        int64_t live = counter.live;

        CHECK(rlhf_tokenizer_create(&own_tokenizer, own_context, tokenizer_json, strlen(tokenizer_json), NULL, 0));
        own.destroyed = 0;
        counter.fail_at = counter.calls + 1 + failed++;
        status = rlhf_scorer_create(&scorer, own_context, "judge", judge, &own, end_judge);
        if (status == RLHF_OK)
            status = rlhf_scorer_run(scorer, own_tokenizer, &in, score);
        counter.fail_at = 0;
        if (status != RLHF_OK)
            assert_int_equal(status, RLHF_E_NOMEM);
        rlhf_scorer_release(&scorer);
        rlhf_tokenizer_release(&own_tokenizer);
        assert_int_equal(own.destroyed, 1);
        assert_int_equal(counter.live, live);
    } while (status != RLHF_OK);
    assert_true(failed > 5);
    rlhf_context_release(&own_context);
    assert_int_equal(counter.live, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_decoded_where_they_are_missing),
        cmocka_unit_test(nan_is_not_scored_and_infinity_is_an_error),
        cmocka_unit_test(bad_tokens_and_offsets_are_refused),
        cmocka_unit_test(a_status_is_handed_through),
        cmocka_unit_test(a_scorer_cannot_call_itself),
        cmocka_unit_test(user_data_ends_exactly_once),
        cmocka_unit_test(a_reward_model_is_a_scorer),
        cmocka_unit_test(rollouts_are_scored_row_by_row),
        cmocka_unit_test(every_failing_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
