"""The commands of the guides that need a Prometheus: the real one, beside a real service."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.guides.pages import Page, guides_that_need
from tests.guides.reader import Reader, lay_out
from tests.guides.sandbox import Sandbox

pytestmark = [pytest.mark.monitoring, pytest.mark.timeout(900)]


@pytest.mark.parametrize("page", guides_that_need("prometheus"), ids=lambda page: page.name)
def test_a_guide_works_with_prometheus(page: Page, program: Callable[[str], str], tmp_path: Path) -> None:
    """Prometheus starts with the bundle's own configuration, reads the service, and promtool agrees with the rules."""
    program("prometheus")
    program("promtool")
    folder = tmp_path / "folder"
    lay_out(folder, "my-model")
    with Sandbox(network=True) as sandbox:
        somebody = Reader(sandbox, folder, provides={"prometheus"})
        somebody.read(page)
    somebody.leave()
    assert [text for text in somebody.typed if text.startswith("prometheus ")]
