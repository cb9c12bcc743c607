"""The model in Triton's python backend, which is the one that the binary of PyPI has.

Triton runs it in a program of its own with an interpreter of its own, which takes no notice of PYTHONPATH. What Triton
merged is run as one batch.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

# ruff: noqa: E402 - the imports need what follows
sys.path[:0] = os.environ["PYTHONPATH"].split(":")

import numpy as np
import triton_python_backend_utils as triton  # type: ignore[import-not-found]  # the stub brings it
from benchmarks.peers.session import open_session


class TritonPythonModel:
    """One ONNX file in ONNX Runtime."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load it."""
        config = json.loads(args["model_config"])
        parameters = {name: value["string_value"] for name, value in config["parameters"].items()}
        self.session = open_session(parameters["model_file"], int(parameters["threads"]))
        self.inputs = [tensor["name"] for tensor in config["input"]]
        self.output = config["output"][0]["name"]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Run what was merged, and hand each request its rows."""
        find = triton.get_input_tensor_by_name
        parts = {name: [find(request, name).as_numpy() for request in requests] for name in self.inputs}
        feeds = {name: np.concatenate(rows) if len(rows) > 1 else rows[0] for name, rows in parts.items()}
        result = self.session.run([self.output], feeds)[0]
        responses, position = [], 0
        for rows in map(len, parts[self.inputs[0]]):
            own = np.ascontiguousarray(result[position : position + rows])
            responses.append(triton.InferenceResponse([triton.Tensor(self.output, own)]))
            position += rows
        return responses
