"""The attributes of nodes as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import onnx

from nimify.analysis.inference.scope import MAX_FOLDED
from nimify.analysis.inference.trees import VISITS, visits

_NONE: Final[dict[str, Any]] = {}


class AttributeReader:
    """Decodes attributes; nodes with equal ones share the answer, which nobody changes."""

    def __init__(self) -> None:
        self._known: dict[bytes, dict[str, Any]] = {}

    def read(self, node: onnx.NodeProto) -> tuple[dict[str, Any], bytes]:
        """Values by name (numbers, text, lists; tensors and graphs stay what they are), and what tells them apart."""
        if not node.attribute:
            return _NONE, b""
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            return _decoded(node.attribute), b""
        key = b"".join(attribute.SerializeToString(deterministic=True) for attribute in node.attribute)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = _decoded(node.attribute)
        return found, key


def plain_attributes(operator: str, attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """The attributes that estimates may need: short and simple ones, and what long ones of trees amount to."""
    if operator.startswith("TreeEnsemble"):
        count = visits(attributes)
        attributes = attributes if count is None else {**attributes, VISITS: count}
    if all(_is_plain(value) for value in attributes.values()):
        return attributes
    return {name: value for name, value in attributes.items() if _is_plain(value)}


def _decoded(attributes: Sequence[onnx.AttributeProto]) -> dict[str, Any]:
    result = {}
    for attribute in attributes:
        if attribute.ref_attr_name or not isinstance(attribute.name, str):
            continue
        try:
            value = onnx.helper.get_attribute_value(attribute)
        except ValueError:
            continue
        if attribute.type in (onnx.AttributeProto.FLOATS, onnx.AttributeProto.INTS, onnx.AttributeProto.STRINGS):
            value = [_text(item) for item in value]
        result[attribute.name] = _text(value)
    return result


def _text(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) <= MAX_FOLDED and all(isinstance(item, int | float | str) for item in value)
    return isinstance(value, int | float | str)
