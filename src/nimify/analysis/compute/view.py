"""One node of an inferred graph as a counting rule sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any, NamedTuple, TypeAlias

from nimify.analysis.graph import Node, Value


class Uncountable(Exception):
    """A node's work cannot be told from what is known of it."""


class Work(NamedTuple):
    """What a node does.

    Attributes:
        macs: Multiply-accumulates of matrix products and convolutions.
        other: Further operations.
    """

    macs: int = 0
    other: int = 0


class View(NamedTuple):
    """A node, and the values that it sees.

    Attributes:
        node: The node.
        values: By name, those of the graphs around it included.
    """

    node: Node
    values: Mapping[str, Value]

    def input(self, position: int) -> Value | None:
        """An input; `None` when it is omitted."""
        inputs = self.node.inputs
        return self.values.get(inputs[position]) if position < len(inputs) else None

    def has(self, position: int) -> bool:
        """Whether an optional input is given."""
        return position < len(self.node.inputs) and bool(self.node.inputs[position])

    def shape(self, position: int) -> tuple[int, ...]:
        """The shape of an input.

        Raises:
            Uncountable: It is unknown.
        """
        value = self.input(position)
        if value is None or value.shape is None:
            raise Uncountable
        return value.shape

    def elements(self, position: int = 0) -> int:
        """How many elements an input has; see `shape`."""
        return prod(self.shape(position))

    def result(self, position: int = 0) -> tuple[int, ...]:
        """The shape of an output.

        Raises:
            Uncountable: It is unknown.
        """
        outputs = self.node.outputs
        value = self.values.get(outputs[position]) if position < len(outputs) else None
        if value is None or value.shape is None:
            raise Uncountable
        return value.shape

    def results(self) -> int:
        """How many elements the first output has."""
        return prod(self.result())

    def number(self, name: str, default: int) -> int:
        """An attribute that is a whole number."""
        value = self.node.attributes.get(name, default)
        if not isinstance(value, int):
            raise Uncountable
        return value

    def text(self, name: str, default: str = "") -> str:
        """An attribute that is a text."""
        return str(self.node.attributes.get(name, default))

    def numbers(self, name: str) -> list[int]:
        """An attribute that is a list of whole numbers."""
        value: Any = self.node.attributes.get(name, [])
        if not isinstance(value, list) or not all(isinstance(item, int) for item in value):
            raise Uncountable
        return value


Rule: TypeAlias = Callable[[View], Work]
"""Counts a node's work.

Raises:
    Uncountable: It cannot.
"""
