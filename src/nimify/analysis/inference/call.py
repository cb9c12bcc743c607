"""One node as a rule sees it: its operator, its attributes, and what is known of its inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nimify.analysis.inference.kinds import UNKNOWN, Array, Kind, Shape, Tensor


class NotInferable(Exception):
    """A rule cannot tell what a node gives; the message says why."""


@dataclass(frozen=True, slots=True)
class Call:
    """A node with what is known of its inputs.

    Attributes:
        operator: Operator name.
        domain: `ai.onnx` for the standard one.
        attributes: Values by name.
        inputs: What is known of each; `None` for an omitted one.
        array: Content of an input by position, if it is known.
        outputs: How many outputs the node names.
        fingerprint: The same for nodes with equal attributes; empty for those with bodies, and with no attributes.
    """

    operator: str
    domain: str
    attributes: Mapping[str, Any]
    inputs: Sequence[Kind | None]
    array: Callable[[int], Array | None]
    outputs: int
    fingerprint: bytes

    def tensor(self, position: int) -> Tensor:
        """An input; unknown when it is omitted or no tensor."""
        kind = self.inputs[position] if position < len(self.inputs) else None
        return kind if isinstance(kind, Tensor) else UNKNOWN

    def has(self, position: int) -> bool:
        """Whether an optional input is given."""
        return position < len(self.inputs) and self.inputs[position] is not None

    def shape(self, position: int, rank: int | None = None) -> Shape:
        """The shape of an input.

        Raises:
            NotInferable: It is unknown, or of another rank than the operator takes.
        """
        shape = self.tensor(position).shape
        if shape is None:
            raise NotInferable(f"the shape of its input {position} is unknown")
        if rank is not None and len(shape) != rank:
            raise NotInferable(f"its input {position} has {len(shape)} axes instead of {rank}")
        return shape

    def number(self, name: str, default: int | None = None) -> int:
        """An attribute that is a whole number.

        Raises:
            NotInferable: It is missing and has no default, or is something else.
        """
        value = self.attributes.get(name, default)
        if not isinstance(value, int):
            raise NotInferable(f"its attribute '{name}' is missing or is no whole number")
        return value

    def numbers(self, name: str, default: Sequence[int] = ()) -> list[int]:
        """An attribute that is a list of whole numbers.

        Raises:
            NotInferable: It is something else.
        """
        value = self.attributes.get(name, default)
        if not isinstance(value, list | tuple) or not all(isinstance(item, int) for item in value):
            raise NotInferable(f"its attribute '{name}' is no list of whole numbers")
        return list(value)


Rule = Callable[[Call], Sequence[Kind]]
"""Tells what a node gives, from the first output on; it may stop early.

Raises:
    NotInferable: It cannot tell.
"""
