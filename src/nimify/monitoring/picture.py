"""A picture of a service at one moment: its figures over all replicas, each replica, and what could not be seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Protocol

from nimify.metrics import catalog
from nimify.metrics.prometheus_text import Scrape
from nimify.monitoring.change import Change
from nimify.monitoring.histogram import Buckets, added, observations, quantile, sizes

GPU_UTILIZATION: Final = "nv_gpu_utilization"
GPU_MEMORY: Final = "nv_gpu_memory_used_bytes"
"""Triton's names."""


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica.

    Attributes:
        name: What its target calls it, or its address.
        url: Where its metrics were read.
        up: Whether it answered just now.
        ready: What it says of itself; `None` when it says nothing.
        problem: Why it is not up, or not seen in full; empty when all is well.
        version: Of nimify that serves there.
        model_digest: Of the model.
        uptime_s: Since it started.
        requests_per_s: That it answered with a result.
        in_flight: Requests that it is answering.
        cpu_cores: That it used.
        memory_bytes: That are resident.
        worker_restarts: Since it started.
    """

    name: str
    url: str
    up: bool
    ready: bool | None = None
    problem: str = ""
    version: str = ""
    model_digest: str = ""
    uptime_s: float | None = None
    requests_per_s: float | None = None
    in_flight: float | None = None
    cpu_cores: float | None = None
    memory_bytes: float | None = None
    worker_restarts: float | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """The service as a whole; `None` for what no replica tells, or what nothing happened for.

    Attributes:
        requests_per_s: Answered with a result.
        failures_per_s: By reason, of `nv_inference_request_failure`.
        responses_per_s: By HTTP status code.
        p50_s, p95_s, p99_s: Time from receipt to answer.
        queue_p99_s: Time of waiting for the engine.
        waiting: Requests that wait for the engine now.
        in_flight: Requests that are being answered now.
        connections: That are open now.
        mean_batch: Rows in a run of the engine.
        batch_runs: Runs of the engine by size: the upper bound of the bucket as text.
        cpu_cores: That all replicas used together.
        memory_bytes: That all replicas hold.
        gpu_utilization: Mean over the GPUs, from 0 to 1.
        gpu_memory_bytes: That are used on all GPUs.
    """

    requests_per_s: float | None = None
    failures_per_s: Mapping[str, float] = field(default_factory=dict)
    responses_per_s: Mapping[str, float] = field(default_factory=dict)
    p50_s: float | None = None
    p95_s: float | None = None
    p99_s: float | None = None
    queue_p99_s: float | None = None
    waiting: float | None = None
    in_flight: float | None = None
    connections: float | None = None
    mean_batch: float | None = None
    batch_runs: Mapping[str, float] = field(default_factory=dict)
    cpu_cores: float | None = None
    memory_bytes: float | None = None
    gpu_utilization: float | None = None
    gpu_memory_bytes: float | None = None

    @property
    def failures_total_per_s(self) -> float | None:
        """Of all reasons together."""
        return sum(self.failures_per_s.values()) if self.failures_per_s else None


@dataclass(frozen=True, slots=True)
class Picture:
    """What was seen.

    Attributes:
        service: Its name, or its address.
        taken_at: In UTC, ISO 8601.
        window_s: The time that rates and quantiles are over; 0 before there is one.
        figures: Over all replicas.
        replicas: Each of them.
        missing: What could not be seen, and why, a sentence each.
    """

    service: str
    taken_at: str
    window_s: float
    figures: Figures
    replicas: tuple[Replica, ...]
    missing: tuple[str, ...]

    @property
    def up(self) -> int:
        """How many replicas answered."""
        return sum(replica.up for replica in self.replicas)

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        return asdict(self)


class Watch(Protocol):
    """Takes pictures of a service, whatever it reads them from."""

    def look(self) -> Picture:
        """A picture of this moment."""
        ...


def figures_of(scrapes: Sequence[Scrape], changes: Sequence[Change]) -> Figures:
    """The figures over all replicas.

    Args:
        scrapes: The last one of each replica that is up.
        changes: Of each replica that was seen twice.
    """
    durations = _together(change.durations for change in changes)
    waits = _together(change.waits for change in changes)
    batches = _together(change.batches for change in changes)
    rows, runs = _sum(change.rows for change in changes), _sum(change.runs for change in changes)
    gpus = [sample.value for scrape in scrapes for sample in scrape.samples.get(GPU_UTILIZATION, ())]
    return Figures(
        requests_per_s=_rate(changes, lambda change: change.answered),
        failures_per_s=_rates(changes, lambda change: change.failed),
        responses_per_s=_rates(changes, lambda change: change.responses),
        p50_s=quantile(durations, 0.50),
        p95_s=quantile(durations, 0.95),
        p99_s=quantile(durations, 0.99),
        queue_p99_s=quantile(waits, 0.99),
        waiting=_sum(scrape.total(catalog.PENDING.name) for scrape in scrapes),
        in_flight=_sum(scrape.total(catalog.HTTP_IN_FLIGHT.name) for scrape in scrapes),
        connections=_sum(scrape.total(catalog.HTTP_CONNECTIONS.name) for scrape in scrapes),
        mean_batch=rows / runs if rows is not None and runs else None,
        batch_runs={f"{bound:g}": count for bound, count in sizes(batches).items()},
        cpu_cores=_rate(changes, lambda change: change.cpu_s),
        memory_bytes=_sum(scrape.total(catalog.PROCESS_MEMORY.name) for scrape in scrapes),
        gpu_utilization=sum(gpus) / len(gpus) if gpus else None,
        gpu_memory_bytes=_sum(scrape.total(GPU_MEMORY) for scrape in scrapes),
    )


def replica_of(name: str, url: str, scrape: Scrape, change: Change | None, *, now_s: float) -> Replica:
    """One replica that answered.

    Args:
        name: What its target calls it.
        url: Where.
        scrape: What it said.
        change: What it did since the last time; `None` when that cannot be known.
        now_s: Unix time.
    """
    ready, started = scrape.largest(catalog.READY.name), scrape.largest(catalog.PROCESS_START.name)
    return Replica(
        name=name,
        url=url,
        up=True,
        ready=None if ready is None else ready > 0,
        version=scrape.label(catalog.BUILD_INFO.name, "version"),
        model_digest=scrape.label(catalog.BUILD_INFO.name, "model_digest"),
        uptime_s=None if started is None else max(0.0, now_s - started),
        requests_per_s=_rate([] if change is None else [change], lambda change: change.answered),
        in_flight=scrape.total(catalog.HTTP_IN_FLIGHT.name),
        cpu_cores=_rate([] if change is None else [change], lambda change: change.cpu_s),
        memory_bytes=scrape.total(catalog.PROCESS_MEMORY.name),
        worker_restarts=scrape.total(catalog.WORKER_RESTARTS.name),
    )


def missing_of(scrapes: Sequence[Scrape], changes: Sequence[Change], figures: Figures) -> list[str]:
    """What the figures lack, and why."""
    if not scrapes:
        return ["No replica answers, so there is nothing to show."]
    lacking = [name for name in _NEEDED if not any(name in scrape.samples for scrape in scrapes)]
    sentences = [f"The service does not export {', '.join(lacking)}."] if lacking else []
    if not changes:
        sentences.append("Rates and quantiles need a second reading of the same process.")
    elif figures.p50_s is None and not lacking:
        sentences.append("No request was answered in this window, so there are no quantiles.")
    if not any(GPU_UTILIZATION in scrape.samples for scrape in scrapes):
        sentences.append("No GPU metrics: the service exports none.")
    return sentences


_NEEDED: Final = (
    catalog.REQUEST_SUCCESS.name,
    catalog.REQUEST_FAILURE.name,
    f"{catalog.DURATION.name}_bucket",
    f"{catalog.QUEUE_SECONDS.name}_bucket",
    catalog.PENDING.name,
    catalog.PROCESS_CPU.name,
    catalog.PROCESS_MEMORY.name,
)


def _together(histograms: Any) -> Buckets:
    return added(buckets for buckets in histograms if buckets is not None and observations(buckets) > 0)


def _sum(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _rate(changes: Sequence[Change], count: Callable[[Change], float | None]) -> float | None:
    known = [(number, change.seconds) for change in changes if (number := count(change)) is not None]
    return sum(number / seconds for number, seconds in known) if known else None


def _rates(changes: Sequence[Change], counts: Callable[[Change], Mapping[str, float]]) -> dict[str, float]:
    rates: dict[str, float] = {}
    for change in changes:
        for key, number in counts(change).items():
            rates[key] = rates.get(key, 0.0) + number / change.seconds
    return dict(sorted(rates.items()))
