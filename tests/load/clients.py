"""A client of each kind: JSON in either API, the binary form, and gRPC by its own library; each asks one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, Protocol

import grpc.aio
import numpy as np
import orjson
from tests.load.questions import NAME, Array, Question
from tritonclient.grpc import service_pb2

TIMEOUT_S: Final = 60.0
_DTYPES: Final = {"FP32": "<f4", "INT64": "<i8"}
_DATATYPES: Final = {"x": "FP32", "key": "INT64"}
_INFER: Final = "/inference.GRPCInferenceService/ModelInfer"


class Failed(Exception):
    """There was no answer, or another one than an answer to the question."""


class Client(Protocol):
    """Asks over a connection of its own."""

    async def ask(self, asked: Question) -> Mapping[str, Array]:
        """The outputs by name.

        Raises:
            Failed: Says why there are none.
        """
        ...

    async def close(self) -> None:
        """End the connection."""
        ...


Form = Callable[[Question], tuple[str, bytes, bytes]]
"""A question as the path, the further headers and the body of a request."""


def typed_json(asked: Question) -> tuple[str, bytes, bytes]:
    """As `/v1/infer` takes it."""
    inputs = {name: array.tolist() for name, array in asked.inputs.items()}
    return "/v1/infer", b"", orjson.dumps({"inputs": inputs})


def plain_json(asked: Question) -> tuple[str, bytes, bytes]:
    """As `/v2` takes it, all in JSON."""
    rows = [{**_row(name, array), "data": array.ravel().tolist()} for name, array in asked.inputs.items()]
    return f"/v2/models/{NAME}/infer", b"", orjson.dumps({"id": str(asked.number), "inputs": rows})


def binary(asked: Question) -> tuple[str, bytes, bytes]:
    """As `/v2` takes it, tensors as raw bytes behind the JSON, both ways."""
    rows = [
        {**_row(name, array), "parameters": {"binary_data_size": array.nbytes}} for name, array in asked.inputs.items()
    ]
    head = orjson.dumps({"id": str(asked.number), "inputs": rows, "parameters": {"binary_data_output": True}})
    raw = b"".join(array.tobytes() for array in asked.inputs.values())
    return f"/v2/models/{NAME}/infer", b"Inference-Header-Content-Length: %d\r\n" % len(head), head + raw


def _row(name: str, array: Array) -> dict[str, Any]:
    return {"name": name, "datatype": _DATATYPES[name], "shape": array.shape}


class HttpClient:
    """HTTP/1.1 on one connection, which is opened again when the service has ended it in good order."""

    def __init__(self, port: int, form: Form) -> None:
        self._port = port
        self._form = form
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, asked: Question) -> dict[str, Array]:
        """See `Client.ask`."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                status, headers, body = await self._exchange(*self._form(asked))
        except (OSError, EOFError, TimeoutError) as error:
            await self.close()
            raise Failed(f"HTTP: {error!r}") from error
        if status != b"200":
            raise Failed(f"HTTP {status.decode()}: {body[:200]!r}")
        return _read_answer(headers, body, asked)

    async def _exchange(self, path: str, more: bytes, body: bytes) -> tuple[bytes, dict[bytes, bytes], bytes]:
        if self._reader is None or self._writer is None or self._reader.at_eof():
            await self.close()
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        head = b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n%s\r\n" % (path.encode(), len(body), more)
        self._writer.write(head + body)
        status_line, *lines = (await self._reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
        headers = dict(line.lower().split(b": ", 1) for line in lines)
        content = await self._reader.readexactly(int(headers[b"content-length"]))
        if headers.get(b"connection") == b"close":
            await self.close()
        return status_line.split()[1], headers, content

    async def close(self) -> None:
        """See `Client.close`."""
        if self._writer is not None:
            self._writer.close()
            with suppress(OSError):  # the service was faster
                await self._writer.wait_closed()
        self._reader = self._writer = None


def _read_answer(headers: Mapping[bytes, bytes], body: bytes, asked: Question) -> dict[str, Array]:
    length = int(headers.get(b"inference-header-content-length", len(body)))
    document = orjson.loads(body[:length])
    if isinstance(document["outputs"], dict):
        return {"y": np.array(document["outputs"]["y"], "<f4"), "next": np.array(document["outputs"]["next"], "<i8")}
    if document["id"] != str(asked.number):
        raise Failed(f"the answer to {document['id']}, not to {asked.number}")
    outputs, position = {}, length
    for row in document["outputs"]:
        dtype = _DTYPES[row["datatype"]]
        if "data" in row:
            array = np.array(row["data"], dtype)
        else:
            size = row["parameters"]["binary_data_size"]
            array = np.frombuffer(body[position : position + size], dtype)
            position += size
        outputs[row["name"]] = array.reshape(row["shape"])
    return outputs


class GrpcClient:
    """gRPC by its own library, on a connection of its own."""

    def __init__(self, address: str) -> None:
        # Without the option all channels of a process share one connection.
        self._channel = grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        self._infer = self._channel.unary_unary(
            _INFER,
            request_serializer=service_pb2.ModelInferRequest.SerializeToString,
            response_deserializer=service_pb2.ModelInferResponse.FromString,
        )

    async def ask(self, asked: Question) -> dict[str, Array]:
        """See `Client.ask`."""
        request = service_pb2.ModelInferRequest(model_name=NAME, id=str(asked.number))
        for name, array in asked.inputs.items():
            request.inputs.add(name=name, datatype=_DATATYPES[name], shape=array.shape)
            request.raw_input_contents.append(array.tobytes())
        try:
            answer = await self._infer(request, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise Failed(f"gRPC {error.code().name}: {error.details()}") from error
        if answer.id != str(asked.number):
            raise Failed(f"the answer to {answer.id}, not to {asked.number}")
        return {
            output.name: np.frombuffer(raw, _DTYPES[output.datatype]).reshape(output.shape)
            for output, raw in zip(answer.outputs, answer.raw_output_contents, strict=True)
        }

    async def close(self) -> None:
        """See `Client.close`."""
        await self._channel.close()
