"""The page that teaches how to write a processor: its example is taken from the page and run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nimify.config import ModelConfig
from nimify.errors import ConfigError
from nimify.serving.processors.loader import load_steps
from nimify.serving.processors.pipeline import map_signature
from nimify.serving.processors.processor import InvalidInput
from nimify.serving.spec import ProcessorStep
from nimify.tensors import DATATYPES, Signature, TensorSpec

PAGE = Path(__file__).parents[4] / "docs" / "extending" / "processors.md"
DIGITS = Signature(
    inputs=(TensorSpec("image", DATATYPES["FP32"], ("batch", 64)),),
    outputs=(TensorSpec("logits", DATATYPES["FP32"], ("batch", 10)),),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files of the page, saved as it says."""
    blocks = re.findall(r"^```\w+ title=(\S+)\n(.*?)^```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    for name, content in blocks:
        (tmp_path / name).write_text(content)
    assert [name for name, _ in blocks] == ["photo.py", "nimify.yaml", "test_photo.py"]
    return tmp_path


def test_the_example_runs_as_it_stands(folder: Path) -> None:
    """The page's own test passes in a fresh interpreter, in the folder where the reader saved the files."""
    result = subprocess.run(
        [sys.executable, "test_photo.py"], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr


def test_the_settings_on_the_page_load_it(folder: Path) -> None:
    """The page's nimify.yaml is valid and leads to the page's class, which maps the signature as described."""
    pipeline = ModelConfig.load(folder / "nimify.yaml").pipeline
    before, after = (
        load_steps([ProcessorStep(step.use, step.options) for step in steps], folder)
        for steps in (pipeline.before, pipeline.after)
    )
    api = map_signature(DIGITS, before, after)
    assert api.inputs == (TensorSpec("photo", DATATYPES["UINT8"], ("batch", 8, 8)),)
    with pytest.raises(InvalidInput, match="A pixel is 255, which is whiter than white"):
        before[0]({"photo": np.full((1, 8, 8), 255, dtype=np.uint8)})


def test_the_example_refuses_what_does_not_fit(folder: Path) -> None:
    """A side of nine fills no row of 64, and the plan fails with the option's name; a mistyped one gets a hint."""
    with pytest.raises(ConfigError, match="9 x 9 pixels does not fill the 64 values") as caught:
        map_signature(DIGITS, load_steps([ProcessorStep("photo.py:Photo", {"side": 9})], folder), [])
    assert caught.value.field == "photo.side"
    with pytest.raises(ConfigError, match="Did you mean 'white'"):
        load_steps([ProcessorStep("photo.py:Photo", {"wite": 9})], folder)
