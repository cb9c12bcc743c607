"""The instruments of one service: every series resolved once, so that the hot path only adds to cells."""

from __future__ import annotations

import os
from pathlib import Path

from nimify.metrics import catalog
from nimify.metrics.exposition import exposition
from nimify.metrics.registry import Registry


class ModelMetrics:
    """The instruments of one model."""

    def __init__(self, registry: Registry, model: str, version: str) -> None:
        labels = (model, version)
        self.success = registry.counter(catalog.REQUEST_SUCCESS, *labels)
        self.failure = {
            reason: registry.counter(catalog.REQUEST_FAILURE, *labels, reason) for reason in catalog.FAILURE_REASONS
        }
        self.rows = registry.counter(catalog.INFERENCE_COUNT, *labels)
        self.executions = registry.counter(catalog.EXECUTION_COUNT, *labels)
        self.request_us = registry.counter(catalog.REQUEST_DURATION, *labels)
        self.queue_us = registry.counter(catalog.QUEUE_DURATION, *labels)
        self.compute_input_us = registry.counter(catalog.COMPUTE_INPUT_DURATION, *labels)
        self.compute_infer_us = registry.counter(catalog.COMPUTE_INFER_DURATION, *labels)
        self.compute_output_us = registry.counter(catalog.COMPUTE_OUTPUT_DURATION, *labels)
        self.pending = registry.gauge(catalog.PENDING, *labels)
        self.load_s = registry.gauge(catalog.LOAD_DURATION, *labels)
        self.duration_s = registry.histogram(catalog.DURATION, *labels)
        self.queue_s = registry.histogram(catalog.QUEUE_SECONDS, *labels)
        self.batch_size = registry.histogram(catalog.BATCH_SIZE, *labels)


class HttpMetrics:
    """The instruments of the HTTP front."""

    def __init__(self, registry: Registry, statuses: tuple[int, ...]) -> None:
        self.responses = {status: registry.counter(catalog.HTTP_RESPONSES, str(status)) for status in statuses}
        self.connections = registry.gauge(catalog.HTTP_CONNECTIONS)
        self.in_flight = registry.gauge(catalog.HTTP_IN_FLIGHT)


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
        statuses: tuple[int, ...],
        build_labels: tuple[str, str, str, str],
        started_s: float,
    ) -> None:
        self.registry = registry
        self.model = ModelMetrics(registry, model, version)
        self.http = HttpMetrics(registry, statuses)
        self.process = ProcessMetrics(registry, build_labels=build_labels, started_s=started_s)

    def text(self) -> str:
        """What `/v1/metrics` answers."""
        self.process.sample()
        return exposition(self.registry)
