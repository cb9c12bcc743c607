"""Alerts on what runs out: the queue, connections, memory."""

from __future__ import annotations

from typing import Final

from nimify.artifacts.monitoring.alert import INSTANCE, PERCENT, WARNING, Alert
from nimify.artifacts.monitoring.burn_rates import MINUTE_S
from nimify.artifacts.monitoring.promql import number
from nimify.artifacts.monitoring.recording import QUEUE
from nimify.artifacts.monitoring.watched import WatchedService

NEARLY_FULL: Final = 0.8
"""Beyond this part of a limit somebody should know; beyond the limit clients are turned away."""
MEMORY_SHARE: Final = 0.9
"""Memory that is in use does not come back as quickly as a queue drains."""
BATCHES_WAITING: Final = 2
"""A queue that two runs will empty is only a queue."""


def saturation_alerts(service: WatchedService) -> list[Alert]:
    """The alerts, from the first sign to the last."""
    always = [_queue_growing(service), _queue_nearly_full(service), _connections(service)]
    limit = service.memory_limit_bytes
    return always if limit is None else [*always, _memory(service, limit)]


def queue_threshold(service: WatchedService) -> int:
    """Waiting requests from which on growth counts."""
    return BATCHES_WAITING * max(service.max_batch_size, 1)


def _queue_growing(service: WatchedService) -> Alert:
    queue = f"{QUEUE}{{{service.job}}}"
    window = service.time(10 * MINUTE_S)
    return Alert(
        "NimQueueGrowing",
        WARNING,
        f"{queue} > {queue_threshold(service)} and deriv({queue}[{window}]) > 0",
        summary="requests arrive faster than they are answered",
        description=f"More than {queue_threshold(service)} requests wait, and their number has grown for ten minutes.",
        for_s=10 * MINUTE_S,
    )


def _queue_nearly_full(service: WatchedService) -> Alert:
    waiting, limit = f"nv_inference_pending_request_count{{{service.job}}}", f"nim_queue_limit{{{service.job}}}"
    return Alert(
        "NimQueueNearlyFull",
        WARNING,
        f"{waiting} / ({limit} > 0) > {number(NEARLY_FULL)}",
        summary="a replica is about to reject requests",
        description=f"The queue of {INSTANCE} is {PERCENT} full; beyond its limit requests are answered 503.",
        for_s=2 * MINUTE_S,
    )


def _connections(service: WatchedService) -> Alert:
    opened, limit = f"nim_http_connections{{{service.job}}}", f"nim_http_connections_limit{{{service.job}}}"
    return Alert(
        "NimConnectionsNearlyExhausted",
        WARNING,
        f"{opened} / ({limit} > 0) > {number(NEARLY_FULL)}",
        summary="a replica is about to turn connections away",
        description=f"{INSTANCE} has {PERCENT} of the connections open that it accepts.",
        for_s=5 * MINUTE_S,
    )


def _memory(service: WatchedService, limit: int) -> Alert:
    return Alert(
        "NimMemoryNearLimit",
        WARNING,
        f"process_resident_memory_bytes{{{service.job}}} > {round(MEMORY_SHARE * limit)}",
        summary="a replica is close to its memory limit, beyond which it is ended",
        description=f"{INSTANCE} uses more than {MEMORY_SHARE:.0%} of the {limit >> 20} MiB that were planned.",
        for_s=10 * MINUTE_S,
    )
