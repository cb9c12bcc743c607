"""Clients that say exactly what goes over the wire, and readers that accept only what is well formed."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

from nimify.tensors import DATATYPES
from nimify.testing.graph_builder import GraphBuilder

if TYPE_CHECKING:
    import onnx
    from tests.conftest import RunningService

TIMEOUT_S = 60.0
"""How long a test waits for a byte: a service that takes longer hangs."""


@dataclass(frozen=True)
class Answer:
    """A whole HTTP response; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Wire:
    """A TCP connection to a service that sends bytes as they are, whole requests or not."""

    def __init__(self, port: int, *, timeout_s: float = TIMEOUT_S, receive_buffer: int = 0) -> None:
        self._socket = socket.socket()
        if receive_buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(timeout_s)
        self._socket.connect(("127.0.0.1", port))
        self._received = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection in order; again if it is ended already."""
        self._socket.close()

    def send(self, data: bytes) -> bool:
        """Send bytes; false when the service has cut the connection meanwhile."""
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def half_close(self) -> None:
        """Say that nothing more will be sent."""
        self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Vanish: the service gets a reset instead of an orderly end."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def answer(self, *, to_head: bool = False) -> Answer | None:
        """The next response; `None` when the service ends the connection instead."""
        while b"\r\n\r\n" not in self._received:
            if not self._receive():
                assert not self._received, f"half a response: {self._received!r}"
                return None
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        status_line, *lines = head.decode("ascii").split("\r\n")
        assert re.fullmatch(r"HTTP/1\.1 [1-5]\d\d [ -~]+", status_line), status_line
        headers: dict[str, str] = {}
        for line in lines:
            name, separator, value = line.partition(": ")
            assert separator, line
            assert name.lower() not in headers, f"{name} is given twice"
            headers[name.lower()] = value
        status = int(status_line[9:12])
        length = 0 if status == 100 or to_head else int(headers["content-length"])
        while len(self._received) < length:
            assert self._receive(), "the body is cut short"
        body, self._received = self._received[:length], self._received[length:]
        return Answer(status, headers, body)

    def at_end(self) -> bool:
        """Whether the service ends the connection without another byte."""
        return not self._received and not self._receive()

    def _receive(self) -> bool:
        try:
            data = self._socket.recv(1 << 16)
        except ConnectionResetError:
            return False
        self._received += data
        return bool(data)


@dataclass(frozen=True)
class Family:
    """One metric family of a scrape: samples by name and sorted labels."""

    kind: str
    samples: dict[tuple[str, tuple[tuple[str, str], ...]], float] = field(default_factory=dict)


class Scrape:
    """The Prometheus text format 0.0.4, read strictly."""

    _SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)")
    _LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\n"])*)"(,|$)')

    def __init__(self, text: str) -> None:
        assert text.endswith("\n"), "the last line must end"
        self.families: dict[str, Family] = {}
        helped: set[str] = set()
        family, name = Family(""), ""
        for line in text.splitlines():
            if line.startswith("# HELP "):
                name = line.split(" ", 3)[2]
                assert name not in helped, f"{name} is described twice"
                helped.add(name)
            elif line.startswith("# TYPE "):
                _, _, typed, kind = line.split(" ")
                assert typed == name, "TYPE must follow HELP"
                assert kind in {"counter", "gauge", "histogram"}
                family = self.families.setdefault(name, Family(kind))
            else:
                self._add(family, name, line)
        for name, family in self.families.items():
            assert family.samples, f"{name} has no sample"
            if family.kind == "histogram":
                self._check_histogram(name, family)

    def _add(self, family: Family, name: str, line: str) -> None:
        match = self._SAMPLE.fullmatch(line)
        assert match, f"not a sample: {line!r}"
        suffixes = ("_bucket", "_sum", "_count") if family.kind == "histogram" else ("",)
        assert match[1] in {name + suffix for suffix in suffixes}, line
        labels, position, text = [], 0, match[2] or ""
        while position < len(text):
            label = self._LABEL.match(text, position)
            assert label, f"not a label: {text[position:]!r}"
            labels.append((label[1], label[2]))
            position = label.end()
        key = (match[1], tuple(sorted(labels)))
        assert key not in family.samples, f"the series is given twice: {line}"
        family.samples[key] = float(match[3])

    @staticmethod
    def _check_histogram(name: str, family: Family) -> None:
        buckets: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = {}
        for (sample, labels), value in family.samples.items():
            if sample == f"{name}_bucket":
                rest = tuple(label for label in labels if label[0] != "le")
                buckets.setdefault(rest, []).append((float(dict(labels)["le"]), value))
        for labels, rows in buckets.items():
            assert [bound for bound, _ in rows] == sorted(bound for bound, _ in rows), f"{name}: bounds out of order"
            counts = [count for _, count in rows]
            assert counts == sorted(counts), f"{name}: buckets must be cumulative"
            assert rows[-1][0] == float("inf")
            assert rows[-1][1] == family.samples[f"{name}_count", labels]

    @property
    def series(self) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
        """Every series by name and labels."""
        return {key for family in self.families.values() for key in family.samples}

    def value(self, name: str, **labels: str) -> float:
        """The sum of all samples of a name that have these labels."""
        family = next(f for n, f in self.families.items() if name in {n, f"{n}_sum", f"{n}_count", f"{n}_bucket"})
        found = [v for (n, ls), v in family.samples.items() if n == name and labels.items() <= dict(ls).items()]
        assert found, f"no series {name} with {labels}"
        return sum(found)


Dial = Callable[..., Wire]
Ask = Callable[..., Answer]
ScrapeOf = Callable[..., Scrape]
AssertRefused = Callable[..., Answer]
RunServe = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def dial() -> Iterator[Dial]:
    """Open a raw connection to a service; those that are still open are closed with the test."""
    wires: list[Wire] = []

    def opened(service: RunningService, **options: Any) -> Wire:
        wires.append(Wire(service.port, **options))
        return wires[-1]

    yield opened
    for wire in wires:
        wire.close()


@pytest.fixture(scope="session")
def ask() -> Ask:
    """Send one well-formed request on a connection of its own."""

    def asked(
        service: RunningService,
        method: str,
        path: str,
        body: bytes | str | Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 30.0,
    ) -> Answer:
        content = json.dumps(body).encode() if isinstance(body, Mapping) else body
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=timeout_s)
        try:
            connection.request(method, path, content, dict(headers or {}))
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read())
        finally:
            connection.close()

    return asked


@pytest.fixture(scope="session")
def scrape(ask: Ask) -> ScrapeOf:
    """Read a service's metrics."""

    def scraped(service: RunningService) -> Scrape:
        answer = ask(service, "GET", "/v1/metrics")
        assert answer.status == 200
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        return Scrape(answer.body.decode())

    return scraped


_OURS = ("GET /docs", "GET /v2 and /v1/models", "HTTP/1.1", "HTTP/1.0")
"""What nimify's own messages may say although it looks like a path."""
_LEAKS = re.compile(r"/|0x|Traceback|\.py\b|\.onnx|nimify|onnx|numpy|orjson|httptools|Error\b|Exception", re.IGNORECASE)


@pytest.fixture(scope="session")
def assert_refused() -> AssertRefused:
    """Check an error answer: its status, its envelope, and that it tells nothing about the machine."""

    def check(answer: Answer | None, statuses: set[int], *, v2: bool | None = None, sent: str = "") -> Answer:
        assert answer is not None, "no answer"
        assert answer.status in statuses, (answer.status, answer.body[:500])
        assert 400 <= answer.status < 500 or answer.status in {503, 504}
        if not answer.body:
            return answer
        document = answer.json
        nested = isinstance(document["error"], dict)
        message = document["error"]["message"] if nested else document["error"]
        if v2 is not None:
            assert nested is not v2
        if nested:
            assert document["object"] == "error"
            assert document["code"] == document["error"]["code"] == answer.status
            assert document["message"] == message
            assert document["type"] == document["error"]["type"]
            assert document["param"] is None
        else:
            assert document.keys() == {"error"}
        assert message
        assert message.isprintable()
        for ours in (*_OURS, *filter(None, [sent])):
            message = message.replace(ours, "")
        assert not _LEAKS.search(message), message
        assert len(message) < 1024
        return answer

    return check


@pytest.fixture(scope="session")
def served(start_service: Callable[..., RunningService], make_bundle: Callable[..., Path]) -> Callable[..., Any]:
    """A running service of a kind of tiny model, started once and shared by tests that leave it as it was."""
    running: dict[str, RunningService] = {}

    def service(kind: str, *options: str, **config: Any) -> RunningService:
        key = f"{kind} {options!r} {sorted(config.items())!r}"
        if key not in running or running[key].process.poll() is not None:
            running[key] = start_service(make_bundle(kind, **config), *options, shared=True)
        return running[key]

    return service


@pytest.fixture(scope="session")
def make_bundle_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Make a bundle of a model that is given as a protobuf."""
    from nimify import ModelConfig, Nimifier
    from nimify.testing import models

    def make(name: str, model: onnx.ModelProto, **config: Any) -> Path:
        folder = tmp_path_factory.mktemp(name)
        path = models.save(model, folder / f"{name}.onnx")
        settings = ModelConfig.build({"name": name, **config})
        return Nimifier(settings).create(path, folder / "bundle").folder

    return make


@pytest.fixture
def eventually() -> Callable[..., None]:
    """Wait for a condition."""

    def wait(condition: Callable[[], object], *, timeout_s: float = 60.0, what: str = "the condition") -> None:
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline_s, f"{what} did not come true"
            time.sleep(0.01)

    return wait


@pytest.fixture(scope="session")
def resident_bytes() -> Callable[[int], int]:
    """The resident memory of a process."""

    def read(pid: int) -> int:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096

    return read


@pytest.fixture(scope="session")
def open_files() -> Callable[[int], int]:
    """The number of file descriptors that a process has open."""

    def read(pid: int) -> int:
        return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())

    return read


_FP32 = DATATYPES["FP32"].onnx


def _counting_loop(graph: GraphBuilder, start: str, trips: str, shape: list[int | str]) -> None:
    body = GraphBuilder("body")
    body.input("step", "INT64", [])
    body.input("go_on", "BOOL", [])
    state = body.input("state", "FP32", shape)
    body.output(body.op("Identity", "go_on", out="go_on_out"), "BOOL", [])
    body.output(body.op("Add", state, body.constant(1.0), out="state_out"), "FP32", shape)
    graph.op("Loop", trips, graph.constant(True, "bool"), start, out="y", body=body.graph())
    graph.output("y", "FP32", shape)


@pytest.fixture(scope="session")
def lookup_bundle(make_bundle_of: Callable[..., Path]) -> Path:
    """`index` INT64[batch, n] to `y` = index + 100 000; up to eight rows are merged.

    A run takes some 0.2 s, and several seconds when 999 is among the indices. There is nothing from 1000 on.
    """
    graph = GraphBuilder("lookup")
    index = graph.input("index", "INT64", ["batch", "n"])
    row = graph.op("Gather", graph.constant(range(1000)), index)
    is_long = graph.op("Equal", graph.op("ReduceMax", index, keepdims=0), graph.constant(999, "int64"))
    few, many = graph.constant(100_000, "int64"), graph.constant(2_000_000, "int64")
    trips = graph.op("Where", is_long, many, few)
    # Counted up to the row again, whose numbers FP32 holds exactly.
    start = graph.op("Sub", graph.op("Add", row, graph.constant(100_000.0)), graph.op("Cast", trips, to=_FP32))
    _counting_loop(graph, start, trips, ["batch", "n"])
    return make_bundle_of("lookup", graph.model(), batching={"max_batch_size": 8})


@pytest.fixture(scope="session")
def steps_bundle(make_bundle_of: Callable[..., Path]) -> Path:
    """`x` INT64[n] to `y` = x + its maximum, in a time that grows with the maximum: 0.1 s for 100 000. Not merged."""
    return make_bundle_of("steps", _steps("n"))


@pytest.fixture(scope="session")
def fixed_steps_bundle(make_bundle_of: Callable[..., Path]) -> Path:
    """The same for `x` INT64[1]: nothing about a request but its value tells how long it takes."""
    return make_bundle_of("fixed-steps", _steps(1))


def _steps(length: int | str) -> onnx.ModelProto:
    graph = GraphBuilder("steps")
    x = graph.input("x", "INT64", [length])
    most = graph.op("ReduceMax", x, keepdims=0)
    _counting_loop(graph, graph.op("Cast", x, to=_FP32), most, [length])
    return graph.model()


@pytest.fixture(scope="session")
def slow_start_bundle(steps_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that takes many seconds to warm up; to be served with `--no-verify`.

    Its model was swapped for one of the same signature: making a bundle of it would take as long.
    """
    graph = GraphBuilder("steps")
    x = graph.input("x", "INT64", ["n"])
    start = graph.op("Cast", x, to=_FP32)
    _counting_loop(graph, start, graph.constant(50_000_000, "int64"), ["n"])
    bundle = tmp_path_factory.mktemp("slow-start") / "bundle"
    shutil.copytree(steps_bundle, bundle)
    (file,) = bundle.glob("model_repository/*/1/model.onnx")
    file.write_bytes(graph.model().SerializeToString())
    return bundle


@pytest.fixture(scope="session")
def run_serve() -> RunServe:
    """Run `nimify serve` to its end, for services that are not expected to start."""

    def run(bundle: Path, *options: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "nimify", "serve", str(bundle), *options],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **(env or {})},
            timeout=60,
            check=False,
        )

    return run
