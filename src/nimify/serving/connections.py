"""The connections of one port, whatever they speak: accepted, counted, held to their deadlines, and cut at the end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from typing import Final, Generic, Protocol, TypeVar

from nimify.metrics.registry import Gauge
from nimify.serving.acceptor import Acceptor

SWEEP_S: Final = 0.25
"""How often deadlines are looked at; also how late one may be acted on that the client did not set."""
POLL_S: Final = 0.01
"""How often a server that stops looks whether its connections are done."""


class Connection(Protocol):
    """What a port asks of its connections."""

    def check_deadlines(self, now_s: float) -> None:
        """Act on what is overdue; called a few times a second."""
        ...

    def abort(self) -> None:
        """Cut the connection at once."""
        ...


_Connection = TypeVar("_Connection", bound=Connection)


class Connections(Generic[_Connection]):
    """Those that were accepted and are not gone; iterates over the admitted ones, which may leave meanwhile.

    Args:
        most: How many are admitted at once.
        gauge: Shows how many there are.
        sweep: Called after each look at the deadlines.
    """

    def __init__(self, *, most: int, gauge: Gauge, sweep: Callable[[], None]) -> None:
        self._most = most
        self._gauge = gauge
        self._after_sweep = sweep
        self._loop = asyncio.get_running_loop()
        self._admitted: set[_Connection] = set()
        self._turned_away: set[_Connection] = set()
        """Those above the limit: each stays for a moment, so that its client can read why."""
        self._acceptor: Acceptor | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    def __iter__(self) -> Iterator[_Connection]:
        return iter(tuple(self._admitted))

    def __len__(self) -> int:
        return len(self._admitted)

    def admit(self, connection: _Connection) -> bool:
        """Take note of a connection; false when there are too many.

        One that is turned away takes nobody's place: clients that keep trying would keep the service full.
        """
        if len(self._admitted) >= self._most:
            self._turned_away.add(connection)
            return False
        self._admitted.add(connection)
        self._gauge.set(len(self._admitted))
        return True

    def forget(self, connection: _Connection) -> None:
        """A connection is gone."""
        self._admitted.discard(connection)
        self._turned_away.discard(connection)
        self._gauge.set(len(self._admitted))

    async def accept(self, acceptor: Acceptor, listener: socket.socket) -> None:
        """Accept connections on a bound socket, and look at their deadlines from now on."""
        self._sweep()
        self._acceptor = acceptor
        await acceptor.start(listener)

    async def accept_no_more(self) -> None:
        """Close the socket; afterwards, whoever was accepted is here."""
        if self._acceptor is not None:
            self._acceptor.close()
            # What was accepted in this turn of the event loop is not among the connections yet.
            await asyncio.sleep(POLL_S)

    async def cut(self) -> None:
        """Cut those that are left, and look at deadlines no more."""
        for connection in (*self._admitted, *self._turned_away):
            connection.abort()
        await asyncio.sleep(0)
        if self._sweeper is not None:
            self._sweeper.cancel()

    def _sweep(self) -> None:
        now_s = self._loop.time()
        for connection in (*self._admitted, *self._turned_away):
            connection.check_deadlines(now_s)
        self._after_sweep()
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)
