"""Recipe: a training method and all its settings by key."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from typing import Any, Iterator, Mapping

from . import _ffi, _handle, errors
from .context import Context, ContextHandle, resolve

_TYPES = {
    _ffi.RLHF_KEY_TEXT: "text",
    _ffi.RLHF_KEY_NUMBER: "number",
    _ffi.RLHF_KEY_INTEGER: "integer",
    _ffi.RLHF_KEY_BOOLEAN: "boolean",
    _ffi.RLHF_KEY_CHOICE: "choice",
}


@dataclass(frozen=True)
class Key:
    """A setting of a method, from the library's one table. default is text, "" = none."""

    name: str
    type: str
    default: str
    choices: tuple[str, ...]
    help: str
    minimum: float
    maximum: float


def keys(method: str) -> list[Key]:
    """All settings of a method.

    >>> import rlhf
    >>> [key.name for key in rlhf.recipe.keys("ppo") if key.type == "choice"][:2]
    ['dataset_bad_rows', 'chat_template']
    """
    name = _handle.utf8(method, "method")
    found = []
    for index in range(int(_ffi.lib.rlhf_recipe_key_count(name))):
        view = _ffi.KeyView(struct_size=ctypes.sizeof(_ffi.KeyView))
        status = _ffi.lib.rlhf_recipe_key(name, index, ctypes.byref(view))
        if status != _ffi.RLHF_OK:
            raise errors.from_status(status)
        found.append(
            Key(
                view.name.decode(),
                _TYPES[view.type],
                (view.default_value or b"").decode(),
                tuple((view.choices or b"").decode().split()),
                (view.help or b"").decode(),
                view.minimum,
                view.maximum,
            )
        )
    if not found:
        raise errors.InvalidError(f"method: {method!r} is unknown")
    return found


def as_text(value: Any) -> str:
    """A value as a recipe reads it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, os.PathLike)):
        return os.fspath(value)
    if hasattr(value, "item"):
        value = value.item()
    return repr(value)


def read_out(core: _handle.Core, function: Any, *arguments: Any) -> str:
    """Reads a text from a function with (buffer, capacity, *needed)."""
    needed = ctypes.c_size_t(256)
    while True:
        buffer = ctypes.create_string_buffer(needed.value)
        status = core.call(function, *arguments, buffer, len(buffer), ctypes.byref(needed), allow=(_ffi.RLHF_E_RANGE,))
        if status == _ffi.RLHF_OK:
            return buffer.value.decode(errors="replace")


class Recipe(ContextHandle):
    """A method ("pretrain", "sft", "reward", "raft", "reinforce", "pairwise", "ppo") and its settings, by TRL's keys.

    >>> import rlhf
    >>> recipe = rlhf.Recipe("ppo", learning_rate=1e-5)
    >>> recipe["kl_coef"] = 0.1
    >>> recipe["kl_coef"], recipe["num_ppo_epochs"], recipe["adaptive_kl"]
    (0.1, 4, False)
    """

    _release_name = "rlhf_recipe_release"

    def __init__(self, method: str, *, context: Context | None = None, **settings: Any) -> None:
        super().__init__(resolve(context))
        self._make(_ffi.lib.rlhf_recipe_create, self.context, _handle.utf8(method, "method"))
        self._types = {key.name: key.type for key in keys(method)}
        self.update(settings)

    def __setitem__(self, key: str, value: Any) -> None:
        self._call(_ffi.lib.rlhf_recipe_set, _handle.utf8(key, "key"), _handle.utf8(as_text(value), key))

    def get_text(self, key: str) -> str:
        """The value of a key as text."""
        return read_out(self._core, _ffi.lib.rlhf_recipe_get, self, _handle.utf8(key, "key"))

    def __getitem__(self, key: str) -> Any:
        text = self.get_text(key)
        kind = self._types[key]
        if kind in ("number", "integer"):
            return None if text == "" else float(text) if kind == "number" else int(text)
        return text == "true" if kind == "boolean" else text

    def __iter__(self) -> Iterator[str]:
        return iter(self._types)

    def __contains__(self, key: object) -> bool:
        return key in self._types

    def update(self, settings: Mapping[str, Any]) -> None:
        """Sets several keys."""
        for key, value in settings.items():
            self[key] = value

    def load(self, path: str | os.PathLike[str]) -> None:
        """Sets keys from a YAML file."""
        self._call(_ffi.lib.rlhf_recipe_load, _handle.path_bytes(path))

    def to_dict(self) -> dict[str, Any]:
        """All keys and values."""
        return {key: self[key] for key in self}

    def to_yaml(self) -> str:
        """The whole recipe as YAML, every key written out."""
        return read_out(self._core, _ffi.lib.rlhf_recipe_yaml, self)

    @property
    def method(self) -> str:
        """The recipe's method."""
        name: bytes = self._read(_ffi.lib.rlhf_recipe_method)
        return name.decode()

    def __repr__(self) -> str:
        return "<rlhf.Recipe closed>" if self.closed else f"<rlhf.Recipe {self.method}>"


def copy_of(pointer: ctypes.c_void_p | Recipe, context: Context) -> Recipe:
    """A recipe of our own with the values of another, which may be a borrowed pointer."""
    method: bytes = context._core.invoke(_ffi.lib.rlhf_recipe_method, pointer)
    copy = Recipe(method.decode(), context=context)
    for key in copy:
        value = read_out(context._core, _ffi.lib.rlhf_recipe_get, pointer, key.encode())
        if value != copy.get_text(key):
            copy[key] = value
    return copy
