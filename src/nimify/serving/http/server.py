"""The HTTP server of one worker: its listener, its connections, and their deadlines."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import socket
import time
from collections.abc import Callable
from email.utils import formatdate
from functools import partial
from typing import TYPE_CHECKING, Final

from nimify.metrics.service import HttpMetrics
from nimify.serving.acceptor import Acceptor
from nimify.serving.body_budget import BodyBudget
from nimify.serving.bulk import LARGE_BYTES, Bulk
from nimify.serving.connections import POLL_S, Connections
from nimify.serving.dataplane import DataPlane
from nimify.serving.entrance import Entrance
from nimify.serving.failures import failure
from nimify.serving.faults import Kind, RequestFault
from nimify.serving.http.connection import HttpConnection
from nimify.serving.http.content_encoding import answer_encoding, pack, request_encoding, unpack
from nimify.serving.http.cors import Cors
from nimify.serving.http.messages import Body, Reply, Request, Response, fault_response
from nimify.serving.http.router import Router
from nimify.serving.logs import Log
from nimify.serving.spec import Limits
from nimify.version import __version__

if TYPE_CHECKING:
    from nimify.serving.tracing.http import HttpTraces

_VARY: Final = b"vary: accept-encoding\r\n"


class HttpServer:
    """Accepts connections and answers their requests through a router."""

    def __init__(
        self,
        router: Router,
        data_plane: DataPlane,
        *,
        limits: Limits,
        entrance: Entrance,
        budget: BodyBudget,
        bulk: Bulk,
        cors: Cors | None = None,
        traces: HttpTraces | None = None,
        metrics: HttpMetrics,
        log: Log,
    ) -> None:
        self.draining = False
        """Whether answers end their connections, because the service is going to stop."""
        self.common_headers = b""
        self._router = router
        self._data_plane = data_plane
        self._limits = limits
        self._entrance = entrance
        self.budget = budget
        self.cors = cors
        self.bulk = bulk
        self._traces = traces
        self.check_access = entrance.access.check
        self._metrics = metrics
        metrics.connections_limit.set(float(limits.max_connections))
        self._log = log
        self.now_s = asyncio.get_running_loop().time
        self._connections: Connections[HttpConnection] = Connections(
            most=limits.max_connections, gauge=metrics.connections, sweep=self._renew_date
        )
        self.admit = self._connections.admit
        self.forget = self._connections.forget
        self._id_prefix = secrets.token_hex(6)
        self._ids = itertools.count(1)

    async def start(self, listener: socket.socket) -> None:
        """Accept connections on a bound socket."""
        acceptor = Acceptor(
            lambda: HttpConnection(self, self._limits),
            tls=self._entrance.tls,
            protocols=("http/1.1",),
            handshake_timeout_s=self._limits.header_timeout_s,
            log=self._log,
        )
        await self._connections.accept(acceptor, listener)

    async def stop(self, *, grace_s: float, hurry: asyncio.Event) -> int:
        """Accept no more, let requests in flight finish, and close; the number of those that did not finish.

        Args:
            grace_s: Seconds that requests in flight may take.
            hurry: Ends their time at once when it is set.
        """
        self.draining = True
        await self._connections.accept_no_more()
        deadline_s = self.now_s() + grace_s
        while self._connections:
            for connection in self._connections:
                connection.close_if_idle()
            if hurry.is_set() or self.now_s() >= deadline_s:
                break
            if not any(connection.busy or connection.awaited for connection in self._connections):
                break
            await asyncio.sleep(POLL_S)
        unfinished = sum(connection.busy for connection in self._connections)
        for _ in range(20):  # written answers have a moment to leave
            if not self._connections:
                break
            await asyncio.sleep(POLL_S)
        await self._connections.cut()
        return unfinished

    def _renew_date(self) -> None:
        date = formatdate(time.time(), usegmt=True)
        self.common_headers = f"server: nimify/{__version__}\r\ndate: {date}\r\n".encode()

    # --- the connections' calls ---------------------------------------------------------------------------------

    def new_request_id(self) -> str:
        """An id for a request that brought none; unique over workers and restarts."""
        return f"{self._id_prefix}-{next(self._ids):x}"

    def dispatch(self, request: Request, reply: Reply) -> None:
        """Answer a request, now or later; never raises."""
        self._metrics.in_flight.add(1.0)
        if self._traces is not None:
            request.trace = self._traces.begin(request)
        try:
            if self.cors is not None and self._answered_preflight(request, reply):
                return
            self.check_access(request.path, request.headers)
            if b"content-encoding" in request.headers and request.body:
                self._unpack(request, reply)
            else:
                self._router.handle(request, reply)
        except Exception as error:  # noqa: BLE001 - every failure is answered
            reply(self._failed(request, error))

    def _failed(self, request: Request, error: BaseException) -> Response:
        """The answer to a request that failed: a fault of ours is logged whole, and told to the client as an id."""
        fault = failure(error, "request failed", log=self._log, request_id=request.id)
        return fault_response(fault, request.path)

    def _unpack(self, request: Request, reply: Reply) -> None:
        """Pass on a request whose body is packed, when it is unpacked."""
        encoding = request_encoding(request.headers[b"content-encoding"])
        if encoding is None:
            self._router.handle(request, reply)
            return

        def unpacked(body: bytearray) -> None:
            if request.given_up:
                return
            try:
                self._replace_body(request, body)
                self._router.handle(request, reply)
            except Exception as error:  # noqa: BLE001 - every failure is answered
                reply(self._failed(request, error))

        self.bulk.run(
            partial(unpack, request.body, encoding, limit=self._limits.max_body_bytes),
            unpacked,
            lambda error: reply(self._failed(request, error)),
        )

    def _replace_body(self, request: Request, body: bytearray) -> None:
        if not self.budget.take(len(body)):
            raise RequestFault(Kind.UNAVAILABLE, "Too much is being sent at once; try again.", retry_after_s=1)
        request.held_bytes += len(body)
        request.body = body

    def pack(self, request: Request, response: Response, deliver: Callable[[Request, Response], None]) -> None:
        """Deliver an answer packed, if its client wants that; large ones are packed beside the event loop."""
        encoding = answer_encoding(request.headers[b"accept-encoding"])
        if encoding is None:
            deliver(request, response)
        elif len(response.body) <= LARGE_BYTES:
            deliver(request, _packed(response, encoding, pack(response.body, encoding)))
        else:
            self.bulk.run(
                partial(pack, response.body, encoding),
                lambda body: deliver(request, _packed(response, encoding, body)),
                lambda error: deliver(request, self._failed(request, error)),
            )

    def _answered_preflight(self, request: Request, reply: Reply) -> bool:
        response = self.cors.preflight(request, self._router.routes.get(request.path, ())) if self.cors else None
        if response is not None:
            reply(response)
        return response is not None

    def cors_headers(self, request: Request | None) -> bytes:
        """What a browser must find in an answer, when pages of other origins may call."""
        if self.cors is None:
            return b""
        return self.cors.headers(request.headers.get(b"origin") if request is not None else None)

    def answered(self, request: Request, response: Response) -> None:
        """An answer was written."""
        self.budget.give_back(request.held_bytes)
        request.job = None  # which knows the request: the two and the body would stay until a garbage collection
        self._metrics.in_flight.add(-1.0)
        self._metrics.responses[response.status].add()
        if request.trace is not None and self._traces is not None:
            self._traces.answered(request.trace, response)
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
        self.budget.give_back(request.held_bytes)
        request.given_up = True
        self._metrics.in_flight.add(-1.0)
        if request.trace is not None and self._traces is not None:
            self._traces.abandoned(request.trace)
        if request.job is not None:
            self._data_plane.give_up(request.job, timed_out=False)
            request.job = None

    def timed_out(self, request: Request) -> None:
        """The time of a request in flight is over."""
        request.given_up = True
        if request.job is not None:
            self._data_plane.give_up(request.job, timed_out=True)


def _packed(response: Response, encoding: bytes, body: Body) -> Response:
    if body is response.body:  # it did not shrink
        return Response(response.status, body, response.content_type, response.headers + _VARY)
    headers = response.headers + b"content-encoding: " + encoding + b"\r\n" + _VARY
    return Response(response.status, body, response.content_type, headers)
