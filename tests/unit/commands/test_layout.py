"""Tables and sizes on terminals of any width."""

from __future__ import annotations

import click
import pytest

from nimify.commands.layout import findings_block, table
from nimify.findings import Finding, Severity

_ROWS = [
    ("batching", "32", "Every input has a free first axis and rows are independent."),
    ("name", "digits", "Asked."),
]


@pytest.mark.parametrize("width", [20, 40, 60, 100])
def test_a_table_stays_in_its_width(width: int) -> None:
    """No line is longer than the terminal."""
    lines = table(_ROWS, width)

    assert max(map(len, lines)) <= width


@pytest.mark.parametrize("width", [20, 100])
def test_a_table_loses_no_words(width: int) -> None:
    """What does not fit is wrapped, not cut."""
    words = " ".join(table(_ROWS, width)).split()

    assert words == [word for row in _ROWS for cell in row for word in cell.split()]


def test_columns_line_up() -> None:
    """Cells of a column start at the same place."""
    first, second = table([("a", "x", "one"), ("long name", "y", "two")], 80)

    assert first.index("one") == second.index("two")


def test_an_empty_table_has_no_lines() -> None:
    """Nothing is drawn for nothing."""
    assert table([], 80) == []


def test_findings_start_with_the_gravest() -> None:
    """Errors come first, each with its remedy below it."""
    findings = [
        Finding("a", Severity.INFO, "Small."),
        Finding("b", Severity.ERROR, "Grave.", "Mend it."),
        Finding("c", Severity.WARNING, "Middling."),
    ]

    lines = [click.unstyle(line) for line in findings_block(findings, 60)]

    assert lines == ["  error: Grave.", "    Mend it.", "  warning: Middling.", "  info: Small."]
