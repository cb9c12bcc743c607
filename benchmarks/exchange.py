"""Requests that run a model, as bytes, and their answers, as arrays."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
import orjson
from benchmarks import grpc_exchange
from benchmarks.datatypes import DATATYPES, DTYPES
from benchmarks.failure import NoAnswer
from benchmarks.models import Array

_HEADER_LENGTH: Final = "Inference-Header-Content-Length"
_JSON: Final[Mapping[str, str]] = {"Content-Type": "application/json"}


class Protocol(StrEnum):
    """How tensors travel: in the three forms of the Open Inference Protocol, or as plain nested lists in JSON."""

    JSON = "json"
    BINARY = "binary"
    GRPC = "grpc"
    LISTS = "lists"


@dataclass(frozen=True, slots=True)
class Request:
    """One request, ready to be sent any number of times.

    Attributes:
        protocol: How its tensors travel.
        path: Where it goes.
        headers: What goes before the body.
        body: The bytes of its body; those of a gRPC call have the frame's head.
    """

    protocol: Protocol
    path: str
    headers: Mapping[str, str]
    body: bytes


def infer_request(model: str, protocol: Protocol, inputs: Mapping[str, Array]) -> Request:
    """The request that runs a model on these inputs."""
    match protocol:
        case Protocol.JSON:
            return _json(model, inputs)
        case Protocol.BINARY:
            return _binary(model, inputs)
        case Protocol.GRPC:
            body = grpc_exchange.framed_message(model, inputs)
            return Request(protocol, grpc_exchange.PATH, grpc_exchange.HEADERS, body)
        case Protocol.LISTS:
            return _lists(inputs)


def _json(model: str, inputs: Mapping[str, Array]) -> Request:
    # Numbers are written with the fewest digits that still name the same FP32.
    tensors = [{**_described(name, array), "data": array.ravel()} for name, array in inputs.items()]
    body = orjson.dumps({"inputs": tensors}, option=orjson.OPT_SERIALIZE_NUMPY)
    return Request(Protocol.JSON, f"/v2/models/{model}/infer", _JSON, body)


def _binary(model: str, inputs: Mapping[str, Array]) -> Request:
    tensors = [
        {**_described(name, array), "parameters": {"binary_data_size": array.nbytes}} for name, array in inputs.items()
    ]
    header = orjson.dumps({"inputs": tensors, "parameters": {"binary_data_output": True}})
    headers = {"Content-Type": "application/octet-stream", _HEADER_LENGTH: str(len(header))}
    body = header + b"".join(array.tobytes() for array in inputs.values())
    return Request(Protocol.BINARY, f"/v2/models/{model}/infer", headers, body)


def _lists(inputs: Mapping[str, Array]) -> Request:
    """One argument named `x`: who merges requests by an argument can have no second one, so two inputs are stacked."""
    arrays = list(inputs.values())
    argument = arrays[0] if len(arrays) == 1 else np.stack(arrays, axis=1)
    body = orjson.dumps({"x": np.ascontiguousarray(argument)}, option=orjson.OPT_SERIALIZE_NUMPY)
    return Request(Protocol.LISTS, "/infer", _JSON, body)


def _described(name: str, array: Array) -> dict[str, Any]:
    return {"name": name, "shape": list(array.shape), "datatype": DATATYPES[array.dtype]}


def is_ready(port: int, path: str = "/v2/health/ready") -> bool:
    """Whether a server says that it takes requests."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        output: The first output.
        length: Bytes of the body.
    """

    output: Array
    length: int


def send(port: int, request: Request, *, timeout_s: float = 60.0) -> Answer:
    """Send a request on a connection of its own.

    Raises:
        NoAnswer: Nobody listens, or what came back is not an answer.
    """
    try:
        if request.protocol is Protocol.GRPC:
            return Answer(*grpc_exchange.call(port, request.body, timeout_s=timeout_s))
        return _post(port, request, timeout_s)
    except (ValueError, LookupError, TypeError) as error:
        raise NoAnswer(f"the answer cannot be read: {error!r}") from error


def _post(port: int, request: Request, timeout_s: float) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("POST", request.path, request.body, dict(request.headers))
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswer(f"there was no answer: {error!r}") from error
    finally:
        connection.close()
    if response.status != 200:
        raise NoAnswer(f"the answer was {response.status}: {body[:200].decode(errors='replace')}")
    if request.protocol is Protocol.LISTS:
        return Answer(np.array(json.loads(body), np.float32), len(body))
    header_length = response.getheader(_HEADER_LENGTH)
    return Answer(_first_output(body, int(header_length) if header_length else None), len(body))


def _first_output(body: bytes, header_length: int | None) -> Array:
    output = json.loads(body[:header_length])["outputs"][0]
    dtype, shape = DTYPES[output["datatype"]], tuple(output["shape"])
    if "data" in output:
        return np.array(output["data"], dtype).reshape(shape)
    size = output["parameters"]["binary_data_size"]
    return np.frombuffer(body[header_length:][:size], dtype).reshape(shape)
