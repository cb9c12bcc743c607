"""What a node and a graph cost to compute.

Conventions. A multiply-accumulate counts as two floating point operations; the bias of a matrix product or a
convolution counts nothing. Elsewhere each addition, multiplication, division, comparison, root, power and
transcendental function counts as one operation, whatever hardware makes of it. Integer arithmetic on tensors counts
like floating point. Bytes are those of all inputs read once and all outputs written once; an operator that only
renames its data (`Reshape`) moves none, and one that takes parts of it (`Gather`, `Slice`) reads what it takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class NodeCost:
    """What one node of the main graph costs, the bodies inside it included.

    Attributes:
        node: Its name.
        operator: Its operator, with the domain when that is not the standard one.
        flops: Floating point operations.
        macs: Multiply-accumulates of matrix products and convolutions; `flops` holds them twice.
        bytes_read: Bytes of inputs.
        bytes_written: Bytes of outputs.
        element_type: In which it computes, by the name of `TensorProto.DataType`; empty when unknown.
        counted: Whether its operations could be counted.
    """

    node: str
    operator: str
    flops: int
    macs: int
    bytes_read: int
    bytes_written: int
    element_type: str = "FLOAT"
    counted: bool = True

    @property
    def bytes(self) -> int:
        """Bytes read and written."""
        return self.bytes_read + self.bytes_written


@dataclass(frozen=True, slots=True)
class OperatorCost:
    """What all nodes of one operator cost, those in bodies included.

    Attributes:
        nodes: How many there are; a node in the body of a loop counts once.
        flops: Floating point operations.
        macs: Multiply-accumulates.
        bytes: Bytes read and written.
    """

    nodes: int = 0
    flops: int = 0
    macs: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Compute:
    """What one run of a graph costs.

    Attributes:
        total_flops: Floating point operations.
        matrix_macs: Multiply-accumulates of matrix products and convolutions.
        bytes: Bytes read and written by all nodes.
        by_operator: The same per operator, the most expensive first.
        nodes: The same per node of the main graph, in its order.
        uncounted: Operators whose work is not counted, because it is unknown or their shapes are.
    """

    total_flops: int
    matrix_macs: int
    bytes: int
    by_operator: Mapping[str, OperatorCost]
    nodes: tuple[NodeCost, ...]
    uncounted: tuple[str, ...]

    @property
    def arithmetic_intensity(self) -> float:
        """Floating point operations per byte."""
        return self.total_flops / self.bytes if self.bytes else 0.0

    def to_dict(self) -> dict[str, Any]:
        """As plain data, without the single nodes."""
        return {
            "total_flops": self.total_flops,
            "matrix_macs": self.matrix_macs,
            "bytes": self.bytes,
            "arithmetic_intensity": round(self.arithmetic_intensity, 3),
            "by_operator": {name: asdict(cost) for name, cost in self.by_operator.items()},
            "uncounted": list(self.uncounted),
        }
