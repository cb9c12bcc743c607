"""`scale`: arithmetic in every datatype, and the signature that clients see."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nimify.errors import ConfigError
from nimify.serving.processors.processor import InvalidInput, place
from nimify.serving.processors.scale import Scale
from nimify.tensors import DATATYPES, TensorSpec, bf16_to_fp32, fp32_to_bf16


def spec(name: str = "x", datatype: str = "FP32", shape: tuple[Any, ...] = ("batch", 4)) -> TensorSpec:
    return TensorSpec(name, DATATYPES[datatype], shape)


def test_computes_factor_times_x_plus_offset() -> None:
    """Each element is multiplied first and shifted afterwards."""
    step = Scale(factor=0.5, offset=-1)
    step.outer((spec(),))
    result = step({"x": np.array([[0, 1, 2, 3]], dtype=np.float32)})
    assert result["x"].dtype == np.float32
    assert result["x"].tolist() == [[-1.0, -0.5, 0.0, 0.5]]


def test_clients_may_send_another_datatype_than_the_model_takes() -> None:
    """With `datatype`, the client's side of the signature changes and the engine's side does not."""
    step = Scale(factor=1 / 255, datatype="UINT8")
    assert step.outer((spec(),)) == (spec(datatype="UINT8"),)
    result = step({"x": np.array([[0, 255, 128, 1]], dtype=np.uint8)})["x"]
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, [[0, 1, 128 / 255, 1 / 255]], rtol=1e-6)
    assert place(step) == "before"


def test_without_datatype_it_may_stand_on_either_side() -> None:
    """A step that keeps the datatype has no side of its own."""
    assert place(Scale(factor=2)) is None


def test_a_number_that_yaml_takes_for_text_is_a_number() -> None:
    """YAML 1.1 reads `1e-3` as text; the step reads it as it is meant."""
    step = Scale(factor="1e-3")  # type: ignore[arg-type]  # what YAML gives
    step.outer((spec(shape=(1,)),))
    assert step({"x": np.array([1000], dtype=np.float32)})["x"].tolist() == [1.0]


def test_only_the_named_tensor_changes() -> None:
    """Other tensors pass through untouched, as the same objects."""
    step = Scale(factor=2, tensor="a")
    step.outer((spec("a"), spec("b")))
    other = np.ones((1, 4), dtype=np.float32)
    result = step({"a": other, "b": other})
    assert result["b"] is other
    assert result["a"].tolist() == [[2, 2, 2, 2]]


def test_bf16_is_computed_on_its_values_and_not_on_its_bits() -> None:
    """BF16 travels as raw bits; doubling 1.5 gives 3."""
    step = Scale(factor=2)
    step.outer((spec(datatype="BF16"),))
    result = step({"x": fp32_to_bf16(np.full((1, 4), 1.5, dtype=np.float32))})["x"]
    assert result.dtype == np.uint16
    assert bf16_to_fp32(result).tolist() == [[3, 3, 3, 3]]


def test_a_scalar_stays_a_scalar() -> None:
    """A model without axes is scaled like any other, BF16 included."""
    for datatype, one in (("FP32", np.float32(1)), ("BF16", np.uint16(0x3F80))):
        step = Scale(factor=4)
        step.outer((spec(datatype=datatype, shape=()),))
        result = step({"x": np.asarray(one)})["x"]
        assert isinstance(result, np.ndarray)
        assert result.shape == ()
        assert result.dtype == DATATYPES[datatype].storage


def test_whole_numbers_round_to_nearest_and_stop_at_the_ends() -> None:
    """A result outside the range becomes the nearest end of it, and never wraps round."""
    step = Scale(factor=255, datatype="FP32")
    step.outer((spec(datatype="UINT8"),))
    result = step({"x": np.array([[-1.0, 0.5, 1.0, 2.0]], dtype=np.float32)})["x"]
    assert result.tolist() == [[0, 128, 255, 255]]


@pytest.mark.parametrize("name", ["INT64", "UINT64", "INT32"])
def test_the_widest_integers_do_not_overflow(name: str) -> None:
    """Doubling the greatest value stays at the top of the range instead of turning negative."""
    step = Scale(factor=2)
    step.outer((spec(datatype=name, shape=(1,)),))
    top = np.iinfo(DATATYPES[name].storage).max
    result = step({"x": np.array([top], dtype=DATATYPES[name].storage)})["x"]
    assert int(result[0]) > top // 2


def test_nan_is_refused_where_the_model_takes_whole_numbers() -> None:
    """NaN has no whole-number value, so the client is told."""
    step = Scale(factor=1, datatype="FP32")
    step.outer((spec(datatype="INT32"),))
    with pytest.raises(InvalidInput, match="'x' holds NaN"):
        step({"x": np.full((1, 4), np.nan, dtype=np.float32)})


def test_nan_and_overflow_pass_through_floats() -> None:
    """NaN stays NaN, and what FP16 cannot hold becomes infinity without a warning."""
    step = Scale(factor=100)
    step.outer((spec(datatype="FP16"),))
    result = step({"x": np.array([[np.nan, 60000, -60000, 1]], dtype=np.float16)})["x"]
    assert np.isnan(result[0, 0])
    assert result[0, 1:].tolist() == [np.inf, -np.inf, 100]


@given(
    values=st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=20),
    factor=st.floats(-1e3, 1e3),
    offset=st.floats(-1e3, 1e3),
)
def test_rows_are_scaled_independently(values: list[float], factor: float, offset: float) -> None:
    """Scaling a batch gives what scaling its rows one by one gives."""
    step = Scale(factor=factor, offset=offset)
    step.outer((spec(shape=("batch", 1)),))
    batch = np.array(values, dtype=np.float32)[:, None]
    whole = step({"x": batch})["x"]
    single = np.concatenate([step({"x": row[None]})["x"] for row in batch])
    np.testing.assert_array_equal(whole, single)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"factor": "two"}, "scale.factor"),
        ({"factor": True}, "scale.factor"),
        ({"factor": float("nan")}, "scale.factor"),
        ({"factor": 1, "offset": None}, "scale.offset"),
        ({"factor": 1, "datatype": "UNIT8"}, "scale.datatype"),
        ({"factor": 1, "datatype": "BYTES"}, "scale.datatype"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], field: str) -> None:
    """The error names the option; a mistyped datatype gets the list of those that exist."""
    with pytest.raises(ConfigError) as caught:
        Scale(**options)
    assert caught.value.field == field


def test_a_mistyped_datatype_gets_a_suggestion() -> None:
    """UNIT8 is close enough to UINT8."""
    with pytest.raises(ConfigError, match="Did you mean 'UINT8'"):
        Scale(factor=1, datatype="UNIT8")


@pytest.mark.parametrize("datatype", ["BYTES", "BOOL"])
def test_only_numbers_can_be_scaled(datatype: str) -> None:
    """Strings and booleans have no product."""
    with pytest.raises(ConfigError, match="only numbers can be scaled"):
        Scale(factor=1).outer((spec(datatype=datatype),))


def test_several_tensors_need_a_name() -> None:
    """The step asks which tensor and lists them; a wrong name gets a suggestion."""
    with pytest.raises(ConfigError, match="one of: image, mask"):
        Scale(factor=1).outer((spec("image"), spec("mask")))
    with pytest.raises(ConfigError, match="Did you mean 'image'"):
        Scale(factor=1, tensor="imagge").outer((spec("image"), spec("mask")))
