"""Where the memory goes: along the graph, and in total."""

from __future__ import annotations

from typing import Final

from nimify.analysis.analysis import Analysis
from nimify.analysis.memory import ENGINE_BYTES, MAX_TIMELINE, MemoryEstimate
from nimify.analysis.outlook import MemoryOutlook
from nimify.quantities import human_bytes, human_share
from nimify.reports.area_chart import AreaChart, Step
from nimify.reports.bars import legend
from nimify.reports.blocks import card, note, table
from nimify.reports.markup import Content, Markup, element, join, plain

_WIDE: Final = (960.0, 280.0)
_NARROW: Final = (360.0, 230.0)


def memory_section(analysis: Analysis) -> Markup | None:
    """Live bytes at each node with the peak marked, and the sum by parts."""
    outlook = analysis.memory
    if outlook is None:
        return None
    at = outlook.many
    figure = outlook.at(outlook.rows)
    return card(
        "Memory along the graph",
        _chart(at) if at.timeline else None,
        element("h3", "In total"),
        _totals(outlook),
        note("Some shapes are not certain, so these figures may be off; see the findings.")
        if not at.complete
        else None,
        _gpu(analysis),
        basis="estimated",
        lead=(
            f"At a batch of {outlook.rows} a process that runs the model takes about "
            f"{human_bytes(figure.total_bytes)}, give or take {human_share(at.error_band)} of what the model adds to "
            f"the engine. {_peak(at)}"
        ),
    )


def _peak(estimate: MemoryEstimate) -> Content:
    if estimate.load_peak_bytes >= estimate.total_bytes:
        return "Most of it is needed while the model is loaded."
    return f"A run needs most at the node '{plain(estimate.peak_node)}'." if estimate.peak_node else ""


def _chart(estimate: MemoryEstimate) -> Markup:
    base = estimate.weights_bytes + estimate.structure_bytes
    every = len(estimate.timeline) < MAX_TIMELINE // 2  # Otherwise a point may stand for several nodes.
    steps = [
        Step(size, f"{f'{position}: ' if every else ''}{plain(node)}, {human_bytes(size)} of tensors")
        for position, (node, size) in enumerate(estimate.timeline, 1)
    ]
    chart = AreaChart("Memory while each node runs, weights below", steps, base, "step", human_bytes)
    return join(
        chart.draw(*_WIDE, "wide"),
        chart.draw(*_NARROW, "narrow", labels=False),
        legend([("main", "tensors of a run"), ("soft", "weights and structures")]),
    )


def _totals(outlook: MemoryOutlook) -> Markup:
    estimates = {1: outlook.one, outlook.rows: outlook.many}
    head = ("", *(f"batch {batch}" for batch in estimates))
    parts: tuple[tuple[str, list[int]], ...] = (
        ("Python and ONNX Runtime", [ENGINE_BYTES] * len(estimates)),
        ("Weights", [estimate.weights_bytes for estimate in estimates.values()]),
        ("Tensors of a run, at the peak", [estimate.activations_peak_bytes for estimate in estimates.values()]),
        ("Workspace", [estimate.workspace_bytes for estimate in estimates.values()]),
        ("Structures of the graph", [estimate.structure_bytes for estimate in estimates.values()]),
        ("Peak while loading, beyond the engine", [estimate.load_peak_bytes for estimate in estimates.values()]),
    )
    rows: list[tuple[Content, ...]] = [(name, *map(human_bytes, sizes)) for name, sizes in parts]
    totals = [_band(estimate) for estimate in estimates.values()]
    rows.append((element("strong", "Process, expected"), *totals))
    return table(head, rows, numbers=range(1, len(head)))


def _band(estimate: MemoryEstimate) -> Markup:
    spread = estimate.total_bytes * estimate.error_band
    return element("strong", f"{human_bytes(estimate.process_bytes)} ± {human_bytes(int(spread))}")


def _gpu(analysis: Analysis) -> Markup | None:
    if analysis.gpu_memory is None:
        return None
    memory = analysis.gpu_memory
    return note(
        f"On a GPU, about {human_bytes(memory.total_bytes)} at a batch of {analysis.rows}, of which "
        f"{human_bytes(memory.context_bytes)} are CUDA's own; give or take {human_share(memory.error_band)}."
    )
