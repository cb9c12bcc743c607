"""The inferred structure of a model is what ONNX Runtime finds when it runs it, and hostile graphs end in words."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from nimify.analysis.drawing import Draw
from nimify.analysis.graph import InferredGraph
from nimify.analysis.graph_json import from_json, to_json
from nimify.analysis.guarded import GuardLimits
from nimify.analysis.structure import infer, infer_in_process, infer_many, infer_model, not_inferred
from nimify.errors import ModelError, UnsafeModel
from nimify.findings import Severity
from nimify.formats.onnx_signature import read_signature
from nimify.testing import models

Array = np.ndarray[Any, Any]
F, I64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def info(name: str, element_type: int, shape: list[int | str] | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, element_type, shape)


def model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    weights: list[onnx.TensorProto] | None = None,
    functions: list[onnx.FunctionProto] | None = None,
    opset: int = 17,
) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights or [])
    imports = [
        helper.make_opsetid("", opset),
        helper.make_opsetid("ai.onnx.ml", 3),
        helper.make_opsetid("com.microsoft", 1),
        helper.make_opsetid("own", 1),
    ]
    return helper.make_model(graph, opset_imports=imports, ir_version=10, functions=functions or [])


def weight(name: str, *shape: int, dtype: str = "float32") -> onnx.TensorProto:
    return numpy_helper.from_array((np.random.default_rng(0).standard_normal(shape) / 8).astype(dtype), name)


def numbers(name: str, values: Any, dtype: str = "int64") -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values, dtype=dtype), name)


def lstm() -> onnx.ModelProto:
    node = helper.make_node(
        "LSTM", ["x", "w", "r", "b"], ["y", "h", "c"], hidden_size=6, direction="bidirectional", name="lstm"
    )
    return model(
        [node, helper.make_node("Transpose", ["y"], ["t"], perm=[2, 0, 1, 3]),
         helper.make_node("Reshape", ["t", "shape"], ["flat"])],
        [info("x", F, ["sequence", "batch", 5])],
        [info("flat", F, None), info("h", F, None), info("c", F, None)],
        [weight("w", 2, 24, 5), weight("r", 2, 24, 6), weight("b", 2, 48), numbers("shape", [0, 0, -1])],
    )  # fmt: skip


def gru() -> onnx.ModelProto:
    node = helper.make_node("GRU", ["x", "w", "r"], ["y", "h"], hidden_size=4)
    return model(
        [node], [info("x", F, ["sequence", "batch", 3])], [info("y", F, None), info("h", F, None)],
        [weight("w", 1, 12, 3), weight("r", 1, 12, 4)],
    )  # fmt: skip


def quantised() -> onnx.ModelProto:
    """Quantise, dequantise, and a convolution of quantised numbers."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("QLinearConv", ["q", "s", "z", "w", "s", "wz", "s", "z"], ["c"], strides=[2, 2]),
        helper.make_node("DequantizeLinear", ["c", "s", "z"], ["y"]),
        helper.make_node("DynamicQuantizeLinear", ["y"], ["dq", "ds", "dz"]),
        helper.make_node("ConvInteger", ["dq", "w2", "dz"], ["ci"]),
    ]
    return model(
        nodes, [info("x", F, ["batch", 3, 16, 16])], [info("ci", TensorProto.INT32, None)],
        [numbers("s", 0.1, "float32"), numbers("z", 3, "uint8"), numbers("wz", 0, "int8"),
         numbers("w", np.ones((4, 3, 3, 3)), "int8"), numbers("w2", np.ones((2, 4, 1, 1)), "int8")],
    )  # fmt: skip


def shape_arithmetic() -> onnx.ModelProto:
    """Splits heads off as exporters write it: every length is computed by nodes of the graph."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["b"], axis=0),
        helper.make_node("Slice", ["s", "one", "two"], ["l"]),
        helper.make_node("Unsqueeze", ["b", "axis"], ["bu"]),
        helper.make_node("Div", ["twelve", "heads"], ["size"]),
        helper.make_node("Concat", ["bu", "l", "heads", "size"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["split"]),
        helper.make_node("Cast", ["l"], ["lf"], to=F),
        helper.make_node("Mul", ["lf", "half"], ["lh"]),
        helper.make_node("Floor", ["lh"], ["lfl"]),
        helper.make_node("Cast", ["lfl"], ["li"], to=I64),
        helper.make_node("ConstantOfShape", ["li"], ["zeros"]),
        helper.make_node("Squeeze", ["li"], ["ls"]),
        helper.make_node("Range", ["zero_s", "ls", "one_s"], ["range"]),
        helper.make_node("Equal", ["target", "minus"], ["eq"]),
        helper.make_node("Where", ["eq", "ones4", "target"], ["wh"]),
        helper.make_node("Expand", ["tiny", "wh"], ["expanded"]),
        helper.make_node("Split", ["target"], ["first", "rest"], axis=0),
        helper.make_node("ReduceProd", ["rest"], ["product"], keepdims=1),
        helper.make_node("Tile", ["range", "product"], ["tiled"]),
    ]
    names = ("split", "zeros", "range", "expanded", "tiled")
    kinds = (F, F, I64, F, I64)
    return model(
        nodes, [info("x", F, ["batch", "sequence", 12])],
        [info(name, kind, None) for name, kind in zip(names, kinds, strict=True)],
        [numbers("zero", 0), numbers("zero_s", 0), numbers("one_s", 1), numbers("one", [1]), numbers("two", [2]),
         numbers("axis", [0]), numbers("twelve", [12]), numbers("heads", [3]), numbers("half", [0.5], "float32"),
         numbers("minus", [-1] * 4), numbers("ones4", [1] * 4), numbers("tiny", [[[[1]]]], "float32")],
    )  # fmt: skip


def resize() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Resize", ["x", "", "scales"], ["up"], mode="linear"),
        helper.make_node("Resize", ["x", "", "", "sizes"], ["to"], mode="nearest"),
        helper.make_node("Pad", ["up", "pads"], ["padded"]),
        helper.make_node("TopK", ["padded", "k"], ["top", "where"], axis=3),
        helper.make_node("Slice", ["top", "starts", "ends", "axes", "steps"], ["cut"]),
    ]
    return model(
        nodes, [info("x", F, ["batch", 2, 8, 6])],
        [info("cut", F, None), info("to", F, None), info("where", I64, None)],
        [numbers("scales", [1, 1, 1.5, 2], "float32"), numbers("sizes", [2, 2, 5, 5]),
         numbers("pads", [0, 0, 1, 2, 0, 0, 3, 4]), numbers("k", [5]), numbers("starts", [-1]), numbers("ends", [-99]),
         numbers("axes", [2]), numbers("steps", [-2])],
    )  # fmt: skip


def loop_that_stacks() -> onnx.ModelProto:
    """A loop of four runs that carries one value and stacks another."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_out"]), helper.make_node("Add", ["state", "x"], ["state_out"]),
         helper.make_node("ReduceSum", ["state_out", "axes"], ["row"], keepdims=0)],
        "body", [info("i", I64, []), info("go", BOOL, []), info("state", F, None)],
        [info("go_out", BOOL, []), info("state_out", F, None), info("row", F, None)],
    )  # fmt: skip
    return model(
        [helper.make_node("Loop", ["trips", "always", "x"], ["last", "rows"], body=body, name="loop")],
        [info("x", F, ["batch", 3])], [info("last", F, None), info("rows", F, None)],
        [numbers("trips", 4), numbers("always", True, "bool"), numbers("axes", [1])],
    )  # fmt: skip


def loop_that_grows() -> onnx.ModelProto:
    """A loop that appends one column in each of three runs."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_out"]),
         helper.make_node("Concat", ["state", "x"], ["state_out"], axis=1)],
        "body", [info("i", I64, []), info("go", BOOL, []), info("state", F, ["b", "n"])],
        [info("go_out", BOOL, []), info("state_out", F, ["b", "m"])],
    )  # fmt: skip
    return model(
        [helper.make_node("Loop", ["trips", "", "x"], ["last"], body=body, name="loop")],
        [info("x", F, ["batch", 2])], [info("last", F, ["batch", "n"])], [numbers("trips", 3)],
    )  # fmt: skip


def scan() -> onnx.ModelProto:
    body = helper.make_graph(
        [helper.make_node("Add", ["sum", "row"], ["sum_out"]), helper.make_node("Mul", ["sum_out", "row"], ["each"])],
        "body", [info("sum", F, [3]), info("row", F, [3])], [info("sum_out", F, [3]), info("each", F, [3])],
    )  # fmt: skip
    return model(
        [helper.make_node("Scan", ["zero", "x"], ["total", "rows"], body=body, num_scan_inputs=1, name="scan")],
        [info("x", F, ["sequence", 3])], [info("total", F, [3]), info("rows", F, ["sequence", 3])],
        [numbers("zero", [0, 0, 0], "float32")],
    )  # fmt: skip


def functions() -> onnx.ModelProto:
    """A function that calls a function and refers to the attribute that its call gives."""
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    leaky = helper.make_node("LeakyRelu", ["a"], ["b"])
    leaky.attribute.append(onnx.AttributeProto(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT))
    inner = helper.make_function("own", "Inner", ["a"], ["b"], [leaky], imports, ["slope"])
    outer_nodes = [
        helper.make_node("MatMul", ["p", "w"], ["m"]),
        helper.make_node("Inner", ["m"], ["q"], domain="own", slope=0.5),
    ]
    outer = helper.make_function("own", "Outer", ["p", "w"], ["q"], outer_nodes, imports)
    return model(
        [helper.make_node("Outer", ["x", "w"], ["h"], domain="own", name="first"),
         helper.make_node("Outer", ["h", "w"], ["y"], domain="own", name="second")],
        [info("x", F, ["batch", 4])], [info("y", F, ["batch", 4])], [weight("w", 4, 4)], [inner, outer],
    )  # fmt: skip


def microsoft() -> onnx.ModelProto:
    """Operators that ONNX Runtime's optimiser writes."""
    com = {"domain": "com.microsoft"}
    nodes = [
        helper.make_node("Attention", ["x", "wqkv", "bqkv"], ["att"], num_heads=2, **com),
        helper.make_node("SkipLayerNormalization", ["att", "x", "g", "b"], ["norm", "", "", "sum"], **com),
        helper.make_node("FusedMatMul", ["norm", "norm"], ["scores"], transB=1, alpha=0.5, **com),
        helper.make_node("BiasGelu", ["norm", "b"], ["gelu"], **com),
        helper.make_node("FastGelu", ["sum"], ["fast"], **com),
        helper.make_node("MultiHeadAttention", ["gelu", "fast", "fast"], ["mha"], num_heads=2, **com),
        helper.make_node("DynamicQuantizeMatMul", ["mha", "wq", "ws"], ["dq"], **com),
        helper.make_node("QuickGelu", ["dq"], ["y"], **com),
    ]
    return model(
        nodes, [info("x", F, ["batch", "sequence", 8])], [info("y", F, None), info("scores", F, None)],
        [weight("wqkv", 8, 24), weight("bqkv", 24), weight("g", 8), weight("b", 8),
         numbers("wq", np.ones((8, 5)), "uint8"), numbers("ws", [0.1], "float32")],
    )  # fmt: skip


def fused_convolution() -> onnx.ModelProto:
    node = helper.make_node("FusedConv", ["x", "w", "b"], ["y"], domain="com.microsoft", activation="Relu",
                            strides=[2, 2], pads=[1, 1, 1, 1], group=2)  # fmt: skip
    return model(
        [node, helper.make_node("MaxPool", ["y"], ["p"], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)],
        [info("x", F, ["batch", 4, 15, 12])], [info("p", F, None)], [weight("w", 6, 2, 3, 3), weight("b", 6)],
    )  # fmt: skip


def trees() -> onnx.ModelProto:
    """Scaled features in two trees of three classes, and a linear regression beside them."""
    node = helper.make_node(
        "TreeEnsembleClassifier", ["scaled"], ["label", "scores"], domain="ai.onnx.ml", name="trees",
        nodes_treeids=[0, 0, 0, 1], nodes_nodeids=[0, 1, 2, 0], nodes_featureids=[0, 0, 0, 0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF", "LEAF"], nodes_values=[0.5, 0.0, 0.0, 0.0],
        nodes_truenodeids=[1, 0, 0, 0], nodes_falsenodeids=[2, 0, 0, 0], nodes_hitrates=[1.0] * 4,
        nodes_missing_value_tracks_true=[0] * 4, class_treeids=[0, 0, 1], class_nodeids=[1, 2, 0],
        class_ids=[0, 1, 2], class_weights=[1.0, 1.0, 1.0], classlabels_int64s=[0, 1, 2], post_transform="NONE",
    )  # fmt: skip
    return model(
        [helper.make_node("Scaler", ["x"], ["scaled"], domain="ai.onnx.ml", offset=[0.0] * 4, scale=[1.0] * 4), node,
         helper.make_node("LinearRegressor", ["scaled"], ["line"], domain="ai.onnx.ml", targets=2,
                          coefficients=[1.0] * 8, intercepts=[0.0, 0.0])],
        [info("x", F, ["batch", 4])], [info("label", I64, None), info("scores", F, None), info("line", F, None)],
    )  # fmt: skip


OWN: dict[str, Callable[[], onnx.ModelProto]] = {
    made.__name__: made
    for made in (
        lstm, gru, quantised, shape_arithmetic, resize, loop_that_stacks, loop_that_grows, scan, functions, microsoft,
        fused_convolution, trees,
    )
}  # fmt: skip


def run_time_values(proto: onnx.ModelProto, graph: InferredGraph, path: Path) -> dict[str, Array]:
    """Every value of the main graph as ONNX Runtime computes it, nothing optimised away."""
    exposed = onnx.ModelProto()
    exposed.CopyFrom(proto)
    known = {output.name for output in proto.graph.output}
    produced = {name for node in proto.graph.node for name in node.output if name}
    for name in sorted(produced - known):
        exposed.graph.output.append(onnx.ValueInfoProto(name=name))
    file = models.save(exposed, path)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    inputs = Draw(0, integer_bound=10).inputs(_bound_signature(graph, proto), rows=1)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, _stored(inputs, proto)), strict=True))


def _bound_signature(graph: InferredGraph, proto: onnx.ModelProto) -> Any:
    """The signature with every axis fixed to what the graph was inferred with."""
    fixed = onnx.GraphProto()
    fixed.CopyFrom(proto.graph)
    for value in fixed.input:
        shape = graph.values[value.name].shape
        assert shape is not None
        for dim, length in zip(value.type.tensor_type.shape.dim, shape, strict=True):
            dim.dim_value = length
    del fixed.output[:]
    fixed.output.append(info("any", F, []))
    return read_signature(fixed, "model")


def _stored(inputs: dict[str, Array], proto: onnx.ModelProto) -> dict[str, Any]:
    """Inputs as ONNX Runtime takes them: text as objects, BF16 as its own kind of value."""
    elements = {value.name: value.type.tensor_type.elem_type for value in proto.graph.input}
    given: dict[str, Any] = {}
    for name, array in inputs.items():
        if elements[name] == TensorProto.BFLOAT16:
            value = ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array, TensorProto.BFLOAT16)
            given[name] = value
        elif array.dtype == object:
            given[name] = np.vectorize(bytes.decode, otypes=[object])(array)
        else:
            given[name] = array
    return given


CASES = {**models.ALL, **OWN}


@pytest.mark.parametrize("kind", sorted(set(CASES) - {"bf16", "baked-batch"}))
def test_every_shape_and_type_is_what_the_engine_computes(kind: str, tmp_path: Path) -> None:
    """Each value of the graph has the shape and type that ONNX Runtime finds at run time."""
    proto = CASES[kind]()
    graph = infer_model(proto, {"batch": 2, "sequence": 7, "width": 5})
    found = run_time_values(proto, graph, tmp_path / "model.onnx")
    assert found
    for name, array in found.items():
        if kind == "functions" and name not in graph.values:
            continue
        value = graph.values[name]
        assert value.shape == array.shape, name
        if array.dtype != object:
            assert value.element_type == TensorProto.DataType.Name(helper.np_dtype_to_tensor_dtype(array.dtype)), name


@pytest.mark.parametrize(
    ("policy", "height", "width", "sizes"),
    [
        ("not_larger", 283, 21, [200, 118]),
        ("not_larger", 60, 21, [30, 300]),
        ("not_smaller", 60, 21, [30, 1]),
        ("not_smaller", 114, 144, [38, 300]),
        ("not_larger", 150, 375, [30, 1]),
    ],
)
def test_one_scale_for_all_axes_is_rounded_as_the_engine_does(
    policy: str, height: int, width: int, sizes: list[int]
) -> None:
    """Halves, what single precision makes of them, and an axis that vanishes."""
    node = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], axes=[2, 3], keep_aspect_ratio_policy=policy)
    proto = model(
        [node], [info("x", F, [1, 1, height, width])], [info("y", F, None)], [numbers("sizes", sizes)], opset=18
    )
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])

    (found,) = session.run(None, {"x": np.zeros((1, 1, height, width), np.float32)})

    assert infer_model(proto, {}).values["y"].shape == found.shape


@pytest.mark.parametrize("kind", sorted(set(CASES) - {"loop_that_grows"}))
def test_nothing_is_unknown_in_models_that_are_served(kind: str) -> None:
    """No gap is left, and every value has a type and a shape."""
    graph = infer_model(CASES[kind](), {})
    assert graph.gaps == ()
    assert all(value.shape is not None and value.element_type for value in graph.values.values())


def relu(source: str, target: str, **named: str) -> onnx.NodeProto:
    return helper.make_node("Relu", [source], [target], **named)


def one_to_one(nodes: list[onnx.NodeProto], output: str = "y", **more: Any) -> onnx.ModelProto:
    return model(nodes, [info("x", F, ["batch", 4])], [info(output, F, None)], **more)


def test_the_guarded_child_finds_what_this_process_finds(tmp_path: Path) -> None:
    """A graph survives the way through the child, bodies and gaps included, at each of several bindings."""
    path = models.save(loop_that_grows(), tmp_path / "model.onnx")
    bindings = [{"batch": 1}, {"batch": 8}]
    assert infer_many(path, bindings) == infer_in_process(path, *bindings)


def test_weights_are_known_without_being_read(tmp_path: Path) -> None:
    """A weight has its type and shape, and says that it is stored."""
    graph = infer(models.save(models.digits_mlp(), tmp_path / "model.onnx"))
    weights = [value for value in graph.values.values() if value.stored]
    assert sorted(value.shape or () for value in weights) == [(10,), (32,), (32, 10), (64, 32)]
    assert sum(value.size_bytes or 0 for value in weights) == 4 * (10 + 32 + 320 + 2048)


def test_small_constants_stand_with_the_nodes_that_take_them() -> None:
    """A reshape knows its target, computed by the graph or not."""
    graph = infer_model(shape_arithmetic(), {"batch": 2, "sequence": 5})
    reshape = next(node for node in graph.nodes if node.operator == "Reshape")
    assert reshape.constants[1] == [2, 5, 3, 4]


def test_nodes_come_in_an_order_in_which_they_can_run() -> None:
    """A file with its nodes upside down is sorted."""
    graph = infer_model(one_to_one([relu("a", "y", name="second"), relu("x", "a", name="first")]), {})
    assert [node.name for node in graph.nodes] == ["first", "second"]
    assert graph.values["y"].shape == (1, 4)


def test_functions_are_unfolded() -> None:
    """What a function does stands in the graph, under the name of its call and with its attributes."""
    graph = infer_model(functions(), {"batch": 3})
    assert [node.operator for node in graph.nodes] == ["MatMul", "LeakyRelu"] * 2
    assert graph.nodes[1].attributes["alpha"] == 0.5
    assert graph.nodes[0].name.startswith("first/")
    assert graph.values["y"].shape == (3, 4)


def test_where_inference_stops_is_said_once() -> None:
    """An operator that nobody knows is a gap, and what follows from it is none."""
    strange = helper.make_node("Strange", ["x"], ["a"], domain="own", name="odd")
    graph = infer_model(one_to_one([strange, relu("a", "b"), relu("b", "y")]), {})
    assert [(gap.node, gap.operator) for gap in graph.gaps] == [("odd", "Strange")]
    assert "own::Strange" in graph.gaps[0].reason
    assert graph.values["y"].shape is None


def test_what_the_file_declares_bridges_a_gap() -> None:
    """The declared shape of an unknown operator's output counts, with the axes that the binding names."""
    strange = helper.make_node("Strange", ["x"], ["a"], domain="own")
    proto = one_to_one([strange, relu("a", "y")])
    proto.graph.value_info.append(info("a", F, ["batch", 9]))
    graph = infer_model(proto, {"batch": 2})
    assert graph.values["y"].shape == (2, 9)
    assert graph.gaps == ()


@pytest.mark.parametrize(
    ("operator", "inputs", "shape"),
    [
        ("NonZero", ["x"], (2, 8)),
        ("Compress", ["x", "mask"], (6,)),
        ("Unique", ["x"], (8,)),
        ("NonMaxSuppression", ["boxes", "scores", "five"], (3 * 5, 3)),
        ("NonMaxSuppression", ["boxes", "scores", "many"], (3 * 7, 3)),
    ],
)
def test_the_most_that_can_come_out_is_counted(operator: str, inputs: list[str], shape: tuple[int, ...]) -> None:
    """Where the data decides how much there is, the upper bound is taken and the gap says so."""
    proto = model(
        [helper.make_node(operator, inputs, ["y"], name="open")],
        [info("x", F, ["batch", 4]), info("mask", BOOL, [6]),
         info("boxes", F, [1, 7, 4]), info("scores", F, [1, 3, 7])],
        [info("y", F, None)], [numbers("five", [5]), numbers("many", [50])],
    )  # fmt: skip
    graph = infer_model(proto, {"batch": 2})
    assert graph.values["y"].shape == shape
    assert [gap.node for gap in graph.gaps] == ["open"]


def test_branches_that_differ_count_as_the_larger_one() -> None:
    """A choice that the data takes has the larger of both shapes, and a gap."""
    small = helper.make_graph([helper.make_node("ReduceMax", ["x"], ["s"], axes=[1])], "s", [], [info("s", F, None)])
    large = helper.make_graph([relu("x", "l")], "l", [], [info("l", F, None)])
    choice = helper.make_node("If", ["c"], ["y"], then_branch=small, else_branch=large, name="choice")
    proto = model([choice], [info("x", F, ["batch", 4]), info("c", BOOL, [])], [info("y", F, None)])
    graph = infer_model(proto, {"batch": 2})
    assert graph.values["y"].shape == (2, 4)
    assert [gap.node for gap in graph.gaps] == ["choice"]
    assert set(graph.nodes[0].subgraphs) == {"then_branch", "else_branch"}


def test_a_circle_is_an_error() -> None:
    """Nodes that wait for each other end in words."""
    with pytest.raises(ModelError, match="circle"):
        infer_model(one_to_one([relu("b", "a"), relu("a", "b"), relu("b", "y")]), {})


@pytest.mark.parametrize(
    "nodes",
    [
        pytest.param([relu("x", "y"), relu("x", "y")], id="two nodes"),
        pytest.param([relu("x", "x"), relu("x", "y")], id="a node and an input"),
        pytest.param([relu("x", "w"), relu("w", "y")], id="a node and a weight"),
    ],
)
def test_a_value_given_twice_is_an_error(nodes: list[onnx.NodeProto]) -> None:
    """Which of two values counts is not guessed."""
    with pytest.raises(ModelError, match="two parts"):
        infer_model(one_to_one(nodes, weights=[weight("w", 4)]), {})


def test_a_value_that_nothing_gives_is_an_error() -> None:
    """A node that reads from nowhere is named, and so is an output."""
    with pytest.raises(ModelError, match="'lost'"):
        infer_model(one_to_one([helper.make_node("Add", ["x", "lost"], ["y"], name="n")]), {})
    with pytest.raises(ModelError, match="'never'"):
        infer_model(one_to_one([relu("x", "y")], output="never"), {})


def recursive(names: list[str]) -> list[onnx.FunctionProto]:
    """Functions of which each calls the next, and the last one the first."""
    return [
        helper.make_function(
            "own", name, ["a"], ["b"],
            [helper.make_node(names[(index + 1) % len(names)], ["a"], ["b"], domain="own")],
            [helper.make_opsetid("own", 1)],
        )
        for index, name in enumerate(names)
    ]  # fmt: skip


@pytest.mark.parametrize("names", [["A"], ["A", "B", "C"]])
def test_functions_that_call_themselves_are_an_error(names: list[str]) -> None:
    """Recursion, direct or through others, ends in words."""
    proto = one_to_one([helper.make_node("A", ["x"], ["y"], domain="own")], functions=recursive(names))
    with pytest.raises(ModelError, match="calls itself"):
        infer_model(proto, {})


def test_functions_that_multiply_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty functions that each call the next one ten times would unfold to more nodes than memory holds."""
    monkeypatch.setattr("nimify.analysis.inference.functions.MAX_UNFOLDED", 10_000)
    imports = [helper.make_opsetid("own", 1), helper.make_opsetid("", 17)]
    made = []
    for level in range(30):
        kind, domain = (f"L{level + 1}", "own") if level < 29 else ("Relu", "")
        chain = [helper.make_node(kind, ["a" if i == 0 else f"v{i}"], [f"v{i + 1}" if i < 9 else "b"], domain=domain)
                 for i in range(10)]  # fmt: skip
        made.append(helper.make_function("own", f"L{level}", ["a"], ["b"], chain, imports))
    proto = one_to_one([helper.make_node("L0", ["x"], ["y"], domain="own")], functions=made)
    with pytest.raises(UnsafeModel, match="unfold"):
        infer_model(proto, {})


@pytest.mark.parametrize(
    ("operator", "inputs", "shape"),
    [
        ("ConstantOfShape", ["huge"], (1_000_000, 1_000_000)),
        ("Expand", ["one", "huge"], (1_000_000, 1_000_000)),
        ("Tile", ["one", "huge"], (1_000_000, 1_000_000)),
        ("Range", ["zero", "billions", "step"], (4_000_000_000,)),
    ],
)
def test_gigantic_shapes_are_only_numbers(operator: str, inputs: list[str], shape: tuple[int, ...]) -> None:
    """A shape of a trillion elements is inferred without a byte of it."""
    proto = model(
        [helper.make_node(operator, inputs, ["a"]), helper.make_node("Shape", ["a"], ["y"])], [],
        [info("y", I64, None)],
        [numbers("huge", [1_000_000, 1_000_000]), numbers("one", [[1]]), numbers("zero", 0),
         numbers("billions", 4_000_000_000), numbers("step", 1)],
    )  # fmt: skip
    assert infer_model(proto, {}).values["a"].shape == shape


def test_a_shape_that_no_machine_holds_is_a_gap() -> None:
    """More elements than there can be are not a shape."""
    proto = model(
        [helper.make_node("ConstantOfShape", ["huge"], ["y"], name="bomb")], [], [info("y", F, None)],
        [numbers("huge", [1 << 40, 1 << 40])],
    )  # fmt: skip
    graph = infer_model(proto, {})
    assert graph.values["y"].shape is None
    assert [gap.node for gap in graph.gaps] == ["bomb"]


def nested_growth(depth: int) -> onnx.GraphProto:
    """A body that grows what it carries, around another one."""
    inner = [helper.make_node("Concat", ["s", "s"], ["t"], axis=0)]
    if depth:
        inner.append(helper.make_node("Loop", ["trips", "", "t"], ["t_out"], body=nested_growth(depth - 1)))
    last = "t_out" if depth else "t"
    return helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_out"]), *inner], "body",
        [info("i", I64, []), info("go", BOOL, []), info("s", F, None)], [info("go_out", BOOL, []), info(last, F, None)],
    )  # fmt: skip


def test_loops_that_grow_inside_each_other_end() -> None:
    """Bodies are looked at twice per level, which stays bounded, and lengths stop where no machine goes."""
    loop = helper.make_node("Loop", ["trips", "", "x"], ["y"], body=nested_growth(8), name="bomb")
    start = time.process_time()
    graph = infer_model(one_to_one([loop], weights=[numbers("trips", 1000)]), {})
    assert time.process_time() - start < 20
    assert any(gap.node == "bomb" for gap in graph.gaps)


@pytest.mark.parametrize(
    "node",
    [
        pytest.param(helper.make_node("Conv", ["x", "w"], ["y"], strides=[0, 0, 0]), id="wrong strides"),
        pytest.param(helper.make_node("Conv", ["x"], ["y"]), id="a missing input"),
        pytest.param(helper.make_node("Reshape", ["x", "w"], ["y"]), id="a weight for a shape"),
        pytest.param(helper.make_node("Transpose", ["x"], ["y"], perm=[7, 9]), id="axes that are not there"),
        pytest.param(helper.make_node("Concat", ["x"], ["y"]), id="a missing attribute"),
        pytest.param(helper.make_node("Cast", ["x"], ["y"], to=4711), id="an unknown type"),
        pytest.param(
            helper.make_node("Attention", ["x", "w"], ["y"], domain="com.microsoft", num_heads=0), id="no heads"
        ),
        pytest.param(helper.make_node("QLinearConcat", ["x"], ["y"], domain="com.microsoft"), id="nothing to join"),
        pytest.param(helper.make_node("Normalizer", [], ["y"], domain="ai.onnx.ml"), id="no inputs"),
        pytest.param(helper.make_node("Loop", ["x"], ["y"]), id="no body"),
        pytest.param(helper.make_node("Scan", ["x"], ["y"], num_scan_inputs=9), id="more scanned than given"),
        pytest.param(helper.make_node("If", ["x"], ["y"]), id="no branches"),
        pytest.param(helper.make_node("Constant", [], ["y"]), id="no value"),
    ],
)
def test_nonsense_in_a_node_is_a_gap(node: onnx.NodeProto) -> None:
    """A node that is not what its operator asks for leaves its output unknown, and nothing breaks."""
    node.name = "bad"
    graph = infer_model(one_to_one([node], weights=[weight("w", 4)]), {})
    assert graph.values["y"].shape is None
    assert [gap.node for gap in graph.gaps] == ["bad"]


def test_a_child_that_breaks_its_limits_becomes_a_finding(tmp_path: Path) -> None:
    """Too little memory for the child is an error with a cause, which makes a warning."""
    path = models.save(models.tiny(), tmp_path / "model.onnx")
    with pytest.raises(ModelError, match=r"model\.onnx") as caught:
        infer(path, limits=GuardLimits(memory_bytes=50 << 20, wall_s=20))
    finding = not_inferred(caught.value)
    assert (finding.code, finding.severity) == ("structure.not-inferred", Severity.WARNING)
    assert finding.remedy


def chain(nodes: int) -> onnx.ModelProto:
    """Matrix products, activations, and reshapes to computed shapes, one after the other."""
    made, x = [], "x"
    for index in range(nodes // 4):
        a, b, c, y = (f"{letter}{index}" for letter in "abcy")
        made += [
            helper.make_node("MatMul", [x, "w"], [a]), relu(a, b), helper.make_node("Shape", [b], [c]),
            helper.make_node("Reshape", [b, c], [y]),
        ]  # fmt: skip
        x = y
    return one_to_one(made, output=x, weights=[weight("w", 4, 4)])


def test_time_is_linear_in_nodes() -> None:
    """Eight times the nodes take eight times as long, with room for a busy machine; a square law would take 64."""
    small, large = chain(1000), chain(8000)
    infer_model(small, {})
    one = min(_seconds(small) for _ in range(3))
    assert _seconds(large) < 24 * one


def _seconds(proto: onnx.ModelProto) -> float:
    start = time.process_time()
    infer_model(proto, {})
    return time.process_time() - start


@pytest.mark.parametrize("old", [pytest.param(b"name_of_node", id="node"), pytest.param(b"name_of_value", id="value")])
def test_a_name_that_is_no_text_is_an_error(old: bytes, tmp_path: Path) -> None:
    """Bytes that are not UTF-8 in place of a name end in words, not in a crash of the child."""
    proto = one_to_one([relu("x", "name_of_value", name="name_of_node"), relu("name_of_value", "y")])
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString().replace(old, b"\xff" * len(old)))
    with pytest.raises(ModelError, match="UTF-8"):
        infer(path)


def test_long_lists_of_trees_are_read(tmp_path: Path) -> None:
    """How many nodes a row visits is known of a forest whose lists are longer than what is usually kept."""
    count = 3000
    forest = helper.make_node(
        "TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", n_targets=1,
        nodes_treeids=list(range(count)), nodes_nodeids=[0] * count, nodes_featureids=[0] * count,
        nodes_modes=["LEAF"] * count, nodes_values=[0.0] * count, nodes_truenodeids=[0] * count,
        nodes_falsenodeids=[0] * count, target_treeids=list(range(count)), target_nodeids=[0] * count,
        target_ids=[0] * count, target_weights=[1.0] * count,
    )  # fmt: skip
    (graph,) = infer_in_process(models.save(one_to_one([forest]), tmp_path / "model.onnx"))
    assert graph.nodes[0].attributes["nimify.visits"] == count
    assert "nodes_treeids" not in graph.nodes[0].attributes


def _sent(**changes: object) -> dict[str, Any]:
    """What a child sends of a graph of one node, with some columns replaced."""
    data = json.loads(json.dumps(to_json(infer_model(one_to_one([relu("x", "y")]), {"batch": 2}))))
    data["graph"].update(changes)
    return dict(data)


def test_what_a_child_sends_is_the_graph() -> None:
    """The data of which the next test takes parts away is a graph as long as it is whole."""
    assert from_json(_sent()) == infer_model(one_to_one([relu("x", "y")]), {"batch": 2})


def test_bindings_share_their_nodes_where_no_constant_depends_on_them(tmp_path: Path) -> None:
    """A long graph is in memory once, and only its shapes once per binding."""
    path = models.save(one_to_one([relu("x", "h"), relu("h", "y")]), tmp_path / "model.onnx")
    one, many, again = infer_many(path, [{"batch": 1}, {"batch": 8}, {"batch": 1}])
    assert one.nodes is many.nodes
    assert (one.values["h"].shape, many.values["h"].shape) == ((1, 4), (8, 4))
    assert again is one


@pytest.mark.parametrize(
    "data",
    [
        pytest.param([], id="a list"),
        pytest.param({}, id="nothing"),
        pytest.param({**_sent(), "shapes": [[-1]]}, id="a negative length"),
        pytest.param({**_sent(), "shapes": [["1"]]}, id="a text for a length"),
        pytest.param({**_sent(), "words": [1]}, id="a number for a word"),
        pytest.param(_sent(values=[1, "y"]), id="a number for a name"),
        pytest.param(_sent(types=[0]), id="half a value"),
        pytest.param(_sent(operators=[]), id="half a node"),
        pytest.param(_sent(reads=[9]), id="a value that is not there"),
        pytest.param(_sent(read_counts=[2]), id="more reads than there are"),
        pytest.param(_sent(read_counts=[-1]), id="a negative count"),
    ],
)
def test_what_a_child_sends_is_not_trusted(data: object) -> None:
    """JSON that is no graph is told apart before anybody uses it."""
    with pytest.raises(ValueError, match="no inferred graph"):
        from_json(data)
