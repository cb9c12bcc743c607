"""Where the service is in its life, as every worker of it sees it."""

from __future__ import annotations

from enum import Enum

from nimify.metrics.registry import VACANT, Gauge, Registry


class State(float, Enum):
    """One worker's state, as it stands in shared memory."""

    STOPPING = -1.0
    STARTING = 0.0
    DRIFTED = 0.5
    READY = 1.0
    LEAVING = 2.0
    """Another worker has taken over: this one says nothing any more about what the service can do."""
    VACANT = VACANT


class Lifecycle:
    """Starting, ready, leaving, or going to stop.

    The service is ready when every worker has loaded its model and none was told to stop. A worker that replaces a dead
    one, or one that still serves, listens only when it has loaded; until then the state of its slot stands, because the
    others are the service.
    """

    def __init__(self, registry: Registry, gauge: Gauge, *, replacement: bool = False) -> None:
        self._registry = registry
        self._gauge = gauge
        if not replacement or registry.state < State.STARTING:
            registry.set_state(State.STARTING)

    def worker_ready(self) -> None:
        """This worker has loaded its model; nothing changes for one that was told to stop."""
        if self._registry.state < State.STARTING:
            return
        self._registry.set_state(State.READY)
        self._gauge.set(1.0)

    def worker_loading(self) -> None:
        """This worker has lost its model, and loads it again; nothing changes for one that was told to stop."""
        if State.STOPPING < self._registry.state <= State.READY:
            self._registry.set_state(State.STARTING)
            self._gauge.set(0.0)

    def drifted(self, drifted: bool) -> None:
        """The files of the model have changed since this worker loaded it, or are as they were."""
        if State.STARTING < self._registry.state <= State.READY:
            self._registry.set_state(State.DRIFTED if drifted else State.READY)
            self._gauge.set(0.0 if drifted else 1.0)

    def leaving(self) -> None:
        """Another worker has taken over from this one."""
        self._registry.set_state(State.LEAVING)

    def stopping(self) -> None:
        """This worker was told to stop; all of them are no longer ready."""
        self._registry.set_state(State.STOPPING)
        self._gauge.set(0.0)

    def in_charge(self, slot: int | None) -> bool:
        """Whether the worker of another slot is one of those that make up the service."""
        return slot is not None and self._registry.states[slot] <= State.READY

    @property
    def ready(self) -> bool:
        """Whether the service can answer and will go on doing so."""
        return min(self._registry.states) >= State.READY

    @property
    def reason(self) -> str:
        """Why it is not ready."""
        if self.is_stopping:
            return "it is stopping"
        if min(self._registry.states) > State.STARTING:
            return "the model's files have changed since it was loaded"
        return "the model is loading"

    @property
    def is_stopping(self) -> bool:
        """Whether any worker was told to stop."""
        return min(self._registry.states) < State.STARTING
