"""The files that a bundle has only when they are asked for: `with` in nimify.yaml, `--with` on the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from nimify.artifacts.artifact import Artifact
from nimify.artifacts.compose import COMPOSE_FILE, compose_artifacts
from nimify.artifacts.kserve import INFERENCE_SERVICE_FILE, inference_service_artifact
from nimify.artifacts.nim_operator import NIM_SERVICE_FILE, nim_service_artifact
from nimify.planning.plan import ServicePlan

_FILES: Final[Mapping[str, Callable[[ServicePlan], list[Artifact]]]] = {
    "compose": compose_artifacts,
    "nim-operator": lambda plan: [nim_service_artifact(plan)],
    "kserve": lambda plan: [inference_service_artifact(plan)],
}
EXTRA_FILES: Final[Mapping[str, str]] = {
    "compose": COMPOSE_FILE,
    "nim-operator": NIM_SERVICE_FILE,
    "kserve": INFERENCE_SERVICE_FILE,
}
"""The file by which one sees that a bundle has what was asked for under a name."""


def extra_artifacts(plan: ServicePlan, names: Iterable[str]) -> list[Artifact]:
    """The files of each name, in the order of the names."""
    return [artifact for name in names for artifact in _FILES[name](plan)]
