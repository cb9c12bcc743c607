"""What the service is called."""

from __future__ import annotations

from nimify.analysis.analysis import Analysis
from nimify.config import ModelConfig, service_name
from nimify.errors import one_line
from nimify.planning.plan import Basis, Decision


def decide_name(analysis: Analysis, config: ModelConfig) -> Decision:
    """`name`: of the service, and of the model in every API."""
    if config.name is not None:
        return Decision("name", config.name, "You asked for it.", Basis.ASKED)
    name = service_name(analysis.model.path.stem)
    return Decision("name", name, f"Made from the model's file name, '{one_line(analysis.model.name)}'.", Basis.DEFAULT)
