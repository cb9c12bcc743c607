"""Messages cut out of a stream of bytes, however it arrives."""

from __future__ import annotations

import gzip
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nimify.serving.bulk import LARGE_RAW_BYTES
from nimify.serving.faults import Kind, RequestFault
from nimify.serving.grpc.codec import MessageReader


def framed(content: bytes, flag: int = 0) -> bytes:
    return struct.pack(">BI", flag, len(content)) + content


@given(st.lists(st.binary(max_size=40), max_size=8), st.lists(st.integers(1, 30), min_size=1, max_size=10))
def test_messages_are_the_same_in_whatever_pieces_they_come(messages: list[bytes], sizes: list[int]) -> None:
    """None is lost, merged or parted."""
    stream = b"".join(map(framed, messages))
    reader, found, turn = MessageReader(100), [], 0
    while stream:
        size = sizes[turn % len(sizes)]
        found += [bytes(message) for message in reader.feed(stream[:size])]
        stream, turn = stream[size:], turn + 1
    assert found == messages
    assert not reader.partial


@pytest.mark.parametrize("size", [999, 16_384, 1 << 20])
def test_large_messages_are_the_same_in_whatever_pieces_they_come(size: int) -> None:
    """Among small ones, and compressed ones too."""
    large = bytes(range(256)) * (LARGE_RAW_BYTES // 64)
    stream = framed(b"a") + framed(large) + framed(b"b") + framed(gzip.compress(large, 0), 1) + framed(b"")
    reader, found = MessageReader(1 << 23, b"gzip"), []
    for start in range(0, len(stream), size):
        found += [bytes(message[:]) for message in reader.feed(stream[start : start + size])]
    assert found == [b"a", large, b"b", large, b""]
    assert not reader.partial


@pytest.mark.parametrize(("encoding", "compress"), [(b"gzip", gzip.compress), (b"deflate", zlib.compress)])
def test_compressed_messages_are_inflated(encoding: bytes, compress: object) -> None:
    """Each by itself."""
    assert callable(compress)
    reader = MessageReader(1000, encoding)
    assert reader.feed(framed(compress(b"a" * 1000), 1) + framed(b"plain")) == [b"a" * 1000, b"plain"]


@pytest.mark.parametrize(("size", "fits"), [(10_000, True), (10_001, False), (5_000_000, False)])
def test_a_message_is_bounded_after_inflating(size: int, fits: bool) -> None:
    """And nothing beyond the bound is inflated."""
    reader, message = MessageReader(10_000, b"gzip"), framed(gzip.compress(b"\0" * size), 1)
    if fits:
        assert reader.feed(message) == [b"\0" * size]
        return
    with pytest.raises(RequestFault) as caught:
        reader.feed(message)
    assert caught.value.kind is Kind.TOO_LARGE


def test_a_message_is_refused_by_its_prefix() -> None:
    """Before a byte of it has come."""
    with pytest.raises(RequestFault) as caught:
        MessageReader(1000).feed(struct.pack(">BI", 0, 1001))
    assert caught.value.kind is Kind.TOO_LARGE


@pytest.mark.parametrize(
    ("encoding", "stream"),
    [
        (b"identity", framed(b"", 1)),
        (b"gzip", framed(b"garbage", 1)),
        (b"gzip", framed(gzip.compress(b"a", mtime=0)[:-1], 1)),
        (b"gzip", framed(gzip.compress(b"a", mtime=0) + b"b", 1)),
        (b"identity", framed(b"", 2)),
    ],
)
def test_what_is_not_well_formed_is_an_invalid_argument(encoding: bytes, stream: bytes) -> None:
    """The client's mistake, told as such."""
    with pytest.raises(RequestFault) as caught:
        MessageReader(1000, encoding).feed(stream)
    assert caught.value.kind is Kind.INVALID_ARGUMENT
