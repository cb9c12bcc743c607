"""What programs are given to read: plain files of the bundle, and nothing that leads out of it or has no end."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nimify.conformance.staging import staged
from nimify.errors import BundleDamaged


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A folder, with a secret beside it."""
    (tmp_path / "secret").write_text("s3cret")
    folder = tmp_path / "bundle"
    (folder / "chart" / "templates").mkdir(parents=True)
    (folder / "chart" / "values.yaml").write_text("a: 1\n")
    return folder


def test_files_and_folders_are_copied_and_gone_afterwards(bundle: Path) -> None:
    """The copy has the same paths."""
    with staged(bundle, "chart") as whole, staged(bundle, "chart/values.yaml") as one:
        assert (whole / "chart" / "templates").is_dir()
        assert (whole / "chart/values.yaml").read_text() == (one / "chart/values.yaml").read_text() == "a: 1\n"
    assert not whole.exists()
    assert not one.exists()


def _linked_file(bundle: Path) -> None:
    (bundle / "chart" / "x.yaml").symlink_to("../../secret")


def _linked_folder(bundle: Path) -> None:
    (bundle / "chart" / "x").symlink_to(bundle.parent, target_is_directory=True)


def _linked_itself(bundle: Path) -> None:
    (bundle / "chart").rename(bundle.parent / "moved")
    (bundle / "chart").symlink_to(bundle.parent / "moved", target_is_directory=True)


def _pipe(bundle: Path) -> None:
    os.mkfifo(bundle / "chart" / "pipe")


def _huge(bundle: Path) -> None:
    with (bundle / "chart" / "huge").open("wb") as stream:
        stream.truncate(1 << 40)


def _many(bundle: Path) -> None:
    for number in range(1001):
        (bundle / "chart" / "templates" / str(number)).touch()


def _deep(bundle: Path) -> None:
    (bundle / "chart" / Path(*"d" * 40)).mkdir(parents=True)


def _gone(bundle: Path) -> None:
    (bundle / "chart" / "values.yaml").unlink()
    (bundle / "chart" / "templates").rmdir()
    (bundle / "chart").rmdir()


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (_linked_file, "'chart/x.yaml' is a link"),
        (_linked_folder, "'chart/x' is a link"),
        (_linked_itself, "'chart' is a link"),
        (_pipe, "'chart/pipe' is not a file"),
        (_huge, "'chart/huge' is longer than 4 MiB"),
        (_many, "holds more than 1000 files"),
        (_deep, "lies too deep"),
        (_gone, "'chart' cannot be read"),
    ],
)
def test_what_would_lead_out_or_never_end_is_refused(damage: Callable[[Path], None], what: str, bundle: Path) -> None:
    """The path is named, and nothing of it is read."""
    damage(bundle)
    with pytest.raises(BundleDamaged, match=what), staged(bundle, "chart"):
        pass


def test_a_link_on_the_way_is_refused(bundle: Path) -> None:
    """A file that lies behind a linked folder lies elsewhere."""
    _linked_itself(bundle)
    with pytest.raises(BundleDamaged, match="'chart' is a link"), staged(bundle, "chart/values.yaml"):
        pass


def test_a_hostile_name_stays_on_its_line(bundle: Path) -> None:
    """Names are data."""
    (bundle / "chart" / "x\n\x1b[2J").symlink_to("/")
    with pytest.raises(BundleDamaged) as caught, staged(bundle, "chart"):
        pass
    assert caught.value.message == "'chart/x\\n\\x1b[2J' is a link."
