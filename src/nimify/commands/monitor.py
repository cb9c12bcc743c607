"""`nimify monitor`: how a service does, live."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from nimify.commands.console import Console
from nimify.commands.deployed import where_options
from nimify.commands.options import json_option, seconds

if TYPE_CHECKING:
    from nimify.monitoring.monitor import Monitor
    from nimify.monitoring.picture import Picture

EXIT_NOTHING_ANSWERS = 1
_SHORTEST_S = 0.1


@click.command()
@click.argument("services", nargs=-1, required=True, metavar="BUNDLE|NAME|URL...")
@where_options
@click.option("--interval", type=seconds, default="2s", show_default=True, metavar="TIME", help="Between two readings.")
@click.option("--once", is_flag=True, help="Read for one interval, print, and end.")
@json_option
@click.pass_obj
def monitor(console: Console, /, services: tuple[str, ...], *, interval: float, once: bool, **options: Any) -> int:
    """Show how a service does, live: its requests, latencies, queue, batches and replicas.

    Name a deployed service, or the URLs of its replicas, or of their metrics. Where there is no terminal, one line is
    printed for each reading; with --json it is a JSON document. With --once it exits with 1 when no replica answers.
    """
    if interval < _SHORTEST_S:
        raise click.BadParameter(f"it must be at least {_SHORTEST_S:g} s.", param_hint="--interval")
    watched = _monitor(services, options["target"], options["namespace"])
    if once:
        return _once(console, watched, interval)
    if console.json or not sys.stdout.isatty():
        return _lines(console, watched, interval)
    return _live(watched, interval)


def _monitor(services: tuple[str, ...], target: str | None, namespace: str | None) -> Monitor:
    from nimify.monitoring.monitor import Monitor, Source

    if all(_is_url(service) for service in services):
        sources = [Source.at(url) for url in services]
        return Monitor(services[0] if len(services) == 1 else f"{len(services)} replicas", lambda: sources)
    if len(services) > 1:
        raise click.UsageError("Name one service, or the URLs of several replicas.")
    from nimify.core.deployments import DeployedService

    found = DeployedService.find(services[0], target=target, namespace=namespace)
    return Monitor(found.reference.name, found.sources)


def _is_url(text: str) -> bool:
    host, colon, port = text.rpartition(":")
    return "://" in text or bool(host and colon and port.isdigit())


def _once(console: Console, watched: Monitor, interval: float) -> int:
    from nimify.commands.monitor_screen import MonitorScreen
    from nimify.monitoring.history import History

    watched.look()
    time.sleep(interval)
    picture = watched.look()
    if console.json:
        console.document(picture.to_dict())
    else:
        screen = MonitorScreen(sys.stdout.encoding or "utf-8")
        console.result("\n".join(screen.lines(picture, History(), console.width, live=False)))
    return 0 if picture.up else EXIT_NOTHING_ANSWERS


def _lines(console: Console, watched: Monitor, interval: float) -> int:
    """One line for each reading, for a log or a program; ends with Ctrl-C."""
    import json

    from nimify.commands.monitor_screen import MonitorScreen

    screen = MonitorScreen(sys.stdout.encoding or "utf-8")

    def text(picture: Picture) -> str:
        return json.dumps(picture.to_dict()) if console.json else screen.line(picture)

    due = time.monotonic()
    while True:
        console.result(text(watched.look()))
        console.flush()
        due = max(due + interval, time.monotonic())
        time.sleep(due - time.monotonic() if due > time.monotonic() else 0)


def _live(watched: Monitor, interval: float) -> int:
    """Draw until Ctrl-C, which is the usual end and no error."""
    from nimify.commands.live_screen import live_screen
    from nimify.commands.monitor_screen import MonitorScreen
    from nimify.monitoring.history import History

    screen, history = MonitorScreen(sys.stdout.encoding or "utf-8"), History()
    try:
        with live_screen() as terminal:
            while True:
                picture = watched.look()
                history.add(picture)
                due = time.monotonic() + interval
                terminal.draw(screen.lines(picture, history, terminal.size[0]))
                while terminal.wait(max(0.0, due - time.monotonic())):
                    terminal.draw(screen.lines(picture, history, terminal.size[0]))
    except KeyboardInterrupt:
        return 0
