"""`nimify rollback`: let an earlier revision answer again."""

from __future__ import annotations

from typing import Any

import click

from nimify.commands.console import Console
from nimify.commands.deployed import EVIDENCE, show, where_options
from nimify.commands.evidence import evidence_shown
from nimify.commands.options import api_key_header, api_key_option, json_option, quiet_option, seconds
from nimify.commands.progress_lines import progress_lines


@click.command()
@click.argument("service", metavar="BUNDLE|NAME")
@click.option("--to", "revision", type=click.IntRange(1), metavar="REVISION", help="Which one.  [default: the last]")
@click.option("--timeout", type=seconds, metavar="TIME", default="10m", show_default=True, help="Time for all of it.")
@api_key_option
@where_options
@json_option
@quiet_option
@click.pass_obj
def rollback(console: Console, /, service: str, *, revision: int | None, **options: Any) -> int:
    """Let an earlier revision answer again; `nimify status` lists them.

    It is proven like a new one where its golden requests are on this machine, and only has to become ready elsewhere.
    The exit codes are those of `nimify deploy`.
    """
    from nimify.core.deployments import DeployedService

    found = DeployedService.find(service, target=options["target"], namespace=options["namespace"])
    headers = api_key_header(options["api_key_file"])
    with evidence_shown(console, heading=EVIDENCE):
        applied = found.rollback(
            revision, timeout_s=options["timeout"], progress=progress_lines(console), headers=headers
        )
    if not applied.changed:
        console.talk("Nothing changed: that revision answers already.")
    show(console, applied.deployment, outcome="rolled back" if applied.changed else "unchanged")
    return 0
