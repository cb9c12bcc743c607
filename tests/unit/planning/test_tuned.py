"""What was measured by `nimify tune` becomes a decision with its reason, where nothing else was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nimify.config import ModelConfig
from nimify.planning.plan import Basis, Decision, ServicePlan
from nimify.planning.planner import plan

if TYPE_CHECKING:
    from tests.unit.planning.conftest import Analyse

FOUND = {
    "max_batch_size": {"value": 8, "reason": "Eight was faster."},
    "max_queue_delay_us": {"value": 300, "reason": "Waiting paid."},
    "threads": {"value": 1, "reason": "One thread was enough."},
    "instances": {"value": 2, "reason": "Two processes were faster."},
}


def decided(made: ServicePlan, key: str) -> Decision:
    return next(decision for decision in made.decisions if decision.key == key)


def tuned(analyse: Analyse, model: str = "", **asked: Any) -> ServicePlan:
    analysis = analyse("digits")
    section = {"objective": "p99=20ms", "machine": "A CPU", "model": model or analysis.model.digest, **FOUND}
    return plan(analysis, ModelConfig.build({"tuning": section, **asked}))


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("batching.max_batch_size", "max_batch_size"),
        ("batching.max_queue_delay_us", "max_queue_delay_us"),
        ("threads", "threads"),
        ("resources.instances", "instances"),
    ],
)
def test_what_was_measured_is_decided(key: str, found: str, analyse: Analyse) -> None:
    """With the reason that the measurement gave, in the plan and in what the service reads."""
    made = tuned(analyse)
    decision = decided(made, key)
    expected = FOUND[found]
    assert (decision.value, decision.reason) == (expected["value"], expected["reason"])
    assert decision.basis is Basis.MEASURED
    assert getattr(made.service, found) == expected["value"]


@pytest.mark.parametrize(
    ("asked", "key", "value"),
    [
        ({"batching": {"max_batch_size": 16}}, "batching.max_batch_size", 16),
        ({"batching": {"max_queue_delay_us": 50}}, "batching.max_queue_delay_us", 50),
        ({"batching": {"max_queue_delay_us": 0}}, "batching.max_queue_delay_us", 0),
        ({"threads": 3}, "threads", 3),
        ({"resources": {"instances": 4}}, "resources.instances", 4),
    ],
)
def test_what_the_owner_asks_for_overrules_it(asked: dict[str, Any], key: str, value: int, analyse: Analyse) -> None:
    """A measurement is no wish."""
    decision = decided(tuned(analyse, **asked), key)
    assert (decision.value, decision.basis is Basis.MEASURED) == (value, False)


def test_cpus_follow_the_threads_that_were_measured(analyse: Analyse) -> None:
    """As many as run at once, and on the same basis."""
    decision = decided(tuned(analyse), "resources.cpu")
    assert (decision.value, decision.basis) == (2, Basis.MEASURED)


def test_another_model_is_planned_as_if_nothing_had_been_measured(analyse: Analyse) -> None:
    """And that the section counts for nothing is said, with what to do."""
    made = tuned(analyse, model="sha256:other")
    assert made.decisions == plan(analyse("digits"), ModelConfig()).decisions
    (finding,) = [finding for finding in made.findings if finding.code == "tuning.outdated"]
    assert "nimify tune" in finding.remedy


def test_a_batch_of_one_has_no_delay_left(analyse: Analyse) -> None:
    """What the owner asks for now may leave nothing to wait for; the measured delay then counts for nothing."""
    made = tuned(analyse, batching={"max_batch_size": 1})
    assert decided(made, "batching.max_queue_delay_us").value == 0
