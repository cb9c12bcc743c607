"""`Analysis`: a model file understood: what it says, what a guarded trial run showed, and what is estimated of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from nimify.findings import Finding
from nimify.formats.format import ModelInfo

if TYPE_CHECKING:
    from nimify.analysis.compute.cost import Compute
    from nimify.analysis.gpu_choice import GpuChoice
    from nimify.analysis.hints import Hint
    from nimify.analysis.measure import Measurement
    from nimify.analysis.memory import GpuMemoryEstimate
    from nimify.analysis.outlook import MemoryFigure, MemoryOutlook, Structure
    from nimify.analysis.roofline import Roofline
    from nimify.analysis.tensorrt import TensorRTReport
    from nimify.analysis.versions import VersionReport

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class BatchAxis:
    """Whether requests may be merged along the first axis.

    Attributes:
        supported: Every input and output has a free first axis, and a trial showed that rows do not influence
            each other.
        reason: One sentence that says why, or why not.
        basis: `declared` when the shapes alone decided, `measured` when a trial run did.
    """

    supported: bool
    reason: str
    basis: str

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {"supported": self.supported, "reason": self.reason, "basis": self.basis}


@dataclass(frozen=True, slots=True)
class GoldenCase:
    """A recorded request and its answer, in the model's own signature.

    Attributes:
        name: `batch-1`, `batch-3`, or `sample`.
        source: Where the inputs come from: `seed 0`, or the sample file's name.
        inputs: One array per input, of the datatype's storage.
        outputs: One array per output.
    """

    name: str
    source: str
    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Trial:
    """What the guarded trial run measured. Machine-dependent: never part of a bundle's bytes.

    Attributes:
        load_s: Seconds to load the model.
        run_s: Seconds of one run at batch 1, after warm-up.
        peak_memory_bytes: Peak resident memory of the child process.
    """

    load_s: float
    run_s: float
    peak_memory_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """As plain data, without digits that mean nothing."""
        return {
            "load_s": round(self.load_s, 4),
            "run_s": round(self.run_s, 6),
            "peak_memory_bytes": self.peak_memory_bytes,
        }


@dataclass(frozen=True, slots=True)
class Analysis:
    """What is known of a model before anything is decided.

    Every part that is estimated is `None` when it could not be; a finding then says why.

    Attributes:
        model: What the file says of itself.
        batch_axis: Whether requests may be merged.
        golden: Recorded requests and answers; empty when the model was not run.
        trial: Measurements of the trial run; `None` when the model was not run.
        rows: The batch size beside 1 for which things are estimated.
        structure: What inference made of the graph.
        memory: Memory of the embedded engine.
        gpu_memory: Memory on a GPU, at `rows`.
        compute: What one item costs.
        rooflines: Latency and throughput by the limits of hardware; an estimate.
        tensorrt: What TensorRT makes of the model.
        versions: Which runtimes load it.
        gpus: Which GPUs hold it.
        hints: What would make it better.
        random_operators: Those that make its answers random; empty when equal requests get equal answers.
        measured: A sweep over batch sizes on this machine, when that was asked for.
        findings: Of the file and of the analysis together.
        surroundings: Findings about this machine and the folder that the model lies in; never part of a bundle.
    """

    model: ModelInfo
    batch_axis: BatchAxis
    golden: tuple[GoldenCase, ...] = ()
    trial: Trial | None = None
    rows: int = 1
    structure: Structure | None = None
    memory: MemoryOutlook | None = None
    gpu_memory: GpuMemoryEstimate | None = None
    compute: Compute | None = None
    rooflines: tuple[Roofline, ...] = ()
    tensorrt: TensorRTReport | None = None
    versions: VersionReport | None = None
    gpus: GpuChoice | None = None
    hints: tuple[Hint, ...] = ()
    random_operators: tuple[str, ...] = ()
    measured: Measurement | None = None
    findings: tuple[Finding, ...] = ()
    surroundings: tuple[Finding, ...] = ()

    @property
    def flops_per_item(self) -> int | None:
        """Floating point operations of one item; `None` when they are not known."""
        return None if self.compute is None else self.compute.total_flops

    @property
    def all_findings(self) -> tuple[Finding, ...]:
        """Everything that a person should know, hints left out."""
        return (*self.findings, *self.surroundings)

    def memory_at(self, batch: int) -> MemoryFigure | None:
        """What a process that serves the model takes at a batch size: measured where it was, otherwise estimated."""
        from nimify.analysis.outlook import measured_figure

        measured = None if self.measured is None else measured_figure(self.measured, batch)
        if measured is not None:
            return measured
        return None if self.memory is None else self.memory.at(batch)

    def to_dict(self) -> dict[str, Any]:
        """The analysis as plain data, for `nimify analyze --json`; golden tensors are left out."""
        return {
            "model": self.model.to_dict(),
            "batch_axis": self.batch_axis.to_dict(),
            "golden": [{"name": case.name, "source": case.source} for case in self.golden],
            "trial": _data(self.trial),
            "rows": self.rows,
            "structure": _data(self.structure),
            "memory": _data(self.memory),
            "gpu_memory": _data(self.gpu_memory),
            "compute": _data(self.compute),
            "rooflines": [roofline.to_dict() for roofline in self.rooflines],
            "tensorrt": _data(self.tensorrt),
            "versions": _data(self.versions),
            "gpus": _data(self.gpus),
            "hints": [hint.to_dict() for hint in self.hints],
            "random_operators": list(self.random_operators),
            "measured": _data(self.measured),
            "findings": [finding.to_dict() for finding in self.all_findings],
        }


class _Part(Protocol):
    def to_dict(self) -> dict[str, Any]: ...


def _data(part: _Part | None) -> dict[str, Any] | None:
    return None if part is None else part.to_dict()
