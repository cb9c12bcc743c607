"""Puts the parts of an analysis together: each is a pure function of the inferred graph, and may fail alone.

A part that fails becomes a finding. What is known without it is still worth having, and `create` goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from nimify.analysis.analysis import Analysis
from nimify.analysis.binding import default_binding
from nimify.analysis.compute.cost import Compute
from nimify.analysis.compute.counting import estimate_compute
from nimify.analysis.cpu_ceilings import cpu_device
from nimify.analysis.devices import gpu_device
from nimify.analysis.duplicates import weight_digests
from nimify.analysis.gpu_choice import GpuChoice, GpuNeed, choose_gpu
from nimify.analysis.graph import Gap, InferredGraph
from nimify.analysis.hints import Hint, optimisation_hints
from nimify.analysis.inference.data_dependent import BOUND_REASON
from nimify.analysis.memory import GpuMemoryEstimate, estimate_gpu_memory, estimate_memory
from nimify.analysis.outlook import MemoryOutlook, Structure
from nimify.analysis.randomness import random_operators
from nimify.analysis.roofline import Roofline, estimate_roofline
from nimify.analysis.safety import external_data_findings, metadata_findings, size_findings
from nimify.analysis.siblings import sibling_findings
from nimify.analysis.structure import infer_many, not_inferred
from nimify.analysis.tables.hardware import Gpu, load_gpus, load_instances
from nimify.analysis.tables.releases import load_operators_without_cuda, load_runtime_releases, load_triton_releases
from nimify.analysis.tables.tensorrt import load_tensorrt
from nimify.analysis.tensorrt import TensorRTReport, assess_tensorrt
from nimify.analysis.tensorrt_parser import ask_parser, parser_is_available, with_parser_answer
from nimify.analysis.tensorrt_profiles import AxisRange, optimisation_profiles
from nimify.analysis.variation import varying_axes
from nimify.analysis.versions import VersionReport, check_versions
from nimify.errors import ConfigError, ModelError, one_line, shortened
from nimify.findings import Finding, Severity
from nimify.formats.format import ModelInfo

T = TypeVar("T")

HEADROOM: Final = 0.1
"""Share of a GPU's memory that stays free."""
CONTEXT_BYTES: Final = 512 << 20
"""Main memory beside the GPU: the server, and CUDA's libraries."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be estimated.

    Attributes:
        rows: A batch size beside 1; 1 for a model that takes no batches.
        lengths: Lengths of free axes that were asked for, by name.
        ran_with: Shapes of the user's own inputs, by name; free axes get their lengths.
        gpu: Name of the GPU to estimate for; empty for the smallest that fits.
        thorough: Whether to find out what no plan needs: how fast this machine and the GPU are.
        weights: Whether to read weights, to find out which are stored twice.
        ask_tensorrt: Whether to ask TensorRT itself, where it is at hand.
    """

    rows: int = 1
    lengths: Mapping[str, int] = field(default_factory=dict)
    ran_with: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    gpu: str = ""
    thorough: bool = False
    weights: bool = False
    ask_tensorrt: bool = False


def complete(analysis: Analysis, path: Path, question: Question) -> Analysis:
    """The analysis with everything that can be estimated.

    Raises:
        ConfigError: The GPU is not in the catalogue, or the user's own tables are not usable.
    """
    return _Assembly(analysis, path, question).carry_out()


def find_gpu(name: str) -> Gpu:
    """A GPU by its name, in capitals or not.

    Raises:
        ConfigError: The catalogue has none of that name; says which there are.
    """
    gpus = {gpu.name.lower(): gpu for gpu in load_gpus()}
    if name.lower() not in gpus:
        known = ", ".join(gpu.name for gpu in gpus.values())
        raise ConfigError(f"The GPU '{shortened(one_line(name))}' is not in the catalogue.", remedy=f"Known: {known}.")
    return gpus[name.lower()]


class _Graphs(NamedTuple):
    """What everything is estimated from.

    Attributes:
        one: The graph for one row.
        many: The graph for many rows.
        varying: Which axes are free.
    """

    one: InferredGraph
    many: InferredGraph
    varying: Mapping[str, frozenset[int]]

    @classmethod
    def of(cls, one: InferredGraph, many: InferredGraph, other: InferredGraph) -> _Graphs:
        """From a third graph, with every free axis of another length, that is needed for nothing else."""
        return cls(one, many, varying_axes(many, other))


class _Assembly:
    """One run through all parts; what fails is noted and left out."""

    def __init__(self, analysis: Analysis, path: Path, question: Question) -> None:
        self._analysis = analysis
        self._path = path
        self._question = question
        self._findings: list[Finding] = []
        self._surroundings: list[Finding] = []
        self._named_gpu = find_gpu(question.gpu) if question.gpu else None

    def carry_out(self) -> Analysis:
        model, question = self._analysis.model, self._question
        versions = self._part("versions", lambda: self._versions(model))
        graphs = self._graphs()
        one = None if graphs is None else graphs.one
        drawing = random_operators(model.operators, one)
        result = replace(self._analysis, rows=question.rows, versions=versions, random_operators=drawing)
        if graphs is not None:
            result = self._of_graphs(result, graphs.one, graphs.many, graphs.varying)
            self._findings += _gap_findings(graphs.one)
        if versions is not None:
            # Whether it loads here depends on what is installed here.
            (self._surroundings if versions.runs_here is False else self._findings).extend(versions.findings())
        self._findings += self._part("safety", lambda: _safety(model, one)) or []
        beside = self._part("folder", lambda: sibling_findings(model.path, {file.location for file in model.files}))
        self._surroundings += beside or []
        if graphs is not None:
            many = graphs.many
            graphs = one = None  # What is needed no more makes room: both are large, and so is what comes.
            result = self._with_rooflines(result, many)
        return replace(
            result,
            findings=(*result.findings, *self._findings),
            surroundings=(*result.surroundings, *self._surroundings),
        )

    def _versions(self, model: ModelInfo) -> VersionReport:
        return check_versions(model, runtimes=load_runtime_releases(), triton=load_triton_releases())

    def _graphs(self) -> _Graphs | None:
        """The graphs to estimate from; `None` when they could not be inferred."""
        signature, question = self._analysis.model.signature, self._question
        one, many = (
            default_binding(signature, batch=batch, lengths=question.lengths, ran_with=question.ran_with)
            for batch in (1, question.rows)
        )
        other = {name: 2 * length for name, length in many.items()}
        try:
            return _Graphs.of(*infer_many(self._path, [one, many, other]))
        except ModelError as error:
            self._findings.append(not_inferred(error))
            return None

    def _of_graphs(
        self, result: Analysis, one: InferredGraph, many: InferredGraph, varying: Mapping[str, frozenset[int]]
    ) -> Analysis:
        memory = self._part("memory", lambda: self._memory(one, many))
        stored = self._analysis.model.weights.bytes_by_type
        gpu_memory = self._part("GPU memory", lambda: estimate_gpu_memory(many, weights_bytes=stored))
        gpus = None if gpu_memory is None else self._part("GPU choice", lambda: self._gpus(gpu_memory, many))
        compute = self._part("compute", lambda: estimate_compute(one))
        flops = None if compute is None else {cost.node: cost.flops for cost in compute.nodes}
        result = replace(
            result,
            structure=Structure.of(one),
            memory=memory,
            gpu_memory=gpu_memory,
            compute=compute,
            gpus=gpus,
            tensorrt=self._part("TensorRT", lambda: self._tensorrt(result, many, varying, flops)),
            hints=self._part("hints", lambda: self._hints(one, varying, flops)) or (),
        )
        return result

    def _with_rooflines(self, result: Analysis, many: InferredGraph) -> Analysis:
        compute = result.compute
        if compute is None or not self._question.thorough:
            return result
        rooflines = self._part("roofline", lambda: tuple(self._rooflines(compute, many, result.gpus)))
        return replace(result, rooflines=rooflines or ())

    def _memory(self, one: InferredGraph, many: InferredGraph) -> MemoryOutlook:
        model = self._analysis.model
        first, *more = (
            estimate_memory(
                graph,
                weights_bytes=model.weights.bytes_by_type,
                file_bytes=model.files[0].size_bytes,
                external_bytes=sum(file.size_bytes for file in model.files[1:]),
            )
            for graph in ((one,) if many is one else (one, many))
        )
        return MemoryOutlook(first, more[0] if more else first, self._question.rows)

    def _gpus(self, memory: GpuMemoryEstimate, graph: InferredGraph) -> GpuChoice:
        types = frozenset(value.element_type for value in graph.values.values() if value.element_type)
        need = GpuNeed(
            int(memory.total_bytes * (1 + memory.error_band)),
            headroom=HEADROOM,
            element_types=types,
            min_compute_capability=load_triton_releases().min_compute_capability,
            host_memory_bytes=CONTEXT_BYTES + 2 * self._analysis.model.size_bytes,
        )
        return choose_gpu(need, gpus=load_gpus(), instances=load_instances())

    def _rooflines(self, compute: Compute, many: InferredGraph, gpus: GpuChoice | None) -> Iterator[Roofline]:
        gpu = self._named_gpu or (None if gpus is None else gpus.gpu)
        devices = [cpu_device(), *([gpu_device(gpu)] if gpu is not None else [])]
        rows = self._question.rows
        whole = estimate_compute(many) if rows > 1 else None
        for device in devices:
            yield estimate_roofline(compute, device)
            if whole is not None:
                yield estimate_roofline(whole, device, items=rows)

    def _tensorrt(
        self,
        result: Analysis,
        graph: InferredGraph,
        varying: Mapping[str, frozenset[int]],
        flops: Mapping[str, float] | None,
    ) -> TensorRTReport:
        rows = self._question.rows
        report = assess_tensorrt(
            graph,
            load_tensorrt(),
            version=_tensorrt_version(result.versions),
            varying=varying,
            flops=flops,
            profiles=optimisation_profiles(
                result.model.signature,
                graph,
                batch=AxisRange(1, rows, rows) if result.batch_axis.supported else None,
                axes={},
            ),
        )
        if not (self._question.ask_tensorrt and parser_is_available()):
            return report
        answer = ask_parser(self._path, result.model.name)
        return report if answer is None else with_parser_answer(report, answer, graph)

    def _hints(
        self, graph: InferredGraph, varying: Mapping[str, frozenset[int]], flops: Mapping[str, float] | None
    ) -> tuple[Hint, ...]:
        return optimisation_hints(
            graph,
            varying=varying,
            flops=flops,
            without_cuda=load_operators_without_cuda(),
            digests=weight_digests(self._path, graph) if self._question.weights else None,
        )

    def _part(self, name: str, make: Callable[[], T]) -> T | None:
        """A part, or `None` and a finding that says what failed."""
        try:
            return make()
        except ConfigError:
            raise  # the user's own table is wrong, and can be mended
        except Exception as error:  # noqa: BLE001 - one estimate less must not stop everything else
            _log.debug("the part '%s' of the analysis failed", name, exc_info=True)
            cause = error.cause if isinstance(error, ModelError) else type(error).__name__
            self._findings.append(
                Finding(
                    "analysis.part-failed",
                    Severity.WARNING,
                    f"The part '{name}' of the analysis failed, and is left out: {shortened(one_line(cause))}.",
                    "Report it, with the model if you may; everything else holds.",
                )
            )
            return None


def _safety(model: ModelInfo, graph: InferredGraph | None) -> list[Finding]:
    sizes = () if graph is None else size_findings(graph)
    return [*metadata_findings(model.metadata), *external_data_findings(model), *sizes]


def _gap_findings(graph: InferredGraph) -> list[Finding]:
    unknown = [gap for gap in graph.gaps if gap.reason != BOUND_REASON]
    bounded = [gap for gap in graph.gaps if gap.reason == BOUND_REASON]
    findings = []
    if unknown:
        findings.append(
            Finding(
                "structure.gaps",
                Severity.INFO,
                f"The shape that {_named_gaps(unknown)} gives is not certain, so estimates may be off: "
                f"{one_line(unknown[0].reason).rstrip('.')}.",
                "Give lengths with --axis NAME=LENGTH, or export the model with shapes that do not depend on values.",
            )
        )
    if bounded:
        findings.append(
            Finding(
                "structure.bounds",
                Severity.INFO,
                f"How much {_named_gaps(bounded)} gives depends on the data.",
                "Estimates count the most that it can give; a run may take less.",
            )
        )
    return findings


def _named_gaps(gaps: Sequence[Gap]) -> str:
    first = f"'{shortened(one_line(gaps[0].node))}' ({shortened(one_line(gaps[0].operator))})"
    return first if len(gaps) == 1 else f"{first}, and each of {len(gaps) - 1} more nodes,"


def _tensorrt_version(versions: VersionReport | None) -> str:
    """That of the newest Triton that is known to load the model, otherwise the newest of all."""
    tag = None if versions is None else versions.newest_known
    releases = load_triton_releases().releases
    known = next((release.tensorrt for release in releases if release.tag == tag and release.tensorrt), None)
    return known or load_tensorrt().versions[-1].version
