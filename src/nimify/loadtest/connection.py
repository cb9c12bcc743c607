"""One kept connection of the load generator: sends one request at a time and says how each one ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

MAX_ANSWER_BYTES: Final = 256 << 20

Answered = Callable[["Connection", str], None]
"""Told that a whole answer has come; how it failed, as it is to be counted, or nothing for a right answer."""
Lost = Callable[["Connection", str], None]
"""Told that a connection is gone and why; a request in flight is then lost."""


class Connection(asyncio.Protocol):
    """What connections of every protocol have in common; each reports through two callbacks, on the event loop.

    Args:
        answered: Called when a whole answer has come.
        lost: Called when the connection is gone.

    Attributes:
        due_ns: When the request in flight was due, by `time.perf_counter_ns`; 0 when none is in flight.
        sent_s: When it was sent, by the event loop's clock.
        measured: Whether the request in flight belongs to the measurement.
        keep_alive: Whether the service lets it be used again.
    """

    __slots__ = ("_answered", "_lost", "_reason", "_transport", "due_ns", "keep_alive", "measured", "sent_s")

    def __init__(self, answered: Answered, lost: Lost) -> None:
        self._answered = answered
        self._lost = lost
        self._reason = ""
        self._transport: asyncio.Transport | None = None
        self.due_ns = 0
        self.sent_s = 0.0
        self.measured = False
        self.keep_alive = True

    @property
    def open(self) -> bool:
        """Whether it can be sent on."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, wire: bytes, due_ns: int, now_s: float, *, measured: bool) -> None:
        """Send a request; only when none is in flight."""
        self.due_ns, self.sent_s, self.measured = due_ns, now_s, measured
        if self._transport is not None:
            self.write(self._transport, wire)

    def write(self, transport: asyncio.Transport, wire: bytes) -> None:
        """Put a request on the wire."""
        transport.write(wire)

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
