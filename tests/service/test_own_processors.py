"""The owner's own processors while the service runs: slow ones cost only those who wait for them, and no more work."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import RunningService
    from tests.service.conftest import Answer, Ask, ScrapeOf

SLOW = """
import time
from pathlib import Path


class Slow:
    def __init__(self, *, log):
        self._log = Path(log)

    def outer(self, inner):
        return inner

    def __call__(self, tensors):
        with self._log.open("a") as stream:
            stream.write("run\\n")
        time.sleep(0.7)
        return tensors
"""
REQUEST = {"inputs": {"x": [[1, 2, 3, 4]]}}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Where the slow processor leaves a line for each of its runs."""
    return tmp_path / "runs.txt"


@pytest.fixture
def slow_bundle(tmp_path: Path, runs: Path, make_bundle: Callable[..., Path]) -> Path:
    """A bundle whose requests take most of a second before the model."""
    file = tmp_path / "slow.py"
    file.write_text(SLOW)
    step = {f"{file}:Slow": {"log": str(runs)}}
    return make_bundle("tiny", pipeline={"before": [step]})


def _ask_together(ask: Ask, service: RunningService, number: int) -> list[Answer]:
    with ThreadPoolExecutor(number) as threads:
        return list(threads.map(lambda _: ask(service, "POST", "/v1/infer", REQUEST), range(number)))


def test_what_nobody_waits_for_is_not_run(
    slow_bundle: Path, runs: Path, start_service: Callable[..., RunningService], ask: Ask, scrape: ScrapeOf
) -> None:
    """Requests whose time is over while they queue are dropped: a backlog does not outlive its clients."""
    service = start_service(slow_bundle, "--request-timeout", "1.8s")
    statuses = sorted(answer.status for answer in _ask_together(ask, service, 6))
    assert statuses in ([200, *[504] * 5], [200, 200, *[504] * 4])
    assert ask(service, "POST", "/v1/infer", REQUEST).status == 200
    assert len(runs.read_text().splitlines()) <= 5  # those answered, what had begun, and the last; not all seven
    metrics = scrape(service)
    assert metrics.value("nv_inference_request_success") == statuses.count(200) + 1
    assert metrics.value("nv_inference_request_failure", reason="REJECTED") == statuses.count(504)


def test_a_full_queue_says_so_at_once(
    slow_bundle: Path, start_service: Callable[..., RunningService], ask: Ask
) -> None:
    """The queue before the processors is as long as the engine's may be: one runs, two wait."""
    service = start_service(slow_bundle, "--max-queue-size", "2")
    answers = _ask_together(ask, service, 6)
    assert sorted(answer.status for answer in answers) == [*[200] * 3, *[503] * 3]
    assert all(answer.headers.get("retry-after") == "1" for answer in answers if answer.status == 503)
