"""Every command of every guide that needs nothing but this machine, typed in order."""

from __future__ import annotations

import pytest
from tests.guides.conftest import OpenReader, named
from tests.guides.pages import Page, guides_that_need

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
