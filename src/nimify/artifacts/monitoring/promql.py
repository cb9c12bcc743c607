"""Pieces of PromQL, built so that a value can never end its quotes."""

from __future__ import annotations

from typing import Final

_ESCAPES: Final = {"\\": r"\\", '"': r"\"", "\n": r"\n"}
_UNITS_MS: Final = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))
BY_SERVICE: Final = "by (namespace, job)"
"""The replicas of one service in one namespace, as one."""


def quoted(value: str) -> str:
    """A string literal."""
    return '"' + "".join(_escaped(character) for character in value) + '"'


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    code = ord(character)
    if 0xD800 <= code <= 0xDFFF:
        return "\\ufffd"  # a surrogate stands for a byte that is no text, and cannot be written
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def equals(label: str, value: str) -> str:
    """A matcher: the label has this value."""
    return f"{label}={quoted(value)}"


def duration(seconds: float) -> str:
    """A duration in the largest unit that says it in whole numbers: `5m`, `1h`, `500ms`."""
    milliseconds = max(1, round(seconds * 1000))
    unit, size = next((unit, size) for unit, size in _UNITS_MS if milliseconds % size == 0)
    return f"{milliseconds // size}{unit}"


def number(value: float) -> str:
    """A number without noise from floating-point arithmetic."""
    return f"{value:.9g}"


def bucket(bound: float) -> str:
    """A matcher for one bucket of a histogram.

    Prometheus 3 writes the bound of `le="1"` as `1.0`; Prometheus 2 leaves it as it came.
    """
    text = number(bound)
    return f'le=~"{text}|{text}\\\\.0"' if bound.is_integer() else equals("le", text)
