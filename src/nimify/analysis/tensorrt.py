"""Whether TensorRT can run a model: which nodes it takes, which not and why, and what share of the work that is.

Judged from a table of facts about TensorRT's ONNX parser; nothing of TensorRT is needed. Where TensorRT and a GPU are
at hand, `tensorrt_parser.py` asks the real parser, and its answer wins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from nimify.analysis.graph import InferredGraph, Node, Value
from nimify.analysis.tables.source import version_key
from nimify.analysis.tables.tensorrt import OperatorSupport, TensorRTTable, TensorRTVersion
from nimify.analysis.tensorrt_partitions import Subgraph, is_stored, supported_subgraphs
from nimify.analysis.tensorrt_profiles import Profile
from nimify.analysis.tensorrt_rules import Site, broken
from nimify.analysis.variation import VaryingAxes
from nimify.errors import one_line, shortened

Verdict = Literal["full", "partial", "none"]

_SHOWN_BLOCKERS: Final = 100
_CONTROL_FLOW: Final = frozenset({"If", "Loop", "Scan"})
_QUANTISERS: Final = frozenset({"QuantizeLinear", "DequantizeLinear"})
_DOWNGRADE: Final = (
    "Take a newer TensorRT, or convert the model with onnx.version_converter.convert_version(model, {})."
)


@dataclass(frozen=True, slots=True)
class Blocker:
    """Something that TensorRT does not take.

    Attributes:
        node: The node's name; empty when it concerns the whole model.
        operator: Its operator; empty when it concerns the whole model.
        reason: Why, in one sentence.
        remedy: What to do about it.
    """

    node: str
    operator: str
    reason: str
    remedy: str

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {"node": self.node, "operator": self.operator, "reason": self.reason, "remedy": self.remedy}


@dataclass(frozen=True, slots=True)
class TensorRTReport:
    """What TensorRT makes of a model.

    Attributes:
        verdict: `full` when one engine runs all of it, `partial` when ONNX Runtime must run some nodes, else `none`.
        version: The version that was asked about, e.g. `11.2.1`.
        basis: `table` when judged from the table, `parser` when TensorRT itself was asked.
        blockers: What stands in the way.
        covered_nodes: How many nodes TensorRT runs.
        total_nodes: How many nodes there are; stored values are not counted.
        flops_share: Share of the arithmetic that TensorRT runs; `None` when that is not known.
        subgraphs: The parts that TensorRT runs; one when the verdict is `full`.
        profiles: The shapes to build engines for; empty when every shape is fixed.
        notes: What else to know: precision, casts, what could not be checked.
    """

    verdict: Verdict
    version: str
    basis: str
    blockers: tuple[Blocker, ...]
    covered_nodes: int
    total_nodes: int
    flops_share: float | None
    subgraphs: tuple[Subgraph, ...] = ()
    profiles: tuple[Profile, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As plain data; of very many blockers only the first are listed."""
        return {
            "verdict": self.verdict,
            "version": self.version,
            "basis": self.basis,
            "blocker_count": len(self.blockers),
            "blockers": [blocker.to_dict() for blocker in self.blockers[:_SHOWN_BLOCKERS]],
            "covered_nodes": self.covered_nodes,
            "total_nodes": self.total_nodes,
            "flops_share": None if self.flops_share is None else round(self.flops_share, 4),
            "subgraph_count": len(self.subgraphs),
            "subgraphs": [subgraph.to_dict() for subgraph in self.subgraphs[:_SHOWN_BLOCKERS]],
            "profiles": [profile.to_dict() for profile in self.profiles],
            "notes": list(self.notes),
        }


def assess_tensorrt(
    graph: InferredGraph,
    table: TensorRTTable,
    *,
    version: str,
    varying: VaryingAxes | None = None,
    flops: Mapping[str, float] | None = None,
    profiles: tuple[Profile, ...] = (),
) -> TensorRTReport:
    """Judge a graph by the table.

    Args:
        graph: The graph at one binding.
        table: What TensorRT takes.
        version: Version of TensorRT, e.g. `11.2.1`, or its beginning, e.g. `11.x`.
        varying: Axes that depend on a free axis; see `variation.varying_axes`.
        flops: Arithmetic by node name.
        profiles: The shapes to build engines for.
    """
    judge = _Judge(table, version, varying or {})
    verdicts = [tuple(judge.blockers(node, graph.values)) for node in graph.nodes]
    supported = [not blockers for blockers in verdicts]
    model_blockers = list(judge.model_blockers(graph))
    if model_blockers:
        supported = [False] * len(supported)
    runs = [not is_stored(graph, node) for node in graph.nodes]
    covered = sum(runs_there and is_supported for runs_there, is_supported in zip(runs, supported, strict=True))
    blockers = (*model_blockers, *(blocker for found in verdicts for blocker in found))
    verdict: Verdict = "none" if not covered else "partial" if blockers else "full"
    return TensorRTReport(
        verdict=verdict,
        version=version,
        basis="table",
        blockers=blockers,
        covered_nodes=covered,
        total_nodes=sum(runs),
        flops_share=_flops_share(graph, supported, flops),
        # One engine may hold parts that do not touch each other.
        subgraphs=(Subgraph(tuple(node.name for node, does in zip(graph.nodes, runs, strict=True) if does)),)
        if verdict == "full"
        else supported_subgraphs(graph, supported),
        profiles=profiles,
        notes=(*(precision_notes(graph, table.of(version)) if covered else ()), *judge.notes()),
    )


def precision_notes(graph: InferredGraph, version: TensorRTVersion) -> list[str]:
    """In which precision TensorRT will compute, and how to change it."""
    types = Counter(value.element_type for value in graph.values.values())
    notes = []
    if any(node.operator in _QUANTISERS for node in graph.nodes):
        notes.append("Integer precision comes from the QuantizeLinear and DequantizeLinear pairs in the graph.")
    if types["FLOAT16"] or types["BFLOAT16"]:
        half = "FP16" if types["FLOAT16"] else "BF16"
        notes.append(f"The graph holds {half} tensors, and TensorRT computes in {half} where the graph does.")
    elif types["FLOAT"] and version.strongly_typed:
        notes.append(
            "TensorRT 11 takes precision from the graph alone, and this graph is FP32: convert it to FP16 before the "
            "engine is built, keeping FP32 inputs and outputs; precision flags do nothing."
        )
    elif types["FLOAT"]:
        notes.append("The graph is FP32; TensorRT 10 may still be told to build it in FP16.")
    return notes


@dataclass
class _Judge:
    """Finds blockers, and collects on the way what could not be told."""

    table: TensorRTTable
    version: str
    varying: VaryingAxes
    _cast: int = 0
    _unknown_types: int = 0
    _unchecked: Counter[str] = field(default_factory=Counter)
    _remarks: dict[str, None] = field(default_factory=dict)

    def model_blockers(self, graph: InferredGraph) -> Iterator[Blocker]:
        """What stands in the way of the model as a whole."""
        row = self.table.of(self.version)
        if graph.opset > row.opset_max:
            yield Blocker(
                "",
                "",
                f"TensorRT {self.version} takes operator sets up to {row.opset_max}, and the model uses {graph.opset}.",
                _DOWNGRADE.format(row.opset_max),
            )
        elif graph.opset < row.opset_min:
            yield Blocker(
                "",
                "",
                f"Operator set {graph.opset} is older than {row.opset_min}, the oldest that TensorRT takes.",
                "Convert the model with onnx.version_converter.convert_version(model, 13).",
            )

    def blockers(self, node: Node, values: Mapping[str, Value]) -> Iterator[Blocker]:
        """Why TensorRT does not take a node; nothing when it does."""
        row = self.table.operators.get(node.operator)
        if node.operator in self.table.custom_operators:
            return
        if node.domain != "ai.onnx":
            yield _blocker(
                node,
                f"{node.qualified} is not a standard operator, and TensorRT has no such one of its own.",
                _domain_remedy(node.domain),
            )
        elif row is None or not row.supported:
            yield _blocker(node, f"TensorRT does not support {node.operator}.", row.remedy if row else _UNKNOWN)
        elif row.since is not None and version_key(self.version) < version_key(row.since):
            yield _blocker(
                node,
                f"TensorRT supports {node.operator} from {row.since} on, not in {self.version}.",
                f"Take TensorRT {row.since} or newer.",
            )
        else:
            yield from self._restrictions(node, row, values)

    def notes(self) -> Iterator[str]:
        """What is worth knowing and blocks nothing."""
        if self._cast:
            yield f"{self._cast} FP64 tensors are computed in FP32; values beyond its range are clamped."
        if self._unknown_types:
            yield f"The types of {self._unknown_types} tensors could not be inferred, and were taken as supported."
        for operator, count in sorted(self._unchecked.items()):
            yield f"{operator}: {count} restrictions depend on values that are not known here, and were not checked."
        yield from self._remarks

    def _restrictions(self, node: Node, row: OperatorSupport, values: Mapping[str, Value]) -> Iterator[Blocker]:
        site = Site(node, values, self.varying)
        yield from self._type_blockers(site, row)
        for rule in row.rules:
            if not rule.holds_in(self.version):
                continue
            if rule.check == "note":
                self._remarks[f"{node.operator}: {rule.reason}."] = None
                continue
            is_broken = broken(rule, site)
            if is_broken:
                yield _blocker(node, f"{node.operator}: {rule.reason}.", rule.remedy)
            elif is_broken is None:
                self._unchecked[node.operator] += 1
        if node.operator in _CONTROL_FLOW:
            yield from self._body_blockers(node, values)

    def _type_blockers(self, site: Site, row: OperatorSupport) -> Iterator[Blocker]:
        node, seen = site.node, set[str]()
        listed = {*_picked(node.inputs, row.typed_inputs), *_picked(node.outputs, row.typed_outputs)}
        for name in filter(None, (*node.inputs, *node.outputs)):
            value = site.values.get(name)
            kind = value.element_type if value is not None else ""
            if not kind:
                self._unknown_types += 1
                continue
            handling = self.table.type_handling.get(kind)
            if handling == "cast to FLOAT":
                self._cast += 1
                kind = "FLOAT"
            judged = name in listed or handling == "input or output only"
            refused = handling is None or (judged and kind not in row.types)
            if refused and kind not in seen:
                seen.add(kind)
                yield _blocker(
                    node, _type_reason(node, row, kind, known=handling is not None), _type_remedy(node, kind)
                )

    def _body_blockers(self, node: Node, values: Mapping[str, Value]) -> Iterator[Blocker]:
        for body in node.subgraphs.values():
            reach = _Reach(body.values, values)
            for inner in body.nodes:
                for blocker in self.blockers(inner, reach):
                    yield Blocker(
                        shortened(f"{_name(node)}/{blocker.node}"), blocker.operator, blocker.reason, blocker.remedy
                    )


class _Reach(Mapping[str, Value]):
    """The values that a body sees: its own first, then those around it. Nothing is copied, however large they are."""

    def __init__(self, inner: Mapping[str, Value], outer: Mapping[str, Value]) -> None:
        self._inner, self._outer = inner, outer

    def __getitem__(self, name: str) -> Value:
        found = self._inner.get(name)
        return self._outer[name] if found is None else found

    def __iter__(self) -> Iterator[str]:
        yield from self._inner
        yield from (name for name in self._outer if name not in self._inner)

    def __len__(self) -> int:
        return sum(1 for _ in self)


_UNKNOWN: Final = "Replace it by supported operators, or let ONNX Runtime run this part."


def _blocker(node: Node, reason: str, remedy: str) -> Blocker:
    return Blocker(_name(node), shortened(one_line(node.qualified)), one_line(reason), remedy)


def _name(node: Node) -> str:
    return shortened(one_line(node.name))


def _picked(names: tuple[str, ...], positions: tuple[int, ...]) -> list[str]:
    return [names[position] for position in positions if position < len(names)]


def _domain_remedy(domain: str) -> str:
    if domain == "com.microsoft":
        return "Use the model as exported, before ONNX Runtime fused operators into its own."
    if domain == "ai.onnx.ml":
        return "Keep this part on the CPU, or convert trees and preprocessing to tensor operators (hummingbird)."
    return "Export the model with standard operators, or write a TensorRT plugin."


def _type_reason(node: Node, row: OperatorSupport, kind: str, *, known: bool) -> str:
    if not known:
        return f"{node.operator}: TensorRT has no tensors of type {kind}."
    if node.operator in _QUANTISERS and kind == "UINT8":
        return f"{node.operator}: quantised tensors may be INT8, INT4, FP8 or FP4, not {kind}."
    return f"{node.operator}: takes {', '.join(sorted(row.types))}, not {kind}."


def _type_remedy(node: Node, kind: str) -> str:
    if node.operator in _QUANTISERS:
        return "Quantise the model again with symmetric ranges (INT8, zero point 0)."
    if kind == "STRING":
        return "Do text work outside the model, in a processor."
    if kind == "UINT8":
        return "Cast to FP32 first; UINT8 may only enter or leave the network."
    if kind.startswith("COMPLEX"):
        return "Carry real and imaginary parts as two tensors."
    return "Cast to a type that is supported, e.g. INT32 or FLOAT."


def _flops_share(graph: InferredGraph, supported: list[bool], flops: Mapping[str, float] | None) -> float | None:
    if flops is None:
        return None
    total = sum(flops.get(node.name, 0) for node in graph.nodes)
    if not total:
        return None
    covered = sum(
        flops.get(node.name, 0) for node, is_supported in zip(graph.nodes, supported, strict=True) if is_supported
    )
    return covered / total
