"""Where the arithmetic and the time go, by operator, and how fast hardware could be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from nimify.analysis.analysis import Analysis
from nimify.analysis.compute.cost import Compute
from nimify.analysis.roofline import Roofline
from nimify.quantities import human_bytes, human_count, human_rate, human_seconds, human_share
from nimify.reports.bars import Bar, bar_rows, legend
from nimify.reports.blocks import card, note, table
from nimify.reports.markup import Markup, plain

_MOST_OPERATORS: Final = 9
_BOUNDS: Final = {"compute": "arithmetic", "memory": "memory traffic", "launch": "starting nodes"}


def compute_section(analysis: Analysis) -> Markup | None:
    """Shares by operator: arithmetic beside time."""
    compute = analysis.compute
    if compute is None:
        return None
    roofline = analysis.rooflines[0] if analysis.rooflines else None
    entries = [("main", "share of the arithmetic")]
    if roofline is not None:
        entries.append(("second", f"share of the time on {plain(roofline.device)}, estimated"))
    return card(
        "Compute by operator",
        legend(entries),
        bar_rows(_rows(compute, roofline)),
        note(f"Not counted: {plain(', '.join(compute.uncounted), 300)}.") if compute.uncounted else None,
        basis="estimated",
        lead=(
            f"One item takes {human_count(compute.total_flops)} floating-point operations, of which "
            f"{human_count(2 * compute.matrix_macs)} are matrix products and convolutions "
            f"({human_count(compute.matrix_macs)} multiply-accumulates), and moves {human_bytes(compute.bytes)}: "
            f"{compute.arithmetic_intensity:.1f} operations for each byte."
        ),
    )


def speed_section(rooflines: tuple[Roofline, ...]) -> Markup | None:
    """Latency and throughput, at best; nothing for a model without work."""
    rooflines = tuple(roofline for roofline in rooflines if roofline.latency_s)
    if not rooflines:
        return None
    rows = [
        (
            plain(roofline.device),
            str(roofline.items),
            human_seconds(roofline.latency_s),
            human_rate(roofline.throughput_per_s),
            _BOUNDS.get(roofline.bound, roofline.bound),
        )
        for roofline in rooflines
    ]
    return card(
        "How fast it could be",
        table(("Device", "batch", "latency", "items/s", "bound by"), rows, numbers=(1, 2, 3)),
        basis="estimated",
        lead=(
            "A bound, not a promise: each node takes as long as its arithmetic or its traffic takes at the peak of the "
            "device. Real engines reach a part of it."
        ),
    )


def _rows(compute: Compute, roofline: Roofline | None) -> Iterator[tuple[str, list[Bar]]]:
    shares = {
        name: cost.flops / compute.total_flops if compute.total_flops else 0.0
        for name, cost in compute.by_operator.items()
    }
    times: dict[str, float] = {}
    if roofline is not None and roofline.latency_s:
        times = {name: seconds / roofline.latency_s for name, seconds in roofline.by_operator.items()}
    ranked = sorted(shares, key=lambda name: -max(shares[name], times.get(name, 0.0)))
    for name in ranked[:_MOST_OPERATORS]:
        count = compute.by_operator[name].nodes
        yield f"{plain(name, 40)} ({count})", _bars(shares[name], times.get(name) if times else None)
    rest = ranked[_MOST_OPERATORS:]
    if rest:
        left = sum(times.get(name, 0.0) for name in rest) if times else None
        yield f"{len(rest)} other kinds", _bars(sum(shares[name] for name in rest), left)
    # The arithmetic of a body counts under its own operators, its time under the node that it belongs to.
    for name in sorted(times.keys() - shares.keys()):
        yield f"{plain(name, 40)}, with its body", [_time_bar(times[name])]


def _bars(share: float, time: float | None) -> list[Bar]:
    bars = [Bar(share, "main", human_share(share))]
    return bars if time is None else [*bars, _time_bar(time)]


def _time_bar(time: float) -> Bar:
    return Bar(time, "second", f"{human_share(time)} of time")
