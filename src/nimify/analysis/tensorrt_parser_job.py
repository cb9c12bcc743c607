"""The child that asks TensorRT's parser; see `tensorrt_parser.py`. Started as `python -m`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nimify.analysis.child import run_as_child


def carry_out(job: Mapping[str, Any], _: Path) -> dict[str, Any]:
    """Let the parser read a model and say what it supports."""
    tensorrt: Any = importlib.import_module("tensorrt")  # only here: it is large, seldom installed, and untyped
    path = str(job["path"])
    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    network = tensorrt.Builder(logger).create_network(_network_flags(tensorrt))
    parser = tensorrt.OnnxParser(network, logger)
    supported = bool(parser.supports_model_v2(Path(path).read_bytes(), path))
    parts = range(parser.num_subgraphs)
    return {
        "version": str(tensorrt.__version__),
        "supported": supported,
        "subgraphs": [list(parser.get_subgraph_nodes(part)) for part in parts if parser.is_subgraph_supported(part)],
        "errors": [_error(parser.get_error(number)) for number in range(parser.num_errors)],
    }


def _network_flags(tensorrt: Any) -> int:
    """TensorRT 11 knows only strongly typed networks; before, that was a flag."""
    flag = getattr(tensorrt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _error(error: Any) -> dict[str, str]:
    return {"node": str(error.node_name()), "operator": str(error.node_operator()), "cause": str(error.desc())}


if __name__ == "__main__":
    run_as_child(carry_out)
