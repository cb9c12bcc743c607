"""Objectives: what was asked for, or what follows from the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from nimify.analysis.analysis import Analysis
from nimify.analysis.measure import Measurement, SweepPoint
from nimify.config import ModelConfig, ObjectivesConfig
from nimify.errors import ConfigError
from nimify.metrics.catalog import DURATION_BUCKETS_S
from nimify.planning.objectives import decide_objectives
from nimify.planning.plan import Basis, Decision
from nimify.planning.planner import plan
from nimify.testing import models

Analyse = Callable[[str], Analysis]


def decided(analysis: Analysis, *, cpus: float = 1, timeout_s: float = 60.0, **asked: Any) -> dict[str, Decision]:
    made = decide_objectives(
        analysis, ObjectivesConfig(**asked), max_batch_size=32, cpus=cpus, request_timeout_s=timeout_s
    )
    return {decision.key.removeprefix("objectives."): decision for decision in made}


@pytest.mark.parametrize("kind", models.ALL)
def test_every_model_gets_objectives_that_can_be_counted(kind: str, analyse: Analyse) -> None:
    """The latency is a bound of the histogram, or nobody could tell how many answers were in time."""
    made = plan(analyse(kind), ModelConfig())
    assert made.value("objectives.latency_s") in DURATION_BUCKETS_S
    assert 0.1 <= made.value("objectives.latency_s") <= made.value("limits.request_timeout_s")
    assert made.value("objectives.availability") == 0.999
    assert made.value("objectives.latency_share") == 0.99
    assert made.value("objectives.runbooks_url") is None


def test_more_work_gets_more_time(analyse: Analyse) -> None:
    """By the estimate: two runs of the largest batch on the planned CPUs, and the next bound above."""
    known = analyse("tiny")
    assert known.compute is not None
    analysis = replace(known, compute=replace(known.compute, total_flops=int(25e9)))
    assert decided(analysis, cpus=32)["latency_s"].value == 2.5
    assert decided(analysis, cpus=8)["latency_s"].value == 10.0
    assert decided(analysis, cpus=8)["latency_s"].basis is Basis.ESTIMATED


def test_without_batching_a_run_is_of_one_item(analyse: Analyse) -> None:
    """Its time is not nothing, though the plan's largest batch is 0 then."""
    known = analyse("tiny")
    assert known.compute is not None
    analysis = replace(known, compute=replace(known.compute, total_flops=int(25e9)))
    made = decide_objectives(analysis, ObjectivesConfig(), max_batch_size=0, cpus=1, request_timeout_s=60.0)
    latency = next(decision for decision in made if decision.key == "objectives.latency_s")
    assert latency.value == 2.5
    assert "1.0 s for the largest batch" in latency.reason


def test_what_was_measured_counts_more_than_the_estimate(analyse: Analyse) -> None:
    """The slowest of a hundred runs of the largest measured batch, twice."""
    points = tuple(SweepPoint(batch, 100, 0.1 * batch, 0.11 * batch, 10.0, 1 << 20) for batch in (1, 8, 64))
    measured = Measurement(0.1, 1 << 20, 1 << 20, 1, {"x": (1, 4)}, points)
    decision = decided(replace(analyse("tiny"), measured=measured))["latency_s"]
    assert (decision.value, decision.basis) == (2.5, Basis.MEASURED)
    assert "0.9 s" in decision.reason or "880" in decision.reason


def test_without_any_figure_it_is_what_people_wait_for(analyse: Analyse) -> None:
    """A second, and never more than a request may take."""
    analysis = replace(analyse("tiny"), compute=None)
    assert decided(analysis)["latency_s"].value == 1.0
    assert decided(analysis, timeout_s=0.3)["latency_s"].value == 0.25
    assert decided(analysis)["latency_s"].basis is Basis.DEFAULT


def test_what_was_asked_for_is_done_and_said_so(analyse: Analyse) -> None:
    """Each of them, with its own basis."""
    asked: dict[str, Any] = {
        "availability": 0.95,
        "latency_s": 2.5,
        "latency_share": 0.9,
        "runbooks_url": "https://example.com/r",
    }
    made = decided(analyse("tiny"), **asked)
    assert {key: decision.value for key, decision in made.items()} == asked
    assert {decision.basis for decision in made.values()} == {Basis.ASKED}


def test_a_latency_that_cannot_be_counted_is_refused_with_one_that_can(analyse: Analyse) -> None:
    """The message names the nearest bound, and all others."""
    with pytest.raises(ConfigError, match=r"does not count by 0.3 s. Take 0.25, or another of: 0.0005, ") as caught:
        decided(analyse("tiny"), latency_s=0.3)
    assert caught.value.field == "objectives.latency_s"


def test_a_latency_beyond_the_deadline_is_refused(analyse: Analyse) -> None:
    """No answer could ever be late."""
    with pytest.raises(ConfigError, match=r"given up after 5 s"):
        decided(analyse("tiny"), timeout_s=5.0, latency_s=10.0)


@pytest.mark.parametrize(
    "asked",
    [{"availability": 1.0}, {"availability": 0.5}, {"availability": 99.9}, {"latency_share": 1.0}, {"latency_s": 0.0}],
)
def test_objectives_that_nobody_can_hold_or_break_are_refused(asked: dict[str, float]) -> None:
    """Without a budget there is nothing to alert on; a percentage is no share."""
    (name,) = asked
    with pytest.raises(ConfigError, match=rf"objectives\.{name}"):
        ModelConfig.build({"objectives": asked})
