"""What the service says of itself before and after a measurement: CPU time, memory, rows and runs."""

from __future__ import annotations

import time

from nimify.conformance.client import Client, NoAnswer
from nimify.loadtest.point import ServerUse
from nimify.metrics.catalog import EXECUTION_COUNT, INFERENCE_COUNT, PROCESS_CPU, PROCESS_MEMORY, Metric
from nimify.metrics.prometheus_text import Scrape, parse
from nimify.serving.paths import METRICS_PATH


def sample(client: Client | None) -> Scrape | None:
    """The service's metrics as they are now; `None` when it has none, or nobody knows where."""
    if client is None:
        return None
    try:
        answer = client.get(METRICS_PATH)
    except NoAnswer:
        return None
    if answer.status != 200:
        return None
    scrape = parse(answer.body.decode("utf-8", "replace"), taken_s=time.monotonic())
    return scrape if scrape.samples else None


def between(before: Scrape | None, after: Scrape | None, requests: int) -> ServerUse | None:
    """What the service did between two samples."""
    if before is None or after is None:
        return None
    cpu_s = _grown(PROCESS_CPU, before, after)
    runs, rows = _grown(EXECUTION_COUNT, before, after), _grown(INFERENCE_COUNT, before, after)
    return ServerUse(
        cpu_s_per_request=cpu_s / requests if requests and cpu_s > 0 else None,
        memory_bytes=after.total(PROCESS_MEMORY.name),
        mean_batch=rows / runs if runs > 0 else None,
    )


def _grown(counter: Metric, before: Scrape, after: Scrape) -> float:
    """By how much a counter grew; 0 when it is not there, or the service was started anew meanwhile."""
    return max((after.total(counter.name) or 0.0) - (before.total(counter.name) or 0.0), 0.0)
