"""What no client would send, and what clients do not show: gRPC's messages, to both servers."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, Final

import grpc
from google.protobuf.json_format import MessageToDict
from tests.triton.protocol.outcome import Outcome, Outcomes, flattened, text
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

TIMEOUT_S: Final = 60.0
"""Longer than any answer takes: a server that takes longer hangs."""
Input = pb.ModelInferRequest.InferInputTensor
Output = pb.ModelInferRequest.InferRequestedOutputTensor
Contents = pb.InferTensorContents
Parameter = pb.InferParameter
_FOUR: Final = struct.pack("<4f", 1, 2, 3, 4)
_X: Final[dict[str, Any]] = {"name": "x", "datatype": "FP32", "shape": [1, 4]}


def _infer(*inputs: dict[str, Any], raw: Any = (_FOUR,), model: str = "tiny", **fields: Any) -> Any:
    rows = [Input(**row) for row in inputs or (_X,)]
    return pb.ModelInferRequest(model_name=model, inputs=rows, raw_input_contents=list(raw), **fields)


def _typed(shape: tuple[int, ...] = (1, 4), datatype: str = "FP32", **contents: Any) -> Any:
    return _infer({"name": "x", "datatype": datatype, "shape": shape, "contents": Contents(**contents)}, raw=())


def _wanted(**parameter: Any) -> Any:
    return _infer(outputs=[Output(name="y", parameters={"classification": Parameter(**parameter)})])


def _parameters(**parameters: Any) -> Any:
    return _infer(parameters={name: Parameter(**value) for name, value in parameters.items()})


def _every(datatype: str, **contents: Any) -> Any:
    """One input of each datatype as typed contents, of which one is given."""
    rows = [
        {
            "name": name.lower(),
            "datatype": name,
            "shape": [1, 2],
            "contents": Contents(**(contents if name == datatype else {key: value})),
        }
        for name, (key, value) in _CONTENTS.items()
    ]
    return _infer(*rows, raw=(), model="every-type", outputs=[Output(name=f"{datatype.lower()}_out")])


_CONTENTS: Final[dict[str, tuple[str, list[Any]]]] = {
    "BOOL": ("bool_contents", [True, False]),
    **{name: ("int_contents", [1, 2]) for name in ("INT8", "INT16", "INT32")},
    **{name: ("uint_contents", [1, 2]) for name in ("UINT8", "UINT16", "UINT32")},
    "INT64": ("int64_contents", [1, 2]),
    "UINT64": ("uint64_contents", [1, 2]),
    "FP32": ("fp32_contents", [1, 2]),
    "FP64": ("fp64_contents", [1, 2]),
    "BYTES": ("bytes_contents", [b"a", b"b"]),
}

TINY: Final[dict[str, tuple[str, Any]]] = {
    "ServerLive": ("ServerLive", pb.ServerLiveRequest()),
    "ServerReady": ("ServerReady", pb.ServerReadyRequest()),
    "ModelReady": ("ModelReady", pb.ModelReadyRequest(name="tiny")),
    "ModelReady: no name": ("ModelReady", pb.ModelReadyRequest()),
    "ModelReady: version that is no number": ("ModelReady", pb.ModelReadyRequest(name="tiny", version="latest")),
    "ModelMetadata: no name": ("ModelMetadata", pb.ModelMetadataRequest()),
    "ModelConfig: no name": ("ModelConfig", pb.ModelConfigRequest()),
    "ModelStatistics: unknown version without a name": ("ModelStatistics", pb.ModelStatisticsRequest(version="9")),
    "RepositoryIndex": ("RepositoryIndex", pb.RepositoryIndexRequest()),
    "RepositoryIndex: only ready": ("RepositoryIndex", pb.RepositoryIndexRequest(ready=True)),
    "RepositoryIndex: a named repository": ("RepositoryIndex", pb.RepositoryIndexRequest(repository_name="other")),
    "RepositoryModelLoad": ("RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name="tiny")),
    "RepositoryModelUnload": ("RepositoryModelUnload", pb.RepositoryModelUnloadRequest(model_name="tiny")),
    "SystemSharedMemoryStatus": ("SystemSharedMemoryStatus", pb.SystemSharedMemoryStatusRequest()),
    "SystemSharedMemoryRegister": (
        "SystemSharedMemoryRegister", pb.SystemSharedMemoryRegisterRequest(name="r", key="/none", byte_size=64),
    ),
    "SystemSharedMemoryUnregister": ("SystemSharedMemoryUnregister", pb.SystemSharedMemoryUnregisterRequest()),
    "CudaSharedMemoryStatus": ("CudaSharedMemoryStatus", pb.CudaSharedMemoryStatusRequest()),
    "CudaSharedMemoryRegister": (
        "CudaSharedMemoryRegister", pb.CudaSharedMemoryRegisterRequest(name="r", byte_size=64),
    ),
    "CudaSharedMemoryUnregister": ("CudaSharedMemoryUnregister", pb.CudaSharedMemoryUnregisterRequest()),
    "TraceSetting": ("TraceSetting", pb.TraceSettingRequest()),
    "LogSettings": ("LogSettings", pb.LogSettingsRequest()),
}  # fmt: skip
_INFER: Final[dict[str, Any]] = {
    "raw": _infer(),
    "raw: no model": _infer(model=""),
    "raw: with an id": _infer(id="a b/ü"),
    "raw: too short": _infer(raw=(_FOUR[:-1],)),
    "raw: too long": _infer(raw=(_FOUR + b"\0",)),
    "raw: for two inputs": _infer(raw=(_FOUR, _FOUR)),
    "raw: contents beside it": _infer({**_X, "contents": Contents(fp32_contents=[1, 2, 3, 4])}),
    "nothing but the description": _infer(raw=()),
    "no inputs": pb.ModelInferRequest(model_name="tiny"),
    "no inputs, raw contents": pb.ModelInferRequest(model_name="tiny", raw_input_contents=[_FOUR]),
    "input without a name": _infer({**_X, "name": ""}),
    "input without a datatype": _infer({**_X, "datatype": ""}),
    "input without a shape": _infer({**_X, "shape": []}),
    "unknown datatype": _infer({**_X, "datatype": "FLOAT"}),
    "lower-case datatype": _infer({**_X, "datatype": "fp32"}),
    "shape: negative": _infer({**_X, "shape": [-1, 4]}),
    "shape: huge": _infer({**_X, "shape": [2**62, 4]}),
    "shape: product wraps around": _infer({**_X, "shape": [2**62 + 1, 4]}),
    "shape: no rows": _infer({**_X, "shape": [0, 4]}, raw=(b"",)),
    "shape: a zero inside": _infer({**_X, "shape": [1, 0]}, raw=(b"",)),
    "shape: no rows, but bytes": _infer({**_X, "shape": [0, 4]}),
    "duplicate input": _infer(_X, _X, raw=(_FOUR, _FOUR)),
    "typed": _typed(fp32_contents=[1, 2, 3, 4]),
    "typed: too few": _typed(fp32_contents=[1, 2, 3]),
    "typed: too many": _typed(fp32_contents=[1, 2, 3, 4, 5]),
    "typed: another field": _typed(fp64_contents=[1, 2, 3, 4]),
    "typed: two fields": _typed(fp32_contents=[1, 2, 3, 4], int_contents=[1]),
    "typed: FP16": _typed(datatype="FP16", fp32_contents=[1, 2, 3, 4]),
    "output: unknown": _infer(outputs=[Output(name="z")]),
    "output: duplicate": _infer(outputs=[Output(name="y"), Output(name="y")]),
    "output: without a name": _infer(outputs=[Output()]),
    "output: unknown parameter": _infer(outputs=[Output(name="y", parameters={"own": Parameter(bool_param=True)})]),
    "classification": _wanted(int64_param=2),
    "classification: 0": _wanted(int64_param=0),
    "classification: negative": _wanted(int64_param=-1),
    "classification: text": _wanted(string_param="2"),
    "classification: beyond 32 bits": _wanted(int64_param=2**32 + 1),
    "input in shared memory": _infer(
        {**_X, "parameters": {
            "shared_memory_region": Parameter(string_param="r"), "shared_memory_byte_size": Parameter(int64_param=16),
        }}, raw=(),
    ),
    "output to shared memory": _infer(
        outputs=[Output(name="y", parameters={
            "shared_memory_region": Parameter(string_param="r"), "shared_memory_byte_size": Parameter(int64_param=16),
        })],
    ),
    "parameter: own": _parameters(text={"string_param": "a"}, number={"int64_param": 1}, truth={"bool_param": True},
                                  fraction={"double_param": 1.5}),
    "parameter: without a value": _parameters(own={}),
    "parameter: reserved": _parameters(triton_x={"bool_param": True}),
    "priority: 1": _parameters(priority={"uint64_param": 1}),
    "priority: signed": _parameters(priority={"int64_param": 1}),
    "priority: negative": _parameters(priority={"int64_param": -1}),
    "priority: text": _parameters(priority={"string_param": "1"}),
    "priority: truth": _parameters(priority={"bool_param": True}),
    "priority: beyond 32 bits": _parameters(priority={"uint64_param": 2**32}),
    "timeout: a minute": _parameters(timeout={"int64_param": 60_000_000}),
    "timeout: 0": _parameters(timeout={"int64_param": 0}),
    "timeout: negative": _parameters(timeout={"int64_param": -1}),
    "timeout: text": _parameters(timeout={"string_param": "1"}),
    "timeout: unsigned": _parameters(timeout={"uint64_param": 60_000_000}),
    "sequence: id": _parameters(sequence_id={"int64_param": 5}, sequence_start={"bool_param": True}),
    "sequence: text id": _parameters(sequence_id={"string_param": "five"}),
    "sequence: truth as id": _parameters(sequence_id={"bool_param": True}),
    "sequence: start is a number": _parameters(sequence_start={"int64_param": 1}),
    "final response marked": _parameters(triton_enable_empty_final_response={"bool_param": True}),
    "oversize": _infer({**_X, "shape": [4_259_840, 4]}, raw=(bytes(65 << 20),)),
    "raw after all that": _infer(),
}  # fmt: skip
_EVERY_TYPE: Final[dict[str, Any]] = {
    **{f"typed {name}": _every(name, **{key: value}) for name, (key, value) in _CONTENTS.items()},
    "typed INT8: out of range": _every("INT8", int_contents=[300, 0]),
    "typed UINT8: out of range": _every("UINT8", uint_contents=[300, 0]),
    "typed INT64: the ends": _every("INT64", int64_contents=[-(2**63), 2**63 - 1]),
    "typed UINT64: the end": _every("UINT64", uint64_contents=[0, 2**64 - 1]),
    "typed BYTES: empty and not UTF-8 free": _every("BYTES", bytes_contents=[b"", "ü".encode()]),
}

WIRE: Final[dict[str, dict[str, tuple[str, Any]]]] = {
    "tiny": {
        **TINY,
        **{f"ModelInfer {name}": ("ModelInfer", request) for name, request in _INFER.items()},
        **{f"stream {name}": ("ModelStreamInfer", request) for name, request in _INFER.items()},
    },
    "every-type": {name: ("ModelInfer", request) for name, request in _EVERY_TYPE.items()},
}
"""Method and request by the model that is asked."""


def run(address: str, calls: Mapping[str, tuple[str, Any]]) -> Outcomes:
    """What comes of each call."""
    unbounded = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(address, unbounded) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        return {name: _outcome(stub, *call) for name, call in calls.items()}


def _outcome(stub: Any, method: str, request: Any) -> Outcome:
    try:
        if method == "ModelStreamInfer":
            return _streamed(list(stub.ModelStreamInfer(iter([request]), timeout=TIMEOUT_S)))
        response = getattr(stub, method)(request, timeout=TIMEOUT_S)
    except grpc.RpcError as error:
        return {"status": error.code().name}
    if method == "ModelStatistics":
        return {"status": "OK"}  # its content is compared by the clients' script
    return {"status": "OK"} | _facts(response)


def _facts(response: Any) -> Outcome:
    """The fields of a message, as it would be written; raw contents as hexadecimal digits."""
    fields = MessageToDict(response, preserving_proto_field_name=True)
    if "raw_output_contents" in fields:
        fields["raw_output_contents"] = [raw.hex(" ", 4) for raw in response.raw_output_contents]
    return {key: text(value) for key, value in flattened(fields).items()} if fields else {}


def _streamed(answers: list[Any]) -> Outcome:
    facts: Outcome = {"status": "OK", "answers": str(len(answers))}
    for answer in answers:
        if answer.error_message:
            return facts | {"status": "refused", "id": answer.infer_response.id}
        facts |= _facts(answer.infer_response)
    return facts
