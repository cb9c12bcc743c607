"""From records to tables of ratios.

Every ratio is taken between measurements of one round, which ran close together on the same machine, and then the
median over the rounds is shown. Where all parties have quiet rounds, only those count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

from benchmarks.exchange import Protocol
from benchmarks.figures import ByRound, Figure, median, of_loads, of_starts, ratios, shown, significant
from benchmarks.records import Ceiling, Load, Record, Start

BASELINE: Final = "fastapi"


@dataclass(frozen=True, slots=True)
class Table:
    """A table and the sentence above it."""

    caption: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]


def tables(records: Sequence[Record]) -> list[Table]:
    """Throughput, latency and start, for every model and contestant that was measured."""
    return [table for table in (_throughput(records), _latency(records), _starts(records)) if table.rows]


def _throughput(records: Sequence[Record]) -> Table:
    rows: list[tuple[str, ...]] = []
    for (model, connections), cells in _by_step(records).items():
        single, merged = _ceilings(records, model, connections)
        baseline = _rates(cells.get((BASELINE, Protocol.JSON), {}))
        for (contestant, protocol), loads in cells.items():
            mine = _rates(loads)
            row = (_ratio(mine, single), _ratio(mine, merged), _ratio(mine, baseline), _plain(mine, "{:,.0f}"))
            rows.append((model, str(connections), contestant, protocol, *row))
    caption = (
        "Throughput, one row a request. Ratios: of ONNX Runtime in a loop with single rows and with full batches, "
        "and of FastAPI; more is better."
    )
    return Table(caption, (*_STEP, "of raw x1", "of raw batch", "of fastapi", "req/s here"), rows)


def _latency(records: Sequence[Record]) -> Table:
    rows: list[tuple[str, ...]] = []
    for (model, connections), cells in _by_step(records).items():
        baseline = cells.get((BASELINE, Protocol.JSON), {})
        for (contestant, protocol), loads in cells.items():
            row: list[str] = []
            for select, form in _LATENCIES:
                mine = of_loads(loads, select)
                row += (_ratio(mine, of_loads(baseline, select)), _plain(mine, form))
            rows.append((model, str(connections), contestant, protocol, *row))
    caption = "Latency, and processor time of the server for each request. Ratios: of FastAPI; less is better."
    columns = ("p50", "p50 ms here", "p99", "p99 ms here", "CPU", "CPU us here")
    return Table(caption, (*_STEP, *columns), rows)


def _starts(records: Sequence[Record]) -> Table:
    starts: dict[str, dict[str, dict[int, Start]]] = {}
    for record in records:
        if isinstance(record, Start):
            starts.setdefault(record.model, {}).setdefault(record.contestant, {})[record.round] = record
    rows = []
    for model, cells in starts.items():
        baseline = cells.get(BASELINE, {})
        for contestant, mine in cells.items():
            row: list[str] = []
            for select, form in _START_FIGURES:
                figures = of_starts(mine, select)
                row += (_ratio(figures, of_starts(baseline, select)), _plain(figures, form))
            rows.append((model, contestant, *row))
    caption = "Cold start (process start to first right answer) and idle memory. Ratios: of FastAPI; less is better."
    return Table(caption, ("model", "server", "start", "start s here", "memory", "MB here"), rows)


_STEP: Final = ("model", "conns", "server", "protocol")
_LATENCIES: Final[Sequence[tuple[Callable[[Load], float], str]]] = (
    (lambda load: load.result.p50_ms, "{:,.2f}"),
    (lambda load: load.result.p99_ms, "{:,.2f}"),
    (lambda load: load.result.cpu_us, "{:,.0f}"),
)
_START_FIGURES: Final[Sequence[tuple[Callable[[Start], float], str]]] = (
    (lambda start: start.cold_start_s, "{:.2f}"),
    (lambda start: start.idle_bytes / 1e6, "{:.0f}"),
)


def _by_step(records: Iterable[Record]) -> dict[tuple[str, int], dict[tuple[str, Protocol], dict[int, Load]]]:
    steps: dict[tuple[str, int], dict[tuple[str, Protocol], dict[int, Load]]] = {}
    for record in records:
        if isinstance(record, Load):
            cells = steps.setdefault((record.model, record.connections), {})
            cells.setdefault((record.contestant, record.protocol), {})[record.round] = record
    return steps


def _ceilings(records: Iterable[Record], model: str, connections: int) -> tuple[ByRound[Figure], ByRound[Figure]]:
    found = [
        record
        for record in records
        if isinstance(record, Ceiling) and (record.model, record.connections) == (model, connections)
    ]
    single = {ceiling.round: Figure(ceiling.single_rows_per_s, ceiling.noisy) for ceiling in found}
    merged = {ceiling.round: Figure(ceiling.merged_rows_per_s, ceiling.noisy) for ceiling in found}
    return single, merged


def _rates(loads: ByRound[Load]) -> ByRound[Figure]:
    return of_loads(loads, lambda load: load.result.requests_per_s)


def _ratio(mine: ByRound[Figure], theirs: ByRound[Figure]) -> str:
    """The median of the ratios within rounds."""
    return shown(median(ratios(mine, theirs)), significant)


def _plain(mine: ByRound[Figure], form: str) -> str:
    return shown(median(list(mine.values())), form.format)


def as_text(table: Table) -> str:
    """For a terminal."""
    widths = [max(map(len, column)) for column in zip_longest(table.header, *table.rows, fillvalue="")]
    lines = (
        "  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in (table.header, *table.rows)
    )
    return "\n".join([table.caption, "", *lines])


def as_markdown(table: Table) -> str:
    """For a document."""
    rows = [table.header, tuple("---" for _ in table.header), *table.rows]
    return "\n".join([table.caption, "", *("| " + " | ".join(row) + " |" for row in rows)])
