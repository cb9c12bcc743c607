"""The screen that `create` ends with: what was found, what was decided and why, what was written, what comes next."""

from __future__ import annotations

import shlex
from collections import Counter
from typing import TYPE_CHECKING, Any

from nimify.commands.console import clean
from nimify.commands.layout import findings_block, heading, paragraph, table
from nimify.commands.summary import model_lines

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nimify.artifacts.writer import WriteReport
    from nimify.core.draft import Draft
    from nimify.planning.plan import Decision


def created_lines(draft: Draft, report: WriteReport, width: int) -> list[str]:
    """The whole screen."""
    lines = [*model_lines(draft.analysis, width), "", heading("Decisions"), *_decisions(draft.plan.decisions, width)]
    if draft.plan.findings:
        lines += ["", heading("Findings"), *findings_block(draft.plan.findings, width)]
    return [*lines, "", *_written(draft, report, width), "", *_next(draft, width)]


def _decisions(decisions: Iterable[Decision], width: int) -> list[str]:
    """What was decided for this model; limits that have their usual values are only counted."""
    lines, usual = [], 0
    for decision in decisions:
        if decision.key.startswith("limits.") and decision.basis == "default":
            usual += 1
        else:
            lines += paragraph(f"{decision.key}: {_value(decision.value)}", width)
            lines += paragraph(clean(decision.reason, 600), width, "      ")
    if usual:
        lines += paragraph(f"limits: {usual} at their usual values; plan.json has every decision", width)
    return lines


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return clean(", ".join(f"{key} {_value(item)}" for key, item in value.items()), 30)
    return clean("none" if value is None else value, 30)


def _written(draft: Draft, report: WriteReport, width: int) -> list[str]:
    folder = clean(draft.folder, 200)
    if report.outcome == "unchanged":
        return paragraph(f"{folder} is up to date; nothing was written.", width, "")
    verb = "Created" if report.outcome == "created" else "Updated"
    removed = f"; removed {', '.join(_grouped(report.removed))}" if report.removed else ""
    files = f"{', '.join(_grouped(report.written))}{removed}"
    return [heading(f"{verb} {folder}", width), *paragraph(files, width)]


def _grouped(paths: Iterable[str]) -> list[str]:
    """Files by name, those of a folder as one."""
    tops = Counter(clean(path.partition("/")[0]) + ("/" if "/" in path else "") for path in paths)
    return [f"{name} ({count} files)" if name.endswith("/") and count > 1 else name for name, count in tops.items()]


def _next(draft: Draft, width: int) -> list[str]:
    folder = shlex.quote(clean(draft.folder, 200))
    rows = [
        (f"nimify serve {folder}", "answer requests on this machine"),
        (f"nimify validate {folder}", "check every file by its real reader"),
    ]
    return [heading("Next"), *table(rows, width)]
