"""A client that was let in just before the end is waited for, and no other that is idle."""

from __future__ import annotations

from typing import Any

from nimify.serving.http.connection import FIRST_REQUEST_S, HttpConnection
from nimify.serving.spec import Limits


class Clock:
    """As much of a server as a connection needs to come and go."""

    def __init__(self) -> None:
        self.time_s = 100.0
        self.draining = True

    def now_s(self) -> float:
        return self.time_s

    def admit(self, _: object) -> bool:
        return True

    def __getattr__(self, _: str) -> Any:
        """The rest of a server, which these tests do not come to."""
        return lambda *_: None


class Wire:
    """A transport that notes whether it was closed."""

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True

    def __getattr__(self, _: str) -> Any:
        return lambda *_: None


def connected() -> tuple[HttpConnection, Clock, Wire]:
    clock, wire = Clock(), Wire()
    connection = HttpConnection(clock, Limits())  # type: ignore[arg-type]  # what is there is what it asks for
    connection.connection_made(wire)  # type: ignore[arg-type]  # the same
    return connection, clock, wire


def test_a_new_connection_is_not_idle_before_its_first_request_can_be_there() -> None:
    """It is not closed at once, and is closed when its time is over."""
    connection, clock, wire = connected()

    connection.close_if_idle()
    assert connection.awaited
    assert not wire.closed

    clock.time_s += FIRST_REQUEST_S
    connection.close_if_idle()
    assert not connection.awaited
    assert wire.closed


def test_a_connection_that_has_begun_its_request_is_no_longer_awaited() -> None:
    """From then on it counts as busy until it has its answer."""
    connection, _, _ = connected()

    connection.data_received(b"GET /v1/health/live HTTP/1.1\r\n")

    assert connection.busy
    assert not connection.awaited
