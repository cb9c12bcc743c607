"""What one replica did between two scrapes, as rates and counts that can be added up over replicas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nimify.metrics import catalog
from nimify.metrics.prometheus_text import Scrape
from nimify.monitoring.histogram import Buckets, difference


@dataclass(frozen=True, slots=True)
class Change:
    """What one replica did; `None`, or an empty mapping, for what it does not export.

    Attributes:
        seconds: How long the window was.
        answered: Requests with a result.
        failed: Requests without one, by reason.
        responses: HTTP responses by status code.
        rows: That the engine ran.
        runs: Of the engine.
        cpu_s: CPU seconds.
        durations: Of requests, in seconds.
        waits: For the engine, in seconds.
        batches: Rows in a run.
    """

    seconds: float
    answered: float | None
    failed: Mapping[str, float]
    responses: Mapping[str, float]
    rows: float | None
    runs: float | None
    cpu_s: float | None
    durations: Buckets | None
    waits: Buckets | None
    batches: Buckets | None

    @classmethod
    def between(cls, earlier: Scrape, later: Scrape) -> Change | None:
        """What lies between two scrapes; `None` when they are of two processes, which have nothing in common.

        A port may be served by another process than at the last time: by one that was restarted, or by the next
        revision. Its counters say nothing about the window.
        """
        seconds = later.taken_s - earlier.taken_s
        if seconds <= 0 or _started(earlier) != _started(later):
            return None

        def grown(name: str) -> float | None:
            return _growth(later.total(name), earlier.total(name))

        def counted(name: str) -> Buckets | None:
            new = later.buckets(name)
            return None if new is None else difference(new, earlier.buckets(name) or {})

        return cls(
            seconds=seconds,
            answered=grown(catalog.REQUEST_SUCCESS.name),
            failed=_growths(later, earlier, catalog.REQUEST_FAILURE.name, "reason"),
            responses=_growths(later, earlier, catalog.HTTP_RESPONSES.name, "code"),
            rows=grown(catalog.INFERENCE_COUNT.name),
            runs=grown(catalog.EXECUTION_COUNT.name),
            cpu_s=grown(catalog.PROCESS_CPU.name),
            durations=counted(catalog.DURATION.name),
            waits=counted(catalog.QUEUE_SECONDS.name),
            batches=counted(catalog.BATCH_SIZE.name),
        )


def _started(scrape: Scrape) -> float | None:
    return scrape.largest(catalog.PROCESS_START.name)


def _growth(new: float | None, old: float | None) -> float | None:
    if new is None:
        return None
    return new if old is None or new < old else new - old


def _growths(later: Scrape, earlier: Scrape, name: str, label: str) -> dict[str, float]:
    old = earlier.by(name, label)
    return {key: _growth(value, old.get(key)) or 0.0 for key, value in later.by(name, label).items()}
