"""The model behind BentoML, in its own JSON: an array as nested lists under the name of the argument.

BentoML merges requests by one argument, so a model with two inputs gets them stacked as [N, 2, ...]. `bentoml serve`
imports this; the environment says what to serve: MODEL_FILE, THREADS and BATCH, the most rows in one run (1: none).
"""

from __future__ import annotations

import os
from typing import Any

import bentoml  # type: ignore[import-not-found]  # not in the environment that checks types
import numpy as np
from benchmarks.peers.session import open_session

BATCH = int(os.environ["BATCH"])
DTYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64}
# Its batcher adapts how long it waits, and refuses what it thinks will take longer than this.
MERGING = {"batchable": True, "max_batch_size": BATCH, "max_latency_ms": 10_000} if BATCH > 1 else {}


@bentoml.service(workers=1, logging={"access": {"enabled": False}}, traffic={"timeout": 60, "max_concurrency": 256})
class OnnxService:
    """One ONNX file in ONNX Runtime."""

    def __init__(self) -> None:
        self.session = open_session(os.environ["MODEL_FILE"], int(os.environ["THREADS"]))
        self.inputs = [(node.name, DTYPES[node.type]) for node in self.session.get_inputs()]

    @bentoml.api(route="/infer", **MERGING)  # type: ignore[untyped-decorator]  # the same
    def infer(self, x: np.ndarray) -> np.ndarray:
        """Run it."""
        parts: list[Any] = [x] if len(self.inputs) == 1 else list(np.moveaxis(x, 1, 0))
        feeds = {
            name: np.ascontiguousarray(part, dtype) for (name, dtype), part in zip(self.inputs, parts, strict=True)
        }
        return self.session.run(None, feeds)[0]  # type: ignore[no-any-return]  # ONNX Runtime has no types
