"""Requests and answers as Triton's HTTP carries them: a JSON head, and behind it every tensor as raw bytes.

Source: Triton's `protocol/extension_binary_data.md`. Shapes are those of config.pbtxt, where a tensor is never of rank
0: a row that is one number, or a whole tensor that is, has one element there, and none of an axis to the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from nimify.serving.engines.engine import Array
from nimify.serving.faults import RequestFault
from nimify.serving.raw_tensors import array_from_bytes, bytes_from_array
from nimify.serving.spec import ServiceSpec
from nimify.serving.triton.connection import Reply
from nimify.tensors import TensorSpec


class AnswerMalformed(Exception):
    """Triton's answer is not what was asked for."""


class TensorCodec:
    """Writes requests for one model, and reads the answers."""

    def __init__(self, spec: ServiceSpec) -> None:
        self._inputs = {tensor.name: tensor for tensor in spec.signature.inputs}
        self._outputs = {tensor.name: tensor for tensor in spec.signature.outputs}
        self._least_rank = 2 if spec.max_batch_size else 1
        self._path = f"/v2/models/{spec.name}/versions/{spec.model_version}/infer".encode()

    def request(
        self, inputs: Mapping[str, Array], outputs: Sequence[str], *, timeout_us: int
    ) -> list[bytes | memoryview]:
        """The pieces of a request.

        Args:
            inputs: The arrays by name.
            outputs: Names of the wanted outputs.
            timeout_us: How long it may wait in Triton's queue; 0 for as long as the configuration says.
        """
        tensors: list[bytes | memoryview] = []
        described = []
        for name, array in inputs.items():
            spec = self._inputs[name]
            content = _content(array, spec)
            tensors.append(content)
            described.append(
                {
                    "name": name,
                    "shape": self._wire_shape(array),
                    "datatype": spec.datatype.name,
                    "parameters": {"binary_data_size": len(content)},
                }
            )
        document: dict[str, Any] = {
            "inputs": described,
            "outputs": [{"name": name, "parameters": {"binary_data": True}} for name in outputs],
        }
        if timeout_us:
            document["parameters"] = {"timeout": timeout_us}
        head = orjson.dumps(document)
        length = len(head) + sum(map(len, tensors))
        start = (
            b"POST %s HTTP/1.1\r\nhost: triton\r\ncontent-type: application/octet-stream\r\n"
            b"inference-header-content-length: %d\r\ncontent-length: %d\r\n\r\n" % (self._path, len(head), length)
        )
        return [start + head, *(tensor for tensor in tensors if len(tensor))]

    def answer(self, reply: Reply, outputs: Sequence[str]) -> list[Array]:
        """The wanted outputs of a response, in their order.

        Raises:
            AnswerMalformed: They are not all there as they should be.
        """
        head_length = len(reply.body) if reply.head_length is None else reply.head_length
        try:
            document = orjson.loads(memoryview(reply.body)[:head_length])
            raw = memoryview(reply.body)[head_length:]
            arrays = {}
            position = 0
            for output in document["outputs"]:
                end = position + output["parameters"]["binary_data_size"]
                name = output["name"]
                arrays[name] = self._array(raw[position:end], self._outputs[name], tuple(output["shape"]))
                position = end
            return [arrays[name] for name in outputs]
        except (ValueError, KeyError, TypeError, RequestFault) as error:
            raise AnswerMalformed(f"{type(error).__name__}: {error}") from error

    def _wire_shape(self, array: Array) -> list[int]:
        return [*array.shape, *[1] * (self._least_rank - array.ndim)]

    def _array(self, raw: memoryview, spec: TensorSpec, shape: tuple[int, ...]) -> Array:
        array = array_from_bytes(raw, spec.datatype, shape, spec.name)
        return array.reshape(shape[: len(spec.shape)]) if len(spec.shape) < len(shape) else array


def _content(array: Array, spec: TensorSpec) -> bytes | memoryview:
    if spec.datatype.itemsize and array.size and array.flags.c_contiguous:
        return array.reshape(-1).view("u1").data
    return bytes_from_array(array, spec.datatype)


def error_text(reply: Reply) -> str:
    """What Triton says about a request that failed; for the log only."""
    try:
        return str(orjson.loads(reply.body)["error"])
    except (ValueError, KeyError, TypeError):
        return ""
