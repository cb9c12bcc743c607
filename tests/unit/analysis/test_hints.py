"""Optimisation hints: each seen where it should be and not where it should not."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nimify.analysis import duplicates
from nimify.analysis.duplicates import weight_digests
from nimify.analysis.graph import InferredGraph, Node, Value
from nimify.analysis.hints import Hint, optimisation_hints
from nimify.analysis.structure import infer_in_process, infer_model
from nimify.analysis.tables.releases import load_operators_without_cuda
from nimify.analysis.variation import varying_axes
from nimify.findings import Severity
from nimify.testing import models
from nimify.testing.graph_builder import GraphBuilder

Array = np.ndarray[Any, Any]

X = Value("x", "FLOAT", (1, 1024))
LARGE = Value("w", "FLOAT", (1024, 1024), stored=True)
SMALL = Value("s", "INT64", (2,), stored=True)
VARYING = {"x": frozenset({0})}


def op(kind: str, *inputs: str, out: str = "y", domain: str = "ai.onnx", **fields: Any) -> Node:
    outputs = fields.pop("outputs", (out,))
    constants, attributes = fields.pop("constants", {}), fields
    return Node(f"node_{out}", kind, domain, inputs, outputs, attributes, constants)


def graph(*nodes: Node, values: tuple[Value, ...] = ()) -> InferredGraph:
    """A graph from `x` to `y`; values that are not given are like `x`."""
    known = {value.name: value for value in (X, LARGE, SMALL, *values)}
    names = [name for node in nodes for name in (*node.inputs, *node.outputs) if name]
    return InferredGraph(
        nodes, {name: replace(X, name=name) for name in names} | known, ("x",), ("y",), {"batch": 1}, 17
    )


def hints(model: InferredGraph, **options: Any) -> dict[str, Hint]:
    return {hint.code: hint for hint in optimisation_hints(model, **options)}


def test_a_good_model_has_no_hints() -> None:
    """Small, and nothing to improve."""
    assert hints(graph(op("Relu", "x"))) == {}


class TestPrecision:
    """FP16 and INT8."""

    def test_large_fp32_matrices_are_candidates(self) -> None:
        """Half and three quarters of their four megabytes could be saved."""
        found = hints(graph(op("MatMul", "x", "w")), flops={"node_y": 100.0})

        assert "2.1 MB" in found["hint.fp16"].effect
        assert "3.1 MB" in found["hint.int8"].effect
        assert "100 % of its arithmetic" in found["hint.fp16"].message
        assert found["hint.fp16"].nodes == ("node_y",)

    def test_small_weights_are_not_worth_it(self) -> None:
        """Nothing to speak of would be saved."""
        small = Value("w", "FLOAT", (16, 16), stored=True)

        assert hints(graph(op("MatMul", "x", "w"), values=(small,))) == {}

    def test_biases_are_not_quantised(self) -> None:
        """One matrix counts, the bias beside it does not; a table that no product reads stays FP32."""
        bias = Value("b", "FLOAT", (1024,), stored=True)
        found = hints(graph(op("Gemm", "x", "w", "b"), values=(bias,)))

        assert found["hint.int8"].message.startswith("1 weight of")
        table = graph(
            op("Gather", "w", "x", out="a"), op("MatMul", "a", "s2"), values=(replace(LARGE, name="s2", shape=(9, 9)),)
        )
        assert set(hints(table)) == {"hint.fp16"}

    def test_half_precision_needs_no_hint(self) -> None:
        """It is there already."""
        half = replace(LARGE, element_type="FLOAT16")

        assert hints(graph(op("MatMul", "x", "w"), values=(half,))) == {}

    def test_arithmetic_elsewhere_needs_no_hint(self) -> None:
        """Only a tenth of the work is in the matrix product."""
        model = graph(op("MatMul", "x", "w", out="a"), op("Softmax", "a"))

        assert hints(model, flops={"node_a": 10.0, "node_y": 90.0}) == {}

    def test_a_quantised_model_is_not_told_to_quantise(self) -> None:
        """FP16 may still help the rest."""
        model = graph(op("QuantizeLinear", "x", "x", out="a"), op("MatMul", "a", "w"))

        assert set(hints(model)) == {"hint.fp16"}


class TestBakedBatch:
    """A reshape that fixes the batch."""

    def test_a_reshape_to_numbers_fixes_the_batch(self) -> None:
        """The node is named, with the shape that it asks for."""
        node = op("Reshape", "x", "s", constants={1: [1, 1024]})
        hint = hints(graph(node), varying=VARYING)["hint.baked-batch"]

        assert "'node_y' reshapes to [1, 1024]" in hint.message
        assert "batches" in hint.effect

    @pytest.mark.parametrize("target", [[-1, 1024], [0, 1024], [1, -1], []])
    def test_a_reshape_that_follows_its_input_does_not(self, target: list[int]) -> None:
        """-1 and 0 take the length from what comes in."""
        node = op("Reshape", "x", "s", constants={1: target})

        assert hints(graph(node), varying=VARYING) == {}

    def test_a_fixed_input_may_be_reshaped_to_numbers(self) -> None:
        """There is no free axis to fix."""
        node = op("Reshape", "x", "s", constants={1: [1, 1024]})

        assert hints(graph(node)) == {}

    def test_a_computed_target_does_not(self) -> None:
        """Inference folded it at this binding, but the model computes it from the shape of its input."""
        node = op("Reshape", "x", "computed", constants={1: [1, 1024]})

        assert hints(graph(node, values=(Value("computed", "INT64", (2,)),)), varying=VARYING) == {}


class TestFolding:
    """Constants that are computed at each start."""

    def test_a_chain_of_stored_values_is_counted(self) -> None:
        """What follows from a foldable node is foldable too."""
        model = graph(op("Neg", "s", out="a"), op("Abs", "a", out="b"), op("Add", "x", "b"))
        hint = hints(model)["hint.constant-folding"]

        assert hint.message.startswith("2 nodes with nothing but stored inputs")
        assert hint.nodes == ("node_a", "node_b")

    @pytest.mark.parametrize("kind", ["DequantizeLinear", "RandomNormalLike"])
    def test_some_nodes_must_stay(self, kind: str) -> None:
        """Quantised weights are expanded on purpose, and chance is no constant."""
        assert hints(graph(op(kind, "s", out="a"), op("Add", "x", "a"))) == {}


class TestNoOps:
    """Nodes that change nothing."""

    @pytest.mark.parametrize(
        "node",
        [
            op("Identity", "a"),
            op("Dropout", "a"),
            op("Dropout", "a", "", "s", constants={2: False}),
            op("Cast", "a", to=1),
            op("Transpose", "a", perm=[0, 1]),
        ],
        ids=lambda node: f"{node.operator}-{len(node.inputs)}",
    )
    def test_a_node_that_changes_nothing_is_seen(self, node: Node) -> None:
        """Whatever its kind."""
        found = hints(graph(op("Relu", "x", out="a"), node))

        assert list(found) == ["hint.no-ops"]
        assert f"1 {node.operator}" in found["hint.no-ops"].message

    @pytest.mark.parametrize(
        "node",
        [op("Identity", "x"), op("Transpose", "x", perm=[1, 0]), op("Transpose", "x"), op("Relu", "x")],
        ids=lambda node: f"{node.operator}-{len(node.attributes)}",
    )
    def test_a_node_with_a_use_is_not(self, node: Node) -> None:
        """An identity from input to output copies one to the other."""
        assert hints(graph(node)) == {}

    @pytest.mark.parametrize("kind", ["Identity", "Cast", "Dropout", "Transpose", "Reshape", "BatchNormalization"])
    def test_a_node_without_inputs_or_outputs_does_no_harm(self, kind: str) -> None:
        """A hostile file may hold it."""
        assert hints(graph(Node("n", kind, "ai.onnx", (), ()))) == {}


class TestFallback:
    """Operators that run on the CPU even where there is a GPU."""

    @pytest.mark.parametrize(
        ("kind", "domain"), [("TreeEnsembleClassifier", "ai.onnx.ml"), ("STFT", "ai.onnx"), ("Unique", "ai.onnx")]
    )
    def test_what_has_no_kernel_is_seen(self, kind: str, domain: str) -> None:
        """With the bytes that must cross the bus: four kilobytes there, four back."""
        found = hints(graph(op(kind, "x", domain=domain)), without_cuda=load_operators_without_cuda())

        assert "8.2 kB" in found["hint.cpu-fallback"].effect

    @pytest.mark.parametrize(("kind", "domain"), [("Conv", "ai.onnx"), ("Unique", "com.example")])
    def test_what_has_one_is_not(self, kind: str, domain: str) -> None:
        """Nor an operator of another domain that is called alike."""
        assert hints(graph(op(kind, "x", domain=domain)), without_cuda=load_operators_without_cuda()) == {}


class TestCasts:
    """Casts that undo each other."""

    def model(self, back: str) -> InferredGraph:
        values = (Value("a", "FLOAT16", X.shape), Value("y", back, X.shape))
        return graph(op("Cast", "x", out="a"), op("Cast", "a"), values=values)

    def test_there_and_back_is_seen(self) -> None:
        """FP32 to FP16 to FP32."""
        assert list(hints(self.model("FLOAT"))) == ["hint.cast-ping-pong"]

    def test_onwards_is_not(self) -> None:
        """FP32 to FP16 to FP64 ends elsewhere."""
        assert hints(self.model("DOUBLE")) == {}


class TestTraining:
    """What training left behind."""

    @pytest.mark.parametrize(
        "node",
        [
            op("BatchNormalization", "x", training_mode=1),
            op("BatchNormalization", "x", outputs=("y", "mean", "var")),
            op("Dropout", "x", "", "s", constants={2: True}),
            op("SoftmaxCrossEntropyLoss", "x"),
            op("Gradient", "x", domain="ai.onnx.preview.training"),
        ],
        ids=lambda node: f"{node.operator}-{len(node.outputs)}",
    )
    def test_training_nodes_are_seen(self, node: Node) -> None:
        """Their answers depend on the batch or on chance."""
        assert "hint.training-leftovers" in hints(graph(node))

    def test_inference_nodes_are_not(self) -> None:
        """A normalisation with stored statistics belongs to inference."""
        assert hints(graph(op("BatchNormalization", "x"))) == {}


class TestDuplicates:
    """Weights that are stored twice."""

    def model(self) -> InferredGraph:
        twin = replace(LARGE, name="twin")
        return graph(op("Add", "w", "twin", out="a"), op("Relu", "x"), values=(twin,))

    def test_equal_content_is_seen(self) -> None:
        """One of the two could go."""
        hint = hints(self.model(), digests={"w": "d1", "twin": "d1"})["hint.duplicated-weights"]

        assert "4.2 MB" in hint.effect
        assert "'w' and 'twin'" in hint.message

    @pytest.mark.parametrize("digests", [{}, {"w": "d1", "twin": "d2"}, {"w": "d1", "x": "d1", "gone": "d1"}])
    def test_other_content_is_not(self, digests: dict[str, str]) -> None:
        """Nor what is not known."""
        assert "hint.duplicated-weights" not in hints(self.model(), digests=digests)


class TestDigests:
    """Finding equal weights in a file without reading most of it."""

    def digests(self, folder: Path, *arrays: Array) -> dict[str, str]:
        builder = GraphBuilder("twins")
        total = builder.input("x", "FP32", ["batch", 256])
        for array in arrays:
            total = builder.op("Add", total, builder.constant(array))
        builder.output(total, "FP32", ["batch", 256])
        path = models.save(builder.model(), folder / "model.onnx")
        values = {
            f"const_{number}": Value(f"const_{number}", "FLOAT", array.shape, stored=True)
            for number, array in enumerate(arrays)
        }
        return weight_digests(path, InferredGraph((), values, (), (), {}, 17))

    def array(self, seed: int = 0, rows: int = 256) -> Array:
        return np.random.default_rng(seed).standard_normal((rows, 256)).astype(np.float32)

    def test_twins_have_one_digest(self, tmp_path: Path) -> None:
        """What has no twin has none."""
        found = self.digests(tmp_path, self.array(1), self.array(2), self.array(1))

        assert set(found) == {"const_0", "const_2"}
        assert found["const_0"] == found["const_2"] == hashlib.sha256(self.array(1).tobytes()).hexdigest()

    def test_tensors_that_differ_in_one_number_are_no_twins(self, tmp_path: Path) -> None:
        """Samples are alike; the whole content decides."""
        changed = self.array()
        changed[64, 0] += 1
        found = self.digests(tmp_path, self.array(), changed)

        assert found["const_0"] != found["const_1"]

    def test_small_tensors_and_other_shapes_are_not_read(self, tmp_path: Path) -> None:
        """They cannot be equal, or are not worth it."""
        small = self.array(rows=1)

        assert self.digests(tmp_path, small, small, self.array().reshape(1, -1, 256), self.array()) == {}

    def test_no_more_is_read_than_the_limit(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Copies beyond it are left out."""
        monkeypatch.setattr(duplicates, "MAX_HASHED_BYTES", 600_000)

        assert len(self.digests(tmp_path, *[self.array(1)] * 2, *[self.array(2)] * 2)) == 2

    @pytest.mark.parametrize("content", [b"", b"\x3a\xff", b"\x3a\x05\x2a\x7f", bytes(100)])
    def test_a_damaged_file_gives_nothing(self, tmp_path: Path, content: bytes) -> None:
        """Its own reader says what is wrong with it."""
        (tmp_path / "model.onnx").write_bytes(content)

        assert weight_digests(tmp_path / "model.onnx", graph(op("Relu", "x"))) == {}


def test_a_hint_is_plain_data_and_a_finding() -> None:
    """A finding of a hint never fails a command, not even under --strict."""
    hint = hints(graph(op("Relu", "x", out="a"), op("Identity", "a")))["hint.no-ops"]

    assert hint.to_dict()["basis"] == "Counted in the graph."
    assert hint.finding().severity is Severity.INFO
    assert hint.finding().remedy == hint.remedy


def test_names_cannot_break_out_of_their_line() -> None:
    """A hostile file names nodes as it likes."""
    node = replace(op("STFT", "x"), name="a\nb" * 100)
    (hint,) = optimisation_hints(graph(node), without_cuda=frozenset({"STFT"}))

    assert hint.message.isprintable()
    assert len(hint.message) < 250


def test_a_real_model_with_a_baked_batch_is_seen() -> None:
    """The whole way: inferred at two batch sizes, the reshape is named; a good model is not blamed."""
    model = models.baked_batch()
    first, second = infer_model(model, {"batch": 1}), infer_model(model, {"batch": 8})

    assert "hint.baked-batch" in hints(first, varying=varying_axes(first, second))
    good = [infer_model(models.tiny(), {"batch": batch}) for batch in (1, 8)]
    assert hints(good[0], varying=varying_axes(*good)) == {}


@pytest.mark.parametrize("name", sorted(models.ALL))
def test_real_models_are_looked_at_without_trouble(name: str, tmp_path: Path) -> None:
    """Whatever the kind of model, each hint names nodes that it has."""
    path = models.save(models.ALL[name](), tmp_path / "model.onnx")
    model, other = infer_in_process(path, {}, {"batch": 3})
    nodes = {node.name for node in model.nodes}

    for hint in optimisation_hints(model, varying=varying_axes(model, other), digests=weight_digests(path, model)):
        assert set(hint.nodes) <= nodes
