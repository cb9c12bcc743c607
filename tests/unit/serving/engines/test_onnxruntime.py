"""The embedded engine: every datatype comes through, and its errors say nothing of this machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from nimify.errors import ModelError, UnsupportedModel
from nimify.serving.engines.engine import Array, EngineRefused
from nimify.serving.engines.onnxruntime import OnnxRuntimeEngine, served_datatypes
from nimify.tensors import DATATYPES, Dim, bf16_to_fp32, fp32_to_bf16
from nimify.testing import models
from nimify.testing.graph_builder import GraphBuilder


def loaded(model: Any, folder: Path) -> OnnxRuntimeEngine:
    return OnnxRuntimeEngine.load(models.save(model, folder / "m.onnx"), threads=1)


def values(name: str, shape: tuple[int, ...]) -> Array:
    datatype, count = DATATYPES[name], int(np.prod(shape))
    if name == "BYTES":
        array = np.empty(count, dtype=object)
        array[:] = [f"é{index}".encode() for index in range(count)]
        return array.reshape(shape)
    if name == "BOOL":
        return (np.arange(count) % 2).astype(bool).reshape(shape)
    bits = np.random.default_rng(0).integers(0, 256, count * datatype.itemsize, dtype="u1")
    return np.frombuffer(bits.tobytes(), dtype=datatype.storage).reshape(shape)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0, 3)], ids=str)
@pytest.mark.parametrize("name", DATATYPES)
def test_every_datatype_comes_through_bit_by_bit(tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    """From memory that must not be written, as a request's body is; also BF16, text, scalars and nothing at all."""
    free: tuple[Dim, ...] = tuple(f"d{axis}" for axis in range(len(shape)))
    engine = loaded(models.identity(name, free), tmp_path)
    sent = values(name, shape)
    sent.flags.writeable = False
    (result,) = engine.run({"x": sent}, ["y"])
    assert (result.shape, result.dtype) == (shape, DATATYPES[name].storage)
    assert result.tolist() == sent.tolist() if name == "BYTES" else result.tobytes() == sent.tobytes()
    assert engine.signature.inputs[0].datatype is DATATYPES[name]


def test_it_serves_every_datatype_of_the_protocol() -> None:
    """None is forgotten in its table."""
    assert set(served_datatypes()) == set(DATATYPES.values())


def test_outputs_come_in_the_order_in_which_they_are_wanted(tmp_path: Path) -> None:
    """And only those."""
    engine = loaded(models.several_outputs(), tmp_path)
    x = np.array([[1, 2, 3, 0]], dtype="f4")
    best, doubled = engine.run({"x": x}, ("best", "doubled"))
    assert best.tolist() == [2]
    assert doubled.tolist() == [[2, 4, 6, 0]]


def bf16_beside(datatype: str) -> Any:
    graph = GraphBuilder("mixed")
    x, other = graph.input("x", "BF16", ["batch"]), graph.input("other", datatype, ["batch"])
    graph.output(graph.op("Identity", x, out="a"), "BF16", ["batch"])
    graph.output(graph.op("Identity", other, out="b"), datatype, ["batch"])
    return graph.model()


def test_bf16_outputs_come_in_the_order_in_which_they_are_wanted(tmp_path: Path) -> None:
    """The slow way round keeps the same promise, beside other datatypes."""
    engine = loaded(bf16_beside("INT64"), tmp_path)
    inputs = {"other": values("INT64", (2,)), "x": values("BF16", (2,))}
    b, a = engine.run(inputs, ("b", "a"))
    assert (a.tolist(), b.tolist()) == (inputs["x"].tolist(), inputs["other"].tolist())


def test_bf16_beside_text_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    """Not with every request."""
    with pytest.raises(UnsupportedModel, match="takes text and has BF16"):
        loaded(bf16_beside("BYTES"), tmp_path)


def test_bf16_computes_what_float_computes(tmp_path: Path) -> None:
    """Within the rounding of its eight bits."""
    engine = loaded(models.bf16(), tmp_path)
    x = np.random.default_rng(0).standard_normal((3, 8)).astype("f4")
    (once,) = engine.run({"x": fp32_to_bf16(x)}, ["y"])
    (rows,) = engine.run({"x": fp32_to_bf16(x[1:2])}, ["y"])
    assert once.shape == (3, 8)
    np.testing.assert_allclose(bf16_to_fp32(once)[1:2], bf16_to_fp32(rows), rtol=2**-7)


def test_the_signature_keeps_names_free_axes_and_fixed_lengths(tmp_path: Path) -> None:
    """As the file has them."""
    engine = loaded(models.identity("INT8", ("batch", None, 3)), tmp_path)
    assert engine.signature.to_dict()["inputs"] == [{"name": "x", "datatype": "INT8", "shape": ["batch", None, 3]}]


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        ("baked-batch", {"x": np.zeros((3, 4), dtype="f4")}),  # the model's own reshape fails
        ("fixed-batch", {"x": np.zeros((2, 4), dtype="f4")}),
        ("strings", {"word": np.array([[b"\xff"]], dtype=object)}),  # no ONNX string
        ("bf16", {"x": np.zeros((2, 7), dtype="<u2")}),
    ],
)
def test_what_the_model_cannot_process_is_a_refusal(tmp_path: Path, kind: str, inputs: dict[str, Array]) -> None:
    """On one line, for the log."""
    engine = loaded(models.ALL[kind](), tmp_path)
    with pytest.raises(EngineRefused) as caught:
        engine.run(inputs, [output.name for output in engine.signature.outputs])
    assert str(caught.value).isprintable()


def test_a_lookup_outside_of_its_table_is_a_refusal(tmp_path: Path) -> None:
    """The value decides, not the shape; afterwards the engine goes on."""
    graph = GraphBuilder("lookup")
    table = graph.constant([10.0, 20.0])
    graph.output(graph.op("Gather", table, graph.input("i", "INT64", ["n"]), out="y"), "FP32", ["n"])
    engine = loaded(graph.model(), tmp_path)
    with pytest.raises(EngineRefused):
        engine.run({"i": np.array([2**40])}, ["y"])
    assert engine.run({"i": np.array([1])}, ["y"])[0].tolist() == [20]


@pytest.mark.parametrize(
    "content", [b"", b"\x89PNG\r\n\x1a\n" * 9, b"\x08", None], ids=["empty", "png", "cut", "absent"]
)
def test_a_file_that_cannot_be_loaded_is_told_without_its_folder(tmp_path: Path, content: bytes | None) -> None:
    """One line: the file's name, the engine's version and its reason."""
    path = tmp_path / "m.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=r"^Cannot use 'm\.onnx': ONNX Runtime \d") as caught:
        OnnxRuntimeEngine.load(path, threads=1)
    assert str(tmp_path) not in str(caught.value)
    assert str(caught.value).isprintable()
    assert caught.value.cause


def _tiny(*, ir: int = 9, opset: int = 17, operator: str = "Relu", domain: str = "", node: str = "") -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node(operator, ["x"], ["y"], name=node, domain=domain)],
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 4])],
    )
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (_tiny(ir=99), r"Unsupported model IR version: 99, max supported IR version: \d+"),
        (_tiny(opset=99), r"Opset 99 is under development.* official support for domain ai\.onnx is till opset \d+"),
        (_tiny(operator="Frob", node="n7"), r"No Op registered for Frob .*\(operator Frob of node 'n7'\)"),
        (_tiny(operator="Frob", domain="acme"), r"acme::Frob|acme:Frob"),
        (_tiny(opset=5, ir=3), r"Could not find an implementation for Relu\(1\)"),
    ],
    ids=["ir", "opset", "operator", "domain", "old"],
)
def test_the_reason_is_told_whole_and_without_the_engines_source(
    tmp_path: Path, model: onnx.ModelProto, reason: str
) -> None:
    """ONNX Runtime puts files, lines and signatures of its own first, which may be longer than what it has to say."""
    with pytest.raises(ModelError, match=rf"cannot load it: .*{reason}") as caught:
        OnnxRuntimeEngine.load(models.save(model, tmp_path / "m.onnx"), threads=1)
    assert not re.search(r"onnxruntime_src|Load model from|\.(cc|h):\d|ONNXRuntimeError", caught.value.cause)


@pytest.mark.parametrize("where", ["absent", "short"])
def test_missing_weights_are_told_without_their_folder(tmp_path: Path, where: str) -> None:
    """External data that is gone or cut: the message may name the file, never where it lies."""
    path = models.save(models.external_data(), tmp_path / "m.onnx")
    data = tmp_path / models.DATA_FILE
    if where == "absent":
        data.unlink()
    else:
        data.write_bytes(data.read_bytes()[:10])
    with pytest.raises(ModelError) as caught:
        OnnxRuntimeEngine.load(path, threads=1)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("kind", ["sequence", "map"])
def test_what_is_no_tensor_is_not_supported(tmp_path: Path, kind: str) -> None:
    """Sequences and maps load, but no protocol carries them."""
    with pytest.raises(UnsupportedModel, match="only dense tensors"):
        loaded(models.UNSUPPORTED[kind](), tmp_path)
