"""Gives every free axis of a model a length, so that its graph can be inferred with numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from nimify.tensors import Dim, Signature, TensorSpec

IMAGE_LENGTH: Final = 224
SEQUENCE_LENGTH: Final = 128
OTHER_LENGTH: Final = 64

_BATCH_WORDS: Final = ("batch", "bs")
_SEQUENCE_WORDS: Final = ("seq", "length", "token", "time", "text")
_IMAGE_WORDS: Final = ("height", "width")
_IMAGE_NAMES: Final = frozenset({"h", "w"})
_PAST_WORDS: Final = ("past", "cache")


def default_binding(
    signature: Signature,
    *,
    batch: int = 1,
    sequence: int = SEQUENCE_LENGTH,
    lengths: Mapping[str, int] | None = None,
    ran_with: Mapping[str, tuple[int, ...]] | None = None,
) -> dict[str, int]:
    """A length for each free axis of the inputs.

    The first axis of each input is the batch. Another axis gets what was asked for; else the length with which the
    model is known to run; else what its name suggests.

    Args:
        signature: What the model takes.
        batch: Length of the batch axis.
        sequence: Length of axes that are called like a sequence of tokens or steps.
        lengths: What was asked for, by the axis' name or `<input>.<axis>`.
        ran_with: Shapes of inputs, by name, with which the model ran.

    Returns:
        Lengths by the axis' name; an axis without a name is called `<input>.<axis>`, e.g. `image.2`.
    """
    lengths, ran_with = lengths or {}, ran_with or {}
    free = list(_free_axes(signature))
    # An axis that is first anywhere is the batch everywhere.
    batch_names = {name for name, _, axis in free if axis == 0 and not _is_other(name)}
    binding: dict[str, int] = {}
    for name, spec, axis in free:
        if name in lengths:
            binding[name] = lengths[name]
        elif name in batch_names:
            binding[name] = batch
        elif name not in binding:
            known = ran_with.get(spec.name, ())
            suggested = _suggested(name, spec, axis, sequence=sequence, batch=batch)
            binding[name] = known[axis] if axis < len(known) else suggested
    return binding


def axis_name(spec_name: str, axis: int, dim: Dim) -> str:
    """What a free axis is called in a binding."""
    return dim if isinstance(dim, str) and dim else f"{spec_name}.{axis}"


def free_axis_names(signature: Signature) -> tuple[str, ...]:
    """The names of all axes that a binding gives a length, each once."""
    return tuple(dict.fromkeys(name for name, _, _ in _free_axes(signature)))


def _free_axes(signature: Signature) -> Iterator[tuple[str, TensorSpec, int]]:
    for spec in signature.inputs:
        for axis, dim in enumerate(spec.shape):
            if not isinstance(dim, int):
                yield axis_name(spec.name, axis, dim), spec, axis


def _is_other(name: str) -> bool:
    """Whether the first axis says itself that it is no batch, e.g. `sequence` in models that put time first."""
    lowered = name.lower()
    if any(word in lowered for word in _BATCH_WORDS) or "." in lowered:
        return False
    return any(word in lowered for word in _SEQUENCE_WORDS)


def _suggested(name: str, spec: TensorSpec, axis: int, *, sequence: int, batch: int) -> int:
    lowered = name.lower()
    if any(word in lowered for word in _BATCH_WORDS):
        return batch
    if any(word in lowered for word in _PAST_WORDS) and not any(word in lowered for word in ("+", "total")):
        return sequence
    if any(word in lowered for word in _IMAGE_WORDS) or lowered in _IMAGE_NAMES:
        return IMAGE_LENGTH
    if any(word in lowered for word in _SEQUENCE_WORDS):
        return sequence
    if len(spec.shape) == 4 and axis >= 2 and spec.datatype.is_float:
        return IMAGE_LENGTH
    if len(spec.shape) == 2 and axis == 1 and spec.datatype.is_integer:
        return sequence
    return OTHER_LENGTH
