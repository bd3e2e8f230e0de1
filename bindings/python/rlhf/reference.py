"""Reference: a frozen language model, what the KL leash holds on to."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING

from . import _arrays, _ffi, _handle
from ._arrays import Array
from .batch import Batch
from .context import Context, ContextHandle, resolve
from .model_options import ModelOptions, model_options
from .policy import Policy

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Reference(ContextHandle):
    """A frozen language model.

    >>> reference = policy.freeze()
    >>> reference.hash() == policy.hash()
    True
    """

    _release_name = "rlhf_reference_release"

    def __init__(
        self, directory: str | os.PathLike[str], *, context: Context | None = None, **options: Unpack[ModelOptions]
    ) -> None:
        """Loads from a Hugging Face directory."""
        super().__init__(resolve(context))
        self._make(
            _ffi.lib.rlhf_reference_load, self.context, _handle.path_bytes(directory),
            ctypes.byref(model_options(options)),
        )  # fmt: skip

    @classmethod
    def freeze(cls, policy: Policy) -> Reference:
        """Freezes a policy as it is now; the weights are shared until the policy changes."""
        self = cls.__new__(cls)
        ContextHandle.__init__(self, policy.context)
        self._make(_ffi.lib.rlhf_reference_freeze, policy)
        return self

    def log_probs(self, batch: Batch, *, temperature: float = 1.0) -> Array:
        """Log-probabilities as `Policy.log_probs`: for equal weights, equal bits."""
        log_prob = _arrays.new("f", batch.response_tokens)
        self._call(_ffi.lib.rlhf_reference_log_probs, batch, temperature, _arrays.address(log_prob))
        return log_prob

    def hash(self) -> str:
        """SHA-256 of all weights."""
        return self._hash(_ffi.lib.rlhf_reference_hash)
