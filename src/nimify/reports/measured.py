"""What was measured on the machine that made the analysis."""

from __future__ import annotations

from nimify.analysis.measure import Measurement
from nimify.quantities import human_bytes, human_rate, human_seconds
from nimify.reports.bars import Bar, single_bar
from nimify.reports.blocks import card, note, table
from nimify.reports.markup import Markup


def measured_section(measured: Measurement | None) -> Markup | None:
    """Throughput and latency over the batch sizes; nothing when nothing was measured."""
    if measured is None:
        return None
    best = measured.best
    highest = max(point.rows_per_s for point in measured.points)
    threads = "1 thread" if measured.threads == 1 else f"{measured.threads} threads"
    rows = [
        (
            str(point.batch or 1),
            single_bar(Bar(point.rows_per_s / highest, "good" if point is best else "main", "")),
            human_rate(point.rows_per_s),
            human_seconds(point.p50_s),
            human_seconds(point.p99_s),
            human_bytes(point.peak_memory_bytes),
        )
        for point in measured.points
    ]
    return card(
        "Measured on this machine",
        table(("Batch", "", "rows/s", "p50", "p99", "peak memory"), rows, numbers=(2, 3, 4, 5)),
        note(measured.stopped) if measured.stopped else None,
        basis="measured",
        lead=(
            f"Loads in {human_seconds(measured.load_s)} and takes {human_bytes(measured.model_memory_bytes)} on top of "
            f"the engine. With {threads}, a batch of {best.batch or 1} is the smallest that is nearly as quick as any."
        ),
    )
