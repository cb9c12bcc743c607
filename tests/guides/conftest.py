"""A place of its own for each guide, and stand-ins for what belongs to clouds and operators.

Needs Linux namespaces; without them these tests are skipped, with the reason, and fail when NIMIFY_REQUIRE names
`guides`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.guides.pages import Page
from tests.guides.reader import Reader, lay_out
from tests.guides.sandbox import Sandbox, lacking

OpenReader = Callable[..., Reader]


def named(page: Page) -> str:
    """How a test calls a guide."""
    return page.name


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[OpenReader]:
    """Somebody who reads a guide in a folder and a network of their own."""
    reason = lacking()
    if reason is not None:
        if "guides" in os.environ.get("NIMIFY_REQUIRE", "").split(","):
            pytest.fail(reason)
        pytest.skip(reason)
    readers: list[Reader] = []
    with Sandbox(network=True) as sandbox:

        def sit_down(*bundles: str, **options: Any) -> Reader:
            folder = tmp_path / "folder"
            lay_out(folder, *bundles)
            readers.append(Reader(sandbox, folder, **options))
            return readers[-1]

        yield sit_down
    for somebody in readers:
        somebody.leave()
