"""The pipeline around the engine: the signature that clients see, and the steps held to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nimify.errors import ConfigError, PluginError
from nimify.serving.processors.pipeline import ProcessorPipeline, load_steps, map_signature
from nimify.serving.processors.processor import InvalidInput, Specs, Tensors
from nimify.serving.processors.scale import Scale
from nimify.serving.processors.softmax import Softmax
from nimify.serving.processors.top_k import TopK
from nimify.serving.spec import Pipeline, ProcessorStep
from nimify.tensors import DATATYPES, Signature, TensorSpec

FP32 = DATATYPES["FP32"]
DIGITS = Signature(
    inputs=(TensorSpec("image", FP32, ("batch", 64)),), outputs=(TensorSpec("logits", FP32, ("batch", 10)),)
)


class Renamed:
    """A step that gives its only tensor another name outside; before the engine it must give `inner` again."""

    def __init__(self, outside: str) -> None:
        self.outside = outside
        self.inside = ""

    def outer(self, inner: Specs) -> Specs:
        self.inside = inner[0].name
        return (TensorSpec(self.outside, inner[0].datatype, inner[0].shape),)

    def __call__(self, tensors: Tensors) -> Tensors:
        return {self.inside: tensors[self.outside]}


class Step:
    """A step that keeps the signature and does what it is told."""

    def __init__(self, act: Callable[[Tensors], Any], promise: Callable[[Specs], Any] = lambda inner: inner) -> None:
        self.act = act
        self.promise = promise

    def outer(self, inner: Specs) -> Specs:
        specs: Specs = self.promise(inner)
        return specs

    def __call__(self, tensors: Tensors) -> Tensors:
        result: Tensors = self.act(tensors)
        return result


def test_the_signature_is_mapped_from_the_engine_outwards() -> None:
    """Steps before the engine are mapped in reverse: the client meets the first one."""
    mapped = map_signature(DIGITS, [Renamed("photo"), Renamed("picture")], [Softmax(), TopK(k=3)])
    assert mapped.inputs == (TensorSpec("photo", FP32, ("batch", 64)),)
    assert [(spec.name, spec.shape) for spec in mapped.outputs] == [("classes", ("batch", 3)), ("scores", ("batch", 3))]


def test_steps_run_from_the_client_to_the_engine_and_back() -> None:
    """Before: the first step first. The names at each joint are those that the steps promised."""
    pipeline = ProcessorPipeline(DIGITS, [Renamed("photo"), Renamed("picture"), Scale(factor=0.5)], [])
    result = pipeline.before({"photo": np.full((1, 64), 16, dtype=np.float32)})
    assert result["image"].tolist() == [[8.0] * 64]
    assert pipeline.api.inputs[0].name == "photo"


def test_an_empty_pipeline_changes_nothing() -> None:
    """Without steps the service speaks the model's own signature, and says that there is nothing to run."""
    pipeline = ProcessorPipeline(DIGITS, [], [])
    tensors = {"image": np.zeros((1, 64), dtype=np.float32)}
    assert pipeline.api == DIGITS
    assert pipeline.before(tensors) is tensors
    assert not pipeline
    assert ProcessorPipeline(DIGITS, [], [Softmax()])


def test_the_digits_pipeline_answers_with_labels_and_probabilities(tmp_path: Path) -> None:
    """Loaded from a plan's steps, it turns scores into ranked labels whose probabilities fall."""
    (tmp_path / "labels.txt").write_text("\n".join("0123456789"))
    plan = Pipeline(
        before=(ProcessorStep("scale", {"factor": 0.0625}),),
        after=(ProcessorStep("softmax"), ProcessorStep("top_k", {"k": 3, "labels": "labels.txt"})),
    )
    pipeline = ProcessorPipeline.load(plan, DIGITS, tmp_path)
    logits = np.arange(10, dtype=np.float32)[None]
    result = pipeline.after({"logits": logits})
    assert result["labels"].tolist() == [[b"9", b"8", b"7"]]
    np.testing.assert_allclose(result["scores"], np.exp(logits[:, :-4:-1]) / np.exp(logits).sum(), rtol=1e-5)
    again = map_signature(DIGITS, load_steps(plan.before, tmp_path), load_steps(plan.after, tmp_path))
    assert pipeline.api == again


def test_it_knows_whose_code_runs() -> None:
    """The service runs nimify's own steps at once, and gives anybody else's a thread of their own."""
    assert not ProcessorPipeline(DIGITS, [Scale(factor=1)], [Softmax()]).runs_foreign_code
    assert ProcessorPipeline(DIGITS, [Scale(factor=1)], [Renamed("scores")]).runs_foreign_code


@pytest.mark.parametrize("side", ["before", "after"])
def test_a_step_on_the_wrong_side_is_refused(side: str) -> None:
    """`top_k` ranks results, and a scale with a client's datatype takes inputs."""
    before, after = ([TopK()], []) if side == "before" else ([], [Scale(factor=1, datatype="UINT8")])
    with pytest.raises(ConfigError, match=f"cannot stand {side} the engine") as caught:
        map_signature(DIGITS, before, after)
    assert caught.value.field == f"pipeline.{side}"


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda tensors: 1 / 0, r"'Step' failed at .*:\d+ \(ZeroDivisionError: division by zero\)"),
        (lambda tensors: None, "must return a dict of tensors, not NoneType"),
        (lambda tensors: {"other": 1}, "promised the tensors image and gave other"),
        (lambda tensors: {}, "promised the tensors image and gave none"),
        (lambda tensors: {"image": [1, 2]}, "promised 'image' as float32 with 2 axes and gave list"),
        (lambda tensors: {"image": tensors["image"].astype("f8")}, "gave float64 with 2 axes"),
        (lambda tensors: {"image": tensors["image"][0]}, "gave float32 with 1 axes"),
    ],
)
def test_a_step_is_held_to_its_promise(act: Callable[[Tensors], Any], message: str) -> None:
    """What an owner's step does wrong is told in one sentence, and never reaches the engine."""
    pipeline = ProcessorPipeline(DIGITS, [Step(act)], [])
    with pytest.raises(PluginError, match=message):
        pipeline.before({"image": np.zeros((1, 64), dtype=np.float32)})


def test_invalid_input_reaches_the_client_as_it_is() -> None:
    """A step's word to the client passes through."""

    def refuse(tensors: Tensors) -> Tensors:
        raise InvalidInput("the image is upside down")

    pipeline = ProcessorPipeline(DIGITS, [Step(refuse)], [])
    with pytest.raises(InvalidInput, match="the image is upside down"):
        pipeline.before({})


@pytest.mark.parametrize(
    ("promise", "message"),
    [
        (lambda inner: None, "must return a tuple of TensorSpec"),
        (lambda inner: (), "must return a tuple of TensorSpec"),
        (lambda inner: ("image",), "must return a tuple of TensorSpec"),
        (lambda inner: (*inner, *inner), "gives two tensors the same name"),
        (lambda inner: inner[7], r"failed at .*:\d+ \(IndexError"),
    ],
)
def test_a_promise_must_be_a_signature(promise: Callable[[Specs], Any], message: str) -> None:
    """An `outer` that gives something else fails when the service is planned, not when it is asked."""
    with pytest.raises(PluginError, match=message):
        map_signature(DIGITS, [Step(dict, promise)], [])
