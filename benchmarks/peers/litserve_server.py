"""The model behind LitServe, in the JSON of the Open Inference Protocol.

The command, in an environment of its own:

    python -m benchmarks.peers.litserve_server MODEL.onnx --name tiny --threads 1 --port 8001 --batch 32 --delay 0.002
"""

from __future__ import annotations

import argparse
from typing import Any

import litserve  # type: ignore[import-not-found]  # not in the environment that checks types
import numpy as np
from benchmarks.peers.session import open_session

DTYPES = {"FP32": np.float32, "INT64": np.int64}


class OnnxApi(litserve.LitAPI):  # type: ignore[misc]  # the same
    """One ONNX file in ONNX Runtime."""

    def __init__(self, model_file: str, threads: int, **settings: Any) -> None:
        super().__init__(**settings)
        self.model_file, self.threads = model_file, threads

    def setup(self, device: str) -> None:
        """Load it, in the worker."""
        self.session = open_session(self.model_file, self.threads)

    def decode_request(self, request) -> dict[str, Any]:  # type: ignore[no-untyped-def]  # it would read the type
        """Arrays of the tensors."""
        return {
            tensor["name"]: np.array(tensor["data"], DTYPES[tensor["datatype"]]).reshape(tensor["shape"])
            for tensor in request["inputs"]
        }

    def batch(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Several requests as one."""
        return {name: np.concatenate([arrays[name] for arrays in inputs]) for name in inputs[0]}

    def predict(self, inputs: dict[str, Any]) -> Any:
        """Run it."""
        return self.session.run(None, inputs)[0]

    def unbatch(self, output: Any) -> list[Any]:
        """The rows of each request; each has one."""
        return [row[None] for row in output]

    def encode_response(self, output: Any) -> dict[str, Any]:
        """The tensor as JSON has it."""
        tensor = {"name": "y", "shape": list(output.shape), "datatype": "FP32", "data": output.ravel().tolist()}
        return {"outputs": [tensor]}


def main() -> None:
    """Serve one model until a signal ends it."""
    parser = argparse.ArgumentParser(description="LitServe around one ONNX model.")
    parser.add_argument("model")
    parser.add_argument("--name", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--delay", type=float, default=0.0)
    arguments = parser.parse_args()
    settings: dict[str, Any] = {"api_path": f"/v2/models/{arguments.name}/infer"}
    if arguments.batch > 1:
        settings |= {"max_batch_size": arguments.batch, "batch_timeout": arguments.delay}
    api = OnnxApi(arguments.model, arguments.threads, **settings)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=60)
    server.run(host="127.0.0.1", port=arguments.port, num_api_servers=1, generate_client_file=False, log_level="error")


if __name__ == "__main__":
    main()
