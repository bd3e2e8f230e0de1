/* Pairwise contrastive policy gradients: of two responses to one prompt the better is raised and the worse lowered, by
 * amounts that depend only on the difference of their rewards. Rows 2i and 2i+1 are a pair; the loss is a mean over
 * pairs. With A = (r0-r1)/2 and D = (LP0-LPref0) - (LP1-LPref1), per pair:
 *
 *   linear          -A (LP0-LP1)                  RLOO with two samples; P3O (2310.00212) without its clip
 *   regularised     beta/2 (D - (r0-r1)/beta)^2   CoPG (2406.19185); its minimum is the KL-optimal policy
 *   logistic soft   -q log s(beta D) - (1-q) log s(-beta D), q = s((r0-r1)/T), s the logistic function
 *   clipped linear  PPO's clip on each response's ratio exp(LP-LPold) with advantages +A and -A
 *   fixed target    (D - sign(r0-r1)/(2 beta))^2  IPO (2310.12036): which one is better counts, not by how much
 *
 * Linear forms take rewards as the reward objective made them, KL included. The others hold the reference themselves,
 * so they take raw scores: with the KL in the reward it would count twice. algorithms.md 10. */
#include "objectives/builtin.h"

enum { LINEAR = 0, REGULARISED = 1, LOGISTIC_SOFT = 2, CLIPPED_LINEAR = 3, FIXED_TARGET = 4 };

typedef struct pairwise {
    rlhfi_builtin builtin;
    double form;
    double beta;
    double soft_label_temperature;
    double cliprange;
} pairwise;

static const rlhfi_builtin_key keys[] = {
    {"form", offsetof(pairwise, form), LINEAR, 0, 4, RLHFI_KEY_WHOLE},
    {"beta", offsetof(pairwise, beta), 0.1, 0, 1e6, RLHFI_KEY_POSITIVE},
    {"soft_label_temperature", offsetof(pairwise, soft_label_temperature), 1, 0, 1e6, RLHFI_KEY_POSITIVE},
    {"cliprange", offsetof(pairwise, cliprange), 0.2, 0, 1, RLHFI_KEY_POSITIVE},
};

static bool holds_reference(const pairwise *self)
{
    return self->form == REGULARISED || self->form == LOGISTIC_SOFT || self->form == FIXED_TARGET;
}

static uint32_t current_need(void *user_data)
{
    return RLHF_NEED_GROUPS | (holds_reference(user_data) ? RLHF_NEED_REFERENCE : 0);
}

static rlhf_status check_pairs(const pairwise *self, int64_t rows, int32_t samples_per_prompt)
{
    if (samples_per_prompt < 2 || samples_per_prompt % 2 != 0)
        return rlhfi_builtin_refuse(&self->builtin, "samples per prompt must be even, 2 or more");
    if (rows % 2 != 0)
        return rlhfi_builtin_refuse(&self->builtin, "a row has no partner: the number of rows is odd");
    return RLHF_OK;
}

/* Half the difference of the rewards, with its sign; the same for every form, so that metrics can be compared. */
static rlhf_status advantage(void *user_data, const rlhf_advantage_input *in, rlhf_advantage_output *out)
{
    RLHFI_TRY(check_pairs(user_data, in->rows, in->samples_per_prompt));
    for (int64_t row = 0; row < in->rows; row += 2) {
        const int64_t *offset = in->offset + row;
        double half = (rlhfi_range_sum(in->reward, offset[0], offset[1]) -
                       rlhfi_range_sum(in->reward, offset[1], offset[2])) / 2;
        for (int64_t i = offset[0]; i < offset[2]; i++)
            out->advantage[i] = i < offset[1] ? half : -half;
    }
    return RLHF_OK;
}

/* The gradient on a response is the gradient on each of its tokens. */
static void spread(double *d_log_prob, int64_t from, int64_t to, double gradient)
{
    for (int64_t i = from; i < to; i++)
        d_log_prob[i] = gradient;
}

static double linear_row(const rlhf_policy_loss_input *in, int64_t row, double pairs, rlhf_policy_loss_output *out)
{
    double loss = 0;

    for (int64_t i = in->offset[row]; i < in->offset[row + 1]; i++) {
        loss -= in->advantage[i] * in->log_prob[i] / pairs;
        out->d_log_prob[i] = -in->advantage[i] / pairs;
    }
    return loss;
}

static double clipped_row(const pairwise *self, const rlhf_policy_loss_input *in, int64_t row, double pairs,
                          rlhf_policy_loss_output *out)
{
    int64_t from = in->offset[row], to = in->offset[row + 1];
    double advantage, ratio, plain, clipped;
    bool inside;

    if (from == to)
        return 0;
    advantage = in->advantage[from];
    ratio = rlhfi_ratio(rlhfi_range_sum(in->log_prob, from, to), rlhfi_range_sum(in->log_prob_old, from, to), &inside);
    plain = -advantage * ratio;
    clipped = -advantage * rlhfi_clamp(ratio, 1 - self->cliprange, 1 + self->cliprange);
    if (clipped > plain) {
        out->clipped += (double)(to - from);
        return clipped / pairs;
    }
    spread(out->d_log_prob, from, to, inside ? plain / pairs : 0);
    return plain / pairs;
}

/* The forms that hold the reference: loss and its slope in D, which is the gradient on LP0 and minus that on LP1. With
 * a fixed target two equal scores have the target 0: neither order of the rows may decide which response is raised. */
static double reference_pair(const pairwise *self, double difference, double gap, double *slope)
{
    double beta = self->beta, q;

    if (self->form == REGULARISED) {
        *slope = beta * difference - gap;
        return *slope * *slope / (2 * beta);
    }
    if (self->form == FIXED_TARGET) {
        double apart = difference - ((gap > 0) - (gap < 0)) / (2 * beta);
        *slope = 2 * apart;
        return apart * apart;
    }
    q = rlhfi_sigmoid(gap / self->soft_label_temperature);
    *slope = beta * (rlhfi_sigmoid(beta * difference) - q);
    return q * rlhfi_softplus(-beta * difference) + (1 - q) * rlhfi_softplus(beta * difference);
}

static double above_reference(const rlhf_policy_loss_input *in, int64_t row)
{
    int64_t from = in->offset[row], to = in->offset[row + 1];

    return rlhfi_range_sum(in->log_prob, from, to) - rlhfi_range_sum(in->log_prob_ref, from, to);
}

static rlhf_status policy_loss(void *user_data, const rlhf_policy_loss_input *in, rlhf_policy_loss_output *out)
{
    const pairwise *self = user_data;
    double pairs = in->denominator_rows / 2;

    RLHFI_TRY(check_pairs(self, in->rows, in->samples_per_prompt));
    RLHFI_TRY(rlhfi_divisor_check(self->builtin.context, "pairwise", "denominator_rows", in->denominator_rows,
                                  in->rows));
    if (holds_reference(self) && in->score == NULL && in->rows > 0)
        return rlhfi_builtin_refuse(&self->builtin, "score is NULL, and this form needs raw scores");
    for (int64_t row = 0; row < in->rows; row++) {
        const int64_t *offset = in->offset + row;
        if (self->form == LINEAR) {
            out->loss += linear_row(in, row, pairs, out);
        } else if (self->form == CLIPPED_LINEAR) {
            out->loss += clipped_row(self, in, row, pairs, out);
        } else if (row % 2 == 0) {
            double slope, difference = above_reference(in, row) - above_reference(in, row + 1);
            out->loss += reference_pair(self, difference, in->score[row] - in->score[row + 1], &slope) / pairs;
            spread(out->d_log_prob, offset[0], offset[1], slope / pairs);
            spread(out->d_log_prob, offset[1], offset[2], -slope / pairs);
        }
    }
    return RLHF_OK;
}

const rlhfi_builtin_kind rlhfi_pairwise = {
    .vtable = {RLHFI_BUILTIN_VTABLE("pairwise"), .current_need = current_need,
               .advantage = advantage, .policy_loss = policy_loss},
    .size = sizeof(pairwise),
    .keys = keys,
    .key_count = sizeof keys / sizeof keys[0],
};
