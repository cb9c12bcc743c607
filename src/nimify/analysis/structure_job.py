"""What the guarded child of `structure` does: reads a model file, infers its graph, and leaves it as JSON."""

from __future__ import annotations

import gc
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx

from nimify.analysis.child import run_as_child
from nimify.analysis.graph_json import leave_out_nodes, nodes_digest, to_json
from nimify.analysis.structure import graph_file, infer_model, read_model
from nimify.errors import ModelError
from nimify.formats.model_file import source_name


def carry_out(job: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Infer the graph of a job's model at each of its bindings, and write each into a file of its own.

    Raises:
        ModelError: The model is damaged or makes no sense, or needs more than the child may use.
    """
    gc.disable()  # This process ends soon, and looking for circles would take a third of its time.
    path = Path(job["model_file"])
    try:
        _write_graphs(read_model(path, source_name(path)), job["bindings"], source_name(path), folder)
    except (MemoryError, RecursionError):
        raise ModelError(path.name, "the inference of its shapes needs more memory than it may have.") from None
    return {}


def _write_graphs(model: onnx.ModelProto, bindings: Sequence[Mapping[str, int]], source: str, folder: Path) -> None:
    """One at a time, since each is large; the later ones without nodes, where these are those of the first."""
    first = b""
    for number, binding in enumerate(bindings):
        document = to_json(infer_model(model, binding, source=source))
        digest = nodes_digest(document) if len(bindings) > 1 else b""
        if number == 0:
            first = digest
        elif digest == first:
            leave_out_nodes(document)
        (folder / graph_file(number)).write_text(json.dumps(document), encoding="utf-8")
        del document


if __name__ == "__main__":
    run_as_child(carry_out)
