"""Value model (critic): the expected return before each response token is chosen."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, NamedTuple

from . import _arrays, _ffi, _handle
from ._arrays import Array, Numbers
from .batch import Batch
from .context import Context, ContextHandle, resolve
from .memory_plan import MemoryPlan, memory_plan
from .model_options import ModelOptions, model_options
from .policy import Policy, per_response_token
from .reward_model import RewardModel

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Joint(NamedTuple):
    """What `ValueModel.joint` gives, one number per response token: nats, nats, expected return."""

    log_prob: Array
    entropy: Array
    value: Array


class ValueModel(ContextHandle):
    """A critic.

    >>> critic = rlhf.ValueModel.from_policy(policy)
    >>> [float(v) for v in critic.values(rlhf.Batch([[3, 1]], [[5, 3]]))]
    [0.0, 0.0]
    """

    _release_name = "rlhf_value_model_release"

    def __init__(
        self, directory: str | os.PathLike[str], *, context: Context | None = None, **options: Unpack[ModelOptions]
    ) -> None:
        """Loads from the directory of a ...ForSequenceClassification model."""
        super().__init__(resolve(context))
        self._make(
            _ffi.lib.rlhf_value_model_load, self.context, _handle.path_bytes(directory),
            ctypes.byref(model_options(options)),
        )  # fmt: skip

    @classmethod
    def from_policy(cls, policy: Policy) -> ValueModel:
        """Makes one from a copy of a policy's trunk with a head of zeros."""
        self = cls.__new__(cls)
        ContextHandle.__init__(self, policy.context)
        self._make(_ffi.lib.rlhf_value_model_from_policy, policy)
        return self

    @classmethod
    def from_reward_model(cls, model: RewardModel) -> ValueModel:
        """Makes one that starts from a reward model, its head and normalisation included."""
        self = cls.__new__(cls)
        ContextHandle.__init__(self, model.context)
        self._make(_ffi.lib.rlhf_value_model_from_reward_model, model)
        return self

    @classmethod
    def on_policy(cls, policy: Policy) -> ValueModel:
        """Makes one on the policy's own trunk: the policy gets a value head of zeros (one that it has stays). One
        optimizer of the policy, made after this, trains both; `joint` and `joint_backward` pass the trunk once."""
        self = cls.__new__(cls)
        ContextHandle.__init__(self, policy.context)
        self._make(_ffi.lib.rlhf_value_model_on_policy, policy)
        return self

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Writes a Hugging Face directory."""
        self._call(_ffi.lib.rlhf_value_model_save, _handle.path_bytes(directory))

    def values(self, batch: Batch) -> Array:
        """The value of every response token, read at the token before it."""
        value = _arrays.new("f", batch.response_tokens)
        self._call(_ffi.lib.rlhf_value_model_values, batch, _arrays.address(value))
        return value

    def backward(self, batch: Batch, d_value: Numbers) -> None:
        """Adds to the gathered gradients, from d loss / d value of every response token."""
        slope = per_response_token(batch, d_value, "d_value")
        self._call(_ffi.lib.rlhf_value_model_backward, batch, _arrays.address(slope))

    def joint(self, batch: Batch, temperature: float = 1.0) -> Joint:
        """What the policy and this model (of `on_policy`) say of every response token, in one pass of the trunk."""
        made = Joint(*(_arrays.new("f", batch.response_tokens) for _ in Joint._fields))
        self._call(_ffi.lib.rlhf_value_model_joint, batch, temperature, *(_arrays.address(array) for array in made))
        return made

    def joint_backward(
        self,
        batch: Batch,
        d_log_prob: Numbers,
        d_value: Numbers,
        d_entropy: Numbers | None = None,
        *,
        temperature: float = 1.0,
    ) -> None:
        """Adds to the gathered gradients of policy and value model together, in one pass of the trunk."""
        slope = per_response_token(batch, d_log_prob, "d_log_prob")
        value = per_response_token(batch, d_value, "d_value")
        entropy = None if d_entropy is None else per_response_token(batch, d_entropy, "d_entropy")
        self._call(
            _ffi.lib.rlhf_value_model_joint_backward, batch, temperature, _arrays.address(slope),
            None if entropy is None else _arrays.address(entropy), _arrays.address(value),
        )  # fmt: skip

    def memory_plan(
        self,
        *,
        rows: int | None = None,
        row_tokens: int | None = None,
        prompt_tokens: int | None = None,
        training: bool | None = None,
    ) -> MemoryPlan:
        """Plans the memory for a batch of rows that are all alike, of row_tokens each, the prompt's prompt_tokens
        included (default: one row, as long as the model takes). training: a step with AdamW (default), else scoring."""
        return memory_plan(
            _ffi.lib.rlhf_value_model_memory_plan, self, rows=rows, row_tokens=row_tokens, prompt_tokens=prompt_tokens,
            training=training,
        )  # fmt: skip

    def hash(self) -> str:
        """SHA-256 of all weights."""
        return self._hash(_ffi.lib.rlhf_value_model_hash)
