"""Batches: token sequences of different lengths, one behind the other, each a prompt and a response."""

from __future__ import annotations

import ctypes
from typing import Any, Iterable, Sequence

from . import _arrays, _ffi, errors
from ._arrays import Array, Numbers
from .context import Context, ContextHandle, resolve, unsigned
from .dataset import Dataset
from .tokenizer import Tokenizer


def flatten(sequences: Iterable[Sequence[int]]) -> tuple[list[int], list[int]]:
    """Sequences as one list of tokens and the places where they begin."""
    tokens: list[int] = []
    offset = [0]
    for sequence in sequences:
        tokens.extend(sequence)
        offset.append(len(tokens))
    return tokens, offset


class Batch(ContextHandle):
    """Ragged token sequences: row r is tokens[offset[r]:offset[r + 1]], its first prompt_length[r] tokens the prompt.
    Arrays "per response token" have row r at [response_offset[r]:response_offset[r + 1]].

    >>> import rlhf
    >>> batch = rlhf.Batch([[1, 2], [3]], [[4], [5, 6]])
    >>> list(map(int, batch.tokens)), list(map(int, batch.response_offset))
    ([1, 2, 4, 3, 5, 6], [0, 1, 3])
    """

    _release_name = "rlhf_batch_release"

    def __init__(
        self,
        prompts: Iterable[Sequence[int]],
        responses: Iterable[Sequence[int]] | None = None,
        *,
        context: Context | None = None,
    ) -> None:
        """Makes a batch of prompts and, if given, the response of each, as lists of ids."""
        rows = [list(prompt) for prompt in prompts]
        lengths = [len(row) for row in rows]
        if responses is not None:
            answers = [list(response) for response in responses]
            if len(answers) != len(rows):
                raise errors.InvalidError(f"batch: {len(rows)} prompts, {len(answers)} responses")
            rows = [prompt + response for prompt, response in zip(rows, answers)]
        tokens, offset = flatten(rows)
        self._create(offset, tokens, lengths, resolve(context))

    def _create(self, offset: Numbers, tokens: Numbers, prompt_length: Numbers, context: Context) -> None:
        ContextHandle.__init__(self, context)
        offsets, ids = _arrays.given("q", offset), _arrays.given("i", tokens)
        lengths = _arrays.given("i", prompt_length)
        if len(offsets) != len(lengths) + 1 or int(offsets[-1]) != len(ids):
            raise errors.InvalidError(
                f"batch: offset has {len(offsets)} entries and ends at {offsets[-1] if len(offsets) else 'nothing'}, "
                f"there are {len(lengths)} prompt lengths and {len(ids)} tokens"
            )
        self._make(
            _ffi.lib.rlhf_batch_create, context, len(lengths), _arrays.address(offsets), _arrays.address(ids),
            _arrays.address(lengths),
        )  # fmt: skip

    @classmethod
    def from_arrays(
        cls, offset: Numbers, tokens: Numbers, prompt_length: Numbers, *, context: Context | None = None
    ) -> Batch:
        """Makes a batch from copies of ragged arrays."""
        self = cls.__new__(cls)
        self._create(offset, tokens, prompt_length, resolve(context))
        return self

    @classmethod
    def tokenize(
        cls,
        tokenizer: Tokenizer,
        dataset: Dataset,
        first: int = 0,
        count: int | None = None,
        *,
        eos: bool = False,
        separate: bool = False,
    ) -> Batch:
        """Tokenises rows of a dataset; preference rows give all chosen, then all rejected. eos: ends each row in EOS.
        separate: prompt and completion are encoded one by one (no token across the border)."""
        self = cls.__new__(cls)
        ContextHandle.__init__(self, tokenizer.context)
        rows = len(dataset) - first if count is None else count
        flags = (_ffi.RLHF_TOKENIZE_EOS if eos else 0) | (_ffi.RLHF_TOKENIZE_SEPARATE if separate else 0)
        self._make(
            _ffi.lib.rlhf_batch_tokenize, tokenizer, dataset, unsigned(first, "first"), unsigned(rows, "count"), flags
        )
        return self

    @classmethod
    def _empty(cls, context: Context) -> Batch:
        self = cls.__new__(cls)
        ContextHandle.__init__(self, context)
        return self

    def _view(self) -> Any:
        view = _ffi.BatchView(struct_size=ctypes.sizeof(_ffi.BatchView))
        self._call(_ffi.lib.rlhf_batch_get, ctypes.byref(view))
        return view

    def _array(self, code: str, name: str, extra: int = 0) -> Array:
        view = self._view()
        count = view.rows + extra
        if name == "tokens":
            count = ctypes.c_int64.from_address(view.offset + 8 * view.rows).value
        return _arrays.view(code, _arrays.buffer(code, getattr(view, name), count, self.owner))

    @property
    def rows(self) -> int:
        """How many sequences there are."""
        return int(self._view().rows)

    def __len__(self) -> int:
        return self.rows

    @property
    def offset(self) -> Array:
        """Where each row begins among tokens [rows + 1]. A view, good for as long as you hold it."""
        return self._array("q", "offset", 1)

    @property
    def tokens(self) -> Array:
        """All tokens, row behind row. A view."""
        return self._array("i", "tokens")

    @property
    def prompt_length(self) -> Array:
        """How many tokens of each row are the prompt [rows]. A view."""
        return self._array("i", "prompt_length")

    @property
    def response_offset(self) -> Array:
        """Where each row begins in arrays per response token [rows + 1]. A view."""
        return self._array("q", "response_offset", 1)

    @property
    def response_tokens(self) -> int:
        """How many response tokens there are in all."""
        return int(self.response_offset[-1])

    def row(self, index: int) -> tuple[list[int], list[int]]:
        """Prompt and response of a row as lists of ids."""
        if not 0 <= index < self.rows:
            raise errors.RangeError(f"row {index}: the batch has {self.rows}")
        offset, split = self.offset, int(self.prompt_length[index])
        tokens = self.tokens[int(offset[index]) : int(offset[index + 1])].tolist()
        return tokens[:split], tokens[split:]

    def select(self, rows: Iterable[int]) -> Batch:
        """Makes a batch of some rows, in the order given; a row may come several times."""
        chosen = _arrays.given("q", list(rows))
        other = Batch._empty(self.context)
        other._make(_ffi.lib.rlhf_batch_select, self, _arrays.address(chosen), len(chosen))
        return other

    def take(self, values: Numbers, rows: Iterable[int]) -> Array:
        """The entries of an array per response token that belong to some rows: what select() is for the tokens."""
        given, offset = _arrays.given("d", values), self.response_offset.tolist()
        if len(given) != offset[-1]:
            raise errors.InvalidError(f"take: {len(given)} values, the batch has {offset[-1]} response tokens")
        taken = [value for row in rows for value in given[offset[int(row)] : offset[int(row) + 1]].tolist()]
        return _arrays.given("d", taken)
