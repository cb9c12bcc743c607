"""The gRPC form of the Open Inference Protocol: one message as bytes, and its answer as an array."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, Final

import grpc
import numpy as np
from benchmarks.datatypes import DATATYPES, DTYPES
from benchmarks.failure import NoAnswer
from benchmarks.models import Array
from tritonclient.grpc import service_pb2

PATH: Final = "/inference.GRPCInferenceService/ModelInfer"
HEADERS: Final[Mapping[str, str]] = {"content-type": "application/grpc", "te": "trailers"}
_FRAME: Final = struct.Struct(">BI")
_ANY_SIZE: Final = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


def framed_message(model: str, inputs: Mapping[str, Array]) -> bytes:
    """The body of a call that runs a model on these inputs, as it travels: the frame's head, then the message."""
    request = service_pb2.ModelInferRequest(model_name=model)
    for name, array in inputs.items():
        request.inputs.add(name=name, datatype=DATATYPES[array.dtype], shape=array.shape)
        request.raw_input_contents.append(array.tobytes())
    message: bytes = request.SerializeToString()
    return _FRAME.pack(0, len(message)) + message


def call(port: int, body: bytes, *, timeout_s: float) -> tuple[Array, int]:
    """Make a call on a connection of its own; the first output of the answer, and the answer's length as it travels.

    Raises:
        NoAnswer: The call ended with an error.
    """
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=_ANY_SIZE) as channel:
        ask = channel.unary_unary(PATH, request_serializer=None, response_deserializer=None)
        try:
            message = ask(body[_FRAME.size :], timeout=timeout_s)
        except grpc.RpcError as error:
            raise NoAnswer(f"the call ended with {error.code().name}: {error.details()}") from error
    return _first_output(service_pb2.ModelInferResponse.FromString(message)), _FRAME.size + len(message)


def _first_output(response: Any) -> Array:
    output = response.outputs[0]
    dtype, shape = DTYPES[output.datatype], tuple(output.shape)
    if response.raw_output_contents:
        return np.frombuffer(response.raw_output_contents[0], dtype).reshape(shape)
    contents = output.contents.fp32_contents if output.datatype == "FP32" else output.contents.int64_contents
    return np.array(contents, dtype).reshape(shape)
