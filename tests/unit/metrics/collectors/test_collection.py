"""Collectors while they run: what they do to each other, and to the log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nimify.metrics.collectors import collection as running
from nimify.metrics.collectors.board import Board
from nimify.metrics.collectors.collection import Collection
from nimify.metrics.collectors.step import CollectorStep

OWN = """
import sys
import time
from pathlib import Path
from nimify.metrics.collectors.collector import Metric, Sample

class Own:
    '''Does what the file says: fail, exit, hang, or the value.'''

    def __init__(self, *, file, needs=""):
        if needs and not Path(needs).exists():
            raise OSError("not there yet")
        self.file = Path(file)
        self.calls = 0

    def describe(self):
        return [Metric("own_value", "gauge", "A value."), Metric("own_calls", "gauge", "Calls.")]

    def collect(self):
        self.calls += 1
        word = self.file.read_text()
        if word == "fail":
            raise ValueError(f"call {self.calls}")
        if word == "exit":
            sys.exit("bye")
        while word == "hang":
            time.sleep(0.01)
            word = self.file.read_text()
        return [Sample("own_value", float(word)), Sample("own_calls", self.calls)]

class Second(Own):
    pass
"""


class Events:
    """A log that remembers."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def info(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))

    error = info


def eventually(condition: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


class Running:
    """Collectors of `own.py`, and what they left."""

    def __init__(self, root: Path, *steps: CollectorStep) -> None:
        self.log = Events()
        self.board = Board(len(steps))
        self.collection = Collection(steps, root, self.board, self.log)
        self.collection.start()

    def shows(self, line: str, place: int = 0) -> bool:
        return line in (self.board.get(place) or b"").decode()

    def calls(self) -> int:
        text = (self.board.get(0) or b"own_calls 0").decode()
        return int(text.split("own_calls ")[-1].split()[0])

    @property
    def events(self) -> list[str]:
        return [event for event, _ in self.log.lines]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Start collectors; what a collector does is the word in `word.txt`."""
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "word.txt").write_text("1")
    started: list[Running] = []

    def run(*uses: str, **options: str) -> Running:
        given = {"file": str(tmp_path / "word.txt"), **options}
        steps = [CollectorStep(f"own.py:{use}", given, 0.01) for use in uses]
        started.append(Running(tmp_path, *steps))
        return started[-1]

    yield run
    (tmp_path / "word.txt").write_text("0")  # lets those that hang come to an end
    for one in started:
        one.collection.close()


def say(folder: Path, word: str) -> None:
    """Tell the collector at once: it must not read half a word."""
    (folder / "new.txt").write_text(word)
    (folder / "new.txt").replace(folder / "word.txt")


def test_values_are_measured_again_and_again(tmp_path: Path, start: Callable[..., Running]) -> None:
    """What is shown follows what is measured, and the log has nothing to say."""
    run = start("Own")
    eventually(lambda: run.shows("own_value 1\n"))
    say(tmp_path, "2.5")
    eventually(lambda: run.shows("own_value 2.5\n"))
    assert run.events == []


@pytest.mark.parametrize(("word", "cause"), [("fail", "failed at own.py:"), ("exit", "SystemExit")])
def test_a_failure_is_told_once_and_withdraws_the_values(
    tmp_path: Path, start: Callable[..., Running], word: str, cause: str
) -> None:
    """However often it is repeated; its end is told as well. Not even `sys.exit` ends the collecting."""
    say(tmp_path, word)
    run = start("Own")
    eventually(lambda: run.events)
    assert run.board.get(0) is None
    say(tmp_path, "3")
    eventually(lambda: run.calls() >= 2)
    eventually(lambda: len(run.events) == 2)
    assert run.events == ["a collector failed", "a collector works again"]
    assert run.log.lines[0][1]["collector"] == "Own"
    assert cause in run.log.lines[0][1]["cause"]


def test_flapping_does_not_fill_the_log(tmp_path: Path, start: Callable[..., Running]) -> None:
    """A second failure within ten minutes shows in the metrics only."""
    run = start("Own")
    for _ in range(3):
        say(tmp_path, "1")
        eventually(lambda: run.board.get(0) is not None)
        say(tmp_path, "fail")
        eventually(lambda: run.board.get(0) is None)
    assert run.events.count("a collector failed") == 1


def test_a_hanging_collector_is_told_once(
    tmp_path: Path, start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its values run out by themselves, it is told by whoever looks, and closing does not wait for it."""
    monkeypatch.setattr(running, "_LEAST_PATIENCE_S", 4.0)
    run = start("Own")
    eventually(lambda: run.calls() >= 1)
    run.collection.check()
    assert run.events == []
    say(tmp_path, "hang")
    eventually(lambda: run.board.get(0) is None)
    while not run.events:  # the test's own time limit ends it
        run.collection.check()
    run.collection.check()
    assert run.events == ["a collector failed"]
    assert "has not come back for more than 4 seconds" in run.log.lines[0][1]["cause"]
    run.collection.close()


def test_what_cannot_be_made_yet_is_made_later(tmp_path: Path, start: Callable[..., Running]) -> None:
    """What a collector needs may come later than the service."""
    run = start("Own", needs=str(tmp_path / "needed"))
    eventually(lambda: run.events)
    (tmp_path / "needed").touch()
    eventually(lambda: run.shows("own_value 1\n"))


def test_the_second_with_a_metric_of_one_name_fails(start: Callable[..., Running]) -> None:
    """Whichever it is: the page never has a series twice."""
    run = start("Own", "Second")
    eventually(lambda: run.events and (run.board.get(0) or run.board.get(1)))
    assert (run.board.get(0) is None) != (run.board.get(1) is None)
    assert "both have a metric" in run.log.lines[0][1]["cause"]


def test_after_closing_nothing_is_measured(start: Callable[..., Running]) -> None:
    """At most what had begun."""
    run = start("Own")
    eventually(lambda: run.calls() >= 1)
    run.collection.close()
    calls = run.calls()
    time.sleep(0.1)
    assert run.calls() <= calls + 1
