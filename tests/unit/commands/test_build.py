"""`nimify build` where it ends before an engine is needed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from nimify.cli import main


@pytest.fixture
def bundle(make_bundle: Callable[..., Path], tmp_path: Path) -> Path:
    return shutil.copytree(make_bundle("tiny"), tmp_path / "bundle")


@pytest.mark.parametrize(
    "options",
    [
        ["--tag", "Tiny"],
        ["--tag", "tiny\nRUN x"],
        ["--tag", f"tiny@sha256:{'a' * 64}"],
        ["--base", "x y"],
        ["--platform", "linux amd64"],
        ["--family", "gpu"],
        ["--builder", "make"],
    ],
)
def test_a_wrong_option_is_refused_before_anything_starts(
    options: list[str], bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """2, in one line, whatever engines this machine has."""
    monkeypatch.setenv("PATH", "/nowhere")
    assert main(["build", str(bundle), *options]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_machine_without_an_engine_is_told_as_that(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """5, and one JSON document with the same words."""
    monkeypatch.setenv("PATH", "/nowhere")
    assert main(["build", str(bundle), "--json"]) == 5
    assert "No builder works on this machine" in json.loads(capsys.readouterr().out)["error"]["message"]


@pytest.mark.parametrize("path", ["plan.json", "openapi.json", "model_repository/tiny/1/model.onnx"])
def test_a_damaged_bundle_is_not_built(
    path: str, bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """4: what goes into the image must be what nimify wrote."""
    monkeypatch.setenv("PATH", "/nowhere")
    with (bundle / path).open("ab") as stream:
        stream.write(b" ")
    assert main(["build", str(bundle)]) == 4
    assert path in capsys.readouterr().err
