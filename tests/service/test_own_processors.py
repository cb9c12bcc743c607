"""The owner's own processors while the service runs: slow ones cost only those who wait for them, and no more work."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import RunningService
    from tests.service.conftest import Ask, ScrapeOf

HELD = """
import time
from pathlib import Path


class Held:
    def __init__(self, *, folder):
        self._runs, self._open = Path(folder, "runs.txt"), Path(folder, "open")

    def outer(self, inner):
        return inner

    def __call__(self, tensors):
        with self._runs.open("a") as stream:
            stream.write("run\\n")
        while not self._open.exists():
            time.sleep(0.01)
        return tensors
"""
REQUEST = {"inputs": {"x": [[1, 2, 3, 4]]}}


@dataclass
class Gate:
    """Where a processor waits until the test lets it go on."""

    folder: Path

    def open(self) -> None:
        """Let every run go on, now and later."""
        (self.folder / "open").touch()

    @property
    def runs(self) -> int:
        """How many runs have begun."""
        return len((self.folder / "runs.txt").read_text().splitlines())


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """Closed, and no run has begun."""
    return Gate(tmp_path)


@pytest.fixture
def held_bundle(gate: Gate, make_bundle: Callable[..., Path]) -> Path:
    """A bundle whose requests wait for the gate before the model."""
    file = gate.folder / "held.py"
    file.write_text(HELD)
    return make_bundle("tiny", pipeline={"before": [{f"{file}:Held": {"folder": str(gate.folder)}}]})


def test_what_nobody_waits_for_is_not_run(
    held_bundle: Path, gate: Gate, start_service: Callable[..., RunningService], ask: Ask, scrape: ScrapeOf,
    eventually: Callable[..., None],
) -> None:  # fmt: skip
    """Requests whose time is over while they queue are dropped: a backlog does not outlive its clients."""
    service = start_service(held_bundle, "--request-timeout", "2s")
    with ThreadPoolExecutor(6) as clients:
        answers = list(clients.map(lambda _: ask(service, "POST", "/v1/infer", REQUEST), range(6)))
    assert [answer.status for answer in answers] == [504] * 6
    assert gate.runs == 1
    gate.open()
    # On a busy machine, even a request that runs at once may take too long.
    later: list[int] = []

    def is_answered() -> bool:
        later.append(ask(service, "POST", "/v1/infer", REQUEST).status)
        return later[-1] == 200

    eventually(is_answered, what="an answer in time")
    assert gate.runs <= 1 + len(later)
    metrics = scrape(service)
    assert metrics.value("nv_inference_request_success") == 1
    assert metrics.value("nv_inference_request_failure", reason="REJECTED") == 6 + len(later) - 1


def test_a_full_queue_says_so_at_once(
    held_bundle: Path, gate: Gate, start_service: Callable[..., RunningService], ask: Ask
) -> None:
    """The queue before the processors is as long as the engine's may be: one runs, two wait."""
    service = start_service(held_bundle, "--max-queue-size", "2")
    with ThreadPoolExecutor(6) as clients:
        asked = [clients.submit(ask, service, "POST", "/v1/infer", REQUEST) for _ in range(6)]
        refused = [future.result() for future in islice(as_completed(asked), 3)]
        gate.open()
        answers = [future.result() for future in asked]
    assert [answer.status for answer in refused] == [503] * 3
    assert all(answer.headers["retry-after"] == "1" for answer in refused)
    assert sorted(answer.status for answer in answers) == [*[200] * 3, *[503] * 3]
