"""Finds the rule for a node: one of ours, or what `onnx` knows of its operator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import onnx

from nimify.analysis.inference.blocked import BLOCKED_RULES
from nimify.analysis.inference.call import Call, NotInferable, Rule
from nimify.analysis.inference.classic import CLASSIC_RULES
from nimify.analysis.inference.constants import constant, folded
from nimify.analysis.inference.data_dependent import BOUND_REASON, BOUNDED, BOUNDED_IF_UNKNOWN
from nimify.analysis.inference.functions import Opsets
from nimify.analysis.inference.kinds import Array, Kind, Tensor
from nimify.analysis.inference.microsoft import MICROSOFT_RULES
from nimify.analysis.inference.resizing import REFINED
from nimify.analysis.inference.standard import STANDARD_RULES, StandardInference
from nimify.errors import shortened
from nimify.formats.onnx_graph import STANDARD_DOMAIN

_RULES: Final[Mapping[str, Mapping[str, Rule]]] = {
    STANDARD_DOMAIN: {**STANDARD_RULES, **BOUNDED},
    "ai.onnx.ml": CLASSIC_RULES,
    "com.microsoft": MICROSOFT_RULES,
    "com.microsoft.nchwc": BLOCKED_RULES,
}


class Found(NamedTuple):
    """What a node gives.

    Attributes:
        kinds: One per output; fewer when not all are known.
        arrays: Content of outputs, where known.
        reason: Why this is an assumption; empty when it is certain.
    """

    kinds: Sequence[Kind]
    arrays: Sequence[Array | None]
    reason: str


class OperatorInference:
    """Infers single nodes that have no bodies."""

    def __init__(self) -> None:
        self._standard = StandardInference()

    def outputs(self, node: onnx.NodeProto, call: Call, opsets: Opsets) -> Found:
        """What a node gives.

        Raises:
            NotInferable: Nothing is known of its operator, or its inputs contradict it.
        """
        standard = call.domain == STANDARD_DOMAIN
        if standard and node.op_type == "Constant":
            kind, array = constant(call)
            return Found((kind,), (array,), "")
        rule = _RULES.get(call.domain, {}).get(node.op_type)
        if rule is None:
            kinds, reason = self._by_schema(node, call, opsets)
        else:
            kinds, reason = rule(call), BOUND_REASON if standard and node.op_type in BOUNDED else ""
        arrays = folded(call, kinds)
        if reason == BOUND_REASON and arrays and all(array is not None for array in arrays):
            # Its data is a constant, so that the bound can give way to the truth.
            return Found([_as_is(kind, array) for kind, array in zip(kinds, arrays, strict=False)], arrays, "")
        return Found(kinds, arrays, reason)

    def _by_schema(self, node: onnx.NodeProto, call: Call, opsets: Opsets) -> tuple[Sequence[Kind], str]:
        schema = self._standard.schema(node, call.domain, opsets.get(call.domain, 1))
        if schema is None:
            # ONNX Runtime's optimiser writes some of its own operators into the standard domain.
            if call.domain == STANDARD_DOMAIN and node.op_type in MICROSOFT_RULES:
                return MICROSOFT_RULES[node.op_type](call), ""
            raise NotInferable(f"nothing is known of operator {shortened(call.domain)}::{shortened(node.op_type)}")
        kinds = self._standard.outputs(node, schema, call, opsets)
        bound = BOUNDED_IF_UNKNOWN.get(node.op_type) if call.domain == STANDARD_DOMAIN else None
        if bound is not None and any(isinstance(kind, Tensor) and kind.shape is None for kind in kinds):
            return bound(call), BOUND_REASON
        refine = REFINED.get(node.op_type) if call.domain == STANDARD_DOMAIN else None
        return (kinds if refine is None else refine(call, kinds)), ""


def _as_is(kind: Kind, array: Array | None) -> Kind:
    return Tensor(kind.element_type, array.shape) if isinstance(kind, Tensor) and array is not None else kind
