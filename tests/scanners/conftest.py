"""Real programs that take long to build, where they are there: scanners, cosign, Docker Compose.

They are no part of continuous integration. Without one of them its tests are skipped, and say so; they fail when
NIMIFY_REQUIRE names `scanners` (make test-scanners).
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from tests.chart.conftest import Combination, combinations

ROOT = Path(__file__).parents[2]


def program(name: str) -> str:
    """The path of a program that the tests drive."""
    found = shutil.which(name, path=os.pathsep.join((str(ROOT / ".tools/bin"), os.environ.get("PATH", ""))))
    if found is None:
        message = f"{name} is not installed; make test-scanners"
        if "scanners" in os.environ.get("NIMIFY_REQUIRE", "").split(","):
            pytest.fail(message)
        pytest.skip(message)
    return found


def only_scanner(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let one scanner be the only one on this machine; its path."""
    found = program(name)
    folder.mkdir()
    (folder / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(folder))
    return found


@pytest.fixture(scope="session")
def all_combinations() -> list[Combination]:
    """Choices among the chart's features in which every two of different axes meet."""
    return combinations()
