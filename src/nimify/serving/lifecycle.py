"""Where the service is in its life, as every worker of it sees it."""

from __future__ import annotations

from enum import Enum

from nimify.metrics.registry import Gauge, Registry


class State(float, Enum):
    """One worker's state, as it stands in shared memory."""

    STOPPING = -1.0
    STARTING = 0.0
    READY = 1.0


class Lifecycle:
    """Starting, ready, or going to stop.

    The service is ready when every worker has loaded its model and none was told to stop. A worker that replaces a dead
    one listens only when it has loaded; until then its predecessor's state stands, because the others are the service.
    """

    def __init__(self, registry: Registry, gauge: Gauge, *, replacement: bool = False) -> None:
        self._registry = registry
        self._gauge = gauge
        if not replacement or registry.state < State.STARTING:
            registry.set_state(State.STARTING)

    def worker_ready(self) -> None:
        """This worker has loaded its model."""
        self._registry.set_state(State.READY)
        self._gauge.set(1.0)

    def stopping(self) -> None:
        """This worker was told to stop; all of them are no longer ready."""
        self._registry.set_state(State.STOPPING)
        self._gauge.set(0.0)

    @property
    def ready(self) -> bool:
        """Whether the service can answer and will go on doing so."""
        return min(self._registry.states) > State.STARTING

    @property
    def reason(self) -> str:
        """Why it is not ready."""
        return "it is stopping" if min(self._registry.states) < State.STARTING else "the model is loading"
