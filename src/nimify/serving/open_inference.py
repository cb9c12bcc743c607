"""Messages of the Open Inference Protocol over REST: JSON, or JSON followed by raw tensors.

Knows nothing of HTTP but that a binary message tells the length of its JSON part beside the body
(`Inference-Header-Content-Length`). Used by the server, by golden requests and by the checks of a live service, so
that all of them speak the same protocol.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import orjson

from nimify.serving.engines.engine import Array
from nimify.serving.faults import RequestFault, invalid
from nimify.serving.json_tensors import array_from_list, checked_shape, fitted, json_ready, quoted
from nimify.serving.long_arrays import LongArrays, LongText
from nimify.serving.raw_tensors import array_from_bytes, bytes_from_array, view_of_array
from nimify.tensors import DATATYPES, Datatype, TensorSpec

HEADER_LENGTH: Final = "Inference-Header-Content-Length"
"""The HTTP header that tells how many bytes of a body are JSON."""
MAX_TENSORS: Final = 1024
"""Inputs, or outputs, that one message may list."""

_PARAMETER_TYPES: Final = (str, int, float, bool)
_DUMP_OPTIONS: Final = orjson.OPT_SERIALIZE_NUMPY


@dataclass(frozen=True, slots=True)
class Message:
    """A decoded message.

    Attributes:
        fields: The JSON object without its tensors.
        tensors: The arrays by name, in the order of the message.
        datatypes: The datatypes by name.
    """

    fields: Mapping[str, Any]
    tensors: Mapping[str, Array]
    datatypes: Mapping[str, Datatype] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OutputTensor:
    """One tensor of a message to be written.

    Attributes:
        binary: As raw bytes behind the JSON part, instead of inside it.
    """

    name: str
    datatype: Datatype
    array: Array
    binary: bool


def parse_object(text: bytes | bytearray | memoryview) -> dict[str, Any]:
    """A JSON object.

    Raises:
        RequestFault: It is not valid JSON, or not an object.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise invalid("The body is not valid JSON.") from None
    if type(value) is not dict:
        raise invalid("The body must be a JSON object.")
    return value


def split(
    body: bytes | bytearray | memoryview | mmap.mmap, header_length: int | None
) -> tuple[dict[str, Any], memoryview]:
    """The JSON part of a body as an object, and the raw bytes behind it.

    Args:
        body: The whole body.
        header_length: How many bytes of it are JSON; `None` when all are.

    Raises:
        RequestFault: The JSON part is not a JSON object, or is longer than the body.
    """
    if header_length is None:
        return parse_object(memoryview(body)), memoryview(b"")
    view = memoryview(body)
    return parse_object(_checked_header(view, header_length)), view[header_length:]


def split_long(
    body: bytes | bytearray | memoryview | mmap.mmap, header_length: int | None
) -> tuple[LongArrays, dict[str, Any], memoryview]:
    """As `split`, for a body that is too long to be read in one piece: its long arrays come beside it."""
    view = memoryview(body)
    if header_length is None and not isinstance(body, memoryview):
        arrays, raw = LongArrays(body), memoryview(b"")
    else:
        header = view if header_length is None else _checked_header(view, header_length)
        arrays, raw = LongArrays(bytes(header)), view[len(header) :]
    return arrays, parse_object(arrays.skeleton), raw


def _checked_header(view: memoryview, header_length: int) -> memoryview:
    if not 0 <= header_length <= len(view):
        raise invalid(f"{HEADER_LENGTH} says {header_length} bytes, but the body has {len(view)}.")
    return view[:header_length]


def decode_tensors(
    rows: Any, raw: memoryview, *, key: str, long_arrays: LongArrays | None = None
) -> tuple[dict[str, Array], dict[str, Datatype]]:
    """The tensors that a message lists under `inputs` or `outputs`.

    Args:
        rows: The list, as parsed.
        raw: The bytes behind the JSON part.
        key: What the list is called, for messages.
        long_arrays: What was cut out of the message, when it is long.

    Raises:
        RequestFault: The list is not well formed, or a tensor does not hold what it says.
    """
    if type(rows) is not list or not rows or len(rows) > MAX_TENSORS:
        raise invalid(f"'{key}' must be a list of 1 to {MAX_TENSORS} tensors.")
    tensors: dict[str, Array] = {}
    datatypes: dict[str, Datatype] = {}
    position = 0
    for row in rows:
        name, datatype, shape = _described(row, key)
        if name in tensors:
            raise invalid(f"{quoted(name)} is given twice.")
        size = _binary_size(row, name)
        if size is None:
            tensors[name] = _json_tensor(row.get("data"), datatype, shape, name, long_arrays)
        else:
            if size > len(raw) - position:
                raise invalid(f"{quoted(name)} says {size} binary bytes, but only {len(raw) - position} are left.")
            tensors[name] = array_from_bytes(raw[position : position + size], datatype, shape, name)
            position += size
        datatypes[name] = datatype
    if long_arrays is not None:
        long_arrays.check_unread()
    if position != len(raw):
        raise invalid(f"The body has {len(raw) - position} bytes more than its tensors take.")
    return tensors, datatypes


def _json_tensor(
    data: Any, datatype: Datatype, shape: tuple[int, ...], name: str, long_arrays: LongArrays | None
) -> Array:
    text = None if long_arrays is None else long_arrays.find(data)
    if text is None:
        return array_from_list(data, datatype, shape, name)
    array = text.array(datatype, name)
    return array_from_list(array, datatype, shape, name) if isinstance(array, list) else fitted(array, shape, name)


def _described(row: Any, key: str) -> tuple[str, Datatype, tuple[int, ...]]:
    if type(row) is not dict:
        raise invalid(f"Each entry of '{key}' must be an object.")
    name = row.get("name")
    if type(name) is not str or not name:
        raise invalid(f"Each entry of '{key}' needs a 'name'.")
    datatype = DATATYPES.get(row["datatype"]) if type(row.get("datatype")) is str else None
    if datatype is None:
        raise invalid(f"The datatype of {quoted(name)} must be one of {', '.join(DATATYPES)}.")
    return name, datatype, checked_shape(row.get("shape"), name)


def _binary_size(row: Mapping[str, Any], name: str) -> int | None:
    given = row.get("parameters")
    if given is None:
        return None
    parameters = checked_parameters(given, "the parameters of {}", name)
    check_in_message(parameters, name)
    size = parameters.get("binary_data_size")
    if size is None:
        return None
    if type(size) is not int or size < 0:
        raise invalid(f"'binary_data_size' of {quoted(name)} must be a whole number, 0 or more.")
    if "data" in row:
        raise invalid(f"{quoted(name)} has both 'data' and 'binary_data_size'.")
    return size


def checked_parameters(parameters: Any, what: str, name: str = "") -> dict[str, Any]:
    """A `parameters` object: names to booleans, numbers or strings.

    Args:
        parameters: As parsed.
        what: What they are, for messages.
        name: Whose they are; put in the place of `{}`, and only when there is a message to be written.

    Raises:
        RequestFault: It is something else.
    """
    if parameters is None:
        return {}
    if type(parameters) is not dict:
        raise invalid(f"Cannot use {what.format(quoted(name))}: it must be an object.")
    for value in parameters.values():
        if not isinstance(value, _PARAMETER_TYPES):
            raise invalid(
                f"Cannot use {what.format(quoted(name))}: each value must be a string, a number or a boolean."
            )
    return parameters


def check_in_message(parameters: Mapping[str, Any], name: str) -> None:
    """Refuse a tensor that is, or shall be put, in memory that its client means to share.

    Raises:
        RequestFault: Its parameters say so.
    """
    if "shared_memory_region" in parameters:
        raise invalid(f"{quoted(name)} is said to be in shared memory, which is not offered: send it in the message.")


def encode(fields: Mapping[str, Any], tensors: Iterable[OutputTensor], *, key: str) -> tuple[bytes, int | None]:
    """Write a message.

    Args:
        fields: What the JSON object holds beside its tensors.
        tensors: The tensors, in order.
        key: `inputs` or `outputs`.

    Returns:
        The body, and the length of its JSON part, or `None` when the whole body is JSON.
    """
    rows: list[dict[str, Any]] = []
    blobs: list[bytes] = []
    for tensor in tensors:
        row = _row(tensor)
        if tensor.binary:
            blob = bytes_from_array(tensor.array, tensor.datatype)
            row["parameters"] = {"binary_data_size": len(blob)}
            blobs.append(blob)
        else:
            row["data"] = json_ready(tensor.array.reshape(-1), tensor.datatype)
        rows.append(row)
    header = orjson.dumps({**fields, key: rows}, option=_DUMP_OPTIONS)
    return (b"".join((header, *blobs)), len(header)) if blobs else (header, None)


def _row(tensor: OutputTensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype.name, "shape": list(tensor.array.shape)}


def encode_long(
    fields: Mapping[str, Any], tensors: Iterable[OutputTensor], *, key: str
) -> tuple[memoryview, int | None]:
    """Write a long message beside an event loop, so that no step of it takes long; see `encode`."""
    rows: list[dict[str, Any]] = []
    blobs: list[memoryview] = []
    text = LongText()
    for tensor in tensors:
        row = _row(tensor)
        if tensor.binary:
            blob = view_of_array(tensor.array, tensor.datatype)
            row["parameters"] = {"binary_data_size": len(blob)}
            blobs.append(blob)
        else:
            ready = json_ready(tensor.array.reshape(-1), tensor.datatype)
            row["data"] = text.cut(ready) if isinstance(ready, np.ndarray) else ready
        rows.append(row)
    skeleton = orjson.dumps({**fields, key: rows}, option=_DUMP_OPTIONS)
    body = text.join(skeleton, *blobs)
    return body, len(body) - sum(map(len, blobs)) if blobs else None


def encode_request(
    inputs: Mapping[str, Array],
    specs: Iterable[TensorSpec],
    *,
    id: str = "",
    outputs: Sequence[str] = (),
    binary: bool,
) -> tuple[bytes, int | None]:
    """An inference request.

    Args:
        inputs: The arrays by name.
        specs: Their datatypes; tensors are written in this order.
        id: The request's id.
        outputs: Names of the wanted outputs; all when empty.
        binary: Whether tensors travel as raw bytes, both ways.

    Returns:
        The body, and the length of its JSON part, or `None` when the whole body is JSON.
    """
    fields: dict[str, Any] = {"id": id} if id else {}
    if binary:
        fields["parameters"] = {"binary_data_output": True}
    if outputs:
        fields["outputs"] = [{"name": name} for name in outputs]
    tensors = [OutputTensor(spec.name, spec.datatype, inputs[spec.name], binary) for spec in specs]
    return encode(fields, tensors, key="inputs")


def encode_response(
    outputs: Mapping[str, Array],
    specs: Iterable[TensorSpec],
    *,
    model_name: str,
    model_version: str,
    id: str = "",
    binary: bool,
) -> tuple[bytes, int | None]:
    """An inference response; see `encode_request`."""
    fields = {"model_name": model_name, "model_version": model_version} | ({"id": id} if id else {})
    tensors = [OutputTensor(spec.name, spec.datatype, outputs[spec.name], binary) for spec in specs]
    return encode(fields, tensors, key="outputs")


def decode_request(body: bytes, header_length: int | None) -> Message:
    """Read an inference request.

    Raises:
        RequestFault: It is not well formed.
    """
    return _decode(body, header_length, "inputs")


def decode_response(body: bytes, header_length: int | None) -> Message:
    """Read an inference response.

    Raises:
        RequestFault: It is not well formed.
    """
    return _decode(body, header_length, "outputs")


def _decode(body: bytes, header_length: int | None, key: str) -> Message:
    fields, raw = split(body, header_length)
    rows = fields.pop(key, None)
    tensors, datatypes = decode_tensors(rows, raw, key=key)
    return Message(fields, tensors, datatypes)


__all__ = [
    "HEADER_LENGTH",
    "MAX_TENSORS",
    "Message",
    "OutputTensor",
    "RequestFault",
    "check_in_message",
    "checked_parameters",
    "decode_request",
    "decode_response",
    "decode_tensors",
    "encode",
    "encode_long",
    "encode_request",
    "encode_response",
    "parse_object",
    "split",
    "split_long",
]
