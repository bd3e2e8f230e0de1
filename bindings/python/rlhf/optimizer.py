"""Optimizer: AdamW with global-norm clipping and a learning-rate schedule, for one model."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, NamedTuple, TypedDict, Union

from . import _ffi, _handle
from .context import ContextHandle
from .policy import Policy
from .reward_model import RewardModel
from .value_model import ValueModel

if TYPE_CHECKING:
    from typing_extensions import Unpack

_CHOICES = {
    "schedule": {
        "constant": _ffi.RLHF_SCHEDULE_CONSTANT,
        "linear": _ffi.RLHF_SCHEDULE_LINEAR,
        "cosine": _ffi.RLHF_SCHEDULE_COSINE,
    }
}


class OptimizerOptions(TypedDict, total=False):
    """Keywords of an Optimizer. schedule: "constant", "linear" or "cosine". max_grad_norm: 0 = no clipping.
    total_steps: of the schedule, 0 = constant."""

    schedule: Union[str, int]
    learning_rate: float
    beta1: float
    beta2: float
    epsilon: float
    weight_decay: float
    max_grad_norm: float
    warmup_steps: int
    total_steps: int
    min_lr_rate: float


class Step(NamedTuple):
    """What a step says: the gradient's norm before clipping, and the learning rate that was used."""

    gradient_norm: float
    learning_rate: float


class Optimizer(ContextHandle):
    """AdamW for the parameters of a policy, reward model or value model.

    >>> trained = policy.clone()
    >>> optimizer = rlhf.Optimizer(trained, learning_rate=1e-3, schedule="constant")
    >>> batch = rlhf.Batch([[3, 1]], [[5]])
    >>> trained.backward(batch, [-1.0])
    >>> optimizer.step().learning_rate
    0.001
    >>> bool(trained.log_probs(batch)[0] > policy.log_probs(batch)[0])
    True
    """

    _release_name = "rlhf_optimizer_release"

    def __init__(self, model: Policy | RewardModel | ValueModel, **options: Unpack[OptimizerOptions]) -> None:
        makers = {
            Policy: _ffi.lib.rlhf_optimizer_create_policy,
            RewardModel: _ffi.lib.rlhf_optimizer_create_reward_model,
            ValueModel: _ffi.lib.rlhf_optimizer_create_value_model,
        }
        make = next((function for kind, function in makers.items() if isinstance(model, kind)), None)
        if make is None:
            raise TypeError(f"model: a Policy, RewardModel or ValueModel is needed, not {type(model).__name__}")
        super().__init__(model.context)
        struct = _handle.fill_options(
            _ffi.OptimizerOptions, _ffi.lib.rlhf_optimizer_options_init, dict(options), _CHOICES
        )
        self._make(make, model, ctypes.byref(struct))

    def step(self) -> Step:
        """Takes one step with the gathered gradients, then zeroes them."""
        norm, rate = ctypes.c_double(), ctypes.c_double()
        self._call(_ffi.lib.rlhf_optimizer_step, ctypes.byref(norm), ctypes.byref(rate))
        return Step(norm.value, rate.value)

    def step_joint(self, other: Optimizer) -> Step:
        """Takes one step of this and another model's optimizer as if all parameters were one model's: one gradient
        norm over both, clipped at this one's max_grad_norm. That is how PPO steps its policy and its value model."""
        if not isinstance(other, Optimizer):
            raise TypeError(f"other: an Optimizer is needed, not {type(other).__name__}")
        norm, rate = ctypes.c_double(), ctypes.c_double()
        self._call(_ffi.lib.rlhf_optimizer_step_joint, other, ctypes.byref(norm), ctypes.byref(rate))
        return Step(norm.value, rate.value)

    def zero(self) -> None:
        """Zeroes the gathered gradients without a step."""
        self._call(_ffi.lib.rlhf_optimizer_zero)

    @property
    def steps(self) -> int:
        """How many steps were taken."""
        return int(self._read(_ffi.lib.rlhf_optimizer_steps))
