"""`nimify validate`: check a bundle by the real reader of each file, or a live service."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nimify.commands.console import Console, clean
from nimify.commands.options import MODEL, json_option, quiet_option

if TYPE_CHECKING:
    from nimify.conformance.report import CheckResult, Report

EXIT_FAILED = 1
_COLOURS = {"passed": "green", "warning": "yellow", "failed": "red", "skipped": "blue"}


@click.command()
@click.argument("bundle", type=MODEL)
@click.option("--url", help="Check the service that answers here, e.g. http://127.0.0.1:8000, against the bundle.")
@click.option("--strict", is_flag=True, help="Let warnings fail.")
@json_option
@quiet_option
@click.pass_obj
def validate(console: Console, /, bundle: Path, *, url: str | None, strict: bool) -> int:
    """Check a bundle by the real reader of each file, or a live service against its contract.

    Exits with 1 when a check fails.
    """
    from nimify.core.service import NIMService

    report = NIMService(bundle).validate(url)
    if console.json:
        console.document({**report.to_dict(), "passed": not report.failed(strict=strict)})
    else:
        console.result("\n".join(_lines(report, console.width, strict=strict)))
    return EXIT_FAILED if report.failed(strict=strict) else 0


def _lines(report: Report, width: int, *, strict: bool) -> list[str]:
    from nimify.commands.layout import heading

    lines = [
        heading(clean(report.subject, 200), width),
        *(line for result in report.results for line in _result(result, width)),
    ]
    counts = [
        f"{count} {status}"
        for status in _COLOURS
        if (count := sum(str(result.status) == status for result in report.results))
    ]
    verdict = "Not valid" if report.failed(strict=strict) else "Valid"
    return [*lines, "", f"{verdict}: {', '.join(counts)}."]


def _result(result: CheckResult, width: int) -> list[str]:
    from nimify.commands.layout import paragraph, table

    status = str(result.status)
    first, *rest = table([(f"{status:<7}", f"{result.name:<16}", clean(result.message, 600))], width)
    lines = [first.replace(status, click.style(status, fg=_COLOURS.get(status)), 1), *rest]
    return [*lines, *(paragraph(clean(result.remedy, 600), width, "    ") if result.remedy else [])]
