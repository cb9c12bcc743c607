"""The files of a folder as they are on the disk: to be signed, or compared with what was signed."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nimify.errors import BundleDamaged, BundleError, one_line, shortened
from nimify.signing.envelope import SIGN_AGAIN
from nimify.signing.manifest import SignedManifest

_CHUNK: Final = 1 << 20
_GIT: Final = (".git", ".gitattributes", ".github", ".gitignore")
"""What the official tool leaves out as well."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """What of a folder must be signed, because a service reads it.

    Attributes:
        files: Files at the top of the folder.
        trees: Folders at the top, with everything that is in them.
        later: Files at the top that may come after the folder was signed; no service reads them.
    """

    files: tuple[str, ...]
    trees: tuple[str, ...]
    later: tuple[str, ...] = ()

    def covers(self, path: str) -> bool:
        """Whether a file or folder must be signed."""
        return path in self.files or path.partition("/")[0] in self.trees


def manifest_of(folder: Path, coverage: Coverage, *, name: str, signature: str) -> SignedManifest:
    """What is to be signed of a folder: what is covered. Every other entry of it is listed as left out.

    Args:
        folder: The folder.
        coverage: What is to be signed.
        name: Of the model.
        signature: Name of the signature file, which cannot sign itself.

    Raises:
        BundleError: A covered file is missing, or is something else than a file.
        BundleDamaged: A file cannot be read.
    """
    for path in coverage.files:
        if not (folder / path).is_file():
            raise BundleError(f"'{folder}' has no {path}, so there is nothing to sign.")
    present = {entry.name for entry in folder.iterdir()}
    ignored = tuple(sorted({*present, *_GIT, *coverage.later, signature} - {*coverage.files, *coverage.trees}))
    listed = SignedManifest(name, {}, ignored)
    return SignedManifest(name, {path: digest_of(folder, path) for path in _files(folder, coverage, listed)}, ignored)


def check_names(folder: Path, manifest: SignedManifest, coverage: Coverage) -> None:
    """Compare which files there are with those that were signed, without reading any.

    Raises:
        BundleDamaged: A file was added or removed, or a file that must be signed is not.
    """
    found = set(_files(folder, coverage, manifest))
    if added := sorted(found - manifest.files.keys()):
        raise BundleDamaged(
            f"{_named(added)} not among the signed files of the bundle.",
            remedy="Move it away, or sign the bundle again with: nimify sign BUNDLE --key PRIVATE_KEY",
        )
    if removed := sorted(manifest.files.keys() - found):
        raise BundleDamaged(f"{_named(removed)} signed, and missing from the bundle.", remedy=SIGN_AGAIN)


def check_digests(folder: Path, manifest: SignedManifest, *, known: Collection[str] = ()) -> None:
    """Compare the content of the signed files.

    Args:
        folder: The folder.
        manifest: What was signed.
        known: Files that somebody else compares.

    Raises:
        BundleDamaged: A file is missing, cannot be read, or has another content.
    """
    for path, signed in manifest.files.items():
        if path not in known and digest_of(folder, path) != signed:
            raise changed(path)


def changed(path: str) -> BundleDamaged:
    """The error about a file with another content than the signed one."""
    return BundleDamaged(f"{_named([path])} not what was signed: its content has changed.", remedy=SIGN_AGAIN)


def digest_of(folder: Path, path: str) -> str:
    """Hex SHA-256 of a file.

    Raises:
        BundleDamaged: It cannot be read, or is no file.
    """
    digest = hashlib.sha256()
    try:
        descriptor = os.open(folder / path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb", buffering=0) as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise BundleDamaged(f"{_named([path])} not readable ({error.strerror}).", remedy=SIGN_AGAIN) from error
    return digest.hexdigest()


def _files(folder: Path, coverage: Coverage, manifest: SignedManifest) -> Iterator[str]:
    """Every file that is covered, or that the manifest does not leave out."""

    def concerns(path: str) -> bool:
        return coverage.covers(path) or not manifest.ignores(path)

    for place, folders, names in os.walk(folder, onerror=_raised(folder, coverage)):
        inside = Path(place).relative_to(folder)
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        for name in sorted((*names, *links)):
            path = (inside / name).as_posix()
            if concerns(path):
                yield _regular(folder, path)
        folders[:] = [name for name in folders if concerns((inside / name).as_posix())]


def _regular(folder: Path, path: str) -> str:
    """The path, if it is a file; a link could lead to what nobody has signed."""
    if not stat.S_ISREG((folder / path).lstat().st_mode):
        raise BundleDamaged(
            f"{_named([path])} a link or a special file, which cannot be signed.",
            remedy="Put the file itself there, e.g. by creating the bundle without --link.",
        )
    return path


def _raised(folder: Path, coverage: Coverage) -> Callable[[OSError], None]:
    """What to do about folders that cannot be listed: a service cannot read them either, so only ours matter."""

    def refuse(error: OSError) -> None:
        inside = Path(str(error.filename)).relative_to(folder).as_posix()
        if inside == "." or coverage.covers(inside):
            raise BundleDamaged(f"'{error.filename}' cannot be listed ({error.strerror}).") from error

    return refuse


def _named(paths: list[str]) -> str:
    """The subject of a sentence, with its verb."""
    name = f"'{shortened(one_line(os.fsencode(paths[0]).decode('utf-8', 'backslashreplace')), 200)}'"
    return f"{name} is" if len(paths) == 1 else f"{name} and {len(paths) - 1} more are"
