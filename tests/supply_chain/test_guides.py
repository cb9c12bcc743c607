"""The commands of the guides for the official signing tool, on what nimify signed."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.guides.pages import Page, guides_that_need
from tests.guides.reader import Reader, lay_out
from tests.guides.sandbox import Sandbox
from tests.supply_chain.conftest import program

pytestmark = [pytest.mark.supply_chain, pytest.mark.timeout(900)]


@pytest.mark.parametrize("page", guides_that_need("model_signing"), ids=lambda page: page.name)
def test_a_guide_works_with_the_official_tool(page: Page, tmp_path: Path) -> None:
    """It accepts nimify's signature, and makes one of its own."""
    beside = Path(program("model_signing")).parent
    folder = tmp_path / "folder"
    lay_out(folder, "my-model")
    with Sandbox(network=True) as sandbox:
        somebody = Reader(sandbox, folder, provides={"model_signing"}, programs=[beside])
        somebody.read(page)
    somebody.leave()
    assert [text for text in somebody.typed if text.startswith("model_signing")]
