"""What is known of a model's structure and memory, in the form in which plans and pages use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from nimify.analysis.graph import Gap, InferredGraph
from nimify.analysis.measure import Measurement
from nimify.analysis.memory import ENGINE_BYTES, MemoryEstimate

_SHOWN_GAPS: Final = 100


@dataclass(frozen=True, slots=True)
class Structure:
    """What inference made of the graph.

    Attributes:
        nodes: Nodes of the main graph.
        tensors: Values of the main graph, weights left out.
        known: How many of these have a shape and a type.
        binding: What the free axes were set to.
        gaps: Where inference stopped.
    """

    nodes: int
    tensors: int
    known: int
    binding: Mapping[str, int]
    gaps: tuple[Gap, ...]

    @classmethod
    def of(cls, graph: InferredGraph) -> Structure:
        """Counted in a graph."""
        flowing = [value for value in graph.values.values() if not value.stored]
        known = sum(value.size_bytes is not None for value in flowing)
        return cls(len(graph.nodes), len(flowing), known, dict(graph.binding), graph.gaps)

    def to_dict(self) -> dict[str, Any]:
        """As plain data; of very many gaps only the first are listed."""
        return {
            "nodes": self.nodes,
            "tensors": self.tensors,
            "known": self.known,
            "binding": dict(self.binding),
            "gap_count": len(self.gaps),
            "gaps": [
                {"node": gap.node, "operator": gap.operator, "reason": gap.reason} for gap in self.gaps[:_SHOWN_GAPS]
            ],
        }


@dataclass(frozen=True, slots=True)
class MemoryFigure:
    """What a process that serves the model takes at one batch size.

    Attributes:
        batch: Rows in one run.
        base_bytes: The process without the model.
        model_bytes: What the model adds to it, as far as known.
        model_high_bytes: What it adds at most, by the error band.
        measured: Whether this was measured, rather than estimated.
    """

    batch: int
    base_bytes: int
    model_bytes: int
    model_high_bytes: int
    measured: bool = False

    @property
    def total_bytes(self) -> int:
        """The process with the model."""
        return self.base_bytes + self.model_bytes


@dataclass(frozen=True, slots=True)
class MemoryOutlook:
    """Memory as a function of the batch size, from the estimates for one row and for many.

    Attributes:
        one: At batch 1.
        many: At a batch of `rows`.
        rows: How many rows that is; 1 when the model takes no batches.
    """

    one: MemoryEstimate
    many: MemoryEstimate
    rows: int

    def at(self, batch: int) -> MemoryFigure:
        """What a batch size takes.

        Between the two estimates this is the straight line, on the safe side as a rule: the peak is the largest of
        sums that each grow in a straight line. Beyond them the line goes on.
        """
        low, high = self.one.total_bytes, self.many.total_bytes
        slope = (high - low) / (self.rows - 1) if self.rows > 1 else 0.0
        model = int(low + slope * (batch - 1))
        band = 1 + max(self.one.error_band, self.many.error_band)
        return MemoryFigure(batch, ENGINE_BYTES, model, int(model * band))

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "basis": "estimated",
            "engine_bytes": ENGINE_BYTES,
            "by_batch": {str(batch): _estimate(estimate) for batch, estimate in self._estimates().items()},
        }

    def _estimates(self) -> dict[int, MemoryEstimate]:
        return {1: self.one, self.rows: self.many}


def _estimate(estimate: MemoryEstimate) -> dict[str, Any]:
    """One estimate; its error band as bytes as well."""
    band = estimate.error_band
    return estimate.to_dict() | {
        "low_bytes": int(estimate.total_bytes * (1 - band)),
        "high_bytes": int(estimate.total_bytes * (1 + band)),
    }


def measured_figure(measured: Measurement, batch: int) -> MemoryFigure | None:
    """What was measured at a batch size or the next larger one; `None` beyond what was measured."""
    point = next((point for point in measured.points if max(point.batch, 1) >= batch), None)
    if point is None:
        return None
    model = max(point.peak_memory_bytes - measured.base_memory_bytes, 0)
    return MemoryFigure(batch, measured.base_memory_bytes, model, model, measured=True)
