"""Estimated against measured memory over the zoo: `make bench-estimates`, or `python -m benchmarks.estimates`.

Status 0: the estimates keep their promise (median error at most 10 %, worst at most 25 %, never more than 10 % under
the truth); 1: they do not.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import onnxruntime as ort
from benchmarks.machine import facts
from benchmarks.memory_probe import REPEATS, measure
from benchmarks.model_zoo import BATCH_AXIS, ZOO, ZooModel

from nimify.analysis.graph import InferredGraph
from nimify.analysis.memory import MemoryEstimate, estimate_memory
from nimify.analysis.structure import infer_in_process

RESULTS: Final = Path(__file__).parent / "results" / "estimates.jsonl"
BATCHES: Final = (1, 8)
MEDIAN_LIMIT, WORST_LIMIT, UNDER_LIMIT = 0.10, 0.25, 0.10
_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Row:
    """One model at one batch; bytes beyond those of a one-node model."""

    model: str
    family: str
    batch: int
    held_out: bool
    weights_bytes: int
    estimated_bytes: int
    measured_bytes: int

    @property
    def error(self) -> float:
        """Relative; below zero where the estimate is too low."""
        return self.estimated_bytes / self.measured_bytes - 1


@dataclass(frozen=True, slots=True)
class Summary:
    """What the errors come to."""

    rows: int
    median: float
    worst: float
    worst_under: float

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Summary:
        """From the rows of a table."""
        errors = [row.error for row in rows]
        sizes = [abs(error) for error in errors]
        return cls(len(rows), statistics.median(sizes), max(sizes), max(0.0, *(-error for error in errors)))

    @property
    def kept(self) -> bool:
        """Whether the promise is kept."""
        return self.median <= MEDIAN_LIMIT and self.worst <= WORST_LIMIT and self.worst_under <= UNDER_LIMIT


def estimated(model: ZooModel, batch: int) -> MemoryEstimate:
    """The estimate for a model of the zoo."""
    (graph,) = infer_in_process(model.ensure(), {**model.free, BATCH_AXIS: batch})
    return estimate_memory(graph, weights_bytes=stored_bytes(graph), file_bytes=model.path.stat().st_size)


def stored_bytes(graph: InferredGraph) -> dict[str, int]:
    """Bytes of the weights of a graph and its bodies, by element type."""
    totals: dict[str, int] = {}
    for value in graph.values.values():
        if value.stored:
            totals[value.element_type] = totals.get(value.element_type, 0) + (value.size_bytes or 0)
    for node in graph.nodes:
        for body in node.subgraphs.values():
            for kind, size in stored_bytes(body).items():
                totals[kind] = totals.get(kind, 0) + size
    return totals


def compare(model: ZooModel, batch: int, *, threads: int, repeats: int) -> Row:
    """Estimate and measure."""
    estimate = estimated(model, batch)
    measured = measure(model, batch, threads=threads, repeats=repeats)
    return Row(
        model.name, model.family, batch, not model.calibrates, estimate.weights_bytes, estimate.total_bytes, measured
    )


def line(row: Row) -> str:
    """A row of the table, in MiB."""
    sizes = (f"{size / _MIB:9.1f}" for size in (row.weights_bytes, row.estimated_bytes, row.measured_bytes))
    mark = "held out" if row.held_out else ""
    return f"{row.model:20} {row.family:12} {row.batch:3} {' '.join(sizes)} {100 * row.error:+7.1f} %  {mark}".rstrip()


def verdict(title: str, rows: Sequence[Row]) -> str:
    """The last lines of the table."""
    summary = Summary.of(rows)
    figures = f"median {summary.median:.1%}, worst {summary.worst:.1%}, most under the truth {summary.worst_under:.1%}"
    return f"{title} ({summary.rows} rows): {figures}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and write its rows as lines of JSON."""
    options = _parser().parse_args(arguments)
    models = [ZOO[name] for name in options.models or ZOO]
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    print(f"{'model':20} {'family':12} {'N':>3} {'weights':>9} {'estimate':>9} {'measured':>9} {'error':>9}   (MiB)")
    rows = []
    with RESULTS.open("w") as stream:
        head = {"kind": "facts", **facts(), "onnxruntime": ort.__version__, "threads": options.threads}
        print(json.dumps(head), file=stream)
        for model in models:
            for batch in options.batches:
                row = compare(model, batch, threads=options.threads, repeats=options.repeats)
                rows.append(row)
                print(line(row), flush=True)
                print(json.dumps({"kind": "estimate", **asdict(row), "error": row.error}), file=stream, flush=True)
    print(verdict("all", rows))
    if held_out := [row for row in rows if row.held_out]:
        print(verdict("held out", held_out))
    return 0 if Summary.of(rows).kept else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.estimates", description=__doc__)
    parser.add_argument("--models", nargs="+", choices=tuple(ZOO), help="only these")
    parser.add_argument("--batches", nargs="+", type=int, default=BATCHES)
    parser.add_argument("--threads", type=int, default=1, help="threads inside the engine")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="processes for each figure")
    return parser


if __name__ == "__main__":
    sys.exit(main())
