"""Bundles of real tiny models, and a fresh copy of one to break."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from nimify.analysis.analyzer import ModelAnalyzer
from nimify.artifacts.render import render
from nimify.artifacts.writer import write_bundle
from nimify.config import ModelConfig
from nimify.planning.planner import plan
from nimify.testing import models

BundleOf = Callable[[str], Path]


@pytest.fixture(scope="session")
def bundle_of(tmp_path_factory: pytest.TempPathFactory) -> BundleOf:
    """The bundle of a named tiny model, written once; not to be changed."""
    written: dict[str, Path] = {}

    def make(kind: str) -> Path:
        if kind not in written:
            folder = tmp_path_factory.mktemp(kind)
            analysis = ModelAnalyzer().analyze(models.save(models.ALL[kind](), folder / "model.onnx"))
            config = ModelConfig(name=kind)
            write_bundle(folder / "bundle", render(plan(analysis, config), config, analysis))
            written[kind] = folder / "bundle"
        return written[kind]

    return make


@pytest.fixture
def broken(bundle_of: BundleOf, tmp_path: Path) -> Path:
    """A copy of the bundle of `tiny`, for a test to break."""
    return shutil.copytree(bundle_of("tiny"), tmp_path / "bundle")
