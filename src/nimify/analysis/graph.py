"""`InferredGraph`: the model's graph with every shape that could be inferred, at one binding of its free axes.

Everything that estimates (memory, compute, TensorRT) reads this and nothing of ONNX. One graph is for one binding,
e.g. batch 1 and sequence 128: all shapes are numbers. Estimates for another batch are made from another binding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, Final

ELEMENT_BITS: Final[Mapping[str, int]] = {
    "FLOAT": 32, "DOUBLE": 64, "FLOAT16": 16, "BFLOAT16": 16, "BOOL": 8, "STRING": 128,
    "INT8": 8, "INT16": 16, "INT32": 32, "INT64": 64, "UINT8": 8, "UINT16": 16, "UINT32": 32, "UINT64": 64,
    "FLOAT8E4M3FN": 8, "FLOAT8E4M3FNUZ": 8, "FLOAT8E5M2": 8, "FLOAT8E5M2FNUZ": 8, "FLOAT4E2M1": 4,
    "INT4": 4, "UINT4": 4, "COMPLEX64": 64, "COMPLEX128": 128,
}  # fmt: skip
"""Bits per element by the name of `TensorProto.DataType`; a STRING counts as its handle in ONNX Runtime."""


@dataclass(frozen=True, slots=True)
class Value:
    """One tensor that flows along an edge, or a stored one.

    Attributes:
        name: Unique within its graph.
        element_type: Name of `TensorProto.DataType`; empty when it could not be inferred.
        shape: Lengths of the axes; `None` when they could not be inferred.
        stored: Whether it is a weight (an initializer or a constant).
    """

    name: str
    element_type: str = ""
    shape: tuple[int, ...] | None = None
    stored: bool = False

    @property
    def elements(self) -> int | None:
        """How many elements; `None` when unknown."""
        return None if self.shape is None else prod(self.shape)

    @property
    def size_bytes(self) -> int | None:
        """How many bytes; `None` when unknown."""
        bits = ELEMENT_BITS.get(self.element_type)
        return None if bits is None or self.shape is None else -(-prod(self.shape) * bits // 8)


@dataclass(frozen=True, slots=True)
class Node:
    """One operation.

    Attributes:
        name: As in the file, or `<operator>_<position>` when it has none.
        operator: Operator name.
        domain: `ai.onnx` for the standard one.
        inputs: Names of values; an omitted optional input is empty.
        outputs: Names of values; an omitted optional output is empty.
        attributes: Plain values by name: numbers, text, lists; tensors and graphs are left out.
        constants: Small constant inputs by position, as (nested) lists of numbers: shapes, axes, repeats.
        subgraphs: Bodies by attribute name (`then_branch`, `else_branch`, `body`).
    """

    name: str
    operator: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    constants: Mapping[int, Any] = field(default_factory=dict)
    subgraphs: Mapping[str, InferredGraph] = field(default_factory=dict)

    @property
    def qualified(self) -> str:
        """The operator's name, with its domain when that is not the standard one."""
        return self.operator if self.domain == "ai.onnx" else f"{self.domain}::{self.operator}"


@dataclass(frozen=True, slots=True)
class Gap:
    """Where inference stopped.

    Attributes:
        node: Name of the node whose outputs are unknown.
        operator: Its operator.
        reason: Why, in one sentence.
    """

    node: str
    operator: str
    reason: str


@dataclass(frozen=True, slots=True)
class InferredGraph:
    """A graph at one binding.

    Attributes:
        nodes: In an order in which they can run.
        values: Every value by name, weights included.
        inputs: Names of the inputs, weights not included.
        outputs: Names of the outputs.
        binding: What the free axes were set to, by name.
        opset: Version of the standard operator set.
        gaps: Where inference stopped; empty when every shape is known.
    """

    nodes: tuple[Node, ...]
    values: Mapping[str, Value]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    binding: Mapping[str, int]
    opset: int
    gaps: tuple[Gap, ...] = ()
