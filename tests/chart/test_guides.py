"""The commands of the guides for programs that `make tools` builds: Helm and grpcurl."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.chart.conftest import program
from tests.guides.pages import Page, guides_that_need
from tests.guides.reader import Reader, lay_out
from tests.guides.sandbox import Sandbox

pytestmark = [pytest.mark.chart, pytest.mark.timeout(900)]


@pytest.mark.parametrize("need", ["helm", "grpcurl"])
def test_a_guide_works_with(need: str, tmp_path: Path) -> None:
    """Helm renders what `nimify validate` asks for; grpcurl finds the service by reflection."""
    pages: list[Page] = guides_that_need(need)
    assert pages
    beside = Path(program(need)).parent
    for page in pages:
        folder = tmp_path / page.path.stem
        lay_out(folder, "my-model")
        with Sandbox(network=True) as sandbox:
            somebody = Reader(sandbox, folder, provides={need}, programs=[beside])
            somebody.read(page)
        somebody.leave()
