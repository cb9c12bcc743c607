"""Programs of others: they crash, hang and talk without end, and cost one sentence."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nimify.conformance.readers import Answer, NoAnswer, Reader, ask, end_readers, reason

FakeProgram = Callable[[str, str], Path]
READER = Reader("reader", "Install it.")


def runs(pid: int) -> bool:
    """Whether a process has not ended; whoever adopted it may not have asked after it yet."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_program_gets_its_arguments_and_an_empty_home(
    fake: FakeProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing goes through a shell, and nothing of this user's settings comes along."""
    monkeypatch.setenv("SECRET", "s3cret")
    fake("reader", 'echo "$1"; ls -A "$HOME"; echo "$SECRET"; pwd')
    answer = READER.ask("$(id); a b", folder=tmp_path)
    assert answer.output.splitlines() == ["$(id); a b", "", str(tmp_path)]


def test_a_program_that_hangs_is_ended_with_its_children(fake: FakeProgram, tmp_path: Path) -> None:
    """Also one that waits for a child, and one that has closed its output."""
    program = fake("reader", "exec >&- 2>&-; sleep 1000 & echo $! > child; wait")
    with pytest.raises(NoAnswer, match="reader did not end within 5 seconds"):
        ask([str(program)], folder=tmp_path, timeout_s=5)
    while runs(int((tmp_path / "child").read_text())):
        time.sleep(0.01)


def test_a_program_that_talks_without_end_is_ended(fake: FakeProgram, tmp_path: Path) -> None:
    """Its words are not kept."""
    fake("reader", "while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done")
    with pytest.raises(NoAnswer, match="reader wrote more than 8 MiB"):
        READER.ask(folder=tmp_path)


def test_a_program_that_cannot_be_run_is_named(fake: FakeProgram, tmp_path: Path) -> None:
    """Its file may be for another machine."""
    fake("reader", "").write_bytes(b"\x7fELF no program")
    with pytest.raises(NoAnswer, match="reader cannot be run"):
        READER.ask(folder=tmp_path)


def test_a_program_that_crashes_gives_a_reason(fake: FakeProgram, tmp_path: Path) -> None:
    """The signal, when it said nothing."""
    fake("reader", "kill -SEGV $$")
    assert reason(READER.ask(folder=tmp_path)) == "a signal ended it (Segmentation fault)."


def test_whoever_cannot_wait_ends_every_program(fake: FakeProgram, tmp_path: Path) -> None:
    """Ctrl-C does not wait for deadlines."""
    fake("reader", "touch started; sleep 1000")
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(READER.ask(folder=tmp_path)))
    thread.start()
    while not (tmp_path / "started").exists():
        thread.join(0.01)
    end_readers()
    thread.join()
    assert [answer.code for answer in answers] == [-9]


def test_a_reason_is_one_line() -> None:
    """What a program says comes from a hostile file as often as not."""
    said = reason(Answer(1, "output\n", "\x1b[31merror\n\n" + "y" * 1000))
    assert said.startswith("\\x1b[31merror yyy")
    assert len(said) == 240
    assert reason(Answer(3, "", "")) == "it ended with 3."
