"""Real models on their way to a bundle: read, tried, planned and rendered, but not yet written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import pytest

from nimify.analysis.analysis import Analysis
from nimify.analysis.analyzer import ModelAnalyzer
from nimify.artifacts.golden import Golden
from nimify.artifacts.render import Item, render
from nimify.config import ModelConfig
from nimify.planning.plan import ServicePlan
from nimify.planning.planner import plan
from nimify.testing import models


@dataclass(frozen=True)
class Prepared:
    """Everything that a bundle is made of."""

    analysis: Analysis
    config: ModelConfig
    plan: ServicePlan

    def items(self, previous: Golden | None = None) -> list[Item]:
        return render(self.plan, self.config, self.analysis, previous=previous)


Prepare = Callable[..., Prepared]


@pytest.fixture(scope="session")
def prepare(tmp_path_factory: pytest.TempPathFactory) -> Prepare:
    """Prepare a named tiny model, or one that is given; the slow part is done once per model."""
    analyses: dict[str, Analysis] = {}

    def prepare_one(kind: str | onnx.ModelProto, **config: Any) -> Prepared:
        model = models.ALL[kind]() if isinstance(kind, str) else kind
        key = kind if isinstance(kind, str) else repr(model.SerializeToString())
        if key not in analyses:
            path: Path = tmp_path_factory.mktemp("model") / "model.onnx"
            analyses[key] = ModelAnalyzer().analyze(models.save(model, path))
        settings = ModelConfig.build(config)
        return Prepared(analyses[key], settings, plan(analyses[key], settings))

    return prepare_one
