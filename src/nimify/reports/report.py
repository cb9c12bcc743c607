"""The report: one analysis as one page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nimify.analysis.analysis import Analysis
from nimify.quantities import human_bytes, human_count, human_rate, human_seconds, human_share
from nimify.reports.blocks import tiles
from nimify.reports.compute import compute_section, speed_section
from nimify.reports.file import write_page
from nimify.reports.findings import findings_section
from nimify.reports.gpus import gpu_section
from nimify.reports.hints import hints_section
from nimify.reports.markup import Markup, element, plain
from nimify.reports.measured import measured_section
from nimify.reports.memory import memory_section
from nimify.reports.page import page
from nimify.reports.signature import signature_section
from nimify.reports.tensorrt import VERDICTS, tensorrt_section
from nimify.reports.versions import versions_section
from nimify.version import __version__

Fact = tuple[str, str, str]


def render_report(analysis: Analysis) -> str:
    """The page as HTML; the same analysis gives the same bytes."""
    content = [
        _header(analysis),
        tiles(_facts(analysis)),
        findings_section(analysis.all_findings),
        hints_section(analysis.hints),
        memory_section(analysis),
        compute_section(analysis),
        speed_section(analysis.rooflines),
        measured_section(analysis.measured),
        tensorrt_section(analysis.tensorrt),
        gpu_section(analysis.gpus, analysis.rows),
        versions_section(analysis.versions),
        signature_section(analysis),
        _footer(analysis),
    ]
    return page(f"{plain(analysis.model.name)}: analysis", content)


def write_report(analysis: Analysis, path: Path) -> None:
    """Write the page, as a whole or not at all.

    Raises:
        EnvironmentProblem: It cannot be written there.
    """
    write_page(render_report(analysis), path)


def _header(analysis: Analysis) -> Markup:
    model = analysis.model
    opsets = ", ".join(
        f"opset {version}" if domain == "ai.onnx" else f"{plain(domain)} {version}"
        for domain, version in model.opsets.items()
    )
    kind = f"{plain(model.format).upper()} model, {opsets}, IR {plain(model.format_version)}"
    producer = f", written by {plain(model.producer)}" if model.producer else ""
    return element(
        "header",
        element("h1", plain(model.name, 200)),
        element("p", f"{kind}{producer}. {human_bytes(model.size_bytes)}, {_nodes(analysis)}."),
    )


def _nodes(analysis: Analysis) -> str:
    nodes = sum(analysis.model.operators.values())
    return f"{human_count(analysis.model.weights.parameters)} parameters, {nodes:,} nodes"


def _facts(analysis: Analysis) -> Iterator[Fact]:
    yield from _memory_facts(analysis)
    if analysis.compute is not None:
        yield (
            "Compute of one item",
            f"{human_count(analysis.compute.total_flops)} FLOPs",
            f"{human_count(analysis.compute.matrix_macs)} multiply-accumulates",
        )
    yield from _speed_facts(analysis)
    if analysis.tensorrt is not None:
        report = analysis.tensorrt
        share = "" if report.flops_share is None else f"{human_share(report.flops_share)} of the arithmetic"
        yield "TensorRT", VERDICTS[report.verdict][0], share
    if analysis.gpus is not None:
        gpu = analysis.gpus.gpu
        needed = f"needs {human_bytes(analysis.gpus.need.memory_bytes)} at a batch of {analysis.rows}"
        yield "Smallest GPU", "none" if gpu is None else gpu.name, needed


def _memory_facts(analysis: Analysis) -> Iterator[Fact]:
    for batch in sorted({1, analysis.rows}):
        figure = analysis.memory_at(batch)
        if figure is not None:
            basis = (
                "measured"
                if figure.measured
                else f"estimated, up to {human_bytes(figure.base_bytes + figure.model_high_bytes)}"
            )
            yield f"Memory at batch {batch}", human_bytes(figure.total_bytes), basis


def _speed_facts(analysis: Analysis) -> Iterator[Fact]:
    if analysis.measured is not None:
        best = analysis.measured.best
        yield "Throughput here", f"{human_rate(best.rows_per_s)} /s", f"measured at a batch of {best.batch or 1}"
    elif analysis.trial is not None:
        trial = analysis.trial
        yield "One run here", human_seconds(trial.run_s), f"one thread; loads in {human_seconds(trial.load_s)}"


def _footer(analysis: Analysis) -> Markup:
    digest = element("code", plain(analysis.model.digest, 100)) if analysis.model.digest else "no digest computed"
    return element("footer", f"Made by nimify {__version__} of ", digest, ". This page loads nothing from anywhere.")
