"""`nimify monitor`: how a service does, live."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nimify.commands.console import Console
from nimify.commands.deployed import where_options
from nimify.commands.options import api_key_header, api_key_option, json_option, seconds

if TYPE_CHECKING:
    from nimify.monitoring.picture import Picture, Watch

EXIT_NOTHING_ANSWERS = 1
PROMETHEUS_VARIABLE = "NIMIFY_PROMETHEUS_AUTHORIZATION"
_SHORTEST_S = 0.1


@click.command()
@click.argument("services", nargs=-1, required=True, metavar="BUNDLE|NAME|URL...")
@where_options
@click.option("--prometheus", metavar="URL", help="Read the service out of this Prometheus, under its name as the job.")
@click.option(
    "--prometheus-auth",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="What lets in there: a token, or the value of the header Authorization.  "
    f"[environment: {PROMETHEUS_VARIABLE}]",
)
@click.option("--cacert", metavar="FILE", help="Trust the authorities in this PEM file for --prometheus.")
@api_key_option
@click.option("--interval", type=seconds, default="2s", show_default=True, metavar="TIME", help="Between two readings.")
@click.option("--once", is_flag=True, help="Read for one interval, print, and end.")
@json_option
@click.pass_obj
def monitor(console: Console, /, services: tuple[str, ...], *, interval: float, once: bool, **options: Any) -> int:
    """Show how a service does, live: its requests, latencies, queue, batches and replicas.

    Name a deployed service, or the URLs of its replicas, or of their metrics. With --prometheus, name the service: it
    need not have been deployed from here, and --namespace tells those of one name apart. Where there is no terminal,
    one line is printed for each reading; with --json it is a JSON document. With --once it exits with 1 when no
    replica answers.
    """
    if interval < _SHORTEST_S:
        raise click.BadParameter(f"it must be at least {_SHORTEST_S:g} s.", param_hint="--interval")
    watched = _by_prometheus(services, interval, options) if options["prometheus"] else _by_replicas(services, options)
    if once:
        return _once(console, watched, interval)
    if console.json or not sys.stdout.isatty():
        return _lines(console, watched, interval)
    return _live(watched, interval)


def _by_replicas(services: tuple[str, ...], options: dict[str, Any]) -> Watch:
    from nimify.monitoring.monitor import Monitor, Source

    for name in ("prometheus_auth", "cacert"):
        if options[name] is not None:
            raise click.UsageError(f"--{name.replace('_', '-')} is for --prometheus.")
    key = api_key_header(options["api_key_file"])
    if all(_is_url(service) for service in services):
        sources = [Source.at(url) for url in services]
        return Monitor(services[0] if len(services) == 1 else f"{len(services)} replicas", lambda: sources, headers=key)
    if len(services) > 1:
        raise click.UsageError("Name one service, or the URLs of several replicas.")
    from nimify.core.deployments import DeployedService

    found = DeployedService.find(services[0], target=options["target"], namespace=options["namespace"])
    return Monitor(found.reference.name, found.sources, headers=key)


def _by_prometheus(services: tuple[str, ...], interval: float, options: dict[str, Any]) -> Watch:
    from nimify.conformance.authorization import authorization
    from nimify.core.deployments import service_name
    from nimify.monitoring.prometheus import PrometheusMonitor, PrometheusPlace

    if len(services) > 1 or _is_url(services[0]):
        raise click.UsageError("With --prometheus, name one service: its bundle, or its name.")
    if options["target"] is not None:
        raise click.UsageError("--target and --prometheus exclude each other: Prometheus knows where it scrapes.")
    place = PrometheusPlace(
        url=options["prometheus"],
        job=service_name(services[0]),
        namespace=options["namespace"] or "",
        headers=authorization(options["prometheus_auth"], PROMETHEUS_VARIABLE, field="--prometheus-auth"),
        authorities=options["cacert"],
    )
    return PrometheusMonitor(place, window_s=interval)


def _is_url(text: str) -> bool:
    host, colon, port = text.rpartition(":")
    return "://" in text or bool(host and colon and port.isdigit())


def _once(console: Console, watched: Watch, interval: float) -> int:
    from nimify.commands.monitor_screen import MonitorScreen
    from nimify.monitoring.history import History

    picture = watched.look()
    if not picture.window_s:  # a Prometheus knows what was before
        time.sleep(interval)
        picture = watched.look()
    if console.json:
        console.document(picture.to_dict())
    else:
        screen = MonitorScreen(sys.stdout.encoding or "utf-8")
        console.result("\n".join(screen.lines(picture, History(), console.width, live=False)))
    return 0 if picture.up else EXIT_NOTHING_ANSWERS


def _lines(console: Console, watched: Watch, interval: float) -> int:
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


def _live(watched: Watch, interval: float) -> int:
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
