"""The table of shapes: what it takes for equal, for a bound and for wrong, on tiny models that really run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from benchmarks import shapes
from benchmarks.shapes import Comparison, compare, judge, judge_signature, line, total

from nimify.analysis.graph import Gap, InferredGraph, Node, Value
from nimify.analysis.structure import infer_in_process
from nimify.tensors import DATATYPES, Dim, Signature, TensorSpec
from nimify.testing import models
from nimify.testing.graph_builder import GraphBuilder


def tiny() -> onnx.ModelProto:
    """A layer, and the places where its result is above zero: how many these are depends on the data."""
    graph = GraphBuilder("tiny")
    y = graph.op("Relu", graph.op("MatMul", graph.input("x", "FP32", ["N", 4]), graph.weight(4, 3)), out="y")
    graph.output(y, "FP32", ["N", 3])
    places = graph.op("NonZero", graph.op("Greater", y, graph.constant(0.0)), out="places")
    graph.output(graph.op("Transpose", places, perm=[1, 0], out="turned"), "INT64", ["found", 2])
    return graph.model()


def compared(model: onnx.ModelProto, folder: Path) -> list[Comparison]:
    return compare(models.save(model, folder / "model.onnx"), "tiny", [{"N": 2}, {"N": 5}])


def test_a_right_inference_is_equal_and_open_values_are_bounds(tmp_path: Path) -> None:
    """Three values are certain; two depend on the data, are smaller at run time, and have a gap that says so."""
    signature, *rows = compared(tiny(), tmp_path)
    assert (signature.equal, signature.bounds, signature.wrong) == (3, (), ())
    assert [(row.batch, row.nodes, row.values, row.equal, row.wrong) for row in rows] == [
        (2, 5, 5, 3, ()),
        (5, 5, 5, 3, ()),
    ]
    for row in rows:
        assert [text.partition(":")[0] for text in sorted(row.bounds)] == ["places", "turned"]
        assert [gap.split(" ")[1] for gap in row.gaps] == ["(NonZero):"]


def test_a_wrong_inference_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shapes that were inferred for one row more than runs differ, in every value that depends on the rows."""

    def one_row_more(path: Path, *bindings: Mapping[str, int]) -> tuple[InferredGraph, ...]:
        return infer_in_process(path, *({name: length + 1 for name, length in one.items()} for one in bindings))

    monkeypatch.setattr(shapes, "infer_in_process", one_row_more)
    _, row, _ = compared(tiny(), tmp_path)
    assert "y: inferred FLOAT[3, 3], at run time FLOAT[2, 3]" in row.wrong
    assert row.equal == 0
    assert len(row.wrong) == 3


def test_a_file_that_declares_its_outputs_wrongly_is_seen(tmp_path: Path) -> None:
    """The engine finds another rank than the file declares."""
    model = tiny()
    model.graph.output[0].type.tensor_type.elem_type = DATATYPES["FP32"].onnx
    model.graph.output[0].type.tensor_type.shape.dim.add().dim_value = 7
    signature, *rows = compared(model, tmp_path)
    assert len(signature.wrong) == 1
    assert "y FP32['N', 3, 7]" in signature.wrong[0]
    assert not any(row.wrong for row in rows)


def found(*, shape: tuple[int, ...] | None = (2, 3), kind: str = "FLOAT", gap: bool = False) -> Comparison:
    """What comes of one value that is inferred as FLOAT[2, 4]."""
    node = Node("open", "Odd", "ai.onnx", ("x",), ("y",))
    gaps = (Gap("open", "Odd", "nobody knows"),) if gap else ()
    graph = InferredGraph((node,), {"y": Value("y", "FLOAT", (2, 4))}, ("x",), ("y",), {}, 17, gaps)
    return judge(graph, {"y": Value("y", kind, shape)})


def test_only_what_has_a_gap_may_be_smaller() -> None:
    """A smaller shape is a bound where inference says so, and wrong elsewhere."""
    assert found(gap=True).bounds
    assert not found(gap=True).wrong
    assert found().wrong


@pytest.mark.parametrize(
    "actual",
    [
        pytest.param({"shape": (2, 5)}, id="longer"),
        pytest.param({"shape": (2,)}, id="another rank"),
        pytest.param({"shape": None}, id="no tensor"),
        pytest.param({"kind": "DOUBLE"}, id="another type"),
    ],
)
def test_a_bound_must_hold(actual: dict[str, Any]) -> None:
    """A gap excuses nothing but smaller lengths."""
    assert len(found(gap=True, **actual).wrong) == 1


def test_a_value_that_was_not_inferred_is_wrong() -> None:
    """Neither an unknown shape nor a missing value passes, gap or not."""
    node = Node("open", "Odd", "ai.onnx", (), ("y", "z"))
    graph = InferredGraph((node,), {"y": Value("y")}, (), (), {}, 17, (Gap("open", "Odd", "nobody knows"),))
    assert len(judge(graph, {name: Value(name, "FLOAT", (1,)) for name in "yz"}).wrong) == 2


def signature(*shape: Dim) -> Signature:
    return Signature((), (TensorSpec("y", DATATYPES["FP32"], shape),))


@pytest.mark.parametrize(
    ("read", "engine", "verdict"),
    [
        (signature("N", 4), signature("N", 4), (1, 0, 0)),
        (signature("N", "S"), signature("N", 64), (0, 1, 0)),
        (signature("N", 64), signature("N", "S"), (0, 0, 1)),
        (signature("N", 4), signature("M", 4), (0, 0, 1)),
        (signature("N", 4), signature(4), (0, 0, 1)),
        (signature("N", 4), Signature((), ()), (0, 0, 1)),
        (signature(4), replace(signature(4), inputs=signature(4).outputs), (1, 0, 1)),
    ],
    ids=["equal", "narrower", "wider", "renamed", "another rank", "missing", "one more"],
)
def test_an_engine_may_know_more_of_a_signature_but_nothing_else(
    read: Signature, engine: Signature, verdict: tuple[int, int, int]
) -> None:
    """A length for a free axis is within the bound; every other difference is wrong."""
    row = judge_signature(read, engine)
    assert (row.equal, len(row.bounds), len(row.wrong)) == verdict


def test_the_table_adds_up() -> None:
    """A row sums over a model's comparisons and says a remark once; the totals keep signatures apart."""
    rows = [
        Comparison("m", 0, equal=2),
        Comparison("m", 1, nodes=4, equal=3, bounds=("b",), gaps=("g",)),
        Comparison("m", 2, nodes=4, equal=3, gaps=("g",), wrong=("w",)),
    ]
    first, *remarks = line(rows).splitlines()
    assert first.split() == ["m", "4", "10", "8", "1", "2", "1"]
    assert [remark.strip() for remark in remarks] == ["g", "b", "w"]
    assert total(rows).splitlines() == [
        "1 models",
        "signatures: 2 compared, 2 equal, 0 within a bound, 0 wrong (0 gaps)",
        "values: 8 compared, 6 equal, 1 within a bound, 1 wrong (2 gaps)",
    ]


@pytest.mark.parametrize(("wrong", "status"), [((), 0), (("w",), 1)])
def test_the_status_says_whether_something_is_wrong(
    wrong: tuple[str, ...], status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Zero only when nothing is; every comparison is written down."""
    monkeypatch.setattr(shapes, "RESULTS", tmp_path / "results" / "shapes.jsonl")
    monkeypatch.setattr(shapes, "checked_apart", lambda model, batches: [Comparison(model.name, 1, wrong=wrong)])
    assert shapes.main(["--models", "tabular", "loop"]) == status
    assert len((tmp_path / "results" / "shapes.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize("window", [False, True])
@pytest.mark.parametrize("attributes", [{}, {"onesided": 0}, {"onesided": 1}])
def test_both_sides_of_a_spectrum_are_given_only_when_asked_for(
    window: bool, attributes: dict[str, Any], tmp_path: Path
) -> None:
    """One side is the default of ONNX Runtime; the length of a frame may stand in the window alone."""
    graph = GraphBuilder("spectrum")
    wave = graph.input("x", "FP32", ["N", 100, 1])
    frame = [graph.constant(np.hanning(16))] if window else ["", graph.constant(16, "int64")]
    graph.op("STFT", wave, graph.constant(8, "int64"), *frame, out="y", **attributes)
    graph.output("y", "FP32", ["N", "frames", "bins", 2])
    _, *rows = compared(graph.model(), tmp_path)
    assert [(row.equal, row.bounds, row.wrong) for row in rows] == [(1, (), ())] * 2


@pytest.mark.parametrize(
    ("operator", "attributes"),
    [
        ("MaxPool", {"kernel_shape": [2, 2], "strides": [3, 3], "pads": [0, 0, 1, 1], "ceil_mode": 1}),
        ("AveragePool", {"kernel_shape": [1, 2], "strides": [4, 2], "ceil_mode": 1}),
        ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1}),
        ("MaxPool", {"kernel_shape": [3, 3], "dilations": [2, 1], "auto_pad": "SAME_UPPER"}),
        ("MaxPool", {"kernel_shape": [2, 2], "strides": [3, 3], "dilations": [2, 2], "auto_pad": "SAME_LOWER"}),
        ("LpPool", {"kernel_shape": [2, 3], "strides": [2, 2], "auto_pad": "SAME_LOWER"}),
        ("AveragePool", {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "VALID"}),
    ],
    ids=["starts behind the end", "no pads", "reaches over the end", "dilated", "negative pads", "same", "valid"],
)
def test_windows_of_poolings_are_counted_as_the_engine_counts_them(
    operator: str, attributes: dict[str, Any], tmp_path: Path
) -> None:
    """The last window of a rounded-up length starts inside, and a dilated one is padded as if it were not."""
    graph = GraphBuilder("pool")
    graph.op(operator, graph.input("x", "FP32", ["N", 2, 15, 12]), out="y", **attributes)
    graph.output("y", "FP32", ["N", 2, "height", "width"])
    _, *rows = compared(graph.model(), tmp_path)
    assert [(row.equal, row.wrong) for row in rows] == [(1, ())] * 2


def test_a_pooling_gives_places_beside_values(tmp_path: Path) -> None:
    """The second output has the shape of the first one, in INT64."""
    graph = GraphBuilder("pool")
    graph.input("x", "FP32", ["N", 2, 15])
    graph.output("y", "FP32", ["N", 2, "length"])
    graph.output("places", "INT64", ["N", 2, "length"])
    model = graph.model()
    pool: dict[str, Any] = {"kernel_shape": [2], "strides": [3], "pads": [0, 1], "ceil_mode": 1}
    model.graph.node.append(onnx.helper.make_node("MaxPool", ["x"], ["y", "places"], **pool))
    _, *rows = compared(model, tmp_path)
    assert [(row.equal, row.wrong) for row in rows] == [(2, ())] * 2


@pytest.mark.parametrize(
    "attributes",
    [
        pytest.param({"strides": [2, 3], "output_padding": [1, 2], "pads": [1, 0, 0, 1]}, id="padded"),
        pytest.param({"strides": [2, 3], "output_padding": [1, 2], "auto_pad": "SAME_UPPER"}, id="same"),
        pytest.param({"strides": [4, 4], "auto_pad": "SAME_LOWER"}, id="window smaller than its stride"),
        pytest.param({"strides": [2, 2], "dilations": [1, 2], "auto_pad": "VALID"}, id="valid"),
        pytest.param({"strides": [3, 2], "output_shape": [40, 24]}, id="wanted"),
        pytest.param({"strides": [3, 2], "output_shape": [41, 11]}, id="wanted smaller than its input"),
        pytest.param({"group": 2}, id="groups"),
    ],
)
def test_transposed_convolutions_are_as_long_as_the_engine_makes_them(
    attributes: dict[str, Any], tmp_path: Path
) -> None:
    """Padding that is asked for by number, by name, or by the length that shall come out."""
    graph = GraphBuilder("up")
    graph.op(
        "ConvTranspose", graph.input("x", "FP32", ["N", 4, 15, 12]), graph.weight(4, 2, 3, 2), out="y", **attributes
    )
    graph.output("y", "FP32", ["N", 2 * attributes.get("group", 1), "height", "width"])
    _, *rows = compared(graph.model(), tmp_path)
    assert [(row.equal, row.wrong) for row in rows] == [(1, ())] * 2


@pytest.mark.parametrize(
    ("scales", "attributes"),
    [
        ([1.0, 1.0, 0.9, 2.7], {"mode": "nearest"}),
        ([1.0, 1.0, 0.51, 1.37], {"mode": "linear"}),
        ([0.9, 2.6], {"mode": "nearest", "axes": [2, 3]}),
        ([2.6, 0.9], {"mode": "linear", "axes": [3, 2]}),
    ],
)
def test_scales_are_multiplied_in_single_precision(
    scales: list[float], attributes: dict[str, Any], tmp_path: Path
) -> None:
    """Ten times 0.9 are nine rows, although the nearest single-precision number to 0.9 is a little less."""
    graph = GraphBuilder("resize")
    graph.op("Resize", graph.input("x", "FP32", ["N", 2, 10, 15]), "", graph.constant(scales), out="y", **attributes)
    graph.output("y", "FP32", ["N", 2, "height", "width"])
    model = graph.model()
    model.opset_import[0].version = 18
    _, *rows = compared(model, tmp_path)
    assert [(row.equal, row.wrong) for row in rows] == [(1, ())] * 2
