"""The benchmark of what an analysis costs: its laws are judged by figures, and each can be broken."""

from __future__ import annotations

from dataclasses import replace

import pytest
from benchmarks.analysis_cost import Cost, growths, held

MB = 10**6
SOUND = [
    Cost("small", 1.0, 1.0, 70 * MB, 70 * MB),
    Cost("in the file", 1.5, 1.6, 80 * MB, 70 * MB),
    Cost("beside it", 1.5, 1.6, 80 * MB, 70 * MB),
    Cost("1,000", 1.0, 1.0, 70 * MB, 70 * MB),
    Cost("10,000", 1.9, 2.0, 75 * MB, 75 * MB),
    Cost("100,000", 10.9, 13.0, 190 * MB, 150 * MB),
]


def test_costs_within_the_laws_hold() -> None:
    """By the processors and by the clock."""
    assert held(SOUND)
    by_processor, by_clock = growths(SOUND)
    assert by_processor == pytest.approx(1.0)
    assert by_clock == pytest.approx(12 / 11)


@pytest.mark.parametrize(
    ("row", "change"),
    [
        (1, {"seconds": 2.1}),
        (2, {"clock_seconds": 2.1}),
        (2, {"child_bytes": 150 * MB}),
        (5, {"parent_bytes": 200 * MB}),
        (5, {"seconds": 14.0}),
        (5, {"clock_seconds": 16.0}),
    ],
)
def test_a_cost_beyond_a_law_breaks_it(row: int, change: dict[str, float]) -> None:
    """Time by weights, memory by weights, memory of all, and growth with nodes."""
    broken = [replace(cost, **change) if index == row else cost for index, cost in enumerate(SOUND)]  # type: ignore[arg-type]  # keywords by name

    assert not held(broken)
