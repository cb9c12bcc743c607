"""What a benchmark run measures, one record for each measurement, and the file that keeps them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.exchange import Protocol
from benchmarks.load import LoadResult


@dataclass(frozen=True, slots=True)
class Ceiling:
    """ONNX Runtime in a loop, right before the servers of the same step.

    Attributes:
        single_rows_per_s: Rows per second, one at a time.
        merged_rows_per_s: Rows per second in full batches.
        noisy: Whether unrelated work may have slowed it.
    """

    model: str
    round: int
    connections: int
    single_rows_per_s: float
    merged_rows_per_s: float
    noisy: bool


@dataclass(frozen=True, slots=True)
class Start:
    """One start of a server."""

    model: str
    round: int
    contestant: str
    cold_start_s: float
    idle_bytes: int
    noisy: bool


@dataclass(frozen=True, slots=True)
class RawMemory:
    """Resident memory of a process that has ONNX Runtime, the model and nothing else."""

    model: str
    round: int
    resident_bytes: int


@dataclass(frozen=True, slots=True)
class Load:
    """One server under load; one row in each request."""

    model: str
    round: int
    connections: int
    contestant: str
    protocol: Protocol
    result: LoadResult


@dataclass(frozen=True, slots=True)
class Failure:
    """A server that could not be measured to the end of a round, and why."""

    model: str
    round: int
    contestant: str
    reason: str


Record: TypeAlias = Ceiling | Start | RawMemory | Load | Failure


@dataclass(slots=True)
class Recorder:
    """Keeps records, and writes each to a file at once, so that an interrupted run leaves what it has measured.

    Attributes:
        path: A file of JSON lines; the first one says what was run and where.
        records: All of them so far.
    """

    path: Path
    records: list[Record] = field(default_factory=list)

    def begin(self, facts: Mapping[str, Any]) -> None:
        """Start the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps({"kind": "facts", **facts}) + "\n")

    def add(self, record: Record) -> None:
        """Keep a record."""
        self.records.append(record)
        line = {"kind": type(record).__name__.lower(), **asdict(record)}
        with self.path.open("a") as stream:
            stream.write(json.dumps(line) + "\n")
