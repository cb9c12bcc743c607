"""What its owner could do to make a model smaller or faster, with the effect to expect and what that rests on."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from nimify.analysis.graph import InferredGraph, Node, Value
from nimify.analysis.randomness import RANDOM
from nimify.analysis.variation import VaryingAxes
from nimify.errors import one_line, shortened
from nimify.findings import Finding, Severity
from nimify.quantities import human_bytes, human_share

_MATRIX: Final = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN", "Attention", "Einsum"})
_QUANTISED: Final = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"}
)
_TRAINING: Final = frozenset({"SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss", "Gradient", "Momentum", "Adam"})
_TRAINING_DOMAINS: Final = frozenset({"ai.onnx.training", "ai.onnx.preview.training"})
_MIN_MATRIX_SHARE: Final = 0.5
_MIN_SAVED_BYTES: Final = 1 << 20
_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Hint:
    """One thing to do.

    Attributes:
        code: A stable, dotted name.
        message: One sentence: what was seen, and where.
        remedy: One sentence: what to do.
        effect: What to expect of it.
        basis: What that expectation rests on.
        nodes: The first of the nodes in question.
    """

    code: str
    message: str
    remedy: str
    effect: str
    basis: str
    nodes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "code": self.code,
            "message": self.message,
            "remedy": self.remedy,
            "effect": self.effect,
            "basis": self.basis,
            "nodes": list(self.nodes),
        }

    def finding(self) -> Finding:
        """The hint as a finding; it never fails a command."""
        return Finding(self.code, Severity.INFO, f"{self.message} {self.effect}", self.remedy)


def optimisation_hints(
    graph: InferredGraph,
    *,
    varying: VaryingAxes | None = None,
    flops: Mapping[str, float] | None = None,
    without_cuda: frozenset[str] = frozenset(),
    digests: Mapping[str, str] | None = None,
) -> tuple[Hint, ...]:
    """Every hint about the main graph, the most rewarding first.

    Args:
        graph: The graph at one binding.
        varying: Axes that depend on a free axis; see `variation.varying_axes`.
        flops: Arithmetic by node name.
        without_cuda: Standard operators that run on the CPU even where there is a GPU.
        digests: Digests of stored tensors by name, where they are known; without them no weights are compared.
    """
    return (
        *_baked_batch(graph, varying or {}),
        *_precision(graph, flops),
        *_cpu_fallback(graph, without_cuda),
        *_duplicated_weights(graph, digests or {}),
        *_training_leftovers(graph),
        *_constant_folding(graph),
        *_cast_ping_pong(graph),
        *_no_ops(graph),
    )


def _precision(graph: InferredGraph, flops: Mapping[str, float] | None) -> Iterator[Hint]:
    nodes = [node for node in graph.nodes if node.operator in _MATRIX]
    weights = {value.name: value for node in nodes for value in _inputs(graph, node) if _is_fp32_weight(value)}
    stored = [value for value in graph.values.values() if _is_fp32_weight(value)]
    saved = sum(value.size_bytes or 0 for value in stored) // 2
    share = _share(nodes, flops)
    if saved < _MIN_SAVED_BYTES or not weights or (share is not None and share < _MIN_MATRIX_SHARE):
        return
    work = "" if share is None else f" and {human_share(share)} of its arithmetic is in matrix products"
    yield Hint(
        "hint.fp16",
        f"The weights are FP32{work}.",
        "Convert to FP16 with FP32 inputs and outputs: onnxconverter_common.float16.convert_float_to_float16(model, "
        "keep_io_types=True). Compare the answers.",
        f"Saves {human_bytes(saved)} of weights; on GPUs with FP16 tensor cores also time, on most CPUs none.",
        "Half the bytes of all FP32 weights; the time is not estimated.",
        _names(nodes),
    )
    if any(node.operator in _QUANTISED for node in graph.nodes):
        return
    matrices = [value for value in weights.values() if len(value.shape or ()) > 1]  # biases stay as they are
    quantised = sum(value.size_bytes or 0 for value in matrices) * 3 // 4
    if quantised < _MIN_SAVED_BYTES:
        return
    yield Hint(
        "hint.int8",
        f"{_counted(len(matrices), 'weight')} of matrix products could be stored in INT8.",
        "Quantise statically with sample inputs: onnxruntime.quantization.quantize_static, format QDQ, symmetric. "
        "Measure the accuracy.",
        f"Saves {human_bytes(quantised)} of weights, and time where the processor has INT8 instructions.",
        "Three quarters of the bytes of FP32 weights that matrix products read; the time is not estimated.",
        _names(nodes),
    )


def _constant_folding(graph: InferredGraph) -> Iterator[Hint]:
    constant = {name for name, value in graph.values.items() if value.stored}
    foldable = []
    for node in graph.nodes:
        inputs = [name for name in node.inputs if name]
        # Weights that are stored quantised are meant to be expanded by the engine.
        skipped = node.operator in RANDOM | {"Constant", "DequantizeLinear"} or node.subgraphs
        if inputs and not skipped and all(name in constant for name in inputs):
            constant.update(filter(None, node.outputs))
            foldable.append(node)
    if foldable:
        yield Hint(
            "hint.constant-folding",
            f"{_counted(len(foldable), 'node')} with nothing but stored inputs, {_first(foldable)} first.",
            "Fold them once: onnxsim, or the optimised model that ONNX Runtime saves "
            "(SessionOptions.optimized_model_filepath).",
            "ONNX Runtime folds them at each start, so this shortens loading; TensorRT takes more such models.",
            "Counted in the graph.",
            _names(foldable),
        )


def _baked_batch(graph: InferredGraph, varying: VaryingAxes) -> Iterator[Hint]:
    nodes = [node for node in graph.nodes if node.operator == "Reshape" and _bakes(graph, node, varying)]
    if nodes:
        target = list(nodes[0].constants[1])
        yield Hint(
            "hint.baked-batch",
            f"{_first(nodes)} reshapes to {target}, which fixes the first axis although the input leaves it free.",
            "Export with a batch axis in the reshape: x.reshape(x.shape[0], ...) or -1 instead of a number.",
            "Requests could be merged into batches; as it is, the model runs at that one batch only.",
            "Seen in the graph; a run at another batch fails or gives another shape.",
            _names(nodes),
        )


def _bakes(graph: InferredGraph, node: Node, varying: VaryingAxes) -> bool:
    """Whether a reshape of something with a free first axis has a number stored for that axis."""
    shape = node.constants.get(1)
    stored = len(node.inputs) > 1 and _is_stored(graph, node.inputs[1])
    if not stored or not isinstance(shape, list | tuple) or not shape or not isinstance(shape[0], int):
        return False
    return shape[0] > 0 and 0 in varying.get(node.inputs[0], frozenset()) and -1 not in shape


def _duplicated_weights(graph: InferredGraph, digests: Mapping[str, str]) -> Iterator[Hint]:
    groups: dict[tuple[str, str, tuple[int, ...] | None], list[Value]] = defaultdict(list)
    for name, digest in digests.items():
        value = graph.values.get(name)
        if value is not None and value.stored:
            groups[(digest, value.element_type, value.shape)].append(value)
    copies = [group for group in groups.values() if len(group) > 1]
    saved = sum((group[0].size_bytes or 0) * (len(group) - 1) for group in copies)
    if saved >= _MIN_SAVED_BYTES:
        largest = max(copies, key=lambda group: group[0].size_bytes or 0)
        names = f"'{_shown(largest[0].name)}' and '{_shown(largest[1].name)}'"
        yield Hint(
            "hint.duplicated-weights",
            f"{sum(map(len, copies))} stored tensors hold the same content as another, {names} among them.",
            "Let both uses read one tensor: onnxsim, or onnxslim, joins them.",
            f"Saves {human_bytes(saved)} of file and memory.",
            "Digests of the stored content.",
        )


def _no_ops(graph: InferredGraph) -> Iterator[Hint]:
    nodes = [node for node in graph.nodes if _does_nothing(graph, node)]
    if nodes:
        kinds = Counter(node.operator for node in nodes)
        listed = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(3))
        yield Hint(
            "hint.no-ops",
            f"{_counted(len(nodes), 'node')} without effect ({listed}), {_first(nodes)} first.",
            "Remove them: onnxsim, or export for inference (model.eval() in PyTorch).",
            "ONNX Runtime removes most of them at each start; the gain is a smaller graph and quicker loading.",
            "Counted in the graph.",
            _names(nodes),
        )


def _does_nothing(graph: InferredGraph, node: Node) -> bool:
    if node.domain != "ai.onnx" or not node.inputs or not node.outputs:
        return False
    if node.operator == "Identity":
        # Between the edges of the graph it has a use: it gives a name, or copies an input to an output.
        return node.outputs[0] not in graph.outputs or node.inputs[0] not in graph.inputs
    if node.operator == "Dropout":
        return len(node.inputs) < 3 or not node.inputs[2] or node.constants.get(2) in (False, 0)
    if node.operator == "Cast":
        kinds = [graph.values[name].element_type for name in (node.inputs[0], node.outputs[0]) if name in graph.values]
        return len(kinds) == 2 and bool(kinds[0]) and kinds[0] == kinds[1]
    if node.operator == "Transpose":
        order = node.attributes.get("perm")
        return isinstance(order, list | tuple) and bool(order) and list(order) == list(range(len(order)))
    return False


def _cpu_fallback(graph: InferredGraph, without_cuda: frozenset[str]) -> Iterator[Hint]:
    nodes = [
        node
        for node in graph.nodes
        if node.domain == "ai.onnx.ml" or (node.domain == "ai.onnx" and node.operator in without_cuda)
    ]
    if nodes:
        moved = sum(value.size_bytes or 0 for node in nodes for value in _flowing(graph, node))
        kinds = ", ".join(sorted({node.qualified for node in nodes})[:_SHOWN])
        yield Hint(
            "hint.cpu-fallback",
            f"{_counted(len(nodes), 'node')} without a CUDA kernel in ONNX Runtime ({kinds}), {_first(nodes)} first.",
            "Move them to the beginning or the end of the model, replace them by other operators, or do this work in "
            "a processor.",
            f"On a GPU they run on the CPU, and up to {human_bytes(moved)} cross the bus in each run.",
            "ONNX Runtime's list of kernels, and the inferred sizes of their inputs and outputs.",
            _names(nodes),
        )


def _cast_ping_pong(graph: InferredGraph) -> Iterator[Hint]:
    casts = {node.outputs[0]: node for node in graph.nodes if node.operator == "Cast" and node.outputs and node.inputs}
    pairs = [node for node in casts.values() if node.inputs[0] in casts and _returns(graph, casts, node)]
    if pairs:
        moved = sum(value.size_bytes or 0 for node in pairs for value in _flowing(graph, node))
        yield Hint(
            "hint.cast-ping-pong",
            f"{_counted(len(pairs), 'cast')} undoing the cast just before, {_first(pairs)} first.",
            "Keep one type from end to end, or leave out both casts if the loss of precision is not wanted.",
            f"Saves reading and writing about {human_bytes(2 * moved)} in each run.",
            "The inferred sizes of what is cast.",
            _names(pairs),
        )


def _returns(graph: InferredGraph, casts: Mapping[str, Node], node: Node) -> bool:
    start, end = graph.values.get(casts[node.inputs[0]].inputs[0]), graph.values.get(node.outputs[0])
    return start is not None and end is not None and bool(start.element_type) and start.element_type == end.element_type


def _training_leftovers(graph: InferredGraph) -> Iterator[Hint]:
    nodes = [node for node in graph.nodes if _trains(node)]
    if nodes:
        yield Hint(
            "hint.training-leftovers",
            f"{_counted(len(nodes), 'node')} left over from training, {_first(nodes)} first.",
            "Export the model for inference: model.eval() and torch.onnx.export(..., training=TrainingMode.EVAL).",
            "Answers no longer depend on the batch or on chance, and losses are not computed for nothing.",
            "Seen in the graph.",
            _names(nodes),
        )


def _trains(node: Node) -> bool:
    if node.domain in _TRAINING_DOMAINS or node.operator in _TRAINING:
        return True
    if node.operator == "BatchNormalization":
        return node.attributes.get("training_mode", 0) == 1 or len(list(filter(None, node.outputs))) > 1
    return node.operator == "Dropout" and node.constants.get(2) in (True, 1)


def _share(nodes: list[Node], flops: Mapping[str, float] | None) -> float | None:
    total = sum(flops.values()) if flops else 0
    return sum(flops.get(node.name, 0) for node in nodes) / total if flops and total else None


def _inputs(graph: InferredGraph, node: Node) -> list[Value]:
    return [graph.values[name] for name in node.inputs if name in graph.values]


def _flowing(graph: InferredGraph, node: Node) -> list[Value]:
    """What a node reads and writes, stored values left out."""
    names = (*node.inputs, *node.outputs)
    return [graph.values[name] for name in names if name in graph.values and not graph.values[name].stored]


def _is_fp32_weight(value: Value) -> bool:
    return value.stored and value.element_type == "FLOAT"


def _is_stored(graph: InferredGraph, name: str) -> bool:
    value = graph.values.get(name)
    return value is not None and value.stored


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _first(nodes: list[Node]) -> str:
    return f"'{_shown(nodes[0].name)}'"


def _names(nodes: list[Node]) -> tuple[str, ...]:
    return tuple(_shown(node.name) for node in nodes[:_SHOWN])


def _shown(name: str) -> str:
    return shortened(one_line(name), 80)
