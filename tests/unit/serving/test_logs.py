"""Logs: every event is a record that parses, whatever clients and models put into it."""

from __future__ import annotations

import io
import json
import re
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nimify.serving.logs import LEVELS, Log

HOSTILE = "a\r\n2026-01-01T00:00:00.000Z INFO    forged\x1b[31m\u2028\0"
RECORD = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z [A-Z]+ +\S")


def written(write: str, *args: Any, json_lines: bool = False, level: str = "trace", **fields: Any) -> str:
    stream = io.StringIO()
    getattr(Log(level, json_lines=json_lines, stream=stream), write)(*args, **fields)
    return stream.getvalue()


def boom(text: str) -> ValueError:
    try:
        raise ValueError(text)
    except ValueError as error:
        return error


@pytest.mark.parametrize("level", LEVELS)
def test_only_what_is_at_or_above_the_level_is_written(level: str) -> None:
    """A threshold, not a filter."""
    for kind in ("debug", "info", "warning", "error"):
        assert bool(written(kind, "event", level=level)) is (LEVELS[kind] >= LEVELS[level])
    assert Log(level, stream=io.StringIO()).debugging is (level in {"trace", "debug"})


def test_a_json_record_holds_the_fields_as_they_are() -> None:
    """Numbers stay numbers, and the time is UTC."""
    record = json.loads(
        written("info", "ready", json_lines=True, port=8000, took_s=0.5, good=True, nothing=None, who="é")
    )
    stamp = record.pop("timestamp")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", stamp)
    expected = {
        "level": "info",
        "event": "ready",
        "port": 8000,
        "took_s": 0.5,
        "good": True,
        "nothing": None,
        "who": "é",
    }
    assert record == expected


VALUES = st.one_of(
    st.text(st.characters()),  # lone surrogates included: names of files may hold them
    st.integers(),
    st.floats(),
    st.none(),
    st.booleans(),
    st.binary(max_size=5),
    st.lists(st.integers(), max_size=2),
)


@given(VALUES)
def test_any_value_makes_one_json_line(value: Any) -> None:
    """Integers of any size, infinities and undecodable names included."""
    text = written("info", "event", json_lines=True, value=value)
    assert text.count("\n") == 1
    assert json.loads(text)["event"] == "event"


@given(VALUES)
def test_any_value_makes_one_readable_line(value: Any) -> None:
    """Printable from end to end."""
    text = written("info", "event", value=value)
    assert RECORD.match(text)
    assert text.removesuffix("\n").isprintable()


@pytest.mark.parametrize("json_lines", [False, True])
def test_an_undecodable_name_or_a_huge_integer_is_logged(json_lines: bool) -> None:
    """They are what orjson refuses; they must not take the request with them."""
    assert "udcff" in written("info", "event", json_lines=json_lines, file="\udcff")
    assert str(2**70) in written("info", "event", json_lines=json_lines, number=2**70)


@pytest.mark.parametrize("json_lines", [False, True])
def test_no_value_can_forge_a_record(json_lines: bool) -> None:
    """Neither a field, nor an error's text in a traceback, nor a terminal's escapes."""
    for text in (
        written("info", "event", json_lines=json_lines, value=HOSTILE),
        written("exception", "failed", boom(HOSTILE), json_lines=json_lines),
    ):
        lines = text.splitlines()
        assert sum(bool(RECORD.match(line)) or line.startswith("{") for line in lines) == 1
        assert "\x1b" not in text
        assert "\0" not in text


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("plain", "plain"),
        ("two words", '"two words"'),
        ("", '""'),
        ('a" b="c', '"a\\" b=\\"c"'),
        ('"', '"\\""'),
        (5, "5"),
    ],
)
def test_no_value_can_forge_a_field(value: object, word: str) -> None:
    """Quotes inside of quotes are escaped."""
    assert written("info", "event", value=value).endswith(f" event value={word}\n")


def test_long_values_are_cut() -> None:
    """A megabyte of a client's text does not fill the disk."""
    for json_lines in (False, True):
        assert len(written("info", "event", json_lines=json_lines, value="x" * 2**20)) < 3000


@pytest.mark.parametrize("json_lines", [False, True])
def test_an_exception_comes_with_its_traceback(json_lines: bool) -> None:
    """The line that raised can be found."""
    text = written("exception", "failed", boom("why"), json_lines=json_lines, request_id="r1")
    assert "in boom" in text
    assert "why" in text
    assert "r1" in text


def test_a_stream_that_is_gone_is_no_reason_to_fail() -> None:
    """A closed file, and a full disk."""

    class FullDisk(io.StringIO):
        def flush(self) -> None:
            raise OSError(28, "No space left on device")

    closed = io.StringIO()
    closed.close()
    for stream in (closed, FullDisk()):
        Log(stream=stream).info("event")


def test_standard_error_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output is for results."""
    Log().info("event")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith("INFO    event\n")
    assert sys.stderr is not sys.stdout
