"""The screen that `create` ends with: what was found, what was decided and why, what was written, what comes next."""

from __future__ import annotations

import shlex
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from nimify.commands.console import clean
from nimify.commands.layout import findings_block, heading, paragraph, table
from nimify.commands.summary import model_lines
from nimify.quantities import size_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nimify.artifacts.writer import WriteReport
    from nimify.core.draft import Draft
    from nimify.planning.plan import Decision


_QUIET: Final = ("limits.", "objectives.", "resources.instances", "resources.cpu_limit", "tensorrt.profiles")
"""Decisions that only say something when they are not the usual ones."""
_LONGEST_VALUE: Final = 200
_ELSEWHERE: Final = "deployment."
"""What concerns a cluster; shown here only where it was asked for, as chart/values.yaml gives the reasons too."""


def created_lines(draft: Draft, report: WriteReport, width: int) -> list[str]:
    """The whole screen."""
    lines = [*model_lines(draft.analysis, width), "", heading("Decisions"), *_decisions(draft.plan.decisions, width)]
    findings = (*draft.plan.findings, *draft.analysis.surroundings)
    if findings:
        lines += ["", heading("Findings"), *findings_block(findings, width)]
    return [*lines, "", *_written(draft, report, width), "", *_next(draft, width)]


def _decisions(decisions: Iterable[Decision], width: int) -> list[str]:
    """What was decided for this model; the rest is only counted."""
    lines, others = [], 0
    for decision in decisions:
        if _is_quiet(decision):
            others += 1
        else:
            lines += paragraph(f"{decision.key}: {_shown(decision)}", width)
            lines += paragraph(clean(decision.reason, 600), width, "      ")
    if others:
        lines += paragraph(f"{others} more, for limits and clusters; plan.json has every decision", width)
    return lines


def _is_quiet(decision: Decision) -> bool:
    if decision.key.startswith(_ELSEWHERE):
        return decision.basis != "asked for"
    return decision.key.startswith(_QUIET) and decision.basis == "default"


def _shown(decision: Decision) -> str:
    is_size = decision.key.startswith(("resources.memory", "deployment.memory"))
    return _value(size_text(decision.value) if is_size else decision.value)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return clean(", ".join(f"{key} {_value(item)}" for key, item in value.items()), _LONGEST_VALUE)
    named = {None: "none", True: "yes", False: "no"}
    return clean(named.get(value, value) if value is None or isinstance(value, bool) else value, 30)


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
        (f"nimify build {folder} --tag NAME", "make an image, and prove it"),
        (f"nimify deploy {folder} --target process", "let it run, and go on running"),
    ]
    return [heading("Next"), *table(rows, width)]
