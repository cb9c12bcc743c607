"""Every alert, seen firing once: a real Prometheus, real services, and a fault for each."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.monitoring.conftest import Prometheus, StartPrometheus, Watched
from tests.ports import free_port

from nimify import ModelConfig, Nimifier
from nimify.artifacts.monitoring.panel import Row
from nimify.artifacts.monitoring.panels import rows
from nimify.artifacts.monitoring.rules import alerts, rules
from nimify.artifacts.monitoring.watched import WatchedService
from nimify.tensors import DATATYPES
from nimify.testing import models
from nimify.testing.graph_builder import GraphBuilder

if TYPE_CHECKING:
    import onnx
    from tests.conftest import RunningService, ServiceStarter

pytestmark = pytest.mark.monitoring

SPEED = 40.0
"""An hour's window takes a minute and a half."""
QUEUE_LIMIT = 80
"""Some forty seconds of growth: longer than the alert wants to see it, so that a late scrape costs it nothing."""
SLOW = 3_000_000
"""What the slow model counts to: some seconds."""
FAULTS = {
    "NimErrorBudgetBurn": "overloaded",
    "NimLatencyBudgetBurn": "overloaded",
    "NimQueueGrowing": "overloaded",
    "NimQueueNearlyFull": "overloaded",
    "NimConnectionsNearlyExhausted": "overloaded",
    "NimMemoryNearLimit": "overloaded",
    "NimAbsent": "ended",
    "NimReplicaDown": "ended",
    "NimNotReady": "stopping",
    "NimNoneReady": "stopping",
    "NimLoadFailing": "failing",
    "NimRestarting": "failing",
    "NimWorkersDying": "dying",
    "NimModelDrift": "drifted",
}
"""Each alert, and the service that has the fault."""
NOT_HERE = {
    "GPU, as the DCGM exporter sees it",
    "Triton's own metrics (port 8002, where Triton is the engine and is scraped)",
}
"""Rows whose series come from programs that do not run here."""


@dataclass(frozen=True)
class Made:
    """A bundle and what watches it."""

    folder: Path
    service: WatchedService


def counting_model() -> onnx.ModelProto:
    """`x` INT64[n] to `y` = x + its maximum, in a time that grows with the maximum."""
    graph = GraphBuilder("steps")
    x = graph.input("x", "INT64", ["n"])
    trips = graph.op("ReduceMax", x, keepdims=0)
    count(graph, graph.op("Cast", x, to=DATATYPES["FP32"].onnx), trips)
    return graph.model()


def endless_model() -> onnx.ModelProto:
    """The same signature, and a warm-up that takes minutes."""
    graph = GraphBuilder("steps")
    x = graph.input("x", "INT64", ["n"])
    count(graph, graph.op("Cast", x, to=DATATYPES["FP32"].onnx), graph.constant(500_000_000, "int64"))
    return graph.model()


def count(graph: GraphBuilder, start: str, trips: str) -> None:
    body = GraphBuilder("body")
    body.input("step", "INT64", [])
    body.input("go_on", "BOOL", [])
    state = body.input("state", "FP32", ["n"])
    body.output(body.op("Identity", "go_on", out="go_on_out"), "BOOL", [])
    body.output(body.op("Add", state, body.constant(1.0), out="state_out"), "FP32", ["n"])
    graph.op("Loop", trips, graph.constant(True, "bool"), start, out="y", body=body.graph())
    graph.output("y", "FP32", ["n"])


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Made]:
    """Make a bundle, and what is to be watched of it."""

    def made(name: str, model: onnx.ModelProto, **config: Any) -> Made:
        folder = tmp_path_factory.mktemp(name)
        path = models.save(model, folder / "model.onnx")
        nimifier = Nimifier(ModelConfig.build({"name": name, "threads": 1, **config}))
        draft = nimifier.draft(path, folder / "bundle")
        draft.write()
        return Made(draft.folder, WatchedService.of(draft.plan, speed=SPEED))

    return made


@dataclass(frozen=True)
class Faults:
    """Services with a fault each, one without, and the Prometheus that watches them all."""

    prometheus: Prometheus
    healthy: WatchedService


@pytest.fixture(scope="module")
def faults(
    make: Callable[..., Made], start_service: ServiceStarter, start_prometheus: StartPrometheus
) -> Iterator[Faults]:
    """Everything runs once, side by side; the tests ask what became of it."""
    healthy = make("healthy", models.tiny(), objectives={"latency_s": 10.0})
    overloaded = make(
        "overloaded",
        counting_model(),
        batching={"max_batch_size": 0},
        limits={"max_queue_size": QUEUE_LIMIT, "max_connections": 90},
        resources={"memory": "32Mi", "memory_limit": "32Mi"},
        objectives={"latency_s": 0.0005},
    )
    failing = make("failing", counting_model())
    (file,) = failing.folder.glob("model_repository/*/1/model.onnx")
    file.write_bytes(endless_model().SerializeToString())
    drifted, planned = make("drifted", models.digits_mlp()), make("drifted", models.tiny())
    made = {"healthy": healthy, "overloaded": overloaded, "drifted": drifted}
    made |= {name: make(name, models.tiny()) for name in ("ended", "stopping", "dying")}
    options = {"dying": ("--workers", "2"), "stopping": ("--drain", "600")}
    running = {name: start_service(one.folder, "--no-grpc", *options.get(name, ())) for name, one in made.items()}
    port = free_port()
    watched = [
        Watched(one.service, f"127.0.0.1:{running[name].port}") for name, one in made.items() if name != "drifted"
    ]
    watched += [
        Watched(planned.service, f"127.0.0.1:{running['drifted'].port}"),
        Watched(failing.service, f"127.0.0.1:{port}"),
    ]
    prometheus = start_prometheus(watched)
    prometheus.wait_until(lambda: len(prometheus.query("nim_ready == 1")) == len(running), "the first scrape of all")

    running["ended"].stop(signal.SIGKILL)
    running["stopping"].process.send_signal(signal.SIGTERM)
    os.kill(worker_of(running["dying"]), signal.SIGKILL)
    over = threading.Event()
    threads = [
        threading.Thread(target=ask_steadily, args=(running["healthy"], over)),
        threading.Thread(target=overload, args=(running["overloaded"], over)),
        threading.Thread(target=restart, args=(failing.folder, port, start_service, prometheus, over)),
    ]
    for thread in threads:
        thread.start()
    yield Faults(prometheus, healthy.service)
    over.set()
    for thread in threads:
        thread.join()


def worker_of(service: RunningService) -> int:
    """A worker process of a service that has several."""
    children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text().split()
    return int(children[-1])


def ask_steadily(service: RunningService, over: threading.Event) -> None:
    """Requests as a service has them on a good day."""
    body = json.dumps({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}).encode()
    while not over.wait(0.05):
        request = urllib.request.Request(f"{service.url}/v2/models/healthy/infer", body)
        urllib.request.urlopen(request, timeout=60).close()


def overload(service: RunningService, over: threading.Event) -> None:
    """Send more requests than are answered, each on a connection of its own, until the queue is full and beyond."""
    body = json.dumps({"inputs": [{"name": "x", "shape": [1], "datatype": "INT64", "data": [SLOW]}]}).encode()
    head = f"POST /v2/models/overloaded/infer HTTP/1.1\r\nhost: test\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    with ExitStack() as waiting:
        for number in itertools.count():
            if over.wait(0.5):
                return
            connection = waiting.enter_context(socket.create_connection(("127.0.0.1", service.port), timeout=30))
            connection.sendall(head + body)
            if number > QUEUE_LIMIT + 2:  # refused, or an answer to another one makes room for it
                connection.shutdown(socket.SHUT_WR)


def restart(
    folder: Path, port: int, start_service: ServiceStarter, prometheus: Prometheus, over: threading.Event
) -> None:
    """Start a service that never gets ready, and end it once it was seen, again and again."""
    options = ("--no-grpc", "--no-verify", "--port", str(port))
    seen: set[str] = set()
    while not over.is_set() and not {"NimLoadFailing", "NimRestarting"} <= prometheus.fired("failing"):
        service = start_service(folder, *options, wait_ready=False)
        while not over.wait(0.1):
            starts = {sample["value"][1] for sample in prometheus.query('process_start_time_seconds{job="failing"}')}
            if starts - seen:
                seen |= starts
                break
        service.stop(signal.SIGKILL)


def test_every_alert_has_a_fault(faults: Faults) -> None:
    """A new alert needs a fault here."""
    assert {alert.name for alert in alerts(faults.healthy)} == set(FAULTS)


@pytest.mark.parametrize("name", FAULTS)
def test_each_alert_fires_under_its_fault(name: str, faults: Faults) -> None:
    """The fault makes the alert fire, and its words are complete."""
    prometheus, job = faults.prometheus, FAULTS[name]
    prometheus.wait_until(lambda: name in prometheus.fired(job), f"{name} of {job}")
    for alert in prometheus.ask("alerts")["alerts"]:
        assert alert["labels"]["severity"] in {"critical", "warning"}
        for text in alert["annotations"].values():
            assert "error expanding" not in text
            assert "{{" not in text
            assert "<no value>" not in text


def test_a_healthy_service_sets_off_no_alert(faults: Faults) -> None:
    """While others fail around it, nothing is said of a service that answers."""
    prometheus = faults.prometheus
    prometheus.wait_until(lambda: prometheus.query('job:nim_requests:rate5m{job="healthy"} > 0'), "some traffic")
    started_s = time.monotonic()
    prometheus.wait_until(lambda: time.monotonic() - started_s > 1800 / SPEED, "half an hour at this speed")
    assert prometheus.fired("healthy") == set()


def test_every_rule_is_answered(faults: Faults) -> None:
    """Each recording rule has recorded something, and no rule failed."""
    prometheus = faults.prometheus
    recorded = {
        rule["record"] for group in rules(faults.healthy)["groups"] for rule in group["rules"] if "record" in rule
    }
    for name in sorted(recorded):
        prometheus.wait_until(lambda name=name: prometheus.query(f'{name}{{job="healthy"}}'), name)  # type: ignore[misc]  # a default binds the name
    for group in prometheus.ask("rules")["groups"]:
        for rule in group["rules"]:
            assert rule["health"] in {"ok", "unknown"}, rule


def expressions(row: Row, service: WatchedService) -> list[str]:
    """The queries of a row, with the variables as Grafana sets them for one service."""
    variables = {"$namespace": ".*", "$service": service.name, "$instance": ".*", "$__rate_interval": "10s"}
    queries = [query.expr for panel in row.panels for query in panel.queries]
    for variable, value in variables.items():
        queries = [query.replace(variable, value) for query in queries]
    return queries


def test_every_query_of_the_dashboard_is_answered(faults: Faults) -> None:
    """A live Prometheus takes each expression, and those about the service itself have data."""
    prometheus = faults.prometheus
    for row in rows(faults.healthy):
        for expr in expressions(row, faults.healthy):
            assert "$" not in expr
            if row.title in NOT_HERE:
                assert prometheus.query(expr) == []
            else:
                prometheus.wait_until(lambda expr=expr: prometheus.query(expr), expr)  # type: ignore[misc]  # a default binds it
