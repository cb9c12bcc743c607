"""Writing to disk so that a reader, a crash or a second run sees the old state or the new one, never a mixture."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

from nimify.errors import EnvironmentProblem

FILE_MODE: Final = 0o644
FOLDER_MODE: Final = 0o755
_CHUNK: Final = 1 << 20
_AT_FDCWD: Final = -100
_RENAME_NOREPLACE: Final = 1
_RENAME_EXCHANGE: Final = 2
_NO_SUCH_FEATURE: Final = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM})
_NO_LOCKS_HERE: Final = frozenset({errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL})
_FICLONE: Final = 0x40049409
"""Linux: make a file share another's blocks, copied only when one of them is written to."""


@contextmanager
def locked(folder: Path, *, timeout_s: float) -> Iterator[None]:
    """Hold an exclusive lock on a folder, which its holder's death releases; leaves no file behind.

    Some network filesystems have no locks for folders; there it holds nothing.

    Raises:
        EnvironmentProblem: Another process held it for longer than `timeout_s`.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _lock(descriptor, folder, time.monotonic() + timeout_s)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise EnvironmentProblem(
                    f"Another nimify is writing in '{folder}'.", remedy="Wait until it is done, or stop it."
                ) from None
            time.sleep(0.02)
        except OSError as error:
            if error.errno in _NO_LOCKS_HERE:
                return
            raise


def write_file(path: Path, content: bytes) -> None:
    """Write a new file through to the disk, with its folders; permissions do not depend on the umask."""
    make_folders(path.parent)
    with _new_file(path) as stream:
        stream.write(content)
        _seal(stream)


def replace_file(path: Path, content: bytes) -> None:
    """Put a file in the place of the one that is there, in one step and through to the disk.

    Its folder must be there. Two at once leave the content of one of them.

    Raises:
        OSError: It cannot be written, or there is something else than a file: a link, a folder, a device.
    """
    if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
        raise OSError(errno.EINVAL, "there is something else than a file", str(path))
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    staged = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            _seal(stream)
        staged.replace(path)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def copy_file(source: Path, target: Path, progress: Callable[[int], None] | None = None) -> tuple[str, int]:
    """Copy a file's content into a new file, through to the disk.

    Returns:
        The hex SHA-256 and the length of what was copied.
    """
    make_folders(target.parent)
    digest, size = hashlib.sha256(), 0
    with source.open("rb") as reader, _new_file(target) as writer:
        while chunk := reader.read(_CHUNK):
            digest.update(chunk)
            writer.write(chunk)
            size += len(chunk)
            if progress is not None:
                progress(len(chunk))
        _seal(writer)
    return digest.hexdigest(), size


def clone_file(source: Path, target: Path) -> bool:
    """Let a new file share a file's blocks where the filesystem can (btrfs, XFS); `False` where it cannot."""
    make_folders(target.parent)
    with source.open("rb") as reader, _new_file(target) as writer:
        try:
            fcntl.ioctl(writer.fileno(), _FICLONE, reader.fileno())
        except OSError:
            target.unlink()
            return False
        _seal(writer)
    return True


def make_folders(folder: Path) -> None:
    """Make a folder and its parents where they are missing, open for all to read."""
    if not folder.is_dir():
        make_folders(folder.parent)
        folder.mkdir(exist_ok=True)
        folder.chmod(FOLDER_MODE)


def sync_file(path: Path) -> None:
    """Force a file's content to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folders(root: Path) -> None:
    """Force the entries of a folder and of all folders in it to the disk."""
    for folder, _, _ in os.walk(root, topdown=False):
        sync_folder(Path(folder))


def sync_folder(folder: Path) -> None:
    """Force the entries of a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_LOCKS_HERE:  # some filesystems cannot, and need not
            raise
    finally:
        os.close(descriptor)


def remove_tree(folder: Path) -> None:
    """Remove a folder and all in it; what cannot be removed is left, for the next run to try again."""
    shutil.rmtree(folder, ignore_errors=True)


def exchange(first: Path, second: Path) -> bool:
    """Swap two paths in one step; `False` when the system or the filesystem cannot."""
    return _renameat2(first, second, _RENAME_EXCHANGE)


def move_without_replacing(source: Path, target: Path) -> None:
    """Rename `source` to `target`, which must not exist.

    Raises:
        FileExistsError: `target` exists.
    """
    if _renameat2(source, target, _RENAME_NOREPLACE):
        return
    if target.exists() or target.is_symlink():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    source.rename(target)


def _renameat2(source: Path, target: Path, flags: int) -> bool:
    function = _libc_renameat2()
    if function is None:
        return False
    result = function(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), flags)
    if result == 0:
        return True
    code = ctypes.get_errno()
    if code in _NO_SUCH_FEATURE:
        return False
    raise OSError(code, os.strerror(code), str(target))


@cache
def _libc_renameat2() -> Any:
    """The C library's `renameat2`; `None` where it has none (musl before 1.2.6, macOS)."""
    try:
        function = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    function.restype = ctypes.c_int
    return function


def _new_file(path: Path) -> Any:
    return path.open("xb")


def _seal(stream: Any) -> None:
    stream.flush()
    os.fchmod(stream.fileno(), FILE_MODE)
    os.fsync(stream.fileno())
