"""Evaluation: what came out, with error bars. Plain numbers in, plain numbers out."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, fields
from typing import Any

from . import _arrays, _ffi, errors
from ._arrays import Numbers
from .context import unsigned
from .reference import Reference
from .rollout import Rollout


@dataclass(frozen=True)
class Estimate:
    """A mean, its standard error, and how many numbers it is of."""

    mean: float
    standard_error: float
    count: int


@dataclass(frozen=True)
class Calibration:
    """How well a reward model's confidence matches how often it is right. Bins are of equal width on [0.5, 1]."""

    accuracy: float
    accuracy_standard_error: float
    negative_log_likelihood: float
    brier: float
    expected_calibration_error: float
    temperature: float
    calibrated_error: float
    confidence: tuple[float, ...]
    correct: tuple[float, ...]
    pairs: tuple[int, ...]


def _check(status: int, what: str) -> None:
    """These functions know no context, so there is no text but the status."""
    if status != _ffi.RLHF_OK:
        raise errors.from_status(status, f"{what}: {errors.status_name(status)}")


def _read(estimate: Any) -> Estimate:
    return Estimate(estimate.mean, estimate.standard_error, estimate.count)


def _pair(a: Numbers, b: Numbers, what: str) -> tuple[Any, Any]:
    first, second = _arrays.given("d", a), _arrays.given("d", b)
    if len(first) != len(second):
        raise errors.InvalidError(f"{what}: {len(first)} and {len(second)} numbers")
    return first, second


def mean(values: Numbers) -> Estimate:
    """Mean and standard error; NaN entries are left out.

    >>> import rlhf
    >>> rlhf.evaluation.mean([1.0, 2.0, 3.0]).mean
    2.0
    """
    given, out = _arrays.given("d", values), _ffi.Estimate()
    _check(_ffi.lib.rlhf_evaluate_mean(_arrays.address(given), len(given), ctypes.byref(out)), "mean")
    return _read(out)


def kl(rollout: Rollout, reference: Reference, *, temperature: float = 1.0, estimator: int = 1) -> Estimate:
    """Sequence KL of a rollout's policy to a reference, in nats. estimator: 1 = k1 (unbiased), 2 = k2, 3 = k3."""
    out = _ffi.Estimate()
    rollout._call(_ffi.lib.rlhf_evaluate_kl, reference, temperature, estimator, ctypes.byref(out))
    return _read(out)


def best_of_n(proxy: Numbers, gold: Numbers, samples: int) -> list[Estimate]:
    """Gold score of the best of n by proxy, for n = 1..samples, from `samples` scores of each prompt, side by side.

    >>> import rlhf
    >>> [estimate.mean for estimate in rlhf.evaluation.best_of_n([1, 2], [10, 20], 2)]
    [15.0, 20.0]
    """
    first, second = _pair(proxy, gold, "best_of_n")
    if samples < 1 or len(first) % samples != 0:
        raise errors.InvalidError(f"best_of_n: {len(first)} scores are no multiple of {samples} samples")
    curve = (_ffi.Estimate * samples)()
    status = _ffi.lib.rlhf_evaluate_best_of_n(
        _arrays.address(first), _arrays.address(second), len(first) // samples, samples, curve
    )
    _check(status, "best_of_n")
    return [_read(estimate) for estimate in curve]


def best_of_n_kl(n: int) -> float:
    """An upper bound of the KL of best-of-n to its sampler: log n - (n-1)/n nats."""
    return float(_ffi.lib.rlhf_evaluate_best_of_n_kl(n))


def calibration(chosen: Numbers, rejected: Numbers) -> Calibration:
    """Calibration of a reward model on pairs of scores."""
    first, second = _pair(chosen, rejected, "calibration")
    out = _ffi.Calibration(struct_size=ctypes.sizeof(_ffi.Calibration))
    status = _ffi.lib.rlhf_evaluate_calibration(
        _arrays.address(first), _arrays.address(second), len(first), ctypes.byref(out)
    )
    _check(status, "calibration")
    values: dict[str, Any] = {field.name: getattr(out, field.name) for field in fields(Calibration)}
    values.update((name, tuple(values[name])) for name in ("confidence", "correct", "pairs"))
    return Calibration(**values)


def win_rate(a: Numbers, b: Numbers, *, seed: int = 0) -> Estimate:
    """Share of prompts on which a beats b, ties half, with a bootstrap standard error.

    >>> import rlhf
    >>> rlhf.evaluation.win_rate([2, 2, 0], [1, 1, 1]).mean > 0.6
    True
    """
    first, second = _pair(a, b, "win_rate")
    out = _ffi.Estimate()
    status = _ffi.lib.rlhf_evaluate_win_rate(
        _arrays.address(first), _arrays.address(second), len(first), unsigned(seed, "seed"), ctypes.byref(out)
    )
    _check(status, "win_rate")
    return _read(out)
