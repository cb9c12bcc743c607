"""The real grype, where it is there.

It takes many minutes to build, so it is no part of continuous integration. Without it its tests are skipped, and say
so; they fail when NIMIFY_REQUIRE names `scanners` (make test-scanners).
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def only_scanner(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let one scanner be the only one on this machine; its path."""
    found = shutil.which(name, path=os.pathsep.join((str(ROOT / ".tools/bin"), os.environ.get("PATH", ""))))
    if found is None:
        message = f"{name} is not installed; make test-scanners"
        if "scanners" in os.environ.get("NIMIFY_REQUIRE", "").split(","):
            pytest.fail(message)
        pytest.skip(message)
    folder.mkdir()
    (folder / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(folder))
    return found
