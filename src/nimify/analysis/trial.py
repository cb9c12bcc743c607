"""The trial run: loads a model, runs it, and records what it gives. Runs as a child process of its own.

    python -m nimify.analysis.trial < job.json

`TrialJob.run` in nimify/analysis/trial_job.py starts it under limits; nimify/analysis/guarded.py has the rules.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from nimify import plugins
from nimify.analysis.agreement import check_agreement
from nimify.analysis.batch_axis import declared_batch_axis, dependence
from nimify.analysis.child import run_as_child
from nimify.analysis.drawing import Draw, draws
from nimify.analysis.resident import peak_resident_bytes
from nimify.analysis.tensor_files import read_tensors, write_tensors
from nimify.errors import one_line, shortened
from nimify.serving.engines.engine import Engine, EngineRefused
from nimify.tensors import Signature

Arrays = Mapping[str, "np.ndarray[Any, Any]"]

ROWS: Final = 3
"""Rows of the merged run: enough to tell them apart, and not a number that exporters bake in."""
_TIMED_RUNS: Final = 3


class Case(NamedTuple):
    """A run that worked."""

    name: str
    source: str
    inputs: Arrays
    outputs: Arrays


class TrialRun:
    """What a loaded model does with inputs.

    Args:
        engine: The loaded model.
        signature: What its file declares.
        seed: For the inputs that are drawn.
        sample: The user's own inputs, or `None`.

    Attributes:
        cases: What is worth recording.
        refusal: What the engine said last of drawn inputs that it refused.
        compared: Whether rows of a merged run were compared with rows run alone.
        dependence: Why rows must not be merged; `None` when nothing speaks against it.
    """

    def __init__(self, engine: Engine, signature: Signature, *, seed: int, sample: Arrays | None) -> None:
        self.cases: list[Case] = []
        self.refusal = ""
        self.compared = False
        self.dependence: str | None = None
        self._engine = engine
        self._signature = signature
        self._output_names = [spec.name for spec in signature.outputs]
        self._seed = seed
        self._sample = sample

    def carry_out(self) -> None:
        """Run the model with everything that is to be tried.

        Raises:
            EngineRefused: It cannot run the user's own inputs.
        """
        if self._sample is not None:
            self.cases.append(Case("sample", "", self._sample, self._outputs(self._sample)))
        draw, inputs, outputs = self._first_draw_that_runs()
        if draw is not None and self._sample is None:
            self.cases.append(Case("batch-1", f"seed {self._seed}", inputs, outputs))
        if declared_batch_axis(self._signature).supported:
            self._compare_rows(draw)

    def seconds_per_run(self) -> float:
        """Median of a few runs of the first case; 0 when there is none."""
        return statistics.median(self._timed() for _ in range(_TIMED_RUNS)) if self.cases else 0.0

    def _first_draw_that_runs(self) -> tuple[Draw | None, Arrays, Arrays]:
        for draw in draws(self._signature, self._seed):
            inputs = draw.inputs(self._signature, rows=1)
            try:
                return draw, inputs, self._outputs(inputs)
            except EngineRefused as error:
                self.refusal = str(error)
        return None, {}, {}

    def _compare_rows(self, draw: Draw | None) -> None:
        merged = self._sample_rows() if draw is None else draw.inputs(self._signature, rows=ROWS)
        if merged is None:
            return
        self.compared = True
        rows = len(next(iter(merged.values())))
        try:
            together = self._outputs(merged)
        except EngineRefused:
            self.dependence = f"The model declares a free batch, but does not run at a batch of {rows}."
            return
        try:
            alone = [
                self._outputs({name: array[row : row + 1] for name, array in merged.items()}) for row in range(rows)
            ]
        except EngineRefused:
            self.dependence = "The model runs a merged batch, but does not run its rows alone."
            return
        self.dependence = dependence(together, alone, self._signature.outputs)
        if self.dependence is None and self._sample is None:
            self.cases.append(Case(f"batch-{rows}", f"seed {self._seed}", merged, together))

    def _sample_rows(self) -> Arrays | None:
        """The first rows of the user's inputs, when there are several and they differ."""
        if self._sample is None:
            return None
        lengths = {len(array) for array in self._sample.values()}
        rows = {name: array[:ROWS] for name, array in self._sample.items()}
        differ = any(not np.array_equal(array[:1], array[1:2]) for array in rows.values())
        return rows if len(lengths) == 1 and min(lengths) > 1 and differ else None

    def _outputs(self, inputs: Arrays) -> dict[str, np.ndarray[Any, Any]]:
        results = self._engine.run(
            {name: np.asarray(array, order="C") for name, array in inputs.items()}, self._output_names
        )
        return dict(zip(self._output_names, results, strict=True))

    def _timed(self) -> float:
        start = time.perf_counter()
        self._outputs(self.cases[0].inputs)
        return time.perf_counter() - start


def carry_out(job: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Load the model of a job, try it, and report; tensors are read from and written to `folder`.

    Raises:
        ModelError: The engine cannot load the model, or finds another signature than the file declares.
    """
    signature = Signature.from_dict(job["signature"])
    sample = None if job["sample"] is None else read_tensors(folder, job["sample"], signature.inputs)
    model_file = Path(job["model_file"])
    engine_type = plugins.find(plugins.ENGINES, job["engine"]).load()
    start = time.perf_counter()
    engine: Engine = engine_type.load(model_file, threads=1)
    load_s = time.perf_counter() - start
    check_agreement(signature, engine.signature, model_file.name)
    run = TrialRun(engine, signature, seed=job["seed"], sample=sample)
    try:
        run.carry_out()
    except EngineRefused as error:
        return {"refused_sample": _told(error, model_file)}
    return {
        "load_s": load_s,
        "run_s": run.seconds_per_run(),
        "peak_memory_bytes": peak_resident_bytes(),
        "refusal": _told(run.refusal, model_file),
        "compared": run.compared,
        "dependence": run.dependence,
        "cases": [_written(case, folder) for case in run.cases],
    }


def _written(case: Case, folder: Path) -> dict[str, Any]:
    return {
        "name": case.name,
        "source": case.source,
        "inputs": write_tensors(folder, f"{case.name}-input", case.inputs),
        "outputs": write_tensors(folder, f"{case.name}-output", case.outputs),
    }


def _told(text: object, model_file: Path) -> str:
    return shortened(one_line(str(text).replace(f"{model_file.parent}/", "")), 200)


if __name__ == "__main__":
    run_as_child(carry_out)
