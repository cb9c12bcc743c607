"""Metric values in memory that all workers share.

Every worker owns one slot: a row of float64 cells that only it writes, without a lock. Each registers the same series
in the same order, so a cell means the same in every slot, and whoever is asked for `/v1/metrics` adds the slots up.
The memory outlives a worker, and its replacement goes on counting in the same slot: counters never fall back.
Adding to a cell costs a tenth of a microsecond; a client library's counter costs ten times that.
"""

from __future__ import annotations

import mmap
from bisect import bisect_left
from dataclasses import dataclass
from typing import Final, TypeAlias

from nimify.metrics.catalog import Metric

CELLS_PER_SLOT: Final = 4096
"""Room for every series of one worker; registering more is a programming error that start-up would show."""
_CELL_BYTES: Final = 8
VACANT: Final = 3.0
"""The state of a slot that no worker has: what its last one counted stays, and its gauges are void."""

Cells: TypeAlias = "memoryview[float]"
"""A row of float64 cells."""


@dataclass(frozen=True, slots=True)
class Series:
    """One labelled series of a metric and where its cells are.

    A histogram has one cell per bucket (not cumulated), one for +Inf, and one for the sum.
    """

    metric: Metric
    label_values: tuple[str, ...]
    first_cell: int


class Counter:
    """A number that only grows."""

    __slots__ = ("_cells", "_index")

    def __init__(self, cells: Cells, index: int) -> None:
        self._cells = cells
        self._index = index

    def add(self, amount: float = 1.0) -> None:
        """Add to it."""
        self._cells[self._index] += amount

    @property
    def cell(self) -> int:
        """Where it is in every slot; see `Registry.total`."""
        return self._index


class Gauge(Counter):
    """A number that goes up and down."""

    __slots__ = ()

    def set(self, value: float) -> None:
        """Replace it."""
        self._cells[self._index] = value

    @property
    def value(self) -> float:
        """What this worker last set."""
        return float(self._cells[self._index])


class Histogram:
    """Counts of observations by size."""

    __slots__ = ("_bounds", "_cells", "_first", "_sum")

    def __init__(self, cells: Cells, first: int, bounds: tuple[float, ...]) -> None:
        self._cells = cells
        self._bounds = bounds
        self._first = first
        self._sum = first + len(bounds) + 1

    def observe(self, value: float) -> None:
        """Count one observation; a value equal to a bound belongs to that bound's bucket."""
        cells = self._cells
        cells[self._first + bisect_left(self._bounds, value)] += 1.0
        cells[self._sum] += value

    @property
    def count_cells(self) -> range:
        """Where its counts are in every slot; they add up to the number of observations."""
        return range(self._first, self._sum)


class RunTimes:
    """How many runs there were, and how long their three parts took, for each number of rows up to a largest one."""

    __slots__ = ("_cells", "_first", "_most")

    COLUMNS: Final = 4

    def __init__(self, cells: Cells, first: int, most_rows: int) -> None:
        self._cells = cells
        self._first = first
        self._most = most_rows

    def add(self, rows: int, input_ns: float, infer_ns: float, output_ns: float) -> None:
        """Count one run; one of more rows than the largest is left out."""
        if rows <= self._most:
            cells, first = self._cells, self._first + (rows - 1) * self.COLUMNS
            cells[first] += 1.0
            cells[first + 1] += input_ns
            cells[first + 2] += infer_ns
            cells[first + 3] += output_ns

    @property
    def cells_by_rows(self) -> dict[int, range]:
        """Where the count and the three times in nanoseconds are in every slot, by the number of rows."""
        starts = range(self._first, self._first + self._most * self.COLUMNS, self.COLUMNS)
        return {rows: range(start, start + self.COLUMNS) for rows, start in enumerate(starts, start=1)}


class Registry:
    """The series of this worker, and a view of the other workers' cells."""

    def __init__(self, *, workers: int = 1, spare: int = 0) -> None:
        """Make room in memory that forked children share: a slot for each worker, and some that are vacant at first."""
        self._slots = workers + spare
        self._memory: Cells = memoryview(mmap.mmap(-1, self._slots * CELLS_PER_SLOT * _CELL_BYTES)).cast("d")
        for slot in range(workers, self._slots):
            self.vacate(slot)
        self._series: list[Series] = []
        self._used = 1  # the first cell of a slot holds its worker's state
        self.use_slot(0)

    def use_slot(self, slot: int) -> None:
        """Write into this slot from now on; called once, before anything is registered."""
        self._cells = self._slot(slot)

    def _slot(self, slot: int) -> Cells:
        return self._memory[slot * CELLS_PER_SLOT : (slot + 1) * CELLS_PER_SLOT]

    @property
    def series(self) -> tuple[Series, ...]:
        """Every registered series, in order."""
        return tuple(self._series)

    def counter(self, metric: Metric, *label_values: str) -> Counter:
        """Register a counter; in the slot of a dead worker it goes on from that worker's value."""
        return Counter(self._cells, self._register(metric, label_values, 1))

    def gauge(self, metric: Metric, *label_values: str) -> Gauge:
        """Register a gauge, which starts at 0: what a dead predecessor in this slot left is void."""
        gauge = Gauge(self._cells, self._register(metric, label_values, 1))
        gauge.set(0.0)
        return gauge

    def histogram(self, metric: Metric, *label_values: str) -> Histogram:
        """Register a histogram."""
        return Histogram(self._cells, self._register(metric, label_values, len(metric.buckets) + 2), metric.buckets)

    def unlisted_counter(self) -> Counter:
        """A counter that is shared as the others are, but is no series of its own."""
        return Counter(self._cells, self._reserve(1))

    def run_times(self, most_rows: int) -> RunTimes:
        """Times of runs by their rows, which are no series either: there would be too many."""
        return RunTimes(self._cells, self._reserve(most_rows * RunTimes.COLUMNS), most_rows)

    def _register(self, metric: Metric, label_values: tuple[str, ...], cells: int) -> int:
        if len(label_values) != len(metric.labels):
            raise ValueError(f"{metric.name} needs the labels {metric.labels}")
        first = self._reserve(cells)
        self._series.append(Series(metric, label_values, first))
        return first

    def _reserve(self, cells: int) -> int:
        first = self._used
        if first + cells > CELLS_PER_SLOT:
            raise ValueError("CELLS_PER_SLOT is too small for the catalog")
        self._used += cells
        return first

    def vacate(self, slot: int) -> None:
        """The worker of this slot has ended, and nobody takes its place there."""
        self._slot(slot)[0] = VACANT

    def total(self, cell: int, *, how: str = "sum", vacant: bool = True) -> float:
        """One cell over all slots, or over those that are not vacant: their `sum` or their `max`."""
        values = self._memory[cell::CELLS_PER_SLOT].tolist() if self._slots > 1 else [self._cells[cell]]
        if not vacant:
            values = [value for value, state in zip(values, self.states, strict=True) if state != VACANT]
        return float(max(values) if how == "max" else sum(values))

    def set_state(self, state: float) -> None:
        """Tell the other workers, and the process that watches them, where this one is in its life."""
        self._cells[0] = state

    @property
    def state(self) -> float:
        """What this slot's worker, or the one before it, last told; 0 before anything was told."""
        return float(self._cells[0])

    @property
    def states(self) -> list[float]:
        """What each slot's worker last told; 0 before it told anything."""
        return [float(state) for state in self._memory[::CELLS_PER_SLOT]]
