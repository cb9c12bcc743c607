"""One keep-alive connection of the load generator: sends one request at a time and says how each one ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

import httptools

MAX_ANSWER_BYTES: Final = 256 << 20


class Connection(asyncio.Protocol):
    """A connection; reports through two callbacks, on the event loop.

    Args:
        answered: Called with the connection and the status when a whole answer has come.
        lost: Called with the connection and the reason when the connection is gone; a request in flight is then lost.

    Attributes:
        due_ns: When the request in flight was due, by `time.perf_counter_ns`; 0 when none is in flight.
        sent_s: When it was sent, by the event loop's clock.
        measured: Whether the request in flight belongs to the measurement.
        keep_alive: Whether the service lets it be used again.
    """

    __slots__ = (
        "_answered",
        "_lost",
        "_parser",
        "_reason",
        "_size",
        "_transport",
        "due_ns",
        "keep_alive",
        "measured",
        "sent_s",
    )  # fmt: skip

    def __init__(self, answered: Callable[[Connection, int], None], lost: Callable[[Connection, str], None]) -> None:
        self._answered = answered
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._size = 0
        self.due_ns = 0
        self.sent_s = 0.0
        self.measured = False
        self.keep_alive = True
        self._reason = ""

    @property
    def open(self) -> bool:
        """Whether it can be sent on."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, wire: bytes, due_ns: int, now_s: float, *, measured: bool) -> None:
        """Send a request; only when none is in flight."""
        self.due_ns, self.sent_s, self.measured = due_ns, now_s, measured
        if self._transport is not None:
            self._transport.write(wire)

    def abort(self, reason: str = "") -> None:
        """Close at once; `lost` is told the reason."""
        self._reason = reason
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none by class

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._transport = None
        self._lost(self, self._reason or "connection lost")

    def data_received(self, data: bytes) -> None:
        """Bytes of an answer came."""
        self._size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abort("no HTTP answer")
            return
        if self._size > MAX_ANSWER_BYTES:
            self.abort("answer too long")

    def on_message_begin(self) -> None:
        """The parser found the start of an answer."""
        self._size = 0

    def on_message_complete(self) -> None:
        """The parser found the end of an answer."""
        status = self._parser.get_status_code()
        if 100 <= status < 200:
            return
        self.keep_alive = self._parser.should_keep_alive()
        self._answered(self, status)
