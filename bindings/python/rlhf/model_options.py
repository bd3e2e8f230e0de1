"""Number formats and memory of a model, the same for all four roles."""

from __future__ import annotations

from typing import Any, TypedDict, Union

from . import _ffi, _handle

_FORMATS = {"float32": _ffi.RLHF_FLOAT32, "bfloat16": _ffi.RLHF_BFLOAT16}
_CHOICES = {"compute_format": _FORMATS, "weight_format": _FORMATS}


class ModelOptions(TypedDict, total=False):
    """Keywords of everything that makes a model.

    compute_format: "float32" or "bfloat16", of what dense products multiply. weight_format: the same of weights in
    memory. recompute_activations: less memory, a third more arithmetic, the same bits.
    memory_limit: bytes that the model may need; what would need more is refused before it is asked for. 0: no limit.
    """

    compute_format: Union[str, int]
    weight_format: Union[str, int]
    recompute_activations: bool
    memory_limit: int


def model_options(given: Any) -> Any:
    """The struct for C."""
    return _handle.fill_options(_ffi.ModelOptions, _ffi.lib.rlhf_model_options_init, dict(given), _CHOICES)
