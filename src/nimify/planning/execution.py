"""What executes the model, and with how many threads."""

from __future__ import annotations

from nimify.analysis.analysis import Analysis
from nimify.config import ModelConfig
from nimify.errors import UnsupportedModel
from nimify.planning.plan import Basis, Decision

_ENGINES = {"onnx": ("onnxruntime", "ONNX Runtime is the embedded engine for ONNX files, and runs on any CPU.")}


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
    if config.threads is not None:
        return Decision("threads", config.threads, "You asked for it.", Basis.ASKED)
    reason = "The service takes as many threads as it has CPUs where it runs, so one bundle suits every machine."
    return Decision("threads", 0, reason, Basis.DEFAULT)
