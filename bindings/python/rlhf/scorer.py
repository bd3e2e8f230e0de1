"""Scorers: anything that gives a completion a number, a reward model or a function of yours."""

from __future__ import annotations

import ctypes
import inspect
import json
import math
from typing import Any, Callable, Iterable, Sequence, Union

from . import _arrays, _callbacks, _ffi, _handle, errors
from ._arrays import Array
from .batch import Batch
from .context import Context, ContextHandle, resolve
from .reward_model import RewardModel
from .rollout import Rollout
from .tokenizer import Tokenizer

RewardCallable = Callable[..., Sequence[Union[float, None]]]
_OURS = ("prompts", "completions", "prompt_ids", "completion_ids", "terminated")


class RewardFunction:
    """A function that scores completions; see `reward`. It can still be called."""

    def __init__(self, function: RewardCallable, name: str | None = None) -> None:
        self.function = function
        self.name = name or str(getattr(function, "__name__", type(function).__name__))
        self.wanted: set[str] | None = set()  # None: everything
        self.needed: set[str] = set()
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                self.wanted = None
            elif parameter.kind is parameter.POSITIONAL_ONLY:
                raise TypeError(f"{self.name}: a reward function is called with keywords, {parameter.name} has none")
            elif parameter.kind is not parameter.VAR_POSITIONAL:
                if self.wanted is not None:
                    self.wanted.add(parameter.name)
                if parameter.default is parameter.empty:
                    self.needed.add(parameter.name)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return self.function(*arguments, **keywords)

    def wants(self, name: str) -> bool:
        return self.wanted is None or name in self.wanted

    def run(self, keywords: dict[str, Any], rows: int) -> list[float]:
        """Calls the function with what it wants and looks at what it returns."""
        missing = sorted(name for name in self.needed if name not in keywords)
        if missing:
            raise errors.InvalidError(f"reward {self.name}: the rows have no column {', '.join(missing)}")
        scores = self.function(**{name: value for name, value in keywords.items() if self.wants(name)})
        try:
            found = [math.nan if score is None else float(score) for score in scores]
        except TypeError as error:
            raise errors.InvalidError(f"reward {self.name}: must return one number per completion: {error}") from None
        if len(found) != rows:
            raise errors.InvalidError(f"reward {self.name}: returned {len(found)} scores for {rows} completions")
        return found


def reward(function: RewardCallable) -> RewardFunction:
    """Makes a reward of a function of prompts and completions that returns one number for each, higher is better.

    It is called with keywords, and only with those it names (all, if it has **kwargs): prompts, completions (texts),
    prompt_ids, completion_ids (lists of ids), terminated (bools), and the dataset's other columns, each a list with
    one entry per completion. None or NaN = cannot be scored: that row takes no part in training.

    >>> @rlhf.reward
    ... def brevity(completions, **columns):
    ...     return [-len(text) for text in completions]
    >>> list(map(float, rlhf.Scorer(brevity).score(prompts=["q", "q"], completions=["yes", "no"])))
    [-3.0, -2.0]
    """
    return RewardFunction(function)


class _Score:
    """What C calls: the weighted sum of functions and scorers."""

    def __init__(self, parts: list[RewardFunction | Scorer], weights: list[float], core: _handle.Core) -> None:
        self._parts = parts
        self._weights = weights
        self._core = core

    def score(self, pointer: Any, out: Any) -> None:
        view = pointer.contents
        rows = int(view.rows)
        keywords = self._keywords(view, rows)
        sums, some = [0.0] * rows, [False] * rows
        for part, weight in zip(self._parts, self._weights):
            if isinstance(part, RewardFunction):
                scores = part.run(keywords, rows)
            else:
                found = (ctypes.c_double * max(rows, 1))()
                self._core.call(_ffi.lib.rlhf_scorer_run, part, None, pointer, ctypes.addressof(found))
                scores = found[:rows]
            for row, score in enumerate(scores):
                if not math.isnan(score):
                    sums[row] += weight * score
                    some[row] = True
        for row in range(rows):
            out[row] = sums[row] if some[row] else math.nan

    def _wants(self, name: str) -> bool:
        return any(isinstance(part, RewardFunction) and part.wants(name) for part in self._parts)

    def _keywords(self, view: Any, rows: int) -> dict[str, Any]:
        keywords: dict[str, Any] = {}
        if any(isinstance(part, RewardFunction) and (part.wanted is None or part.wanted - set(_OURS))
               for part in self._parts):  # fmt: skip
            keywords.update(_columns([view.extra[row] for row in range(rows)]))
        keywords["prompts"] = [view.prompt[row].decode(errors="replace") for row in range(rows)]
        keywords["completions"] = [view.completion[row].decode(errors="replace") for row in range(rows)]
        if self._wants("terminated"):
            flags = _arrays.buffer("i", view.terminated, rows)
            keywords["terminated"] = [flag != 0 for flag in flags]
        if self._wants("prompt_ids") or self._wants("completion_ids"):
            offset = list(_arrays.buffer("q", view.offset, rows + 1 if rows else 0) or ())
            tokens = _arrays.buffer("i", view.tokens, offset[-1] if offset else 0)
            split = _arrays.buffer("i", view.prompt_length, rows)
            keywords["prompt_ids"] = [tokens[offset[r] : offset[r] + split[r]] for r in range(rows)]
            keywords["completion_ids"] = [tokens[offset[r] + split[r] : offset[r + 1]] for r in range(rows)]
        return keywords


def _columns(extra: list[bytes | None]) -> dict[str, list[Any]]:
    """The rows' other columns as lists; None where a row has no such column."""
    rows = [{} if text is None else json.loads(text) for text in extra]
    names = {name: None for row in rows for name in row if name not in _OURS}
    return {name: [row.get(name) for row in rows] for name in names}


class Scorer(ContextHandle):
    """Gives completions a number: from a reward model, a function, or a weighted sum of several.

    >>> scorer = rlhf.Scorer(lambda completions: [text.count("a") for text in completions])
    >>> list(map(float, scorer.score(prompts=[""], completions=["banana"])))
    [3.0]
    """

    _release_name = "rlhf_scorer_release"

    def __init__(
        self,
        source: RewardModel | RewardFunction | RewardCallable | Scorer | Sequence[Any],
        *,
        weights: Sequence[float] | None = None,
        name: str | None = None,
        context: Context | None = None,
    ) -> None:
        if isinstance(source, RewardModel) and weights is None:
            super().__init__(source.context)
            self._make(_ffi.lib.rlhf_scorer_from_reward_model, source)
            return
        sources = list(source) if isinstance(source, (list, tuple)) else [source]
        if not sources:
            raise errors.InvalidError("scorer: no reward function")
        if context is None:
            context = next((part.context for part in sources if isinstance(part, ContextHandle)), None)
        super().__init__(resolve(context))
        parts = [_part(part, self.context) for part in sources]
        factors = [1.0] * len(parts) if weights is None else [float(weight) for weight in weights]
        if len(factors) != len(parts):
            raise errors.InvalidError(f"scorer: {len(parts)} rewards, {len(factors)} weights")
        label = name or " + ".join([_label(part) for part in parts])
        self._make_with(
            _Score(parts, factors, self._core), _ffi.lib.rlhf_scorer_create, _handle.utf8(label, "name"),
            _callbacks.score, destroy=_callbacks.destroy,
        )  # fmt: skip

    @classmethod
    def named(cls, text: str, *, context: Context | None = None) -> Scorer:
        """The one that a plugin or `Context.add_scorer` gave a name: "name" or "name:argument"."""
        self = cls.__new__(cls)
        ContextHandle.__init__(self, resolve(context))
        self._make(_ffi.lib.rlhf_plugin_scorer, self.context, _handle.utf8(text, "scorer"))
        return self

    def score(
        self,
        rows: Rollout | Batch | None = None,
        *,
        prompts: Sequence[str] | None = None,
        completions: Sequence[str] | None = None,
        tokenizer: Tokenizer | None = None,
        **columns: Sequence[Any],
    ) -> Array:
        """Scores rows: a Rollout or Batch, whose texts the tokenizer makes where they are not given, or texts alone
        (which is not enough for a reward model). columns: what the function wants besides, one entry per row."""
        batch = rows.batch() if isinstance(rows, Rollout) else rows
        count = len(batch) if batch is not None else len(completions or prompts or ())
        view = _ffi.ScoreInput(struct_size=ctypes.sizeof(_ffi.ScoreInput), rows=count)
        held: list[Any] = [batch]  # what the struct points to
        if batch is not None:
            of_batch = batch._view()
            view.offset, view.tokens, view.prompt_length = of_batch.offset, of_batch.tokens, of_batch.prompt_length
        else:
            zeros = (ctypes.c_int64 * (count + 1))()
            held.append(zeros)
            view.offset = view.prompt_length = ctypes.addressof(zeros)
        if isinstance(rows, Rollout):
            ended = rows.terminated
            held.append(ended)
            flags = (ctypes.c_int32 * max(count, 1))(*ended.tolist())
            held.append(flags)
            view.terminated = ctypes.addressof(flags)
            tokenizer = tokenizer or rows._tokenizer
        view.prompt = _texts(prompts, count, "prompts", held)
        view.completion = _texts(completions, count, "completions", held)
        if columns:
            for name, values in columns.items():
                if len(values) != count:
                    raise errors.InvalidError(f"{name}: {len(values)} entries for {count} rows")
            view.extra = _texts(
                [json.dumps({name: values[row] for name, values in columns.items()}) for row in range(count)],
                count, "columns", held,
            )  # fmt: skip
        score = _arrays.new("d", count)
        self._call(_ffi.lib.rlhf_scorer_run, tokenizer, ctypes.byref(view), _arrays.address(score))
        return score


def _part(source: Any, context: Context) -> RewardFunction | Scorer:
    if isinstance(source, (RewardFunction, Scorer)):
        return source
    if isinstance(source, RewardModel):
        return Scorer(source)
    if isinstance(source, str):
        return Scorer(RewardModel(source, context=context))
    if callable(source):
        return RewardFunction(source)
    raise TypeError(f"a reward is a function, a RewardModel or its directory, not {type(source).__name__}")


def _label(part: RewardFunction | Scorer) -> str:
    return part.name if isinstance(part, RewardFunction) else "scorer"


def _texts(texts: Iterable[Any] | None, count: int, what: str, held: list[Any]) -> Any:
    if texts is None:
        return None
    encoded = [_handle.utf8(text, what) for text in texts]
    if len(encoded) != count:
        raise errors.InvalidError(f"{what}: {len(encoded)} texts for {count} rows")
    pointers = (ctypes.c_char_p * max(count, 1))(*encoded)
    held.extend((encoded, pointers))
    return ctypes.cast(pointers, _ffi.Texts)
