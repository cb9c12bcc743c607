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

import numpy as np
import orjson
import pytest

from nimify.serving.body_budget import memory_limit_bytes
from nimify.serving.listener import bind
from nimify.targets.process.launch import command
from nimify.testing.graph_builder import GraphBuilder

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
            lambda: scrape(service).value("nim_http_connections") < 10, what="the end of idle ones", timeout_s=120
        )
    finally:
        close(idle)
    eventually(lambda: open_files(service.process.pid) <= files + 2, what="the return of the descriptors")


HALF_OPEN = {
    "silent": b"",
    "half a head": b"POST /v1/infer HTTP/1.1\r\nHost: a\r\nX-Slow: ",
    "half a body": HEAD + b"Content-Length: 1000\r\n\r\n{",
    "half a chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhe",
}
HALF_OPEN_GRPC = {
    "silent": b"",
    "half a greeting": b"PRI * HTTP/2.0\r\n",
    "half a frame": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0\0\0\x20\1\4\0\0\0\1abc",
}


def test_thousands_of_half_open_connections_leave_room_for_work(
    start_service: StartService,
    make_bundle: Callable[..., Path],
    ask: Ask,
    scrape: ScrapeOf,
    eventually: Eventually,
    open_files: Callable[[int], int],
    resident_bytes: Callable[[int], int],
) -> None:
    """Of every kind and on both ports: each ends by its deadline, others are answered, and nothing stays behind."""
    service = start_service(
        make_bundle("tiny"), "--max-connections", "4000", "--header-timeout", "3s", "--body-timeout", "3s",
        "--keep-alive", "3s",
    )  # fmt: skip
    pid, grpc_port = service.process.pid, int(service.grpc_address.rpartition(":")[2])
    assert ask(service, "POST", "/v1/infer", BODY).status == 200
    files, memory = open_files(pid), resident_bytes(pid)
    opened = []
    try:
        for port, kinds in ((service.port, HALF_OPEN), (grpc_port, HALF_OPEN_GRPC)):
            for beginning in kinds.values():
                opened += connections(port, 300)
                for wire in opened[-300:]:
                    wire.sendall(beginning)
        assert [ask(service, "POST", "/v1/infer", BODY).status for _ in range(20)] == [200] * 20
        assert resident_bytes(pid) - memory < 64 << 20
        for name in ("nim_http_connections", "nim_grpc_connections"):
            eventually(lambda name=name: scrape(service).value(name) < 10, what=f"the fall of {name}", timeout_s=60)
    finally:
        close(opened)
    eventually(lambda: open_files(pid) <= files + 2, what="the return of the descriptors")
    assert ask(service, "POST", "/v1/infer", BODY).status == 200
    assert "Traceback" not in service.log.read_text()


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
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_log_on_a_full_disk_does_not_end_the_service(workers: str, make_bundle: Callable[..., Path]) -> None:
    """Every line that it writes fails; requests do not, and the end is in order."""
    bundle = make_bundle("tiny")
    with Path("/dev/full").open("wb") as full, bind("127.0.0.1", 0) as listener:
        process = subprocess.Popen(
            command(
                ("serve", str(bundle), "--no-grpc", "--drain", "0", "--log-level", "debug", "--workers", workers),
                sockets={"http": listener.fileno()},
                parent=os.getpid(),
            ),
            pass_fds=(listener.fileno(),), stdout=full, stderr=full, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            port = listener.getsockname()[1]
            for _ in range(50):
                with socket.create_connection(("127.0.0.1", port), timeout=60) as wire:
                    wire.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
                    assert wire.recv(1 << 16).startswith(b"HTTP/1.1 200")
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
        finally:
            process.kill()
            process.wait()


def test_a_service_out_of_memory_refuses_what_it_has_no_room_for(
    start_service: StartService, make_bundle_of: Callable[..., Path], ask: Ask
) -> None:
    """503, and never a fault of the client's or ours; small requests are answered, and large ones afterwards."""
    graph = GraphBuilder("wide")
    x = graph.input("x", "FP32", ["batch", "n"])
    graph.output(graph.op("Add", x, x, out="y"), "FP32", ["batch", "n"])
    service = start_service(make_bundle_of("wide", graph.model()), "--max-body-size", "256MiB", "--no-grpc")
    pid = service.process.pid
    large = large_requests(1 << 18)
    assert [ask(service, "POST", *request).status for request in large] == [200] * len(large)
    statuses = set()
    for room in (0, 1 << 20, 4 << 20, 8 << 20):
        size = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
        resource.prlimit(pid, resource.RLIMIT_AS, (size + room, resource.RLIM_INFINITY))
        for request in large:
            answer = ask(service, "POST", *request)
            assert answer.status in {200, 503}, answer.body
            statuses.add(answer.status)
            assert ask(service, "POST", "/v1/infer", {"inputs": {"x": [[1, 2]]}}).status == 200
    assert 503 in statuses
    resource.prlimit(pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert [ask(service, "POST", *request).status for request in large] == [200] * len(large)
    assert "Traceback" not in service.log.read_text()


def large_requests(count: int) -> list[tuple[str, bytes, dict[str, str]]]:
    """Path, body and headers of a request of so many numbers: binary, JSON, and typed JSON."""
    values = np.arange(count, dtype="<f4")
    row = {"name": "x", "datatype": "FP32", "shape": [1, count]}
    sized = {**row, "parameters": {"binary_data_size": values.nbytes}}
    head = orjson.dumps({"inputs": [sized], "parameters": {"binary_data_output": True}})
    text = orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)
    path = "/v2/models/wide/infer"
    return [
        (path, head + values.tobytes(), {"Inference-Header-Content-Length": str(len(head))}),
        (path, b'{"inputs":[%s,"data":%s}]}' % (orjson.dumps(row)[:-1], text), {}),
        ("/v1/infer", b'{"inputs":{"x":[%s]}}' % text, {}),
    ]


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE])
def test_other_signals(
    number: signal.Signals, make_bundle: Callable[..., Path], start_service: StartService, ask: Ask
) -> None:
    """A broken pipe is ignored; the others end a process, as the system has it, and never with a traceback."""
    service = start_service(make_bundle("tiny"), "--no-grpc")
    service.process.send_signal(number)
    if number is signal.SIGPIPE:
        assert ask(service, "POST", "/v1/infer", BODY).status == 200
    else:
        assert service.process.wait(60) == -number
    assert "Traceback" not in service.log.read_text()


def test_what_a_machine_promises_beyond_its_memory_is_refused(
    make_bundle: Callable[..., Path], start_service: StartService
) -> None:
    """A kubelet has its node promise any amount; filling that would end the process."""
    service = start_service(make_bundle("tiny"), "--no-grpc")
    limits = Path(f"/proc/{service.process.pid}/limits").read_text(encoding="ascii")
    (most,) = [line.split()[3] for line in limits.splitlines() if line.startswith("Max data size")]
    assert int(most) == max(1 << 30, 2 * memory_limit_bytes())


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
    eventually(lambda: scrape(service).value("nim_worker_restarts_total") == 1, what="a replacement", timeout_s=120)
    ended.set()
    for thread in threads:
        thread.join()
    assert answered[0] > 0
    assert failed[0] <= 2 * len(threads)
