"""Analyses of real tiny models."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nimify.analysis.analysis import Analysis
from nimify.analysis.analyzer import ModelAnalyzer
from nimify.testing import models

Analyse = Callable[[str], Analysis]


@pytest.fixture(scope="session")
def analyse(tmp_path_factory: pytest.TempPathFactory) -> Analyse:
    """Read and try a named tiny model, once."""
    known: dict[str, Analysis] = {}

    def analyse_one(kind: str) -> Analysis:
        if kind not in known:
            path = tmp_path_factory.mktemp("model") / "My Model.onnx"
            known[kind] = ModelAnalyzer().analyze(models.save(models.ALL[kind](), path))
        return known[kind]

    return analyse_one
