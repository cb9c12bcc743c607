"""`nimify status`: how a deployed service is."""

from __future__ import annotations

import click

from nimify.commands.console import Console
from nimify.commands.deployed import show, where_options
from nimify.commands.options import json_option, quiet_option

EXIT_NOT_RUNNING = 1


@click.command()
@click.argument("service", metavar="BUNDLE|NAME")
@where_options
@json_option
@quiet_option
@click.pass_obj
def status(console: Console, /, service: str, *, target: str | None, namespace: str | None) -> int:
    """Show how a deployed service is.

    Exits with 1 when not all of it answers.
    """
    from nimify.core.deployments import DeployedService
    from nimify.targets.target import Phase

    deployment = DeployedService.find(service, target=target, namespace=namespace).status()
    show(console, deployment)
    return 0 if deployment.phase is Phase.RUNNING else EXIT_NOT_RUNNING
