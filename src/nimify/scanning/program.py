"""Run a scanner of somebody else's, and read its report."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from nimify.programs import Program, ProgramFailed
from nimify.scanning.scan import Unscanned

_LONGEST_REPORT: Final = 256 << 20


def installed(name: str) -> bool:
    """Whether a program is there."""
    return Program(name).path is not None


def report_of(
    name: str,
    arguments: Sequence[str],
    *,
    timeout_s: float,
    without: Collection[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Any:
    """The JSON that a program writes to standard output.

    It runs in an empty folder: scanners read settings and ignore lists from where they are started, and those of
    whoever made the target must not count.

    Args:
        name: Of the program.
        arguments: Paths among them are absolute.
        timeout_s: How long it may take.
        without: Variables of the user's that it does not see, because they may hide something.
        environment: Set for the call, over what we have ourselves.

    Raises:
        Unscanned: It is missing, fails, takes too long or writes something else.
    """
    program = Program(name, environment={"NO_COLOR": "1", **(environment or {})}, without=without)
    with tempfile.TemporaryDirectory(prefix="nimify-scan-") as folder:
        try:
            return program.json(*arguments, folder=Path(folder), longest=_LONGEST_REPORT, timeout_s=timeout_s)
        except ProgramFailed as error:
            ended = f"{name} ended with status {error.code}: " if error.lines else ""
            raise Unscanned(f"{ended}{error}") from error
