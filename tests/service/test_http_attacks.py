"""The HTTP layer against hostile bytes: a 4xx or a closed connection, in time, and nothing left behind."""

from __future__ import annotations

import http.client
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import RunningService
    from tests.service.conftest import Answer, Ask, AssertRefused, Dial

GOOD_BODY = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[1,2,3,4]}]}'
INFER = b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: a\r\n"
GET = b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n"
CHUNKED = INFER + b"Transfer-Encoding: chunked\r\n\r\n"
MIB = 1 << 20

Served = Callable[..., "RunningService"]


def _with_length(*headers: bytes) -> bytes:
    return INFER + b"".join(header + b"\r\n" for header in headers) + b"\r\n" + GOOD_BODY


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


LENGTH = b"Content-Length: %d" % len(GOOD_BODY)

# Requests whose framing is wrong or dubious: refused, and the connection is not trusted any further.
BROKEN = {
    "cl-and-te": (_with_length(LENGTH, b"Transfer-Encoding: chunked"), {400}),
    "te-and-cl": (_with_length(b"Transfer-Encoding: chunked", LENGTH), {400}),
    "cl-twice-equal": (_with_length(LENGTH, LENGTH), {400}),
    "cl-twice-different": (_with_length(LENGTH, b"Content-Length: 3"), {400}),
    "cl-negative": (_with_length(b"Content-Length: -1"), {400}),
    "cl-plus": (_with_length(b"Content-Length: +5"), {400}),
    "cl-hex": (_with_length(b"Content-Length: 0x5"), {400}),
    "cl-2^63": (_with_length(b"Content-Length: 9223372036854775808"), {400, 413}),
    "cl-2^64": (_with_length(b"Content-Length: 18446744073709551616"), {400}),
    "cl-2^64-1": (_with_length(b"Content-Length: 18446744073709551615"), {413}),
    "cl-too-large": (_with_length(b"Content-Length: 67108865"), {413}),
    "cl-empty": (_with_length(b"Content-Length: "), {400}),
    "cl-list": (_with_length(LENGTH + b", %d" % len(GOOD_BODY)), {400}),
    "cl-two-numbers": (_with_length(b"Content-Length: 1 2"), {400}),
    "te-chunked-twice": (INFER + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", {400}),
    "te-two-headers": (INFER + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400}),
    "te-gzip-chunked": (INFER + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", {400}),
    "te-xchunked": (INFER + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", {400}),
    "te-identity": (INFER + b"Transfer-Encoding: identity\r\n\r\n", {400}),
    "te-empty": (INFER + b"Transfer-Encoding: \r\n\r\n", {400}),
    "te-vertical-tab": (INFER + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", {400}),
    "te-in-http-1.0": (CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0") + b"0\r\n\r\n", {400}),
    "chunk-size-negative": (CHUNKED + b"-1\r\nx\r\n0\r\n\r\n", {400}),
    "chunk-size-prefixed": (CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n", {400}),
    "chunk-size-empty": (CHUNKED + b"\r\nx\r\n0\r\n\r\n", {400}),
    "chunk-size-17-digits": (CHUNKED + b"1" * 17 + b"\r\n", {400}),
    "chunk-without-crlf": (CHUNKED + b"5\r\nhelloX0\r\n\r\n", {400}),
    "chunk-bare-lf": (CHUNKED + b"5\nhello\n0\n\n", {400}),
    "chunk-extension-with-lf": (CHUNKED + b"5;a\nb\r\nhello\r\n0\r\n\r\n", {400}),
    "trailers-flood": (CHUNKED + b"0\r\n" + b"a: b\r\n" * 100_000 + b"\r\n", {431}),
    "trailer-with-length": (CHUNKED + b"0\r\nContent-Length: 5\r\n\r\n", {400}),
    "trailer-too-large": (CHUNKED + b"0\r\na: " + b"b" * (64 * 1024 + 1) + b"\r\n\r\n", {431}),
    "one-chunk-too-many": (CHUNKED + b"1\r\nx\r\n" * 65_537 + b"0\r\n\r\n", {400}),
    "header-bare-lf": (b"GET /v2 HTTP/1.1\nHost: a\n\n", {400}),
    "header-bare-cr": (b"GET /v2 HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", {400}),
    "header-folded": (GET + b"X: a\r\n b\r\n\r\n", {400}),
    "header-nul": (GET + b"X: a\x00b\r\n\r\n", {400}),
    "header-name-nul": (GET + b"X\x00: a\r\n\r\n", {400}),
    "header-space-before-colon": (GET + b"X : a\r\n\r\n", {400}),
    "header-without-name": (GET + b": a\r\n\r\n", {400}),
    "header-without-colon": (GET + b"X\r\n\r\n", {400}),
    "no-host": (b"GET /v2 HTTP/1.1\r\n\r\n", {400}),
    "empty-host": (b"GET /v2 HTTP/1.1\r\nHost: \r\n\r\n", {400}),
    "two-hosts": (GET + b"Host: b\r\n\r\n", {400}),
    "target-64-kib": (b"GET /" + b"a" * 65_536 + b" HTTP/1.1\r\nHost: a\r\n\r\n", {414}),
    "target-8-kib-of-query": (b"GET /v2?" + b"a" * 8192 + b" HTTP/1.1\r\nHost: a\r\n\r\n", {414}),
    "target-with-nul": (b"GET /v2\x00 HTTP/1.1\r\nHost: a\r\n\r\n", {400}),
    "target-with-space": (b"GET /v2 x HTTP/1.1\r\nHost: a\r\n\r\n", {400}),
    "headers-101": (GET + b"".join(b"X-%d: a\r\n" % i for i in range(100)) + b"\r\n", {431}),
    "headers-100000": (GET + b"a: b\r\n" * 100_000 + b"\r\n", {431}),
    "header-64-kib": (GET + b"X: " + b"a" * 65_536 + b"\r\n\r\n", {431}),
    "header-1-mib": (GET + b"X: " + b"a" * MIB, {431}),
    "header-name-64-kib": (GET + b"X" * 65_536 + b": a\r\n\r\n", {431}),
    "http-0.9": (b"GET /v2\r\n\r\n", {400}),
    "http-1.2": (b"GET /v2 HTTP/1.2\r\nHost: a\r\n\r\n", {400}),
    "http-2.0": (b"GET /v2 HTTP/2.0\r\nHost: a\r\n\r\n", {400}),
    "http-2-preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", {400}),
    "tls-client-hello": (bytes.fromhex("16030100c8010000c40303") + bytes(range(190)), {400}),
    "not-http": (b"\x00\x01\x02\x03\r\n\r\n", {400}),
    "ssh": (b"SSH-2.0-OpenSSH_9.9\r\n", {400}),
    "method-unknown": (b"BREW /v2 HTTP/1.1\r\nHost: a\r\n\r\n", {400}),
    "method-lower-case": (b"get /v2 HTTP/1.1\r\nHost: a\r\n\r\n", {400}),
    "expect-junk": (_with_length(LENGTH, b"Expect: junk"), {417}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_request_is_refused_and_its_connection_closed(
    name: str, served: Served, dial: Dial, ask: Ask, assert_refused: AssertRefused
) -> None:
    """One answer below 500, then the end, and the next client is served."""
    data, statuses = BROKEN[name]
    service = served("tiny")
    with dial(service) as wire:
        wire.send(data)
        answer = assert_refused(wire.answer(), statuses)
        assert answer.headers["connection"] == "close"
        assert wire.at_end()
    _assert_serves(ask, service)


# Whole requests that ask for something that is not there or not offered: refused, and the connection goes on.
REFUSED: dict[str, tuple[bytes, set[int]]] = {
    "absolute-form": (b"GET http://a/v2 HTTP/1.1\r\nHost: a\r\n\r\n", {404}),
    "asterisk-form": (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", {400, 404}),
    **{
        f"path-{path}": (b"GET " + path.encode() + b" HTTP/1.1\r\nHost: a\r\n\r\n", {404})
        for path in (
            "//v2",
            "/v2/",
            "/V2",
            "/v2/../v2",
            "/v2/./health/live",
            "/v2;x",
            "/v2%2fhealth%2flive",
            "/%2e%2e%2f%2e%2e%2fetc/passwd",
            "/docs/../../../../etc/passwd",
            "/v2%00",
            "/%c0%ae%c0%ae/",
            "/v2/models/tiny/versions/2",
            "/v2/models/other/infer",
            "/v2/models/",
            "/v2/repository/nothing",
            "/metrics",
            "/favicon.ico",
        )
    },
    **{
        f"encoding-{name!r}": (_with_length(LENGTH, b"Content-Encoding: " + name), {415})
        for name in (b"br", b"zstd", b"gzip, gzip", b"identity, gzip", b"garbage", b"")
    },
    **{
        f"header-length-{text!r}": (_with_length(LENGTH, b"Inference-Header-Content-Length: " + text), {400})
        for text in (b"-1", b"+5", b"1e1", b"0x4", b"", b"99999999999", b"200", b"10", b"1", b"\xb2", b"5.0")
    },
    "header-length-zero": (_with_length(LENGTH, b"Inference-Header-Content-Length: 0"), {400}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_whole_but_wrong_request_is_refused_and_its_connection_goes_on(
    name: str, served: Served, dial: Dial, assert_refused: AssertRefused
) -> None:
    """An answer below 500, and a good request on the same connection."""
    data, statuses = REFUSED[name]
    with dial(served("tiny")) as wire:
        wire.send(data)
        assert_refused(wire.answer(), statuses, sent=data.split()[1].decode("latin-1"))
        wire.send(_with_length(LENGTH))
        _assert_inferred(wire.answer())


# Odd, but allowed: answered as if it were plain.
ACCEPTED = {
    "te-capitals": INFER + b"Transfer-Encoding: Chunked\r\n\r\n" + _chunk(GOOD_BODY) + b"0\r\n\r\n",
    "te-trailer": CHUNKED + _chunk(GOOD_BODY) + b"0\r\nX: y\r\n\r\n",
    "chunk-extension": CHUNKED + b"%x;a=b\r\n%s\r\n0\r\n\r\n" % (len(GOOD_BODY), GOOD_BODY),
    "chunk-leading-zeros": CHUNKED + b"000%x\r\n%s\r\n0\r\n\r\n" % (len(GOOD_BODY), GOOD_BODY),
    "one-byte-chunks": CHUNKED + b"".join(_chunk(bytes([byte])) for byte in GOOD_BODY) + b"0\r\n\r\n",
    "blank-line-first": b"\r\n" + _with_length(LENGTH),
    "host-with-path": _with_length(LENGTH).replace(b"Host: a", b"Host: x/docs?x="),
    "host-with-fragment": _with_length(LENGTH).replace(b"Host: a", b"Host: localhost:4000/#@a"),
    "obs-text": _with_length(LENGTH, b"X: \x80\xff"),
    "query": _with_length(LENGTH).replace(b"/infer ", b"/infer?../../etc/passwd=%00 "),
    "spoofed-forwarding": _with_length(
        LENGTH, b"X-Forwarded-For: 127.0.0.1", b"X-Forwarded-Host: evil", b"Forwarded: for=_x", b"Cookie: a=b; c"
    ),
    "no-content-type": _with_length(LENGTH),
    "wrong-content-type": _with_length(LENGTH, b"Content-Type: text/html; charset=utf-7"),
    "two-content-types": _with_length(LENGTH, b"Content-Type: text/xml", b"Content-Type: image/png"),
    "identity-encoding": _with_length(LENGTH, b"Content-Encoding: Identity"),
    "ranges": _with_length(LENGTH, b"Range: bytes=" + b"0-," * 10_000 + b"0-", b"If-None-Match: *"),
    "hundred-headers": _with_length(LENGTH, *(b"X-%d: a" % i for i in range(98))),
    "forged-request-id": _with_length(LENGTH, b"X-Request-Id: a b\t<script>"),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_an_odd_but_sound_request_is_answered(name: str, served: Served, dial: Dial) -> None:
    """The answer is right, and the connection can be used again."""
    with dial(served("tiny")) as wire:
        for data in (ACCEPTED[name], _with_length(LENGTH)):
            wire.send(data)
            _assert_inferred(wire.answer())


def test_a_body_longer_than_it_says_is_not_read_on(served: Served, dial: Dial, assert_refused: AssertRefused) -> None:
    """What follows is another request, and a broken one: the connection ends there."""
    with dial(served("tiny")) as wire:
        wire.send(_with_length(LENGTH) + b"garbage\r\n\r\n" + _with_length(LENGTH))
        answer = wire.answer()
        assert answer is not None
        _assert_inferred(answer)
        if answer.headers.get("connection") != "close":
            assert_refused(wire.answer(), {400})
        assert wire.at_end()


def test_expect_continue_is_answered_before_the_body(served: Served, dial: Dial) -> None:
    """An interim answer, then the real one."""
    with dial(served("tiny")) as wire:
        wire.send(INFER + LENGTH + b"\r\nExpect: 100-continue\r\n\r\n")
        interim = wire.answer()
        assert interim is not None
        assert interim.status == 100
        wire.send(GOOD_BODY)
        _assert_inferred(wire.answer())


def test_expect_continue_with_a_body_that_is_too_large_is_refused_at_once(
    served: Served, dial: Dial, assert_refused: AssertRefused
) -> None:
    """The client need not send what would be thrown away."""
    with dial(served("tiny")) as wire:
        wire.send(INFER + b"Content-Length: 99999999\r\nExpect: 100-continue\r\n\r\n")
        assert_refused(wire.answer(), {413})
        assert wire.at_end()


def test_http_1_0_is_answered_and_closed(served: Served, dial: Dial) -> None:
    """Without keep-alive, even when it is asked for."""
    for extra in (b"", b"Connection: keep-alive\r\n"):
        with dial(served("tiny")) as wire:
            wire.send(b"GET /v2/health/live HTTP/1.0\r\n" + extra + b"\r\n")
            answer = wire.answer()
            assert answer is not None
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            assert wire.at_end()


@pytest.mark.parametrize("protocol", ["h2c", "websocket", "TLS/1.0"])
def test_an_upgrade_is_not_taken(protocol: str, served: Served, dial: Dial) -> None:
    """The request is answered as if it had not asked, and what follows is not read as HTTP."""
    with dial(served("tiny")) as wire:
        wire.send(GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: " + protocol.encode() + b"\r\n\r\n\x00\x01")
        answer = wire.answer()
        assert answer is not None
        assert answer.status == 200
        assert wire.at_end()


def test_connect_opens_no_tunnel(served: Served, dial: Dial, assert_refused: AssertRefused) -> None:
    """There is no such route, and the connection ends."""
    with dial(served("tiny")) as wire:
        wire.send(b"CONNECT localhost:22 HTTP/1.1\r\nHost: localhost:22\r\n\r\nSSH-2.0-x\r\n")
        assert_refused(wire.answer(), {404, 405}, sent="localhost:22")
        assert wire.at_end()


def test_a_hundred_pipelined_requests_are_answered_in_order(served: Served, dial: Dial) -> None:
    """More than may wait on one connection, and each with its own id and value."""
    requests = []
    for number in range(100):
        body = GOOD_BODY.replace(b'{"inputs"', b'{"id":"%d","inputs"' % number).replace(b"[1,2", b"[%d,2" % number)
        requests.append(INFER + b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
    with dial(served("tiny")) as wire:
        wire.send(b"".join(requests))
        for number in range(100):
            answer = wire.answer()
            assert answer is not None
            assert answer.json["id"] == str(number)
            assert answer.json["outputs"][0]["data"][0] == number + 1


def test_a_half_closed_client_gets_all_its_answers(served: Served, dial: Dial) -> None:
    """Saying that nothing more will come is not leaving."""
    with dial(served("image")) as wire:
        row = b'{"name":"image","datatype":"FP32","shape":[1,3,224,224],"parameters":{"binary_data_size":602112}}'
        body = b'{"inputs":[' + row + b"]}"
        head = b"POST /v2/models/image/infer HTTP/1.1\r\nHost: a\r\nInference-Header-Content-Length: %d\r\n" % len(body)
        request = head + b"Content-Length: %d\r\n\r\n" % (len(body) + 602_112) + body + bytes(602_112)
        wire.send(request * 3)
        wire.half_close()
        for _ in range(3):
            answer = wire.answer()
            assert answer is not None
            assert answer.status == 200
        assert wire.at_end()


METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"TRACE", b"OPTIONS", b"PATCH", b"PROPFIND")
ROUTES = {
    b"/": b"GET",
    b"/docs": b"GET",
    b"/openapi.json": b"GET",
    b"/v1/openapi.json": b"GET",
    b"/v1/health/live": b"GET",
    b"/v1/health/ready": b"GET",
    b"/v1/models": b"GET",
    b"/v1/metadata": b"GET",
    b"/v1/version": b"GET",
    b"/v1/license": b"GET",
    b"/v1/manifest": b"GET",
    b"/v1/metrics": b"GET",
    b"/v1/infer": b"POST",
    b"/v2": b"GET",
    b"/v2/health/live": b"GET",
    b"/v2/health/ready": b"GET",
    b"/v2/models/stats": b"GET",
    b"/v2/models/tiny/config": b"GET",
    b"/v2/models/tiny/stats": b"GET",
    b"/v2/models/tiny": b"GET",
    b"/v2/models/tiny/ready": b"GET",
    b"/v2/models/tiny/infer": b"POST",
    b"/v2/models/tiny/versions/1": b"GET",
    b"/v2/models/tiny/versions/1/ready": b"GET",
    b"/v2/models/tiny/versions/1/infer": b"POST",
}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.decode())
def test_a_route_answers_its_methods_and_names_them_to_others(
    route: bytes, served: Served, dial: Dial, assert_refused: AssertRefused
) -> None:
    """405 with Allow for every other method, and OPTIONS asks for just that; all on one connection."""
    own = ROUTES[route]
    allowed = {"GET", "HEAD"} if own == b"GET" else {"POST"}
    with dial(served("tiny")) as wire:
        for method in METHODS:
            wire.send(method + b" " + route + b" HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
            answer = wire.answer(to_head=method == b"HEAD")
            assert answer is not None
            if method == b"OPTIONS":
                assert (answer.status, answer.body) == (200, b"")
                assert set(answer.headers["allow"].split(", ")) == {*allowed, "OPTIONS"}
            elif method.decode() not in allowed:
                assert_refused(answer, {405}, sent=route.decode())
                assert set(answer.headers["allow"].split(", ")) == {*allowed, "OPTIONS"}
            elif own == b"GET":
                assert answer.status == (307 if route == b"/" else 200)
            else:
                assert_refused(answer, {400}, sent=route.decode())


def test_head_answers_with_the_headers_of_get(served: Served, dial: Dial) -> None:
    """The same length and type, and no body."""
    with dial(served("tiny")) as wire:
        for route in ("/v1/models", "/docs", "/v2", "/nowhere"):
            answers = []
            for method in ("GET", "HEAD"):
                wire.send(f"{method} {route} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                answers.append(wire.answer(to_head=method == "HEAD"))
            get, head = answers
            assert get is not None
            assert head is not None
            assert head.status == get.status
            for name in ("content-length", "content-type"):
                assert head.headers[name] == get.headers[name]


def test_chunk_floods_leave_memory_flat(
    served: Served,
    dial: Dial,
    ask: Ask,
    assert_refused: AssertRefused,
    resident_bytes: Callable[[int], int],
    open_files: Callable[[int], int],
    eventually: Callable[..., None],
) -> None:
    """As many chunks as are allowed, one more, and a million, again and again."""
    service = served("tiny")
    _flood(dial, service, assert_refused)
    before, files = resident_bytes(service.process.pid), open_files(service.process.pid)
    for _ in range(10):
        _flood(dial, service, assert_refused)
    assert resident_bytes(service.process.pid) - before < 32 * MIB
    eventually(lambda: open_files(service.process.pid) <= files)
    _assert_serves(ask, service)


def _flood(dial: Dial, service: RunningService, assert_refused: AssertRefused) -> None:
    # 65 536 chunks are allowed, with the empty one that ends the body: blanks, the request, and the end.
    blanks, end = b"1\r\n \r\n" * 65_534, _chunk(GOOD_BODY) + b"0\r\n\r\n"
    with dial(service) as wire:
        wire.send(CHUNKED + blanks + end)
        _assert_inferred(wire.answer())
        wire.send(CHUNKED + blanks + _chunk(b" ") + end)
        assert_refused(wire.answer(), {400})
        assert wire.at_end()
    with dial(service) as wire:
        wire.send(CHUNKED + b"1\r\n \r\n" * 1_000_000)
        assert_refused(wire.answer(), {400})


def test_connections_leave_nothing_behind(
    served: Served,
    dial: Dial,
    ask: Ask,
    open_files: Callable[[int], int],
    resident_bytes: Callable[[int], int],
    eventually: Callable[..., None],
) -> None:
    """Resets and ends in every state of a request return their descriptors and memory."""
    service = served("tiny")
    whole = _with_length(LENGTH)
    cuts = (0, 1, 10, len(INFER), len(whole) - len(GOOD_BODY), len(whole) - 1, len(whole))
    _assert_serves(ask, service)
    files, memory = open_files(service.process.pid), resident_bytes(service.process.pid)
    for _ in range(20):
        for cut in cuts:
            for leave in ("reset", "half_close"):
                with dial(service) as wire:
                    wire.send(whole[:cut])
                    getattr(wire, leave)()
    eventually(lambda: open_files(service.process.pid) <= files, what="the descriptors' return")
    assert resident_bytes(service.process.pid) - memory < 32 * MIB
    _assert_serves(ask, service)


def test_a_client_that_vanishes_amid_an_answer_leaves_nothing_behind(
    served: Served,
    dial: Dial,
    ask: Ask,
    open_files: Callable[[int], int],
    resident_bytes: Callable[[int], int],
    eventually: Callable[..., None],
) -> None:
    """Megabytes that wait to be written go with the connection."""
    service = served("tiny")
    body = GOOD_BODY.replace(b'{"inputs"', b'{"id":"' + b"i" * (8 * MIB) + b'","inputs"')
    request = INFER + b"Content-Length: %d\r\n\r\n" % len(body) + body

    def vanish() -> None:
        with dial(service, receive_buffer=4096) as wire:
            wire.send(request)
            wire.reset()

    vanish()
    files, memory = open_files(service.process.pid), resident_bytes(service.process.pid)
    for _ in range(10):
        vanish()
    eventually(lambda: open_files(service.process.pid) <= files, what="the descriptors' return")
    assert resident_bytes(service.process.pid) - memory < 32 * MIB
    _assert_serves(ask, service)


BLANKS = b" " * (8 * MIB)
LONG_ID = GOOD_BODY.replace(b'{"inputs"', b'{"id":"' + BLANKS + b'","inputs"')
LARGE = {
    "answered": INFER + b"Content-Length: %d\r\n\r\n" % (len(GOOD_BODY) + len(BLANKS)) + GOOD_BODY + BLANKS,
    "answered-with-as-much": INFER + b"Content-Length: %d\r\n\r\n" % len(LONG_ID) + LONG_ID,
    "refused": INFER + b"Content-Length: %d\r\n\r\n" % len(BLANKS) + BLANKS,
    "over-the-limit": CHUNKED + _chunk(BLANKS[: 4 * MIB]) * 3,
    "broken": CHUNKED + _chunk(BLANKS) + b"x",
    "cut-short": INFER + b"Content-Length: %d\r\n\r\n" % (len(BLANKS) + 1) + BLANKS,
}


@pytest.mark.parametrize("name", LARGE)
def test_large_bodies_leave_memory_flat(
    name: str, served: Served, dial: Dial, ask: Ask, resident_bytes: Callable[[int], int]
) -> None:
    """A body goes when its request is over, however it ended, and not when a garbage collector comes by."""
    service = served("tiny", limits={"max_body_bytes": 10 * MIB})
    sizes = []
    for _ in range(14):
        with dial(service) as wire:
            wire.send(LARGE[name])
            if name != "cut-short":
                answer = wire.answer()
                assert answer is not None
                assert (answer.status == 200) == name.startswith("answered")
        _assert_serves(ask, service)
        sizes.append(resident_bytes(service.process.pid))
    assert sizes[-1] - sizes[1] < 32 * MIB


def test_running_out_of_descriptors_is_survived(
    start_service: Callable[..., RunningService],
    make_bundle: Callable[..., Path],
    dial: Dial,
    ask: Ask,
    open_files: Callable[[int], int],
    eventually: Callable[..., None],
) -> None:
    """Those who are connected are served; those who are not are served once others have left."""
    service = start_service(make_bundle("tiny"))
    most = open_files(service.process.pid) + 8
    resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE, (most, most))
    first = dial(service)
    first.send(_with_length(LENGTH))
    _assert_inferred(first.answer())
    others = [dial(service) for _ in range(50)]
    first.send(_with_length(LENGTH))
    _assert_inferred(first.answer())
    for other in others:
        other.close()
    eventually(lambda: _is_served(ask, service), what="service for a new connection")
    assert service.stop() == 0


def _is_served(ask: Ask, service: RunningService) -> bool:
    try:
        return ask(service, "GET", "/v2/health/live", timeout_s=10).status == 200
    except (http.client.HTTPException, OSError):
        return False


def test_a_thousand_idle_connections_do_not_disturb_others(
    served: Served, dial: Dial, ask: Ask, open_files: Callable[[int], int], eventually: Callable[..., None]
) -> None:
    """Good requests are answered meanwhile, and the descriptors come back."""
    service = served("tiny")
    _assert_serves(ask, service)  # what it then keeps open, it keeps
    files = open_files(service.process.pid)
    wires = [dial(service) for _ in range(1000)]
    try:
        for wire in wires[::2]:
            wire.send(b"POST /v1/infer HTTP/1.1\r\nHo")
        for _ in range(20):
            _assert_serves(ask, service)
    finally:
        for wire in wires:
            wire.close()
    eventually(lambda: open_files(service.process.pid) <= files, what="the descriptors' return")


def test_a_connection_too_many_is_told_to_come_back(
    served: Served, dial: Dial, ask: Ask, assert_refused: AssertRefused, eventually: Callable[..., None]
) -> None:
    """503 with Retry-After at once, and a place again when one leaves."""
    service = served("tiny", limits={"max_connections": 4})
    wires = [dial(service) for _ in range(4)]
    for wire in wires:
        wire.send(GET + b"\r\n")
        answer = wire.answer()
        assert answer is not None
        assert answer.status == 200
    with dial(service) as refused:
        answer = assert_refused(refused.answer(), {503})
        assert int(answer.headers["retry-after"]) >= 1
        assert refused.at_end()
    for wire in wires:
        wire.reset()
    eventually(lambda: _is_served(ask, service), what="a free place")


def test_clients_that_are_turned_away_take_nobodys_place(served: Served, dial: Dial, ask: Ask) -> None:
    """However many keep trying, a place that becomes free is free at once."""
    service = served("tiny", limits={"max_connections": 2})
    wires = [dial(service) for _ in range(2)]
    for wire in wires:
        wire.send(GET + b"\r\n")
        assert wire.answer() is not None
    refused = [dial(service) for _ in range(8)]
    for wire in refused:
        answer = wire.answer()
        assert answer is not None
        assert answer.status == 503
    wires[0].send(GET + b"Connection: close\r\n\r\n")
    assert wires[0].answer() is not None
    assert wires[0].at_end()
    assert _is_served(ask, service)
    for wire in (*wires, *refused):
        wire.close()


def test_a_low_limit_of_open_files_is_raised(
    start_service: Callable[..., RunningService], make_bundle: Callable[..., Path], dial: Dial
) -> None:
    """Shells give 1024 or less where 503 should be what ends the welcome."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        service = start_service(make_bundle("tiny"), wait_ready=False)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    wires = [dial(service) for _ in range(100)]
    wires[-1].send(b"GET /v1/health/live HTTP/1.1\r\nHost: a\r\n\r\n")
    answer = wires[-1].answer()
    for wire in wires:
        wire.close()
    assert answer is not None
    assert answer.status == 200


IMPATIENT = {"header_timeout_s": 1.5, "body_timeout_s": 1.5, "keep_alive_s": 1.5}


@pytest.mark.parametrize(
    ("first", "drip", "status"),
    [
        pytest.param(b"", b"", None, id="silent"),
        pytest.param(GET + b"\r\n", b"", None, id="idle-after-an-answer"),
        pytest.param(b"GET /v2 HT", b"", 408, id="half-a-request-line"),
        pytest.param(b"GET /v2 HTTP/1.1\r\nX: ", b"a", 408, id="headers-drip"),
        pytest.param(GET, b"X: a\r\n", 408, id="whole-headers-drip"),
        pytest.param(INFER + b"Content-Length: 1000\r\n\r\n", b" ", 408, id="body-drips"),
        pytest.param(INFER + b"Content-Length: 1000\r\n\r\n" + GOOD_BODY, b"", 408, id="body-stops-short"),
        pytest.param(CHUNKED, b"1\r\n \r\n", 408, id="chunks-drip"),
        pytest.param(CHUNKED + b"5;", b"a", 408, id="chunk-extension-drips"),
        pytest.param(CHUNKED + b"ffffffffffffffff\r\n", b"a", 408, id="endless-chunk-drips"),
    ],
)
def test_a_slow_client_is_cut_off_in_time(
    first: bytes, drip: bytes, status: int | None, served: Served, dial: Dial, ask: Ask
) -> None:
    """The deadline is for the whole part and is not put off by another byte."""
    service = served("tiny", limits=IMPATIENT)
    with dial(service) as wire:
        wire.send(first)
        if first.endswith(b"\r\n\r\n") and first.startswith(GET):
            answer = wire.answer()
            assert answer is not None
            assert answer.status == 200
        started_s = time.monotonic()
        while drip and time.monotonic() - started_s < 0.5:
            if not wire.send(drip):
                break  # a busy machine was away so long that the deadline is over
            time.sleep(0.05)
        answer = wire.answer()
        assert (answer.status if answer else None) == status
        assert wire.at_end()
        assert time.monotonic() - started_s < 50.0
    _assert_serves(ask, service)


@pytest.mark.parametrize("ending", ["keep-alive", "close"])
def test_a_client_that_does_not_read_is_cut_off(
    ending: str,
    served: Served,
    dial: Dial,
    ask: Ask,
    open_files: Callable[[int], int],
    eventually: Callable[..., None],
) -> None:
    """An answer that nobody takes does not hold its connection for ever."""
    service = served("tiny", limits=IMPATIENT)
    _assert_serves(ask, service)  # what it then keeps open, it keeps
    files = open_files(service.process.pid)
    with dial(service, receive_buffer=4096) as wire:
        identifier = b"i" * (3 * MIB)
        body = GOOD_BODY.replace(b'{"inputs"', b'{"id":"' + identifier + b'","inputs"')
        for _ in range(3):
            wire.send(INFER + b"Connection: %s\r\nContent-Length: %d\r\n\r\n" % (ending.encode(), len(body)) + body)
        eventually(lambda: open_files(service.process.pid) <= files, what="the end of the connection")
    _assert_serves(ask, service)


def _assert_inferred(answer: Answer | None) -> None:
    assert answer is not None
    assert answer.status == 200, answer.body
    assert answer.json["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [1, 4], "data": [2.0, 3.0, 4.0, 5.0]}]


def _assert_serves(ask: Ask, service: RunningService) -> None:
    _assert_inferred(ask(service, "POST", "/v2/models/tiny/infer", GOOD_BODY))


def test_refusals_carry_the_common_headers(served: Served, dial: Dial) -> None:
    """Date and server are in every answer, and nothing is sniffed from an error."""
    with dial(served("tiny")) as wire:
        wire.send(b"garbage\r\n\r\n")
        answer: Any = wire.answer()
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["server"].startswith("nimify/")
        assert answer.headers["date"].endswith(" GMT")
