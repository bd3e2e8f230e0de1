"""Arrays with and without NumPy: views of C memory, results, and arguments of any kind that holds numbers.

Results and views are NumPy arrays where NumPy can be imported, else array.array (results) and memoryview (views).
"""

from __future__ import annotations

import array
import ctypes
from collections.abc import Iterable
from typing import Any

try:
    import numpy as _numpy
except ImportError:
    _numpy = None  # type: ignore[assignment]

Array = Any  # numpy.ndarray, array.array or memoryview: has len(), indices, slices and tolist()
Numbers = Any  # anything with numbers in it: one of those, a list, a torch tensor on the CPU

_CTYPES: dict[str, Any] = {"i": ctypes.c_int32, "q": ctypes.c_int64, "f": ctypes.c_float, "d": ctypes.c_double}
_DTYPES = {"i": "int32", "q": "int64", "f": "float32", "d": "float64"}


def have_numpy() -> bool:
    """Whether views and results are NumPy arrays."""
    return _numpy is not None


def new(code: str, count: int) -> Array:
    """Makes an array of zeros for a result."""
    if _numpy is not None:
        return _numpy.zeros(count, _DTYPES[code])
    return array.array(code, bytes(count * ctypes.sizeof(_CTYPES[code])))


def given(code: str, values: Numbers) -> Array:
    """Makes a contiguous array of numbers of type `code`; what is one already is not copied."""
    if _numpy is not None:
        return _numpy.ascontiguousarray(_whole(code, values), _DTYPES[code]).reshape(-1)
    if isinstance(values, array.array) and values.typecode == code:
        return values
    if hasattr(values, "tolist"):
        values = values.tolist()
    if not isinstance(values, Iterable):
        raise TypeError(f"numbers are needed, not {type(values).__name__}")
    return array.array(code, values)


def _whole(code: str, values: Numbers) -> Any:
    """Integers that fit, where integers are needed: NumPy would cut others silently."""
    if code in "fd":
        return values
    found: Any = _numpy.asarray(values)
    if found.size > 0 and found.dtype.kind not in "iub":
        raise TypeError(f"integers are needed, not {found.dtype}")
    limits = _numpy.iinfo(_DTYPES[code])
    if found.size > 0 and (found.min() < limits.min or found.max() > limits.max):
        raise OverflowError(f"an integer does not fit {_DTYPES[code]}")
    return found


def address(values: Array) -> int:
    """The address of an array's numbers. It stays good as long as the array is held and not made longer."""
    if _numpy is not None:
        return int(values.ctypes.data)
    where, count = values.buffer_info()
    return int(where) if count > 0 else ctypes.addressof(_nothing)


_nothing = ctypes.c_double(0)  # what empty arrays point to: NULL would say that there is no array


def buffer(code: str, where: int | None, count: int, owner: object = None) -> Any:
    """C memory as a ctypes array that keeps `owner` alive; None for NULL."""
    if count == 0:
        memory = (_CTYPES[code] * 0)()
    elif where is None:
        return None
    else:
        memory = (_CTYPES[code] * count).from_address(where)
    memory.owner = owner
    return memory


def view(code: str, memory: Any, writable: bool = False) -> Array:
    """A view of a ctypes array, without a copy; None stays None."""
    if memory is None:
        return None
    if _numpy is not None:
        seen = _numpy.frombuffer(memory, _DTYPES[code]) if len(memory) > 0 else _numpy.zeros(0, _DTYPES[code])
        seen.flags.writeable = writable
        return seen
    seen = memoryview(memory).cast("B").cast(code) if len(memory) > 0 else memoryview(array.array(code))
    return seen if writable else seen.toreadonly()


def copied(code: str, values: Array) -> Array:
    """A copy that is the caller's own."""
    return values.copy() if _numpy is not None else array.array(code, values.tobytes())


def shaped(values: Array, shape: tuple[int, ...]) -> Array:
    """With NumPy an array of that shape; without, flat and row-major."""
    return values.reshape(shape) if _numpy is not None else values
