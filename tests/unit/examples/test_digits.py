"""The digits example: its files belong together, and the model is as good as its accuracy file says."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nimify.serving.engines.onnxruntime import OnnxRuntimeEngine
from nimify.serving.processors.pipeline import ProcessorPipeline
from nimify.serving.spec import Pipeline, ProcessorStep

DIGITS = Path(__file__).parents[3] / "examples" / "digits"
Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def held_out() -> tuple[Array, Array]:
    with np.load(DIGITS / "held_out.npz") as rows:
        return rows["image"], rows["label"]


def test_the_accuracy_file_is_about_this_model() -> None:
    """The digest in accuracy.json is that of digits.onnx, which stays under 200 KB."""
    accuracy = json.loads((DIGITS / "accuracy.json").read_text())
    content = (DIGITS / "digits.onnx").read_bytes()
    assert hashlib.sha256(content).hexdigest() == accuracy["sha256"]
    assert len(content) < 200_000


def test_the_held_out_digits_are_raw_pixels(held_out: tuple[Array, Array]) -> None:
    """All 360 rows are whole numbers from 0 to 16, and every digit occurs."""
    images, labels = held_out
    assert images.shape == (360, 64)
    assert images.dtype == np.uint8
    assert images.max() == 16
    assert set(labels.tolist()) == set(range(10))


def test_the_model_is_as_accurate_as_its_file_says(held_out: tuple[Array, Array]) -> None:
    """Run through the demo's own pipeline, the model gets exactly the recorded number right, at least 95 %."""
    images, labels = held_out
    engine = OnnxRuntimeEngine.load(DIGITS / "digits.onnx", threads=1)
    pipeline = ProcessorPipeline.load(
        Pipeline(
            before=(ProcessorStep("scale", {"factor": 0.0625}),),
            after=(ProcessorStep("softmax"), ProcessorStep("top_k", {"k": 3, "labels": "labels.txt"})),
        ),
        engine.signature,
        DIGITS,
    )
    inputs = pipeline.before({"image": images.astype(np.float32)})
    (logits,) = engine.run(inputs, ["logits"])
    answers = pipeline.after({"logits": logits})
    right = sum(int(row[0]) == label for row, label in zip(answers["labels"], labels.tolist(), strict=True))
    accuracy = json.loads((DIGITS / "accuracy.json").read_text())
    assert right == accuracy["correct"]
    assert right / len(labels) >= 0.95
    assert (answers["scores"][:, 0] >= answers["scores"][:, 1]).all()


def test_there_is_a_label_for_every_class() -> None:
    """labels.txt has the ten digits in order."""
    assert (DIGITS / "labels.txt").read_text().split() == [str(digit) for digit in range(10)]
