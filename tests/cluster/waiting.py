"""Waiting for what commands and clusters come to."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import Final

_EVERY_S: Final = 1.0


def read_until(process: subprocess.Popen[str], words: str) -> str:
    """What a command says up to a line that holds some words."""
    said = ""
    for line in process.stderr or ():
        said += line
        if words in line:
            return said
    raise AssertionError(said)


def await_that(holds: Callable[[], bool], what: Callable[[], object], *, within_s: float = 600.0) -> None:
    """Wait until something holds; the deadline is far beyond what a machine under load needs."""
    deadline_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline_s, what()
        time.sleep(_EVERY_S)
