"""A picture of a service as lines of text, for a terminal of any size or for a log."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import click

from nimify.commands.console import clean
from nimify.quantities import human_bytes

if TYPE_CHECKING:
    from nimify.monitoring.history import History
    from nimify.monitoring.picture import Figures, Picture, Replica

_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_ASCII_BLOCKS: Final = "_.:-=+*#"
_UNKNOWN: Final = "n/a"
_LABEL: Final = 12
_VALUE: Final = 12
_WIDEST_SPARKLINE: Final = 60
_LONGEST_NAME: Final = 28
Row = tuple[str, Callable[["Figures"], str], str]


class MonitorScreen:
    """Draws pictures.

    Args:
        encoding: Of the terminal: one that is not Unicode gets plain characters.
    """

    def __init__(self, encoding: str) -> None:
        unicode = encoding.lower().replace("-", "").startswith("utf")
        self._blocks = _BLOCKS if unicode else _ASCII_BLOCKS

    def lines(self, picture: Picture, history: History, width: int, *, live: bool = True) -> list[str]:
        """The whole screen; one that is live says how it ends."""
        end = "   Ctrl-C ends" if live else ""
        title = f"{clean(picture.service)}   {picture.up} of {len(picture.replicas)} replicas answer"
        return [
            click.style(_cut(title, width), bold=True),
            _cut(f"{picture.taken_at}   over the last {picture.window_s:.1f} s{end}", width),
            "",
            *self._rows(picture.figures, history, width),
            "",
            *self._reasons(picture.figures, width),
            *self._replicas(picture.replicas, width),
            *(_cut(clean(sentence, 400), width) for sentence in picture.missing),
        ]

    def line(self, picture: Picture) -> str:
        """One line, for where a screen makes no sense."""
        figures = picture.figures
        parts = [
            picture.taken_at,
            f"up={picture.up}/{len(picture.replicas)}",
            *(f"{label.replace(' ', '_')}={read(figures)}" for label, read, _ in self._table()),
        ]
        return " ".join(part.replace(" ", "") for part in parts)

    def _rows(self, figures: Figures, history: History, width: int) -> Iterator[str]:
        room = min(width - _LABEL - _VALUE - 4, _WIDEST_SPARKLINE)
        for label, read, series in self._table():
            spark = "".join(" " if height is None else self._blocks[height] for height in history.heights(series, room))
            yield _cut(f"  {label:<{_LABEL}}{read(figures):>{_VALUE}}  {spark}", width).rstrip()

    def _table(self) -> list[Row]:
        return [
            ("requests/s", lambda figures: self._number(figures.requests_per_s), "requests"),
            ("failures/s", lambda figures: self._number(figures.failures_total_per_s), "failures"),
            ("p50", lambda figures: self._time(figures.p50_s), "p50"),
            ("p95", lambda figures: self._time(figures.p95_s), "p95"),
            ("p99", lambda figures: self._time(figures.p99_s), "p99"),
            ("waiting", lambda figures: self._number(figures.waiting), "waiting"),
            ("in flight", lambda figures: self._number(figures.in_flight), "in flight"),
            ("mean batch", lambda figures: self._number(figures.mean_batch), "batch"),
            ("CPUs", lambda figures: self._number(figures.cpu_cores), "cpu"),
            ("memory", lambda figures: self._bytes(figures.memory_bytes), "memory"),
            ("GPU", lambda figures: self._share(figures.gpu_utilization), "gpu"),
        ]

    def _reasons(self, figures: Figures, width: int) -> Iterator[str]:
        groups: Sequence[tuple[str, Mapping[str, float]]] = (
            ("failures", figures.failures_per_s),
            ("answers", figures.responses_per_s),
            ("batches", figures.batch_runs),
        )
        for label, counts in groups:
            shown = ", ".join(f"{clean(key)} {self._number(value)}" for key, value in counts.items() if value > 0)
            if shown:
                yield _cut(f"  {label:<{_LABEL}}{shown}", width)

    def _replicas(self, replicas: Sequence[Replica], width: int) -> Iterator[str]:
        longest = min(max((len(replica.name) for replica in replicas), default=0), _LONGEST_NAME)
        for replica in replicas:
            state, colour = _state(replica)
            label = click.style(f"{state:<10}", fg=colour)
            detail = _cut(self._detail(replica), width - longest - 14)
            yield f"  {clean(replica.name, longest):<{longest}}  {label}{detail}"

    def _detail(self, replica: Replica) -> str:
        if not replica.up:
            return clean(replica.problem, 200)
        parts = [
            f"{self._number(replica.requests_per_s)} requests/s",
            f"{self._number(replica.cpu_cores)} CPUs",
            self._bytes(replica.memory_bytes),
            f"up {_duration(replica.uptime_s)}" if replica.uptime_s is not None else "",
            f"{replica.worker_restarts:.0f} workers replaced" if replica.worker_restarts else "",
            clean(replica.problem, 120),
        ]
        return ", ".join(part for part in parts if part)

    def _number(self, value: float | None) -> str:
        if value is None:
            return _UNKNOWN
        return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"

    def _time(self, seconds: float | None) -> str:
        if seconds is None:
            return _UNKNOWN
        return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"

    def _bytes(self, value: float | None) -> str:
        return _UNKNOWN if value is None else human_bytes(int(value))

    def _share(self, value: float | None) -> str:
        return _UNKNOWN if value is None else f"{value * 100:.0f} %"


def _state(replica: Replica) -> tuple[str, str]:
    if not replica.up:
        return "down", "red"
    if replica.ready is None:
        return "up", "green"
    return ("ready", "green") if replica.ready else ("not ready", "yellow")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"
