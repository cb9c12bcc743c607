"""Programs that are driven: their lines, their deadlines, and their end."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import IO

import pytest

from nimify.programs import Program, ProgramFailed

SHELL = Program("sh")


def test_lines_of_both_streams_are_told_as_they_come() -> None:
    """Nothing is kept back until the end."""
    lines: list[str] = []
    SHELL.follow("-c", "echo one; echo two >&2; echo three", tell=lines.append, timeout_s=60)
    assert lines == ["one", "two", "three"]


def test_what_is_fed_is_read() -> None:
    """Also more than a pipe holds."""
    lines: list[str] = []

    def feed(stream: IO[bytes]) -> None:
        stream.write(b"x" * (1 << 20))

    SHELL.follow("-c", "wc -c", tell=lines.append, feed=feed, timeout_s=60)
    assert lines == [str(1 << 20)]


def test_a_program_that_does_not_read_on_speaks_for_itself() -> None:
    """A closed pipe is no error of ours."""
    with pytest.raises(ProgramFailed, match="enough"):
        SHELL.follow(
            "-c", "echo enough; exit 3", tell=lambda _: None, feed=lambda stream: _endless(stream), timeout_s=60
        )


def _endless(stream: IO[bytes]) -> None:
    while True:
        stream.write(b"x" * 65536)


def test_a_deadline_ends_the_program_and_its_children() -> None:
    """The children hold the pipe; were they left, the call would not come back."""
    with pytest.raises(ProgramFailed, match="did not end within 1 seconds"):
        SHELL.follow("-c", "sleep 600 & sleep 600", tell=lambda _: None, timeout_s=1)


def test_an_interrupt_ends_the_program(tmp_path: Path) -> None:
    """Whatever a line's listener raises, nothing goes on."""
    note = tmp_path / "pid"

    def interrupted(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SHELL.follow("-c", f"echo $$ > {note}; echo line; exec sleep 600", tell=interrupted, timeout_s=60)
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)
    assert not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]


def test_a_missing_program_is_a_failure_in_words() -> None:
    """Not an exception of the operating system."""
    with pytest.raises(ProgramFailed, match="nimify-nowhere cannot be run"):
        Program("nimify-nowhere").run("x")


@pytest.mark.parametrize(("said", "told"), [("It is gone.", "It is gone"), ("Does it run?", "Does it run"), ("?", "?")])
def test_what_a_program_said_fits_into_a_sentence(said: str, told: str) -> None:
    """Which has a full stop of its own."""
    assert str(ProgramFailed(said)) == told


def test_a_program_runs_in_the_folder_that_is_named(tmp_path: Path) -> None:
    """What lies where we are is not its to find."""
    assert SHELL.run("-c", "pwd -P", folder=tmp_path).strip() == str(tmp_path.resolve())


def test_a_program_that_writes_more_than_it_may_has_failed() -> None:
    """What it wrote is not read any further."""
    assert SHELL.json("-c", "echo 12", longest=3) == 12
    with pytest.raises(ProgramFailed, match="wrote 4 characters"):
        SHELL.json("-c", "echo 123", longest=3)
