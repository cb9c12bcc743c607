"""`Analysis`: a model file understood: what it says, and what a guarded trial run showed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nimify.findings import Finding
from nimify.formats.format import ModelInfo

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


@dataclass(frozen=True, slots=True)
class Analysis:
    """What is known of a model before anything is decided.

    Attributes:
        model: What the file says of itself.
        batch_axis: Whether requests may be merged.
        golden: Recorded requests and answers; empty when the model was not run.
        trial: Measurements of the trial run; `None` when the model was not run.
        findings: Of the file and of the analysis together.
    """

    model: ModelInfo
    batch_axis: BatchAxis
    golden: tuple[GoldenCase, ...] = ()
    trial: Trial | None = None
    findings: tuple[Finding, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The analysis as plain data, for `nimify analyze --json`; golden tensors are left out."""
        return {
            "model": self.model.to_dict(),
            "batch_axis": self.batch_axis.to_dict(),
            "golden": [{"name": case.name, "source": case.source} for case in self.golden],
            "trial": None
            if self.trial is None
            else {
                "load_s": round(self.trial.load_s, 4),
                "run_s": round(self.trial.run_s, 6),
                "peak_memory_bytes": self.trial.peak_memory_bytes,
            },
            "findings": [finding.to_dict() for finding in self.findings],
        }
