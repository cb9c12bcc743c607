"""Writing to disk in whole steps, on systems that can and on systems that cannot."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from nimify import filesystem
from nimify.errors import EnvironmentProblem


@pytest.fixture(params=["renameat2", "plain rename"])
def rename_kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    kind: str = request.param
    if kind == "plain rename":
        monkeypatch.setattr(filesystem, "_libc_renameat2", lambda: None)
    return kind


def test_exchange_swaps_two_folders_or_says_that_it_cannot(rename_kind: str, tmp_path: Path) -> None:
    """Where it says yes, each path shows what the other one showed; where it says no, nothing moved."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "name").write_text(name)
    swapped = filesystem.exchange(tmp_path / "a", tmp_path / "b")
    shown = [(tmp_path / name / "name").read_text() for name in ("a", "b")]
    assert shown == (["b", "a"] if swapped else ["a", "b"])
    assert not (swapped and rename_kind == "plain rename")


def test_moving_replaces_nothing(rename_kind: str, tmp_path: Path) -> None:
    """What is already there wins, even an empty folder."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with pytest.raises(FileExistsError):
        filesystem.move_without_replacing(tmp_path / "a", tmp_path / "b")
    filesystem.move_without_replacing(tmp_path / "a", tmp_path / "c")
    assert (tmp_path / "c").is_dir()
    assert not (tmp_path / "a").exists()


def test_a_copy_tells_digest_and_length(tmp_path: Path) -> None:
    """What was copied is known without reading it again, and progress adds up."""
    source = tmp_path / "source"
    source.write_bytes(b"abc" * 1_000_000)
    told: list[int] = []
    digest, size = filesystem.copy_file(source, tmp_path / "deep" / "target", told.append)
    assert (tmp_path / "deep" / "target").read_bytes() == source.read_bytes()
    assert (size, sum(told)) == (3_000_000, 3_000_000)
    assert digest == hashlib.sha256(source.read_bytes()).hexdigest()


def test_a_clone_is_whole_or_not_there(tmp_path: Path) -> None:
    """Filesystems that cannot share blocks leave no empty file behind."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"abc")
    if filesystem.clone_file(source, target):
        assert target.read_bytes() == b"abc"
        assert source.stat().st_nlink == 1
    else:
        assert not target.exists()


def test_files_are_never_written_over(tmp_path: Path) -> None:
    """A new file is new: a link that somebody planted there is not followed."""
    victim = tmp_path / "victim"
    victim.write_text("safe")
    (tmp_path / "new").symlink_to(victim)
    with pytest.raises(FileExistsError):
        filesystem.write_file(tmp_path / "new", b"content")
    assert victim.read_text() == "safe"


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """The new content, the usual permissions, and nothing beside it."""
    (tmp_path / "file").write_text("old")
    filesystem.replace_file(tmp_path / "file", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_only_a_file_is_replaced(tmp_path: Path, kind: str) -> None:
    """A link may lead anywhere, and /dev/stdout is not ours to take away."""
    victim, path = tmp_path / "victim", tmp_path / "path"
    victim.write_text("safe")
    if kind == "link":
        path.symlink_to(victim)
    elif kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    with pytest.raises(OSError, match="something else than a file"):
        filesystem.replace_file(path, b"content")
    assert victim.read_text() == "safe"
    assert sorted(found.name for found in tmp_path.iterdir()) == ["path", "victim"]


def test_permissions_do_not_depend_on_the_umask(tmp_path: Path) -> None:
    """Folders 0755 and files 0644, whatever the shell says."""
    old = os.umask(0o077)
    try:
        filesystem.write_file(tmp_path / "a" / "b", b"")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o644


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    """Another process is kept out while the holder lives, and let in when it is killed; no file is left."""
    code = (
        "import sys, time; from pathlib import Path; from nimify.filesystem import locked\n"
        "with locked(Path(sys.argv[1]), timeout_s=5): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(EnvironmentProblem, match="Another nimify"), filesystem.locked(tmp_path, timeout_s=0.05):
            pass
        holder.kill()
    with filesystem.locked(tmp_path, timeout_s=5):
        assert list(tmp_path.iterdir()) == []
