"""The contract of a scan: what was looked at, what was found, and whether it could be looked at at all.

What could not be scanned is not clean. A scanner that is missing, fails, takes too long or writes something that is not
understood gives a scan that says so, and the gate counts it as a failure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any


class Level(StrEnum):
    """How grave an issue is, the least grave first; `UNKNOWN` is what nobody has judged yet."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"
    UNKNOWN = "unknown"

    def reaches(self, threshold: Level) -> bool:
        """Whether it is at least as grave; what nobody has judged is as grave as anything."""
        order = list(Level)
        return order.index(self) >= order.index(threshold)


class Kind(StrEnum):
    """What a scan looks for."""

    MODEL = "model"
    VULNERABILITIES = "vulnerabilities"
    MISCONFIGURATION = "misconfiguration"


@dataclass(frozen=True, slots=True)
class Issue:
    """One thing that a scan found.

    Attributes:
        id: A name that an ignore file may list: `CVE-2026-1`, `DL3007`, `model.pickle`.
        level: How grave it is.
        where: The file, or the package with its version.
        message: What it is, in one sentence or less.
        remedy: What to do; empty when nobody says.
    """

    id: str
    level: Level
    where: str
    message: str
    remedy: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Scan:
    """What one scanner found.

    Attributes:
        kind: What it looked for.
        scanner: Who looked.
        issues: What it found.
        not_scanned: Why it could not look; empty when it could.
    """

    kind: Kind
    scanner: str
    issues: tuple[Issue, ...] = ()
    not_scanned: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "kind": str(self.kind),
            "scanner": self.scanner,
            "scanned": not self.not_scanned,
            "not_scanned": self.not_scanned,
            "issues": [issue.to_dict() for issue in self.issues],
        }


@dataclass(frozen=True, slots=True)
class Target:
    """What is scanned: a folder or a file, or an image.

    Attributes:
        path: The folder or file, absolute; `None` for an image.
        image: The reference of the image; empty for a folder or a file.
    """

    path: Path | None = None
    image: str = ""

    def __str__(self) -> str:
        return self.image or str(self.path)


class Unscanned(Exception):
    """A scan could not be made; the text says why."""


Scanner = Callable[[Target, float], Scan | None]
"""Scans a target within a number of seconds; `None` when there is nothing in it that it is for."""
