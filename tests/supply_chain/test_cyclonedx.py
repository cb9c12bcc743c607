"""The bill of materials, by CycloneDX's own validator."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.supply_chain.conftest import program

from nimify.cli import main

pytestmark = pytest.mark.supply_chain

_VALIDATE = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
print(JsonStrictValidator(SchemaVersion.V1_6).validate_str(sys.stdin.read()) or "valid")
"""


def _judged(text: str) -> str:
    python = Path(program("model_signing")).parent / "python"
    done = subprocess.run(
        [python, "-c", _VALIDATE], input=text, capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout


@pytest.mark.parametrize("kind", ["tiny", "external-data"])
def test_the_document_is_valid(kind: str, make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    """The strict schema of 1.6 accepts it, with a licence as well; and the validator can say no."""
    licensed = {"license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"}}
    bundle = make_bundle(kind, **licensed)
    assert main(["sbom", str(bundle), "-o", str(tmp_path / "sbom.json")]) == 0

    text = (tmp_path / "sbom.json").read_text()

    assert _judged(text).strip() == "valid"
    assert _judged(text.replace('"machine-learning-model"', '"model"')).strip() != "valid"
