"""A run that is killed at any moment leaves the old bundle, the new one, or none; never a mixture."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from nimify import filesystem
from nimify.artifacts.artifact import Artifact
from nimify.artifacts.bundle import Bundle
from nimify.artifacts.manifest import MANIFEST_FILE
from nimify.artifacts.render import Item
from nimify.artifacts.writer import write_bundle

Prepare = Callable[..., Any]
_EVENTS = ("open", "os.", "shutil.", "tempfile.", "fcntl.", "ctypes.")


def run_and_kill(folder: Path, items: Sequence[Item], at: int) -> bool:
    """Write in a child that kills itself at its `at`-th call to the system; whether it got to the end."""
    child = os.fork()
    if child == 0:
        seen = 0

        def hook(event: str, _: object) -> None:
            nonlocal seen
            if event.startswith(_EVENTS):
                seen += 1
                if seen == at:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(hook)
            write_bundle(folder, items)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return not os.WIFSIGNALED(status)


def snapshot(folder: Path) -> dict[str, bytes] | None:
    if not folder.exists():
        return None
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def small(items: Sequence[Item]) -> list[Item]:
    """The few files that show all: the model, a generated file, the manifest."""
    keep = {"model_repository/model/1/model.onnx", "plan.json", "nimify.yaml"}
    chosen = [item for item in items if item.path in keep]
    manifest = next(item for item in items if item.path == MANIFEST_FILE)
    assert isinstance(manifest, Artifact)
    return [*chosen, manifest]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("atomic", [True, False], ids=["exchange", "two renames"])
def test_a_kill_at_any_call_leaves_a_whole_bundle(
    atomic: bool, prepare: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at its first call, its second, and so on to the end, an update is done or not done."""
    if not atomic:
        monkeypatch.setattr(filesystem, "_libc_renameat2", lambda: None)
    old, new = small(prepare("tiny").items()), small(prepare("tiny", description="new").items())
    write_bundle(tmp_path / "old", old)
    write_bundle(tmp_path / "new", new)
    whole = [snapshot(tmp_path / "old"), snapshot(tmp_path / "new")]
    outcomes = set()
    for at in range(1, 1000):
        folder = tmp_path / f"bundle-{at}"
        write_bundle(folder, old)
        finished = run_and_kill(folder, new, at)
        found = snapshot(folder)
        if found is None and not atomic:  # between the two renames; the next run mends it
            assert [path for path in tmp_path.iterdir() if path.name.startswith(f".{folder.name}.nimify-old")]
        else:
            assert found in whole
            outcomes.add(whole.index(found))
        write_bundle(folder, new)
        assert snapshot(folder) == whole[1]
        assert not [path for path in tmp_path.iterdir() if path.name.startswith(f".{folder.name}.nimify-")]
        if finished:
            break
    else:
        pytest.fail("the write never came to its end")
    assert at > 30
    assert outcomes == {0, 1}


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_kill_while_creating_leaves_all_or_nothing(prepare: Prepare, tmp_path: Path) -> None:
    """A new bundle is there as a whole or not at all."""
    items = small(prepare("tiny").items())
    write_bundle(tmp_path / "whole", items)
    whole = snapshot(tmp_path / "whole")
    for at in range(1, 1000):
        folder = tmp_path / f"bundle-{at}"
        finished = run_and_kill(folder, items, at)
        assert snapshot(folder) in (None, whole)
        if finished:
            break
    assert finished
    assert Bundle.open(folder).edited_files() == ()
