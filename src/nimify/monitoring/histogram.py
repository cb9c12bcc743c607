"""Quantiles of what happened between two readings of a histogram."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TypeAlias

Buckets: TypeAlias = Mapping[float, float]
"""Cumulated counts by upper bound, ascending; the last bound is infinite."""


def difference(later: Buckets, earlier: Buckets) -> dict[float, float]:
    """What was counted between two readings; a histogram that was reset counts from nothing."""
    reset = any(later.get(bound, 0.0) < count for bound, count in earlier.items())
    return {bound: count - (0.0 if reset else earlier.get(bound, 0.0)) for bound, count in later.items()}


def added(histograms: Iterable[Buckets]) -> dict[float, float]:
    """Several histograms as one. Where their bounds differ, only those that all have are kept."""
    members = list(histograms)
    if not members:
        return {}
    shared = set(members[0]).intersection(*members)
    return {bound: sum(member[bound] for member in members) for bound in sorted(shared)}


def observations(buckets: Buckets) -> float:
    """How many values were counted."""
    return max(buckets.values(), default=0.0)


def quantile(buckets: Buckets, fraction: float) -> float | None:
    """The value below which a fraction of the observations lies, interpolated within its bucket.

    Returns:
        `None` when nothing was observed. What lies beyond the last finite bound is told as that bound.
    """
    total = observations(buckets)
    if total <= 0:
        return None
    rank, below, lower = fraction * total, 0.0, 0.0
    for bound, count in sorted(buckets.items()):
        if count >= rank and count > below:
            return lower if math.isinf(bound) else lower + (bound - lower) * (rank - below) / (count - below)
        below = count
        lower = lower if math.isinf(bound) else bound
    return lower


def sizes(buckets: Buckets) -> dict[float, float]:
    """How many observations each bucket holds by itself; empty buckets are left out."""
    result, below = {}, 0.0
    for bound, count in sorted(buckets.items()):
        if count > below:
            result[bound] = count - below
        below = count
    return result
