"""What no client would send, and what clients do not show: HTTP as bytes, to both servers."""

from __future__ import annotations

import gzip
import http.client
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from tests.triton.protocol.outcome import Outcome, Outcomes, flattened, tensor, text

TIMEOUT_S: Final = 60.0
"""Longer than any answer takes: a server that takes longer hangs."""
_HEADER: Final = "Inference-Header-Content-Length"


@dataclass(frozen=True)
class Call:
    """One request."""

    method: str
    path: str
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def _post(document: Any, path: str = "/v2/models/tiny/infer", **headers: str) -> Call:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return Call("POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()})


def _x(**replaced: Any) -> dict[str, Any]:
    row = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4], **replaced}
    return {key: value for key, value in row.items() if value is not None}


def _infer(*rows: Any, path: str = "/v2/models/tiny/infer", **fields: Any) -> Call:
    return _post({"inputs": list(rows) or [_x()], **fields}, path)


_FOUR: Final = struct.pack("<4f", 1, 2, 3, 4)


def _binary(size: Any = 16, *, raw: bytes = _FOUR, length: str | None = None, **fields: Any) -> Call:
    row = _x(data=None, parameters={"binary_data_size": size})
    head = json.dumps({"inputs": [row | fields.pop("row", {})], **fields}).encode()
    headers = {} if length == "none" else {_HEADER: str(len(head)) if length is None else length}
    return Call("POST", "/v2/models/tiny/infer", head + raw, headers)


def _wanted(**parameters: Any) -> Call:
    return _infer(outputs=[{"name": "y", "parameters": parameters}])


def _parameter(name: str, value: Any) -> Call:
    return _infer(parameters={name: value})


_GOOD: Final = json.dumps({"inputs": [_x()]}).encode()

TINY: Final[dict[str, Call]] = {
    # Routes.
    "GET /v2": Call("GET", "/v2"),
    "GET /v2/": Call("GET", "/v2/"),
    "GET /v2/health/live": Call("GET", "/v2/health/live"),
    "GET /v2/health/ready": Call("GET", "/v2/health/ready"),
    "GET model": Call("GET", "/v2/models/tiny"),
    "GET model version": Call("GET", "/v2/models/tiny/versions/1"),
    "GET model ready": Call("GET", "/v2/models/tiny/ready"),
    "GET model version ready": Call("GET", "/v2/models/tiny/versions/1/ready"),
    "GET config": Call("GET", "/v2/models/tiny/versions/1/config"),
    "GET stats of all": Call("GET", "/v2/models/stats"),
    "unknown model: GET": Call("GET", "/v2/models/nope"),
    "unknown version: GET": Call("GET", "/v2/models/tiny/versions/9"),
    "unknown model: GET ready": Call("GET", "/v2/models/nope/ready"),
    "unknown version: GET ready": Call("GET", "/v2/models/tiny/versions/9/ready"),
    "unknown model: GET config": Call("GET", "/v2/models/nope/config"),
    "unknown version: GET config": Call("GET", "/v2/models/tiny/versions/9/config"),
    "unknown model: GET stats": Call("GET", "/v2/models/nope/stats"),
    "unknown version: GET stats": Call("GET", "/v2/models/tiny/versions/9/stats"),
    "unknown model: POST infer": _infer(path="/v2/models/nope/infer"),
    "unknown version: POST infer": _infer(path="/v2/models/tiny/versions/9/infer"),
    "version that is no number: GET": Call("GET", "/v2/models/tiny/versions/latest"),
    "version that is no number: POST infer": _infer(path="/v2/models/tiny/versions/latest/infer"),
    "unknown route": Call("GET", "/v2/nope"),
    "unknown operation of a model": Call("GET", "/v2/models/tiny/nope"),
    "unknown protocol": Call("GET", "/v3"),
    "infer by GET": Call("GET", "/v2/models/tiny/infer"),
    "metadata by POST": Call("POST", "/v2/models/tiny", b"{}"),
    "health by POST": Call("POST", "/v2/health/live", b""),
    "health by HEAD": Call("HEAD", "/v2/health/live"),
    "index by GET": Call("GET", "/v2/repository/index"),
    "a path with an encoded letter": Call("GET", "/v2/models/tin%79"),
    "a query behind the path": Call("GET", "/v2/models/tiny?a=b"),
    # The repository's index.
    "index: no body": Call("POST", "/v2/repository/index", b""),
    "index: {}": Call("POST", "/v2/repository/index", b"{}"),
    "index: only ready": Call("POST", "/v2/repository/index", b'{"ready":true}'),
    "index: bad JSON": Call("POST", "/v2/repository/index", b"{"),
    "index: ready is a number": Call("POST", "/v2/repository/index", b'{"ready":1}'),
    # What is not offered.
    "load": Call("POST", "/v2/repository/models/tiny/load", b"{}"),
    "unload": Call("POST", "/v2/repository/models/tiny/unload", b"{}"),
    "system shared memory: GET status": Call("GET", "/v2/systemsharedmemory/status"),
    "system shared memory: POST register": Call(
        "POST", "/v2/systemsharedmemory/region/r/register", b'{"key":"/none","offset":0,"byte_size":64}'
    ),
    "system shared memory: POST unregister": Call("POST", "/v2/systemsharedmemory/unregister", b""),
    "CUDA shared memory: GET status": Call("GET", "/v2/cudasharedmemory/status"),
    "CUDA shared memory: POST register": Call(
        "POST", "/v2/cudasharedmemory/region/r/register", b'{"raw_handle":{"b64":""},"device_id":0,"byte_size":64}'
    ),
    "CUDA shared memory: POST unregister": Call("POST", "/v2/cudasharedmemory/unregister", b""),
    "input in shared memory": _infer(
        _x(data=None, parameters={"shared_memory_region": "r", "shared_memory_byte_size": 16})
    ),
    "output to shared memory": _wanted(shared_memory_region="r", shared_memory_byte_size=16),
    "trace settings: GET": Call("GET", "/v2/trace/setting"),
    "trace settings: POST": Call("POST", "/v2/trace/setting", b"{}"),
    "trace settings of a model: GET": Call("GET", "/v2/models/tiny/trace/setting"),
    "log settings: GET": Call("GET", "/v2/logging"),
    "log settings: POST": Call("POST", "/v2/logging", b"{}"),
    "generate": Call("POST", "/v2/models/tiny/generate", b'{"x":1}'),
    # Bodies.
    "infer: JSON": _infer(),
    "infer: empty body": _post(b""),
    "infer: bad JSON": _post(b"{"),
    "infer: something behind the JSON": _post(_GOOD + b"x"),
    "infer: a list": _post([]),
    "infer: null": _post(None),
    "infer: not UTF-8": _post(b'{"inputs":"\xff"}'),
    "infer: deep JSON": _post(b'{"inputs":' + b"[" * 5000 + b"]" * 5000 + b"}"),
    "infer: NaN": _post(_GOOD.replace(b"2", b"NaN", 1)),
    "infer: a key twice": _post(_GOOD[:-1] + b',"id":"a","id":"b"}'),
    "infer: an unknown key": _infer(extra=1),
    "infer: text/plain": _post(_GOOD, content_type="text/plain"),
    "infer: gzip": _post(gzip.compress(_GOOD, mtime=0), content_encoding="gzip"),
    "infer: no gzip": _post(_GOOD, content_encoding="gzip"),
    "infer: unknown encoding": _post(_GOOD, content_encoding="br"),
    "infer: packed answer asked for": _post(_GOOD, accept_encoding="gzip"),
    # Inputs.
    "no inputs key": _post({}),
    "inputs: empty": _post({"inputs": []}),
    "inputs: an object": _post({"inputs": {}}),
    "inputs: numbers": _post({"inputs": [1]}),
    "input: no name": _infer(_x(name=None)),
    "input: name is a number": _infer(_x(name=1)),
    "input: no datatype": _infer(_x(datatype=None)),
    "input: no shape": _infer(_x(shape=None)),
    "input: no data": _infer(_x(data=None)),
    "input: unknown": _infer(_x(name="z")),
    "input: one too many": _infer(_x(), _x(name="z")),
    "input: duplicate": _infer(_x(), _x()),
    "datatype: another": _infer(_x(datatype="INT32")),
    "datatype: unknown": _infer(_x(datatype="FLOAT")),
    "datatype: lower case": _infer(_x(datatype="fp32")),
    "datatype: a number": _infer(_x(datatype=1)),
    "shape: another length": _infer(_x(shape=[1, 3], data=[1, 2, 3])),
    "shape: another rank": _infer(_x(shape=[4])),
    "shape: three axes": _infer(_x(shape=[1, 1, 4])),
    "shape: empty": _infer(_x(shape=[], data=[1])),
    "shape: negative": _infer(_x(shape=[-1, 4])),
    "shape: no rows": _infer(_x(shape=[0, 4], data=[])),
    "shape: a zero inside": _infer(_x(shape=[1, 0], data=[])),
    "shape: a row too many": _infer(_x(shape=[33, 4], data=[1.0] * 132)),
    "shape: huge": _infer(_x(shape=[2**62, 4])),
    "shape: beyond 64 bits": _infer(_x(shape=[2**64, 4])),
    "shape: product wraps around": _infer(_x(shape=[2**62 + 1, 4])),
    "shape: 1.0": _infer(_x(shape=[1.0, 4])),
    "shape: a fraction": _infer(_x(shape=[1.5, 4])),
    "shape: text": _infer(_x(shape=["1", "4"])),
    "shape: a number": _infer(_x(shape=4)),
    "data: nested": _infer(_x(data=[[1, 2, 3, 4]])),
    "data: nested otherwise": _infer(_x(data=[[1, 2], [3, 4]])),
    "data: ragged": _infer(_x(data=[[1, 2, 3], [4]])),
    "data: too few": _infer(_x(data=[1, 2, 3])),
    "data: too many": _infer(_x(data=[1, 2, 3, 4, 5])),
    "data: a number": _infer(_x(data=1)),
    "data: text": _infer(_x(data=["1", "2", "3", "4"])),
    "data: booleans": _infer(_x(data=[True, False, True, False])),
    "data: null": _infer(_x(data=[1, None, 3, 4])),
    "data: beyond FP32": _infer(_x(data=[1e39, 2, 3, 4])),
    "data: beyond FP64": _post(_GOOD.replace(b"2", b"1e400", 1)),
    # Outputs.
    "outputs: empty": _infer(outputs=[]),
    "outputs: an object": _infer(outputs={}),
    "output: unknown": _infer(outputs=[{"name": "z"}]),
    "output: duplicate": _infer(outputs=[{"name": "y"}, {"name": "y"}]),
    "output: no name": _infer(outputs=[{}]),
    "output: binary": _wanted(binary_data=True),
    "output: binary is text": _wanted(binary_data="true"),
    "output: binary is a number": _wanted(binary_data=1),
    "output: unknown parameter": _wanted(own=1),
    "classification: one": _wanted(classification=1),
    "classification: binary": _wanted(classification=2, binary_data=True),
    "classification: more than there are": _wanted(classification=9),
    "classification: 0": _wanted(classification=0),
    "classification: negative": _wanted(classification=-1),
    "classification: a fraction": _wanted(classification=1.5),
    "classification: text": _wanted(classification="2"),
    "classification: beyond 32 bits": _wanted(classification=2**32 + 1),
    "classification: equal elements": _infer(
        _x(data=[2, 2, 1, 2]), outputs=[{"name": "y", "parameters": {"classification": 4}}]
    ),
    "classification: signs and sizes": _infer(
        _x(data=[-3, 1e20, 1e-9, 0.5]), outputs=[{"name": "y", "parameters": {"classification": 4}}]
    ),
    # Parameters.
    "id: text": _infer(id="a b/ü"),
    "id: empty": _infer(id=""),
    "id: a number": _infer(id=7),
    "parameters: a list": _infer(parameters=[]),
    "parameter: own": _infer(parameters={"text": "a", "number": 1, "fraction": 1.5, "truth": True}),
    "parameter: own, an object": _parameter("own", {}),
    "parameter: own, null": _parameter("own", None),
    "parameter: reserved": _parameter("triton_x", 1),
    "priority: 1": _parameter("priority", 1),
    "priority: negative": _parameter("priority", -1),
    "priority: a fraction": _parameter("priority", 1.5),
    "priority: text": _parameter("priority", "1"),
    "priority: beyond 32 bits": _parameter("priority", 2**32),
    "timeout: a minute": _parameter("timeout", 60_000_000),
    "timeout: 0": _parameter("timeout", 0),
    "timeout: negative": _parameter("timeout", -1),
    "timeout: a fraction": _parameter("timeout", 1.5),
    "timeout: text": _parameter("timeout", "1"),
    "sequence: id": _infer(parameters={"sequence_id": 5, "sequence_start": True, "sequence_end": False}),
    "sequence: text id": _infer(parameters={"sequence_id": "five"}),
    "sequence: negative id": _infer(parameters={"sequence_id": -5}),
    "sequence: start is a number": _infer(parameters={"sequence_id": 5, "sequence_start": 1}),
    "binary_data_output": _parameter("binary_data_output", True),
    "binary_data_output: a number": _parameter("binary_data_output", 1),
    # Binary tensors.
    "binary": _binary(),
    "binary: both ways": _binary(parameters={"binary_data_output": True}),
    "binary: both ways, with an id": _binary(parameters={"binary_data_output": True}, id="seven"),
    "binary: size beyond the body": _binary(20),
    "binary: size below the shape": _binary(12, raw=_FOUR[:12]),
    "binary: size above the shape": _binary(20, raw=_FOUR + b"\0\0\0\0"),
    "binary: bytes behind the tensors": _binary(raw=_FOUR + b"\0\0\0\0"),
    "binary: no bytes": _binary(raw=b""),
    "binary: size is text": _binary("16"),
    "binary: size is negative": _binary(-16),
    "binary: size is a fraction": _binary(16.5),
    "binary: data beside it": _binary(row={"data": [1, 2, 3, 4]}),
    "binary: no header length": _binary(length="none"),
    "binary: header length beyond the body": _binary(length="5000"),
    "binary: header length is text": _binary(length="abc"),
    "binary: header length is negative": _binary(length="-1"),
    "binary: header length too short": _binary(length="10"),
    "raw body": Call("POST", "/v2/models/tiny/infer", _FOUR, {_HEADER: "0"}),
    "raw body: half a row": Call("POST", "/v2/models/tiny/infer", _FOUR[:8], {_HEADER: "0"}),
    "raw body: empty": Call("POST", "/v2/models/tiny/infer", b"", {_HEADER: "0"}),
    "oversize": Call("POST", "/v2/models/tiny/infer", bytes(65 << 20), {_HEADER: "10"}),
    "infer: JSON after all that": _infer(),
}


def _word(data: Any = ("beta",), **replaced: Any) -> dict[str, Any]:
    row = {"name": "word", "datatype": "BYTES", "shape": [len(data), 1], "data": list(data), **replaced}
    return {key: value for key, value in row.items() if value is not None}


def _words(row: dict[str, Any], raw: bytes | None = None, **fields: Any) -> Call:
    head = json.dumps({"inputs": [row], **fields}).encode()
    headers = {} if raw is None else {_HEADER: str(len(head))}
    return Call("POST", "/v2/models/strings/infer", head + (raw or b""), headers)


def _packed(*items: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(item)) + item for item in items)


def _binary_word(raw: bytes, shape: tuple[int, ...] = (1, 1), **fields: Any) -> Call:
    row = _word(data=(), shape=list(shape), parameters={"binary_data_size": len(raw)})
    return _words({key: value for key, value in row.items() if key != "data"}, raw, **fields)


STRINGS: Final[dict[str, Call]] = {
    "BYTES: JSON": _words(_word(["alpha", "", "grün", "a\0b"])),
    "BYTES: numbers": _words(_word([1])),
    "BYTES: null": _words(_word([None])),
    "BYTES: too few": _words(_word(["a"], shape=[2, 1])),
    "BYTES: binary": _binary_word(_packed(b"alpha", b"", "grün".encode(), b"a\0b"), (4, 1)),
    "BYTES: binary both ways": _binary_word(_packed(b"beta"), parameters={"binary_data_output": True}),
    "BYTES: one output binary, one not": _words(
        _word(), outputs=[{"name": "echo", "parameters": {"binary_data": True}}, {"name": "code"}]
    ),
    "BYTES: no length": _binary_word(b"beta"),
    "BYTES: cut short": _binary_word(_packed(b"beta")[:-1]),
    "BYTES: length beyond the rest": _binary_word(struct.pack("<I", 2**31) + b"beta"),
    "BYTES: an element too many": _binary_word(_packed(b"beta", b"beta")),
    "BYTES: an element too few": _binary_word(_packed(b"beta"), (2, 1)),
    "BYTES: bytes behind the elements": _binary_word(_packed(b"beta") + b"x"),
    "BYTES: raw body": Call("POST", "/v2/models/strings/infer", b"beta", {_HEADER: "0"}),
}


def _typed(datatype: str, data: Any) -> Call:
    rows = [
        {"name": name.lower(), "datatype": name, "shape": [1, 2], "data": data if name == datatype else _fill(name)}
        for name in (*_NUMBERS, "BYTES")
    ]
    return _post({"inputs": rows, "outputs": [{"name": f"{datatype.lower()}_out"}]}, "/v2/models/every-type/infer")


_NUMBERS: Final = (
    "BOOL", "INT8", "UINT8", "INT16", "UINT16", "INT32", "UINT32", "INT64", "UINT64", "FP32", "FP64",
)  # fmt: skip


def _fill(name: str) -> list[Any]:
    elements: dict[str, list[Any]] = {"BOOL": [True, False], "BYTES": ["a", "b"]}
    return elements.get(name, [1, 2])


EVERY_TYPE: Final[dict[str, Call]] = {
    **{f"JSON of {name}": _typed(name, _fill(name)) for name in (*_NUMBERS, "BYTES")},
    "JSON of BOOL: numbers": _typed("BOOL", [1, 0]),
    "JSON of BOOL: 2": _typed("BOOL", [2, 0]),
    "JSON of BOOL: text": _typed("BOOL", ["true", "false"]),
    "JSON of INT8: out of range": _typed("INT8", [300, 0]),
    "JSON of UINT8: negative": _typed("UINT8", [-1, 0]),
    "JSON of INT32: a fraction": _typed("INT32", [1.5, 0]),
    "JSON of INT32: 1.0": _typed("INT32", [1.0, 0]),
    "JSON of INT32: beyond 64 bits": _typed("INT32", [2**64, 0]),
    "JSON of INT32: booleans": _typed("INT32", [True, False]),
    "JSON of INT64: the ends": _typed("INT64", [-(2**63), 2**63 - 1]),
    "JSON of UINT64: the end": _typed("UINT64", [0, 2**64 - 1]),
    "JSON of FP64: the ends": _typed("FP64", [1.7976931348623157e308, 5e-324]),
    "JSON of FP32: rounded": _typed("FP32", [0.1, 16777217]),
}

WIRE: Final = {"tiny": TINY, "strings": STRINGS, "every-type": EVERY_TYPE}
"""By the model that is asked."""


def run(address: str, calls: Mapping[str, Call]) -> Outcomes:
    """What comes of each call, on a connection of its own."""
    return {name: _outcome(address, call) for name, call in calls.items()}


def _outcome(address: str, call: Call) -> Outcome:
    connection = http.client.HTTPConnection(address, timeout=TIMEOUT_S)
    try:
        connection.request(call.method, call.path, call.body, dict(call.headers))
        response = connection.getresponse()
        body, headers = response.read(), {name.lower(): value for name, value in response.getheaders()}
    except (OSError, http.client.HTTPException) as error:
        return {"status": f"no answer ({type(error).__name__})"}
    finally:
        connection.close()
    facts = {"status": str(response.status), "content-encoding": headers.get("content-encoding", "none")}
    if headers.get("content-encoding") == "gzip":
        body = gzip.decompress(body)
    if response.status != 200:
        return facts | {"error": "an error" if _is_error(body) else text(body.decode("utf-8", "replace"))}
    facts["content-type"] = headers.get("content-type", "none") if body else "no body"
    return facts | (_answer(body, headers.get(_HEADER.lower())) if body else {})


def _is_error(body: bytes) -> bool:
    try:
        document = json.loads(body)
    except ValueError:
        return False
    return isinstance(document, dict) and document.keys() == {"error"} and isinstance(document["error"], str)


def _answer(body: bytes, header_length: str | None) -> Outcome:
    split = len(body) if header_length is None else int(header_length)
    document, raw = json.loads(body[:split]), body[split:]
    facts: Outcome = {"binary part": str(header_length is not None)}
    if not isinstance(document, dict) or "model_name" not in document:
        return facts | ({} if _is_elsewhere(document) else flattened(document))
    position = 0
    for row in document.pop("outputs", []):
        elements = row.get("data")
        if elements is None:
            size = row["parameters"]["binary_data_size"]
            elements = raw[position : position + size].hex(" ", 4)
            position += size
            facts[f"output {row['name']}"] = text(f"{row['datatype']}{row['shape']} {elements}")
        else:
            facts[f"output {row['name']}"] = tensor(row["datatype"], row["shape"], np.array(elements, dtype=object))
    return facts | {"bytes left": str(len(raw) - position)} | flattened(document)


def _is_elsewhere(document: Any) -> bool:
    """Whether the content is compared by the clients' script: metadata, configuration and statistics."""
    return isinstance(document, dict) and bool(
        document.keys() & {"extensions", "versions", "max_batch_size", "model_stats"}
    )
