"""The ignore file: issues that somebody has accepted, for a reason and until a day.

ignore:
  - id: CVE-2026-1234
    where: openssl          # optional: only where the package or file begins so
    reason: the service opens no TLS connections of its own
    expires: 2026-12-31     # the last day on which it counts
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nimify.config.yaml_text import read_yaml
from nimify.errors import ConfigError
from nimify.scanning.scan import Issue

_NEEDED: Final = ("id", "reason", "expires")
_KNOWN: Final = (*_NEEDED, "where")


@dataclass(frozen=True, slots=True)
class Acceptance:
    """One entry of an ignore file.

    Attributes:
        id: Of the issues that are accepted.
        reason: Why.
        expires: The last day on which it counts.
        where: What the place of the issue begins with; empty for any place.
    """

    id: str
    reason: str
    expires: datetime.date
    where: str = ""

    def accepts(self, issue: Issue, today: datetime.date) -> bool:
        """Whether an issue is accepted today."""
        return self.names(issue) and today <= self.expires

    def names(self, issue: Issue) -> bool:
        """Whether it is about an issue."""
        return issue.id == self.id and issue.where.startswith(self.where)


def read_ignore_file(path: Path) -> tuple[Acceptance, ...]:
    """Read an ignore file.

    Raises:
        ConfigError: It cannot be read, or an entry lacks its reason or its day.
    """
    data = read_yaml(path)
    if not isinstance(data, dict) or set(data) != {"ignore"} or not isinstance(data["ignore"], list):
        raise ConfigError("must hold one key, 'ignore', with a list of entries.", field=str(path))
    return tuple(_entry(row, f"{path}: entry {number}") for number, row in enumerate(data["ignore"], 1))


def expired(acceptances: Sequence[Acceptance], today: datetime.date) -> list[Acceptance]:
    """The entries whose day is past."""
    return [acceptance for acceptance in acceptances if acceptance.expires < today]


def _entry(row: Any, field: str) -> Acceptance:
    if not isinstance(row, dict):
        raise ConfigError("must be a mapping.", field=field)
    for key in row:
        if key not in _KNOWN:
            raise ConfigError(f"'{key}' is not known.", field=field, remedy=f"Known: {', '.join(_KNOWN)}.")
    for key in _NEEDED:
        if key not in row:
            raise ConfigError(
                f"'{key}' is missing.", field=field, remedy="Nothing is ignored for ever or for no reason."
            )
    for key in ("id", "reason", "where"):
        if not isinstance(row.get(key, ""), str) or (key in _NEEDED and not row[key].strip()):
            raise ConfigError(f"'{key}' must be text.", field=field)
    # YAML has a type for days; a time of day would be a datetime, which is a date as well.
    if type(row["expires"]) is not datetime.date:
        raise ConfigError("'expires' must be a day, e.g. 2026-12-31.", field=field)
    return Acceptance(row["id"], row["reason"], row["expires"], row.get("where", ""))
