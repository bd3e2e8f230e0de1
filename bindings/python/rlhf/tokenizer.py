"""Tokenizers: text to token ids and back."""

from __future__ import annotations

import ctypes
import os
from typing import Sequence

from . import _arrays, _ffi, _handle, errors
from .context import Context, ContextHandle, resolve


class Tokenizer(ContextHandle):
    """Text to token ids and back, from a Hugging Face tokenizer.json.

    >>> ids = tokenizer.encode("a cat")
    >>> ids
    [3, 1, 5, 3, 22]
    >>> tokenizer.decode(ids)
    'a cat'
    >>> tokenizer.eos, tokenizer.token(0)
    (0, '<end>')
    """

    _release_name = "rlhf_tokenizer_release"

    def __init__(self, path: str | os.PathLike[str], *, context: Context | None = None) -> None:
        """Loads from a directory with tokenizer.json, or from the file."""
        super().__init__(resolve(context))
        self._make(_ffi.lib.rlhf_tokenizer_load, self.context, _handle.path_bytes(path))

    @classmethod
    def from_json(cls, json: str, config_json: str | None = None, *, context: Context | None = None) -> Tokenizer:
        """Makes one from the text of a tokenizer.json and, if there is one, of a tokenizer_config.json."""
        self = cls.__new__(cls)
        ContextHandle.__init__(self, resolve(context))
        text = json.encode()
        config = config_json.encode() if config_json is not None else None
        self._make(
            _ffi.lib.rlhf_tokenizer_create, self.context, text, len(text), config, 0 if config is None else len(config)
        )
        return self

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Writes its files into a directory, as they were read."""
        self._call(_ffi.lib.rlhf_tokenizer_save, _handle.path_bytes(directory))

    def encode(self, text: str, *, special: bool = False, ignore_special: bool = False) -> list[int]:
        """Encodes a text. special: with the tokens that the tokenizer sets around it (BOS). ignore_special: what looks
        like a special token stays text, for text from strangers."""
        if not isinstance(text, str):
            raise TypeError(f"text: a str is needed, not {type(text).__name__}")
        encoded = text.encode("utf-8", errors="surrogatepass")
        flags = _ffi.RLHF_ENCODE_SPECIAL if special else 0
        flags |= _ffi.RLHF_ENCODE_IGNORE_SPECIAL if ignore_special else 0
        needed = ctypes.c_size_t(len(encoded) + 8)
        while True:
            capacity = needed.value
            ids = (ctypes.c_int32 * max(capacity, 1))()
            status = self._call(
                _ffi.lib.rlhf_tokenizer_encode, encoded, len(encoded), flags, ids, capacity, ctypes.byref(needed),
                allow=(_ffi.RLHF_E_RANGE,),
            )  # fmt: skip
            if status == _ffi.RLHF_OK:
                return ids[: needed.value]

    def decode(self, ids: Sequence[int], *, skip_special: bool = False) -> str:
        """Decodes ids. skip_special: leaves special tokens out of the text."""
        numbers = _arrays.given("i", ids)
        flags = _ffi.RLHF_DECODE_SKIP_SPECIAL if skip_special else 0
        needed = ctypes.c_size_t(8 * len(numbers) + 64)
        while True:
            capacity = needed.value
            buffer = ctypes.create_string_buffer(capacity)
            status = self._call(
                _ffi.lib.rlhf_tokenizer_decode, _arrays.address(numbers), len(numbers), flags, buffer, capacity,
                ctypes.byref(needed), allow=(_ffi.RLHF_E_RANGE,),
            )  # fmt: skip
            if status == _ffi.RLHF_OK:
                return buffer.raw[: needed.value].decode(errors="replace")
            if needed.value <= capacity:
                raise errors.from_status(status, f"decode: an id is not in the vocabulary of {self.vocabulary}")

    @property
    def vocabulary(self) -> int:
        """One more than the largest token id."""
        return int(self._read(_ffi.lib.rlhf_tokenizer_vocabulary))

    def __len__(self) -> int:
        return self.vocabulary

    def _special(self, which: int) -> int | None:
        found: int = self._read(_ffi.lib.rlhf_tokenizer_special, which)
        return found if found >= 0 else None

    @property
    def bos(self) -> int | None:
        """The id that begins a text, None if there is none."""
        return self._special(_ffi.RLHF_TOKEN_BOS)

    @property
    def eos(self) -> int | None:
        """The id that ends a text, None if there is none."""
        return self._special(_ffi.RLHF_TOKEN_EOS)

    @property
    def pad(self) -> int | None:
        """The padding id, None if there is none. This library never pads."""
        return self._special(_ffi.RLHF_TOKEN_PAD)

    @property
    def unknown(self) -> int | None:
        """The id of what is not in the vocabulary, None if there is none."""
        return self._special(_ffi.RLHF_TOKEN_UNKNOWN)

    def find(self, token: str) -> int | None:
        """The id of a token by its spelling, None if there is none."""
        found: int = self._read(_ffi.lib.rlhf_tokenizer_find, _handle.utf8(token, "token"))
        return found if found >= 0 else None

    def token(self, id: int) -> str:
        """The spelling of an id in the vocabulary."""
        spelling = ctypes.c_char_p()
        with self._core.lock:
            self._call(_ffi.lib.rlhf_tokenizer_token, id, ctypes.byref(spelling))
            return (spelling.value or b"").decode(errors="replace")
