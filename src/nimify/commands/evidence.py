"""The last lines of what failed, before the error that they belong to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nimify.commands.console import Console, clean
from nimify.errors import BuildFailed, DeployError, ProofFailed


@contextmanager
def evidence_shown(console: Console, *, heading: str = "") -> Iterator[None]:
    """Talk of the last lines of what fails within, and let the error pass.

    Args:
        console: Where to.
        heading: A line before them; none when empty.
    """
    try:
        yield
    except (BuildFailed, ProofFailed, DeployError) as error:
        if error.evidence and heading:
            console.talk(heading)
        for line in error.evidence:
            console.talk(f"  {clean(line, 400)}")
        raise
