"""What the tests of targets share: a state folder of their own, and services that end with the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for nimify's records; services of the process target that are in it are stopped with the test."""
    from nimify.targets.process.folder import ServiceFolder
    from nimify.targets.process.orders import stop

    folder = tmp_path / "state"
    monkeypatch.setenv("NIMIFY_STATE", str(folder))
    yield folder
    for service in (folder / "process").glob("*"):
        stop(ServiceFolder(service))
