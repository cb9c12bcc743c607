"""Questions that are all different, and what ONNX Runtime itself answers to each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnxruntime as ort

from nimify.tensors import DATATYPES
from nimify.testing.graph_builder import GraphBuilder

if TYPE_CHECKING:
    import onnx

Array = np.ndarray[Any, Any]

NAME: Final = "keyed"
"""The model that is asked."""
_WIDTHS: Final = (3, 5, 8)
"""Rows of different widths cannot be merged: batches must be told apart."""
_MOST_ROWS: Final = 3
_LARGEST_KEY: Final = 2**21
"""Results stay whole numbers below 2^24, so FP32 holds them exactly and the order of a sum changes nothing."""


@dataclass(frozen=True)
class Question:
    """One request: a few rows that no other one has.

    Attributes:
        number: Which question it is.
        inputs: The arrays by name.
    """

    number: int
    inputs: Mapping[str, Array]


def question(number: int, *, width: int = 0) -> Question:
    """The question of that number: from one to three rows with keys of their own.

    Args:
        number: From 0 on; the same number is the same question.
        width: Of the rows; 0 for one of three widths.
    """
    random = np.random.default_rng(number)
    rows, width = 1 + number % _MOST_ROWS, width or _WIDTHS[number // _MOST_ROWS % len(_WIDTHS)]
    keys = (number * _MOST_ROWS + np.arange(rows, dtype=np.int64)) % _LARGEST_KEY
    x = random.integers(0, 4, size=(rows, width)).astype(np.float32)
    return Question(number, {"x": x, "key": keys.reshape(-1, 1)})


def keyed_model(*, width: int = 0) -> onnx.ModelProto:
    """`x` FP32[batch, n] and `key` INT64[batch, 1] to `y` = x * key + the sum of the row, and `next` = key + 1.

    Args:
        width: Of the rows; 0 for any, and then the model runs on a thread beside the event loop.
    """
    graph = GraphBuilder(NAME)
    columns = width or "n"
    x = graph.input("x", "FP32", ["batch", columns])
    key = graph.input("key", "INT64", ["batch", 1])
    product = graph.op("Mul", x, graph.op("Cast", key, to=DATATYPES["FP32"].onnx))
    total = graph.op("ReduceSum", x, graph.constant([1], "int64"), keepdims=1)
    graph.output(graph.op("Add", product, total, out="y"), "FP32", ["batch", columns])
    graph.output(graph.op("Add", key, graph.constant([[1]], "int64"), out="next"), "INT64", ["batch", 1])
    return graph.model()


class Oracle:
    """ONNX Runtime itself, asked one question at a time and without a service between."""

    def __init__(self, model: onnx.ModelProto) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._session: Any = ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def answer(self, asked: Question) -> dict[str, Array]:
        """The right answer."""
        y, following = self._session.run(["y", "next"], dict(asked.inputs))
        return {"y": y, "next": following}
