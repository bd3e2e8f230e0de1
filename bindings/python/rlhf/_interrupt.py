"""Ctrl-C in a long call. Python runs its signal handlers between bytecodes only, so a call into C would have to end
first. While such a call runs on the main thread, the interpreter writes each signal into a pipe as it comes
(signal.set_wakeup_fd), a sleeping thread reads it and cancels the call, and the main thread raises KeyboardInterrupt
once the call has returned. Only Python's own SIGINT handler is replaced for the time of a call; a handler of the host's
is left alone and runs when a callback does."""

from __future__ import annotations

import _thread
import contextlib
import os
import select
import signal
import threading
from typing import Any, Callable


class _Watch:
    """The pipe and the thread that reads it. `mutex` guards the rest."""

    def __init__(self) -> None:
        self.mutex = threading.Lock()
        self.process = 0
        self.ends = (-1, -1)
        self.cancel: Callable[[], None] | None = None
        self.forward_to = -1
        self.seen = False

    def start(self) -> None:
        if self.process == os.getpid():
            return
        self.mutex = threading.Lock()
        self.ends = os.pipe()
        for end in self.ends:
            os.set_blocking(end, False)
        self.process = os.getpid()
        threading.Thread(target=self._run, args=(self.ends[0],), name="rlhf-interrupt", daemon=True).start()

    def read(self) -> None:
        try:
            signals = os.read(self.ends[0], 256)
        except BlockingIOError:
            return
        if self.forward_to >= 0 and signals:
            with contextlib.suppress(OSError):
                os.write(self.forward_to, signals)
        if signal.SIGINT in signals:
            self.seen = True
            if self.cancel is not None:
                self.cancel()

    def _run(self, end: int) -> None:
        while True:
            select.select([end], [], [])
            with self.mutex:
                self.read()

    def begin(self, cancel: Callable[[], None]) -> None:
        with self.mutex:
            self.seen = False
            self.cancel = cancel

    def end(self) -> bool:
        with self.mutex:
            self.read()
            self.cancel = None
            return self.seen


_watch = _Watch()
_depth = 0  # callbacks of the user's that run on the main thread right now


def _handler(signum: int, frame: Any) -> None:
    """Notes the signal; inside the user's own code it interrupts that, as Ctrl-C does anywhere."""
    _watch.seen = True
    if _watch.cancel is not None:
        _watch.cancel()
    if _depth > 0:
        raise KeyboardInterrupt


def again() -> None:
    """Ctrl-C came where Python forgets exceptions (a destructor): it comes again when that is over."""
    timer = threading.Timer(0.01, _thread.interrupt_main)
    timer.daemon = True
    timer.start()


def user_code(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a function of the user's from inside a callback."""
    global _depth
    if threading.current_thread() is not threading.main_thread():
        return function(*arguments)
    try:
        _depth += 1
        return function(*arguments)
    finally:
        _depth -= 1


def run(cancel: Callable[[], None], function: Callable[..., int], arguments: tuple[Any, ...]) -> tuple[int, bool]:
    """Calls function(*arguments); Ctrl-C meanwhile runs `cancel`. Returns the result and whether Ctrl-C came."""
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        return function(*arguments), False
    _watch.start()
    _watch.begin(cancel)
    previous = None
    try:
        signal.signal(signal.SIGINT, _handler)
        previous = signal.set_wakeup_fd(_watch.ends[1], warn_on_full_buffer=False)
        _watch.forward_to = previous
        result = function(*arguments)
    finally:
        if previous is not None:
            signal.set_wakeup_fd(previous)
        if signal.getsignal(signal.SIGINT) is _handler:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        seen = _watch.end()
        _watch.forward_to = -1
    return result, seen
