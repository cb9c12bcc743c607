"""`pytest tests/golden --update-goldens` (or `make goldens`) writes the expected files again."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import pytest


class Expect(Protocol):
    """Compares content with the expected file of that name."""

    def __call__(self, name: str, content: bytes) -> None: ...


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-goldens", action="store_true", help="write the expected files again")


@pytest.fixture
def expect(request: pytest.FixtureRequest) -> Expect:
    """Compare with, or under --update-goldens write, a file below tests/golden/expected."""
    folder = Path(__file__).parent / "expected"
    update = request.config.getoption("--update-goldens", default=False)

    def check(name: str, content: bytes) -> None:
        path = folder / name
        if update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        assert path.is_file(), f"{path} is missing; write it with `make goldens`"
        assert content.decode() == path.read_text(), f"{name} changed; if that is right, run `make goldens`"

    return check
