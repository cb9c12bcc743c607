"""The user's own inputs from files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nimify.analysis.sampling import load_sample
from nimify.errors import ConfigError
from nimify.tensors import DATATYPES, Dim, Signature, TensorSpec, fp32_to_bf16


def signature(datatype: str, shape: tuple[Dim, ...] = ("batch", 2)) -> Signature:
    return Signature((TensorSpec("x", DATATYPES[datatype], shape),), ())


def write_json(folder: Path, data: object) -> Path:
    path = folder / "sample.json"
    path.write_text(json.dumps(data))
    return path


@pytest.mark.parametrize(
    ("datatype", "values", "stored"),
    [
        ("FP32", [[1, 2.5]], np.array([[1, 2.5]], dtype="<f4")),
        ("FP16", [[1, 2.5]], np.array([[1, 2.5]], dtype="<f2")),
        ("BF16", [[1, 2.5]], fp32_to_bf16(np.array([[1, 2.5]], dtype="<f4"))),
        ("UINT8", [[0, 255]], np.array([[0, 255]], dtype="u1")),
        ("INT64", [[-1, 2**62]], np.array([[-1, 2**62]], dtype="<i8")),
        ("BOOL", [[True, False]], np.array([[True, False]])),
        ("BYTES", [["ä", ""]], np.array([["ä".encode(), b""]], dtype=object)),
    ],
)
def test_json_values_become_the_datatypes_storage(
    datatype: str, values: object, stored: np.ndarray, tmp_path: Path
) -> None:
    """By input name, or as the body of a request."""
    for data in ({"x": values}, {"inputs": {"x": values}}):
        loaded = load_sample(write_json(tmp_path, data), signature(datatype))["x"]

        assert loaded.dtype == stored.dtype
        np.testing.assert_array_equal(loaded, stored)


def test_npz_arrays_are_taken_by_name(tmp_path: Path) -> None:
    """What numpy.savez writes, in a wider type, is narrowed when nothing is lost."""
    np.savez(tmp_path / "sample.npz", x=np.array([[1, 2]], dtype=np.int64))

    loaded = load_sample(tmp_path / "sample.npz", signature("INT8"))["x"]

    assert loaded.dtype == np.int8
    assert loaded.tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("datatype", "data", "sentence"),
    [
        ("FP32", {}, "lacks the input 'x'; the model takes 'x'"),
        ("FP32", {"x": [[1, 2]], "y": [1]}, "has 'y', which is not an input"),
        ("FP32", {"x": [1, 2]}, r"input 'x' has the shape \[2\]; the model takes \[-1, 2\]"),
        ("FP32", {"x": [[1, 2, 3]]}, r"has the shape \[1, 3\]"),
        ("FP32", {"x": [[1], [2, 3]]}, "lists of different lengths"),
        ("FP32", {"x": [["1", "2"]]}, "does not hold FP32 values"),
        ("UINT8", {"x": [[0, 256]]}, "does not hold UINT8 values"),
        ("UINT64", {"x": [[-1, 0]]}, "does not hold UINT64 values"),
        ("INT64", {"x": [[1.5, 2]]}, "does not hold INT64 values"),
        ("BOOL", {"x": [[1, 0]]}, "does not hold BOOL values"),
        ("BYTES", {"x": [[1, 0]]}, "does not hold BYTES values"),
        ("FP32", {"x": None}, "does not hold FP32 values"),
        ("FP32", [1], "is not an object of inputs"),
    ],
)
def test_samples_that_do_not_fit_say_why(datatype: str, data: object, sentence: str, tmp_path: Path) -> None:
    """Each message names the file, the input, and what the model takes."""
    with pytest.raises(ConfigError, match=sentence) as caught:
        load_sample(write_json(tmp_path, data), signature(datatype))

    assert caught.value.message.startswith("golden.sample: ")


def test_pickles_in_npz_files_are_not_loaded(tmp_path: Path) -> None:
    """An object array could run any program."""
    np.savez(tmp_path / "sample.npz", x=np.array([{"a": 1}], dtype=object))

    with pytest.raises(ConfigError, match="of plain arrays"):
        load_sample(tmp_path / "sample.npz", signature("FP32"))


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("sample.txt", b"", r"neither an \.npz nor a \.json file"),
        ("sample.json", b"{", "is not JSON"),
        ("sample.json", b"[" * 100_000, "is not JSON"),
        ("sample.json", b"\xff", "is not JSON"),
        ("sample.npz", b"", "is not an .npz file"),
        ("sample.npz", b"PK\x03\x04rubbish", "is not an .npz file"),
        ("sample.npz", b"rubbish", "is not an .npz file"),
    ],
)
def test_files_that_are_no_samples_are_errors(name: str, content: bytes, sentence: str, tmp_path: Path) -> None:
    """No content of a file is more than a sentence."""
    (tmp_path / name).write_bytes(content)

    with pytest.raises(ConfigError, match=sentence):
        load_sample(tmp_path / name, signature("FP32"))


def test_missing_samples_are_errors(tmp_path: Path) -> None:
    """The system's own words are kept."""
    with pytest.raises(ConfigError, match="cannot be read"):
        load_sample(tmp_path / "nothing.npz", signature("FP32"))


def test_single_arrays_are_told_how_to_become_samples(tmp_path: Path) -> None:
    """numpy.save is not numpy.savez."""
    np.save(tmp_path / "array.npy", np.zeros((1, 2)))
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")

    with pytest.raises(ConfigError, match="single array"):
        load_sample(tmp_path / "array.npz", signature("FP32"))
