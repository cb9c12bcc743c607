"""`nimify logs`: what a deployed service wrote."""

from __future__ import annotations

import click

from nimify.commands.console import Console
from nimify.commands.deployed import where_options


@click.command()
@click.argument("service", metavar="BUNDLE|NAME")
@click.option("-n", "--lines", type=click.IntRange(0, 1_000_000), default=100, show_default=True, help="How many.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what it writes from now on; Ctrl-C ends it.")
@where_options
@click.pass_obj
def logs(
    console: Console, /, service: str, *, lines: int, follow: bool, target: str | None, namespace: str | None
) -> int:
    """Show what a deployed service wrote last."""
    from nimify.core.deployments import DeployedService
    from nimify.errors import one_line

    found = DeployedService.find(service, target=target, namespace=namespace)
    for line in found.logs(lines=lines, follow=follow):
        console.result(one_line(line))
    return 0
