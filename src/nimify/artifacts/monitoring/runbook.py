"""The runbooks: one page for each alert, the same in every bundle."""

from __future__ import annotations

from importlib.resources import files

from nimify.artifacts.artifact import Artifact
from nimify.artifacts.monitoring.watched import RUNBOOKS


def runbook_artifacts() -> list[Artifact]:
    """Every page."""
    folder = files("nimify.artifacts.monitoring") / "runbooks"
    pages = sorted((page for page in folder.iterdir() if page.name.endswith(".md")), key=lambda page: page.name)
    return [Artifact(f"{RUNBOOKS}/{page.name}", page.read_bytes()) for page in pages]
