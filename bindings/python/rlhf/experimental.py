"""Measuring: how fast a context does the work that everything else is made of. Names may change between versions."""

from __future__ import annotations

from . import _arrays, _ffi, errors
from ._arrays import Array
from .context import Context, resolve, signed

_FORMATS = {"float32": _ffi.RLHF_FLOAT32, "bfloat16": _ffi.RLHF_BFLOAT16}
_KINDS = {
    "forward": _ffi.RLHF_PRODUCT_FORWARD,
    "input_gradient": _ffi.RLHF_PRODUCT_INPUT_GRADIENT,
    "weight_gradient": _ffi.RLHF_PRODUCT_WEIGHT_GRADIENT,
    "decoding": _ffi.RLHF_PRODUCT_DECODING,
}


def _number(name: str, known: dict[str, int], what: str) -> int:
    if name not in known:
        raise errors.InvalidError(f"{what}: is {name!r}, known are {', '.join(known)}")
    return known[name]


def measure_product(
    kind: str, m: int, n: int, k: int, *, repeats: int = 1, format: str = "float32", context: Context | None = None
) -> Array:
    """Does a dense product of the library over and over and returns the seconds of each time. It takes 2 * m * n * k
    floating-point operations. kind: "forward", "input_gradient", "weight_gradient" or "decoding".

    >>> import rlhf.experimental
    >>> len(rlhf.experimental.measure_product("forward", 4, 8, 16, repeats=3))
    3
    """
    chosen = resolve(context)
    if repeats < 1:
        raise errors.RangeError(f"repeats: {repeats}, must be at least 1")
    numbers = [signed(number, what) for what, number in (("m", m), ("n", n), ("k", k), ("repeats", repeats))]
    given = (_number(format, _FORMATS, "format"), _number(kind, _KINDS, "kind"))
    seconds = _arrays.new("d", min(repeats, 2**20))  # more is refused by the library, before it writes
    chosen._call(_ffi.lib.rlhf_measure_product, *given, *numbers, _arrays.address(seconds))
    return seconds
