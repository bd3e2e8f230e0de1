"""Contexts: threads, seed, log, instruction sets."""

from __future__ import annotations

import ctypes
import logging
import os
import threading
from typing import Any, Callable, ClassVar, Optional, Union

from . import _callbacks, _ffi, _handle, errors, plugin

LogFunction = Callable[[int, str], Any]

_LEVELS = {
    "error": _ffi.RLHF_LOG_ERROR,
    "warning": _ffi.RLHF_LOG_WARNING,
    "info": _ffi.RLHF_LOG_INFO,
    "debug": _ffi.RLHF_LOG_DEBUG,
}
_LOGGING = {1: logging.ERROR, 2: logging.WARNING, 3: logging.INFO, 4: logging.DEBUG}


class _Log:
    def __init__(self, target: LogFunction | logging.Logger) -> None:
        self._target = target

    def log(self, level: int, line: bytes) -> None:
        text = line.decode(errors="replace")
        if isinstance(self._target, logging.Logger):
            self._target.log(_LOGGING.get(level, logging.DEBUG), "%s", text)
        else:
            self._target(level, text)


class Context(_handle.Handle):
    """What everything else is made from: threads, seed, log. One Python thread is inside it at a time, others wait.

    Without one, classes use `Context.default()`.

    >>> import rlhf
    >>> with rlhf.Context(threads=1, seed=7) as context:
    ...     context.threads
    1
    """

    _release_name = "rlhf_context_release"
    _default: ClassVar[Optional[Context]] = None
    _default_process: ClassVar[int] = 0
    _default_lock = threading.Lock()

    def __init__(
        self,
        *,
        threads: int | None = None,
        seed: int | None = None,
        log: LogFunction | logging.Logger | None = None,
        log_level: str | int | None = None,
        cpu_mask: int | None = None,
        use_blis: bool | None = None,
    ) -> None:
        """threads: 0 = as many as the machine has. log: a function of (level, line) or a logging.Logger; None =
        silent. log_level: "error", "warning", "info" or "debug". cpu_mask: instruction sets, for tests: every value
        gives the same bits."""
        super().__init__(_handle.Core())
        given: dict[str, Any] = {
            "threads": threads,
            "seed": seed,
            "log_level": log_level,
            "cpu_mask": cpu_mask,
            "use_blis": None if use_blis is None else int(use_blis),
        }
        options = _handle.fill_options(
            _ffi.ContextOptions, _ffi.lib.rlhf_context_options_init, given, {"log_level": _LEVELS}
        )
        self._log: int | None = None
        if log is not None:
            self._log = _callbacks.keep(_Log(log))
            options.log = _callbacks.log
            options.log_user_data = self._log
        self._make(_ffi.lib.rlhf_context_create, ctypes.byref(options))
        self._core.pointer = self.owner.cell.value

    @classmethod
    def default(cls) -> Context:
        """The context that is used where none is given: all threads, seed 0, silent. A forked child gets its own."""
        with Context._default_lock:
            if Context._default is None or Context._default.closed or Context._default_process != os.getpid():
                Context._default = Context()
                Context._default_process = os.getpid()
            return Context._default

    @property
    def threads(self) -> int:
        """How many threads work, the caller included."""
        return int(self._read(_ffi.lib.rlhf_context_threads))

    def describe(self) -> str:
        """Says in one line what the context runs on: threads, instruction sets, BLIS."""
        return self._text(_ffi.lib.rlhf_context_describe)

    def set_seed(self, seed: int) -> None:
        """Changes the seed of later draws."""
        self._call(_ffi.lib.rlhf_context_set_seed, unsigned(seed, "seed"))

    def load_plugin(self, path: str | os.PathLike[str]) -> None:
        """Loads a shared object that gives this context objectives and scorers by name (see plugin.h). A path without
        a slash is looked for as the system's loader does."""
        self._call(_ffi.lib.rlhf_plugin_load, _handle.path_bytes(path))

    def add_scorer(self, name: str, make: plugin.Maker) -> None:
        """Gives this context a scorer by name. make(context, argument) returns anything that `Scorer` takes; argument:
        what stands behind the colon of "name:argument", else "". A function that holds the context itself would keep
        both alive for ever.

        >>> context = rlhf.Context(threads=1)
        >>> def count(context, letter):
        ...     return lambda completions: [text.count(letter) for text in completions]
        >>> context.add_scorer("count", count)
        >>> float(rlhf.Scorer.named("count:a", context=context).score(prompts=[""], completions=["banana"])[0])
        3.0
        """
        plugin.add_scorer(self, name, make)

    def add_objective(self, name: str, make: plugin.Maker) -> None:
        """Gives this context an objective by name. make(context, argument) returns anything that `Objective` takes, a
        built-in one's name, or an Objective, which is closed: whoever asks for the name owns it then."""
        plugin.add_objective(self, name, make)

    def has_scorer(self, text: str) -> bool:
        """Whether "name" or "name:argument" names a scorer of this context."""
        with self._core.lock:
            return bool(self._read(_ffi.lib.rlhf_plugin_has_scorer, _handle.utf8(text, "scorer")))

    def cancel(self) -> None:
        """Stops the call that runs in this context, from any thread: it raises CanceledError."""
        if not self.closed:
            self._core.cancel()

    def __del__(self) -> None:
        _callbacks.forget(getattr(self, "_log", None))

    def __repr__(self) -> str:
        return "<rlhf.Context closed>" if self.closed else f"<rlhf.Context {self.describe()}>"


ContextLike = Union[Context, None]


def resolve(context: Context | None) -> Context:
    """The context that was given, else the default one."""
    if context is None:
        return Context.default()
    if not isinstance(context, Context):
        raise TypeError(f"context: a rlhf.Context is needed, not {type(context).__name__}")
    return context


def unsigned(value: int, what: str) -> int:
    """A number for uint64_t: ctypes would cut it silently."""
    number = int(value)
    if not 0 <= number < 2**64:
        raise errors.RangeError(f"{what}: {value}, must be at least 0 and below 2^64")
    return number


def signed(value: int, what: str) -> int:
    """A number for int64_t, likewise."""
    number = int(value)
    if not -(2**63) <= number < 2**63:
        raise errors.RangeError(f"{what}: {value}, must fit 64 bits")
    return number


class ContextHandle(_handle.Handle):
    """A handle that remembers the context it was made from."""

    def __init__(self, context: Context) -> None:
        super().__init__(context._core)
        self._context = context

    @property
    def context(self) -> Context:
        """The context this was made from."""
        return self._context

    def _make_with(self, target: object, function: Any, *arguments: Any, destroy: Any = None) -> None:
        """Creates a C object that calls a Python object: function(out, context, *arguments, user_data[, destroy]).
        C destroys user_data even if it fails, but it has to be called for that."""
        self._core.check(self.context.owner)
        last = () if destroy is None else (destroy,)
        self._make(function, self.context, *arguments, _callbacks.keep(target), *last)
