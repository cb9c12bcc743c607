"""A finding: something a person should know about a model, a bundle or a machine, and what to do about it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Severity(StrEnum):
    """How much a finding matters.

    `ERROR` stops the command, `WARNING` stops it under `--strict`, `INFO` never does.
    """

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One observation.

    Attributes:
        code: A stable, dotted name that scripts may match on, e.g. `batching.fixed-dimension`.
        severity: How much it matters.
        message: One sentence: what was found, and where.
        remedy: One sentence: what to do; empty when nothing needs to be done.
    """

    code: str
    severity: Severity
    message: str
    remedy: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The finding as plain data, for JSON."""
        return asdict(self)
