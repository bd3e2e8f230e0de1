/* Best-of-n: of the samples of one prompt, the one with the highest score. The simplest alignment there is: no
 * training, and KL(best-of-n to reference) <= log n - (n-1)/n. */
#include "generation/generation.h"

#include <math.h>

rlhf_status rlhf_rollout_best_of_n(const rlhf_rollout *rollout, const double *score, int64_t *best)
{
    rlhf_rollout_view view = {.struct_size = sizeof view};

    if (rollout == NULL || score == NULL || best == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(rlhf_rollout_get(rollout, &view));
    for (int64_t first = 0; first < view.rows; first += view.samples_per_prompt) {
        int64_t chosen = -1;

        for (int64_t row = first; row < first + view.samples_per_prompt; row++)
            if (!isnan(score[row]) && (chosen < 0 || score[row] > score[chosen]))
                chosen = row;
        best[first / view.samples_per_prompt] = chosen;
    }
    return RLHF_OK;
}
