"""The session that every contestant but nimify has: ONNX Runtime as it comes, with the model's thread count.

It is all that the peers share, and needs nothing but ONNX Runtime, because each runs in an environment of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime as ort


def open_session(model_file: str | Path, threads: int) -> Any:
    """Load a model."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return ort.InferenceSession(str(model_file), options, providers=["CPUExecutionProvider"])
