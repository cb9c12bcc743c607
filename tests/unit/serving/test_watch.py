"""Files that are looked at: every way in which they can change is seen, once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nimify.serving.watch import Stamped


def _exchange(file: Path) -> None:
    new = file.with_name("new")
    new.write_text(file.read_text())
    new.replace(file)


def _turn_link(file: Path) -> None:
    """As Kubernetes renews a Secret."""
    target = file.with_name("target")
    target.write_text(file.read_text())
    file.unlink()
    file.symlink_to(target)


CHANGES: dict[str, Callable[[Path], object]] = {
    "written": lambda file: file.write_text("other words"),
    "exchanged": _exchange,
    "removed": Path.unlink,
    "link": _turn_link,
    "added": lambda file: file.with_name("another").write_text("words"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_seen_once(change: str, tmp_path: Path) -> None:
    """And nothing is seen where nothing changes."""
    file = tmp_path / "file"
    file.write_text("words")
    stamped = Stamped(lambda: sorted(tmp_path.iterdir()))
    assert not stamped.changed()
    CHANGES[change](file)
    assert stamped.changed()
    assert not stamped.changed()


def test_a_file_that_comes_later_is_a_change(tmp_path: Path) -> None:
    """One that is missing counts as missing, and does not fail."""
    file = tmp_path / "file"
    stamped = Stamped(lambda: [file])
    assert not stamped.changed()
    file.write_text("words")
    assert stamped.changed()
