"""What a machine and its clients can do to a service: it degrades, says so, and is as before when it is over."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import RunningService
    from tests.service.conftest import Ask, ScrapeOf

StartService = Callable[..., "RunningService"]
Eventually = Callable[..., None]
BODY = b'{"inputs":{"x":[[1,2,3,4]]}}'
HEAD = b"POST /v1/infer HTTP/1.1\r\nHost: a\r\n"


def connections(port: int, count: int) -> list[socket.socket]:
    return [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(count)]


def close(opened: list[socket.socket]) -> None:
    for wire in opened:
        wire.close()


def test_thousands_of_idle_connections_leave_room_for_work(
    start_service: StartService,
    make_bundle: Callable[..., Path],
    ask: Ask,
    scrape: ScrapeOf,
    eventually: Eventually,
    open_files: Callable[[int], int],
    resident_bytes: Callable[[int], int],
) -> None:
    """They cost little memory, are ended by the deadline for headers, and leave no descriptor behind."""
    service = start_service(make_bundle("tiny"), "--max-connections", "4000", "--header-timeout", "2s", "--no-grpc")
    assert ask(service, "POST", "/v1/infer", BODY).status == 200
    files, memory = open_files(service.process.pid), resident_bytes(service.process.pid)
    idle = connections(service.port, 3000)
    try:
        assert [ask(service, "POST", "/v1/infer", BODY).status for _ in range(20)] == [200] * 20
        assert resident_bytes(service.process.pid) - memory < 32 << 20
        eventually(
            lambda: scrape(service).value("nim_http_connections") < 10, what="the end of idle ones", timeout_s=30
        )
    finally:
        close(idle)
    eventually(lambda: open_files(service.process.pid) <= files + 2, what="the return of the descriptors")


def test_a_service_out_of_descriptors_serves_those_who_are_in(
    make_bundle: Callable[..., Path], start_service: StartService, eventually: Eventually, ask: Ask
) -> None:
    """No crash and no spinning; when some are free again, new clients are let in."""
    service = start_service(make_bundle("tiny"), "--no-grpc")
    used = max(int(entry.name) for entry in Path(f"/proc/{service.process.pid}/fd").iterdir()) + 1
    resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE, (used + 20, used + 20))
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as inside:
        inside.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
        assert inside.recv(1 << 16).startswith(b"HTTP/1.1 200")
        many = connections(service.port, 100)
        try:
            before_s = cpu_s(service.process.pid)
            time.sleep(1.0)  # long enough to see whether it spins
            assert cpu_s(service.process.pid) - before_s < 0.5
            inside.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
            assert inside.recv(1 << 16).startswith(b"HTTP/1.1 200")
        finally:
            close(many)
        eventually(lambda: answers(ask, service), what="a new client")
    assert service.process.poll() is None


def answers(ask: Ask, service: RunningService) -> bool:
    try:
        return ask(service, "GET", "/v1/health/ready", timeout_s=10).status == 200
    except OSError:
        return False


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_log_that_nobody_reads_any_more_does_not_end_the_service(make_bundle: Callable[..., Path], ask: Ask) -> None:
    """Its pipe is closed while it writes a line for every request."""
    process = subprocess.Popen(
        [sys.executable, "-m", "nimify", "serve", str(make_bundle("tiny")), "--port", "0", "--no-grpc", "--drain", "0",
         "--log-level", "debug"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if b" ready " in line:
                break
        port = int(line.split(b"url=http://127.0.0.1:")[1].split()[0])
        process.stderr.close()
        for _ in range(50):
            with socket.create_connection(("127.0.0.1", port), timeout=20) as wire:
                wire.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
                assert wire.recv(1 << 16).startswith(b"HTTP/1.1 200")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE])
def test_other_signals(
    number: signal.Signals, make_bundle: Callable[..., Path], start_service: StartService, ask: Ask
) -> None:
    """A broken pipe is ignored; the others end a process, as the system has it, and never with a traceback."""
    service = start_service(make_bundle("tiny"), "--no-grpc")
    service.process.send_signal(number)
    if number is signal.SIGPIPE:
        assert ask(service, "POST", "/v1/infer", BODY).status == 200
    else:
        assert service.process.wait(30) == -number
    assert "Traceback" not in service.log.read_text()


def test_a_killed_worker_costs_only_what_it_was_answering(
    make_bundle: Callable[..., Path], start_service: StartService, ask: Ask, scrape: ScrapeOf, eventually: Eventually
) -> None:
    """Under load, with two workers: the other answers on, and the place is taken within seconds."""
    service = start_service(make_bundle("tiny"), "--workers", "2", "--no-grpc")
    ended, failed, answered = threading.Event(), [0], [0]

    def load() -> None:
        while not ended.is_set():
            try:
                assert ask(service, "POST", "/v1/infer", BODY).status == 200
                answered[0] += 1
            except (OSError, AssertionError):
                failed[0] += 1

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    eventually(lambda: scrape(service).value("nim_worker_restarts_total") == 1, what="a replacement", timeout_s=30)
    ended.set()
    for thread in threads:
        thread.join()
    assert answered[0] > 0
    assert failed[0] <= 2 * len(threads)
