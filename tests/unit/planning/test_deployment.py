"""How a service is deployed: replicas, scaling, probes, the end of a pod, exposure; each with reason and override."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from nimify.analysis.analysis import Analysis
from nimify.analysis.measure import Measurement, SweepPoint
from nimify.config import ModelConfig
from nimify.errors import ConfigError
from nimify.planning.plan import Basis, Decision, ServicePlan
from nimify.planning.planner import plan

Analyse = Callable[[str], Analysis]


def _decision(made: ServicePlan, key: str) -> Decision:
    return next(decision for decision in made.decisions if decision.key == f"deployment.{key}")


def _plan(analysis: Analysis, **deployment: Any) -> ServicePlan:
    return plan(analysis, ModelConfig.build({"deployment": deployment}))


def _measured(analysis: Analysis, *, load_s: float, rate: float) -> Analysis:
    points = (SweepPoint(1, 10, 1 / rate, 1 / rate, rate, 1 << 27),)
    return replace(analysis, measured=Measurement(load_s, 1 << 26, 1 << 27, 2, {}, points))


@pytest.mark.parametrize(
    ("asked", "key", "value"),
    [
        ({"family": "triton"}, "family", "triton"),
        ({"replicas": 5}, "replicas", 5),
        ({"scaling": {"mode": "hpa"}}, "scaling.mode", "hpa"),
        ({"scaling": {"min_replicas": 3}}, "scaling.min_replicas", 3),
        ({"scaling": {"max_replicas": 3}}, "scaling.max_replicas", 3),
        ({"scaling": {"queue_target": 9}}, "scaling.queue_target", 9),
        ({"startup_s": 600}, "startup_s", 600),
        ({"pre_stop_s": 20}, "pre_stop_s", 20),
        ({"expose": {"kind": "ingress", "host": "a.example.com"}}, "expose.kind", "ingress"),
    ],
)
def test_what_was_asked_for_is_taken(asked: dict[str, Any], key: str, value: object, analyse: Analyse) -> None:
    """A setting overrides the decision of its name and becomes its reason."""
    made = _decision(_plan(analyse("digits"), **asked), key)

    assert (made.value, made.basis, made.reason) == (value, Basis.ASKED, "You asked for it.")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"scaling": {"min_replicas": 4, "max_replicas": 3}}, r"max_replicas: 3 are fewer than the least, 4"),
        ({"replicas": 4, "scaling": {"max_replicas": 3}}, r"max_replicas: 3 are fewer than the least, 4"),
        ({"scaling": {"mode": "keda"}}, r"scaling\.prometheus: KEDA asks Prometheus"),
        ({"expose": {"kind": "ingress"}}, r"expose\.host: the name that clients ask for is missing"),
        ({"expose": {"host": "a.example.com"}}, r"expose\.kind: a host is given"),
        ({"expose": {"kind": "gateway", "host": "a.example.com"}}, r"expose\.gateway: names the Gateway"),
        ({"expose": {"gateway": "public"}}, r"expose\.gateway: names the Gateway"),
        ({"replicas": 0}, r"deployment\.replicas"),
        ({"family": "gpu"}, r"deployment\.family"),
        ({"scaling": {"mode": "keda", "prometheus": "prometheus:9090"}}, r"deployment\.scaling\.prometheus"),
        ({"expose": {"kind": "ingress", "host": "A.example.com"}}, r"deployment\.expose\.host"),
        ({"expose": {"kind": "ingress", "host": "a.example.com\n"}}, r"deployment\.expose\.host"),
        ({"node_selector": {"a b": "c"}}, r"deployment\.node_selector"),
        ({"node_selector": {"a": "trailing-"}}, r"deployment\.node_selector"),
        ({"replica": 2}, r"Did you mean 'replicas'"),
    ],
)
def test_what_cannot_be_is_an_error(asked: dict[str, Any], words: str, analyse: Analyse) -> None:
    """A wish that contradicts itself, or is no valid text for Kubernetes, names its setting."""
    with pytest.raises(ConfigError, match=words):
        _plan(analyse("digits"), **asked)


def test_the_startup_budget_is_three_times_what_loading_takes(analyse: Analyse) -> None:
    """It says whether the load was measured or estimated, and never falls below a minute."""
    estimated = _decision(_plan(analyse("digits")), "startup_s")
    measured = _decision(_plan(_measured(analyse("digits"), load_s=100.0, rate=10)), "startup_s")

    assert (estimated.value, estimated.basis) == (70, Basis.ESTIMATED)
    assert (measured.value, measured.basis) == (360, Basis.MEASURED)
    assert "100.0 s were measured" in measured.reason


def test_triton_has_time_to_start_and_to_build_engines(analyse: Analyse) -> None:
    """The server and TensorRT count only where they run."""
    analysis = analyse("digits")

    def startup(**config: Any) -> int:
        value = plan(analysis, ModelConfig.build(config)).value("deployment.startup_s")
        assert isinstance(value, int)
        return value

    plain = startup(deployment={"family": "triton"})
    with_engines = startup(deployment={"family": "triton"}, tensorrt={"enabled": True})

    assert startup(tensorrt={"enabled": True}) < plain < with_engines


@pytest.mark.parametrize("family", ["cpu", "triton"])
def test_the_grace_is_the_sum_of_its_parts(family: str, analyse: Analyse) -> None:
    """preStop, then the service's own drain and grace as its limits say, then a margin."""
    config = ModelConfig.build({"limits": {"drain_s": 7.5, "shutdown_grace_s": 40}, "deployment": {"family": family}})
    made = plan(analyse("digits"), config)

    assert _decision(made, "termination_grace_s").value == _decision(made, "pre_stop_s").value + 8 + 40 + 5


def test_the_embedded_engine_stops_within_the_default_grace(analyse: Analyse) -> None:
    """With the defaults it fits the 30 seconds that the NIM Operator leaves alone."""
    assert _decision(_plan(analyse("digits")), "termination_grace_s").value == 30


def test_the_queue_target_follows_what_was_measured(analyse: Analyse) -> None:
    """A tenth of a second's work, at least one request, and never more than half of the queue."""
    targets = [
        _decision(_plan(_measured(analyse("digits"), load_s=1.0, rate=rate)), "scaling.queue_target")
        for rate in (2.0, 400.0, 10**9)
    ]

    assert [target.value for target in targets] == [1, 40, 512]
    assert {target.basis for target in targets} == {Basis.MEASURED}
    assert _decision(_plan(analyse("digits")), "scaling.queue_target").value == 32


def test_routes_wait_longer_than_the_service(analyse: Analyse) -> None:
    """So a client gets the service's own answer to a late request."""
    config = ModelConfig.build({"limits": {"request_timeout_s": 12.5}})

    assert plan(analyse("digits"), config).value("deployment.route_timeout_s") == 18


def test_triton_gets_memory_and_a_cache_of_its_own(analyse: Analyse) -> None:
    """What a pod is given beside the engine depends on the family."""
    cpu, triton = (_plan(analyse("digits"), family=family) for family in ("cpu", "triton"))

    assert cpu.value("deployment.memory") == cpu.value("resources.memory")
    assert triton.value("deployment.memory") >= cpu.value("deployment.memory") + (2 << 30)
    assert triton.value("deployment.memory_limit") > triton.value("deployment.memory")


def test_memory_that_was_asked_for_is_the_whole_pods(analyse: Analyse) -> None:
    """Nobody is given more than the limit that they set."""
    asked = {"resources": {"memory": "3Gi", "memory_limit": "4Gi"}, "deployment": {"family": "triton"}}
    made = plan(analyse("digits"), ModelConfig.build(asked))

    memory, limit = _decision(made, "memory"), _decision(made, "memory_limit")
    assert (memory.value, memory.basis) == (3 << 30, Basis.ASKED)
    assert (limit.value, limit.basis) == (4 << 30, Basis.ASKED)


def test_a_limit_without_room_for_triton_is_refused(analyse: Analyse) -> None:
    """Triton alone is reserved more than the limit."""
    asked = {"resources": {"memory_limit": "1Gi"}, "deployment": {"family": "triton"}}

    with pytest.raises(ConfigError, match=r"resources\.memory_limit: 1\.1 GB are less than"):
        plan(analyse("digits"), ModelConfig.build(asked))


def test_a_pods_memory_is_as_well_founded_as_the_engines(analyse: Analyse) -> None:
    """The embedded engine is all that such a pod runs, so an estimate stays one."""
    made = _plan(analyse("digits"), family="cpu")
    engine = next(decision for decision in made.decisions if decision.key == "resources.memory")

    assert _decision(made, "memory").basis is engine.basis is Basis.ESTIMATED
