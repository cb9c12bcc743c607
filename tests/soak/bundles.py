"""The bundle that soaks are run on."""

from __future__ import annotations

from pathlib import Path

from tests.load.questions import NAME, keyed_model

from nimify import ModelConfig, Nimifier
from nimify.testing import models


def keyed_bundle(folder: Path) -> Path:
    """A bundle of the keyed model, whose answers can be told apart and foretold."""
    model = models.save(keyed_model(), folder / f"{NAME}.onnx")
    return Nimifier(ModelConfig.build({"name": NAME})).create(model, folder / "bundle").folder
