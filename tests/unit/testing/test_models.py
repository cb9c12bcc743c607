"""The tiny models: real, repeatable, and what their names say."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from nimify.serving.engines.onnxruntime import OnnxRuntimeEngine
from nimify.testing import models


@pytest.mark.parametrize("kind", models.ALL)
def test_every_model_is_valid_and_loads(kind: str, tmp_path: Path) -> None:
    """The checker of ONNX accepts each model, and the embedded engine loads it."""
    path = models.save(models.ALL[kind](), tmp_path / "model.onnx")

    onnx.checker.check_model(str(path))
    engine = OnnxRuntimeEngine.load(path, threads=1)

    assert engine.signature.outputs


@pytest.mark.parametrize("kind", [*models.ALL, *models.UNSUPPORTED])
def test_building_twice_gives_the_same_bytes(kind: str) -> None:
    """Digests of models may be pinned."""
    build = {**models.ALL, **models.UNSUPPORTED}[kind]

    assert build().SerializeToString() == build().SerializeToString()


def test_saving_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    """A model with external data can be saved twice."""
    model = models.external_data()

    first = models.save(model, tmp_path / "first.onnx")
    (tmp_path / "other").mkdir()
    second = models.save(model, tmp_path / "other" / "second.onnx")

    assert first.read_bytes() == second.read_bytes()
    assert (tmp_path / models.DATA_FILE).read_bytes() == (tmp_path / "other" / models.DATA_FILE).read_bytes()
    assert models.DATA_FILE.encode() in first.read_bytes()
