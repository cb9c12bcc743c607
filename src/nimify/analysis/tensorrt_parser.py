"""Asking TensorRT's own parser, where the package and a GPU are at hand. Its answer wins over the table.

Like every load of a stranger's model it happens in a guarded child process, whose crash is an answer that was not
given.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from nimify.analysis.graph import InferredGraph
from nimify.analysis.guarded import GuardLimits, run_guarded
from nimify.analysis.tensorrt import Blocker, TensorRTReport
from nimify.analysis.tensorrt_partitions import Subgraph
from nimify.errors import NimifyError, one_line, shortened

_COMMAND: Final = (sys.executable, "-m", "nimify.analysis.tensorrt_parser_job")
_DRIVER: Final = Path("/dev/nvidiactl")
# CUDA reserves far more address space than it uses; the clock is what bounds the child.
_LIMITS: Final = GuardLimits(memory_bytes=1 << 47, wall_s=300)
_MAX_ERRORS: Final = 1000


@dataclass(frozen=True, slots=True)
class ParserAnswer:
    """What TensorRT's parser said.

    Attributes:
        version: Version of TensorRT.
        supported: Whether it takes the whole model.
        subgraphs: The parts that it takes, as positions of nodes.
        blockers: What it complained about.
    """

    version: str
    supported: bool
    subgraphs: tuple[tuple[int, ...], ...]
    blockers: tuple[Blocker, ...]


def parser_is_available() -> bool:
    """Whether the `tensorrt` package is installed and an NVIDIA driver is loaded."""
    return _DRIVER.exists() and importlib.util.find_spec("tensorrt") is not None


def ask_parser(path: Path, source: str, *, command: Sequence[str] = _COMMAND) -> ParserAnswer | None:
    """Let TensorRT's parser judge a model file.

    Args:
        path: The model file.
        source: Its name, for messages.
        command: What to start as the child.

    Returns:
        Its answer; `None` when it gave none: it crashed, took too long, or could not start.
    """
    with tempfile.TemporaryDirectory(prefix="nimify-") as folder:
        try:
            result = run_guarded(
                command, {"path": str(path.resolve())}, folder=Path(folder), source=source, limits=_LIMITS
            )
            return _answer(result)
        except (NimifyError, KeyError, TypeError, ValueError):
            return None


def with_parser_answer(report: TensorRTReport, answer: ParserAnswer, graph: InferredGraph) -> TensorRTReport:
    """The report corrected by what the parser said; profiles and notes stay."""
    names = [node.name for node in graph.nodes]
    parts = tuple(
        Subgraph(tuple(names[index] for index in part if 0 <= index < len(names))) for part in answer.subgraphs
    )
    covered = report.total_nodes if answer.supported else sum(len(part.nodes) for part in parts)
    return replace(
        report,
        verdict="full" if answer.supported else "partial" if covered else "none",
        version=answer.version,
        basis="parser",
        blockers=() if answer.supported else answer.blockers,
        covered_nodes=min(covered, report.total_nodes),
        # The parser knows nothing of arithmetic, and its parts may differ from those of the table.
        flops_share=1.0 if answer.supported and report.flops_share is not None else None,
        subgraphs=(Subgraph(tuple(names)),) if answer.supported else parts,
    )


def _answer(result: Mapping[str, Any]) -> ParserAnswer:
    return ParserAnswer(
        version=shortened(one_line(str(result["version"])), 40),
        supported=bool(result["supported"]),
        subgraphs=tuple(tuple(map(int, part)) for part in result["subgraphs"]),
        blockers=tuple(_blocker(error) for error in result["errors"][:_MAX_ERRORS]),
    )


def _blocker(error: Mapping[str, Any]) -> Blocker:
    node, operator, cause = (shortened(one_line(str(error[key])), 300) for key in ("node", "operator", "cause"))
    return Blocker(node, operator, f"TensorRT says: {cause}", "Replace this part, or let ONNX Runtime run it.")
