"""The highest rate that keeps an objective, found from a guess: with few measurements where the guess is good."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from nimify.loadtest.objective import Objective
from nimify.loadtest.point import LoadPoint

Measure = Callable[[float], LoadPoint]
"""Measures an open loop of a rate."""

GROWTH: Final = 1.5
HALVINGS: Final = 2
RESOLUTION: Final = GROWTH ** (1 / 2**HALVINGS) - 1
"""What two rates may differ by without meaning anything, as a share."""
_CLEARLY: Final = 2.0
"""A latency of so many times what is allowed is no accident; below that, a second measurement decides."""
_MOST_STEPS: Final = 12


def climbed(objective: Objective, rate: float, measure: Measure) -> LoadPoint | None:
    """The measurement at the highest rate from `rate` on that keeps the objective; `None` when `rate` does not.

    One that fails closely is made a second time, as anything may disturb a short measurement.
    """
    best = _kept(objective, rate, measure)
    if best is None:
        return None
    for _ in range(_MOST_STEPS):
        point = _kept(objective, best.level * GROWTH, measure, again=False)
        if point is None:
            return _halved(objective, best, best.level * GROWTH, measure)
        best = point
    return best


def around(objective: Objective, guess: float, measure: Measure) -> LoadPoint | None:
    """The measurement at the highest rate that keeps the objective, when it was `guess` before."""
    best = climbed(objective, guess, measure)
    rate = guess
    for _ in range(_MOST_STEPS):
        if best is not None:
            return best
        rate /= GROWTH
        best = _kept(objective, rate, measure, again=False)
        if best is not None:
            return _halved(objective, best, rate * GROWTH, measure)
    return None


def _halved(objective: Objective, best: LoadPoint, high: float, measure: Measure) -> LoadPoint:
    for _ in range(HALVINGS):
        middle = (best.level * high) ** 0.5
        point = _kept(objective, middle, measure, again=False)
        if point is None:
            high = middle
        else:
            best = point
    return best


def _kept(objective: Objective, rate: float, measure: Measure, *, again: bool = True) -> LoadPoint | None:
    point = measure(rate)
    if objective.kept(point):
        return None if point.limited_by_client else point
    latency_s = point.latencies_s.get(objective.quantile, float("inf"))
    if not again or point.failed or latency_s > _CLEARLY * objective.latency_s:
        return None
    return _kept(objective, rate, measure, again=False)
