/* Scorers: a callback of the user's or a reward model, behind one handle. Texts that a caller does not have are decoded
 * here; NaN means "cannot be scored" and passes, an infinite score is an error. */
#include "generation/internal.h"

#include <math.h>

struct rlhf_scorer {
    int64_t references;
    rlhf_context *context;
    char *name;
    rlhf_score_fn score;      /* NULL: the reward model */
    void *user_data;
    rlhf_destroy_fn destroy;
    rlhf_reward_model *model;
    bool busy;                /* inside the callback */
};

static void destroy_user_data(rlhf_destroy_fn destroy, void *user_data)
{
    if (destroy != NULL)
        destroy(user_data);
}

static rlhf_status scorer_make(rlhf_scorer **out, rlhf_context *context, const char *name)
{
    rlhf_scorer *scorer = rlhfi_calloc(context, 1, sizeof *scorer);

    if (scorer == NULL)
        return RLHF_E_NOMEM;
    scorer->name = rlhfi_strdup(context, name);
    if (scorer->name == NULL) {
        rlhfi_free(context, scorer);
        return RLHF_E_NOMEM;
    }
    scorer->references = 1;
    scorer->context = rlhfi_context_retain(context);
    *out = scorer;
    return RLHF_OK;
}

static rlhf_status create(rlhf_scorer **out, rlhf_context *context, const char *name, rlhf_score_fn score)
{
    if (out != NULL)
        *out = NULL;
    RLHFI_TRY(rlhfi_enter(context));
    RLHFI_REQUIRE(context, out != NULL);
    RLHFI_REQUIRE(context, name != NULL);
    RLHFI_REQUIRE(context, score != NULL);
    return scorer_make(out, context, name);
}

rlhf_status rlhf_scorer_create(rlhf_scorer **out, rlhf_context *context, const char *name, rlhf_score_fn score,
                               void *user_data, rlhf_destroy_fn destroy)
{
    rlhf_status status = create(out, context, name, score);

    if (status != RLHF_OK) {
        destroy_user_data(destroy, user_data);
        return status;
    }
    (*out)->score = score;
    (*out)->user_data = user_data;
    (*out)->destroy = destroy;
    return RLHF_OK;
}

rlhf_status rlhf_scorer_from_reward_model(rlhf_scorer **out, rlhf_reward_model *model)
{
    if (out != NULL)
        *out = NULL;
    if (model == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(rlhfi_enter(model->model->context));
    RLHFI_REQUIRE(model->model->context, out != NULL);
    RLHFI_TRY(scorer_make(out, model->model->context, "reward model"));
    (*out)->model = rlhfi_reward_model_retain(model);
    return RLHF_OK;
}

rlhf_scorer *rlhfi_scorer_retain(rlhf_scorer *scorer)
{
    scorer->references++;
    return scorer;
}

void rlhf_scorer_release(rlhf_scorer **scorer)
{
    rlhf_scorer *last;
    rlhf_context *context;

    if (scorer == NULL || *scorer == NULL)
        return;
    last = *scorer;
    *scorer = NULL;
    if (--last->references > 0)
        return;
    context = last->context;
    destroy_user_data(last->destroy, last->user_data);
    rlhf_reward_model_release(&last->model);
    rlhfi_free(context, last->name);
    rlhfi_free(context, last);
    rlhf_context_release(&context);
}

const char *rlhfi_scorer_name(const rlhf_scorer *scorer)
{
    return scorer->name;
}

rlhf_status rlhfi_callback_failed(rlhf_context *context, rlhf_status status, const char *who)
{
    if (context->error_status == status)
        return rlhfi_fail_prefix(context, status, "%s", who);
    return rlhfi_fail(context, status, "%s: the callback returned %d (%s)", who, (int)status,
                      rlhf_status_name(status));
}

/* ---- what a callback gets to see --------------------------------------------------------------------------------- */

static rlhf_status check_input(rlhf_context *context, const rlhf_score_input *in)
{
    RLHFI_REQUIRE(context, in->struct_size >= sizeof *in);
    RLHFI_REQUIRE(context, in->rows >= 0);
    if (in->rows == 0)
        return RLHF_OK;
    RLHFI_REQUIRE(context, in->offset != NULL);
    RLHFI_REQUIRE(context, in->prompt_length != NULL);
    RLHFI_REQUIRE(context, in->offset[0] == 0);
    for (int64_t row = 0; row < in->rows; row++) {
        if (in->offset[row + 1] < in->offset[row])
            return rlhfi_fail(context, RLHF_E_INVAL, "row %lld: offset falls from %lld to %lld", (long long)row,
                              (long long)in->offset[row], (long long)in->offset[row + 1]);
        if (in->prompt_length[row] < 0 || in->prompt_length[row] > in->offset[row + 1] - in->offset[row])
            return rlhfi_fail(context, RLHF_E_INVAL, "row %lld: prompt_length is %d, the row has %lld tokens",
                              (long long)row, (int)in->prompt_length[row],
                              (long long)(in->offset[row + 1] - in->offset[row]));
    }
    RLHFI_REQUIRE(context, in->tokens != NULL || in->offset[in->rows] == 0);
    return RLHF_OK;
}

/* Texts of the rows of one input, those decoded here one behind the other in `text`. */
typedef struct rendering {
    rlhf_context *context;
    rlhfi_string text;
    const char **prompt, **completion, **extra;
    size_t *place;              /* [2 * rows] of prompts, then of completions, in text; NOWHERE where given */
    int32_t *terminated;
} rendering;

#define NOWHERE SIZE_MAX

static rlhf_status decode(rendering *to, const rlhf_tokenizer *tokenizer, const int32_t *tokens, int64_t count,
                          uint32_t flags, size_t *place)
{
    *place = to->text.size;
    RLHFI_TRY(rlhfi_tokenizer_decode_append(tokenizer, tokens, (size_t)count, flags, &to->text));
    rlhfi_string_add_bytes(&to->text, "", 1); /* its own end */
    return to->text.failed ? rlhfi_out_of_memory(to->context) : RLHF_OK;
}

static bool same_prompt(const rlhf_score_input *in, int64_t a, int64_t b)
{
    return in->prompt_length[a] == in->prompt_length[b] &&
           memcmp(in->tokens + in->offset[a], in->tokens + in->offset[b],
                  (size_t)in->prompt_length[a] * sizeof *in->tokens) == 0;
}

/* Decodes what was not given: a prompt as it stands (once for samples side by side), a completion without special
 * tokens. */
static rlhf_status decode_rows(rendering *to, const rlhf_tokenizer *tokenizer, const rlhf_score_input *in)
{
    size_t *prompt = to->place, *completion = to->place + in->rows;

    for (int64_t row = 0; row < in->rows; row++) {
        const int32_t *tokens = in->tokens + in->offset[row];
        int64_t length = in->offset[row + 1] - in->offset[row];
        bool has_prompt = in->prompt != NULL && in->prompt[row] != NULL;
        bool has_completion = in->completion != NULL && in->completion[row] != NULL;

        prompt[row] = completion[row] = NOWHERE;
        if (tokenizer == NULL && !(has_prompt && has_completion))
            return rlhfi_fail(to->context, RLHF_E_INVAL, "row %lld: no text and no tokenizer to make it with",
                              (long long)row);
        if (!has_prompt && row > 0 && prompt[row - 1] != NOWHERE && same_prompt(in, row - 1, row))
            prompt[row] = prompt[row - 1];
        else if (!has_prompt)
            RLHFI_TRY(decode(to, tokenizer, tokens, in->prompt_length[row], 0, &prompt[row]));
        if (!has_completion)
            RLHFI_TRY(decode(to, tokenizer, tokens + in->prompt_length[row], length - in->prompt_length[row],
                             RLHF_DECODE_SKIP_SPECIAL, &completion[row]));
    }
    return RLHF_OK;
}

static void rendering_free(rendering *to)
{
    rlhfi_string_free(&to->text);
    rlhfi_free(to->context, to->prompt);
    rlhfi_free(to->context, to->completion);
    rlhfi_free(to->context, to->extra);
    rlhfi_free(to->context, to->place);
    rlhfi_free(to->context, to->terminated);
}

/* *shown is in with every array that a callback may read. */
static rlhf_status render(rendering *to, const rlhf_tokenizer *tokenizer, const rlhf_score_input *in,
                          rlhf_score_input *shown)
{
    size_t rows = (size_t)in->rows;

    to->prompt = rlhfi_alloc_array(to->context, rows, sizeof *to->prompt);
    to->completion = rlhfi_alloc_array(to->context, rows, sizeof *to->completion);
    to->extra = rlhfi_calloc(to->context, rows, sizeof *to->extra);
    to->place = rlhfi_alloc_array(to->context, rows, 2 * sizeof *to->place);
    to->terminated = rlhfi_alloc_array(to->context, rows, sizeof *to->terminated);
    if (to->prompt == NULL || to->completion == NULL || to->extra == NULL || to->place == NULL ||
        to->terminated == NULL)
        return RLHF_E_NOMEM;
    RLHFI_TRY(decode_rows(to, tokenizer, in));
    for (size_t row = 0; row < rows; row++) {
        /* Only now: the text may have moved while it grew. */
        to->prompt[row] = to->place[row] == NOWHERE ? in->prompt[row] : to->text.data + to->place[row];
        to->completion[row] =
            to->place[rows + row] == NOWHERE ? in->completion[row] : to->text.data + to->place[rows + row];
        to->terminated[row] = in->terminated == NULL ? 1 : in->terminated[row];
    }
    *shown = *in;
    shown->struct_size = sizeof *shown;
    shown->prompt = to->prompt;
    shown->completion = to->completion;
    shown->terminated = to->terminated;
    if (shown->extra == NULL)
        shown->extra = to->extra;
    return RLHF_OK;
}

/* ---- scoring ----------------------------------------------------------------------------------------------------- */

static rlhf_status run_callback(rlhf_scorer *scorer, const rlhf_tokenizer *tokenizer, const rlhf_score_input *in,
                                double *score)
{
    rendering texts = {.context = scorer->context};
    rlhf_score_input shown;
    rlhf_status status;

    rlhfi_string_init(&texts.text, scorer->context);
    RLHFI_GOTO(render(&texts, tokenizer, in, &shown));
    for (int64_t row = 0; row < in->rows; row++)
        score[row] = NAN; /* what a callback leaves out is not scored */
    scorer->busy = true;
    status = scorer->score(scorer->user_data, &shown, score);
    scorer->busy = false;
    if (status != RLHF_OK)
        status = rlhfi_callback_failed(scorer->context, status, scorer->name);
done:
    rendering_free(&texts);
    return status;
}

static rlhf_status run_model(rlhf_scorer *scorer, const rlhf_score_input *in, double *score)
{
    rlhf_context *context = scorer->context;
    rlhf_batch *batch = NULL;
    float *raw = rlhfi_alloc_array(context, (size_t)in->rows, sizeof *raw);
    rlhf_status status;

    if (raw == NULL)
        return RLHF_E_NOMEM;
    RLHFI_GOTO(rlhf_batch_create(&batch, context, in->rows, in->offset, in->tokens, in->prompt_length));
    RLHFI_GOTO(rlhf_reward_model_score(scorer->model, batch, raw));
    for (int64_t row = 0; row < in->rows; row++) {
        score[row] = raw[row];
        if (isnan(raw[row]))
            RLHFI_GOTO(rlhfi_fail(context, RLHF_E_NONFINITE, "reward model: row %lld: NaN", (long long)row));
    }
done:
    rlhf_batch_release(&batch);
    rlhfi_free(context, raw);
    return status;
}

rlhf_status rlhf_scorer_run(rlhf_scorer *scorer, const rlhf_tokenizer *tokenizer, const rlhf_score_input *in,
                            double *score)
{
    rlhf_scorer *held;
    rlhf_context *context;
    rlhf_status status;

    if (scorer == NULL)
        return RLHF_E_INVAL;
    context = scorer->context;
    RLHFI_TRY(rlhfi_enter(context));
    RLHFI_REQUIRE(context, in != NULL);
    RLHFI_REQUIRE(context, score != NULL);
    if (scorer->busy)
        return rlhfi_fail(context, RLHF_E_BUSY, "%s: its callback calls the scorer that is calling it", scorer->name);
    RLHFI_TRY(check_input(context, in));
    if (in->rows == 0)
        return RLHF_OK;

    held = rlhfi_scorer_retain(scorer); /* the callback may release it */
    RLHFI_GOTO(scorer->score != NULL ? run_callback(scorer, tokenizer, in, score) : run_model(scorer, in, score));
    for (int64_t row = 0; row < in->rows; row++)
        if (isinf(score[row]))
            RLHFI_GOTO(rlhfi_fail(context, RLHF_E_NONFINITE, "%s: row %lld: the score is infinite", scorer->name,
                                  (long long)row));
done:
    rlhf_scorer_release(&held);
    return status;
}

rlhf_status rlhfi_score_rollout(rlhf_scorer *scorer, const rlhf_tokenizer *tokenizer, const rlhf_rollout *rollout,
                                const char *const *prompt_text, const char *const *extra, double *score)
{
    rlhf_context *context = scorer->context;
    rlhf_rollout_view view = {.struct_size = sizeof view};
    const char **prompt_of_row = NULL, **extra_of_row = NULL;
    rlhf_status status;

    RLHFI_TRY(rlhf_rollout_get(rollout, &view));
    prompt_of_row = rlhfi_calloc(context, (size_t)view.rows, sizeof *prompt_of_row);
    extra_of_row = rlhfi_calloc(context, (size_t)view.rows, sizeof *extra_of_row);
    if (prompt_of_row == NULL || extra_of_row == NULL) {
        status = RLHF_E_NOMEM;
        goto done;
    }
    for (int64_t row = 0; row < view.rows; row++) {
        int64_t prompt = row / view.samples_per_prompt;

        if (prompt_text != NULL)
            prompt_of_row[row] = prompt_text[prompt];
        if (extra != NULL)
            extra_of_row[row] = extra[prompt];
    }
    rlhf_score_input in = {
        .struct_size = sizeof in,
        .rows = view.rows,
        .offset = view.offset,
        .tokens = view.tokens,
        .prompt_length = view.prompt_length,
        .prompt = prompt_of_row,
        .extra = extra_of_row,
        .terminated = view.terminated,
    };
    RLHFI_GOTO(rlhf_scorer_run(scorer, tokenizer, &in, score));
done:
    rlhfi_free(context, prompt_of_row);
    rlhfi_free(context, extra_of_row);
    return status;
}
