"""The commands of the guides for Triton's load generator, against a service of nimify's."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.guides.pages import Page, guides_that_need
from tests.guides.reader import Reader, lay_out
from tests.guides.sandbox import Sandbox
from tests.triton.test_perf_analyzer import PROGRAM

pytestmark = [pytest.mark.triton, pytest.mark.timeout(900)]


@pytest.mark.parametrize("page", guides_that_need("perf_analyzer"), ids=lambda page: page.name)
def test_a_guide_works_with_perf_analyzer(page: Page, tmp_path: Path) -> None:
    """It finds the model and measures it."""
    folder = tmp_path / "folder"
    lay_out(folder, "my-classifier")
    with Sandbox(network=True) as sandbox:
        somebody = Reader(sandbox, folder, provides={"perf_analyzer"}, programs=[PROGRAM.parent])
        somebody.read(page)
    somebody.leave()
    assert [text for text in somebody.typed if text.startswith("perf_analyzer")]
