"""When one request passed which point: what the parts of the service note down, and the tracer reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from nimify.serving.faults import RequestFault


class RequestTrace:
    """The times of one request on `time.perf_counter_ns()`; 0 for a point that it has not passed.

    Attributes:
        span: The span of the request; it is being recorded.
        epoch_ns: What makes Unix time of these times when it is added.
        begun_ns: The request has begun; over HTTP it was whole then.
        received_ns: It was whole.
        queued_ns: It was read, checked and queued.
        started_ns: The engine began with it.
        computed_ns: The engine had its answer.
        cache_hit: Whether the response cache had the answer; `None` when it was not asked.
        fault: What it failed with.
    """

    __slots__ = (
        "begun_ns",
        "cache_hit",
        "computed_ns",
        "epoch_ns",
        "fault",
        "queued_ns",
        "received_ns",
        "span",
        "started_ns",
    )

    def __init__(self, span: Span, begun_ns: int, epoch_ns: int) -> None:
        self.span = span
        self.epoch_ns = epoch_ns
        self.begun_ns = self.received_ns = begun_ns
        self.queued_ns = 0
        self.started_ns = 0
        self.computed_ns = 0
        self.cache_hit: bool | None = None
        self.fault: RequestFault | None = None

    def looked_up(self, started_ns: int, took_ns: int, *, hit: bool) -> None:
        """The response cache was asked for its answer."""
        self.cache_hit = hit
        if hit:
            self.queued_ns, self.computed_ns = started_ns, started_ns + took_ns

    def ran(self, queued_ns: int, started_ns: int, took_ns: int) -> None:
        """It was in a run of the engine.

        Args:
            queued_ns: When it was queued.
            started_ns: When the run began.
            took_ns: How long the run took, merging and parting included.
        """
        self.queued_ns, self.started_ns, self.computed_ns = queued_ns, started_ns, started_ns + took_ns
