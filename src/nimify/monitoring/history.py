"""The figures of the last pictures, as heights that a sparkline is drawn from."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from nimify.monitoring.picture import Figures, Picture

KEPT: Final = 240
LEVELS: Final = 8
SERIES: Final[Mapping[str, Callable[[Figures], float | None]]] = {
    "requests": lambda figures: figures.requests_per_s,
    "failures": lambda figures: figures.failures_total_per_s,
    "p50": lambda figures: figures.p50_s,
    "p95": lambda figures: figures.p95_s,
    "p99": lambda figures: figures.p99_s,
    "waiting": lambda figures: figures.waiting,
    "in flight": lambda figures: figures.in_flight,
    "batch": lambda figures: figures.mean_batch,
    "cpu": lambda figures: figures.cpu_cores,
    "memory": lambda figures: figures.memory_bytes,
    "gpu": lambda figures: figures.gpu_utilization,
}
"""What is remembered, by the name of its row."""


class History:
    """The last pictures of a service, series by series."""

    def __init__(self) -> None:
        self._values: dict[str, deque[float | None]] = {name: deque(maxlen=KEPT) for name in SERIES}

    def add(self, picture: Picture) -> None:
        """Remember a picture."""
        for name, read in SERIES.items():
            self._values[name].append(read(picture.figures))

    def heights(self, name: str, width: int) -> list[int | None]:
        """The last values of a series as heights; see `heights`."""
        return heights(list(self._values[name])[-width:] if width > 0 else [])


def heights(values: Sequence[float | None]) -> list[int | None]:
    """Values as heights from 0 to `LEVELS` - 1, in proportion to the largest; `None` stays a gap."""
    top = max((value for value in values if value is not None), default=0.0)
    if top <= 0:
        return [None if value is None else 0 for value in values]
    return [None if value is None else round(max(value, 0.0) / top * (LEVELS - 1)) for value in values]
