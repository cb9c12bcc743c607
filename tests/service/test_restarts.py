"""SIGHUP: new workers take over from those that serve, nobody notices, and what cannot start costs nobody anything."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.load.background import BackgroundLoad
from tests.load.load import mixed_clients
from tests.load.questions import Oracle, keyed_model
from tests.load.rollouts import restart

if TYPE_CHECKING:
    from tests.conftest import RunningService
    from tests.service.conftest import Ask, ScrapeOf

StartService = Callable[..., "RunningService"]
Eventually = Callable[..., None]

WORKERS = pytest.mark.parametrize("workers", ["1", "2"])
PATIENCE_S = 120.0
SUCCESS = "nv_inference_request_success"
KEPT = ("the one that serves goes on", "those that serve go on")


def _children(pid: int) -> set[int]:
    return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _says(service: RunningService, text: str) -> Callable[[], bool]:
    return lambda: text in service.log.read_text()


def _answers(ask: Ask, service: RunningService) -> bool:
    answer = ask(service, "POST", "/v1/infer", {"inputs": {"x": [[1, 2, 3, 4]]}})
    return answer.status == 200 and answer.json["outputs"]["y"] == [[2, 3, 4, 5]]


def _is_ready(ask: Ask, service: RunningService) -> bool:
    return ask(service, "GET", "/v1/health/ready").status == 200


def _model_of(bundle: Path) -> Path:
    (model,) = bundle.glob("model_repository/*/1/model.onnx")
    return model


@pytest.fixture
def own_bundle(make_bundle: Callable[..., Path], tmp_path: Path) -> Path:
    """A bundle that a test may damage."""
    return Path(shutil.copytree(make_bundle("tiny"), tmp_path / "bundle"))


@WORKERS
def test_no_request_is_lost_when_workers_are_restarted(
    workers: str, start_service: StartService, make_bundle_of: Callable[..., Path], eventually: Eventually
) -> None:
    """Three times under HTTP and gRPC; the service keeps its process id, and ends in order."""
    service = start_service(make_bundle_of("keyed", keyed_model()), "--workers", workers, "--drain", "3")
    with BackgroundLoad(
        Oracle(keyed_model()), lambda: mixed_clients(service.port, service.grpc_address, count=8)
    ) as load:
        for _ in range(3):
            answered = load.tally.answered
            eventually(lambda goal=answered + 100: load.tally.answered > goal, what="load", timeout_s=PATIENCE_S)
            restart(service.process, service.log)
    assert load.tally.failed == []
    assert load.tally.wrong == []
    assert service.stop(timeout_s=PATIENCE_S) == 0
    assert "Traceback" not in service.log.read_text()


def test_every_worker_is_new_after_a_restart(
    start_service: StartService, make_bundle: Callable[..., Path], ask: Ask, scrape: ScrapeOf, eventually: Eventually
) -> None:
    """None is counted as dead, no counter falls back, and gauges are those of the workers that are there."""
    service = start_service(make_bundle("tiny"), "--workers", "2")
    for turn in (1, 2, 3):
        before = _children(service.process.pid)
        assert len(before) == 2
        assert _answers(ask, service)
        restart(service.process, service.log)
        after = _children(service.process.pid)
        assert len(after) == 2
        assert not before & after
        eventually(lambda done=turn: scrape(service).value(SUCCESS) == done)
        now = scrape(service)
        assert now.value("nim_workers") == 2
        assert now.value("nim_ready") == 1
        assert now.value("nim_worker_restarts_total") == 0
    assert service.stop() == 0


@WORKERS
def test_a_bundle_that_was_damaged_leaves_the_service_as_it_is(
    workers: str, start_service: StartService, own_bundle: Path, ask: Ask, eventually: Eventually
) -> None:
    """The log says why, the old workers answer, and when the file is back, the next restart works."""
    service = start_service(own_bundle, "--workers", workers)
    model = _model_of(own_bundle)
    whole = model.read_bytes()
    model.write_bytes(whole[: len(whole) // 2])

    service.process.send_signal(signal.SIGHUP)

    eventually(lambda: any(said in service.log.read_text() for said in KEPT), timeout_s=PATIENCE_S)
    assert "does not match its digest" in service.log.read_text()
    assert _answers(ask, service)
    model.write_bytes(whole)
    restart(service.process, service.log)
    eventually(lambda: _is_ready(ask, service))
    assert _answers(ask, service)
    assert service.stop(timeout_s=PATIENCE_S) == 0
    assert "Traceback" not in service.log.read_text()


def test_one_worker_is_restarted_with_what_the_folder_holds_now(
    start_service: StartService, own_bundle: Path, make_bundle: Callable[..., Path], ask: Ask
) -> None:
    """Another bundle in the place of the first one is served from then on."""
    service = start_service(own_bundle)
    shutil.rmtree(own_bundle)
    shutil.copytree(make_bundle("tiny", name="renamed"), own_bundle)
    restart(service.process, service.log)
    assert ask(service, "GET", "/v2/models/renamed").status == 200
    assert service.stop(timeout_s=PATIENCE_S) == 0


def test_the_process_that_keeps_the_worker_ends_with_it(
    start_service: StartService, make_bundle: Callable[..., Path], ask: Ask, eventually: Eventually
) -> None:
    """As when the worker was the process itself: whoever started it sees the death, and nothing is left behind."""
    service = start_service(make_bundle("tiny"))
    restart(service.process, service.log)
    (worker,) = _children(service.process.pid)
    os.kill(worker, signal.SIGKILL)
    assert service.process.wait(PATIENCE_S) == 128 + signal.SIGKILL

    service = start_service(make_bundle("tiny"))
    restart(service.process, service.log)
    (worker,) = _children(service.process.pid)
    assert service.stop(signal.SIGKILL) == -signal.SIGKILL
    eventually(lambda: not _runs(worker), timeout_s=PATIENCE_S)


def test_a_container_and_a_model_file_are_restarted_in_the_same_way(
    make_bundle: Callable[..., Path], tmp_path: Path, eventually: Eventually
) -> None:
    """Whatever the command line was; and the bundle that was made of a file goes with the process that made it."""
    bundle = make_bundle("tiny")
    common = {**os.environ, "TMPDIR": str(tmp_path)}
    container = {"NIMIFY_BUNDLE": str(bundle), "NIM_HTTP_API_PORT": "0", "NIMIFY_HOST": "127.0.0.1", "NIMIFY_GRPC": "0"}
    file = ["-m", "nimify", "serve", str(_model_of(bundle)), "--port", "0", "--no-grpc", "--drain", "0"]
    for number, (arguments, environment) in enumerate(((["-m", "nimify.serving"], container), (file, {}))):
        log = tmp_path / f"{number}.txt"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, *arguments], stdin=subprocess.DEVNULL, stderr=stream, env={**common, **environment}
            )
        try:
            eventually(lambda log=log: " ready " in log.read_text(), timeout_s=PATIENCE_S)
            restart(process, log)
            eventually(lambda pid=process.pid: b"keeper" in Path(f"/proc/{pid}/cmdline").read_bytes())
            assert len(list(tmp_path.glob("nimify-serve-*"))) == number
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()
            process.wait()
        eventually(lambda: not list(tmp_path.glob("nimify-serve-*")))


def test_a_restart_that_is_asked_for_while_the_old_process_drains_is_made(
    start_service: StartService, make_bundle: Callable[..., Path], eventually: Eventually
) -> None:
    """By the keeper that it becomes."""
    service = start_service(make_bundle("tiny"), "--drain", "2")
    for turn in (1, 2):
        service.process.send_signal(signal.SIGHUP)
        eventually(
            lambda wanted=turn: service.log.read_text().count(" a new process takes over ") == wanted,
            timeout_s=PATIENCE_S,
        )
    assert service.stop(timeout_s=PATIENCE_S) == 0


def _swap(bundle: Path, other: Path) -> None:
    _model_of(bundle).write_bytes(_model_of(other).read_bytes())


@pytest.fixture
def swapped(
    start_service: StartService, slow_start_bundle: Path, steps_bundle: Path, tmp_path: Path
) -> Callable[[str], RunningService]:
    """A service whose next workers take many seconds to start."""

    def start(workers: str) -> RunningService:
        bundle = Path(shutil.copytree(steps_bundle, tmp_path / "steps"))
        service = start_service(bundle, "--workers", workers, "--no-verify")
        _swap(bundle, slow_start_bundle)
        return service

    return start


def _begin_restart(service: RunningService, eventually: Eventually) -> tuple[set[int], int]:
    """Ask for a restart of two workers; they, and the one that has been started beside them."""
    before = _children(service.process.pid)
    service.process.send_signal(signal.SIGHUP)
    eventually(lambda: len(_children(service.process.pid)) == 3, timeout_s=PATIENCE_S)
    (new,) = _children(service.process.pid) - before
    return before, new


def test_a_new_worker_that_dies_while_it_starts_changes_nothing(
    swapped: Callable[[str], RunningService], ask: Ask, eventually: Eventually
) -> None:
    """The two that serve are those that served."""
    service = swapped("2")
    before, new = _begin_restart(service, eventually)
    os.kill(new, signal.SIGKILL)
    eventually(_says(service, KEPT[1]), timeout_s=PATIENCE_S)
    assert _children(service.process.pid) == before
    assert _is_ready(ask, service)
    assert service.stop(timeout_s=PATIENCE_S) == 0


def test_a_worker_that_dies_while_it_is_replaced_is_missed_by_nobody(
    swapped: Callable[[str], RunningService], steps_bundle: Path, tmp_path: Path, ask: Ask, eventually: Eventually
) -> None:
    """When its successor dies, too, another one is started in its place."""
    service = swapped("2")
    before, new = _begin_restart(service, eventually)
    old = min(before)
    os.kill(old, signal.SIGKILL)
    eventually(_says(service, "a worker died while it was being replaced"), timeout_s=PATIENCE_S)
    _swap(tmp_path / "steps", steps_bundle)
    os.kill(new, signal.SIGKILL)
    eventually(lambda: len(_children(service.process.pid)) == 2, timeout_s=PATIENCE_S)
    eventually(_says(service, "worker replaced"), timeout_s=PATIENCE_S)
    assert _is_ready(ask, service)
    assert service.stop(timeout_s=PATIENCE_S) == 0


@WORKERS
def test_a_service_that_is_told_to_stop_while_it_restarts_stops(
    workers: str, swapped: Callable[[str], RunningService], eventually: Eventually
) -> None:
    """The new worker, which serves nobody yet, is not waited for."""
    service = swapped(workers)
    before = len(_children(service.process.pid))
    service.process.send_signal(signal.SIGHUP)
    eventually(lambda: len(_children(service.process.pid)) == before + 1, timeout_s=PATIENCE_S)
    assert service.stop(timeout_s=PATIENCE_S) == 0
    assert "Traceback" not in service.log.read_text()


@pytest.mark.parametrize(("terminal", "code"), [(True, -signal.SIGHUP), (False, None)], ids=["terminal", "daemon"])
def test_a_service_in_a_terminal_ends_with_it(
    terminal: bool, code: int | None, make_bundle: Callable[..., Path], tmp_path: Path, eventually: Eventually
) -> None:
    """There, SIGHUP says that the terminal was closed."""
    keyboard, screen = pty.openpty()
    log = tmp_path / "log.txt"
    command = [sys.executable, "-m", "nimify", "serve", str(make_bundle("tiny")), "--port", "0", "--no-grpc"]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*command, "--drain", "0"], stdin=screen if terminal else subprocess.DEVNULL, stderr=stream
        )
    try:
        eventually(lambda: " ready " in log.read_text(), timeout_s=PATIENCE_S)
        process.send_signal(signal.SIGHUP)
        if code is None:
            eventually(lambda: "takes over" in log.read_text(), timeout_s=PATIENCE_S)
        else:
            assert process.wait(PATIENCE_S) == code
    finally:
        process.kill()
        process.wait()
        os.close(keyboard)
        os.close(screen)


@WORKERS
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_second_signal_while_the_old_process_drains_hurries_all(
    workers: str, number: signal.Signals, start_service: StartService, own_bundle: Path, eventually: Eventually
) -> None:
    """Also the process that has taken over, of which only the service itself knows."""
    service = start_service(own_bundle, "--workers", workers, "--drain", "600")
    service.process.send_signal(signal.SIGHUP)
    took_over = "a new process takes over" if workers == "1" else "a new worker takes over"
    eventually(_says(service, took_over), timeout_s=PATIENCE_S)
    service.process.send_signal(number)
    eventually(lambda: service.log.read_text().count(" stopping ") >= 2, timeout_s=PATIENCE_S)
    service.process.send_signal(number)
    assert service.process.wait(PATIENCE_S) == 0
