"""Rollouts: completions sampled from a policy, with the log-probabilities that training will compute again."""

from __future__ import annotations

import ctypes
import queue
import sys
import threading
from typing import TYPE_CHECKING, Any, Callable, Iterable, Iterator, Sequence, TypedDict

from . import _arrays, _callbacks, _ffi, _handle, errors
from ._arrays import Array, Numbers
from .batch import Batch
from .context import Context, ContextHandle, resolve
from .tokenizer import Tokenizer

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .policy import Policy


class RolloutOptions(TypedDict, total=False):
    """Keywords of everything that samples; what is left out has the library's default.

    temperature: 0 = greedy. top_k: 0 = off. top_p: 1 = off. min_p: 0 = off. stop_tokens: up to 8 ids, none = the
    model's EOS. seed and first_prompt (the number of the first prompt in the stream of all) are the only source of
    randomness; batch_size never changes a result.
    """

    max_new_tokens: int
    min_new_tokens: int
    samples_per_prompt: int
    batch_size: int
    top_k: int
    temperature: float
    top_p: float
    min_p: float
    seed: int
    first_prompt: int
    stop_tokens: Sequence[int]
    ignore_stop: bool


def rollout_options(given: Any) -> Any:
    """The struct for C."""
    keywords = dict(given)
    stop = list(keywords.pop("stop_tokens", None) or ())
    if len(stop) > _ffi.RLHF_MAX_STOP_TOKENS:
        raise errors.RangeError(f"stop_tokens: {len(stop)} were given, at most {_ffi.RLHF_MAX_STOP_TOKENS}")
    options = _handle.fill_options(_ffi.RolloutOptions, _ffi.lib.rlhf_rollout_options_init, keywords, {})
    if stop:
        options.stop_token_count = len(stop)
        options.stop_tokens[: len(stop)] = stop
    return options


def as_prompts(prompts: Any, tokenizer: Tokenizer | None, context: Context) -> Batch:
    """A batch as it is, or one made of texts or lists of ids."""
    if isinstance(prompts, Batch):
        return prompts
    if isinstance(prompts, str):
        raise TypeError("prompts: a list of texts is needed, not one text")
    rows = list(prompts)
    if any(isinstance(row, str) for row in rows):
        if tokenizer is None:
            raise errors.InvalidError("prompts: texts need a tokenizer")
        rows = [tokenizer.encode(row, special=True) for row in rows]
    return Batch(rows, context=context)


class _OnToken:
    def __init__(self, function: Callable[[int, int, float], Any]) -> None:
        self._function = function

    def token(self, row: int, token: int, log_prob: float) -> None:
        self._function(row, token, log_prob)


class Rollout(ContextHandle):
    """Completions of prompts: rows as in a Batch, the samples of a prompt side by side.

    >>> rollout = policy.rollout([[3, 1, 5]], samples_per_prompt=2, max_new_tokens=4, seed=1)
    >>> len(rollout), len(rollout.log_prob) == len(policy.log_probs(rollout.batch()))
    (2, True)
    """

    _release_name = "rlhf_rollout_release"

    def __init__(
        self,
        policy: Policy,
        prompts: Batch | Iterable[Sequence[int]] | Sequence[str],
        *,
        tokenizer: Tokenizer | None = None,
        on_token: Callable[[int, int, float], Any] | None = None,
        **options: Unpack[RolloutOptions],
    ) -> None:
        """on_token(row, token, log_prob) hears of each token; an exception in it stops the sampling."""
        super().__init__(policy.context)
        self._tokenizer = tokenizer or policy.tokenizer
        batch = as_prompts(prompts, self._tokenizer, policy.context)
        struct = rollout_options(options)
        number = None if on_token is None else _callbacks.keep(_OnToken(on_token))
        try:
            self._make(
                _ffi.lib.rlhf_rollout_run, policy, batch, ctypes.byref(struct),
                _callbacks.no_token if number is None else _callbacks.token, number, cancellable=True,
            )  # fmt: skip
        finally:
            _callbacks.forget(number)

    def _view(self) -> Any:
        view = _ffi.RolloutView(struct_size=ctypes.sizeof(_ffi.RolloutView))
        self._call(_ffi.lib.rlhf_rollout_get, ctypes.byref(view))
        return view

    def _array(self, code: str, name: str, behind: str | None = None, extra: int = 0) -> Array:
        view = self._view()
        count = view.rows + extra
        if behind is not None:  # as many as the last entry of that array says
            count = ctypes.c_int64.from_address(getattr(view, behind) + 8 * view.rows).value
        return _arrays.view(code, _arrays.buffer(code, getattr(view, name), count, self.owner))

    @property
    def rows(self) -> int:
        """How many completions there are."""
        return int(self._view().rows)

    def __len__(self) -> int:
        return self.rows

    @property
    def samples_per_prompt(self) -> int:
        """How many completions each prompt has."""
        return int(self._view().samples_per_prompt)

    @property
    def offset(self) -> Array:
        """Where each row begins among tokens [rows + 1]. A view, as all that follow."""
        return self._array("q", "offset", extra=1)

    @property
    def tokens(self) -> Array:
        """Prompt and response of every row, the stop token included."""
        return self._array("i", "tokens", behind="offset")

    @property
    def prompt_length(self) -> Array:
        """How many tokens of each row are the prompt [rows]."""
        return self._array("i", "prompt_length")

    @property
    def response_offset(self) -> Array:
        """Where each row begins in log_prob [rows + 1]."""
        return self._array("q", "response_offset", extra=1)

    @property
    def log_prob(self) -> Array:
        """Log-probability of every response token under softmax(logits / temperature)."""
        return self._array("f", "log_prob", behind="response_offset")

    @property
    def terminated(self) -> Array:
        """1 for rows that ended with a stop token, 0 for rows that were cut [rows]."""
        return self._array("i", "terminated")

    def batch(self) -> Batch:
        """A batch of the sequences."""
        batch = Batch._empty(self.context)
        batch._make(lambda out, handle: _ffi.lib.rlhf_rollout_batch(handle, out), self)
        return batch

    def completions(self, tokenizer: Tokenizer | None = None) -> list[str]:
        """The texts of the responses, without special tokens."""
        tokenizer = tokenizer or self._tokenizer
        if tokenizer is None:
            raise errors.InvalidError("completions: a tokenizer is needed")
        offset, length, tokens = self.offset.tolist(), self.prompt_length.tolist(), self.tokens.tolist()
        return [
            tokenizer.decode(tokens[offset[row] + length[row] : offset[row + 1]], skip_special=True)
            for row in range(len(length))
        ]

    def best_of_n(self, score: Numbers) -> list[int]:
        """The row of the best sample of every prompt; -1 where all scores are NaN."""
        given = _arrays.given("d", score)
        if len(given) != self.rows:
            raise errors.InvalidError(f"best_of_n: {len(given)} scores, the rollout has {self.rows} rows")
        best = (ctypes.c_int64 * max(self.rows // self.samples_per_prompt, 1))()
        self._call(_ffi.lib.rlhf_rollout_best_of_n, _arrays.address(given), ctypes.addressof(best))
        return list(best)[: self.rows // self.samples_per_prompt]


def distribution(logits: Numbers, *, context: Context | None = None, **options: Unpack[RolloutOptions]) -> Array:
    """The probabilities that are sampled from: temperature, top-k, top-p, min-p in this order, as transformers.

    >>> import rlhf
    >>> [float(p) for p in rlhf.distribution([1.0, 1.0, -50.0], top_k=2)]
    [0.5, 0.5, 0.0]
    """
    given = _arrays.given("f", logits)
    probability = _arrays.new("d", len(given))
    place = resolve(context)
    place._call(
        _ffi.lib.rlhf_rollout_distribution, _arrays.address(given), len(given), ctypes.byref(rollout_options(options)),
        _arrays.address(probability),
    )  # fmt: skip
    return probability


# ---- streaming -------------------------------------------------------------------------------------------------------


class _Text:
    """Tokens to pieces of text: a piece goes out when its bytes are whole characters."""

    LONGEST = 8  # tokens that may hold one character's bytes; what is longer is broken anyway

    def __init__(self, tokenizer: Tokenizer, before: list[int]) -> None:
        self._tokenizer = tokenizer
        self._said = before[-1:]  # spaces at a text's begin depend on what stands before
        self._held: list[int] = []

    def add(self, token: int) -> str:
        self._held.append(token)
        return self._go(len(self._held) >= self.LONGEST)

    def rest(self) -> str:
        return self._go(True) if self._held else ""

    def _go(self, whatever: bool) -> str:
        old = self._tokenizer.decode(self._said, skip_special=True)
        new = self._tokenizer.decode(self._said + self._held, skip_special=True)
        if new.endswith("\ufffd") and not whatever:
            return ""
        self._said, self._held = self._held, []
        return new[len(old) :]


class _Stopped(Exception):
    pass


def _pieces(policy: Policy, tokenizer: Tokenizer, ids: list[int], options: Any) -> Iterator[str]:
    """Yields pieces of text while a thread of its own samples them. That thread has the context meanwhile, so it also
    makes the text."""
    prompts, text = Batch([ids], context=policy.context), _Text(tokenizer, ids)
    ready: queue.SimpleQueue[Any] = queue.SimpleQueue()
    stop = threading.Event()

    def hear(row: int, token: int, log_prob: float) -> None:
        if stop.is_set():
            raise _Stopped
        ready.put(text.add(token))

    def sample() -> None:
        try:
            Rollout(policy, prompts, on_token=hear, **options)
            ready.put(text.rest())
        except _Stopped:
            pass
        except BaseException as exception:
            ready.put(exception)
        ready.put(None)

    if _handle.inside_call():  # the context is ours until the callback returns: no other thread gets in
        sample()
        thread = None
    else:
        thread = threading.Thread(target=sample, name="rlhf-stream", daemon=True)
        thread.start()
    try:
        while True:
            piece = ready.get()
            if piece is None:
                return
            if isinstance(piece, BaseException):
                raise piece
            if piece:
                yield piece
    finally:
        stop.set()
        if thread is not None and not sys.is_finalizing():  # then it has been stopped, and never ends
            thread.join()


def stream(
    policy: Policy,
    prompt: str | Sequence[int],
    *,
    tokenizer: Tokenizer | None = None,
    **options: Unpack[RolloutOptions],
) -> Iterator[str]:
    """See Policy.stream."""
    tokenizer = tokenizer or policy.tokenizer
    if tokenizer is None:
        raise errors.InvalidError("stream: a tokenizer is needed")
    if options.get("samples_per_prompt", 1) != 1:
        raise errors.InvalidError("stream: gives one completion, samples_per_prompt must be 1")
    ids = tokenizer.encode(prompt, special=True) if isinstance(prompt, str) else list(prompt)
    rollout_options(options)  # complains now, not at the first piece
    return _pieces(policy, tokenizer, ids, options)
