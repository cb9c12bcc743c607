"""What nimify promises against its peers, and whether what was measured keeps it.

A target compares one figure of nimify with that of rivals under the same load, or with ONNX Runtime in a loop. Ratios
are taken within rounds and the median counts, as everywhere in the benchmarks. Of several rivals the hardest one
decides: a peer counts with the setting that suits it best there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from benchmarks.cells import RAW, Cell
from benchmarks.exchange import Protocol
from benchmarks.figures import ByRound, Figure, median, of_loads, of_starts, preferred, ratios
from benchmarks.records import Ceiling, Load, RawMemory, Record, Start

NIMIFY: Final = "nimify"
TRITON: Final = ("triton", "triton-batched")
PYTHON_PEERS: Final[Sequence[tuple[str, ...]]] = (
    ("fastapi",),
    ("mlserver", "mlserver-batched"),
    ("litserve", "litserve-batched"),
    ("bentoml", "bentoml-batched"),
    ("kserve",),
)
_LISTS_ONLY: Final = ("bentoml", "bentoml-batched")
_MB: Final = 1e6


class Quantity(Enum):
    """What is compared."""

    THROUGHPUT = "throughput"
    CPU = "CPU per request"
    P50 = "p50"
    START = "cold start"
    MEMORY = "idle memory"

    @property
    def more_is_better(self) -> bool:
        """Whether the bound is the least there may be; otherwise it is the most."""
        return self is Quantity.THROUGHPUT

    @property
    def of_load(self) -> bool:
        """Whether it is measured under load; otherwise when a server starts."""
        return self in (Quantity.THROUGHPUT, Quantity.CPU, Quantity.P50)


@dataclass(frozen=True, slots=True)
class Target:
    """One promise.

    Attributes:
        quantity: What is compared.
        model: Behind which model.
        rivals: With whom; several settings of one peer, or `RAW`.
        bound: How many times the rival's it must be at least or may be at most.
        protocol: In which protocol, under load.
        connections: At how many connections, under load.
        extra_mb: With this, the bound is the rival's and so many megabytes more.
    """

    quantity: Quantity
    model: str
    rivals: tuple[str, ...]
    bound: float
    protocol: Protocol | None = None
    connections: int = 0
    extra_mb: float | None = None

    @property
    def limit(self) -> str:
        """The bound in words."""
        if self.extra_mb is not None:
            return f"<= +{self.extra_mb:.0f} MB"
        return f"{'>=' if self.quantity.more_is_better else '<='} {self.bound:g}x"

    def kept_by(self, value: float) -> bool:
        """Whether a measured value keeps the promise."""
        bound = self.bound if self.extra_mb is None else self.extra_mb
        return value >= bound if self.quantity.more_is_better else value <= bound

    def cells(self) -> Iterator[Cell]:
        """What must be measured under load to judge it."""
        if self.quantity.of_load:
            yield Cell(self.model, NIMIFY, self.protocol, self.connections)
            for rival in self.rivals:
                yield Cell(self.model, rival, self.protocol_of(rival), self.connections)

    def protocol_of(self, rival: str) -> Protocol | None:
        """How a rival is asked the same."""
        if rival == RAW:
            return None
        return Protocol.LISTS if rival in _LISTS_ONLY and self.protocol is Protocol.JSON else self.protocol


def _all_targets() -> Iterator[Target]:
    tiny, crowds = "tiny", (8, 64)
    for protocol in (Protocol.JSON, Protocol.BINARY):
        for connections in crowds:
            yield Target(Quantity.THROUGHPUT, tiny, TRITON, 2.0, protocol, connections)
            yield Target(Quantity.CPU, tiny, TRITON, 0.5, protocol, connections)
        yield Target(Quantity.P50, tiny, ("triton",), 1.0, protocol, 1)
    for connections in (1, *crowds):
        yield Target(Quantity.THROUGHPUT, tiny, ("triton",), 1.0, Protocol.GRPC, connections)
    yield Target(Quantity.THROUGHPUT, tiny, ("triton-batched",), 1.0, Protocol.GRPC, 64)
    yield Target(Quantity.P50, "image", TRITON, 0.7, Protocol.JSON, 1)
    for model in ("image", "text"):
        for protocol in (Protocol.BINARY, Protocol.GRPC):
            for connections in crowds:
                yield Target(Quantity.THROUGHPUT, model, (RAW,), 0.95, protocol, connections)
    for rivals in PYTHON_PEERS:
        for connections in crowds:
            yield Target(Quantity.THROUGHPUT, tiny, rivals, 5.0, Protocol.JSON, connections)
    yield Target(Quantity.START, tiny, TRITON, 0.4)
    yield Target(Quantity.START, tiny, ("fastapi",), 0.6)
    yield Target(Quantity.MEMORY, tiny, TRITON, 1.0)
    yield Target(Quantity.MEMORY, "text", (RAW,), 1.0, extra_mb=60)


TARGETS: Final = tuple(_all_targets())
"""All of them."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was measured of a target.

    Attributes:
        target: Which one.
        rival: The rival that decided.
        measured: The median: a ratio, or megabytes more than the rival.
        rounds: The values that it is the median of, in ascending order.
    """

    target: Target
    rival: str
    measured: Figure
    rounds: tuple[float, ...]

    @property
    def met(self) -> bool:
        """Whether the promise is kept."""
        return self.target.kept_by(self.measured.value)


def judge(target: Target, records: Sequence[Record]) -> Verdict | None:
    """Judge a target by what was measured; none when its figures are not all there for any rival."""
    verdicts = [verdict for rival in target.rivals if (verdict := _against(target, rival, records))]
    if not verdicts:
        return None
    if target.quantity is Quantity.CPU:
        # The setting with the most throughput is the one that its users would choose.
        return max(verdicts, key=lambda verdict: _throughput(target, verdict.rival, records))
    hardest = min if target.quantity.more_is_better else max
    return hardest(verdicts, key=lambda verdict: verdict.measured.value)


def _against(target: Target, rival: str, records: Sequence[Record]) -> Verdict | None:
    mine = _figures(target, NIMIFY, target.protocol, records)
    theirs = _figures(target, rival, target.protocol_of(rival), records)
    compared = ratios(mine, theirs) if target.extra_mb is None else _megabytes_more(mine, theirs)
    measured = median(compared)
    if measured is None:
        return None
    return Verdict(target, rival, measured, tuple(sorted(figure.value for figure in preferred(compared))))


def _megabytes_more(mine: ByRound[Figure], theirs: ByRound[Figure]) -> list[Figure]:
    # Memory does not depend on how busy the machine is.
    return [Figure((mine[number].value - theirs[number].value) / _MB, False) for number in mine if number in theirs]


def _throughput(target: Target, rival: str, records: Sequence[Record]) -> float:
    loads = _loads(target, rival, target.protocol_of(rival), records)
    figure = median(list(of_loads(loads, lambda load: load.result.requests_per_s).values()))
    return figure.value if figure else 0.0


def _figures(target: Target, contestant: str, protocol: Protocol | None, records: Sequence[Record]) -> ByRound[Figure]:
    if contestant == RAW:
        return _raw_figures(target, records)
    if target.quantity.of_load:
        return of_loads(_loads(target, contestant, protocol, records), _OF_LOAD[target.quantity])
    starts = {
        record.round: record
        for record in records
        if isinstance(record, Start) and (record.model, record.contestant) == (target.model, contestant)
    }
    if target.quantity is Quantity.START:
        return of_starts(starts, lambda start: start.cold_start_s)
    return {number: Figure(start.idle_bytes, False) for number, start in starts.items()}


def _loads(target: Target, contestant: str, protocol: Protocol | None, records: Sequence[Record]) -> ByRound[Load]:
    wanted = (target.model, contestant, protocol, target.connections)
    return {
        record.round: record
        for record in records
        if isinstance(record, Load) and (record.model, record.contestant, record.protocol, record.connections) == wanted
    }


def _raw_figures(target: Target, records: Sequence[Record]) -> ByRound[Figure]:
    figures: dict[int, Figure] = {}
    for record in records:
        if target.quantity is Quantity.MEMORY and isinstance(record, RawMemory) and record.model == target.model:
            figures[record.round] = Figure(record.resident_bytes, False)
        if target.quantity is Quantity.THROUGHPUT and isinstance(record, Ceiling):
            figures |= _single_rows(target, record)
    return figures


def _single_rows(target: Target, ceiling: Ceiling) -> ByRound[Figure]:
    """The loop's rows per second one at a time: what a server adds to is each request by itself."""
    if (ceiling.model, ceiling.connections) != (target.model, target.connections):
        return {}
    return {ceiling.round: Figure(ceiling.single_rows_per_s, ceiling.noisy)}


_OF_LOAD: Final[Mapping[Quantity, Callable[[Load], float]]] = {
    Quantity.THROUGHPUT: lambda load: load.result.requests_per_s,
    Quantity.CPU: lambda load: load.result.cpu_us,
    Quantity.P50: lambda load: load.result.p50_ms,
}
