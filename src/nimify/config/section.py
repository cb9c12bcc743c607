"""What every section of nimify.yaml has in common."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from nimify.quantities import SIZE_PATTERN, parse_size, size_text


class Section(BaseModel):
    """A part of nimify.yaml: frozen, strict, and with nothing in it that has no name."""

    # Strict, because YAML turns `yes` into a boolean, which must not become the number 1.
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def _bytes(size: Any) -> Any:
    return parse_size(size) if isinstance(size, str) else size


ByteSize = Annotated[
    int,
    BeforeValidator(_bytes),
    PlainSerializer(size_text, when_used="json"),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": f"^{SIZE_PATTERN}$"}, {"type": "integer", "minimum": 1}]}),
    Field(ge=1 << 20),
]
"""A number of bytes, or a size such as `512Mi`."""
