"""Several workers: one service to its clients, whatever happens to one of them."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import RunningService
    from tests.service.conftest import Ask, RunServe, Scrape, ScrapeOf

StartService = Callable[..., "RunningService"]
Eventually = Callable[..., None]

SUCCESS = "nv_inference_request_success"
STABLE_S = 10.0
"""What the supervisor takes for a long life of a worker."""


def _children(pid: int) -> set[int]:
    return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def _workers(service: RunningService) -> set[int]:
    return _children(service.process.pid)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture(scope="module")
def pair(start_service: StartService, make_bundle: Callable[..., Path]) -> RunningService:
    """A service of two workers."""
    return start_service(make_bundle("tiny"), "--workers", "2")


def test_counts_are_exact_over_workers(
    pair: RunningService, ask: Ask, scrape: ScrapeOf, eventually: Eventually
) -> None:
    """Whichever worker is asked, it tells of both."""
    before = scrape(pair)

    def send(number: int) -> int:
        return ask(pair, "POST", "/v1/infer", {"inputs": {"x": [[1, 2, 3, 4] * (1 + number % 10 // 9)]}}).status

    with ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(send, range(400)))
    assert (statuses.count(200), statuses.count(400)) == (360, 40)
    # An answer is counted in the moment after it was written, which another worker may be asked in.
    eventually(lambda: scrape(pair).value(SUCCESS) - before.value(SUCCESS) == 360)
    for _ in range(10):
        after = scrape(pair)
        for name, labels, grown in (
            ("nv_inference_request_success", {}, 360),
            ("nv_inference_count", {}, 360),
            ("nim_request_duration_seconds_count", {}, 360),
            ("nim_queue_duration_seconds_count", {}, 360),
            ("nv_inference_request_failure", {"reason": "OTHER"}, 40),
            ("nim_http_responses_total", {"code": "400"}, 40),
        ):
            assert after.value(name, **labels) - before.value(name, **labels) == grown, name
        assert after.value("nim_workers") == 2
        assert after.value("nim_ready") == 1
        assert after.value("nim_worker_restarts_total") == 0


def test_a_killed_worker_is_replaced_and_the_other_goes_on(
    start_service: StartService, make_bundle: Callable[..., Path], scrape: ScrapeOf, eventually: Eventually
) -> None:
    """Only connections of the dead one break, the service stays ready, and no counter falls back."""
    service = start_service(make_bundle("tiny"), "--workers", "2")
    before = _workers(service)
    assert len(before) == 2
    load = _Load(service.port)
    try:
        eventually(lambda: load.answered > 100)
        start = scrape(service)
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: not _runs(victim))
        answered = load.answered
        eventually(lambda: load.answered > answered + 100, what="the other worker's answers")
        last = start
        while last.value("nim_worker_restarts_total") < 1:
            last = _assert_monotonic(last, scrape(service))
        eventually(lambda: len(_workers(service)) == 2)
        answered = load.answered
        eventually(lambda: load.answered > answered + 100)
        _assert_monotonic(last, scrape(service))
    finally:
        load.stop()
    assert load.wrong == []
    assert load.not_ready == 0
    assert len(load.broken) <= 2 * load.clients, load.broken
    # The dead worker may have counted an answer that did not leave it any more, or not counted the one that just had.
    eventually(lambda: scrape(service).value(SUCCESS) >= load.answered - 1)
    assert scrape(service).value(SUCCESS) <= load.answered + len(load.broken)
    assert victim not in _workers(service)
    assert service.stop() == 0


def test_a_worker_that_is_killed_while_stopping_is_not_a_good_end(
    start_service: StartService, make_bundle: Callable[..., Path], ask: Ask, eventually: Eventually
) -> None:
    """What it was answering is lost, and the exit code says so."""
    service = start_service(make_bundle("tiny"), "--workers", "2", "--drain", "600")
    victim = min(_workers(service))
    service.process.send_signal(signal.SIGTERM)
    # The workers hear of it from the supervisor, so what one of them knows, that knows too.
    eventually(lambda: ask(service, "GET", "/v1/health/ready").status == 503, what="readiness' fall")
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: not _runs(victim))
    assert service.stop() == 8


def _assert_monotonic(before: Scrape, after: Scrape) -> Scrape:
    for name, family in after.families.items():
        for key, value in family.samples.items():
            if family.kind != "gauge":
                assert value >= before.families[name].samples[key], key
    return after


class _Load:
    """Clients that try again when their connection breaks, as clients do, and keep count of everything."""

    clients = 4

    def __init__(self, port: int) -> None:
        self.answered = 0
        self.wrong: list[str] = []
        self.broken: list[str] = []
        self.not_ready = 0
        self._port = port
        self._lock = threading.Lock()
        self._enough = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(self.clients)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._enough.set()
        for thread in self._threads:
            thread.join()

    def _work(self, number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        while not self._enough.is_set():
            try:
                self._ask(connection, number)
            except (http.client.HTTPException, ConnectionError) as error:
                with self._lock:
                    self.broken.append(repr(error))
                connection.close()
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection, number: int) -> None:
        connection.request("GET", "/v1/health/ready")
        response = connection.getresponse()
        response.read()
        self.not_ready += response.status != 200
        connection.request("POST", "/v1/infer", json.dumps({"inputs": {"x": [[number, 0, 0, 0]]}}))
        response = connection.getresponse()
        body = response.read()
        with self._lock:
            if response.status == 200 and json.loads(body)["outputs"]["y"][0][0] == number + 1:
                self.answered += 1
            else:
                self.wrong.append(f"{response.status} {body[:200]!r}")


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(("options", "code"), [([], 4), (["--no-verify"], 3)], ids=["verified", "unverified"])
def test_a_model_that_cannot_load_ends_the_service(
    workers: str,
    options: list[str],
    code: int,
    make_bundle: Callable[..., Path],
    run_serve: RunServe,
    tmp_path: Path,
) -> None:
    """With the exit code of the cause: another worker could not load it either."""
    bundle = tmp_path / "bundle"
    shutil.copytree(make_bundle("tiny"), bundle)
    (model,) = bundle.glob("model_repository/*/1/model.onnx")
    model.write_bytes(b"not a model")
    done = run_serve(bundle, "--port", "0", "--workers", workers, *options)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "model.onnx" in done.stderr


def test_a_killed_supervisor_leaves_no_orphan(
    start_service: StartService, make_bundle: Callable[..., Path], eventually: Eventually
) -> None:
    """Its workers end with it, and the port is free."""
    service = start_service(make_bundle("tiny"), "--workers", "2")
    workers = _workers(service)
    assert len(workers) == 2
    assert service.stop(signal.SIGKILL) == -signal.SIGKILL
    eventually(lambda: not any(map(_runs, workers)), what="the workers' end")


def test_workers_that_are_told_to_stop_are_not_replaced(
    start_service: StartService, make_bundle: Callable[..., Path]
) -> None:
    """The service ends whole."""
    service = start_service(make_bundle("tiny"), "--workers", "2")
    workers = _workers(service)
    assert service.stop() == 0
    assert not any(map(_runs, workers))
    assert "replacing" not in service.log.read_text()


def test_a_worker_that_keeps_dying_is_replaced_less_and_less_often(
    start_service: StartService, make_bundle: Callable[..., Path], ask: Ask, scrape: ScrapeOf, eventually: Eventually
) -> None:
    """The first replacement is immediate, the next one waits; the other worker serves all the while."""
    service = start_service(make_bundle("tiny"), "--workers", "2")
    survivor, deaths_s = max(_workers(service)), []
    for round_ in (1, 2):
        eventually(lambda: len(_workers(service)) == 2)
        eventually(lambda done=round_ - 1: scrape(service).value("nim_worker_restarts_total") == done)
        (victim,) = _workers(service) - {survivor}
        os.kill(victim, signal.SIGKILL)
        deaths_s.append(time.monotonic())
        eventually(lambda pid=victim: not _runs(pid))
        assert ask(service, "GET", "/v1/health/ready").status == 200
    eventually(lambda: scrape(service).value("nim_worker_restarts_total") == 2)
    pauses = [line.rsplit("after_s=", 1)[1] for line in service.log.read_text().splitlines() if "replacing" in line]
    # One that lived for long died of something new; a busy machine may have let the first replacement do so.
    was_long = deaths_s[1] - deaths_s[0] > STABLE_S
    assert list(map(float, pauses)) in ([[0.0, 0.5], [0.0, 0.0]] if was_long else [[0.0, 0.5]])
    assert service.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_before_a_worker_can_handle_it_is_not_lost(
    number: signal.Signals, slow_start_bundle: Path, tmp_path: Path, eventually: Eventually
) -> None:
    """At whatever moment of its start it comes, the service ends in order and without a traceback."""
    command = [sys.executable, "-m", "nimify", "serve", str(slow_start_bundle), "--port", "0", "--drain", "0"]
    for pause_s in (0.0, 0.02, 0.05, 0.1, 0.2):
        log = tmp_path / f"{pause_s}.txt"
        with log.open("wb") as stream:
            process = subprocess.Popen([*command, "--no-verify", "--workers", "2"], stderr=stream)
        try:
            eventually(lambda pid=process.pid: len(_children(pid)) == 2, what="the workers' start")
            time.sleep(pause_s)
            process.send_signal(number)
            assert process.wait(60) == 0
        finally:
            process.kill()
            process.wait()
        assert "Traceback" not in log.read_text()


def test_the_instances_of_the_plan_are_worker_processes(
    start_service: StartService, make_bundle: Callable[..., Path], scrape: ScrapeOf, eventually: Eventually
) -> None:
    """Nothing is said on the command line: the bundle says how many copies of the model there are."""
    service = start_service(make_bundle("tiny", resources={"instances": 2}))
    assert len(_workers(service)) == 2
    eventually(lambda: scrape(service).value("nim_workers") == 2)


def test_an_option_overrules_the_instances_of_the_plan(
    start_service: StartService, make_bundle: Callable[..., Path], scrape: ScrapeOf
) -> None:
    """One machine may differ from what the bundle was planned for."""
    service = start_service(make_bundle("tiny", resources={"instances": 2}), "--workers", "1")
    assert _workers(service) == set()
    assert scrape(service).value("nim_workers") == 1
