"""What the model takes and gives, and what it is made of."""

from __future__ import annotations

from typing import Final

from nimify.analysis.analysis import Analysis
from nimify.quantities import human_bytes, human_count
from nimify.reports.blocks import card, note, table
from nimify.reports.markup import Markup, element, plain
from nimify.tensors import TensorSpec

_MOST_TENSORS: Final = 40


def signature_section(analysis: Analysis) -> Markup:
    """Inputs and outputs, and whether requests may be merged."""
    model = analysis.model
    rows = [
        *_rows("input", model.signature.inputs),
        *_rows("output", model.signature.outputs),
    ]
    weights = model.weights
    by_type = ", ".join(f"{plain(name)} {human_bytes(size)}" for name, size in weights.bytes_by_type.items())
    return card(
        "Signature",
        table(("Tensor", "", "Type", "Shape"), rows[:_MOST_TENSORS]),
        note(f"and {len(rows) - _MOST_TENSORS} more") if len(rows) > _MOST_TENSORS else None,
        element(
            "p",
            f"Batching: {'yes' if analysis.batch_axis.supported else 'no'}. {plain(analysis.batch_axis.reason, 400)}",
        ),
        element("p", f"Weights: {human_count(weights.parameters)} parameters{f' ({by_type})' if by_type else ''}."),
    )


def _rows(role: str, specs: tuple[TensorSpec, ...]) -> list[tuple[Markup, str, str, str]]:
    return [(element("code", plain(spec.name)), role, spec.datatype.name, shape_text(spec)) for spec in specs]


def shape_text(spec: TensorSpec) -> str:
    """A shape, its free axes by name."""
    return f"[{', '.join('?' if dim is None else plain(dim, 24) for dim in spec.shape)}]"
