"""A listening socket that outlives the service: passed to it, shared with its successor, and nobody is turned away."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nimify.serving.listener import bind
from nimify.targets.process.launch import command


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with bind("127.0.0.1", 0) as opened:
        yield opened


Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(listener: socket.socket) -> Iterator[Start]:
    """Start `nimify serve` on the listening socket; ended with the test."""
    processes: list[subprocess.Popen[bytes]] = []

    def started(bundle: Path, *options: str) -> subprocess.Popen[bytes]:
        arguments = ("serve", str(bundle), "--no-grpc", "--log-format", "json", *options)
        processes.append(
            subprocess.Popen(
                command(arguments, sockets={"http": listener.fileno()}, parent=os.getpid()),
                pass_fds=(listener.fileno(),),
                stderr=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
            )
        )
        return processes[-1]

    yield started
    for process in processes:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def wait_for(process: subprocess.Popen[bytes], event: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if json.loads(line).get("event") == event:
            return
    raise AssertionError(f"it ended without '{event}'")


def ready(listener: socket.socket) -> int:
    host, port = listener.getsockname()[:2]
    connection = http.client.HTTPConnection(host, port, timeout=60)
    connection.request("GET", "/v1/health/ready")
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_passed_socket_is_served_only_when_the_service_is_ready(
    make_bundle: Callable[..., Path], listener: socket.socket, start: Start, workers: str
) -> None:
    """A request that comes before the model is loaded waits in the queue of the socket, and is never answered 503."""
    start(make_bundle("tiny"), "--workers", workers)

    assert ready(listener) == 200


def test_a_successor_on_the_same_socket_takes_over(
    make_bundle: Callable[..., Path], listener: socket.socket, start: Start
) -> None:
    """When the first one ends, the second one answers on the same address."""
    first = start(make_bundle("tiny"), "--drain", "0")
    wait_for(first, "ready")
    wait_for(start(make_bundle("tiny")), "ready")

    first.send_signal(signal.SIGTERM)

    assert first.wait(60) == 0
    assert ready(listener) == 200


def test_a_service_does_not_outlive_who_started_it(make_bundle: Callable[..., Path], listener: socket.socket) -> None:
    """A starter that is killed leaves no service behind on the port."""
    number = listener.fileno()
    code = (
        "import os, subprocess, sys\n"
        "from nimify.targets.process.launch import command\n"
        f"line = command(('serve', {str(make_bundle('tiny'))!r}, '--no-grpc'), "
        f"sockets={{'http': {number}}}, parent=os.getpid())\n"
        f"child = subprocess.Popen(line, pass_fds=({number},))\n"
        "print(child.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", code],
        pass_fds=(number,),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert starter.stdin is not None
    assert starter.stdout is not None
    child = int(starter.stdout.readline())
    assert ready(listener) == 200

    starter.kill()
    starter.communicate()

    while Path(f"/proc/{child}/stat").exists() and _state(child) != "Z":
        pass


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"
