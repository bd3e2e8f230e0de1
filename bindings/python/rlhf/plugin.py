"""Plugins: objectives and scorers by name, made by functions of this program. Contexts have the way in."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Callable

from . import _callbacks, _ffi, _handle, errors

if TYPE_CHECKING:
    from .context import Context, ContextHandle

Maker = Callable[["Context", str], Any]


class _Maker:
    """What C calls. It lives as long as its context, so it must not keep the context alive. Nor should the user's
    function, which is therefore given the context."""

    def __init__(self, context: Context, make: Maker, handle: Callable[[Any, Context], ContextHandle]) -> None:
        self._context = weakref.ref(context)
        self._make = make
        self._handle = handle

    def make(self, pointer: int, argument: bytes, out: Any) -> None:
        context = self._context()
        if context is None:
            raise errors.InvalidError("plugin: its context is gone")
        made = self._handle(self._make(context, argument.decode(errors="replace")), context)
        owner = made.owner
        context._core.check(owner)
        out[0], owner.cell.value = owner.cell.value, None  # the share goes to C
        made.close()


_make = _callbacks.thunk(_ffi.MakeFn, "make")


def _add(context: Context, function: Any, name: str, make: Maker, handle: Any) -> None:
    if not callable(make):
        raise TypeError(f"make: a function of context and argument is needed, not {type(make).__name__}")
    label = _handle.utf8(name, "name")
    context._core.check(context.owner)
    context._call(function, label, _make, _callbacks.keep(_Maker(context, make, handle)), _callbacks.destroy)


def _scorer(made: Any, context: Context) -> ContextHandle:
    from .scorer import Scorer

    return Scorer(made, context=context)


def _objective(made: Any, context: Context) -> ContextHandle:
    from .objective import as_objective

    return as_objective(made, context)


def add_scorer(context: Context, name: str, make: Maker) -> None:
    """See `Context.add_scorer`."""
    _add(context, _ffi.lib.rlhf_plugin_add_scorer, name, make, _scorer)


def add_objective(context: Context, name: str, make: Maker) -> None:
    """See `Context.add_objective`."""
    _add(context, _ffi.lib.rlhf_plugin_add_objective, name, make, _objective)
