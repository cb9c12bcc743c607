"""The search for the highest rate finds the edge of what is kept, and says so when there is none."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nimify.errors import ConfigError
from nimify.loadtest.objective import Objective, highest_rate
from nimify.loadtest.point import QUANTILES, LoadPoint


def service(capacity: float, *, client_limit: float = 1e9) -> Callable[[float], LoadPoint]:
    """A queue with one server, seen from outside: the latency grows without end towards its capacity."""

    def measure(rate: float) -> LoadPoint:
        late = rate >= capacity
        latency_s = 10.0 if late else 0.001 / (1 - rate / capacity)
        return LoadPoint(
            kind="open",
            level=rate,
            elapsed_s=1.0,
            requests=int(rate),
            failures={"503": 1} if late else {},
            latencies_s=dict.fromkeys(QUANTILES, latency_s),
            client_cpu=1.0 if rate > client_limit else 0.1,
        )

    return measure


@pytest.mark.parametrize(
    ("text", "quantile", "latency_s"),
    [("p99=20ms", "p99", 0.02), ("max=1.5s", "max", 1.5), ("p99.9=500us", "p99.9", 5e-4)],
)
def test_objectives_are_read(text: str, quantile: str, latency_s: float) -> None:
    """A quantile, and a time with its unit."""
    objective = Objective.parse(text)
    assert objective.quantile == quantile
    assert objective.latency_s == pytest.approx(latency_s)


@pytest.mark.parametrize("text", ["", "p99", "p99=20", "p99=0ms", "p98=20ms", "p99=-1ms", "p99=20ms\nx", "p99 = 20ms"])
def test_what_is_no_objective_is_refused(text: str) -> None:
    """The error says what one looks like."""
    with pytest.raises(ConfigError, match="objective"):
        Objective.parse(text)


def test_the_search_ends_close_to_the_edge() -> None:
    """10 ms are kept up to nine tenths of the capacity."""
    best, points = highest_rate(Objective("p99", 0.01), 950.0, service(1000.0))
    assert best is not None
    assert 880 < best.level <= 900
    assert [point.level for point in points] == sorted(point.level for point in points)


def test_an_objective_that_nothing_keeps_has_no_rate() -> None:
    """Even an idle service takes a millisecond."""
    best, points = highest_rate(Objective("p99", 0.0005), 950.0, service(1000.0))
    assert best is None
    assert points


def test_a_rate_that_only_the_generator_could_not_make_is_no_answer() -> None:
    """What the load generator cannot send says nothing about the service."""
    best, _ = highest_rate(Objective("p99", 0.5), 950.0, service(1000.0, client_limit=400.0))
    assert best is not None
    assert best.level <= 400


def test_a_service_that_answers_nothing_is_not_searched() -> None:
    """Without a single answer there is no range of rates to halve."""
    assert highest_rate(Objective("p99", 0.5), 0.0, service(1000.0)) == (None, [])
