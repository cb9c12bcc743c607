"""HTTP/2 as no client should speak it: each attack ends as the standard says, and the next call is answered."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from tests.service.http2_peer import PREFACE, Peer, data, message
from tritonclient.grpc import service_pb2

if TYPE_CHECKING:
    from tests.conftest import RunningService

Connect = Callable[..., "Peer"]
CALM, NO_ERROR, PROTOCOL, FLOW_CONTROL, REFUSED, CANCEL, COMPRESSION = 11, 0, 1, 3, 7, 8, 9
INFER = "/inference.GRPCInferenceService/ModelInfer"
LIVE = "/inference.GRPCInferenceService/ServerLive"
EMPTY_MESSAGE = b"\0\0\0\0\0"
GOOD = service_pb2.ModelInferRequest(
    model_name="tiny",
    inputs=[service_pb2.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1, 4])],
    raw_input_contents=[struct.pack("<4f", 1, 2, 3, 4)],
).SerializeToString()


@pytest.fixture(scope="module")
def service(start_service: Callable[..., RunningService], make_bundle: Callable[..., Path]) -> RunningService:
    """A service with short deadlines."""
    return start_service(
        make_bundle("tiny"), "--header-timeout", "3s", "--body-timeout", "10s", "--max-body-size", "1MiB"
    )


@pytest.fixture
def connect(service: RunningService, resident_bytes: Callable[[int], int]) -> Iterator[Connect]:
    """Open a connection; afterwards the service must answer as before, and have grown by little."""
    before = resident_bytes(service.process.pid)
    peers: list[Peer] = []

    def opened(**options: Any) -> Peer:
        peers.append(Peer(service.grpc_address, **options))
        return peers[-1]

    yield opened
    for peer in peers:
        peer.close()
    with Peer(service.grpc_address) as after:
        assert after.call(1, INFER, message(GOOD))["grpc-status"] == "0"
    assert resident_bytes(service.process.pid) - before < 32 << 20
    assert "Traceback" not in service.log.read_text()


@pytest.mark.parametrize(
    "beginning", [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01\x02\x00", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"]
)
def test_what_is_no_http2_is_cut(beginning: bytes, connect: Connect) -> None:
    """With the reason in a GOAWAY."""
    assert connect(preface=beginning).ended_with() == PROTOCOL


@pytest.mark.parametrize("beginning", [b"", b"PRI * HT", PREFACE])
def test_a_client_that_does_not_begin_is_cut(beginning: bytes, connect: Connect) -> None:
    """When the time for its headers is over."""
    assert connect(preface=beginning).ended_with() == PROTOCOL


def _resets(peer: Peer) -> Iterator[tuple[Frame, ...]]:
    for stream in range(1, 10_000, 2):
        yield peer.headers(stream, INFER), RstStreamFrame(stream, CANCEL)


def _made_to_reset(peer: Peer) -> Iterator[tuple[Frame, ...]]:
    for stream in range(1, 10_000, 2):
        yield peer.headers(stream, INFER), WindowUpdateFrame(stream, 2**31 - 1)


def _forever(*frames: Frame) -> Callable[[Peer], Iterator[tuple[Frame, ...]]]:
    def flood(peer: Peer) -> Iterator[tuple[Frame, ...]]:
        for _ in range(20_000):
            yield frames

    return flood


def _on_a_stream(frame: Frame) -> Callable[[Peer], Iterator[tuple[Frame, ...]]]:
    def flood(peer: Peer) -> Iterator[tuple[Frame, ...]]:
        yield (peer.headers(1, INFER),)
        for _ in range(20_000):
            yield (frame,)

    return flood


def _continuations(content: bytes) -> Callable[[Peer], Iterator[tuple[Frame, ...]]]:
    def flood(peer: Peer) -> Iterator[tuple[Frame, ...]]:
        frame = peer.headers(1, INFER)
        frame.flags.discard("END_HEADERS")
        yield (frame,)
        for _ in range(20_000):
            yield (ContinuationFrame(1, content),)

    return flood


@pytest.mark.parametrize(
    "flood",
    [
        _resets,
        _made_to_reset,
        _forever(PingFrame(0, b"12345678")),
        _forever(SettingsFrame(0)),
        _forever(PriorityFrame(3, depends_on=1, stream_weight=1)),
        _forever(WindowUpdateFrame(0, 1)),
        _on_a_stream(data(1, b"")),
        _on_a_stream(WindowUpdateFrame(1, 1)),
        _continuations(b""),
        _continuations(b"\x00" * 1000),
    ],
    ids=[
        "rapid reset",
        "made you reset",
        "ping",
        "settings",
        "priority",
        "connection window",
        "empty data",
        "stream window",
        "empty continuation",
        "continuation",
    ],
)
def test_a_flood_is_calmed(flood: Callable[[Peer], Iterator[tuple[Frame, ...]]], connect: Connect) -> None:
    """The connection ends with ENHANCE_YOUR_CALM, or is cut while it still sends."""
    peer = connect()
    for frames in flood(peer):
        if not peer.send(*frames):
            break
    assert peer.ended_with() in {CALM, None}
    assert not peer.send(PingFrame(0, b"12345678")) or peer.frame() is None


def test_ten_thousand_calls_fit_on_one_connection(connect: Connect) -> None:
    """One after the other: honest work is no flood."""
    peer = connect()
    for stream in range(1, 20_001, 2):
        peer.send(peer.headers(stream, LIVE), data(stream, EMPTY_MESSAGE, end=True))
        if stream % 200 == 199:
            assert peer.ending(stream)["grpc-status"] == "0"
            peer.send(WindowUpdateFrame(0, 10_000))


def test_more_calls_at_once_than_allowed_are_refused(connect: Connect) -> None:
    """The code says that they were not looked at, and may be sent again."""
    peer = connect()
    for stream in range(1, 2 * 257, 2):
        peer.send(peer.headers(stream, INFER))
    assert peer.ending(513) == {"reset": str(REFUSED)}
    peer.send(data(1, message(GOOD), end=True))
    assert peer.ending(1)["grpc-status"] == "0"


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ((WindowUpdateFrame(0, 2**31 - 1),), FLOW_CONTROL),
        ((b"\0\0\4\x08\0\0\0\0\0\0\0\0\0",), PROTOCOL),
        ((DataFrame(1, b"x"),), PROTOCOL),
        ((HeadersFrame(2, b"\x82", flags=["END_HEADERS"]),), PROTOCOL),
        ((HeadersFrame(1, b"\xff\xff\xff\xff", flags=["END_HEADERS"]),), COMPRESSION),
        ((HeadersFrame(1, b"\x82"), PingFrame(0, b"12345678")), PROTOCOL),
        ((ContinuationFrame(1, b"\x82"),), PROTOCOL),
        ((SettingsFrame(0, settings={4: 2**31}),), FLOW_CONTROL),
        ((b"\xff\xff\xff\0\0\0\0\0\1",), 6),
    ],
)
def test_broken_rules_end_the_connection(frames: tuple[Frame | bytes, ...], code: int, connect: Connect) -> None:
    """With the code that the standard names."""
    peer = connect()
    peer.send(*frames)
    assert peer.ended_with() == code


def test_a_client_that_sends_more_than_its_window_is_cut(connect: Connect) -> None:
    """Who does not wait for room does not get memory."""
    peer = connect()
    stream = "/inference.GRPCInferenceService/ModelStreamInfer"
    peer.send(peer.headers(1, stream))
    lie = struct.pack(">BI", 0, 1 << 20)
    for _ in range(70):
        if not peer.send(data(1, lie + b"\0" * 16_000)):
            break
        lie = b""
    peer.send(data(1, b"\0" * 16_000))
    assert set(peer.ending(1)) & {"grpc-status", "reset", "goaway"}


@pytest.mark.parametrize(
    ("fields", "more"),
    [
        ({}, [(f"x-{number}", "v") for number in range(3000)]),
        ({"x_long": "v" * 65_536}, []),
        ({"x_long": "v" * 20_000}, []),
        ({}, [("x-same", "v")] * 100_000),
    ],
    ids=["many", "one very long", "one long", "a bomb"],
)
def test_too_many_headers_are_refused(fields: dict[str, str], more: list[tuple[str, str]], connect: Connect) -> None:
    """As a call that has too much, or as a client that must calm down."""
    peer = connect()
    frame = peer.headers(1, LIVE, *more, **fields)
    block = frame.data
    frame.data = block[:16_000]
    rest = [block[start : start + 16_000] for start in range(16_000, len(block), 16_000)]
    parts: list[Frame] = [frame, *(ContinuationFrame(1, part) for part in rest)]
    if rest:
        frame.flags.discard("END_HEADERS")
        parts[-1].flags.add("END_HEADERS")
    peer.send(*parts, data(1, EMPTY_MESSAGE, end=True))
    ending = peer.ending(1)
    assert ending.get("grpc-status") == "8" or ending.get("goaway") in {str(CALM), "end"}


def test_headers_that_break_the_rules_end_the_call(connect: Connect) -> None:
    """And nothing but the call."""
    peer = connect()
    bad = [("connection", "close")], [("Upper", "a")], [("te", "gzip")], [(":late", "a")], [(":path", "/again")]
    for stream, fields in enumerate(bad):
        frame = peer.headers(2 * stream + 1, LIVE, *fields)
        peer.send(frame)
        assert peer.ending(2 * stream + 1) == {"reset": str(PROTOCOL)}
    assert peer.call(99, LIVE, EMPTY_MESSAGE)["grpc-status"] == "0"


def test_a_client_that_does_not_read_is_cut_off(
    start_service: Callable[..., RunningService], make_bundle_of: Callable[..., Path]
) -> None:
    """Its answer waits as long as a body may take, and no longer; others are answered meanwhile."""
    from nimify.testing import models

    bundle = make_bundle_of("wide", models.identity("FP32", ("batch", "n")), batching={"max_batch_size": 0})
    running = start_service(bundle, "--body-timeout", "5s")
    with grpc.insecure_channel(running.grpc_address) as channel:
        metadata = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelMetadata",
            service_pb2.ModelMetadataRequest.SerializeToString,
            service_pb2.ModelMetadataResponse.FromString,
        )(service_pb2.ModelMetadataRequest(name="wide"), timeout=60)
    request = service_pb2.ModelInferRequest(model_name="wide", raw_input_contents=[b"\0" * 400_000])
    request.inputs.add(name=metadata.inputs[0].name, datatype="FP32", shape=[1, 100_000])
    body = message(request.SerializeToString())
    with Peer(running.grpc_address, settings={4: 0}) as peer:
        parts = [body[start : start + 16_000] for start in range(0, len(body), 16_000)]
        peer.send(peer.headers(1, INFER), *(data(1, part) for part in parts), data(1, b"", end=True))
        assert peer.ending(1) == {"reset": str(CANCEL)}
        assert peer.call(3, LIVE, EMPTY_MESSAGE, content_type="text/plain").keys() != {"goaway"}
    assert running.stop() == 0


def test_half_a_message_is_not_waited_for(connect: Connect) -> None:
    """The call ends when a body should be there."""
    peer = connect()
    peer.send(peer.headers(1, INFER), data(1, message(GOOD)[:20]))
    assert peer.ending(1)["grpc-status"] == "4"


def test_what_is_no_grpc_is_told_so(connect: Connect) -> None:
    """With HTTP's own status codes."""
    peer = connect()
    assert peer.call(1, LIVE, b"", content_type="application/json")[":status"] == "415"
    frame = HeadersFrame(3, peer.encoder.encode([(":method", "GET"), (":scheme", "http"), (":path", "/")]))
    frame.flags |= {"END_HEADERS", "END_STREAM"}
    peer.send(frame)
    assert peer.ending(3)[":status"] == "405"


def test_idle_connections_do_not_stand_in_the_way(
    service: RunningService, connect: Connect, open_files: Callable[[int], int], eventually: Callable[..., None]
) -> None:
    """Hundreds of them, and each is gone when its client is."""
    before = open_files(service.process.pid)
    peers = [Peer(service.grpc_address) for _ in range(300)]
    assert connect().call(1, INFER, message(GOOD))["grpc-status"] == "0"
    for peer in peers:
        peer.close()
    eventually(lambda: open_files(service.process.pid) <= before + 5, what="the connections' end")


def test_a_client_that_vanishes_in_a_call_leaves_nothing_behind(
    service: RunningService, connect: Connect, scrape: Any, eventually: Callable[..., None]
) -> None:
    """However often."""
    for _ in range(50):
        peer = connect()
        peer.send(peer.headers(1, INFER), data(1, message(GOOD)[: 7 + time.monotonic_ns() % 20]))
        peer.close()
    eventually(lambda: scrape(service).value("nim_grpc_calls_in_flight") == 0, what="the calls' end")
    eventually(lambda: scrape(service).value("nim_grpc_connections") == 0, what="the connections' end")
