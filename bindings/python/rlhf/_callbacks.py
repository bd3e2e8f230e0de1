"""Python functions that C calls. user_data is a number; the object behind it lives in `_live` until C destroys it.

The C functions below are made once and never go away, so nothing that C holds can be collected.
"""

from __future__ import annotations

import itertools
from typing import Any, Callable

from . import _ffi, _handle, _interrupt

_live: dict[int, Any] = {}
_numbers = itertools.count(1)


def keep(target: Any) -> int:
    """Keeps an object for C; returns its user_data."""
    number = next(_numbers)
    _live[number] = target
    return number


def forget(number: int | None) -> None:
    """Lets an object go that C does not destroy itself."""
    if number is not None:
        _live.pop(number, None)


def count() -> int:
    """How many objects C holds (for tests)."""
    return len(_live)


def _destroy(number: int | None) -> None:
    try:
        forget(number)
    except KeyboardInterrupt:
        _interrupt.again()


destroy = _ffi.DestroyFn(_destroy)


def guarded(user_data: int, method: str, *arguments: Any, failed: int = _ffi.RLHF_E_USER_FIRST) -> int:
    """Runs a method of the object behind user_data. An exception waits for the end of the call, C sees `failed`."""
    try:
        result = _interrupt.user_code(getattr(_live[user_data], method), *arguments)
        return _ffi.RLHF_OK if result is None else int(result)
    except BaseException as exception:  # everything: it must not reach ctypes, which would print and forget it
        _handle.keep_exception(exception)
        return failed


def thunk(kind: Any, method: str) -> Any:
    """Makes the C function that calls `method` of its user_data."""

    def run(user_data: int, *arguments: Any) -> int:
        return guarded(user_data, method, *arguments)

    return kind(run)


def _log(user_data: int, level: int, line: bytes) -> None:
    guarded(user_data, "log", level, line)


log = _ffi.LogFn(_log)
no_log = _ffi.LogFn()
score = thunk(_ffi.ScoreFn, "score")
token = thunk(_ffi.TokenFn, "token")
no_token = _ffi.TokenFn()
metrics = thunk(_ffi.MetricsFn, "metrics")
progress = thunk(_ffi.ProgressFn, "progress")

Function = Callable[..., Any]
