"""Everything that the public headers declare, for ctypes: constants, structs, callback types, functions.

A new C function is one line in FUNCTIONS; a new struct is one class. tests/test_declarations.py compares all of it with
the headers: names, numbers, sizes and offsets. Names are those of C without `rlhf_` (structs) or as they are.
"""

from __future__ import annotations

import ctypes
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    c_char_p,
    c_double,
    c_int32,
    c_int64,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
)
from typing import Any

from . import _library

# ---- constants -------------------------------------------------------------------------------------------------------

RLHF_API_MAJOR, RLHF_API_MINOR, RLHF_API_PATCH = 0, 1, 0

RLHF_OK = 0
RLHF_E_INVAL = -1
RLHF_E_NOMEM = -2
RLHF_E_IO = -3
RLHF_E_FORMAT = -4
RLHF_E_RANGE = -5
RLHF_E_NONFINITE = -6
RLHF_E_CANCELED = -7
RLHF_E_FORKED = -8
RLHF_E_UNSUPPORTED = -9
RLHF_E_BUSY = -10
RLHF_E_END = -11
RLHF_E_USER_FIRST = -10000

RLHF_LOG_ERROR, RLHF_LOG_WARNING, RLHF_LOG_INFO, RLHF_LOG_DEBUG = 1, 2, 3, 4
RLHF_CPU_AVX2, RLHF_CPU_AVX512, RLHF_CPU_AVX512_BF16 = 1, 2, 4
RLHF_ENCODE_SPECIAL, RLHF_ENCODE_IGNORE_SPECIAL = 1, 2
RLHF_DECODE_SKIP_SPECIAL = 1
RLHF_TOKEN_BOS, RLHF_TOKEN_EOS, RLHF_TOKEN_PAD, RLHF_TOKEN_UNKNOWN = 1, 2, 3, 4
RLHF_ROW_TEXT, RLHF_ROW_PROMPT, RLHF_ROW_PROMPT_COMPLETION, RLHF_ROW_PREFERENCE = 1, 2, 3, 4
RLHF_BAD_ROW_STOP, RLHF_BAD_ROW_SKIP = 0, 1
RLHF_TEMPLATE_NONE, RLHF_TEMPLATE_CHATML, RLHF_TEMPLATE_PLAIN = 0, 1, 2
RLHF_TOKENIZE_EOS, RLHF_TOKENIZE_SEPARATE = 1, 2
RLHF_ORDER_ROWS, RLHF_ORDER_UPDATES = 1, 2
RLHF_FLOAT32, RLHF_BFLOAT16 = 0, 1
RLHF_MAX_STOP_TOKENS = 8
RLHF_NEED_REFERENCE, RLHF_NEED_VALUE, RLHF_NEED_ENTROPY, RLHF_NEED_MEAN_LOG_PROB, RLHF_NEED_GROUPS = 1, 2, 4, 8, 16
RLHF_SCHEDULE_CONSTANT, RLHF_SCHEDULE_LINEAR, RLHF_SCHEDULE_COSINE = 0, 1, 2
RLHF_KEY_TEXT, RLHF_KEY_NUMBER, RLHF_KEY_INTEGER, RLHF_KEY_BOOLEAN, RLHF_KEY_CHOICE = 1, 2, 3, 4, 5
RLHF_PHASE_ROLLOUT, RLHF_PHASE_SCORING, RLHF_PHASE_UPDATE, RLHF_PHASE_SAVE, RLHF_PHASE_EVAL = 1, 2, 3, 4, 5
RLHF_CALIBRATION_BINS = 10
RLHF_PRODUCT_FORWARD, RLHF_PRODUCT_INPUT_GRADIENT, RLHF_PRODUCT_WEIGHT_GRADIENT, RLHF_PRODUCT_DECODING = 0, 1, 2, 3

# ---- callback types without structs ----------------------------------------------------------------------------------

Status = c_int32
Handle = c_void_p  # every opaque type
Doubles = POINTER(c_double)
Texts = POINTER(c_char_p)

DestroyFn = CFUNCTYPE(None, c_void_p)
AllocFn = CFUNCTYPE(c_void_p, c_void_p, c_size_t, c_size_t)
FreeFn = CFUNCTYPE(None, c_void_p, c_void_p, c_size_t)
LogFn = CFUNCTYPE(None, c_void_p, c_int32, c_char_p)
TokenFn = CFUNCTYPE(Status, c_void_p, c_int64, c_int32, c_double)
MakeFn = CFUNCTYPE(Status, c_void_p, Handle, c_char_p, POINTER(Handle))  # an objective or a scorer by name


# ---- structs ---------------------------------------------------------------------------------------------------------
# Arrays are void pointers: _arrays.py turns an address into a view.


class Allocator(Structure):
    _fields_ = [("alloc", AllocFn), ("free", FreeFn), ("user_data", c_void_p)]


class ContextOptions(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("threads", c_int32),
        ("seed", c_uint64),
        ("allocator", Allocator),
        ("log", LogFn),
        ("log_user_data", c_void_p),
        ("log_level", c_int32),
        ("cpu_mask", c_uint32),
        ("use_blis", c_int32),
        ("reserved", c_int32),
    ]


class DatasetOptions(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("bad_row", c_int32),
        ("chat_template", c_int32),
        ("reserved", c_int32),
        ("max_rows", c_uint64),
    ]


class Row(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("kind", c_int32),
        ("text", c_char_p),
        ("prompt", c_char_p),
        ("completion", c_char_p),
        ("chosen", c_char_p),
        ("rejected", c_char_p),
        ("extra", c_char_p),
        ("margin", c_double),
        ("conversational", c_int32),
        ("reserved", c_int32),
    ]


class BatchView(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_int32),
        ("rows", c_int64),
        ("offset", c_void_p),
        ("tokens", c_void_p),
        ("prompt_length", c_void_p),
        ("response_offset", c_void_p),
    ]


class ModelOptions(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("compute_format", c_int32),
        ("weight_format", c_int32),
        ("recompute_activations", c_int32),
        ("memory_limit", c_uint64),
    ]


class MemoryShape(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("training", c_int32),
        ("rows", c_int64),
        ("row_tokens", c_int64),
        ("prompt_tokens", c_int64),
    ]


class MemoryPlan(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_int32),
        ("weights", c_uint64),
        ("gradient", c_uint64),
        ("moments", c_uint64),
        ("activations", c_uint64),
        ("scratch", c_uint64),
        ("panels", c_uint64),
        ("total", c_uint64),
    ]


class PluginHost(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("library_version", c_uint32),
        ("plugin_version", c_uint32),
        ("reserved", c_uint32),
        ("context", Handle),
    ]


class ParameterView(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("rank", c_int32),
        ("name", c_char_p),
        ("shape", c_void_p),
        ("data", c_void_p),
        ("gradient", c_void_p),
        ("elements", c_int64),
    ]


class ScoreInput(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_int32),
        ("rows", c_int64),
        ("offset", c_void_p),
        ("tokens", c_void_p),
        ("prompt_length", c_void_p),
        ("prompt", Texts),
        ("completion", Texts),
        ("extra", Texts),
        ("terminated", c_void_p),
    ]


class RolloutOptions(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("max_new_tokens", c_int32),
        ("min_new_tokens", c_int32),
        ("samples_per_prompt", c_int32),
        ("batch_size", c_int32),
        ("top_k", c_int32),
        ("temperature", c_double),
        ("top_p", c_double),
        ("min_p", c_double),
        ("seed", c_uint64),
        ("first_prompt", c_uint64),
        ("stop_token_count", c_int32),
        ("stop_tokens", c_int32 * RLHF_MAX_STOP_TOKENS),
        ("ignore_stop", c_int32),
    ]


class RolloutView(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("samples_per_prompt", c_int32),
        ("rows", c_int64),
        ("offset", c_void_p),
        ("tokens", c_void_p),
        ("prompt_length", c_void_p),
        ("response_offset", c_void_p),
        ("log_prob", c_void_p),
        ("terminated", c_void_p),
    ]


class TokenLossInput(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_int32),
        ("rows", c_int64),
        ("offset", c_void_p),
        ("log_prob", c_void_p),
        ("mean_log_prob", c_void_p),
        ("denominator", c_double),
    ]


class TokenLossOutput(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_int32),
        ("loss", c_double),
        ("d_log_prob", c_void_p),
        ("d_mean_log_prob", c_void_p),
    ]


class PairLossInput(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_int32),
        ("pairs", c_int64),
        ("chosen", c_void_p),
        ("rejected", c_void_p),
        ("margin", c_void_p),
        ("denominator", c_double),
    ]


class PairLossOutput(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_int32),
        ("loss", c_double),
        ("d_chosen", c_void_p),
        ("d_rejected", c_void_p),
    ]


class RewardInput(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_int32),
        ("rows", c_int64),
        ("offset", c_void_p),
        ("score", c_void_p),
        ("log_prob", c_void_p),
        ("log_prob_ref", c_void_p),
        ("terminated", c_void_p),
    ]


class RewardOutput(Structure):
    _fields_ = [("struct_size", c_uint32), ("reserved", c_int32), ("reward", c_void_p)]


class AdvantageInput(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("samples_per_prompt", c_int32),
        ("rows", c_int64),
        ("offset", c_void_p),
        ("reward", c_void_p),
        ("value", c_void_p),
    ]


class AdvantageOutput(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_int32),
        ("advantage", c_void_p),
        ("value_target", c_void_p),
    ]


class PolicyLossInput(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("samples_per_prompt", c_int32),
        ("rows", c_int64),
        ("offset", c_void_p),
        ("log_prob", c_void_p),
        ("log_prob_old", c_void_p),
        ("log_prob_ref", c_void_p),
        ("advantage", c_void_p),
        ("entropy", c_void_p),
        ("score", c_void_p),
        ("denominator", c_double),
        ("denominator_rows", c_double),
    ]


class PolicyLossOutput(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_int32),
        ("loss", c_double),
        ("d_log_prob", c_void_p),
        ("d_entropy", c_void_p),
        ("clipped", c_double),
    ]


class ValueLossInput(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_int32),
        ("count", c_int64),
        ("value", c_void_p),
        ("value_old", c_void_p),
        ("value_target", c_void_p),
        ("denominator", c_double),
    ]


class ValueLossOutput(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_int32),
        ("loss", c_double),
        ("d_value", c_void_p),
        ("clipped", c_double),
    ]


class OptimizerOptions(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("schedule", c_int32),
        ("learning_rate", c_double),
        ("beta1", c_double),
        ("beta2", c_double),
        ("epsilon", c_double),
        ("weight_decay", c_double),
        ("max_grad_norm", c_double),
        ("warmup_steps", c_uint64),
        ("total_steps", c_uint64),
        ("min_lr_rate", c_double),
    ]


class KeyView(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("type", c_int32),
        ("name", c_char_p),
        ("default_value", c_char_p),
        ("choices", c_char_p),
        ("help", c_char_p),
        ("minimum", c_double),
        ("maximum", c_double),
    ]


class PipelineStage(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_int32),
        ("name", c_char_p),
        ("recipe", Handle),
        ("scorer", c_char_p),
        ("gold", c_char_p),
    ]


class Metrics(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("count", c_int32),
        ("step", c_uint64),
        ("total_steps", c_uint64),
        ("name", Texts),
        ("value", Doubles),
    ]


class Progress(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("phase", c_int32),
        ("step", c_uint64),
        ("total_steps", c_uint64),
        ("tokens", c_uint64),
        ("seconds", c_double * 6),
    ]


class Estimate(Structure):
    _fields_ = [("mean", c_double), ("standard_error", c_double), ("count", c_int64)]


class Calibration(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("bins", c_int32),
        ("accuracy", c_double),
        ("accuracy_standard_error", c_double),
        ("negative_log_likelihood", c_double),
        ("brier", c_double),
        ("expected_calibration_error", c_double),
        ("temperature", c_double),
        ("calibrated_error", c_double),
        ("confidence", c_double * RLHF_CALIBRATION_BINS),
        ("correct", c_double * RLHF_CALIBRATION_BINS),
        ("pairs", c_int64 * RLHF_CALIBRATION_BINS),
    ]


# ---- callback types with structs -------------------------------------------------------------------------------------

ScoreFn = CFUNCTYPE(Status, c_void_p, POINTER(ScoreInput), Doubles)
MetricsFn = CFUNCTYPE(Status, c_void_p, POINTER(Metrics))
ProgressFn = CFUNCTYPE(Status, c_void_p, POINTER(Progress))
TokenLossFn = CFUNCTYPE(Status, c_void_p, POINTER(TokenLossInput), POINTER(TokenLossOutput))
PairLossFn = CFUNCTYPE(Status, c_void_p, POINTER(PairLossInput), POINTER(PairLossOutput))
RewardFn = CFUNCTYPE(Status, c_void_p, POINTER(RewardInput), POINTER(RewardOutput))
AdvantageFn = CFUNCTYPE(Status, c_void_p, POINTER(AdvantageInput), POINTER(AdvantageOutput))
PolicyLossFn = CFUNCTYPE(Status, c_void_p, POINTER(PolicyLossInput), POINTER(PolicyLossOutput))
ValueLossFn = CFUNCTYPE(Status, c_void_p, POINTER(ValueLossInput), POINTER(ValueLossOutput))
ObserveKlFn = CFUNCTYPE(Status, c_void_p, c_double, c_int64)
SaveFn = CFUNCTYPE(Status, c_void_p, c_void_p, c_size_t, POINTER(c_size_t))
LoadFn = CFUNCTYPE(Status, c_void_p, c_void_p, c_size_t)
SetFn = CFUNCTYPE(Status, c_void_p, c_char_p, c_double)
GetFn = CFUNCTYPE(Status, c_void_p, c_char_p, Doubles)
NeedFn = CFUNCTYPE(c_uint32, c_void_p)


class ObjectiveVtable(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("need", c_uint32),
        ("name", c_char_p),
        ("token_loss", TokenLossFn),
        ("pair_loss", PairLossFn),
        ("reward", RewardFn),
        ("advantage", AdvantageFn),
        ("policy_loss", PolicyLossFn),
        ("value_loss", ValueLossFn),
        ("observe_kl", ObserveKlFn),
        ("save", SaveFn),
        ("load", LoadFn),
        ("set", SetFn),
        ("get", GetFn),
        ("destroy", DestroyFn),
        ("current_need", NeedFn),
    ]


class TrainerOptions(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_int32),
        ("policy", Handle),
        ("tokenizer", Handle),
        ("reference", Handle),
        ("reward_model", Handle),
        ("value_model", Handle),
        ("dataset", Handle),
        ("eval_dataset", Handle),
        ("scorer", Handle),
        ("gold_scorer", Handle),
        ("objective", Handle),
        ("reward_objective", Handle),
        ("advantage_objective", Handle),
        ("output_dir", c_char_p),
        ("on_metrics", MetricsFn),
        ("on_progress", ProgressFn),
        ("user_data", c_void_p),
        ("overwrite", c_int32),
        ("resume", c_int32),
    ]


# ---- functions -------------------------------------------------------------------------------------------------------

Out = POINTER(Handle)  # rlhf_X **
Floats = c_void_p  # const float * and float *: an address
DoubleArray = c_void_p
Ints = c_void_p
Size = POINTER(c_size_t)
Options = c_void_p  # a struct by reference, or None

# name: (result, *arguments)
FUNCTIONS: dict[str, tuple[Any, ...]] = {
    # base.h
    "rlhf_status_name": (c_char_p, Status),
    "rlhf_version": (c_uint32,),
    # context.h
    "rlhf_context_options_init": (None, POINTER(ContextOptions), c_size_t),
    "rlhf_context_create": (Status, Out, POINTER(ContextOptions)),
    "rlhf_context_release": (None, Out),
    "rlhf_context_error": (c_size_t, Handle, c_char_p, c_size_t),
    "rlhf_context_cancel": (None, Handle),
    "rlhf_context_describe": (c_size_t, Handle, c_char_p, c_size_t),
    "rlhf_context_threads": (c_int32, Handle),
    "rlhf_context_set_seed": (Status, Handle, c_uint64),
    # tokenizer.h
    "rlhf_tokenizer_load": (Status, Out, Handle, c_char_p),
    "rlhf_tokenizer_create": (Status, Out, Handle, c_char_p, c_size_t, c_char_p, c_size_t),
    "rlhf_tokenizer_release": (None, Out),
    "rlhf_tokenizer_save": (Status, Handle, c_char_p),
    "rlhf_tokenizer_encode": (Status, Handle, c_char_p, c_size_t, c_uint32, Ints, c_size_t, Size),
    "rlhf_tokenizer_decode": (Status, Handle, Ints, c_size_t, c_uint32, c_char_p, c_size_t, Size),
    "rlhf_tokenizer_vocabulary": (c_int32, Handle),
    "rlhf_tokenizer_special": (c_int32, Handle, c_int32),
    "rlhf_tokenizer_find": (c_int32, Handle, c_char_p),
    "rlhf_tokenizer_token": (Status, Handle, c_int32, POINTER(c_char_p)),
    # dataset.h
    "rlhf_dataset_options_init": (None, POINTER(DatasetOptions), c_size_t),
    "rlhf_dataset_load": (Status, Out, Handle, c_char_p, POINTER(DatasetOptions)),
    "rlhf_dataset_create": (Status, Out, Handle),
    "rlhf_dataset_append": (Status, Handle, POINTER(Row)),
    "rlhf_dataset_release": (None, Out),
    "rlhf_dataset_rows": (c_uint64, Handle),
    "rlhf_dataset_skipped": (c_uint64, Handle),
    "rlhf_dataset_row": (Status, Handle, c_uint64, POINTER(Row)),
    "rlhf_dataset_save": (Status, Handle, c_char_p),
    # batch.h
    "rlhf_batch_create": (Status, Out, Handle, c_int64, Ints, Ints, Ints),
    "rlhf_batch_release": (None, Out),
    "rlhf_batch_get": (Status, Handle, POINTER(BatchView)),
    "rlhf_batch_tokenize": (Status, Out, Handle, Handle, c_uint64, c_uint64, c_uint32),
    "rlhf_batch_select": (Status, Out, Handle, Ints, c_int64),
    # order.h
    "rlhf_order_fill": (Status, c_int32, c_uint64, c_uint64, c_int64, Ints),
    # model_options.h
    "rlhf_model_options_init": (None, POINTER(ModelOptions), c_size_t),
    # policy.h
    "rlhf_policy_load": (Status, Out, Handle, c_char_p, POINTER(ModelOptions)),
    "rlhf_policy_create": (Status, Out, Handle, c_char_p, c_size_t, c_uint64, POINTER(ModelOptions)),
    "rlhf_policy_clone": (Status, Out, Handle),
    "rlhf_policy_release": (None, Out),
    "rlhf_policy_save": (Status, Handle, c_char_p),
    "rlhf_policy_log_probs": (Status, Handle, Handle, c_double, Floats, Floats),
    "rlhf_policy_backward": (Status, Handle, Handle, c_double, Floats, Floats),
    "rlhf_policy_vocabulary": (c_int64, Handle),
    "rlhf_policy_positions": (c_int64, Handle),
    "rlhf_policy_parameter_count": (c_int64, Handle),
    "rlhf_policy_parameter": (Status, Handle, c_int64, POINTER(ParameterView)),
    "rlhf_policy_hash": (Status, Handle, c_char_p),
    "rlhf_policy_describe": (c_size_t, Handle, c_char_p, c_size_t),
    # reference.h
    "rlhf_reference_freeze": (Status, Out, Handle),
    "rlhf_reference_load": (Status, Out, Handle, c_char_p, POINTER(ModelOptions)),
    "rlhf_reference_release": (None, Out),
    "rlhf_reference_log_probs": (Status, Handle, Handle, c_double, Floats),
    "rlhf_reference_hash": (Status, Handle, c_char_p),
    # reward_model.h
    "rlhf_reward_model_load": (Status, Out, Handle, c_char_p, POINTER(ModelOptions)),
    "rlhf_reward_model_from_policy": (Status, Out, Handle, c_uint64),
    "rlhf_reward_model_release": (None, Out),
    "rlhf_reward_model_save": (Status, Handle, c_char_p),
    "rlhf_reward_model_score": (Status, Handle, Handle, Floats),
    "rlhf_reward_model_backward": (Status, Handle, Handle, Floats),
    "rlhf_reward_model_set_normalisation": (Status, Handle, c_double, c_double),
    "rlhf_reward_model_normalisation": (Status, Handle, Doubles, Doubles),
    "rlhf_reward_model_hash": (Status, Handle, c_char_p),
    "rlhf_reward_model_positions": (c_int64, Handle),
    "rlhf_reward_model_describe": (c_size_t, Handle, c_char_p, c_size_t),
    # value_model.h
    "rlhf_value_model_from_reward_model": (Status, Out, Handle),
    "rlhf_value_model_from_policy": (Status, Out, Handle),
    "rlhf_value_model_load": (Status, Out, Handle, c_char_p, POINTER(ModelOptions)),
    "rlhf_value_model_release": (None, Out),
    "rlhf_value_model_save": (Status, Handle, c_char_p),
    "rlhf_value_model_values": (Status, Handle, Handle, Floats),
    "rlhf_value_model_backward": (Status, Handle, Handle, Floats),
    "rlhf_value_model_hash": (Status, Handle, c_char_p),
    "rlhf_value_model_on_policy": (Status, Out, Handle),
    "rlhf_value_model_joint": (Status, Handle, Handle, c_double, Floats, Floats, Floats),
    "rlhf_value_model_joint_backward": (Status, Handle, Handle, c_double, Floats, Floats, Floats),
    # memory_plan.h
    "rlhf_memory_shape_init": (None, POINTER(MemoryShape), c_size_t),
    "rlhf_policy_memory_plan": (Status, Handle, POINTER(MemoryShape), POINTER(MemoryPlan)),
    "rlhf_value_model_memory_plan": (Status, Handle, POINTER(MemoryShape), POINTER(MemoryPlan)),
    "rlhf_reward_model_memory_plan": (Status, Handle, POINTER(MemoryShape), POINTER(MemoryPlan)),
    # scorer.h
    "rlhf_scorer_create": (Status, Out, Handle, c_char_p, ScoreFn, c_void_p, DestroyFn),
    "rlhf_scorer_from_reward_model": (Status, Out, Handle),
    "rlhf_scorer_release": (None, Out),
    "rlhf_scorer_run": (Status, Handle, Handle, POINTER(ScoreInput), DoubleArray),
    # rollout.h
    "rlhf_rollout_options_init": (None, POINTER(RolloutOptions), c_size_t),
    "rlhf_rollout_run": (Status, Out, Handle, Handle, POINTER(RolloutOptions), TokenFn, c_void_p),
    "rlhf_rollout_release": (None, Out),
    "rlhf_rollout_get": (Status, Handle, POINTER(RolloutView)),
    "rlhf_rollout_batch": (Status, Handle, Out),
    "rlhf_rollout_best_of_n": (Status, Handle, DoubleArray, Ints),
    "rlhf_rollout_distribution": (Status, Handle, Floats, c_int64, POINTER(RolloutOptions), DoubleArray),
    # objective.h
    "rlhf_objective_create": (Status, Out, Handle, POINTER(ObjectiveVtable), c_void_p),
    "rlhf_objective_builtin": (Status, Out, Handle, c_char_p),
    "rlhf_objective_release": (None, Out),
    "rlhf_objective_set": (Status, Handle, c_char_p, c_double),
    "rlhf_objective_get": (Status, Handle, c_char_p, Doubles),
    "rlhf_objective_need": (c_uint32, Handle),
    "rlhf_objective_observe_kl": (Status, Handle, c_double, c_int64),
    "rlhf_objective_token_loss": (Status, Handle, POINTER(TokenLossInput), POINTER(TokenLossOutput)),
    "rlhf_objective_pair_loss": (Status, Handle, POINTER(PairLossInput), POINTER(PairLossOutput)),
    "rlhf_objective_reward": (Status, Handle, POINTER(RewardInput), POINTER(RewardOutput)),
    "rlhf_objective_advantage": (Status, Handle, POINTER(AdvantageInput), POINTER(AdvantageOutput)),
    "rlhf_objective_policy_loss": (Status, Handle, POINTER(PolicyLossInput), POINTER(PolicyLossOutput)),
    "rlhf_objective_value_loss": (Status, Handle, POINTER(ValueLossInput), POINTER(ValueLossOutput)),
    # optimizer.h
    "rlhf_optimizer_options_init": (None, POINTER(OptimizerOptions), c_size_t),
    "rlhf_optimizer_create_policy": (Status, Out, Handle, POINTER(OptimizerOptions)),
    "rlhf_optimizer_create_reward_model": (Status, Out, Handle, POINTER(OptimizerOptions)),
    "rlhf_optimizer_create_value_model": (Status, Out, Handle, POINTER(OptimizerOptions)),
    "rlhf_optimizer_release": (None, Out),
    "rlhf_optimizer_step": (Status, Handle, Doubles, Doubles),
    "rlhf_optimizer_step_joint": (Status, Handle, Handle, Doubles, Doubles),
    "rlhf_optimizer_zero": (Status, Handle),
    "rlhf_optimizer_steps": (c_uint64, Handle),
    # recipe.h
    "rlhf_recipe_create": (Status, Out, Handle, c_char_p),
    "rlhf_recipe_release": (None, Out),
    "rlhf_recipe_set": (Status, Handle, c_char_p, c_char_p),
    "rlhf_recipe_load": (Status, Handle, c_char_p),
    "rlhf_recipe_get": (Status, Handle, c_char_p, c_char_p, c_size_t, Size),
    "rlhf_recipe_yaml": (Status, Handle, c_char_p, c_size_t, Size),
    "rlhf_recipe_method": (c_char_p, Handle),
    "rlhf_recipe_key_count": (c_int64, c_char_p),
    "rlhf_recipe_key": (Status, c_char_p, c_int64, POINTER(KeyView)),
    # pipeline.h
    "rlhf_pipeline_load": (Status, Out, Handle, c_char_p, c_char_p),
    "rlhf_pipeline_release": (None, Out),
    "rlhf_pipeline_stages": (c_int64, Handle),
    "rlhf_pipeline_get": (Status, Handle, c_int64, POINTER(PipelineStage)),
    # trainer.h
    "rlhf_trainer_options_init": (None, POINTER(TrainerOptions), c_size_t),
    "rlhf_trainer_create": (Status, Out, Handle, Handle, POINTER(TrainerOptions)),
    "rlhf_trainer_release": (None, Out),
    "rlhf_trainer_step": (Status, Handle),
    "rlhf_trainer_run": (Status, Handle),
    "rlhf_trainer_save": (Status, Handle),
    "rlhf_trainer_finish": (Status, Handle),
    "rlhf_trainer_metrics": (Status, Handle, POINTER(Metrics)),
    "rlhf_trainer_progress": (Status, Handle, POINTER(Progress)),
    "rlhf_trainer_policy": (Status, Handle, Out),
    "rlhf_trainer_reward_model": (Status, Handle, Out),
    # evaluation.h
    "rlhf_evaluate_mean": (Status, DoubleArray, c_int64, POINTER(Estimate)),
    "rlhf_evaluate_kl": (Status, Handle, Handle, c_double, c_int32, POINTER(Estimate)),
    "rlhf_evaluate_best_of_n": (Status, DoubleArray, DoubleArray, c_int64, c_int64, POINTER(Estimate)),
    "rlhf_evaluate_best_of_n_kl": (c_double, c_int64),
    "rlhf_evaluate_calibration": (Status, DoubleArray, DoubleArray, c_int64, POINTER(Calibration)),
    "rlhf_evaluate_win_rate": (Status, DoubleArray, DoubleArray, c_int64, c_uint64, POINTER(Estimate)),
    # plugin.h
    "rlhf_plugin_add_objective": (Status, Handle, c_char_p, MakeFn, c_void_p, DestroyFn),
    "rlhf_plugin_add_scorer": (Status, Handle, c_char_p, MakeFn, c_void_p, DestroyFn),
    "rlhf_plugin_objective": (Status, Out, Handle, c_char_p),
    "rlhf_plugin_scorer": (Status, Out, Handle, c_char_p),
    "rlhf_plugin_has_scorer": (c_int32, Handle, c_char_p),
    "rlhf_plugin_load": (Status, Handle, c_char_p),
    # experimental/measure.h
    "rlhf_measure_product": (Status, Handle, c_int32, c_int32, c_int64, c_int64, c_int64, c_int64, DoubleArray),
}


def _bind() -> tuple[ctypes.CDLL, str]:
    library, path = _library.load()
    for name, (result, *arguments) in FUNCTIONS.items():
        try:
            function = getattr(library, name)
        except AttributeError:
            needed = f"{RLHF_API_MAJOR}.{RLHF_API_MINOR}"
            raise ImportError(f"{path}: has no {name}; this package needs API {needed}") from None
        function.restype, function.argtypes = result, arguments
    running = library.rlhf_version()
    if running >> 16 != RLHF_API_MAJOR:
        raise ImportError(f"{path}: has API {running >> 16}.{running >> 8 & 255}, this package is for {RLHF_API_MAJOR}")
    return library, path


lib, library_path = _bind()
