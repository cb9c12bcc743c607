"""`nimify bench`: put a service under load, and show how it does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from nimify.commands.console import Console, clean
from nimify.commands.options import MODEL, axis_length, json_option, quiet_option, seconds

if TYPE_CHECKING:
    from nimify.loadtest.measurement import Watch
    from nimify.loadtest.session import LoadReport, LoadTest

EXIT_FAILED: Final = 1
_DEFAULT_CONNECTIONS: Final = (1, 8, 64)
_MOST_CONNECTIONS: Final = 4096
_HIGHEST_RATE: Final = 1e6


def _counts(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and 0 < int(part[:9]) <= _MOST_CONNECTIONS for part in parts):
        raise click.BadParameter(f"'{text}' is no list of connections. Write numbers, e.g. 1,8,64.")
    return tuple(dict.fromkeys(int(part) for part in parts))


def _rates(text: str) -> tuple[float, ...]:
    try:
        rates = tuple(dict.fromkeys(float(part) for part in text.split(",")))
    except ValueError:
        rates = ()
    if not rates or not all(0 < rate <= _HIGHEST_RATE for rate in rates):
        raise click.BadParameter(f"'{text}' is no list of rates. Write requests in a second, e.g. 100,500.")
    return rates


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    plain = text.isascii() and text.isprintable()
    if not (colon and plain and name and all(letter.isalnum() or letter in "-_" for letter in name)):
        raise click.BadParameter("it is no header. Write 'Name: value'.")
    return name, value.strip()


@click.command()
@click.argument("target", metavar="BUNDLE|URL")
@click.option("-c", "--concurrency", type=_counts, metavar="N,...", help="Closed loops.  [default: 1,8,64]")
@click.option("--rate", type=_rates, metavar="N,...", help="Open loops: requests in a second, e.g. 100,500.")
@click.option("--objective", metavar="QUANTILE=TIME", help="Search the highest rate that keeps it, e.g. p99=20ms.")
@click.option("--duration", type=seconds, default="10s", show_default=True, metavar="TIME", help="Of each measurement.")
@click.option(
    "--warmup", type=seconds, default="2s", show_default=True, metavar="TIME", help="Load before each of them."
)
@click.option("--timeout", type=seconds, default="30s", show_default=True, metavar="TIME", help="For one request.")
@click.option(
    "--protocol",
    type=click.Choice(["json", "binary", "http", "grpc"]),
    help="How tensors travel: json or binary over HTTP (http is json), or grpc.  [default: as the URL says, or json]",
)
@click.option("--metrics", metavar="URL", help="Where the service's metrics are, when not beside the requests.")
@click.option("--bundle", type=MODEL, help="With a URL: send the golden requests of this bundle.")
@click.option("--sample", type=MODEL, metavar="FILE", help="Send your own inputs: an .npz or .json file.")
@click.option("--model", help="With a URL: which model to ask.  [default: the only one]")
@click.option(
    "--axis",
    type=axis_length,
    multiple=True,
    metavar="INPUT=LENGTH",
    help="With a URL: length of the free axes of an input; may be given several times.",
)
@click.option("--header", type=_header, multiple=True, metavar="'NAME: VALUE'", help="Send it too, e.g. an API key.")
@click.option("--cacert", metavar="FILE", help="Trust the authorities in this PEM file.")
@click.option("--report", type=MODEL, metavar="FILE", help="Write a page with curves, to be opened in a browser.")
@json_option
@quiet_option
@click.pass_obj
def bench(console: Console, /, target: str, *, report: Path | None, **options: Any) -> int:
    """Put a service under load, and show how it does.

    Without --rate and --objective, closed loops of 1, 8 and 64 connections are measured. A bundle is served on this
    machine for as long as it takes, and its golden requests are sent. Exits with 1 when requests failed, or no rate
    keeps the objective.
    """
    from nimify.loadtest.session import run

    folder = Path(target)
    is_bundle = "://" not in target and folder.is_dir()
    if options["protocol"] == "http":
        options["protocol"] = "json"
    test = _test(target, folder if is_bundle else None, options)  # what is wrong is told before anything is started
    with _served(console, test) if is_bundle else nullcontext(test) as served:
        result = run(served, watch=_watch(console))
    if report is not None:
        _write_page(result, report)
    if console.json:
        console.document(result.to_dict())
    else:
        console.result("\n".join(_lines(result, console.width)))
        if report is not None:
            console.talk(f"The report is in '{report}'.")
    return EXIT_FAILED if _fails(result) else 0


@contextmanager
def _served(console: Console, test: LoadTest) -> Iterator[LoadTest]:
    """The test of a service that serves the bundle meanwhile, and whose metrics are then known."""
    from nimify.core.service import NIMService

    folder = Path(test.url)
    with NIMService.open(folder).serve() as server:
        url = server.grpc_url if test.protocol == "grpc" else server.url
        console.talk(f"Serving '{clean(folder.name)}' on {url} for the time of the test.")
        yield replace(test, url=url, metrics_url=test.metrics_url or server.url)


def _test(url: str, bundle: Path | None, options: dict[str, Any]) -> LoadTest:
    from nimify.loadtest.objective import Objective
    from nimify.loadtest.session import LoadTest

    for name in ("duration", "timeout"):
        if not options[name]:
            raise click.BadParameter("it must be more than 0.", param_hint=f"--{name}")
    searched = options["rate"] or options["objective"]
    return LoadTest(
        url=url,
        bundle=options["bundle"] or bundle,
        model=options["model"],
        sample=options["sample"],
        lengths=dict(options["axis"]),
        protocol=options["protocol"],
        metrics_url=options["metrics"],
        connections=options["concurrency"] or (() if searched else _DEFAULT_CONNECTIONS),
        rates=options["rate"] or (),
        objective=None if options["objective"] is None else Objective.parse(options["objective"]),
        duration_s=options["duration"],
        warmup_s=options["warmup"],
        timeout_s=options["timeout"],
        headers=dict(options["header"]),
        authorities=options["cacert"],
    )


def _watch(console: Console) -> Watch:
    """A line that is written over and over on a terminal; nothing elsewhere."""
    from nimify.commands.live_line import LiveLine
    from nimify.quantities import human_rate

    line = LiveLine(console)

    def show(glance: Any) -> None:
        load = f"{glance.level:.0f} connections" if glance.kind == "closed" else f"{human_rate(glance.level)}/s"
        failed = f", {glance.failed} failed" if glance.failed else ""
        line.show(f"{load}: {glance.share:4.0%}, {human_rate(glance.throughput)} answers/s{failed}")
        if glance.share >= 1:
            line.clear()

    return show


def _lines(report: LoadReport, width: int) -> list[str]:
    from nimify.commands.layout import columns, heading, paragraph
    from nimify.loadtest.rows import HEAD, level_text, row
    from nimify.quantities import human_rate, human_seconds

    lines = [
        heading(f"{clean(report.model)} under load", width),
        *paragraph(f"{report.protocol}, sending {clean(report.inputs, 200)}", width),
        "",
        *columns([HEAD, *map(row, report.points)], width),
    ]
    for point in report.points:
        for kind, count in point.failures.items():
            lines += paragraph(f"{level_text(point)}: {count} failed: {clean(kind)}", width)
    if any(point.limited_by_client for point in report.points):
        lines += ["", *paragraph("* The load generator was the limit; the service may do better.", width)]
    if report.objective is not None:
        wanted = f"{report.objective.quantile} within {human_seconds(report.objective.latency_s)}"
        found = "no rate that was tried keeps" if report.best is None else f"{human_rate(report.best.level)}/s keeps"
        lines += ["", *paragraph(f"{found} {wanted}.".capitalize(), width)]
    return lines


def _write_page(report: LoadReport, path: Path) -> None:
    from nimify.loadtest.page import render_page
    from nimify.reports.file import write_page

    write_page(render_page(report), path)


def _fails(report: LoadReport) -> bool:
    unmet = report.objective is not None and report.best is None
    # A search goes on purpose beyond what the service can do.
    return unmet or any(point.failed for point in report.points if report.objective is None or point.kind == "closed")
