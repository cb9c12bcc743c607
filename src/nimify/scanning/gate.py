"""The verdict over all scans: what counts, what was accepted, and what was not looked at."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nimify.scanning.ignoring import Acceptance, expired
from nimify.scanning.scan import Issue, Level, Scan


@dataclass(frozen=True, slots=True)
class Gate:
    """What lets a target pass.

    Attributes:
        threshold: Issues of this level and above fail it.
        acceptances: Issues that are accepted.
        allow_not_scanned: Whether what could not be scanned passes.
        today: The day on which acceptances are judged.
    """

    threshold: Level
    today: datetime.date
    acceptances: tuple[Acceptance, ...] = ()
    allow_not_scanned: bool = False

    def judge(self, target: str, scans: Sequence[Scan]) -> Verdict:
        """The verdict over a target."""
        return Verdict(target, self, tuple(scans))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What all scans of a target come to.

    Attributes:
        target: What was scanned.
        gate: By what it was judged.
        scans: What was found.
    """

    target: str
    gate: Gate
    scans: tuple[Scan, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing stands against the target."""
        return not self.failing and (self.gate.allow_not_scanned or not self.not_scanned)

    @property
    def failing(self) -> list[Issue]:
        """The issues that fail the gate."""
        return [
            issue
            for scan in self.scans
            for issue in scan.issues
            if issue.level.reaches(self.gate.threshold) and self.acceptance(issue) is None
        ]

    @property
    def not_scanned(self) -> list[Scan]:
        """The scans that could not be made."""
        return [scan for scan in self.scans if scan.not_scanned]

    def acceptance(self, issue: Issue) -> Acceptance | None:
        """The entry by which an issue is accepted; `None` when it counts."""
        return next((entry for entry in self.gate.acceptances if entry.accepts(issue, self.gate.today)), None)

    @property
    def expired(self) -> list[Acceptance]:
        """The entries of the ignore file whose day is past."""
        return expired(self.gate.acceptances, self.gate.today)

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        return {
            "target": self.target,
            "passed": self.passed,
            "fail_on": str(self.gate.threshold),
            "scans": [scan.to_dict() for scan in self.scans],
            "failing": [issue.to_dict() for issue in self.failing],
            "accepted": [
                {"id": issue.id, "where": issue.where, "reason": entry.reason, "expires": entry.expires.isoformat()}
                for scan in self.scans
                for issue in scan.issues
                if (entry := self.acceptance(issue)) is not None
            ],
            "expired": [{"id": entry.id, "expires": entry.expires.isoformat()} for entry in self.expired],
        }
