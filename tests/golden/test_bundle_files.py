"""What nimify writes, word for word: a change of a generated file shows in review as a change of these."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nimify.analysis.analysis import Analysis
from nimify.analysis.analyzer import ModelAnalyzer
from nimify.artifacts.artifact import Artifact
from nimify.artifacts.manifest import MANIFEST_FILE
from nimify.artifacts.render import render
from nimify.artifacts.settings import schema_artifact
from nimify.artifacts.triton import triton_artifact
from nimify.config import ModelConfig
from nimify.planning.planner import plan
from nimify.testing import models

_SAME_FOR_ALL = (
    MANIFEST_FILE,  # holds only digests of the others
    schema_artifact().path,
    "chart/files/",  # copies of what lies in monitoring/
    "chart/templates/",
    "chart/values.schema.json",
    "container/prepare.py",
    "container/requirements.txt",
)
Expect = Callable[[str, bytes], None]


def analysed(kind: str, folder: Path) -> Analysis:
    return ModelAnalyzer().analyze(models.save(models.ALL[kind](), folder / f"{kind}.onnx"))


@pytest.mark.parametrize("kind", ["tiny", "strings"])
def test_a_whole_bundle_is_as_expected(kind: str, tmp_path: Path, expect: Expect) -> None:
    """Models that compute exactly give every file, golden answers included, on every machine."""
    analysis, config = analysed(kind, tmp_path), ModelConfig()
    for item in render(plan(analysis, config), config, analysis):
        if isinstance(item, Artifact) and not item.path.startswith(_SAME_FOR_ALL):
            expect(f"bundle-{kind}/{item.path}", item.content)


@pytest.mark.parametrize("kind", models.ALL)
def test_each_kind_of_model_has_the_expected_configuration(kind: str, tmp_path: Path, expect: Expect) -> None:
    """config.pbtxt for every kind of model."""
    analysis = analysed(kind, tmp_path)
    made = plan(analysis, ModelConfig())
    expect(f"config-{kind}.pbtxt", triton_artifact(made, analysis.golden).content)


def test_the_schema_of_nimify_yaml_is_as_expected(expect: Expect) -> None:
    """A new setting, or another default, shows here."""
    artifact = schema_artifact()
    expect(artifact.path, artifact.content)
