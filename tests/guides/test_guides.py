"""Every command of every guide that needs nothing but this machine, typed in order; vendors have stand-ins."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.guides.conftest import OpenReader, named
from tests.guides.pages import Page, guides_that_need
from tests.guides.stand_ins import CLOUDS, OPERATORS, PORT, clouds, operators

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
BUNDLES = ("my-model", "my-classifier")
MAKES_ITS_OWN = {
    "clouds.md", "deploy.md", "getting-started.md", "kubernetes.md", "monitor.md", "operators.md", "triton.md",
}  # fmt: skip
"""Guides that begin with a model file; the others begin with a bundle."""


@pytest.mark.parametrize("page", guides_that_need(""), ids=named)
def test_a_guide_works_as_it_is_typed(page: Page, reader: OpenReader) -> None:
    """Its commands end as the page says, and say what it shows."""
    somebody = reader(*(() if page.name in MAKES_ITS_OWN else BUNDLES))
    somebody.read(page)
    assert somebody.typed


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
