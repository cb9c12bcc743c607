"""What a worker is given: made once by the service, and shared by all of its workers but for their slots."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nimify.metrics.collectors.board import Board
from nimify.metrics.registry import Registry
from nimify.serving.entrance import Entrance
from nimify.serving.listener import url_of
from nimify.serving.logs import Log
from nimify.serving.settings import ServiceSettings
from nimify.serving.spec import ServiceSpec

if TYPE_CHECKING:
    from nimify.serving.signed import SignedBundle


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """What a worker is given.

    Attributes:
        workers: How many there are.
        entrance: The gate and the certificate of every port.
        grpc_listener: The socket of gRPC; `None` when it is not served, or not by us.
        slot: Which row of the shared metrics is its own.
        number: Which worker it is; one that takes over has the number of the one before it, and another slot.
        predecessor: The slot of the worker that it takes over from; `None` when there is none.
        replacement: Whether it takes the place of one that died: it then listens only when its model is loaded.
        started_s: Unix time at which the service started.
        listener_passed: Whether the socket was open before this process, perhaps still served by another one: then too
            it listens only when its model is loaded.
        board: Where collectors leave what they measure; shared with the other workers, when there are any.
        signed: What was signed of the bundle; `None` when it need not be signed.
        told_ready: Where whoever started this process, to take over from another, waits to hear that it is ready.
    """

    bundle: Path
    spec: ServiceSpec
    settings: ServiceSettings
    listener: socket.socket
    registry: Registry
    log: Log
    entrance: Entrance
    workers: int = 1
    grpc_listener: socket.socket | None = None
    slot: int = 0
    number: int = 0
    predecessor: int | None = None
    replacement: bool = False
    started_s: float = 0.0
    listener_passed: bool = False
    board: Board | None = None
    signed: SignedBundle | None = None
    told_ready: socket.socket | None = None

    @property
    def listeners(self) -> dict[str, socket.socket]:
        """The sockets by the names under which they are passed on."""
        return {"http": self.listener} | ({} if self.grpc_listener is None else {"grpc": self.grpc_listener})

    @property
    def kept(self) -> bool:
        """Whether another process sees to it that this one is replaced, and tells it to leave with SIGHUP."""
        return self.workers > 1 or self.told_ready is not None

    @property
    def url(self) -> str:
        """Where the service answers."""
        return url_of(self.listener, self.entrance.scheme)

    @property
    def grpc_address(self) -> str | None:
        """Where gRPC answers, as its clients want it: host and port."""
        return None if self.grpc_listener is None else url_of(self.grpc_listener).removeprefix("http://")

    @property
    def listens_late(self) -> bool:
        """Whether to accept connections only when there is a model to answer them with."""
        return self.replacement or self.listener_passed or self.predecessor is not None
