"""What the checks found."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """How a check ended."""

    PASSED = "passed"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check.

    Attributes:
        name: A stable name that scripts may match on, e.g. `triton-config`.
        status: How it ended.
        message: One sentence: what was found.
        remedy: One sentence: what to do; empty when nothing needs to be done.
    """

    name: str
    status: Status
    message: str
    remedy: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {"name": self.name, "status": str(self.status), "message": self.message, "remedy": self.remedy}


@dataclass(frozen=True, slots=True)
class Report:
    """The results of all checks of one subject, in the order in which they ran.

    Attributes:
        subject: What was checked: a folder or a URL.
        results: One for each check.
    """

    subject: str
    results: tuple[CheckResult, ...]

    def failed(self, *, strict: bool = False) -> bool:
        """Whether a check failed; under `strict`, whether one failed or warned."""
        bad = {Status.FAILED, Status.WARNING} if strict else {Status.FAILED}
        return any(result.status in bad for result in self.results)

    def without_skips(self, names: Collection[str] | None = None) -> Report:
        """The same with failures for checks that could not be made: those of some names, or all of them."""
        return replace(self, results=tuple(_demanded(result, names) for result in self.results))

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data, for JSON."""
        return {
            "subject": self.subject,
            "passed": not self.failed(),
            "results": [result.to_dict() for result in self.results],
        }


def _demanded(result: CheckResult, names: Collection[str] | None) -> CheckResult:
    wanted = names is None or result.name in names
    return replace(result, status=Status.FAILED) if wanted and result.status is Status.SKIPPED else result


def passed(name: str, message: str) -> CheckResult:
    """A check that found what it looked for."""
    return CheckResult(name, Status.PASSED, message)


def warned(name: str, message: str, remedy: str = "") -> CheckResult:
    """A check that found something that may be intended."""
    return CheckResult(name, Status.WARNING, message, remedy)


def failed(name: str, message: str, remedy: str = "") -> CheckResult:
    """A check that found something wrong."""
    return CheckResult(name, Status.FAILED, message, remedy)


def skipped(name: str, message: str, remedy: str = "") -> CheckResult:
    """A check that could not be made; says why."""
    return CheckResult(name, Status.SKIPPED, message, remedy)
