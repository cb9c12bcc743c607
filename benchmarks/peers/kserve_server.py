"""The model behind KServe's Python server.

The command, in an environment of its own:

    python -m benchmarks.peers.kserve_server MODEL.onnx --name tiny --threads 1 --port 8001 --grpc-port 8002
"""

from __future__ import annotations

import argparse
from typing import Any

import kserve  # not in the environment that checks types
from benchmarks.peers.session import open_session


class OnnxModel(kserve.Model):  # type: ignore[misc]  # the same
    """One ONNX file in ONNX Runtime."""

    def __init__(self, name: str, model_file: str, threads: int) -> None:
        super().__init__(name)
        self.session = open_session(model_file, threads)
        self.ready = True

    async def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
        """Run it; the answer is binary where the request asks for that, and in gRPC."""
        feeds = {tensor.name: tensor.as_numpy() for tensor in payload.inputs}
        result = self.session.run(None, feeds)[0]
        binary = payload.from_grpc or bool((payload.parameters or {}).get("binary_data_output"))
        output = kserve.InferOutput(name="y", shape=list(result.shape), datatype="FP32")
        output.set_data_from_numpy(result, binary_data=binary)
        return kserve.InferResponse(response_id=payload.id or "1", model_name=self.name, infer_outputs=[output])


def main() -> None:
    """Serve one model until a signal ends it."""
    parser = argparse.ArgumentParser(description="KServe's Python server around one ONNX model.")
    parser.add_argument("model")
    parser.add_argument("--name", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--grpc-port", type=int, default=8002)
    arguments = parser.parse_args()
    model = OnnxModel(arguments.name, arguments.model, arguments.threads)
    kserve.ModelServer(
        http_port=arguments.port,
        grpc_port=arguments.grpc_port,
        workers=1,
        access_log_format=None,
        enable_latency_logging=False,
    ).start([model])


if __name__ == "__main__":
    main()
