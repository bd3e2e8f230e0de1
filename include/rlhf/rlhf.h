/* librlhf: aligns language models with human preferences on ordinary CPUs. This header includes all stable ones. */
#ifndef RLHF_H
#define RLHF_H

#include "base.h"
#include "context.h"
#include "tokenizer.h"
#include "dataset.h"
#include "batch.h"
#include "order.h"
#include "model_options.h"
#include "policy.h"
#include "reference.h"
#include "reward_model.h"
#include "value_model.h"
#include "memory_plan.h"
#include "scorer.h"
#include "rollout.h"
#include "objective.h"
#include "optimizer.h"
#include "recipe.h"
#include "pipeline.h"
#include "trainer.h"
#include "evaluation.h"
#include "plugin.h"
#include "version.h"

#endif
