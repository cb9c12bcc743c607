"""Private copies of parts of a bundle, for programs that would follow whatever they find there.

A bundle may have passed through other hands. Programs follow links out of it, wait for a pipe that nobody writes to,
and read files of any length; so they are given a copy that holds plain files of a sensible size and nothing else.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from nimify.errors import BundleDamaged, one_line, shortened

_MAX_FILE_BYTES: Final = 4 << 20
_MAX_FILES: Final = 1000
_MAX_DEPTH: Final = 16
_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_PLAIN_REMEDY: Final = "Put the file itself there, or write it again with: nimify create MODEL --force"


@contextmanager
def staged(bundle: Path, *paths: str) -> Iterator[Path]:
    """A folder with copies of some files and folders of a bundle; it is gone afterwards.

    Args:
        bundle: The folder of the bundle.
        paths: What is copied, relative to the bundle; a folder with all that is in it.

    Raises:
        BundleDamaged: Something is missing, is a link or no file at all, or is too large.
    """
    with tempfile.TemporaryDirectory(prefix="nimify-read-") as folder:
        target = Path(folder)
        root = os.open(bundle, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            copier = _Copier(root, target)
            for path in paths:
                copier.copy(path)
        finally:
            os.close(root)
        yield target


class _Copier:
    """Copies from below an open folder, looking at each entry before it opens it."""

    def __init__(self, root: int, target: Path) -> None:
        self._root = root
        self._target = target
        self._copied = 0

    def copy(self, path: str) -> None:
        """Copy a file, or a folder; no part of the path may be a link."""
        folder = os.dup(self._root)
        *parents, name = path.split("/")
        try:
            for depth, parent in enumerate(parents, 1):
                inside = self._open(folder, parent, "/".join(parents[:depth]), os.O_DIRECTORY)
                os.close(folder)
                folder = inside
            self._entry(folder, name, path)
        finally:
            os.close(folder)

    def _entry(self, parent: int, name: str, path: str) -> None:
        opened = self._open(parent, name, path)
        try:
            mode = os.fstat(opened).st_mode
            if stat.S_ISDIR(mode):
                self._folder(opened, path)
            elif stat.S_ISREG(mode):
                self._file(opened, path)
            else:
                raise _damaged(path, "is not a file")
        finally:
            os.close(opened)

    def _folder(self, folder: int, path: str) -> None:
        if path.count("/") > _MAX_DEPTH:
            raise _damaged(path, "lies too deep")
        (self._target / path).mkdir(parents=True, exist_ok=True)
        with os.scandir(folder) as entries:
            for entry in entries:
                # Counted before they are sorted: a folder may hold millions.
                self._copied += 1
                if self._copied > _MAX_FILES:
                    raise _damaged(path, f"holds more than {_MAX_FILES} files")
                self._entry(folder, entry.name, f"{path}/{entry.name}")

    def _file(self, file: int, path: str) -> None:
        with os.fdopen(os.dup(file), "rb") as stream:
            content = stream.read(_MAX_FILE_BYTES + 1)
        if len(content) > _MAX_FILE_BYTES:
            raise _damaged(path, f"is longer than {_MAX_FILE_BYTES >> 20} MiB")
        target = self._target / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    @staticmethod
    def _open(parent: int, name: str, path: str, flags: int = 0) -> int:
        try:
            if stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                raise _damaged(path, "is a link")
            return os.open(name, _FLAGS | flags, dir_fd=parent)
        except OSError as error:
            raise _damaged(path, f"cannot be read ({error.strerror})") from error


def _damaged(path: str, what: str) -> BundleDamaged:
    return BundleDamaged(f"'{shortened(one_line(path))}' {what}.", remedy=_PLAIN_REMEDY)
