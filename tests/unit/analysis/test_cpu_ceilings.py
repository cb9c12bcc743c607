"""What this CPU can do is measured once, quickly, and remembered; a broken memory costs only the time."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path

import pytest

from nimify.analysis import cpu_ceilings
from nimify.analysis.cpu_ceilings import cpu_device, cpu_model

CACHE_FILE = Path("nimify") / "cpu-ceilings.json"


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Replaces both measurements by fixed answers, and counts them by their threads."""
    calls: list[int] = []

    def flops(threads: int) -> float:
        calls.append(threads)
        return 2e9 * threads

    monkeypatch.setattr(cpu_ceilings, "measured_flops_per_s", flops)
    monkeypatch.setattr(cpu_ceilings, "measured_bytes_per_s", lambda threads: 1e9 * threads)
    return calls


def test_the_figures_are_plausible_and_quick() -> None:
    """Any CPU does more than a tenth of a billion operations and bytes per second; asking takes a moment."""
    start = time.process_time()
    assert cpu_ceilings.measured_flops_per_s(1) > 1e8
    assert cpu_ceilings.measured_bytes_per_s(1) > 1e8
    assert time.process_time() - start < 10


def test_a_machine_that_does_other_work_does_not_pull_the_figure_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the clock on the wall each product takes a minute there; one thread by itself works no longer than ever."""
    minutes = itertools.count(0, 60)
    monkeypatch.setattr(time, "perf_counter", lambda: next(minutes))
    assert cpu_ceilings.measured_flops_per_s(1) > 1e8


def test_a_second_question_is_answered_from_memory(tmp_path: Path, measured: list[int]) -> None:
    """The same CPU and thread count are measured once; another count is another question."""
    first, again = cpu_device(threads=2, cache=tmp_path), cpu_device(threads=2, cache=tmp_path)
    other = cpu_device(threads=3, cache=tmp_path)
    assert first == again
    assert (first.flops_per_s["FLOAT"], other.flops_per_s["FLOAT"]) == (4e9, 6e9)
    assert measured == [2, 3]
    assert cpu_model() in first.name


@pytest.mark.parametrize("content", ["", "[]", "{", '{"x": 1}', '{"%s, 2 threads": {"flops_per_s": -1}}'])
def test_a_damaged_memory_is_replaced(content: str, tmp_path: Path, measured: list[int]) -> None:
    """What cannot be read or makes no sense is measured again, and written."""
    file = tmp_path / CACHE_FILE
    file.parent.mkdir()
    file.write_text(content.replace("%s", cpu_model()), encoding="utf-8")
    assert cpu_device(threads=2, cache=tmp_path).bytes_per_s == 2e9
    assert measured == [2]
    assert json.loads(file.read_text(encoding="utf-8"))[f"{cpu_model()}, 2 threads"]["flops_per_s"] == 4e9


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, measured: list[int]) -> None:
    """A file where the folder should be costs the memory, not the answer."""
    (tmp_path / "nimify").write_text("in the way", encoding="utf-8")
    assert cpu_device(threads=1, cache=tmp_path).bytes_per_s == 1e9
    assert measured == [1]
