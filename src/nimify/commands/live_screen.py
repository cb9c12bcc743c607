"""A screen that is drawn again and again in place: without flicker, at any size, and left as it was found."""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Final

_ENTER: Final = "\x1b[?1049h\x1b[?25l\x1b[2J"
_LEAVE: Final = "\x1b[?25h\x1b[?1049l"
_HOME: Final = "\x1b[H"
_CLEAR_LINE: Final = "\x1b[K"
_CLEAR_BELOW: Final = "\x1b[J"
_MANY: Final = 4096
_BEGIN_UPDATE: Final = "\x1b[?2026h"
_END_UPDATE: Final = "\x1b[?2026l"
"""Terminals that know these show a whole frame at once; the others pass over them."""


class LiveScreen:
    """The terminal while it is ours.

    Args:
        stream: The terminal.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        # A pipe, which the interpreter writes to as soon as a signal comes: one that came just before a wait begins
        # would otherwise be noticed at its end.
        self._told, self._tell = os.pipe()
        os.set_blocking(self._told, False)
        os.set_blocking(self._tell, False)

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines, as they are now."""
        # Not from COLUMNS and LINES, which a shell may have exported before the window changed.
        size = shutil.get_terminal_size() if not self._stream.isatty() else _size_of(self._stream)
        return max(20, size[0]), max(4, size[1])

    def draw(self, lines: Sequence[str]) -> None:
        """Show lines from the top; those that do not fit are left out. Each must fit the width already."""
        shown = list(lines)[: self.size[1]]
        body = "\n".join(f"{line}{_CLEAR_LINE}" for line in shown)
        # One write: a terminal that is read in between would see half of a frame.
        self._stream.write(f"{_BEGIN_UPDATE}{_HOME}{body}{_CLEAR_BELOW}{_END_UPDATE}")
        self._stream.flush()

    def wait(self, seconds: float) -> bool:
        """Wait; `True` when a signal has come, such as that of another size, and then at once."""
        if not select.select([self._told], [], [], seconds)[0]:
            return False
        os.read(self._told, _MANY)
        return True

    def close(self) -> None:
        """Draw no more."""
        os.close(self._told)
        os.close(self._tell)

    @contextmanager
    def woken_by_signals(self) -> Iterator[None]:
        """Let a signal end a wait, and give signals back as they were."""
        # Without a handler of ours, the interpreter would hear nothing of a resize.
        handler = signal.signal(signal.SIGWINCH, lambda _number, _frame: None)
        descriptor = signal.set_wakeup_fd(self._tell, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(descriptor)
            signal.signal(signal.SIGWINCH, handler)


def _size_of(stream: IO[str]) -> tuple[int, int]:
    try:
        size = os.get_terminal_size(stream.fileno())
    except OSError:
        return 80, 24
    return (size.columns or 80), (size.lines or 24)


@contextmanager
def live_screen(stream: IO[str] | None = None) -> Iterator[LiveScreen]:
    """Take the terminal, and give it back as it was, however this ends."""
    screen = LiveScreen(stream or sys.stdout)
    terminal = stream or sys.stdout
    try:
        terminal.write(_ENTER)
        terminal.flush()
        with screen.woken_by_signals():
            yield screen
    finally:
        screen.close()
        terminal.write(_LEAVE)
        terminal.flush()
