"""Objectives: arrays in, loss and gradients out. The built-in ones, and yours as functions.

A piece is one function of an objective:
    token_loss   supervised fine-tuning: log-probabilities -> loss
    pair_loss    reward models: scores of chosen and rejected -> loss
    reward       score and log-probabilities -> reward per token
    advantage    rewards and values -> advantage (and return) per token
    policy_loss  log-probabilities and advantages -> loss
    value_loss   values and returns -> loss
"""

from __future__ import annotations

import ctypes
import weakref
from dataclasses import dataclass
from typing import Any, Callable, Iterable, Mapping, Union

from . import _arrays, _callbacks, _ffi, _handle, errors
from ._arrays import Array, Numbers
from .context import Context, ContextHandle, resolve, signed

_NEEDS = {
    "reference": _ffi.RLHF_NEED_REFERENCE,
    "value": _ffi.RLHF_NEED_VALUE,
    "entropy": _ffi.RLHF_NEED_ENTROPY,
    "mean_log_prob": _ffi.RLHF_NEED_MEAN_LOG_PROB,
    "groups": _ffi.RLHF_NEED_GROUPS,
}


# ---- what a function of yours gets -----------------------------------------------------------------------------------


class Inputs:
    """What a piece works on. Arrays are views of the library's memory (NumPy, else memoryview), good for the call:
    copy what you want to keep. Arrays to fill (d_... and others) are zero at first and can be returned instead."""

    offset: Array
    rows: int

    def spans(self) -> list[slice]:
        """A slice of the arrays per token for each row."""
        ends = self.offset.tolist()
        return [slice(begin, end) for begin, end in zip(ends, ends[1:])]


class TokenLossInputs(Inputs):
    """log_prob [tokens], mean_log_prob or None, denominator; to fill: d_log_prob, d_mean_log_prob or None."""

    log_prob: Array
    mean_log_prob: Array
    denominator: float
    d_log_prob: Array
    d_mean_log_prob: Array


class PairLossInputs(Inputs):
    """chosen, rejected [pairs], margin or None, denominator; to fill: d_chosen, d_rejected."""

    pairs: int
    chosen: Array
    rejected: Array
    margin: Array
    denominator: float
    d_chosen: Array
    d_rejected: Array


class RewardInputs(Inputs):
    """score, terminated [rows], log_prob, log_prob_ref or None [tokens]; to fill: reward [tokens]."""

    score: Array
    terminated: Array
    log_prob: Array
    log_prob_ref: Array
    reward: Array


class AdvantageInputs(Inputs):
    """reward [tokens], value or None, samples_per_prompt; to fill: advantage, value_target or None."""

    samples_per_prompt: int
    reward: Array
    value: Array
    advantage: Array
    value_target: Array


class PolicyLossInputs(Inputs):
    """log_prob, log_prob_old, advantage [tokens], log_prob_ref, entropy or None, score [rows], denominator (tokens of
    the step), denominator_rows (rows of the step); to fill: d_log_prob, d_entropy or None, clipped (a count)."""

    samples_per_prompt: int
    log_prob: Array
    log_prob_old: Array
    log_prob_ref: Array
    advantage: Array
    entropy: Array
    score: Array
    denominator: float
    denominator_rows: float
    d_log_prob: Array
    d_entropy: Array
    clipped: float


class ValueLossInputs(Inputs):
    """value, value_old, value_target [count], denominator; to fill: d_value, clipped (a count)."""

    count: int
    value: Array
    value_old: Array
    value_target: Array
    denominator: float
    d_value: Array
    clipped: float


# ---- what an evaluation gives ----------------------------------------------------------------------------------------


@dataclass
class TokenLoss:
    """Loss and slopes of a token loss."""

    loss: float
    d_log_prob: Array
    d_mean_log_prob: Array


@dataclass
class PairLoss:
    """Loss and slopes of a pair loss."""

    loss: float
    d_chosen: Array
    d_rejected: Array


@dataclass
class Advantages:
    """Advantage per token, and the return (None without values)."""

    advantage: Array
    value_target: Array


@dataclass
class PolicyLoss:
    """Loss and slopes of a policy loss, and how many tokens were clipped."""

    loss: float
    d_log_prob: Array
    d_entropy: Array
    clipped: float


@dataclass
class ValueLoss:
    """Loss and slopes of a value loss, and how many values were clipped."""

    loss: float
    d_value: Array
    clipped: float


# ---- the pieces ------------------------------------------------------------------------------------------------------

ROWS, ROWS_AND_ONE, TOKENS = "rows", "rows+1", "tokens"


@dataclass(frozen=True)
class Piece:
    """How a piece's structs are made: arrays are (name, type, length), results what it fills."""

    name: str
    inputs: type[Inputs]
    input: Any
    output: Any
    size: str  # the member that counts rows
    arrays: tuple[tuple[str, str, str], ...]
    results: tuple[tuple[str, str], ...]  # (array to fill, the input that it goes with; "" = always there)
    has_loss: bool = True

    def count(self, length: str, rows: int, tokens: int) -> int:
        return {ROWS: rows, ROWS_AND_ONE: rows + 1, TOKENS: tokens}[length]


def _arrays_of(code: str, length: str, names: str) -> tuple[tuple[str, str, str], ...]:
    return tuple((name, code, length) for name in names.split())


_OFFSET = (("offset", "q", ROWS_AND_ONE),)
PIECES: dict[str, Piece] = {
    piece.name: piece
    for piece in (
        Piece(
            "token_loss", TokenLossInputs, _ffi.TokenLossInput, _ffi.TokenLossOutput, "rows",
            _OFFSET + _arrays_of("d", TOKENS, "log_prob mean_log_prob"),
            (("d_log_prob", ""), ("d_mean_log_prob", "mean_log_prob")),
        ),
        Piece(
            "pair_loss", PairLossInputs, _ffi.PairLossInput, _ffi.PairLossOutput, "pairs",
            _arrays_of("d", ROWS, "chosen rejected margin"), (("d_chosen", ""), ("d_rejected", "")),
        ),
        Piece(
            "reward", RewardInputs, _ffi.RewardInput, _ffi.RewardOutput, "rows",
            _OFFSET + _arrays_of("d", ROWS, "score") + _arrays_of("d", TOKENS, "log_prob log_prob_ref")
            + _arrays_of("i", ROWS, "terminated"),
            (("reward", ""),), False,
        ),
        Piece(
            "advantage", AdvantageInputs, _ffi.AdvantageInput, _ffi.AdvantageOutput, "rows",
            _OFFSET + _arrays_of("d", TOKENS, "reward value"), (("advantage", ""), ("value_target", "value")), False,
        ),
        Piece(
            "policy_loss", PolicyLossInputs, _ffi.PolicyLossInput, _ffi.PolicyLossOutput, "rows",
            _OFFSET + _arrays_of("d", TOKENS, "log_prob log_prob_old log_prob_ref advantage entropy")
            + _arrays_of("d", ROWS, "score"),
            (("d_log_prob", ""), ("d_entropy", "entropy")),
        ),
        Piece(
            "value_loss", ValueLossInputs, _ffi.ValueLossInput, _ffi.ValueLossOutput, "count",
            _arrays_of("d", ROWS, "value value_old value_target"), (("d_value", ""),),
        ),
    )
}  # fmt: skip


def _result_length(piece: Piece) -> str:
    return ROWS if piece.name in ("pair_loss", "value_loss") else TOKENS


class _Bridge:
    """The object behind user_data: takes C's structs, calls the user's functions, puts back what they return."""

    def __init__(self, user: UserObjective) -> None:
        self._user = user

    def _run(self, name: str, in_pointer: Any, out_pointer: Any) -> None:
        piece, given, out = PIECES[name], in_pointer.contents, out_pointer.contents
        inputs, memories = _open(piece, given, out)
        self._take(piece, self._user.functions[name](inputs), inputs, out, memories)
        if piece.has_loss and hasattr(out, "clipped") and "clipped" in inputs.__dict__:
            out.clipped = float(inputs.__dict__["clipped"])
        # The arrays are gone after this call; a view that is still held somewhere would read what is no longer there.
        held = {label: weakref.ref(memory) for label, memory in memories.items()}
        del inputs
        memories.clear()
        for label, memory in held.items():
            if memory() is not None:
                raise errors.InvalidError(
                    f"objective {self._user.name}: {name} kept a view of {label} beyond the call; keep a copy"
                )

    def _take(self, piece: Piece, returned: Any, inputs: Inputs, out: Any, memories: dict[str, Any]) -> None:
        """Loss, then gradients in order or by name; what was filled in place need not be returned."""
        label = f"objective {self._user.name}: {piece.name}"
        values = list(returned) if isinstance(returned, tuple) else [returned]
        if piece.has_loss:
            loss = values.pop(0)
            if loss is None:
                raise errors.InvalidError(f"{label} must return a loss, or a loss and gradients")
            out.loss = float(loss)
        if len(values) == 1 and isinstance(values[0], Mapping):
            named = dict(values[0])
            if "clipped" in named:
                inputs.__dict__["clipped"] = named.pop("clipped")
        elif len(values) <= len(piece.results):
            named = {name: value for (name, _), value in zip(piece.results, values)}
        else:
            raise errors.InvalidError(f"{label} returned {len(values)} arrays, it makes {len(piece.results)}")
        for name, value in named.items():
            if value is None:
                continue
            if memories.get(name) is None:
                known = ", ".join(known for known, _ in piece.results if memories.get(known) is not None)
                raise errors.InvalidError(f"{label} returned {name}; here it makes {known}")
            _copy_in(memories[name], value, f"{label}: {name}")

    # called by C

    def token_loss(self, given: Any, out: Any) -> None:
        self._run("token_loss", given, out)

    def pair_loss(self, given: Any, out: Any) -> None:
        self._run("pair_loss", given, out)

    def reward(self, given: Any, out: Any) -> None:
        self._run("reward", given, out)

    def advantage(self, given: Any, out: Any) -> None:
        self._run("advantage", given, out)

    def policy_loss(self, given: Any, out: Any) -> None:
        self._run("policy_loss", given, out)

    def value_loss(self, given: Any, out: Any) -> None:
        self._run("value_loss", given, out)

    def observe_kl(self, mean_sequence_kl: float, episodes: int) -> None:
        self._user.functions["observe_kl"](mean_sequence_kl, episodes)

    def save(self, buffer: int | None, capacity: int, needed: Any) -> int:
        state = bytes(self._user.functions["save"]())
        needed[0] = len(state)
        if buffer is not None and state:
            if len(state) > capacity:
                return _ffi.RLHF_E_RANGE
            ctypes.memmove(buffer, state, len(state))
        return _ffi.RLHF_OK

    def load(self, buffer: int | None, count: int) -> None:
        self._user.functions["load"](ctypes.string_at(buffer, count) if buffer and count else b"")

    def set(self, key: bytes, value: float) -> int:
        try:
            self._user.functions["set"](key.decode(), value)
        except KeyError:
            return _ffi.RLHF_E_INVAL
        return _ffi.RLHF_OK

    def get(self, key: bytes, out: Any) -> int:
        try:
            out[0] = float(self._user.functions["get"](key.decode()))
        except KeyError:
            return _ffi.RLHF_E_INVAL
        return _ffi.RLHF_OK

    def current_need(self) -> int:
        return need_bits(self._user.functions["current_need"]())


def _open(piece: Piece, given: Any, out: Any) -> tuple[Inputs, dict[str, Any]]:
    """Views of C's arrays; memories are what the views stand on."""
    rows = int(getattr(given, piece.size))
    tokens = rows
    if hasattr(given, "offset"):
        tokens = ctypes.c_int64.from_address(given.offset + 8 * rows).value if rows > 0 else 0
    inputs = piece.inputs()
    members = inputs.__dict__
    members[piece.size] = rows
    memories: dict[str, Any] = {}
    for name, code, length in piece.arrays:
        count = piece.count(length, rows, tokens)
        where = getattr(given, name)
        if where is None:
            members[name] = None
            continue
        memories[name] = _arrays.buffer(code, where, count)
        members[name] = _arrays.view(code, memories[name])
    for name, _ in piece.results:
        where = getattr(out, name)
        if where is None:
            members[name] = None
            continue
        memories[name] = _arrays.buffer("d", where, piece.count(_result_length(piece), rows, tokens))
        members[name] = _arrays.view("d", memories[name], writable=True)
    for name in ("samples_per_prompt", "denominator", "denominator_rows"):
        if hasattr(given, name):
            members[name] = getattr(given, name)
    return inputs, memories


def _copy_in(memory: Any, value: Numbers, what: str) -> None:
    numbers = _arrays.given("d", value)
    if len(numbers) != len(memory):
        raise errors.InvalidError(f"{what} has {len(numbers)} numbers, {len(memory)} are needed")
    if len(memory) > 0:
        ctypes.memmove(memory, _arrays.address(numbers), 8 * len(memory))


_THUNKS = {
    "token_loss": _callbacks.thunk(_ffi.TokenLossFn, "token_loss"),
    "pair_loss": _callbacks.thunk(_ffi.PairLossFn, "pair_loss"),
    "reward": _callbacks.thunk(_ffi.RewardFn, "reward"),
    "advantage": _callbacks.thunk(_ffi.AdvantageFn, "advantage"),
    "policy_loss": _callbacks.thunk(_ffi.PolicyLossFn, "policy_loss"),
    "value_loss": _callbacks.thunk(_ffi.ValueLossFn, "value_loss"),
    "observe_kl": _callbacks.thunk(_ffi.ObserveKlFn, "observe_kl"),
    "save": _callbacks.thunk(_ffi.SaveFn, "save"),
    "load": _callbacks.thunk(_ffi.LoadFn, "load"),
    "set": _callbacks.thunk(_ffi.SetFn, "set"),
    "get": _callbacks.thunk(_ffi.GetFn, "get"),
    "current_need": _ffi.NeedFn(lambda user_data: _callbacks.guarded(user_data, "current_need", failed=0)),
}


# ---- yours -----------------------------------------------------------------------------------------------------------


def need_bits(need: Iterable[str] | str | int) -> int:
    """RLHF_NEED_* of names."""
    if isinstance(need, int):
        return need
    bits = 0
    for name in [need] if isinstance(need, str) else need:
        if name not in _NEEDS:
            raise errors.InvalidError(f"need: is {name!r}, known are {', '.join(_NEEDS)}")
        bits |= _NEEDS[name]
    return bits


class UserObjective:
    """Functions that make an objective; see `objective`."""

    def __init__(self, functions: Mapping[str, Callable[..., Any]], name: str, need: int) -> None:
        self.functions = dict(functions)
        self.name = name
        self.need = need

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Calls the function, if there is just one."""
        (function,) = self.functions.values()
        return function(*arguments, **keywords)

    @classmethod
    def of_object(cls, target: Any) -> UserObjective:
        """The methods of an object that have the names of pieces (and observe_kl, save, load, set, get)."""
        found = {name: getattr(target, name) for name in _THUNKS if callable(getattr(target, name, None))}
        if not any(name in PIECES for name in found):
            raise TypeError(f"{type(target).__name__} has none of the methods {', '.join(PIECES)}")
        name = getattr(target, "name", None) or type(target).__name__
        return cls(found, name, need_bits(getattr(target, "need", ())))


def _piece_of(function: Callable[..., Any]) -> str:
    """Which piece a function is: by its name, else by the annotation of its first parameter."""
    if function.__name__ in PIECES:
        return function.__name__
    for annotation in function.__annotations__.values():
        text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
        for piece in PIECES.values():
            if text.rpartition(".")[2] == piece.inputs.__name__:
                return piece.name
    raise TypeError(
        f'{function.__name__}: which piece is it? Say @rlhf.objective("policy_loss"), or one of {", ".join(PIECES)}'
    )


def objective(
    piece: str | Callable[..., Any] | None = None, *, need: Iterable[str] | str = (), name: str | None = None
) -> Any:
    """Makes an objective of a function of one piece, named by `piece` (or by the function's own name).

    It gets the piece's inputs and returns (loss, gradient) - or the loss alone if it filled the gradient in place, or
    (loss, {"d_log_prob": ..., "clipped": ...}). `reward` and `advantage` return their arrays. need: what it wants to be
    computed for it: "reference", "value", "entropy", "mean_log_prob", "groups".

    Several pieces are a class with methods of those names, of which an instance is given where an objective is wanted;
    its attribute `need` and methods observe_kl, save, load, set, get, current_need are used if they are there.

    >>> @rlhf.objective("token_loss")
    ... def likelihood(inputs):
    ...     return -sum(inputs.log_prob) / inputs.denominator, [-1 / inputs.denominator] * len(inputs.log_prob)
    >>> round(rlhf.check_objective(likelihood)["token_loss"], 6)
    0.0
    """
    if piece is not None and not isinstance(piece, str):
        return objective(None, need=need, name=name)(piece)

    def decorate(function: Callable[..., Any]) -> UserObjective:
        which = piece if isinstance(piece, str) else _piece_of(function)
        if which not in PIECES:
            raise errors.InvalidError(f"objective: piece is {which!r}, known are {', '.join(PIECES)}")
        return UserObjective({which: function}, name or function.__name__, need_bits(need))

    return decorate


ObjectiveLike = Union["Objective", UserObjective, str, Any]


class Objective(ContextHandle):
    """A loss (and what goes with it) as the trainers use it.

    >>> ppo = rlhf.Objective.builtin("ppo", cliprange=0.1)
    >>> ppo["cliprange"]
    0.1
    >>> result = ppo.policy_loss([0, 1], log_prob=[-1.0], log_prob_old=[-1.0], advantage=[2.0])
    >>> result.loss, result.d_log_prob.tolist()
    (-2.0, [-2.0])
    """

    _release_name = "rlhf_objective_release"

    def __init__(self, source: UserObjective | Any, *, context: Context | None = None) -> None:
        """Makes one of an `@rlhf.objective` or of an object with methods named after pieces."""
        super().__init__(resolve(context))
        if isinstance(source, type):
            raise TypeError(f"objective: an instance of {source.__name__} is needed, not the class")
        user = source if isinstance(source, UserObjective) else UserObjective.of_object(source)
        vtable = _ffi.ObjectiveVtable(struct_size=ctypes.sizeof(_ffi.ObjectiveVtable), need=user.need)
        vtable.name = _handle.utf8(user.name, "name")
        for name in user.functions:
            setattr(vtable, name, _THUNKS[name])
        vtable.destroy = _callbacks.destroy
        self._make_with(_Bridge(user), _ffi.lib.rlhf_objective_create, ctypes.byref(vtable))

    @classmethod
    def builtin(cls, name: str, *, context: Context | None = None, **keys: float) -> Objective:
        """A built-in one: sft, bradley_terry, kl_reward, gae, reinforce, pairwise, ppo. Keys: see objective.h."""
        self = cls.__new__(cls)
        ContextHandle.__init__(self, resolve(context))
        self._make(_ffi.lib.rlhf_objective_builtin, self.context, _handle.utf8(name, "name"))
        for key, value in keys.items():
            self[key] = value
        return self

    @classmethod
    def named(cls, text: str, *, context: Context | None = None) -> Objective:
        """The one that a plugin or `Context.add_objective` gave a name: "name" or "name:argument"."""
        self = cls.__new__(cls)
        ContextHandle.__init__(self, resolve(context))
        self._make(_ffi.lib.rlhf_plugin_objective, self.context, _handle.utf8(text, "objective"))
        return self

    def __setitem__(self, key: str, value: float) -> None:
        self._call(_ffi.lib.rlhf_objective_set, _handle.utf8(key, "key"), float(value))

    def __getitem__(self, key: str) -> float:
        value = ctypes.c_double()
        self._call(_ffi.lib.rlhf_objective_get, _handle.utf8(key, "key"), ctypes.byref(value))
        return value.value

    @property
    def need(self) -> set[str]:
        """What it wants to be computed for it."""
        bits: int = self._core.invoke(_ffi.lib.rlhf_objective_need, self)
        return {name for name, bit in _NEEDS.items() if bits & bit}

    def observe_kl(self, mean_sequence_kl: float, episodes: int) -> None:
        """Tells it, behind an iteration's updates, the KL to the reference: the mean over `episodes` responses of the
        sum over tokens of log_prob - log_prob_ref, in nats. kl_reward moves kl_coef by it if adaptive_kl is on."""
        self._call(_ffi.lib.rlhf_objective_observe_kl, mean_sequence_kl, signed(episodes, "episodes"))

    def evaluate(self, piece: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Evaluates a piece on arrays by name; the named methods below are its readable form."""
        kind = PIECES[piece]
        struct = kind.input(struct_size=ctypes.sizeof(kind.input))
        out = kind.output(struct_size=ctypes.sizeof(kind.output))
        held = {name: _arrays.given(code, given[name]) for name, code, _ in kind.arrays if given.get(name) is not None}
        first = held.get("offset" if "offset" in dict.fromkeys(n for n, *_ in kind.arrays) else kind.arrays[0][0])
        if first is None:
            raise errors.InvalidError(f"{piece}: {kind.arrays[0][0]} is missing")
        ragged = kind.arrays[0][0] == "offset"
        rows = len(first) - 1 if ragged else len(first)
        if rows < 0:
            raise errors.InvalidError(f"{piece}: offset is empty, it has rows + 1 entries")
        tokens = int(first[-1]) if ragged else rows
        for name, _, length in kind.arrays:
            if name not in held:
                continue
            if len(held[name]) != kind.count(length, rows, tokens):
                raise errors.InvalidError(
                    f"{piece}: {name} has {len(held[name])} numbers, {kind.count(length, rows, tokens)} are needed"
                )
            setattr(struct, name, _arrays.address(held[name]))
        setattr(struct, kind.size, rows)
        defaults = {"denominator": tokens, "denominator_rows": rows, "samples_per_prompt": 1}
        for name, value in defaults.items():
            if hasattr(struct, name):
                setattr(struct, name, given[name] if given.get(name) is not None else max(value, 1))
        results: dict[str, Any] = {}
        for name, goes_with in kind.results:
            results[name] = None
            if goes_with == "" or goes_with in held:
                results[name] = _arrays.new("d", kind.count(_result_length(kind), rows, tokens))
                setattr(out, name, _arrays.address(results[name]))
        self._call(getattr(_ffi.lib, f"rlhf_objective_{piece}"), ctypes.byref(struct), ctypes.byref(out))
        if kind.has_loss:
            results["loss"] = out.loss
        if hasattr(out, "clipped"):
            results["clipped"] = out.clipped
        return results

    def token_loss(
        self,
        offset: Numbers,
        log_prob: Numbers,
        *,
        mean_log_prob: Numbers | None = None,
        denominator: float | None = None,
    ) -> TokenLoss:
        """Evaluates the token loss; denominator: tokens of the step, if there are more than these."""
        given = {"offset": offset, "log_prob": log_prob, "mean_log_prob": mean_log_prob, "denominator": denominator}
        return TokenLoss(**self.evaluate("token_loss", given))

    def pair_loss(
        self, chosen: Numbers, rejected: Numbers, *, margin: Numbers | None = None, denominator: float | None = None
    ) -> PairLoss:
        """Evaluates the pair loss."""
        given = {"chosen": chosen, "rejected": rejected, "margin": margin, "denominator": denominator}
        return PairLoss(**self.evaluate("pair_loss", given))

    def reward(
        self,
        offset: Numbers,
        *,
        score: Numbers,
        log_prob: Numbers,
        terminated: Numbers,
        log_prob_ref: Numbers | None = None,
    ) -> Array:
        """Makes rewards per token."""
        given = {
            "offset": offset, "score": score, "log_prob": log_prob, "terminated": terminated,
            "log_prob_ref": log_prob_ref,
        }  # fmt: skip
        return self.evaluate("reward", given)["reward"]

    def advantage(
        self, offset: Numbers, reward: Numbers, *, value: Numbers | None = None, samples_per_prompt: int = 1
    ) -> Advantages:
        """Makes advantages, and returns if there are values; baselines are updated after their use."""
        given = {"offset": offset, "reward": reward, "value": value, "samples_per_prompt": samples_per_prompt}
        return Advantages(**self.evaluate("advantage", given))

    def policy_loss(
        self,
        offset: Numbers,
        *,
        log_prob: Numbers,
        log_prob_old: Numbers,
        advantage: Numbers,
        log_prob_ref: Numbers | None = None,
        entropy: Numbers | None = None,
        score: Numbers | None = None,
        samples_per_prompt: int = 1,
        denominator: float | None = None,
        denominator_rows: float | None = None,
    ) -> PolicyLoss:
        """Evaluates the policy loss; denominators: tokens and rows of the step, if there are more than these."""
        given = {
            "offset": offset, "log_prob": log_prob, "log_prob_old": log_prob_old, "advantage": advantage,
            "log_prob_ref": log_prob_ref, "entropy": entropy, "score": score, "denominator": denominator,
            "samples_per_prompt": samples_per_prompt, "denominator_rows": denominator_rows,
        }  # fmt: skip
        return PolicyLoss(**self.evaluate("policy_loss", given))

    def value_loss(
        self, value: Numbers, *, value_old: Numbers, value_target: Numbers, denominator: float | None = None
    ) -> ValueLoss:
        """Evaluates the value loss."""
        given = {"value": value, "value_old": value_old, "value_target": value_target, "denominator": denominator}
        return ValueLoss(**self.evaluate("value_loss", given))


def as_objective(source: ObjectiveLike, context: Context) -> Objective:
    """An objective as it is, a built-in one by name, or one made of the user's functions."""
    if isinstance(source, Objective):
        return source
    if isinstance(source, str):
        return Objective.builtin(source, context=context)
    return Objective(source, context=context)
