"""The real tritonserver as it comes, without nimify in front of it."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.triton.stand_in import TritonStandIn


@dataclass(frozen=True)
class Server:
    """Where a server answers, as `host:port`."""

    http: str
    grpc: str


@contextlib.contextmanager
def bare_triton(stand_in: TritonStandIn, bundle: Path, log: Path) -> Iterator[Server]:
    """Triton with its own defaults on a bundle's repository; ended with the block."""
    for _ in range(5):  # somebody may take a port between our look and Triton's
        server, process = _started(stand_in, stand_in.bundle(bundle), log)
        if _is_ready(server, process):
            break
        _end(process)
    else:
        raise RuntimeError(f"Triton did not start:\n{log.read_text()[-4000:]}")
    try:
        yield server
    finally:
        _end(process)


def _started(stand_in: TritonStandIn, bundle: Path, log: Path) -> tuple[Server, subprocess.Popen[bytes]]:
    http_port, grpc_port = _free_ports(2)
    with log.open("ab") as stream:
        process = subprocess.Popen(
            [
                stand_in.program,
                f"--model-repository={bundle / 'model_repository'}",
                *(f"--{kind}-address=127.0.0.1" for kind in ("http", "grpc")),
                f"--http-port={http_port}",
                f"--grpc-port={grpc_port}",
                "--allow-metrics=false",
                "--disable-auto-complete-config",
                "--exit-timeout-secs=2",
            ],
            stdout=stream,
            stderr=stream,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **stand_in.environment},
        )
    return Server(f"127.0.0.1:{http_port}", f"127.0.0.1:{grpc_port}"), process


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def _is_ready(server: Server, process: subprocess.Popen[bytes], *, timeout_s: float = 90.0) -> bool:
    deadline_s = time.monotonic() + timeout_s
    while process.poll() is None and time.monotonic() < deadline_s:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{server.http}/v2/health/ready", timeout=5):
            return True
        time.sleep(0.02)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
