"""`nimify targets`: where services can run, and what each place still needs on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from nimify.commands.console import Console, clean
from nimify.commands.options import json_option, quiet_option

if TYPE_CHECKING:
    from nimify.findings import Finding


@click.command()
@json_option
@quiet_option
@click.pass_obj
def targets(console: Console, /) -> int:
    """List where services can run, and what each place still needs on this machine."""
    from nimify import plugins

    rows = {name: _look_at(name) for name in plugins.available(plugins.TARGETS)}
    if console.json:
        console.document({"targets": [{"name": name, **_plain(*row)} for name, row in rows.items()]})
    else:
        longest = max(map(len, rows), default=0)
        shown = (_lines(f"{clean(name):<{longest}}", *row, console.width) for name, row in rows.items())
        console.result("\n".join(line for lines in shown for line in lines))
    return 0


def _look_at(name: str) -> tuple[str, tuple[Finding, ...]]:
    """What a target says of itself; one that cannot be loaded says so, and hides no other."""
    from nimify.core.deployments import target_named
    from nimify.errors import PluginError
    from nimify.findings import Finding, Severity

    try:
        target = target_named(name)
    except PluginError as error:
        return "cannot be loaded", (Finding("plugin.broken", Severity.ERROR, error.message, error.remedy),)
    return target.summary, target.preflight(None).findings


def _plain(summary: str, findings: tuple[Finding, ...]) -> dict[str, Any]:
    errors = [finding for finding in findings if str(finding.severity) == "error"]
    return {"summary": summary, "ready": not errors, "findings": [finding.to_dict() for finding in findings]}


def _lines(name: str, summary: str, findings: tuple[Finding, ...], width: int) -> list[str]:
    from nimify.commands.layout import findings_block, table

    ready = not any(str(finding.severity) == "error" for finding in findings)
    state = "ready" if ready else "not ready"
    return [
        *table([(name, f"{state:<9}", clean(summary, 200))], width),
        *findings_block(findings, width),
    ]
