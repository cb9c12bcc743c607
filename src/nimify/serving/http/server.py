"""The HTTP server of one worker: its listener, its connections, and their deadlines."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import socket
import time
from email.utils import formatdate
from typing import Final

from nimify.metrics.service import HttpMetrics
from nimify.serving.dataplane import DataPlane
from nimify.serving.faults import Kind, RequestFault
from nimify.serving.http.connection import HttpConnection
from nimify.serving.http.messages import Reply, Request, Response, fault_response
from nimify.serving.http.router import Router
from nimify.serving.logs import Log
from nimify.serving.spec import Limits
from nimify.version import __version__

SWEEP_S: Final = 0.25
"""How often deadlines are looked at; also how late one may be acted on."""


class HttpServer:
    """Accepts connections and answers their requests through a router."""

    def __init__(
        self, router: Router, data_plane: DataPlane, *, limits: Limits, metrics: HttpMetrics, log: Log
    ) -> None:
        self.draining = False
        """Whether answers end their connections, because the service is going to stop."""
        self.common_headers = b""
        self._router = router
        self._data_plane = data_plane
        self._limits = limits
        self._metrics = metrics
        self._log = log
        self._loop = asyncio.get_running_loop()
        self.now_s = self._loop.time
        self._connections: set[HttpConnection] = set()
        self._turned_away: set[HttpConnection] = set()
        """Those above the limit: each stays for a moment, so that its client can read why."""
        self._listener: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._id_prefix = secrets.token_hex(6)
        self._ids = itertools.count(1)

    async def start(self, listener: socket.socket) -> None:
        """Accept connections on a bound socket."""
        self._sweep()
        self._listener = await self._loop.create_server(
            lambda: HttpConnection(self, self._limits), sock=listener, backlog=2048
        )

    async def stop(self, *, grace_s: float, hurry: asyncio.Event) -> int:
        """Accept no more, let requests in flight finish, and close; the number of those that did not finish.

        Args:
            grace_s: Seconds that requests in flight may take.
            hurry: Ends their time at once when it is set.
        """
        self.draining = True
        if self._listener is not None:
            self._listener.close()
        deadline_s = self.now_s() + grace_s
        while self._connections:
            for connection in tuple(self._connections):
                connection.close_if_idle()
            if hurry.is_set() or self.now_s() >= deadline_s:
                break
            if not any(connection.busy for connection in self._connections):
                break
            await asyncio.sleep(0.01)
        unfinished = sum(connection.busy for connection in self._connections)
        await self._cut_remaining()
        if self._sweeper is not None:
            self._sweeper.cancel()
        return unfinished

    async def _cut_remaining(self) -> None:
        """Give written answers a moment to leave, then cut what is left."""
        for _ in range(20):
            if not self._connections:
                break
            await asyncio.sleep(0.01)
        for connection in (*self._connections, *self._turned_away):
            connection.abort()
        await asyncio.sleep(0)

    def _sweep(self) -> None:
        now_s = self.now_s()
        for connection in (*self._connections, *self._turned_away):
            connection.check_deadlines(now_s)
        date = formatdate(time.time(), usegmt=True)
        self.common_headers = f"server: nimify/{__version__}\r\ndate: {date}\r\n".encode()
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)

    # --- the connections' calls ---------------------------------------------------------------------------------

    def admit(self, connection: HttpConnection) -> bool:
        """Take note of a connection; false when there are too many.

        One that is turned away takes nobody's place: clients that keep trying would keep the service full.
        """
        if len(self._connections) >= self._limits.max_connections:
            self._turned_away.add(connection)
            return False
        self._connections.add(connection)
        self._metrics.connections.set(len(self._connections))
        return True

    def forget(self, connection: HttpConnection) -> None:
        """A connection is gone."""
        self._connections.discard(connection)
        self._turned_away.discard(connection)
        self._metrics.connections.set(len(self._connections))

    def new_request_id(self) -> str:
        """An id for a request that brought none; unique over workers and restarts."""
        return f"{self._id_prefix}-{next(self._ids):x}"

    def dispatch(self, request: Request, reply: Reply) -> None:
        """Answer a request, now or later; never raises."""
        self._metrics.in_flight.add(1.0)
        try:
            self._router.handle(request, reply)
        except RequestFault as fault:
            reply(fault_response(fault, request.path))
        except Exception as error:  # noqa: BLE001 - a fault of ours: logged whole, told to the client as an id
            self._log.exception("request failed", error, request_id=request.id)
            failure = RequestFault(Kind.INTERNAL, f"The service failed; the log has the details under {request.id}.")
            reply(fault_response(failure, request.path))

    def answered(self, request: Request, response: Response) -> None:
        """An answer was written."""
        request.job = None  # which knows the request: the two and the body would stay until a garbage collection
        self._metrics.in_flight.add(-1.0)
        self._metrics.responses[response.status].add()
        if self._log.debugging:
            self._log.debug(
                "request",
                method=request.method.decode("ascii", "replace"),
                path=request.path.decode("ascii", "backslashreplace"),
                status=response.status,
                ms=round((time.perf_counter_ns() - request.received_ns) / 1e6, 3),
                bytes_in=len(request.body),
                bytes_out=len(response.body),
                request_id=request.id,
            )

    def refused(self, response: Response) -> None:
        """An answer was written to something that is not a whole request."""
        self._metrics.responses[response.status].add()

    def abandoned(self, request: Request) -> None:
        """The client of a request in flight is gone."""
        request.given_up = True
        self._metrics.in_flight.add(-1.0)
        if request.job is not None:
            self._data_plane.give_up(request.job, timed_out=False)
            request.job = None

    def timed_out(self, request: Request) -> None:
        """The time of a request in flight is over."""
        request.given_up = True
        if request.job is not None:
            self._data_plane.give_up(request.job, timed_out=True)
