"""Runs in Triton's python backend in place of its ONNX Runtime backend: the same file, batched in the same way.

Triton hands over the requests that it merged; a batch that cannot be run fails for all of them, as it does in the
backend that this stands in for.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

# ruff: noqa: E402 - the imports need what follows
# The stub that runs this has an interpreter of its own, which does not look into the virtual environment.
_ENVIRONMENT = Path(os.environ["NIMIFY_TRITON_ENVIRONMENT"])
sys.path[:0] = [str(path) for path in _ENVIRONMENT.glob("lib/python3.*/site-packages")]

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as triton  # type: ignore[import-not-found] # the stub brings it


class TritonPythonModel:
    """The model file beside this one, in ONNX Runtime."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load it."""
        config = json.loads(args["model_config"])
        folder = Path(args["model_repository"]) / args["model_version"]
        options = ort.SessionOptions()
        options.log_severity_level = 4
        threads = config.get("parameters", {}).get("intra_op_thread_count")
        options.intra_op_num_threads = int(threads["string_value"]) if threads else 1
        self.session = ort.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
        self.batched = config["max_batch_size"] > 0
        self.inputs = [tensor["name"] for tensor in config["input"]]
        self.texts = {tensor["name"] for tensor in config["input"] if tensor["data_type"] == "TYPE_STRING"}
        self.outputs = [tensor["name"] for tensor in config["output"]]
        # What the model does not have is refused here, as the backend that this stands in for does. Left to the warm-up
        # it would be an exception in a run, on which this Triton now and then ends with SIGSEGV.
        there = {tensor.name for tensor in self.session.get_outputs()}
        if unknown := sorted(set(self.outputs) - there):
            raise ValueError(f"the model has no outputs {unknown}")

    def execute(self, requests: list[Any]) -> list[Any]:
        """Run what was merged, and hand each request its rows."""
        if not self.batched:
            return [self._run([request])[0] for request in requests]
        return self._run(requests)

    def _run(self, requests: list[Any]) -> list[Any]:
        try:
            return self._responses(requests)
        except Exception as error:  # noqa: BLE001 - whatever it is, these requests fail with it
            # An error of its own for each: a shared one crashes the server, and one that leaves `execute` may.
            return [triton.InferenceResponse(error=triton.TritonError(str(error))) for _ in requests]

    def _responses(self, requests: list[Any]) -> list[Any]:
        parts = {name: [self._array(request, name) for request in requests] for name in self.inputs}
        feeds = {name: np.concatenate(arrays) if len(arrays) > 1 else arrays[0] for name, arrays in parts.items()}
        results = self.session.run(self.outputs, feeds)
        if not self.batched:
            return [self._response([np.atleast_1d(result) for result in results])]
        responses, position = [], 0
        for rows in (len(array) for array in parts[self.inputs[0]]):
            responses.append(self._response([result[position : position + rows] for result in results]))
            position += rows
        return responses

    def _array(self, request: Any, name: str) -> Any:
        array = triton.get_input_tensor_by_name(request, name).as_numpy()
        if name not in self.texts:
            return array
        return np.array([item.decode() for item in array.ravel()], dtype=object).reshape(array.shape)

    def _response(self, arrays: list[Any]) -> Any:
        tensors = []
        for name, array in zip(self.outputs, arrays, strict=True):
            if array.dtype == object:
                array = np.array([item.encode() for item in array.ravel()], dtype=object).reshape(array.shape)
            tensors.append(triton.Tensor(name, np.ascontiguousarray(array)))
        return triton.InferenceResponse(tensors)
