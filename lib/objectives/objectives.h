/* Built-in objectives behind rlhf/objective.h. This room never sees a model: arrays in, loss and gradient out. */
#ifndef RLHFI_OBJECTIVES_H
#define RLHFI_OBJECTIVES_H

#include "core/core.h"
#include <rlhf/objective.h>

rlhf_objective *rlhfi_objective_retain(rlhf_objective *objective);
const char *rlhfi_objective_name(const rlhf_objective *objective);
bool rlhfi_objective_has(const rlhf_objective *objective, const char *piece); /* "token_loss", "pair_loss", ... */
/* State for checkpoints (baselines, controllers); objectives without state need 0 bytes. */
rlhf_status rlhfi_objective_save(const rlhf_objective *objective, void *buffer, size_t capacity, size_t *needed);
rlhf_status rlhfi_objective_load(rlhf_objective *objective, const void *buffer, size_t bytes);
/* Tells the controller the batch mean of the sequence KL; fine for objectives without one. */
rlhf_status rlhfi_objective_observe_kl(rlhf_objective *objective, double mean_sequence_kl, int64_t episodes);
/* Sets a key if the objective has it; *had tells. For recipes, whose keys are shared by several objectives. */
rlhf_status rlhfi_objective_try_set(rlhf_objective *objective, const char *key, double value, bool *had);

/* Statistics shared with metrics; double, plain ascending order. */
double rlhfi_mean(const double *x, int64_t count);
/* population: sum/n, else sum/(n-1); 0 for fewer than 1 or 2 numbers */
double rlhfi_variance(const double *x, int64_t count, bool population);
/* x <- (x-mean)/sqrt(var+1e-8), + mean if shift_mean is false (algorithms 1.6). unbiased variance unless population. */
void rlhfi_whiten(double *x, int64_t count, bool shift_mean, bool population);
double rlhfi_log_sigmoid(double x);
double rlhfi_sigmoid(double x);
double rlhfi_softplus(double x);
double rlhfi_log1mexp(double x);               /* log(1 - e^x), x < 0 */
double rlhfi_kl_estimate(int estimator, double difference); /* 1, 2, 3 of d = lp - lp_ref (algorithms 1.9) */

#endif
