"""What happens meanwhile, a line each, with the time that has passed."""

from __future__ import annotations

import time
from collections.abc import Callable

import click

from nimify.commands.console import Console, clean

_LONGEST: int = 300


def progress_lines(console: Console) -> Callable[[str], None]:
    """What to call with each sentence; it says when, counted from now."""
    began = time.monotonic()

    def tell(sentence: str) -> None:
        passed = f"{time.monotonic() - began:6.1f} s"
        console.talk(f"{click.style(passed, dim=True)}  {clean(sentence, _LONGEST)}")

    return tell
