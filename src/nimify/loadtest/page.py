"""A load test as one page: curves of latency over throughput, and every measurement in a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from nimify.loadtest.point import LoadPoint
from nimify.loadtest.rows import HEAD, level_text, row
from nimify.loadtest.session import LoadReport
from nimify.quantities import human_rate, human_seconds
from nimify.reports.blocks import card, note, table, tiles
from nimify.reports.curve_chart import Curve, CurveChart
from nimify.reports.markup import Markup, element, plain
from nimify.reports.page import page
from nimify.version import __version__

_CURVES: Final = (("p50", "main"), ("p95", "soft"), ("p99", "second"))
_NAMES: Final = {"closed": "Closed loop", "open": "Open loop"}
_LEADS: Final = {
    "closed": "Each connection sends its next request when it has the answer to the last one.",
    "open": "Requests are due at random times of the given rate, whatever the service does; waiting counts.",
}


def render_page(report: LoadReport) -> str:
    """The page as HTML."""
    title = f"{plain(report.model)} under load"
    header = element(
        "header",
        element("h1", title),
        element("p", f"{plain(report.url, 200)}, {report.protocol}, sending {plain(report.inputs, 200)}"),
    )
    sections = [
        _section(kind, [point for point in report.points if point.kind == kind], report) for kind in ("closed", "open")
    ]
    footer = element("footer", f"Measured by nimify {__version__}.")
    return page(title, [header, tiles(_facts(report)), *sections, footer])


def _facts(report: LoadReport) -> list[tuple[str, str, str]]:
    fastest = max(report.points, key=lambda point: point.throughput)
    facts = [("Highest throughput", f"{human_rate(fastest.throughput)}/s", level_text(fastest))]
    lone = next((point for point in report.points if point.kind == "closed" and point.level == 1), None)
    if lone is not None and lone.latencies_s:
        facts.append(("One request at a time", human_seconds(lone.latencies_s["p50"]), "median latency"))
    if report.objective is not None:
        wanted = f"{report.objective.quantile} within {human_seconds(report.objective.latency_s)}"
        facts.append(("Under the objective", f"{human_rate(report.best.level)}/s" if report.best else "none", wanted))
    failed = sum(point.failed for point in report.points)
    facts.append(("Failed", str(failed), f"of {sum(point.requests for point in report.points):,} requests"))
    return facts


def _section(kind: str, points: Sequence[LoadPoint], report: LoadReport) -> Markup | None:
    if not points:
        return None
    drawn = [point for point in points if point.latencies_s]
    busy = any(point.limited_by_client for point in points)
    return card(
        _NAMES[kind],
        *(_chart(kind, drawn, report) if len(drawn) > 1 else ()),
        table(HEAD, [row(point) for point in points], numbers=range(1, len(HEAD))),
        note("Where the load generator itself was the limit, the service may do better: marked with *.")
        if busy
        else None,
        basis="measured",
        lead=_LEADS[kind],
    )


def _chart(kind: str, points: Sequence[LoadPoint], report: LoadReport) -> list[Markup]:
    limit = None
    if kind == "open" and report.objective is not None:
        limit = (report.objective.latency_s, f"{report.objective.quantile} objective")
    chart = CurveChart(
        title="Latency over throughput",
        curves=[
            Curve(name, class_, [(point.throughput, point.latencies_s[name]) for point in points])
            for name, class_ in _CURVES
        ],
        x_label="answered requests in a second",
        x_text=human_rate,
        y_text=human_seconds,
        limit=limit,
    )
    return [chart.draw(960, 300, "wide"), chart.draw(400, 300, "narrow")]
