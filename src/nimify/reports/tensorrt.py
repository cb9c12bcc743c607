"""How much of the model TensorRT runs, and what stands in the way of the rest."""

from __future__ import annotations

from collections import Counter
from typing import Final

from nimify.analysis.tensorrt import Blocker, TensorRTReport
from nimify.analysis.tensorrt_profiles import Profile
from nimify.quantities import human_share
from nimify.reports.bars import Bar, legend, strip
from nimify.reports.blocks import badge, card, note, table
from nimify.reports.markup import Markup, element, plain

VERDICTS: Final = {"full": ("fully", "yes"), "partial": ("partly", "partly"), "none": ("not at all", "no")}
"""By verdict: in words, and how it is coloured."""

_MOST_BLOCKERS: Final = 12
_LONGEST: Final = 300


def tensorrt_section(report: TensorRTReport | None) -> Markup | None:
    """Coverage by nodes and by arithmetic, blockers with remedies, and the shapes to build engines for."""
    if report is None:
        return None
    words, kind = VERDICTS[report.verdict]
    basis = "asked TensorRT itself" if report.basis == "parser" else "judged by a table"
    return card(
        "TensorRT",
        element(
            "p",
            badge("does not run" if kind == "no" else f"runs {words}", kind),
            f" in TensorRT {plain(report.version)}. {_parts(report)}",
        ),
        _coverage(report),
        *_blockers(report.blockers),
        *_profiles(report.profiles),
        *(note(plain(text, _LONGEST)) for text in report.notes),
        basis=basis,
    )


def _parts(report: TensorRTReport) -> str:
    if report.verdict == "full":
        return "One engine runs the whole model."
    if report.verdict == "none":
        return "ONNX Runtime runs the whole model."
    parts = "one part" if len(report.subgraphs) == 1 else f"up to {len(report.subgraphs)} parts"
    return f"TensorRT runs {parts} of the graph, and ONNX Runtime the rest; each change between them costs time."


def _coverage(report: TensorRTReport) -> Markup:
    lines = []
    if report.flops_share is not None:
        lines += _strip(report.flops_share, f"{human_share(report.flops_share)} of the arithmetic")
    if report.total_nodes:
        share = report.covered_nodes / report.total_nodes
        lines += _strip(share, f"{report.covered_nodes} of {report.total_nodes} nodes")
    return element("div", *lines, legend([("good", "in TensorRT"), ("faint", "in ONNX Runtime")]))


def _strip(share: float, text: str) -> list[Markup]:
    return [
        element("h3", text),
        strip([Bar(share, "good", ""), Bar(1 - share, "faint", "")], f"{text} in TensorRT"),
    ]


def _blockers(blockers: tuple[Blocker, ...]) -> list[Markup]:
    """Blockers of one kind as one row, the most frequent first."""
    if not blockers:
        return []
    counts = Counter((blocker.operator, blocker.reason, blocker.remedy) for blocker in blockers)
    first = {(blocker.operator, blocker.reason, blocker.remedy): blocker.node for blocker in reversed(blockers)}
    rows = [
        (
            element("code", plain(key[0]) or "model"),
            str(count),
            element("span", plain(key[1], _LONGEST), _where(first[key], count)),
            plain(key[2], _LONGEST),
        )
        for key, count in counts.most_common(_MOST_BLOCKERS)
    ]
    more = len(counts) - len(rows)
    return [
        element("h3", "What stands in the way"),
        table(("Operator", "nodes", "Why", "Remedy"), rows, numbers=(1,)),
        *([note(f"and {more} more kinds")] if more > 0 else []),
    ]


def _where(node: str, count: int) -> Markup:
    if not node:
        return Markup("")
    words = "First at" if count > 1 else "At"
    return element("span", f" {words} ", element("code", plain(node)), ".")


def _profiles(profiles: tuple[Profile, ...]) -> list[Markup]:
    if not profiles:
        return []
    rows = [
        (
            element("code", plain(profile.input)),
            *(str(list(shape)) for shape in (profile.minimum, profile.optimum, profile.maximum)),
        )
        for profile in profiles
    ]
    return [
        element("h3", "Optimisation profile"),
        table(("Input", "smallest", "tuned for", "largest"), rows, numbers=(1, 2, 3)),
    ]
