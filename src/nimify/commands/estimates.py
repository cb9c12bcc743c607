"""What is estimated and measured of a model, one line each, for one screen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from nimify.commands.console import clean
from nimify.commands.layout import heading, paragraph, table
from nimify.quantities import human_bytes, human_count, human_rate, human_seconds, human_share

if TYPE_CHECKING:
    from nimify.analysis.analysis import Analysis
    from nimify.analysis.hints import Hint

Fact = tuple[str, str]

_MOST_HINTS: Final = 4
_LONGEST: Final = 300
_VERDICTS: Final = {"full": "runs all of it", "partial": "runs a part of it", "none": "runs nothing of it"}


def estimate_lines(analysis: Analysis, width: int) -> list[str]:
    """What it takes and how fast it could be; nothing when nothing is known."""
    facts = [
        *_structure(analysis),
        *_memory(analysis),
        *_compute(analysis),
        *_speed(analysis),
        *_measured(analysis),
        *_tensorrt(analysis),
        *_gpu(analysis),
        *_versions(analysis),
    ]
    return [heading("Estimates"), *table(facts, width)] if facts else []


def hint_lines(hints: tuple[Hint, ...], width: int) -> list[str]:
    """The most rewarding hints."""
    if not hints:
        return []
    lines = [heading("Hints")]
    for hint in hints[:_MOST_HINTS]:
        lines += paragraph(clean(hint.message, _LONGEST), width)
        lines += paragraph(clean(f"{hint.remedy} {hint.effect}", _LONGEST), width, "    ")
    if len(hints) > _MOST_HINTS:
        lines += paragraph(f"and {len(hints) - _MOST_HINTS} more; --json and --report have them all", width)
    return lines


def _structure(analysis: Analysis) -> Iterator[Fact]:
    structure = analysis.structure
    if structure is not None and structure.binding:
        lengths = ", ".join(f"{clean(name, 24)} {length}" for name, length in list(structure.binding.items())[:6])
        yield "One item", f"with {lengths}"


def _memory(analysis: Analysis) -> Iterator[Fact]:
    parts = []
    for batch in sorted({1, analysis.rows}):
        figure = analysis.memory_at(batch)
        if figure is not None:
            highest = figure.base_bytes + figure.model_high_bytes
            band = "measured" if figure.measured else f"estimated, {human_bytes(highest)} at most"
            parts.append(f"{human_bytes(figure.total_bytes)} at batch {batch} ({band})")
    if parts:
        yield "Memory", ", ".join(parts)


def _compute(analysis: Analysis) -> Iterator[Fact]:
    compute = analysis.compute
    if compute is None:
        return
    text = f"{human_count(compute.total_flops)} floating-point operations for one item"
    first = next(iter(compute.by_operator.items()), None)
    if first is not None and compute.total_flops:
        text += f", {human_share(first[1].flops / compute.total_flops)} of them in {clean(first[0], 40)}"
    yield "Compute", text


def _speed(analysis: Analysis) -> Iterator[Fact]:
    for roofline in analysis.rooflines:
        # A model without work has no bound: what its service does in a second has nothing to do with it.
        if roofline.items == analysis.rows and roofline.latency_s:
            yield (
                "At best",
                f"{human_rate(roofline.throughput_per_s)} items/s at batch {roofline.items} on "
                f"{clean(roofline.device)} (estimated, bound by {roofline.bound})",
            )


def _measured(analysis: Analysis) -> Iterator[Fact]:
    measured = analysis.measured
    if measured is None:
        return
    for point in (measured.points[0], measured.best):
        yield (
            "Measured",
            f"{human_rate(point.rows_per_s)} items/s at batch {point.batch or 1}: p50 {human_seconds(point.p50_s)}, "
            f"p99 {human_seconds(point.p99_s)}, peak memory {human_bytes(point.peak_memory_bytes)}",
        )
        if point is measured.best:
            return


def _tensorrt(analysis: Analysis) -> Iterator[Fact]:
    report = analysis.tensorrt
    if report is None:
        return
    text = f"{clean(report.version)} {_VERDICTS[report.verdict]}"
    if report.verdict == "partial" and report.flops_share is not None:
        text += f", {human_share(report.flops_share)} of the arithmetic"
    if report.blockers:
        more = f" (and {len(report.blockers) - 1} more)" if len(report.blockers) > 1 else ""
        text += f": {clean(report.blockers[0].reason, _LONGEST)}{more}"
    yield "TensorRT", text


def _gpu(analysis: Analysis) -> Iterator[Fact]:
    choice = analysis.gpus
    if choice is None:
        return
    needed = f"{human_bytes(choice.need.memory_bytes)} at batch {analysis.rows}"
    if choice.gpu is None:
        yield "GPU", f"none of the catalogue holds {needed}"
        return
    offer = next((offer for offer in choice.instances if offer.usd_hour is not None), None)
    price = "" if offer is None else f"; from ${offer.usd_hour:.2f} an hour ({offer.cloud} {offer.type})"
    yield "GPU", f"{choice.gpu.name} is the smallest that holds {needed}{price}"


def _versions(analysis: Analysis) -> Iterator[Fact]:
    report = analysis.versions
    if report is not None:
        newest = report.newest_known or report.newest_release
        yield "Triton", f"{newest} is known to load it" if newest else "no release is known to load it"
