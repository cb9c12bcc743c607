"""How load is made: a closed loop sends when an answer came, an open loop when a request is due.

A closed loop with c connections never has more than c requests in flight: when the service slows down, so does the
load, and the waiting of those who would have come meanwhile is not seen. An open loop keeps its rate whatever the
service does, and counts a request's time from the moment when it was due.
"""

from __future__ import annotations

import random
import time
from collections import deque
from typing import Final, Protocol

from nimify.loadtest.connection import Connection
from nimify.loadtest.pool import Pool, Traffic
from nimify.loadtest.recorder import Recorder
from nimify.loadtest.timer import Timer

MAX_CONNECTIONS: Final = 512
"""Of an open loop; more requests than that wait in the generator, and their waiting counts."""
NOT_SENT: Final = "not sent: all connections were busy"
_SEED: Final = 0


class Loop(Protocol):
    """A way to make load."""

    pool: Pool

    async def begin(self) -> None:
        """Start to send."""

    async def end(self) -> None:
        """Stop sending, and wait for the last answers."""


class ClosedLoop:
    """Each connection sends its next request as soon as it has the answer to the last one."""

    def __init__(self, traffic: Traffic, recorder: Recorder, connections: int) -> None:
        self._connections = connections
        self.pool = Pool(traffic, recorder, self._send)

    async def begin(self) -> None:
        """Open the connections; each begins to send.

        Raises:
            EnvironmentProblem: The service cannot be reached.
        """
        await self.pool.connect()
        for _ in range(self._connections - 1):
            self.pool.grow()

    async def end(self) -> None:
        """Stop sending, and wait for the last answers."""
        await self.pool.stop()

    def _send(self, connection: Connection) -> None:
        self.pool.send(connection, time.perf_counter_ns(), measured=self.pool.measuring)


class OpenLoop:
    """Requests are due at random times of a given rate (a Poisson process), drawn from a fixed seed."""

    def __init__(self, traffic: Traffic, recorder: Recorder, rate: float) -> None:
        self._rate = rate
        self._recorder = recorder
        self._free: list[Connection] = []
        self._waiting: deque[tuple[int, bool]] = deque()
        self._random = random.Random(_SEED)  # noqa: S311 - arrivals, not secrets
        self._timer: Timer | None = None
        self._due_ns = 0
        self.pool = Pool(traffic, recorder, self._is_free)

    async def begin(self) -> None:
        """Open the first connection and start the clock.

        Raises:
            EnvironmentProblem: The service cannot be reached.
        """
        await self.pool.connect()
        self._timer = Timer(self._arrivals)
        self._due_ns = time.perf_counter_ns()
        self._timer.set(self._due_ns)

    async def end(self) -> None:
        """Stop the clock and wait for the last answers; what was due and could not be sent has failed."""
        if self._timer is not None:
            self._timer.close()
        for _, measured in self._waiting:
            if measured:
                self._recorder.failed(NOT_SENT)
        self._waiting.clear()
        await self.pool.stop()

    def _arrivals(self) -> None:
        """Every request that is due by now, then sleep until the next one is."""
        now_ns = time.perf_counter_ns()
        while self._due_ns <= now_ns:
            self._arrive(self._due_ns)
            self._due_ns += int(self._random.expovariate(self._rate) * 1e9)
        if self._timer is not None:
            self._timer.set(self._due_ns)

    def _arrive(self, due_ns: int) -> None:
        while self._free:
            connection = self._free.pop()
            if connection.open:
                self.pool.send(connection, due_ns, measured=self.pool.measuring)
                return
        self._waiting.append((due_ns, self.pool.measuring))
        if self.pool.size < MAX_CONNECTIONS:
            self.pool.grow()

    def _is_free(self, connection: Connection) -> None:
        if self._waiting:
            due_ns, measured = self._waiting.popleft()
            self.pool.send(connection, due_ns, measured=measured)
        else:
            self._free.append(connection)
