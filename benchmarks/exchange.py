"""Requests of the Open Inference Protocol, as bytes, and their answers, as arrays."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
import orjson
from benchmarks.failure import NoAnswer
from benchmarks.models import Array

_DATATYPES: Final[dict[np.dtype[Any], str]] = {np.dtype(np.float32): "FP32", np.dtype(np.int64): "INT64"}
_DTYPES: Final = {name: dtype for dtype, name in _DATATYPES.items()}
_HEADER_LENGTH: Final = "Inference-Header-Content-Length"


class Protocol(StrEnum):
    """How tensors travel."""

    JSON = "json"
    BINARY = "binary"


@dataclass(frozen=True, slots=True)
class Request:
    """One request, ready to be sent any number of times."""

    path: str
    headers: Mapping[str, str]
    body: bytes


def infer_request(model: str, protocol: Protocol, inputs: Mapping[str, Array]) -> Request:
    """The request that runs a model on these inputs."""
    path = f"/v2/models/{model}/infer"
    if protocol is Protocol.JSON:
        # Numbers are written with the fewest digits that still name the same FP32.
        tensors = [{**_described(name, array), "data": array.ravel()} for name, array in inputs.items()]
        body = orjson.dumps({"inputs": tensors}, option=orjson.OPT_SERIALIZE_NUMPY)
        return Request(path, {"Content-Type": "application/json"}, body)
    tensors = [
        {**_described(name, array), "parameters": {"binary_data_size": array.nbytes}} for name, array in inputs.items()
    ]
    header = orjson.dumps({"inputs": tensors, "parameters": {"binary_data_output": True}})
    body = header + b"".join(array.tobytes() for array in inputs.values())
    return Request(path, {"Content-Type": "application/octet-stream", _HEADER_LENGTH: str(len(header))}, body)


def _described(name: str, array: Array) -> dict[str, Any]:
    return {"name": name, "shape": list(array.shape), "datatype": _DATATYPES[array.dtype]}


def is_ready(port: int) -> bool:
    """Whether a server says that it takes requests."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def send(port: int, request: Request, *, timeout_s: float = 60.0) -> Array:
    """Send a request on a connection of its own; the first output of the answer.

    Raises:
        NoAnswer: Nobody listens, or what came back is not an answer.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("POST", request.path, request.body, dict(request.headers))
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise NoAnswer(f"the answer was {response.status}: {body[:200].decode(errors='replace')}")
        header_length = response.getheader(_HEADER_LENGTH)
        return _first_output(body, int(header_length) if header_length else None)
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswer(f"there was no answer: {error!r}") from error
    except (ValueError, LookupError, TypeError) as error:
        raise NoAnswer(f"the answer cannot be read: {error!r}") from error
    finally:
        connection.close()


def _first_output(body: bytes, header_length: int | None) -> Array:
    output = json.loads(body[:header_length])["outputs"][0]
    dtype, shape = _DTYPES[output["datatype"]], tuple(output["shape"])
    if "data" in output:
        return np.array(output["data"], dtype).reshape(shape)
    size = output["parameters"]["binary_data_size"]
    return np.frombuffer(body[header_length:][:size], dtype).reshape(shape)
