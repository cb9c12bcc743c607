"""Which models answer equal requests differently."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import helper

from nimify.analysis.analyzer import AnalysisOptions, ModelAnalyzer
from nimify.analysis.randomness import random_operators
from nimify.testing import models
from nimify.testing.graph_builder import GraphBuilder


def found(model: onnx.ModelProto, folder: Path) -> tuple[str, ...]:
    path = models.save(model, folder / "model.onnx")
    return ModelAnalyzer(AnalysisOptions(trial=False)).analyze(path).random_operators


def one(kind: str, **attributes: Any) -> onnx.ModelProto:
    graph = GraphBuilder("one")
    x = graph.input("x", "FP32", ["batch", 4])
    graph.output(graph.op(kind, x, out="y", **attributes), "FP32", ["batch", 4])
    return graph.model()


def dropout(*training: str) -> onnx.ModelProto:
    """A Dropout whose training mode is `stored-true`, `stored-false`, `asked` for by an input, or left out."""
    graph = GraphBuilder("dropout")
    x = graph.input("x", "FP32", ["batch", 4])
    modes = {
        "stored-true": lambda: graph.constant(True, "bool"),
        "stored-false": lambda: graph.constant(False, "bool"),
        "asked": lambda: graph.input("train", "BOOL", []),
    }
    more = [graph.constant(0.5), *(modes[mode]() for mode in training)] if training else []
    graph.output(graph.op("Dropout", x, *more, out="y"), "FP32", ["batch", 4])
    return graph.model()


@pytest.mark.parametrize("kind", ["RandomNormalLike", "RandomUniformLike", "Bernoulli"])
def test_operators_that_draw_are_found(kind: str, tmp_path: Path) -> None:
    """A seed does not help: the next run draws on."""
    assert found(one(kind, seed=1.0), tmp_path) == (kind,)


@pytest.mark.parametrize("name", ["tiny", "digits", "if", "loop", "text"])
def test_ordinary_models_are_not_random(name: str, tmp_path: Path) -> None:
    """They answer equal requests equally."""
    assert found(models.ALL[name](), tmp_path) == ()


@pytest.mark.parametrize(
    ("training", "random"),
    [((), ()), (("stored-false",), ()), (("stored-true",), ("Dropout",)), (("asked",), ("Dropout",))],
)
def test_dropout_counts_when_it_drops(training: tuple[str, ...], random: tuple[str, ...], tmp_path: Path) -> None:
    """In training, and when the request decides."""
    assert found(dropout(*training), tmp_path) == random


def test_subgraphs_are_searched(tmp_path: Path) -> None:
    """A branch that may never run counts: nobody knows beforehand."""
    branches = []
    for name in ("then", "else"):
        branch = GraphBuilder(name)
        value = branch.op("RandomUniform", shape=[1, 4]) if name == "then" else branch.constant([[0.0] * 4])
        branch.output(branch.op("Identity", value, out=f"{name}_y"), "FP32", [1, 4])
        branches.append(branch.graph())
    graph = GraphBuilder("branching")
    go = graph.input("go", "BOOL", [])
    graph.output(graph.op("If", go, out="y", then_branch=branches[0], else_branch=branches[1]), "FP32", [1, 4])
    assert found(graph.model(), tmp_path) == ("RandomUniform",)


def test_functions_are_searched(tmp_path: Path) -> None:
    """What the model calls may draw, too."""
    model = one("Noisy", domain="own")
    opset = helper.make_opsetid("", 17)
    draw = helper.make_node("RandomNormalLike", ["a"], ["b"])
    model.functions.append(helper.make_function("own", "Noisy", ["a"], ["b"], [draw], [opset]))
    model.opset_import.append(helper.make_opsetid("own", 1))
    assert found(model, tmp_path) == ("RandomNormalLike",)


def test_in_doubt_dropout_counts() -> None:
    """Without a graph nobody knows whether it drops."""
    assert random_operators(["Add", "Dropout"], None) == ("Dropout",)
