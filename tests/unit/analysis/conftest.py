"""A canary: a file outside the model's folder that the kernel watches, so that nobody opens it unseen."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

_OPENED_OR_CHANGED = 0x20 | 0x2 | 0x4 | 0x400  # inotify.h: IN_OPEN, IN_MODIFY, IN_ATTRIB, IN_DELETE_SELF.
_EVENT_BYTES = 16


class Canary:
    """A watched file; what any process does to it is counted, guarded children included.

    Attributes:
        path: Where it lies, outside the model's folder.
        folder: The model's folder, empty at first.
    """

    def __init__(self, root: Path) -> None:
        self.path = root / "canary.bin"
        self.path.write_bytes(bytes(16384))
        self.folder = root / "model"
        self.folder.mkdir()
        self._kernel = ctypes.CDLL(None, use_errno=True)
        self._descriptor: int = self._kernel.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")

    def watch(self) -> None:
        """Count from here on; a hard link that a case makes is no access."""
        if self._kernel.inotify_add_watch(self._descriptor, os.fsencode(self.path), _OPENED_OR_CHANGED) < 0:
            raise OSError(ctypes.get_errno(), "inotify_add_watch")

    def accesses(self) -> int:
        """How often it was opened or changed since the last time."""
        try:
            return len(os.read(self._descriptor, 4096)) // _EVENT_BYTES
        except BlockingIOError:
            return 0

    def close(self) -> None:
        """Stop watching."""
        os.close(self._descriptor)


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Canary]:
    """A canary that must be untouched when the test ends."""
    watched = Canary(tmp_path)
    try:
        yield watched
        assert watched.accesses() == 0, "the canary was opened or changed"
    finally:
        watched.close()
