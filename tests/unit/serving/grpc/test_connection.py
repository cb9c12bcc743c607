"""A connection that gets anything at all: it never fails, never leaks, and answers in well-formed frames only."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import hpack
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, HeadersFrame, RstStreamFrame, SettingsFrame
from hypothesis import given
from hypothesis import strategies as st

from nimify.metrics.registry import Registry
from nimify.metrics.service import GrpcMetrics
from nimify.serving.access import OpenAccess
from nimify.serving.body_budget import BodyBudget
from nimify.serving.entrance import Entrance
from nimify.serving.grpc import frames
from nimify.serving.grpc.call import Call
from nimify.serving.grpc.codec import Content, message_prefix
from nimify.serving.grpc.connection import GrpcConnection
from nimify.serving.grpc.methods import Methods, StreamMethod, UnaryMethod
from nimify.serving.grpc.server import OTHER, GrpcServer
from nimify.serving.grpc.status import StatusCode, header_field
from nimify.serving.logs import Log
from nimify.serving.spec import Limits

LIMITS = Limits(max_body_bytes=100_000)
ECHO, STREAM = b"/test.Echo/Echo", b"/test.Echo/Stream"


class EchoStream:
    """Sends back what it gets."""

    accepting, busy = True, False

    def __init__(self, call: Call) -> None:
        self._call = call

    def message(self, content: Content) -> None:
        self._call.send(bytes(content))

    def half_closed(self) -> None:
        self._call.end()

    def writable(self) -> None:
        pass

    def gone(self, *, timed_out: bool) -> None:
        pass


class Wire:
    """A transport that keeps what is written; it can be told to take no more."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.ended = False
        self.reading = True

    def write(self, data: bytes) -> None:
        self.written += data

    def writelines(self, parts: list[bytes]) -> None:
        self.written += b"".join(parts)

    def set_write_buffer_limits(self, *, high: int) -> None:
        pass

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.ended = True

    def abort(self) -> None:
        self.ended = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def frames(self) -> list[Frame]:
        found, rest = [], bytes(self.written)
        while rest:
            frame, length = Frame.parse_frame_header(memoryview(rest[:9]))
            assert len(rest) >= 9 + length, "half a frame"
            frame.parse_body(memoryview(rest[9 : 9 + length]))
            found.append(frame)
            rest = rest[9 + length :]
        return found


class Bench:
    """A server without a socket, and one connection to it."""

    def __init__(self) -> None:
        methods: Methods = {
            ECHO: UnaryMethod("Echo", bytes, lambda call, content: call.reply(content)),
            STREAM: StreamMethod("Stream", EchoStream),
        }
        self.metrics = GrpcMetrics(
            Registry(), {"Echo": True, "Stream": False, OTHER: False}, {code.value: code.name for code in StatusCode}
        )
        self.budget = BodyBudget(1_000_000)
        data_plane: Any = None
        self.server = GrpcServer(
            methods,
            data_plane,
            limits=LIMITS,
            entrance=Entrance(OpenAccess()),
            budget=self.budget,
            metrics=self.metrics,
            log=Log("critical"),
        )
        self.wire = Wire()
        self.connection = GrpcConnection(self.server)
        transport: Any = self.wire
        self.connection.connection_made(transport)

    def greet(self, settings: bytes = b"") -> None:
        self.connection.data_received(frames.PREFACE + frames.frame(frames.SETTINGS, 0, 0, settings))

    def end(self) -> None:
        self.connection.connection_lost(None)
        assert self.budget.free == self.budget.total
        assert self.metrics.in_flight.value == 0
        assert self.metrics.connections.value == 0
        self.wire.frames()


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def head(path: bytes, *, more: bytes = b"") -> bytes:
    fields = ((b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b"content-type", b"application/grpc"))
    return b"".join(header_field(name, value) for name, value in fields) + more


def message(content: bytes) -> bytes:
    return message_prefix(len(content)) + content


def body_of(found: list[Frame], stream: int) -> bytes:
    return b"".join(f.data for f in found if isinstance(f, DataFrame) and f.stream_id == stream)


PAYLOADS = st.one_of(
    st.binary(max_size=30),
    st.binary(max_size=40).map(message),
    st.sampled_from([head(ECHO), head(STREAM), head(b"/no"), head(ECHO, more=header_field(b"grpc-encoding", b"gzip"))]),
    st.integers(0, 2**32 - 1).map(lambda number: number.to_bytes(4)),
    st.tuples(st.integers(0, 7), st.integers(0, 2**31)).map(lambda s: s[0].to_bytes(2) + s[1].to_bytes(4)),
)
ANY_FRAME = st.builds(
    frames.frame, st.integers(0, 11), st.sampled_from([0, 1, 4, 5, 8, 9, 0x20, 0x2D]), st.integers(0, 9), PAYLOADS
)
A_CALL = st.builds(
    lambda path, stream, content, end: (
        frames.frame(frames.HEADERS, frames.END_HEADERS, stream, head(path))
        + frames.frame(frames.DATA, end, stream, message(content))
    ),
    st.sampled_from([ECHO, STREAM]),
    st.sampled_from([1, 3, 5, 7, 9, 11]),
    st.binary(max_size=200),
    st.sampled_from([0, 1]),
)


@given(st.lists(st.one_of(ANY_FRAME, A_CALL), max_size=30), st.integers(1, 400), st.sets(st.integers(0, 40)))
def test_whatever_arrives_is_survived(parts: list[bytes], size: int, pauses: set[int]) -> None:
    """In whatever pieces, while the socket is now and then full: nothing is raised and nothing leaks."""

    async def work() -> None:
        bench, stream = Bench(), b"".join(parts)
        bench.greet()
        for turn, start in enumerate(range(0, len(stream), size)):
            if turn in pauses:
                bench.connection.pause_writing()
                bench.connection.resume_writing()
            bench.connection.data_received(stream[start : start + size])
            bench.connection.check_deadlines(bench.server.now_s() + (1000.0 if turn == 35 else 0.0))
        bench.end()

    run(work())


@given(st.binary(max_size=200))
def test_whatever_it_begins_with_is_survived(beginning: bytes) -> None:
    """HTTP/2 or not."""

    async def work() -> None:
        bench = Bench()
        bench.connection.data_received(beginning)
        bench.end()

    run(work())


@given(
    st.binary(min_size=1, max_size=90_000),
    st.integers(0, 70_000),
    st.lists(st.integers(1, 50_000), max_size=12),
    st.sampled_from([ECHO, STREAM]),
)
def test_an_answer_keeps_to_the_windows_and_arrives_whole(
    content: bytes, window: int, updates: list[int], path: bytes
) -> None:
    """Never a byte more than the client takes, and in the end every one."""

    async def work() -> None:
        bench = Bench()
        bench.greet(frames.Setting.INITIAL_WINDOW_SIZE.to_bytes(2) + window.to_bytes(4))
        bench.connection.data_received(frames.frame(frames.HEADERS, frames.END_HEADERS, 1, head(path)))
        whole = message(content)
        pieces = [whole[start : start + 16_000] for start in range(0, len(whole), 16_000)]
        for number, piece in enumerate(pieces, start=1):
            end = frames.END_STREAM if number == len(pieces) else 0
            bench.connection.data_received(frames.frame(frames.DATA, end, 1, piece))
        allowed = window
        for update in updates:
            assert len(body_of(bench.wire.frames(), 1)) <= min(allowed, frames.DEFAULT_WINDOW)
            if not bench.connection.calls:
                break
            bench.connection.data_received(frames.window_update_frame(1, update))
            allowed += update
        if bench.connection.calls:
            bench.connection.data_received(frames.window_update_frame(1, 1_000_000))
            bench.connection.data_received(frames.window_update_frame(0, 1_000_000))
        found = bench.wire.frames()
        assert body_of(found, 1) == whole
        assert "END_STREAM" in [f for f in found if isinstance(f, HeadersFrame)][-1].flags
        assert all(len(f.data) <= frames.LONGEST_FRAME for f in found if isinstance(f, DataFrame))
        assert not bench.connection.calls
        bench.end()

    run(work())


def test_calls_that_wait_for_room_take_turns() -> None:
    """None is served whole while another one starves."""

    async def work() -> None:
        bench = Bench()
        bench.greet(frames.Setting.INITIAL_WINDOW_SIZE.to_bytes(2) + (1_000_000).to_bytes(4))
        for stream in (1, 3):
            bench.connection.data_received(
                frames.frame(frames.HEADERS, frames.END_HEADERS, stream, head(ECHO))
                + b"".join(frames.frame(frames.DATA, 0, stream, part) for part in _parts(b"x" * 90_000))
                + frames.frame(frames.DATA, frames.END_STREAM, stream)
            )
        for _ in range(3):
            bench.connection.data_received(frames.window_update_frame(0, 20_000))
        sent = {stream: len(body_of(bench.wire.frames(), stream)) for stream in (1, 3)}
        assert sent[3] > 0
        bench.connection.data_received(frames.window_update_frame(0, 1_000_000))
        assert all(body_of(bench.wire.frames(), stream) == message(b"x" * 90_000) for stream in (1, 3))
        bench.end()

    run(work())


def _parts(content: bytes) -> list[bytes]:
    whole = message(content)
    return [whole[start : start + 16_000] for start in range(0, len(whole), 16_000)]


def test_too_much_that_nobody_reads_ends_the_call() -> None:
    """The budget of all bodies bounds what is queued, too."""

    async def work() -> None:
        bench = Bench()
        bench.greet(frames.Setting.INITIAL_WINDOW_SIZE.to_bytes(2) + bytes(4))
        bench.connection.data_received(frames.frame(frames.HEADERS, frames.END_HEADERS, 1, head(STREAM)))
        for _ in range(12):
            for part in _parts(b"x" * 99_000):
                bench.connection.data_received(frames.frame(frames.DATA, 0, 1, part))
        resets = [f for f in bench.wire.frames() if isinstance(f, RstStreamFrame)]
        assert [f.error_code for f in resets][:1] == [frames.ErrorCode.ENHANCE_YOUR_CALM]
        bench.end()

    run(work())


def test_goodbye_is_said_twice() -> None:
    """First that the end is near, and once the client has heard that, which call was the last one."""

    async def work() -> None:
        bench = Bench()
        bench.greet()
        bench.connection.say_goodbye()
        late = frames.frame(frames.HEADERS, frames.END_HEADERS, 1, head(ECHO))
        bench.connection.data_received(late + frames.frame(frames.DATA, frames.END_STREAM, 1, message(b"late")))
        bench.connection.data_received(frames.frame(frames.PING, frames.ACK, 0, b"farewell"))
        found = bench.wire.frames()
        assert [f.last_stream_id for f in found if isinstance(f, GoAwayFrame)] == [2**31 - 1, 1]
        assert body_of(found, 1) == message(b"late")
        assert bench.wire.ended
        bench.end()

    run(work())


def test_the_greeting_tells_the_limits() -> None:
    """Before anything else."""

    async def work() -> None:
        bench = Bench()
        greeting = bench.wire.frames()[0]
        assert isinstance(greeting, SettingsFrame)
        assert greeting.settings[SettingsFrame.MAX_CONCURRENT_STREAMS] == 256
        bench.connection.connection_lost(None)

    run(work())


def test_headers_are_readable_by_any_decoder() -> None:
    """Those of answers, trailers and refusals."""

    async def work() -> None:
        bench = Bench()
        bench.greet()
        for stream, path in ((1, ECHO), (3, b"/no")):
            bench.connection.data_received(frames.frame(frames.HEADERS, frames.END_HEADERS, stream, head(path)))
            bench.connection.data_received(frames.frame(frames.DATA, frames.END_STREAM, stream, message(b"")))
        decoder = hpack.Decoder()
        found = [decoder.decode(f.data) for f in bench.wire.frames() if isinstance(f, HeadersFrame)]
        statuses = [[str(value) for name, value in fields if str(name) == "grpc-status"] for fields in found]
        assert statuses == [[], ["0"], ["12"]]
        bench.end()

    run(work())
