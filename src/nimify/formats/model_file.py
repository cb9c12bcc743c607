"""Opening what a user calls a model file: it may be anything."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from nimify.errors import ModelError, shortened

_KINDS: Final = (
    (stat.S_ISDIR, "it is a directory"),
    (stat.S_ISFIFO, "it is a pipe"),
    (stat.S_ISSOCK, "it is a socket"),
    (stat.S_ISBLK, "it is a device"),
    (stat.S_ISCHR, "it is a device"),
)


@contextmanager
def open_model_file(path: Path) -> Iterator[tuple[int, int]]:
    """A descriptor and the size of a model file that may be read; links that the user gives are followed.

    Raises:
        ModelError: It does not exist, is not a regular file, is empty, or cannot be read.
    """
    source = source_name(path)
    descriptor = _opened(path, source)
    try:
        status = os.fstat(descriptor)
        _refuse_special(status, source)
        if status.st_size == 0:
            raise ModelError(source, "it is empty.", remedy="Copy or export it again.")
        yield descriptor, status.st_size
    finally:
        os.close(descriptor)


def source_name(path: Path) -> str:
    """The file's name as messages show it; names that are not text are shown with escapes."""
    return shortened(os.fsencode(path).decode("utf-8", "backslashreplace"), 300)


def _opened(path: Path, source: str) -> int:
    try:
        # Asked before opening, because opening a pipe or device may already do something.
        _refuse_special(path.stat(), source)
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        if path.is_symlink():
            raise ModelError(source, "it is a link to a file that does not exist.") from None
        raise ModelError(source, "there is no such file.", remedy="Check the path.") from None
    except PermissionError:
        raise ModelError(source, "it may not be read.", remedy="Check its permissions with ls -l.") from None
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or str(error)
        raise ModelError(source, f"it cannot be opened ({cause}).") from None


def _refuse_special(status: os.stat_result, source: str) -> None:
    for is_kind, sentence in _KINDS:
        if is_kind(status.st_mode):
            remedy = "Name the model file inside it." if is_kind is stat.S_ISDIR else "Name a regular file."
            raise ModelError(source, f"{sentence}.", remedy=remedy)
