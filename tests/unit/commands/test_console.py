"""Results on standard output, talk on standard error, and nothing that could harm a terminal."""

from __future__ import annotations

import io
import json
import sys

import pytest

from nimify.commands.console import LEAST_PROGRESS_BYTES, Console, clean
from nimify.commands.failures import Failure


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_results_and_talk_go_to_their_streams(capsys: pytest.CaptureFixture[str]) -> None:
    """A pipe gets results only."""
    console = Console({})

    console.result("result")
    console.talk("talk")

    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("result\n", "talk\n")


def test_quiet_keeps_results_and_errors(capsys: pytest.CaptureFixture[str]) -> None:
    """`--quiet` leaves out the talk only."""
    console = Console({})
    console.quiet = True

    console.result("result")
    console.talk("talk")
    console.fail(Failure("X", "It broke.", 3))

    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("result\n", "Error: It broke.\n")


def test_documents_are_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    """A document survives any locale, and no name in it reaches the terminal as it is."""
    Console({}).document({"name": "a\x1b[31m\u202eé"})

    out = capsys.readouterr().out
    assert out.isascii()
    assert "\x1b" not in out
    assert json.loads(out) == {"name": "a\x1b[31m\u202eé"}


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [
        ({}, True),
        ({"NO_COLOR": "1"}, False),
        ({"NO_COLOR": ""}, True),
        ({"TERM": "dumb"}, False),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_colour_on_a_terminal(environment: dict[str, str], coloured: bool) -> None:
    """A terminal has colour unless NO_COLOR or its kind says otherwise."""
    assert Console(environment).colour(_Terminal()) is coloured


def test_no_colour_into_a_file() -> None:
    """What is no terminal gets colour only by FORCE_COLOR."""
    assert not Console({}).colour(io.StringIO())
    assert Console({"FORCE_COLOR": "1"}).colour(io.StringIO())
    assert not Console({"FORCE_COLOR": "0"}).colour(io.StringIO())


def test_progress_is_drawn_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log file gets no progress bar."""
    terminal, file = _Terminal(), io.StringIO()
    for stream in (terminal, file):
        monkeypatch.setattr(sys, "stderr", stream)
        with Console({}).progress("Reading m.onnx", LEAST_PROGRESS_BYTES) as report:
            report(LEAST_PROGRESS_BYTES)
            report(1)

    assert "Reading m.onnx" in terminal.getvalue()
    assert file.getvalue() == ""


@pytest.mark.parametrize("attribute", ["quiet", "json"])
def test_progress_can_be_turned_off(attribute: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither `--quiet` nor `--json` draws a bar."""
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    console = Console({})
    setattr(console, attribute, True)

    with console.progress("Reading m.onnx", LEAST_PROGRESS_BYTES) as report:
        report(1)

    assert terminal.getvalue() == ""


def test_short_work_draws_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar that is gone before it can be read is noise."""
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)

    with Console({}).progress("Reading m.onnx", 1000) as report:
        report(1000)

    assert terminal.getvalue() == ""


def test_a_narrow_encoding_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the C locale what cannot be written is escaped."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))

    Console({}).result("17 µs…")
    sys.stdout.flush()

    assert raw.getvalue() == b"17 \\xb5s\\u2026\n"


def test_names_of_strangers_are_made_safe() -> None:
    """Escapes become visible, and length is bounded."""
    assert clean("a\x1b]0;x\x07\nb") == "a\\x1b]0;x\\x07\\nb"
    assert len(clean("a" * 10_000)) == 60


@pytest.mark.parametrize(("columns", "width"), [("5", 20), ("20", 20), ("77", 77), ("500", 110)])
def test_the_width_is_that_of_the_terminal_within_reason(
    columns: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From 20 to 110 columns."""
    monkeypatch.setenv("COLUMNS", columns)

    assert Console({}).width == width
