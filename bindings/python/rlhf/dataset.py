"""Datasets: rows of text, from files or from anything that yields dicts."""

from __future__ import annotations

import ctypes
import json
import math
import os
import tempfile
from typing import Any, Iterable, Iterator, Mapping

from . import _ffi, _handle, errors
from .context import Context, ContextHandle, resolve, unsigned

_CHOICES = {
    "bad_row": {"stop": _ffi.RLHF_BAD_ROW_STOP, "skip": _ffi.RLHF_BAD_ROW_SKIP},
    "chat_template": {
        "none": _ffi.RLHF_TEMPLATE_NONE,
        "chatml": _ffi.RLHF_TEMPLATE_CHATML,
        "plain": _ffi.RLHF_TEMPLATE_PLAIN,
    },
}
_TEXTS = ("text", "prompt", "completion", "chosen", "rejected")
_KINDS = {
    "text": _ffi.RLHF_ROW_TEXT,
    "prompt": _ffi.RLHF_ROW_PROMPT,
    "prompt_completion": _ffi.RLHF_ROW_PROMPT_COMPLETION,
    "preference": _ffi.RLHF_ROW_PREFERENCE,
}
_KIND_NAMES = {number: name for name, number in _KINDS.items()}


def _plain(value: Any) -> Any:
    """What JSON does not know: NumPy's numbers and arrays."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a column holds a {type(value).__name__}, which JSON cannot say")


class Dataset(ContextHandle):
    """Rows of text. Columns are TRL's: text | prompt | prompt, completion | prompt, chosen, rejected | messages; others
    are kept and reach reward functions.

    >>> import rlhf
    >>> rows = rlhf.Dataset([{"prompt": "2 + 2 =", "answer": "4"}, {"prompt": "1 + 1 =", "answer": "2"}])
    >>> len(rows), rows[1]
    (2, {'prompt': '1 + 1 =', 'answer': '2'})
    """

    _release_name = "rlhf_dataset_release"

    def __init__(
        self,
        rows: Iterable[Mapping[str, Any]] = (),
        *,
        chat_template: str | None = None,
        bad_row: str | None = None,
        context: Context | None = None,
    ) -> None:
        """Makes a dataset of dicts: a list, a generator, a datasets.Dataset. They are read as lines of a JSONL file
        are: see `load` for chat_template and bad_row."""
        super().__init__(resolve(context))
        with tempfile.TemporaryDirectory(prefix="rlhf-") as directory:
            path = os.path.join(directory, "row.jsonl")
            written = 0
            with open(path, "w", encoding="utf-8", errors="surrogatepass") as file:
                for row in rows:
                    if not isinstance(row, Mapping):
                        raise TypeError(f"row {written}: a dict is needed, not {type(row).__name__}")
                    columns = {name: value for name, value in row.items() if value is not None}
                    json.dump(columns, file, ensure_ascii=False, allow_nan=False, default=_plain)
                    file.write("\n")
                    written += 1
            if written == 0:
                self._make(_ffi.lib.rlhf_dataset_create, self.context)
                return
            try:
                self._load(path, {"chat_template": chat_template, "bad_row": bad_row})
            except errors.Error as error:  # rows are no file: "row 3: ...", counted from 1 as lines are
                raise errors.from_status(error.status, str(error).replace(path + ":", "row ", 1)) from None

    def _load(self, path: str | os.PathLike[str], given: dict[str, Any]) -> None:
        options = _handle.fill_options(_ffi.DatasetOptions, _ffi.lib.rlhf_dataset_options_init, given, _CHOICES)
        self._make(
            _ffi.lib.rlhf_dataset_load, self.context, _handle.path_bytes(path), ctypes.byref(options), cancellable=True
        )

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        chat_template: str | None = None,
        bad_row: str | None = None,
        max_rows: int | None = None,
        context: Context | None = None,
    ) -> Dataset:
        """Reads .jsonl, .json or .txt, also gzipped. chat_template: how messages become text: "none" (refused),
        "chatml" or "plain". bad_row: "stop" or "skip". max_rows: 0 = all."""
        self = cls.__new__(cls)
        ContextHandle.__init__(self, resolve(context))
        self._load(path, {"chat_template": chat_template, "bad_row": bad_row, "max_rows": max_rows})
        return self

    def append(self, kind: str, *, margin: float | None = None, conversational: bool = False, **columns: Any) -> None:
        """Appends one row of kind "text", "prompt", "prompt_completion" or "preference"; columns beside its texts are
        kept as extra columns."""
        if kind not in _KINDS:
            raise errors.InvalidError(f"kind: is {kind!r}, known are {', '.join(_KINDS)}")
        row = _ffi.Row(struct_size=ctypes.sizeof(_ffi.Row), kind=_KINDS[kind])
        row.margin = math.nan if margin is None else margin
        row.conversational = int(conversational)
        for name in _TEXTS:
            if columns.get(name) is not None:
                setattr(row, name, _handle.utf8(columns.pop(name), name))
        if columns:
            row.extra = json.dumps(columns, ensure_ascii=False, allow_nan=False, default=_plain).encode()
        self._call(_ffi.lib.rlhf_dataset_append, ctypes.byref(row))

    def __len__(self) -> int:
        return int(self._read(_ffi.lib.rlhf_dataset_rows))

    @property
    def skipped(self) -> int:
        """How many bad rows were left out."""
        return int(self._read(_ffi.lib.rlhf_dataset_skipped))

    def _row(self, index: int) -> Any:
        row = _ffi.Row(struct_size=ctypes.sizeof(_ffi.Row))
        self._call(_ffi.lib.rlhf_dataset_row, unsigned(index, "row"), ctypes.byref(row))
        return row

    def __getitem__(self, index: int) -> dict[str, Any]:
        """A row as a dict, extra columns included."""
        with self._core.lock:
            row = self._row(index + len(self) if index < 0 else index)
            found: dict[str, Any] = {
                name: getattr(row, name).decode() for name in _TEXTS if getattr(row, name) is not None
            }
            if not math.isnan(row.margin):
                found["margin"] = row.margin
            if row.extra is not None:
                found.update(json.loads(row.extra))
            return found

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for index in range(len(self)):
            yield self[index]

    def kind(self, index: int = 0) -> str:
        """The kind of a row: "text", "prompt", "prompt_completion" or "preference"."""
        return _KIND_NAMES[self._row(index).kind]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes JSONL in TRL's columns, gzipped if the path ends in .gz."""
        self._call(_ffi.lib.rlhf_dataset_save, _handle.path_bytes(path))


def as_dataset(rows: Any, context: Context, chat_template: str | None = None) -> Dataset:
    """A dataset as it is, one loaded from a path, or one made of rows."""
    if isinstance(rows, Dataset):
        return rows
    if isinstance(rows, (str, os.PathLike)):
        return Dataset.load(rows, chat_template=chat_template, context=context)
    return Dataset(rows, chat_template=chat_template, context=context)
