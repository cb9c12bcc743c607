"""The revisions of a service: copies of bundles as they were when they were deployed, so that there is a way back.

A revision's folder is complete or not there: it is made under another name and renamed. One that never went live has no
claim to stay, and is removed by the next deployment when a killed one left it behind.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from nimify.artifacts.bundle import Bundle
from nimify.errors import BundleDamaged
from nimify.filesystem import clone_file, copy_file, remove_tree, sync_folders
from nimify.formats.format import sha256_of
from nimify.images.record import RECORD_FILE
from nimify.targets.process.settings import ProcessSettings
from nimify.targets.state_folder import private_folder, read_json, write_json
from nimify.targets.target import utc_now

KEPT: Final = 5
_RECORD: Final = "revision.json"
_PARTIAL: Final = ".partial-"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A revision on disk.

    Attributes:
        number: Counts up from 1.
        version: Release of the service.
        model_digest: Of the model.
        settings: Where and how it serves.
        files: Digest of each file of the bundle, by path.
        made_at: In UTC, ISO 8601.
        went_live: Whether it ever answered.
    """

    number: int
    version: str
    model_digest: str
    settings: ProcessSettings
    files: Mapping[str, str]
    made_at: str
    went_live: bool = False

    @property
    def digest(self) -> str:
        """Of all files of the bundle."""
        return digest_of(self.files)


class Revisions:
    """The revisions of one service.

    Args:
        folder: Where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def bundle(self, number: int) -> Path:
        """The bundle of a revision."""
        return self._folder / str(number) / "bundle"

    def all(self) -> list[Snapshot]:
        """Every complete revision, the oldest first."""
        if not self._folder.is_dir():
            return []
        numbers = sorted(int(entry.name) for entry in self._folder.iterdir() if entry.name.isdigit())
        return [snapshot for number in numbers if (snapshot := self.find(number)) is not None]

    def find(self, number: int) -> Snapshot | None:
        """One revision."""
        data = read_json(self._folder / str(number) / _RECORD)
        if data is None:
            return None
        return Snapshot(**{**data, "settings": ProcessSettings.from_dict(data["settings"])})

    def take(self, bundle: Bundle, files: Mapping[str, str], settings: ProcessSettings) -> Snapshot:
        """Copy a bundle.

        Args:
            bundle: What to copy.
            files: What `files_of` said of it.
            settings: How it is to be served.

        Raises:
            BundleDamaged: A file changed meanwhile.
        """
        service = bundle.service
        number = max((snapshot.number for snapshot in self.all()), default=0) + 1
        snapshot = Snapshot(number, service.version, service.model_digest, settings, dict(files), utc_now())
        partial = private_folder(self._folder / f"{_PARTIAL}{number}")
        try:
            for path, digest in files.items():
                _copy(bundle.path / path, partial / "bundle" / path, digest)
            self._write(partial, snapshot)
            sync_folders(partial)
            partial.rename(self._folder / str(number))
        except BaseException:
            remove_tree(partial)
            raise
        return snapshot

    def keep(self, number: int) -> None:
        """Note that a revision went live."""
        snapshot = self.find(number)
        if snapshot is not None and not snapshot.went_live:
            self._write(self._folder / str(number), replace(snapshot, went_live=True))

    def discard(self, number: int) -> None:
        """Remove a revision, so that it is gone or whole."""
        doomed = self._folder / str(number)
        if doomed.is_dir():
            remove_tree(doomed.rename(self._folder / f"{_PARTIAL}{number}"))

    def tidy(self, *, live: int | None) -> None:
        """Remove what killed deployments left behind, and all but the newest of those that went live."""
        if not self._folder.is_dir():
            return
        for entry in list(self._folder.iterdir()):
            if entry.name.startswith(_PARTIAL):
                remove_tree(entry)
        good = [snapshot.number for snapshot in self.all() if snapshot.went_live or snapshot.number == live]
        kept = {*good[-KEPT:], live}
        for snapshot in self.all():
            if snapshot.number not in kept:
                self.discard(snapshot.number)

    @staticmethod
    def _write(folder: Path, snapshot: Snapshot) -> None:
        write_json(folder / _RECORD, asdict(snapshot))


def files_of(bundle: Path) -> dict[str, str]:
    """The digest of each file of a bundle, by path; links are followed, because a revision stands on its own.

    Raises:
        BundleDamaged: Something in it is no regular file, or cannot be read.
    """
    return {path: _digest(bundle / path) for path in sorted(_paths(bundle))}


def digest_of(files: Mapping[str, str]) -> str:
    """One digest over the files of a bundle."""
    return "sha256:" + hashlib.sha256(json.dumps(sorted(files.items())).encode()).hexdigest()


def differences(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """How two bundles differ: `added`, `changed` or `removed`, and the path."""
    for path in sorted({*old, *new}):
        if path not in old:
            yield "added", path
        elif path not in new:
            yield "removed", path
        elif old[path] != new[path]:
            yield "changed", path


def _paths(bundle: Path) -> Iterator[str]:
    for folder, _, names in os.walk(bundle):
        for name in names:
            path = (Path(folder) / name).relative_to(bundle).as_posix()
            if path != RECORD_FILE:  # a build of an image changes nothing that is served here
                yield path


def _digest(path: Path) -> str:
    if not path.is_file():
        raise BundleDamaged(f"'{path}' is no regular file.", remedy="Remove it from the bundle.")
    try:
        return sha256_of(path)
    except OSError as error:
        raise BundleDamaged(f"'{path}' cannot be read ({error.strerror}).") from error


def _copy(source: Path, target: Path, digest: str) -> None:
    copied = sha256_of(target) if clone_file(source, target) else copy_file(source, target)[0]
    if copied != digest:
        raise BundleDamaged(f"'{source}' changed while it was copied.", remedy="Deploy again when nobody writes there.")
