"""Writing bundles: the same bytes every time, and never over what the owner did."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nimify import filesystem
from nimify.artifacts import writer
from nimify.artifacts.artifact import Artifact, CopiedFile
from nimify.artifacts.bundle import Bundle
from nimify.artifacts.drift import check_bundle
from nimify.artifacts.manifest import MANIFEST_FILE, Manifest
from nimify.artifacts.render import Item, render
from nimify.artifacts.writer import write_bundle
from nimify.config import ModelConfig
from nimify.errors import BundleDamaged, BundleEdited, BundleError, ConfigError, EnvironmentProblem, ModelError
from nimify.planning.assets import Asset
from nimify.testing import models

Prepare = Callable[..., Any]


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def states(folder: Path) -> dict[str, tuple[int, int, int]]:
    return {
        str(path): (path.lstat().st_ino, path.lstat().st_mtime_ns, path.lstat().st_mode)
        for path in (folder, *folder.rglob("*"))
    }


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.parent.iterdir() if path.name.startswith(f".{folder.name}.nimify-")]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return tmp_path / "bundle"


@pytest.mark.parametrize("kind", models.ALL)
def test_two_bundles_of_one_model_are_byte_identical(kind: str, prepare: Prepare, tmp_path: Path) -> None:
    """The same input gives the same bytes, and the second write over them touches nothing."""
    items = prepare(kind).items()
    assert write_bundle(tmp_path / "a", items).outcome == "created"
    assert write_bundle(tmp_path / "b", prepare(kind).items()).outcome == "created"
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    before = states(tmp_path / "a")
    assert write_bundle(tmp_path / "a", items).outcome == "unchanged"
    assert states(tmp_path / "a") == before


def test_permissions_do_not_depend_on_the_umask(prepare: Prepare, bundle: Path) -> None:
    """Whoever runs the service can read the bundle, whoever wrote it."""
    old = os.umask(0o077)
    try:
        write_bundle(bundle, prepare("external-data").items())
    finally:
        os.umask(old)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in bundle.rglob("*") if path.is_file()}
    assert modes == {0o644}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (bundle, *bundle.rglob("*")) if path.is_dir()} == {0o755}


def test_the_manifest_lists_what_was_written(prepare: Prepare, bundle: Path) -> None:
    """Every file is in the manifest with its digest, and nimify.yaml apart as the owner's."""
    write_bundle(bundle, prepare("tiny").items())
    opened = Bundle.open(bundle)
    assert set(tree(bundle)) == {*opened.manifest.files, *opened.manifest.owned, MANIFEST_FILE}
    assert opened.manifest.owned == ("nimify.yaml",)
    assert opened.edited_files() == ()
    assert list(opened.owner_files()) == ["nimify.yaml"]


def test_edited_files_are_named_and_kept(prepare: Prepare, bundle: Path) -> None:
    """A changed generated file stops the write; force overwrites it."""
    prepared = prepare("tiny")
    write_bundle(bundle, prepared.items())
    (bundle / "openapi.json").write_text("{}")
    with pytest.raises(BundleEdited, match=r"openapi\.json") as caught:
        write_bundle(bundle, prepared.items())
    assert caught.value.paths == ("openapi.json",)
    assert (bundle / "openapi.json").read_text() == "{}"
    assert write_bundle(bundle, prepared.items(), force=True).written == ("openapi.json",)
    assert Bundle.open(bundle).edited_files() == ()


def test_an_edit_stops_an_unrelated_update_too(prepare: Prepare, bundle: Path) -> None:
    """A new setting is not a reason to lose what the owner wrote elsewhere."""
    write_bundle(bundle, prepare("tiny").items())
    (bundle / "openapi.json").write_text("{}")
    with pytest.raises(BundleEdited):
        write_bundle(bundle, prepare("tiny", description="new").items())


def test_a_missing_generated_file_is_written_again(prepare: Prepare, bundle: Path) -> None:
    """Restoring what is gone destroys nothing, so it needs no force."""
    prepared = prepare("tiny")
    write_bundle(bundle, prepared.items())
    (bundle / "openapi.json").unlink()
    assert write_bundle(bundle, prepared.items()).written == ("openapi.json",)


def test_files_of_the_owner_stay(prepare: Prepare, bundle: Path) -> None:
    """An update carries over files, links and empty folders that nimify does not know."""
    write_bundle(bundle, prepare("tiny").items())
    (bundle / "notes" / "deep").mkdir(parents=True)
    (bundle / "notes" / "run.sh").write_text("#!/bin/sh\n")
    (bundle / "notes" / "run.sh").chmod(0o755)
    (bundle / "link").symlink_to("notes")
    assert write_bundle(bundle, prepare("tiny", description="new").items()).outcome == "updated"
    assert (bundle / "notes" / "run.sh").read_text() == "#!/bin/sh\n"
    assert stat.S_IMODE((bundle / "notes" / "run.sh").stat().st_mode) == 0o755
    assert (bundle / "link").readlink() == Path("notes")
    assert (bundle / "notes" / "deep").is_dir()


def test_a_file_of_the_owner_is_not_overwritten_by_a_new_artifact(prepare: Prepare, bundle: Path) -> None:
    """Where nimify wants to write and the owner already did, the owner is asked."""
    items = prepare("tiny").items()
    write_bundle(bundle, items)
    (bundle / "extra.txt").write_text("mine")
    more: list[Item] = [*items, Artifact("extra.txt", b"generated")]
    with pytest.raises(BundleEdited, match=r"extra\.txt"):
        write_bundle(bundle, more)
    write_bundle(bundle, more, force=True)
    assert (bundle / "extra.txt").read_bytes() == b"generated"


def test_what_is_no_longer_generated_goes_away(prepare: Prepare, bundle: Path) -> None:
    """Another name moves the model; the old place does not stay behind."""
    write_bundle(bundle, prepare("tiny", name="one").items())
    report = write_bundle(bundle, prepare("tiny", name="two").items())
    assert "model_repository/one/1/model.onnx" in report.removed
    assert [path.name for path in (bundle / "model_repository").iterdir()] == ["two"]


def test_what_the_owner_edited_does_not_go_away_unasked(prepare: Prepare, bundle: Path) -> None:
    """A file that would be dropped counts as overwritten when its owner changed it."""
    write_bundle(bundle, prepare("tiny", name="one").items())
    edited = bundle / "model_repository" / "one" / "config.pbtxt"
    edited.write_text(edited.read_text() + "# tuned by hand\n")
    with pytest.raises(BundleEdited, match=r"one/config\.pbtxt"):
        write_bundle(bundle, prepare("tiny", name="two").items())
    assert "tuned" in edited.read_text()
    write_bundle(bundle, prepare("tiny", name="two").items(), force=True)
    assert not edited.exists()


def test_nimify_yaml_keeps_the_owners_text(prepare: Prepare, bundle: Path) -> None:
    """Comments and order survive when the text asks for the same."""
    prepared = prepare("tiny", description="x")
    write_bundle(bundle, prepared.items())
    text = "# my comment\ndescription:   x\n"
    (bundle / "nimify.yaml").write_text(text)
    items = render(prepared.plan, prepared.config, prepared.analysis, settings=text)
    assert not check_bundle(bundle, items)
    assert write_bundle(bundle, items).outcome == "unchanged"
    assert (bundle / "nimify.yaml").read_text() == text


def test_a_processor_file_in_the_bundle_is_input(prepare: Prepare, bundle: Path, tmp_path: Path) -> None:
    """Made again from the bundle itself, an edited processor is taken; made from elsewhere, it is not overwritten."""
    prepared, source = prepare("tiny"), tmp_path / "own.py"
    source.write_text("VERSION = 1\n")

    def items(path: Path) -> list[Item]:
        assets = [Asset("processors/own.py", path)]
        return render(prepared.plan, prepared.config, prepared.analysis, assets=assets)

    write_bundle(bundle, items(source))
    inside = bundle / "processors" / "own.py"
    inside.write_text("VERSION = 2\n")
    with pytest.raises(BundleEdited, match=r"own\.py"):
        write_bundle(bundle, items(source))
    write_bundle(bundle, items(inside))
    assert inside.read_text() == "VERSION = 2\n"
    assert Bundle.open(bundle).edited_files() == ()


def test_a_missing_parent_is_made(prepare: Prepare, tmp_path: Path) -> None:
    """The folder for a bundle need not exist."""
    assert write_bundle(tmp_path / "a" / "b" / "c", prepare("tiny").items()).outcome == "created"


def test_an_empty_folder_is_taken(prepare: Prepare, bundle: Path) -> None:
    """Nothing can be lost in it."""
    bundle.mkdir()
    assert write_bundle(bundle, prepare("tiny").items()).outcome == "created"


def _file(path: Path) -> None:
    path.write_text("hello")


def _full_folder(path: Path) -> None:
    path.mkdir()
    (path / "thesis.txt").write_text("hello")


def _link_to_a_folder(path: Path) -> None:
    path.with_name("elsewhere").mkdir()
    path.symlink_to(path.with_name("elsewhere"))


def _dangling_link(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


def _fifo(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("obstacle", [_file, _full_folder, _link_to_a_folder, _dangling_link, _fifo])
@pytest.mark.parametrize("force", [False, True])
def test_what_is_no_bundle_is_never_overwritten(
    obstacle: Callable[[Path], None], force: bool, prepare: Prepare, bundle: Path, tmp_path: Path
) -> None:
    """Not even with force: that is for files of a bundle."""
    obstacle(bundle)
    before = states(tmp_path)
    with pytest.raises(BundleError, match="bundle"):
        write_bundle(bundle, prepare("tiny").items(), force=force)
    assert states(tmp_path) == before


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"schema_version": 2}',
        '{"schema_version": 1, "generator": {"name": "nimify", "version": "1"}, "model_digest": "x", '
        '"owned_by_you": [], "files": {"../x": {"sha256": "' + "0" * 64 + '", "size_bytes": 1}}}',
        '{"schema_version": 1, "generator": {"name": "nimify", "version": "1"}, "model_digest": "x", '
        '"owned_by_you": ["/etc/passwd"], "files": {}}',
    ],
)
def test_a_damaged_manifest_is_reported(text: str, bundle: Path) -> None:
    """A manifest that leaves the bundle, or is none, is not believed."""
    bundle.mkdir()
    (bundle / MANIFEST_FILE).write_text(text)
    with pytest.raises(BundleDamaged, match="not a manifest"):
        Manifest.load(bundle)


def test_linking_puts_a_link(prepare: Prepare, bundle: Path) -> None:
    """The model is not copied, and the bundle counts as unchanged the next time."""
    prepared = prepare("tiny")
    items = prepared.items()
    write_bundle(bundle, items, link=True)
    placed = bundle / prepared.plan.service.model_file
    assert placed.is_symlink()
    assert placed.readlink() == prepared.analysis.model.path
    assert write_bundle(bundle, items, link=True).outcome == "unchanged"
    assert Bundle.open(bundle).edited_files() == ()
    write_bundle(bundle, items)
    assert not placed.is_symlink()


def test_linking_external_data_is_refused(prepare: Prepare, bundle: Path) -> None:
    """Engines refuse external data that is a link, so such a bundle would not load."""
    with pytest.raises(ConfigError, match="--link"):
        write_bundle(bundle, prepare("external-data").items(), link=True)
    assert not bundle.exists()


def test_a_model_that_changes_while_it_is_copied_is_noticed(prepare: Prepare, bundle: Path, tmp_path: Path) -> None:
    """The copy is checked against the digest that was planned with."""
    moving = tmp_path / "model.onnx"
    moving.write_bytes(b"another model")
    items = [replace(item, source=moving) if isinstance(item, CopiedFile) else item for item in prepare("tiny").items()]
    with pytest.raises(ModelError, match="changed while it was copied"):
        write_bundle(bundle, items)
    assert not bundle.exists()
    assert leftovers(bundle) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS])
@pytest.mark.parametrize("existing", [False, True])
def test_a_failing_disk_leaves_the_old_bundle(
    code: int, existing: bool, prepare: Prepare, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is a sentence, and the old bundle, or none, is still there."""
    if existing:
        write_bundle(bundle, prepare("tiny").items())
    before = states(bundle) if existing else None
    calls = 0

    def failing(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(EnvironmentProblem, match=os.strerror(code)):
        write_bundle(bundle, prepare("tiny", description="new").items())
    assert (states(bundle) if existing else None) == before
    assert bundle.exists() is existing
    assert leftovers(bundle) == []


def test_a_parent_that_may_not_be_written_is_reported(
    prepare: Prepare, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read-only place is named, with what to do."""

    def refused(*args: object, **options: object) -> str:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(bundle.parent))

    monkeypatch.setattr("tempfile.mkdtemp", refused)
    with pytest.raises(EnvironmentProblem, match="Permission denied") as caught:
        write_bundle(bundle, prepare("tiny").items())
    assert "-o" in caught.value.remedy


def test_without_an_atomic_exchange_two_renames_do(
    prepare: Prepare, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Systems without renameat2 get the same bundle."""
    monkeypatch.setattr(filesystem, "_libc_renameat2", lambda: None)
    write_bundle(bundle, prepare("tiny").items())
    new = prepare("tiny", description="new").items()
    assert write_bundle(bundle, new).outcome == "updated"
    assert not check_bundle(bundle, new)
    assert leftovers(bundle) == []


def test_a_death_between_two_renames_is_mended(prepare: Prepare, bundle: Path) -> None:
    """A retired bundle comes back when its successor never came."""
    items = prepare("tiny").items()
    write_bundle(bundle, items)
    bundle.rename(bundle.with_name(".bundle.nimify-old-bundle"))
    bundle.with_name(".bundle.nimify-new-abc").mkdir()
    assert write_bundle(bundle, items).outcome == "unchanged"
    assert leftovers(bundle) == []


def test_concurrent_writers_take_turns(prepare: Prepare, bundle: Path) -> None:
    """Of many writers at once one creates, the others find it done, and nothing is mixed."""
    items = prepare("tiny").items()
    outcomes: list[str] = []
    threads = [threading.Thread(target=lambda: outcomes.append(write_bundle(bundle, items).outcome)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["created", *["unchanged"] * 7]
    assert not check_bundle(bundle, items)


def test_a_writer_that_never_ends_is_not_waited_for_for_ever(
    prepare: Prepare, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while the other run is reported."""
    monkeypatch.setattr(writer, "LOCK_TIMEOUT_S", 0.05)
    with (
        filesystem.locked(bundle.parent, timeout_s=1),
        pytest.raises(EnvironmentProblem, match="Another nimify"),
    ):
        write_bundle(bundle, prepare("tiny").items())


def test_drift_shows_what_would_change(prepare: Prepare, bundle: Path) -> None:
    """Changed, missing and obsolete files are told apart, with a readable diff; nothing is written."""
    write_bundle(bundle, prepare("tiny", name="one").items())
    (bundle / "golden" / "golden.json").unlink()
    before = states(bundle)
    drift = check_bundle(bundle, prepare("tiny", name="one", description="new").items())
    assert drift
    assert drift.missing == ("golden/golden.json",)
    assert set(drift.changed) == {
        "plan.json",
        "openapi.json",
        "manifest.json",
        "chart/Chart.yaml",
        "container/Dockerfile.cpu",
        "container/Dockerfile.triton",
    }
    assert '+    "description": "new",' in drift.diff
    assert "Missing in the bundle: golden/golden.json" in drift.diff
    renamed = check_bundle(bundle, prepare("tiny", name="two").items())
    assert "model_repository/one/config.pbtxt" in renamed.obsolete
    assert states(bundle) == before


def test_no_drift_is_false(prepare: Prepare, bundle: Path) -> None:
    """A bundle that is up to date has no drift, even when its owner edited nimify.yaml."""
    items = prepare("tiny").items()
    write_bundle(bundle, items)
    (bundle / "nimify.yaml").write_text("# nothing asked for\n")
    drift = check_bundle(bundle, items)
    assert not drift
    assert (drift.paths, drift.diff) == ((), "")


def test_two_files_in_one_place_are_refused(prepare: Prepare, tmp_path: Path) -> None:
    """An asset cannot take the place of a generated file."""
    prepared, source = prepare("tiny"), tmp_path / "golden.json"
    source.write_text("{}")
    with pytest.raises(ConfigError, match="given twice"):
        render(prepared.plan, ModelConfig(), prepared.analysis, assets=[Asset("golden/golden.json", source)])
