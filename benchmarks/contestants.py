"""The servers that are compared: how each is started, when it counts as started, and how it is ended."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from benchmarks.exchange import Protocol, Request, is_ready, send
from benchmarks.failure import RunFailed, blaming
from benchmarks.machine import CpuMeter, resident_bytes
from benchmarks.models import Array, BenchModel

RESULTS_DIR: Final = Path(__file__).parent / "results"
_FASTAPI_SERVER: Final = Path(__file__).parent / "peers" / "fastapi_server.py"
_START_TIMEOUT_S: Final = 60.0
_POLL_S: Final = 0.005
_TERM_TIMEOUT_S: Final = 20.0
# FP32 sums may be taken in another order when rows are merged or threads differ.
_RTOL: Final = 1e-3
_ATOL: Final = 1e-4


@dataclass(frozen=True, slots=True)
class Contestant:
    """A server that can serve every model.

    Attributes:
        name: `nimify` or `fastapi`.
        protocols: What it speaks.
        command: What starts it for a model on a port.
    """

    name: str
    protocols: tuple[Protocol, ...]
    command: Callable[[BenchModel, int], list[str]]


@dataclass(frozen=True, slots=True)
class Question:
    """A request and its right answer, computed by ONNX Runtime directly."""

    request: Request
    answer: Array

    def check(self, given: Array) -> None:
        """Compare an answer with the right one.

        Raises:
            RunFailed: They differ.
        """
        if given.shape != self.answer.shape or not np.allclose(given, self.answer, rtol=_RTOL, atol=_ATOL):
            raise RunFailed("an answer differs from that of ONNX Runtime")


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that has given its first right answer.

    Attributes:
        contestant: Which one it is.
        port: Where it listens.
        pid: Its process.
        cold_start_s: From the start of the process to the first right answer.
        idle_bytes: Resident memory after that answer.
        noisy_start: Whether unrelated work may have slowed the start.
    """

    contestant: Contestant
    port: int
    pid: int
    cold_start_s: float
    idle_bytes: int
    noisy_start: bool


def nimify_contestant() -> Contestant:
    """`nimify serve` with its defaults, on a bundle that asks for the thread count that all contestants have."""

    def command(model: BenchModel, port: int) -> list[str]:
        serve = [sys.executable, "-m", "nimify", "serve", str(model.bundle), "--port", str(port)]
        return [*serve, "--drain", "0"]  # nobody balances load here, so stopping need not wait for that

    return Contestant("nimify", (Protocol.JSON, Protocol.BINARY), command)


def fastapi_contestant(python: Path) -> Contestant:
    """The FastAPI server, run by the Python of its own environment."""

    def command(model: BenchModel, port: int) -> list[str]:
        serve = [str(python), str(_FASTAPI_SERVER), str(model.path)]
        return [*serve, "--threads", str(model.threads), "--port", str(port)]

    return Contestant("fastapi", (Protocol.JSON,), command)


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
    port = _free_port()
    with log.open("wb") as stream:
        meter = CpuMeter()
        started_s = time.perf_counter()
        process = subprocess.Popen(
            contestant.command(model, port), stdin=subprocess.DEVNULL, stdout=stream, stderr=stream
        )
    try:
        with blaming(contestant.name):
            question.check(_first_answer(process, port, question.request, log))
        cold_start_s = time.perf_counter() - started_s
        meter.watch(process.pid)
        noisy = meter.read().noisy
        yield RunningServer(contestant, port, process.pid, cold_start_s, resident_bytes(process.pid), noisy)
    finally:
        _end(process)


def _first_answer(process: subprocess.Popen[bytes], port: int, request: Request, log: Path) -> Array:
    # Asking whether it is ready costs the server nothing; a large request every few milliseconds would slow its start.
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline_s:
        if is_ready(port):
            return send(port, request)
        time.sleep(_POLL_S)
    ended = "it was not ready in time" if process.returncode is None else f"it ended with status {process.returncode}"
    raise RunFailed(f"{ended}; its log is {log}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask a server to end, and end it when it does not; a second Ctrl-C does not leave it running either."""
    try:
        process.terminate()
        process.wait(_TERM_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        pass
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
