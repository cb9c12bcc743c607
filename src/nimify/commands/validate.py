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
@click.option("--only", metavar="NAME,...", default="", help="Make these checks of a bundle only.")
@click.option("--require", metavar="NAME,...", default="", help="Let these checks fail where they cannot be made.")
@click.option("--no-skip", is_flag=True, help="Let every check fail that cannot be made.")
@json_option
@quiet_option
@click.pass_obj
def validate(
    console: Console, /, bundle: Path, *, url: str | None, strict: bool, only: str, require: str, no_skip: bool
) -> int:
    """Check a bundle by the real reader of each file, or a live service against its contract.

    Programs that read files of the bundle (hadolint, helm, kube-score, kube-linter, trivy, docker compose, promtool)
    are found on the PATH. A check whose program is missing is skipped, and says so.

    Exits with 1 when a check fails.
    """
    from nimify.core.service import NIMService

    required = _names(require)
    _check_options(url, only=_names(only), required=required)
    report = NIMService(bundle).validate(url, only=_names(only))
    if no_skip or required:
        report = report.without_skips(None if no_skip else required)
    if console.json:
        console.document({**report.to_dict(), "passed": not report.failed(strict=strict)})
    else:
        console.result("\n".join(_lines(report, console.width, strict=strict)))
    return EXIT_FAILED if report.failed(strict=strict) else 0


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _check_options(url: str | None, *, only: tuple[str, ...], required: tuple[str, ...]) -> None:
    """Refuse names that would silently mean nothing.

    Raises:
        ConfigError: Such a name.
    """
    if not only and not required:
        return
    from nimify.conformance.offline import chosen_checks
    from nimify.errors import ConfigError

    if url is not None:
        raise ConfigError(
            "--only and --require name checks of a bundle, and not of a service.", remedy="Leave out --url."
        )
    chosen_checks(required)
    left_out = sorted(set(required) - set(chosen_checks(only)))
    if left_out:
        raise ConfigError(f"--require names '{left_out[0]}', which --only leaves out.", remedy="Add it to --only.")


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
