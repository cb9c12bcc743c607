"""Stopping: nothing that was accepted is lost, and whoever is in a hurry is obeyed."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import RunningService
    from tests.service.conftest import Ask, Dial, Wire

StartService = Callable[..., "RunningService"]
Eventually = Callable[..., None]

NOTICE_S = 0.3
"""How long clients go on after readiness fell: what an endpoint's removal takes to reach them."""


class Load:
    """Clients that send distinct requests and keep every answer that was not right.

    Half of them keep their connection for as long as the service does; the others open one for each request.
    """

    def __init__(self, port: int, *, threads: int = 6) -> None:
        self.failures: list[str] = []
        self.answered = 0
        self.answered_when_stopping = 0
        self.stopping = threading.Event()
        self._enough = threading.Event()
        self._port = port
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(threads)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Send no further request, and wait for the answers to those that were sent."""
        self._enough.set()
        for thread in self._threads:
            thread.join()

    def _work(self, number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        turn = 0
        while not self._enough.is_set():
            turn += 1
            try:
                self._ask(connection, float(number * 100_000 + turn))
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a lost request
                self.failures.append(repr(error))
                connection.close()
            if number % 2:
                connection.close()
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection, value: float) -> None:
        connection.request("POST", "/v1/infer", json.dumps({"inputs": {"x": [[value, 0, 0, 0]]}}))
        response = connection.getresponse()  # closes its side by itself after `Connection: close`
        body = response.read()
        if response.status != 200 or json.loads(body)["outputs"]["y"][0][0] != value + 1:
            self.failures.append(f"{response.status} {body[:200]!r}")
        with self._lock:
            self.answered += 1
            self.answered_when_stopping += self.stopping.is_set()


def _is_ready(ask: Ask, service: RunningService) -> bool:
    return ask(service, "GET", "/v1/health/ready").status == 200


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1] * 16 + [2] * 4, ids=lambda workers: f"{workers}-workers")
def test_no_request_is_lost_when_the_service_is_told_to_stop(
    workers: int, start_service: StartService, make_bundle: Callable[..., Path], ask: Ask, eventually: Eventually
) -> None:
    """Under load, on kept and on new connections, until the clients have taken notice."""
    service = start_service(make_bundle("tiny"), "--drain", "60", "--workers", str(workers))
    load = Load(service.port)
    try:
        eventually(lambda: load.answered > 100, what="load")
        service.process.send_signal(signal.SIGTERM)
        eventually(lambda: not _is_ready(ask, service), what="readiness' fall")
        load.stopping.set()
        time.sleep(NOTICE_S)
    finally:
        load.stop()
    assert service.stop() == 0  # hurried: what the drain was for is over
    assert load.failures == []
    assert load.answered_when_stopping > 0


def test_a_stopping_service_answers_and_asks_clients_to_leave(
    start_service: StartService, make_bundle: Callable[..., Path], ask: Ask, dial: Dial, eventually: Eventually
) -> None:
    """Alive, not ready on either API, and still serving."""
    service = start_service(make_bundle("tiny"), "--drain", "30")
    with dial(service) as kept:
        kept.send(b"GET /v1/health/ready HTTP/1.1\r\nHost: a\r\n\r\n")
        before = kept.answer()
        assert before is not None
        assert before.status == 200
        service.process.send_signal(signal.SIGTERM)
        eventually(lambda: not _is_ready(ask, service))
        kept.send(b"GET /v1/health/ready HTTP/1.1\r\nHost: a\r\n\r\n")
        after = kept.answer()
        assert after is not None
        assert (after.status, after.headers["connection"]) == (503, "close")
        assert after.json["message"] == "Service is not ready: it is stopping."
        assert kept.at_end()
    assert ask(service, "GET", "/v1/health/live").status == 200
    assert ask(service, "GET", "/v2/health/live").status == 200
    assert ask(service, "GET", "/v2/health/ready").status == 400
    assert ask(service, "GET", "/v2/models/tiny/ready").status == 400
    assert ask(service, "POST", "/v1/infer", {"inputs": {"x": [[1, 2, 3, 4]]}}).status == 200
    assert service.stop() == 0


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_second_signal_hurries(
    second: signal.Signals,
    workers: str,
    start_service: StartService,
    make_bundle: Callable[..., Path],
    ask: Ask,
    eventually: Eventually,
) -> None:
    """The rest of the drain is skipped."""
    service = start_service(make_bundle("tiny"), "--drain", "60", "--workers", workers)
    service.process.send_signal(signal.SIGTERM)
    eventually(lambda: not _is_ready(ask, service))
    assert service.stop(second) == 0


def _begin(client: Wire, *, length: int = 5) -> None:
    """Send the beginning of a request; the service has read it when this returns."""
    head = b"POST /v1/infer HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    client.send(head % length)
    interim = client.answer()
    assert interim is not None
    assert interim.status == 100


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_worker_that_was_busy_hears_both_signals(
    number: signal.Signals, start_service: StartService, make_bundle: Callable[..., Path], eventually: Eventually
) -> None:
    """Signals of one number do not queue: the second must not be lost on a worker that has yet to see the first."""
    service = start_service(make_bundle("tiny"), "--drain", "600", "--shutdown-grace", "600", "--workers", "2")
    children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children")
    busy, other = map(int, children.read_text().split())
    os.kill(busy, signal.SIGSTOP)
    # The other worker holds a request, so it ends only when it hears the second signal.
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    connection.putrequest("POST", "/v1/infer")
    connection.putheader("Content-Length", "5")
    connection.putheader("Expect", "100-continue")
    connection.endheaders()
    assert connection.sock.recv(100).startswith(b"HTTP/1.1 100")
    service.process.send_signal(number)
    eventually(lambda: "stopping" in service.log.read_text(), what="the first signal's arrival")
    service.process.send_signal(number)
    eventually(lambda: str(other) not in children.read_text().split(), what="the second signal's arrival")
    os.kill(busy, signal.SIGCONT)
    assert service.process.wait(60) == 8
    connection.close()


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_second_signal_hurries_requests_in_flight_too(
    first: signal.Signals,
    start_service: StartService,
    make_bundle: Callable[..., Path],
    dial: Dial,
    eventually: Eventually,
) -> None:
    """It does not wait for their grace, and the exit code says that one was not answered."""
    service = start_service(make_bundle("tiny"), "--shutdown-grace", "600")
    with dial(service) as client:
        _begin(client)  # and never the rest
        service.process.send_signal(first)
        eventually(lambda: _refuses(service), what="the listener's end")
        assert service.process.poll() is None
        assert service.stop(signal.SIGTERM) == 8


def test_a_refused_request_is_not_an_unfinished_one(
    start_service: StartService, make_bundle: Callable[..., Path], dial: Dial
) -> None:
    """It had its answer, although its client never sent the rest."""
    service = start_service(make_bundle("tiny"), "--shutdown-grace", "0")
    with dial(service) as client:
        client.send(b"POST /v1/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n{")
        answer = client.answer()
        assert answer is not None
        assert answer.status == 413
        assert service.stop(signal.SIGINT) == 0


def test_a_load_that_fails_while_stopping_goes_unmentioned(
    start_service: StartService,
    make_bundle: Callable[..., Path],
    dial: Dial,
    tmp_path: Path,
    eventually: Eventually,
) -> None:
    """Nobody waits for the model any more: its fault is no traceback, and the end is a good one."""
    bundle = tmp_path / "bundle"
    shutil.copytree(make_bundle("tiny"), bundle)
    (model,) = bundle.glob("model_repository/*/1/model.onnx")
    model.unlink()
    os.mkfifo(model)  # which is read when somebody writes to it
    service = start_service(bundle, "--shutdown-grace", "600", wait_ready=False)
    with dial(service) as client:
        _begin(client)
        service.process.send_signal(signal.SIGINT)
        eventually(lambda: _refuses(service), what="the listener's end")
        model.write_bytes(b"no model")
        time.sleep(0.3)  # nothing tells that the load has failed; where it is later, there is less to see
    assert service.process.wait(60) in {0, 8}  # 8: the request was cut off before its client's end was seen
    assert "Traceback" not in service.log.read_text()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_interrupt_stops_without_a_drain(
    workers: str, start_service: StartService, make_bundle: Callable[..., Path]
) -> None:
    """Whoever pressed Ctrl-C does not want to wait."""
    service = start_service(make_bundle("tiny"), "--drain", "60", "--workers", workers)
    assert service.stop(signal.SIGINT) == 0


def _count(steps: int) -> bytes:
    body = b'{"inputs":{"x":[%d]}}' % steps
    return b"POST /v1/infer HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def _in_flight(ask: Ask, service: RunningService) -> bool:
    return b"nim_http_requests_in_flight 2\n" in ask(service, "GET", "/v1/metrics").body


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_request_in_flight_is_finished(
    number: signal.Signals,
    start_service: StartService,
    steps_bundle: Path,
    ask: Ask,
    dial: Dial,
    eventually: Eventually,
) -> None:
    """It gets its answer after the listener has closed, and idle connections do not delay the end."""
    service = start_service(steps_bundle, "--drain", "0", "--shutdown-grace", "600")
    idle = dial(service)
    with dial(service) as wire:
        wire.send(_count(3_000_000))
        eventually(lambda: _in_flight(ask, service), what="the request's start")
        service.process.send_signal(number)
        answer = wire.answer()
        assert answer is not None
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert answer.json["outputs"]["y"] == [6_000_000.0]
    assert idle.at_end()
    assert service.process.wait(60) == 0


def test_an_unfinished_request_is_told_by_the_exit_code(
    start_service: StartService, steps_bundle: Path, ask: Ask, dial: Dial, eventually: Eventually
) -> None:
    """8 when the grace was over before the answer; the client's connection is cut."""
    service = start_service(steps_bundle, "--drain", "0", "--shutdown-grace", "0.1")
    with dial(service) as wire:
        wire.send(_count(100_000_000))
        eventually(lambda: _in_flight(ask, service), what="the request's start")
        assert service.stop() == 8
        assert wire.answer() is None


def test_a_request_that_is_still_arriving_may_finish(
    start_service: StartService, make_bundle: Callable[..., Path], ask: Ask, dial: Dial, eventually: Eventually
) -> None:
    """Half a request is as good as a whole one, while the grace lasts."""
    service = start_service(make_bundle("tiny"), "--drain", "0.5", "--shutdown-grace", "600")
    body = b'{"inputs":{"x":[[1,2,3,4]]}}'
    with dial(service) as wire:
        _begin(wire, length=len(body))
        wire.send(body[:10])
        service.process.send_signal(signal.SIGTERM)
        eventually(lambda: _refuses(service), what="the listener's end")
        wire.send(body[10:])
        answer = wire.answer()
        assert answer is not None
        assert answer.status == 200
    assert service.process.wait(60) == 0


def _refuses(service: RunningService) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=20)
    try:
        connection.connect()
    except ConnectionRefusedError:
        return True
    finally:
        connection.close()
    return False


@pytest.mark.parametrize("workers", ["1", "2"])
def test_stopping_while_the_model_loads_ends_at_once(
    workers: str, start_service: StartService, slow_start_bundle: Path
) -> None:
    """There is nothing to finish, and loading is not waited for."""
    service = start_service(slow_start_bundle, "--no-verify", "--workers", workers, wait_ready=False)
    assert service.stop() == 0


def test_a_run_that_nobody_waits_for_does_not_spoil_the_end(
    start_service: StartService, steps_bundle: Path, ask: Ask, dial: Dial, eventually: Eventually
) -> None:
    """The engine cannot be interrupted; the process ends with its own code all the same."""
    service = start_service(steps_bundle, "--drain", "0")
    with dial(service) as wire:
        wire.send(_count(500_000_000))
        eventually(lambda: _in_flight(ask, service), what="the request's start")
        wire.reset()
        eventually(lambda: not _in_flight(ask, service), what="the client's end")
    assert service.stop() == 0
