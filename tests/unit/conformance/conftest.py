"""Bundles of real tiny models, a fresh copy of one to break, and the programs that read its files.

The real programs are found where `make tools` and `make setup` put them, and on the PATH. A test whose program is
missing is skipped, and says so; it fails when NIMIFY_REQUIRE names `validate`.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nimify.analysis.analyzer import ModelAnalyzer
from nimify.artifacts.bundle import Bundle
from nimify.artifacts.render import render
from nimify.artifacts.writer import write_bundle
from nimify.config import ModelConfig
from nimify.conformance.offline import OfflineCheck
from nimify.conformance.report import CheckResult
from nimify.planning.planner import plan
from nimify.testing import models

ROOT = Path(__file__).parents[3]
BundleOf = Callable[..., Path]


@pytest.fixture(scope="session")
def bundle_of(tmp_path_factory: pytest.TempPathFactory) -> BundleOf:
    """The bundle of a named tiny model, written once; not to be changed."""
    written: dict[str, Path] = {}

    def make(kind: str, *extras: str) -> Path:
        key = " ".join((kind, *extras))
        if key not in written:
            folder = tmp_path_factory.mktemp(kind)
            analysis = ModelAnalyzer().analyze(models.save(models.ALL[kind](), folder / "model.onnx"))
            config = ModelConfig.build({"name": kind, "with": list(extras)})
            write_bundle(folder / "bundle", render(plan(analysis, config), config, analysis))
            written[key] = folder / "bundle"
        return written[key]

    return make


@pytest.fixture
def broken(bundle_of: BundleOf, tmp_path: Path) -> Path:
    """A copy of the bundle of `tiny`, for a test to break."""
    return shutil.copytree(bundle_of("tiny"), tmp_path / "bundle")


CheckOf = Callable[[OfflineCheck, Path], CheckResult]


@pytest.fixture
def check_of() -> CheckOf:
    """The result of one check, of a bundle that it is about."""

    def run(check: OfflineCheck, bundle: Path) -> CheckResult:
        result = check(Bundle.open(bundle))
        assert result is not None
        return result

    return run


Need = Callable[..., None]


@pytest.fixture
def need(monkeypatch: pytest.MonkeyPatch) -> Need:
    """Puts the project's own programs on the PATH, and skips a test that needs one which is not there."""
    folders = (ROOT / ".tools" / "bin", Path(sys.executable).parent)
    monkeypatch.setenv("PATH", os.pathsep.join([*map(str, folders), os.environ["PATH"]]))

    def check(*names: str) -> None:
        for name in names:
            if shutil.which(name) is None:
                message = f"{name} is not installed; make tools"
                if "validate" in os.environ.get("NIMIFY_REQUIRE", "").split(","):
                    pytest.fail(message)
                pytest.skip(message)

    return check


FakeProgram = Callable[[str, str], Path]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeProgram:
    """Makes programs which do what a shell script says; nothing else is on the PATH but what scripts need."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", os.pathsep.join((str(folder), "/bin")))

    def write(name: str, script: str) -> Path:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    return write


@pytest.fixture
def no_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which nobody has installed anything."""
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
