"""Judging graphs by the table of TensorRT's parser, and letting the parser itself win."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from nimify.analysis import tensorrt_parser
from nimify.analysis.graph import InferredGraph, Node, Value
from nimify.analysis.structure import infer_model
from nimify.analysis.tables.tensorrt import TensorRTTable, load_tensorrt
from nimify.analysis.tensorrt import TensorRTReport, assess_tensorrt
from nimify.analysis.tensorrt_parser import ParserAnswer, ask_parser, parser_is_available, with_parser_answer
from nimify.analysis.tensorrt_profiles import AxisRange, Profile, optimisation_profiles
from nimify.analysis.tensorrt_rules import KNOWN_CHECKS
from nimify.analysis.variation import varying_axes, varying_constants
from nimify.tensors import DATATYPES, Signature, TensorSpec
from nimify.testing import models

VERSION = "11.1"
X = Value("x", "FLOAT", (1, 4, 8, 8))


@pytest.fixture(scope="module")
def table() -> TensorRTTable:
    return load_tensorrt()


def graph(*nodes: Node, values: tuple[Value, ...] = (X,), opset: int = 17) -> InferredGraph:
    """A graph from `x`; values that are not given are FLOAT like `x`."""
    known = {value.name: value for value in values}
    names = [name for node in nodes for name in (*node.inputs, *node.outputs) if name]
    filled = {name: known.get(name, replace(X, name=name)) for name in names}
    return InferredGraph(nodes, known | filled, ("x",), (nodes[-1].outputs[0],), {"batch": 1}, opset)


def op(kind: str, *inputs: str, out: str = "", domain: str = "ai.onnx", **attributes: Any) -> Node:
    output = out or f"{kind}_of_{'_'.join(inputs)}"
    return Node(f"node_{output}", kind, domain, inputs, (output,), attributes)


def weight(name: str, kind: str = "FLOAT", shape: tuple[int, ...] = (4, 4)) -> Value:
    return Value(name, kind, shape, stored=True)


def assess(model: InferredGraph, table: TensorRTTable, version: str = VERSION, **options: Any) -> TensorRTReport:
    return assess_tensorrt(model, table, version=version, **options)


class TestVerdict:
    """Full, partial or none, and what share of the work that is."""

    def test_a_network_of_supported_operators_is_one_engine(self, table: TensorRTTable) -> None:
        """Nothing stands in the way, and one part holds every node."""
        report = assess(graph(op("Conv", "x", "w", out="a"), op("Relu", "a", out="y")), table)

        assert (report.verdict, report.blockers, report.covered_nodes, report.total_nodes) == ("full", (), 2, 2)
        assert [part.nodes for part in report.subgraphs] == [("node_a", "node_y")]

    def test_an_operator_that_is_not_supported_makes_it_partial(self, table: TensorRTTable) -> None:
        """The blocker names the node, says why, and what to do."""
        report = assess(graph(op("Relu", "x", out="a"), op("Unique", "a", out="b"), op("Relu", "b", out="y")), table)

        assert report.verdict == "partial"
        (blocker,) = report.blockers
        assert (blocker.node, blocker.operator) == ("node_b", "Unique")
        assert "does not support Unique" in blocker.reason
        assert "outside the model" in blocker.remedy
        assert len(report.subgraphs) == 2

    def test_nothing_supported_is_none(self, table: TensorRTTable) -> None:
        """A tree model has no work for TensorRT."""
        report = assess(graph(op("TreeEnsembleRegressor", "x", out="y", domain="ai.onnx.ml")), table)

        assert (report.verdict, report.covered_nodes, report.subgraphs) == ("none", 0, ())

    def test_an_operator_that_nobody_knows_is_a_blocker(self, table: TensorRTTable) -> None:
        """What is not in the table is not supported."""
        report = assess(graph(op("Frobnicate", "x", out="y")), table)

        assert [blocker.operator for blocker in report.blockers] == ["Frobnicate"]

    @pytest.mark.parametrize(
        ("domain", "remedy"),
        [("com.microsoft", "as exported"), ("ai.onnx.ml", "hummingbird"), ("com.example", "plugin")],
    )
    def test_another_domain_is_a_blocker(self, table: TensorRTTable, domain: str, remedy: str) -> None:
        """Even when the operator's name is a standard one; the remedy depends on where it comes from."""
        (blocker,) = assess(graph(op("Gelu", "x", out="y", domain=domain)), table).blockers

        assert blocker.operator == f"{domain}::Gelu"
        assert remedy in blocker.remedy

    def test_tensorrts_own_operators_are_taken(self, table: TensorRTTable) -> None:
        """They are written by its own tools."""
        assert assess(graph(op("TRT_MoE", "x", out="y", domain="trt")), table).verdict == "full"

    def test_the_share_of_arithmetic_is_weighed_by_node(self, table: TensorRTTable) -> None:
        """Three quarters of the work lie in the convolution."""
        model = graph(op("Conv", "x", "w", out="a"), op("Det", "a", out="y"))

        report = assess(model, table, flops={"node_a": 300.0, "node_y": 100.0})
        assert report.flops_share == 0.75
        assert assess(model, table).flops_share is None
        assert assess(model, table, flops={}).flops_share is None

    @pytest.mark.parametrize(
        ("opset", "version", "verdict"),
        [(24, "11.1", "full"), (25, "11.1", "none"), (25, "11.5", "full"), (24, "10.14", "none"), (8, "11.1", "none")],
    )
    def test_the_operator_set_has_bounds(self, table: TensorRTTable, opset: int, version: str, verdict: str) -> None:
        """Outside of them the parser takes nothing; the remedy is a conversion."""
        report = assess(graph(op("Relu", "x", out="y"), opset=opset), table, version)

        assert report.verdict == verdict
        assert all("convert_version" in blocker.remedy for blocker in report.blockers)

    def test_an_operator_comes_with_a_version(self, table: TensorRTTable) -> None:
        """Attention came with 10.14, DFT with 11.2; `11.x` means any of them, so the first."""
        attention = graph(op("Attention", "x", "x", "x", out="y"), opset=23)
        transform = graph(op("DFT", "x", out="y"), opset=20)

        assert assess(attention, table, "10.14").verdict == "full"
        assert assess(attention, table, "10.13").verdict == "none"
        assert assess(transform, table, "11.2.1").verdict == "full"
        assert "from 11.2 on" in assess(transform, table, "11.x").blockers[0].reason

    def test_the_report_is_plain_data(self, table: TensorRTTable) -> None:
        """Of very many blockers the first are listed, and all are counted."""
        nodes = [op("Unique", "x", out=f"v{number}") for number in range(150)]
        data = assess(graph(*nodes), table).to_dict()

        assert (data["blocker_count"], len(data["blockers"])) == (150, 100)
        assert data["verdict"] == "none"


class TestTypes:
    """Element types."""

    @pytest.mark.parametrize("kind", ["STRING", "COMPLEX64", "INT16", "UINT32", "FLOAT8E5M2"])
    def test_some_types_do_not_exist_there(self, table: TensorRTTable, kind: str) -> None:
        """A tensor of such a type cannot enter an engine, wherever it appears."""
        values = (replace(X, element_type=kind), Value("y", kind, X.shape))
        (blocker,) = assess(graph(op("Identity", "x", out="y"), values=values), table).blockers

        assert kind in blocker.reason

    def test_doubles_are_cast(self, table: TensorRTTable) -> None:
        """They block nothing, and the report says what becomes of them."""
        values = (replace(X, element_type="DOUBLE"), Value("y", "DOUBLE", X.shape))
        report = assess(graph(op("Relu", "x", out="y"), values=values), table)

        assert report.verdict == "full"
        assert any("FP64" in note for note in report.notes)

    def test_int64_is_native(self, table: TensorRTTable) -> None:
        """Indices and shapes need no cast."""
        values = (X, Value("i", "INT64", (2,)))
        assert assess(graph(op("Gather", "x", "i", out="y"), values=values), table).verdict == "full"

    def test_a_type_that_the_operator_does_not_take_is_named(self, table: TensorRTTable) -> None:
        """A matrix product of integers is not supported."""
        values = (replace(X, element_type="INT32"), weight("w", "INT32"), Value("y", "INT32", X.shape))
        (blocker,) = assess(graph(op("MatMul", "x", "w", out="y"), values=values), table).blockers

        assert "not INT32" in blocker.reason

    def test_uint8_may_only_enter_and_leave(self, table: TensorRTTable) -> None:
        """An image may come as UINT8 when it is cast at once."""
        values = (replace(X, element_type="UINT8"),)
        assert assess(graph(op("Cast", "x", out="y"), values=values), table).verdict == "full"
        (blocker,) = assess(graph(op("Relu", "x", out="y"), values=values), table).blockers
        assert "Cast to FP32 first" in blocker.remedy

    def test_quantisation_to_uint8_is_not_taken(self, table: TensorRTTable) -> None:
        """Neither the node that makes it nor the node that reads it; both want symmetric INT8."""
        values = (X, weight("s"), Value("q", "UINT8", X.shape))
        nodes = (op("QuantizeLinear", "x", "s", out="q"), op("DequantizeLinear", "q", "s", out="y"))
        blockers = assess(graph(*nodes, values=values), table).blockers

        assert [blocker.node for blocker in blockers] == ["node_q", "node_y"]
        assert all("symmetric" in blocker.remedy for blocker in blockers)

    def test_an_unknown_type_blocks_nothing_and_is_reported(self, table: TensorRTTable) -> None:
        """Where inference stopped the table cannot judge."""
        values = (replace(X, element_type=""),)
        report = assess(graph(op("Relu", "x", out="y"), values=values), table)

        assert report.verdict == "full"
        assert any("could not be inferred" in note for note in report.notes)


@dataclass(frozen=True)
class Case:
    """One rule at one operator: a node that keeps it and a node that breaks it."""

    check: str
    operator: str
    good: Mapping[str, Any] = field(default_factory=dict)
    bad: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""


def body(inputs: dict[str, tuple[int, ...]], outputs: dict[str, tuple[int, ...]]) -> InferredGraph:
    values = {name: Value(name, "FLOAT", shape) for name, shape in (inputs | outputs).items()}
    return InferredGraph((), values, tuple(inputs), tuple(outputs), {}, 17)


VALUES = (
    X,
    Value("moving", "INT64", (1,)),
    weight("stored", "INT64", (1,)),
    Value("flat", "FLOAT", (4, 8)),
    Value("line", "FLOAT", (1, 4, 8)),
    Value("volume", "FLOAT", (1, 4, 8, 8, 8)),
    Value("grid", "FLOAT", (1, 8, 8, 2)),
    Value("complex", "FLOAT", (1, 100, 2)),
    Value("real", "FLOAT", (1, 100, 1)),
    Value("int8", "INT8", (1, 4)),
    Value("indices32", "INT32", (1, 4)),
    Value("indices64", "INT64", (1, 4)),
    Value("flag", "BOOL", ()),
)
LOOP: dict[str, tuple[int, ...]] = {"iteration": (), "go": (), "state": (1, 4)}
CASES = [
    Case("constant_input", "CumSum", {"inputs": ("x", "stored")}, {"inputs": ("x", "moving")}, "axis must be known"),
    Case("constant_input", "ReduceSum", {"inputs": ("x",)}, {"inputs": ("x", "moving")}, "axes must be stored"),
    Case(
        "constant_input",
        "OneHot",
        {"inputs": ("indices64", "moving", "x"), "constants": {1: 5}},
        {"inputs": ("indices64", "moving", "x")},
        "depth",
    ),
    Case(
        "zero_constant",
        "QuantizeLinear",
        {"inputs": ("x", "stored", "stored"), "constants": {2: [0, 0]}},
        {"inputs": ("x", "stored", "stored"), "constants": {2: [[0, 3]]}},
        "zero point",
    ),
    Case("zero_constant", "Dropout", {"inputs": ("x",)}, {"inputs": ("x", "stored", "flag")}, "training mode"),
    Case(
        "below",
        "TopK",
        {"inputs": ("x", "stored"), "constants": {1: [3839]}},
        {"inputs": ("x", "stored"), "constants": {1: [3840]}},
        "below 3840",
    ),
    Case("attribute_in", "TopK", {}, {"attributes": {"sorted": 0}}, "sorted"),
    Case("attribute_in", "Resize", {"attributes": {"mode": "linear"}}, {"attributes": {"mode": "cubic"}}, "mode"),
    Case("attribute_in", "Resize", {"attributes": {"antialias": 0}}, {"attributes": {"antialias": 1}}, "antialias"),
    Case("attribute_in", "LSTM", {}, {"attributes": {"layout": 1}}, "layout"),
    Case("attribute_in", "ScatterND", {}, {"attributes": {"reduction": "add"}}, "reduction"),
    Case("input_absent", "Attention", {"inputs": ("x", "x", "x")}, {"inputs": ("x", "x", "x", "", "x")}, "past_key"),
    Case("output_absent", "MaxPool", {}, {"outputs": ("y", "indices")}, "Indices"),
    Case("output_absent", "LayerNormalization", {"outputs": ("y", "")}, {"outputs": ("y", "mean")}, "Mean"),
    Case(
        "all_ones", "MaxPool", {"attributes": {"dilations": [1, 1]}}, {"attributes": {"dilations": [2, 1]}}, "dilated"
    ),
    Case("rank_in", "AveragePool", {"inputs": ("volume",)}, {"inputs": ("line",)}, "three-dimensional"),
    Case("rank_in", "GridSample", {"inputs": ("x", "grid")}, {"inputs": ("volume", "grid")}, "two-dimensional"),
    Case(
        "type_in",
        "RotaryEmbedding",
        {"inputs": ("x", "x", "x", "indices64")},
        {"inputs": ("x", "x", "x", "indices32")},
        "INT64",
    ),
    Case(
        "same_activations",
        "LSTM",
        {"attributes": {"direction": "bidirectional"}},
        {"attributes": {"direction": "bidirectional", "activations": ["Sigmoid", "Tanh", "Tanh"] + ["Relu"] * 3}},
        "same activation",
    ),
    Case(
        "symmetric_pads",
        "DeformConv",
        {"attributes": {"pads": [1, 2, 1, 2]}},
        {"attributes": {"pads": [1, 2, 0, 2]}},
        "padding",
    ),
    Case("static_input", "EyeLike", {"inputs": ("flat",)}, {"inputs": ("line",)}, "fixed lengths"),
    Case("static_axis", "Hardmax", {"inputs": ("line",)}, {"inputs": ("line",), "attributes": {"axis": 1}}, "axis"),
    Case(
        "axes_in_order",
        "Resize",
        {"attributes": {"axes": [0, 1, -2, 3]}},
        {"attributes": {"axes": [2, 3]}},
        "all axes in their order",
    ),
    Case("axes_given", "Squeeze", {"inputs": ("x", "stored")}, {"inputs": ("x",)}, "named"),
    Case("real_signal", "STFT", {"inputs": ("real", "stored")}, {"inputs": ("complex", "stored")}, "real"),
    Case(
        "branches",
        "If",
        {"subgraphs": {"then_branch": body({}, {"a": (1, 4)}), "else_branch": body({}, {"b": (2, 4)})}},
        {"subgraphs": {"then_branch": body({}, {"a": (1, 4)}), "else_branch": body({}, {"b": (4,)})}},
        "same rank",
    ),
    Case(
        "branches",
        "If",
        {"subgraphs": {"then_branch": body({}, {"a": (1,)}), "else_branch": body({}, {"b": (1,)})}},
        {"subgraphs": {"then_branch": body({}, {"a": (1,)}), "else_branch": body({}, {"a": (1,)})}},
        "different names",
    ),
    Case(
        "loop",
        "Loop",
        {"inputs": ("stored", "", "x"), "subgraphs": {"body": body(LOOP, {"again": (), "next": (1, 4)})}},
        {"inputs": ("stored", "", "x"), "subgraphs": {"body": body(LOOP, {"again": (), "next": (1, 5)})}},
        "keep their shape",
    ),
    Case(
        "loop",
        "Loop",
        {"inputs": ("stored", "", "x"), "subgraphs": {"body": body(LOOP, {"again": (), "n": (1, 4), "out": (4,)})}},
        {"inputs": ("moving", "", "x"), "subgraphs": {"body": body(LOOP, {"again": (), "n": (1, 4), "out": (4,)})}},
        "fixed number of iterations",
    ),
    Case("note", "RandomNormalLike", {}, {}),
]


def built(operator: str, keys: Mapping[str, Any]) -> InferredGraph:
    node = Node(
        "it",
        operator,
        "ai.onnx",
        tuple(keys.get("inputs", ("x",))),
        tuple(keys.get("outputs", ("y",))),
        keys.get("attributes", {}),
        keys.get("constants", {}),
        keys.get("subgraphs", {}),
    )
    return graph(node, values=VALUES, opset=24)


class TestRules:
    """Each restriction of the table, kept and broken."""

    @pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.operator}-{case.check}")
    def test_a_node_that_keeps_the_rule_is_taken(self, table: TensorRTTable, case: Case) -> None:
        """No blocker."""
        varying = {"line": frozenset({1})}

        assert assess(built(case.operator, case.good), table, varying=varying).blockers == ()

    @pytest.mark.parametrize("case", [case for case in CASES if case.reason], ids=lambda case: case.reason)
    def test_a_node_that_breaks_the_rule_is_a_blocker(self, table: TensorRTTable, case: Case) -> None:
        """One blocker with the reason of that rule, and a remedy."""
        varying = {"line": frozenset({1})}
        (blocker,) = assess(built(case.operator, case.bad), table, varying=varying).blockers

        assert blocker.node == "it"
        assert case.reason in blocker.reason
        assert blocker.remedy

    def test_every_kind_of_rule_has_a_case(self) -> None:
        """A new check in the table needs a test."""
        assert {case.check for case in CASES} == KNOWN_CHECKS

    @pytest.mark.parametrize(
        ("version", "operator", "inputs", "blocked"),
        [
            ("11.1", "GridSample", ("volume", "grid"), True),
            ("11.2", "GridSample", ("volume", "grid"), False),
            ("11.4", "Squeeze", ("x",), True),
            ("11.5", "Squeeze", ("x",), False),
        ],
    )
    def test_a_restriction_ends_with_a_version(
        self, table: TensorRTTable, version: str, operator: str, inputs: tuple[str, ...], blocked: bool
    ) -> None:
        """What a release lifted is not held against a model that runs on it."""
        report = assess(built(operator, {"inputs": inputs}), table, version)

        assert bool(report.blockers) == blocked

    def test_what_cannot_be_checked_is_a_note(self, table: TensorRTTable) -> None:
        """The zero point is stored, but too large to be carried in the graph."""
        report = assess(built("QuantizeLinear", {"inputs": ("x", "stored", "stored")}), table)

        assert report.blockers == ()
        assert any("QuantizeLinear: 1 restrictions" in note for note in report.notes)

    def test_a_remark_is_a_note_once(self, table: TensorRTTable) -> None:
        """However many random nodes there are."""
        nodes = [op("RandomNormalLike", "x", out=f"v{number}") for number in range(3)]
        report = assess(graph(*nodes), table)

        assert [note for note in report.notes if "seed" in note] == [
            "RandomNormalLike: the seed is ignored: results differ from run to run and from ONNX Runtime."
        ]

    @pytest.mark.parametrize("attributes", [{"dilations": 7}, {"dilations": ["a"]}, {"dilations": {"a": 1}}])
    def test_attributes_of_a_wrong_type_do_no_harm(self, table: TensorRTTable, attributes: dict[str, Any]) -> None:
        """A hostile file may hold anything."""
        assert assess(built("MaxPool", {"attributes": attributes}), table).verdict in {"full", "none"}

    def test_a_blocker_inside_a_body_blocks_the_node(self, table: TensorRTTable) -> None:
        """It is named by its way; a body sees the values around it."""
        inner = InferredGraph((op("Unique", "x", out="a"),), {"a": Value("a", "FLOAT", (4,))}, (), ("a",), {}, 17)
        other = body({}, {"b": (4,)})
        node = Node("choice", "If", "ai.onnx", ("flag",), ("y",), {}, {}, {"then_branch": inner, "else_branch": other})
        (blocker,) = assess(graph(node, values=VALUES), table).blockers

        assert (blocker.node, blocker.operator) == ("choice/node_a", "Unique")


class TestPartitions:
    """Which nodes share an engine."""

    def test_a_part_never_depends_on_itself(self, table: TensorRTTable) -> None:
        """The last node needs both the first one and what ONNX Runtime makes of it."""
        model = graph(op("Relu", "x", out="a"), op("Unique", "a", out="b"), op("Add", "a", "b", out="y"))

        assert [part.nodes for part in assess(model, table).subgraphs] == [("node_a",), ("node_y",)]

    def test_parallel_parts_that_meet_are_one(self, table: TensorRTTable) -> None:
        """Two branches that join again need one engine."""
        model = graph(op("Relu", "x", out="a"), op("Tanh", "x", out="b"), op("Add", "a", "b", out="y"))

        assert len(assess(model, table).subgraphs) == 1

    def test_constants_are_no_parts(self, table: TensorRTTable) -> None:
        """There is nothing to run in them, and they are not counted."""
        constant = Node("c", "Constant", "ai.onnx", (), ("k",))
        report = assess(graph(constant, op("Unique", "k", out="y"), values=(X, weight("k"))), table)

        assert (report.subgraphs, report.total_nodes, report.covered_nodes) == ((), 1, 0)

    def test_a_body_that_reads_from_outside_counts_as_an_edge(self, table: TensorRTTable) -> None:
        """The branch reads what ONNX Runtime makes, so the If belongs to a later engine than the first node."""
        branches = {"then_branch": body({}, {"b": (4,)}), "else_branch": body({}, {"c": (4,)})}
        choice = Node("choice", "If", "ai.onnx", ("flag",), ("y",), {}, {}, branches)
        model = graph(op("Relu", "x", out="a"), op("Unique", "a", out="b"), choice, values=VALUES)

        assert [part.nodes for part in assess(model, table).subgraphs] == [("node_a",), ("choice",)]

    def test_a_long_chain_is_cut_in_linear_time(self, table: TensorRTTable) -> None:
        """Twenty thousand nodes, every second one not supported."""
        nodes = [op("Unique" if step % 2 else "Relu", f"v{step}", out=f"v{step + 1}") for step in range(20_000)]

        assert len(assess(graph(*nodes), table).subgraphs) == 10_000


class TestProfiles:
    """The shapes that engines are built for."""

    def signature(self, *shape: int | str | None) -> Signature:
        return Signature((TensorSpec("x", DATATYPES["FP32"], shape),), ())

    def test_the_batch_comes_from_the_plan(self) -> None:
        """The other free axes from their range, or from the lengths that were assumed."""
        model = graph(op("Relu", "x", out="y"), values=(Value("x", "FLOAT", (1, 3, 224, 128)),))

        (profile,) = optimisation_profiles(
            self.signature("batch", 3, "height", "width"),
            model,
            batch=AxisRange(1, 8, 16),
            axes={"height": AxisRange(32, 224, 512)},
        )

        assert profile == Profile("x", (1, 3, 32, 1), (8, 3, 224, 128), (16, 3, 512, 128))
        assert profile.to_dict()["opt"] == [8, 3, 224, 128]

    def test_a_fixed_input_needs_none(self) -> None:
        """Every length is known."""
        model = graph(op("Relu", "x", out="y"))

        assert optimisation_profiles(self.signature(1, 4, 8, 8), model, batch=None, axes={}) == ()

    def test_an_unnamed_first_axis_without_batching_keeps_its_length(self) -> None:
        """It is an axis like the others."""
        model = graph(op("Relu", "x", out="y"), values=(Value("x", "FLOAT", (5, 4)),))
        (profile,) = optimisation_profiles(self.signature(None, 4), model, batch=None, axes={})

        assert (profile.minimum, profile.maximum) == ((1, 4), (5, 4))

    def test_an_input_of_unknown_shape_has_lengths_of_one(self) -> None:
        """Nothing better is known."""
        model = graph(op("Relu", "x", out="y"), values=(Value("x", "FLOAT"),))
        (profile,) = optimisation_profiles(self.signature("n", 4), model, batch=None, axes={})

        assert profile.optimum == (1, 4)


class TestPrecision:
    """Where the precision comes from."""

    @pytest.mark.parametrize(
        ("kind", "version", "expected"),
        [
            ("FLOAT", "11.1", "from the graph alone"),
            ("FLOAT", "10.16", "may still be told"),
            ("FLOAT16", "11.1", "computes in FP16"),
            ("BFLOAT16", "11.1", "computes in BF16"),
        ],
    )
    def test_the_note_says_what_will_happen(self, table: TensorRTTable, kind: str, version: str, expected: str) -> None:
        """TensorRT 11 has no precision flags any more."""
        values = (replace(X, element_type=kind), replace(X, name="y", element_type=kind))
        report = assess(graph(op("Relu", "x", out="y"), values=values), table, version)

        assert any(expected in note for note in report.notes)

    def test_quantised_models_say_so_in_the_graph(self, table: TensorRTTable) -> None:
        """INT8 comes from pairs of quantisers."""
        report = assess(graph(op("QuantizeLinear", "x", "s", out="y"), values=(X, weight("s"))), table)

        assert any("QuantizeLinear and DequantizeLinear pairs" in note for note in report.notes)


class TestVariation:
    """Two bindings of one model."""

    def test_axes_that_differ_are_free(self) -> None:
        """Stored values never vary, and another rank means every axis does."""
        first = graph(op("Relu", "x", out="y"), values=(X, Value("y", "FLOAT", (1, 4)), weight("w")))
        second = graph(
            op("Relu", "x", out="y"),
            values=(replace(X, shape=(8, 4, 8, 8)), Value("y", "FLOAT", (8, 4, 1)), weight("w", shape=(9,))),
        )

        assert varying_axes(first, second) == {"x": frozenset({0}), "y": frozenset({0, 1})}

    def test_constants_that_differ_are_none(self) -> None:
        """A folded shape is a number at each binding."""
        node = op("Reshape", "x", "s", out="y")
        first = graph(replace(node, constants={1: [1, 4]}))
        second = graph(replace(node, constants={1: [8, 4]}))

        assert varying_constants(first, second) == {("y", 1)}
        assert varying_constants(first, first) == frozenset()


class TestParser:
    """The real parser's answer wins; here a stand-in child gives it, as TensorRT is not installed."""

    ANSWER = '{"version": "11.2.1", "supported": false, "subgraphs": [[0]], "errors": %s}'
    ERROR = '[{"node": "node_y", "operator": "Relu", "cause": "no\\\\nluck"}]'

    def child(self, text: str) -> tuple[str, ...]:
        return (sys.executable, "-c", f"import sys; sys.stdin.read(); open('result.json', 'w').write({text!r})")

    def test_its_answer_replaces_that_of_the_table(self, table: TensorRTTable, tmp_path: Path) -> None:
        """Verdict, version, blockers and parts are the parser's; profiles and notes stay."""
        model = graph(op("Relu", "x", out="a"), op("Relu", "a", out="y"))
        answer = ask_parser(tmp_path / "m.onnx", "m.onnx", command=self.child(self.ANSWER % self.ERROR))
        assert answer is not None

        report = with_parser_answer(assess(model, table), answer, model)

        assert (report.verdict, report.version, report.basis) == ("partial", "11.2.1", "parser")
        assert [part.nodes for part in report.subgraphs] == [("node_a",)]
        (blocker,) = report.blockers
        assert blocker.reason == r"TensorRT says: no\nluck"
        assert report.notes == assess(model, table).notes

    def test_a_parser_that_takes_all_clears_the_blockers(self, table: TensorRTTable) -> None:
        """The table may be behind the release that is installed."""
        model = graph(op("Relu", "x", out="a"), op("Unique", "a", out="y"))
        report = assess(model, table, flops={"node_a": 1.0, "node_y": 1.0})

        won = with_parser_answer(report, ParserAnswer("12.0", True, (), ()), model)

        assert (won.verdict, won.blockers, won.covered_nodes, won.flops_share) == ("full", (), 2, 1.0)

    @pytest.mark.parametrize(
        "code",
        ["raise SystemExit(1)", "import os; os.abort()", "open('result.json', 'w').write('{\"version\": 1}')"],
    )
    def test_a_child_that_fails_gives_no_answer(self, tmp_path: Path, code: str) -> None:
        """The table's verdict stands then."""
        assert ask_parser(tmp_path / "m.onnx", "m.onnx", command=(sys.executable, "-c", code)) is None

    def test_without_the_package_the_job_fails_cleanly(self, tmp_path: Path) -> None:
        """The real child ends without an answer where TensorRT is not installed."""
        if parser_is_available():
            pytest.skip("TensorRT and a driver are here")

        assert ask_parser(tmp_path / "m.onnx", "m.onnx") is None

    def test_it_needs_a_driver(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """A package alone is not enough."""
        monkeypatch.setattr(tensorrt_parser, "_DRIVER", tmp_path / "none")

        assert not parser_is_available()


VERDICTS = {
    "strings": "none",
    "bf16": "full",
    "loop": "full",
    "if": "full",
    "text": "full",
    "image": "full",
    "digits": "full",
    "tiny": "full",
    "fp16": "full",
    "several-outputs": "full",
}


@pytest.mark.parametrize(("name", "verdict"), sorted(VERDICTS.items()))
def test_real_models_get_their_verdict(table: TensorRTTable, name: str, verdict: str) -> None:
    """The whole way, from a model to the report, at two batch sizes."""
    model = models.ALL[name]()
    first, second = infer_model(model, {"batch": 1}), infer_model(model, {"batch": 8})
    report = assess(first, table, varying=varying_axes(first, second))

    assert report.verdict == verdict, report.blockers
    assert json.dumps(report.to_dict())


def test_a_large_graph_is_judged_in_linear_time(table: TensorRTTable) -> None:
    """A hundred thousand nodes, ten thousand of them choices that see every value."""
    branches = {"then_branch": body({}, {"p": (1,)}), "else_branch": body({}, {"q": (1,)})}
    inner = replace(branches["then_branch"], nodes=(op("Relu", "x", out="p"),))
    nodes = [op("Relu", f"v{step}", out=f"v{step + 1}") for step in range(90_000)]
    nodes += [
        Node(f"if{step}", "If", "ai.onnx", ("flag",), (f"o{step}",), {}, {}, {**branches, "then_branch": inner})
        for step in range(10_000)
    ]
    model = graph(*nodes, values=VALUES)
    start = time.process_time()
    report = assess(model, table)

    assert report.verdict == "full"
    assert time.process_time() - start < 30
