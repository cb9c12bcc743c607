"""Tables, paragraphs and sizes for people, in as many columns as the terminal has."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Final

import click

from nimify.findings import Finding, Severity

_GAP: Final = "  "
_NARROWEST_COLUMN: Final = 6
_SEVERITY_COLOURS: Final = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.INFO: "blue"}


def heading(text: str, width: int = 110) -> str:
    """The title of a part of the screen, on more lines where it must."""
    return "\n".join(click.style(line, bold=True) for line in paragraph(text, width, ""))


def table(rows: Sequence[Sequence[str]], width: int, *, indent: str = "  ") -> list[str]:
    """Lines of a table whose first columns keep their width and whose last one is wrapped.

    Where that leaves too little for the last column, as on a terminal of 20 columns, each cell gets its own line.
    """
    if not rows:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    left = sum(widths) + len(_GAP) * len(widths) + len(indent)
    longest = max(len(row[-1]) for row in rows)
    if width - left < min(longest, max(_NARROWEST_COLUMN, width // 3)):
        return [line for row in rows for line in _stacked(row, width, indent)]
    return [line for row in rows for line in _row(row, widths, width, indent)]


def _row(row: Sequence[str], widths: Sequence[int], width: int, indent: str) -> list[str]:
    head = indent + "".join(f"{cell:<{size}}{_GAP}" for cell, size in zip(row, widths, strict=False))
    return _wrapped(row[-1], width, head, " " * len(head))


def _stacked(row: Sequence[str], width: int, indent: str) -> list[str]:
    first, *others = (cell for cell in row if cell)
    return [
        *_wrapped(first, width, indent, indent),
        *(line for cell in others for line in _wrapped(cell, width, indent * 2, indent * 2)),
    ]


def columns(rows: Sequence[Sequence[str]], width: int, *, indent: str = "  ") -> list[str]:
    """Lines of a table of short cells: the first column flush left, the others, which hold numbers, flush right.

    Columns that do not fit any more are left out, the last ones first.
    """
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    shown = len(widths)
    while shown > 1 and len(indent) + sum(widths[:shown]) + len(_GAP) * (shown - 1) > width:
        shown -= 1
    return [
        indent
        + _GAP.join(
            f"{cell:>{size}}" if column else f"{cell:<{size}}"
            for column, (cell, size) in enumerate(zip(row[:shown], widths[:shown], strict=True))
        ).rstrip()
        for row in rows
    ]


def paragraph(text: str, width: int, indent: str = "  ") -> list[str]:
    """Text wrapped to the width, every line indented."""
    return _wrapped(text, width, indent, indent)


def _wrapped(text: str, width: int, first: str, rest: str) -> list[str]:
    lines = textwrap.wrap(
        text, max(width, len(first) + 4), initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
    )
    return [line.rstrip() for line in lines] or [first.rstrip()]


def findings_block(findings: Sequence[Finding], width: int) -> list[str]:
    """Findings, the gravest first, each with its remedy below it."""
    order = [Severity.ERROR, Severity.WARNING, Severity.INFO]
    lines: list[str] = []
    for finding in sorted(findings, key=lambda finding: order.index(finding.severity)):
        message, *rest = paragraph(f"{finding.severity}: {finding.message}", width)
        label = click.style(str(finding.severity), fg=_SEVERITY_COLOURS[finding.severity])
        lines += [message.replace(str(finding.severity), label, 1), *rest]
        if finding.remedy:
            lines += paragraph(finding.remedy, width, "    ")
    return lines
