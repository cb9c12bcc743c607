"""Trees and linear models of `ai.onnx.ml`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from nimify.analysis.compute.view import Rule, Uncountable, View, Work
from nimify.analysis.inference.trees import VISITS


def _rows(view: View) -> int:
    shape = view.shape(0)
    return shape[0] if len(shape) > 1 else 1


def _trees(view: View) -> Work:
    """One comparison per node that a row visits, and one addition per leaf; `VISITS` holds both for one row."""
    visits = view.node.attributes.get(VISITS)
    if not isinstance(visits, int):
        raise Uncountable
    return Work(0, _rows(view) * visits)


def _linear(view: View) -> Work:
    coefficients = view.node.attributes.get("coefficients", [])
    count = len(coefficients) if isinstance(coefficients, list) and coefficients else None
    if count is None:
        outputs = view.result(len(view.node.outputs) - 1)
        count = view.shape(0)[-1] * outputs[-1]
    return Work(_rows(view) * count)


CLASSIC: Final[Mapping[str, Rule]] = {
    "LinearClassifier": _linear,
    "LinearRegressor": _linear,
    "TreeEnsemble": _trees,
    "TreeEnsembleClassifier": _trees,
    "TreeEnsembleRegressor": _trees,
}
"""Rules by operator name."""
