"""One line of a terminal that is written over and over, for work that takes a while."""

from __future__ import annotations

import shutil
import sys
from typing import Final

from nimify.commands.console import Console

_CLEAR: Final = "\r\x1b[2K"


class LiveLine:
    """The line; does nothing where nobody watches: without a terminal, with `--quiet` and with `--json`."""

    def __init__(self, console: Console) -> None:
        self._shows = sys.stderr.isatty() and not console.quiet and not console.json

    def show(self, text: str) -> None:
        """Write the line anew."""
        if self._shows:
            columns = shutil.get_terminal_size((80, 24)).columns
            sys.stderr.write(_CLEAR + text[: columns - 1])
            sys.stderr.flush()

    def clear(self) -> None:
        """Take the line away."""
        if self._shows:
            sys.stderr.write(_CLEAR)
            sys.stderr.flush()
