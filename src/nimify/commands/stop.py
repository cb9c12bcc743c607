"""`nimify stop`: end a deployed service."""

from __future__ import annotations

import click

from nimify.commands.console import Console
from nimify.commands.deployed import where_options
from nimify.commands.options import json_option, quiet_option
from nimify.commands.progress_lines import progress_lines


@click.command()
@click.argument("service", metavar="BUNDLE|NAME")
@click.option("--purge", is_flag=True, help="Remove its revisions and logs as well, so that there is no way back.")
@where_options
@json_option
@quiet_option
@click.pass_obj
def stop(console: Console, /, service: str, *, purge: bool, target: str | None, namespace: str | None) -> int:
    """End a deployed service, letting it finish what it is doing.

    Stopping what does not run is no error.
    """
    from nimify.core.deployments import DeployedService

    found = DeployedService.find(service, target=target, namespace=namespace)
    stopped = found.stop(purge=purge, progress=progress_lines(console))
    outcome = "stopped" if stopped else "unchanged"
    if console.json:
        console.document({"service": found.reference.name, "target": found.target_name, "outcome": outcome})
    else:
        console.talk(f"'{found.reference.name}' {'was stopped' if stopped else 'does not run'}.")
    return 0
