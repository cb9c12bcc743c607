"""The tables of `make bench-peers`: what each server did beside nimify, and which targets are met."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from benchmarks.cells import RAW
from benchmarks.exchange import Protocol
from benchmarks.figures import (
    MISSING,
    NOISE_MARK,
    ByRound,
    Figure,
    median,
    of_loads,
    of_starts,
    ratios,
    shown,
    significant,
)
from benchmarks.records import Ceiling, Load, Record, Start
from benchmarks.report import Table
from benchmarks.targets import NIMIFY, TARGETS, Target, Verdict, judge

Key = tuple[str, int, Protocol]
_MB: Final = 1e6


def tables(records: Sequence[Record]) -> list[Table]:
    """Loads and starts, where there are any."""
    return [table for table in (_loads(records), _starts(records)) if table.rows]


def judged(records: Sequence[Record], targets: Sequence[Target] = TARGETS) -> list[tuple[Target, Verdict | None]]:
    """Every target and what was measured of it."""
    return [(target, judge(target, records)) for target in targets]


def scorecard(judgements: Iterable[tuple[Target, Verdict | None]]) -> Table:
    """A row for each target."""
    header = ("model", "protocol", "conns", "nimify's", "against", "target", "measured", "rounds", "verdict")
    return Table("Targets.", header, [_score(target, verdict) for target, verdict in judgements])


def _score(target: Target, verdict: Verdict | None) -> tuple[str, ...]:
    protocol, connections = target.protocol or MISSING, str(target.connections or MISSING)
    place = (target.model, protocol, connections, target.quantity.value)
    if verdict is None:
        return (*place, target.rivals[0], target.limit, MISSING, MISSING, "not measured")
    show = _with_sign if target.extra_mb is not None else significant
    spread = f"{show(verdict.rounds[0])} to {show(verdict.rounds[-1])}"
    noise = f" {NOISE_MARK}" if verdict.measured.noisy else ""
    word = ("met" if verdict.met else "missed") + noise
    return (*place, verdict.rival, target.limit, show(verdict.measured.value), spread, word)


def _with_sign(megabytes: float) -> str:
    return f"{megabytes:+.0f} MB"


def _loads(records: Sequence[Record]) -> Table:
    steps: dict[Key, dict[str, dict[int, Load]]] = {}
    for record in records:
        if isinstance(record, Load):
            protocol = Protocol.JSON if record.protocol is Protocol.LISTS else record.protocol
            step = steps.setdefault((record.model, record.connections, protocol), {})
            step.setdefault(record.contestant, {})[record.round] = record
    rows = []
    order = list(dict.fromkeys(model for model, _, _ in steps))
    for key in sorted(steps, key=lambda key: (order.index(key[0]), list(Protocol).index(key[2]), key[1])):
        rows += _step(key, steps[key], records)
    caption = (
        "Under load, one row a request. Ratios: nimify's by that server's; of throughput more is better, "
        "of p50, p99 and CPU time less."
    )
    header = ("model", "protocol", "conns", "server", "throughput", "p50", "p99", "CPU")
    return Table(caption, (*header, "req/s here", "p50 ms here", "p99 ms here", "CPU us here"), rows)


def _step(key: Key, cells: dict[str, dict[int, Load]], records: Sequence[Record]) -> list[tuple[str, ...]]:
    model, connections, protocol = key
    place = (model, protocol, str(connections))
    mine = cells.get(NIMIFY, {})
    rows = []
    for contestant, loads in cells.items():
        ratio, plain = [], []
        for select, form in _FIGURES:
            theirs = of_loads(loads, select)
            ratio.append(MISSING if contestant == NIMIFY else _ratio(of_loads(mine, select), theirs))
            plain.append(shown(median(list(theirs.values())), form.format))
        rows.append((*place, contestant, *ratio, *plain))
    for name, theirs in _ceilings(model, connections, records):
        rate = _ratio(of_loads(mine, _FIGURES[0][0]), theirs)
        plain = [shown(median(list(theirs.values())), "{:,.0f}".format), MISSING, MISSING, MISSING]
        rows.append((*place, name, rate, MISSING, MISSING, MISSING, *plain))
    return rows


def _ceilings(model: str, connections: int, records: Iterable[Record]) -> list[tuple[str, ByRound[Figure]]]:
    found = [
        record
        for record in records
        if isinstance(record, Ceiling) and (record.model, record.connections) == (model, connections)
    ]
    if not found:
        return []
    return [
        (f"{RAW}, single rows", {one.round: Figure(one.single_rows_per_s, one.noisy) for one in found}),
        (f"{RAW}, full batches", {one.round: Figure(one.merged_rows_per_s, one.noisy) for one in found}),
    ]


def _starts(records: Iterable[Record]) -> Table:
    models: dict[str, dict[str, dict[int, Start]]] = {}
    for record in records:
        if isinstance(record, Start):
            models.setdefault(record.model, {}).setdefault(record.contestant, {})[record.round] = record
    rows = []
    for model, cells in models.items():
        for contestant, starts in cells.items():
            ratio, plain = [], []
            for select, form in _START_FIGURES:
                theirs = of_starts(starts, select)
                mine = of_starts(cells.get(NIMIFY, {}), select)
                ratio.append(MISSING if contestant == NIMIFY else _ratio(mine, theirs))
                plain.append(shown(median(list(theirs.values())), form.format))
            rows.append((model, contestant, *ratio, *plain))
    caption = (
        "Cold start (process start to first right answer) and idle memory of all processes. "
        "Ratios: nimify's by that server's; less is better."
    )
    return Table(caption, ("model", "server", "start", "memory", "start s here", "MB here"), rows)


def _ratio(mine: ByRound[Figure], theirs: ByRound[Figure]) -> str:
    return shown(median(ratios(mine, theirs)), significant)


_FIGURES: Final[Sequence[tuple[Callable[[Load], float], str]]] = (
    (lambda load: load.result.requests_per_s, "{:,.0f}"),
    (lambda load: load.result.p50_ms, "{:,.2f}"),
    (lambda load: load.result.p99_ms, "{:,.2f}"),
    (lambda load: load.result.cpu_us, "{:,.0f}"),
)
_START_FIGURES: Final[Sequence[tuple[Callable[[Start], float], str]]] = (
    (lambda start: start.cold_start_s, "{:.2f}"),
    (lambda start: start.idle_bytes / _MB, "{:.0f}"),
)
