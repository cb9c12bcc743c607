"""The peer of `benchmarks/grpc_serve.py`: the same protocol and model behind `grpc.aio`, without checks or batching.

`python -m benchmarks.peers.grpc_aio_server MODEL_FILE`; writes its port on a line, and serves until it is ended.
"""

from __future__ import annotations

import sys
from typing import Any

import grpc.aio
import numpy as np
import onnxruntime as ort
import uvloop
from tritonclient.grpc import service_pb2, service_pb2_grpc


class Service(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]  # it ships no types
    """One FP32 input, one output; rows as they come."""

    def __init__(self, model_file: str) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(model_file, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self._output = self._session.get_outputs()[0].name

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        array = np.frombuffer(request.raw_input_contents[0], "<f4").reshape(tuple(request.inputs[0].shape))
        (answer,) = self._session.run([self._output], {self._input: array})
        response = service_pb2.ModelInferResponse(model_name=request.model_name, model_version="1", id=request.id)
        response.outputs.add(name=self._output, datatype="FP32", shape=answer.shape)
        response.raw_output_contents.append(answer.tobytes())
        return response


async def serve(model_file: str) -> None:
    """Serve on any free port of loopback."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Service(model_file), server)
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
