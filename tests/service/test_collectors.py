"""Metrics of the owner's own while the service runs: there when they can be had, and never in the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.load.rollouts import restart

if TYPE_CHECKING:
    from tests.conftest import RunningService
    from tests.service.conftest import Ask, Scrape, ScrapeOf

OWN = """
import os
import time

from nimify.metrics.collectors.collector import Metric, Sample


class Spool:
    def __init__(self, *, queue="a"):
        self._queue = queue

    def describe(self):
        return [Metric("spool_pid", "gauge", 'Who "asked" for it.\\nReally.', ("queue",))]

    def collect(self):
        yield Sample("spool_pid", os.getpid(), {"queue": self._queue})


class Failing(Spool):
    def describe(self):
        return [Metric("failing_value", "gauge", "Never seen.")]

    def collect(self):
        raise OSError("the device is off")


class Hanging(Failing):
    def describe(self):
        return [Metric("hanging_value", "gauge", "Never seen.")]

    def collect(self):
        time.sleep(100_000)


class Busy(Hanging):
    def describe(self):
        return [Metric("busy_value", "gauge", "Never seen.")]

    def collect(self):
        while True:
            pass


class Shadowing(Spool):
    def describe(self):
        return [Metric("nim_ready", "gauge", "Not yours.")]
"""
REQUEST = {"inputs": {"x": [[1, 2, 3, 4]]}}

Eventually = Callable[..., None]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The owner's file."""
    file = tmp_path_factory.mktemp("own") / "my_metrics.py"
    file.write_text(OWN)
    return file


@pytest.fixture(scope="module")
def serve_with(
    own: Path, make_bundle: Callable[..., Path], start_service: Callable[..., RunningService]
) -> Callable[..., RunningService]:
    """Start a service with collectors, by class or as settings have them."""

    def start(*uses: str | dict[str, Any], options: tuple[str, ...] = ()) -> RunningService:
        steps = [{"use": f"{own}:{use}", "interval_s": 0.1} if isinstance(use, str) else use for use in uses]
        return start_service(make_bundle("tiny", collectors=steps), *options)

    return start


def value(page: Scrape, name: str, **labels: str) -> float | None:
    """The value of a series, if it is there."""
    try:
        return page.value(name, **labels)
    except (AssertionError, StopIteration):
        return None


def test_metrics_of_the_owner_stand_on_the_page(
    serve_with: Callable[..., RunningService], own: Path, ask: Ask, scrape: ScrapeOf, eventually: Eventually
) -> None:
    """Beside those of the service, read by a strict parser; a label is data, whatever it holds."""
    service = serve_with({f"{own}:Spool": {"queue": 'a"}\\ 1\nspool_pid 5'}}, {"use": "cgroup"})
    eventually(lambda: value(scrape(service), "nim_collector_up", collector="Spool") == 1)
    page = scrape(service)
    assert page.value("spool_pid") == service.process.pid
    assert page.families["spool_pid"].samples.keys() == {("spool_pid", (("queue", r"a\"}\\ 1\nspool_pid 5"),))}
    assert page.value("nim_ready") == 1
    assert value(page, "nim_collector_up", collector="cgroup") is not None


def test_one_that_fails_or_hangs_is_in_nobodys_way(
    serve_with: Callable[..., RunningService], ask: Ask, scrape: ScrapeOf, eventually: Eventually
) -> None:
    """Requests, health and scrapes are answered, the others collect, the log has one line, and the end is in order."""
    service = serve_with("Failing", "Hanging", "Busy", "Spool")
    eventually(lambda: value(scrape(service), "nim_collector_up", collector="Spool") == 1)
    for _ in range(5):
        assert ask(service, "POST", "/v1/infer", REQUEST).status == 200
        assert ask(service, "GET", "/v1/health/ready").status == 200
        page = scrape(service)
        for name in ("Failing", "Hanging", "Busy"):
            assert page.value("nim_collector_up", collector=name) == 0
            assert value(page, f"{name.lower()}_value") is None
    first = page.value("spool_pid")
    assert first == service.process.pid
    eventually(lambda: "collector=Failing" in service.log.read_text(), what="the failure in the log")
    assert service.stop() == 0
    (line,) = [line for line in service.log.read_text().splitlines() if "collector=Failing" in line]
    assert "(OSError: the device is off)" in line


def test_one_of_several_workers_collects_and_all_show_it(
    serve_with: Callable[..., RunningService], scrape: ScrapeOf, eventually: Eventually
) -> None:
    """When it dies, the one that replaces it goes on."""
    service = serve_with("Spool", options=("--workers", "2"))
    eventually(lambda: value(scrape(service), "spool_pid"))
    found = {scrape(service).value("spool_pid") for _ in range(20)}
    assert len(found) == 1
    (collecting,) = found
    os.kill(int(collecting), signal.SIGKILL)
    eventually(lambda: value(scrape(service), "spool_pid") not in {None, collecting}, timeout_s=60)
    assert scrape(service).value("nim_collector_up", collector="Spool") == 1


def test_without_collectors_the_page_has_no_trace_of_them(served: Callable[..., RunningService], ask: Ask) -> None:
    """Not even a head."""
    assert b"collector" not in ask(served("tiny"), "GET", "/v1/metrics").body


@pytest.mark.parametrize(
    ("collectors", "code", "says"),
    [
        ("[{use: 'my_metrics.py:Shadowing'}]", 6, "the name is the service's own"),
        ("[{use: 'my_metrics.py:Spol'}]", 6, "Did you mean 'Spool'"),
        ("[{use: cgruop}]", 6, "Did you mean 'cgroup'"),
        ("[{use: 'none.py:Spool'}]", 2, "there is no file 'none.py'"),
        ("[{'my_metrics.py:Spool': {queu: x}}]", 2, "Did you mean 'queue'"),
        ("[{use: 'my_metrics.py:Spool', interval: 3}]", 2, "Did you mean 'interval_s'"),
        ("[{use: 'my_metrics.py:Spool', interval_s: 0}]", 2, "collectors.0.interval_s"),
        ("[cgroup, cgroup]", 2, "must not name 'cgroup' twice"),
    ],
)
def test_a_wrong_collector_is_refused_when_the_service_is_made(
    own: Path, tmp_path: Path, collectors: str, code: int, says: str
) -> None:
    """In one line that says what to do, before anything is written."""
    from nimify.testing import models

    models.save(models.tiny(), tmp_path / "tiny.onnx")
    (tmp_path / "my_metrics.py").write_text(own.read_text())
    (tmp_path / "settings.yaml").write_text(f"collectors: {collectors}\n")
    arguments = ["create", "tiny.onnx", "--config", "settings.yaml", "--output", "bundle"]
    result = subprocess.run(
        [sys.executable, "-m", "nimify", *arguments],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert result.returncode == code, result.stderr
    assert says in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "bundle").exists()


def test_collecting_passes_on_to_the_worker_that_takes_over(
    serve_with: Callable[..., RunningService], scrape: ScrapeOf, eventually: Eventually
) -> None:
    """After a restart one of the new workers collects, whichever slot it has."""
    service = serve_with("Spool", options=("--workers", "2"))
    seen: set[float | None] = set()
    for _ in range(3):
        eventually(lambda: value(scrape(service), "nim_collector_up", collector="Spool") == 1)
        eventually(lambda: value(scrape(service), "spool_pid") not in {None, *seen})
        seen.add(value(scrape(service), "spool_pid"))
        restart(service.process, service.log)
    eventually(lambda: value(scrape(service), "spool_pid") not in {None, *seen})
    assert service.stop() == 0
