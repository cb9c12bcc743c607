"""Measures a model on this machine over a sweep of batch sizes, in a guarded child process.

What comes out depends on the machine. It enters a plan only when it was asked for, and the plan then says so.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from nimify import plugins
from nimify.analysis.cpu_ceilings import cpu_model
from nimify.analysis.guarded import GuardLimits, run_guarded
from nimify.analysis.tensor_files import write_tensors
from nimify.analysis.versions import installed_runtime
from nimify.errors import ModelError, one_line
from nimify.formats.format import ModelInfo
from nimify.serving.cpus import available_cpus

Array = np.ndarray[Any, Any]

BUDGET_S: Final = 15.0
"""For all batch sizes together; loading comes on top."""

# -P: the folder in which the child works must not be searched for modules.
_COMMAND: Final = (sys.executable, "-P", "-m", "nimify.analysis.sweep")


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """What was measured at one batch size.

    Attributes:
        batch: Rows in one run; 0 for a model that takes no batches.
        runs: How many runs were timed, after warm-up.
        p50_s: Median seconds of a run.
        p99_s: Seconds under which 99 % of the runs stayed.
        rows_per_s: Rows in a second, one run after the other.
        peak_memory_bytes: Most resident memory of the process up to here, the interpreter and engine included.
    """

    batch: int
    runs: int
    p50_s: float
    p99_s: float
    rows_per_s: float
    peak_memory_bytes: int

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SweepPoint:
        """From what the child wrote.

        Raises:
            KeyError, TypeError, ValueError: It makes no sense.
        """
        return cls(
            int(data["batch"]),
            int(data["runs"]),
            float(data["p50_s"]),
            float(data["p99_s"]),
            float(data["rows_per_s"]),
            int(data["peak_memory_bytes"]),
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain data, without digits that mean nothing."""
        return asdict(self) | {
            "p50_s": round(self.p50_s, 6),
            "p99_s": round(self.p99_s, 6),
            "rows_per_s": round(self.rows_per_s, 2),
        }


@dataclass(frozen=True, slots=True)
class Measurement:
    """A model measured on this machine.

    Attributes:
        load_s: Seconds to load the model.
        base_memory_bytes: Resident memory of the process before it loaded the model.
        peak_memory_bytes: Most resident memory of the process in all.
        threads: Threads inside the engine.
        shapes: The shapes of the inputs at the first batch size.
        points: By batch size, growing; never empty.
        stopped: Why the sweep ended before its last batch size; empty when it did not.
        machine: The processor that it was measured on.
        runtime: Version of ONNX Runtime that it was measured with; empty when there is none.
    """

    load_s: float
    base_memory_bytes: int
    peak_memory_bytes: int
    threads: int
    shapes: Mapping[str, tuple[int, ...]]
    points: tuple[SweepPoint, ...]
    stopped: str = ""
    machine: str = ""
    runtime: str = ""

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Measurement:
        """From what `to_dict` gave.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: It makes no sense.
        """
        points = tuple(SweepPoint.from_dict(point) for point in data["points"])
        if not points:
            raise ValueError("nothing was measured")
        return cls(
            load_s=float(data["load_s"]),
            base_memory_bytes=int(data["base_memory_bytes"]),
            peak_memory_bytes=int(data["peak_memory_bytes"]),
            threads=int(data["threads"]),
            shapes={str(name): tuple(int(dim) for dim in shape) for name, shape in data["shapes"].items()},
            points=points,
            stopped=str(data["stopped"]),
            machine=str(data["machine"]),
            runtime=str(data["runtime"]),
        )

    @property
    def model_memory_bytes(self) -> int:
        """What the model took on top of an engine that has none."""
        return max(self.peak_memory_bytes - self.base_memory_bytes, 0)

    @property
    def best(self) -> SweepPoint:
        """The smallest batch size whose throughput is within 10 % of the highest."""
        highest = max(point.rows_per_s for point in self.points)
        return next(point for point in self.points if point.rows_per_s >= 0.9 * highest)

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "basis": "measured",
            "load_s": round(self.load_s, 4),
            "base_memory_bytes": self.base_memory_bytes,
            "model_memory_bytes": self.model_memory_bytes,
            "peak_memory_bytes": self.peak_memory_bytes,
            "threads": self.threads,
            "shapes": {name: list(shape) for name, shape in self.shapes.items()},
            "points": [point.to_dict() for point in self.points],
            "stopped": self.stopped,
            "machine": self.machine,
            "runtime": self.runtime,
        }


@dataclass(frozen=True, slots=True)
class SweepJob:
    """A measurement that is to be done.

    Attributes:
        model: The model, read and checked.
        source: Its name as the user gave it, for messages.
        engine: Name of the engine, an entry point of `nimify.engines`.
        inputs: One request that the model is known to take.
        lengths: By input, the shape that is to be measured: free axes as long as they will be in use. Inputs are
            repeated along them; when the model refuses that, it is measured with `inputs` as they are.
        largest: Most rows in one run; 0 for a model that takes no batches.
        threads: Threads inside the engine; 0 for as many as this process may use.
        budget_s: For all batch sizes together; `BUDGET_S` when left out.
    """

    model: ModelInfo
    source: str
    engine: str
    inputs: Mapping[str, Array]
    largest: int
    lengths: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    threads: int = 0
    budget_s: float | None = None

    def run(self, limits: GuardLimits | None = None) -> Measurement:
        """Carry it out.

        Raises:
            ModelError: The engine cannot load or run the model, or the child broke a limit or crashed.
            PluginError: There is no such engine.
            EnvironmentProblem: The child process could not be started.
        """
        plugins.find(plugins.ENGINES, self.engine)
        threads = self.threads or available_cpus()
        with tempfile.TemporaryDirectory(prefix="nimify-sweep-") as name:
            folder = Path(name)
            job = self._description(folder, threads)
            result = run_guarded(
                _COMMAND,
                job,
                folder=folder,
                source=self.source,
                limits=limits or self._limits(threads),
                activity="its measurement",
            )
        try:
            if not result["points"]:
                raise ModelError(self.source, f"it could not be measured. {result['stopped']}")
            # Rounded as it will be written, so that a plan made from what was written is the same.
            return Measurement.from_dict(_measurement(result, threads).to_dict())
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ModelError(self.source, "its measurement ended with a result that makes no sense.") from None

    @property
    def _budget_s(self) -> float:
        return BUDGET_S if self.budget_s is None else self.budget_s

    def _description(self, folder: Path, threads: int) -> dict[str, Any]:
        return {
            "model_file": str(self.model.path),
            "engine": self.engine,
            "signature": self.model.signature.to_dict(),
            "inputs": write_tensors(folder, "input", self.inputs),
            "lengths": {name: list(shape) for name, shape in self.lengths.items()},
            "batches": batch_sizes(self.largest),
            "threads": threads,
            "budget_s": self._budget_s,
        }

    def _limits(self, threads: int) -> GuardLimits:
        """As for a trial run, with processor time for every thread and memory for the largest batch."""
        one = GuardLimits.for_model(self.model.size_bytes)
        inputs = sum(array.nbytes for array in self.inputs.values()) * max(self.largest, 1)
        return GuardLimits(
            memory_bytes=2 * one.memory_bytes + 4 * inputs,
            wall_s=one.wall_s + int(4 * self._budget_s),
            cpu_s=(one.wall_s + int(4 * self._budget_s)) * threads,
        )


def batch_sizes(largest: int) -> list[int]:
    """1, 2, 4 and so on, and the largest itself."""
    sizes = [1 << power for power in range(largest.bit_length()) if 1 << power < largest]
    return [*sizes, largest]


def _measurement(result: Mapping[str, Any], threads: int) -> Measurement:
    return Measurement.from_dict(
        {**result, "threads": threads, "machine": one_line(cpu_model()), "runtime": installed_runtime()}
    )
