"""Closed-loop load: so many connections, each sending its next request when the last one is answered."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final, Protocol

from benchmarks import exchange
from benchmarks.exchange import Request, send
from benchmarks.failure import RunFailed
from benchmarks.h2load import H2load
from benchmarks.machine import CpuMeter, cpu_s
from benchmarks.outcome import Outcome
from benchmarks.wrk import Wrk

_WARM_UP_S: Final = 0.3
_LEAST_WARM_UPS: Final = 3
_LONGEST_SETTLE_S: Final = 10.0
_SETTLE_STEP_S: Final = 0.2
_SETTLED_CORES: Final = 0.1


class Generator(Protocol):
    """A program that sends load."""

    def run(self, port: int, request: Request, *, connections: int, seconds: int, answer_length: int) -> Outcome:
        """Load a server.

        Args:
            port: Where it listens.
            request: What every connection sends.
            connections: How many there are.
            seconds: For how long.
            answer_length: Bytes in the body of the right answer, for programs that see no more of it.

        Raises:
            RunFailed: The program could not do its work.
        """
        ...


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What one run of the load generator measured.

    Attributes:
        requests_per_s: Answered requests per second.
        p50_ms: Half of the requests were answered in this time.
        p99_ms: 99 of 100 were.
        cpu_us: Processor time of the server for each request, in microseconds.
        errors: Requests without an answer or with one that is not 2xx.
        other_cores: Cores that unrelated work took meanwhile.
        noisy: Whether that was too much.
    """

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    errors: int
    other_cores: float
    noisy: bool


@dataclass(frozen=True, slots=True)
class LoadPrograms:
    """Sends load with the program that speaks the request's protocol."""

    http: Generator
    grpc: Generator

    @classmethod
    def find(cls, *, grpc: bool) -> LoadPrograms:
        """The programs of this machine; that of gRPC only where it is needed.

        Raises:
            MissingTool: One is not installed.
        """
        http = Wrk.find()
        return cls(http, H2load.find() if grpc else http)

    def measure(self, port: int, pid: int, request: Request, *, connections: int, seconds: int) -> LoadResult:
        """Warm a server up, and load it for some seconds.

        Args:
            port: Where the server listens.
            pid: Its process.
            request: What every connection sends.
            connections: How many there are.
            seconds: For how long.

        Raises:
            RunFailed: The load generator could not do its work, or the server did not answer it.
        """
        length = _warm_up(port, request)
        generator = self.grpc if request.protocol is exchange.Protocol.GRPC else self.http
        meter = CpuMeter(pid)
        outcome = generator.run(port, request, connections=connections, seconds=seconds, answer_length=length)
        usage = meter.read()
        if outcome.requests == 0:
            raise RunFailed("the server answered no request while it was measured; give it more --seconds")
        _settle(pid)
        return LoadResult(
            requests_per_s=outcome.requests / outcome.duration_s,
            p50_ms=outcome.p50_ms,
            p99_ms=outcome.p99_ms,
            cpu_us=usage.server_s * 1e6 / outcome.requests,
            errors=outcome.errors,
            other_cores=usage.other_cores,
            noisy=usage.noisy,
        )


def _warm_up(port: int, request: Request) -> int:
    """Send some requests one after the other, so that the first measured one is not the server's first.

    Returns:
        Bytes in the body of an answer.

    Raises:
        NoAnswer: One was not answered.
    """
    started_s = time.monotonic()
    sent = 0
    while sent < _LEAST_WARM_UPS or time.monotonic() - started_s < _WARM_UP_S:
        answer = send(port, request)
        sent += 1
    return answer.length


def _settle(pid: int) -> None:
    """Wait until the server has dealt with what closed connections left behind."""
    deadline_s = time.monotonic() + _LONGEST_SETTLE_S
    while time.monotonic() < deadline_s:
        before_s = cpu_s(pid)
        time.sleep(_SETTLE_STEP_S)
        if cpu_s(pid) - before_s <= _SETTLED_CORES * _SETTLE_STEP_S:
            return
