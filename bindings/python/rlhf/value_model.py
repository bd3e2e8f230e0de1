"""Value model (critic): the expected return before each response token is chosen."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING

from . import _arrays, _ffi, _handle
from ._arrays import Array, Numbers
from .batch import Batch
from .context import Context, ContextHandle, resolve
from .model_options import ModelOptions, model_options
from .policy import Policy, per_response_token
from .reward_model import RewardModel

if TYPE_CHECKING:
    from typing_extensions import Unpack


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

    def hash(self) -> str:
        """SHA-256 of all weights."""
        return self._hash(_ffi.lib.rlhf_value_model_hash)
