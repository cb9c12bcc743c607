"""What makes two requests equal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nimify.serving.response_cache.key import RequestKeys, hashing_cost

KEYS = RequestKeys("sha256:aa")
X = np.arange(6, dtype=np.float32).reshape(2, 3)


def key(inputs: dict[str, Any] | None = None, outputs: tuple[str, ...] = ("y",)) -> bytes:
    return KEYS.key({"x": X} if inputs is None else inputs, outputs)


def strings(*texts: bytes | str) -> dict[str, Any]:
    return {"x": np.array(texts, dtype=object)}


def test_equal_values_have_one_key_however_they_lie_in_memory() -> None:
    """Also when they are a part of something larger, in another order, or the inputs come in another order."""
    wide = np.zeros((2, 6), np.float32)
    wide[:, ::2] = X
    assert key({"x": wide[:, ::2]}) == key({"x": np.asfortranarray(X)}) == key({"x": X.copy()}) == key()
    assert key({"a": X, "b": X}) == key({"b": X, "a": X})


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ({"x": X + 1}, ("y",)),
        ({"x": -X}, ("y",)),
        ({"x": X.reshape(3, 2)}, ("y",)),
        ({"x": X.astype(np.float64)}, ("y",)),
        ({"x": X.view(np.int32)}, ("y",)),
        ({"z": X}, ("y",)),
        ({"x": X, "z": X}, ("y",)),
        ({"x": X}, ("y", "z")),
        ({"x": X}, ("z",)),
        ({"x": X[:0]}, ("y",)),
    ],
)
def test_whatever_changes_the_answer_changes_the_key(inputs: dict[str, Any], outputs: tuple[str, ...]) -> None:
    """Values, shape, datatype, names, and the outputs with their order."""
    assert key(inputs, outputs) != key()


def test_the_order_of_outputs_counts() -> None:
    """The answer has them in that order."""
    assert key(outputs=("y", "z")) != key(outputs=("z", "y"))


def test_another_model_has_other_keys() -> None:
    """Its digest is a part of each."""
    assert RequestKeys("sha256:bb").key({"x": X}, ("y",)) != key()


def test_strings_are_told_apart_by_where_they_end() -> None:
    """No two rows of strings are one row of bytes."""
    rows = [
        strings(b"ab", b"c"), strings(b"a", b"bc"), strings(b"abc", b""), strings(b"", b"abc"), strings("abc", b"")
    ]  # fmt: skip
    assert len({key(row) for row in rows}) == len(rows)


@pytest.mark.parametrize("array", [np.float32(1.5), np.zeros((0, 4)), np.zeros((2, 0)), np.array(True)])
def test_scalars_and_empty_arrays_have_keys(array: Any) -> None:
    """They are values like others."""
    assert len(key({"x": np.asarray(array)})) == 32


def test_many_strings_cost_more_than_their_pointers() -> None:
    """So that they are hashed beside the event loop, as large tensors are."""
    assert hashing_cost(strings(*[b""] * 10_000)) > 1 << 20
    assert hashing_cost({"x": X}) == X.nbytes
