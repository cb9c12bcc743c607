"""The servers that are compared: how each is started, when it counts as started, and how it is ended."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from benchmarks.exchange import Answer, Protocol, Request, is_ready, send
from benchmarks.failure import RunFailed, blaming
from benchmarks.machine import CpuMeter, end_leftovers, identified_tree, resident_bytes, signal_tree
from benchmarks.models import Array, BenchModel

ROOT: Final = Path(__file__).parents[1]
RESULTS_DIR: Final = Path(__file__).parent / "results"
_START_TIMEOUT_S: Final = 180.0
_POLL_S: Final = 0.005
_TERM_TIMEOUT_S: Final = 20.0
# FP32 sums may be taken in another order when rows are merged or threads differ.
_RTOL: Final = 1e-3
_ATOL: Final = 1e-4


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a server listens; one that speaks no gRPC, or has no port for metrics, leaves those."""

    http: int
    grpc: int
    metrics: int

    def of(self, protocol: Protocol) -> int:
        """Where a protocol is spoken."""
        return self.grpc if protocol is Protocol.GRPC else self.http


@dataclass(frozen=True, slots=True)
class Launch:
    """What starts a server.

    Attributes:
        command: The program and its arguments.
        environment: Variables besides those that are there.
    """

    command: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Contestant:
    """A server that can serve every model.

    Attributes:
        name: `nimify`, `fastapi`, `triton-batched` and the like.
        protocols: What it speaks; the first one is that of its first answer.
        launch: What starts it for a model on these ports; the folder is empty, and its own while it runs.
        ready_path: What it answers with 200 as soon as it takes requests.
        restless: Whether it takes processor time while nobody asks it anything; such a one is stopped while others are
            measured.
    """

    name: str
    protocols: tuple[Protocol, ...]
    launch: Callable[[BenchModel, Ports, Path], Launch]
    ready_path: str = "/v2/health/ready"
    restless: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """A request and its right answer, computed by ONNX Runtime directly."""

    request: Request
    answer: Array

    def check(self, given: Answer) -> None:
        """Compare an answer with the right one.

        Raises:
            RunFailed: They differ.
        """
        same_shape = given.output.shape == self.answer.shape
        if not same_shape or not np.allclose(given.output, self.answer, rtol=_RTOL, atol=_ATOL):
            raise RunFailed("an answer differs from that of ONNX Runtime")


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that has given its first right answer.

    Attributes:
        contestant: Which one it is.
        ports: Where it listens.
        pid: Its process.
        cold_start_s: From the start of the process to the first right answer.
        idle_bytes: Resident memory after that answer.
        noisy_start: Whether unrelated work may have slowed the start.
    """

    contestant: Contestant
    ports: Ports
    pid: int
    cold_start_s: float
    idle_bytes: int
    noisy_start: bool

    @contextlib.contextmanager
    def awake(self) -> Iterator[None]:
        """While it is measured; afterwards a restless one is stopped."""
        if not self.contestant.restless:
            yield
            return
        signal_tree(self.pid, signal.SIGCONT)
        try:
            yield
        finally:
            signal_tree(self.pid, signal.SIGSTOP)


def peer_environment() -> Mapping[str, str]:
    """What a peer's own Python needs to find the scripts of `benchmarks/peers`."""
    return {"PYTHONPATH": str(ROOT)}


def nimify_contestant(*protocols: Protocol) -> Contestant:
    """`nimify serve` with its defaults, on a bundle that asks for the thread count that all contestants have."""

    def launch(model: BenchModel, ports: Ports, _folder: Path) -> Launch:
        serve = [sys.executable, "-m", "nimify", "serve", str(model.bundle)]
        serve += [f"--port={ports.http}", f"--grpc-port={ports.grpc}"]
        return Launch([*serve, "--drain=0"])  # nobody balances load here, so stopping need not wait for that

    return Contestant("nimify", protocols, launch)


def fastapi_contestant(python: Path) -> Contestant:
    """The FastAPI server, run by the Python of its own environment."""

    def launch(model: BenchModel, ports: Ports, _folder: Path) -> Launch:
        serve = [str(python), "-m", "benchmarks.peers.fastapi_server", str(model.path)]
        return Launch([*serve, f"--threads={model.threads}", f"--port={ports.http}"], peer_environment())

    return Contestant("fastapi", (Protocol.JSON,), launch)


def make_bundle(model: BenchModel) -> None:
    """Run `nimify create` on a model; quick when its bundle is there and unchanged.

    Raises:
        RunFailed: It did not work; the message is what nimify said.
    """
    create = [sys.executable, "-m", "nimify", "create", str(model.ensure()), "--name", model.name]
    settings = model.path.with_suffix(".yaml")
    settings.write_text(f"threads: {model.threads}\n")
    create += ["--config", str(settings), "--output", str(model.bundle), "--force"]
    done = subprocess.run(create, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise RunFailed(f"nimify create ended with status {done.returncode}: {' '.join(done.stderr.split())[-300:]}")


@contextlib.contextmanager
def running(contestant: Contestant, model: BenchModel, question: Question) -> Iterator[RunningServer]:
    """A server from its start to its end, which comes whatever happens in between.

    Raises:
        RunFailed: It did not start, or its first answer is wrong.
    """
    RESULTS_DIR.mkdir(parents=True, exist_ok=True)
    log = RESULTS_DIR / f"{contestant.name}-{model.name}.log"
    with tempfile.TemporaryDirectory(prefix="nimify-bench-") as folder, log.open("wb") as stream:
        ports = _free_ports()
        launch = contestant.launch(model, ports, Path(folder))
        environment = {**os.environ, **launch.environment}
        meter = CpuMeter()
        started_s = time.perf_counter()
        process = subprocess.Popen(
            launch.command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream
        )
        try:
            with blaming(contestant.name):
                question.check(_first_answer(process, contestant, ports, question.request, log))
            cold_start_s = time.perf_counter() - started_s
            meter.watch(process.pid)
            noisy = meter.read().noisy
            yield RunningServer(contestant, ports, process.pid, cold_start_s, resident_bytes(process.pid), noisy)
        finally:
            _end(process)


def _first_answer(
    process: subprocess.Popen[bytes], contestant: Contestant, ports: Ports, request: Request, log: Path
) -> Answer:
    # Asking whether it is ready costs the server nothing; a large request every few milliseconds would slow its start.
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline_s:
        if is_ready(ports.http, contestant.ready_path):
            return send(ports.of(request.protocol), request)
        time.sleep(_POLL_S)
    ended = "it was not ready in time" if process.returncode is None else f"it ended with status {process.returncode}"
    raise RunFailed(f"{ended}; its log is {log}")


def _free_ports() -> Ports:
    """Ports that nobody listens on, all different because all are held until the last one is found."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(3)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return Ports(*(probe.getsockname()[1] for probe in probes))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask a server to end, and end it when it does not; a second Ctrl-C does not leave it running either.

    Processes of its own that outlive it are ended too.
    """
    signal_tree(process.pid, signal.SIGCONT)
    family = identified_tree(process.pid)
    try:
        process.terminate()
        process.wait(_TERM_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        pass
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        end_leftovers(family)
