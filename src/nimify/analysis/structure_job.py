"""What the guarded child of `structure` does: reads a model file, infers its graph, and gives it as JSON."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nimify.analysis.child import run_as_child
from nimify.analysis.graph_json import to_json
from nimify.analysis.structure import infer_in_process
from nimify.errors import ModelError


def carry_out(job: Mapping[str, Any], _: Path) -> dict[str, Any]:
    """Infer the graph of a job's model at each of its bindings.

    Raises:
        ModelError: The model is damaged or makes no sense, or needs more than the child may use.
    """
    gc.disable()  # This process ends soon, and looking for circles would take a third of its time.
    path = Path(job["model_file"])
    try:
        return {"graphs": [to_json(graph) for graph in infer_in_process(path, *job["bindings"])]}
    except (MemoryError, RecursionError):
        raise ModelError(path.name, "the inference of its shapes needs more memory than it may have.") from None


if __name__ == "__main__":
    run_as_child(carry_out)
