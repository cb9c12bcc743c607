"""Measuring a model over a batch sweep: real tiny models in a real child process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nimify.analysis.analysis import Analysis
from nimify.analysis.analyzer import ModelAnalyzer
from nimify.analysis.guarded import GuardLimits
from nimify.analysis.measure import Measurement, SweepJob, SweepPoint, batch_sizes
from nimify.analysis.sweep import Sweep, stretched
from nimify.errors import ModelError, PluginError
from nimify.serving.engines.engine import EngineRefused
from nimify.tensors import Signature
from nimify.testing import models

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def analysed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Analysis]:
    """A tiny model of that kind, analysed once."""
    known: dict[str, Analysis] = {}

    def analyse(kind: str) -> Analysis:
        if kind not in known:
            path = models.save(models.ALL[kind](), tmp_path_factory.mktemp(kind) / "model.onnx")
            known[kind] = ModelAnalyzer().analyze(path)
        return known[kind]

    return analyse


def _job(analysis: Analysis, largest: int, **options: Any) -> SweepJob:
    options = {"engine": "onnxruntime", "threads": 1, "budget_s": 5.0, **options}
    return SweepJob(analysis.model, "model.onnx", inputs=analysis.golden[0].inputs, largest=largest, **options)


@pytest.mark.parametrize(("kind", "largest"), [("digits", 6), ("strings", 2), ("text", 4), ("fixed-batch", 0)])
def test_a_model_is_measured_at_growing_batches(kind: str, largest: int, analysed: Callable[[str], Analysis]) -> None:
    """Every batch size has its times, and memory only grows."""
    measured = _job(analysed(kind), largest).run()

    assert [point.batch for point in measured.points] == batch_sizes(largest)
    assert measured.stopped == ""
    assert all(0 < point.p50_s <= point.p99_s and point.runs >= 5 for point in measured.points)
    peaks = [measured.base_memory_bytes, *(point.peak_memory_bytes for point in measured.points)]
    assert peaks == sorted(peaks)
    assert measured.peak_memory_bytes >= peaks[-1] > 10 << 20


def test_batch_sizes_double_up_to_the_largest() -> None:
    """The largest is always among them, and nothing beyond it."""
    assert batch_sizes(0) == [0]
    assert batch_sizes(1) == [1]
    assert batch_sizes(8) == [1, 2, 4, 8]
    assert batch_sizes(12) == [1, 2, 4, 8, 12]


def test_more_memory_than_allowed_is_an_error_and_no_crash(analysed: Callable[[str], Analysis]) -> None:
    """The child breaks its limit, and this process says so."""
    with pytest.raises(ModelError, match=r"Cannot use 'model\.onnx'"):
        _job(analysed("digits"), 4).run(GuardLimits(memory_bytes=1 << 26, wall_s=20))


def test_an_unknown_engine_is_named(analysed: Callable[[str], Analysis]) -> None:
    """No child is started for an engine that is not there."""
    with pytest.raises(PluginError, match="nonsense"):
        _job(analysed("digits"), 1, engine="nonsense").run()


def test_a_model_that_is_gone_is_an_error(analysed: Callable[[str], Analysis], tmp_path: Path) -> None:
    """What the engine says comes back in words."""
    analysis = analysed("digits")
    moved = SweepJob(
        analysis.model.__class__(**{**_fields(analysis.model), "path": tmp_path / "gone.onnx"}),
        "gone.onnx",
        "onnxruntime",
        analysis.golden[0].inputs,
        1,
    )
    with pytest.raises(ModelError, match=r"Cannot use 'gone\.onnx'"):
        moved.run()


def _fields(model: Any) -> dict[str, Any]:
    return {name: getattr(model, name) for name in model.__slots__}


class _FakeEngine:
    """Takes batches up to a size, and a while for each."""

    signature = Signature((), ())

    def __init__(self, largest: int, error: Exception) -> None:
        self._largest = largest
        self._error = error

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        if len(inputs["x"]) > self._largest:
            raise self._error
        return []

    def close(self) -> None: ...


@pytest.mark.parametrize(
    ("error", "words"), [(EngineRefused("no"), "did not run at a batch of 4"), (MemoryError(), "not enough memory")]
)
def test_a_batch_that_fails_ends_the_sweep_and_keeps_the_rest(error: Exception, words: str) -> None:
    """Smaller batches that were measured are not lost."""
    sweep = Sweep(_FakeEngine(2, error), {"x": np.zeros((1, 3), "<f4")}, ["y"], budget_s=0.2)

    sweep.carry_out([1, 2, 4, 8])

    assert [point["batch"] for point in sweep.points] == [1, 2]
    assert words in sweep.stopped


def test_a_sweep_keeps_to_its_time() -> None:
    """When the time is over, the larger batches are left out, and the sweep says so."""
    sweep = Sweep(_FakeEngine(99, MemoryError()), {"x": np.zeros((1, 3), "<f4")}, ["y"], budget_s=0.0)

    sweep.carry_out([1, 2, 4])

    assert [point["batch"] for point in sweep.points] == [1]
    assert sweep.stopped == "There was no time left for a batch of 2."


def test_the_best_batch_is_the_smallest_that_is_nearly_as_quick_as_any() -> None:
    """More rows that gain less than a tenth only cost latency and memory."""
    points = tuple(SweepPoint(batch, 10, 0.1, 0.2, rate, 1) for batch, rate in ((1, 50.0), (2, 95.0), (4, 100.0)))

    assert Measurement(0.1, 1, 2, 1, {}, points).best.batch == 2


def test_free_axes_are_measured_at_the_length_that_they_will_have(analysed: Callable[[str], Analysis]) -> None:
    """A recorded request is repeated along its free axes; what the model refuses is measured as it was."""
    analysis = analysed("text")
    names = [spec.name for spec in analysis.model.signature.inputs]

    longer = _job(analysis, 1, lengths=dict.fromkeys(names, (1, 32))).run()
    refused = _job(analysis, 1, lengths={names[0]: (1, 1 << 20)}).run()

    assert set(longer.shapes.values()) == {(1, 32)}
    assert refused.shapes == {name: analysis.golden[0].inputs[name].shape for name in names}


def test_stretched_inputs_hold_the_values_that_were_there() -> None:
    """Only values that the model is known to take, and the first axis as it was."""
    made = stretched({"x": np.array([[1, 2, 3]])}, {"x": (9, 7)})

    assert made["x"].tolist() == [[1, 2, 3, 1, 2, 3, 1]]
