"""The policy: the language model that is trained and sampled."""

from __future__ import annotations

import ctypes
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Iterable, Iterator, Mapping, Sequence

from . import _arrays, _ffi, _handle, errors
from ._arrays import Array, Numbers
from .batch import Batch
from .context import Context, ContextHandle, resolve, unsigned
from .memory_plan import MemoryPlan, memory_plan
from .model_options import ModelOptions, model_options
from .rollout import Rollout, RolloutOptions, stream
from .tokenizer import Tokenizer

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .reference import Reference


@dataclass
class Parameter:
    """A tensor of a model: row-major data, and the gathered gradient or None."""

    name: str
    shape: tuple[int, ...]
    data: Array
    gradient: Array


def per_response_token(batch: Batch, values: Numbers, what: str) -> Array:
    """Floats for C, one per response token."""
    given = _arrays.given("f", values)
    if len(given) != batch.response_tokens:
        needed = batch.response_tokens
        raise errors.InvalidError(f"{what}: {len(given)} numbers, the batch has {needed} response tokens")
    return given


class Policy(ContextHandle):
    """A language model that is trained and sampled.

    >>> policy.vocabulary, policy.positions
    (44, 64)
    >>> batch = rlhf.Batch([[3, 1, 5]], [[3, 22]])
    >>> log_prob = policy.log_probs(batch)
    >>> len(log_prob), bool(log_prob[0] < 0)
    (2, True)
    """

    _release_name = "rlhf_policy_release"

    def __init__(
        self, directory: str | os.PathLike[str], *, context: Context | None = None, **options: Unpack[ModelOptions]
    ) -> None:
        """Loads from a Hugging Face directory (config.json, model.safetensors)."""
        super().__init__(resolve(context))
        self._directory: str | None = os.fspath(directory)
        self._tokenizer: Tokenizer | None = None
        self._make(
            _ffi.lib.rlhf_policy_load, self.context, _handle.path_bytes(directory), ctypes.byref(model_options(options))
        )

    @classmethod
    def _new(cls, context: Context, tokenizer: Tokenizer | None = None) -> Policy:
        self = cls.__new__(cls)
        ContextHandle.__init__(self, context)
        self._directory, self._tokenizer = None, tokenizer
        return self

    @classmethod
    def create(
        cls,
        config: Mapping[str, Any] | str,
        *,
        seed: int = 0,
        tokenizer: Tokenizer | None = None,
        context: Context | None = None,
        **options: Unpack[ModelOptions],
    ) -> Policy:
        """Makes a model with random weights from a config.json: its text, or a dict."""
        if context is None and tokenizer is not None:
            context = tokenizer.context
        self = cls._new(resolve(context), tokenizer)
        text = (config if isinstance(config, str) else json.dumps(dict(config))).encode()
        self._make(
            _ffi.lib.rlhf_policy_create, self.context, text, len(text), unsigned(seed, "seed"),
            ctypes.byref(model_options(options)),
        )  # fmt: skip
        return self

    @property
    def tokenizer(self) -> Tokenizer | None:
        """The tokenizer beside the model, None if there is none. It can be set."""
        if self._tokenizer is None and self._directory is not None:
            if os.path.exists(os.path.join(self._directory, "tokenizer.json")):
                self._tokenizer = Tokenizer(self._directory, context=self.context)
            self._directory = None
        return self._tokenizer

    @tokenizer.setter
    def tokenizer(self, tokenizer: Tokenizer | None) -> None:
        self._tokenizer = tokenizer
        self._directory = None

    def clone(self) -> Policy:
        """Makes a policy with the same weights (shared until one side changes)."""
        other = Policy._new(self.context, self.tokenizer)
        other._make(_ffi.lib.rlhf_policy_clone, self)
        return other

    def freeze(self) -> Reference:
        """Makes a reference of the policy as it is now."""
        from .reference import Reference

        return Reference.freeze(self)

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Writes a Hugging Face directory, with the tokenizer if there is one."""
        tokenizer = self.tokenizer
        self._call(_ffi.lib.rlhf_policy_save, _handle.path_bytes(directory))
        if tokenizer is not None:
            tokenizer.save(directory)

    def log_probs(self, batch: Batch, *, temperature: float = 1.0) -> Array:
        """Log-probabilities of every response token, in nats."""
        return self._log_probs(batch, temperature, False)[0]

    def log_probs_and_entropy(self, batch: Batch, *, temperature: float = 1.0) -> tuple[Array, Array]:
        """Log-probabilities of every response token, and the entropies of what they were drawn from."""
        return self._log_probs(batch, temperature, True)

    def _log_probs(self, batch: Batch, temperature: float, with_entropy: bool) -> tuple[Array, Array]:
        count = batch.response_tokens
        log_prob = _arrays.new("f", count)
        entropy = _arrays.new("f", count) if with_entropy else None
        self._call(
            _ffi.lib.rlhf_policy_log_probs, batch, temperature, _arrays.address(log_prob),
            None if entropy is None else _arrays.address(entropy),
        )  # fmt: skip
        return log_prob, entropy

    def backward(
        self, batch: Batch, d_log_prob: Numbers, d_entropy: Numbers | None = None, *, temperature: float = 1.0
    ) -> None:
        """Adds to the gathered gradients: d loss / d log-probability and d entropy of every response token."""
        slope = per_response_token(batch, d_log_prob, "d_log_prob")
        entropy = None if d_entropy is None else per_response_token(batch, d_entropy, "d_entropy")
        self._call(
            _ffi.lib.rlhf_policy_backward, batch, temperature, _arrays.address(slope),
            None if entropy is None else _arrays.address(entropy),
        )  # fmt: skip

    def rollout(
        self,
        prompts: Batch | Iterable[Sequence[int]] | Sequence[str],
        *,
        tokenizer: Tokenizer | None = None,
        on_token: Callable[[int, int, float], Any] | None = None,
        **options: Unpack[RolloutOptions],
    ) -> Rollout:
        """Samples completions of prompts (texts, lists of ids or a Batch), with their log-probabilities."""
        return Rollout(self, prompts, tokenizer=tokenizer, on_token=on_token, **options)

    def generate(
        self,
        prompts: Sequence[str],
        *,
        tokenizer: Tokenizer | None = None,
        **options: Unpack[RolloutOptions],
    ) -> list[str]:
        """Completes texts; the samples of a prompt stand side by side.

        >>> policy.generate(["a cat"], max_new_tokens=4, temperature=0) == policy.generate(["a cat"],
        ...     max_new_tokens=4, temperature=0)
        True
        """
        tokenizer = tokenizer or self.tokenizer
        if tokenizer is None:
            raise errors.InvalidError("generate: a tokenizer is needed")
        return Rollout(self, prompts, tokenizer=tokenizer, **options).completions(tokenizer)

    def stream(
        self,
        prompt: str | Sequence[int],
        *,
        tokenizer: Tokenizer | None = None,
        **options: Unpack[RolloutOptions],
    ) -> Iterator[str]:
        """Completes one text piece by piece; a piece is whole characters. Leaving the loop stops the sampling; other
        calls in the same context wait until it is done.

        >>> "".join(policy.stream("a cat", max_new_tokens=8, seed=3)) == policy.generate(["a cat"],
        ...     max_new_tokens=8, seed=3)[0]
        True
        """
        return stream(self, prompt, tokenizer=tokenizer, **options)

    @property
    def vocabulary(self) -> int:
        """How many token ids the model knows."""
        return int(self._read(_ffi.lib.rlhf_policy_vocabulary))

    @property
    def positions(self) -> int:
        """The longest sequence that the model can take, in tokens."""
        return int(self._read(_ffi.lib.rlhf_policy_positions))

    def parameters(self, *, copy: bool = True) -> Iterator[Parameter]:
        """Yields the tensors. copy=False: views, which the next call that changes the policy makes invalid."""
        for index in range(int(self._read(_ffi.lib.rlhf_policy_parameter_count))):
            yield self.parameter(index, copy=copy)

    def parameter(self, index: int, *, copy: bool = True) -> Parameter:
        """One tensor, as `parameters` yields it."""
        view = _ffi.ParameterView(struct_size=ctypes.sizeof(_ffi.ParameterView))
        with self._core.lock:
            self._call(_ffi.lib.rlhf_policy_parameter, index, ctypes.byref(view))
            shape = tuple((ctypes.c_int64 * view.rank).from_address(view.shape)) if view.rank > 0 else ()
            return Parameter(
                view.name.decode(), shape, self._tensor(view.data, view, shape, copy),
                self._tensor(view.gradient, view, shape, copy),
            )  # fmt: skip

    def _tensor(self, where: int | None, view: Any, shape: tuple[int, ...], copy: bool) -> Array:
        if where is None:
            return None
        seen = _arrays.view("f", _arrays.buffer("f", where, view.elements, self.owner))
        if copy:
            seen = _arrays.copied("f", seen)
        return _arrays.shaped(seen, shape)

    def memory_plan(
        self,
        *,
        rows: int | None = None,
        row_tokens: int | None = None,
        prompt_tokens: int | None = None,
        training: bool | None = None,
    ) -> MemoryPlan:
        """Plans the memory for a batch of rows that are all alike, of row_tokens each, the prompt's prompt_tokens
        included (default: one row, as long as the model takes). training: a step with AdamW (default), else scoring."""
        return memory_plan(
            _ffi.lib.rlhf_policy_memory_plan, self, rows=rows, row_tokens=row_tokens, prompt_tokens=prompt_tokens,
            training=training,
        )  # fmt: skip

    def hash(self) -> str:
        """SHA-256 of all weights."""
        return self._hash(_ffi.lib.rlhf_policy_hash)

    def describe(self) -> str:
        """Says in one line what the model is."""
        return self._text(_ffi.lib.rlhf_policy_describe)

    def __repr__(self) -> str:
        return "<rlhf.Policy closed>" if self.closed else f"<rlhf.Policy {self.describe()}>"
