"""Only what is better beyond the noise is changed, and of several changes only those that make a difference."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle

import pytest

from nimify.tuning.candidate import BATCH, INSTANCES, THREADS, Candidate
from nimify.tuning.repeats import Repeats, Samples

START = Candidate(max_batch_size=32, max_queue_delay_us=0, threads=0, instances=1)


def repeats(rate: Callable[[Candidate], float], *noise: float) -> Repeats:
    """Measurements that a formula gives, each disturbed by the next share of the noise."""
    shares = cycle(noise or (0.0,))
    return Repeats(lambda candidate, _: rate(candidate) * (1 + next(shares)), 3)


@pytest.mark.parametrize(
    ("rates", "others", "exceeds"),
    [
        ((200, 205, 210), (100, 101, 102), True),
        ((200, 205, 310), (100, 101, 102), False),  # its own spread is larger than the gain
        ((200, 205, 210), (60, 150, 190), False),  # the other's is
        ((105, 105, 105), (100, 100, 100), False),  # less than can be told apart
        ((100, 101, 102), (200, 201, 202), False),
        ((100, 100, 100), (0, 0, 0), True),
    ],
)
def test_a_gain_must_exceed_both_spreads(rates: tuple[float, ...], others: tuple[float, ...], exceeds: bool) -> None:
    """The medians must lie further apart than the measurements of either do."""
    assert Samples(rates).clearly_exceed(Samples(others)) is exceeds


def test_what_only_noise_made_better_is_not_changed() -> None:
    """Three measurements that jump about by a third say nothing about a gain of a tenth."""
    made = repeats(lambda candidate: 110.0 if candidate.max_batch_size == 8 else 100.0, -0.2, 0.15, 0.0, 0.1)
    assert made.worth_changing(START, START.having(BATCH, 8), 100.0) == ()


def test_of_two_changes_the_one_that_makes_no_difference_is_taken_back() -> None:
    """The search may have gone along with it by chance."""
    made = repeats(lambda candidate: 300.0 if candidate.max_batch_size == 8 else 100.0, 0.0, 0.02, -0.02)
    best = START.having(BATCH, 8).having(THREADS, 1)
    (change,) = made.worth_changing(START, best, 300.0)
    assert (change.setting, change.before, change.after) == (BATCH, 32, 8)
    assert change.gained.median > 2 * change.otherwise.median


def test_changes_that_only_help_together_are_both_kept() -> None:
    """Without either of them the service does worse."""

    def rate(candidate: Candidate) -> float:
        return 300.0 if candidate.max_batch_size == 8 and candidate.instances == 2 else 100.0

    made = repeats(rate, 0.0, 0.02, -0.02)
    changes = made.worth_changing(START, START.having(BATCH, 8).having(INSTANCES, 2), 300.0)
    assert {change.setting for change in changes} == {BATCH, INSTANCES}


def test_what_is_measured_in_turns_is_measured_as_often() -> None:
    """A machine that becomes slower meanwhile is slower for both."""
    order: list[int] = []

    def sample(candidate: Candidate, guess: float) -> float:
        order.append(candidate.max_batch_size)
        return guess

    made = Repeats(sample, 3)
    made.alternate({START: 100.0, START.having(BATCH, 8): 200.0})
    assert order == [32, 8, 32, 8, 32, 8]
    assert made.of(START, 1.0).rates == (100.0, 100.0, 100.0)
