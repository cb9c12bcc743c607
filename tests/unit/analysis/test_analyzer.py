"""ModelAnalyzer on real models: batch axis, golden requests, findings."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from nimify.analysis.analysis import Analysis
from nimify.analysis.analyzer import AnalysisOptions, ModelAnalyzer
from nimify.analysis.guarded import GuardLimits
from nimify.analysis.trial_job import TrialJob
from nimify.config import GoldenConfig
from nimify.errors import ConfigError, ModelError, PluginError
from nimify.findings import Severity
from nimify.formats.onnx import OnnxFormat
from nimify.serving.engines.onnxruntime import OnnxRuntimeEngine
from nimify.tensors import DATATYPES
from nimify.testing import models
from nimify.testing.graph_builder import GraphBuilder

BATCHED = "Every input and output has a free first dimension, and rows gave the same alone and merged."
REASONS = {
    "fixed-batch": "Input 'x' has a fixed first dimension of 1.",
    "scalar-output": "Output 'sum' is a scalar, so it has no first dimension to merge requests along.",
    "baked-batch": "The model declares a free batch, but does not run at a batch of 3.",
    "rows-interact": "Rows influence each other: output 'y' of a row differs between a run alone and a merged run.",
}


def analyze(model: onnx.ModelProto, folder: Path, **golden: object) -> Analysis:
    path = models.save(model, folder / "model.onnx")
    return ModelAnalyzer(golden=GoldenConfig.model_validate(golden)).analyze(path)


@pytest.fixture(scope="module")
def analysis_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Analysis]:
    """The analysis of a kind of model, made once."""
    return cache(lambda kind: analyze(models.ALL[kind](), tmp_path_factory.mktemp(kind)))


@pytest.mark.parametrize("kind", models.ALL)
def test_every_model_is_analysed_with_its_batch_axis(kind: str, analysis_of: Callable[[str], Analysis]) -> None:
    """The verdict has a reason, and golden requests are recorded for each batch that runs."""
    analysis = analysis_of(kind)

    assert analysis.batch_axis.reason == REASONS.get(kind, BATCHED)
    assert analysis.batch_axis.supported == (kind not in REASONS)
    expected = ["batch-1"] if kind in REASONS else ["batch-1", "batch-3"]
    assert [case.name for case in analysis.golden] == expected
    assert {finding.severity for finding in analysis.findings} <= {Severity.INFO}


@pytest.mark.parametrize("kind", models.ALL)
def test_golden_answers_are_what_the_engine_gives(kind: str, analysis_of: Callable[[str], Analysis]) -> None:
    """Recorded inputs give the recorded outputs, bit by bit."""
    analysis = analysis_of(kind)
    engine = OnnxRuntimeEngine.load(analysis.model.path, threads=1)
    names = [spec.name for spec in analysis.model.signature.outputs]

    for case in analysis.golden:
        again = engine.run(case.inputs, names)
        for name, array in zip(names, again, strict=True):
            np.testing.assert_array_equal(case.outputs[name], array)


@pytest.mark.parametrize("datatype", DATATYPES)
def test_every_datatype_survives_the_trial(datatype: str, tmp_path: Path) -> None:
    """Inputs are drawn, run, and brought back in the storage of their datatype."""
    analysis = analyze(models.identity(datatype), tmp_path)

    assert analysis.batch_axis.supported
    for case in analysis.golden:
        assert case.inputs["x"].dtype == DATATYPES[datatype].storage
        np.testing.assert_array_equal(case.outputs["y"], case.inputs["x"])


def test_a_scalar_input_stays_a_scalar(tmp_path: Path) -> None:
    """A tensor of rank 0 reaches the model as that, so what is recorded is what a service answers."""
    graph = GraphBuilder("threshold")
    graph.output(graph.op("Relu", graph.input("x", "FP32", []), out="y"), "FP32", [])

    (case,) = analyze(graph.model(), tmp_path).golden

    assert (case.inputs["x"].shape, case.outputs["y"].shape) == ((), ())


def test_golden_requests_are_the_same_every_time(tmp_path: Path, analysis_of: Callable[[str], Analysis]) -> None:
    """The seed decides, and another seed gives other inputs."""
    first, again = analysis_of("text"), analyze(models.text_encoder(), tmp_path)
    other = analyze(models.text_encoder(), tmp_path, seed=1)

    for name in ("input_ids", "attention_mask"):
        np.testing.assert_array_equal(first.golden[1].inputs[name], again.golden[1].inputs[name])
    np.testing.assert_array_equal(first.golden[1].outputs["pooler_output"], again.golden[1].outputs["pooler_output"])
    assert not np.array_equal(first.golden[1].inputs["input_ids"], other.golden[1].inputs["input_ids"])
    assert (first.golden[0].source, other.golden[0].source) == ("seed 0", "seed 1")


def test_ids_are_drawn_in_the_range_that_the_model_takes(analysis_of: Callable[[str], Analysis]) -> None:
    """The encoder refuses ids from 100 on, so smaller ones are drawn."""
    analysis = analysis_of("text")

    assert analysis.golden[0].inputs["input_ids"].shape == (1, 8)
    assert 1 < analysis.golden[0].inputs["input_ids"].max() < 10


def test_lengths_are_tried_until_one_runs(tmp_path: Path) -> None:
    """A model that needs more than sixteen columns gets them."""
    graph = GraphBuilder("wide")
    x = graph.input("x", "FP32", ["batch", "width"])
    wide = graph.op("Gather", x, graph.constant([20], "int64"), axis=1)
    graph.output(graph.op("Identity", wide, out="y"), "FP32", ["batch", 1])

    analysis = analyze(graph.model(), tmp_path)

    assert analysis.golden[0].inputs["x"].shape == (1, 32)


def _picky() -> onnx.ModelProto:
    """Looks up a table of one row at an index that is 50 too high: only -50 and 49 below it run."""
    graph = GraphBuilder("picky")
    ids = graph.input("ids", "INT64", ["batch"])
    shifted = graph.op("Add", ids, graph.constant([50], "int64"))
    graph.output(graph.op("Gather", graph.weight(1, 4), shifted, out="row"), "FP32", ["batch", 4])
    return graph.model()


def test_without_inputs_that_run_there_is_a_warning_with_the_remedy(tmp_path: Path) -> None:
    """The model is not refused, but nothing is claimed of it."""
    analysis = analyze(_picky(), tmp_path)

    (finding,) = analysis.findings
    assert (finding.code, finding.severity) == ("trial.no-inputs", Severity.WARNING)
    assert "--sample" in finding.remedy
    assert str(tmp_path) not in finding.message
    assert analysis.golden == ()
    assert not analysis.batch_axis.supported
    assert "No inputs were found" in analysis.batch_axis.reason


def test_the_users_own_sample_is_recorded(tmp_path: Path) -> None:
    """With a sample, the model that no drawn input runs has a golden request; one row proves nothing of batches."""
    sample = tmp_path / "sample.json"
    sample.write_text('{"ids": [-50]}')

    analysis = analyze(_picky(), tmp_path, sample=str(sample))

    assert [(case.name, case.source) for case in analysis.golden] == [("sample", "sample.json")]
    assert analysis.golden[0].outputs["row"].shape == (1, 4)
    assert not analysis.batch_axis.supported
    assert analysis.findings == ()


def test_rows_of_a_sample_show_whether_they_are_independent(tmp_path: Path) -> None:
    """Where nothing can be drawn, the sample's rows are compared, if they differ."""
    sample = tmp_path / "sample.npz"
    np.savez(sample, ids=np.array([-50, -51]))

    analysis = analyze(_picky(), tmp_path, sample=str(sample))

    assert analysis.batch_axis.supported


def test_a_sample_that_the_model_refuses_is_an_error_of_the_request(tmp_path: Path) -> None:
    """The message names the file, and not the folder of the model."""
    sample = tmp_path / "sample.json"
    sample.write_text('{"ids": [7]}')

    with pytest.raises(ConfigError, match=r"does not take the inputs of 'sample\.json'") as caught:
        analyze(_picky(), tmp_path, sample=str(sample))

    assert str(tmp_path) not in str(caught.value)


def test_answers_that_are_not_finite_are_a_warning(tmp_path: Path) -> None:
    """NaN equals nothing, so such a golden request proves little."""
    graph = GraphBuilder("log")
    x = graph.input("x", "FP32", ["batch", 4])
    graph.output(graph.op("Log", x, out="y"), "FP32", ["batch", 4])

    analysis = analyze(graph.model(), tmp_path)

    assert [finding.code for finding in analysis.findings] == ["trial.not-finite"]
    assert analysis.batch_axis.supported


def test_without_a_trial_only_the_file_is_read(tmp_path: Path) -> None:
    """Nothing is loaded, and the batch axis rests on declarations."""
    path = models.save(models.rows_interact(), tmp_path / "model.onnx")

    analysis = ModelAnalyzer(AnalysisOptions(trial=False)).analyze(str(path))

    assert (analysis.trial, analysis.golden) == (None, ())
    assert (analysis.batch_axis.supported, analysis.batch_axis.basis) == (True, "declared")


def test_measurements_are_plausible(tmp_path: Path) -> None:
    """Seconds and bytes are those of this model, in the child."""
    path = models.save(models.slow(), tmp_path / "model.onnx")

    trial = ModelAnalyzer().analyze(path).trial

    assert trial is not None
    assert 0.005 < trial.run_s < 20
    assert 0 < trial.load_s < 20
    assert 20 << 20 < trial.peak_memory_bytes < 2 << 30


def test_an_output_of_another_shape_than_declared_is_a_warning(tmp_path: Path) -> None:
    """ONNX Runtime runs such a model; clients that believe the declaration do not."""
    model = models.tiny()
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 7

    analysis = analyze(model, tmp_path)

    (finding,) = analysis.findings
    assert finding.code == "trial.output-shape"
    assert finding.message == "Output 'y' is declared as [-1, 7] and came out as [1, 4]."


def test_a_file_that_declares_another_type_than_the_engine_finds_is_refused(tmp_path: Path) -> None:
    """A file that lies about its element types is not served."""
    model = models.tiny()
    model.graph.output[0].type.tensor_type.elem_type = DATATYPES["INT64"].onnx

    with pytest.raises(ModelError):
        analyze(model, tmp_path)


def test_a_model_that_the_engine_cannot_load_is_an_error_without_paths(tmp_path: Path) -> None:
    """What ONNX Runtime says is told in one line."""
    model = models.tiny()
    model.graph.node[0].op_type = "NoSuchOperator"

    with pytest.raises(ModelError, match=r"ONNX Runtime .* cannot load it: .*NoSuchOperator") as caught:
        analyze(model, tmp_path)

    assert str(tmp_path) not in caught.value.cause


def test_hostile_axis_names_do_no_harm(tmp_path: Path) -> None:
    """The name of an axis travels to the child and back as data."""
    analysis = analyze(models.identity(shape=('"; }\nRUN', 3)), tmp_path)

    assert analysis.model.signature.inputs[0].shape == ('"; }\nRUN', 3)
    assert analysis.batch_axis.supported


def test_a_model_that_asks_for_too_much_memory_is_stopped(tmp_path: Path) -> None:
    """Sixteen gigabytes of zeros from a few bytes: the child gives up, this process does not notice."""
    graph = GraphBuilder("bomb")
    x = graph.input("x", "FP32", ["batch", 1])
    zeros = graph.op("ConstantOfShape", graph.constant([1 << 32], "int64"), value=_zero())
    graph.output(graph.op("Add", x, graph.op("ReduceMax", zeros, keepdims=0), out="y"), "FP32", ["batch", 1])
    path = models.save(graph.model(), tmp_path / "model.onnx")
    job = TrialJob(OnnxFormat().read(path), "model.onnx", "onnxruntime", seed=0)
    limits = GuardLimits(memory_bytes=2 << 30, wall_s=30)

    try:
        outcome = job.run(limits)
    except ModelError:
        return
    assert outcome.golden == ()
    assert outcome.trial.peak_memory_bytes < 2 << 30


def _zero() -> onnx.TensorProto:
    return helper.make_tensor("zero", DATATYPES["FP32"].onnx, [1], [0.0])


def test_an_unknown_engine_is_an_error_that_lists_the_choices(tmp_path: Path) -> None:
    """Nothing is started for it."""
    path = models.save(models.tiny(), tmp_path / "model.onnx")

    with pytest.raises(PluginError, match="Available: onnxruntime"):
        ModelAnalyzer(engine="onnxruntim").analyze(path)
