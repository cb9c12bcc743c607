"""`grpc.health.v1`: what orchestrators and load balancers ask, once or for as long as they like."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from nimify.serving.faults import Kind, RequestFault, invalid
from nimify.serving.grpc.codec import Content
from nimify.serving.grpc.protos import health_pb2 as pb
from nimify.serving.grpc.server import read_message
from nimify.serving.lifecycle import Lifecycle

if TYPE_CHECKING:
    from nimify.serving.grpc.call import Call

Status = pb.HealthCheckResponse.ServingStatus


class Health:
    """Answers the methods of the health service.

    Args:
        services: Full names of the services that may be asked about; the empty name stands for all.
    """

    def __init__(self, lifecycle: Lifecycle, services: Collection[str]) -> None:
        self._lifecycle = lifecycle
        self._services = frozenset({"", *services})
        self._watches: set[HealthWatch] = set()

    def status(self, service: str) -> Status:
        """The state of a service now."""
        if service not in self._services:
            return pb.HealthCheckResponse.SERVICE_UNKNOWN
        return pb.HealthCheckResponse.SERVING if self._lifecycle.ready else pb.HealthCheckResponse.NOT_SERVING

    def check(self, call: Call, request: pb.HealthCheckRequest) -> None:
        """`Check`; see `UnaryMethod.handle`."""
        status = self.status(request.service)
        if status == pb.HealthCheckResponse.SERVICE_UNKNOWN:
            raise RequestFault(Kind.NOT_FOUND, "There is no such service; gRPC reflection tells which there are.")
        call.reply(pb.HealthCheckResponse(status=status).SerializeToString())

    def watch(self, call: Call) -> HealthWatch:
        """`Watch`; see `StreamMethod.open`."""
        return HealthWatch(self, call)

    def sweep(self) -> None:
        """Tell those who watch what has changed; called a few times a second."""
        for watch in tuple(self._watches):
            watch.tell()

    def add(self, watch: HealthWatch) -> None:
        """Tell this one, too."""
        self._watches.add(watch)

    def remove(self, watch: HealthWatch) -> None:
        """Tell this one no more."""
        self._watches.discard(watch)


class HealthWatch:
    """One `Watch` call; see `Session`."""

    accepting = True
    busy = False

    def __init__(self, health: Health, call: Call) -> None:
        self._health = health
        self._call = call
        self._service: str | None = None
        self._told: Status | None = None

    def message(self, content: Content) -> None:
        """See `Session.message`."""
        if self._service is not None:
            raise invalid("This call takes one message.")
        self._service = read_message(pb.HealthCheckRequest.FromString, content).service
        self._health.add(self)
        self.tell()

    def half_closed(self) -> None:
        """See `Session.half_closed`."""
        if self._service is None:
            raise invalid("This call takes one message, and there is none.")

    def writable(self) -> None:
        """See `Session.writable`."""

    def gone(self, *, timed_out: bool) -> None:
        """See `Session.gone`."""
        self._health.remove(self)

    def tell(self) -> None:
        """Send the state if it is not what the client knows, or end with the call."""
        if self._call.answered:
            self._health.remove(self)
            return
        status = self._health.status(self._service or "")
        if status != self._told and not self._call.outbox.size:
            self._told = status
            self._call.send(pb.HealthCheckResponse(status=status).SerializeToString())
