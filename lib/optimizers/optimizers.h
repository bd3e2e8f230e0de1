/* AdamW over one flat parameter buffer, schedules, clipping. Public: rlhf/optimizer.h. */
#ifndef RLHFI_OPTIMIZERS_H
#define RLHFI_OPTIMIZERS_H

#include "core/core.h"
#include "model/model.h"
#include <rlhf/optimizer.h>

rlhf_status rlhfi_optimizer_create(rlhf_optimizer **out, rlhfi_model *model, const rlhf_optimizer_options *options);
/* One step of two optimizers with a common gradient norm (PPO's policy and value network), clipped at the first's
 * max_grad_norm; each keeps its own learning rate, *learning_rate is the first's. NULL second = an ordinary step. */
rlhf_status rlhfi_optimizer_step_joint(rlhf_optimizer *first, rlhf_optimizer *second, double *gradient_norm,
                                       double *learning_rate);
/* The learning rate that step number `step` (from 0) uses. */
double rlhfi_schedule(const rlhf_optimizer_options *options, uint64_t step);
/* State for checkpoints: moments (flat, as the model's parameters) and the step count. */
uint64_t rlhfi_optimizer_step_count(const rlhf_optimizer *optimizer);
void rlhfi_optimizer_set_step_count(rlhf_optimizer *optimizer, uint64_t steps);
/* Of the draws that round bf16 weights; the context's seed when the optimizer was made, unless this says otherwise. */
void rlhfi_optimizer_set_seed(rlhf_optimizer *optimizer, uint64_t seed);
float *rlhfi_optimizer_first_moment(rlhf_optimizer *optimizer);
float *rlhfi_optimizer_second_moment(rlhf_optimizer *optimizer);
rlhfi_model *rlhfi_optimizer_model(rlhf_optimizer *optimizer);

#endif
