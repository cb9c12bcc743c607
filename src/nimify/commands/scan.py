"""`nimify scan`: what may be wrong with a bundle, an image or a folder of models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from nimify.commands.console import Console, clean
from nimify.commands.options import FILE, json_option, quiet_option, seconds

if TYPE_CHECKING:
    from nimify.scanning.gate import Verdict
    from nimify.scanning.scan import Issue, Scan, Target

EXIT_FAILED: Final = 1
_LEVELS: Final = ("low", "medium", "high", "critical")
_KINDS: Final = ("model", "vulnerabilities", "misconfiguration")
_GRAVEST_FIRST: Final = ("unknown", "critical", "high", "medium", "low")
_COLOURS: Final = {"low": "blue", "medium": "yellow", "high": "red", "critical": "red", "unknown": "yellow"}


@click.command()
@click.argument("target", metavar="BUNDLE|IMAGE|FOLDER")
@click.option(
    "--fail-on", type=click.Choice(_LEVELS), default="high", show_default=True, help="The least grave issue that fails."
)
@click.option("--ignore-file", type=FILE, metavar="FILE", help="Issues that are accepted, with reasons and last days.")
@click.option(
    "--only", type=click.Choice(_KINDS), multiple=True, help="Scan for this only; may be given more than once."
)
@click.option("--allow-not-scanned", is_flag=True, help="Let pass what could not be scanned.")
@click.option("--timeout", type=seconds, metavar="TIME", default="10m", show_default=True, help="Time of each scanner.")
@json_option
@quiet_option
@click.pass_obj
def scan(
    console: Console,
    /,
    target: str,
    *,
    fail_on: str,
    ignore_file: Path | None,
    only: tuple[str, ...],
    allow_not_scanned: bool,
    timeout: float,
) -> int:
    """Scan a bundle, an image or a folder of models.

    Looks through the files for formats that run code, and asks the scanners that are installed: trivy and grype for
    known vulnerabilities, trivy and hadolint for misconfiguration. What cannot be scanned is not clean. Exits with 1
    when something grave was found, or could not be looked for.
    """
    import datetime

    from nimify.scanning.gate import Gate
    from nimify.scanning.ignoring import read_ignore_file
    from nimify.scanning.scan import Kind, Level
    from nimify.scanning.scanning import scan as scan_all

    gate = Gate(
        Level(fail_on),
        datetime.datetime.now(datetime.UTC).date(),
        read_ignore_file(ignore_file) if ignore_file is not None else (),
        allow_not_scanned,
    )
    what, kinds = _target(target), tuple(map(Kind, only or _KINDS))
    if what.image:
        console.talk(f"There is no file or folder '{clean(target, 200)}', so the image of that name is scanned.")
    verdict = gate.judge(str(what), scan_all(what, kinds, timeout_s=timeout, tell=console.talk))
    if console.json:
        console.document(verdict.to_dict())
    else:
        console.result("\n".join(_lines(verdict, console.width)))
    return 0 if verdict.passed else EXIT_FAILED


def _target(text: str) -> Target:
    """A path when there is one of that name, otherwise the name of an image."""
    from nimify.errors import ConfigError
    from nimify.images.reference import ImageName
    from nimify.scanning.scan import Target

    path = Path(text)
    if path.exists():
        return Target(path.absolute())
    if text.startswith((".", "/", "~")):
        raise ConfigError(f"there is no file or folder '{text}'.", field="target")
    return Target(image=str(ImageName.parse(text, field="target")))


def _lines(verdict: Verdict, width: int) -> list[str]:
    from nimify.commands.layout import heading, paragraph

    lines = [heading(clean(verdict.target, 200), width)]
    for scan_ in verdict.scans:
        lines += _scan_lines(verdict, scan_, width)
    for entry in verdict.expired:
        said = f"expired on {entry.expires}, and accepts nothing any more: {clean(entry.id)}"
        lines += paragraph(f"ignore file: {said}", width)
    counts = f"{len(verdict.failing)} at {verdict.gate.threshold} or above, {len(verdict.not_scanned)} not scanned"
    return [*lines, "", f"{'Passed' if verdict.passed else 'Failed'}: {counts}."]


def _scan_lines(verdict: Verdict, scan_: Scan, width: int) -> list[str]:
    from nimify.commands.layout import paragraph

    title = f"{scan_.kind} ({scan_.scanner})"
    lines = paragraph(f"{title}: {len(scan_.issues)} found", width) if not scan_.not_scanned or scan_.issues else []
    if scan_.not_scanned:
        lines += paragraph(f"{title}: not scanned: {clean(scan_.not_scanned, 400)}", width)
    for issue in sorted(scan_.issues, key=lambda issue: _GRAVEST_FIRST.index(issue.level)):
        lines += _issue_lines(verdict, issue, width)
    return lines


def _issue_lines(verdict: Verdict, issue: Issue, width: int) -> list[str]:
    from nimify.commands.layout import table

    entry = verdict.acceptance(issue)
    accepted = f" Accepted until {entry.expires}: {entry.reason}" if entry is not None else ""
    said = clean(f"{issue.where}: {issue.message} {issue.remedy}".strip() + accepted, 400)
    first, *rest = table([(f"{issue.level:<8}", clean(issue.id), said)], width, indent="    ")
    return [first.replace(str(issue.level), click.style(str(issue.level), fg=_COLOURS[issue.level]), 1), *rest]
