"""What all handles share: life and death, and the one way into the library.

A call holds its context's lock, because a context belongs to one thread at a time. Exceptions of callbacks wait in the
call's frame until the call returns. A handle's share of the C object is held by an `Owner`; views of its memory hold
the same `Owner`, so a view outlives close() safely.
"""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
import threading
from collections import deque
from typing import Any, Callable, TypeVar

from . import _ffi, _interrupt, errors

Function = Callable[..., Any]
Self = TypeVar("Self", bound="Handle")


class _Frame:
    """One call on its way; `exception` is the first that a callback of it raised."""

    __slots__ = ("exception",)

    def __init__(self) -> None:
        self.exception: BaseException | None = None


class _Frames(threading.local):
    def __init__(self) -> None:
        self.stack: list[_Frame] = []


_frames = _Frames()


def keep_exception(exception: BaseException) -> None:
    """Called by a callback that failed: the call that runs raises the exception when it has returned."""
    if _frames.stack and _frames.stack[-1].exception is None:
        _frames.stack[-1].exception = exception


class Core:
    """A context as the calls see it: its pointer, its lock, and handles that wait to be released."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.pointer: int | None = None
        self._waiting: deque[tuple[ctypes.c_void_p, Function]] = deque()

    # ---- calls ----

    def invoke(self, function: Function, *arguments: Any, cancellable: bool = False) -> Any:
        """Calls a function and raises what its callbacks raised."""
        return self._enter(function, arguments, cancellable, None)

    def call(self, function: Function, *arguments: Any, cancellable: bool = False, allow: tuple[int, ...] = ()) -> int:
        """Calls a function that returns a status and raises its error, unless it is one of `allow`."""
        status: int = self._enter(function, arguments, cancellable, allow)
        return status

    def _enter(self, function: Function, arguments: tuple[Any, ...], cancellable: bool, allow: Any) -> Any:
        # A callback may close what the call works on: it lives as long as the call.
        pinned = [argument.owner for argument in arguments if isinstance(argument, Handle)]
        for owner in pinned:
            self.check(owner)
        arguments = tuple(argument.owner.cell if isinstance(argument, Handle) else argument for argument in arguments)
        frame = _Frame()
        with self.lock:
            _frames.stack.append(frame)
            try:
                if cancellable:
                    result, interrupted = _interrupt.run(self.cancel, function, arguments)
                    if interrupted:
                        self._forget_cancel()
                        raise KeyboardInterrupt from frame.exception
                else:
                    result = function(*arguments)
            finally:
                _frames.stack.pop()
            if frame.exception is not None:
                try:
                    raise frame.exception
                finally:
                    frame.exception = None  # its traceback holds this frame
            if allow is not None and result != _ffi.RLHF_OK and result not in allow:
                raise errors.from_status(result, self.error_text())
        del pinned
        self.bury()
        return result

    def check(self, owner: Owner) -> None:
        """A lock guards one context: what was made from another may be in use by another thread."""
        if owner.core is not self:
            raise errors.InvalidError("a handle of one context was given to a handle of another")

    def error_text(self) -> str:
        if self.pointer is None:
            return ""
        return text(_ffi.lib.rlhf_context_error, self.pointer)

    def cancel(self) -> None:
        if self.pointer is not None:
            _ffi.lib.rlhf_context_cancel(self.pointer)

    def _forget_cancel(self) -> None:
        """A request that came when the call was over would stop the next one: a call that it stops takes it away."""
        out = ctypes.c_void_p()
        with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
            file.write(b'{"text": "x"}\n')
            file.flush()
            _ffi.lib.rlhf_dataset_load(ctypes.byref(out), self.pointer, os.fsencode(file.name), None)
        _ffi.lib.rlhf_dataset_release(ctypes.byref(out))

    # ---- the dead ----

    def release(self, cell: ctypes.c_void_p, function: Function) -> None:
        """Releases a share now, or when the thread that uses the context leaves it: this may be any thread."""
        self._waiting.append((cell, function))
        self.bury()

    def bury(self) -> None:
        while self._waiting and self.lock.acquire(blocking=False):
            try:
                while self._waiting:
                    share = self._waiting.popleft()
                    try:
                        share[1](ctypes.byref(share[0]))
                    except BaseException:  # Ctrl-C: what was released is NULL, and NULL can be released again
                        self._waiting.appendleft(share)
                        raise
            finally:
                self.lock.release()


class Owner:
    """One share of a C object. The call that makes the object writes into `cell`."""

    __slots__ = ("__weakref__", "cell", "core", "function")

    def __init__(self, core: Core, function: Function) -> None:
        self.core = core
        self.function = function
        self.cell = ctypes.c_void_p()

    def __del__(self, finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # At the interpreter's end the process gives everything back, and nothing may run in Python any more.
        try:
            if not finalizing():
                if self.cell:
                    self.core.release(self.cell, self.function)
                self.gone()
        except KeyboardInterrupt:  # Python would print and forget it here
            _interrupt.again()

    def gone(self) -> None:
        """What else goes with the object."""


class Handle:
    """A C object. Use it in a `with` block or close() it; else it goes with its last reference."""

    _release_name = ""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._owner: Owner | None = None

    def _make(self, function: Function, *arguments: Any, cancellable: bool = False) -> None:
        """Creates the C object: function(out, *arguments)."""
        owner = Owner(self._core, getattr(_ffi.lib, self._release_name))
        self._core.call(function, ctypes.byref(owner.cell), *arguments, cancellable=cancellable)
        self._owner = owner

    @property
    def owner(self) -> Owner:
        if self._owner is None:
            raise errors.InvalidError(f"{type(self).__name__}: is closed")
        return self._owner

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._owner is None

    def close(self) -> None:
        """Gives up the object; what was made from it lives on. Doing it twice is fine."""
        self._owner = None

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _call(self, function: Function, *arguments: Any, cancellable: bool = False, allow: tuple[int, ...] = ()) -> int:
        return self._core.call(function, self, *arguments, cancellable=cancellable, allow=allow)

    def _read(self, function: Function, *arguments: Any) -> Any:
        """Calls a function that is safe from any thread and cannot fail."""
        return function(self.owner.cell, *arguments)

    def _text(self, function: Function) -> str:
        """Reads a text that describes the object."""
        with self._core.lock:
            return text(function, self.owner.cell)

    def _hash(self, function: Function) -> str:
        digits = ctypes.create_string_buffer(65)
        self._call(function, digits)
        return digits.value.decode()

    def __reduce__(self) -> Any:
        raise TypeError(f"{type(self).__name__} cannot be pickled or copied")


def text(function: Function, *arguments: Any) -> str:
    """Reads a text from a function that copies it out and returns the bytes it needs."""
    needed = function(*arguments, None, 0)
    buffer = ctypes.create_string_buffer(max(int(needed), 1))
    function(*arguments, buffer, len(buffer))
    return buffer.value.decode(errors="replace")


def path_bytes(path: str | os.PathLike[str]) -> bytes:
    """A path as C wants it."""
    encoded = os.fsencode(path)
    if b"\0" in encoded:
        raise errors.InvalidError("path: holds NUL")
    return encoded


def utf8(value: str, what: str) -> bytes:
    """A text as C wants it. NUL is refused; the library says what it thinks of surrogates."""
    if not isinstance(value, str):
        raise TypeError(f"{what}: a str is needed, not {type(value).__name__}")
    encoded = value.encode("utf-8", errors="surrogatepass")
    if b"\0" in encoded:
        raise errors.InvalidError(f"{what}: holds NUL")
    return encoded


def fill_options(struct: Any, init: Function, given: dict[str, Any], choices: dict[str, dict[str, int]]) -> Any:
    """Makes an options struct: the library's defaults, then what was given (None = default)."""
    options = struct()
    init(ctypes.byref(options), ctypes.sizeof(options))
    names = [name for name, *_ in struct._fields_ if name not in ("struct_size", "reserved")]
    for name, value in given.items():
        if name not in names:
            raise TypeError(f"unexpected keyword {name!r}; known are {', '.join(names)}")
        if value is None:
            continue
        if isinstance(value, str):
            if value not in choices.get(name, {}):
                known = ", ".join(choices.get(name, {})) or "numbers"
                raise errors.InvalidError(f"{name}: is {value!r}, known are {known}")
            number = choices[name][value]
        else:
            number = value
        try:
            setattr(options, name, number)
        except TypeError as error:
            raise TypeError(f"{name}: {error}") from None
        stored = getattr(options, name)
        if isinstance(number, int) and isinstance(stored, int) and stored != number:
            raise errors.RangeError(f"{name}: {value} does not fit")
    return options


def inside_call() -> bool:
    """Whether this thread is in a callback."""
    return bool(_frames.stack)
