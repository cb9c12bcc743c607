"""Protobuf's wire format, field by field."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from nimify.formats.wire import LENGTH, VARINT, WireError, WireReader, encode_message, encode_varint

Open = Callable[[bytes], WireReader]


@pytest.fixture
def reader_of(tmp_path: Path) -> Iterator[Open]:
    """A reader over a file with the given content."""
    streams: list[BinaryIO] = []

    def open_reader(data: bytes) -> WireReader:
        path = tmp_path / f"{len(streams)}.pb"
        path.write_bytes(data)
        streams.append(path.open("rb"))
        return WireReader(streams[-1].fileno(), len(data))

    yield open_reader
    for stream in streams:
        stream.close()


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**31, 2**63, 2**64 - 1])
def test_numbers_are_read_as_they_were_written(value: int, reader_of: Open) -> None:
    """A length of any size comes back, and is then found too long."""
    data = encode_varint(3 << 3 | LENGTH) + encode_varint(value)

    if value == 0:
        assert reader_of(data).field(0, len(data)).end == len(data)
    else:
        with pytest.raises(WireError, match="ends too early at byte 0"):
            reader_of(data).field(0, len(data))


def test_fields_say_where_they_lie(reader_of: Open) -> None:
    """Tag, value and end are offsets in the file."""
    data = b"\x08\x96\x01" + encode_message(2, b"abc")
    reader = reader_of(data)

    first = reader.field(0, len(data))
    second = reader.field(first.end, len(data))

    assert tuple(first) == (1, VARINT, 0, 1, 3)
    assert tuple(second) == (2, LENGTH, 3, 5, 8)
    assert reader.content(second.value, second.end) == b"abc"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\x00\x01", "no valid field"),
        (b"\x0b", "no valid field"),
        (b"\x0f\x00", "no valid field"),
        (b"\xff" * 11, "no valid number"),
        (b"\x80", "ends too early"),
        (b"\x0d\x00\x00", "ends too early"),
        (b"\x09" + bytes(7), "ends too early"),
        (b"\x0a\x05abc", "ends too early"),
    ],
)
def test_malformed_fields_are_errors_with_their_place(data: bytes, problem: str, reader_of: Open) -> None:
    """Groups, field 0, endless numbers and cut fields are refused."""
    with pytest.raises(WireError, match=f"{problem}.* at byte"):
        reader_of(data).field(0, len(data))


def test_a_field_must_not_leave_its_message(reader_of: Open) -> None:
    """A length that fits the file but not what encloses it is an error of its own."""
    data = b"\x0a\x05abcdefgh"

    with pytest.raises(WireError, match="longer than what encloses it at byte 0"):
        reader_of(data).field(0, 4)


@pytest.mark.parametrize("element", [b"\x20\x05", b"\x20\xff\xff\x03", b"\x25\x00\x01\x02\x03", b"\x51" + bytes(8)])
def test_runs_of_numbers_end_where_another_field_starts(element: bytes, reader_of: Open) -> None:
    """Also when they span many windows of the file."""
    data = element * 100_000 + b"\x08\x01"
    reader = reader_of(data)
    first = reader.field(0, len(data))

    assert reader.run_end(first, len(data)) == len(data) - 2
    assert reader.bytes_read < 2 * len(data) + (1 << 17)


def test_a_run_does_not_read_into_what_follows_its_message(reader_of: Open) -> None:
    """The end of the message is the end of the run."""
    data = b"\x20\x05" * 100
    reader = reader_of(data)

    assert reader.run_end(reader.field(0, 20), 20) == 20


def test_large_contents_are_read_whole(reader_of: Open) -> None:
    """More than one window is one piece."""
    data = bytes(range(256)) * 1000

    assert reader_of(data).content(1, len(data)) == data[1:]
    with pytest.raises(WireError, match="ends too early"):
        reader_of(data).content(1, len(data) + 1)
