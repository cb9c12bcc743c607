"""The benchmark's models, built small: the engine loads them, and they take and give what they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from benchmarks.encoder import EncoderSize, text_encoder
from benchmarks.models import MODELS, BenchModel, digits_mlp, resnet18

Array = np.ndarray[Any, Any]
SMALL = EncoderSize(layers=2, hidden=24, heads=3, vocabulary=50, positions=16)


def run(model: onnx.ModelProto, **inputs: Array) -> Array:
    """The only output of a model, computed by ONNX Runtime itself."""
    onnx.checker.check_model(model, full_check=True)
    session: Any = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (result,) = session.run(None, inputs)
    assert isinstance(result, np.ndarray)
    return result


@pytest.mark.parametrize("rows", [1, 5])
def test_tiny_turns_rows_of_pixels_into_probabilities(rows: int) -> None:
    """Any number of rows goes in, and each comes out as ten numbers that add up to one."""
    y = run(digits_mlp(), x=np.ones((rows, 64), np.float32))
    assert y.shape == (rows, 10)
    np.testing.assert_allclose(y.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("rows", [1, 3])
def test_image_turns_pictures_into_scores(rows: int) -> None:
    """A narrow ResNet-18 gives one finite score a class for each picture."""
    pictures = np.random.default_rng(0).standard_normal((rows, 3, 64, 64), dtype=np.float32)
    y = run(resnet18(width=4, image_size=64, classes=7), x=pictures)
    assert y.shape == (rows, 7)
    assert np.isfinite(y).all()
    assert np.ptp(y) > 0


def test_image_has_the_layers_of_a_resnet_18() -> None:
    """Seventeen convolutions and a final layer, and three shortcuts where the shape changes."""
    kinds = [node.op_type for node in resnet18(width=4, image_size=64, classes=7).graph.node]
    assert kinds.count("Conv") == 17 + 3
    assert kinds.count("Gemm") == 1
    assert kinds.count("Add") == 8


@pytest.mark.parametrize(("rows", "tokens"), [(1, 4), (3, 9)])
def test_text_turns_sentences_into_one_vector_each(rows: int, tokens: int) -> None:
    """Batch and length are both free, and the tokens are pooled away."""
    ids = np.random.default_rng(0).integers(0, SMALL.vocabulary, (rows, tokens))
    y = run(text_encoder(SMALL), input_ids=ids, attention_mask=np.ones_like(ids))
    assert y.shape == (rows, SMALL.hidden)
    assert np.isfinite(y).all()


def test_text_ignores_what_the_mask_leaves_out() -> None:
    """A padded sentence means the same as the sentence alone, whatever the padding is."""
    ids = np.array([[3, 1, 4]])
    padded = np.array([[3, 1, 4, 9, 7]])
    alone = run(text_encoder(SMALL), input_ids=ids, attention_mask=np.ones_like(ids))
    masked = run(text_encoder(SMALL), input_ids=padded, attention_mask=np.array([[1, 1, 1, 0, 0]]))
    np.testing.assert_allclose(masked, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("build", [digits_mlp, lambda: resnet18(width=4), lambda: text_encoder(SMALL)])
def test_a_model_is_the_same_every_time(build: Any) -> None:
    """Two builds give the same bytes, so that results of different days are about the same model."""
    assert build().SerializeToString(deterministic=True) == build().SerializeToString(deterministic=True)


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_requests_have_the_asked_number_of_rows(model: BenchModel) -> None:
    """Every input that is drawn has so many rows, and no two rows are alike."""
    inputs = model.draw(3, np.random.default_rng(0))
    assert {len(array) for array in inputs.values()} == {3}
    first = next(iter(inputs.values()))
    assert not np.array_equal(first[0], first[1])
