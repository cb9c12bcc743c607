"""An image proves itself: it is started with no rights, and must answer what its bundle recorded.

The container has no network at all. What is asked goes through a program in it that joins its standard input and
output to the service's port (`nimify.serving.probe relay`), so that a real client speaks real HTTP with it.
"""

from __future__ import annotations

import datetime
import http.client
import json
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any, Final

from nimify.artifacts.bundle import Bundle
from nimify.conformance.client import Client
from nimify.conformance.golden_proof import broken_promise
from nimify.errors import ProofFailed
from nimify.images.image import Progress
from nimify.images.runtime import PROBE, Confinement, Runtime, State, Trial
from nimify.programs import ProgramFailed

_POLL_S: Final = 0.2
_REQUEST_S: Final = 60.0
_STOP_SPARE_S: Final = 10.0
_RELAY_END_S: Final = 5.0
_READY: Final = "ready"


@dataclass(frozen=True, slots=True)
class Measured:
    """What was seen while an image proved itself.

    Attributes:
        load_s: From the start of the container to the service being ready.
        memory_bytes: The most memory that its processes had resident, added up.
        requests: How many golden requests were replayed.
        user: The user and group that it ran as.
    """

    load_s: float
    memory_bytes: int
    requests: int
    user: str

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


class RelayClient(Client):
    """A client whose connections lead into a container, through a program that runs there."""

    def __init__(self, command: Sequence[str], *, timeout_s: float) -> None:
        super().__init__("http://localhost", timeout_s=timeout_s)
        self._command = list(command)
        self._wait_s = timeout_s

    def _connection(self) -> http.client.HTTPConnection:
        return _RelayConnection(self._command, self._wait_s)


class _RelayConnection(http.client.HTTPConnection):
    """HTTP over the standard input and output of a program."""

    def __init__(self, command: list[str], timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def connect(self) -> None:
        """Start the program."""
        ours, its = socket.socketpair()
        ours.settimeout(self.timeout)
        with its:
            self._process = subprocess.Popen(
                self._command, stdin=its.fileno(), stdout=its.fileno(), stderr=subprocess.DEVNULL
            )
        self.sock = ours

    def close(self) -> None:
        """Let it end, as it does when there is no more to pass on; killed, it would leave its half in the container."""
        super().close()
        if self._process is not None:
            try:
                self._process.wait(_RELAY_END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None


def prove(runtime: Runtime, bundle: Bundle, confinement: Confinement, *, ready_s: float, tell: Progress) -> Measured:
    """Start an image, hold it to its bundle, and remove every trace.

    Args:
        runtime: What starts it.
        bundle: What it must serve.
        confinement: How little it may do meanwhile.
        ready_s: How long it may take to be ready.
        tell: Told what happens.

    Raises:
        ProofFailed: It does not start, is not ready in time, or answers otherwise than recorded.
    """
    tell(f"The image starts as {confinement.user}, without network, rights or a writable root.")
    with _started(runtime, confinement) as trial:
        load_s = _await_ready(trial, ready_s)
        tell(f"It is ready after {load_s:.1f} s.")
        replayed = _replay(trial, bundle)
        tell(f"All {replayed} golden requests are answered as recorded.")
        memory = int(trial.ask(*PROBE, "memory").strip())
        _stop(trial, bundle)
    return Measured(round(load_s, 3), memory, replayed, confinement.user)


@contextmanager
def _started(runtime: Runtime, confinement: Confinement) -> Iterator[Trial]:
    try:
        trial = runtime.start(confinement, {"NIM_JSONL_LOGGING": "1"})
    except ProgramFailed as error:
        raise ProofFailed(
            f"The image cannot be started: {error}.", remedy="Look at it with: docker run IMAGE", evidence=error.lines
        ) from error
    try:
        yield trial
    except ProgramFailed as error:
        raise _failure(trial, f"The container cannot be asked: {error}.") from error
    finally:
        trial.remove()


def _await_ready(trial: Trial, within_s: float) -> float:
    """Wait until it is ready; how long that took, by its own log where that says it."""
    began = time.monotonic()
    while True:
        with suppress(ProgramFailed):
            trial.ask(*PROBE)
            return _load_time(trial) or time.monotonic() - began
        state = trial.state()
        if not state.running:
            raise _failure(trial, f"The service ended before it was ready: {_ending(state)}.")
        if time.monotonic() - began > within_s:
            raise _failure(
                trial,
                f"The service was not ready within {within_s:.0f} seconds.",
                "Give it more time with deployment.startup_s in nimify.yaml.",
            )
        time.sleep(_POLL_S)


def _replay(trial: Trial, bundle: Bundle) -> int:
    problem = broken_promise(RelayClient(trial.relay(), timeout_s=_REQUEST_S), bundle)
    if problem is not None:
        raise _failure(trial, problem)
    golden = bundle.golden()
    return len(golden.cases) if golden is not None else 0


def _stop(trial: Trial, bundle: Bundle) -> None:
    limits = bundle.service.limits
    code = trial.stop(within_s=limits.drain_s + limits.shutdown_grace_s + _STOP_SPARE_S)
    if code:
        raise _failure(trial, f"The service ended with status {code} when it was asked to stop.")


def _failure(trial: Trial, message: str, remedy: str = "") -> ProofFailed:
    log = trial.log()
    return ProofFailed(message, remedy=remedy or "The last lines of its log are above.", evidence=log)


def _ending(state: State) -> str:
    if state.out_of_memory:
        return "it used more memory than its limit, and was killed"
    return state.error or f"its status is {state.exit_code}"


def _load_time(trial: Trial) -> float | None:
    """From the start of the container to the line that says it is ready, by the machine's one clock."""
    with suppress(ProgramFailed, ValueError, KeyError, TypeError):
        started_at = trial.started_at()
        for line in trial.log():
            record = json.loads(line) if line.startswith("{") else {}
            if record.get("event") == _READY:
                ready_at = datetime.datetime.fromisoformat(record["timestamp"])
                return max((ready_at - started_at).total_seconds(), 0.0)
    return None
