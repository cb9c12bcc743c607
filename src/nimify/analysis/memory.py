"""How much memory a model needs: resident memory of a process that runs it on the CPU, and memory of a GPU.

`estimate_memory` follows what ONNX Runtime does, phase by phase, and takes the largest:

* reading: all weights, and once more the largest, which is being copied out of the file's structure;
* layout: convolution weights exist in the file's layout and in the blocked one, and the largest thrice more;
* packing: the weights of matrix products are replaced by packed ones, one by one;
* running: weights, inputs, the pages of the arena that the tensors of a run touch, copies of the outputs.

The result is what the model adds to a process that has the engine loaded (`ENGINE_BYTES`). Its band comes from
`benchmarks/estimates.py`, which compares it with measured processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from nimify.analysis.arena import Arena, packed_bytes
from nimify.analysis.blocked_layout import blocked_weights, with_reorders
from nimify.analysis.graph import InferredGraph
from nimify.analysis.liveness import Trace, trace
from nimify.analysis.memory_kernels import gathered_bytes, resident_bytes

ENGINE_BYTES: Final = 66 << 20
"""Resident memory of a Python process in which ONNX Runtime has run a one-node model."""
NODE_BYTES: Final = 10 << 10
"""Nodes, their kernels and names, in the engine's own structures; measured on graphs of hundreds of nodes."""
TREES_RESIDENT: Final = 4.1
"""Memory of tree ensembles, as a multiple of what they take in the file, where numbers are stored compactly."""
TREES_LOADING: Final = 11.7
"""The same while the ensemble is built: attribute lists, and the structures that come of them."""
MAX_TIMELINE: Final = 2000
"""Points of a timeline: more than a chart can show."""
ERROR_BAND: Final = 0.15
"""Relative: nineteen in twenty rows of the benchmark's table are inside."""


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Estimated memory at one binding, beyond the engine's own; bytes.

    Attributes:
        weights_bytes: Weights as they stay while the model is served.
        activations_peak_bytes: Most that tensors of one run need at the same time, inputs and outputs included.
        workspace_bytes: What a run takes beyond that: scratch memory, pages that the arena keeps but does not need,
            and copies of the outputs.
        structure_bytes: Nodes and tree ensembles in the engine's structures.
        load_peak_bytes: Most while the model is loaded.
        total_bytes: The peak, while loading or while running.
        error_band: Relative error that is to be expected, either way.
        peak_node: Node at which a run needs most; empty when nothing runs.
        timeline: Every node in the order of execution, with the bytes that are live while it runs; of a long run the
            node that needs most in each of at most `MAX_TIMELINE` equal stretches.
        complete: Whether all shapes were known; what was not is not counted.
    """

    weights_bytes: int
    activations_peak_bytes: int
    workspace_bytes: int
    structure_bytes: int
    load_peak_bytes: int
    total_bytes: int
    error_band: float
    peak_node: str
    timeline: tuple[tuple[str, int], ...]
    complete: bool

    @property
    def process_bytes(self) -> int:
        """Resident memory of a whole process that does nothing but run the model."""
        return ENGINE_BYTES + self.total_bytes

    def to_dict(self) -> dict[str, Any]:
        """The estimate as plain data."""
        return {**asdict(self), "timeline": [list(entry) for entry in self.timeline]}


def estimate_memory(
    graph: InferredGraph, *, weights_bytes: Mapping[str, int], file_bytes: int, external_bytes: int = 0
) -> MemoryEstimate:
    """Estimate the resident memory that ONNX Runtime needs for a model on the CPU.

    Args:
        graph: The graph at the batch of interest.
        weights_bytes: Bytes of stored weights by element type, as they are in the file.
        file_bytes: Size of the model's file.
        external_bytes: Size of its external data that belongs to weights.
    """
    run = trace(with_reorders(graph))
    # Trees are attributes: what is in the file and is no weight.
    trees = max(0, file_bytes + external_bytes - sum(weights_bytes.values()))
    weights = _Weights.of(graph, sum(weights_bytes.values()))
    structure = _structure_bytes(graph, trees, TREES_RESIDENT)
    inputs = sum(_size(graph, name) for name in graph.inputs)
    outputs = sum(_size(graph, name) for name in graph.outputs)
    live = run.live_bytes()
    peak = max(live, default=0)
    # Results are copied for the caller, into memory that loops have used before them.
    copies = max(outputs, sum(gathered_bytes(node, graph.values) for node in graph.nodes))
    running = inputs + arena_bytes(run) + copies
    load_peak = weights.load_peak + _structure_bytes(graph, trees, TREES_LOADING)
    serving = weights.resident + structure + running
    return MemoryEstimate(
        weights_bytes=weights.resident,
        activations_peak_bytes=inputs + peak,
        workspace_bytes=running - inputs - peak,
        structure_bytes=structure,
        load_peak_bytes=load_peak,
        total_bytes=max(load_peak, serving),
        error_band=ERROR_BAND,
        peak_node=run.steps[live.index(peak)].node if live else "",
        timeline=_timeline(run, live, inputs),
        complete=not graph.gaps,
    )


def _timeline(run: Trace, live: list[int], inputs: int) -> tuple[tuple[str, int], ...]:
    """What is live at each step, or at the largest of each stretch of steps, so that the peak is never lost."""
    stretch = -(-len(live) // MAX_TIMELINE) or 1
    starts = range(0, len(live), stretch)
    largest = (max(range(start, min(start + stretch, len(live))), key=live.__getitem__) for start in starts)
    return tuple((run.steps[index].node, live[index] + inputs) for index in largest)


def arena_bytes(run: Trace) -> int:
    """Pages that the arena keeps after several runs.

    The first run takes each tensor by itself. The following ones know the sizes: they take one block for all tensors
    but the outputs.
    """
    arena = Arena()
    _replay(arena, run, planned=False)
    _replay(arena, run, planned=True)
    return arena.touched_bytes


def _replay(arena: Arena, run: Trace, *, planned: bool) -> None:
    starts: dict[int, list[int]] = {}
    ends: dict[int, list[int]] = {}
    for index, buffer in enumerate(run.buffers):
        if buffer.given or buffer.nested or not planned:
            starts.setdefault(buffer.first, []).append(index)
            ends.setdefault(len(run.steps) if buffer.given else buffer.last, []).append(index)
    inner = [
        (buffer.size, buffer.first, buffer.last + 1) for buffer in run.buffers if not buffer.given and not buffer.nested
    ]
    block = arena.allocate(packed_bytes(inner)) if planned else 0
    addresses: dict[int, int] = {}
    for position, step in enumerate(run.steps):
        for index in starts.get(position, ()):
            addresses[index] = arena.allocate(run.buffers[index].size)
        scratch = [arena.allocate(size) for size in step.scratch]
        for address in (*scratch, *(addresses.pop(index) for index in ends.get(position, ()))):
            arena.free(address)
    for address in (*addresses.values(), block):
        arena.free(address)


@dataclass(frozen=True, slots=True)
class _Weights:
    """Weights in memory: when all is loaded, and at the worst moment before."""

    resident: int
    load_peak: int

    @classmethod
    def of(cls, graph: InferredGraph, stored_bytes: int) -> _Weights:
        """From the stored tensors of a graph and its bodies, and all bytes that the file stores."""
        sizes = list(_stored_sizes(graph))
        seen = sum(stored for stored, _ in sizes)
        unseen = max(0, stored_bytes - seen)
        resident = sum(size for _, size in sizes) + unseen
        largest = max((size for _, size in sizes), default=0)
        blocked = list(_blocked_convolutions(graph))
        widened = any(stored < size for stored, size in sizes)
        reading = seen + unseen + largest + (resident if widened else 0)
        layout = resident + sum(blocked) + 3 * max(blocked, default=0)
        return cls(resident, max(reading, layout, resident + largest))


def _stored_sizes(graph: InferredGraph) -> Iterator[tuple[int, int]]:
    """Bytes of each weight: in the file, and while the model is served."""
    for value in graph.values.values():
        if value.stored:
            yield value.size_bytes or 0, resident_bytes(value)
    for node in graph.nodes:
        for body in node.subgraphs.values():
            yield from _stored_sizes(body)


def _blocked_convolutions(graph: InferredGraph) -> Iterator[int]:
    """Bytes of the weights that get a second layout."""
    for node in graph.nodes:
        if (weights := blocked_weights(node, graph)) is not None:
            yield resident_bytes(weights)


def _structure_bytes(graph: InferredGraph, trees_bytes: int, factor: float) -> int:
    has_trees = any(node.domain == "ai.onnx.ml" and node.operator.startswith("TreeEnsemble") for node in graph.nodes)
    return NODE_BYTES * _count(graph) + (round(factor * trees_bytes) if has_trees else 0)


def _count(graph: InferredGraph) -> int:
    return sum(1 + sum(_count(body) for body in node.subgraphs.values()) for node in graph.nodes)


def _size(graph: InferredGraph, name: str) -> int:
    """Bytes of an input or output as it is passed in or out."""
    return (value.size_bytes or 0) if (value := graph.values.get(name)) else 0


CUDA_CONTEXT_BYTES: Final = 500 << 20
"""Assumed: context, kernels and handles of cuDNN and cuBLAS in one process."""
GPU_WORKSPACE_BYTES: Final = 64 << 20
"""Assumed: scratch memory that convolutions and matrix products are allowed to take."""
GPU_ERROR_BAND: Final = 0.3
"""Assumed, not measured: the next power of two that the arena takes, and what cuDNN chooses, are not known."""


@dataclass(frozen=True, slots=True)
class GpuMemoryEstimate:
    """Estimated memory of a GPU for one instance; bytes. Nothing of it was measured.

    Attributes:
        weights_bytes: Weights at the type of the run.
        activations_bytes: Most that the tensors of one run need at the same time.
        context_bytes: What CUDA and its libraries take before the model.
        workspace_bytes: Scratch memory of kernels.
        total_bytes: All of it.
        error_band: Relative error that is to be expected, either way.
    """

    weights_bytes: int
    activations_bytes: int
    context_bytes: int
    workspace_bytes: int
    total_bytes: int
    error_band: float

    def to_dict(self) -> dict[str, Any]:
        """The estimate as plain data."""
        return asdict(self)


def estimate_gpu_memory(
    graph: InferredGraph, *, weights_bytes: Mapping[str, int], half_precision: bool = False
) -> GpuMemoryEstimate:
    """Estimate what one instance of the model takes on a GPU.

    Args:
        graph: The graph at the batch of interest.
        weights_bytes: Bytes of stored weights by element type, as they are in the file.
        half_precision: Whether FP32 weights and tensors are run as FP16.
    """
    shares = {kind: 0.5 if half_precision and kind == "FLOAT" else 1.0 for kind in weights_bytes}
    weights = round(sum(size * shares[kind] for kind, size in weights_bytes.items()))
    values = graph.values.values()
    tensors = [value for value in values if not value.stored and value.size_bytes]
    in_fp32 = sum(value.size_bytes or 0 for value in tensors if value.element_type == "FLOAT")
    everything = sum(value.size_bytes or 0 for value in tensors)
    share = 1 - 0.5 * in_fp32 / everything if half_precision and everything else 1.0
    inputs = sum(_size(graph, name) for name in graph.inputs)
    live = trace(graph, widen_half=False).live_bytes()
    activations = round((max(live, default=0) + inputs) * share)
    return GpuMemoryEstimate(
        weights, activations, CUDA_CONTEXT_BYTES, GPU_WORKSPACE_BYTES,
        weights + activations + CUDA_CONTEXT_BYTES + GPU_WORKSPACE_BYTES, GPU_ERROR_BAND,
    )  # fmt: skip
