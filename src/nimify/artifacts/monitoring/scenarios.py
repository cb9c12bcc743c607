"""What the rules are tested with: series as Prometheus would have scraped them, and the alerts that must follow.

Every alert has scenarios in which it fires and scenarios, just as close to it, in which it must stay silent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from nimify.artifacts.monitoring.alert import Alert
from nimify.artifacts.monitoring.burn_rates import reachable
from nimify.artifacts.monitoring.objectives import ERROR_BUDGET, LATENCY_BUDGET, error_budget, slow_budget
from nimify.artifacts.monitoring.promql import number, quoted
from nimify.artifacts.monitoring.rules import alerts
from nimify.artifacts.monitoring.saturation import queue_threshold
from nimify.artifacts.monitoring.watched import WatchedService

A_MINUTE: Final = 1_000_000
"""Requests in a minute; many, so that the smallest budget is a whole number of them."""
_Counted: TypeAlias = Callable[[int], dict[str, int]]
"""How much each series grows in a minute in which that many requests went wrong."""
_NAMESPACE: Final = "production"
_FIRST: Final = "10.0.0.1:8000"
_SECOND: Final = "10.0.0.2:8000"


@dataclass(frozen=True, slots=True)
class Firing:
    """An alert that must fire.

    Attributes:
        alert: The rule.
        labels: What its series carry, without the labels of the rule itself.
        shown: Its value, as its description shows it.
    """

    alert: Alert
    labels: Mapping[str, str]
    shown: str = ""


@dataclass(frozen=True, slots=True)
class Scenario:
    """What was scraped once a minute, and which alerts of one name fire in the end.

    Attributes:
        name: What happens, in words.
        alert: The name of the alert.
        series: Values in promtool's notation, by series.
        at: When to look, as a duration.
        firing: The alerts that fire; none when it must stay silent.
    """

    name: str
    alert: str
    series: Mapping[str, str]
    at: str
    firing: tuple[Firing, ...] = field(default=())


def scenarios(service: WatchedService) -> list[Scenario]:
    """Every scenario of a service's rules."""
    known = _Known(service)
    return [
        *_error_budget(known),
        *_latency_budget(known),
        *_queue(known),
        *_limits(known),
        *_unavailable(known),
        *_replicas(known),
        *_restarts(known),
        *_drift(known),
    ]


class _Known:
    """The rules by name, and how series of the service are called."""

    def __init__(self, service: WatchedService) -> None:
        self.service = service
        self._alerts = alerts(service)

    def rules(self, name: str) -> list[Alert]:
        return [alert for alert in self._alerts if alert.name == name]

    def target(self, instance: str = _FIRST) -> dict[str, str]:
        return {"namespace": _NAMESPACE, "job": self.service.name, "instance": instance}

    @property
    def whole(self) -> dict[str, str]:
        return {"namespace": _NAMESPACE, "job": self.service.name}

    def series(self, metric: str, instance: str = _FIRST, **labels: str) -> str:
        pairs = {**self.target(instance), **labels}
        return f"{metric}{{{', '.join(f'{name}={quoted(value)}' for name, value in pairs.items())}}}"

    def one(self, name: str, labels: Mapping[str, str], shown: str = "") -> tuple[Firing, ...]:
        (alert,) = self.rules(name)
        return (Firing(alert, labels, shown),)


def _error_budget(known: _Known) -> Iterator[Scenario]:
    ok, bad = known.series("nv_inference_request_success"), known.series("nim_request_errors_total", type="internal")
    yield from _budget(known, ERROR_BUDGET, error_budget(known.service), "fail", lambda n: {bad: n, ok: A_MINUTE - n})


def _latency_budget(known: _Known) -> Iterator[Scenario]:
    bound = number(known.service.latency_s)
    in_time = known.series("nim_request_duration_seconds_bucket", le=bound)
    answered = known.series("nim_request_duration_seconds_count")
    slow = slow_budget(known.service)
    yield from _budget(known, LATENCY_BUDGET, slow, "are late", lambda n: {in_time: A_MINUTE - n, answered: A_MINUTE})


def _budget(known: _Known, name: str, budget: float, what: str, counted: _Counted) -> Iterator[Scenario]:
    """Each rate of burning in turn, a bearable rate, and a burst that is over."""
    rates = reachable(budget)
    rules = known.rules(name)
    for rate in rates:
        bad = min(round(1.1 * rate.factor * budget * A_MINUTE), A_MINUTE)
        share = bad / A_MINUTE
        burning = [rule for rule, other in zip(rules, rates, strict=True) if other.factor * budget < share]
        yield Scenario(
            f"{share * 100:.4g}% {what}: {rate.factor:g} times the budget",
            name,
            {series: f"0+{step}x60" for series, step in counted(bad).items()},
            "1h",
            tuple(Firing(rule, known.whole, f"{share * 100:.4g}%") for rule in burning),
        )
    bearable = counted(round(0.5 * budget * A_MINUTE))
    yield Scenario(
        f"half the budget: few {what}", name, {series: f"0+{step}x60" for series, step in bearable.items()}, "1h"
    )
    during, after = counted(A_MINUTE), counted(0)
    burst = {series: f"0+{during[series]}x60 {60 * during[series]}+{after[series]}x420" for series in during}
    yield Scenario(f"all {what} for an hour, and none for seven since", name, burst, "8h")


def _queue(known: _Known) -> Iterator[Scenario]:
    name, many = "NimQueueGrowing", queue_threshold(known.service)
    waiting = known.series("nv_inference_pending_request_count")
    yield Scenario("the queue grows", name, {waiting: f"0+{many}x60"}, "40m", known.one(name, known.whole))
    yield Scenario("the queue is long, and does not grow", name, {waiting: f"{3 * many}x60"}, "40m")
    yield Scenario("the queue grows for five minutes", name, {waiting: f"0+{many}x5 0x30"}, "20m")


def _limits(known: _Known) -> Iterator[Scenario]:
    for name, used, limit in (
        ("NimQueueNearlyFull", "nv_inference_pending_request_count", "nim_queue_limit"),
        ("NimConnectionsNearlyExhausted", "nim_http_connections", "nim_http_connections_limit"),
    ):
        full = {known.series(used): "90x20", known.series(limit): "100x20"}
        half = {known.series(used): "50x20", known.series(limit): "100x20"}
        yield Scenario("nine tenths are taken", name, full, "10m", known.one(name, known.target(), "90%"))
        yield Scenario("half is taken", name, half, "10m")
    name, memory = "NimMemoryNearLimit", known.series("process_resident_memory_bytes")
    limit_bytes = known.service.memory_limit_bytes
    if limit_bytes is None:
        return
    nearly, plenty = {memory: f"{round(0.95 * limit_bytes)}x30"}, {memory: f"{round(0.5 * limit_bytes)}x30"}
    yield Scenario("memory is nearly used up", name, nearly, "20m", known.one(name, known.target()))
    yield Scenario("half of the memory is used", name, plenty, "20m")


def _unavailable(known: _Known) -> Iterator[Scenario]:
    name, up, down = "NimAbsent", known.series("up"), known.series("up", _SECOND)
    yield Scenario("there is no target", name, {}, "10m", known.one(name, {}))
    yield Scenario("every target is down", name, {up: "0x20", down: "0x20"}, "10m", known.one(name, {}))
    yield Scenario("one of two targets is down", name, {up: "1x20", down: "0x20"}, "10m")
    name, first, second = "NimNoneReady", known.series("nim_ready"), known.series("nim_ready", _SECOND)
    none = {first: "0x20", second: "0x20"}
    yield Scenario("no replica is ready", name, none, "10m", known.one(name, known.whole))
    yield Scenario("one of two replicas is ready", name, {first: "0x20", second: "1x20"}, "10m")


def _replicas(known: _Known) -> Iterator[Scenario]:
    name, up = "NimReplicaDown", known.series("up")
    yield Scenario("a target is down", name, {up: "0x20"}, "10m", known.one(name, known.target()))
    yield Scenario("a target was down for two minutes", name, {up: "1x5 0x1 1x20"}, "10m")
    name, ready = "NimNotReady", known.series("nim_ready")
    yield Scenario("a replica never gets ready", name, {ready: "0x30"}, "20m", known.one(name, known.target()))
    yield Scenario("a replica takes five minutes to load", name, {ready: "0x5 1x30"}, "20m")
    name, started = "NimLoadFailing", known.series("process_start_time_seconds")
    starts = "100x5 200x5 300x20"
    failing = known.one(name, known.target(), "2")
    yield Scenario("starts again and again, never ready", name, {started: starts, ready: "0x30"}, "15m", failing)
    yield Scenario("starts again, and then is ready", name, {started: starts, ready: "0x10 1x20"}, "15m")


def _restarts(known: _Known) -> Iterator[Scenario]:
    name, started = "NimRestarting", known.series("process_start_time_seconds")
    often = {started: "100x5 200x5 300x5 400x20"}
    yield Scenario("three restarts within an hour", name, often, "30m", known.one(name, known.target(), "3"))
    yield Scenario("one restart", name, {started: "100x5 200x30"}, "30m")
    name, deaths = "NimWorkersDying", known.series("nim_worker_restarts_total")
    yield Scenario("a worker died", name, {deaths: "0x5 1x20"}, "15m", known.one(name, known.target()))
    yield Scenario("workers live", name, {deaths: "3x30"}, "15m")


def _drift(known: _Known) -> Iterator[Scenario]:
    name, service = "NimModelDrift", known.service
    labels = {"version": "1.0", "engine": "onnxruntime", "model": service.name}
    other = {**labels, "model_digest": "sha256:" + "0" * 64}
    planned = {**labels, "model_digest": service.model_digest}
    drifted = {known.series("nim_build_info", _FIRST, **other): "1x60"}
    firing = known.one(name, {**known.target(), **other})
    yield Scenario("another model is served", name, drifted, "45m", firing)
    yield Scenario(
        "the planned model is served", name, {known.series("nim_build_info", _FIRST, **planned): "1x60"}, "45m"
    )
    rolling = {known.series("nim_build_info", _FIRST, **other): "1x10"}
    yield Scenario("another model is served during a rollout", name, rolling, "45m")
