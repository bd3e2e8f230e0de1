"""Are the gradients of an objective the slopes of its loss? Central differences on random arrays tell."""

from __future__ import annotations

import random
from typing import Any, Callable

from . import errors
from .context import Context, resolve
from .objective import Objective, ObjectiveLike, as_objective

_SLOPES = {
    "token_loss": {"log_prob": "d_log_prob", "mean_log_prob": "d_mean_log_prob"},
    "pair_loss": {"chosen": "d_chosen", "rejected": "d_rejected"},
    "policy_loss": {"log_prob": "d_log_prob", "entropy": "d_entropy"},
    "value_loss": {"value": "d_value"},
}


def _random_inputs(piece: str, need: set[str], draw: random.Random) -> dict[str, Any]:
    def normal(count: int, mean: float = 0.0, deviation: float = 1.0) -> list[float]:
        return [draw.gauss(mean, deviation) for _ in range(count)]

    rows, offset = 4, [0]
    for _ in range(rows):
        offset.append(offset[-1] + draw.randint(1, 5))
    tokens = offset[-1]
    log_prob = [-abs(x) - 0.05 for x in normal(tokens)]
    if piece == "token_loss":
        mean = [x - 3.0 for x in log_prob] if "mean_log_prob" in need else None
        return {"offset": offset, "log_prob": log_prob, "mean_log_prob": mean, "denominator": tokens + 3}
    if piece == "pair_loss":
        return {"chosen": normal(5), "rejected": normal(5), "margin": None, "denominator": 7}
    if piece == "value_loss":
        value, old = normal(6), normal(6)
        return {"value": value, "value_old": old, "value_target": normal(6), "denominator": 8}
    return {
        "offset": offset,
        "log_prob": log_prob,
        "log_prob_old": [x + y for x, y in zip(log_prob, normal(tokens, 0, 0.15))],
        "log_prob_ref": [x + y for x, y in zip(log_prob, normal(tokens, 0, 0.3))] if "reference" in need else None,
        "advantage": normal(tokens),
        "entropy": [abs(x) for x in normal(tokens)] if "entropy" in need else None,
        "score": normal(rows),
        "samples_per_prompt": 2,
        "denominator": tokens + 3,
        "denominator_rows": rows + 1,
    }


Loss = Callable[[list[float]], float]


def _worst(label: str, loss: Loss, at: list[float], slope: list[float], limit: float) -> float:
    """The largest difference between slope and central differences, in units of the largest slope (at least 1e-3)."""
    scale = max([abs(x) for x in slope] + [1e-3])
    worst = 0.0
    for index, value in enumerate(at):
        step = 1e-5 * max(1.0, abs(value))

        def moved(by: float, index: int = index, value: float = value) -> float:
            return loss([*at[:index], value + by, *at[index + 1 :]])

        up, down = moved(step), moved(-step)
        difference = abs((up - down) / (2 * step) - slope[index])
        if difference > limit * scale:  # on a kink, as clipping has them, a slope of either side is right
            here = loss(at)
            sides = ((up - here) / step, (here - down) / step)
            difference = min([difference, *(abs(side - slope[index]) for side in sides)])
        if difference > limit * scale:
            measured = (up - down) / (2 * step)
            raise errors.GradientError(
                f"{label}[{index}] is {slope[index]:.9g}, the loss has slope {measured:.9g} there"
            )
        worst = max(worst, difference / scale)
    return worst


def check_objective(
    source: ObjectiveLike, *, seed: int = 0, trials: int = 3, limit: float = 1e-4, context: Context | None = None
) -> dict[str, float]:
    """Compares each gradient of an objective's losses with central differences on random arrays. Raises GradientError
    for the first that is wrong; returns the largest relative difference of each piece.

    >>> @rlhf.objective("pair_loss")
    ... def wrong(inputs):
    ...     return sum(inputs.chosen) - sum(inputs.rejected), [1.0] * inputs.pairs, [1.0] * inputs.pairs
    >>> rlhf.check_objective(wrong)
    Traceback (most recent call last):
    ...
    rlhf.errors.GradientError: wrong: d_rejected[0] is 1, the loss has slope -1 there
    """
    objective: Objective = as_objective(source, resolve(context))
    name = getattr(source, "name", None) or (source if isinstance(source, str) else type(source).__name__)
    draw = random.Random(seed)
    found: dict[str, float] = {}
    for piece, slopes in _SLOPES.items():
        for _ in range(trials):
            given = _random_inputs(piece, objective.need, draw)
            try:
                made = objective.evaluate(piece, given)
            except errors.UnsupportedError:
                break
            for array, slope in slopes.items():
                if given.get(array) is None:
                    continue

                def loss(values: list[float], piece: str = piece, array: str = array, given: Any = given) -> float:
                    return float(objective.evaluate(piece, {**given, array: values})["loss"])

                error = _worst(f"{name}: {slope}", loss, given[array], made[slope].tolist(), limit)
                found[piece] = max(found.get(piece, 0.0), error)
    if not found:
        raise errors.InvalidError(f"{name}: has no loss to check")
    return found
