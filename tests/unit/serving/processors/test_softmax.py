"""`softmax`: probabilities, whatever the scores are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nimify.errors import ConfigError
from nimify.serving.processors.softmax import Softmax
from nimify.tensors import DATATYPES, TensorSpec, bf16_to_fp32, fp32_to_bf16


def ready(datatype: str = "FP32", shape: tuple[Any, ...] = ("batch", 3), **options: Any) -> Softmax:
    step = Softmax(**options)
    specs = (TensorSpec("x", DATATYPES[datatype], shape),)
    assert step.outer(specs) == specs
    return step


def test_gives_the_textbook_distribution() -> None:
    """Scores ln 1, ln 2, ln 5 become 1/8, 2/8, 5/8."""
    result = ready()({"x": np.log(np.array([[1, 2, 5]], dtype=np.float32))})["x"]
    np.testing.assert_allclose(result, [[0.125, 0.25, 0.625]], rtol=1e-6)
    assert result.dtype == np.float32


@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=3, max_side=6),
        elements=st.floats(-(2.0**100), 2.0**100, width=32),
    )
)
def test_every_row_sums_to_one(scores: np.ndarray[Any, Any]) -> None:
    """However large the scores, probabilities lie in 0..1, sum to one, and the greatest score has the greatest one."""
    result = ready(shape=(None,) * scores.ndim)({"x": scores})["x"]
    assert ((result >= 0) & (result <= 1)).all()
    np.testing.assert_allclose(result.sum(axis=-1), 1, rtol=1e-5)
    best = np.take_along_axis(result, scores.argmax(axis=-1)[..., None], axis=-1)
    assert (best[..., 0] == result.max(axis=-1)).all()


def test_the_axis_can_be_chosen() -> None:
    """Along axis 1 of three, columns sum to one and rows need not."""
    scores = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    result = ready(shape=("batch", 3, 4), axis=1)({"x": scores})["x"]
    np.testing.assert_allclose(result.sum(axis=1), np.ones((2, 4)), rtol=1e-6)


def test_a_model_without_a_batch_works() -> None:
    """A single vector is a distribution too."""
    result = ready(shape=(3,))({"x": np.zeros(3, dtype=np.float32)})["x"]
    np.testing.assert_allclose(result, [1 / 3] * 3)


def test_fp16_scores_beyond_the_range_of_exp_do_not_overflow() -> None:
    """FP16 ends at 65504; the result is still a distribution in FP16."""
    result = ready("FP16")({"x": np.array([[60000, 60000, -60000]], dtype=np.float16)})["x"]
    assert result.dtype == np.float16
    assert result.tolist() == [[0.5, 0.5, 0]]


def test_bf16_is_computed_on_its_values() -> None:
    """BF16 travels as raw bits; equal scores give equal thirds, rounded to BF16."""
    result = ready("BF16")({"x": fp32_to_bf16(np.full((2, 3), 7, dtype=np.float32))})["x"]
    assert result.dtype == np.uint16
    np.testing.assert_allclose(bf16_to_fp32(result), 1 / 3, rtol=2**-8)


def test_fp64_keeps_its_precision() -> None:
    """Doubles are not squeezed through float32."""
    scores = np.array([[0.0, 1e-12, 0.0]])
    result = ready("FP64")({"x": scores})["x"]
    assert result.dtype == np.float64
    assert result[0, 1] > result[0, 0]


@pytest.mark.parametrize("bad", [[np.nan, 0, 0], [np.inf, 0, 0], [-np.inf] * 3])
def test_a_row_without_a_distribution_is_nan_and_spoils_no_other(bad: list[float]) -> None:
    """NaN and infinity stay in their own row, without a warning."""
    result = ready()({"x": np.array([bad, [0, 0, 0]], dtype=np.float32)})["x"]
    assert np.isnan(result[0]).any()
    np.testing.assert_allclose(result[1], 1 / 3)


def test_minus_infinity_is_a_class_ruled_out() -> None:
    """A masked class has probability zero."""
    result = ready()({"x": np.array([[-np.inf, 0, 0]], dtype=np.float32)})["x"]
    assert result.tolist() == [[0, 0.5, 0.5]]


def test_an_empty_batch_stays_empty() -> None:
    """Zero rows in, zero rows out."""
    assert ready()({"x": np.empty((0, 3), dtype=np.float32)})["x"].shape == (0, 3)


@pytest.mark.parametrize("axis", [2, -3])
def test_an_axis_that_does_not_exist_is_named(axis: int) -> None:
    """The error says which axes there are."""
    with pytest.raises(ConfigError, match="from -2 to 1") as caught:
        ready(axis=axis)
    assert caught.value.field == "softmax.axis"


def test_whole_numbers_are_refused() -> None:
    """Probabilities need a floating-point tensor to live in."""
    with pytest.raises(ConfigError, match="needs a floating-point tensor"):
        ready("INT64")


def test_a_scalar_has_no_axis() -> None:
    """A scalar output is refused when the pipeline is planned."""
    with pytest.raises(ConfigError, match="A scalar has none"):
        ready(shape=())


def test_the_axis_must_be_a_whole_number() -> None:
    """Text and booleans are no axes."""
    for wrong in ("-1", True, 1.0):
        with pytest.raises(ConfigError, match="must be a whole number"):
            Softmax(axis=wrong)  # type: ignore[arg-type]  # the point of the test
