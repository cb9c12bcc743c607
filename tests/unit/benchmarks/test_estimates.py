"""The table of estimates: what it promises, what it prints, and that the zoo is what it says it is."""

from __future__ import annotations

import itertools
from pathlib import Path

import onnx
import pytest
from benchmarks import analysis_cost
from benchmarks.estimates import Row, Summary, estimated, line, stored_bytes, verdict
from benchmarks.model_zoo import ONE_NODE, ZOO, ZooModel
from benchmarks.zoo_other import trees

from nimify.analysis.structure import infer_model

MIB = 1 << 20


def row(estimated_mib: int, measured_mib: int, *, held_out: bool = False) -> Row:
    return Row("model", "CNN", 1, held_out, 10 * MIB, estimated_mib * MIB, measured_mib * MIB)


def test_errors_are_relative_to_what_was_measured() -> None:
    """110 estimated and 100 measured is ten in a hundred too much."""
    assert row(110, 100).error == pytest.approx(0.1)
    assert row(90, 100).error == pytest.approx(-0.1)


@pytest.mark.parametrize(
    ("pairs", "kept"),
    [
        ([(105, 100), (95, 100), (120, 100)], True),
        ([(105, 100), (95, 100), (126, 100)], False),
        ([(100, 100), (100, 100), (89, 100)], False),
        ([(111, 100), (111, 100), (111, 100)], False),
    ],
    ids=["kept", "one too far off", "one too far under the truth", "median too far off"],
)
def test_the_promise_has_three_parts(pairs: list[tuple[int, int]], kept: bool) -> None:
    """Median, worst, and worst under the truth; each alone can break it."""
    assert Summary.of([row(*pair) for pair in pairs]).kept is kept


def test_an_overestimate_is_not_under_the_truth() -> None:
    """The third part of the promise is zero when every estimate is too high."""
    assert Summary.of([row(120, 100)]).worst_under == 0


def test_a_line_shows_both_figures_and_the_error() -> None:
    """In MiB, with a sign, and whether the model was held out."""
    shown = line(row(110, 100, held_out=True))
    assert "110.0" in shown
    assert "+10.0 %" in shown
    assert shown.endswith("held out")
    assert verdict("all", [row(110, 100)]) == (
        "all (1 rows): median 10.0%, worst 10.0%, most under the truth 0.0%"
    )  # fmt: skip


def test_the_zoo_is_as_wide_as_it_says() -> None:
    """At least twenty-five models of every kind that the promise names, and some that the estimator has not seen."""
    assert len(ZOO) >= 25
    families = {model.family for model in ZOO.values()}
    assert families >= {"CNN", "transformer", "RNN", "detection", "audio", "trees", "quantised", "FP16", "control"}
    assert sum(not model.calibrates for model in ZOO.values()) >= 6


def test_a_model_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second call finds the file and does not build it again."""
    monkeypatch.setattr("benchmarks.model_zoo.ZOO_DIR", tmp_path)
    built = itertools.count()

    def build() -> onnx.ModelProto:
        next(built)
        return trees(2, 2)

    model = ZooModel("small_forest", "trees", build, {}, calibrates=True)
    assert model.ensure() == model.ensure()
    assert next(built) == 1
    onnx.checker.check_model(str(model.path))


def test_a_model_of_one_node_is_estimated_to_cost_next_to_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is what every measurement is compared with."""
    monkeypatch.setattr("benchmarks.model_zoo.ZOO_DIR", tmp_path)
    assert estimated(ONE_NODE, 1).total_bytes < MIB // 8


@pytest.mark.parametrize("name", ["choice", "loop"])
def test_weights_of_bodies_are_weights(name: str) -> None:
    """An If has a layer in each branch, a Loop reads one of the outer graph."""
    graph = infer_model(ZOO[name].build(), {"N": 1})
    assert stored_bytes(graph)["FLOAT"] == pytest.approx({"choice": 27, "loop": 4}[name] * MIB, rel=0.01)


@pytest.mark.parametrize("write", [analysis_cost.embedded, analysis_cost.external])
def test_sparse_models_are_real_models(tmp_path: Path, write: object) -> None:
    """What the cost benchmark writes by hand is what ONNX reads."""
    assert callable(write)
    write(1 << 20)(tmp_path / "model.onnx")
    onnx.checker.check_model(str(tmp_path / "model.onnx"), full_check=True)
    model = onnx.load(str(tmp_path / "model.onnx"))
    assert list(model.graph.initializer[0].dims) == [256, 1024]
    assert len(model.graph.node) == 51
