"""What may change while the service runs, or stop running: looked at once a second, on a thread of its own.

A slow or dead file system delays this thread, never a request.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from nimify.serving.logs import Log

LOOK_EVERY_S: Final = 1.0

Check = Callable[[], None]
"""Looks at something, such as files, and acts when it is not as it was."""
_Stamp = tuple[int, ...] | None


class Watch:
    """Makes checks until it is closed.

    Args:
        checks: Made one after the other, again and again; one that fails is logged and does not stop the others.
    """

    def __init__(self, checks: Iterable[Check], *, log: Log, every_s: float = LOOK_EVERY_S) -> None:
        self._checks = list(checks)
        self._log = log
        self._every_s = every_s
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, if there is anything to look at."""
        if self._checks and self._thread is None:
            self._thread = threading.Thread(target=self._look, name="nimify-watch", daemon=True)
            self._thread.start()

    def add(self, check: Check) -> None:
        """Make another check from now on."""
        self._checks.append(check)
        self.start()

    def close(self) -> None:
        """End; does not wait for a check that hangs."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join(timeout=1.0)

    def _look(self) -> None:
        while not self._closed.wait(self._every_s):
            for check in self._checks:
                try:
                    check()
                except Exception as error:  # noqa: BLE001 - the others must still be made
                    self._log.exception("a check failed", error)


class Stamped:
    """Files that may be exchanged or written to while the service runs; a missing one counts as it is.

    Links are followed: a mounted Secret is changed by turning a link to another folder.

    Args:
        files: Tells which files there are: asked each time, for those of a folder come and go.
    """

    def __init__(self, files: Callable[[], Iterable[Path]]) -> None:
        self._files = files
        self._seen = self._stamps()

    def changed(self) -> bool:
        """Whether there are other files than when this was asked last, or one is not as it was."""
        seen, self._seen = self._seen, self._stamps()
        return seen != self._seen

    def _stamps(self) -> tuple[tuple[Path, _Stamp], ...]:
        return tuple((file, _stamp_of(file)) for file in self._files())


def _stamp_of(path: Path) -> _Stamp:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
