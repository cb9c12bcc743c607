"""`Alert`: one alerting rule, with the words and the page for whoever is called."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from nimify.artifacts.monitoring.watched import WatchedService

CRITICAL: Final = "critical"
"""Users notice: wake somebody."""
WARNING: Final = "warning"
"""Somebody is to look at it in working hours."""
PERCENT: Final = "{{ $value | humanizePercentage }}"
NUMBER: Final = "{{ $value | humanize }}"
INSTANCE: Final = "{{ $labels.instance }}"


@dataclass(frozen=True, slots=True)
class Alert:
    """One alerting rule.

    Attributes:
        name: Its name; rules that mean the same share one.
        severity: `CRITICAL` or `WARNING`.
        expr: What must be true, as PromQL.
        for_s: How long it must be true; 0 fires at once.
        summary: What happens to users, in one line.
        description: What was seen; may hold Prometheus' templates.
        labels: Further labels.
    """

    name: str
    severity: str
    expr: str
    summary: str
    description: str
    for_s: float = 0.0
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def runbook(self) -> str:
        """The file of its runbook: `NimQueueGrowing` has `queue-growing.md`."""
        words = re.findall(r"[A-Z][a-z]*", self.name.removeprefix("Nim"))
        return "-".join(words).lower() + ".md"

    def rule_labels(self, service: WatchedService) -> dict[str, str]:
        """The labels that the rule adds."""
        return {"severity": self.severity, "service": service.name, **self.labels}

    def annotations(self, service: WatchedService) -> dict[str, str]:
        """The words, templates not yet expanded."""
        return {
            "summary": f"{service.name}: {self.summary}",
            "description": self.description,
            "runbook_url": f"{service.runbooks_url}/{self.runbook}",
        }

    def rule(self, service: WatchedService) -> dict[str, Any]:
        """The rule, as Prometheus reads it."""
        waiting = {"for": service.time(self.for_s)} if self.for_s else {}
        return {
            "alert": self.name,
            "expr": self.expr,
            **waiting,
            "labels": self.rule_labels(service),
            "annotations": self.annotations(service),
        }
