"""The log of a service: one file that is written, and a few older ones."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final

LARGEST_BYTES: Final = 16 << 20
OLDER_FILES: Final = 4
_POLL_S: Final = 0.2
_TAIL_BYTES: Final = 1 << 20


class LogFile:
    """Appends to a file, and starts a new one when it is large; never raises, because a full disk ends no service.

    Args:
        path: The file that is written; older ones are called `.1` to `.4`.
        largest_bytes: At what size a new one is started.
    """

    def __init__(self, path: Path, *, largest_bytes: int = LARGEST_BYTES) -> None:
        self._path = path
        self._largest_bytes = largest_bytes

    def write(self, content: bytes) -> None:
        """Append."""
        try:
            if self._path.exists() and self._path.stat().st_size + len(content) > self._largest_bytes:
                self._rotate()
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(descriptor, content)
            finally:
                os.close(descriptor)
        except OSError:
            pass

    def _rotate(self) -> None:
        for age in range(OLDER_FILES, 0, -1):
            younger = self._path if age == 1 else self._aged(age - 1)
            if younger.exists():
                younger.replace(self._aged(age))

    def _aged(self, age: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{age}")


def last_lines(path: Path, count: int) -> list[str]:
    """The last lines of a log, the older file included; none when there is no log."""
    lines: deque[str] = deque(maxlen=count)
    for file in (path.with_name(f"{path.name}.1"), path):
        try:
            with file.open("rb") as stream:
                size = stream.seek(0, os.SEEK_END)
                stream.seek(max(0, size - _TAIL_BYTES))
                lines.extend(line.decode("utf-8", "replace") for line in stream.read().splitlines())
        except OSError:
            continue
    return list(lines)


def following(path: Path, go_on: Callable[[], bool]) -> Iterator[str]:
    """The lines that are written from now on, over the change to a new file; ends when `go_on` says so."""
    stream, rest = _opened(path), b""
    if stream is not None:
        stream.seek(0, os.SEEK_END)
    try:
        while go_on():
            content = b"" if stream is None else stream.read(_TAIL_BYTES)
            *lines, rest = (rest + content).split(b"\n")
            yield from (line.decode("utf-8", "replace") for line in lines)
            if content:
                continue
            if stream is None or not _is_still(path, stream):
                # What was appended to the old file before it was renamed has been read: it gave nothing more.
                if stream is not None:
                    stream.close()
                stream = _opened(path)
            time.sleep(_POLL_S)
    finally:
        if stream is not None:
            stream.close()


def _opened(path: Path) -> IO[bytes] | None:
    try:
        return path.open("rb")
    except OSError:
        return None


def _is_still(path: Path, stream: IO[bytes]) -> bool:
    try:
        return path.stat().st_ino == os.fstat(stream.fileno()).st_ino
    except OSError:
        return True  # between two files
