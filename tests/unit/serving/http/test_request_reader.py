"""The reader of requests: bodies of every size whole and counted, and never more of all of them than is allowed."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import pytest

from nimify.serving.body_budget import BodyBudget
from nimify.serving.faults import Kind, RequestFault
from nimify.serving.http.messages import Request
from nimify.serving.http.request_reader import LARGE_BODY, RequestReader
from nimify.serving.spec import Limits

MIB = 1 << 20


@dataclass
class Received:
    """Keeps what it is told."""

    requests: list[Request] = field(default_factory=list)
    refuse: RequestFault | None = None

    def message_begun(self) -> None:
        pass

    def headers_received(self, target: bytes, headers: dict[bytes, bytes], *, has_body: bool) -> None:
        if self.refuse is not None:
            raise self.refuse

    def request_received(self, request: Request) -> None:
        self.requests.append(request)


def reader(received: Received, budget: BodyBudget) -> RequestReader:
    ids = itertools.count()
    return RequestReader(received, Limits(max_body_bytes=8 * MIB), budget, lambda: str(next(ids)))


def chunked(body: bytes, size: int) -> bytes:
    chunks = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


@pytest.mark.parametrize("size", [0, 1, 70_000, LARGE_BODY - 1, LARGE_BODY, LARGE_BODY + 1, 5 * MIB])
@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_body_is_whole_whatever_its_length(size: int, framing: str) -> None:
    """In pieces of any size; it counts until it is given back."""
    body = bytes(range(256)) * (size // 256 + 1)
    body = body[:size]
    head = b"POST /x?y=1 HTTP/1.1\r\nHost: a\r\n"
    if framing == "length":
        sent = head + b"Content-Length: %d\r\n\r\n" % size + body
    else:
        sent = head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(body, 65_521)
    received, budget = Received(), BodyBudget(16 * MIB)
    reading = reader(received, budget)
    for start in range(0, len(sent), 60_000):
        assert reading.feed(sent[start : start + 60_000]) is None
    (request,) = received.requests
    assert bytes(memoryview(request.body)) == body
    assert request.path == b"/x"
    assert request.held_bytes == size
    assert budget.free == 16 * MIB - size
    assert not reading.receiving


def test_all_bodies_together_are_bounded() -> None:
    """One that passes the budget is refused with a time to come again, and what it took is free again."""
    budget = BodyBudget(4 * MIB)
    first, second = reader(Received(), budget), reader(Received(), budget)
    head = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (3 * MIB)
    assert first.feed(head + bytes(2 * MIB)) is None
    assert budget.free == 2 * MIB
    fault = second.feed(head + bytes(MIB))
    assert fault is None
    fault = second.feed(bytes(MIB + 1))
    assert fault is not None
    assert (fault.kind, fault.retry_after_s) == (Kind.UNAVAILABLE, 1)
    second.drop_body()
    assert budget.free == 2 * MIB
    first.close()
    assert budget.free == 4 * MIB


def test_a_header_takes_nothing_of_the_budget() -> None:
    """A client that announces much and sends nothing keeps nobody else out."""
    budget = BodyBudget(MIB)
    assert reader(Received(), budget).feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % MIB) is None
    assert budget.free == MIB


def test_a_refusal_at_the_headers_stops_the_reading() -> None:
    """No byte of the body is taken."""
    refusal = RequestFault(Kind.UNAUTHENTICATED, "no")
    received, budget = Received(refuse=refusal), BodyBudget(MIB)
    fault = reader(received, budget).feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n123456789")
    assert fault is refusal
    assert fault.__traceback__ is None
    assert budget.free == MIB
