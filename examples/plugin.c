/* A plugin: a reward and an objective for the command line, in a shared object of their own.
 *
 *     rlhf reinforce --plugin ./libplugin.so --scorer length:20 --model_name_or_path MODEL --dataset_name PROMPTS.jsonl
 *     rlhf sft --plugin ./libplugin.so --objective dft --model_name_or_path MODEL --dataset_name DATA.jsonl */
#include <rlhf/rlhf.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- scorer length:N: an answer should have N bytes -------------------------------------------------------------- */

static rlhf_status score_length(void *user_data, const rlhf_score_input *in, double *score)
{
    const long *wanted = user_data;

    for (int64_t row = 0; row < in->rows; row++)
        score[row] = -fabs((double)strlen(in->completion[row]) - (double)*wanted) / (double)(*wanted + 1);
    return RLHF_OK;
}

static rlhf_status make_length(void *user_data, rlhf_context *context, const char *argument, rlhf_scorer **out)
{
    long *wanted = malloc(sizeof *wanted);

    (void)user_data;
    if (wanted == NULL)
        return RLHF_E_NOMEM;
    *wanted = strtol(argument, NULL, 10);
    if (*wanted < 1 || *wanted > 1000000) {
        free(wanted);
        return RLHF_E_RANGE;
    }
    return rlhf_scorer_create(out, context, "length", score_length, wanted, free);
}

/* ---- objective dft: each token's loss weighted by its own probability (2508.05629) ------------------------------- */

static rlhf_status token_loss(void *user_data, const rlhf_token_loss_input *in, rlhf_token_loss_output *out)
{
    (void)user_data;
    for (int64_t i = 0; i < in->offset[in->rows]; i++) {
        double weight = exp(in->log_prob[i]) / in->denominator; /* a constant: no gradient flows through it */
        out->loss -= weight * in->log_prob[i];
        out->d_log_prob[i] = -weight;
    }
    return RLHF_OK;
}

static rlhf_status make_dft(void *user_data, rlhf_context *context, const char *argument, rlhf_objective **out)
{
    rlhf_objective_vtable vtable = {.struct_size = sizeof vtable, .name = "dft", .token_loss = token_loss};

    (void)user_data;
    return argument[0] == '\0' ? rlhf_objective_create(out, context, &vtable, NULL) : RLHF_E_INVAL;
}

/* ---- the one function that the library looks for ----------------------------------------------------------------- */

RLHF_API rlhf_status rlhf_plugin_register(rlhf_plugin_host *host);

rlhf_status rlhf_plugin_register(rlhf_plugin_host *host)
{
    rlhf_status status;

    host->plugin_version = RLHF_API_VERSION;
    status = rlhf_plugin_add_scorer(host->context, "length", make_length, NULL, NULL);
    if (status == RLHF_OK)
        status = rlhf_plugin_add_objective(host->context, "dft", make_dft, NULL, NULL);
    return status;
}
