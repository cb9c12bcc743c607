"""The search over a service that is a formula: it goes where it gets better, and looks at little else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nimify.loadtest.objective import Objective
from nimify.loadtest.point import QUANTILES, LoadPoint
from nimify.tuning.budget import Budget, OutOfTime
from nimify.tuning.candidate import BATCH, DELAY, INSTANCES, SETTINGS, THREADS, Candidate
from nimify.tuning.rates import GROWTH, RESOLUTION, around, climbed
from nimify.tuning.search import searched
from nimify.tuning.space import Space
from nimify.tuning.trial import Trial

PLANNED = Candidate(max_batch_size=32, max_queue_delay_us=0, threads=0, instances=1)


def space(*settings: str, cpus: int = 8, least_rows: int = 1, latency_s: float = 0.02) -> Space:
    return Space(settings or tuple(SETTINGS), cpus, latency_s, least_rows, planned_rows=32)


def point(rate: float, latency_s: float, *, busy: bool = False) -> LoadPoint:
    latencies = dict.fromkeys(QUANTILES, latency_s)
    return LoadPoint("open", rate, 1.0, int(rate), {}, latencies, 1.0 if busy else 0.1)


def queue(capacity: float) -> Callable[[float], LoadPoint]:
    """A service whose latency grows without end towards its capacity."""
    return lambda rate: point(rate, 10.0 if rate >= capacity else 0.001 / (1 - rate / capacity))


class Service:
    """Serves candidates whose capacities a formula gives, and notes which were asked for."""

    def __init__(self, capacity: Callable[[Candidate], float]) -> None:
        self.capacity = capacity
        self.asked: list[Candidate] = []

    def start(self, candidate: Candidate = PLANNED) -> Trial:
        return Trial(candidate, point(self.capacity(candidate), 0.01), "as it is")

    def examine(self, candidate: Candidate, rate: float) -> Trial:
        self.asked.append(candidate)
        capacity = self.capacity(candidate)
        return Trial(candidate, point(capacity, 0.01) if capacity >= rate else None, "")


def test_a_batch_that_helps_grows() -> None:
    """To the largest that is worth a look, which is a few times what was planned."""
    service = Service(lambda candidate: 10.0 * candidate.max_batch_size)
    best, whole = searched(service.start(), space(BATCH), service.examine)
    assert (best.candidate.max_batch_size, whole) == (128, True)


@pytest.mark.parametrize(("least", "expected"), [(1, 1), (3, 4)])
def test_a_batch_that_harms_shrinks(least: int, expected: int) -> None:
    """But never below the rows of a request that must be answered."""
    service = Service(lambda candidate: 1000.0 / candidate.max_batch_size)
    best, _ = searched(service.start(), space(BATCH, least_rows=least), service.examine)
    assert best.candidate.max_batch_size == expected


def test_a_peak_between_the_large_steps_is_found() -> None:
    """Factors of 4 lead past it, factors of 2 back to it."""
    service = Service(lambda candidate: 100.0 - 10 * abs(candidate.max_batch_size.bit_length() - 5))
    best, _ = searched(service.start(), space(BATCH), service.examine)
    assert best.candidate.max_batch_size == 16


def test_settings_that_depend_on_each_other_are_swept_again() -> None:
    """More instances change which batch is best."""

    def capacity(candidate: Candidate) -> float:
        ideal = 8 if candidate.instances == 1 else 4
        return 100.0 * candidate.instances / (1 + 0.2 * abs(candidate.max_batch_size - ideal))

    service = Service(capacity)
    best, _ = searched(service.start(), space(BATCH, INSTANCES), service.examine)
    assert (best.candidate.max_batch_size, best.candidate.instances) == (4, 8)


def test_the_search_is_no_grid() -> None:
    """Nothing is looked at twice, and of the whole grid only a few lines."""
    service = Service(lambda _: 100.0)
    best, _ = searched(service.start(), space(cpus=16), service.examine)
    assert best.candidate == PLANNED
    assert len(service.asked) == len(set(service.asked)) <= 10


def test_a_gain_that_is_too_small_is_not_followed() -> None:
    """Three in a hundred are no reason to go on."""
    service = Service(lambda candidate: 100.0 + 3 * (candidate.threads == 4))
    best, _ = searched(service.start(), space(THREADS), service.examine)
    assert best.candidate == PLANNED


def test_the_end_of_the_time_keeps_what_was_found() -> None:
    """The best so far is the result, and that more was to be tried is said."""
    service = Service(lambda candidate: 10.0 * candidate.max_batch_size)

    def examine(candidate: Candidate, rate: float) -> Trial:
        if len(service.asked) == 2:
            raise OutOfTime
        return service.examine(candidate, rate)

    best, whole = searched(service.start(), space(), examine)
    assert (best.candidate.max_batch_size, whole) == (128, False)


def test_a_delay_stays_within_the_objective() -> None:
    """What waits for a quarter of the allowed time at most."""
    delays = {PLANNED.having(DELAY, delay).max_queue_delay_us for delay in (0,)}
    candidate = PLANNED
    while (further := space(latency_s=0.004).neighbour(candidate, DELAY, 1)) is not None:
        candidate = further
        delays.add(candidate.max_queue_delay_us)
    assert delays == {0, 100, 300, 1000}


def test_nothing_waits_where_nothing_is_merged() -> None:
    """A batch of one takes the delay with it, and gets none."""
    lone = PLANNED.having(DELAY, 1000).having(BATCH, 1)
    assert lone.max_queue_delay_us == 0
    assert space().neighbour(lone, DELAY, 1) is None


def test_the_share_of_the_cpus_is_a_number_of_threads() -> None:
    """One step from an eighth of the machine is not the same again."""
    eight = PLANNED.having(INSTANCES, 4)
    more, fewer = (space(cpus=8).neighbour(eight, THREADS, step) for step in (1, -1))
    assert more is not None
    assert fewer is not None
    assert (more.threads, fewer.threads) == (4, 1)


def test_a_rate_is_climbed_to_the_edge() -> None:
    """Within what can be told apart, and not a bit beyond."""
    found = climbed(Objective("p99", 0.01), 100.0, queue(1000.0))
    assert found is not None
    assert 900 / (1 + RESOLUTION) <= found.level < 900


def test_what_cannot_beat_the_best_costs_one_measurement() -> None:
    """A candidate that is clearly worse is passed over at once."""
    rates: list[float] = []

    def measure(rate: float) -> LoadPoint:
        rates.append(rate)
        return queue(50.0)(rate)

    assert climbed(Objective("p99", 0.01), 100.0, measure) is None
    assert rates == [100.0]


def test_a_close_miss_gets_a_second_chance() -> None:
    """One hiccup in a short measurement decides nothing."""
    latencies = [0.012, *[0.008] * 20]

    def measure(rate: float) -> LoadPoint:
        return point(rate, latencies.pop(0) if rate < 110 else 10.0)

    found = climbed(Objective("p99", 0.01), 100.0, measure)
    assert found is not None


def test_a_rate_that_only_the_generator_cannot_make_is_not_kept() -> None:
    """Where the load generator is the limit, nothing is known of the service."""
    assert climbed(Objective("p99", 0.01), 100.0, lambda rate: point(rate, 0.001, busy=True)) is None


@pytest.mark.parametrize("guess", [90.0, 900.0, 9000.0])
def test_a_guess_may_be_wrong_either_way(guess: float) -> None:
    """What a second measurement finds does not depend on where it begins."""
    found = around(Objective("p99", 0.01), guess, queue(1000.0))
    assert found is not None
    assert 900 / GROWTH <= found.level < 900


def test_a_budget_ends() -> None:
    """A share of nothing is over at once, and all of much is not."""
    budget = Budget(1000.0)
    budget.check()
    budget.allow(0.0)
    with pytest.raises(OutOfTime):
        budget.check()
