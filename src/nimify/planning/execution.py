"""What executes the model, and with how many threads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from nimify.analysis.analysis import Analysis
from nimify.config import ModelConfig
from nimify.errors import UnsupportedModel
from nimify.planning.plan import Basis, Decision, asked_or_default

_DATA_DEPENDENT: Final = frozenset(
    {
        "Compress", "ConstantOfShape", "Expand", "If", "Loop", "NonMaxSuppression", "NonZero", "OneHot", "Pad", "Range",
        "Resize", "Scan", "SplitToSequence", "Tile", "Unique", "Upsample",
    }
)  # fmt: skip
"""Operators whose work, or whose output's size, can follow from the values of a tensor."""
_ENGINES: Final = {"onnx": ("onnxruntime", "ONNX Runtime is the embedded engine for ONNX files, and runs on any CPU.")}


def decide_engine(analysis: Analysis) -> Decision:
    """`engine`: what executes the model.

    Raises:
        UnsupportedModel: No engine takes this format.
    """
    model = analysis.model
    if model.format not in _ENGINES:
        raise UnsupportedModel(
            model.name,
            f"no engine executes {model.format} files.",
            remedy=f"Convert it to one of: {', '.join(_ENGINES)}.",
        )
    engine, reason = _ENGINES[model.format]
    return Decision("engine", engine, reason, Basis.DEFAULT)


def decide_threads(config: ModelConfig) -> Decision:
    """`threads`: threads inside the engine; 0 lets the service count the CPUs that it may use when it starts."""
    reason = "The service takes as many threads as it has CPUs where it runs, so one bundle suits every machine."
    return asked_or_default("threads", config.threads, 0, reason)


def is_data_dependent(operators: Iterable[str]) -> bool:
    """Whether the values of an input may decide how long a run takes; when in doubt, they may.

    Args:
        operators: As `ModelInfo.operators` names them; those of domains that nimify does not know count as doubt.
    """
    return any("::" in operator or operator in _DATA_DEPENDENT for operator in operators)
