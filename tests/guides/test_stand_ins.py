"""The guides to clouds and operators, typed in order: stand-ins for the vendors' tools, a real service behind them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.guides.conftest import OpenReader
from tests.guides.pages import guides_that_need
from tests.guides.stand_ins import CLOUDS, OPERATORS, PORT, clouds, operators

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_guide_to_clouds_works_at_each_of_them(cloud: str, reader: OpenReader, tmp_path: Path) -> None:
    """From a model file to a release that answers, is replaced, comes back and ends."""
    (page,) = guides_that_need(cloud)
    tools = tmp_path / "stand-ins"
    somebody = reader(provides={cloud}, programs=[tools], environment=clouds(tools), built=CLOUDS[cloud])
    somebody.answer_behind(cloud, PORT)
    somebody.read(page)
    assert [text for text in somebody.typed if text.startswith("nimify rollback")]


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_guide_to_operators_works_at_each_of_them(operator: str, reader: OpenReader, tmp_path: Path) -> None:
    """The same through a custom resource."""
    (page,) = guides_that_need(operator)
    tools = tmp_path / "stand-ins"
    image = "registry.example.com/digits:1.0.0"
    somebody = reader(provides={operator}, programs=[tools], environment=operators(tools), built=image)
    somebody.answer_behind("none", PORT)
    somebody.read(page)
    assert [text for text in somebody.typed if text.startswith("nimify rollback")]
