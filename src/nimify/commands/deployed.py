"""How a deployment looks on a screen, and the options of the commands that look at one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nimify.commands.console import Console, clean

if TYPE_CHECKING:
    from nimify.targets.target import Deployment, Instance, Revision

Command = TypeVar("Command", bound=Callable[..., Any])
_COLOURS = {"running": "green", "starting": "yellow", "degraded": "yellow", "failed": "red", "stopped": "blue"}
_SHORT_DIGEST = 19
EVIDENCE = "The last lines of its log:"
"""What is said before the last lines of a revision that failed."""


def where_options(command: Command) -> Command:
    """`--target` and `--namespace`, for a service that was not deployed from this machine."""
    namespace = click.option("--namespace", metavar="NS", help="Namespace of the service, where the target has some.")
    target = click.option("--target", help="Where the service runs.  [default: where it was last deployed to]")
    return target(namespace(command))


def deployment_lines(deployment: Deployment, width: int) -> list[str]:
    """A deployment for people."""
    from nimify.commands.layout import heading, paragraph, table

    phase = str(deployment.phase)
    name = f"{deployment.reference.name} on {deployment.target}"
    lines = [heading(name, width), f"  {click.style(phase, fg=_COLOURS.get(phase))}  {clean(deployment.url, 200)}"]
    if deployment.reason:
        lines += paragraph(clean(deployment.reason, 600), width, "    ")
    if deployment.instances:
        lines += ["", *table([_instance(instance) for instance in deployment.instances], width)]
    if deployment.revisions:
        lines += ["", *table([_revision(revision) for revision in deployment.revisions], width)]
    return [line.rstrip() for line in lines]


def _instance(instance: Instance) -> tuple[str, ...]:
    mark = "ready" if instance.ready else "not ready"
    restarts = f"{instance.restarts} restarts" if instance.restarts != 1 else "1 restart"
    state = clean(f"{instance.state}: {instance.reason}" if instance.reason else instance.state, 300)
    return (clean(instance.name), mark, restarts, state)


def _revision(revision: Revision) -> tuple[str, ...]:
    mark = "live" if revision.live else ""
    source = revision.source[:_SHORT_DIGEST] if revision.source.startswith("sha256:") else revision.source
    return (f"revision {revision.number}", mark, revision.version, revision.deployed_at, clean(source, 100))


def show(console: Console, deployment: Deployment, **more: Any) -> None:
    """Print a deployment, as JSON or for people.

    Args:
        console: Where to.
        deployment: What.
        more: Further keys of the JSON document.
    """
    if console.json:
        console.document({**more, **deployment.to_dict()})
    else:
        console.result("\n".join(deployment_lines(deployment, console.width)))
