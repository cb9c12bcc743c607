"""The connections of a load: opened, kept, replaced when they are lost, and watched for requests that take too long."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Final

from nimify.conformance.address import Address
from nimify.errors import EnvironmentProblem
from nimify.loadtest.connection import Answered, Connection, Lost
from nimify.loadtest.http_connection import HttpConnection
from nimify.loadtest.recorder import Recorder

_SWEEP_S: Final = 0.1
_RECONNECT_PAUSE_S: Final = 0.05
"""Before a connection that was lost is opened again: a service that is down must not be asked in a busy loop."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What is sent, and where to.

    Attributes:
        address: Of the service.
        wires: Requests as the connection takes them, sent in turn.
        timeout_s: How long one may take; its connection is then closed.
        tls: What to speak TLS with; `None` for plain text.
        connection: Makes a connection of the protocol that is spoken.
    """

    address: Address
    wires: Sequence[bytes]
    timeout_s: float = 30.0
    tls: ssl.SSLContext | None = None
    connection: Callable[[Answered, Lost], Connection] = HttpConnection


class Pool:
    """Connections to one service.

    Args:
        traffic: What is sent, and where to.
        recorder: Told how each measured request ended.
        free: Called with a connection that can take a request: one that was just opened, or just got its answer.

    Attributes:
        measuring: Whether requests that are sent now belong to the measurement.
        in_flight: Requests that are not answered yet.
    """

    def __init__(self, traffic: Traffic, recorder: Recorder, free: Callable[[Connection], None]) -> None:
        self._traffic = traffic
        self._recorder = recorder
        self._free = free
        self._wires = cycle(traffic.wires)
        self._connections: set[Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._idle = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._sweeper = self._loop.create_task(self._sweep())
        self.measuring = False
        self.in_flight = 0

    @property
    def size(self) -> int:
        """Connections that are open or being opened."""
        return len(self._connections) + len(self._opening)

    async def connect(self) -> None:
        """Open the first connection.

        Raises:
            EnvironmentProblem: The service cannot be reached.
        """
        try:
            await self._connect()
        except OSError as error:
            raise EnvironmentProblem(
                f"The service at {self._traffic.address.url} cannot be reached ({error.strerror or error})."
            ) from error

    def grow(self) -> None:
        """Open one more connection in the background."""
        self._open_later(0.0)

    def send(self, connection: Connection, due_ns: int, *, measured: bool) -> None:
        """Send the next request over a free connection."""
        self.in_flight += 1
        connection.send(next(self._wires), due_ns, self._loop.time(), measured=measured)

    async def stop(self) -> None:
        """Send nothing more, wait for what is in flight, and close everything."""
        self._stopping = True
        self._idle.clear()
        if self.in_flight:
            await self._idle.wait()  # the sweep ends what takes too long
        self._sweeper.cancel()
        for task in self._opening:
            task.cancel()
        for connection in list(self._connections):
            connection.abort()
        await asyncio.gather(self._sweeper, *self._opening, return_exceptions=True)

    async def _connect(self) -> None:
        address = self._traffic.address
        async with asyncio.timeout(self._traffic.timeout_s):
            _, connection = await self._loop.create_connection(
                lambda: self._traffic.connection(self._answered, self._lost),
                address.host,
                address.port,
                ssl=self._traffic.tls,
            )
        self._connections.add(connection)
        if not self._stopping:
            self._free(connection)

    def _open_later(self, pause_s: float) -> None:
        task = self._loop.create_task(self._keep_opening(pause_s))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _keep_opening(self, pause_s: float) -> None:
        while not self._stopping:
            if pause_s:
                await asyncio.sleep(pause_s)
            try:
                await self._connect()
            except OSError:
                if self.measuring:
                    self._recorder.failed("cannot connect")
                pause_s = _RECONNECT_PAUSE_S
            else:
                return

    def _answered(self, connection: Connection, failure: str) -> None:
        self._ended()
        if connection.measured and failure:
            self._recorder.failed(failure)
        elif connection.measured:
            self._recorder.answered(connection.due_ns)
        connection.due_ns = 0
        if not connection.keep_alive:
            connection.abort()
        elif not self._stopping:
            self._free(connection)

    def _lost(self, connection: Connection, reason: str) -> None:
        self._connections.discard(connection)
        in_flight = bool(connection.due_ns)
        if in_flight:
            self._ended()
            if connection.measured:
                self._recorder.failed(reason)
            connection.due_ns = 0
        if not self._stopping:
            self._open_later(_RECONNECT_PAUSE_S if in_flight else 0.0)

    def _ended(self) -> None:
        self.in_flight -= 1
        if not self.in_flight:
            self._idle.set()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            oldest_s = self._loop.time() - self._traffic.timeout_s
            for connection in list(self._connections):
                if connection.due_ns and connection.sent_s < oldest_s:
                    connection.abort("timeout")
