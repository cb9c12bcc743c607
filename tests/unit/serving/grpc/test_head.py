"""How a call begins: what is accepted, and that remembering heads never changes what they say."""

from __future__ import annotations

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nimify.serving.faults import Kind
from nimify.serving.grpc.frames import ConnectionFault, ErrorCode, StreamFault
from nimify.serving.grpc.head import MAX_HEADER_LIST, HeadReader, checked_head

GRPC = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/a.B/C"),
    (":authority", "localhost"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
]


def encoded(fields: list[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in fields]


@pytest.mark.parametrize("content_type", ["application/grpc", "application/grpc+proto", "Application/gRPC; a=b"])
def test_grpc_is_recognised(content_type: str) -> None:
    """However its content type is written."""
    head = checked_head(encoded([*GRPC[:4], ("content-type", content_type), ("x-a", "1")]))
    assert (head.refusal, head.fault, head.path) == (None, None, b"/a.B/C")
    assert head.metadata[b"x-a"] == b"1"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1H", 3600),
        ("2M", 120),
        ("3S", 3),
        ("4m", 0.004),
        ("5u", 5e-6),
        ("6n", 6e-9),
        ("0S", 0),
        ("99999999S", 99999999),
    ],
)
def test_a_timeout_is_read_in_every_unit(text: str, seconds: float) -> None:
    """Down to nanoseconds."""
    assert checked_head(encoded([*GRPC, ("grpc-timeout", text)])).timeout_s == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "S", "1", "1s", "-1S", "1.5S", "100000000S", "1 S", "٣S"])
def test_a_broken_timeout_is_an_invalid_argument(text: str) -> None:
    """Never one that is ignored."""
    fault = checked_head(encoded([*GRPC, ("grpc-timeout", text)])).fault
    assert fault is not None
    assert fault.kind is Kind.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "fields",
    [
        GRPC[1:],
        [field for field in GRPC if field[0] != ":path"],
        [*GRPC, (":path", "/late")],
        [GRPC[0], *GRPC],
        [(":unknown", "a"), *GRPC],
        [*GRPC, ("Upper", "a")],
        [*GRPC, ("connection", "close")],
        [*GRPC, ("te", "gzip")],
        [*GRPC, ("content-length", "x")],
        [*GRPC, ("", "a")],
        [*GRPC, ("a", "b\r\nc: d")],
        [*GRPC[:2], (":path", ""), *GRPC[3:]],
    ],
)
def test_headers_that_http2_forbids_end_the_stream(fields: list[tuple[str, str]]) -> None:
    """With the code that the standard names."""
    with pytest.raises(StreamFault) as caught:
        checked_head(encoded(fields))
    assert caught.value.code is ErrorCode.PROTOCOL_ERROR


def test_too_many_headers_are_refused() -> None:
    """At the limit they are taken, one byte later they are not."""
    used = sum(len(name) + len(value) + 32 for name, value in GRPC)
    fits = "v" * (MAX_HEADER_LIST - used - 33)
    assert checked_head(encoded([*GRPC, ("a", fits)])).fault is None
    fault = checked_head(encoded([*GRPC, ("a", fits + "v")])).fault
    assert fault is not None
    assert fault.kind is Kind.HEADERS_TOO_LARGE


@pytest.mark.parametrize(
    "block", [b"\xff\xff\xff\xff\xff\xff", b"\x80", b"\x3f\xff\xff\xff\x7f", b"\x00\x05ab", b"\xbe"]
)
def test_a_block_that_cannot_be_decompressed_ends_the_connection(block: bytes) -> None:
    """The tables would not be in step any more."""
    with pytest.raises(ConnectionFault) as caught:
        HeadReader().read(block)
    assert caught.value.code is ErrorCode.COMPRESSION_ERROR


def test_a_bomb_ends_the_connection() -> None:
    """A few bytes that stand for many megabytes are not unpacked."""
    reader, encoder = HeadReader(), hpack.Encoder()
    reader.decoded(encoder.encode([("a", "v" * 3000)]))
    with pytest.raises(ConnectionFault) as caught:
        reader.decoded(b"\xbe" * 60_000)
    assert caught.value.code is ErrorCode.ENHANCE_YOUR_CALM


def test_equal_blocks_are_one_head_while_the_table_stands() -> None:
    """As soon as it has changed, the same bytes mean something else: here, nothing that is a call."""
    reader, encoder = HeadReader(), hpack.Encoder()
    reader.read(encoder.encode(GRPC))
    block = encoder.encode(GRPC)
    first = reader.read(block)
    assert reader.read(block) is first
    reader.read(encoder.encode([*GRPC, ("x-new", "1")]))
    with pytest.raises(StreamFault):
        reader.read(block)
    assert reader.read(encoder.encode(GRPC)).metadata == first.metadata


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(["1", "2", "3" * 900])), max_size=40))
def test_a_reader_that_remembers_reads_what_one_without_does(extra: list[tuple[str, str]]) -> None:
    """Whatever the order in which heads come, and entries leave the table."""
    reader, encoder, plain = HeadReader(), hpack.Encoder(), hpack.Decoder()
    for name, value in extra:
        for _ in range(2):
            block = encoder.encode([*GRPC, (f"x-{name}", value)])
            expected = {bytes(n): bytes(v) for n, v in plain.decode(block, raw=True)}
            head = reader.read(block)
            assert head.metadata == {n: v for n, v in expected.items() if not n.startswith(b":")}
