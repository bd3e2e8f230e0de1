"""Reward model: one score per finished sequence, read at its last token."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING

from . import _arrays, _ffi, _handle, errors
from ._arrays import Array, Numbers
from .batch import Batch
from .context import Context, ContextHandle, resolve, unsigned
from .memory_plan import MemoryPlan, memory_plan
from .model_options import ModelOptions, model_options
from .policy import Policy

if TYPE_CHECKING:
    from typing_extensions import Unpack


class RewardModel(ContextHandle):
    """A model that scores sequences.

    >>> model = rlhf.RewardModel.from_policy(policy, seed=1)
    >>> scores = model.score(rlhf.Batch([[3, 1, 5], [4, 4]]))
    >>> len(scores)
    2
    """

    _release_name = "rlhf_reward_model_release"

    def __init__(
        self, directory: str | os.PathLike[str], *, context: Context | None = None, **options: Unpack[ModelOptions]
    ) -> None:
        """Loads from a Hugging Face directory (...ForSequenceClassification with one label)."""
        super().__init__(resolve(context))
        self._make(
            _ffi.lib.rlhf_reward_model_load, self.context, _handle.path_bytes(directory),
            ctypes.byref(model_options(options)),
        )  # fmt: skip

    @classmethod
    def _new(cls, context: Context) -> RewardModel:
        self = cls.__new__(cls)
        ContextHandle.__init__(self, context)
        return self

    @classmethod
    def from_policy(cls, policy: Policy, *, seed: int = 0) -> RewardModel:
        """Makes one from a copy of a policy's trunk with a fresh head."""
        self = cls._new(policy.context)
        self._make(_ffi.lib.rlhf_reward_model_from_policy, policy, unsigned(seed, "seed"))
        return self

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Writes a Hugging Face directory."""
        self._call(_ffi.lib.rlhf_reward_model_save, _handle.path_bytes(directory))

    def score(self, batch: Batch) -> Array:
        """Scores each row at its last token: gain * raw + bias."""
        score = _arrays.new("f", len(batch))
        self._call(_ffi.lib.rlhf_reward_model_score, batch, _arrays.address(score))
        return score

    def backward(self, batch: Batch, d_score: Numbers) -> None:
        """Adds to the gathered gradients, from d loss / d raw score of each row."""
        slope = _arrays.given("f", d_score)
        if len(slope) != len(batch):
            raise errors.InvalidError(f"d_score: {len(slope)} numbers, the batch has {len(batch)} rows")
        self._call(_ffi.lib.rlhf_reward_model_backward, batch, _arrays.address(slope))

    @property
    def normalisation(self) -> tuple[float, float]:
        """Gain and bias of scores; (1, 0) = none. They can be set."""
        gain, bias = ctypes.c_double(), ctypes.c_double()
        self._call(_ffi.lib.rlhf_reward_model_normalisation, ctypes.byref(gain), ctypes.byref(bias))
        return gain.value, bias.value

    @normalisation.setter
    def normalisation(self, gain_and_bias: tuple[float, float]) -> None:
        gain, bias = gain_and_bias
        self._call(_ffi.lib.rlhf_reward_model_set_normalisation, gain, bias)

    @property
    def positions(self) -> int:
        """The longest sequence that the model can score, in tokens."""
        return int(self._read(_ffi.lib.rlhf_reward_model_positions))

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
            _ffi.lib.rlhf_reward_model_memory_plan, self, rows=rows, row_tokens=row_tokens, prompt_tokens=prompt_tokens,
            training=training,
        )  # fmt: skip

    def hash(self) -> str:
        """SHA-256 of all weights."""
        return self._hash(_ffi.lib.rlhf_reward_model_hash)

    def describe(self) -> str:
        """Says in one line what the model is."""
        return self._text(_ffi.lib.rlhf_reward_model_describe)
