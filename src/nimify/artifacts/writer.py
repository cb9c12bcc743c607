"""The one place that writes bundles: as a whole or not at all.

A new bundle is built in a folder beside the old one, forced to the disk, and swapped with it in one step. Whatever
happens before the swap leaves the old bundle as it was; whatever happens after it leaves the new one, and at worst a
hidden folder that the next run removes. That takes the space of both for a moment: a model file is never moved or
linked out of the old bundle, because a death between two steps would then leave it damaged. Where the filesystem can
share blocks between files, an unchanged model costs nothing.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from nimify.artifacts.artifact import Artifact, CopiedFile
from nimify.artifacts.bundle import Bundle, fingerprint
from nimify.artifacts.manifest import MANIFEST_FILE, ManifestFile
from nimify.artifacts.render import Item, digest_of, is_owned
from nimify.errors import BundleEdited, BundleError, ConfigError, EnvironmentProblem, ModelError
from nimify.filesystem import (
    FOLDER_MODE,
    clone_file,
    copy_file,
    exchange,
    locked,
    make_folders,
    move_without_replacing,
    remove_tree,
    sync_file,
    sync_folder,
    sync_folders,
    write_file,
)
from nimify.planning.repository import REPOSITORY

LOCK_TIMEOUT_S: Final = 600.0
"""How long to wait for another run; copying a large model takes a while."""
_REMEDIES: Final = {
    errno.ENOSPC: "Make room, or choose another folder with -o.",
    errno.EDQUOT: "Your quota is used up: make room, or choose another folder with -o.",
}
_STAGING: Final = "new"
_RETIRED: Final = "old"

Outcome = Literal["created", "updated", "unchanged"]
Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class WriteReport:
    """What a run did.

    Attributes:
        outcome: `created`, `updated` or `unchanged`.
        written: Files that are new or have a new content, sorted.
        removed: Files of the old bundle that are not part of the new one, sorted.
    """

    outcome: Outcome
    written: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


def write_bundle(
    folder: Path,
    items: Sequence[Item],
    *,
    force: bool = False,
    link: bool = False,
    progress: Progress | None = None,
) -> WriteReport:
    """Write a bundle, or bring one up to date.

    Nothing is touched when everything is already there. Files that the owner added stay.

    Args:
        folder: The bundle; made when missing, with its parents.
        items: Every file of it, manifest.json included; see `render`.
        force: Overwrite generated files that the owner changed.
        link: Put a symbolic link to the model file instead of a copy.
        progress: Told of every chunk of bytes that was copied.

    Raises:
        BundleEdited: Generated files were changed by the owner, and `force` is off.
        BundleError: The folder is something else than a bundle.
        ConfigError: `link` was asked for, and the model has external data.
        ModelError: A file changed while it was copied.
        EnvironmentProblem: The disk is full, the folder may not be written, or another run does not end.
    """
    folder = folder.absolute()
    links = _links(items, folder) if link else {}
    with _explained(folder):
        make_folders(folder.parent)
        with locked(folder.parent, timeout_s=LOCK_TIMEOUT_S):
            _recover(folder)
            return _Writer(folder, items, links, progress).write(force=force)


class _Writer:
    """One run, under the lock."""

    def __init__(self, folder: Path, items: Sequence[Item], links: dict[str, Path], progress: Progress | None) -> None:
        self._folder = folder
        self._items = items
        self._links = links
        self._progress = progress
        self._old = _existing(folder)
        self._digests = {item.path: digest_of(item) for item in items}
        self._current = {path: self._on_disk(path, digest) for path, digest in self._digests.items()}

    def write(self, *, force: bool) -> WriteReport:
        written = tuple(sorted(path for path in self._digests if not self._is_current(path)))
        removed = self._obsolete()
        if self._old is not None and not written and not removed:
            return WriteReport("unchanged")
        if not force:
            self._refuse_edits()
        staging = _make_sibling(self._folder, _STAGING)
        try:
            self._fill(staging)
            staging.chmod(FOLDER_MODE)
            sync_folders(staging)
            _swap(staging, self._folder)
        finally:
            remove_tree(staging)  # after the swap this is the old bundle
        sync_folder(self._folder.parent)
        return WriteReport("created" if self._old is None else "updated", written, removed)

    def _on_disk(self, path: str, wanted: ManifestFile) -> ManifestFile | None:
        return None if self._old is None else fingerprint(self._folder / path, wanted.size_bytes)

    def _matches(self, path: str) -> bool:
        return self._current[path] == self._digests[path]

    def _is_current(self, path: str) -> bool:
        return self._matches(path) and _link(self._folder / path) == self._links.get(path)

    def _obsolete(self) -> tuple[str, ...]:
        if self._old is None:
            return ()
        return tuple(
            sorted(
                path for path in self._old.manifest.files if path not in self._digests and _exists(self._folder / path)
            )
        )

    def _refuse_edits(self) -> None:
        """Refuse to lose what the owner wrote: into a generated file, or where one is to be."""
        if self._old is None:
            return
        known, owned = self._old.manifest.files, {item.path for item in self._items if is_owned(item)}
        edited = {path for path in self._old.edited_files() if path not in self._digests or not self._matches(path)}
        taken = {
            path
            for path, found in self._current.items()
            if path not in known and path not in owned and path != MANIFEST_FILE
            if found is not None and found != self._digests[path]
        }
        if edited | taken:
            raise BundleEdited(self._folder.name, tuple(sorted(edited | taken)))

    def _fill(self, staging: Path) -> None:
        for item in self._items:
            target = staging / item.path
            if isinstance(item, Artifact):
                write_file(target, item.content)
            elif item.path in self._links:
                make_folders(target.parent)
                target.symlink_to(self._links[item.path])
            else:
                self._copy(item, target)
        if self._old is not None:
            for path in self._old.owner_files():
                if path not in self._digests:
                    _carry_over(self._folder / path, staging / path)

    def _copy(self, item: CopiedFile, target: Path) -> None:
        kept = self._folder / item.path
        if self._current[item.path] == digest_of(item) and not kept.is_symlink() and clone_file(kept, target):
            return
        copied = ManifestFile(*copy_file(item.source, target, self._progress))
        if copied != digest_of(item):
            raise ModelError(
                item.source.name, "it changed while it was copied.", remedy="Run the command again when it is complete."
            )


def _links(items: Iterable[Item], folder: Path) -> dict[str, Path]:
    """Where links to the model file go, and where they point.

    Raises:
        ConfigError: The model has external data, or lies in the bundle itself.
    """
    models = [item for item in items if isinstance(item, CopiedFile) and item.path.startswith(f"{REPOSITORY}/")]
    if len(models) > 1:
        raise ConfigError(
            "the model keeps its weights in further files, and engines refuse such files when they are links.",
            field="--link",
            remedy="Leave --link out; the files are then copied.",
        )
    if any(item.source.resolve().is_relative_to(folder.resolve()) for item in models):
        raise ConfigError(
            "the model lies in the bundle itself.", field="--link", remedy="Name the original, or leave --link out."
        )
    return {item.path: item.source.absolute() for item in models}


def _existing(folder: Path) -> Bundle | None:
    """The bundle that is there; `None` when nothing is, or an empty folder.

    Raises:
        BundleError: Something else is there.
    """
    remedy = "Choose another folder with -o, or move this one away."
    if folder.is_symlink():
        raise BundleError(f"'{folder}' is a symbolic link.", remedy=f"Name the folder itself. {remedy}")
    if not folder.exists():
        return None
    if not folder.is_dir():
        raise BundleError(f"'{folder}' exists and is no folder.", remedy=remedy)
    if (folder / MANIFEST_FILE).exists():
        return Bundle.open(folder)
    if any(folder.iterdir()):
        raise BundleError(f"'{folder}' exists and is no bundle: it has other content.", remedy=remedy)
    return None


def _make_sibling(folder: Path, kind: str) -> Path:
    return Path(tempfile.mkdtemp(prefix=_sibling_prefix(folder, kind), dir=folder.parent))


def _sibling_prefix(folder: Path, kind: str) -> str:
    return f".{folder.name}.nimify-{kind}-"


def _siblings(folder: Path, kind: str) -> list[Path]:
    prefix = _sibling_prefix(folder, kind)
    return sorted(path for path in folder.parent.iterdir() if path.name.startswith(prefix))


def _recover(folder: Path) -> None:
    """Finish what a killed run left: put a retired bundle back, remove what was half built."""
    for retired in _siblings(folder, _RETIRED):
        if not _exists(folder):
            retired.rename(folder)
        else:
            remove_tree(retired)
    for staging in _siblings(folder, _STAGING):
        remove_tree(staging)


def _swap(staging: Path, folder: Path) -> None:
    """Put the new bundle where the old one is; afterwards `staging` is the old one, or is gone."""
    if not folder.exists():
        move_without_replacing(staging, folder)
    elif not exchange(staging, folder):
        # Two steps where the system cannot do it in one; `_recover` mends a death between them.
        retired = folder.with_name(f"{_sibling_prefix(folder, _RETIRED)}bundle")
        folder.rename(retired)
        try:
            staging.rename(folder)
        except OSError:
            retired.rename(folder)
            raise
        remove_tree(retired)


def _carry_over(source: Path, target: Path) -> None:
    """Copy something of the owner's into the new bundle as it is."""
    if "__pycache__" in source.parts:
        return
    make_folders(target.parent)
    if source.is_symlink():
        target.symlink_to(source.readlink())
    elif source.is_dir():
        make_folders(target)
    elif stat.S_ISREG(source.stat().st_mode):
        shutil.copy2(source, target)
        sync_file(target)
    else:
        raise BundleError(f"'{source}' is neither a file nor a folder.", remedy="Move it out of the bundle.")


def _link(path: Path) -> Path | None:
    return path.readlink() if path.is_symlink() else None


def _exists(path: Path) -> bool:
    return os.path.lexists(path)


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Turn the system's errors into sentences."""
    try:
        yield
    except OSError as error:
        # A file inside the half-built bundle means nothing to anybody; one that could not be read does.
        name = error.filename if isinstance(error.filename, str) else ""
        where = f" ('{name}')" if name and f".nimify-{_STAGING}-" not in name else ""
        raise EnvironmentProblem(
            f"Cannot write the bundle '{folder}': {error.strerror or error}{where}.",
            remedy=f"Nothing was changed. {_REMEDIES.get(error.errno or 0, 'Choose another folder with -o.')}",
        ) from error
