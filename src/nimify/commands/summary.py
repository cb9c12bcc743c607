"""One screen about a model: what its file says, and what a trial run showed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nimify.commands.console import clean
from nimify.commands.layout import heading, paragraph, table
from nimify.quantities import human_bytes, human_count, human_seconds

if TYPE_CHECKING:
    from nimify.analysis.analysis import Analysis
    from nimify.formats.format import ModelInfo
    from nimify.tensors import TensorSpec

_MOST_TENSORS: Final = 12
_MOST_OPERATORS: Final = 8


def model_lines(analysis: Analysis, width: int) -> list[str]:
    """What was found, without findings."""
    model = analysis.model
    return [
        heading(f"{clean(model.name)}: {_kind(model)}", width),
        *table(_facts(analysis), width),
        "",
        *_tensors("Inputs", model.signature.inputs, width),
        *_tensors("Outputs", model.signature.outputs, width),
    ]


def batch_lines(analysis: Analysis, width: int) -> list[str]:
    """Whether requests may be merged, and why."""
    verdict = "yes" if analysis.batch_axis.supported else "no"
    return [heading(f"Batching: {verdict}"), *paragraph(clean(analysis.batch_axis.reason, 600), width)]


def shape_text(spec: TensorSpec) -> str:
    """A datatype and a shape: `FP32 [batch, 3, 224, 224]`."""
    dims = ", ".join("?" if dim is None else clean(dim, 24) for dim in spec.shape)
    return f"{spec.datatype.name} [{dims}]"


def _kind(model: ModelInfo) -> str:
    kind = {"onnx": "ONNX"}.get(model.format, clean(model.format))
    domains = sorted(model.opsets.items(), key=lambda item: item[0] != "ai.onnx")
    opsets = ", ".join(
        f"opset {version}" if name == "ai.onnx" else f"{clean(name)} {version}" for name, version in domains
    )
    return f"{kind}, {opsets}, IR {clean(model.format_version)}" if opsets else kind


def _facts(analysis: Analysis) -> list[tuple[str, str]]:
    model, weights = analysis.model, analysis.model.weights
    by_type = ", ".join(f"{clean(name)} {human_bytes(size)}" for name, size in weights.bytes_by_type.items())
    files = f" in {len(model.files)} files" if len(model.files) > 1 else ""
    facts = [
        ("Size", f"{human_bytes(model.size_bytes)}{files}"),
        ("Weights", f"{human_count(weights.parameters)} parameters{f' ({by_type})' if by_type else ''}"),
        ("Operators", _operators(model)),
    ]
    if model.producer:
        facts.append(("Producer", clean(model.producer)))
    if model.digest:
        facts.append(("Digest", clean(model.digest, 100)))
    if analysis.trial is not None:
        trial = analysis.trial
        facts.append(
            (
                "Trial run",
                f"loads in {human_seconds(trial.load_s)}, runs in {human_seconds(trial.run_s)} at batch 1, "
                f"peak memory {human_bytes(trial.peak_memory_bytes)}",
            )
        )
    return facts


def _operators(model: ModelInfo) -> str:
    common = sorted(model.operators.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{clean(name, 40)} {count}" for name, count in common[:_MOST_OPERATORS])
    more = len(common) - _MOST_OPERATORS
    return f"{shown}, and {more} more kinds" if more > 0 else shown or "none"


def _tensors(title: str, specs: tuple[TensorSpec, ...], width: int) -> list[str]:
    rows = [(clean(spec.name, 40), shape_text(spec)) for spec in specs[:_MOST_TENSORS]]
    lines = [heading(title), *table(rows, width)]
    if len(specs) > _MOST_TENSORS:
        lines.append(f"  and {len(specs) - _MOST_TENSORS} more; --json lists them all")
    return lines
