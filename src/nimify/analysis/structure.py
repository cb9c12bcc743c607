"""From a model file to its `InferredGraph`, in a child process that a hostile model may crash.

    graph = infer(Path("model.onnx"), default_binding(signature, batch=8))

`infer_many` does several bindings in one child. What the child cannot do ends in a `ModelError`; whoever can do
without the graph turns it into a finding with `not_inferred`.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import onnx

from nimify.analysis.binding import axis_name, default_binding
from nimify.analysis.graph import InferredGraph
from nimify.analysis.graph_json import from_json
from nimify.analysis.guarded import GuardLimits, read_file, run_guarded
from nimify.analysis.inference.functions import opsets_of
from nimify.analysis.inference.kinds import Array, Kind, from_type
from nimify.analysis.inference.walk import Walk
from nimify.errors import ModelError
from nimify.findings import Finding, Severity
from nimify.formats.model_file import open_model_file, source_name
from nimify.formats.onnx_graph import all_nodes
from nimify.formats.onnx_skeleton import read_skeleton
from nimify.formats.wire import WireReader
from nimify.tensors import Signature, TensorSpec, datatype_from_onnx

LIMITS: Final = GuardLimits(memory_bytes=4 << 30, wall_s=120, file_bytes=256 << 20)
"""What inference may use: a hundred thousand nodes need some seconds and some hundred megabytes."""

# -P: the folder in which the child works must not be searched for modules.
_COMMAND: Final = (sys.executable, "-P", "-m", "nimify.analysis.structure_job")


def infer(path: Path, binding: Mapping[str, int] | None = None, *, limits: GuardLimits = LIMITS) -> InferredGraph:
    """The graph of a model file at one binding, inferred in a guarded child process.

    Args:
        path: The model file.
        binding: Lengths of free axes; see `default_binding`, which fills in what is missing.
        limits: What the child may use.

    Raises:
        ModelError: The model is damaged or makes no sense, or the child broke a limit or crashed.
        EnvironmentProblem: The child could not be started.
    """
    return infer_many(path, [binding or {}], limits=limits)[0]


def infer_many(
    path: Path, bindings: Sequence[Mapping[str, int]], *, limits: GuardLimits = LIMITS
) -> tuple[InferredGraph, ...]:
    """The graph at each of several bindings, at least one, by one child process; see `infer`.

    What the graphs have in common they share, and equal bindings give one graph.
    """
    source = source_name(path)
    distinct: list[dict[str, int]] = []
    for binding in map(dict, bindings):
        if binding not in distinct:
            distinct.append(binding)
    job = {"model_file": str(path.resolve()), "bindings": distinct}
    with tempfile.TemporaryDirectory(prefix="nimify-structure-") as name:
        folder = Path(name)
        run_guarded(_COMMAND, job, folder=folder, source=source, limits=limits, activity="the inference of its shapes")
        try:
            with _collector_paused():
                graphs = _read_graphs(folder, len(distinct), limits.file_bytes)
        except (OSError, ValueError, RecursionError):
            raise ModelError(source, "the inference of its shapes ended with a result that makes no sense.") from None
    return tuple(graphs[distinct.index(dict(binding))] for binding in bindings)


def _read_graphs(folder: Path, count: int, max_bytes: int) -> list[InferredGraph]:
    """What the child left, one after another, so that at most one of its texts is in memory."""
    graphs: list[InferredGraph] = []
    for number in range(count):
        data = json.loads(read_file(folder / graph_file(number), max_bytes))
        graphs.append(from_json(data, beside=graphs[0] if graphs else None))
    return graphs


def graph_file(number: int) -> str:
    """Name of the file in which the child leaves the graph at one of its bindings."""
    return f"graph-{number}.json"


def infer_in_process(path: Path, *bindings: Mapping[str, int]) -> tuple[InferredGraph, ...]:
    """The same without a child process, for models that are trusted; one graph per binding."""
    source = source_name(path)
    model = read_model(path, source)
    with _collector_paused():
        return tuple(infer_model(model, binding, source=source) for binding in bindings or ({},))


def read_model(path: Path, source: str) -> onnx.ModelProto:
    """The model in a file, without its weights, for `infer_model`."""
    with open_model_file(path) as (descriptor, size):
        model = read_skeleton(WireReader(descriptor, size), source, keep_lists=True).model
    all_nodes(model, source)  # Checks the limits.
    return model


def infer_model(model: onnx.ModelProto, binding: Mapping[str, int], *, source: str = "model") -> InferredGraph:
    """The graph of a model in memory, whose weights may have been left out."""
    complete = {**default_binding(_free_inputs(model.graph)), **binding}
    walk = Walk(model, source, complete)
    return walk.graph(model.graph, list(_inputs(model.graph, complete)), opsets_of(model.opset_import)).graph


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Keeps Python from looking for circles among millions of new objects that have none: a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def not_inferred(error: ModelError) -> Finding:
    """What a person should know when the structure could not be inferred."""
    return Finding(
        "structure.not-inferred",
        Severity.WARNING,
        f"The shapes inside the model are unknown, so memory and compute are not estimated: {error.cause}",
        error.remedy or "Simplify the model, e.g. with onnx.shape_inference, and export it again.",
    )


def _free_inputs(graph: onnx.GraphProto) -> Signature:
    """The tensors that the graph takes, as far as they have a shape; what it gives does not matter here."""
    specs = []
    for info in graph.input:
        datatype = datatype_from_onnx(info.type.tensor_type.elem_type)
        if datatype is not None:
            dims = info.type.tensor_type.shape.dim
            shape = tuple(
                dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else dim.dim_param or None
                for dim in dims
            )
            specs.append(TensorSpec(info.name, datatype, shape))
    return Signature(inputs=tuple(specs), outputs=())


def _inputs(graph: onnx.GraphProto, binding: Mapping[str, int]) -> list[tuple[Kind, Array | None]]:
    stored = {tensor.name for tensor in graph.initializer} | {tensor.values.name for tensor in graph.sparse_initializer}
    return [(from_type(_bound(info, binding)), None) for info in graph.input if info.name not in stored]


def _bound(info: onnx.ValueInfoProto, binding: Mapping[str, int]) -> onnx.TypeProto:
    bound = onnx.TypeProto()
    bound.CopyFrom(info.type)
    if info.type.WhichOneof("value") == "tensor_type":
        for axis, dim in enumerate(bound.tensor_type.shape.dim):
            free = not dim.HasField("dim_value") or dim.dim_value < 0
            name = axis_name(info.name, axis, dim.dim_param)
            if free and name in binding:
                dim.dim_value = binding[name]
    return bound
