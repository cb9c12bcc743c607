"""Quantiles of what happened between two readings."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nimify.metrics.catalog import DURATION_BUCKETS_S
from nimify.monitoring.histogram import added, difference, observations, quantile, sizes

BOUNDS = (*DURATION_BUCKETS_S, math.inf)


def cumulated(values: list[float]) -> dict[float, float]:
    return {bound: float(sum(value <= bound for value in values)) for bound in BOUNDS}


@given(
    st.lists(st.floats(0.0001, 29.0), min_size=1, max_size=50),
    st.sampled_from([0.5, 0.95, 0.99]),
)
def test_a_quantile_lies_in_the_bucket_of_the_true_one(values: list[float], fraction: float) -> None:
    """Interpolation may err within a bucket, never across one."""
    found = quantile(cumulated(values), fraction)
    true = float(np.quantile(values, fraction, method="inverted_cdf"))

    assert found is not None
    upper = min(bound for bound in BOUNDS if bound >= true)
    lower = max([0.0, *(bound for bound in BOUNDS if bound < true)])
    assert lower <= found <= upper


def test_nothing_observed_has_no_quantile() -> None:
    """`None`, and not zero seconds."""
    assert quantile(cumulated([]), 0.5) is None
    assert quantile({}, 0.5) is None


def test_what_lies_beyond_the_last_bound_is_told_as_that_bound() -> None:
    """There is no telling how far beyond."""
    assert quantile(cumulated([100.0]), 0.99) == 30.0


def test_only_the_window_counts() -> None:
    """What was observed before the first reading does not show in the difference."""
    early, late = cumulated([0.001] * 1000), cumulated([0.001] * 1000 + [2.0] * 10)

    window = difference(late, early)

    assert observations(window) == 10
    assert quantile(window, 0.5) == pytest.approx(1.75)


def test_a_histogram_that_was_reset_counts_from_nothing() -> None:
    """After a restart the counts are smaller; nothing becomes negative."""
    window = difference(cumulated([0.2]), cumulated([0.2] * 5))

    assert observations(window) == 1
    assert min(window.values()) >= 0


def test_histograms_of_several_replicas_add_up() -> None:
    """The sum over replicas has the quantiles of all their requests; foreign bounds are left out."""
    together = added([cumulated([0.001] * 3), {**cumulated([4.0]), 3.0: 0.0}])

    assert observations(together) == 4
    assert 3.0 not in together
    assert added([]) == {}


def test_sizes_are_the_buckets_by_themselves() -> None:
    """Cumulated counts become counts, and empty buckets do not show."""
    assert sizes({1.0: 2.0, 2.0: 2.0, 4.0: 5.0, math.inf: 5.0}) == {1.0: 2.0, 4.0: 3.0}
