"""`top_k`: the k best classes, with labels and scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nimify.errors import ConfigError
from nimify.serving.processors.processor import InvalidInput, place
from nimify.serving.processors.top_k import TopK
from nimify.tensors import DATATYPES, TensorSpec, fp32_to_bf16


def spec(name: str = "x", datatype: str = "FP32", shape: tuple[Any, ...] = ("batch", 4)) -> TensorSpec:
    return TensorSpec(name, DATATYPES[datatype], shape)


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.txt"
    path.write_text("ant\nbee\ncat\ndög\n", encoding="utf-8")
    return path


def test_gives_labels_and_scores_best_first(labels: Path) -> None:
    """Labels are BYTES in UTF-8, scores keep their datatype."""
    step = TopK(k=2, labels=str(labels))
    outer = step.outer((spec(),))
    assert outer == (spec("labels", "BYTES", ("batch", 2)), spec("scores", "FP32", ("batch", 2)))
    result = step({"x": np.array([[0.1, 0.2, 0.3, 0.4], [9, 8, 7, 6]], dtype=np.float32)})
    assert result["labels"].tolist() == [["dög".encode(), b"cat"], [b"ant", b"bee"]]
    np.testing.assert_array_equal(result["scores"], np.array([[0.4, 0.3], [9, 8]], dtype=np.float32))
    assert set(result) == {"labels", "scores"}


def test_without_labels_it_gives_class_numbers() -> None:
    """Classes are counted from 0, as INT64."""
    step = TopK(k=1)
    assert [item.name for item in step.outer((spec(),))] == ["classes", "scores"]
    result = step({"x": np.array([[0, 5, 1, 2]], dtype=np.float32)})
    assert result["classes"].dtype == np.int64
    assert result["classes"].tolist() == [[1]]


def test_a_model_without_a_batch_works(labels: Path) -> None:
    """A single vector of scores gives vectors of length k."""
    step = TopK(k=3, labels=str(labels))
    step.outer((spec(shape=(4,)),))
    result = step({"x": np.array([1, 3, 2, 0], dtype=np.float32)})
    assert result["labels"].tolist() == [b"bee", b"cat", b"ant"]


def test_ties_go_to_the_lower_class() -> None:
    """Equal scores keep the order of their classes."""
    step = TopK(k=4)
    step.outer((spec(),))
    assert step({"x": np.array([[1, 2, 2, 1]], dtype=np.float32)})["classes"].tolist() == [[1, 2, 0, 3]]


@pytest.mark.parametrize("datatype", ["FP16", "BF16", "FP32", "FP64"])
def test_nan_ranks_below_every_number(datatype: str) -> None:
    """A score that is no number never wins, not even against minus infinity."""
    step = TopK(k=4)
    step.outer((spec(datatype=datatype),))
    scores = np.array([[np.nan, -np.inf, 1, np.inf]], dtype=np.float32)
    stored = fp32_to_bf16(scores) if datatype == "BF16" else scores.astype(DATATYPES[datatype].storage)
    result = step({"x": stored})
    assert result["classes"].tolist() == [[3, 2, 1, 0]]
    assert result["scores"].dtype == stored.dtype


@pytest.mark.parametrize("datatype", ["INT8", "UINT8", "INT64", "UINT64"])
def test_the_ends_of_integer_ranges_rank_rightly(datatype: str) -> None:
    """The least value, which has no negative of its own, comes last and the greatest first."""
    step = TopK(k=4)
    step.outer((spec(datatype=datatype),))
    info = np.iinfo(DATATYPES[datatype].storage)
    result = step({"x": np.array([[info.min, 1, info.max, 0]], dtype=DATATYPES[datatype].storage)})
    assert result["classes"][0, 0] == 2
    assert result["scores"][0].tolist() == sorted([info.min, 1, info.max, 0], reverse=True)


@given(
    scores=hnp.arrays(np.float32, hnp.array_shapes(min_dims=1, max_dims=3, max_side=8), elements=st.floats(width=32)),
    data=st.data(),
)
def test_scores_are_the_greatest_and_fall(scores: np.ndarray[Any, Any], data: st.DataObject) -> None:
    """What is kept is sorted, is what the classes point at, and nothing left out is greater."""
    k = data.draw(st.integers(1, scores.shape[-1]))
    step = TopK(k=k)
    step.outer((spec(shape=(None,) * scores.ndim),))
    result = step({"x": scores})
    np.testing.assert_array_equal(np.take_along_axis(scores, result["classes"], axis=-1), result["scores"])
    comparable = np.where(np.isnan(scores), -np.inf, scores)
    kept = np.take_along_axis(comparable, result["classes"], axis=-1)
    np.testing.assert_array_equal(kept, np.sort(comparable, axis=-1)[..., ::-1][..., :k])


def test_outputs_can_be_renamed_and_others_pass() -> None:
    """The step replaces its own tensor, in its place, under the names asked for."""
    step = TopK(tensor="x", label="animal", score="confidence")
    other = spec("embedding")
    assert [item.name for item in step.outer((spec(), other))] == ["animal", "confidence", "embedding"]
    vector = np.ones((1, 4), dtype=np.float32)
    assert step({"x": vector, "embedding": vector})["embedding"] is vector


def test_a_name_that_is_taken_is_refused() -> None:
    """Neither another tensor nor the two new ones may share a name."""
    with pytest.raises(ConfigError, match="two tensors would be named 'scores'"):
        TopK(tensor="x").outer((spec(), spec("scores")))
    with pytest.raises(ConfigError, match="two tensors would be named 'a'"):
        TopK(label="a", score="a").outer((spec(),))


def test_the_tensor_itself_may_be_called_scores() -> None:
    """The replaced tensor's own name is free again."""
    step = TopK()
    assert [item.name for item in step.outer((spec("scores"),))] == ["classes", "scores"]
    assert step({"scores": np.array([[3, 1, 2, 0]], dtype=np.float32)})["scores"].tolist() == [[3]]


def test_k_beyond_the_classes_is_refused() -> None:
    """A fixed class axis is checked when the pipeline is planned."""
    with pytest.raises(ConfigError, match="only 4 classes") as caught:
        TopK(k=5).outer((spec(),))
    assert caught.value.field == "top_k.k"


def test_labels_must_match_the_classes(labels: Path) -> None:
    """Four labels do not fit three classes, and five of four labels cannot be asked for."""
    with pytest.raises(ConfigError, match="has 4 labels, but 'x' has 3 classes"):
        TopK(labels=str(labels)).outer((spec(shape=("batch", 3)),))
    with pytest.raises(ConfigError, match="only 4 labels"):
        TopK(k=5, labels=str(labels))


def test_a_free_class_axis_is_checked_per_request(labels: Path) -> None:
    """Where the client's input decides the number of classes, the client is told."""
    step = TopK(labels=str(labels))
    step.outer((spec(shape=("batch", "classes")),))
    with pytest.raises(InvalidInput, match="give 3 classes, but the service ranks 4"):
        step({"x": np.zeros((1, 3), dtype=np.float32)})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"a\n\nb\n", r"has an empty line \(2\)"),
        (b"\xff\xfea", "is not UTF-8"),
    ],
)
def test_a_label_file_that_is_none_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    """The error names the file and what is wrong with it."""
    path = tmp_path / "labels.txt"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"'labels.txt' {message}"):
        TopK(labels=str(path))


def test_a_missing_label_file_is_named_without_its_folder(tmp_path: Path) -> None:
    """The message ends up in front of users; the folder stays out of it."""
    with pytest.raises(ConfigError, match=r"'labels\.txt' cannot be read") as caught:
        TopK(labels=str(tmp_path / "labels.txt"))
    assert str(tmp_path) not in str(caught.value)


def test_windows_line_ends_and_a_byte_order_mark_are_no_part_of_labels(tmp_path: Path) -> None:
    """Label files come from every editor."""
    path = tmp_path / "labels.txt"
    path.write_bytes(b"\xef\xbb\xbfa\r\nb\r\n")
    step = TopK(k=2, labels=str(path))
    step.outer((spec(shape=(2,)),))
    assert step({"x": np.array([1, 0], dtype=np.float32)})["labels"].tolist() == [b"a", b"b"]


@pytest.mark.parametrize("k", [0, -1, True, "3", 1.5])
def test_k_must_be_a_positive_whole_number(k: Any) -> None:
    """Everything else is refused by name."""
    with pytest.raises(ConfigError, match="at least 1") as caught:
        TopK(k=k)
    assert caught.value.field == "top_k.k"


@pytest.mark.parametrize("item", [spec(datatype="BYTES"), spec(datatype="BOOL"), spec(shape=())])
def test_only_vectors_of_numbers_can_be_ranked(item: TensorSpec) -> None:
    """Strings, booleans and scalars are refused when the pipeline is planned."""
    with pytest.raises(ConfigError, match="rank"):
        TopK().outer((item,))


def test_it_stands_after_the_engine() -> None:
    """What it does makes no sense before the engine, and it says so."""
    assert place(TopK()) == "after"
