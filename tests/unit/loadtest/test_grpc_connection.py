"""Calls over our own HTTP/2: every call ends once, under what really happened to it, whoever answers."""

from __future__ import annotations

import socketserver
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import trustme
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from nimify.conformance.address import Address
from nimify.errors import EnvironmentProblem
from nimify.loadtest.grpc_call import CallFailed, call
from nimify.loadtest.grpc_connection import GrpcConnection, call_headers
from nimify.loadtest.measurement import Measurement
from nimify.loadtest.point import LoadPoint
from nimify.loadtest.pool import Traffic
from nimify.loadtest.session import LoadTest, run
from nimify.serving.grpc.status import header_field

if TYPE_CHECKING:
    from tests.conftest import ServiceStarter
    from tests.unit.loadtest.conftest import MannersService

PATH = "/test.Echo/Say"
MESSAGE = struct.pack(">BI", 0, 2) + b"ok"
Handler = Callable[[bytes, Any], bytes]


@contextmanager
def grpc_server(answer: Handler, *, credentials: Any = None) -> Iterator[str]:
    """A real server of grpcio, with one method."""

    class Echo(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio ships no types
        def service(self, details: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(answer) if details.method == PATH else None

    options = [("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]
    server = grpc.server(ThreadPoolExecutor(4), handlers=[Echo()], options=options)
    port = (
        server.add_insecure_port("127.0.0.1:0")
        if credentials is None
        else server.add_secure_port("127.0.0.1:0", credentials)
    )
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


class FramePeer(socketserver.StreamRequestHandler):
    """Reads whole calls, understands nothing of them, and sends what it is told to."""

    def handle(self) -> None:
        self.rfile.read(24)
        self.wfile.write(SettingsFrame(0).serialize())
        stream = 1
        while head := self.rfile.read(9):
            length = int.from_bytes(head[:3], "big")
            self.rfile.read(length)
            is_end = head[3] == 0 and head[4] & 1
            if is_end:
                # What was read gives room for as much again; without it a fast machine soon waits for ever.
                room = WindowUpdateFrame(0, window_increment=length).serialize()
                self.wfile.write(room + self.server.answer(stream))  # type: ignore[attr-defined]  # put there below
                stream += 2


class FrameServer(socketserver.ThreadingTCPServer):
    """A server of frames."""

    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that leave in the middle are part of the tests."""


@contextmanager
def frame_server(answer: Callable[[int], bytes]) -> Iterator[str]:
    """A server that answers the call on a stream with these bytes."""
    with FrameServer(("127.0.0.1", 0), FramePeer) as server:
        server.answer = answer  # type: ignore[attr-defined]  # read above
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def headers(address: str, *, secure: bool = False) -> bytes:
    return call_headers(PATH, address, {"X-Key": "secret"}, secure=secure)


def traffic(
    address: str, message: bytes = b"hello", *, timeout_s: float = 20.0, tls: ssl.SSLContext | None = None
) -> Traffic:
    where = Address.parse(f"{'https' if tls else 'http'}://{address}")
    return Traffic(where, [message], timeout_s, tls, partial(GrpcConnection, headers(address, secure=tls is not None)))


def asked(address: str, message: bytes = b"hello", *, tls: ssl.SSLContext | None = None) -> bytes:
    return call(traffic(address, message, tls=tls), headers(address, secure=tls is not None))


def under_load(address: str, *, tls: ssl.SSLContext | None = None) -> LoadPoint:
    return Measurement(traffic(address, tls=tls), None, 0.6, 0.05).closed(2)


def answered(stream: int, *frames: Frame, status: bytes = b"0") -> bytes:
    """An answer with the given frames between its headers and its trailers."""
    head = HeadersFrame(stream, b"\x88", flags=["END_HEADERS"])
    tail = HeadersFrame(stream, header_field(b"grpc-status", status), flags=["END_HEADERS", "END_STREAM"])
    return b"".join(frame.serialize() for frame in (head, *frames, tail))


@pytest.mark.parametrize("size", [0, 5, 16_379, 16_380, 100_000, 3_000_000])
def test_messages_of_every_size_come_back(size: int) -> None:
    """Windows and the longest frame of a server that is not ours are respected, both ways."""
    message = bytes(range(256)) * (size // 256) + bytes(size % 256)
    with grpc_server(lambda said, _: said) as address:
        assert asked(address, message) == message


def test_metadata_arrives() -> None:
    """A key reaches the service under its name in small letters."""
    with grpc_server(lambda _, context: dict(context.invocation_metadata())["x-key"].encode()) as address:
        assert asked(address) == b"secret"


def test_calls_are_made_over_tls() -> None:
    """HTTP/2 is agreed on while TLS is set up, as gRPC asks for it."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    credentials = grpc.ssl_server_credentials(
        [(certificate.private_key_pem.bytes(), certificate.cert_chain_pems[0].bytes())]
    )
    tls = ssl.create_default_context()
    authority.configure_trust(tls)
    tls.set_alpn_protocols(["h2"])
    with grpc_server(lambda said, _: said, credentials=credentials) as address:
        assert asked(address, tls=tls) == b"hello"
        assert under_load(address, tls=tls).failed == 0


def test_a_refusal_has_its_code_and_its_words() -> None:
    """What the service says is read as it was meant, percent signs and all."""
    with (
        grpc_server(lambda _, context: context.abort(grpc.StatusCode.NOT_FOUND, "100 % gone: ü")) as address,
        pytest.raises(CallFailed, match="NOT_FOUND: 100 % gone: ü"),
    ):
        asked(address)


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.PERMISSION_DENIED])
def test_failures_are_counted_by_their_code(code: Any) -> None:
    """A load of refusals is no load of answers."""
    with grpc_server(lambda _, context: context.abort(code, "no")) as address:
        point = under_load(address)
    assert set(point.failures) == {code.name}
    assert point.failed == point.requests > 0


def test_right_answers_are_counted_whoever_gives_them() -> None:
    """The server of grpcio has its own ways with headers, settings and pings."""
    with grpc_server(lambda said, _: said * 3) as address:
        point = under_load(address)
    assert (point.failures, point.requests > 2) == ({}, True)
    assert list(point.latencies_s.values()) == sorted(point.latencies_s.values())


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (lambda stream: answered(stream), "no whole answer"),
        (lambda stream: answered(stream, DataFrame(stream, MESSAGE[:-1])), "no whole answer"),
        (lambda stream: answered(stream, DataFrame(stream, MESSAGE + MESSAGE)), "no whole answer"),
        (lambda stream: answered(stream, DataFrame(stream, MESSAGE), status=b"99"), "a gRPC status of no meaning"),
        (lambda stream: DataFrame(stream, MESSAGE, flags=["END_STREAM"]).serialize(), "no gRPC status"),
        (lambda stream: RstStreamFrame(stream, error_code=7).serialize(), "stream reset (REFUSED_STREAM)"),
        (lambda stream: GoAwayFrame(0, last_stream_id=0).serialize(), "connection closed by the service"),
        (lambda stream: struct.pack(">IBI", (1 << 20) << 8, 0, stream), "HTTP/2 that breaks its rules"),
        (
            lambda stream: HeadersFrame(stream, b"\xff\xff\xff", flags=["END_HEADERS"]).serialize(),
            "HTTP/2 that breaks its rules",
        ),
    ],
)
def test_each_way_to_fail_has_its_name(answer: Callable[[int], bytes], failure: str) -> None:
    """Half an answer, two of them, a reset, a farewell and nonsense are told apart."""
    with frame_server(answer) as address:
        point = under_load(address)
    assert set(point.failures) == {failure}
    assert point.requests == point.failed > 0


def test_silence_ends_with_the_time_that_a_request_may_take() -> None:
    """A connection that gives no answer is closed, and another one takes its place."""
    with frame_server(lambda _: b"") as address:
        point = Measurement(traffic(address, timeout_s=0.5), None, 2.0, 0.0).closed(2)
    # A machine that is busy elsewhere may not even connect in that time.
    assert {"timeout"} <= set(point.failures) <= {"timeout", "cannot connect"}
    assert point.requests == point.failed


@pytest.mark.parametrize(
    "answer",
    [
        lambda stream: PingFrame(0, b"12345678").serialize() + answered(stream, DataFrame(stream, MESSAGE)),
        lambda stream: answered(stream, DataFrame(stream, MESSAGE[:3]), DataFrame(stream, MESSAGE[3:])),
        lambda stream: answered(stream, DataFrame(stream, MESSAGE, pad_length=9, flags=["PADDED"])),
        lambda stream: (
            GoAwayFrame(0, last_stream_id=2**31 - 1).serialize() + answered(stream, DataFrame(stream, MESSAGE))
        ),
    ],
)
def test_what_http2_allows_is_no_failure(answer: Callable[[int], bytes]) -> None:
    """Pings, pieces, padding, and a farewell that lets the call end."""
    with frame_server(answer) as address:
        point = under_load(address)
    assert (point.failures, point.requests > 2) == ({}, True)


def test_a_port_of_http1_is_told_from_grpc(service: MannersService) -> None:
    """The wrong port was named."""
    service.manners.answer = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"
    point = under_load(service.url.removeprefix("http://"))
    assert set(point.failures) == {"no HTTP/2 answer"}


def test_a_service_that_is_not_there_is_an_error() -> None:
    """Nobody listens."""
    with pytest.raises(EnvironmentProblem, match="could not be asked"):
        asked("127.0.0.1:1")


@pytest.mark.parametrize("kind", ["digits", "strings", "bf16"])
def test_a_real_service_is_measured_over_grpc(
    kind: str, start_service: ServiceStarter, make_bundle: Callable[..., Path]
) -> None:
    """Golden requests of every datatype, an open loop, and the service's own figures from its other port."""
    bundle = make_bundle(kind)
    service = start_service(bundle)
    report = run(
        LoadTest(
            f"grpc://{service.grpc_address}",
            bundle,
            metrics_url=service.url,
            connections=(2,),
            rates=(50.0,),
            duration_s=0.4,
            warmup_s=0.1,
        )
    )
    assert (report.protocol, report.url) == ("grpc", f"grpc://{service.grpc_address}")
    assert [(point.kind, point.failed) for point in report.points] == [("closed", 0), ("open", 0)]
    assert all(point.requests and point.server is not None for point in report.points)
