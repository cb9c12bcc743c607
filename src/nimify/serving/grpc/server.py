"""The gRPC server of one worker: its listener, its connections, and their deadlines."""

from __future__ import annotations

import asyncio
import itertools
import mmap
import secrets
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from google.protobuf.message import DecodeError

from nimify.metrics.service import GrpcMetrics
from nimify.serving.acceptor import Acceptor
from nimify.serving.body_budget import BodyBudget
from nimify.serving.connections import POLL_S, Connections
from nimify.serving.dataplane import DataPlane
from nimify.serving.entrance import Entrance
from nimify.serving.failures import failure
from nimify.serving.faults import Kind, RequestFault, invalid
from nimify.serving.grpc.call import Call
from nimify.serving.grpc.codec import Content
from nimify.serving.grpc.connection import GrpcConnection
from nimify.serving.grpc.head import CallHead
from nimify.serving.grpc.methods import Method, Methods, UnaryMethod
from nimify.serving.grpc.status import StatusCode
from nimify.serving.logs import Log
from nimify.serving.spec import Limits

if TYPE_CHECKING:
    from nimify.serving.tracing.grpc import GrpcTraces

OTHER: Final = "other"
"""Stands in metrics for whatever is not a method."""

_Message = TypeVar("_Message")


class GrpcServer:
    """Accepts connections and answers their calls through a table of methods.

    Args:
        sweeps: Called a few times a second, after the deadlines.

    Attributes:
        limits: What one replica accepts.
        budget: Of the memory of all bodies, HTTP's too.
        traces: What traces calls; `None` when they are not traced.
    """

    def __init__(
        self,
        methods: Methods,
        data_plane: DataPlane,
        *,
        limits: Limits,
        entrance: Entrance,
        budget: BodyBudget,
        metrics: GrpcMetrics,
        log: Log,
        traces: GrpcTraces | None = None,
        sweeps: Sequence[Callable[[], None]] = (),
    ) -> None:
        self.data_plane = data_plane
        self.limits = limits
        self.budget = budget
        self.traces = traces
        self._methods = methods
        self._entrance = entrance
        self._check_access = entrance.access.check
        self._metrics = metrics
        self._log = log
        self._sweeps = sweeps
        loop = asyncio.get_running_loop()
        self.now_s = loop.time
        self.call_at = loop.call_at
        self._connections: Connections[GrpcConnection] = Connections(
            most=limits.max_connections, gauge=metrics.connections, sweep=self._sweep
        )
        self.admit = self._connections.admit
        self.forget = self._connections.forget
        self._id_prefix = secrets.token_hex(6)
        self._ids = itertools.count(1)

    async def start(self, listener: socket.socket) -> None:
        """Accept connections on a bound socket."""
        acceptor = Acceptor(
            lambda: GrpcConnection(self),
            tls=self._entrance.tls,
            protocols=("h2",),
            handshake_timeout_s=self.limits.header_timeout_s,
            log=self._log,
        )
        await self._connections.accept(acceptor, listener)

    async def stop(self, *, grace_s: float, hurry: asyncio.Event) -> int:
        """Accept no more, ask clients to leave, let calls finish, and close; the number of those that did not finish.

        Args:
            grace_s: Seconds that calls may take.
            hurry: Ends their time at once when it is set.
        """
        await self._connections.accept_no_more()
        deadline_s = self.now_s() + grace_s
        fault = RequestFault(Kind.UNAVAILABLE, "The service is stopping.")
        for connection in self._connections:
            connection.say_goodbye()
        while self._connections and not hurry.is_set() and self.now_s() < deadline_s:
            for connection in self._connections:
                connection.end_idle_streams(fault)
            await asyncio.sleep(POLL_S)
        unfinished = sum(connection.unfinished for connection in self._connections)
        await self._connections.cut()
        return unfinished

    def _sweep(self) -> None:
        for sweep in self._sweeps:
            sweep()

    # --- the connections' calls ---------------------------------------------------------------------------------

    def calmed(self, reason: str) -> None:
        """A connection is ended because it does too much of what is only a nuisance."""
        self._metrics.calmed.add()
        self._log.warning("gRPC connection ended", reason=reason)

    # --- the calls' calls ---------------------------------------------------------------------------------------

    def admitted(self, head: CallHead) -> Method:
        """The method that a call may begin.

        Raises:
            RequestFault: The caller may not, there is no such method, or the headers ask for what is not offered.
        """
        self._metrics.in_flight.add(1.0)
        self._check_access(head.path, head.metadata)
        if head.fault is not None:
            raise head.fault
        method = self._methods.get(head.path)
        if method is None:
            raise RequestFault(Kind.UNSUPPORTED, "There is no such method; gRPC reflection tells which there are.")
        return method

    def run(self, call: Call, content: Content) -> None:
        """Answer a call that takes one message, now or later; never raises."""
        method = call.method
        try:
            if isinstance(method, UnaryMethod):
                method.handle(call, read_message(method.read, content))
        except RequestFault as fault:
            call.fail(fault)
        except Exception as error:  # noqa: BLE001 - a fault of ours: logged whole, told to the client as an id
            call.fail(self.failure(error))

    def failure(self, error: Exception) -> RequestFault:
        """Log a fault of ours, and make what the client is told."""
        return failure(error, "call failed", log=self._log, request_id=f"{self._id_prefix}-{next(self._ids):x}")

    def answered(self, call: Call, code: StatusCode, elapsed_s: float) -> None:
        """It is decided how a call ends."""
        name = call.method.name if call.method is not None else OTHER
        if call.head.refusal is None:
            self._metrics.in_flight.add(-1.0)
        self._metrics.calls[name, code].add()
        if call.trace is not None and self.traces is not None:
            self.traces.ended(call.trace, code)
        duration = self._metrics.durations.get(name)
        if duration is not None and not code:
            duration.observe(elapsed_s)
        if self._log.debugging:
            path = call.head.path.decode("ascii", "backslashreplace")
            self._log.debug("call", method=path, code=code.name, ms=round(elapsed_s * 1e3, 3))


def read_message(read: Callable[[Any], _Message], content: Content) -> _Message:
    """A message of its bytes.

    Raises:
        RequestFault: They are none.
    """
    try:
        return read(content[:] if isinstance(content, mmap.mmap) else content)
    except DecodeError:
        raise invalid("The message is not a valid protobuf message of its type.") from None
