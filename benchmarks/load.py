"""Closed-loop load from wrk: so many connections, each sending its next request when the last one is answered."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.exchange import Request, send
from benchmarks.failure import MissingTool, RunFailed
from benchmarks.machine import CpuMeter, cpu_s

_SCRIPT: Final = Path(__file__).with_name("post.lua")
_REQUEST_TIMEOUT_S: Final = 30
_WARM_UP_S: Final = 0.5
_LEAST_WARM_UPS: Final = 3
_LONGEST_SETTLE_S: Final = 10.0
_SETTLE_STEP_S: Final = 0.2
_SETTLED_CORES: Final = 0.1


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


def find_wrk() -> str:
    """The load generator's path.

    Raises:
        MissingTool: It is not installed.
    """
    path = shutil.which("wrk")
    if path is None:
        raise MissingTool("wrk is missing, which sends the load; on Debian and Ubuntu: apt-get install wrk")
    return path


def warm_up(port: int, request: Request) -> None:
    """Send some requests one after the other, so that the first measured one is not the server's first.

    Raises:
        NoAnswer: One was not answered.
    """
    started_s = time.monotonic()
    sent = 0
    while sent < _LEAST_WARM_UPS or time.monotonic() - started_s < _WARM_UP_S:
        send(port, request)
        sent += 1


def measure(wrk: str, port: int, pid: int, request: Request, *, connections: int, seconds: int) -> LoadResult:
    """Load a server for some seconds.

    Args:
        wrk: The load generator.
        port: Where the server listens.
        pid: Its process.
        request: What every connection sends.
        connections: How many there are.
        seconds: For how long.

    Raises:
        RunFailed: The load generator could not do its work.
    """
    with tempfile.TemporaryDirectory(prefix="nimify-bench-") as folder:
        body, headers = Path(folder, "body"), Path(folder, "headers")
        body.write_bytes(request.body)
        headers.write_text("".join(f"{name}: {value}\n" for name, value in request.headers.items()))
        command = [wrk, "-t1", f"-c{connections}", f"-d{seconds}s", f"--timeout={_REQUEST_TIMEOUT_S}s"]
        command += [f"--script={_SCRIPT}", f"http://127.0.0.1:{port}{request.path}"]
        meter = CpuMeter(pid)
        done = subprocess.run(
            command,
            env={**os.environ, "BODY_FILE": str(body), "HEADERS_FILE": str(headers)},
            capture_output=True,
            text=True,
            check=False,
        )
        usage = meter.read()
    result = _result(done)
    _settle(pid)
    return LoadResult(
        requests_per_s=result["requests"] / (result["duration_us"] / 1e6),
        p50_ms=result["p50_us"] / 1e3,
        p99_ms=result["p99_us"] / 1e3,
        cpu_us=usage.server_s * 1e6 / result["requests"],
        errors=result["errors"],
        other_cores=usage.other_cores,
        noisy=usage.noisy,
    )


def _result(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            result: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
            if result["requests"] == 0:
                raise RunFailed("the server answered no request while it was measured; give it more --seconds")
            return result
    raise RunFailed(f"wrk ended with status {done.returncode} and no result: {(done.stderr or done.stdout)[-300:]}")


def _settle(pid: int) -> None:
    """Wait until the server has dealt with what closed connections left behind."""
    deadline_s = time.monotonic() + _LONGEST_SETTLE_S
    while time.monotonic() < deadline_s:
        before_s = cpu_s(pid)
        time.sleep(_SETTLE_STEP_S)
        if cpu_s(pid) - before_s <= _SETTLED_CORES * _SETTLE_STEP_S:
            return
