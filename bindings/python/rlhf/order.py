"""Orders: the permutations in which trainers go through rows, for training loops of your own."""

from __future__ import annotations

from . import _arrays, _ffi, errors
from ._arrays import Array
from .context import unsigned

_KINDS = {"rows": _ffi.RLHF_ORDER_ROWS, "updates": _ffi.RLHF_ORDER_UPDATES}


def order(kind: str, seed: int, number: int, count: int) -> Array:
    """A permutation of range(count), the one that a trainer with this seed (the recipe's) uses.

    kind "rows": rows of a dataset, number is the epoch. "updates": completions of an iteration, number is
    iteration * num_ppo_epochs + epoch. All from 0.

    >>> import rlhf
    >>> sorted(rlhf.order("updates", 42, 0, 5).tolist())
    [0, 1, 2, 3, 4]
    """
    if kind not in _KINDS:
        raise errors.InvalidError(f"kind: is {kind!r}, known are {', '.join(_KINDS)}")
    if count < 0:
        raise errors.InvalidError(f"count: {count}, must be at least 0")
    places = _arrays.new("q", count)
    status = _ffi.lib.rlhf_order_fill(
        _KINDS[kind], unsigned(seed, "seed"), unsigned(number, "number"), count, _arrays.address(places)
    )
    if status != _ffi.RLHF_OK:
        raise errors.from_status(status, f"order: {errors.status_name(status)}")
    return places
