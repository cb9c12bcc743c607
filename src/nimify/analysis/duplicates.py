"""Which weights inside a model file are stored twice, found without reading most of them.

Only tensors of one type, shape and length can be equal. Of these, samples from three places are compared first; what
still looks equal is hashed as a whole, up to a limit. So the cost follows the number of tensors and the size of true
copies, not the size of the model.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from nimify.analysis.graph import InferredGraph
from nimify.errors import ModelError
from nimify.formats.limits import MAX_NAME_LENGTH
from nimify.formats.model_file import open_model_file
from nimify.formats.wire import LENGTH, Field, WireError, WireReader

MIN_BYTES: Final = 64 << 10
"""Smaller tensors are not worth a hint."""
MAX_HASHED_BYTES: Final = 256 << 20
"""What is read in full at most; copies beyond it are left out."""
_SAMPLE_BYTES: Final = 4 << 10
_CHUNK: Final = 1 << 20
# Field numbers: onnx.proto, ModelProto.graph, GraphProto.initializer, TensorProto.name and .raw_data.
_GRAPH: Final = 7
_INITIALIZER: Final = 5
_NAME: Final = 8
_RAW_DATA: Final = 9


class _Payload(NamedTuple):
    """Where the content of one stored tensor lies in the file."""

    name: str
    start: int
    length: int


def weight_digests(path: Path, graph: InferredGraph) -> dict[str, str]:
    """Digests of those stored tensors that have an equal twin, by name; equal digests mean equal content.

    Weights in external data are not looked at. A file that cannot be read gives nothing: its own reader says why.
    """
    try:
        with open_model_file(path) as (descriptor, size):
            payloads = list(_payloads(WireReader(descriptor, size), size))
            alike = _grouped(payloads, lambda payload: _declared(graph, payload))
            similar = [group for few in alike for group in _grouped(few, lambda one: _sample(descriptor, one))]
            return dict(_digests(descriptor, similar))
    except (ModelError, WireError, OSError):
        return {}


def _payloads(reader: WireReader, size: int) -> Iterator[_Payload]:
    for graph in _fields(reader, 0, size, _GRAPH):
        for tensor in _fields(reader, graph.value, graph.end, _INITIALIZER):
            if tensor.end - tensor.value >= MIN_BYTES:
                yield from _payload(reader, tensor)


def _payload(reader: WireReader, tensor: Field) -> Iterator[_Payload]:
    """The raw content of a tensor; tensors that hold lists of numbers are seldom and not looked at."""
    name, data = "", None
    position = tensor.value
    while position < tensor.end:
        field = reader.field(position, tensor.end)
        position = field.end
        if field.kind != LENGTH:
            continue
        if field.number == _NAME and field.end - field.value <= MAX_NAME_LENGTH:
            name = reader.content(field.value, field.end).decode("utf-8", "replace")
        elif field.number == _RAW_DATA:
            data = field
        elif field.end - field.value >= MIN_BYTES:
            return
    if name and data is not None and data.end - data.value >= MIN_BYTES:
        yield _Payload(name, data.value, data.end - data.value)


def _fields(reader: WireReader, start: int, end: int, number: int) -> Iterator[Field]:
    while start < end:
        field = reader.field(start, end)
        start = field.end
        if field.number == number and field.kind == LENGTH:
            yield field


def _declared(graph: InferredGraph, payload: _Payload) -> Any:
    value = graph.values.get(payload.name)
    return None if value is None else (value.element_type, value.shape, payload.length)


def _sample(descriptor: int, payload: _Payload) -> bytes:
    places = (0, payload.length // 2, payload.length - _SAMPLE_BYTES)
    return b"".join(os.pread(descriptor, _SAMPLE_BYTES, payload.start + place) for place in places)


def _grouped(payloads: Iterable[_Payload], key: Callable[[_Payload], Any]) -> list[list[_Payload]]:
    """Groups of at least two with one key; what has no key is in none."""
    groups: dict[Any, list[_Payload]] = defaultdict(list)
    for payload in payloads:
        found = key(payload)
        if found is not None:
            groups[found].append(payload)
    return [group for group in groups.values() if len(group) > 1]


def _digests(descriptor: int, groups: Iterable[list[_Payload]]) -> Iterator[tuple[str, str]]:
    left = MAX_HASHED_BYTES
    for group in groups:
        left -= sum(payload.length for payload in group)
        if left < 0:
            return
        for payload in group:
            yield payload.name, _digest(descriptor, payload)


def _digest(descriptor: int, payload: _Payload) -> str:
    digest, position, end = hashlib.sha256(), payload.start, payload.start + payload.length
    while position < end:
        chunk = os.pread(descriptor, min(_CHUNK, end - position), position)
        if not chunk:
            break
        digest.update(chunk)
        position += len(chunk)
    return digest.hexdigest()
