"""Run a scanner of somebody else's, and read its report."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from typing import Any, Final

from nimify.errors import one_line, shortened
from nimify.scanning.scan import Unscanned

_LONGEST_REPORT: Final = 256 << 20


def installed(name: str) -> bool:
    """Whether a program is there."""
    return shutil.which(name) is not None


def report_of(name: str, arguments: Sequence[str], *, timeout_s: float) -> Any:
    """The JSON that a program writes to standard output.

    It runs in an empty folder: scanners read settings and ignore lists from where they are started, and those of
    whoever made the target must not count.

    Args:
        name: Of the program.
        arguments: Paths among them are absolute.
        timeout_s: How long it may take.

    Raises:
        Unscanned: It is missing, fails, takes too long or writes something else.
    """
    path = shutil.which(name)
    if path is None:
        raise Unscanned(f"{name} is not installed")
    with tempfile.TemporaryDirectory(prefix="nimify-scan-") as folder:
        try:
            done = subprocess.run(
                [path, *arguments],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Unscanned(f"{name} did not end within {timeout_s:g} seconds") from None
        except OSError as error:
            raise Unscanned(f"{name} cannot be run ({error.strerror})") from None
    if done.returncode:
        raise Unscanned(f"{name} ended with status {done.returncode}: {_last_line(done.stderr)}")
    if len(done.stdout) > _LONGEST_REPORT:
        raise Unscanned(f"{name} wrote a report of {len(done.stdout):,} bytes")
    try:
        return json.loads(done.stdout)
    except (ValueError, RecursionError):
        raise Unscanned(f"{name} wrote no JSON") from None


def _last_line(output: bytes) -> str:
    lines = [line.strip() for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    return shortened(one_line(lines[-1]), 300) if lines else "it said nothing"
