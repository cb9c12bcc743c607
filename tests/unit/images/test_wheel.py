"""The installed nimify as a wheel."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

import nimify
from nimify.errors import EnvironmentProblem
from nimify.images import wheel as wheel_module
from nimify.images.wheel import installed_wheel


def test_the_same_files_give_the_same_bytes() -> None:
    """Neither the time nor the place of its making is in it."""
    assert installed_wheel().content == installed_wheel().content


def test_a_service_runs_from_it_alone(tmp_path: Path) -> None:
    """Unpacked elsewhere, its code is imported from there, and its engine is found."""
    with zipfile.ZipFile(BytesIO(installed_wheel().content)) as archive:
        archive.extractall(tmp_path)
    script = "import nimify; from nimify import plugins; print(nimify.__file__, *plugins.available(plugins.ENGINES))"
    done = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[:2] == [str(tmp_path / "nimify/__init__.py"), "onnxruntime"]


def test_it_is_a_wheel_to_those_who_read_wheels() -> None:
    """The record names every file, and the package's data is there."""
    found = installed_wheel()
    with zipfile.ZipFile(BytesIO(found.content)) as archive:
        names = archive.namelist()
        info = next(name.partition("/")[0] for name in names if ".dist-info/" in name)
        record = archive.read(f"{info}/RECORD").decode()
    assert [line.partition(",")[0] for line in record.splitlines()] == [
        *(name for name in names if name != f"{info}/RECORD"),
        f"{info}/RECORD",
    ]
    assert "nimify/artifacts/container/Dockerfile.cpu" in names
    assert not any("__pycache__" in name for name in names)
    assert found.name.startswith(f"nimify_anything-{nimify.__version__}")


def test_a_nimify_that_is_not_installed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout on the import path has no metadata to make a wheel of."""
    monkeypatch.setattr(wheel_module, "_DISTRIBUTION", "nimify-nowhere")
    with pytest.raises(EnvironmentProblem, match="not installed"):
        installed_wheel()
