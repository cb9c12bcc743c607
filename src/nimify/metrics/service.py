"""The instruments of one service: every series resolved once, so that the hot path only adds to cells."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from nimify.metrics import catalog
from nimify.metrics.exposition import exposition
from nimify.metrics.registry import Registry

_MOST_ROWS: Final = 256
"""Runs of more rows are counted like the others, but have no times of their own."""


class ModelMetrics:
    """The instruments of one model."""

    def __init__(self, registry: Registry, model: str, version: str, max_batch_size: int = 1) -> None:
        labels = (model, version)
        self.success = registry.counter(catalog.REQUEST_SUCCESS, *labels)
        self.failure = {
            reason: registry.counter(catalog.REQUEST_FAILURE, *labels, reason) for reason in catalog.FAILURE_REASONS
        }
        self.errors = {kind: registry.counter(catalog.REQUEST_ERRORS, *labels, kind) for kind in catalog.ERROR_TYPES}
        self.rows = registry.counter(catalog.INFERENCE_COUNT, *labels)
        self.executions = registry.counter(catalog.EXECUTION_COUNT, *labels)
        self.request_us = registry.counter(catalog.REQUEST_DURATION, *labels)
        self.queue_us = registry.counter(catalog.QUEUE_DURATION, *labels)
        self.compute_input_us = registry.counter(catalog.COMPUTE_INPUT_DURATION, *labels)
        self.compute_infer_us = registry.counter(catalog.COMPUTE_INFER_DURATION, *labels)
        self.compute_output_us = registry.counter(catalog.COMPUTE_OUTPUT_DURATION, *labels)
        self.cache_hits = registry.counter(catalog.CACHE_HITS, *labels)
        self.cache_misses = registry.counter(catalog.CACHE_MISSES, *labels)
        self.cache_hit_us = registry.counter(catalog.CACHE_HIT_DURATION, *labels)
        self.cache_miss_us = registry.counter(catalog.CACHE_MISS_DURATION, *labels)
        self.cache_evictions = registry.counter(catalog.CACHE_EVICTIONS, *labels)
        self.cache_entries = registry.gauge(catalog.CACHE_ENTRIES, *labels)
        self.cache_used = registry.gauge(catalog.CACHE_USED, *labels)
        self.cache_limit = registry.gauge(catalog.CACHE_LIMIT, *labels)
        self.pending = registry.gauge(catalog.PENDING, *labels)
        self.queue_limit = registry.gauge(catalog.QUEUE_LIMIT, *labels)
        self.last_run_s = registry.gauge(catalog.LAST_RUN, *labels)
        self.load_s = registry.gauge(catalog.LOAD_DURATION, *labels)
        self.duration_s = registry.histogram(catalog.DURATION, *labels)
        self.queue_s = registry.histogram(catalog.QUEUE_SECONDS, *labels)
        self.batch_size = registry.histogram(catalog.BATCH_SIZE, *labels)
        self.failed_us = registry.unlisted_counter()
        self.run_times = registry.run_times(min(max(max_batch_size, 1), _MOST_ROWS))


class HttpMetrics:
    """The instruments of the HTTP front."""

    def __init__(self, registry: Registry, statuses: tuple[int, ...]) -> None:
        self.responses = {status: registry.counter(catalog.HTTP_RESPONSES, str(status)) for status in statuses}
        self.connections = registry.gauge(catalog.HTTP_CONNECTIONS)
        self.connections_limit = registry.gauge(catalog.HTTP_CONNECTIONS_LIMIT)
        self.in_flight = registry.gauge(catalog.HTTP_IN_FLIGHT)


class GrpcMetrics:
    """The instruments of the gRPC front.

    Args:
        methods: Names of all methods; True for those whose duration is a time of ours, and not of the client's.
        codes: Names by number of the status codes.
    """

    def __init__(self, registry: Registry, methods: Mapping[str, bool], codes: Mapping[int, str]) -> None:
        self.calls = {
            (method, code): registry.counter(catalog.GRPC_CALLS, method, name)
            for method in methods
            for code, name in codes.items()
        }
        self.durations = {
            method: registry.histogram(catalog.GRPC_DURATION, method) for method, timed in methods.items() if timed
        }
        self.connections = registry.gauge(catalog.GRPC_CONNECTIONS)
        self.in_flight = registry.gauge(catalog.GRPC_IN_FLIGHT)
        self.calmed = registry.counter(catalog.GRPC_CALMED)


class ProcessMetrics:
    """The instruments of the processes; read from `/proc` when somebody asks."""

    def __init__(self, registry: Registry, *, build_labels: tuple[str, str, str, str], started_s: float) -> None:
        self.workers = registry.gauge(catalog.WORKERS)
        self.restarts = registry.counter(catalog.WORKER_RESTARTS)
        self.ready = registry.gauge(catalog.READY)
        self._cpu = registry.counter(catalog.PROCESS_CPU)
        self._memory = registry.gauge(catalog.PROCESS_MEMORY)
        self._fds = registry.gauge(catalog.PROCESS_FDS)
        registry.gauge(catalog.BUILD_INFO, *build_labels).set(1.0)
        registry.gauge(catalog.PROCESS_START).set(started_s)
        self.workers.set(1.0)
        self._cpu_reported_s = 0.0

    def sample(self) -> None:
        """Bring this worker's own cells up to date."""
        times = os.times()
        spent_s = times.user + times.system
        self._cpu.add(spent_s - self._cpu_reported_s)
        self._cpu_reported_s = spent_s
        self._memory.set(float(_resident_bytes()))
        self._fds.set(float(_open_files()))


def _resident_bytes() -> int:
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def _open_files() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - only the count is wanted, not paths
    except OSError:
        return 0


class ServiceMetrics:
    """All instruments of one worker."""

    def __init__(
        self,
        registry: Registry,
        *,
        model: str,
        version: str,
        max_batch_size: int = 1,
        statuses: tuple[int, ...],
        build_labels: tuple[str, str, str, str],
        started_s: float,
        collected: Callable[[], str] = str,
    ) -> None:
        """Register everything; `collected` gives what collectors add to the page."""
        self.registry = registry
        self._collected = collected
        self.model = ModelMetrics(registry, model, version, max_batch_size)
        self.http = HttpMetrics(registry, statuses)
        self.process = ProcessMetrics(registry, build_labels=build_labels, started_s=started_s)

    def text(self) -> str:
        """What `/v1/metrics` answers."""
        self.process.sample()
        return exposition(self.registry) + self._collected()
