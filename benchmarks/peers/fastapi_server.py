"""The server that many people write for a model: FastAPI, a pydantic body, lists to an array, a session, lists back.

It speaks the JSON of the Open Inference Protocol, so that it gets the same requests as nimify, and nothing else: no
validation against the model, no batching, no metrics. It runs in an environment of its own (requirements/bench.txt)
and shares no code with nimify:

    python -m benchmarks.peers.fastapi_server MODEL.onnx --threads 2 --port 8001
"""

from __future__ import annotations

import argparse
from typing import Any

import fastapi  # type: ignore[import-not-found]  # not in the environment that checks types
import numpy as np
import uvicorn  # type: ignore[import-not-found]  # the same
from benchmarks.peers.session import open_session
from pydantic import BaseModel

DTYPES = {"FP32": np.float32, "INT64": np.int64}
DATATYPES = {"tensor(float)": "FP32", "tensor(int64)": "INT64"}


class InputTensor(BaseModel):
    """One input as a client sends it."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any]


class InferRequest(BaseModel):
    """The body of a request."""

    inputs: list[InputTensor]


def application(session: Any) -> fastapi.FastAPI:
    """The service around a session."""
    app = fastapi.FastAPI()

    @app.get("/v2/health/ready")  # type: ignore[untyped-decorator]  # fastapi's types are not there
    def ready() -> dict[str, Any]:
        return {}

    # Not `async`: FastAPI then runs it on its thread pool, where a blocking model belongs.
    @app.post("/v2/models/{name}/infer")  # type: ignore[untyped-decorator]  # the same
    def infer(name: str, request: InferRequest) -> dict[str, Any]:
        feeds = {
            tensor.name: np.array(tensor.data, dtype=DTYPES[tensor.datatype]).reshape(tensor.shape)
            for tensor in request.inputs
        }
        results = session.run(None, feeds)
        return {
            "model_name": name,
            "outputs": [
                {
                    "name": node.name,
                    "shape": list(result.shape),
                    "datatype": DATATYPES[node.type],
                    "data": result.ravel().tolist(),
                }
                for node, result in zip(session.get_outputs(), results, strict=True)
            ],
        }

    return app


def main() -> None:
    """Serve one model until a signal ends it."""
    parser = argparse.ArgumentParser(description="A plain FastAPI server around one ONNX model.")
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--port", type=int, default=8001)
    arguments = parser.parse_args()
    session = open_session(arguments.model, arguments.threads)
    uvicorn.run(application(session), host="127.0.0.1", port=arguments.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
