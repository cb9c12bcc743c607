"""Figures of several rounds: ratios within rounds, medians over rounds, quiet rounds first."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from benchmarks.records import Load, Start

Measured = TypeVar("Measured")
ByRound = Mapping[int, Measured]
MISSING: Final = "-"
NOISE_MARK: Final = "~"


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured number.

    Attributes:
        value: The number.
        noisy: Whether unrelated work may have bent it.
    """

    value: float
    noisy: bool


def of_loads(loads: ByRound[Load], select: Callable[[Load], float]) -> ByRound[Figure]:
    """One number of each round's load."""
    return {number: Figure(select(load), load.result.noisy) for number, load in loads.items()}


def of_starts(starts: ByRound[Start], select: Callable[[Start], float]) -> ByRound[Figure]:
    """One number of each round's start."""
    return {number: Figure(select(start), start.noisy) for number, start in starts.items()}


def ratios(mine: ByRound[Figure], theirs: ByRound[Figure]) -> list[Figure]:
    """Mine by theirs, in every round that has both; noisy where one of them is."""
    pairs = [(mine[number], theirs[number]) for number in mine if number in theirs and theirs[number].value]
    return [Figure(one.value / other.value, one.noisy or other.noisy) for one, other in pairs]


def preferred(figures: Sequence[Figure]) -> Sequence[Figure]:
    """The quiet ones, or all where none is quiet."""
    return [figure for figure in figures if not figure.noisy] or figures


def median(figures: Sequence[Figure]) -> Figure | None:
    """The median of the quiet ones, or of all where none is quiet; none of none."""
    chosen = preferred(figures)
    if not chosen:
        return None
    return Figure(statistics.median(figure.value for figure in chosen), chosen[0].noisy)


def shown(figure: Figure | None, show: Callable[[float], str]) -> str:
    """A figure as text, with a mark when it is noisy."""
    if figure is None:
        return MISSING
    return (NOISE_MARK if figure.noisy else "") + show(figure.value)


def significant(value: float) -> str:
    """Three digits, as far as a ratio means anything: 0.0042, 0.87, 12.3, 140."""
    return f"{value:,.0f}" if value >= 100 else f"{value:#.2g}" if value < 1 else f"{value:.3g}"
