"""What a model needs in memory for a batch, computed before any of it is asked for."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

from . import _ffi, _handle


@dataclass
class MemoryPlan:
    """Bytes that a model needs. `activations`: what the forward pass keeps for the backward pass; `scratch`: all that
    lives within the step; `panels`: weights packed for small models. BLIS and a rollout's cache come on top."""

    weights: int
    gradient: int
    moments: int
    activations: int
    scratch: int
    panels: int
    total: int


def memory_plan(
    function: Any,
    model: _handle.Handle,
    *,
    rows: int | None,
    row_tokens: int | None,
    prompt_tokens: int | None,
    training: bool | None,
) -> MemoryPlan:
    """Calls the function that plans for this kind of model; None = the library's default."""
    given = {
        "rows": rows, "row_tokens": row_tokens, "prompt_tokens": prompt_tokens,
        "training": None if training is None else int(training),
    }  # fmt: skip
    shape = _handle.fill_options(_ffi.MemoryShape, _ffi.lib.rlhf_memory_shape_init, given, {})
    plan = _ffi.MemoryPlan(struct_size=ctypes.sizeof(_ffi.MemoryPlan))
    model._call(function, ctypes.byref(shape), ctypes.byref(plan))
    names = [name for name, *_ in _ffi.MemoryPlan._fields_ if name not in ("struct_size", "reserved")]
    return MemoryPlan(**{name: int(getattr(plan, name)) for name in names})
