"""A latency objective such as `p99=20ms`, and the highest rate that keeps it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from nimify.errors import ConfigError
from nimify.loadtest.point import QUANTILES, LoadPoint

STEPS: Final = 6
"""Halvings of the range between what is kept and what is not."""
_HEADROOM: Final = 1.25
"""How far beyond the throughput of a closed loop the search looks: an open loop cannot do much better."""
_PATTERN: Final = re.compile(r"(p50|p90|p95|p99|p99\.9|max)=([0-9]{1,6}(?:\.[0-9]{1,6})?)(us|ms|s)")
_FACTORS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True, slots=True)
class Objective:
    """How fast answers must come, and that all must come.

    Attributes:
        quantile: One of `QUANTILES`.
        latency_s: What it must not exceed.
    """

    quantile: str
    latency_s: float

    @classmethod
    def parse(cls, text: str) -> Objective:
        """Read `p99=20ms`.

        Raises:
            ConfigError: It is none.
        """
        match = _PATTERN.fullmatch(text.strip())
        if match is None or not float(match[2]):
            raise ConfigError(
                f"'{text}' is no objective.",
                field="--objective",
                remedy=f"Write one of {', '.join(QUANTILES)} and a time, e.g. p99=20ms.",
            )
        return cls(match[1], float(match[2]) * _FACTORS[match[3]])

    def __str__(self) -> str:
        return f"{self.quantile}={self.latency_s * 1e3:g}ms"

    def kept(self, point: LoadPoint) -> bool:
        """Whether a measurement keeps it: enough answers in time, and none lost."""
        return not point.failed and point.latencies_s.get(self.quantile, float("inf")) <= self.latency_s


def highest_rate(
    objective: Objective, throughput: float, measure: Callable[[float], LoadPoint]
) -> tuple[LoadPoint | None, list[LoadPoint]]:
    """Search the highest rate of an open loop that keeps an objective.

    Args:
        objective: What must be kept.
        throughput: Requests in a second that a closed loop reached.
        measure: Measures an open loop of the given rate.

    Returns:
        The best measurement that kept it (`None` when none did), and all that were made, by rising rate; none are made
        when the closed loop got no answer.
    """
    if not throughput:
        return None, []
    points: list[LoadPoint] = []
    best: LoadPoint | None = None
    low, high = 0.0, throughput * _HEADROOM
    for _ in range(STEPS):
        rate = (low + high) / 2
        point = measure(rate)
        points.append(point)
        if objective.kept(point) and not point.limited_by_client:
            best, low = point, rate
        else:
            high = rate
    return best, sorted(points, key=lambda point: point.level)
