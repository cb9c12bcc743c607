"""Recurrent layers: matrix products per step, and the arithmetic of their gates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from nimify.analysis.compute.view import Rule, View, Work

_SIGMOID: Final = 4
"""Negate, exponential, add, divide."""


def _layer(gates: int, per_unit: int) -> Rule:
    """A layer whose gates multiply input and state with matrices of their own, in each direction.

    Args:
        gates: Matrices of hidden by input, and as many of hidden by hidden.
        per_unit: Operations per hidden unit and step besides.
    """

    def rule(view: View) -> Work:
        data = view.shape(0)
        by_batch = view.number("layout", 0) == 1
        steps, batch = (data[1], data[0]) if by_batch else (data[0], data[1])
        both = view.text("direction", "forward") == "bidirectional"
        hidden = view.number("hidden_size", view.shape(2)[-1])
        units = steps * batch * hidden * (2 if both else 1)
        return Work(units * gates * (data[2] + hidden), units * per_unit)

    return rule


RECURRENT: Final[Mapping[str, Rule]] = {
    # Three sigmoids, two tanh; the new cell and the new state take three products and a sum.
    "DynamicQuantizeLSTM": _layer(4, 3 * _SIGMOID + 2 + 4),
    # Two sigmoids, one tanh; reset times state, and (1 - z) * new + z * state.
    "GRU": _layer(3, 2 * _SIGMOID + 1 + 5),
    "LSTM": _layer(4, 3 * _SIGMOID + 2 + 4),
    "RNN": _layer(1, 1),
}
"""Rules by operator name."""
