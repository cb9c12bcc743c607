"""The batch sweep: loads a model and times it at batch 1, 2, 4 and so on. Runs as a child process of its own.

    python -m nimify.analysis.sweep < job.json

`SweepJob.run` in nimify/analysis/measure.py starts it under limits; nimify/analysis/guarded.py has the rules.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from nimify import plugins
from nimify.analysis.child import run_as_child
from nimify.analysis.resident import peak_resident_bytes, resident_bytes
from nimify.analysis.tensor_files import read_tensors
from nimify.serving.engines.engine import Engine, EngineRefused
from nimify.tensors import Signature

Array = np.ndarray[Any, Any]

_WARM_UP_RUNS: Final = 2
"""The first run of a shape allocates what the later ones find."""
_LEAST_RUNS: Final = 5
_MOST_RUNS: Final = 1000
_LEAST_SHARE: Final = 0.05
"""Of the whole time, for one batch size: the small ones leave what they do not need to the larger ones."""


class Sweep:
    """Times a loaded model at growing batch sizes, within a bounded time.

    Args:
        engine: The loaded model.
        inputs: One request that the model takes; its first row is repeated where there are batches.
        outputs: Names of the outputs.
        budget_s: For everything together; a run that has begun is not interrupted.

    Attributes:
        points: What was measured, as plain data, in the order of the batch sizes.
        stopped: Why the sweep ended early; empty when it did not.
    """

    def __init__(self, engine: Engine, inputs: Mapping[str, Array], outputs: Sequence[str], budget_s: float) -> None:
        self.points: list[dict[str, Any]] = []
        self.stopped = ""
        self._engine = engine
        self._inputs = inputs
        self._outputs = outputs
        self._deadline = time.perf_counter() + budget_s

    def carry_out(self, batches: Sequence[int]) -> None:
        """Measure each batch size in turn, as long as there is time and the model takes it."""
        for position, batch in enumerate(batches):
            left_s = self._deadline - time.perf_counter()
            if self.points and left_s <= self._least_s(batch):
                self.stopped = f"There was no time left for a batch of {batch}."
                return
            try:
                self.points.append(self._point(batch, left_s / (len(batches) - position)))
            except EngineRefused:
                self.stopped = f"The model did not run at a batch of {batch}."
                return
            except MemoryError:
                self.stopped = f"There was not enough memory for a batch of {batch}."
                return

    def _least_s(self, batch: int) -> float:
        """What a batch will take at least, going by the last one: no batch is quicker than a smaller one."""
        last = self.points[-1]
        slower = batch / max(int(last["batch"]), 1)
        return float(last["p50_s"]) * min(slower, 2.0) * (_WARM_UP_RUNS + 1)

    def _point(self, batch: int, share_s: float) -> dict[str, Any]:
        inputs = _repeated(self._inputs, batch)
        end = time.perf_counter() + max(share_s, _LEAST_SHARE)
        for _ in range(_WARM_UP_RUNS):
            self._timed(inputs)
            if time.perf_counter() > end:
                break
        seconds = list(self._runs(inputs, end))
        p50, p99 = np.percentile(seconds, [50, 99])
        return {
            "batch": batch,
            "runs": len(seconds),
            "p50_s": float(p50),
            "p99_s": float(p99),
            "rows_per_s": max(batch, 1) * len(seconds) / sum(seconds),
            "peak_memory_bytes": peak_resident_bytes(),
        }

    def _runs(self, inputs: Mapping[str, Array], end: float) -> Iterator[float]:
        for count in range(_MOST_RUNS):
            now = time.perf_counter()
            if count and ((now > end and count >= _LEAST_RUNS) or now > self._deadline):
                return
            yield self._timed(inputs)

    def _timed(self, inputs: Mapping[str, Array]) -> float:
        start = time.perf_counter()
        self._engine.run(inputs, self._outputs)
        return time.perf_counter() - start


def _repeated(inputs: Mapping[str, Array], batch: int) -> dict[str, Array]:
    """The request as it is for batch 0, otherwise its first row that many times."""
    if not batch:
        return {name: np.asarray(array, order="C") for name, array in inputs.items()}
    return {name: np.ascontiguousarray(np.repeat(array[:1], batch, axis=0)) for name, array in inputs.items()}


def stretched(inputs: Mapping[str, Array], lengths: Mapping[str, Sequence[int]]) -> dict[str, Array]:
    """The inputs repeated along their axes until each has its wanted length; the first axis is left as it is."""
    result = {}
    for name, array in inputs.items():
        for axis, length in enumerate(lengths.get(name, array.shape)):
            if axis and length != array.shape[axis]:
                array = np.take(array, np.arange(length) % max(array.shape[axis], 1), axis=axis)
        result[name] = array
    return result


def carry_out(job: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Load the model of a job, and measure it.

    Raises:
        ModelError: The engine cannot load the model.
    """
    signature = Signature.from_dict(job["signature"])
    inputs = read_tensors(folder, job["inputs"], signature.inputs)
    engine_type = plugins.find(plugins.ENGINES, job["engine"]).load()
    base = resident_bytes()
    start = time.perf_counter()
    engine: Engine = engine_type.load(Path(job["model_file"]), threads=job["threads"])
    load_s = time.perf_counter() - start
    outputs = [spec.name for spec in signature.outputs]
    inputs = _accepted(engine, inputs, stretched(inputs, job["lengths"]), outputs)
    sweep = Sweep(engine, inputs, outputs, job["budget_s"])
    sweep.carry_out(job["batches"])
    return {
        "load_s": load_s,
        "base_memory_bytes": base,
        "peak_memory_bytes": peak_resident_bytes(),
        "shapes": {name: list(array.shape) for name, array in inputs.items()},
        "points": sweep.points,
        "stopped": sweep.stopped,
    }


def _accepted(
    engine: Engine, known: dict[str, Array], wanted: dict[str, Array], outputs: Sequence[str]
) -> dict[str, Array]:
    """The wanted inputs when the model takes them, otherwise those that it is known to take."""
    try:
        engine.run({name: np.asarray(array, order="C") for name, array in wanted.items()}, outputs)
    except (EngineRefused, MemoryError):
        return known
    return wanted


if __name__ == "__main__":
    run_as_child(carry_out)
